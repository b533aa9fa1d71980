"""What is known of a customer at the end of a cut-off day, and what the customer was worth after it.

A cut-off is a pair (customer, day). Features of a cut-off are computed from the order days up to it alone, refunds
included only where they were given back by then; the target sums the days after it. The same functions serve new
customers (the cut-off lies 0, 7 or 30 days after the first order) and existing ones (one day for all), so that a model
is trained on histories as they looked then.

Sources: Fader, Hardie & Lee (2005) "RFM and CLV" for recency, frequency and monetary value as sufficient statistics;
Kaufman et al. (2012) "Leakage in data mining" for the rule that features and targets are parted by one moment.
"""

from datetime import date, timedelta

import polars as pl

from models.clv_histories import WINDOW_DAYS
from models.errors import DataError

CATEGORIES = ("channel", "campaign", "country", "device", "destination", "keyword_type")
FIRST_NUMBERS = ("first_order_hour", "first_order_weekday")
NUMBERS = (
    *FIRST_NUMBERS,
    "first_value",
    "age_days",
    "recency_days",
    "silence_days",
    "frequency",
    "orders",
    "value_total",
    "monetary_mean",
    "value_max",
    "refunded_fraction",
    "gap_mean_days",
    "gap_variation",
    "value_last_30_days",
    "value_last_90_days",
    "order_days_last_30_days",
    "order_days_last_90_days",
)
FEATURES = (*CATEGORIES, *NUMBERS)
BEFORE = ("frequency_before", "recency_before_days")  # the lifetime model's, as it stood before its last window
KEY = ("customer_id", "cutoff_date")
DAY_COLUMNS = ("customer_id", "order_date", "refunded_date", "orders", "value", "kept_value")


def valued(days: pl.DataFrame, value: str) -> pl.DataFrame:
    """Rows of ``mart.customer_order_days`` with `value` as placed and `kept_value` after refunds, revenue or margin."""
    if value not in ("revenue", "margin"):
        raise ValueError(f"value is {value!r}: expected revenue or margin")
    return days.with_columns(value=pl.col(value), kept_value=pl.col(f"net_{value}"))


def cutoffs_after_first_order(firsts: pl.DataFrame, day: int, last: date) -> pl.DataFrame:
    """The cut-off `day` days after each first order, for the customers whose cut-off is not after `last`."""
    cutoff = pl.col("first_order_date") + pl.duration(days=day)
    return firsts.select("customer_id", cutoff_date=cutoff).filter(pl.col("cutoff_date") <= last)


def cutoffs_at(firsts: pl.DataFrame, origin: date) -> pl.DataFrame:
    """One cut-off for every customer who had ordered by `origin`."""
    known = firsts.filter(pl.col("first_order_date") <= origin)
    return known.select("customer_id", cutoff_date=pl.lit(origin, dtype=pl.Date))


def features(firsts: pl.DataFrame, days: pl.DataFrame, cutoffs: pl.DataFrame) -> pl.DataFrame:
    """Features of each cut-off.

    Parameters
    ----------
    firsts : one row per customer with customer_id and any of the columns of ``mart.customer_early``; a categorical or
        number that is absent, or null, is null in the result.
    days : customer_id, order_date, refunded_date (null where nothing was given back), orders, value as placed and
        kept_value after the refund, both in company currency. Several rows of a customer and day count as one order
        day. Days after a cut-off have no influence.
    cutoffs : customer_id, cutoff_date, unique. Cut-offs before a customer's first order are left out.

    Returns
    -------
    customer_id, cutoff_date and `FEATURES`, sorted by customer and cut-off. `age_days` is first order to cut-off,
    `recency_days` first to last order day, `silence_days` last order day to cut-off; `frequency` counts repeat order
    days, `monetary_mean` their mean value (0 without any, and never below 0); `gap_variation` is the coefficient of
    variation of the days between orders (null below two gaps); `value_last_30_days` covers the 30 days that end with
    the cut-off. Of an order given back by the cut-off the kept value counts, and it stays
    an order.
    """
    by_day = _order_days_until(days, cutoffs)
    cut, when = pl.col("cutoff_date"), pl.col("order_date")
    ago = (cut - when).dt.total_days()
    repeat = pl.col("rank") > 1
    gaps = pl.col("gap_days")
    known_before = ago.max() >= WINDOW_DAYS
    summed = by_day.group_by(KEY).agg(
        first_value=pl.col("value").filter(~repeat).first(),
        age_days=ago.max().cast(pl.Float64),
        recency_days=(when.max() - when.min()).dt.total_days().cast(pl.Float64),
        silence_days=ago.min().cast(pl.Float64),
        frequency=pl.len().cast(pl.Float64) - 1.0,
        orders=pl.col("orders").sum().cast(pl.Float64),
        value_total=pl.col("value").sum(),
        monetary_mean=pl.col("value").filter(repeat).mean().fill_null(0.0).clip(lower_bound=0.0),
        value_max=pl.col("value").max(),
        refunded_fraction=pl.col("refunded").sum() / pl.col("orders").sum(),
        gap_mean_days=gaps.mean(),
        gap_variation=pl.when(gaps.count() > 1).then(gaps.std() / gaps.mean()),
        value_last_30_days=pl.col("value").filter(ago < 30).sum(),
        value_last_90_days=pl.col("value").filter(ago < 90).sum(),
        order_days_last_30_days=(ago < 30).sum().cast(pl.Float64),
        order_days_last_90_days=(ago < 90).sum().cast(pl.Float64),
        frequency_before=pl.when(known_before).then((ago >= WINDOW_DAYS).sum().cast(pl.Float64) - 1.0),
        recency_before_days=pl.when(known_before).then(
            (ago.max() - ago.filter(ago >= WINDOW_DAYS).min()).cast(pl.Float64)
        ),
    )
    known = firsts.select(
        "customer_id",
        *(_column(firsts, name, pl.String()) for name in CATEGORIES),
        *(_column(firsts, name, pl.Float64()) for name in FIRST_NUMBERS),
    )
    return summed.join(known, on="customer_id", how="left").select(*KEY, *FEATURES, *BEFORE).sort(KEY)


def targets(days: pl.DataFrame, cutoffs: pl.DataFrame, horizon_days: int) -> pl.DataFrame:
    """Value of each cut-off's customer in the `horizon_days` after the cut-off day.

    Of orders given back by the end of the data the kept value counts. The caller sees to it that the whole horizon was
    observed.

    Returns
    -------
    customer_id, cutoff_date, target (0 where nothing was ordered), target_orders (order days), sorted.
    """
    after = cutoffs.join(days, on="customer_id").filter(
        pl.col("order_date") > pl.col("cutoff_date"),
        pl.col("order_date") <= pl.col("cutoff_date") + pl.duration(days=horizon_days),
    )
    kept = pl.when(pl.col("refunded_date").is_null()).then(pl.col("value")).otherwise(pl.col("kept_value"))
    summed = after.sort("customer_id", "cutoff_date", "order_date", "value").group_by(KEY, maintain_order=True)
    sums = summed.agg(target=kept.sum(), target_orders=pl.col("order_date").n_unique().cast(pl.Float64))
    return (
        cutoffs.join(sums, on=KEY, how="left").with_columns(pl.col("target", "target_orders").fill_null(0.0)).sort(KEY)
    )


def histories(table: pl.DataFrame) -> pl.DataFrame:
    """The features of a cut-off as the order histories that `models.clv` fits; one row per row of `table`.

    Money is what `valued` made of it, under both of its names.
    """
    return table.select(
        "customer_id",
        pl.col("frequency").cast(pl.Int64),
        "recency_days",
        "age_days",
        "monetary_mean",
        pl.col("monetary_mean").alias("margin_mean"),
        pl.col("value_total").clip(lower_bound=0.0).alias("revenue_total"),
        pl.col("value_total").clip(lower_bound=0.0).alias("margin_total"),
        (pl.col("cutoff_date") - pl.duration(days=pl.col("age_days").cast(pl.Int64))).alias("first_order_date"),
        pl.col("channel").alias("acquisition_channel"),
        *BEFORE,
    )


def span_days(days: pl.DataFrame, as_of: date) -> int:
    """Days from the first order of all to `as_of`."""
    if days.is_empty():
        return 0
    first = days["order_date"].min()
    return int((as_of - first) / timedelta(days=1)) if isinstance(first, date) else 0


def _order_days_until(days: pl.DataFrame, cutoffs: pl.DataFrame) -> pl.DataFrame:
    """Order days up to each cut-off as they looked then, one row per customer, cut-off and day, in order."""
    if missing := [name for name in DAY_COLUMNS if name not in days.columns]:
        raise DataError(f"Order days lack {', '.join(missing)}: expected the columns {', '.join(DAY_COLUMNS)}.")
    then = cutoffs.join(days, on="customer_id").filter(pl.col("order_date") <= pl.col("cutoff_date"))
    given_back = pl.col("refunded_date").is_not_null() & (pl.col("refunded_date") <= pl.col("cutoff_date"))
    return (
        then.with_columns(
            value=pl.when(given_back).then(pl.col("kept_value")).otherwise(pl.col("value")),
            refunded=pl.when(given_back).then(pl.col("orders")).otherwise(0),
        )
        .sort(*KEY, "order_date", "value")  # sums in one order give the same bits from rows in any order
        .group_by(*KEY, "order_date", maintain_order=True)
        .agg(pl.col("value", "orders", "refunded").sum())
        .with_columns(
            rank=pl.int_range(1, pl.len() + 1).over(KEY),
            gap_days=pl.col("order_date").diff().over(KEY).dt.total_days().cast(pl.Float64),
        )
    )


def _column(frame: pl.DataFrame, name: str, kind: pl.DataType) -> pl.Expr:
    return (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name)
