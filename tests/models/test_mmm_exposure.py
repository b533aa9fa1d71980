"""Impressions or clicks as the media variable: known truth at moving prices, laws, what the user is told."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from models.errors import DataError
from models.gate import GateConfig
from models.media_weeks import media_weeks
from models.mmm import store
from models.mmm.checks import mmm_checks
from models.mmm.config import MMMConfig
from models.mmm.data import WEEK, LiftTest, MMMData
from models.mmm.exposure import media_of, moved_costs, unit_cost
from models.mmm.fit import fit, quick_fit
from models.mmm.fitted import contributions, expected_kpi, predict
from models.mmm.lift import lift_inputs
from models.mmm.results import marginal_roas, response_curves, roas
from tests.models.mmm_simulator import simulate

START = date(2023, 1, 2)


def auction(seed: int, n_weeks: int) -> tuple[MMMData, float, float]:
    """One channel whose response is to impressions, bought at a cost that wanders by 50 %; its ROAS, marginal ROAS."""
    rng = np.random.default_rng(seed)
    cost = np.exp(0.5 * np.sin(np.arange(n_weeks) / 9.0) + 0.3 * rng.standard_normal(n_weeks))
    cost[-13:] = 1.25
    seen = rng.gamma(3.0, 300.0, n_weeks) * (rng.random(n_weeks) > 0.2)  # dark weeks tell the level
    media = 900.0 * seen / (seen + 1000.0)
    kpi = 2000.0 + media + 60.0 * rng.standard_normal(n_weeks)
    data = MMMData(
        week_start=np.datetime64(START) + WEEK * np.arange(n_weeks),
        kpi=kpi,
        channels=("video",),
        spend=(seen * cost)[:, None],
        exposure={"video": seen},
    )
    level = seen[-13:].mean()
    return data, float(media.sum() / (seen * cost).sum()), 900.0 * 1000.0 / (level + 1000.0) ** 2 / 1.25


def test_returns_are_found_where_prices_move_and_more_weeks_bring_them_closer() -> None:
    held, errors = [], []
    for n_weeks in (78, 312):
        found, true = [], []
        for seed in range(101, 107):
            data, *truth = auction(seed, n_weeks)
            fitted = quick_fit(data, MMMConfig(max_lag_weeks=0, drift_per_year=0.0))
            found.append(np.column_stack([roas(fitted), marginal_roas(fitted)]))
            true.append(truth)
        draws, known = np.array(found), np.array(true)
        low, high = np.quantile(draws, [0.05, 0.95], axis=1)
        held.extend(((low <= known) & (known <= high)).ravel())
        errors.append(np.abs(np.log(np.median(draws, axis=1) / known)).mean(axis=0))
    assert sum(held) >= 18  # of 24 in 90 % intervals: fewer in one of 140 sets of seeds
    assert (errors[1] < 0.7 * errors[0]).all()


def test_exposure_explains_what_spend_cannot() -> None:
    data, _, _ = auction(2, 156)
    by_spend, by_exposure = quick_fit(replace(data, exposure={})), quick_fit(data)
    assert np.median(by_exposure.noise_sd) == pytest.approx(60.0, rel=0.12)  # its standard error is 0.06
    assert np.quantile(by_spend.noise_sd, 0.05) > 60.0


def test_at_a_constant_price_exposure_and_spend_are_one_model_in_any_unit() -> None:
    """Closed form: at one price the media variable is spend itself; powers of two multiply without rounding."""
    data, _ = simulate(4, n_weeks=52)
    plain = quick_fit(data)
    for price in (0.5, 2.0**-20):
        exposed = quick_fit(replace(data, exposure={"video": data.spend[:, 3] / price}))
        for of in (contributions, marginal_roas, roas, expected_kpi):
            np.testing.assert_array_equal(of(exposed), of(plain))
        np.testing.assert_array_equal(response_curves(exposed).response, response_curves(plain).response)


def test_dearer_exposure_brings_less_for_the_next_euro() -> None:
    """Twice the recent price at the same exposure: the fit is the same, marginal ROAS half, curves half as steep."""
    data, _, _ = auction(3, 104)
    spend = data.spend.copy()
    spend[-13:] *= 2.0
    dear = replace(data, spend=spend)
    assert unit_cost(dear, "video") == 2.0 * unit_cost(data, "video")
    one, other = quick_fit(data, MMMConfig(seed=3)), quick_fit(dear, MMMConfig(seed=3))
    np.testing.assert_allclose(marginal_roas(other), 0.5 * marginal_roas(one), rtol=1e-9)
    np.testing.assert_allclose(contributions(other), contributions(one), rtol=1e-9)
    np.testing.assert_allclose(roas(other) / roas(one), data.spend.sum() / spend.sum(), rtol=1e-9)


def test_known_exposure_ahead_is_used_else_spend_buys_it_at_the_recent_cost(tmp_path: Path) -> None:
    data, _, _ = auction(5, 60)
    fitted = quick_fit(data)
    ahead, spend = data.week_start[-1:] + WEEK * np.arange(1, 4), np.full((3, 1), 500.0)
    _, bought = predict(fitted, ahead, spend)
    _, same = predict(fitted, ahead, 0.0 * spend, exposure={"video": np.full(3, 500.0 / unit_cost(data, "video"))})
    np.testing.assert_allclose(same, bought, rtol=1e-12)
    store.save(fitted, tmp_path)
    again = store.load(tmp_path)
    np.testing.assert_array_equal(expected_kpi(again), expected_kpi(fitted))
    np.testing.assert_array_equal(again.data.head(40).exposure["video"], data.exposure["video"][:40])
    scored = fit(data, MMMConfig(draws=200, tune=200, holdout_weeks=10))
    assert scored.metrics["coverage_90"] >= 0.6


def test_the_money_of_a_test_bought_exposure_at_its_own_price() -> None:
    """By hand: 100 impressions a week at 4, later at 1; a test that added 400 a week doubled them at the cost of 4."""
    n = 40
    spend = np.where(np.arange(n) < 20, 400.0, 100.0)
    kpi = 1000.0 + np.arange(float(n))
    test = LiftTest(
        channel="a",
        start_date=START + timedelta(weeks=10),
        end_date=START + timedelta(weeks=12, days=-1),
        spend_change=800.0,
        lift=5.0,
        lift_se=1.0,
    )
    data = MMMData(
        week_start=np.datetime64(START) + WEEK * np.arange(n),
        kpi=kpi,
        channels=("a",),
        spend=spend[:, None],
        lift_tests=(test,),
        exposure={"a": np.full(n, 100.0)},
    )
    np.testing.assert_array_equal(media_of(data)[:, 0], 100.0)
    rows = lift_inputs(data, np.array([100.0]), 1.0, MMMConfig()).rows
    np.testing.assert_allclose(rows[0, 1:4], [1.0, 2.0, 2.0])


def test_a_price_that_moved_is_said() -> None:
    data, _, _ = auction(6, 104)
    named = {check.name: check for check in mmm_checks(quick_fit(data), GateConfig())}
    assert "video" in named["unit_cost"].found and "now 1.25" in named["unit_cost"].found
    steady = replace(data, exposure={"video": data.spend[:, 0] / 1.25})
    assert moved_costs(steady) == ()
    bare = steady.exposure["video"].copy()
    bare[np.flatnonzero(bare)[:2]] = 0.0
    assert "2 weeks with spend but without exposure" in moved_costs(replace(data, exposure={"video": bare}))[0]
    assert "unit_cost" not in {c.name for c in mmm_checks(quick_fit(replace(data, exposure={})), GateConfig())}
    asked = quick_fit(replace(data, exposure={}), MMMConfig(media_variable={"video": "clicks"}))
    assert any("mmm.media_variable names 'video'" in note for note in asked.notes)


@pytest.mark.parametrize(
    ("exposure", "message"),
    [
        ({"video": np.zeros(60)}, "0 in every week, though .* was spent; load its impressions"),
        ({"video": np.full(60, -1.0)}, "exposure of 'video': 60 weeks below 0"),
        ({"video": np.full(60, np.nan)}, "exposure of 'video': 60 weeks missing"),
    ],
)
def test_exposure_that_cannot_be_is_refused(exposure: dict[str, np.ndarray], message: str) -> None:
    data, _, _ = auction(7, 60)
    with pytest.raises(DataError, match=message):
        replace(data, exposure=exposure)
    with pytest.raises(ValueError, match="which are no channels"):
        replace(data, exposure={"radio": np.ones(60)})


def test_weeks_from_the_mart_bring_the_exposure_asked_for_in_any_order_of_rows() -> None:
    weeks = [START + timedelta(weeks=i) for i in range(24)]
    spend = pl.DataFrame(
        {
            "week_start": weeks * 2,
            "channel": ["search"] * 24 + ["video"] * 24,
            "spend": [float(10 + i % 5) for i in range(48)],
            "impressions_count": [float(100 + i) for i in range(48)],
            "clicks_count": [float(i % 7) for i in range(48)],
        }
    )
    kpi = pl.DataFrame({"week_start": weeks, "value": [float(i % 4) for i in range(24)]})
    tests = pl.DataFrame(schema=["channel", "start_date", "end_date", "spend_change", "lift", "lift_se"])
    asked = {"video": "impressions", "search": "clicks", "radio": "clicks"}
    data = media_weeks(spend, kpi, pl.DataFrame(), tests, asked)
    np.testing.assert_array_equal(data.exposure["video"], np.arange(124.0, 148.0))
    np.testing.assert_array_equal(data.exposure["search"], np.arange(24) % 7)
    assert set(data.exposure) == {"video", "search"}
    mixed = media_weeks(spend.sample(fraction=1.0, shuffle=True, seed=1), kpi.reverse(), pl.DataFrame(), tests, asked)
    np.testing.assert_array_equal(media_of(mixed), media_of(data))
    assert media_weeks(spend, kpi, pl.DataFrame(), tests).exposure == {}
