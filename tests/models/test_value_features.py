"""Features of a cut-off: worked by hand, blind to what comes after, the same for rows in any order."""

from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from models.errors import DataError
from models.value_features import (
    FEATURES,
    cutoffs_after_first_order,
    cutoffs_at,
    features,
    histories,
    targets,
    valued,
)
from tests.models.test_clv import summarise
from tests.models.value_shop import order_days, shop

JAN = date(2026, 1, 1)


def on(day: int) -> date:
    return JAN + timedelta(days=day)


ORDERS = order_days(
    pl.DataFrame(
        {
            "customer_id": ["anna"] * 5 + ["ben"],
            "order_date": [on(0), on(10), on(10), on(40), on(90), on(5)],
            "value": [100.0, 20.0, 40.0, 30.0, 999.0, 50.0],
            "refunded_date": [None, None, None, on(45), None, on(9)],
            "kept_value": [100.0, 20.0, 40.0, 12.0, 999.0, 0.0],
        }
    )
)
FIRSTS = pl.DataFrame({"customer_id": ["anna", "ben"], "first_order_date": [on(0), on(5)], "channel": ["tv", None]})


def test_features_by_hand() -> None:
    """Anna, day 50: order days 0 (100), 10 (60), 40 (30 of which 12 are kept since day 45); gaps of 10 and 30 days."""
    row = features(FIRSTS, ORDERS, cutoffs_at(FIRSTS, on(50))).row(0, named=True)
    assert row["customer_id"] == "anna"
    found = {name: row[name] for name in FEATURES if row[name] is not None}
    assert found == {
        "channel": "tv", "first_value": 100.0, "age_days": 50.0, "recency_days": 40.0, "silence_days": 10.0,
        "frequency": 2.0, "orders": 4.0, "value_total": 172.0, "monetary_mean": 36.0, "value_max": 100.0,
        "refunded_fraction": 0.25, "gap_mean_days": 20.0, "gap_variation": pytest.approx(200.0**0.5 / 20.0),
        "value_last_30_days": 12.0, "value_last_90_days": 172.0, "order_days_last_30_days": 1.0,
        "order_days_last_90_days": 3.0,
    }  # fmt: skip


def test_a_refund_counts_from_the_day_it_was_given() -> None:
    before, after = (features(FIRSTS, ORDERS, cutoffs_at(FIRSTS, on(day))) for day in (44, 45))
    assert before["value_total"].to_list() == [190.0, 0.0]
    assert after["value_total"].to_list() == [172.0, 0.0]


def test_targets_by_hand() -> None:
    """In the 40 days after day 10 Anna's order of day 40 is worth the 12 that were kept; day 10 and 90 are outside."""
    cutoffs = pl.DataFrame({"customer_id": ["anna", "ben"], "cutoff_date": [on(10), on(5)]})
    found = targets(ORDERS, cutoffs, 40)
    assert found.select("customer_id", "target", "target_orders").rows() == [("anna", 12.0, 1.0), ("ben", 0.0, 0.0)]
    assert targets(ORDERS, cutoffs, 80)["target"].to_list() == [1011.0, 0.0]


def test_a_cut_off_before_the_first_order_has_no_row() -> None:
    early = pl.DataFrame({"customer_id": ["anna", "ben"], "cutoff_date": [on(3), on(3)]})
    assert features(FIRSTS, ORDERS, early)["customer_id"].to_list() == ["anna"]
    assert cutoffs_at(FIRSTS, on(3))["customer_id"].to_list() == ["anna"]
    assert cutoffs_after_first_order(FIRSTS, 30, on(31))["customer_id"].to_list() == ["anna"]


@given(day=st.integers(0, 60), seed=st.integers(0, 3), factor=st.floats(0.0, 1e4))
def test_nothing_after_the_cut_off_changes_a_feature(day: int, seed: int, factor: float) -> None:
    """Later orders are changed, dropped and invented, later refunds invented: the features keep every bit."""
    firsts, days = shop(seed, customers=40, days=120)
    cutoffs = cutoffs_after_first_order(firsts, day, date(2099, 1, 1))
    later = days.join(cutoffs, on="customer_id").select(pl.col("order_date") > pl.col("cutoff_date"), "cutoff_date")
    is_later = later["order_date"]
    tampered = days.with_columns(cutoff=later["cutoff_date"], later=is_later).with_columns(
        value=pl.when("later").then(pl.col("value") * factor).otherwise("value"),
        kept_value=pl.lit(-1.0),
        refunded_date=pl.col("cutoff") + pl.duration(days=1),
    )
    tampered = tampered.filter(~pl.col("later") | (pl.int_range(pl.len()) % 2 == 0)).drop("cutoff", "later")
    invented = cutoffs.select(
        "customer_id",
        order_date=pl.col("cutoff_date") + pl.duration(days=1),
        value=pl.lit(factor),
        refunded_date=pl.lit(None, dtype=pl.Date),
        orders=pl.lit(7, dtype=pl.Int64),
        kept_value=pl.lit(0.0),
    )
    tampered = pl.concat([tampered, invented.select(tampered.columns)])
    assert is_later.any() or day > 50
    assert_frame_equal(features(firsts, days, cutoffs), features(firsts, tampered, cutoffs), check_exact=True)


def test_a_change_before_the_cut_off_does_change_them() -> None:
    firsts, days = shop(1, customers=40, days=120)
    cutoffs = cutoffs_after_first_order(firsts, 7, date(2099, 1, 1))
    doubled = days.with_columns(pl.col("value") * 2.0)
    assert not features(firsts, days, cutoffs).equals(features(firsts, doubled, cutoffs))


def test_rows_in_any_order_give_the_same_bits() -> None:
    firsts, days = shop(2, customers=300)
    cutoffs = cutoffs_at(firsts, date(2025, 6, 1))
    mixed = [frame.sample(fraction=1.0, shuffle=True, seed=5) for frame in (firsts, days, cutoffs)]
    assert_frame_equal(features(firsts, days, cutoffs), features(*mixed), check_exact=True)
    assert_frame_equal(targets(days, cutoffs, 99), targets(mixed[1], mixed[2], 99), check_exact=True)


def test_histories_are_the_order_histories_of_the_lifetime_model() -> None:
    """Against the summary that the tests of the lifetime model write for themselves."""
    firsts, days = shop(3, customers=200)
    end = date(2025, 3, 1)
    found = histories(features(firsts, days, cutoffs_at(firsts, end)))
    merged = days.group_by("customer_id", day="order_date").agg(spend=pl.col("value").sum())
    expected = summarise(merged.sort("customer_id", "day"), end)
    assert_frame_equal(found.select(expected.columns), expected, check_dtypes=False)


def test_value_is_revenue_or_margin() -> None:
    rows = pl.DataFrame({"revenue": [100.0], "margin": [30.0], "net_revenue": [90.0], "net_margin": [27.0]})
    assert valued(rows, "margin").select("value", "kept_value").row(0) == (30.0, 27.0)
    assert valued(rows, "revenue").select("value", "kept_value").row(0) == (100.0, 90.0)
    with pytest.raises(ValueError, match="value is 'profit'"):
        valued(rows, "profit")


def test_histories_know_what_stood_before_the_last_window() -> None:
    """Anna: orders 100, 80 and 10 days before the cut-off; 56 days before it, one repeat 20 days after the first."""
    cut = date(2026, 6, 1)
    days = pl.DataFrame(
        {
            "customer_id": ["anna"] * 3 + ["ben"],
            "order_date": [cut - timedelta(days=ago) for ago in (100, 80, 10, 55)],
            "refunded_date": pl.Series([None] * 4, dtype=pl.Date),
            "orders": [1] * 4,
            "value": [1.0] * 4,
            "kept_value": [1.0] * 4,
        }
    )
    firsts = pl.DataFrame({"customer_id": ["anna", "ben"]})
    found = histories(features(firsts, days, pl.DataFrame({"customer_id": ["anna", "ben"], "cutoff_date": [cut, cut]})))
    assert found.select("customer_id", "frequency_before", "recency_before_days").rows() == [
        ("anna", 1.0, 20.0),
        ("ben", None, None),
    ]


def test_order_days_without_a_column_are_refused() -> None:
    with pytest.raises(DataError, match="kept_value"):
        features(FIRSTS, ORDERS.drop("kept_value"), cutoffs_at(FIRSTS, on(50)))
