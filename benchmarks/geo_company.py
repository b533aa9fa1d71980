"""A company by geo with a known media mix, for the benchmark and the tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.mmm.data import WEEK, MMMData
from models.mmm.geo import GeoData
from models.mmm.media import carried_share, lag_weights


@dataclass(frozen=True)
class GeoTruth:
    """What the model is to find: contribution (n_geos, n_channels) KPI over all weeks, roas likewise; shared curves."""

    contribution: np.ndarray
    roas: np.ndarray
    half_saturation: np.ndarray  # (n_channels,) in mean spends
    slope: np.ndarray
    decay: np.ndarray


def simulate_geos(
    seed: int,
    n_geos: int = 8,
    n_channels: int = 3,
    n_weeks: int = 104,
    effect_sd: float = 0.3,
    noise: float = 0.05,
    max_lag_weeks: int = 8,
    slope: float | None = None,
) -> tuple[GeoData, GeoTruth]:
    """Geos of unlike size and intensity of spend; returns that differ by a factor exp(effect_sd) or so.

    A baseline of level, trend, season, one control per geo; spends with dark weeks, independent between geos.
    slope : of all curves; drawn where None.
    """
    rng = np.random.default_rng(seed)
    half, slopes = rng.uniform(0.7, 1.8, n_channels), rng.uniform(1.0, 1.8, n_channels)
    slopes = slopes if slope is None else np.full(n_channels, slope)
    decay = rng.uniform(0.15, 0.6, n_channels)
    common = 0.25 / n_channels * np.exp(0.6 * rng.standard_normal(n_channels))
    weights = lag_weights("geometric", decay[None], np.ones((1, n_channels)), max_lag_weeks)
    week = np.datetime64("2022-01-03") + WEEK * np.arange(n_weeks)
    year = np.arange(n_weeks) / 52.18
    geos, contribution, roas = [], [], []
    for _ in range(n_geos):
        size, intensity = np.exp(0.7 * rng.standard_normal()), np.exp(0.2 * rng.standard_normal())
        planned = rng.gamma(3.0, 1 / 3.0, (n_weeks, n_channels)) * (rng.random((n_weeks, n_channels)) > 0.15)
        planned *= 1 + 0.2 * np.cos(2 * np.pi * year)[:, None]
        share = carried_share(planned / planned.mean(axis=0), weights, half[None], slopes[None], "hill")[0]
        effect = common * intensity * np.exp(effect_sd * rng.standard_normal(n_channels))
        media = share / share.mean(axis=0) * effect
        event = (rng.random(n_weeks) < 0.1).astype(float)
        base = rng.uniform(0.7, 0.9) + rng.normal(0, 0.03) * year
        base = base + rng.uniform(0.05, 0.15) * np.cos(2 * np.pi * (year - rng.uniform(0, 0.2))) + 0.1 * event
        kpi = 1e5 * size * (base + media.sum(axis=1) + noise * rng.standard_normal(n_weeks))
        spend = planned / planned.mean(axis=0) * 1e4 * size * intensity / n_channels
        contribution.append(1e5 * size * media.sum(axis=0))
        roas.append(contribution[-1] / spend.sum(axis=0))
        geos.append(
            MMMData(
                week_start=week,
                kpi=kpi,
                channels=tuple(f"channel_{c}" for c in range(n_channels)),
                spend=spend,
                control_names=("event",),
                controls=event[:, None],
            )
        )
    names = tuple(f"geo_{g:02d}" for g in range(n_geos))
    truth = GeoTruth(np.array(contribution), np.array(roas), half, slopes, decay)
    return GeoData(geos=names, data=tuple(geos)), truth
