"""The mix model fitted by geo: partial pooling beats none and all; sums over geos, curves, tests on the company."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from benchmarks.geo_company import GeoTruth, simulate_geos
from models.mmm.config import MMMConfig
from models.mmm.data import LiftTest
from models.mmm.fit import fit, quick_fit
from models.mmm.fitted import FittedMMM, contributions
from models.mmm.geo import GeoConfig, GeoData, make_geo_inputs
from models.mmm.geo_results import (
    GeoFit,
    fit_geo,
    geo_curves,
    national_contributions,
    national_curves,
    national_marginal_roas,
    national_roas,
    national_table,
)
from models.mmm.geo_sampler import geo_mode, geo_sample
from models.mmm.results import channel_table, recent_spend, roas, steady_response
from models.response import value

POOLED = GeoConfig(effect_sd=0.0)
SHORT = {"max_lag_weeks": 3, "trend_knot_weeks": 52, "fourier_order": 1}


# ---- known truth


QUICK = MMMConfig(draws=800, tune=400, saturation="michaelis_menten")


@pytest.fixture(scope="module")
def companies() -> list[tuple[GeoData, GeoTruth, GeoFit]]:
    """Three companies of eight geos whose returns differ by a factor 1.5."""
    made = [
        simulate_geos(seed, n_geos=8, n_channels=3, n_weeks=78, effect_sd=0.4, slope=1.0) for seed in (110, 111, 112)
    ]
    return [(data, truth, fit_geo(data, QUICK)) for data, truth in made]


def error(fits: list[FittedMMM], truth: GeoTruth) -> float:
    """Mean absolute error of the log of the geos' ROAS."""
    found = np.array([np.median(roas(one), axis=0) for one in fits])
    return float(np.abs(np.log(found / truth.roas)).mean())


def test_partial_pooling_errs_less_than_none_and_all(companies: list[tuple[GeoData, GeoTruth, GeoFit]]) -> None:
    partial = np.array([error(list(found.fits), truth) for _, truth, found in companies])
    none = np.array([error([quick_fit(one, QUICK) for one in data.data], truth) for data, truth, _ in companies])
    complete = np.array([error(list(fit_geo(data, QUICK, POOLED).fits), truth) for data, truth, _ in companies])
    assert partial.mean() < 0.85 * none.mean()
    assert partial.mean() < 0.8 * complete.mean()


def test_intervals_hold_the_truth(companies: list[tuple[GeoData, GeoTruth, GeoFit]]) -> None:
    hits, national_hits, spreads = [], [], []
    for data, truth, found in companies:
        for g, one in enumerate(found.fits):
            low, high = np.quantile(roas(one), [0.05, 0.95], axis=0)
            hits.append((low <= truth.roas[g]) & (truth.roas[g] <= high))
        spend = np.sum([one.spend.sum(axis=0) for one in data.data], axis=0)
        low, high = np.quantile(national_roas(found), [0.05, 0.95], axis=0)
        national_hits.append(
            (low <= truth.contribution.sum(axis=0) / spend) & (truth.contribution.sum(axis=0) / spend <= high)
        )
        spreads.append(np.quantile(found.effect_sd, [0.05, 0.95]))
    assert np.mean(hits) >= 0.8  # of 72 at 90 %, those of one channel not independent
    assert np.sum(national_hits) >= 7  # of 9
    assert all(low <= 0.4 <= high for low, high in spreads)


def test_more_geos_bring_the_answer_closer() -> None:
    """Four and sixteen geos of one company: the spread of what all share shrinks towards half."""
    data, truth = simulate_geos(114, n_geos=16, n_channels=2, n_weeks=60, effect_sd=0.2, slope=1.0)
    few = GeoData(geos=data.geos[:4], data=data.data[:4])
    width, miss = [], []
    for one, n in ((few, 4), (data, 16)):
        found = fit_geo(one, QUICK)
        log_half = np.log(found.fits[0].half_saturation)  # the same in all geos, in their mean spends
        width.append(log_half.std(axis=0).mean() + np.log(found.effect_sd).std())
        miss.append(
            error(
                list(found.fits),
                GeoTruth(truth.contribution[:n], truth.roas[:n], truth.half_saturation, truth.slope, truth.decay),
            )
        )
    assert width[1] < 0.75 * width[0]
    assert miss[0] < 0.4 and miss[1] < 0.2


def test_one_geo_gives_the_national_posterior() -> None:
    data = simulate_geos(115, n_geos=1, n_weeks=78)[0]
    national, by_geo = fit(data.data[0], QUICK), fit_geo(data, QUICK, POOLED)
    one, other = roas(national), roas(by_geo.fits[0])
    error_of_mean = one.std(axis=0) * np.sqrt(2 / 400)  # both runs have 400 effective draws or more
    assert min(float(x.metrics["ess_min"] or 0) for x in (national, by_geo.fits[0])) >= 400
    assert (np.abs(one.mean(axis=0) - other.mean(axis=0)) < 4 * error_of_mean).all()
    np.testing.assert_allclose(one.std(axis=0), other.std(axis=0), rtol=0.2)


def test_geos_in_any_order_give_the_same_bits() -> None:
    data = simulate_geos(102, n_geos=3, n_channels=2, n_weeks=40)[0]
    config = MMMConfig(draws=100, tune=100, **SHORT)
    mixed = GeoData(geos=data.geos[::-1], data=data.data[::-1])
    one, other = fit_geo(data, config), fit_geo(mixed, config)
    assert one.geos == other.geos
    for first, second in zip(one.fits, other.fits, strict=True):
        np.testing.assert_array_equal(first.ceiling, second.ceiling)
        np.testing.assert_array_equal(first.coefficients, second.coefficients)


def test_a_test_on_the_whole_company_narrows_its_return() -> None:
    data, truth = simulate_geos(116, n_geos=4, n_channels=2, n_weeks=60, slope=1.0)
    level = sum(one.spend[20:24, 0].sum() for one in data.data)
    lift = -4 / 60 * float(truth.contribution[:, 0].sum())
    start = data.data[0].week_start[20].astype(object)
    seen = LiftTest(
        channel="channel_0",
        start_date=start,
        end_date=start + timedelta(days=27),
        spend_change=-level,
        lift=lift,
        lift_se=0.1 * abs(lift),
    )
    config = replace(QUICK, confounded=(), drift_per_year=0.0)
    without, found = (
        fit_geo(replace(data, lift_tests=tests), config, GeoConfig(effect_log_sd=0.0)) for tests in ((), (seen,))
    )
    widths = [np.log(np.divide(*np.quantile(national_roas(one)[:, 0], [0.95, 0.05]))) for one in (without, found)]
    assert widths[1] < 0.8 * widths[0]


def test_a_test_that_contradicts_the_weeks_marks_its_channel() -> None:
    data, truth = simulate_geos(117, n_geos=4, n_channels=2, n_weeks=60, noise=0.02)
    level = data.data[2].spend[20:24, 0].sum()
    start = data.data[0].week_start[20].astype(object)
    none = LiftTest(
        channel="channel_0",
        start_date=start,
        end_date=start + timedelta(days=27),
        spend_change=-level,
        lift=-1.0,
        lift_se=0.05 * 4 / 60 * float(truth.contribution[2, 0]),
    )
    config = MMMConfig(draws=100, tune=100, drift_per_year=0.0)
    own = tuple(replace(one, lift_tests=(none,) if g == 2 else ()) for g, one in enumerate(data.data))
    total = sum(one.spend[20:24, 0].sum() for one in data.data)
    whole = replace(none, spend_change=-total, lift_se=0.05 * 4 / 60 * float(truth.contribution[:, 0].sum()))
    for case, named in ((replace(data, data=own), "geo_02"), (replace(data, lift_tests=(whole,)), "all geos")):
        found = fit_geo(case, config)
        assert found.fits[0].config.confounded == ("channel_0",)
        assert any(named in note for note in found.notes)
        assert all(any(named in note for note in one.notes) for one in found.fits)  # the gate reads them there
        assert "follows:channel_0" in found.fits[3].design.names


def test_a_run_short_of_its_aim_gets_as_many_chains_again() -> None:
    data = simulate_geos(122, n_geos=2, n_channels=2, n_weeks=40)[0]
    config = MMMConfig(draws=100, tune=100, **SHORT)
    inputs = make_geo_inputs(data, config, POOLED)
    found = geo_sample(inputs, config, geo_mode(inputs))
    assert found.divergences == 0
    assert found.z.shape == (4, 100, inputs.n_free)  # 200 draws cannot be worth 400
    assert not np.array_equal(found.z[:2], found.z[2:])


# ---- what is asked of it


def test_the_companys_figures_are_sums_over_geos(companies: list[tuple[GeoData, GeoTruth, GeoFit]]) -> None:
    _, _, found = companies[0]
    brought = sum(contributions(one) for one in found.fits)
    np.testing.assert_allclose(national_contributions(found), brought)
    spend = sum(one.data.spend.sum(axis=0) for one in found.fits)
    np.testing.assert_allclose(national_roas(found), brought.sum(axis=1) / spend)
    table = national_table(found)
    assert table.columns == channel_table(found.fits[0]).columns
    np.testing.assert_allclose(table["roas_mean"], national_roas(found).mean(axis=0))


def test_curves_of_the_company_and_of_its_geos_agree_at_the_recent_spend(
    companies: list[tuple[GeoData, GeoTruth, GeoFit]],
) -> None:
    _, _, found = companies[0]
    national = national_curves(found, n_points=400)
    by_geo = geo_curves(found, n_points=400, max_draws=500)
    recent = np.array([recent_spend(one) for one in found.fits])
    assert by_geo.lines[:4] == ("channel_0 / geo_00", "channel_1 / geo_00", "channel_2 / geo_00", "channel_0 / geo_01")
    np.testing.assert_allclose(value(national, recent.sum(axis=0)), value(by_geo, recent.ravel()), rtol=1e-3)
    kept = np.arange(found.fits[0].n_draws)
    step = 1e-4 * recent.sum(axis=0)
    ends = [
        sum(
            steady_response(one, ((recent.sum(axis=0) + side * step) * recent[g] / recent.sum(axis=0))[None], kept)[0]
            for g, one in enumerate(found.fits)
        )
        for side in (-1.0, 1.0)
    ]
    slope = (ends[1] - ends[0]).T / (2 * step)
    np.testing.assert_allclose(national_marginal_roas(found), slope, rtol=1e-5)


def test_a_channel_that_never_ran_in_a_geo_has_no_line_there() -> None:
    data = simulate_geos(118, n_geos=3, n_channels=2, n_weeks=40)[0]
    dark = data.data[1].spend.copy()
    dark[:, 1] = 0.0
    data = replace(data, data=(data.data[0], replace(data.data[1], spend=dark), data.data[2]))
    found = fit_geo(data, MMMConfig(draws=200, tune=200, **SHORT))
    assert "channel_1 / geo_01" not in geo_curves(found).lines
    assert len(geo_curves(found).lines) == 5
    assert np.isfinite(national_curves(found).response).all()
    assert np.isfinite(national_roas(found)).all()
    assert np.isnan(roas(found.fits[1])[:, 1]).all()


def test_baselines_of_geos_err_apart() -> None:
    data = simulate_geos(119, n_geos=2, n_channels=2, n_weeks=40)[0]
    twins = GeoData(geos=("a", "b"), data=(data.data[0], data.data[0]))
    found = fit_geo(twins, MMMConfig(draws=200, tune=200, **SHORT), POOLED)
    one, other = (x.coefficients[:, 1] for x in found.fits)  # the trend, which media hardly touch
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.5
