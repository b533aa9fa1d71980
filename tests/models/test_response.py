"""Response curves: exact between their points, on disk, from anybody's table."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import response
from models.errors import DataError
from models.response import ResponseCurves


def made(n_lines: int = 3, n_points: int = 5, n_draws: int = 4, seed: int = 0) -> ResponseCurves:
    rng = np.random.default_rng(seed)
    spend = np.cumsum(rng.uniform(0.5, 2.0, (n_lines, n_points)), axis=1)
    spend[:, 0] = 0.0
    gains = np.cumsum(rng.uniform(0.0, 1.0, (n_lines, n_points, n_draws)), axis=1)
    return ResponseCurves(lines=tuple(f"line_{i}" for i in range(n_lines)), spend=spend, response=gains - gains[:, :1])


@given(st.integers(0, 10_000), st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)))
def test_values_agree_with_numpy_interpolation(seed: int, fractions: tuple[float, ...]) -> None:
    curves = made(seed=seed)
    plan = curves.max_spend * np.array(fractions)
    values = response.line_value(curves, plan)
    for i in range(3):
        for d in range(4):
            assert values[i, d] == pytest.approx(np.interp(plan[i], curves.spend[i], curves.response[i, :, d]))
    np.testing.assert_allclose(response.value(curves, plan), values.sum(axis=0))


@given(st.integers(0, 10_000), st.floats(0, 0.98))
def test_the_marginal_is_the_slope_to_the_right(seed: int, fraction: float) -> None:
    curves = made(seed=seed)
    plan = fraction * curves.max_spend
    nearest_point = np.min(np.where(curves.spend > plan[:, None], curves.spend, np.inf), axis=1)
    step = 0.5 * (nearest_point - plan)
    rise = response.line_value(curves, plan + step) - response.line_value(curves, plan)
    np.testing.assert_allclose(response.marginal(curves, plan), rise / step[:, None], rtol=1e-5, atol=1e-9)


def test_points_are_hit_exactly_at_both_ends() -> None:
    curves = made()
    np.testing.assert_array_equal(response.line_value(curves, np.zeros(3)), np.zeros((3, 4)))
    np.testing.assert_array_equal(response.line_value(curves, curves.max_spend), curves.response[:, -1])


@pytest.mark.parametrize("change", [-0.1, 1e-3])
def test_spend_outside_the_curve_is_refused_by_name(change: float) -> None:
    curves = made()
    plan = np.zeros(3) if change < 0 else curves.max_spend.copy()
    plan[1] += change
    with pytest.raises(ValueError, match="'line_1'"):
        response.value(curves, plan)


def test_a_round_trip_through_parquet_changes_nothing(tmp_path: Path) -> None:
    curves = made()
    response.save(curves, tmp_path / "curves.parquet")
    again = response.load(tmp_path / "curves.parquet")
    assert again.lines == curves.lines
    np.testing.assert_array_equal(again.spend, curves.spend)
    np.testing.assert_array_equal(again.response, curves.response)
    assert pl.read_parquet(tmp_path / "curves.parquet").columns == ["line", "spend", "response", "draw"]


def test_a_spreadsheet_will_do(tmp_path: Path) -> None:
    """No draws, rows in disorder, lines of different length, no point at 0."""
    path = tmp_path / "curves.csv"
    path.write_text("line,spend,response\ntv,200,30\ntv,100,20\nsearch,10,4\nsearch,0,0\nsearch,20,6\nsearch,40,7\n")
    curves = response.load(path)
    assert curves.lines == ("tv", "search")
    assert curves.n_draws == 1
    np.testing.assert_allclose(response.value(curves, np.array([150.0, 30.0])), [25.0 + 6.5])
    np.testing.assert_allclose(response.line_value(curves, np.array([50.0, 40.0]))[:, 0], [10.0, 7.0])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"line": ["a"], "spend": [1.0]}, "lack column response"),
        ({"line": [], "spend": [], "response": []}, "no rows"),
        ({"line": ["a", "a"], "spend": [0.0, -1.0], "response": [0.0, 1.0]}, "spend -1"),
        ({"line": ["a", "a"], "spend": [0.0, 1.0], "response": [0.0, None]}, "missing or infinite"),
        ({"line": ["a", "a"], "spend": [0.0, 1.0], "response": [0.0, float("nan")]}, "missing or infinite"),
        ({"line": ["a", "a"], "spend": [1.0, 1.0], "response": [1.0, 2.0]}, "2 rows for 1 spends"),
        ({"line": ["a"], "spend": [0.0], "response": [0.0]}, "no point above spend 0"),
        ({"line": ["a", "a"], "spend": ["0", "x"], "response": [0.0, 1.0]}, "not a number"),
        (
            {"line": ["a", "a", "b"], "spend": [1.0, 1.0, 1.0], "response": [1.0, 2.0, 3.0], "draw": [0, 1, 0]},
            "differ in their number of draws",
        ),
    ],
)
def test_a_table_that_is_no_curve_is_refused_in_plain_words(rows: dict[str, list], message: str) -> None:
    with pytest.raises(DataError, match=message):
        response.from_frame(pl.DataFrame(rows))


def test_the_table_of_curves_has_slopes_that_add_up() -> None:
    curves = made()
    table = response.curve_table(curves)
    assert table.columns == ["line", "spend", "response_mean", "response_p05", "response_p95", "marginal_mean"]
    one = table.filter(pl.col("line") == "line_2")
    rebuilt = np.concatenate(
        [[0.0], np.cumsum(one["marginal_mean"].to_numpy()[:-1] * np.diff(one["spend"].to_numpy()))]
    )
    np.testing.assert_allclose(one["response_mean"].to_numpy(), rebuilt, atol=1e-12)
    assert (one["response_p05"] <= one["response_p95"]).all()


@pytest.mark.parametrize(
    ("spend", "shape", "message"),
    [
        (np.array([[1.0, 2.0]]), (1, 2, 1), "start at 0"),
        (np.array([[0.0, 0.0]]), (1, 2, 1), "then increase"),
        (np.array([[0.0, np.inf]]), (1, 2, 1), "not finite"),
        (np.array([[0.0, 1.0]]), (1, 3, 1), "expected"),
        (np.array([[0.0]]), (1, 1, 1), "two points"),
    ],
)
def test_curves_check_themselves(spend: np.ndarray, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResponseCurves(lines=("a",), spend=spend, response=np.zeros(shape))
