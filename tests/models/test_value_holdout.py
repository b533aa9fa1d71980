"""Scores and the choice of who serves: by hand, against SciPy, and by their laws."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from models.value_holdout import choose, deciles, score, score_rows


def test_scores_by_hand() -> None:
    """Expected 1, 2, 3 of 2, 2, 5: total 6 of 9, errors 1, 0, 2; times 1.5 they are 1.5, 3, 4.5: errors .5, 1, .5."""
    found = score(np.array([2.0, 2.0, 5.0]), np.array([1.0, 2.0, 3.0]), np.array([0.0, 3.0, 0.0]), np.full(3, 4.0))
    assert found.bias_fraction == pytest.approx(-1 / 3)
    assert found.mae == pytest.approx(1.0)
    assert found.mae_equal_totals == pytest.approx(2 / 3)
    assert found.decile_error_fraction == pytest.approx(3 / 9)
    assert found.coverage_fraction == pytest.approx(1 / 3)


def test_rank_correlation_is_scipys() -> None:
    rng = np.random.default_rng(1)
    actual, expected = rng.poisson(1.0, 200).astype(float), rng.gamma(1.0, 1.0, 200).round(1)
    assert score(actual, expected).spearman == pytest.approx(spearmanr(actual, expected).statistic)
    assert score(actual, np.ones(200)).spearman == 0.0


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=60))
def test_deciles_hold_every_customer_and_all_the_money(pairs: list[tuple[float, float]]) -> None:
    actual, expected = np.array(pairs).T
    found = deciles(actual, expected)
    assert found["customers"].sum() == len(pairs)
    assert found.select(pl.col("actual_mean") * pl.col("customers")).sum().item() == pytest.approx(actual.sum())
    assert found["expected_mean"].is_sorted()
    assert found["decile"].to_list() == list(range(1, min(len(pairs), 10) + 1))


@given(st.permutations(range(25)))
def test_the_order_of_customers_decides_nothing(order: list[int]) -> None:
    rng = np.random.default_rng(2)
    actual, expected = rng.poisson(2.0, 25).astype(float), rng.integers(0, 3, 25).astype(float)
    first, second = score(actual, expected), score(actual[order], expected[order])
    assert first.decile_error_fraction == pytest.approx(second.decile_error_fraction)
    assert first.spearman == pytest.approx(second.spearman)


def outcomes(n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Zero-heavy values (n,) and the mean from which each was drawn."""
    rng = np.random.default_rng(3)
    mean = rng.gamma(1.0, 20.0, n)
    return np.where(rng.random(n) < 0.3, mean / 0.3 * rng.gamma(2.0, 0.5, n), 0.0), mean


def test_expecting_too_little_of_everybody_does_not_win() -> None:
    """Half the true mean has the least absolute error, for most are worth nothing; its total rules it out."""
    actual, mean = outcomes()
    assert score(actual, 0.5 * mean).mae < score(actual, mean).mae
    found = choose(actual, {"honest": mean, "low": 0.5 * mean}, 0.1)
    assert found.winner == "honest"
    assert "out for a total off by low" in found.reason


def test_within_the_allowed_total_level_buys_nothing() -> None:
    actual, mean = outcomes()
    mean = mean * actual.sum() / mean.sum()
    assert score(actual, 0.93 * mean).mae < score(actual, mean).mae
    assert choose(actual, {"honest": mean, "low": 0.93 * mean}, 0.1).winner == "honest"
    assert choose(actual, {"low": 0.93 * mean, "honest": mean}, 0.1).winner == "low"  # a tie: the first is the simpler


def test_the_better_wins_and_a_tie_goes_to_the_simplest() -> None:
    actual, mean = outcomes()
    flat = np.full_like(mean, actual.mean())
    assert choose(actual, {"flat": flat, "mean": mean}, 0.1).winner == "mean"
    noisy = mean * np.exp(np.random.default_rng(4).normal(0, 0.001, len(mean)))
    assert choose(actual, {"simple": noisy, "rich": mean}, 0.1).winner == "simple"


def test_where_all_totals_are_off_the_nearest_serves() -> None:
    actual, mean = outcomes()
    assert choose(actual, {"far": 3.0 * mean, "near": 1.5 * mean}, 0.1).winner == "near"


def test_nothing_to_judge_by() -> None:
    found = choose(np.zeros(5), {"simple": np.ones(5), "rich": np.zeros(5)}, 0.1)
    assert found.winner == "simple"
    assert "none can be judged" in found.reason
    assert np.isnan(score(np.zeros(5), np.ones(5)).bias_fraction)
    with pytest.raises(ValueError, match="shapes"):
        score(np.zeros(0), np.zeros(0))


def test_rows_for_the_table() -> None:
    actual, mean = outcomes(100)
    rows = score_rows(score(actual, mean), actual, mean)
    assert rows["decile"].to_list() == list(range(11))
    assert rows["actual_total"][0] == pytest.approx(rows["actual_total"][1:].sum())
    assert rows["mae"].null_count() == 10
