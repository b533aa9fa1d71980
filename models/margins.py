"""Marginal values at a plan: what the next unit of money returns in each line, what holds each line back."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.allocation_config import AllocationConfig
from models.limits import Limits

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Margins:
    """Marginal values in KPI units per unit of money.

    Attributes
    ----------
    next_value : (n_lines,) value of the next unit of money; at the end of a curve that of the last one.
    last_value : (n_lines,) value of the last unit of money; at zero spend that of the next one.
    budget_price : value of one more unit of budget where it goes best; 0 where it can go nowhere or stays unspent.
    binding, shadow_price : per line, as in `models.allocation.PlanLine`.
    """

    next_value: FloatArray
    last_value: FloatArray
    budget_price: float
    binding: tuple[str, ...]
    shadow_price: FloatArray


def slopes(grid: FloatArray, mean: FloatArray, spend: FloatArray, slack: float) -> tuple[FloatArray, FloatArray]:
    """Slope of each curve just after and just before `spend`, each (n_lines,).

    Parameters
    ----------
    grid, mean : (n_lines, n_points) spend and mean value, joined linearly.
    slack : a grid point this close counts as reached.
    """
    steps = np.diff(mean, axis=1) / np.diff(grid, axis=1)
    rows, last = np.arange(len(spend)), grid.shape[1] - 2
    after = (grid <= (spend + slack)[:, None]).sum(axis=1) - 1
    before = (grid < (spend - slack)[:, None]).sum(axis=1) - 1
    return steps[rows, np.clip(after, 0, last)], steps[rows, np.clip(before, 0, last)]


def find_margins(
    grid: FloatArray, mean: FloatArray, spend: FloatArray, limits: Limits, config: AllocationConfig, worth: float
) -> Margins:
    """Marginal values, binding limits and shadow prices at `spend`.

    Parameters
    ----------
    grid, mean : (n_lines, n_points) spend and mean value of the curves. spend : (n_lines,) the plan.
    worth : of a unit of money that stays unspent.
    """
    slack = config.rounding_unit * 1.5  # a plan in whole units may lie one unit off a grid point
    after, before = slopes(grid, mean, spend, slack)
    at_upper, at_lower = spend >= limits.upper - slack, spend <= limits.lower + slack

    # where money could come from or go to, the purse of unspent money included
    unspent = limits.total - float(spend.sum()) if not config.spend_all else 0.0
    gain = np.append(np.where(at_upper, -np.inf, after), -np.inf if config.spend_all else worth)
    loss = np.append(np.where(at_lower, np.inf, before), worth if unspent > slack else np.inf)
    best_gain = _best_of_others(gain)[:-1]  # what a unit taken from this line brings elsewhere
    least_loss = -_best_of_others(-loss)[:-1]  # what a unit given to this line costs elsewhere
    # where all the others are at their limits too, the price is that of loosening the best of theirs as well
    movable = np.array(limits.lower_kind) != "locked"
    beyond_gain = _best_of_others(np.where(movable, after, -np.inf))
    beyond_loss = -_best_of_others(np.where(movable, -before, -np.inf))
    best_gain = np.where(np.isfinite(best_gain), best_gain, beyond_gain)
    least_loss = np.where(np.isfinite(least_loss), least_loss, beyond_loss)
    pressure_up, pressure_down = after - least_loss, best_gain - before

    budget_price = float(gain[:-1].max())
    if unspent > slack or not np.isfinite(budget_price):
        budget_price = 0.0
    tiny = 1e-9 * max(1.0, abs(budget_price))
    binding, price = [], np.full(len(spend), budget_price)
    for i in range(len(spend)):
        kind = "budget" if budget_price > tiny else "none"
        if at_upper[i] and pressure_up[i] > tiny:
            kind, price[i] = limits.upper_kind[i], pressure_up[i]
        elif at_lower[i] and pressure_down[i] > tiny:
            kind, price[i] = limits.lower_kind[i], pressure_down[i]
        elif limits.lower_kind[i] == "locked":
            kind, price[i] = "locked", 0.0
        binding.append(kind)
    return Margins(
        next_value=after, last_value=before, budget_price=budget_price, binding=tuple(binding), shadow_price=price
    )


def _best_of_others(amounts: FloatArray) -> FloatArray:
    """For each entry the largest of all the others; minus infinity where there are none."""
    if len(amounts) < 2:
        return np.full(len(amounts), -np.inf)
    first = int(np.argmax(amounts))
    result = np.full(len(amounts), amounts[first])
    result[first] = np.delete(amounts, first).max()
    return result
