"""Effectiveness that changes slowly: each channel's effect is multiplied by a random walk of its own.

    effect in week t = effect * exp(wander_t' w),   w standard normal,   wander (n_weeks, n_steps)

The walk takes a step every `varying_weeks`, of standard deviation drift_per_year * sqrt(years), and is a straight line
between. It is centred over the fitted weeks on the scale of the logarithm: the effect is the typical one, its last week
is today's. Weeks that follow keep the last week's.

Sources: Ng, Wang, Dai (2021), "Bayesian time varying coefficient model with applications to marketing mix modeling",
with a random walk in place of kernels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.mmm.config import MMMConfig
from models.mmm.data import WEEK_DAYS
from models.mmm.design import YEAR_DAYS

Array = NDArray[np.float64]


def wander(n_weeks: int, config: MMMConfig) -> Array:
    """What a step of each walk adds to the log of the effect: (n_weeks, n_steps); none where effects are constant."""
    every = config.varying_weeks
    starts = np.arange(0, n_weeks - 1, every) if every else np.empty(0)
    ramps = np.clip((np.arange(n_weeks)[:, None] - starts) / max(every, 1), 0.0, 1.0)
    sd = config.drift_per_year * np.sqrt(every * WEEK_DAYS / YEAR_DAYS)
    return np.asarray(sd * (ramps - ramps.mean(axis=0)))


def path(steps: Array, of_weeks: Array) -> Array:
    """Factor of each channel's effect: (n_draws, n_weeks, n_channels).

    steps : (n_draws, n_steps, n_channels); of_weeks : (n_weeks, n_steps) from `wander`.
    """
    return np.asarray(np.exp(np.einsum("tk,nkc->ntc", of_weeks, steps)))
