"""Predictive spread of what a customer will spend.

A customer is alive or not; one who is alive places a random number n of orders; n orders of a customer with `x` past
ones of mean `m` are worth (v + x m) times a beta-prime(p n, q + p x). The count given alive depends on (x, age) only,
the worth given n on (x, n) only, so both are tabulated once per `x` and the mixture is a matrix product: exact up to
the grid, without simulation.

The parameters are themselves known up to an error. That a value is uncertain by a factor exp(s z), z standard normal,
blurs its distribution on the log scale; to second order in s the quantile moves by -s^2/2 times the slope of the log
density, outwards in a tail.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, betaincinv

from models.btyd import Floats, PurchaseParameters, SpendParameters, alive_probability, order_count_probabilities

COUNT_BINS = 256  # order counts beyond this many are pooled into bins of equal width: 0.4 % of the count at most
GRID_POINTS = 160  # log-spaced values at which the distribution is tabulated, about 5 % apart, joined linearly
TAIL = 1e-3  # grid ends here: well outside the 5 % and 95 % asked for
COUNT_TAIL_SD = 8.0  # counts are followed this many standard deviations up; the rest is pooled into the last bin
CELLS_AT_ONCE = 500_000  # ages times counts tabulated together: a few MB each
TAIL_VARIANCE_Q = 0.25  # a spend shape of 2 has no variance; it is taken at this distance from there at least


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Quantiles (levels, n) of each customer's undiscounted spend, and its variance (n,)."""

    quantiles: Floats
    variance: Floats


def value_quantiles(
    purchase: PurchaseParameters,
    spend: SpendParameters,
    horizon: float,
    x: Floats,
    recency: Floats,
    age: Floats,
    mean_spend: Floats,
    levels: tuple[float, ...],
) -> Floats:
    """Quantiles of each customer's undiscounted spend within `horizon`, at these parameters; as `value_spread`."""
    alive = alive_probability(purchase, x, recency, age)
    customers = (x, age, mean_spend)
    return value_spread(purchase, spend, horizon, customers, alive, np.zeros_like(alive), levels).quantiles


def value_spread(
    purchase: PurchaseParameters,
    spend: SpendParameters,
    horizon: float,
    customers: tuple[Floats, Floats, Floats],
    alive: Floats,
    error: Floats,
    levels: tuple[float, ...],
) -> Spread:
    """Quantiles and variance of each customer's undiscounted spend within `horizon`.

    Parameters
    ----------
    customers : x, age, mean_spend, each (n,), as in `models.btyd`.
    alive : (n,), probability that the customer still buys.
    error : (n,), standard error of the log of the customer's expected value, from the parameters; 0 for none.
    levels : probabilities inside (0, 1).

    Returns
    -------
    Quantiles >= 0, zero where the chance of no order exceeds the level. Where the spend shape leaves no variance
    (q + p x <= 2) one that is barely finite stands in.
    """
    x, age, mean_spend = customers
    quantiles, first, second = np.zeros((len(levels), x.size)), np.zeros(x.size), np.zeros(x.size)
    order = np.lexsort((age, x))
    starts = np.flatnonzero(np.diff(x[order], prepend=-1.0))
    for rows in np.split(order, starts)[1:]:
        ages, row_of = np.unique(age[rows], return_inverse=True)
        own_x = float(x[rows[0]])
        at_once = max(CELLS_AT_ONCE // (_largest(purchase, horizon, own_x, ages[0]) + GRID_POINTS), 1)
        for begin in range(0, ages.size, at_once):
            inside = (row_of >= begin) & (row_of < begin + at_once)
            here, place = rows[inside], row_of[inside] - begin
            table = _tabulate(purchase, spend, horizon, own_x, ages[begin : begin + at_once])
            first[here], second[here] = table.mean[place], table.square[place]
            for k, level in enumerate(levels):
                given_alive = 1.0 - (1.0 - level) / np.maximum(alive[here], 1e-300)
                buys = given_alive > table.nothing[place]
                which = here[buys]
                quantiles[k, which] = _invert(table, place[buys], given_alive[buys], error[which])
    scale, q = spend.v + x * mean_spend, spend.q + spend.p * x
    mean = alive * spend.p * first * scale / (q - 1.0)
    square = (
        alive * spend.p * (spend.p * second + first) * scale**2 / ((q - 1.0) * np.maximum(q - 2.0, TAIL_VARIANCE_Q))
    )
    return Spread(quantiles=quantiles * scale, variance=np.maximum(square - mean**2, 0.0))


@dataclass(frozen=True, kw_only=True)
class _Table:
    """Given alive, per age: the distribution of value / (v + x m) on a log grid and moments of the count."""

    nothing: Floats  # (n_ages,) chance of no order
    grid: Floats  # (k,), evenly spaced logs
    cumulative: Floats  # (n_ages, k)
    mean: Floats  # (n_ages,) of the number of orders
    square: Floats  # (n_ages,) mean of its square


def _largest(purchase: PurchaseParameters, horizon: float, x: float, age: float) -> int:
    """Number of orders that a customer with `x` past ones at this age or a higher one practically never exceeds."""
    reach = horizon / (purchase.alpha + age)
    mean = (purchase.r + x) * reach
    return int(np.ceil(mean + COUNT_TAIL_SD * np.sqrt(mean * (1.0 + reach)))) + 2


def _tabulate(purchase: PurchaseParameters, spend: SpendParameters, horizon: float, x: float, ages: Floats) -> _Table:
    largest = _largest(purchase, horizon, x, ages[0])
    probabilities = order_count_probabilities(purchase, horizon, x, ages, largest)
    probabilities[:, -1] += np.maximum(1.0 - probabilities.sum(axis=1), 0.0)
    edges = np.unique(np.concatenate([[0], np.linspace(1, largest + 1, COUNT_BINS + 1).astype(int)]))
    weights = np.add.reduceat(probabilities, edges[:-1], axis=1)
    counts = 0.5 * (edges[:-1] + edges[1:] - 1)

    q = spend.q + spend.p * x
    ends = betaincinv(spend.p * np.array([1.0, float(largest)]), q, np.array([TAIL, 1.0 - TAIL]))
    lowest, highest = np.log(np.maximum(ends, 1e-12)) - np.log1p(-np.minimum(ends, 1.0 - 1e-12))
    grid = np.linspace(lowest, highest, GRID_POINTS)
    worth = betainc(spend.p * counts[1:, None], q, 1.0 / (1.0 + np.exp(-grid)))
    return _Table(
        nothing=weights[:, 0],
        grid=grid,
        cumulative=weights[:, :1] + weights[:, 1:] @ worth,
        mean=weights @ counts,
        square=weights @ counts**2,
    )


def _invert(table: _Table, row: np.ndarray, level: Floats, error: Floats) -> Floats:
    """Value at which row `row` of the table reaches `level`, all customers in one binary search."""
    grid, cumulative = table.grid, table.cumulative
    n_points = grid.size
    stacked = (cumulative.clip(0.0, 1.0) + 2.0 * np.arange(len(cumulative))[:, None]).ravel()
    right = np.searchsorted(stacked, level + 2.0 * row) - row * n_points
    right = right.clip(1, n_points - 1)
    low, high = cumulative[row, right - 1], cumulative[row, right]
    share = np.clip((level - low) / np.maximum(high - low, 1e-300), 0.0, 1.0)
    step = grid[1] - grid[0]
    logs = grid[right - 1] + share * step
    if error.any():
        middle = right.clip(2, n_points - 2)
        here = np.maximum(cumulative[row, middle] - cumulative[row, middle - 1], 1e-300)
        change = cumulative[row, middle + 1] - cumulative[row, middle] - cumulative[row, middle - 1]
        slope = (change + cumulative[row, middle - 2]) / (2.0 * step * here)  # of the log density
        logs -= np.clip(0.5 * error**2 * slope, -error, error)
    return np.exp(logs)
