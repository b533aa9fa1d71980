"""What the customers of each value tier and of each behavioural cohort are like and worth.

The interval of a group's mean takes its two doubts from the channels' intervals. The luck of a channel's customers is
shared out in proportion to expected orders times squared order value, which is the variance of a compound Poisson sum;
the error of a channel's parameters moves all its values by the same part. A group that is a whole channel has exactly
that channel's interval.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from models.clv import TIERS
from models.cohorts import CohortRule, cohort_of

Z_90 = 1.6449  # standard errors from the middle to either end of a 90 % interval
SCALE = 1_000_000  # sums are of whole millionths, so that they do not depend on the order of customers
KEYS = ("tier", "cohort", "channel")
SCHEMA = {
    "kind": pl.String,
    "name": pl.String,
    "description": pl.String,
    "customers": pl.Int64,
    "customer_fraction": pl.Float64,
    "clv_mean": pl.Float64,
    "clv_p05": pl.Float64,
    "clv_p95": pl.Float64,
    "clv_fraction": pl.Float64,
    "orders_mean": pl.Float64,
    "revenue_mean": pl.Float64,
    "revenue_fraction": pl.Float64,
    "switch_on": pl.String,
}


def group_sums(customers: pl.DataFrame, rules: tuple[CohortRule, ...]) -> pl.DataFrame:
    """Sums of some customers by tier, cohort and channel; add batches up with `add_sums`.

    Parameters
    ----------
    customers : tier, clv_mean (finite, >= 0), expected_orders, channel, and the columns of ``mart.customer_behaviour``.

    Returns
    -------
    tier, cohort, channel, customers, orders, and in whole millionths clv, weight, revenue.
    """
    mean, orders = pl.col("clv_mean"), pl.col("expected_orders")
    weight = pl.when(orders > 0.0).then(mean * mean / orders).otherwise(0.0)
    return (
        customers.with_columns(cohort_of(rules))
        .group_by(KEYS)
        .agg(
            customers=pl.len().cast(pl.Int64),
            orders=pl.col("orders_count").sum().cast(pl.Int64),
            clv=_whole(mean).sum(),
            weight=_whole(weight).sum(),
            revenue=_whole(pl.col("revenue")).sum(),
        )
        .sort(KEYS)
    )


def add_sums(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The sums of all batches together, in any order of batches."""
    return pl.concat(parts).group_by(KEYS).agg(pl.all().sum()).sort(KEYS)


def profiles(
    sums: pl.DataFrame, rules: tuple[CohortRule, ...], tiers: dict[str, str], channels: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Rows of ``out.cohort_profile``: the tiers from Low to VIP, then the cohorts in the order of their rules.

    Parameters
    ----------
    sums : as `add_sums` returns them.
    tiers : what each tier is, as a sentence.
    channels : rows of ``out.channel_value``: channel, customers, error_parameters, error_customers (standard errors of
        the channel's mean). Without it, or where a channel lacks, there are no intervals.

    Returns
    -------
    kind ("tier" or "cohort"), name, description, customers, customer_fraction, clv_mean with clv_p05 and clv_p95 (90 %
    interval of the mean), clv_fraction (of the value of all), orders_mean (so far), revenue_mean (so far),
    revenue_fraction, switch_on (which column would offer the cohort, or tell more of it; null where nothing lacks).
    A cohort that is not offered has no figures.
    """
    described = [("tier", name, tiers.get(name, ""), "") for name in TIERS]
    described += [("cohort", rule.name, rule.description, rule.switch_on) for rule in rules]
    total = {name: sum(sums[name].to_list()) for name in ("customers", "clv", "revenue")}
    errors = _errors(sums, channels)
    offered = {rule.name for rule in rules if rule.fits is not None} | set(TIERS)
    rows = []
    for kind, name, description, switch_on in described:
        row = {"kind": kind, "name": name, "description": description or None, "switch_on": switch_on or None}
        if name in offered:
            row |= _figures(sums.filter(pl.col(kind) == name), total, errors)
        rows.append(row)
    return pl.DataFrame(rows, schema=SCHEMA)


def tier_descriptions(quantiles: tuple[float, ...]) -> dict[str, str]:
    """What each tier is at the quantiles of expected value that part them, rising fractions."""
    ends = [f"{100 * quantile:g} %" for quantile in quantiles]
    parts = [f"The lowest {ends[0]} by expected value."]
    parts += [f"Between the lowest {low} and {high} by expected value." for low, high in itertools.pairwise(ends)]
    top = f"{round(100 * (1 - quantiles[-1]), 6):g} %"
    return dict(zip(TIERS, [*parts, f"The top {top} by expected value."], strict=True))


def _figures(
    group: pl.DataFrame, total: dict[str, int], errors: dict[str, tuple[float, float]] | None
) -> dict[str, Any]:
    customers, clv, revenue = (sum(group[name].to_list()) for name in ("customers", "clv", "revenue"))
    figures: dict[str, Any] = {
        "customers": customers,
        "customer_fraction": customers / total["customers"] if total["customers"] else None,
        "clv_fraction": clv / total["clv"] if total["clv"] else None,
        "revenue_fraction": revenue / total["revenue"] if total["revenue"] else None,
    }
    if not customers:
        return figures
    mean = clv / SCALE / customers
    figures |= {
        "clv_mean": mean,
        "orders_mean": sum(group["orders"].to_list()) / customers,
        "revenue_mean": revenue / SCALE / customers,
    }
    if errors is None:
        return figures
    luck = math.fsum(errors[c][0] * w for c, w in zip(group["channel"], group["weight"], strict=True))
    doubt = math.fsum(errors[c][1] * v for c, v in zip(group["channel"], group["clv"], strict=True))
    spread = Z_90 * math.hypot(math.sqrt(luck), doubt) / (clv / SCALE) if clv else 0.0
    return figures | {"clv_p05": mean * math.exp(-spread), "clv_p95": mean * math.exp(spread)}


def _errors(sums: pl.DataFrame, channels: pl.DataFrame | None) -> dict[str, tuple[float, float]] | None:
    """Of each channel: variance per weight, and the parameters' error per value, both of whole millionths."""
    if channels is None:
        return None
    known = {str(row["channel"]): row for row in channels.iter_rows(named=True)}
    found = {}
    for channel, clv, weight in sums.group_by("channel").agg(pl.col("clv").sum(), pl.col("weight").sum()).iter_rows():
        row = known.get(str(channel))
        if row is None or row["error_customers"] is None or row["error_parameters"] is None:
            return None
        luck = (row["error_customers"] * row["customers"]) ** 2
        doubt = row["error_parameters"] * row["customers"]
        found[channel] = (luck / weight if weight else 0.0, doubt / clv if clv else 0.0)
    return found


def _whole(value: pl.Expr) -> pl.Expr:
    return (value * SCALE).round().cast(pl.Int128)
