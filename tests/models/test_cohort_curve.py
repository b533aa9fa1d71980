"""Cohort curves: sums by hand, right-censoring, the laws of a cumulative curve, recovery of a known truth."""

import math
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import clv
from models.btyd import PurchaseParameters, expected_orders_if_alive
from models.cohort_curve import ALL, CohortCurveConfig, cohort_curves, months_to_reach

AS_OF = date(2026, 3, 31)
THREE = CohortCurveConfig(months=3, customers_min=1)


def cells(rows: list[tuple[str, date, int, int, int, int, float]]) -> pl.DataFrame:
    names = ("channel", "cohort_month", "month", "customers", "ordering_customers", "returning_customers", "revenue")
    frame = pl.DataFrame(rows, schema=names, orient="row")
    return frame.with_columns(margin=0.5 * pl.col("revenue"))


def hand() -> pl.DataFrame:
    """January is seen to month 2, February to month 1, March to month 0: 31 March less so many months."""
    jan, feb, mar = date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)
    return cells(
        [
            ("search", jan, 0, 10, 10, 0, 500.0),
            ("search", jan, 1, 10, 4, 4, 200.0),
            ("search", jan, 2, 10, 3, 1, 140.0),
            ("search", feb, 0, 20, 20, 0, 1000.0),
            ("search", feb, 1, 20, 8, 8, 800.0),
            ("search", feb, 2, 20, 2, 1, 999.0),  # a month that is only half over
            ("search", mar, 0, 5, 5, 0, 300.0),
            ("social", jan, 0, 10, 10, 0, 100.0),
        ]
    )


def of(frame: pl.DataFrame, channel: str, cohort: str) -> pl.DataFrame:
    return frame.filter(channel=channel, cohort_month=cohort).sort("month")


def test_by_hand() -> None:
    found = cohort_curves(hand(), AS_OF, THREE)
    january = of(found, "search", "2026-01")
    assert january["value_per_customer"].to_list() == [50.0, 70.0, 84.0, None]
    assert january["observed"].to_list() == [True, True, True, False]
    assert january["retention"].to_list() == [1.0, 0.4, 0.3, None]
    assert january["returned_fraction"].to_list() == [0.0, 0.4, 0.5, None]
    assert january["value_p05"].to_list() == [None] * 4
    # growth: (700 + 1800) / (500 + 1000) = 5/3, then 840 / 700 = 6/5 from January alone
    february = of(found, "search", "2026-02")
    assert february["value_per_customer"].to_list() == pytest.approx([50.0, 90.0, 108.0, None])
    assert february["observed"].to_list() == [True, True, False, False]
    assert of(found, "search", "2026-03")["value_per_customer"].to_list() == pytest.approx([60.0, 100.0, 120.0, None])
    pooled = of(found, "search", ALL)  # 1800 / 35 = 51.43 and the same growth
    assert pooled["value_per_customer"].to_list() == pytest.approx([1800 / 35, 3000 / 35, 3600 / 35, None])
    assert pooled["customers"].to_list() == [35, 30, 10, 0]
    assert pooled["retention"].to_list() == pytest.approx([1.0, 12 / 30, 3 / 10, None])
    # of 30 seen 12 came in month 1; of January's 6 still away 1 came in month 2: 1 - 18/30 * 5/6
    assert pooled["returned_fraction"].to_list() == pytest.approx([0.0, 0.4, 0.5, None])
    everybody = of(found, ALL, "2026-01")
    assert everybody["customers"].to_list() == [20] * 4
    assert everybody["value_per_customer"].to_list()[:3] == [30.0, 40.0, 47.0]


def test_margin_is_taken_where_value_is_margin() -> None:
    revenue, margin = (
        cohort_curves(hand(), AS_OF, THREE, kind)["value_per_customer"] for kind in ("revenue", "margin")
    )
    assert (2.0 * margin).to_list() == pytest.approx(revenue.to_list())


@pytest.mark.parametrize(
    ("as_of", "seen"),
    [
        (date(2026, 1, 15), 1),  # mid-month: the first order itself is known
        (date(2026, 2, 27), 1),  # whoever came on 31 January is a customer for a month on 28 February
        (date(2026, 2, 28), 2),
        (date(2026, 3, 30), 2),
        (date(2026, 3, 31), 3),
    ],
)
def test_a_cell_is_observed_once_its_youngest_customer_is_that_old(as_of: date, seen: int) -> None:
    found = cohort_curves(hand().filter(pl.col("cohort_month") == date(2026, 1, 1)), as_of, THREE)
    assert of(found, "search", "2026-01")["observed"].sum() == seen


def test_a_channel_with_few_customers_takes_the_growth_of_all() -> None:
    few = CohortCurveConfig(months=2, customers_min=25)
    found = cohort_curves(hand(), AS_OF, few)
    common = of(found, ALL, ALL)["value_per_customer"].to_numpy()
    assert of(found, "search", "2026-03")["value_per_customer"][1] == pytest.approx(60 * 5 / 3)  # its own: 30 behind it
    social = of(found, "social", "2026-01")["value_per_customer"].to_list()
    assert social == [10.0, 10.0, 10.0]  # observed, so nothing is projected
    assert of(found, "search", "2026-02")["value_per_customer"][2] == pytest.approx(90.0 * common[2] / common[1])


def test_a_handful_of_first_customers_does_not_carry_the_curve() -> None:
    """The company's first two customers came on 31 December: what they did a month longer than others says nothing."""
    early = cells([("search", date(2025, 12, 1), 0, 2, 2, 0, 100.0), ("search", date(2025, 12, 1), 3, 2, 1, 1, 900.0)])
    many = hand().with_columns(pl.selectors.integer().exclude("month") * 20, revenue=pl.col("revenue") * 20)
    config = CohortCurveConfig(months=3, customers_min=100)
    pooled = of(cohort_curves(pl.concat([early, many.filter(channel="search")]), AS_OF, config), ALL, ALL)
    assert pooled["observed"].to_list() == [True, True, True, False]
    assert pooled["value_per_customer"][3] is None
    trusting = CohortCurveConfig(months=3, customers_min=1)
    misled = of(cohort_curves(pl.concat([early, many.filter(channel="search")]), AS_OF, trusting), ALL, ALL)
    assert misled["value_per_customer"][3] > 8 * misled["value_per_customer"][2]


def test_a_channel_named_like_the_total_keeps_its_rows() -> None:
    found = cohort_curves(hand().with_columns(channel=pl.lit(ALL)), AS_OF, THREE)
    assert set(found["channel"]) == {ALL, "all (channel)"}


# ---- laws ----

rows = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]), st.integers(0, 5), st.integers(0, 6), st.integers(1, 30), st.integers(0, 10**6)
    ),
    min_size=1,
    max_size=40,
    unique_by=lambda row: row[:3],
)


def random_cells(drawn: list[tuple[str, int, int, int, int]]) -> pl.DataFrame:
    sizes = {(channel, cohort): who for channel, cohort, _, who, _ in drawn}
    firsts = [(channel, cohort, 0, who, 500 * who) for (channel, cohort), who in sizes.items()]
    known = {row[:3] for row in firsts}
    more = [row for row in drawn if row[:3] not in known]
    return cells(
        [
            (
                channel,
                date(2025, 10 + cohort, 1) if cohort < 3 else date(2026, cohort - 2, 1),
                month,
                sizes[channel, cohort],
                sizes[channel, cohort] if month == 0 else min(who, sizes[channel, cohort]),
                0,
                cents / 100,
            )
            for channel, cohort, month, who, cents in [*firsts, *more]
        ]
    )


@given(rows, st.randoms(use_true_random=False))
def test_laws(drawn: list[tuple[str, int, int, int, int]], random: Any) -> None:
    orders = random_cells(drawn)
    config = CohortCurveConfig(months=6, customers_min=20)
    found = cohort_curves(orders, AS_OF, config)
    shuffled = orders.sample(fraction=1.0, shuffle=True, seed=random.randint(0, 999))
    assert cohort_curves(shuffled, AS_OF, config).equals(found)
    for _, curve in found.group_by("channel", "cohort_month", maintain_order=True):
        value = curve["value_per_customer"].drop_nulls().to_numpy()
        assert np.all(np.diff(value) >= -1e-9 * value[1:])  # never falls while nothing is given back
        assert curve["observed"].to_list() == sorted(curve["observed"], reverse=True)
        assert curve["retention"].drop_nulls().is_between(0, 1).all() and curve["retention"][0] == 1.0
    cohorts = found.filter(pl.col("channel") != ALL, pl.col("cohort_month") != ALL)
    first = cohorts.filter(month=0).select((pl.col("value_per_customer") * pl.col("customers")).sum()).item()
    assert first == pytest.approx(orders.filter(month=0)["revenue"].sum())  # month 0 is the first order
    last = cohorts.filter("observed").sort("month").group_by("channel", "cohort_month").last()
    seen = orders.with_columns(cohort_month=pl.col("cohort_month").dt.strftime("%Y-%m")).join(
        last.select("channel", "cohort_month", until="month"), on=["channel", "cohort_month"]
    )
    held = (last["value_per_customer"] * last["customers"]).sum()  # what is observed is there, once
    assert held == pytest.approx(seen.filter(pl.col("month") <= pl.col("until"))["revenue"].sum())


@given(st.lists(st.floats(0, 100), min_size=1, max_size=24), st.floats(0, 1000), st.floats(0, 1000))
def test_payback_comes_later_for_more_money(steps: list[float], one: float, other: float) -> None:
    curve = np.cumsum(steps)
    low, high = sorted((one, other))
    early, late = months_to_reach(curve, low), months_to_reach(curve, high)
    assert (late is None) or (early is not None and early <= late + 1e-9)
    if early is not None:
        assert np.interp(early, np.arange(len(curve)), curve) == pytest.approx(max(low, curve[0]), abs=1e-6)


@pytest.mark.parametrize(
    ("amount", "months"), [(40.0, 0.0), (50.0, 0.0), (60.0, 0.5), (70.0, 1.0), (77.0, 1.5), (84.0, 2.0), (85.0, None)]
)
def test_payback_is_read_off_between_months(amount: float, months: float | None) -> None:
    found = months_to_reach(np.array([50.0, 70.0, 84.0, np.nan]), amount)
    assert found == (None if months is None else pytest.approx(months))


# ---- a known truth ----

TRUTH = PurchaseParameters(r=0.55, alpha=30.0, a=0.8, b=2.4)  # per week
VALUE = 40.0


def simulated(rng: np.random.Generator, customers: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cohort cells and histories of BG/NBD customers who came evenly over two years; every order is worth 40."""
    start, days = date(2024, 4, 1), (AS_OF - date(2024, 4, 1)).days + 1
    came = np.sort(rng.integers(0, days, customers))
    rate, leave = rng.gamma(TRUTH.r, 1 / TRUTH.alpha, customers), rng.beta(TRUTH.a, TRUTH.b, customers)
    found: list[tuple[date, int, int, bool]] = []
    histories = []
    for who in range(customers):
        first = start + timedelta(days=int(came[who]))
        at, orders = 0.0, []
        while True:
            at += 7 * rng.exponential(1 / rate[who])
            if came[who] + math.ceil(at) >= days:
                break
            orders.append(math.ceil(at))
            if rng.random() < leave[who]:
                break
        cohort = first.replace(day=1)
        found.append((cohort, 0, who, False))
        found += [(cohort, math.ceil(day / (365.25 / 12)), who, i == 0) for i, day in enumerate(orders)]
        histories.append((first, len(orders), float(orders[-1] if orders else 0), float(days - 1 - came[who])))
    frame = pl.DataFrame(found, schema=["cohort_month", "month", "who", "back"], orient="row")
    sizes = frame.filter(month=0).group_by("cohort_month").agg(customers=pl.len())
    orders = (
        frame.group_by("cohort_month", "month")
        .agg(
            ordering_customers=pl.col("who").n_unique(),
            returning_customers=pl.col("back").sum().cast(pl.Int64),
            revenue=VALUE * pl.len(),
        )
        .join(sizes, on="cohort_month")
        .with_columns(channel=pl.lit("search"), margin=pl.col("revenue"))
    )
    rfm = pl.DataFrame(histories, schema=["first_order_date", "frequency", "recency_days", "age_days"], orient="row")
    return orders, rfm.with_columns(monetary_mean=pl.when(pl.col("frequency") > 0).then(VALUE).otherwise(0.0))


def truth(months: int = 24) -> np.ndarray:
    time, nothing = np.arange(months + 1) * 365.25 / 12 / 7, np.zeros(months + 1)
    return VALUE * (1.0 + np.asarray(expected_orders_if_alive(TRUTH, time, nothing, nothing)))


@pytest.mark.parametrize("customers", [600, 15_000])
def test_young_cohorts_do_not_bias_the_curve(customers: int) -> None:
    orders, _ = simulated(np.random.default_rng(101), customers)
    found = of(cohort_curves(orders, AS_OF, CohortCurveConfig()), ALL, ALL)
    # repeat orders within two years differ by some 1.9 between customers (mean 1.2); as if a sixth of all were that old
    tolerance = 4 * VALUE * 1.9 / math.sqrt(customers / 6)
    value = found["value_per_customer"].drop_nulls().to_numpy()  # it ends where fewer than a tenth of them, or 100, are
    assert len(value) in (22, 24)
    assert value == pytest.approx(truth()[: len(value)], abs=tolerance)
    naive = orders["revenue"].sum() / customers  # what a mean over all customers would tell
    assert naive < truth()[23] - 10.0


def test_the_model_stands_beside_and_carries_on_where_no_cohort_is_old_enough() -> None:
    orders, rfm = simulated(np.random.default_rng(102), 12_000)
    fitted = clv.fit(rfm, clv.CLVConfig())
    young = orders.filter(pl.col("cohort_month") >= date(2025, 4, 1))
    found = of(cohort_curves(young, AS_OF, CohortCurveConfig(), "revenue", fitted), ALL, ALL)
    assert found["observed"].sum() == 12  # months 0 to 11
    assert found["expected_value"].to_numpy() == pytest.approx(truth(), rel=0.06)
    assert found["value_per_customer"].null_count() == 0
    assert found["value_per_customer"].to_numpy() == pytest.approx(truth(), rel=0.08)
    alone = of(cohort_curves(young, AS_OF, CohortCurveConfig()), ALL, ALL)
    assert alone["value_per_customer"].null_count() == 13


def test_no_orders_no_rows() -> None:
    assert cohort_curves(hand().clear(), AS_OF, THREE).is_empty()


def test_a_config_names_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="months is 0"):
        CohortCurveConfig(months=0)
