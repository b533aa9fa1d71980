"""The log density in JAX against the one that numba compiles, which other tests hold against PyMC."""

import importlib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec

import arviz as az
import numpy as np
import nutpie
import pytest

from models.errors import ConfigError
from models.mmm import sampler
from models.mmm.config import MMMConfig
from models.mmm.design import make_design
from models.mmm.inputs import Inputs, make_inputs
from tests.models.mmm_simulator import simulate
from tests.models.test_mmm_likelihood import PAIRED, case

Density = Callable[[np.ndarray], tuple[float, np.ndarray]]
needs_jax = pytest.mark.skipif(find_spec("jax") is None, reason="JAX, an optional dependency, is not installed")

INTEGRATED, JOINT, STUDENT_T = {}, {"integrated": False}, {"noise": "student_t"}
CARRY_FIRST, SATURATE_FIRST = {"order": "adstock_first"}, {"order": "saturation_first"}
VARYING = {"varying_weeks": 9, "drift_per_year": 0.8}  # five steps in 40 weeks
FORMS = [  # every two settings of any two of carry-over, curve, order, likelihood, pairs meet at least once
    {"adstock": adstock, "saturation": saturation, **order, **likelihood, **pairs}
    for adstock, saturation, order, likelihood, pairs in [
        ("geometric", "hill", CARRY_FIRST, STUDENT_T, {}),
        ("geometric", "logistic", SATURATE_FIRST, INTEGRATED, PAIRED),
        ("geometric", "s_shape", SATURATE_FIRST, JOINT, {}),
        ("delayed", "hill", CARRY_FIRST, JOINT, {}),
        ("delayed", "logistic", CARRY_FIRST, INTEGRATED, PAIRED),
        ("delayed", "s_shape", SATURATE_FIRST, STUDENT_T, PAIRED),
        ("weibull_pdf", "hill", CARRY_FIRST, JOINT, PAIRED),
        ("weibull_pdf", "logistic", SATURATE_FIRST, STUDENT_T, {}),
        ("weibull_pdf", "s_shape", CARRY_FIRST, INTEGRATED, {}),
        ("weibull_cdf", "hill", SATURATE_FIRST, INTEGRATED, {}),
        ("weibull_cdf", "logistic", SATURATE_FIRST, JOINT, PAIRED),
        ("weibull_cdf", "s_shape", CARRY_FIRST, STUDENT_T, PAIRED),
    ]
]


def by_jax(inputs: Inputs, at: sampler.Coordinates | None = None) -> Density:
    from models.mmm.jax_density import log_density

    at = at or sampler.Coordinates(start=np.zeros(inputs.n_free), scale=np.eye(inputs.n_free))
    return log_density(inputs, at.start, at.scale)


def with_zeros(inputs: Inputs) -> Inputs:
    """Spend of 0 wherever it can be: a channel's first weeks, before a test, after one, a partner's during one."""
    media, rows, levels = inputs.media.copy(), inputs.lift.rows.copy(), inputs.lift.partner_levels.copy()
    media[1, :15], rows[0, 1], rows[1, 2], levels[1, 0] = 0.0, 0.0, 0.0, 0.0
    return replace(inputs, media=media, lift=replace(inputs.lift, rows=rows, partner_levels=levels))


def assert_same(found: Density, expected: Density, points: np.ndarray) -> None:
    for u in points:
        (value, gradient), (expected_value, expected_gradient) = found(u), expected(u)
        assert np.isfinite(expected_value) and np.isfinite(expected_gradient).all()
        assert isinstance(value, float) and gradient.dtype == np.float64
        assert value == pytest.approx(expected_value, rel=1e-9, abs=1e-9)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-9, atol=1e-9 * np.abs(expected_gradient).max())


@needs_jax
@pytest.mark.parametrize("form", [*FORMS, VARYING], ids=lambda form: "-".join(map(str, form.values())))
def test_value_and_gradient_are_those_of_numba(form: dict[str, object]) -> None:
    _, inputs = case(**form)
    rng = np.random.default_rng(0)
    at = sampler.Coordinates(
        start=0.1 * rng.standard_normal(inputs.n_free),
        scale=np.eye(inputs.n_free) + 0.1 * rng.standard_normal((inputs.n_free, inputs.n_free)),
    )
    points = np.array([0.1, 0.5, 1.0, 2.0] * 5)[:, None] * rng.standard_normal((20, inputs.n_free))
    for one in (inputs, with_zeros(inputs)):
        assert_same(by_jax(one, at), sampler.log_density(one, at), points)


@needs_jax
@pytest.mark.parametrize("form", [{"link": "log"}, {"max_lag_weeks": 0}, {"max_lag_weeks": 52}], ids=str)
def test_they_are_without_lift_tests_signs_or_lags_too(form: dict[str, object]) -> None:
    data, _ = simulate(3, n_weeks=40, with_lift_tests=False)
    config = MMMConfig(**form)
    inputs = make_inputs(data, make_design(data, config), config)
    assert len(inputs.lift.rows) == len(inputs.signs) == 0
    points = np.random.default_rng(1).standard_normal((10, inputs.n_free))
    assert_same(by_jax(inputs), sampler.log_density(inputs), points)


@needs_jax
def test_far_away_points_are_as_far_away_and_do_not_break() -> None:
    _, inputs = case(adstock="delayed")
    density, expected = by_jax(inputs), sampler.log_density(inputs)
    for far in (-40.0, -15.0, 8.0):
        assert_same(density, expected, np.full((1, inputs.n_free), far))
    for far in (15.0, 40.0):  # an exp overflowed
        assert not np.isfinite(density(np.full(inputs.n_free, far))[0])
        assert not np.isfinite(expected(np.full(inputs.n_free, far))[0])


@needs_jax
def test_one_compilation_serves_all_fits_of_a_shape_and_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    from models.mmm import jax_density

    traced, own = [], jax_density._log_posterior

    def counted(*arrays: object, form: object) -> object:
        traced.append(form)
        return own(*arrays, form=form)

    monkeypatch.setattr(jax_density, "_log_posterior", counted)
    data, _ = simulate(3, n_weeks=43)  # no other test has so many
    config = MMMConfig(max_lag_weeks=3)
    inputs = make_inputs(data, make_design(data, config), config)
    density, moved = by_jax(inputs), by_jax(replace(inputs, kpi=inputs.kpi + 0.1))
    points = np.random.default_rng(2).standard_normal((40, inputs.n_free))
    alone = [density(u) for u in points]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(density, points))
    assert traced == [tuple(inputs.form)]
    assert moved(points[0])[0] != alone[0][0]
    for (value, gradient), (expected_value, expected_gradient) in zip(together, alone, strict=True):
        assert value == pytest.approx(expected_value, rel=1e-12)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-9, atol=1e-9 * np.abs(expected_gradient).max())


@needs_jax
def test_the_process_keeps_its_own_precision() -> None:
    import jax.numpy as jnp

    before = jnp.ones(1).dtype
    _, inputs = case()
    by_jax(inputs)(np.zeros(inputs.n_free))
    assert jnp.ones(1).dtype == before == np.float32


@needs_jax
def test_both_densities_lead_the_sampler_to_the_same_posterior() -> None:
    """First the same steps, up to rounding; that grows tenfold a step or two, after which only the posterior is one."""
    _, inputs = case()
    at = sampler.mode(inputs)
    (tuned, draws), (expected_tuned, expected) = (
        run(density, inputs.n_free) for density in (by_jax(inputs, at), sampler.log_density(inputs, at))
    )
    np.testing.assert_allclose(tuned[:, :4], expected_tuned[:, :4], atol=1e-6)
    assert np.abs(np.diff(tuned[:, :4], axis=1)).max() > 0.1  # it moved
    for method, statistic in (("mean", np.mean), ("sd", np.std)):
        gap = statistic(draws, axis=(0, 1)) - statistic(expected, axis=(0, 1))
        error = [np.hypot(mcse(draws[:, :, i], method), mcse(expected[:, :, i], method)) for i in range(inputs.n_free)]
        assert np.abs(gap / error).max() < 4.0  # one run in three hundred exceeds it by chance


@needs_jax
def test_the_setting_leads_to_the_same_mode_and_to_draws() -> None:
    data, _ = simulate(3, n_weeks=40)
    at, samples = {}, {}
    for backend in ("numba", "jax"):
        config = MMMConfig(backend=backend, draws=200, tune=200)
        inputs = make_inputs(data, make_design(data, config), config)
        at[backend] = sampler.mode(inputs)
        samples[backend] = sampler._run(inputs, config, at["numba"])
    z, curvature = (at["jax"].start - at["numba"].start), at["numba"].scale
    assert np.abs(np.linalg.solve(curvature, z)).max() < 0.05  # in posterior sds: both stop within that of the mode
    assert samples["jax"].divergences == 0 and samples["jax"].r_hat_max < 1.05
    assert not np.array_equal(samples["jax"].z, samples["numba"].z)  # two densities, equal but for rounding


def run(density: Density, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws of u (n_chains, n_draws, n): those of the tuning, those after it."""
    model = nutpie.compiled_pyfunc.from_pyfunc(
        n,
        lambda: density,
        lambda _seed, _second, _chain: lambda u: {"u": u.copy()},
        [np.dtype("float64")],
        [(n,)],
        ["u"],
        make_initial_point_fn=lambda seed: np.random.default_rng(seed).standard_normal(n),
    )
    found = nutpie.sample(model, draws=400, tune=200, chains=2, cores=2, seed=5, progress_bar=False, save_warmup=True)
    return tuple(found[group].to_dataset()["u"].to_numpy() for group in ("warmup_posterior", "posterior"))


def mcse(draws: np.ndarray, method: str) -> float:
    return float(az.mcse(draws, method=method))


def test_a_missing_jax_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delitem(sys.modules, "models.mmm.jax_density", raising=False)
    with pytest.raises(ConfigError, match=r"(?s)mmm\.backend.*cannot be imported.*pip install 'marginal\[jax\]'"):
        importlib.import_module("models.mmm.jax_density")
