"""Forecast: closed forms of the error law, recovery of known futures, laws of any paths, coverage."""

import logging
import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from models import baseline
from models.backtest import ErrorLaw, RollingErrors, backtest, error_law, law_known_at, level_of, roll, student_crps
from models.baseline import project
from models.errors import ConfigError, DataError
from models.forecast import ForecastConfig, ForecastPaths, forecast_paths, sentence, summarise

CONFIG = ForecastConfig(horizon_weeks=4, paths=2_000)
ONCE = ForecastConfig(horizon_weeks=4, paths=20_000, backtest_weeks=0)  # no looking back: one fit


def weeks(n: int) -> np.ndarray:
    return np.datetime64("2022-01-03") + 7 * np.arange(n)


def season(n: int) -> np.ndarray:
    return 12.0 * np.sin(2 * np.pi * np.arange(n) / 52.18) + 5.0 * np.cos(4 * np.pi * np.arange(n) / 52.18)


@pytest.fixture
def without_prophet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Straight line with carry at any length: thousands of fits in a second."""
    monkeypatch.setattr(baseline, "PROPHET_WEEKS_MIN", 10**9)


@pytest.fixture(scope="module")
def shop() -> tuple[np.ndarray, np.ndarray, RollingErrors]:
    """Two and a half years of a seasonal shop with what a look back at it found."""
    rng = np.random.default_rng(2)
    kpi = 200.0 + 0.1 * np.arange(130) + season(130) + rng.normal(0.0, 5.0, 130)
    config = ForecastConfig(horizon_weeks=4, backtest_weeks=48, backtest_stride_weeks=4)
    return weeks(130), kpi, roll(weeks(130), kpi, config)


# error law


def test_spread_of_a_total_is_the_closed_form():
    # noise alone: sqrt(n); a level alone: n; a random walk alone: sqrt of the sum of squares 1..n
    assert ErrorLaw(level=0, walk=0, noise=2, degrees=9).total_scale(4) == pytest.approx(2 * 2)
    assert ErrorLaw(level=3, walk=0, noise=0, degrees=9).total_scale(4) == pytest.approx(3 * 4)
    assert ErrorLaw(level=0, walk=1, noise=0, degrees=9).total_scale(4) == pytest.approx(np.sqrt(1 + 4 + 9 + 16))


@pytest.mark.parametrize("parts", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.5, 0.3, 2.0)])
def test_drawn_totals_follow_the_stated_student_law(parts):
    law = ErrorLaw(level=parts[0], walk=parts[1], noise=parts[2], degrees=12.0)
    totals = law.draw(200_000, 4, np.random.default_rng(0)).sum(axis=1)
    assert totals.std() == pytest.approx(law.total_scale(4) * np.sqrt(12 / 10), rel=0.02)
    assert np.mean(np.abs(totals) <= 1.782 * law.total_scale(4)) == pytest.approx(0.9, abs=0.005)  # t(12) at 95 %


def test_error_law_is_recovered_ever_closer():
    truth, rng = ErrorLaw(level=2.0, walk=1.0, noise=3.0, degrees=1e9), np.random.default_rng(3)
    for n in (300, 30_000):
        found = error_law(truth.draw(n, 5, rng), np.zeros((5, 5)), windows=n)
        assert found.total_scale(5) == pytest.approx(truth.total_scale(5), rel=3.0 / np.sqrt(n))
        assert (found.level, found.walk, found.noise) == pytest.approx((2.0, 1.0, 3.0), abs=14.0 / np.sqrt(n))


def test_crps_equals_its_definition():
    rng, degrees, scale = np.random.default_rng(4), 7.0, 2.5
    sample = scale * rng.standard_t(degrees, 400_000)
    for error in (0.0, 1.0, -6.0):
        expected = np.abs(sample - error).mean() - 0.5 * np.abs(sample[::2] - sample[1::2]).mean()
        assert student_crps(np.array(error), np.array(scale), np.array(degrees)) == pytest.approx(expected, abs=0.02)
    gaussian = norm.pdf(1.0) * 2 + (2 * norm.cdf(1.0) - 1) - 1 / np.sqrt(np.pi)
    assert student_crps(np.array(1.0), np.array(1.0), np.array(1e7)) == pytest.approx(gaussian, rel=1e-5)


# projection


def test_prophet_continues_trend_and_season():
    series = 200.0 + 0.3 * np.arange(160) + season(160) + np.random.default_rng(5).normal(0.0, 0.5, 160)
    found = project(weeks(156), series[:156], 4, CONFIG)
    assert found.method == "prophet"
    np.testing.assert_allclose(found.mean, series[156:], rtol=0.01)


def test_short_history_continues_a_line_and_says_so():
    found = project(weeks(12), 50.0 + 3.0 * np.arange(12), 3, CONFIG)
    assert found.method == "local_level"
    np.testing.assert_allclose(found.mean, [86, 89, 92], rtol=1e-9)


def test_random_walk_spreads_as_theory_says(without_prophet):
    for n, tolerance in ((400, 0.35), (6_000, 0.1)):
        series = 1e4 + np.cumsum(np.random.default_rng(6).normal(0.0, 2.0, n))
        found = project(weeks(n), series, 4, CONFIG)
        ahead = np.arange(1, 5)
        np.testing.assert_allclose(found.covariance, 4.0 * np.minimum.outer(ahead, ahead), rtol=tolerance)
        np.testing.assert_allclose(found.mean, series[-1], atol=4.0)


def test_white_noise_spreads_as_theory_says(without_prophet):
    series = 500.0 + np.random.default_rng(7).normal(0.0, 10.0, 3_000)
    config = ForecastConfig(horizon_weeks=4, paths=20_000, backtest_weeks=500, backtest_stride_weeks=4)
    total = forecast_paths(weeks(3_000), series, config, np.random.default_rng(0)).kpi.sum(axis=1)
    width = np.subtract(*np.quantile(total, [0.95, 0.05]))
    assert width == pytest.approx(2 * 1.645 * 10.0 * np.sqrt(4), rel=0.15)
    assert total.mean() == pytest.approx(2_000.0, abs=6.0)


def test_fits_are_silent_and_leave_global_state_alone(capfd, caplog):
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the state that must not move
    with caplog.at_level(logging.DEBUG):
        project(weeks(60), 100.0 + season(60), 2, CONFIG)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert [r for r in caplog.records if r.name.startswith(("cmdstanpy", "prophet"))] == []
    assert capfd.readouterr() == ("", "")
    assert not logging.getLogger("cmdstanpy").disabled


def test_holidays_fall_into_their_weeks():
    series = np.full(150, 100.0)
    every = weeks(154)
    eves = np.array(["2022-12-25", "2023-12-25", "2024-12-25"], dtype="datetime64[D]")
    christmas = [int(i) for i in np.searchsorted(every, eves, side="right") - 1 if i + 1 < len(every)]
    assert len(christmas) == 2
    cut = christmas[-1]
    series[christmas[0]] = 150.0
    plain, known = (
        project(
            every[:cut], series[:cut], 2, ForecastConfig(horizon_weeks=2, yearly_order=1, holidays_country=country)
        ).mean
        for country in (None, "DE")
    )
    assert known[0] > plain[0] + 10.0
    with pytest.raises(ConfigError, match="holidays_country"):
        project(every, np.ones(154), 2, ForecastConfig(holidays_country="XX"))


# paths


def test_same_seed_gives_the_same_bits(shop):
    when, kpi, rolling = shop
    one, two = (forecast_paths(when, kpi, CONFIG, np.random.default_rng(9), rolling=rolling) for _ in range(2))
    assert one.kpi.tobytes() == two.kpi.tobytes()
    assert one.week_start.tolist() == (when[-1] + 7 * np.arange(1, 5)).tolist()


def test_looking_back_twice_finds_the_same(shop):
    when, kpi, _ = shop
    config = ForecastConfig(horizon_weeks=4, backtest_weeks=9, backtest_stride_weeks=4)
    one, two = roll(when, kpi, config), roll(when, kpi, config)
    assert one.errors.tobytes() == two.errors.tobytes()


def test_doubt_about_the_split_cancels_under_the_same_spend(shop):
    when, kpi, rolling = shop
    doubt = 30.0 + np.random.default_rng(1).normal(0.0, 8.0, (500, 1))
    media = np.broadcast_to(doubt, (500, 130))
    organic = kpi - media.mean(axis=0)
    unit = level_of(kpi) / level_of(organic)  # a constant split moves no error, only the unit it is told in
    rolling = replace(rolling, organic=organic, errors=rolling.errors * unit)
    same, none = (
        forecast_paths(
            when,
            kpi,
            CONFIG,
            np.random.default_rng(9),
            rolling=rolling,
            media_draws=media,
            plan_draws=factor * media[:, :4],
        )
        for factor in (1.0, 0.0)
    )
    plain = forecast_paths(when, kpi, CONFIG, np.random.default_rng(9), rolling=shop[2])
    assert same.kpi.sum(axis=1).std() == pytest.approx(plain.kpi.sum(axis=1).std(), rel=0.02)
    assert same.kpi.mean() == pytest.approx(plain.kpi.mean(), rel=0.002)
    # switched off, all the doubt about media is doubt about what is left
    variance = plain.kpi.sum(axis=1).var() + (4 * doubt).var()
    assert none.kpi.sum(axis=1).var() == pytest.approx(variance, rel=0.1)
    assert none.kpi.mean() == pytest.approx(plain.kpi.mean() - 30.0, abs=1.0)
    roas = summarise(same, "now", np.full(4, 10.0)).filter(metric="roas")
    assert roas["mean"].to_list() == pytest.approx([doubt.mean() / 10.0] * 5)
    assert (roas["p95"] - roas["p05"]).to_list() == pytest.approx([2 * 1.645 * 0.8] * 5, rel=0.15)


def test_units_of_money_do_not_matter(shop):
    when, kpi, _ = shop
    config = ForecastConfig(horizon_weeks=4, paths=2_000, backtest_weeks=9, backtest_stride_weeks=4)
    cents = forecast_paths(when, 100.0 * kpi, config, np.random.default_rng(9))
    euros = forecast_paths(when, kpi, config, np.random.default_rng(9))
    np.testing.assert_allclose(cents.kpi, 100.0 * euros.kpi, rtol=1e-3)


@pytest.mark.parametrize("n", [4, 5, 9, 19, 20, 40])
@pytest.mark.parametrize("kind", ["zero", "flat", "noisy", "one spike"])
def test_any_history_has_a_forecast(n, kind, without_prophet):
    series = {"zero": np.zeros(n), "flat": np.full(n, 7.0), "noisy": np.random.default_rng(n).normal(90, 9, n)}.get(
        kind, np.eye(n)[n // 2]
    )
    paths = forecast_paths(weeks(n), series, CONFIG, np.random.default_rng(0))
    assert np.isfinite(paths.kpi).all()
    assert (paths.kpi >= 0.0).all()
    assert paths.method == "local_level"
    assert paths.media is None


@pytest.mark.parametrize("series", [np.zeros(30), np.full(30, 5.0), np.eye(60)[30] * 1e9])
def test_prophet_stands_odd_histories(series):
    paths = forecast_paths(weeks(len(series)), series, ONCE, np.random.default_rng(0))
    assert np.isfinite(paths.kpi).all()
    assert paths.method == "prophet"


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 8), st.integers(0, 2**32 - 1), st.booleans())
def test_summary_obeys_the_laws_of_any_paths(horizon, seed, has_media):
    rng = np.random.default_rng(seed)
    media = rng.gamma(2.0, 5.0, (300, horizon)) if has_media else None
    paths = ForecastPaths(
        week_start=weeks(horizon), kpi=rng.normal(100.0, 30.0, (300, horizon)), media=media, method="prophet"
    )
    frame = summarise(paths, "plan", np.full(horizon, 7.0), metric="margin")
    assert frame.columns == [
        "scenario",
        "metric",
        "period_start",
        "period_end",
        "mean",
        "p05",
        "p25",
        "p50",
        "p75",
        "p95",
    ]
    quantiles = frame.select("p05", "p25", "p50", "p75", "p95").to_numpy()
    assert (np.diff(quantiles, axis=1) >= 0.0).all()
    kpi = frame.filter(metric="margin")
    assert kpi.height == horizon + 1
    assert kpi["mean"][:-1].sum() == pytest.approx(kpi["mean"][-1])
    assert kpi["period_start"][-1] == kpi["period_start"][0]
    assert kpi["period_end"][-1] == kpi["period_end"][-2]
    assert (kpi["period_end"] - kpi["period_start"]).dt.total_days()[:-1].unique().to_list() == [6]
    assert frame.filter(metric="roas").height == (horizon + 1) * has_media
    order = rng.permutation(300)
    shuffled = ForecastPaths(
        week_start=paths.week_start,
        kpi=paths.kpi[order],
        media=media if media is None else media[order],
        method="prophet",
    )
    other = summarise(shuffled, "plan", np.full(horizon, 7.0), metric="margin")
    np.testing.assert_allclose(other.select(pl.col(pl.Float64)), frame.select(pl.col(pl.Float64)), rtol=1e-12)


def test_weeks_without_spend_have_no_roas():
    paths = ForecastPaths(week_start=weeks(2), kpi=np.ones((9, 2)), media=np.ones((9, 2)), method="prophet")
    roas = summarise(paths, "plan", np.array([0.0, 4.0])).filter(metric="roas")
    assert roas["mean"].to_list() == [0.25, 0.5]


@pytest.mark.parametrize(
    ("size", "spread", "words"),
    [
        (
            640_000.0,
            100_000.0,
            r"We expect 3\.2M EUR revenue in the next 5 weeks \(3 Jan 2022 to 6 Feb 2022\); 90 % of 10,000",
        ),
        (20.0, 1.0, r"We expect 100 EUR .* between 9\d and 10\d\."),
        (640_000.0, 20_000.0, r"We expect 3\.20M EUR .* between 3\.1\dM and 3\.2\dM\."),
    ],
)
def test_sentence_tells_total_and_interval(size, spread, words):
    kpi = size + np.random.default_rng(0).normal(0.0, spread, (10_000, 5))
    paths = ForecastPaths(week_start=weeks(5), kpi=kpi, media=None, method="prophet")
    assert re.search(words, sentence(paths, "EUR")), sentence(paths, "EUR")


# backtest


def test_backtest_scores_each_horizon_and_beats_last_year(shop):
    _, kpi, rolling = shop
    table = backtest(rolling, "revenue")
    assert table.columns == ["metric", "horizon_days", "nominal", "coverage", "crps", "mape", "naive_crps"]
    assert table["horizon_days"].unique().sort().to_list() == [7, 14, 21, 28]
    assert table["coverage"].is_between(0.0, 1.0).all()
    assert (
        table.sort("nominal")
        .group_by("horizon_days", maintain_order=True)
        .agg("coverage")["coverage"]
        .list.diff()
        .list.min()
        >= 0
    ).all()
    assert table["mape"].max() < 0.05
    assert (table["crps"] < table["naive_crps"]).mean() > 0.5
    assert (table["crps"] < 0.1 * kpi.mean() * table["horizon_days"] / 7).all()


def test_an_interval_knows_nothing_of_its_own_outcome(shop):
    _, _, rolling = shop
    last = int(rolling.origins[-1])
    spoiled = rolling.errors.copy()
    spoiled[-1] = 1e6
    changed = RollingErrors(
        origins=rolling.origins,
        levels=rolling.levels,
        errors=spoiled,
        own=rolling.own,
        kpi=rolling.kpi,
        organic=rolling.organic,
    )
    assert law_known_at(changed, last, rolling.own[-1]) == law_known_at(rolling, last, rolling.own[-1])
    assert law_known_at(changed, last + 4, rolling.own[-1]).total_scale(4) > 100.0


def test_no_origin_gives_an_empty_table():
    assert backtest(roll(weeks(10), np.ones(10), CONFIG)).height == 0


def test_intervals_of_four_week_totals_cover_as_often_as_they_say(without_prophet):
    rng, inside = np.random.default_rng(11), []
    for kind in ("noise", "walk", "returning") * 30:
        shocks, level = rng.normal(0.0, 1.0, 124), np.zeros(124)
        for t in range(1, 124):
            level[t] = {"noise": 0.0, "walk": 1.0, "returning": 0.7}[kind] * (level[t - 1] + shocks[t])
        series = 100.0 + level + rng.normal(0.0, 2.0, 124)
        paths = forecast_paths(weeks(120), series[:120], CONFIG, rng)
        low, high = np.quantile(paths.kpi.sum(axis=1), [0.05, 0.95])
        inside.append(low <= series[120:].sum() <= high)
    assert 0.85 <= np.mean(inside) <= 0.97


def test_intervals_of_prophet_cover_nearly_as_often_as_they_say():
    config = ForecastConfig(horizon_weeks=4, backtest_weeks=36, backtest_stride_weeks=4)
    covered = []
    for seed in range(3):
        rng = np.random.default_rng([12, seed])
        series = 150.0 + 0.2 * np.arange(150) + season(150) + rng.normal(0.0, 5.0, 150)
        table = backtest(roll(weeks(150), series, config))
        covered.append(table.filter(horizon_days=28, nominal=0.9)["coverage"].item())
    assert 0.74 <= np.mean(covered) <= 1.0  # 30 totals: three standard errors around 0.9


# refusals


@pytest.mark.parametrize(
    ("when", "series", "words"),
    [
        (weeks(3), np.ones(3), "3 complete weeks"),
        (np.delete(weeks(9), 4), np.ones(8), "jumps from 2022-01-24 to 2022-02-07"),
        (weeks(8), np.array([1.0] * 7 + [np.nan]), "2022-02-21 is not a number"),
    ],
)
def test_histories_that_cannot_be_forecast_are_refused_with_the_week(when, series, words):
    with pytest.raises(DataError, match=words):
        forecast_paths(when, series, CONFIG, np.random.default_rng(0))


def test_draws_that_do_not_fit_are_refused():
    when, kpi, rng = weeks(10), np.ones(10), np.random.default_rng(0)
    with pytest.raises(ValueError, match="belong together"):
        forecast_paths(when, kpi, CONFIG, rng, media_draws=np.ones((5, 10)))
    with pytest.raises(ValueError, match=re.escape("expected (n_draws, 10) with (n_draws, 4)")):
        forecast_paths(when, kpi, CONFIG, rng, media_draws=np.ones((5, 10)), plan_draws=np.ones((5, 3)))
    with pytest.raises(DataError, match="not finite"):
        forecast_paths(when, kpi, CONFIG, rng, media_draws=np.full((5, 10), np.nan), plan_draws=np.ones((5, 4)))


@pytest.mark.parametrize(
    "broken", [{"horizon_weeks": 0}, {"paths": 10}, {"yearly_order": 0}, {"backtest_stride_weeks": 0}]
)
def test_config_names_the_field_it_refuses(broken):
    with pytest.raises(ValueError, match=next(iter(broken))):
        ForecastConfig(**broken)
