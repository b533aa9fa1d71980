"""A plan in whole units of money that keeps its total, its limits and its groups exactly."""

import numpy as np
from numpy.typing import NDArray

from models.nested import GroupBound, fill
from models.problem import Problem, allowed_parts

FloatArray = NDArray[np.float64]


def round_plan(problem: Problem, best: FloatArray, price: FloatArray, unit: float) -> FloatArray:
    """Whole units near `best`; where one unit more or less is needed, `price` (n_lines,) says where it matters most.

    Parameters
    ----------
    best : (n_lines,) a plan that keeps the rules to float precision.
    """
    least, most = _near(problem, best, unit)
    down = np.clip(np.floor(best / unit + 1e-6), least, most)
    aim = best.sum() / unit if problem.unspent_worth is not None else problem.total / unit
    total = round(aim) if problem.unspent_worth is None else np.floor(aim + 1e-6)
    # each line may end one unit below its floor or two above it; the first piece is filled before any other
    base = np.maximum(down - 1, least)
    lines = np.arange(len(best))
    order = np.argsort(np.argsort(price, kind="stable"), kind="stable").astype(float)
    slope = np.concatenate([order + len(best), order])
    groups = [
        GroupBound(name=g.name, inside=g.inside, low=round(g.low / unit), high=_units(g.high, unit))
        for g in problem.groups
    ]
    for reach in (2.0, np.inf):
        high = np.maximum(np.minimum(down + reach, most), down)
        length = np.concatenate([down - base, high - down])
        put = fill(slope, length, np.concatenate([lines, lines]), base, groups, float(total))
        if put is not None:
            down = base + put[: len(best)] + put[len(best) :]
            break
    return np.round(down * unit, 9) + 0.0  # no minus zero


def _units(amount: float, unit: float) -> float:
    return float(round(amount / unit)) if np.isfinite(amount) else amount


def _near(problem: Problem, best: FloatArray, unit: float) -> tuple[FloatArray, FloatArray]:
    """Least and most units of the allowed part of each line that its spend lies in."""
    least, most = np.empty(len(best)), np.empty(len(best))
    for i, at in enumerate(best.tolist()):
        x, joined = problem.spend[i], problem.joined[i]
        parts = [(float(x[0]), float(x[-1]))] if joined.all() else allowed_parts(x, joined)
        low, high = min(parts, key=lambda part: max(part[0] - at, at - part[1], 0.0))
        if problem.max_moves is not None and problem.stay is not None and abs(at - problem.stay[i]) <= 0.5 * unit:
            low = high = float(problem.stay[i])
        least[i], most[i] = np.ceil(low / unit - 1e-6), np.floor(high / unit + 1e-6)
        if least[i] > most[i]:
            least[i] = most[i] = round(at / unit)
    return least, most
