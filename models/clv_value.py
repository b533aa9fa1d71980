"""Expected value of each customer, its spread, and how it hangs on the parameters.

An expected value is P(alive) times expected orders given alive times expected order value. Its derivatives in the
logarithms of the parameters give, with the covariance of the fit, the standard error of each value and of any sum of
values (the delta method): what a thousand refits would show, at the price of four more expectations.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from models.btyd import Floats, PurchaseParameters, SpendParameters, alive_probability, expected_orders_if_alive
from models.clv_fit import FittedPurchases, FittedSpend
from models.clv_histories import CustomerHistories
from models.clv_shift import Shift, slowed
from models.clv_spread import value_spread

YEAR_DAYS = 365.25  # mean length of a calendar year
DISCOUNT_STEP_DAYS = 30  # about a month; a year at 10 % differs from continuous discounting by 1e-5
INTERVAL = (0.05, 0.95)  # the interval of every output table
ROWS_AT_ONCE = 200_000  # customers valued together: some ten arrays of this length, a few tens of MB
LOG_STEP = 1e-4  # of a log parameter, for the one derivative that is taken by differences: good to 1e-4 of itself


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """How far ahead, in which unit, at which discount; a `pace` below 1 is the share of orders that still come.

    Of a slowed customer some orders go elsewhere, while his or her interest ends when it would have ended: expected
    orders are `pace` times those of the full rate. That is less than a slower clock would give, which would let
    customers stay longer, too.
    """

    days: float
    discount_rate_annual: float
    time_unit_days: float
    pace: float = 1.0

    @property
    def units(self) -> float:
        """Length in time units."""
        return self.days / self.time_unit_days


@dataclass(frozen=True, kw_only=True)
class Values:
    """All (n,), the variance being predictive; `slopes` (n, 7) of `mean` in the logs of r, alpha, a, b, p, q, v."""

    alive: Floats
    orders: Floats
    mean: Floats
    low: Floats
    high: Floats
    variance: Floats
    slopes: Floats


def values(
    purchase: PurchaseParameters,
    spend: SpendParameters,
    covariance: Floats,
    histories: tuple[Floats, Floats, Floats, Floats],
    horizon: Horizon,
) -> Values:
    """Value of customers who share parameters.

    Parameters
    ----------
    covariance : (7, 7) of the logs of r, alpha, a, b, p, q, v.
    histories : x, recency, age, mean_spend, each (n,), in time units, money in any currency.
    """
    x, recency, age, mean_spend = histories
    alive = alive_probability(purchase, x, recency, age)
    plain, discounted, order_slopes = _orders_if_alive(purchase, x, age, horizon)
    weight = spend.p * x + spend.q - 1.0
    order_value = spend.p * (spend.v + x * mean_spend) / weight
    mean = alive * discounted * order_value
    slopes = np.empty((x.size, 7))
    slopes[:, :4] = order_slopes + _alive_slopes(purchase, x, recency, age, 1.0 - alive)
    slopes[:, 4] = 1.0 - spend.p * x / weight
    slopes[:, 5] = -spend.q / weight
    slopes[:, 6] = np.divide(spend.v, spend.v + x * mean_spend, out=np.ones_like(x), where=mean_spend * x > 0.0)
    error = np.sqrt(np.maximum(np.einsum("ni,ij,nj->n", slopes, covariance, slopes, optimize=True), 0.0))
    at_pace = horizon.pace * horizon.units  # counts spread as over a shorter time, scaled to the mean that is expected
    spread = value_spread(purchase, spend, at_pace, (x, age, mean_spend), alive, error, INTERVAL)
    told = plain if horizon.pace == 1.0 else expected_orders_if_alive(purchase, at_pace, x, age)
    deflator = np.divide(discounted, told, out=np.ones_like(plain), where=told > 0.0)
    return Values(
        alive=alive,
        orders=alive * plain,
        mean=mean,
        low=spread.quantiles[0] * deflator,
        high=spread.quantiles[1] * deflator,
        variance=spread.variance * deflator**2,
        slopes=slopes * mean[:, None],
    )


def _alive_slopes(purchase: PurchaseParameters, x: Floats, recency: Floats, age: Floats, gone: Floats) -> Floats:
    """Derivatives (n, 4) of log P(alive); nothing without repeat orders or without dropout."""
    r, alpha, a, b = purchase.r, purchase.alpha, purchase.a, purchase.b
    slopes = np.zeros((x.size, 4))
    if a == 0.0:
        return slopes
    slopes[:, 0] = -gone * r * np.log((alpha + age) / (alpha + recency))
    slopes[:, 1] = -gone * alpha * (r + x) * (1.0 / (alpha + age) - 1.0 / (alpha + recency))
    slopes[:, 2] = -gone
    slopes[:, 3] = gone * b / (b + np.maximum(x, 1.0) - 1.0)
    return slopes


def _orders_if_alive(
    purchase: PurchaseParameters, x: Floats, age: Floats, horizon: Horizon
) -> tuple[Floats, Floats, Floats]:
    """Expected orders given alive, plain and discounted, and the derivatives (n, 4) of the log of the former."""
    pairs, row = np.unique(x + 1j * age, return_inverse=True)  # worked once per (x, age)
    x, age = pairs.real, pairs.imag
    orders = horizon.pace * expected_orders_if_alive(purchase, horizon.units, x, age)
    slopes = np.zeros((x.size, 4))
    for column, name in enumerate(("r", "alpha", "a", "b")):
        if getattr(purchase, name) > 0.0:
            moved = {each: getattr(purchase, each) for each in ("r", "alpha", "a", "b")}
            moved[name] *= np.exp(LOG_STEP)
            nudged = horizon.pace * expected_orders_if_alive(PurchaseParameters(**moved), horizon.units, x, age)
            slopes[:, column] = np.log(np.maximum(nudged, 1e-300) / np.maximum(orders, 1e-300)) / LOG_STEP
    if horizon.discount_rate_annual == 0.0:
        return orders[row], orders[row], slopes[row]
    steps = np.append(np.arange(DISCOUNT_STEP_DAYS, horizon.days, DISCOUNT_STEP_DAYS), horizon.days)
    discounted, before, start = np.zeros_like(orders), np.zeros_like(orders), 0.0
    for end in steps.astype(float):
        upto = horizon.pace * expected_orders_if_alive(purchase, end / horizon.time_unit_days, x, age)
        discounted += (upto - before) * (1.0 + horizon.discount_rate_annual) ** (-0.5 * (start + end) / YEAR_DAYS)
        before, start = upto, end
    return orders[row], discounted[row], slopes[row]


@dataclass(frozen=True, kw_only=True)
class ChannelSums:
    """Of the customers of a channel: how many, their value, its predictive variance, its error from the parameters."""

    customers: int
    value: float
    variance: float
    error: float


@dataclass(frozen=True, kw_only=True)
class Valued:
    """All (n,), in the order of the histories, and the sums of each group."""

    alive: Floats
    orders: Floats
    mean: Floats
    low: Floats
    high: Floats
    channels: dict[str, ChannelSums]


def parameters_of(
    purchases: FittedPurchases, spend: FittedSpend, name: str
) -> tuple[PurchaseParameters, SpendParameters, Floats]:
    """Parameters of a group and their covariance (7, 7) in logs; zero for a stand-in whose error nobody knows."""
    purchase = next(
        (g for g in purchases.groups if g.name == name), purchases.groups[-1] if purchases.groups else purchases
    )
    money = next((g for g in spend.groups if g.name == name), spend.groups[-1] if spend.groups else spend)
    covariance = np.zeros((7, 7))
    if purchase.covariance is not None:
        covariance[:4, :4] = purchase.covariance
    if money.covariance is not None:
        covariance[4:, 4:] = money.covariance
    return purchase.parameters, money.parameters, covariance


def value_histories(
    purchases: FittedPurchases, spend: FittedSpend, shift: Shift | None, histories: CustomerHistories, horizon: Horizon
) -> Valued:
    """Value of every customer over the horizon, block by block, so that memory does not grow with the intermediate."""
    alive, orders, mean, low, high = results = np.zeros((5, histories.x.size))
    channels = {}
    is_known = purchases.covariance is not None and spend.covariance is not None
    for name, rows in histories.groups():
        purchase, money, covariance = parameters_of(purchases, spend, name)
        now = (histories.x[rows], histories.recency[rows], histories.age[rows], histories.mean_spend[rows])
        pace = np.ones(rows.size)
        if shift:
            before = histories.x_before[rows], histories.recency_before[rows]
            recency, age, pace = slowed(shift, purchase, money, now, before)
            now = (now[0], recency, age, now[3])
        variance, slope = 0.0, np.zeros(7)
        for block in _blocks(pace, now[0], now[2]):
            here = replace(horizon, pace=float(pace[block[0]]))
            found = values(purchase, money, covariance, tuple(column[block] for column in now), here)
            for column, part in zip(
                results, (found.alive, found.orders, found.mean, found.low, found.high), strict=True
            ):
                column[rows[block]] = part
            variance += float(found.variance.sum())
            slope += found.slopes.sum(axis=0)
        # a pace is 1 - share * (1 - shift.pace), and 1 - shift.pace is known up to its z-th part
        doubt = float(mean[rows] @ ((1.0 - pace) / pace)) / shift.z if shift else 0.0
        channels[name] = ChannelSums(
            customers=rows.size,
            value=float(mean[rows].sum()),
            variance=variance,
            error=(max(float(slope @ covariance @ slope), 0.0) + doubt**2) ** 0.5 if is_known else float("nan"),
        )
    return Valued(alive=alive, orders=orders, mean=mean, low=low, high=high, channels=channels)


def _blocks(pace: Floats, x: Floats, age: Floats) -> Iterator[np.ndarray]:
    """Rows of one pace, in the order of (x, age), at most `ROWS_AT_ONCE` together and an x whole where it fits."""
    order = np.lexsort((age, x, pace))
    begin = 0
    starts = np.flatnonzero(np.diff(x[order], prepend=-1.0))
    while begin < order.size:
        same_pace = int(np.searchsorted(pace[order], pace[order[begin]], side="right"))
        end = min(begin + ROWS_AT_ONCE, same_pace)
        if end < same_pace:
            whole = starts[(starts > begin) & (starts <= end)]
            end = int(whole[-1]) if whole.size else end
        yield order[begin:end]
        begin = end
