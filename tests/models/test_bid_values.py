"""What bids multiply: values of clicks, the part of them that ads caused, lifetime value, and margin, each once."""

from datetime import date, timedelta

import polars as pl
import pytest

from models.bid_incrementality import (
    NO_MARGIN,
    NO_MIX,
    NOT_MONEY,
    Money,
    channel_incrementality,
    click_returns,
    clv_ratios,
)
from models.bid_plan import BidPlanConfig, plan_bids
from models.bid_values import click_values, lifetime_channels, order_values
from tests.models.bid_simulator import lines


def test_incrementality_is_the_mix_over_what_bids_multiply() -> None:
    returns = pl.DataFrame({"channel": ["a", "b", "c"], "click_roas": [8.0, None, 0.5]})
    mix = pl.DataFrame({"channel": ["a", "b", "c"], "roas_mean": [2.0, 2.0, None], "roas_p05": [1.0, 1.0, None],
                        "roas_p95": [3.0, 3.0, None]}, schema_overrides={"roas_mean": pl.Float64})  # fmt: skip
    found = channel_incrementality(returns, mix)
    # 2 of 8 a euro: a quarter, 1/8 to 3/8
    assert found.row(0)[:4] == ("a", 0.25, 0.125, 0.375)
    assert found["incrementality"].to_list()[1:] == [1.0, 1.0]
    assert "no value of the channel's clicks" in found["incrementality_reason"][1]
    assert "no mix model" in found["incrementality_reason"][2]
    assert channel_incrementality(returns, None)["incrementality"].to_list() == [1.0] * 3
    assert "not money" in channel_incrementality(returns, None, lack=NOT_MONEY)["incrementality_reason"][0]


def test_values_times_incrementality_add_up_to_what_the_mix_model_says() -> None:
    """Whatever clicks are thought to be worth: the planned value of bids as they are is the mix's ROAS times cost."""
    mix = pl.DataFrame({"channel": ["search"], "roas_mean": [1.5], "roas_p05": [1.4], "roas_p95": [1.6]})
    for factor in (0.7, 1.0, 2.0):
        frame = lines().with_columns(pl.col("^value_per_click.*$") * factor)
        returns = click_returns(frame)
        assert returns["click_roas"][0] == pytest.approx(
            float(frame["clicks"] @ frame["value_per_click"]) / float(frame["cost"].sum())
        )
        plan = plan_bids(frame, channel_incrementality(returns, mix), config=BidPlanConfig(sure=0.9999))
        value = plan["value_per_click"] * plan["clicks"] * plan["incrementality"]
        assert value.sum() == pytest.approx(1.5 * plan["cost"].sum())


def test_lifetime_value_is_not_divided_out_of_the_bids() -> None:
    """Clicks at 3 times the order's value: the mix's ROAS over orders, 0.02 * 50 a click; the threefold value stays."""
    frame = lines().with_columns(pl.lit(3.0).alias(f"value_per_click{end}") for end in ("", "_p05", "_p95"))
    orders = pl.DataFrame({"channel": ["search"], "order_value": [50.0]})
    returns = click_returns(frame, orders)
    assert returns["click_roas"][0] == pytest.approx(float(frame["clicks"].sum()) / float(frame["cost"].sum()))
    half = pl.DataFrame({"channel": ["search"], "roas_mean": returns["click_roas"] / 2})
    found = channel_incrementality(returns, half)
    assert found["incrementality"].to_list() == pytest.approx([0.5])
    plan = plan_bids(frame, found)
    per_click = plan["planned_value"].sum() / plan["planned_clicks"].sum()
    assert per_click == pytest.approx(1.5)
    unknown = click_returns(frame, orders.with_columns(order_value=pl.lit(None, dtype=pl.Float64)))
    assert unknown.rows() == [("search", None)]


def test_lifetime_value_is_told_channel_by_channel() -> None:
    clicks = pl.DataFrame(
        {"channel": ["a", "b", "c", "d"], "campaign": ["x", "x", None, "x"],
         "new_customer_share": [0.5, None, 0.5, 0.4]}
    )  # fmt: skip
    worth = pl.DataFrame(
        {"channel": ["a", "b", "c", "d"], "campaign": [None, None, "y", "x"], "clv_mean": [9.0, 9.0, 9.0, None]},
        schema_overrides={"campaign": pl.String},
    )
    assert lifetime_channels(clicks, worth) == ("a",)  # b's customers, c's campaign, d's value are not known
    assert lifetime_channels(clicks.drop("new_customer_share"), worth) == ()
    assert lifetime_channels(None, worth) == ()
    conversions = pl.DataFrame(
        {"channel": ["a", "a", "b"], "valued_count": [1, 3, 6], "value_sum": [10.0, 70.0, 120.0]}
    )
    assert order_values(conversions, ("a", "c")).rows() == [("a", 20.0), ("c", 20.0)]  # c as all: 200 / 10
    earned = conversions.with_columns(margin_sum=pl.col("value_sum") * 0.4)
    assert order_values(earned, ("a",), "margin").rows() == [("a", pytest.approx(8.0))]
    assert order_values(None, ("a",)).rows() == [("a", None)]


@pytest.mark.parametrize(
    ("kpi", "clicks", "earned", "factor", "fraction"),
    [
        ("revenue", "revenue", 0.4, 1.0, 0.5),
        ("margin", "revenue", 0.4, 0.4, 0.4),
        ("margin", "margin", 0.4, 1.0, 1.0),
        ("revenue", "margin", 0.4, 2.5, 1.0),
        ("conversions", "revenue", 0.4, None, 0.5),
        ("conversions", "margin", 0.4, None, 1.0),
        ("margin", "revenue", None, None, 0.5),
        ("margin", "revenue", -0.1, None, 1e-6),
    ],
)
def test_margin_is_taken_once_whatever_counts_it(
    kpi: str, clicks: str, earned: float | None, factor: float | None, fraction: float
) -> None:
    money = Money(kpi=kpi, clicks=clicks, earned=earned)
    assert money.kpi_factor == factor
    assert money.margin_fraction(0.5) == fraction
    assert money.lack == (NO_MIX if factor else NOT_MONEY if kpi == "conversions" else NO_MARGIN)


def test_a_campaign_without_an_interval_leaves_its_channel_without_one() -> None:
    campaign = pl.DataFrame(
        {"channel": ["a", "a", "b", "b"], "campaign": ["x", "y", "x", "y"], "conversion_probability": [0.1] * 4,
         "value_per_click": [2.0, 4.0, 2.0, 4.0], "value_per_click_p05": [1.0, None, 1.0, 3.0],
         "value_per_click_p95": [3.0, None, 3.0, 5.0], "clicks": [30, 10, 30, 10]}
    )  # fmt: skip
    bids = pl.DataFrame({"date": [date(2026, 6, 1)], "channel": ["a"], "clicks": [1.0]})
    found = click_values(None, campaign, bids, date(2026, 6, 30)).filter(pl.col("campaign").is_null())
    names = ("channel", "value_per_click", "value_per_click_p05", "value_per_click_p95")
    assert found.select(names).rows() == [("a", 2.5, None, None), ("b", 2.5, 1.5, 3.5)]


def test_clv_ratios_are_over_the_mean_customer() -> None:
    scorecard = pl.DataFrame(
        {"channel": ["a", "b", "c"], "clv_mean": [100.0, 200.0, None], "new_customers": [30, 10, 5]}
    )
    # mean (30 * 100 + 10 * 200) / 40 = 125
    assert clv_ratios(scorecard).rows() == [("a", 0.8), ("b", 1.6)]
    assert clv_ratios(None).is_empty()


def test_values_come_from_the_most_careful_source() -> None:
    figures = {"value_per_click_p05": 1.0, "value_per_click_p95": 9.0, "conversion_probability": 0.1}
    keyword = pl.DataFrame(
        [{"channel": "a", "campaign": "x", "keyword": "k", "value_per_click": 4.0, "clicks": 5, **figures}]
    )
    campaign = pl.DataFrame(
        [{"channel": "a", "campaign": c, "value_per_click": v, "clicks": n, **figures} for c, v, n in
         (("x", 2.0, 30), ("y", 6.0, 10))]
    )  # fmt: skip
    day = pl.date(2026, 6, 1)
    bids = pl.DataFrame(
        {"channel": ["a", "b"], "clicks": [10.0, 20.0], "conversions": [1.0, 2.0], "value": [5.0, 50.0]}
    )
    bids = bids.with_columns(date=day)
    found = click_values(keyword, campaign, bids, date(2026, 6, 30)).select(
        "channel", "campaign", "keyword", "value_per_click"
    )
    assert set(found.rows()) == {
        ("a", "x", "k", 4.0), ("a", "x", None, 2.0), ("a", "y", None, 6.0),
        ("a", None, None, 3.0),  # (30 * 2 + 10 * 6) / 40
        ("b", None, None, 2.5),
    }  # fmt: skip
    assert click_values(None, None, bids.drop("value"), date(2026, 6, 30)).is_empty()


def test_days_that_report_no_value_do_not_count_as_days_of_nothing() -> None:
    days = [date(2026, 6, 1) + timedelta(days=i) for i in range(4)]
    bids = pl.DataFrame(
        {"date": days, "channel": ["a"] * 4, "clicks": [10.0] * 4, "conversions": [1.0, 1.0, 1.0, None],
         "value": [50.0, None, None, 30.0]}
    )  # fmt: skip
    row = click_values(None, None, bids, date(2026, 6, 30)).row(0, named=True)
    assert row["value_per_click"] == pytest.approx(80.0 / 20.0)
    assert row["conversion_probability"] == pytest.approx(3.0 / 30.0)
