"""The mix model's parts without sampling: data, carry-over, saturation, likelihood, linear part, scores."""

import re
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from models.errors import DataError
from models.mmm.config import MMMConfig, MMMPriors
from models.mmm.data import WEEK, LiftTest, MMMData
from models.mmm.design import design_matrix, make_design
from models.mmm.fit import _draw_coefficients, fit
from models.mmm.inputs import make_inputs, prior
from models.mmm.lift import lift_inputs
from models.mmm.media import adstock, carried_share, lag_weights, lagged, saturation, saturation_gradient
from models.mmm.scores import crps
from tests.models.mmm_simulator import simulate


def toy(n_weeks: int = 30, n_channels: int = 2, seed: int = 0, **changes: object) -> MMMData:
    rng = np.random.default_rng(seed)
    fields = {
        "week_start": np.datetime64("2024-01-01") + WEEK * np.arange(n_weeks),
        "kpi": 100 + 10 * rng.standard_normal(n_weeks),
        "channels": tuple(f"channel_{i}" for i in range(n_channels)),
        "spend": rng.gamma(2.0, 5.0, (n_weeks, n_channels)),
        "control_names": ("price",),
        "controls": rng.standard_normal((n_weeks, 1)),
    }
    return MMMData(**(fields | changes))


def with_value(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed[3, 0] = value
    return changed


# ---- data


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kpi": np.full(30, 7.0)}, "The KPI is 7 in every week"),
        ({"kpi": np.array([np.nan] + [1.0, 2.0] * 14 + [1.0])}, "kpi: 1 weeks missing or infinite, first 2024-01-01"),
        ({"spend": with_value(toy().spend, -1.0)}, "spend of 'channel_0': 1 weeks below 0, first 2024-01-22"),
        ({"spend": with_value(toy().spend, np.inf)}, "spend of 'channel_0': 1 weeks missing or infinite"),
        ({"controls": with_value(np.ones((30, 1)), np.nan)}, "control 'price': 1 weeks missing"),
        (
            {"week_start": np.datetime64("2024-01-01") + WEEK * np.array([*range(10), *range(12, 32)])},
            "Week 2024-03-04 is followed by 2024-03-25",
        ),
    ],
)
def test_unusable_series_are_refused_in_plain_words(changes: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        toy(**changes)


def test_too_short_a_history_is_refused() -> None:
    with pytest.raises(DataError, match="Found 19 complete weeks"):
        toy(n_weeks=19)
    with pytest.raises(DataError, match="holdout_weeks is 11 of 30 weeks"):
        fit(toy(), MMMConfig(holdout_weeks=11))


def test_shapes_that_disagree_are_a_programming_error() -> None:
    with pytest.raises(ValueError, match=r"spend has shape \(30, 3\), not \(30, 2\)"):
        toy(spend=np.ones((30, 3)))
    with pytest.raises(ValueError, match="repeats a name"):
        toy(channels=("tv", "tv"))


@pytest.mark.parametrize(
    "changes", [{"lift_se": 0.0}, {"spend_change": 0.0}, {"lift": np.nan}, {"end_date": date(2023, 1, 1)}]
)
def test_a_broken_lift_test_is_refused(changes: dict) -> None:
    sound = {"spend_change": 10.0, "lift": 5.0, "lift_se": 1.0, "end_date": date(2024, 2, 4)}
    with pytest.raises(DataError, match="lift test on 'tv'"):
        LiftTest(channel="tv", start_date=date(2024, 1, 8), **(sound | changes))


def test_lift_tests_are_read_at_the_level_of_their_weeks() -> None:
    """Ten days: seven in the second week, three in the third."""
    data = toy()
    test = LiftTest(
        channel="channel_1",
        start_date=date(2024, 1, 8),
        end_date=date(2024, 1, 17),
        spend_change=5.0,
        lift=8.0,
        lift_se=2.0,
    )
    scale = np.array([2.0, 4.0])
    rows = lift_inputs(replace(data, lift_tests=(test,)), scale, 100.0, MMMConfig(drift_per_year=0.0)).rows
    level = (7 * data.spend[1, 1] + 3 * data.spend[2, 1]) / 10
    expected = [1.0, level / 4, (level + 5 / (10 / 7)) / 4, 10 / 7, 0.08, 0.02]
    np.testing.assert_allclose(rows, [expected])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channel": "radio"}, "no spend in the data"),
        ({"start_date": date(2020, 1, 1), "end_date": date(2020, 2, 1)}, "outside the weeks"),
        ({"spend_change": -1e6}, "only .* was spent in its weeks"),
    ],
)
def test_a_lift_test_that_cannot_be_used_is_named(changes: dict, message: str) -> None:
    sound = {"channel": "channel_0", "start_date": date(2024, 1, 8), "end_date": date(2024, 1, 21), "spend_change": 5.0}
    data = replace(toy(), lift_tests=(LiftTest(**(sound | changes), lift=1.0, lift_se=1.0),))
    inputs = lift_inputs(data, np.ones(2), 1.0, MMMConfig())
    assert len(inputs.rows) == 0
    assert [bool(re.search(message, note)) for note in inputs.notes] == [True]


# ---- media


KINDS = ("geometric", "delayed", "weibull_pdf", "weibull_cdf")
CURVES = ("hill", "michaelis_menten", "logistic", "s_shape")


@given(st.sampled_from(KINDS), st.floats(0.01, 0.95), st.floats(0.2, 4.0), st.floats(0.0, 1e6), st.integers(0, 12))
def test_constant_spend_is_its_own_adstock(kind: str, first: float, second: float, level: float, max_lag: int) -> None:
    weights = lag_weights(kind, np.array([[first]]), np.array([[second]]), max_lag)
    assert (weights >= 0).all()
    np.testing.assert_allclose(adstock(np.full((20, 1), level), weights), level, rtol=1e-12)


def test_lag_weights_agree_with_textbook_and_scipy() -> None:
    lag, first, second = np.arange(7.0), 0.6, 1.7
    expected = {
        "geometric": first**lag,
        "delayed": first ** ((lag - second) ** 2),
        "weibull_pdf": stats.weibull_min.pdf(lag + 1, second, scale=first),
        "weibull_cdf": stats.weibull_min.sf(lag, second, scale=first),
    }
    for kind, weight in expected.items():
        found = lag_weights(kind, np.array([[first]]), np.array([[second]]), 6)[:, 0, 0]
        np.testing.assert_allclose(found, weight / weight.sum(), rtol=1e-12, err_msg=kind)


def test_adstock_agrees_with_the_sum_written_out() -> None:
    rng = np.random.default_rng(1)
    spend, decay, max_lag = rng.gamma(1.0, 1.0, (25, 2)), np.array([[0.3, 0.7]]), 5
    carried = adstock(spend, lag_weights("geometric", decay, np.ones((1, 2)), max_lag))
    for c in range(2):
        weights = [decay[0, c] ** lag for lag in range(max_lag + 1)]
        for t in range(max_lag, 25):
            expected = sum(w * spend[t - lag, c] for lag, w in enumerate(weights)) / sum(weights)
            assert carried[0, t, c] == pytest.approx(expected)


def test_both_orders_agree_where_nothing_bends_or_nothing_carries() -> None:
    rng = np.random.default_rng(2)
    spend, half, slope = rng.gamma(1.0, 1.0, (25, 2)), np.array([[1.0, 2.0]]), np.array([[1.5, 0.8]])
    no_carry = np.array([[1e-9, 1e-9]])
    weights = lag_weights("geometric", no_carry, np.ones((1, 2)), 4)
    one, other = (carried_share(spend, weights, half, slope, "hill", first) for first in (True, False))
    np.testing.assert_allclose(one, other, rtol=1e-6)
    weights = lag_weights("geometric", np.array([[0.5, 0.7]]), np.ones((1, 2)), 4)
    straight = carried_share(spend, weights, 1e9 * half, np.ones((1, 2)), "hill", True)  # far below saturation
    np.testing.assert_allclose(
        straight, carried_share(spend, weights, 1e9 * half, np.ones((1, 2)), "hill", False), rtol=1e-6
    )
    bent = carried_share(spend, weights, half, slope, "hill", True)
    assert np.abs(bent - carried_share(spend, weights, half, slope, "hill", False)).max() > 0.01


def test_spend_before_the_first_week_is_the_mean_of_the_first_four() -> None:
    spend = np.arange(1.0, 11.0)[:, None]
    assert lagged(spend, 3)[:, 0, 0].tolist() == [1.0, 2.5, 2.5, 2.5]


@given(st.sampled_from(CURVES), st.floats(1e-3, 1e6), st.floats(0.3, 4.0))
@example("logistic", 1.0, 4.0)  # so near its ceiling that the difference below is rounding in its fifth digit
def test_saturation_is_half_at_its_half_saturation_none_at_none(kind: str, half: float, slope: float) -> None:
    values = saturation(kind, np.array([0.0, half, 1e300]), np.array(half), np.array(slope))
    np.testing.assert_allclose(values, [0.0, 0.5, 1.0], atol=1e-12)
    for at in (0.3 * half, half, 2.0 * half):
        step = 1e-6 * at
        rise = saturation(kind, np.array(at + step), half, slope) - saturation(kind, np.array(at - step), half, slope)
        found = saturation_gradient(kind, np.array(at), np.array(half), np.array(slope))
        rounding = np.finfo(float).eps / (2 * step)  # of two shares of at most 1, half an epsilon each
        assert found == pytest.approx(rise / (2 * step), rel=1e-5, abs=rounding)


def test_named_curves_are_those_of_the_literature() -> None:
    spend = np.linspace(0.0, 5.0, 11)
    hill = spend**1.7 / (spend**1.7 + 2.0**1.7)
    np.testing.assert_allclose(saturation("hill", spend, np.array(2.0), np.array(1.7)), hill)
    np.testing.assert_allclose(saturation("michaelis_menten", spend, np.array(2.0), np.array(1.0)), spend / (spend + 2))
    lam = np.log(3) / 2.0  # pymc-marketing's logistic_saturation
    logistic = (1 - np.exp(-lam * spend)) / (1 + np.exp(-lam * spend))
    np.testing.assert_allclose(saturation("logistic", spend, np.array(2.0), np.array(1.0)), logistic, atol=1e-15)


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="adstock is 'binomial'"):
        lag_weights("binomial", np.ones((1, 1)), np.ones((1, 1)), 3)
    with pytest.raises(ValueError, match="saturation is 'root'"):
        saturation("root", np.ones(1), np.ones(1), np.ones(1))


# ---- the linear part


@pytest.mark.parametrize("n_controls", [1, 40])  # fewer, more columns than weeks
def test_linear_coefficients_have_their_textbook_posterior(n_controls: int) -> None:
    rng = np.random.default_rng(5)
    controls = rng.standard_normal((30, n_controls))
    data = toy(control_names=tuple(f"c{i}" for i in range(n_controls)), controls=controls)
    config = MMMConfig()
    inputs = make_inputs(data, make_design(data, config), config)
    residual, sigma, n_draws = 0.5 + 0.1 * rng.standard_normal(30), 0.08, 40_000
    drawn = _draw_coefficients(inputs, np.tile(residual, (n_draws, 1)), np.full(n_draws, sigma), rng)
    precision = inputs.columns.T @ inputs.columns / sigma**2 + np.diag(inputs.column_sd**-2.0)
    covariance = np.linalg.inv(precision)
    mean = covariance @ inputs.columns.T @ residual / sigma**2
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((drawn.mean(axis=0) - mean) / sd, 0.0, atol=5 / np.sqrt(n_draws))
    np.testing.assert_allclose(np.cov(drawn.T) / np.outer(sd, sd), covariance / np.outer(sd, sd), atol=0.03)


def test_the_design_goes_on_after_the_fitted_weeks() -> None:
    data, _ = simulate(1)
    design = make_design(data, MMMConfig())
    whole = design_matrix(design, data.week_start, data.controls)
    np.testing.assert_allclose(whole[-5:], design_matrix(design, data.week_start[-5:], data.controls[-5:]))
    np.testing.assert_allclose(whole[:, 1:].mean(axis=0), 0.0, atol=1e-9)
    next_year = design_matrix(design, data.week_start[-1:] + WEEK * np.array([1, 2]), data.controls[:2])
    bends = [i for i, name in enumerate(design.names) if name.startswith("trend")]
    np.testing.assert_allclose(np.diff(next_year[:, bends], axis=0), np.diff(whole[-2:, bends], axis=0))


# ---- priors, settings, scores


def test_media_take_five_to_sixty_percent_before_data_speak() -> None:
    n, spend = 30, np.array([3.0, 2.0, 1.0, 1.0, 1.0, 0.2])
    kpi = 1.0 + 0.1 * np.sin(np.arange(n))
    weeks = np.datetime64("2024-01-01") + WEEK * np.arange(n)
    data = MMMData(week_start=weeks, kpi=kpi, channels=tuple("abcdef"), spend=np.tile(spend, (n, 1)))
    mean, root = prior(data, MMMConfig(), 0.2)
    z = np.random.default_rng(0).standard_normal((20_000, root.shape[1]))
    total = np.exp(mean + z @ root.T)[:, :6].sum(axis=1)
    low, high = np.quantile(total, [0.05, 0.9])
    assert 0.05 < low < 0.12
    assert 0.4 < high < 0.75


@pytest.mark.parametrize(
    ("name", "value"),
    [("chains", 1), ("draws", 0), ("target_accept", 1.0), ("max_lag_weeks", -1), ("holdout_weeks", -1)],
)
def test_settings_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        MMMConfig(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("media_share", 1.0), ("slope_log_sd", 0.0), ("decay_median", -0.1)])
def test_priors_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        MMMPriors(**{name: value})


def test_crps_of_normal_draws_is_the_closed_form() -> None:
    """Gneiting, Raftery (2007), eq. 5: sigma (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi))."""
    rng = np.random.default_rng(3)
    actual, sigma = np.array([-1.0, 0.3, 2.0]), np.array([0.5, 1.0, 2.0])
    z = actual / sigma
    exact = sigma * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    errors = [
        abs(crps(actual, sigma * rng.standard_normal((n_draws, 3))) - exact.mean()) for n_draws in (1_000, 100_000)
    ]
    assert errors[0] < 0.05
    assert errors[1] < 0.005
