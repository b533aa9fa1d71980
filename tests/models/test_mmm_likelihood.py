"""The log density of the mix model against a dense covariance, against PyMC, against differences."""

import itertools

import numpy as np
import pytest
from scipy import stats

from models.mmm import likelihood, sampler
from models.mmm.config import MMMConfig
from models.mmm.design import make_design
from models.mmm.inputs import Inputs, make_inputs, split_theta
from models.mmm.interactions import joint_media, raised_ceiling
from models.mmm.media import carried_share, lag_weights, saturation
from models.mmm.model import joint_model
from models.mmm.varying import path
from tests.models.mmm_simulator import simulate

ADSTOCK = ("geometric", "delayed", "weibull_pdf", "weibull_cdf")
SATURATION = ("hill", "michaelis_menten", "logistic", "s_shape")
FORMS = [
    {"adstock": adstock, "saturation": saturation, "order": order}
    for (adstock, saturation), order in zip(
        itertools.product(ADSTOCK, SATURATION), itertools.cycle(["adstock_first", "saturation_first", "adstock_first"])
    )
]


def case(**form: object) -> tuple[MMMConfig, Inputs]:
    """Six channels, one of which never spent, two lift tests, one control whose sign is believed."""
    data, _ = simulate(3, n_weeks=40)
    data.spend[:, 4] = 0.0
    config = MMMConfig(max_lag_weeks=4, control_signs={"price": "negative"}, **form)
    return config, make_inputs(data, make_design(data, config), config)


def media_of(
    theta: np.ndarray, config: MMMConfig, inputs: Inputs
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Media (n_weeks,) with signed controls, (ceiling, synergy), sd, from the functions that contributions use."""
    media, log_signed, log_noise, _, extra = split_theta(theta[None], inputs)
    effect, half, slope, shape = (np.exp(media[:, i]) for i in (0, 1, 2, 4))
    first = np.exp(media[:, 3]) if config.adstock.startswith("weibull") else 1 / (1 + np.exp(-media[:, 3]))
    weights = lag_weights(config.adstock, first, shape, config.max_lag_weeks)
    spend = inputs.media.T[config.max_lag_weeks :]
    share = carried_share(spend, weights, half, slope, config.saturation, config.order == "adstock_first")[0]
    share *= path(media[:, 5:], inputs.wander)[0]
    idle = share.sum(axis=0) == 0
    ceiling = effect[0] / np.where(idle, saturation(config.saturation, np.ones(1), half, slope)[0], share.mean(axis=0))
    mean_share = share.mean(axis=0)
    synergy = np.array([x / (mean_share[a] * mean_share[b]) for (a, b), x in zip(inputs.pairs, extra[0], strict=True)])
    media = share @ ceiling + joint_media(share[None], synergy[None], inputs.pairs)[0].sum(axis=1)
    return media + np.exp(log_signed[0]) @ inputs.signed_columns, (ceiling, synergy), np.exp(log_noise[0])


def dense_log_density(z: np.ndarray, config: MMMConfig, inputs: Inputs) -> float:
    """The integrated density from the full covariance matrix, with SciPy."""
    theta = inputs.prior_mean + inputs.prior_root @ z
    media, (ceiling, synergy), sigma = media_of(theta, config, inputs)
    n_weeks, n = len(inputs.kpi), inputs.n_channels
    covariance = sigma**2 * np.eye(n_weeks) + (inputs.basis * inputs.singular**2) @ inputs.basis.T
    total = stats.multivariate_normal(media, covariance).logpdf(inputs.kpi) + 0.5 * n_weeks * np.log(2 * np.pi)
    half, slope = np.exp(theta[n : 2 * n]), np.exp(theta[2 * n : 3 * n])
    then = path(split_theta(theta[None], inputs)[0][:, 5:], inputs.lift.wander)[0]
    for i, ((index, before, after, weeks, lift, lift_se), at) in enumerate(
        zip(inputs.lift.rows, inputs.lift.partner_levels, strict=True)
    ):
        c = int(index)
        one = (ceiling[None], synergy[None], inputs.pairs, config.saturation, at, half[None], slope[None])
        raised = then[i, c] * raised_ceiling(*one)[0, c]
        ends = (saturation(config.saturation, np.array(x), half[c], slope[c]) for x in (before, after))
        low, high = ends
        total -= 0.5 * ((lift - weeks * raised * (high - low)) / lift_se) ** 2
    return float(total - 0.5 * z @ z)


PAIRED = {"interactions": (("brand_search", "video"), ("social", "brand_search"))}  # both tested channels, one twice
PAIRED_FORMS = [*(form | PAIRED for form in (FORMS[0], FORMS[5], FORMS[10])), {"link": "log"} | PAIRED]
VARYING = {"varying_weeks": 9, "drift_per_year": 0.8}  # five steps in 40 weeks
VARYING_FORMS = [*(form | VARYING for form in (FORMS[0], FORMS[5], FORMS[11])), {"link": "log"} | VARYING]


@pytest.mark.parametrize(
    "form", [*FORMS, *PAIRED_FORMS, *VARYING_FORMS], ids=lambda form: "-".join(map(str, form.values()))
)
def test_density_and_gradient_agree_with_the_dense_covariance(form: dict[str, str]) -> None:
    config, inputs = case(**form)
    density = sampler.log_density(inputs)
    z = 0.7 * np.random.default_rng(0).standard_normal(inputs.n_free)
    value, gradient = density(z)
    assert value == pytest.approx(dense_log_density(z, config, inputs), rel=1e-9)
    step = 1e-5
    differences = [
        (dense_log_density(z + step * e, config, inputs) - dense_log_density(z - step * e, config, inputs)) / (2 * step)
        for e in np.eye(len(z))
    ]
    np.testing.assert_allclose(gradient, differences, rtol=1e-4, atol=1e-5 * np.abs(gradient).max())


@pytest.mark.parametrize(
    "form",
    [{"integrated": False}, {"noise": "student_t"} | PAIRED, {"integrated": False} | VARYING],
    ids=["normal", "student_t", "varying"],
)
def test_the_joint_density_agrees_with_pymc(form: dict[str, object]) -> None:
    """Independent implementation: the same model written in PyMC, its gradient derived by PyTensor."""
    config, inputs = case(**form)
    model = joint_model(inputs, config)
    log_p, gradient_of = (f(mode="FAST_COMPILE") for f in (model.compile_logp, model.compile_dlogp))
    density = sampler.log_density(inputs)
    rng, gaps = np.random.default_rng(1), []
    for _ in range(3):
        z = 0.5 * rng.standard_normal(inputs.n_free)
        value, gradient = density(z)
        gaps.append(value - float(log_p({"z": z})))
        np.testing.assert_allclose(gradient, gradient_of({"z": z}), rtol=1e-7, atol=1e-7 * np.abs(gradient).max())
    np.testing.assert_allclose(gaps, gaps[0], atol=1e-7)  # equal up to a constant


def test_integrating_out_is_the_joint_density_maximised_up_to_the_determinant() -> None:
    """A Gaussian integral is its maximum times sqrt(det(2 pi covariance)); constants agree for every theta."""
    config, inputs = case()
    joint_config, joint = case(integrated=False)
    assert joint_config.integrated is False and config.integrated is True
    rng, gaps = np.random.default_rng(2), []
    for _ in range(3):
        z = 0.5 * rng.standard_normal(inputs.n_free)
        theta = inputs.prior_mean + inputs.prior_root @ z
        media, _, sigma = media_of(theta, config, inputs)
        total = sigma**2 + inputs.singular**2
        best = inputs.singular * (inputs.basis.T @ (inputs.kpi - media)) / total
        at_best = sampler.log_density(joint)(np.concatenate([z, best]))[0]
        gaps.append(sampler.log_density(inputs)(z)[0] - at_best - 0.5 * np.log(sigma**2 / total).sum())
    np.testing.assert_allclose(gaps, gaps[0], atol=1e-8)


@pytest.mark.parametrize(("first", "second"), [(-3.0, 3.4), (0.4, 0.3), (2.0, 2.5)])
def test_a_weibull_carry_over_weighs_its_lags_as_contributions_do_however_steep(first: float, second: float) -> None:
    found, *slopes = likelihood._lag_weights(likelihood.WEIBULL_PDF, first, second, 9)
    np.testing.assert_allclose(found, lag_weights("weibull_pdf", np.exp(first), np.exp(second), 8).ravel(), atol=1e-12)
    assert np.isfinite(slopes).all()


def test_far_away_points_have_no_density_but_do_not_break() -> None:
    for form in FORMS[:4]:
        _, inputs = case(**form)
        for far in (-40.0, 40.0):
            value, gradient = sampler.log_density(inputs)(np.full(inputs.n_free, far))
            assert not value > -100.0
            assert gradient.shape == (inputs.n_free,)


def test_coordinates_do_not_touch_the_density() -> None:
    _, inputs = case()
    at, z = sampler.mode(inputs), 0.3 * np.random.default_rng(4).standard_normal(inputs.n_free)
    u = np.linalg.solve(at.scale, z - at.start)
    by_u, by_z = sampler.log_density(inputs, at)(u), sampler.log_density(inputs)(z)
    assert by_u[0] == pytest.approx(by_z[0], rel=1e-10)
    np.testing.assert_allclose(by_u[1], at.scale.T @ by_z[1], rtol=1e-8, atol=1e-8)


def test_the_mode_is_one() -> None:
    _, inputs = case()
    at = sampler.mode(inputs)
    density = sampler.log_density(inputs)
    value, gradient = density(at.start)
    assert np.abs(at.scale.T @ gradient).max() < 0.02  # in posterior sds
    for direction in np.random.default_rng(5).standard_normal((20, inputs.n_free)):
        assert density(at.start + 0.3 * at.scale @ direction)[0] < value
