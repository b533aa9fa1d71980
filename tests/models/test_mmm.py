"""The mix model as a whole: it finds known truths, repeats itself, knows what it cannot know."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from models import response
from models.errors import DataError
from models.gate import GateConfig, Status
from models.mmm import store
from models.mmm.checks import mmm_checks, verdict
from models.mmm.config import MMMConfig
from models.mmm.data import WEEK, MMMData
from models.mmm.fit import fit
from models.mmm.fitted import FittedMMM, baseline, contributions, expected_kpi, predict, with_noise
from models.mmm.results import channel_table, drift, marginal_roas, recent_spend, response_curves, roas
from tests.models.mmm_simulator import Truth, simulate

PARAMETERS = ("ceiling", "half_saturation", "slope", "decay", "carry_shape", "coefficients", "noise_sd")


@pytest.fixture(scope="module")
def company() -> tuple[MMMData, Truth]:
    return simulate(7)


@pytest.fixture(scope="module")
def fitted(company: tuple[MMMData, Truth]) -> FittedMMM:
    return fit(company[0], MMMConfig(holdout_weeks=10))


@pytest.fixture(scope="module")
def odd(company: tuple[MMMData, Truth]) -> FittedMMM:
    """The same company where video never ran, display never changed, affiliates copies social."""
    data = company[0]
    spend = data.spend.copy()
    spend[:, 3], spend[:, 4], spend[:, 5] = 0.0, 50.0, 0.7 * spend[:, 2]
    return fit(replace(data, spend=spend))


def bounds(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    return low, high


# ---- known truth


def test_the_sampler_is_sound(fitted: FittedMMM) -> None:
    assert fitted.metrics["r_hat_max"] <= 1.01
    assert fitted.metrics["ess_min"] >= 400
    assert fitted.metrics["divergences"] == 0


def test_returns_of_a_known_company_are_found(company: tuple[MMMData, Truth], fitted: FittedMMM) -> None:
    truth = company[1]
    for draws, true in ((roas(fitted), truth.roas), (marginal_roas(fitted), truth.marginal_roas)):
        low, high = bounds(draws)
        assert ((low <= true) & (true <= high)).sum() >= 5  # of six; 90 % intervals
    total = contributions(fitted).sum(axis=(1, 2)).mean()
    assert total == pytest.approx(truth.contribution.sum(), rel=0.25)


def test_more_weeks_bring_the_answer_closer() -> None:
    """Two and eight years of one company, without tests: by the square root of four, intervals halve."""
    data, truth = simulate(7, n_weeks=416, with_lift_tests=False)
    config = MMMConfig(draws=500, tune=300)
    short, long = fit(data.head(104), config), fit(data, config)
    (short_low, short_high), (low, high) = bounds(roas(short)), bounds(roas(long))
    assert np.log(high / low).mean() < 0.7 * np.log(short_high / short_low).mean()
    assert ((low <= truth.roas) & (truth.roas <= high)).sum() >= 5
    total = contributions(long).sum(axis=(1, 2)).mean()
    assert total == pytest.approx(truth.contribution.sum(), rel=0.12)


def test_lift_tests_narrow_what_they_tested(company: tuple[MMMData, Truth], fitted: FittedMMM) -> None:
    untested = fit(replace(company[0], lift_tests=()))
    tested = [company[0].channels.index(test.channel) for test in company[0].lift_tests]
    width, width_untested = (np.log(high / low) for low, high in map(bounds, (roas(fitted), roas(untested))))
    assert width[tested].sum() < 0.9 * width_untested[tested].sum()


def test_weeks_kept_out_are_foreseen(fitted: FittedMMM) -> None:
    metrics = fitted.metrics
    assert set(metrics) == {
        *("r_hat_max", "ess_min", "divergences", "r2", "mape"),
        *("crps_holdout", "holdout_weeks", "coverage_50", "coverage_80", "coverage_90", "coverage_95"),
    }
    assert metrics["holdout_weeks"] == 10
    assert metrics["mape"] < 0.1
    assert metrics["coverage_90"] >= 0.6
    assert metrics["coverage_50"] <= metrics["coverage_80"] <= metrics["coverage_90"] <= metrics["coverage_95"]
    assert 0 < metrics["crps_holdout"] < 0.1 * fitted.data.kpi.mean()
    assert fitted.in_sample["r2"] > 0.8


# ---- laws


def test_parts_add_up(fitted: FittedMMM) -> None:
    np.testing.assert_allclose(expected_kpi(fitted), baseline(fitted) + contributions(fitted).sum(axis=2))
    np.testing.assert_allclose(expected_kpi(fitted).mean(axis=1), fitted.data.kpi.mean(), rtol=0.03)
    drawn = with_noise(fitted, expected_kpi(fitted), np.random.default_rng(0))
    low, high = bounds(drawn)
    assert 0.8 <= ((low <= fitted.data.kpi) & (fitted.data.kpi <= high)).mean() <= 1.0


def test_the_same_seed_gives_the_same_bits_in_any_unit(company: tuple[MMMData, Truth], fitted: FittedMMM) -> None:
    """Units are powers of two, which floats multiply without rounding."""
    data = company[0]
    tests = tuple(
        replace(t, spend_change=2.0**9 * t.spend_change, lift=2.0**-30 * t.lift, lift_se=2.0**-30 * t.lift_se)
        for t in data.lift_tests
    )
    scaled = fit(replace(data, kpi=2.0**-30 * data.kpi, spend=2.0**9 * data.spend, lift_tests=tests))
    for name, unit in zip(PARAMETERS, (2.0**-30, 2.0**9, 1.0, 1.0, 1.0, 2.0**-30, 2.0**-30), strict=True):
        np.testing.assert_array_equal(getattr(scaled, name), unit * getattr(fitted, name), err_msg=name)


def test_the_table_says_what_the_draws_say(fitted: FittedMMM) -> None:
    table = channel_table(fitted)
    assert table.columns == ["channel"] + [
        f"{name}_{suffix}" for name in ("contribution", "roas", "marginal_roas") for suffix in ("mean", "p05", "p95")
    ]
    spend = fitted.data.spend.sum(axis=0)
    for suffix in ("mean", "p05", "p95"):
        np.testing.assert_allclose(table[f"contribution_{suffix}"].to_numpy() / spend, table[f"roas_{suffix}"])
    for name in ("contribution", "roas", "marginal_roas"):
        assert (table[f"{name}_p05"] < table[f"{name}_mean"]).all()
        assert (table[f"{name}_mean"] < table[f"{name}_p95"]).all()


def test_curves_are_the_steady_state(fitted: FittedMMM) -> None:
    curves = response_curves(fitted, n_points=400, max_draws=fitted.n_draws)
    assert (np.diff(curves.response, axis=1) >= 0).all()
    assert (curves.response[:, 0] == 0).all()
    assert (curves.max_spend >= 2.5 * recent_spend(fitted)).all()
    assert (curves.max_spend >= fitted.data.spend.max(axis=0)).all()
    level = recent_spend(fitted)
    steady = np.tile(level, (fitted.config.max_lag_weeks + 1, 1))
    _, media = predict(fitted, *next_weeks(fitted, steady))
    np.testing.assert_allclose(response.line_value(curves, level), (drift(fitted) * media[:, -1]).T, rtol=2e-3)
    np.testing.assert_allclose(
        response.marginal(curves, level).mean(axis=1), marginal_roas(fitted).mean(axis=0), rtol=0.02
    )


def next_weeks(fitted: FittedMMM, spend: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    week_start = fitted.data.week_start[-1] + WEEK * np.arange(1, len(spend) + 1)
    return week_start, spend, np.zeros((len(spend), len(fitted.data.control_names)))


def test_an_effect_outlives_its_spend_for_as_long_as_the_carry_over(fitted: FittedMMM) -> None:
    lags = fitted.config.max_lag_weeks
    _, media = predict(fitted, *next_weeks(fitted, np.zeros((lags + 1, len(fitted.data.channels)))))
    running = fitted.data.spend[-1] > 0
    assert (media[:, 0, running] > 0).all()
    assert (np.diff(media, axis=1) <= 0).all()
    assert (media[:, lags] == 0).all()


def test_weeks_to_predict_must_follow(fitted: FittedMMM) -> None:
    week_start, spend, controls = next_weeks(fitted, np.zeros((2, 6)))
    with pytest.raises(DataError, match="Weeks to predict begin on"):
        predict(fitted, week_start + WEEK, spend, controls)
    with pytest.raises(ValueError, match="spend, controls have shapes"):
        predict(fitted, week_start, spend, None)


# ---- what cannot be known


def test_a_sound_company_gets_no_failure(fitted: FittedMMM) -> None:
    checks = {check.name: check for check in mmm_checks(fitted, GateConfig())}
    assert verdict(fitted).status != Status.FAIL
    for name in (
        "r_hat_max",
        "ess_min",
        "divergences",
        "constant_spend",
        "monthly_spend",
        "alike_channels",
        "lift_tests",
    ):
        assert checks[name].status == Status.PASS, str(checks[name])


def test_channels_without_information_are_named_for_review(odd: FittedMMM) -> None:
    judged = verdict(odd)
    assert judged.status == Status.REVIEW
    reasons = {check.name: check.found for check in judged.reasons}
    assert reasons["constant_spend"] == "video, display"
    assert reasons["alike_channels"] == "social ~ affiliates"
    assert "Lift test on 'video'" in reasons["lift_tests"]


def test_a_channel_that_never_spent_has_no_return_but_a_curve(odd: FittedMMM) -> None:
    table = channel_table(odd)
    row = table.row(by_predicate=pl.col("channel") == "video", named=True)
    assert row["contribution_mean"] == 0
    assert row["roas_mean"] is None
    assert row["marginal_roas_mean"] > 0
    assert all(value is not None for value in table.filter(pl.col("channel") != "video").row(0))
    curves = response_curves(odd)
    assert np.isfinite(curves.response).all()
    assert (curves.response[3, -1] > 0).all()
    np.testing.assert_allclose(odd.effect_contraction[3], 1.0, atol=0.25)


def test_a_company_that_ran_with_monthly_totals_is_never_passed(company: tuple[MMMData, Truth]) -> None:
    """52 weeks, each month's spend spread evenly over its weeks."""
    data = company[0].head(52)
    month = data.week_start.astype("datetime64[M]")
    spread = np.stack([data.spend[month == m].mean(axis=0) for m in month])
    judged = verdict(fit(replace(data, spend=spread)))
    assert judged.status != Status.PASS
    assert {"monthly_spend", "weeks_per_parameter"} <= {check.name for check in judged.reasons}


# ---- on disk


def test_a_saved_model_answers_the_same_to_the_last_bit(fitted: FittedMMM, tmp_path: Path) -> None:
    store.save(fitted, tmp_path / "a")
    store.save(fitted, tmp_path / "b")
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    again = store.load(tmp_path / "a")
    for name in PARAMETERS:
        np.testing.assert_array_equal(getattr(again, name), getattr(fitted, name))
    assert again.data.lift_tests == fitted.data.lift_tests
    assert again.config == fitted.config
    assert again.metrics == fitted.metrics
    assert channel_table(again).equals(channel_table(fitted))
    np.testing.assert_array_equal(expected_kpi(again), expected_kpi(fitted))
    assert verdict(again) == verdict(fitted)


def test_a_model_of_another_version_loads(fitted: FittedMMM, tmp_path: Path) -> None:
    store.save(fitted, tmp_path)
    text = (tmp_path / "fitted.json").read_text()
    newer = text.replace('"max_lag_weeks"', '"lag_shape": "free", "max_lag_weeks"').replace(
        '"trend_knot_weeks": 26,', ""
    )
    (tmp_path / "fitted.json").write_text(newer)
    assert store.load(tmp_path).config == fitted.config


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"format": 1', '"format": 2', "has format 2; this version reads up to 1"),
        ('"channels"', '"chanels"', "lacks 'channels'"),
        ("{", "", "cannot be read"),
    ],
)
def test_a_damaged_model_is_refused_in_plain_words(
    fitted: FittedMMM, tmp_path: Path, old: str, new: str, message: str
) -> None:
    store.save(fitted, tmp_path)
    text = (tmp_path / "fitted.json").read_text()
    (tmp_path / "fitted.json").write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        store.load(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        store.load(tmp_path / "nowhere")


# ---- public datasets


def test_the_published_truth_of_another_model_is_covered(shared_data: Path) -> None:
    """pymc-marketing's example, made with another saturation: shares of 29.1 % and 7.0 %, 4968 and 2275 a unit."""
    frame = pl.read_csv(shared_data / "pymc_mmm_examples" / "mmm_example.csv", try_parse_dates=True)
    data = MMMData(
        week_start=frame["date_week"].to_numpy(),
        kpi=frame["y"].to_numpy(),
        channels=("x1", "x2"),
        spend=frame.select("x1", "x2").to_numpy(),
        control_names=("event_1", "event_2"),
        controls=frame.select("event_1", "event_2").to_numpy(),
    )
    example = fit(data)
    share_low, share_high = bounds(contributions(example).sum(axis=1) / data.kpi.sum())
    roas_low, roas_high = bounds(roas(example))
    for low, high, truth in ((share_low, share_high, [0.291, 0.070]), (roas_low, roas_high, [4968, 2275])):
        assert (low <= truth).all()
        assert (truth <= high).all()
    assert verdict(example).status != Status.FAIL


@pytest.mark.soak
def test_monthly_media_of_a_real_shop_come_out_as_review(shared_data: Path) -> None:
    """DT Mart: 53 weeks, monthly spend spread to weeks, a data gap in August."""
    folder = shared_data / "dtmart_eleckart"
    media = pl.read_csv(folder / "media_weekly.csv").drop("TotalInvestment").fill_null(0)
    frame = media.join(pl.read_csv(folder / "sales_weekly_gmv.csv"), on="week").sort("week")
    channels = tuple(name for name in media.columns if name != "week")
    data = MMMData(
        week_start=np.datetime64("2015-06-29") + 7 * np.arange(len(frame)),
        kpi=frame["gmv"].cast(pl.Float64).to_numpy(),
        channels=channels,
        spend=frame.select(channels).cast(pl.Float64).to_numpy(),
    )
    judged = verdict(fit(data))
    assert judged.status != Status.PASS
    assert {"monthly_spend", "weeks_per_parameter"} <= {check.name for check in judged.reasons}


@pytest.mark.soak
def test_robyns_weeks_are_sampled_without_a_divergence(shared_data: Path) -> None:
    frame = pl.read_csv(shared_data / "robyn_simulated" / "dt_simulated_weekly.csv", try_parse_dates=True)
    frame = frame.with_columns((pl.col("events") == name).cast(pl.Float64).alias(name) for name in ("event1", "event2"))
    channels = ("tv_S", "ooh_S", "print_S", "search_S", "facebook_S")
    controls = ("competitor_sales_B", "newsletter", "event1", "event2")
    weeks = fit(
        MMMData(
            week_start=frame["DATE"].to_numpy(),
            kpi=frame["revenue"].to_numpy(),
            channels=channels,
            spend=frame.select(channels).cast(pl.Float64).to_numpy(),
            control_names=controls,
            controls=frame.select(controls).cast(pl.Float64).to_numpy(),
        )
    )
    assert weeks.metrics["divergences"] == 0
    assert weeks.metrics["r_hat_max"] <= 1.01


@pytest.mark.soak
def test_intervals_hold_what_they_promise() -> None:
    """Ten companies: 90 % intervals of ROAS hold at least 80 %, the total is neither high nor low on the whole."""
    hits, ratios = [], []
    for seed in range(200, 210):
        data, truth = simulate(seed)
        one = fit(data, MMMConfig(seed=seed))
        low, high = bounds(roas(one))
        hits.extend((low <= truth.roas) & (truth.roas <= high))
        ratios.append(contributions(one).sum(axis=(1, 2)).mean() / truth.contribution.sum())
    assert np.mean(hits) >= 0.8
    assert abs(np.mean(np.log(ratios))) < 0.1
