"""What a user asks a fitted mix model: contribution, ROAS, marginal ROAS, response curves."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.mmm.data import RECENT_WEEKS, WEEK_DAYS
from models.mmm.design import YEAR_DAYS
from models.mmm.exposure import media_of
from models.mmm.fitted import FittedMMM, contributions, expected_kpi, loss_without
from models.mmm.interactions import pairs_of, raised_ceiling
from models.mmm.media import mean_spend, saturation, saturation_gradient
from models.mmm.varying import path, wander
from models.response import ResponseCurves

YEAR_WEEKS = 52  # the level that a multiplicative effect acts on: a year of weeks, so that no season is in it
MIN_LEVEL = 0.01  # of a mean spend: where a curve's slope is read for a channel that has been dark

Array = NDArray[np.float64]


def roas(fitted: FittedMMM) -> Array:
    """KPI per unit of money over the fitted weeks: (n_draws, n_channels); NaN for a channel that never spent."""
    spend = fitted.data.spend.sum(axis=0)
    return np.asarray(contributions(fitted).sum(axis=1) / np.where(spend > 0, spend, np.nan))


def recent_spend(fitted: FittedMMM) -> Array:
    """Mean weekly spend of the last 13 weeks: (n_channels,)."""
    return np.asarray(fitted.data.spend[-RECENT_WEEKS:].mean(axis=0))


def drift(fitted: FittedMMM) -> Array:
    """Today's effectiveness over the typical one of the fitted weeks: (n_draws, n_channels); mean 1 if none is fitted.

    The fit sees the mean effect of its weeks; the next euro meets today's. Log effects are taken to wander by
    `drift_per_year`, as they are where lift tests grow old. The last value of a random walk over T years lies away
    from the walk's mean with variance drift_per_year^2 * T / 3. Where the fit follows the walk, it is the walk's last
    week.
    """
    if fitted.config.varying_weeks:
        return path(fitted.steps, wander(fitted.data.n_weeks, fitted.config)[-1:])[:, 0]
    years = fitted.data.n_weeks * WEEK_DAYS / YEAR_DAYS
    sd = fitted.config.drift_per_year * np.sqrt(years / 3.0)
    white = np.random.default_rng([fitted.config.seed, 5]).standard_normal(fitted.ceiling.shape)
    return np.asarray(np.exp(sd * white - 0.5 * sd**2))


def steady_ceiling(fitted: FittedMMM) -> Array:
    """Ceilings (n_draws, n_channels) as of today: drift included, partners of an interaction at their recent spend."""
    raised = raised_ceiling(
        fitted.ceiling,
        fitted.synergy,
        pairs_of(fitted.data, fitted.config),
        fitted.config.saturation,
        recent_spend(fitted),
        fitted.half_saturation,
        fitted.slope,
    )
    return drift(fitted) * raised


def level_without(fitted: FittedMMM) -> Array:
    """Mean weekly KPI of the last year without one channel: (n_draws, n_channels). What a log link's effect lifts."""
    left = expected_kpi(fitted)[:, -YEAR_WEEKS:, None] - loss_without(fitted)[:, -YEAR_WEEKS:]
    return np.asarray(left.mean(axis=1))


def steady_response(fitted: FittedMMM, spend: Array, kept: NDArray[np.int64] | None = None) -> Array:
    """Steady weekly KPI as of today that each channel brings at a spend, the others at theirs of late.

    spend : (n_points, n_channels) money per week; kept : draws, else all. Returns (n_points, n_channels, n_draws).
    """
    at = np.arange(fitted.n_draws) if kept is None else kept
    ceiling, half, slope = (a[at].T for a in (steady_ceiling(fitted), fitted.half_saturation, fitted.slope))
    lifted = ceiling * saturation(fitted.config.saturation, spend[:, :, None], half, slope)
    return np.asarray(level_without(fitted)[at].T * np.expm1(lifted)) if fitted.config.link == "log" else lifted


def marginal_roas(fitted: FittedMMM) -> Array:
    """KPI per next unit of weekly money, kept up, at the recent spend: (n_draws, n_channels).

    The slope of the steady response, drift included; a channel dark for 13 weeks is read at 1 % of its mean spend.
    """
    level = np.maximum(recent_spend(fitted), MIN_LEVEL * mean_spend(media_of(fitted.data)))
    kind = fitted.config.saturation
    ceiling, half, slope = steady_ceiling(fitted), fitted.half_saturation, fitted.slope
    rise = ceiling * saturation_gradient(kind, level, half, slope)
    if fitted.config.link == "log":
        rise = rise * level_without(fitted) * np.exp(ceiling * saturation(kind, level, half, slope))
    return rise


def channel_table(fitted: FittedMMM) -> pl.DataFrame:
    """One row per channel: contribution over the fitted weeks, ROAS, marginal ROAS, each as _mean, _p05, _p95.

    A ROAS of a channel that never spent is null.
    """
    measures = {
        "contribution": contributions(fitted).sum(axis=1),
        "roas": roas(fitted),
        "marginal_roas": marginal_roas(fitted),
    }
    columns: dict[str, pl.Series] = {"channel": pl.Series(fitted.data.channels, dtype=pl.String)}
    for name, draws in measures.items():
        low, high = np.quantile(draws, [0.05, 0.95], axis=0)
        for suffix, values in (("mean", draws.mean(axis=0)), ("p05", low), ("p95", high)):
            columns[f"{name}_{suffix}"] = pl.Series(values).fill_nan(None)
    return pl.DataFrame(columns)


def response_curves(
    fitted: FittedMMM, max_spend_factor: float = 2.5, n_points: int = 80, max_draws: int = 500
) -> ResponseCurves:
    """Steady weekly response of each channel, as of today, from no spend to well beyond today's.

    Parameters
    ----------
    max_spend_factor : the last point, in the larger of recent or overall mean spend; the largest week seen if that is
        more.
    n_points : points per line, closer together at low spend, where S-shapes bend.
    max_draws : posterior draws kept, evenly thinned.
    """
    if max_spend_factor <= 0 or n_points < 2 or max_draws < 1:
        raise ValueError(f"max_spend_factor {max_spend_factor}, n_points {n_points}, max_draws {max_draws}: too small")
    spend = media_of(fitted.data)
    level = np.maximum(recent_spend(fitted), mean_spend(spend))
    last = np.maximum(max_spend_factor * level, spend.max(axis=0))
    grid = last[:, None] * np.linspace(0.0, 1.0, n_points) ** 2
    kept = np.linspace(0, fitted.n_draws - 1, min(max_draws, fitted.n_draws)).round().astype(int)
    response = steady_response(fitted, grid.T, kept).transpose(1, 0, 2)
    return ResponseCurves(lines=fitted.data.channels, spend=grid, response=np.ascontiguousarray(response))
