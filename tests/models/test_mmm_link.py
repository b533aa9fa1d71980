"""The log link: known truth, how contributions add up, curves, tests and forecasts on the KPI's own scale."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import DataError
from models.mmm import store
from models.mmm.config import MMMConfig
from models.mmm.data import WEEK, LiftTest, MMMData
from models.mmm.detail import sensitivity
from models.mmm.fit import fit, quick_fit
from models.mmm.fitted import (
    FittedMMM,
    baseline,
    contributions,
    expected_kpi,
    loss_without,
    predict,
    residuals,
    usual_controls,
    with_noise,
)
from models.mmm.lift import lift_inputs
from models.mmm.link import kpi_parts
from models.mmm.results import level_without, marginal_roas, recent_spend, response_curves, roas
from models.mmm.selection import select
from tests.models.mmm_simulator import simulate

LOG = MMMConfig(link="log", max_lag_weeks=0, drift_per_year=0.0)
CEILING, HALF = np.array([0.5, 0.8]), np.array([100.0, 150.0])


def multiplied(seed: int, n_weeks: int, noise_sd: float = 0.03) -> tuple[MMMData, np.ndarray, np.ndarray]:
    """Two channels that lift a seasonal KPI by a factor; true ROAS, marginal ROAS by what one channel adds."""
    rng = np.random.default_rng(seed)
    week = np.datetime64("2020-01-06") + WEEK * np.arange(n_weeks)
    days = (week - np.datetime64("2000-01-01")).astype(float)
    spend = rng.gamma(3.0, 30.0, (n_weeks, 2)) * (rng.random((n_weeks, 2)) > 0.2)
    effect = CEILING * spend / (spend + HALF)
    base = np.log(5000.0) + 0.4 * np.sin(2 * np.pi * days / 365.25)
    mean = base + effect.sum(axis=1) + 0.5 * noise_sd**2
    kpi = np.exp(base + effect.sum(axis=1) + noise_sd * rng.standard_normal(n_weeks))
    total = effect.sum(axis=1)
    mean_factor = np.where(total > 0, np.expm1(total) / np.where(total > 0, total, 1.0), 1.0)
    share = effect * (np.exp(base + 0.5 * noise_sd**2) * mean_factor)[:, None]
    level = spend[-13:].mean(axis=0)
    without = np.exp(mean[-52:, None] - effect[-52:]).mean(axis=0)
    here = CEILING * level / (level + HALF)
    marginal = without * np.exp(here) * CEILING * HALF / (level + HALF) ** 2
    data = MMMData(week_start=week, kpi=kpi, channels=("search", "tv"), spend=spend)
    return data, share.sum(axis=0) / spend.sum(axis=0), marginal


@pytest.fixture(scope="module")
def company() -> MMMData:
    return multiplied(120, 104)[0]


@pytest.fixture(scope="module")
def fitted(company: MMMData) -> FittedMMM:
    return quick_fit(company, replace(LOG, interactions=(("search", "tv"),), max_lag_weeks=2))


def test_multiplied_returns_are_found_and_more_weeks_bring_them_closer() -> None:
    errors, held = [], []
    for n_weeks in (104, 416):
        miss = []
        for seed in range(101, 106):
            data, *true = multiplied(seed, n_weeks)
            one = quick_fit(data, LOG)
            for draws, known in zip((roas(one), marginal_roas(one)), true, strict=True):
                low, high = np.quantile(draws, [0.05, 0.95], axis=0)
                held.extend((low <= known) & (known <= high))
                miss.extend(np.abs(np.log(np.median(draws, axis=0) / known)))
        errors.append(np.mean(miss))
    assert sum(held) >= 31  # of 40 in 90 % intervals: fewer in one of 160 sets of seeds
    assert errors[1] < 0.7 * errors[0]


def test_a_sampled_fit_is_sound_and_foresees(company: MMMData) -> None:
    one = fit(company, replace(LOG, draws=500, tune=300, holdout_weeks=13))
    assert one.metrics["divergences"] == 0
    assert one.metrics["r_hat_max"] <= 1.02
    assert one.metrics["mape"] < 0.06
    assert np.median(one.noise_sd) == pytest.approx(0.03, rel=0.25)
    warm = fit(company, replace(LOG, draws=500, tune=300), previous=one)
    sd = np.log(roas(one)).std(axis=0)
    assert (np.abs(np.median(np.log(roas(warm)), axis=0) - np.median(np.log(roas(one)), axis=0)) < 0.3 * sd).all()


def test_selection_names_the_link_that_made_the_data(company: MMMData) -> None:
    """Densities of both links are those of the KPI itself, so that they compare."""
    by_name = {"identity": replace(LOG, link="identity"), "log": LOG}
    assert select(company, by_name, n_origins=0).table.sort("elpd_loo")["candidate"][-1] == "log"
    base = np.random.default_rng(0).normal(5000.0, 100.0, company.n_weeks)
    added = replace(company, kpi=base + 4000.0 * (company.spend / (company.spend + HALF)).sum(axis=1))
    table = select(added, by_name, n_origins=0).table.sort("elpd_loo")
    assert table["candidate"][-1] == "identity"
    assert table["bic"][-1] < table["bic"][0]


# ---- laws


def test_parts_add_up_to_the_expected_kpi(fitted: FittedMMM, company: MMMData) -> None:
    np.testing.assert_allclose(expected_kpi(fitted), baseline(fitted) + contributions(fitted).sum(axis=2))
    np.testing.assert_allclose(expected_kpi(fitted).mean(axis=1), company.kpi.mean(), rtol=0.03)
    spread = 0.5 * fitted.noise_sd[:, None] ** 2
    np.testing.assert_allclose(residuals(fitted), np.log(company.kpi) - np.log(expected_kpi(fitted)) + spread)
    drawn = with_noise(fitted, expected_kpi(fitted), np.random.default_rng(0))
    np.testing.assert_allclose((drawn / expected_kpi(fitted)).mean(), 1.0, atol=0.001)


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=5), st.floats(-5.0, 5.0), st.floats(0.0, 1.0))
def test_a_contribution_lies_between_adding_first_and_removing_last(
    effects: list[float], base: float, sd: float
) -> None:
    media = np.array(effects)[None, None]
    baseline, parts = kpi_parts(np.full((1, 1), base), media, np.array([sd]))
    whole = baseline[0, 0] * np.exp(media.sum())
    assert baseline[0, 0] + parts.sum() == pytest.approx(whole, rel=1e-9)
    added, removed = baseline[0, 0] * np.expm1(media), -whole * np.expm1(-media)
    slack = 1e-7 * whole
    assert (added - slack <= parts).all()
    assert (parts <= removed + slack).all()
    if len(effects) == 1:
        np.testing.assert_allclose(parts, removed, atol=slack)


def test_removing_a_channel_is_what_a_fit_without_its_spend_expects(fitted: FittedMMM) -> None:
    for i in range(2):
        spend = fitted.data.spend * (np.arange(2) != i)
        dark = replace(fitted, ceiling=fitted.ceiling * (np.arange(2) != i), synergy=0.0 * fitted.synergy)
        assert spend[:, i].sum() == 0
        gone = expected_kpi(fitted) - expected_kpi(dark)
        np.testing.assert_allclose(loss_without(fitted)[:, :, i], gone, rtol=1e-9, atol=1e-6)


def test_units_of_kpi_and_money_do_not_matter(company: MMMData) -> None:
    one, other = (
        quick_fit(company, LOG),
        quick_fit(replace(company, kpi=company.kpi / 100, spend=8 * company.spend), LOG),
    )
    np.testing.assert_allclose(other.noise_sd, one.noise_sd, rtol=1e-5)
    np.testing.assert_allclose(roas(other), roas(one) / 800, rtol=1e-5)


def test_the_curve_is_what_a_year_of_steady_spend_brought(company: MMMData) -> None:
    """Closed form: at a spend that stood still for a year, the response is what removing the channel takes."""
    spend = company.spend.copy()
    spend[-60:] = [80.0, 120.0]
    one = quick_fit(replace(company, spend=spend), replace(LOG, interactions=(("search", "tv"),)))
    curves = response_curves(one, max_draws=one.n_draws, n_points=2000)
    brought = loss_without(one)[:, -52:].mean(axis=1)
    for i, level in enumerate(recent_spend(one)):
        here = np.array([np.interp(level, curves.spend[i], curves.response[i, :, d]) for d in range(50)])
        np.testing.assert_allclose(here, brought[:50, i], rtol=1e-3)
        below, above = (np.abs(curves.spend[i] - x).argmin() for x in (0.98 * level, 1.02 * level))
        rise = (curves.response[i, above] - curves.response[i, below]) / (
            curves.spend[i, above] - curves.spend[i, below]
        )
        np.testing.assert_allclose(marginal_roas(one)[:, i], rise, rtol=0.02)
    assert (level_without(one) < expected_kpi(one)[:, -52:].mean(axis=1)[:, None]).all()
    moved = sensitivity(one)
    assert (moved.head(2)["kpi_change_mean"] < 0).all()
    assert (moved.tail(2)["kpi_change_mean"] > 0).all()


def test_a_lift_counts_against_the_kpi_of_its_weeks(company: MMMData) -> None:
    """By hand: a KPI of 1,000 a week for two weeks, lifted by 200: log(2,200 / 2,000) a week, error 22 / 2,200."""
    first = company.week_start[50].item()
    kpi = company.kpi.copy()
    kpi[50:52] = 1000.0
    last = date.fromordinal(first.toordinal() + 13)
    test = LiftTest(channel="tv", start_date=first, end_date=last, spend_change=200.0, lift=200.0, lift_se=22.0)
    data = replace(company, kpi=kpi, lift_tests=(test,))
    rows = lift_inputs(data, np.ones(2), 1.0, MMMConfig(link="log", drift_per_year=0.0)).rows
    np.testing.assert_allclose(rows[0, 3:], [1.0, np.log(1.1), 0.01])
    taken = replace(test, lift=-2500.0, spend_change=-data.spend[50:52, 1].sum())
    lost = lift_inputs(replace(data, lift_tests=(taken,)), np.ones(2), 1.0, MMMConfig(link="log", drift_per_year=0.0))
    assert len(lost.rows) == 0
    assert "takes away all of the KPI" in lost.notes[0]


def test_an_exact_test_is_obeyed() -> None:
    """A sharp lift test, made from the truth, pulls what the model says of that step onto it."""
    data, _, _ = multiplied(121, 60, noise_sd=0.1)
    first, weeks = data.week_start[30].item(), slice(30, 34)
    level, usual = data.spend[weeks, 1].mean(), data.kpi[weeks].mean()
    rise = CEILING[1] * ((level + 100) / (level + 250) - level / (level + 150))
    lift = 4 * usual * float(np.expm1(rise))
    test = LiftTest(
        channel="tv",
        start_date=first,
        end_date=date.fromordinal(first.toordinal() + 27),
        spend_change=400.0,
        lift=lift,
        lift_se=0.02 * lift,
    )
    one = quick_fit(replace(data, lift_tests=(test,)), replace(LOG, confounded=()))
    ends = np.array([level, level + 100.0])
    share = 1.0 / (1.0 + (one.half_saturation[:, 1, None] / ends) ** one.slope[:, 1, None])
    np.testing.assert_allclose(np.median(one.ceiling[:, 1] * (share[:, 1] - share[:, 0])), rise, rtol=0.05)


# ---- use


def test_it_is_stored_and_predicts(fitted: FittedMMM, tmp_path: Path) -> None:
    store.save(fitted, tmp_path)
    again = store.load(tmp_path)
    assert again.config == fitted.config
    np.testing.assert_array_equal(contributions(again), contributions(fitted))
    ahead = fitted.data.week_start[-1:] + WEEK
    base, brought = predict(fitted, ahead, np.array([[0.0, 100.0]]))
    assert (base > 0).all()
    assert (brought.sum(axis=2).mean(axis=0) > 0).all()
    none, nothing = predict(
        replace(fitted, ceiling=0 * fitted.ceiling, synergy=0 * fitted.synergy), ahead, np.ones((1, 2))
    )
    np.testing.assert_allclose(none, base)
    np.testing.assert_array_equal(nothing, 0.0)


def test_usual_controls_are_those_of_an_average_week() -> None:
    data, _ = simulate(8, n_weeks=60)
    one = quick_fit(data, MMMConfig(link="log"))
    controls = usual_controls(one, 3)
    np.testing.assert_allclose(controls, np.tile(data.controls.mean(axis=0), (3, 1)))
    ahead = data.week_start[-1] + WEEK * np.arange(1, 4)
    base, media = predict(one, ahead, np.tile(recent_spend(one), (3, 1)), controls)
    recent = expected_kpi(one)[:, -13:].mean()
    assert (base + media.sum(axis=2)).mean() == pytest.approx(recent, rel=0.25)


def test_what_has_no_logarithm_is_refused(company: MMMData) -> None:
    kpi = company.kpi.copy()
    kpi[[4, 9]] = 0.0
    with pytest.raises(DataError, match=r"KPI is 0 in the week of 2020-02-03 \(2 weeks at 0 or below\)"):
        quick_fit(replace(company, kpi=kpi), LOG)
    with pytest.raises(ValueError, match="no expected KPI"):
        MMMConfig(link="log", noise="student_t")
