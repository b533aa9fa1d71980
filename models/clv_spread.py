"""Predictive quantiles of what a customer will spend.

A customer is alive or not; one who is alive places a random number n of orders; n orders of a customer with `x` past
ones of mean `m` are worth (v + x m) times a beta-prime(p n, q + p x). The count given alive depends on (x, age) only,
the worth given n on (x, n) only, so both are tabulated once per `x` and the mixture is a matrix product: exact up to
the grid, without simulation.
"""

import numpy as np
from scipy.special import betainc, betaincinv

from models.btyd import Floats, PurchaseParameters, SpendParameters, alive_probability, order_count_probabilities

COUNT_BINS = 256  # order counts beyond this many are pooled into bins of equal width: 0.4 % of the count at most
GRID_POINTS = 160  # log-spaced values at which the distribution is tabulated, about 5 % apart, joined linearly
TAIL = 1e-3  # grid ends here: well outside the 5 % and 95 % asked for
COUNT_TAIL_SD = 8.0  # counts are followed this many standard deviations up; the rest is pooled into the last bin


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
    """Quantiles of each customer's undiscounted spend within `horizon`.

    Parameters
    ----------
    x, recency, age, mean_spend : shape (n,), as in `models.btyd`.
    levels : probabilities inside (0, 1).

    Returns
    -------
    Shape (len(levels), n), all >= 0; zero where the chance of no order exceeds the level.
    """
    alive = alive_probability(purchase, x, recency, age)
    quantiles = np.zeros((len(levels), x.size))
    order = np.lexsort((age, x))
    starts = np.flatnonzero(np.diff(x[order], prepend=-1.0))
    for rows in np.split(order, starts)[1:]:
        ages, row_of = np.unique(age[rows], return_inverse=True)
        nothing, grid, cumulative = _tabulate(purchase, spend, horizon, float(x[rows[0]]), ages)
        for k, level in enumerate(levels):
            given_alive = 1.0 - (1.0 - level) / np.maximum(alive[rows], 1e-300)
            buys = given_alive > nothing[row_of]
            quantiles[k, rows[buys]] = _invert(cumulative, grid, row_of[buys], given_alive[buys])
    return quantiles * (spend.v + x * mean_spend)


def _tabulate(
    purchase: PurchaseParameters, spend: SpendParameters, horizon: float, x: float, ages: Floats
) -> tuple[Floats, Floats, Floats]:
    """Chance of no order (n_ages,), log grid of value / (v + x m) (k,), its distribution given alive (n_ages, k)."""
    reach = horizon / (purchase.alpha + ages[0])
    mean = (purchase.r + x) * reach
    largest = int(np.ceil(mean + COUNT_TAIL_SD * np.sqrt(mean * (1.0 + reach)))) + 2
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
    return weights[:, 0], grid, weights[:, :1] + weights[:, 1:] @ worth


def _invert(cumulative: Floats, grid: Floats, row: np.ndarray, level: Floats) -> Floats:
    """Value at which row `row` of the tabulated distribution reaches `level`, all customers in one binary search."""
    n_points = grid.size
    stacked = (cumulative.clip(0.0, 1.0) + 2.0 * np.arange(len(cumulative))[:, None]).ravel()
    right = np.searchsorted(stacked, level + 2.0 * row) - row * n_points
    right = right.clip(1, n_points - 1)
    low, high = cumulative[row, right - 1], cumulative[row, right]
    share = np.clip((level - low) / np.maximum(high - low, 1e-300), 0.0, 1.0)
    return np.exp(grid[right - 1] + share * (grid[1] - grid[0]))
