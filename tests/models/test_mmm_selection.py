"""Which form of the mix model to take: criteria by exact values, left-out weeks, stacking, a planted decay."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from models.mmm import sampler
from models.mmm.config import MMMConfig, MMMPriors
from models.mmm.data import WEEK, MMMData
from models.mmm.design import make_design
from models.mmm.fit import quick_fit
from models.mmm.fitted import expected_kpi
from models.mmm.inputs import make_inputs, split_theta
from models.mmm.media import carried_share, lag_weights
from models.mmm.quick import pareto_smoothed
from models.mmm.selection import bic, decay_table, leave_one_out, select, stacking_weights
from tests.models.mmm_simulator import Truth, simulate


@pytest.fixture(scope="module")
def company() -> tuple[MMMData, Truth]:
    return simulate(11)


def test_selection_prefers_the_form_that_made_the_data_or_calls_a_tie(company: tuple[MMMData, Truth]) -> None:
    data = replace(company[0], lift_tests=())
    flat = MMMConfig(max_lag_weeks=0, fourier_order=0, trend_knot_weeks=1000)
    chosen = select(data, {"no season, no carry-over": flat, "default": MMMConfig()}, n_origins=1)
    assert chosen.chosen == "default"
    table = chosen.table
    assert table["weight"].sum() == pytest.approx(1.0)
    assert table["elpd_loo"].arg_max() == 1
    assert "behind default" in table["reason"][0]
    same = select(data.head(60), {"one": MMMConfig(), "two": MMMConfig(seed=2)}, n_origins=0)
    assert same.chosen == "one"


def test_bic_compares_forms_of_the_noise(company: tuple[MMMData, Truth]) -> None:
    """Both are densities of the KPI with all of their constants; at an outlier normal noise is far worse."""
    data = replace(company[0], lift_tests=())
    heavy = MMMConfig(noise="student_t")
    assert bic(data, MMMConfig()) == pytest.approx(bic(data, MMMConfig(integrated=False)), abs=1e-6)
    kpi = data.kpi.copy()
    kpi[50] *= 3.0
    spoiled = replace(data, kpi=kpi)
    assert bic(spoiled, heavy) < bic(spoiled, MMMConfig()) - 50.0
    for config, noise_of in ((heavy, stats.t(4)), (MMMConfig(integrated=False), stats.norm())):
        inputs = make_inputs(data, make_design(data, config), config)
        z = sampler.mode(inputs).start
        media, signed, noise, linear, _ = split_theta((inputs.prior_mean + inputs.prior_root @ z)[None], inputs)
        assert signed.shape[1] == 0
        effect, half, slope = (np.exp(media[:, i]) for i in range(3))
        weights = lag_weights("geometric", 1 / (1 + np.exp(-media[:, 3])), np.ones_like(half), 8)
        share = carried_share(data.spend / inputs.media_scale, weights, half, slope, "hill")[0]
        left = inputs.kpi - share @ (effect[0] / share.mean(axis=0)) - inputs.basis @ (inputs.singular * linear[0])
        log_likelihood = (noise_of.logpdf(left / np.exp(noise[0])) - noise[0]).sum()
        assert bic(data, config) == pytest.approx(len(z) * np.log(data.n_weeks) - 2 * log_likelihood)


def test_left_out_density_agrees_with_refits(company: tuple[MMMData, Truth]) -> None:
    """Of a linear regression with known noise, left-out densities have a closed form (Sundararajan, Keerthi 2001)."""
    rng = np.random.default_rng(0)
    n, n_draws = 40, 20_000
    x = np.column_stack([np.ones(n), rng.standard_normal(n)])
    y = x @ [1.0, 2.0] + rng.standard_normal(n)
    covariance = np.linalg.inv(x.T @ x)
    draws = rng.multivariate_normal(covariance @ x.T @ y, covariance, n_draws)
    log_p = stats.norm.logpdf(y - draws @ x.T)
    found = []
    for week in range(n):
        weight, _ = pareto_smoothed(-log_p[:, week])
        found.append(np.log(weight @ np.exp(log_p[:, week])))
    leverage = np.einsum("ij,jk,ik->i", x, covariance, x)
    residual = y - x @ covariance @ x.T @ y
    exact = stats.norm.logpdf(residual / (1 - leverage), scale=np.sqrt(1 + leverage / (1 - leverage)))
    np.testing.assert_allclose(found, exact, atol=0.05)


def test_left_out_weeks_of_a_fit_have_less_density_than_fitted_ones(company: tuple[MMMData, Truth]) -> None:
    quick = quick_fit(company[0])
    pointwise, _ = leave_one_out(quick)
    miss = (quick.data.kpi - expected_kpi(quick)) / quick.noise_sd[:, None]
    inside = np.log(np.exp(stats.norm.logpdf(miss) - np.log(quick.noise_sd)[:, None]).mean(axis=0))
    assert pointwise.sum() < inside.sum()


def test_stacking_finds_the_mixture_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    y = np.where(rng.random(4000) < 0.3, rng.normal(-2, 1, 4000), rng.normal(2, 1, 4000))
    weight = stacking_weights(np.column_stack([stats.norm.logpdf(y, -2), stats.norm.logpdf(y, 2)]))
    np.testing.assert_allclose(weight, [0.3, 0.7], atol=0.03)


@pytest.mark.parametrize("order", ["adstock_first", "saturation_first"])
def test_the_decay_table_finds_a_planted_decay(order: str) -> None:
    """With steep curves, in both orders: it reads the slope and the order that it is told."""
    rng = np.random.default_rng(2)
    spend = rng.gamma(1.0, 10.0, (200, 2))

    def carried(series: np.ndarray) -> np.ndarray:
        held = series.copy()
        for t in range(1, 200):
            held[t] = np.array([0.6, 0.1]) * held[t - 1] + np.array([0.4, 0.9]) * series[t]
        return held

    def bent(series: np.ndarray) -> np.ndarray:
        return series**3 / (series**3 + (1.2 * spend.mean(axis=0)) ** 3)

    response = bent(carried(spend)) if order == "adstock_first" else carried(bent(spend))
    data = MMMData(
        week_start=np.datetime64("2022-01-03") + WEEK * np.arange(200),
        kpi=100 + 50 * response.sum(axis=1) + rng.standard_normal(200),
        channels=("tv", "search"),
        spend=spend,
    )
    config = MMMConfig(order=order, priors=MMMPriors(slope_median=3.0))
    table = decay_table(data, config)
    best = dict(table.filter("is_best").select("channel", "decay").iter_rows())
    assert best == {"tv": 0.6, "search": 0.1}
    assert table.group_by("channel").agg(pl.col("aic").arg_min() == pl.col("is_best").arg_max())["aic"].all()
    # the true curves leave the noise, of variance 1
    n, k = 200, (table["bic"][0] - table["aic"][0]) / (np.log(200) - 2.0)
    assert (table["aic"].min() - 2.0 * k) / n == pytest.approx(0.0, abs=0.3)
