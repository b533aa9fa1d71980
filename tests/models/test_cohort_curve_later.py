"""Cohort curves held against what came later: CDNOW's customers, and those of companies whose weeks go on."""

from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from models import clv
from models.cohort_curve import ALL, CohortCurveConfig, cohort_curves
from models.company.history import run_history
from models.company.world import CompanyConfig, draw_world
from tasks.warehouse import SQL

EARLY, LATE = (
    date(1997, 9, 30),
    date(1998, 6, 30),
)  # the end of the calibration period of the literature, and of the data


def marts(
    orders: duckdb.DuckDBPyRelation, con: duckdb.DuckDBPyConnection, as_of: date
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(cohort_orders, customer_rfm) of orders (customer_id, ordered_at, revenue, channel) as known on a day."""
    con.execute("create schema if not exists staging; create schema if not exists mart")
    con.register("placed", orders)
    con.execute(
        "create or replace table staging.orders as select row_number() over () as order_id, customer_id, "
        "ordered_at::date as order_date, ordered_at, "
        "revenue::decimal(24, 6) as net_revenue, null::decimal(24, 6) as net_margin, channel from placed"
    )
    con.execute("create or replace table staging.customers (customer_id varchar, channel varchar)")
    for name in ("margin_fraction", "customer_rfm", "cohort_orders"):
        select = (SQL / "mart" / f"{name}.sql").read_text()
        con.execute(f"create or replace table mart.{name} as {select}", {"as_of": as_of})
    return con.sql("from mart.cohort_orders").pl(), con.sql("from mart.customer_rfm").pl()


def cdnow(shared_data: Path, as_of: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    with duckdb.connect() as con:
        file = con.read_csv(str(shared_data / "cdnow" / "cdnow_master.csv"))
        placed = file.select(
            "customer_id::varchar as customer_id, date::timestamp as ordered_at, spend as revenue, "
            "null::varchar as channel"
        )
        return marts(placed, con, as_of)


def pooled(orders: pl.DataFrame, as_of: date, lifetimes: clv.FittedCLV | None = None) -> pl.DataFrame:
    found = cohort_curves(orders, as_of, CohortCurveConfig(), "revenue", lifetimes)
    return found.filter(channel=ALL, cohort_month=ALL).sort("month")


def test_revenue_is_conserved_and_month_0_is_the_first_order(shared_data: Path) -> None:
    orders, rfm = cdnow(shared_data, LATE)
    assert rfm.height == 23_570
    assert orders["revenue"].sum() == pytest.approx(2_500_315.63)  # all of the file, as its README says
    curve = pooled(orders, LATE)
    assert curve["customers"][0] == 23_570
    # the last customers came on 25 March 1997: all are seen for 15 months on 30 June 1998
    assert curve["customers"][15] == 23_570 and curve["observed"][15]
    assert curve["returned_fraction"][15] == pytest.approx((rfm["frequency"] > 0).mean(), abs=0.01)


def test_nine_months_of_orders_tell_what_fifteen_bring(shared_data: Path) -> None:
    orders, rfm = cdnow(shared_data, EARLY)
    lifetimes = clv.fit(rfm, clv.CLVConfig())
    early = pooled(orders, EARLY, lifetimes)
    late = pooled(cdnow(shared_data, LATE)[0], LATE)
    assert early["observed"].to_list() == [month <= 8 for month in range(25)]
    actual, told = late["value_per_customer"][15], early["value_per_customer"][15]
    assert told == pytest.approx(actual, rel=0.10)  # 95.98 against 101.24, 5.2 % short
    assert abs(told - actual) < 0.25 * (actual - early["value_per_customer"][8])  # and a fifth of what came in between
    # what is observed early agrees with the whole: two cohorts of three are seen to month 7
    assert early["value_per_customer"][6] == pytest.approx(late["value_per_customer"][6], rel=0.001)


@pytest.mark.parametrize("seed", [140, 141])
def test_projections_and_their_intervals_hold_for_a_company_that_goes_on(seed: int) -> None:
    config = CompanyConfig(seed=seed, weeks=78, customers=12_000, shocks=False)
    history = run_history(draw_world(config))
    came = history.orders.filter("is_first").select("customer_id", first=pl.col("channel"))
    orders = history.orders.join(came, on="customer_id").select("customer_id", "ordered_at", "revenue", channel="first")
    half_a_year_before = config.last_day - timedelta(weeks=26)
    with duckdb.connect() as con:
        placed = con.from_arrow(orders.to_arrow())
        early, _ = marts(placed, con, half_a_year_before)
        late, _ = marts(placed, con, config.last_day)
    told = cohort_curves(early, half_a_year_before, CohortCurveConfig()).filter(pl.col("cohort_month") != ALL)
    came_true = cohort_curves(late, config.last_day, CohortCurveConfig()).filter("observed")
    keys = ["channel", "cohort_month", "month"]
    both = told.filter(~pl.col("observed")).drop_nulls("value_p05").join(came_true, on=keys, suffix="_later")
    both = both.with_columns(
        error=pl.col("value_per_customer") / pl.col("value_per_customer_later") - 1.0,
        hit=pl.col("value_per_customer_later").is_between(pl.col("value_p05"), pl.col("value_p95")),
    )
    channels = both.filter(pl.col("channel") != ALL)
    assert len(channels) > 250
    assert abs(both["error"].mean()) < 0.01
    # cells of a cohort hang together: seven channels with some ten cohorts, 0.90 give or take 0.04
    assert 0.82 < channels["hit"].mean() < 0.97
