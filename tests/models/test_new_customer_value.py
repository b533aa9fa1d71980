"""Values of new customers: the curve by hand, known channels inside the interval, small campaigns lean on theirs."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from models import clv
from models.btyd import PurchaseParameters, expected_orders
from models.company.history import run_history
from models.company.tables import customer_table, order_table
from models.company.truth import truth_of
from models.company.world import CompanyConfig, draw_world
from models.errors import DataError
from models.new_customer_value import NewCustomerConfig, NewCustomerValue, new_customer_value
from models.value_features import cutoffs_at, features, histories
from tests.models.value_shop import AS_OF, HORIZON, ORDER, RATES, order_days, shop, true_value

CONFIG = NewCustomerConfig()


def value_of(found: NewCustomerValue, channel: str, campaign: str | None = None) -> dict[str, float]:
    rows = found.table.filter(pl.col("channel") == channel, pl.col("campaign").eq_missing(pl.lit(campaign)))
    return rows.row(0, named=True)


def test_the_curve_by_hand() -> None:
    """Ada, observed 2 days: 10 on day 0, 4 on day 1, 6 on day 2. Bo, observed 1 day: 20, then 2. Cy, 0 days: 30.

    Day 0: 60 / 3; day 1: (4 + 2) / 2; day 2: 6 / 1: 20 + 3 + 6 = 29. Bo's order of day 2 is after the end.
    """
    start = date(2026, 1, 1)
    rows = [("ada", 0, 10.0), ("ada", 1, 4.0), ("ada", 2, 6.0), ("bo", 1, 20.0), ("bo", 2, 2.0), ("cy", 2, 30.0)]
    days = order_days(
        pl.DataFrame(
            [(who, start + timedelta(days=day), value) for who, day, value in rows],
            schema=["customer_id", "order_date", "value"],
            orient="row",
        )
    )
    firsts = pl.DataFrame(
        {
            "customer_id": ["ada", "bo", "cy"],
            "first_order_date": [start, start + timedelta(days=1), start + timedelta(days=2)],
            "channel": ["tv"] * 3,
            "campaign": [None] * 3,
        },
        schema_overrides={"campaign": pl.String},
    )
    found = new_customer_value(firsts, days, start + timedelta(days=2), 2, NewCustomerConfig(at_risk_min=1))
    row = found.table.row(0, named=True)
    assert row["clv_mean"] == pytest.approx(29.0)
    assert row["first_order_value"] == pytest.approx(20.0)
    assert found.observed_days == 2


def test_fully_observed_customers_give_the_plain_mean() -> None:
    """Nobody is cut off: the curve is the mean of what each customer brought, its error that of a mean."""
    firsts, days = shop(1, after=HORIZON)
    end = AS_OF + timedelta(days=HORIZON)
    firsts = firsts.with_columns(channel=pl.lit("all"), campaign=pl.lit(None, dtype=pl.String))
    found = new_customer_value(firsts, days, end, HORIZON, CONFIG)
    row = value_of(found, "all")
    inside = days.join(firsts, on="customer_id").filter(
        pl.col("order_date") <= pl.col("first_order_date") + pl.duration(days=HORIZON)
    )
    brought = inside.group_by("customer_id").agg(pl.col("value").sum())["value"].to_numpy()
    assert row["clv_mean"] == pytest.approx(brought.mean(), rel=1e-9)
    assert (row["clv_p95"] - row["clv_p05"]) / 2 >= 1.6449 * brought.std() / len(brought) ** 0.5 * 0.99


def test_known_channels_are_inside_their_interval_and_in_order() -> None:
    hits, wide = 0, []
    for seed in range(100, 110):
        firsts, days = shop(seed)
        found = new_customer_value(firsts, days, AS_OF, HORIZON, CONFIG)
        means = [value_of(found, channel)["clv_mean"] for channel in RATES]
        assert means == sorted(means)
        for channel in RATES:
            row = value_of(found, channel)
            hits += row["clv_p05"] <= ORDER + true_value(channel) <= row["clv_p95"]
            wide.append((row["clv_p95"] - row["clv_p05"]) / row["clv_mean"])
    assert hits >= 24  # of 30: 90 % is 27, and fewer than 24 have a chance of 2.6 %
    assert max(wide) < 0.35


def test_more_customers_come_closer() -> None:
    def error(customers: int) -> float:
        gaps = []
        for seed in range(120, 124):
            found = new_customer_value(*shop(seed, customers), AS_OF, HORIZON, CONFIG)
            gaps += [abs(value_of(found, name)["clv_mean"] / (ORDER + true_value(name)) - 1.0) for name in RATES]
        return float(np.mean(gaps))

    few, many = error(500), error(12_000)
    assert few < 0.15
    assert many < 0.03


def test_a_campaign_with_five_customers_leans_on_its_channel() -> None:
    """Five customers who brought 1.7 times the usual hardly move their campaign; three hundred with 1.19 times do."""
    firsts, days = shop(5)
    rich = firsts.filter(pl.col("channel") == "social", pl.col("first_order_date") < date(2025, 1, 1))["customer_id"]

    def lift(customers: int) -> tuple[float, float]:
        chosen = pl.col("customer_id").is_in(rich.head(customers).to_list())
        named = firsts.with_columns(campaign=pl.when(chosen).then(pl.lit("club")).otherwise("campaign"))
        spent = days.with_columns(
            pl.when(chosen).then(pl.col(name) * 1.3).otherwise(name) for name in ("value", "kept_value")
        )
        found = new_customer_value(named, spent, AS_OF, HORIZON, CONFIG)
        club, channel = value_of(found, "social", "club"), value_of(found, "social")
        assert club["customers"] == customers
        return club["clv_mean"] / channel["clv_mean"], club["shrinkage"]

    (few, leaning), (many, standing) = lift(5), lift(300)
    assert few < 1.1
    assert leaning > 0.9
    assert many > 1.15
    assert standing < 0.2


def test_a_campaign_that_just_began_has_the_value_of_its_channel() -> None:
    firsts, days = shop(6)
    last = pl.col("first_order_date") > AS_OF - timedelta(days=10)
    named = firsts.with_columns(campaign=pl.when(last).then(pl.lit("new")).otherwise("campaign"))
    found = new_customer_value(named, days, AS_OF, HORIZON, CONFIG)
    for channel in RATES:
        new, whole = value_of(found, channel, "new"), value_of(found, channel)
        assert new["clv_mean"] == pytest.approx(whole["clv_mean"], rel=0.25)
        assert new["clv_p05"] <= whole["clv_mean"] <= new["clv_p95"]
        assert new["clv_p95"] - new["clv_p05"] > whole["clv_p95"] - whole["clv_p05"]


def test_beyond_the_observed_ages_the_lifetime_model_carries_on() -> None:
    """The repeat value grows by the ratio of expected orders of a new customer, and the sentence says so."""
    firsts, days = shop(7, days=200)
    end = date(2024, 1, 1) + timedelta(days=200)
    fitted = clv.fit(histories(features(firsts, days, cutoffs_at(firsts, end))), clv.CLVConfig())
    near = new_customer_value(firsts, days, end, 365, CONFIG)
    far = new_customer_value(firsts, days, end, 365, CONFIG, fitted)
    purchase = fitted.purchases.parameters
    assert isinstance(purchase, PurchaseParameters)
    weeks = np.array([far.observed_days, 365]) / 7.0
    orders = expected_orders(purchase, weeks, np.zeros(2), np.zeros(2), np.zeros(2))
    for channel in RATES:
        cut, row = value_of(near, channel), value_of(far, channel)
        grown = (row["clv_mean"] - row["first_order_value"]) / (cut["clv_mean"] - cut["first_order_value"])
        assert grown == pytest.approx(orders[1] / orders[0])
        assert row["observed_fraction"] == pytest.approx(cut["clv_mean"] / row["clv_mean"])
    assert "no lifetime model" in near.reasons[0]
    assert "carried on by the lifetime model" in far.reasons[0]
    assert set(far.table["method"]) == {"mean_cumulative+lifetimes"}


def test_a_level_that_changes_between_quarters_widens_the_interval() -> None:
    firsts, days = shop(8)
    steady = new_customer_value(firsts, days, AS_OF, HORIZON, CONFIG)
    late = pl.col("order_date") > AS_OF - timedelta(days=182)
    changed = days.with_columns(
        pl.when(late).then(pl.col(name) * 0.3).otherwise(name) for name in ("value", "kept_value")
    )
    moved = new_customer_value(firsts, changed, AS_OF, HORIZON, CONFIG)
    assert moved.period_sd > 2.0 * steady.period_sd
    width = [
        (row["clv_p95"] - row["clv_p05"]) / row["clv_mean"]
        for row in (value_of(steady, "video"), value_of(moved, "video"))
    ]
    assert width[1] > 1.5 * width[0]


@settings(max_examples=15)
@given(seed=st.integers(0, 50), customers=st.integers(1, 40), horizon=st.integers(1, 400), factor=st.floats(0.01, 100))
def test_laws_of_any_shop(seed: int, customers: int, horizon: int, factor: float) -> None:
    """Finite, in order, never below 0; money in another unit changes nothing else; nor does the order of rows."""
    firsts, days = shop(seed, customers)
    found = new_customer_value(firsts, days, AS_OF, horizon, CONFIG)
    amounts = ("first_order_value", "clv_mean", "clv_p05", "clv_p95")
    values = found.table.select(amounts).to_numpy()
    assert np.all(np.isfinite(values))
    assert np.all((values >= 0.0) & (values[:, [2]] <= values[:, [3]]))
    assert found.table.filter(pl.col("campaign").is_null())["customers"].sum() == customers
    scaled = days.with_columns(pl.col("value", "kept_value") * factor)
    other = new_customer_value(firsts, scaled, AS_OF, horizon, CONFIG).table.select(amounts).to_numpy()
    assert other == pytest.approx(values * factor, rel=1e-6)
    mixed = (firsts.sample(fraction=1.0, shuffle=True, seed=1), days.sample(fraction=1.0, shuffle=True, seed=2))
    assert_frame_equal(new_customer_value(*mixed, AS_OF, horizon, CONFIG).table, found.table, check_exact=True)


def test_worthless_orders_and_no_orders() -> None:
    firsts, days = shop(9, 50)
    found = new_customer_value(firsts, days.with_columns(pl.col("value", "kept_value") * 0.0), AS_OF, HORIZON, CONFIG)
    assert found.table["clv_p95"].to_list() == [0.0] * len(found.table)
    with pytest.raises(DataError, match="No customer has an order"):
        new_customer_value(firsts.head(0), days, AS_OF, HORIZON, CONFIG)
    with pytest.raises(ValueError, match="at_risk_min is 0"):
        NewCustomerConfig(at_risk_min=0)


def test_the_demo_company_s_channels() -> None:
    """Two companies, net of refunds as their truth counts: at most two of twelve channels outside, order right."""
    outside = 0
    for seed in (910, 911):
        history = run_history(draw_world(CompanyConfig(seed=seed)))
        orders, as_of = order_table(history), history.world.config.last_day
        days = order_days(
            orders.select(
                "customer_id",
                pl.col("ordered_at").dt.date().alias("order_date"),
                value="revenue",
                refunded_date=pl.col("refunded_at").dt.date(),
            )
        )
        first = customer_table(history)
        firsts = first.select(
            "customer_id", pl.col("acquired_at").dt.date().alias("first_order_date"),
            pl.col("channel").fill_null("organic"), "campaign",
        )  # fmt: skip
        found = new_customer_value(firsts, days, as_of, 365, CONFIG)
        truth = {name: values["clv_new_customer"] for name, values in truth_of(history)["channels"].items()}
        rows = {name: value_of(found, name) for name in truth}
        outside += sum(not row["clv_p05"] <= truth[name] <= row["clv_p95"] for name, row in rows.items())
        by_value = sorted(truth, key=lambda name: truth[name])
        assert by_value == sorted(rows, key=lambda name: rows[name]["clv_mean"])
    assert outside <= 2
