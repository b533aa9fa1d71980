"""Weekly projection of a series by Prophet, corrected for where the series stood last.

Prophet gives trend, yearly season, holidays. Its trend bends slowly, so what is left over in the last weeks (an
exponentially smoothed remainder) is carried on, damped. Histories too short for Prophet get a straight line, its slope
shrunk, with the same carry.

Sources: Taylor & Letham (2018) "Forecasting at Scale", The American Statistician 72(1); Hyndman et al. (2008)
"Forecasting with Exponential Smoothing", chapter 3, for the smoothing and its error variance.
"""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError, DataError

Floats = NDArray[np.float64]
Weeks = NDArray[np.datetime64]

WEEK = np.timedelta64(7, "D")
DAY = np.timedelta64(1, "D")
YEAR_WEEKS = 52  # a yearly season is looked for from one full turn on
PROPHET_WEEKS_MIN = 20  # below this Prophet's 25 possible bends outnumber the data
WEEKS_MIN = 4  # a line and a spread around it need this many points
SHORT_ORDER = 3  # Fourier pairs between one and two years: what one turn of noisy weeks can carry
CARRY = np.linspace(0.0, 1.0, 11)  # smoothing weights tried, 0 = no carry, 1 = last week decides
DAMPING = np.array([0.8, 0.9, 0.95, 1.0])  # damping per week tried; 0.8 halves the carry in three weeks
HOLIDAY_SCALE = 1.0  # a tenth of Prophet's default: each holiday is seen once a year


@dataclass(frozen=True, kw_only=True)
class ForecastConfig:
    """How far, how often and from what the future is simulated."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    horizon_weeks: int = 5  # a month of plan with the week that straddles it
    paths: int = 10_000  # a 5 % quantile is then known to 0.2 percentage points
    yearly_order: int = 6  # Fourier pairs from two years on; Prophet's 10 did worse on weekly series
    holidays_country: str | None = None  # two-letter code; none, since a weekly series sees few holidays apart
    backtest_weeks: int = 60  # past weeks over which errors are collected: a year and a horizon
    backtest_stride_weeks: int = 3  # weeks between two origins; each costs one fit of some 0.2 s

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("horizon_weeks", self.horizon_weeks, 1, 52),
            ("paths", self.paths, 100, 1_000_000),
            ("yearly_order", self.yearly_order, 1, 20),
            ("backtest_weeks", self.backtest_weeks, 0, 520),
            ("backtest_stride_weeks", self.backtest_stride_weeks, 1, 52),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}: expected {low} to {high}")


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Expected values of the next weeks, `mean` (H,), with how they were made.

    `covariance` (H, H) is of the errors that the one-step errors in the sample would lead to: too small after a
    flexible fit, but the only guide while there are no forecasts to look back on.
    """

    method: str
    mean: Floats
    covariance: Floats


def project(weeks: Weeks, series: Floats, horizon: int, config: ForecastConfig) -> Projection:
    """Project `series` over the `horizon` weeks after it.

    Parameters
    ----------
    weeks : shape (T,), days on which the weeks start, seven days apart, T >= 4.
    series : shape (T,), finite, any unit.

    Raises
    ------
    DataError : fewer than four weeks, a gap between weeks, or a value that is not finite.
    """
    check_weeks(weeks, series)
    ahead = weeks[-1] + WEEK * np.arange(1, horizon + 1)
    if len(series) >= PROPHET_WEEKS_MIN:
        method, (inside, outside) = "prophet", _prophet(weeks, series, ahead, config)
    else:
        method, (inside, outside) = "local_level", _line(series, horizon)
    carried, errors, weight, damping = _carry(series - inside, horizon)
    # error h weeks ahead = sum over j < h of psi_j times a one-step error, psi_0 = 1, psi_j = weight * damping^j
    psi = np.concatenate([[1.0], weight * damping ** np.arange(1, horizon)])
    lags = np.subtract.outer(np.arange(horizon), np.arange(horizon))
    moving = np.where(lags >= 0, psi[np.abs(lags)], 0.0)
    variance = float(errors @ errors) / max(len(errors) - 2, 1)  # a level and a slope were fitted at least
    return Projection(method=method, mean=outside + carried, covariance=variance * moving @ moving.T)


def check_weeks(weeks: Weeks, series: Floats) -> None:
    """Refuse a history that is too short, has gaps, or holds a value that is not a number."""
    if len(series) < WEEKS_MIN:
        raise DataError(f"The weekly KPI has {len(series)} complete weeks: a forecast needs at least {WEEKS_MIN}.")
    gaps = np.flatnonzero(np.diff(weeks) != WEEK)
    if gaps.size:
        raise DataError(
            f"The weekly KPI jumps from {weeks[gaps[0]]} to {weeks[gaps[0] + 1]}: expected one row every seven days. "
            "Deliver the missing weeks, with 0 where nothing was sold."
        )
    if not np.isfinite(series).all():
        raise DataError(f"The weekly KPI of {weeks[~np.isfinite(series)][0]} is not a number: expected a finite value.")


def _prophet(weeks: Weeks, series: Floats, ahead: Weeks, config: ForecastConfig) -> tuple[Floats, Floats]:
    """Prophet's expectation for the weeks of the series, then for those `ahead`."""
    import pandas as pd
    from prophet import Prophet

    years = len(series) / YEAR_WEEKS
    order = config.yearly_order if years >= 2 else min(config.yearly_order, SHORT_ORDER) if years >= 1 else False
    every = np.concatenate([weeks, ahead]).astype("datetime64[ns]")
    with _quiet():
        model = Prophet(
            yearly_seasonality=order,
            weekly_seasonality=False,
            daily_seasonality=False,
            holidays=_holidays(every, config.holidays_country),
            holidays_prior_scale=HOLIDAY_SCALE,
            uncertainty_samples=0,  # its own draws would come from numpy's global generator
        )
        model.fit(pd.DataFrame({"ds": every[: len(series)], "y": series}))
        expected = model.predict(pd.DataFrame({"ds": every}))["yhat"].to_numpy(dtype=float)
    return expected[: len(series)], expected[len(series) :]


def _holidays(every: Weeks, country: str | None):  # type: ignore[no-untyped-def]  # a pandas frame or None
    """Public holidays of `country`, each moved to the start of its week; None without a country."""
    if country is None:
        return None
    import pandas as pd
    from prophet.make_holidays import make_holidays_df

    first, last = pd.Timestamp(every[0]), pd.Timestamp(every[-1])
    try:
        days = make_holidays_df(list(range(first.year, last.year + 2)), country)
    except AttributeError as error:
        raise ConfigError(f"forecast.holidays_country is {country!r}: expected a code such as 'DE', 'US'.") from error
    offset = (pd.to_datetime(days["ds"]) - first).dt.days // 7
    return days.assign(ds=first + pd.to_timedelta(7 * offset, unit="D")).drop_duplicates(["ds", "holiday"])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the libraries' progress lines for the span of one fit."""
    import cmdstanpy  # noqa: F401 - it sets its logger up on import

    loggers = [logging.getLogger(name) for name in ("cmdstanpy", "prophet")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.disabled = was


def _line(series: Floats, horizon: int) -> tuple[Floats, Floats]:
    """Straight line in the sample and beyond; t² / (1 + t²) shrinks a slope that lies within its error."""
    time = np.arange(len(series) + horizon) - 0.5 * (len(series) - 1)
    inside = time[: len(series)]
    slope = float(inside @ series) / float(inside @ inside)
    rest = series - series.mean() - slope * inside
    error = float(rest @ rest) / (len(series) - 2) / float(inside @ inside)
    line = series.mean() + slope * (slope**2 / (slope**2 + error) if slope else 0.0) * time
    return line[: len(series)], line[len(series) :]


def _carry(rest: Floats, horizon: int) -> tuple[Floats, Floats, float, float]:
    """Damped exponential smoothing of the remainder, by the least squared one-step error.

    Returns
    -------
    Carry over the next weeks (horizon,), one-step errors (T,), weight and damping chosen.
    """
    weight, damping = (grid.ravel() for grid in np.meshgrid(CARRY, DAMPING, indexing="ij"))
    level, errors = np.zeros(weight.size), np.empty((rest.size, weight.size))
    for week, value in enumerate(rest):
        errors[week] = value - damping * level
        level = damping * level + weight * errors[week]
    best = int(np.argmin(np.square(errors).sum(axis=0)))
    carried = level[best] * damping[best] ** np.arange(1, horizon + 1)
    return carried, errors[:, best], float(weight[best]), float(damping[best])
