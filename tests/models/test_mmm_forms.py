"""Forms of the mix model, what is believed beforehand, quick fits, stability, hostile data."""

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest
from scipy import stats

from models.errors import ConfigError, DataError
from models.gate import GateConfig, Status
from models.mmm import fit as fit_module
from models.mmm import sampler, store
from models.mmm.checks import channel_verdicts, mmm_checks, outlier_p_value, verdict
from models.mmm.config import MMMConfig, MMMPriors, RoasPrior
from models.mmm.data import WEEK, LiftTest, MMMData
from models.mmm.design import FOLLOWS, make_design
from models.mmm.detail import channel_detail, half_life_weeks, sensitivity, weekly_contributions
from models.mmm.fit import fit, quick_fit, warm_start
from models.mmm.fitted import FittedMMM, baseline, contributions, expected_kpi, predict
from models.mmm.inputs import make_inputs
from models.mmm.prior_check import draw_from_prior, from_earlier, prior_media_share
from models.mmm.quick import pareto_smoothed
from models.mmm.results import roas
from models.mmm.stability import stability_table
from tests.models.mmm_simulator import Truth, simulate

SHORT = MMMConfig(draws=500, tune=300, confounded=())  # without the fit that looks for contradictions


@pytest.fixture(scope="module")
def company() -> tuple[MMMData, Truth]:
    return simulate(11)


@pytest.fixture(scope="module")
def fitted(company: tuple[MMMData, Truth]) -> FittedMMM:
    return fit(company[0], SHORT)


@pytest.fixture(scope="module")
def quick(company: tuple[MMMData, Truth]) -> FittedMMM:
    return quick_fit(company[0])


def close(one: FittedMMM, other: FittedMMM, share_of_sd: float) -> None:
    """ROAS of two fits of the same posterior: medians apart by less than a share of a standard deviation, sds alike."""
    first, second = np.log(roas(one)), np.log(roas(other))
    sd = 0.5 * (first.std(axis=0) + second.std(axis=0))
    assert (np.abs(np.median(first, axis=0) - np.median(second, axis=0)) < share_of_sd * sd).all()
    np.testing.assert_allclose(first.std(axis=0) / second.std(axis=0), 1.0, atol=0.35)


# ---- the same posterior by other ways


def test_integrated_and_sampled_linear_part_agree(company: tuple[MMMData, Truth], fitted: FittedMMM) -> None:
    joint = fit(company[0], replace(SHORT, integrated=False))
    close(fitted, joint, 0.3)
    np.testing.assert_allclose(
        baseline(joint).mean(), baseline(fitted).mean(), atol=0.3 * baseline(fitted).mean(axis=1).std()
    )


def test_a_warm_start_is_no_prior(company: tuple[MMMData, Truth], fitted: FittedMMM) -> None:
    """Started from another company's posterior it finds this one's."""
    other, _ = simulate(12)
    elsewhere = quick_fit(other)
    close(fitted, fit(company[0], SHORT, previous=elsewhere), 0.3)
    inputs = make_inputs(company[0], make_design(company[0], SHORT), SHORT)

    def started(earlier: FittedMMM, config: MMMConfig = SHORT) -> bool:
        return warm_start(earlier, company[0], config, inputs) is not None

    assert started(elsewhere)
    assert started(replace(elsewhere, data=other.head(60)))
    assert not started(replace(elsewhere, data=replace(other, channels=other.channels[::-1])))
    for form in ({"adstock": "delayed"}, {"saturation": "logistic"}, {"order": "saturation_first"}):
        assert not started(replace(elsewhere, config=replace(elsewhere.config, **form)))
        assert not started(elsewhere, replace(SHORT, **form))
    fewer = replace(other, channels=other.channels[:3], spend=other.spend[:, :3], lift_tests=())
    assert not started(quick_fit(fewer))


def test_a_quick_fit_is_close_and_says_how_close(fitted: FittedMMM, quick: FittedMMM) -> None:
    assert quick.metrics["k_hat"] < 0.7
    close(fitted, quick, 0.4)
    names = {check.name for check in mmm_checks(quick, GateConfig())}
    assert "k_hat" in names
    assert "r_hat_max" not in names
    bad = replace(quick, metrics={**quick.metrics, "k_hat": 0.71})
    assert verdict(bad).status == Status.FAIL


def test_smoothed_weights_know_a_heavy_tail() -> None:
    """Weights of a normal target from a proposal of another scale s: k = 1 - s^2 where s < 1 (ratio of tails)."""
    rng = np.random.default_rng(0)
    for scale, low, high in ((2.0, -3.0, 0.3), (0.5, 0.6, 1.2)):
        x = scale * rng.standard_normal(20_000)
        weight, k_hat = pareto_smoothed(stats.norm.logpdf(x) - stats.norm.logpdf(x, scale=scale))
        assert low < k_hat < high
        assert weight.sum() == pytest.approx(1.0)
    x = 1.5 * rng.standard_normal(20_000)
    weight, _ = pareto_smoothed(stats.norm.logpdf(x) - stats.norm.logpdf(x, scale=1.5))
    assert weight @ x**2 == pytest.approx(1.0, abs=0.03)


# ---- forms


@pytest.mark.parametrize("adstock", ["delayed", "weibull_pdf", "weibull_cdf"])
def test_a_fit_of_any_form_adds_up_is_stored_and_predicts(
    company: tuple[MMMData, Truth], adstock: str, tmp_path: object
) -> None:
    data = company[0]
    config = MMMConfig(
        adstock=adstock, saturation="s_shape", order="saturation_first", control_signs={"price": "negative"}
    )
    one = quick_fit(data, config)
    store.save(one, tmp_path)
    again = store.load(tmp_path)
    assert again.config == one.config
    np.testing.assert_array_equal(expected_kpi(again), expected_kpi(one))
    np.testing.assert_allclose(expected_kpi(one).mean(axis=1), data.kpi.mean(), rtol=0.05)
    price = one.coefficients[:, one.design.names.index("control:price")]
    assert (price < 0).all()
    ahead = data.week_start[-1:] + WEEK
    _, media = predict(one, ahead, data.spend[-1:], data.controls[-1:])
    assert (media >= 0).all()


def test_heavy_tailed_noise_shrugs_at_an_outlier(company: tuple[MMMData, Truth], fitted: FittedMMM) -> None:
    data = company[0]
    kpi = data.kpi.copy()
    kpi[50] *= 3.0
    spoiled = replace(data, kpi=kpi)
    normal, robust = quick_fit(spoiled, SHORT), fit(spoiled, replace(SHORT, noise="student_t"))
    assert outlier_p_value(normal) <= 0.01
    assert "outlier" in {check.name for check in verdict(normal).reasons}
    total, of_normal, of_robust = (contributions(f).sum(axis=(1, 2)).mean() for f in (fitted, normal, robust))
    assert abs(of_robust / total - 1) < 0.5 * abs(of_normal / total - 1)
    assert np.median(robust.noise_sd) < 0.5 * np.median(normal.noise_sd)


def test_half_lives_agree_between_forms() -> None:
    """A Weibull survival curve of shape 1 is geometric, its half-life log(2) times the scale."""
    data, _ = simulate(1, n_weeks=30, with_lift_tests=False)
    one = quick_fit(data, MMMConfig(max_lag_weeks=52))
    decay = np.full_like(one.decay, 0.7)  # nothing comes after a year: 0.7^53 is 6e-9
    geometric = replace(one, decay=decay)
    assert half_life_weeks(geometric)[0, 0] == pytest.approx(np.log(0.5) / np.log(0.7))
    survival = replace(
        one,
        decay=-1.0 / np.log(decay),
        carry_shape=np.ones_like(decay),
        config=replace(one.config, adstock="weibull_cdf"),
    )
    assert half_life_weeks(survival)[0, 0] == pytest.approx(np.log(0.5) / np.log(0.7), abs=0.1)


def test_a_half_life_is_that_of_the_weights_where_they_end() -> None:
    """0.9 over 3 weeks: 1, 0.9, 0.81, 0.729 of 3.439; half of the area under 0.9^t up to 4 lies before 1.79."""
    data, _ = simulate(1, n_weeks=30, with_lift_tests=False)
    one = quick_fit(data, MMMConfig(max_lag_weeks=3))
    kept = replace(one, decay=np.full_like(one.decay, 0.9))
    half = half_life_weeks(kept)[0, 0]
    assert half == pytest.approx(1.791, abs=0.001)
    assert 1 - 0.9**half == pytest.approx(0.5 * (1 - 0.9**4))
    for adstock in ("geometric", "delayed"):
        none = replace(kept, config=replace(kept.config, max_lag_weeks=0, adstock=adstock))
        assert not half_life_weeks(none).any()


# ---- beliefs


def test_a_stated_roas_is_the_prior_median(company: tuple[MMMData, Truth]) -> None:
    data = company[0]
    config = MMMConfig(priors=MMMPriors(roas={"video": RoasPrior(median=0.7, log_sd=0.1)}))
    inputs = make_inputs(data, make_design(data, config), config)
    share = np.median(prior_media_share(inputs), axis=0)
    assert share[3] * data.kpi.sum() / data.spend[:, 3].sum() == pytest.approx(0.7, rel=0.02)
    held = quick_fit(data, config)
    assert np.median(roas(held)[:, 3]) == pytest.approx(0.7, rel=0.25)


def test_absurd_priors_are_stopped_before_sampling(company: tuple[MMMData, Truth]) -> None:
    data = company[0]
    for median, message in ((1e6, "media bring"), (1e-9, "says that video brings")):
        with pytest.raises(ConfigError, match=message):
            fit(data, MMMConfig(priors=MMMPriors(roas={"video": RoasPrior(median=median)})))
    with pytest.raises(ValueError, match="median is -1"):
        RoasPrior(median=-1.0)


def test_evidence_is_never_counted_twice(company: tuple[MMMData, Truth], quick: FittedMMM) -> None:
    data = company[0]
    with pytest.raises(DataError, match=r"104 weeks, the first .* count twice"):
        from_earlier(quick, data)
    later = replace(data, week_start=data.week_start + 200 * WEEK, lift_tests=())
    priors = from_earlier(quick, later)
    assert set(priors) == set(data.channels)
    own = np.log(roas(quick)[:, 0]).std()
    assert priors["brand_search"].log_sd > own
    with pytest.raises(DataError, match="2 lift tests"):
        from_earlier(quick, replace(later, lift_tests=data.lift_tests))


def test_a_name_that_the_data_lack_is_a_note_not_an_error(company: tuple[MMMData, Truth]) -> None:
    odd = quick_fit(company[0].head(60), MMMConfig(control_signs={"weather": "positive"}))
    assert any("'weather'" in note for note in odd.notes)


def test_a_budget_that_follows_sales_is_told_by_its_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spend is a tenth of sales, month in, month out; the true ROAS is 0.8; with a test it is found, without not."""
    rng = np.random.default_rng(3)
    n = 120
    demand = 1000 * np.exp(0.3 * np.sin(np.arange(n) * 2 * np.pi / 4.3) + 0.1 * rng.standard_normal(n))
    spend = 0.1 * demand * rng.uniform(0.9, 1.1, n)
    kpi = demand + 0.8 * spend
    start = date(2024, 1, 8)
    data = MMMData(
        week_start=np.datetime64("2023-01-02") + WEEK * np.arange(n),
        kpi=kpi,
        channels=("social",),
        spend=spend[:, None],
    )
    weeks = slice(53, 57)
    test = LiftTest(
        channel="social",
        start_date=start,
        end_date=date(2024, 2, 4),
        spend_change=-float(spend[weeks].sum()),
        lift=-0.8 * float(spend[weeks].sum()),
        lift_se=0.1 * float(spend[weeks].sum()),
    )
    misled = quick_fit(data)
    assert np.quantile(roas(misled), 0.05) > 2.0
    tested = fit(replace(data, lift_tests=(test,)), replace(SHORT, confounded=None))
    assert tested.config.confounded == ("social",)
    assert "standard errors from what the weeks say" in tested.notes[0]
    assert "lift_tests" in {check.name for check in verdict(tested).reasons}
    assert f"{FOLLOWS}social" in tested.design.names
    low, high = np.quantile(roas(tested), [0.05, 0.95])
    assert low < 0.8 < high
    assert high < 1.6
    agreeing = replace(test, lift=float(np.median(roas(misled))) * test.spend_change)
    assert quick_fit(replace(data, lift_tests=(agreeing,))).config.confounded == ()
    monkeypatch.setattr(fit_module, "K_HAT_MAX", -1.0)  # as if the quick approximation did not hold
    undecided = quick_fit(replace(data, lift_tests=(test,)))
    assert undecided.config.confounded == ()
    assert "is not known" in undecided.notes[0]
    again = fit(replace(data, lift_tests=(test,)), replace(SHORT, draws=200, tune=200, confounded=None))
    assert again.config.confounded == ("social",)  # told by a sampled fit of the weeks
    # baseline of weeks to come knows nothing of a budget that is set, not followed
    base = [predict(tested, data.week_start[-1:] + WEEK, np.array([[x]]))[0] for x in (0.0, 300.0)]
    np.testing.assert_array_equal(base[0], base[1])


# ---- calibration


def test_ranks_of_prior_draws_are_even() -> None:
    """Simulation-based calibration in small: of 16 companies drawn from the prior, ranks of effect and noise."""
    config = replace(SHORT, draws=300, tune=150)
    ranks = []
    for number in range(16):
        data, _ = simulate(300 + number, n_weeks=40, with_lift_tests=False)
        data = replace(data, channels=data.channels[:2], spend=data.spend[:, 1:3], control_names=(), controls=None)
        inputs = make_inputs(data, make_design(data, config), config)
        z, kpi = draw_from_prior(inputs, np.random.default_rng(number))
        drawn = replace(inputs, kpi=kpi)
        found = sampler.sample(drawn, replace(config, seed=number), sampler.mode(drawn)).z.reshape(-1, inputs.n_free)
        ranks.extend((found < z).mean(axis=0))
    assert stats.kstest(ranks, "uniform").pvalue > 0.01


# ---- what a user reads


def test_details_say_what_the_draws_say(fitted: FittedMMM) -> None:
    weekly = weekly_contributions(fitted)
    assert len(weekly) == fitted.data.n_weeks * (len(fitted.data.channels) + 1)
    total = weekly.group_by("week_start", maintain_order=True).agg(pl.col("mean").sum())["mean"].to_numpy()
    np.testing.assert_allclose(total, expected_kpi(fitted).mean(axis=0))
    detail = channel_detail(fitted)
    assert ((detail["saturation_level_p05"] > 0) & (detail["saturation_level_p95"] < 1)).all()
    moved = sensitivity(fitted)
    assert (moved.head(6)["kpi_change_p95"] < 0).all()
    assert (moved.tail(6)["kpi_change_p05"] > 0).all()


def test_each_channel_has_its_verdict(company: tuple[MMMData, Truth]) -> None:
    data = company[0]
    spend = data.spend.copy()
    spend[:, 3], spend[:, 4], spend[:, 5] = 0.0, 50.0, 0.7 * spend[:, 2]
    verdicts = channel_verdicts(quick_fit(replace(data, spend=spend, lift_tests=())))
    assert verdicts["video"].status == Status.FAIL
    assert {"constant_spend"} <= {check.name for check in verdicts["display"].reasons}
    for name in ("social", "affiliates"):
        assert "alike_channels" in {check.name for check in verdicts[name].reasons}
    assert verdicts["generic_search"].status != Status.FAIL


def test_refits_name_what_moved(company: tuple[MMMData, Truth], quick: FittedMMM) -> None:
    data = company[0]
    before = quick_fit(data.head(98))
    calm = stability_table([before, quick])
    assert len(calm) == 6
    assert calm["is_jump"].sum() <= 1
    kpi = data.kpi.copy()
    kpi[-1] *= 2.5
    shaken = quick_fit(replace(data, kpi=kpi, spend=np.vstack([data.spend[:-1], 4 * data.spend.max(axis=0)])))
    moved = stability_table([before, shaken]).filter(pl.col("is_jump"))
    assert len(moved) > 0
    assert moved["reason"].str.contains("above all before|noise sds off").any()


# ---- hostile data: a verdict or a clean fit, never a traceback


@pytest.mark.parametrize("unit", [1e-2, 1e9])
def test_a_kpi_in_cents_or_billions_is_all_the_same(company: tuple[MMMData, Truth], unit: float) -> None:
    data = replace(company[0].head(60), lift_tests=())
    one, other = quick_fit(data), quick_fit(replace(data, kpi=unit * data.kpi))
    np.testing.assert_allclose(roas(other).mean(axis=0) / unit, roas(one).mean(axis=0), rtol=0.05)
    assert verdict(other).status == verdict(one).status


def test_fewer_weeks_than_parameters_is_for_review() -> None:
    data, _ = simulate(5, n_weeks=24)
    judged = verdict(quick_fit(replace(data, lift_tests=())))
    assert judged.status != Status.PASS
    assert "weeks_per_parameter" in {check.name for check in judged.reasons}


def test_channels_of_no_constant_and_identical_spend_never_pass(company: tuple[MMMData, Truth]) -> None:
    data = company[0].head(60)
    spend = data.spend.copy()
    spend[:, 0], spend[:, 1], spend[:, 3] = 0.0, 10.0, spend[:, 2]
    judged = verdict(quick_fit(replace(data, spend=spend, lift_tests=())))
    assert judged.status != Status.PASS
    assert {"constant_spend", "alike_channels"} <= {check.name for check in judged.reasons}
