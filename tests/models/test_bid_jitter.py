"""Jitter experiments: the promised precision is what a simulated experiment has; who is tried, and how many days."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from models.bid_curves import bid_elasticities
from models.bid_jitter import JitterConfig, jitter_days, propose_jitter
from tests.models.bid_simulator import START, keyword_days


def unknown(traffic: float, **more) -> pl.DataFrame:
    """Elasticities of a channel whose bids were never varied."""
    frame = keyword_days(np.random.default_rng(0), traffic=traffic, width=0.0, **more)
    return bid_elasticities(frame, START + timedelta(days=55))


def test_the_promised_precision_is_that_of_the_experiment() -> None:
    width, days, clicks = np.log1p(0.3), 56, 80.0
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x = rng.uniform(-width, width, (days, 12))
        counts = rng.poisson(clicks * np.exp(0.7 * x))
        # one keyword at a time, no dates' effects: Poisson slope by Newton
        for k in range(12):
            design, beta = np.column_stack([np.ones(days), x[:, k]]), np.array([np.log(clicks), 0.7])
            for _ in range(5):
                mu = np.exp(design @ beta)
                beta = beta + np.linalg.solve(design.T @ (mu[:, None] * design), design.T @ (counts[:, k] - mu))
            found.append(beta[1])
    se = float(np.sqrt(3 / (days * clicks * width**2)))
    assert np.std(found) == pytest.approx(se, rel=0.1)
    assert jitter_days(np.array([clicks]), width, se)[0] == pytest.approx(days, abs=1)


def test_keywords_alone_where_clicks_are_many_else_together() -> None:
    many, some, few = (propose_jitter(unknown(traffic)) for traffic in (800.0, 40.0, 8.0))
    assert many["keyword"].null_count() == 0
    assert some["keyword"].null_count() > 0
    assert few["campaign"].null_count() == len(few)
    for plan, frame in ((many, 800.0), (some, 40.0), (few, 8.0)):
        keywords = unknown(frame).filter(pl.col("level") == "keyword")
        assert plan["keywords"].sum() == len(keywords)  # each in one experiment
        assert (plan["elasticity_se_after"] < plan["elasticity_se_now"]).all()
        assert plan["days"].is_between(1, 56).all()
        assert plan["money_at_stake"].is_sorted(descending=True)
    assert propose_jitter(unknown(0.01)).is_empty()  # no experiment could tell


def test_days_fall_with_clicks_and_width_and_rise_with_precision() -> None:
    base = jitter_days(np.array([50.0]), 0.26, 0.1)[0]
    assert jitter_days(np.array([100.0]), 0.26, 0.1)[0] == pytest.approx(base / 2, abs=1)
    assert jitter_days(np.array([50.0]), 0.13, 0.1)[0] == pytest.approx(base * 4, abs=3)
    assert jitter_days(np.array([50.0]), 0.26, 0.05)[0] == pytest.approx(base * 4, abs=3)
    assert np.isinf(jitter_days(np.array([0.0]), 0.26, 0.1)[0])


def test_what_drawing_costs_is_the_mean_of_the_curve() -> None:
    row = propose_jitter(unknown(800.0)).row(0, named=True)
    u = np.random.default_rng(1).uniform(-np.log1p(0.3), np.log1p(0.3), 400_000)
    assert row["clicks_factor"] == pytest.approx(np.exp(0.7 * u).mean(), abs=1e-3)
    assert row["cost_factor"] == pytest.approx(np.exp(1.7 * u).mean(), abs=1e-3)


def test_what_is_known_needs_no_experiment() -> None:
    frame = keyword_days(np.random.default_rng(2), traffic=300.0)
    assert propose_jitter(bid_elasticities(frame, START + timedelta(days=55))).is_empty()


def test_a_config_out_of_range_names_field_and_value() -> None:
    with pytest.raises(ValueError, match=r"target_se is 0\.2"):
        JitterConfig(target_se=0.2)
