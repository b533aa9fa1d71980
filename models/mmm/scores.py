"""How well draws foresee weeks: R2, MAPE, CRPS, coverage."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LEVELS = (50, 80, 90, 95)  # percent of the intervals whose coverage is told


def scores(actual: Array, expected: Array, drawn: Array) -> dict[str, float | int | None]:
    """r2, mape of the mean expectation; crps, coverage_50, _80, _90, _95 of the draws.

    Parameters
    ----------
    actual : (n_weeks,) KPI.
    expected, drawn : (n_draws, n_weeks) expectation, KPI drawn around it.
    """
    coverage = {f"coverage_{level}": _coverage(actual, drawn, level / 100) for level in LEVELS}
    mean = expected.mean(axis=0)
    return {"r2": _r2(actual, mean), "mape": _mape(actual, mean), "crps": crps(actual, drawn), **coverage}


def _r2(actual: Array, predicted: Array) -> float:
    """1 - squared error over squared deviation; None of it is clipped, so a bad forecast is below 0."""
    spread = float(((actual - actual.mean()) ** 2).sum())
    return 1.0 - float(((actual - predicted) ** 2).sum()) / spread if spread > 0 else 0.0


def _mape(actual: Array, predicted: Array) -> float | None:
    """Mean absolute error as a fraction of the actual; weeks with a KPI of 0 are left out."""
    used = actual != 0
    return float(np.abs(predicted[used] / actual[used] - 1.0).mean()) if used.any() else None


def _coverage(actual: Array, drawn: Array, level: float) -> float:
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return float(((actual >= low) & (actual <= high)).mean())


def crps(actual: Array, drawn: Array) -> float:
    """Mean continuous ranked probability score of draws (n_draws, n_weeks), in KPI units.

    E|X - y| - E|X - X'| / 2, the second term from sorted draws.

    Sources: Gneiting, Raftery (2007), eq. 21.
    """
    n_draws = len(drawn)
    ordered = np.sort(drawn, axis=0)
    weight = 2.0 * np.arange(1, n_draws + 1) - n_draws - 1.0
    spread = (weight[:, None] * ordered).sum(axis=0) / n_draws**2
    return float((np.abs(drawn - actual).mean(axis=0) - spread).mean())
