"""Pairs of channels that bring more, or less, together: known truth, laws of credit and of the next euro."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from models.errors import DataError
from models.gate import GateConfig
from models.mmm import sampler, store
from models.mmm.checks import mmm_checks, verdict
from models.mmm.config import MMMConfig, MMMPriors
from models.mmm.data import WEEK, MMMData
from models.mmm.design import make_design
from models.mmm.fit import fit, quick_fit, warm_start
from models.mmm.fitted import FittedMMM, baseline, contributions, expected_kpi, predict
from models.mmm.inputs import make_inputs
from models.mmm.interactions import joint_media, pairs_of
from models.mmm.prior_check import draw_from_prior
from models.mmm.results import drift, marginal_roas, recent_spend, response_curves
from tests.models.mmm_simulator import simulate

PAIR = MMMConfig(
    max_lag_weeks=0, interactions=(("tv", "search"),), priors=MMMPriors(interaction_sd=1.0), drift_per_year=0.0
)


def duo(seed: int, n_weeks: int, synergy: float) -> tuple[MMMData, float]:
    """Two channels, each in a fifth of the weeks dark, and what they bring together in all weeks."""
    rng = np.random.default_rng(seed)
    spend = rng.gamma(3.0, 30.0, (n_weeks, 2)) * (rng.random((n_weeks, 2)) > 0.2)
    share = spend / (spend + 100.0)
    together = synergy * share.prod(axis=1)
    kpi = 1000.0 + share @ [300.0, 400.0] + together + 25.0 * rng.standard_normal(n_weeks)
    week = np.datetime64("2021-01-04") + WEEK * np.arange(n_weeks)
    return MMMData(week_start=week, kpi=kpi, channels=("search", "tv"), spend=spend), float(together.sum())


def joint_total(fitted: FittedMMM) -> np.ndarray:
    """What pairs brought in all weeks: (n_draws,)."""
    without = replace(fitted, synergy=np.zeros_like(fitted.synergy))
    return np.asarray((contributions(fitted) - contributions(without)).sum(axis=(1, 2)))


def test_synergy_is_found_and_more_weeks_bring_it_closer() -> None:
    errors, held = [], []
    for n_weeks in (104, 416):
        miss = []
        for seed, synergy in zip(range(101, 107), (300.0, 0.0, -200.0) * 2, strict=True):
            data, true = duo(seed, n_weeks, synergy)
            draws = joint_total(quick_fit(data, PAIR))
            low, high = np.quantile(draws, [0.05, 0.95])
            held.append(low <= true <= high)
            miss.append(abs(np.median(draws) - true) / data.kpi.sum())
        errors.append(np.mean(miss))
    assert sum(held) >= 9  # of 12 in 90 % intervals: fewer in one of 40 sets of seeds
    assert errors[1] < 0.7 * errors[0]


def test_a_sampled_fit_agrees_with_the_quick_one_and_is_sound() -> None:
    data, true = duo(107, 156, 300.0)
    sampled, quick = fit(data, replace(PAIR, draws=500, tune=300)), quick_fit(data, PAIR)
    assert sampled.metrics["divergences"] == 0
    assert quick.metrics["k_hat"] < 0.7
    one, other = joint_total(sampled), joint_total(quick)
    assert abs(np.median(one) - np.median(other)) < 0.3 * one.std()
    low, high = np.quantile(one, [0.05, 0.95])
    assert low < true < high
    warm = fit(data, replace(PAIR, draws=500, tune=300), previous=quick)
    assert abs(np.median(joint_total(warm)) - np.median(one)) < 0.3 * one.std()
    inputs = make_inputs(data, make_design(data, PAIR), PAIR)
    assert warm_start(quick, data, PAIR, inputs) is not None
    assert warm_start(quick_fit(data, replace(PAIR, interactions=())), data, PAIR, inputs) is None


def test_without_evidence_there_is_no_synergy() -> None:
    """Two channels that never ran in the same weeks: the posterior of their synergy is its prior."""
    data, _ = duo(108, 104, 0.0)
    apart = data.spend * (np.arange(104)[:, None] % 2 == [0, 1])
    draws = quick_fit(replace(data, spend=apart), PAIR).synergy[:, 0]
    assert abs(np.median(draws)) < 0.1 * draws.std()


def test_credit_is_half_each_and_adds_up() -> None:
    share = np.array([[[0.5, 0.2, 0.4]]])
    credit = joint_media(share, np.array([[10.0, -6.0]]), np.array([[0, 1], [1, 2]]))
    np.testing.assert_allclose(credit[0, 0], [0.5, 0.5 - 0.24, -0.24])
    data, _ = simulate(5, n_weeks=60)
    fitted = quick_fit(data, MMMConfig(interactions=(("video", "generic_search"), ("social", "video"))))
    np.testing.assert_allclose(expected_kpi(fitted), baseline(fitted) + contributions(fitted).sum(axis=2))
    np.testing.assert_allclose(expected_kpi(fitted).mean(axis=1), data.kpi.mean(), rtol=0.05)


def test_the_next_euro_moves_all_of_the_synergy() -> None:
    """Invariant: marginal ROAS is the change of the steady forecast by one channel's spend, partners as they are."""
    data, _ = simulate(6, n_weeks=60, with_lift_tests=False)
    config = MMMConfig(interactions=(("video", "generic_search"), ("social", "video")), drift_per_year=0.0)
    fitted = quick_fit(data, config)
    assert (drift(fitted) == 1.0).all()
    level, lags = recent_spend(fitted), config.max_lag_weeks
    ahead = data.week_start[-1] + WEEK * np.arange(1, lags + 3)
    controls = np.zeros((len(ahead), len(data.control_names)))

    def steady(spend: np.ndarray) -> np.ndarray:
        _, media = predict(fitted, ahead, np.tile(spend, (len(ahead), 1)), controls)
        return np.asarray(media[:, -1].sum(axis=1))

    for i in range(len(data.channels)):
        step = 1e-4 * level[i] * np.eye(len(level))[i]
        slope = (steady(level + step) - steady(level - step)) / (2 * step[i])
        np.testing.assert_allclose(marginal_roas(fitted)[:, i], slope, rtol=1e-4, atol=1e-6 * np.abs(slope).max())
        curve = response_curves(fitted, max_draws=fitted.n_draws)
        here = [np.interp(level[i], curve.spend[i], curve.response[i, :, d]) for d in range(50)]
        without = steady(np.where(np.arange(len(level)) == i, 0.0, level))
        np.testing.assert_allclose(here, (steady(level) - without)[:50], rtol=0.03)


def test_a_pair_that_does_harm_is_for_review() -> None:
    data, _ = duo(111, 60, 0.0)
    fitted = quick_fit(data, PAIR)
    assert "falling_curve" in {check.name for check in mmm_checks(fitted, GateConfig())}
    harmful = replace(fitted, synergy=fitted.synergy - 100.0 * fitted.ceiling.max())
    assert {"falling_curve"} <= {check.name for check in verdict(harmful).reasons}
    assert "falling_curve" not in {check.name for check in mmm_checks(quick_fit(data), GateConfig())}


def test_pairs_are_stored_named_and_checked(tmp_path: Path) -> None:
    data, _ = duo(109, 60, 100.0)
    fitted = quick_fit(data, PAIR)
    store.save(fitted, tmp_path)
    again = store.load(tmp_path)
    assert again.config == fitted.config
    np.testing.assert_array_equal(contributions(again), contributions(fitted))
    unknown = quick_fit(data, replace(PAIR, interactions=(("tv", "radio"),)))
    assert unknown.synergy.shape == (unknown.n_draws, 0)
    assert any("mmm.interactions names 'radio'" in note for note in unknown.notes)
    dark = replace(data, spend=data.spend * [1.0, 0.0])
    assert len(pairs_of(dark, PAIR)) == 0
    for pairs in ((("tv", "tv"),), (("tv", "search"), ("search", "tv"))):
        with pytest.raises(ValueError, match="expected pairs of two channels, each pair once"):
            MMMConfig(interactions=pairs)
    columns = (tmp_path / "draws.parquet").read_bytes()
    (tmp_path / "draws.parquet").write_bytes(columns[:100])
    with pytest.raises(DataError, match="Retrain it"):
        store.load(tmp_path)


def test_ranks_of_prior_draws_are_even() -> None:
    """Simulation-based calibration in small, pairs included."""
    data, _ = duo(110, 60, 0.0)
    config = replace(PAIR, draws=300, tune=150)
    inputs, ranks = make_inputs(data, make_design(data, config), config), []
    for number in range(12):
        z, kpi = draw_from_prior(inputs, np.random.default_rng(number))
        drawn = replace(inputs, kpi=kpi)
        found = sampler.sample(drawn, replace(config, seed=number), sampler.mode(drawn)).z.reshape(-1, inputs.n_free)
        ranks.extend((found < z).mean(axis=0))
    assert stats.kstest(ranks, "uniform").pvalue > 0.01
