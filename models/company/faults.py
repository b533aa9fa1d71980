"""What goes wrong in real exports: faults to plant in the demo company, each with the check that must see it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Literal

import numpy as np
import polars as pl

Tables = Mapping[str, pl.DataFrame]
Planted = dict[str, pl.DataFrame]
Plant = Callable[[Tables, np.random.Generator], Planted]

FURTHER = "#"  # a table named `ad_spend#2` is a second file of ad_spend, loaded after the first
FAR_FUTURE = datetime.combine(
    date(2099, 6, 1), time()
)  # within what a contract allows, after any day on which files are loaded
BEYOND = datetime.combine(date(2150, 1, 1), time())
LONG_AGO = datetime.combine(date(2020, 1, 1), time())  # before the company began


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind of fault.

    Parameters
    ----------
    source : the table that is wrong.
    check_id, severity : the check that must catch it.
    plant : all tables of the company, clean -> the same with the fault; pure, random only by the generator.
    also : other checks that rightly see it, since it breaks what they say too.
    """

    name: str
    source: str
    check_id: str
    severity: Literal["error", "warning"]
    plant: Plant
    also: tuple[str, ...] = ()


def source_of(table: str) -> str:
    """The source that a table, or a further file of it, belongs to."""
    return table.split(FURTHER, 1)[0]


def last_day(tables: Tables) -> date:
    """The last day of the company's history."""
    day = tables["ad_spend"]["date"].max()
    assert isinstance(day, date)  # noqa: S101  # for the type checker: the column holds dates
    return day


def ledger_of(ads: pl.DataFrame) -> pl.DataFrame:
    """What finance would have booked for this spend: one line per month and channel."""
    month = pl.col("date").dt.truncate("1mo")
    return ads.group_by(month, "channel").agg(pl.col("cost").sum().round(2)).sort("date", "channel")


def spoiled(source: str, column: str, value: Any, rows: int = 3) -> Plant:
    """A few values of a column replaced by another."""

    def plant(tables: Tables, rng: np.random.Generator) -> Planted:
        frame = tables[source].with_row_index("_row")
        known = frame.filter(pl.col(column).is_not_null())["_row"].to_numpy()
        hit = pl.col("_row").is_in(rng.choice(known, rows, replace=False))
        kept = pl.col(column).cast(pl.String) if isinstance(value, str) else pl.col(column)
        frame = frame.with_columns(pl.when(hit).then(pl.lit(value)).otherwise(kept).alias(column))
        return {**tables, source: frame.drop("_row")}

    return plant


def recent(source: str, day_column: str, days: int, **changes: pl.Expr) -> Plant:
    """Columns of the last days replaced; every channel's."""

    def plant(tables: Tables, rng: np.random.Generator) -> Planted:
        is_recent = pl.col(day_column).cast(pl.Date) > last_day(tables) - timedelta(days=days)
        changed = {name: pl.when(is_recent).then(value).otherwise(pl.col(name)) for name, value in changes.items()}
        return {**tables, source: tables[source].with_columns(**changed)}

    return plant


def everywhere(source: str, **changes: pl.Expr) -> Plant:
    """Columns of all rows replaced."""

    def plant(tables: Tables, rng: np.random.Generator) -> Planted:
        return {**tables, source: tables[source].with_columns(**changes)}

    return plant


def on_channel(first_days_ago: int, last_days_ago: int, **changes: pl.Expr) -> Plant:
    """Columns of one channel's lines replaced between two days; of the channel that spends most in them each day."""

    def plant(tables: Tables, rng: np.random.Generator) -> Planted:
        ads = tables["ad_spend"]
        channel, days = _steady_channel(tables, first_days_ago, last_days_ago)
        hit = days & (pl.col("channel") == channel)
        changed = {name: pl.when(hit).then(value).otherwise(pl.col(name)) for name, value in changes.items()}
        return {**tables, "ad_spend": ads.with_columns(**changed)}

    return plant


def without_channel(first_days_ago: int, last_days_ago: int) -> Plant:
    """One channel's lines of these days left out."""

    def plant(tables: Tables, rng: np.random.Generator) -> Planted:
        channel, days = _steady_channel(tables, first_days_ago, last_days_ago)
        return {**tables, "ad_spend": tables["ad_spend"].filter(~(days & (pl.col("channel") == channel)))}

    return plant


def _steady_channel(tables: Tables, first_days_ago: int, last_days_ago: int) -> tuple[str, pl.Expr]:
    """The channel whose least day of these brings most clicks, and the days."""
    end = last_day(tables)
    days = pl.col("date").is_between(end - timedelta(days=first_days_ago), end - timedelta(days=last_days_ago))
    daily = tables["ad_spend"].filter(days).group_by("channel", "date").agg(pl.col("clicks").sum())
    least = daily.group_by("channel").agg(pl.col("clicks").min()).sort("clicks", "channel")
    return str(least["channel"][-1]), days


def without(source: str, condition: Callable[[date], pl.Expr]) -> Plant:
    """Rows that meet a condition on the last day left out."""

    def plant(tables: Tables, rng: np.random.Generator) -> Planted:
        return {**tables, source: tables[source].filter(~condition(last_day(tables)))}

    return plant


def lines_twice(tables: Tables, rng: np.random.Generator) -> Planted:
    """Five lines of spend stand twice in the file."""
    ads = tables["ad_spend"]
    return {**tables, "ad_spend": pl.concat([ads, ads[np.sort(rng.choice(len(ads), 5, replace=False))]])}


def lines_restated(tables: Tables, rng: np.random.Generator) -> Planted:
    """A second file gives five lines again, with another cost."""
    ads = tables["ad_spend"]
    again = ads[np.sort(rng.choice(len(ads), 5, replace=False))]
    return {**tables, "ad_spend#2": again.with_columns(pl.col("cost") + 1)}


def file_twice(tables: Tables, rng: np.random.Generator) -> Planted:
    """The same file under two names."""
    return {**tables, "ad_spend#2": tables["ad_spend"]}


def orders_twice(tables: Tables, rng: np.random.Generator) -> Planted:
    """One order in a hundred comes again under another number."""
    orders = tables["orders"]
    again = orders[np.sort(rng.choice(len(orders), len(orders) // 100 + 1, replace=False))]
    return {**tables, "orders": pl.concat([orders, again.with_columns(order_id="again-" + pl.col("order_id"))])}


def order_claimed_twice(tables: Tables, rng: np.random.Generator) -> Planted:
    """Five orders are named by a second click."""
    clicks = tables["clicks"]
    named = clicks.filter(pl.col("order_id").is_not_null())
    again = named[np.sort(rng.choice(len(named), 5, replace=False))]
    return {**tables, "clicks": pl.concat([clicks, again.with_columns(click_id="again-" + pl.col("click_id"))])}


def day_twice(tables: Tables, rng: np.random.Generator) -> Planted:
    """One day of spend is a copy of the day before."""
    ads, day = tables["ad_spend"], last_day(tables) - timedelta(days=20)
    copy = ads.filter(pl.col("date") == day - timedelta(days=1)).with_columns(date=pl.lit(day))
    return {**tables, "ad_spend": pl.concat([ads.filter(pl.col("date") != day), copy])}


def ledger_short(tables: Tables, rng: np.random.Generator) -> Planted:
    """Finance booked 5 % less than the platform reports, in one month of one channel."""
    ledger = ledger_of(tables["ad_spend"])
    closed = pl.col("date").is_between(ledger["date"].min(), ledger["date"].max(), closed="none")
    top = ledger.filter(closed).sort("cost")[-1:]
    hit = (pl.col("date") == top["date"][0]) & (pl.col("channel") == top["channel"][0])
    cost = pl.when(hit).then((pl.col("cost") * 0.95).round(2)).otherwise(pl.col("cost"))
    return {**tables, "spend_ledger": ledger.with_columns(cost=cost)}


def kpi_day_times_eight(tables: Tables, rng: np.random.Generator) -> Planted:
    """One day's revenue is eight times what it was."""
    hit = pl.col("date") == last_day(tables) - timedelta(days=30)
    value = pl.when(hit).then(pl.col("value") * 8).otherwise(pl.col("value"))
    return {**tables, "kpi": tables["kpi"].with_columns(value=value)}


def kpi_spread_evenly(tables: Tables, rng: np.random.Generator) -> Planted:
    """The last two weeks' revenue is their mean, every day."""
    is_recent = pl.col("date") > last_day(tables) - timedelta(days=14)
    mean = pl.col("value").mean().over(pl.col("date").dt.truncate("1w"), "geo").round(2)
    return {**tables, "kpi": tables["kpi"].with_columns(value=pl.when(is_recent).then(mean).otherwise(pl.col("value")))}


def orders_in_the_future(tables: Tables, rng: np.random.Generator) -> Planted:
    """Five orders are dated decades ahead."""
    fives = tables["orders"].filter(pl.col("refunded_at").is_null()).sort("order_id")[:5]["order_id"].implode()
    at = pl.when(pl.col("order_id").is_in(fives)).then(pl.lit(FAR_FUTURE)).otherwise(pl.col("ordered_at"))
    return {**tables, "orders": tables["orders"].with_columns(ordered_at=at)}


def customers_late(tables: Tables, rng: np.random.Generator) -> Planted:
    """One customer in ten is said to have come two months after the first order."""
    people, end = tables["customers"], datetime.combine(last_day(tables), time())
    hit = pl.Series(rng.random(len(people)) < 0.1) & (people["acquired_at"] < end - timedelta(days=100))
    at = pl.when(hit).then(pl.col("acquired_at") + timedelta(days=60)).otherwise(pl.col("acquired_at"))
    return {**tables, "customers": people.with_columns(acquired_at=at)}


def orders_cut_off(tables: Tables, rng: np.random.Generator) -> Planted:
    """The export of orders begins a third of the way into the history."""
    days = tables["ad_spend"]["date"].n_unique()
    first = last_day(tables) - timedelta(days=2 * days // 3)
    return {**tables, "orders": tables["orders"].filter(pl.col("ordered_at").dt.date() >= first)}


def conversions_gone_a_day(tables: Tables, rng: np.random.Generator) -> Planted:
    """One day has no conversions on any channel."""
    hit = pl.col("date") == last_day(tables) - timedelta(days=26)
    gone = {name: pl.when(hit).then(0).otherwise(pl.col(name)) for name in ("conversions", "conversion_value")}
    return {**tables, "ad_spend": tables["ad_spend"].with_columns(**gone)}


def _day(name: str, days_ago: int) -> Callable[[date], pl.Expr]:
    return lambda end: pl.col(name) == end - timedelta(days=days_ago)


def _since(name: str, days: int) -> Callable[[date], pl.Expr]:
    return lambda end: pl.col(name).cast(pl.Date) > end - timedelta(days=days)


def _fault(
    name: str, source: str, check_id: str, severity: Literal["error", "warning"], plant: Plant, *also: str
) -> Fault:
    return Fault(name=name, source=source, check_id=check_id, severity=severity, plant=plant, also=also)


COST, VALUE, NOTHING, NO_TEXT = pl.col("cost"), pl.col("value"), pl.lit(0), pl.lit(None, dtype=pl.String)
NO_NUMBER = pl.lit(None, dtype=pl.Float64)
ONE_COUNTRY_LEFT = pl.col("country") != "DE"
SPELLED = pl.when(pl.col("country") == "ES").then(pl.col("channel").str.replace("_", "-")).otherwise(pl.col("channel"))
DOLLARS = pl.when(pl.col("country") == "IT").then(pl.lit("USD")).otherwise(pl.col("currency"))

ROW_FAULTS = (  # caught by the contracts
    _fault("negative_cost", "ad_spend", "cost_range", "error", spoiled("ad_spend", "cost", -12.5)),
    _fault("cost_is_text", "ad_spend", "cost_type", "error", spoiled("ad_spend", "cost", "twelve")),
    _fault("channel_empty", "ad_spend", "channel_present", "error", spoiled("ad_spend", "channel", None)),
    _fault("date_of_1900", "ad_spend", "date_range", "error", spoiled("ad_spend", "date", date(1900, 1, 1))),
    _fault("date_is_text", "kpi", "date_type", "error", spoiled("kpi", "date", "tomorrow")),
    _fault("time_of_2150", "orders", "ordered_at_range", "error", spoiled("orders", "ordered_at", BEYOND)),
    _fault("customer_empty", "orders", "customer_id_present", "error", spoiled("orders", "customer_id", None)),
    _fault(
        "negative_revenue",
        "orders",
        "revenue_range",
        "error",
        spoiled("orders", "revenue", -80.0),
    ),
    _fault(
        "treated_is_text", "geo_experiments", "treated_type", "error", spoiled("geo_experiments", "treated", "maybe")
    ),
    _fault("lines_twice", "ad_spend", "key_unique", "error", lines_twice),
    _fault("lines_restated", "ad_spend", "key_restated", "warning", lines_restated),
    _fault(
        "more_clicks_than_views",
        "ad_spend",
        "clicks_within_impressions",
        "warning",
        spoiled("ad_spend", "impressions", 1),
    ),
    _fault(
        "refund_before_order",
        "orders",
        "refunded_at_after_ordered_at",
        "warning",
        spoiled("orders", "refunded_at", LONG_AGO),
    ),
    _fault(
        "conversion_before_click",
        "clicks",
        "converted_at_after_clicked_at",
        "warning",
        spoiled("clicks", "converted_at", LONG_AGO),
    ),
    _fault(
        "unknown_customer", "orders", "customer_id_reference", "warning", spoiled("orders", "customer_id", "nobody")
    ),
    _fault("unknown_order", "clicks", "order_id_reference", "warning", spoiled("clicks", "order_id", "none", 1)),
    _fault("kpi_stale", "kpi", "date_fresh", "warning", without("kpi", _since("date", 20))),
)
TABLE_FAULTS = (  # caught by the checks of sql/check
    _fault("orders_twice", "orders", "duplicate_orders", "warning", orders_twice),
    _fault("order_claimed_twice", "clicks", "orders_shared", "warning", order_claimed_twice),
    _fault("day_twice", "ad_spend", "duplicate_days", "error", day_twice),
    _fault("file_twice", "ad_spend", "duplicate_upload", "warning", file_twice, "key_restated"),
    _fault("ledger_short", "spend_ledger", "spend_reconciliation", "error", ledger_short),
    _fault(
        "customers_of_another_shop",
        "orders",
        "orders_unmatched",
        "error",
        everywhere("orders", customer_id="shop-" + pl.col("customer_id")),
        "customer_id_reference",
    ),
    _fault(
        "orders_of_another_shop",
        "clicks",
        "clicks_unmatched",
        "error",
        everywhere("clicks", order_id="shop-" + pl.col("order_id")),
        "order_id_reference",
    ),
    _fault(
        "claims_lost",
        "ad_spend",
        "ad_spend_nulls",
        "warning",
        recent("ad_spend", "date", 10, conversion_value=NO_NUMBER),
    ),
    _fault("margin_lost", "orders", "orders_nulls", "warning", recent("orders", "ordered_at", 10, margin=NO_NUMBER)),
    _fault(
        "device_lost", "customers", "customers_nulls", "warning", recent("customers", "acquired_at", 10, device=NO_TEXT)
    ),
    _fault("campaign_lost", "clicks", "clicks_nulls", "warning", recent("clicks", "clicked_at", 10, campaign=NO_TEXT)),
    _fault("clicks_dearer", "ad_spend", "rate_anomaly", "warning", on_channel(13, 0, cost=COST * 5)),
    _fault("kpi_day_times_eight", "kpi", "kpi_outliers", "warning", kpi_day_times_eight),
    _fault("absurd_order", "orders", "order_outliers", "warning", spoiled("orders", "revenue", 1e7, rows=1)),
    _fault("spend_days_missing", "ad_spend", "spend_gaps", "warning", without_channel(33, 32)),
    _fault("kpi_day_missing", "kpi", "kpi_gaps", "warning", without("kpi", _day("date", 33))),
    _fault("kpi_spread_evenly", "kpi", "weekday_pattern", "warning", kpi_spread_evenly),
    _fault("orders_in_the_future", "orders", "future_dates", "error", orders_in_the_future),
    _fault("orders_cut_off", "orders", "customer_histories", "warning", orders_cut_off),
    _fault("customers_late", "customers", "orders_before_acquired", "warning", customers_late),
    _fault("channel_silent", "ad_spend", "channel_silent", "warning", without_channel(9, 0)),
    _fault(
        "day_in_part",
        "ad_spend",
        "volume",
        "warning",
        without("ad_spend", lambda end: _day("date", 0)(end) & ONE_COUNTRY_LEFT),
    ),
    _fault(
        "week_in_part",
        "ad_spend",
        "volume",
        "warning",
        without("ad_spend", lambda end: _since("date", 7)(end) & ONE_COUNTRY_LEFT),
    ),
    _fault("cost_in_thousands", "ad_spend", "cost_bounds", "warning", on_channel(9999, 0, cost=COST / 1000)),
    _fault("cost_in_micros", "ad_spend", "micros", "error", everywhere("ad_spend", cost=COST * 1e6)),
    _fault("cost_times_thousand", "ad_spend", "unit_change", "error", on_channel(19, 0, cost=COST * 1000)),
    _fault("cost_times_hundred", "ad_spend", "unit_change", "error", on_channel(60, 40, cost=COST * 100)),
    _fault("kpi_in_cents", "kpi", "kpi_unit_change", "error", recent("kpi", "date", 20, value=VALUE * 100)),
    _fault(
        "revenue_in_cents",
        "orders",
        "order_unit_change",
        "error",
        recent("orders", "ordered_at", 20, revenue=pl.col("revenue") * 100),
    ),
    _fault("clicks_gone_a_day", "ad_spend", "tracking_break", "warning", on_channel(26, 26, clicks=NOTHING)),
    _fault("clicks_gone", "ad_spend", "tracking_lost", "error", on_channel(4, 0, clicks=NOTHING)),
    _fault("conversions_gone_a_day", "ad_spend", "conversions_break", "warning", conversions_gone_a_day),
    _fault(
        "conversions_gone",
        "ad_spend",
        "conversions_lost",
        "error",
        recent("ad_spend", "date", 7, conversions=NOTHING, conversion_value=pl.lit(0.0)),
    ),
    _fault("cost_gone_two_days", "ad_spend", "cost_break", "warning", on_channel(27, 26, cost=pl.lit(0.0))),
    _fault(
        "dollars_without_rate", "ad_spend", "currency_without_rate", "error", everywhere("ad_spend", currency=DOLLARS)
    ),
    _fault("channel_spelled_twice", "ad_spend", "channel_spelling", "warning", everywhere("ad_spend", channel=SPELLED)),
)
FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in (*ROW_FAULTS, *TABLE_FAULTS)}
