"""The log density of the mix model by geo against the national one, PyMC, differences; what it refuses."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from benchmarks.geo_company import simulate_geos
from models.errors import DataError
from models.mmm import sampler
from models.mmm.config import MMMConfig
from models.mmm.data import LiftTest
from models.mmm.design import make_design
from models.mmm.geo import GeoConfig, GeoData, GeoInputs, log_density, make_geo_inputs, theta_of
from models.mmm.geo_sampler import geo_mode
from models.mmm.inputs import make_inputs
from models.mmm.media import carried_share, lag_weights, saturation

POOLED = GeoConfig(effect_sd=0.0)
SHORT = {"max_lag_weeks": 3, "trend_knot_weeks": 52, "fourier_order": 1}
WHOLE = LiftTest(
    channel="channel_0",
    start_date=date(2022, 3, 1),
    end_date=date(2022, 3, 28),
    spend_change=-8000.0,
    lift=-9000.0,
    lift_se=3000.0,
)
OWN = replace(WHOLE, channel="channel_1", spend_change=2000.0, lift=4000.0)


def with_tests(data: GeoData, whole: tuple[LiftTest, ...] = (WHOLE,)) -> GeoData:
    """A test in the second geo, tests on the whole company."""
    own = tuple(replace(one, lift_tests=(OWN,) if g == 1 else ()) for g, one in enumerate(data.data))
    return replace(data, data=own, lift_tests=whole)


def tiny(geo_config: GeoConfig | None = None, is_tested: bool = True, **form: object) -> GeoInputs:
    """Three geos of 30 weeks, two channels, a control of believed sign, tests where the form can read them."""
    config = MMMConfig(control_signs={"event": "positive"}, **(SHORT | form))
    data = simulate_geos(100, n_geos=3, n_channels=2, n_weeks=30)[0]
    return make_geo_inputs(with_tests(data) if is_tested else data, config, geo_config or GeoConfig())


def points(inputs: GeoInputs, n: int = 3) -> np.ndarray:
    return 0.5 * np.random.default_rng(101).standard_normal((n, inputs.n_free))


# ---- the density


def test_one_geo_with_nothing_to_pool_is_the_national_model() -> None:
    data = simulate_geos(100, n_geos=1, n_channels=2, n_weeks=40)[0]
    one = replace(data.data[0], lift_tests=(OWN,))
    config = MMMConfig(control_signs={"event": "positive"}, confounded=())
    by_geo = make_geo_inputs(GeoData(geos=("all",), data=(one,)), config, POOLED)
    national = make_inputs(one, make_design(one, config), config)
    assert by_geo.n_free == national.n_free
    for z in points(by_geo):
        (found, gradient), (expected, national_gradient) = log_density(by_geo, z), sampler.log_density(national)(z)
        assert found == pytest.approx(expected, rel=1e-14)
        np.testing.assert_allclose(gradient, national_gradient, rtol=1e-10, atol=1e-12)


def test_a_test_on_the_whole_company_is_one_geos_own_where_there_is_one() -> None:
    data = simulate_geos(100, n_geos=1, n_channels=2, n_weeks=40)[0]
    whole = make_geo_inputs(replace(data, lift_tests=(OWN,)), MMMConfig(), GeoConfig())
    own = make_geo_inputs(replace(data, data=(replace(data.data[0], lift_tests=(OWN,)),)), MMMConfig(), GeoConfig())
    assert len(whole.national) == 1 and len(own.national) == 0
    for z in points(own):
        assert log_density(whole, z)[0] == pytest.approx(log_density(own, z)[0], rel=1e-13)


def test_no_spread_is_the_limit_of_little_spread() -> None:
    none, little = tiny(POOLED), tiny(GeoConfig(effect_sd=1e-9, effect_log_sd=0.0))
    for z in points(little):
        d = z[none.n_free :]
        expected = log_density(none, z[: none.n_free])[0] - 0.5 * float(d @ d)
        assert log_density(little, z)[0] == pytest.approx(expected, rel=1e-7)


FORMS = {
    "default": {},
    "student_t": {"noise": "student_t"},
    "log": {"link": "log"},
    "pair": {"interactions": (("channel_0", "channel_1"),), "order": "saturation_first"},
    "weibull": {"adstock": "weibull_pdf", "saturation": "s_shape"},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("geo_config", [GeoConfig(), GeoConfig(effect_log_sd=0.0), POOLED], ids=str)
def test_the_gradient_agrees_with_differences(form: dict[str, object], geo_config: GeoConfig) -> None:
    inputs = tiny(geo_config, **form)
    z, step = points(inputs)[0], 1e-5
    differences = [
        (log_density(inputs, z + step * e)[0] - log_density(inputs, z - step * e)[0]) / (2 * step)
        for e in np.eye(len(z))
    ]
    gradient = log_density(inputs, z)[1]
    np.testing.assert_allclose(gradient, differences, rtol=1e-5, atol=1e-7 * np.abs(gradient).max())


def test_the_density_agrees_with_pymc() -> None:
    """Independent implementation: the hierarchy with its media response written in PyMC, tau learned."""
    import pymc as pm
    import pytensor.tensor as pt

    inputs = tiny(integrated=False, is_tested=False)
    n_geos, n, n_lags, n_weeks = 3, 2, 4, 30
    data = simulate_geos(100, n_geos=3, n_channels=2, n_weeks=30)[0].data
    spend_all, kpi_all = sum(one.spend.mean(axis=0).sum() for one in data), sum(one.kpi.mean() for one in data)
    with pm.Model() as model:
        z = pm.Normal("z", 0.0, 1.0, shape=inputs.n_free)
        root = np.linalg.cholesky(0.7**2 * np.eye(n) + 0.7**2)
        common, half, slope = (
            pt.dot(root, z[:n]),
            np.log(1.2) + 0.6 * z[n : 2 * n],
            np.log(1.3) + 0.4 * z[2 * n : 3 * n],
        )
        decay = pt.sigmoid(np.log(0.4 / 0.6) + 0.9 * z[3 * n : 4 * n])
        at, k = 4 * n, len(inputs.each[0].singular)
        signed, noise = z[at : at + n_geos], z[at + n_geos : at + 2 * n_geos]
        columns = z[at + 2 * n_geos : at + (2 + k) * n_geos].reshape((k, n_geos))
        log_tau = np.log(0.25) + 0.5 * z[at + (2 + k) * n_geos]
        d = z[at + (2 + k) * n_geos + 1 :].reshape((n_geos, n))
        for g, one in enumerate(data):
            scale, spend = one.kpi.mean(), one.spend / one.spend.mean(axis=0)
            whole = np.vstack([np.tile(spend[:4].mean(axis=0), (n_lags - 1, 1)), spend])
            weight = pt.stack([decay**lag for lag in range(n_lags)])
            carried = sum(
                weight[lag] / weight.sum(axis=0) * whole[n_lags - 1 - lag : n_lags - 1 - lag + n_weeks]
                for lag in range(n_lags)
            )
            reached = carried ** pt.exp(slope)
            reached /= reached + pt.exp(pt.exp(slope) * half)
            own = one.spend.mean(axis=0)
            prior = np.log(0.2 * own / scale / (spend_all / kpi_all))
            mean = pt.dot(reached, pt.exp(prior + common + pt.exp(log_tau) * d[g]) / reached.mean(axis=0))
            sd = one.kpi.std() / scale
            event = one.controls[:, 0]
            mean += sd * 0.2 * pt.exp(1.2 * signed[g]) * (event - event.mean()) / event.std()
            mean += pt.dot(inputs.each[g].basis * inputs.each[g].singular, columns[:, g])
            pm.Normal(f"kpi_{g}", mean, sd * 0.4 * pt.exp(noise[g]), observed=one.kpi / scale)
    log_p, gradient_of = (f(mode="FAST_COMPILE") for f in (model.compile_logp, model.compile_dlogp))
    gaps = []
    for at_z in points(inputs):
        found, gradient = log_density(inputs, at_z)
        gaps.append(found - float(log_p({"z": at_z})))
        np.testing.assert_allclose(gradient, gradient_of({"z": at_z}), rtol=1e-7, atol=1e-7 * np.abs(gradient).max())
    np.testing.assert_allclose(gaps, gaps[0], atol=1e-7)  # equal up to a constant


def test_a_test_on_the_whole_company_counts_once() -> None:
    """What it adds to the log density is that of one normal error on the sum of the geos' lifts, by hand."""
    inputs = tiny()
    without = replace(inputs, national=())
    data = simulate_geos(100, n_geos=3, n_channels=2, n_weeks=30)[0].data
    week = slice(8, 13)  # 28 February to 3 April 2022: the test has 6, 7, 7, 7, 1 of its days in them
    days = np.array([6, 7, 7, 7, 1.0])
    level = np.array([days @ one.spend[week, 0] / 28 for one in data])
    assert data[0].week_start[8] == np.datetime64("2022-02-28")
    assert data[0].week_start[-1] == np.datetime64("2022-07-25")
    se = np.hypot(3000.0, np.sqrt(125 / 365.25) * 0.2 * 9000.0)  # 125 days from the test's last day to the data's
    for z in points(inputs):
        lift = 0.0
        for g, one in enumerate(data):
            theta = theta_of(inputs, z[None], g)[0]
            half, slope, decay = np.exp(theta[2:3]), np.exp(theta[4:5]), 1 / (1 + np.exp(-theta[6:7]))
            spend = one.spend[:, :1] / one.spend[:, 0].mean()
            weights = lag_weights("geometric", decay[None], np.ones((1, 1)), 3)
            share = carried_share(spend, weights, half[None], slope[None], "hill")[0, :, 0]
            ceiling = np.exp(theta[0]) / share.mean() * one.kpi.mean()
            ends = np.array([level[g], level[g] * (1 - 2000.0 / level.sum())]) / one.spend[:, 0].mean()
            before, after = saturation("hill", ends, half, slope)
            lift += 4 * ceiling * (after - before)
        expected = -0.5 * ((-9000.0 - lift) / se) ** 2
        assert log_density(inputs, z)[0] - log_density(without, z)[0] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_names_of_geos_only_order_them() -> None:
    data = simulate_geos(102, n_geos=3, n_channels=2, n_weeks=30)[0]
    renamed = GeoData(geos=("c", "a", "b"), data=data.data)
    config = MMMConfig(**SHORT)
    one, other = (make_geo_inputs(x, config, GeoConfig()) for x in (data, renamed))
    z = points(one)[0]
    moved = z.copy()
    place = [1, 2, 0]  # a is the second of the old order, b the third, c the first
    moved[8:11], moved[12:] = z[8:11][place], z[12:].reshape(3, 2)[place].ravel()
    assert log_density(one, z)[0] == pytest.approx(log_density(other, moved)[0], rel=1e-13)
    assert renamed.geos == ("a", "b", "c")


def test_far_away_points_have_no_density_but_do_not_break() -> None:
    inputs = tiny()
    for far in (-2000.0, 2000.0):
        value, gradient = log_density(inputs, np.full(inputs.n_free, far))
        assert not value > -100.0
        assert gradient.shape == (inputs.n_free,)


@pytest.mark.parametrize("geo_config", [GeoConfig(effect_log_sd=0.0), POOLED], ids=str)
def test_the_coordinates_are_a_root_of_the_inverse_curvature(geo_config: GeoConfig) -> None:
    inputs = replace(tiny(geo_config), national=())
    at, step = geo_mode(inputs), 1e-4
    z = at.start
    rows = [
        (log_density(inputs, z - step * e)[1] - log_density(inputs, z + step * e)[1]) / (2 * step)
        for e in np.eye(len(z))
    ]
    assert np.abs(at.scale.T @ log_density(inputs, z)[1]).max() < 0.02  # it is the mode, in posterior sds
    np.testing.assert_allclose(at.scale.T @ np.array(rows) @ at.scale.toarray(), np.eye(len(z)), atol=1e-5)


def test_the_coordinates_know_tests_on_the_whole_company() -> None:
    inputs = tiny(GeoConfig(effect_log_sd=0.0))
    sure = tuple(replace(test, rows=test.rows * [1, 1, 1, 1, 1, 0.05]) for test in inputs.national)
    inputs = replace(inputs, national=sure)
    at, step = geo_mode(inputs), 1e-4
    rows = [
        (log_density(inputs, at.start - step * e)[1] - log_density(inputs, at.start + step * e)[1]) / (2 * step)
        for e in np.eye(inputs.n_free)
    ]
    spread = np.linalg.eigvalsh(at.scale.T @ np.array(rows) @ at.scale.toarray())
    assert spread.min() > 0.2  # 1 but for the bend of the lift itself
    assert spread.max() < 5.0  # hundreds where the test is left out


# ---- what is refused


def test_geos_that_do_not_fit_together_are_refused() -> None:
    data = simulate_geos(120, n_geos=2, n_channels=2, n_weeks=40)[0]
    one, other = data.data
    with pytest.raises(DataError, match="'b' differs from 'a' in its weeks"):
        GeoData(geos=("a", "b"), data=(one, other.head(30)))
    with pytest.raises(DataError, match="channels"):
        GeoData(geos=("a", "b"), data=(one, replace(other, channels=("x", "y"))))
    with pytest.raises(DataError, match="each once"):
        GeoData(geos=("a", "a"), data=(one, other))
    with pytest.raises(DataError, match="each once"):
        GeoData(geos=(), data=())
    dark = other.spend.copy()
    dark[:, 1] = 0.0
    with pytest.raises(DataError, match="interactions"):
        make_geo_inputs(
            GeoData(geos=("a", "b"), data=(one, replace(other, spend=dark))),
            MMMConfig(interactions=(("channel_0", "channel_1"),)),
            GeoConfig(),
        )
    with pytest.raises(ValueError, match="effect_sd is 4"):
        GeoConfig(effect_sd=4.0)


def test_tests_that_cannot_be_read_by_geo_are_named() -> None:
    data = simulate_geos(121, n_geos=2, n_channels=2, n_weeks=40)[0]
    unknown, outside = (
        replace(WHOLE, channel="radio"),
        replace(WHOLE, start_date=date(2019, 1, 1), end_date=date(2019, 2, 1)),
    )
    inputs = make_geo_inputs(replace(data, lift_tests=(unknown, outside, WHOLE)), MMMConfig(), GeoConfig())
    assert len(inputs.national) == 1
    assert len(inputs.notes) == 2 and "radio" in inputs.notes[0] and "2019" in inputs.notes[1]
    logged = make_geo_inputs(replace(data, lift_tests=(WHOLE,)), MMMConfig(link="log"), GeoConfig())
    assert not logged.national and "log link" in logged.notes[0]
