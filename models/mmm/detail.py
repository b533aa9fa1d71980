"""What a fitted mix model says channel by channel, week by week, beyond the channel table."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.mmm.exposure import media_of
from models.mmm.fitted import FittedMMM, baseline, contributions, weights_of
from models.mmm.media import mean_spend, saturation
from models.mmm.results import MIN_LEVEL, recent_spend, steady_response

Array = NDArray[np.float64]


def weekly_contributions(fitted: FittedMMM) -> pl.DataFrame:
    """One row per week and part: week_start, part (a channel, or baseline), mean, p05, p95, in KPI units."""
    draws = np.concatenate([baseline(fitted)[:, :, None], contributions(fitted)], axis=2)
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    parts = ("baseline", *fitted.data.channels)
    weeks = np.repeat(fitted.data.week_start, len(parts))
    return pl.DataFrame(
        {
            "week_start": weeks,
            "part": list(parts) * fitted.data.n_weeks,
            "mean": draws.mean(axis=0).ravel(),
            "p05": low.ravel(),
            "p95": high.ravel(),
        }
    )


def half_life_weeks(fitted: FittedMMM) -> Array:
    """Weeks after which half of an effect has come: (n_draws, n_channels).

    Of a geometric carry-over that ends after L = `max_lag_weeks`, the h at which 1 - decay^h is half of
    1 - decay^(L + 1), what comes in all; of the others the lag, between two weeks by a straight line, at which the sum
    of the weights reaches a half. 0 where nothing is carried over, `max_lag_weeks` being 0.
    """
    if fitted.config.max_lag_weeks == 0:
        return np.zeros_like(fitted.decay)
    if fitted.config.adstock == "geometric":
        reached = 1.0 - fitted.decay ** (fitted.config.max_lag_weeks + 1)
        return np.asarray(np.log1p(-0.5 * reached) / np.log(fitted.decay))
    total = np.cumsum(weights_of(fitted), axis=0)
    at = (total >= 0.5).argmax(axis=0)[None]
    upper = np.take_along_axis(total, at, axis=0)[0]
    lower = np.where(at[0] > 0, np.take_along_axis(total, np.maximum(at - 1, 0), axis=0)[0], 0.0)
    return np.asarray(at[0] + (0.5 - lower) / (upper - lower))


def saturation_level(fitted: FittedMMM) -> Array:
    """Share of its ceiling that a channel reaches at its recent spend: (n_draws, n_channels), 0 to 1."""
    level = recent_spend(fitted)
    return saturation(fitted.config.saturation, level, fitted.half_saturation, fitted.slope)


def channel_detail(fitted: FittedMMM) -> pl.DataFrame:
    """One row per channel: half_life_weeks, half_saturation, slope, saturation_level, each as _mean, _p05, _p95.

    prior_share is posterior over prior sd of its log effect, near 1 where the data said nothing.
    """
    measures = {
        "half_life_weeks": half_life_weeks(fitted),
        "half_saturation": fitted.half_saturation,
        "slope": fitted.slope,
        "saturation_level": saturation_level(fitted),
    }
    columns: dict[str, pl.Series] = {"channel": pl.Series(fitted.data.channels, dtype=pl.String)}
    for name, draws in measures.items():
        low, high = np.quantile(draws, [0.05, 0.95], axis=0)
        for suffix, values in (("mean", draws.mean(axis=0)), ("p05", low), ("p95", high)):
            columns[f"{name}_{suffix}"] = pl.Series(values)
    return pl.DataFrame(columns | {"prior_share": pl.Series(fitted.effect_contraction)})


def sensitivity(fitted: FittedMMM, change_fraction: float = 0.2) -> pl.DataFrame:
    """Steady weekly KPI that a channel would gain or lose if its recent spend rose or fell by a fraction.

    One row per channel and direction: channel, spend, new_spend, kpi_change_mean, _p05, _p95.
    """
    level = np.maximum(recent_spend(fitted), MIN_LEVEL * mean_spend(media_of(fitted.data)))
    rows: list[tuple[object, ...]] = []
    here = steady_response(fitted, level[None])[0]
    for sign in (-1.0, 1.0):
        moved = level * (1.0 + sign * change_fraction)
        gain = (steady_response(fitted, moved[None])[0] - here).T
        low, high = np.quantile(gain, [0.05, 0.95], axis=0)
        rows += list(zip(fitted.data.channels, level, moved, gain.mean(axis=0), low, high, strict=True))
    names = ["channel", "spend", "new_spend", "kpi_change_mean", "kpi_change_p05", "kpi_change_p95"]
    return pl.DataFrame([tuple(row) for row in rows], schema=names, orient="row")
