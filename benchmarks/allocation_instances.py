"""Random allocation problems with their exact optimum by dynamic programming, for the benchmark and the tests.

All limits are whole numbers of a grid step. While two lines of a group lie between grid points, money can be shifted
between them without loss until one reaches a point, so some optimum over all spends lies on the grid.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Instance:
    """Lines with Hill curves on the grid 0, 1, ... steps; money in steps."""

    curves: FloatArray  # (n_lines, steps + 1)
    slope: FloatArray
    half: FloatArray
    top: FloatArray
    low: IntArray
    high: IntArray
    at_least: IntArray  # 0: the line may spend anything; else it is off or spends at least this
    groups: tuple[tuple[tuple[int, ...], int, int], ...]  # lines, least, most; apart from each other
    total: int

    def hill(self, spend: FloatArray) -> FloatArray:
        """The smooth curves' values (n_lines,) at `spend`."""
        x = np.maximum(spend, 0.0) ** self.slope
        return self.top * x / (self.half**self.slope + x)


def random_instance(seed: int, steps: int = 60) -> Instance:
    """4 to 12 lines, Hill slopes 0.7 to 4, random floors, caps, groups, off-or-at-least; always feasible."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 13))
    slope, half = rng.uniform(0.7, 4.0, n), rng.uniform(0.1, 0.8, n) * steps
    top = rng.lognormal(0.0, 0.6, n)
    x = np.arange(steps + 1.0)
    curves = top[:, None] * x ** slope[:, None] / (half[:, None] ** slope[:, None] + x ** slope[:, None])
    low = np.where(rng.random(n) < 0.3, rng.integers(1, steps // 5, n), 0)
    high = np.where(rng.random(n) < 0.4, rng.integers(steps // 3, steps, n), steps)
    at_least = np.where((low == 0) & (rng.random(n) < 0.5), rng.integers(2, steps // 2, n), 0)
    at_least = np.minimum(at_least, high)
    order, groups, start = rng.permutation(n), [], 0
    while start + 2 <= n and len(groups) < 3 and rng.random() < 0.7:
        size = int(rng.integers(2, min(4, n - start) + 1))
        lines = tuple(sorted(int(i) for i in order[start : start + size]))
        least, most = int(low[list(lines)].sum()), int(high[list(lines)].sum())
        floor = int(rng.integers(least, least + (most - least) // 2 + 1)) if rng.random() < 0.5 else 0
        cap = int(rng.integers(max(floor, least) + (most - least) // 10 + 1, most - (most - least) // 3 + 1))
        groups.append((lines, floor, cap))
        start += size
    free = [i for i in range(n) if not any(i in lines for lines, _, _ in groups)]
    least = int(low[free].sum()) + sum(max(floor, int(low[list(lines)].sum())) for lines, floor, _ in groups)
    most = int(high[free].sum()) + sum(cap for _, _, cap in groups)
    total = least + 1 + int((most - least - 1) * rng.uniform(0.1, 0.9))
    return Instance(
        curves=curves, slope=slope, half=half, top=top, low=low, high=high, at_least=at_least, groups=tuple(groups),
        total=total,
    )  # fmt: skip


def exact_optimum(instance: Instance) -> float:
    """Largest value over whole-step spends; minus infinity where none meets the limits."""
    grouped = {i for lines, _, _ in instance.groups for i in lines}
    best = _together(instance, [i for i in range(len(instance.low)) if i not in grouped])
    for lines, floor, cap in instance.groups:
        inner = _together(instance, list(lines))
        inner[:floor] = -np.inf
        inner[cap + 1 :] = -np.inf
        best = _joined(best, inner)
    return float(best[instance.total])


def _together(instance: Instance, lines: list[int]) -> FloatArray:
    best = np.full(instance.total + 1, -np.inf)
    best[0] = 0.0
    for i in lines:
        allowed = np.full(instance.curves.shape[1], -np.inf)
        allowed[instance.low[i] : instance.high[i] + 1] = instance.curves[i, instance.low[i] : instance.high[i] + 1]
        allowed[1 : instance.at_least[i]] = -np.inf
        best = _joined(best, allowed)
    return best


def _joined(best: FloatArray, more: FloatArray) -> FloatArray:
    after = np.full(len(best), -np.inf)
    for units in np.flatnonzero(np.isfinite(more[: len(best)])):
        after[units:] = np.maximum(after[units:], best[: len(best) - units] + more[units])
    return after
