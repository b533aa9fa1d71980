"""What a new customer is worth, first order included, per channel and per campaign, with a 90 % interval.

A channel's value is the mean cumulative function of its customers: at each age the value of that day per customer who
has been observed to that age, summed over the horizon. It needs no model where ages are observed, takes young and old
customers alike, and is unbiased when customers come at any time. Beyond the ages that are observed, the lifetime
model's curve for a new customer carries it on. A campaign is the ratio of what its customers brought to what
customers of its channel bring by the same ages, drawn to 1 as far as the campaigns' own spread allows, so that a
campaign with five customers leans on its channel; channels are drawn to the company in the same way.

The interval holds two doubts: which customers came (their influence on the mean), and that the coming time differs
from the past as quarters differed from each other.

Sources: Nelson (1988), Journal of Quality Technology 20, and Lawless & Nadeau (1995), Technometrics 37, for the mean
cumulative function and its robust variance (equation 3.5); Gelman (2006), Bayesian Analysis 1, for the half-normal
prior of the spread between few groups; Efron & Morris (1975), JASA 70, for drawing group means together.
"""

from dataclasses import dataclass
from datetime import date
from typing import ClassVar

import numpy as np
import polars as pl

from models.btyd import Floats, expected_orders_if_alive
from models.clv import FittedCLV
from models.errors import DataError

NORMAL_95 = 1.6448536269514722  # standard normal quantile of the upper end of a 90 % interval
SPREAD_SCALE = 0.25  # half-normal prior of how groups differ: seldom by more than half of their parent's value
SPREAD_MAX, SPREAD_STEPS = 1.0, 401  # four prior deviations, in steps far below any standard error that matters
TINY = 1e-12  # a group without sampling noise would weigh without end
PRIOR_CUSTOMERS = 100.0  # a group's own spread counts as much as its parent's once it has this many customers


@dataclass(frozen=True, kw_only=True)
class NewCustomerConfig:
    """How the value of a new customer is measured; the horizon is that of customer value."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    at_risk_min: int = 30  # customers observed to an age below which their mean of that day is not used
    period_days: int = 91  # blocks of calendar time whose levels are compared: a quarter
    periods_min: int = 4  # fewer say nothing of how quarters differ

    def __post_init__(self) -> None:
        for name, value, low in (
            ("at_risk_min", self.at_risk_min, 1),
            ("period_days", self.period_days, 7),
            ("periods_min", self.periods_min, 2),
        ):
            if value < low:
                raise ValueError(f"{name} is {value}: expected at least {low}")


@dataclass(frozen=True, kw_only=True)
class NewCustomerValue:
    """`table` as ``out.new_customer_value``; `period_sd` relative between quarters; reasons are sentences."""

    table: pl.DataFrame
    period_sd: float
    observed_days: int
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Orders:
    """Customers 0..n-1 with the last observed age, and their orders; ages in whole days, within the horizon."""

    last_age: np.ndarray  # (n,)
    start: np.ndarray  # (n,) days from the company's first order to the customer's
    who: np.ndarray  # (m,) customer of each order day
    age: np.ndarray  # (m,)
    value: Floats  # (m,)


def new_customer_value(
    firsts: pl.DataFrame,
    days: pl.DataFrame,
    as_of: date,
    horizon_days: int,
    config: NewCustomerConfig,
    lifetimes: FittedCLV | None = None,
) -> NewCustomerValue:
    """Value of a new customer over the first order day and the `horizon_days` after it.

    Parameters
    ----------
    firsts : customer_id, first_order_date, channel (never null), campaign (null where unknown); one row each.
    days : customer_id, order_date, refunded_date (null where nothing was given back), value as placed and kept_value
        after the refund, company currency.
    as_of : last observed day.
    lifetimes : carries the curve beyond the observed ages; without it the value ends there, with a reason.

    Returns
    -------
    One row per channel (campaign null) and one per campaign: channel, campaign, customers, first_order_value,
    clv_mean, clv_p05, clv_p95 (never below 0), horizon_days, observed_fraction (share of a mean customer's value that
    comes from observed ages), shrinkage (0 the own mean, 1 the parent's), method.

    Raises
    ------
    DataError : there is no customer.
    """
    people = firsts.filter(pl.col("first_order_date") <= as_of).sort("customer_id")
    if people.is_empty():
        raise DataError("No customer has an order: expected at least one before new customers can be valued.")
    orders = _orders(people, days, as_of, horizon_days)
    company = _increments(orders, np.ones(len(people), dtype=bool), horizon_days)
    enough = company[1] >= min(config.at_risk_min, len(people))
    observed = int(np.flatnonzero(enough)[-1])  # at_risk falls with age, so that all before it have enough
    daily = np.where(np.arange(horizon_days + 1) <= observed, company[0], 0.0)
    tail, reasons = _tail_factor(lifetimes, observed, horizon_days)
    sd, noted = _period_sd(orders, daily, config)
    period = sd * np.sqrt(config.period_days * (1.0 / max(horizon_days, 1) + 1.0 / max(int(orders.start.max()), 1)))

    channel = people["channel"].to_numpy()
    names = np.unique(channel)
    masks = [channel == name for name in names]
    curves = [_channel_curve(orders, mask, daily, config.at_risk_min, horizon_days) for mask in masks]
    total = float(daily.sum())
    shares = _drawn([_relative(curve, total) for curve in curves], 1.0, 0.0)
    rows = []
    for name, mask, curve, (ratio, se, shrinkage) in zip(names, masks, curves, shares, strict=True):
        first = float(curve.daily[0])
        repeat = max(ratio * total - first, 0.0) * tail
        mean, spread = (
            first + repeat,
            float(np.hypot(se * total * (first + repeat) / (ratio * total or 1.0), period * repeat)),
        )
        known = min((ratio * total) / mean, 1.0) if mean > 0.0 else 1.0
        common = {"channel": str(name), "first_order_value": first, "observed_fraction": known}
        rows.append(common | _row(None, int(mask.sum()), mean, spread, shrinkage))
        of_channel = people["campaign"].to_numpy()
        campaigns = sorted({str(c) for c in of_channel[mask] if c is not None})
        inside = [mask & (of_channel == campaign) for campaign in campaigns]
        relative = [_standardised(orders, group, curve.daily) for group in inside]
        base = spread / mean if mean > 0.0 else 0.0
        drawn = _drawn(relative, 1.0, base)
        for campaign, group, (factor, error, weight) in zip(campaigns, inside, drawn, strict=True):
            own_first = {"first_order_value": _first_value(orders, group)}
            rows.append(common | own_first | _row(campaign, int(group.sum()), mean * factor, mean * error, weight))
    table = pl.DataFrame(rows, schema_overrides={"campaign": pl.String}).with_columns(
        horizon_days=pl.lit(horizon_days),
        method=pl.lit("mean_cumulative" if observed >= horizon_days else "mean_cumulative+lifetimes"),
    )
    order = ["channel", "campaign", "customers", "first_order_value", "clv_mean", "clv_p05", "clv_p95"]
    table = table.select(*order, "horizon_days", "observed_fraction", "shrinkage", "method")
    table = table.sort("channel", "campaign", nulls_last=False)
    return NewCustomerValue(table=table, period_sd=sd, observed_days=observed, reasons=(*reasons, *noted))


def _row(campaign: str | None, customers: int, mean: float, spread: float, shrinkage: float) -> dict[str, object]:
    low, high = max(mean - NORMAL_95 * spread, 0.0), max(mean + NORMAL_95 * spread, 0.0)
    interval = {"clv_mean": max(mean, 0.0), "clv_p05": low, "clv_p95": high}
    return {"campaign": campaign, "customers": customers, **interval, "shrinkage": shrinkage}


def _orders(people: pl.DataFrame, days: pl.DataFrame, as_of: date, horizon_days: int) -> _Orders:
    begin = people["first_order_date"].min()
    aged = people.select(
        "customer_id",
        "first_order_date",
        who=pl.int_range(pl.len()),
        last_age=(pl.lit(as_of) - pl.col("first_order_date")).dt.total_days().clip(upper_bound=horizon_days),
        start=(pl.col("first_order_date") - pl.lit(begin)).dt.total_days(),
    )
    kept = pl.when(pl.col("refunded_date").is_null()).then(pl.col("value")).otherwise(pl.col("kept_value"))
    age = (pl.col("order_date") - pl.col("first_order_date")).dt.total_days()
    placed = (
        days.join(aged, on="customer_id")
        .select("who", "last_age", age=age, value=kept.fill_null(0.0))
        .filter(pl.col("age") >= 0, pl.col("age") <= pl.col("last_age"))
        .sort("who", "age", "value")
    )
    return _Orders(
        last_age=aged["last_age"].to_numpy(),
        start=aged["start"].to_numpy(),
        who=placed["who"].to_numpy(),
        age=placed["age"].to_numpy(),
        value=placed["value"].cast(pl.Float64).to_numpy(),
    )


def _increments(orders: _Orders, group: np.ndarray, horizon_days: int) -> tuple[Floats, np.ndarray]:
    """Mean value at each age 0..horizon per customer of the group observed to it, and how many those are."""
    mine = group[orders.who]
    at_risk = np.cumsum(np.bincount(orders.last_age[group], minlength=horizon_days + 1)[::-1])[::-1]
    sums = np.bincount(orders.age[mine], orders.value[mine], horizon_days + 1)
    return sums / np.maximum(at_risk, 1), at_risk


@dataclass(frozen=True, kw_only=True)
class _Curve:
    """Value per age of a channel, its total's standard error, and how many customers are behind it."""

    daily: Floats
    se: float
    customers: int


def _channel_curve(orders: _Orders, group: np.ndarray, company: Floats, at_risk_min: int, horizon_days: int) -> _Curve:
    """The channel's curve up to the age to which enough were observed, then the company's at the channel's level."""
    daily, at_risk = _increments(orders, group, horizon_days)
    own = (at_risk >= at_risk_min) & (company > 0.0) | (np.arange(horizon_days + 1) == 0)
    ratio, error, customers = _standardised(orders, group, company)
    last = int(np.flatnonzero(own)[-1])
    use = np.arange(horizon_days + 1) <= last
    borrowed = float(company[~use].sum())
    mixed = np.where(use, daily, ratio * company)
    mine = group[orders.who]
    position = np.cumsum(group) - 1
    within = mine & (orders.age <= last)
    age, who = orders.age[within], position[orders.who[within]]
    weight = 1.0 / np.maximum(at_risk, 1)
    gone = np.cumsum(np.where(use, daily * weight, 0.0))
    influence = np.bincount(who, orders.value[within] * weight[age], customers) - gone[orders.last_age[group]]
    return _Curve(daily=mixed, se=float(np.sqrt(np.sum(influence**2)) + error * borrowed), customers=customers)


def _standardised(orders: _Orders, group: np.ndarray, expected_daily: Floats) -> tuple[float, float, int]:
    """What the group's customers brought against what `expected_daily` gives at their ages: ratio, se, customers."""
    customers = int(group.sum())
    mine = group[orders.who]
    position = np.cumsum(group) - 1
    brought = np.bincount(position[orders.who[mine]], orders.value[mine], customers)
    expected = np.cumsum(expected_daily)[orders.last_age[group]]
    whole = float(expected.sum())
    if whole <= 0.0:
        return 1.0, float("inf"), customers
    ratio = float(brought.sum()) / whole
    return ratio, float(np.sqrt(np.sum((brought - ratio * expected) ** 2))) / whole, customers


def _relative(curve: _Curve, total: float) -> tuple[float, float, int]:
    if total <= 0.0:
        return 1.0, float("inf"), curve.customers
    return float(curve.daily.sum()) / total, curve.se / total, curve.customers


def _drawn(groups: list[tuple[float, float, int]], parent: float, parent_se: float) -> list[tuple[float, float, float]]:
    """(mean, standard error, shrinkage) of each group's ratio, drawn to the parent's as far as the spread allows.

    The posterior of normal groups about the parent, with the spread between them integrated over its own posterior.
    A group's own variance is mixed with that of its siblings per customer, since five customers who happen to be
    alike would look certain.
    """
    if not groups:
        return []
    ratio, se, customers = (np.array(values, dtype=float) for values in zip(*groups, strict=True))
    finite = np.isfinite(se)
    shared = float(np.sum((se * customers)[finite] ** 2) / max(float(customers[finite].sum()), 1.0))  # per customer
    own = np.where(finite, np.where(finite, se, 0.0) ** 2, np.inf)
    variance = (customers * own + PRIOR_CUSTOMERS * shared / customers) / (customers + PRIOR_CUSTOMERS)
    spread = np.linspace(0.0, SPREAD_MAX, SPREAD_STEPS)[:, None]  # of true ratios about the parent's, (steps, 1)
    known = np.isfinite(variance)
    noise = np.where(known, np.maximum(variance, TINY), 1.0) + spread**2
    fit = np.where(known, -0.5 * np.log(noise) - 0.5 * (ratio - parent) ** 2 / noise, 0.0).sum(axis=1)
    log_weight = fit - 0.5 * (spread[:, 0] / SPREAD_SCALE) ** 2
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    keep = np.where(known, spread**2 / noise, 0.0)  # (steps, groups)
    center = keep * ratio + (1.0 - keep) * parent
    mean = weight @ center
    variance_left = weight @ ((1.0 - keep) * spread**2 + (center - mean) ** 2)
    error = np.sqrt(variance_left + (parent_se * mean) ** 2)
    shrinkage = 1.0 - weight @ keep
    return [(float(m), float(e), float(k)) for m, e, k in zip(mean, error, shrinkage, strict=True)]


def _first_value(orders: _Orders, group: np.ndarray) -> float:
    return float(orders.value[group[orders.who] & (orders.age == 0)].sum()) / max(int(group.sum()), 1)


def _tail_factor(lifetimes: FittedCLV | None, observed: int, horizon_days: int) -> tuple[float, tuple[str, ...]]:
    """How much repeat value the horizon holds against the observed ages, by the lifetime model of a new customer."""
    if observed >= horizon_days:
        return 1.0, ()
    if lifetimes is None or observed == 0:
        why = "no lifetime model carries it on" if lifetimes is None else "no customer has been observed for a day"
        return 1.0, (f"New customers were observed for {observed} of {horizon_days} days and {why}.",)
    upto = np.array([observed, horizon_days]) / lifetimes.time_unit_days
    orders = expected_orders_if_alive(lifetimes.purchases.parameters, upto, 0.0, 0.0)
    factor = float(orders[1] / orders[0]) if orders[0] > 0.0 else 1.0
    said = f"New customers were observed for {observed} of {horizon_days} days"
    return factor, (f"{said}: their repeat value is carried on by the lifetime model, times {factor:.2f}.",)


def _period_sd(orders: _Orders, daily: Floats, config: NewCustomerConfig) -> tuple[float, tuple[str, ...]]:
    """Relative standard deviation of repeat value between blocks of calendar time, at equal ages of customers.

    Blocks are counted back from the last day; sampling noise is part of it, so that the interval errs to the wide.
    """
    span = int((orders.start + orders.last_age).max()) if len(orders.start) else 0
    blocks = (span + 1) // config.period_days
    if blocks < config.periods_min:
        return 0.0, (f"{span + 1} days do not tell how quarters differ: intervals hold the doubt of customers only.",)
    later = orders.age > 0
    when = orders.start[orders.who] + orders.age
    seen = np.bincount(when[later], orders.value[later], span + 1)
    arrivals = np.bincount(orders.start, minlength=span + 1)
    expected = np.convolve(arrivals, np.where(np.arange(len(daily)) > 0, daily, 0.0))[: span + 1]
    block = (span - np.arange(span + 1)) // config.period_days
    seen, expected = (np.bincount(block, values)[:blocks] for values in (seen, expected))
    if expected.sum() <= 0.0:
        return 0.0, ()
    weight = expected / expected.sum()
    level = np.divide(seen, expected, out=np.ones(blocks), where=expected > 0.0)
    return float(np.sqrt(np.sum(weight * (level - 1.0) ** 2) * blocks / (blocks - 1))), ()
