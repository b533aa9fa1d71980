"""CLV-adjusted priority: the published table, and that it rises with return and with value."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.clv_priority import PriorityConfig, clv_multiplier, priorities, with_priority

TABLE = pl.DataFrame(
    [
        ("Branded Paid Search", 5.0, 60.0, "Medium"),
        ("Generic Paid Search", 2.5, 500.0, "High"),
        ("Display Retargeting", 4.0, 50.0, "Medium"),
        ("Prospecting Display", 1.2, 1000.0, "High"),
    ],
    schema=["campaign", "roas", "clv_mean", "expected"],
    orient="row",
)
RANK = {"Low": 0, "Medium": 1, "High": 2}
CONFIG = PriorityConfig()


def test_the_published_table() -> None:
    found = with_priority(TABLE, CONFIG)
    assert found["priority"].to_list() == TABLE["expected"].to_list()
    mean = (60 + 500 + 50 + 1000) / 4
    assert found["clv_adjusted_roas"].to_list() == pytest.approx(
        [5.0 * 60 / mean, 2.5 * 500 / mean, 4.0 * 50 / mean, 1.2 * 1000 / mean]
    )
    # by short-term return alone the order would be another
    assert found.sort("clv_adjusted_roas", descending=True)["campaign"][0] == "Generic Paid Search"
    assert found.sort("roas", descending=True)["campaign"][0] == "Branded Paid Search"


def test_the_table_is_not_on_the_edge_of_a_threshold() -> None:
    """The same priorities with every threshold a quarter higher or a fifth lower."""
    for factor in (0.8, 1.25):
        moved = PriorityConfig(
            high_min=CONFIG.high_min * factor,
            high_over_mean_min=CONFIG.high_over_mean_min * factor,
            medium_min=CONFIG.medium_min * factor,
        )
        assert with_priority(TABLE, moved)["priority"].to_list() == TABLE["expected"].to_list()


values = st.floats(0.0, 1e6, allow_subnormal=False)


@given(st.lists(st.tuples(values, values, st.integers(1, 1000)), min_size=2, max_size=8), values, values)
def test_laws(lines: list[tuple[float, float, int]], more: float, richer: float) -> None:
    frame = pl.DataFrame(lines, schema=["roas", "clv_mean", "new_customers"], orient="row")
    clv, weight = frame["clv_mean"].to_numpy(), frame["new_customers"].to_numpy().astype(float)
    before = with_priority(frame, CONFIG)
    if clv @ weight <= 0:
        assert before["priority"].null_count() == len(lines)
        return
    multiplier = clv_multiplier(clv, weight)
    assert multiplier @ weight / weight.sum() == pytest.approx(1.0)  # the mean customer counts as one
    assert clv_multiplier(7.0 * clv, weight) == pytest.approx(multiplier)  # in any currency
    first = pl.int_range(pl.len()) == 0
    for name, gain in (("roas", more), ("clv_mean", richer)):  # a better line never falls, whatever the others are
        better = with_priority(frame.with_columns(pl.col(name) + pl.when(first).then(gain).otherwise(0.0)), CONFIG)
        assert better["clv_adjusted_roas"][0] >= before["clv_adjusted_roas"][0] * (1 - 1e-9)
        if gain == 0.0 or gain > 1e-6 * frame[name][0]:  # not by a rounding error
            assert RANK[better["priority"][0]] >= RANK[before["priority"][0]]
    alike = with_priority(frame.with_columns(clv_mean=pl.lit(5.0)), CONFIG)
    assert alike["clv_adjusted_roas"].to_numpy() == pytest.approx(frame["roas"].to_numpy())


def test_unknown_stays_unknown_and_does_not_move_the_mean() -> None:
    found = with_priority(pl.DataFrame({"roas": [2.0, None, 2.0], "clv_mean": [10.0, 30.0, None]}), CONFIG)
    assert found["clv_adjusted_roas"].to_list() == [1.0, None, None]
    assert found["priority"].to_list() == ["High", None, None]
    assert priorities(np.array([np.nan]), np.ones(1), CONFIG) == [None]


def test_thresholds_are_inclusive_and_checked() -> None:
    spend = np.array([5.0, 1.0, 1.0, 1.0, 1.0])
    low = np.array([1.0, 0.999, 1 / 3, 0.333, np.nan])
    assert priorities(low, spend, CONFIG) == ["High", "Medium", "Medium", "Low", None]
    # all four return their euro; the mean euro, weighed by spend, brings (5 * 2 + 4 + 3 + 1) / 8 = 2.25
    rich = np.array([2.0, 4.0, 3.0, 1.0, np.nan])
    assert priorities(rich, spend, CONFIG) == ["Medium", "High", "High", "Medium", None]
    assert priorities(np.full(3, 1.1), np.zeros(3), CONFIG) == ["High"] * 3
    with pytest.raises(ValueError, match="medium_min"):
        PriorityConfig(high_min=0.2)
