"""Simulated futures of the weekly KPI under a spend plan.

Each path is one possible future: the projection of what sells without paid media, shifted to the level that one
posterior draw of the mix model gives it, plus that draw's response to the plan, plus errors like those of past
forecasts. A draw that credits media with more in the past credits the rest with less, so both move together.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from models.backtest import RollingErrors, law_known_at, level_of, roll
from models.baseline import DAY, WEEK, Floats, ForecastConfig, Weeks, check_weeks, project
from models.errors import DataError

__all__ = ["ForecastConfig", "ForecastPaths", "forecast_paths", "sentence", "summarise"]

LEVEL_WEEKS = 13  # a quarter: weeks over which a draw's split between media and the rest is averaged
UNITS = ((1e9, "B"), (1e6, "M"), (1e3, "k"), (1.0, ""))  # in which totals are told
QUANTILES = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}  # columns of out.forecast


@dataclass(frozen=True, kw_only=True)
class ForecastPaths:
    """Simulated futures.

    `week_start` (H,); `kpi` (n_paths, H) in KPI units per week; `media` (n_paths, H) the part that paid media brings,
    None where no mix model stands behind; `method` names the projection.
    """

    week_start: Weeks
    kpi: Floats
    media: Floats | None
    method: str


def forecast_paths(
    weeks: Weeks,
    kpi: Floats,
    config: ForecastConfig,
    rng: np.random.Generator,
    *,
    media_draws: Floats | None = None,
    plan_draws: Floats | None = None,
    rolling: RollingErrors | None = None,
) -> ForecastPaths:
    """Simulate `config.paths` futures.

    Parameters
    ----------
    weeks : shape (T,), days on which the weeks start, seven days apart.
    kpi : shape (T,), KPI per week.
    media_draws : shape (n_draws, T), incremental KPI of all paid media in the past, one row per posterior draw. Without
        it the KPI is forecast as it stands, whatever the plan.
    plan_draws : shape (n_draws, H), the same for the weeks ahead under the plan, carry-over from the past included.
    rolling : what `models.backtest.roll` returned for the same history and mean of `media_draws`; computed when absent.
        Hand it in to share it between scenarios and with the backtest.

    Raises
    ------
    DataError : the history is too short, has gaps, or holds values that are not finite.
    ValueError : only one of the two sets of draws is given, their shapes do not fit, or `rolling` is of another series.
    """
    check_weeks(weeks, kpi)
    media = _check_draws(media_draws, plan_draws, len(kpi), config.horizon_weeks)
    if rolling is None:
        rolling = roll(weeks, kpi, config, media)
    organic = kpi - media
    if not np.array_equal(organic, rolling.organic):
        raise ValueError("rolling looks back on another series: expected the same kpi less the mean of media_draws")
    projection = project(weeks, organic, config.horizon_weeks, config)
    level = level_of(organic)
    law = law_known_at(rolling, len(kpi), projection.covariance / level**2).scaled(level)
    paths = projection.mean + law.draw(config.paths, config.horizon_weeks, rng)
    planned = None
    if media_draws is not None and plan_draws is not None:
        shift = (media - media_draws)[:, -LEVEL_WEEKS:].mean(axis=1)
        draw = rng.permutation(np.resize(np.arange(len(plan_draws)), config.paths))  # each draw as often as any other
        planned = plan_draws[draw]
        paths += shift[draw, None] + planned
    if kpi.min() >= 0.0:
        paths = np.maximum(paths, 0.0)  # what never fell below zero, such as revenue, cannot
    ahead = weeks[-1] + WEEK * np.arange(1, config.horizon_weeks + 1)
    return ForecastPaths(week_start=ahead, kpi=paths, media=planned, method=projection.method)


def _check_draws(media_draws: Floats | None, plan_draws: Floats | None, weeks: int, horizon: int) -> Floats:
    """Mean past contribution of media (T,), zeros without draws."""
    if media_draws is None and plan_draws is None:
        return np.zeros(weeks)
    if media_draws is None or plan_draws is None:
        raise ValueError("media_draws and plan_draws belong together: one of them is missing")
    if media_draws.shape != (len(plan_draws), weeks) or plan_draws.shape[1] != horizon:
        found = f"media_draws {media_draws.shape}, plan_draws {plan_draws.shape}"
        raise ValueError(f"{found}: expected (n_draws, {weeks}) with (n_draws, {horizon})")
    if not (np.isfinite(media_draws).all() and np.isfinite(plan_draws).all()):
        raise DataError("The mix model's contributions hold values that are not finite: retrain it before forecasting.")
    return media_draws.mean(axis=0)


def summarise(
    paths: ForecastPaths, scenario: str, spend_per_week: Floats | None = None, metric: str = "revenue"
) -> pl.DataFrame:
    """Rows of ``out.forecast``: each week, then the whole horizon, for the KPI and, given media with spend, ROAS.

    Parameters
    ----------
    spend_per_week : shape (H,), all paid media together; weeks without spend have no ROAS.
    metric : name the KPI goes by.

    Returns
    -------
    scenario, metric, period_start, period_end (last day, included), mean, p05, p25, p50, p75, p95. ROAS is incremental
    KPI of media per unit of spend.
    """
    days = paths.week_start.astype("datetime64[D]")
    weekly = [(days[h], days[h] + WEEK - DAY, slice(h, h + 1)) for h in range(len(days))]
    periods = [*weekly, (days[0], days[-1] + WEEK - DAY, slice(None))]
    rows = [(metric, first, last, paths.kpi[:, within].sum(axis=1)) for first, last, within in periods]
    if paths.media is not None and spend_per_week is not None:
        for first, last, within in periods:
            if (spend := float(np.sum(spend_per_week[within]))) > 0.0:
                rows.append(("roas", first, last, paths.media[:, within].sum(axis=1) / spend))
    return pl.DataFrame(
        [
            {"scenario": scenario, "metric": name, "period_start": first.item(), "period_end": last.item()}
            | {"mean": float(values.mean())}
            | dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values())).tolist(), strict=True))
            for name, first, last, values in rows
        ]
    )


def sentence(paths: ForecastPaths, currency: str = "", noun: str = "revenue") -> str:
    """The forecast of the whole horizon in one sentence."""
    total = paths.kpi.sum(axis=1)
    low, high = np.quantile(total, [0.05, 0.95])
    first, last = paths.week_start[0].item(), (paths.week_start[-1] + WEEK - DAY).item()
    unit = f" {currency}" if currency else ""
    weeks = f"{len(paths.week_start)} weeks" if len(paths.week_start) > 1 else "week"
    mean, least, most = _short(float(total.mean()), float(low), float(high))
    return (
        f"We expect {mean}{unit} {noun} in the next {weeks} ({first:%-d %b %Y} to {last:%-d %b %Y}); "
        f"90 % of {len(total):,} simulated paths land between {least} and {most}."
    )


def _short(mean: float, low: float, high: float) -> tuple[str, ...]:
    """The three numbers in one unit, such as 3.2M, with the digits that tell the ends of the interval apart."""
    size, letter = next(unit for unit in UNITS if abs(mean) >= unit[0] or unit[0] == 1.0)
    width = (high - low) / size
    digits = 1 if width >= 0.5 else 2 if width >= 0.05 else 3
    digits = 0 if width >= 20.0 or (size == 1.0 and width >= 5.0) else digits
    return tuple(f"{value / size:.{digits}f}{letter}" for value in (mean, low, high))
