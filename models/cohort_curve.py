"""What customers have brought by how long they have been customers: curves per cohort, per channel and for all.

A cohort is the customers of one calendar month of first orders. Month 0 is the day of the first order itself, month m
the time up to m months after it, so every customer counts by the own age and value at month 0 is the value of the first
order. A cell is observed once the whole cohort has that age; younger cells are projected by the growth of older cohorts
(chain ladder), and where no cohort is that old by the lifetime model's growth, if it is given.

Sources: Mack (1993), ASTIN Bulletin 23(2), for the projection and its error; Kaplan & Meier (1958), JASA 53, for the
share that has come back by a month while the young are still out; Fader, Hardie & Lee (2005), Marketing Science 24(2),
equation 9, for the model's expectation of a new customer.
"""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import ClassVar, Literal

import numpy as np
import polars as pl

from models.btyd import expected_orders_if_alive, expected_spend
from models.chain_ladder import Floats, Ladder, complete, fit_ladder, pooled_curve, pooled_dispersion
from models.clv import FittedCLV
from models.clv_value import parameters_of

ALL = "all"  # in place of a channel: customers of all; in place of a cohort's month: all its cohorts pooled
Z_90 = 1.6449  # standard errors from the middle to either end of a 90 % interval
MONTH_DAYS = 365.25 / 12
SMALL_SHARE = 0.1  # of a company with few customers: a tenth of them are as many as it will get
SCHEMA = {
    "channel": pl.String,
    "cohort_month": pl.String,
    "month": pl.Int64,
    "customers": pl.Int64,
    "value_per_customer": pl.Float64,
    "value_p05": pl.Float64,
    "value_p95": pl.Float64,
    "retention": pl.Float64,
    "returned_fraction": pl.Float64,
    "observed": pl.Boolean,
    "expected_value": pl.Float64,
}


@dataclass(frozen=True, kw_only=True)
class CohortCurveConfig:
    """How far curves go, and when a channel's cohorts carry growth of their own."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    months: int = 24  # two years: the longest payback that acquisition is usually granted
    customers_min: int = 100  # fewer behind a step, with errors beyond 10 %: the growth of all channels stands in

    def __post_init__(self) -> None:
        for name, value, low in (("months", self.months, 1), ("customers_min", self.customers_min, 1)):
            if value < low:
                raise ValueError(f"{name} is {value}: expected at least {low}")


@dataclass(frozen=True, kw_only=True)
class _Triangle:
    """Cohorts of one channel: `months` (c,) first days, the rest (c, ages); value and returned are cumulative."""

    months: list[date]
    customers: Floats
    value: Floats
    ordering: Floats
    returned: Floats
    observed: np.ndarray


def cohort_curves(
    orders: pl.DataFrame,
    as_of: date,
    config: CohortCurveConfig,
    value: Literal["revenue", "margin"] = "revenue",
    lifetimes: FittedCLV | None = None,
) -> pl.DataFrame:
    """Rows of ``out.cohort_curve``, by channel, cohort and month.

    Parameters
    ----------
    orders : rows of ``mart.cohort_orders`` in any order: channel, cohort_month (first day of a month), month (>= 0),
        customers, ordering_customers, returning_customers, revenue, margin. Amounts that sum below 0 count as they are.
    as_of : the last day that is known; cells that need a later day are not observed.
    lifetimes : gives ``expected_value``, in the unit it was fitted on; null without it.

    Returns
    -------
    channel ("all" for all channels), cohort_month ("2025-03", or "all" for the pooled curve), month 0..config.months,
    customers (of the cohort; pooled: of the cohorts observed to that month), value_per_customer (cumulative; null
    beyond what any cohort has reached without a model), value_p05 and value_p95 (90 % interval of what is projected and
    of pooled curves; null where it is plain arithmetic or cannot be told), retention (share of the customers who
    ordered within that month, 1 at month 0; null where not observed), returned_fraction (share who have ordered again
    by then; the young are followed as far as they are seen), observed, expected_value (what the lifetime model
    expects, cumulative, from the same first order).
    """
    if orders.is_empty():
        return pl.DataFrame(schema=SCHEMA)
    named = orders.with_columns(
        pl.when(pl.col("channel") == ALL).then(pl.lit("all (channel)")).otherwise(pl.col("channel")).alias("channel")
    )
    everybody = _triangle(named, as_of, config.months, value)
    common = _carried(everybody, config.customers_min)
    parts = [_rows(ALL, everybody, common, _expected(lifetimes, None, everybody, config.months))]
    for (name,), own in sorted(named.group_by("channel"), key=lambda item: str(item[0][0])):
        triangle = _triangle(own, as_of, config.months, value)
        expected = _expected(lifetimes, str(name), triangle, config.months)
        parts.append(_rows(str(name), triangle, _supported(triangle, common, config.customers_min), expected))
    return pl.concat(parts)


def months_to_reach(value: Floats, amount: float) -> float | None:
    """First month at which a cumulative curve reaches an amount, linear between months; None where it never does.

    Parameters
    ----------
    value : (months + 1,) from month 0; what follows the first NaN does not count.
    amount : 0 where value at month 0 is enough.
    """
    known = value[: np.argmax(np.isnan(value))] if np.isnan(value).any() else value
    above = np.flatnonzero(known >= amount)
    if not above.size:
        return None
    k = int(above[0])
    return 0.0 if k == 0 else float(k - 1 + (amount - known[k - 1]) / (known[k] - known[k - 1]))


def _triangle(orders: pl.DataFrame, as_of: date, months: int, value: str) -> _Triangle:
    """Cohorts in order of time; orders beyond `months` are left out."""
    sums = ("customers", "ordering_customers", "returning_customers", value)
    # exact in any order of rows: counts are whole, money is summed over few channels in the order of their names
    cells = (
        orders.sort("cohort_month", "month", "channel")
        .group_by("cohort_month", "month", maintain_order=True)
        .agg(pl.col(name).sum() for name in sums)
    )
    sizes = cells.filter(pl.col("month") == 0)
    firsts = sizes["cohort_month"].to_list()
    place = {month: i for i, month in enumerate(firsts)}
    ordering, returned, money = np.zeros((3, len(firsts), months + 1))
    for month, age, _, who, back, brought in cells.filter(pl.col("month") <= months).iter_rows():
        ordering[place[month], age], returned[place[month], age], money[place[month], age] = who, back, brought or 0.0
    return _Triangle(
        months=firsts,
        customers=sizes["customers"].to_numpy().astype(float),
        value=np.cumsum(money, axis=1),
        ordering=ordering,
        returned=np.cumsum(returned, axis=1),
        observed=np.array([[_is_seen(month, age, as_of) for age in range(months + 1)] for month in firsts]),
    )


def _is_seen(cohort_month: date, age: int, as_of: date) -> bool:
    """Whether the youngest customer of a cohort so far has been one for `age` months."""
    youngest = min(_later(cohort_month, 1) - timedelta(days=1), as_of)
    begin = _later(youngest.replace(day=1), age)
    length = (_later(begin, 1) - begin).days
    return begin.replace(day=min(youngest.day, length)) <= as_of


def _later(first: date, months: int) -> date:
    """The first day of a month so many months later."""
    years, month = divmod(first.month - 1 + months, 12)
    return date(first.year + years, month + 1, 1)


def _carried(everybody: _Triangle, customers_min: int) -> Ladder:
    """The growth of all, without the steps that too few customers have taken."""
    ladder = pooled_dispersion(fit_ladder(everybody.value, everybody.observed))
    enough = min(customers_min, SMALL_SHARE * everybody.customers.sum())
    return replace(ladder, rows=np.where(_behind(everybody) >= enough, ladder.rows, 0))


def _behind(triangle: _Triangle) -> Floats:
    """Customers who have taken each step."""
    return np.asarray((triangle.observed[:, 1:] * triangle.customers[:, None]).sum(axis=0))


def _supported(own: _Triangle, common: Ladder, customers_min: int) -> Ladder:
    """The channel's own growth where enough customers are behind a step, else that of all."""
    ladder = pooled_dispersion(fit_ladder(own.value, own.observed))
    strong = (_behind(own) >= customers_min) & (ladder.base > 0.0)
    return Ladder(
        factor=np.where(strong, ladder.factor, common.factor),
        variance=np.where(strong, ladder.variance, common.variance),
        base=np.where(strong, ladder.base, common.base),
        rows=np.where(strong, ladder.rows, common.rows),
    )


def _expected(lifetimes: FittedCLV | None, channel: str | None, triangle: _Triangle, months: int) -> Floats | None:
    """What the lifetime model expects of a new customer's later orders, cumulative, (months + 1,)."""
    if lifetimes is None:
        return None
    purchase, money = lifetimes.purchases.parameters, lifetimes.spend.parameters
    if channel is not None:
        purchase, money, _ = parameters_of(lifetimes.purchases, lifetimes.spend, channel)
    time = np.arange(months + 1) * MONTH_DAYS / lifetimes.time_unit_days
    nothing = np.zeros(months + 1)
    each = float(np.atleast_1d(expected_spend(money, np.zeros(1), np.zeros(1)))[0])
    return np.asarray(expected_orders_if_alive(purchase, time, nothing, nothing)) * each


def _rows(channel: str, triangle: _Triangle, ladder: Ladder, expected: Floats | None) -> pl.DataFrame:
    """Every cohort of a channel, and the pooled curve."""
    cohorts, ages = triangle.value.shape
    size = triangle.customers
    full = complete(triangle.value, triangle.observed, ladder)
    curve, error = pooled_curve(triangle.value, triangle.observed, size, ladder)
    first = triangle.value[:, 0] / size
    pooled_first = curve[0]
    each, spread = full.value / size[:, None], full.error / size[:, None]
    model = np.full((cohorts, ages), np.nan) if expected is None else first[:, None] + expected
    pooled_model = np.full(ages, np.nan) if expected is None else pooled_first + expected
    for row, known in ((each, model), (curve[None, :], pooled_model[None, :])):
        _grow_on(row, known)
    at_risk = (triangle.observed * size[:, None]).sum(axis=0)
    retention = np.where(triangle.observed, triangle.ordering / size[:, None], np.nan)
    returned = np.where(triangle.observed, triangle.returned / size[:, None], np.nan)
    seen = triangle.observed.any(axis=0) & (np.append(1, np.cumprod(ladder.rows > 0)) > 0)
    pooled_retention = np.divide(
        (triangle.ordering * triangle.observed).sum(axis=0), at_risk, out=np.full(ages, np.nan), where=at_risk > 0
    )
    names = [f"{month:%Y-%m}" for month in triangle.months]
    told = ~triangle.observed
    own = _frame(
        channel,
        np.repeat(names, ages),
        np.tile(np.arange(ages), cohorts),
        customers=np.repeat(size, ages),
        value=each.ravel(),
        error=np.where(told, spread, np.nan).ravel(),
        retention=retention.ravel(),
        returned=returned.ravel(),
        observed=triangle.observed.ravel(),
        expected=model.ravel(),
    )
    pooled = _frame(
        channel,
        np.repeat([ALL], ages),
        np.arange(ages),
        customers=at_risk,
        value=curve,
        error=error,
        retention=pooled_retention,
        returned=_come_back(triangle),
        observed=seen,
        expected=pooled_model,
    )
    return pl.concat([pooled, own])


def _grow_on(curves: Floats, model: Floats) -> None:
    """Carry curves (rows, ages) on in place, where they end early, by the growth that `model` expects."""
    for k in range(1, curves.shape[1]):
        ends = np.isnan(curves[:, k]) & np.isfinite(curves[:, k - 1]) & (model[:, k - 1] > 0.0)
        curves[ends, k] = curves[ends, k - 1] * model[ends, k] / model[ends, k - 1]


def _come_back(triangle: _Triangle) -> Floats:
    """Share of customers who have ordered again by each month, (ages,); NaN beyond what was observed.

    One less the product over months of the share, among those who had not come back and are still observed, that does
    not come back in that month either.
    """
    ages = triangle.value.shape[1]
    away, share = 1.0, np.full(ages, np.nan)
    share[0] = 0.0
    for k in range(1, ages):
        here = triangle.observed[:, k]
        still = (triangle.customers - triangle.returned[:, k - 1])[here].sum()
        if not here.any():
            break
        came = (triangle.returned[:, k] - triangle.returned[:, k - 1])[here].sum()
        away *= 1.0 - came / still if still > 0 else 1.0
        share[k] = 1.0 - away
    return share


def _frame(channel: str, cohort: Floats, month: Floats, **columns: Floats) -> pl.DataFrame:
    value, error = columns["value"], columns["error"]
    relative = np.divide(Z_90 * error, value, out=np.full(value.shape, np.nan), where=value > 0.0)
    frame = pl.DataFrame(
        {
            "channel": np.repeat([channel], len(cohort)),
            "cohort_month": cohort,
            "month": month,
            "customers": columns["customers"].astype(np.int64),
            "value_per_customer": value,
            "value_p05": value * np.exp(-relative),  # log-normal ends stay above 0
            "value_p95": value * np.exp(relative),
            "retention": columns["retention"],
            "returned_fraction": columns["returned"],
            "observed": columns["observed"],
            "expected_value": columns["expected"],
        },
        schema=SCHEMA,
        strict=False,
    )
    return frame.with_columns(pl.selectors.float().fill_nan(None))
