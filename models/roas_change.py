"""Change of a subject's return on ad spend between two windows, measured against its own noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr

FloatArray = NDArray[np.float64]

LARGEST_Z = 37.0  # the normal tail beyond it is below the smallest float
DUST_FRACTION = 0.05  # of the usual spend: below it a week's ratio says more about late orders than about the ads


@dataclass(frozen=True, kw_only=True)
class RoasDropConfig:
    """When a fall of return on ad spend counts."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    recent_weeks: int = 3  # one bad week is weather, three are climate
    baseline_weeks: int = 26  # half a year of noise to judge by, at least
    most_baseline_weeks: int = 52  # a longer history sharpens the judgement; beyond a year it is another business
    drop_fraction: float = 0.20  # smaller falls are left to the next regular plan
    false_alarm_probability: float = 1e-4  # per day, all subjects together; heavy-tailed noise costs ten times that
    outage_fraction: float = 0.1  # a week below this share of the usual ROAS counts as this share: the log stays finite

    def __post_init__(self) -> None:
        if self.recent_weeks < 1:
            raise ValueError(f"recent_weeks = {self.recent_weeks}: must be 1 or more")
        if self.baseline_weeks < 8:
            raise ValueError(f"baseline_weeks = {self.baseline_weeks}: must be 8 or more to judge noise by")
        if self.most_baseline_weeks < self.baseline_weeks:
            raise ValueError(f"most_baseline_weeks = {self.most_baseline_weeks}: must be baseline_weeks or more")
        for name in ("drop_fraction", "outage_fraction", "false_alarm_probability"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: must be between 0 and 1")


def z_threshold(subjects_count: int, config: RoasDropConfig) -> float:
    """The z that noise passes in one of `subjects_count` subjects with the probability allowed (Bonferroni)."""
    return float(ndtri(config.false_alarm_probability / subjects_count))


def weekly_matrix(weekly: pl.DataFrame, subjects: Sequence[str], weeks: Sequence[date], column: str) -> FloatArray:
    """Sums of `column` by subject and week, (n_subjects, n_weeks); 0 where there is no row."""
    row = {subject: i for i, subject in enumerate(subjects)}
    place = {week: i for i, week in enumerate(weeks)}
    matrix = np.zeros((len(subjects), len(weeks)))
    for subject, week, amount in weekly.select("subject", "week_start", column).iter_rows():
        if week in place and amount is not None:
            matrix[row[subject], place[week]] += float(amount)
    return matrix


def log_roas(value: FloatArray, spend: FloatArray, config: RoasDropConfig) -> FloatArray:
    """Weekly log of value over spend, (n_weeks,); NaN in weeks with next to no spend.

    Ratios are held between `outage_fraction` of the baseline's median and its inverse, so that a week without value
    is a deep fall and not an infinite one.
    """
    base = slice(0, -config.recent_weeks)
    usual_spend = np.median(spend[base][spend[base] > 0]) if np.any(spend[base] > 0) else 0.0
    seen = (spend > DUST_FRACTION * usual_spend) & (spend > 0)
    ratio = np.divide(value, spend, out=np.full_like(spend, np.nan), where=seen)
    usual = np.median(ratio[base][seen[base]]) if np.any(seen[base]) else 0.0
    if not usual > 0:
        return np.full_like(spend, np.nan)
    return np.log(np.clip(ratio, usual * config.outage_fraction, usual / config.outage_fraction))


def typical_change(y: FloatArray, config: RoasDropConfig) -> float:
    """Median of the recent weeks minus median of the baseline weeks: one bad week does not move it."""
    return float(np.nanmedian(y[-config.recent_weeks :]) - np.nanmedian(y[: -config.recent_weeks]))


def change(y: FloatArray, config: RoasDropConfig) -> float:
    """Mean of the recent weeks minus mean of the baseline weeks; NaN where either has none."""
    base, recent = y[: -config.recent_weeks], y[-config.recent_weeks :]
    if not np.any(np.isfinite(base)) or not np.any(np.isfinite(recent)):
        return np.nan
    return float(np.nanmean(recent) - np.nanmean(base))


def weekly_correlation(series: Sequence[FloatArray], config: RoasDropConfig) -> float:
    """Week-to-week correlation of the baseline noise, one figure for all subjects: each alone is too short for it.

    Never below 0: taking alternating noise into account would only make firing easier.

    Sources: Marriott & Pope (1954), "Bias in the estimation of autocorrelations", Biometrika 41, 390-402.
    """
    lag_one = []
    for y in series:
        base = y[: -config.recent_weeks]
        centred = np.where(np.isfinite(base), base - np.nanmean(base), 0.0) if np.any(np.isfinite(base)) else base * 0
        if np.any(centred != 0):
            lag_one.append((centred[1:] * centred[:-1]).sum() / (centred**2).sum())
    if not lag_one:
        return 0.0
    mean = float(np.mean(lag_one))
    return float(np.clip(mean + (1 + 3 * mean) / (len(series[0]) - config.recent_weeks), 0.0, 0.9))


def z_of_change(y: FloatArray, apart: float, rho: float, config: RoasDropConfig) -> float:
    """Test statistic of a change `apart` of the recent weeks under week-to-week correlation `rho`, on the normal scale.

    Sources: Zwiers & von Storch (1995), "Taking serial correlation into account in tests of the mean", Journal of
    Climate 8, 336-351 (equivalent sample size).
    """
    seen = np.isfinite(y)
    weeks = np.flatnonzero(seen)
    in_base = weeks < len(y) - config.recent_weeks
    base = y[weeks[in_base]]
    n = len(base)
    correlation = rho ** np.abs(weeks[:, None] - weeks[None, :])
    # the sample variance misses what all weeks of the baseline share
    variance = float(base.var()) / (1 - correlation[np.ix_(in_base, in_base)].mean())
    if apart == 0:
        return 0.0
    if variance == 0:
        return float(np.sign(apart)) * LARGEST_Z
    weight = np.where(in_base, -1.0 / n, 1.0 / (len(weeks) - n))
    error = np.sqrt(variance * float(weight @ correlation @ weight))
    freedom = max(n * (1 - rho) / (1 + rho) - 1, 2.0)
    tail = max(float(stdtr(freedom, -abs(apart) / error)), float(ndtr(-LARGEST_Z)))
    return float(-np.sign(apart) * ndtri(tail))
