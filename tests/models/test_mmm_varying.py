"""Effects that change slowly: the walk's own laws, recovery of a change, today's effect in curves and forecasts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.mmm import store
from models.mmm.config import MMMConfig
from models.mmm.data import WEEK, MMMData
from models.mmm.fit import fit
from models.mmm.fitted import contributions, predict
from models.mmm.results import drift, marginal_roas, steady_response
from models.mmm.varying import path, wander

CONFIG = MMMConfig(varying_weeks=26, drift_per_year=0.5, max_lag_weeks=0, fourier_order=0, tune=300, draws=500)


def company(seed: int, n_weeks: int, change: float, noise: float = 0.03) -> tuple[MMMData, np.ndarray]:
    """Two channels; the first one's effect changes by the factor `change`, at an even pace, the second's does not.

    Also the first channel's true contribution per week.
    """
    rng = np.random.default_rng(seed)
    spend = rng.gamma(2.0, 0.5, (n_weeks, 2))
    factor = change ** np.linspace(-0.5, 0.5, n_weeks)
    media = 0.8 * spend / (spend + 1.0)
    media[:, 0] *= factor
    kpi = 1.0 + media.sum(axis=1) + noise * rng.standard_normal(n_weeks)
    weeks = np.datetime64("2023-01-02") + WEEK * np.arange(n_weeks)
    data = MMMData(week_start=weeks, kpi=1000.0 * kpi, channels=("moving", "still"), spend=100.0 * spend)
    return data, 1000.0 * media[:, 0]


@pytest.mark.parametrize(("n_weeks", "every"), [(40, 9), (104, 26), (156, 13), (53, 100)])
def test_the_walk_is_centred_and_has_the_variance_of_its_steps(n_weeks: int, every: int) -> None:
    of_weeks = wander(n_weeks, MMMConfig(varying_weeks=every, drift_per_year=0.3))
    np.testing.assert_allclose(of_weeks.mean(axis=0), 0.0, atol=1e-12)
    whole = of_weeks[every::every] - of_weeks[: n_weeks - every : every]  # from knot to knot
    variance = 0.3**2 * every * 7 / 365.25
    np.testing.assert_allclose(whole @ whole.T, variance * np.eye(len(whole)), atol=1e-12)


def test_without_steps_effects_are_constant() -> None:
    assert wander(50, MMMConfig()).shape == (50, 0)
    np.testing.assert_array_equal(path(np.empty((3, 0, 2)), np.empty((50, 0))), 1.0)


def test_a_change_is_found_and_the_other_channel_left_alone() -> None:
    """Two companies whose first channel loses two thirds of its effect within two years."""
    for seed in (401, 402):
        data, truth = company(seed, 104, 1 / 3)
        fitted = fit(data, replace(CONFIG, seed=seed))
        first_to_last = path(fitted.steps, wander(104, CONFIG))[:, [0, -1]]
        low, high = np.quantile(first_to_last[:, 1] / first_to_last[:, 0], [0.05, 0.95], axis=0)
        assert high[0] < 0.6
        assert low[1] < 1.0 < high[1]
        found = contributions(fitted)[:, :, 0]
        still = fit(data, replace(CONFIG, varying_weeks=0, seed=seed))
        error, without = (np.abs(draws.mean(axis=0) - truth).mean() for draws in (found, contributions(still)[:, :, 0]))
        assert error < 0.5 * without


def test_more_weeks_tell_the_change_better() -> None:
    spread = []
    for n_weeks in (60, 200):
        found = []
        for seed in (411, 412):
            fitted = fit(company(seed, n_weeks, 1 / 3)[0], replace(CONFIG, varying_weeks=n_weeks, seed=seed))
            steps = wander(n_weeks, fitted.config)
            found.append(np.log(path(fitted.steps, steps[-1:]) / path(fitted.steps, steps[:1]))[:, 0, 0].std())
        spread.append(np.mean(found))
    assert spread[1] < 0.75 * spread[0]


def test_curves_and_forecasts_are_those_of_the_last_week(tmp_path: Path) -> None:
    data, _ = company(421, 104, 1 / 3)
    fitted = fit(data, CONFIG)
    np.testing.assert_allclose(drift(fitted), path(fitted.steps, wander(104, CONFIG))[:, -1])
    spend = np.full((4, 2), 80.0)
    ahead = data.week_start[-1] + WEEK * np.arange(1, 5)
    _, media = predict(fitted, ahead, spend)
    steady = steady_response(fitted, spend[:1])  # no carry-over: a week brings what a steady week brings
    np.testing.assert_allclose(media[:, 0], steady[0].T, rtol=1e-9)
    constant = fit(data, replace(CONFIG, varying_weeks=0, drift_per_year=0.0))
    assert marginal_roas(fitted)[:, 0].mean() < 0.8 * marginal_roas(constant)[:, 0].mean()
    store.save(fitted, tmp_path)
    np.testing.assert_array_equal(contributions(store.load(tmp_path)), contributions(fitted))


def test_pairs_of_channels_are_not_combined_with_it() -> None:
    with pytest.raises(ValueError, match="varying_weeks with interactions"):
        MMMConfig(varying_weeks=26, interactions=(("a", "b"),))
