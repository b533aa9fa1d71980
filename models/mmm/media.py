"""Carry-over and saturation, for arrays of posterior draws.

Sources: geometric adstock, Broadbent (1979); delayed adstock, Hill curve in media mix, Jin et al. (2017), eq. 1-5;
Weibull adstock, Robyn (Meta, 2021). Michaelis-Menten is the Hill curve of slope 1; the logistic curve is
tanh(log(3)/2 x/k), pymc-marketing's with lambda = log(3)/k.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CARRY_IN_WEEKS = 4  # spend before the first week is taken as the mean of the first four
HALF_LOG_3, LOG_2 = 0.5 * np.log(3.0), np.log(2.0)  # each curve reaches 1/2 at its half saturation

Array = NDArray[np.float64]


def padded(spend: Array, max_lag_weeks: int) -> Array:
    """Spend with the weeks before the first in front: (max_lag_weeks + n_weeks, n_channels)."""
    before = np.broadcast_to(spend[:CARRY_IN_WEEKS].mean(axis=0), (max_lag_weeks, spend.shape[1]))
    return np.vstack([before, spend])


def lagged(spend: Array, max_lag_weeks: int) -> Array:
    """Spend of the same week and of each earlier one: (max_lag_weeks + 1, n_weeks, n_channels)."""
    whole = padded(spend, max_lag_weeks)
    return np.stack([whole[max_lag_weeks - lag : len(whole) - lag] for lag in range(max_lag_weeks + 1)])


def lag_weights(kind: str, first: Array, second: Array, max_lag_weeks: int) -> Array:
    """Share of an effect that comes `lag` weeks later: (max_lag_weeks + 1, n_draws, n_channels), summing to 1.

    Parameters
    ----------
    kind : geometric, decay^lag; delayed, decay^((lag - peak)^2); weibull_pdf, the density at lag + 1; weibull_cdf, the
        share of effects that last longer than lag weeks.
    first : (n_draws, n_channels) decay in (0, 1); of a Weibull the scale in weeks, above 0.
    second : (n_draws, n_channels) peak in weeks, or the Weibull's shape, above 0; the geometric one has none.
    """
    lag = np.arange(max_lag_weeks + 1.0)[:, None, None]
    with np.errstate(over="ignore"):  # a Weibull's tail is exactly 0 where its exponent overflows
        if kind == "geometric":
            log_weight = lag * np.log(first)
        elif kind == "delayed":
            log_weight = (lag - second) ** 2 * np.log(first)
        elif kind == "weibull_pdf":
            age = np.log(lag + 1.0) - np.log(first)
            log_weight = np.log(second) - np.log(first) + (second - 1.0) * age - np.exp(second * age)
        elif kind == "weibull_cdf":
            log_weight = -((lag / first) ** second)
        else:
            raise ValueError(f"adstock is {kind!r}; expected geometric, delayed, weibull_pdf or weibull_cdf")
    weight = np.exp(log_weight - log_weight.max(axis=0))
    return np.asarray(weight / weight.sum(axis=0))


def adstock(spend: Array, weights: Array) -> Array:
    """Carried-over spend (n_draws, n_weeks, n_channels); constant spend is left as it is.

    weights : (n_lags, n_draws, n_channels) from `lag_weights`.
    """
    return np.einsum("lnc,ltc->ntc", weights, lagged(spend, len(weights) - 1), optimize=True)


def saturation(kind: str, spend: Array, half_saturation: Array, slope: Array) -> Array:
    """Share of the ceiling at a spend, broadcast; 0 at no spend, 1/2 at the half saturation.

    kind : hill or michaelis_menten, x^s / (x^s + k^s); logistic, tanh(log(3)/2 (x/k)^s); s_shape, 1 - 2^-(x/k)^s.
    """
    with np.errstate(divide="ignore", over="ignore"):  # log 0 is -inf, exp of it ends as a share of exactly 0
        level = slope * (np.log(spend) - np.log(half_saturation))
        if kind in ("hill", "michaelis_menten"):
            return np.asarray(1.0 / (1.0 + np.exp(-level)))
        if kind == "logistic":
            return np.asarray(np.tanh(HALF_LOG_3 * np.exp(level)))
        if kind == "s_shape":
            return np.asarray(-np.expm1(-LOG_2 * np.exp(level)))
    raise ValueError(f"saturation is {kind!r}; expected hill, michaelis_menten, logistic or s_shape")


def saturation_gradient(kind: str, spend: Array, half_saturation: Array, slope: Array) -> Array:
    """Derivative of `saturation` by spend, broadcast; spend must be above 0."""
    share = saturation(kind, spend, half_saturation, slope)
    level = np.exp(np.minimum(slope * (np.log(spend) - np.log(half_saturation)), 50.0))
    if kind == "logistic":
        rise = (1.0 - share**2) * HALF_LOG_3 * level
    elif kind == "s_shape":
        rise = (1.0 - share) * LOG_2 * level
    else:
        rise = share * (1.0 - share)
    return np.asarray(slope * rise / spend)


def carried_share(
    spend: Array, weights: Array, half_saturation: Array, slope: Array, kind: str, carry_first: bool = True
) -> Array:
    """Share of its ceiling that each channel brings each week: (n_draws, n_weeks, n_channels), either order."""
    if carry_first:
        return saturation(kind, adstock(spend, weights), half_saturation[:, None, :], slope[:, None, :])
    n_lags, n_weeks = len(weights), len(spend)
    reached = saturation(kind, padded(spend, n_lags - 1), half_saturation[:, None, :], slope[:, None, :])
    total = np.zeros((len(slope), n_weeks, spend.shape[1]))
    for lag in range(n_lags):
        total += weights[lag][:, None, :] * reached[:, n_lags - 1 - lag : n_lags - 1 - lag + n_weeks]
    return total


def mean_spend(spend: Array) -> Array:
    """Mean weekly spend (n_channels,), the unit the model works in; that of the others for a channel never used."""
    mean = spend.mean(axis=0)
    active = mean[mean > 0]
    return np.where(mean > 0, mean, active.mean() if len(active) else 1.0)
