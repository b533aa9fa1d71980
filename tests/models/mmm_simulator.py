"""A small company with a known media mix, for tests of the mix model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from models.mmm.data import WEEK, LiftTest, MMMData

BURN_IN = 30  # weeks before the first recorded one, so that carry-over has settled

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """What the model is to find: spend in money per week, responses in KPI per week."""

    ceiling: Array
    half_saturation: Array
    slope: Array
    decay: Array
    contribution: Array  # (n_weeks, n_channels)
    roas: Array
    marginal_roas: Array  # at the mean spend of the last 13 weeks

    def response(self, channel: int, spend: Array | float) -> Array:
        x = np.asarray(spend, dtype=float) ** self.slope[channel]
        return np.asarray(self.ceiling[channel] * x / (x + self.half_saturation[channel] ** self.slope[channel]))


CHANNELS = ("brand_search", "generic_search", "social", "video", "display", "affiliates")


def simulate(
    seed: int,
    n_weeks: int = 104,
    media_share: float | None = None,
    noise: float | None = None,
    with_lift_tests: bool = True,
    kpi_level: float = 1e6,
) -> tuple[MMMData, Truth]:
    """Travel company: trend, season, holidays, price, promotion, competitor, demand that brand search follows."""
    rng = np.random.default_rng(seed)
    n = n_weeks + BURN_IN
    n_channels = len(CHANNELS)
    week = np.datetime64("2023-01-02") + WEEK * np.arange(-BURN_IN, n_weeks)
    year = (week - np.datetime64("2023-01-01")) / np.timedelta64(1, "D") / 365.25
    season = 0.14 * np.cos(2 * np.pi * (year - rng.uniform(0.4, 0.6))) + 0.06 * np.cos(
        4 * np.pi * (year - rng.uniform())
    )
    trend = rng.uniform(-0.05, 0.12) * year + 0.03 * np.sin(2 * np.pi * year / rng.uniform(2.2, 4.0))
    demand = _autoregressive(rng, n, 0.8)
    price = 1 + 0.06 * _autoregressive(rng, n, 0.7)
    promotion = (rng.random(n) < 0.12).astype(float)
    competitor = _autoregressive(rng, n, 0.6)
    holiday = np.isin(np.round((year % 1) * 52).astype(int), [0, 14, 15, 51]).astype(float)
    base = 1 + trend + season + 0.05 * demand - 0.8 * (price - 1) + 0.08 * promotion - 0.02 * competitor + 0.1 * holiday

    level = rng.dirichlet(np.array([2.0, 5, 5, 4, 2.5, 2.5]))
    planned = np.exp(0.35 * np.column_stack([_autoregressive(rng, n, 0.5) for _ in CHANNELS]))
    planned *= 1 + rng.uniform(0.3, 1.2) * season[:, None]  # budgets follow the season
    planned[:, 0] *= np.exp(0.25 * demand)  # brand search follows demand
    for channel in range(n_channels):
        for _ in range(rng.integers(1, 4)):
            start = rng.integers(BURN_IN, n - 4)
            planned[start : start + rng.integers(2, 5), channel] = 0.0  # dark weeks
    planned[:, 3] *= np.where(_autoregressive(rng, n, 0.8) > -0.4, 1.0, 0.0)  # video in flights
    spend = planned / planned[BURN_IN:].mean(axis=0) * level

    decay = np.clip(np.array([0.1, 0.2, 0.4, 0.65, 0.45, 0.2]) + rng.uniform(-0.1, 0.1, n_channels), 0.02, 0.8)
    slope = np.array([1.0, 1.1, 1.0, rng.uniform(1.9, 2.5), rng.uniform(1.8, 2.3), 1.0])
    half = rng.uniform(0.6, 2.0, n_channels) * level
    carried = _geometric(spend, decay)
    shape = carried**slope / (carried**slope + half**slope)
    share = media_share or rng.uniform(0.3, 0.4)
    roas_relative = np.exp(rng.normal(0.0, 0.5, n_channels))
    weight = level * roas_relative
    contribution_mean = share / (1 - share) * base[BURN_IN:].mean() * weight / weight.sum()
    ceiling = contribution_mean / shape[BURN_IN:].mean(axis=0)
    media = shape * ceiling
    expected = base + media.sum(axis=1)
    noise_sd = (noise or rng.uniform(0.03, 0.05)) * expected[BURN_IN:].mean()
    kpi = (expected + noise_sd * rng.standard_normal(n))[BURN_IN:] * kpi_level
    money = kpi_level * 0.12
    spend, half = spend[BURN_IN:] * money, half * money
    contribution = media[BURN_IN:] * kpi_level
    recent = spend[-13:].mean(axis=0)
    truth = Truth(
        ceiling * kpi_level, half, slope, decay, contribution, contribution.sum(0) / spend.sum(0), np.zeros(0)
    )
    step = 1e-4 * half
    marginal = [
        float(truth.response(c, recent[c] + step[c]) - truth.response(c, max(recent[c] - step[c], 0.0)))
        / (recent[c] + step[c] - max(recent[c] - step[c], 0.0))
        for c in range(n_channels)
    ]
    truth = Truth(truth.ceiling, half, slope, decay, contribution, truth.roas, np.array(marginal))
    tests = tuple(_lift_test(rng, truth, spend, week[BURN_IN:], c) for c in (0, 3)) if with_lift_tests else ()
    return (
        MMMData(
            week_start=week[BURN_IN:],
            kpi=kpi,
            channels=CHANNELS,
            spend=spend,
            control_names=("demand", "price", "promotion", "competitor", "holiday"),
            controls=np.column_stack([demand, price, promotion, competitor, holiday])[BURN_IN:],
            lift_tests=tests,
        ),
        truth,
    )


def _lift_test(
    rng: np.random.Generator, truth: Truth, spend: Array, week: NDArray[np.datetime64], channel: int
) -> LiftTest:
    n = 4
    starts = [t for t in range(20, len(week) - n) if (spend[t : t + n, channel] > 0).all()]
    start = int(rng.choice(starts)) if starts else 0
    mean = spend[start : start + n, channel].mean()
    change = rng.choice([-0.8, 0.5]) * mean * n
    lift = n * float(truth.response(channel, mean + change / n) - truth.response(channel, mean))
    se = 0.15 * abs(lift)
    first_day = week[start].astype(object)
    return LiftTest(
        channel=CHANNELS[channel],
        start_date=first_day,
        end_date=first_day + timedelta(days=7 * n - 1),
        spend_change=float(change),
        lift=lift + se * float(rng.standard_normal()),
        lift_se=se,
    )


def _autoregressive(rng: np.random.Generator, n: int, carry: float) -> Array:
    """Unit variance, mean near 0."""
    values = rng.standard_normal(n)
    for t in range(1, n):
        values[t] = carry * values[t - 1] + np.sqrt(1 - carry**2) * values[t]
    return values


def _geometric(spend: Array, decay: Array) -> Array:
    """Endless geometric adstock, normalised: constant spend stays what it is."""
    carried = np.empty_like(spend)
    carried[0] = spend[0]
    for t in range(1, len(spend)):
        carried[t] = decay * carried[t - 1] + (1 - decay) * spend[t]
    return carried
