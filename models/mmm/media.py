"""Carry-over with saturation, for arrays of posterior draws.

Sources: geometric adstock, Broadbent (1979); Hill curve in media mix, Jin et al. (2017), eq. 2-4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CARRY_IN_WEEKS = 4  # spend before the first week is taken as the mean of the first four

Array = NDArray[np.float64]


def lagged(spend: Array, max_lag_weeks: int) -> Array:
    """Spend of the same week and of each earlier one: (max_lag_weeks + 1, n_weeks, n_channels)."""
    before = np.broadcast_to(spend[:CARRY_IN_WEEKS].mean(axis=0), (max_lag_weeks, spend.shape[1]))
    padded = np.vstack([before, spend])
    return np.stack([padded[max_lag_weeks - lag : len(padded) - lag] for lag in range(max_lag_weeks + 1)])


def adstock(spend: Array, decay: Array, max_lag_weeks: int) -> Array:
    """Carried-over spend (n_draws, n_weeks, n_channels); constant spend is left as it is.

    decay : (n_draws, n_channels) share carried into the next week, in (0, 1).
    """
    weights = decay[:, None, :] ** np.arange(max_lag_weeks + 1)[None, :, None]
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("nlc,ltc->ntc", weights, lagged(spend, max_lag_weeks), optimize=True)


def hill(spend: Array, half_saturation: Array, slope: Array) -> Array:
    """x^s / (x^s + k^s), broadcast; 0 at no spend, 1/2 at the half saturation."""
    with np.errstate(divide="ignore", over="ignore"):  # log 0 is -inf, exp of it ends as a share of exactly 0
        return np.asarray(1.0 / (1.0 + np.exp(-slope * (np.log(spend) - np.log(half_saturation)))))


def hill_gradient(spend: Array, half_saturation: Array, slope: Array) -> Array:
    """Derivative of `hill` by spend, broadcast; spend must be above 0."""
    share = hill(spend, half_saturation, slope)
    return np.asarray(slope * share * (1.0 - share) / spend)


def mean_spend(spend: Array) -> Array:
    """Mean weekly spend (n_channels,), the unit the model works in; that of the others for a channel never used."""
    mean = spend.mean(axis=0)
    active = mean[mean > 0]
    return np.where(mean > 0, mean, active.mean() if len(active) else 1.0)
