"""The demo company's experiments: two A/B tests, one geo test, two lift tests."""

from datetime import timedelta

import numpy as np
import polars as pl

from models.company.history import History
from models.company.world import LIFT_TEST_WEEKS, lift_test_weeks, rng_of

LIFT_TEST_RELATIVE_SE = 0.12  # what a holdout of a few weeks achieves

AB_TESTS = (  # id, control rate, lift per segment (new, returning, lapsed)
    ("landing_page_2026q1", 0.050, {"new": 0.012, "returning": 0.006, "lapsed": 0.000}),
    ("reminder_mail_2026q2", 0.080, {"new": 0.002, "returning": 0.016, "lapsed": 0.030}),
)


def experiment_table(history: History) -> pl.DataFrame:
    """Two randomised A/B tests with effects that differ by segment."""
    config = history.world.config
    frames = []
    for number, (name, rate, lifts) in enumerate(AB_TESTS):
        rng = rng_of(config, "tables", 60 + number)
        size = 12_000
        segment = rng.choice(list(lifts), size, p=[0.5, 0.3, 0.2])
        arm = np.where(rng.random(size) < 0.5, "treatment", "control")
        chance = rate + np.where(arm == "treatment", np.array([lifts[name_] for name_ in segment]), 0.0)
        outcome = (rng.random(size) < chance).astype(int)
        start = config.last_day - timedelta(days=60 + 30 * number)
        frames.append(
            pl.DataFrame(
                {
                    "experiment_id": [name] * size,
                    "unit_id": [f"U{number}{unit:06d}" for unit in range(size)],
                    "arm": arm,
                    "assigned_at": [start + timedelta(days=int(day)) for day in rng.integers(0, 21, size)],
                    "outcome": outcome,
                    "value": np.round(outcome * rng.gamma(3.0, 60.0, size), 2),
                    "segment": segment,
                }
            )
        )
    return pl.concat(frames)


GEO_LIFT = 0.08  # true relative effect in the treated cities


def geo_experiment_table(history: History) -> pl.DataFrame:
    """One geo test: twenty cities over ninety days, five of them treated in the last thirty."""
    config = history.world.config
    rng = rng_of(config, "tables", 7)
    days, cities, treated = 90, 20, 5
    level = rng.lognormal(7, 0.5, cities)
    common = 1 + 0.1 * np.sin(2 * np.pi * np.arange(days) / 7) + np.cumsum(rng.normal(0, 0.005, days))
    value = level * common[:, None] * rng.lognormal(0, 0.05, (days, cities))
    is_on = (np.arange(days)[:, None] >= days - 30) & (np.arange(cities) < treated)
    value = np.where(is_on, value * (1 + GEO_LIFT), value)
    start = config.last_day - timedelta(days=days + 20)
    day, city = np.indices((days, cities))
    return pl.DataFrame(
        {
            "experiment_id": ["video_cities_2026"] * (days * cities),
            "date": [start + timedelta(days=int(offset)) for offset in day.ravel()],
            "geo": [f"city_{number:02d}" for number in city.ravel()],
            "treated": is_on.ravel(),
            "value": np.round(value.ravel(), 2),
            "cost": np.round(np.where(is_on, 0.04 * value, 0.0).ravel(), 2),
        }
    )


def lift_test_table(history: History) -> pl.DataFrame:
    """Two holdout tests: the channels whose claims people doubt, each with an honest standard error."""
    world, config = history.world, history.world.config
    rows = []
    for number, (name, first_week) in enumerate(lift_test_weeks(config).items()):
        rng = rng_of(config, "tables", 80 + number)
        index = world.names.index(name)
        test = slice(first_week, first_week + LIFT_TEST_WEEKS)
        spend, effect = history.spend[test, index].sum(), history.contribution[test, index].sum()
        se = LIFT_TEST_RELATIVE_SE * effect
        start = config.first_monday + timedelta(days=7 * first_week)
        rows.append(
            {
                "channel": name,
                "start_date": start,
                "end_date": start + timedelta(days=7 * LIFT_TEST_WEEKS - 1),
                "spend_change": -round(float(spend), 2),
                "lift": -round(effect + se * float(rng.standard_normal()), 2),
                "lift_se": round(se, 2),
            }
        )
    return pl.DataFrame(rows)
