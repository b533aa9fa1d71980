"""Pooling: a dense normal model as the oracle, coverage over many worlds, doubtful evidence hardly counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bid_pooling import PoolingConfig, gaps_to_yardstick, observational_bias, pool, weigh
from models.bid_slopes import Evidence


def body(slope, variance, *, random=True, recent=True, level=None) -> Evidence:
    slope, variance = np.asarray(slope, dtype=float), np.asarray(variance, dtype=float)
    naive = 1 / (1 / variance).sum()
    return Evidence(
        is_recent=recent, is_randomised=random, slope=slope, variance=variance, level_variance=level or naive, rows=10
    )


NOTHING = Evidence(is_recent=True, is_randomised=True, slope=np.zeros(3), variance=np.full(3, np.inf))


def test_with_the_spreads_given_it_is_the_dense_normal_posterior() -> None:
    """A grid of equal points: each spread is one number, and the whole posterior one linear solve."""
    slope, precision = np.array([0.3, 0.9, 0.6, 1.2, 0.0]), np.array([50.0, 20.0, 100.0, 5.0, 0.0])
    campaign = np.array([0, 0, 1, 1, 2])
    # so narrow a prior makes every grid point the same spread, to a millionth
    config = PoolingConfig(keyword_spread=1e-6, campaign_spread=1e-6)
    found = pool(slope, precision, campaign, config)
    prior = 1 / config.prior_sd**2
    level = (prior * config.prior_mean + precision @ slope) / (prior + precision.sum())
    assert found.channel_mean == pytest.approx(level, abs=1e-6)
    assert found.channel_sd == pytest.approx(1 / np.sqrt(prior + precision.sum()), abs=1e-6)
    assert found.keyword_mean == pytest.approx(np.full(5, level), abs=1e-5)


def test_means_are_those_of_brute_force_over_the_spreads() -> None:
    """The same mixture by dense matrices: marginal likelihood and posterior of all nine unknowns at each grid point."""
    rng = np.random.default_rng(0)
    campaign, config = np.array([0, 0, 0, 1, 1]), PoolingConfig(grid_points=4)
    slope, precision = rng.normal(0.6, 0.3, 5), rng.uniform(10, 80, 5)
    half_normal = np.array([0.15731068, 0.48877641, 0.88714656, 1.53412054])  # quantiles at 1/8, 3/8, 5/8, 7/8
    weights, means = [], []
    for tau_k in config.keyword_spread * half_normal:
        for tau_c in config.campaign_spread * half_normal:
            same = (campaign[:, None] == campaign[None, :]) * tau_c**2
            between = np.full((5, 5), config.prior_sd**2) + same + np.eye(5) * tau_k**2
            cover = between + np.diag(1 / precision)
            gap = slope - config.prior_mean
            weights.append(-0.5 * (np.linalg.slogdet(cover)[1] + gap @ np.linalg.solve(cover, gap)))
            means.append(config.prior_mean + between @ np.linalg.solve(cover, gap))
    weight = np.exp(np.array(weights) - max(weights))
    found = pool(slope, precision, campaign, config)
    assert found.keyword_mean == pytest.approx(weight @ np.array(means) / weight.sum(), abs=1e-6)


def test_intervals_hold_in_nine_worlds_of_ten() -> None:
    rng, config = np.random.default_rng(1), PoolingConfig()
    campaign = np.repeat(np.arange(4), 4)
    hits = {"keyword": [], "campaign": [], "channel": []}
    for _ in range(150):
        tau_k, tau_c = config.keyword_spread * abs(rng.normal()), config.campaign_spread * abs(rng.normal())
        level = rng.normal(config.prior_mean, config.prior_sd)
        of_campaign = rng.normal(level, tau_c, 4)
        truth = rng.normal(of_campaign[campaign], tau_k)
        variance = rng.uniform(0.003, 0.05, 16)
        found = pool(rng.normal(truth, np.sqrt(variance)), 1 / variance, campaign, config)
        hits["keyword"] += list(abs(found.keyword_mean - truth) < 1.645 * found.keyword_sd)
        hits["campaign"] += list(abs(found.campaign_mean - of_campaign) < 1.645 * found.campaign_sd)
        hits["channel"].append(abs(found.channel_mean - level) < 1.645 * found.channel_sd)
    assert 0.87 < np.mean(hits["keyword"]) < 0.93
    assert 0.85 < np.mean(hits["campaign"]) < 0.95
    assert 0.82 < np.mean(hits["channel"]) < 0.97


def test_a_keyword_of_which_nothing_is_known_is_as_its_campaign_but_less_sure() -> None:
    found = pool(np.array([0.4, 0.0, 1.0]), np.array([400.0, 0.0, 400.0]), np.array([0, 0, 1]), PoolingConfig())
    assert found.keyword_mean[1] == pytest.approx(found.campaign_mean[0], abs=1e-9)
    assert found.keyword_sd[1] > found.campaign_sd[0] > found.keyword_sd[0]
    blank = pool(np.zeros(3), np.zeros(3), np.array([0, 0, 1]), PoolingConfig())
    assert blank.channel_mean == pytest.approx(0.7)
    assert blank.channel_sd == pytest.approx(0.5)


def test_bids_that_disagree_with_random_ones_hardly_count() -> None:
    random, other = body([0.5, 0.6, 0.7], [0.01] * 3), body([1.5, 1.6, 1.7], [0.0005] * 3, random=False)
    found = weigh([random, other], 0.3, PoolingConfig())
    assert found.yardstick == 0
    assert found.gaps[1] == pytest.approx(1.0)
    assert found.shares[1] < 0.01
    assert found.slope == pytest.approx([0.5, 0.6, 0.7], abs=0.02)
    naive = (0.6 / (0.01 / 3) + 1.6 / (0.0005 / 3)) / (3 / 0.01 + 3 / 0.0005)
    assert naive > 1.5  # what believing both by their precision would give


@given(st.floats(0.0, 2.0), st.floats(0.001, 0.5))
def test_more_disagreement_never_earns_more_trust(gap: float, more: float) -> None:
    config, random = PoolingConfig(), body([0.5, 0.6], [0.01] * 2)
    shares = [
        weigh([random, body([0.5 + g, 0.6 + g], [0.001] * 2, random=False)], 0.3, config).shares[1]
        for g in (gap, gap + more)
    ]
    assert shares[1] <= shares[0] + 1e-12


def test_the_bias_of_set_bids_is_learnt_from_channels_that_have_both() -> None:
    config = PoolingConfig()
    assert observational_bias([], config) == pytest.approx(config.observational_bias_sd)
    honest = [body([0.5, 0.6, 0.7], [0.001] * 3), body([0.5, 0.6, 0.7], [0.001] * 3, random=False)]
    biased = [body([0.5, 0.6, 0.7], [0.001] * 3), body([1.5, 1.6, 1.7], [0.001] * 3, random=False)]
    assert observational_bias([honest] * 8, config) == pytest.approx(config.observational_bias_sd / 3)
    assert observational_bias([biased] * 8, config) > 0.9


def test_earlier_days_count_while_nothing_has_changed_and_no_longer_then() -> None:
    config, now = PoolingConfig(), body([0.6, 0.6, 0.6], [0.01] * 3)
    same = weigh([now, body([0.6, 0.6, 0.6], [0.01] * 3, recent=False)], 0.3, config)
    changed = weigh([now, body([1.4, 1.4, 1.4], [0.01] * 3, recent=False)], 0.3, config)
    assert same.shares[1] > 0.4
    assert changed.shares[1] < 0.02


def test_without_random_bids_the_level_is_no_surer_than_the_bias_allows() -> None:
    many = body(np.full(50, 0.9), np.full(50, 1e-4), random=False)
    found = weigh([many], 0.3, PoolingConfig())
    assert 1 / np.sqrt(found.precision.sum()) == pytest.approx(0.3, abs=0.001)
    # nor with more of them: what they have in common, days do not average away
    twice = weigh([many, body(np.full(50, 0.9), np.full(50, 1e-4), random=False, recent=False)], 0.3, PoolingConfig())
    assert 1 / np.sqrt(twice.precision.sum()) == pytest.approx(0.3, abs=0.001)
    assert gaps_to_yardstick([NOTHING])[0] == -1
    assert weigh([NOTHING], 0.3, PoolingConfig()).precision.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("name", "value"), [("prior_sd", 0.0), ("drift_sd", -1.0), ("grid_points", 2)])
def test_a_config_out_of_range_names_field_and_value(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        PoolingConfig(**{name: value})
