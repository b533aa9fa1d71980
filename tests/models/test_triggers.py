"""Triggers: planted shocks fire, quiet companies stay quiet, too little history is said and not guessed."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from models.roas_change import RoasDropConfig, change, weekly_correlation, z_of_change
from models.tier_value import tier_values
from models.triggers import (
    ClvDropConfig,
    ElasticityFlatConfig,
    NewCampaignConfig,
    clv_drop,
    elasticity_flat,
    new_campaign,
    roas_drop,
)

MONDAY = date(2025, 1, 6)
COUNTRIES = ("DE", "ES", "FR", "IT")
TIERS = ("High", "Low", "Medium", "VIP")


def noise(rng, weeks, rho=0.3, tails=None):
    """Autocorrelated series of unit variance."""
    fresh = rng.normal(size=weeks) if tails is None else rng.standard_t(tails, weeks) * np.sqrt(1 - 2 / tails)
    series = np.empty(weeks)
    series[0] = fresh[0]
    for week in range(1, weeks):
        series[week] = rho * series[week - 1] + np.sqrt(1 - rho**2) * fresh[week]
    return series


def company(rng, weeks=60, subjects=COUNTRIES, sd=0.12, drop=None, rise=None, **kind):
    """Weekly spend and value with season and company-wide moves; `drop` and `rise` are (subject, fraction)."""
    season = 0.3 * np.sin(2 * np.pi * (np.arange(weeks) / 52 + rng.random())) + 0.1 * noise(rng, weeks, 0.7)
    frames = []
    for share, subject in zip(rng.dirichlet(np.full(len(subjects), 5.0)), subjects, strict=True):
        spend = 1e5 * share * rng.lognormal(0, 0.3, weeks)
        log_roas = 1 + season + sd * rng.uniform(0.5, 1.5) * noise(rng, weeks, **kind)
        for event, sign in ((drop, -1), (rise, 1)):
            if event is not None and subject == event[0]:
                log_roas[-3:] += np.log1p(sign * event[1])
        weeks_start = [MONDAY + timedelta(weeks=week) for week in range(weeks)]
        frames.append(
            pl.DataFrame(
                {"subject": [subject] * weeks, "week_start": weeks_start, "spend": spend}
                | {"value": spend * np.exp(log_roas)}
            )
        )
    return pl.concat(frames), MONDAY + timedelta(weeks=weeks, days=-1)


def fired(triggers):
    return [trigger.subject for trigger in triggers if trigger.fired]


# ROAS drop


@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_z_of_noise_is_no_more_extreme_than_normal(rho):
    rng = np.random.default_rng(1)
    config = RoasDropConfig()
    z = []
    for _ in range(500):
        series = [noise(rng, 29, rho) for _ in range(4)]
        correlation = weekly_correlation(series, config)
        z += [z_of_change(y, change(y, config), correlation, config) for y in series]
    # three standard errors of 2000 draws above the normal tail
    assert np.mean(np.array(z) < stats.norm.ppf(0.01)) < 0.017
    assert np.mean(np.array(z) < stats.norm.ppf(0.001)) < 0.0032


def test_z_has_the_textbook_t_distribution_without_correlation():
    rng = np.random.default_rng(2)
    config = RoasDropConfig()
    for _ in range(20):
        y = rng.normal(size=29)
        error = np.sqrt(y[:-3].var(ddof=1) * (1 / 3 + 1 / 26))
        t = (y[-3:].mean() - y[:-3].mean()) / error
        assert z_of_change(y, change(y, config), 0.0, config) == pytest.approx(stats.norm.ppf(stats.t.cdf(t, 25)))


def test_quiet_companies_stay_quiet():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        tails = None if seed % 2 else 5
        for subjects in (COUNTRIES, tuple(f"channel_{i}" for i in range(6))):
            weekly, as_of = company(rng, subjects=subjects, tails=tails)
            for weeks_back in range(0, 30, 5):
                assert fired(roas_drop(weekly, as_of - timedelta(weeks=weeks_back))) == []


def test_planted_drops_fire_for_their_subject_alone():
    caught = 0
    for seed in range(20):
        weekly, as_of = company(np.random.default_rng(seed), sd=0.1, drop=("IT", 0.5))
        found = fired(roas_drop(weekly, as_of))
        assert found in ([], ["IT"])
        caught += len(found)
    assert caught >= 18


def test_the_fall_is_measured_to_within_its_noise():
    falls = []
    for seed in range(40):
        weekly, as_of = company(np.random.default_rng(seed), sd=0.08, drop=("ES", 0.4))
        falls.append(next(t.value for t in roas_drop(weekly, as_of) if t.subject == "ES"))
    # a little below, since the smaller of the falls of mean and median counts
    assert np.mean(falls) == pytest.approx(0.39, abs=4 * np.std(falls) / np.sqrt(len(falls)))


def test_a_company_wide_drop_and_anothers_rise_do_not_fire():
    for seed in range(10):
        weekly, as_of = company(np.random.default_rng(seed), sd=0.05)
        last = weekly["week_start"].max() - timedelta(weeks=2)
        halved = weekly.with_columns(
            value=pl.when(pl.col("week_start") >= last).then(pl.col("value") / 2).otherwise(pl.col("value"))
        )
        assert fired(roas_drop(halved, as_of)) == []
        weekly, as_of = company(np.random.default_rng(seed), sd=0.05, rise=("DE", 2.0))
        assert fired(roas_drop(weekly, as_of)) == []


def test_one_bad_week_is_weather():
    weekly, as_of = company(np.random.default_rng(3), sd=0.03)
    worst = (pl.col("subject") == "FR") & (pl.col("week_start") == weekly["week_start"].max())
    weekly = weekly.with_columns(value=pl.when(worst).then(0.0).otherwise(pl.col("value")))
    assert fired(roas_drop(weekly, as_of)) == []


def test_value_that_stops_while_spend_goes_on_fires():
    weekly, as_of = company(np.random.default_rng(3), sd=0.1)
    gone = (pl.col("subject") == "FR") & (pl.col("week_start") > weekly["week_start"].max() - timedelta(weeks=3))
    weekly = weekly.with_columns(value=pl.when(gone).then(0.0).otherwise(pl.col("value")))
    assert fired(roas_drop(weekly, as_of)) == ["FR"]


def test_a_paused_subject_and_absent_weeks_are_not_drops():
    weekly, as_of = company(np.random.default_rng(4), sd=0.05)
    recent = pl.col("week_start") > weekly["week_start"].max() - timedelta(weeks=3)
    paused = weekly.filter(~((pl.col("subject") == "IT") & recent))
    found = {t.subject: t for t in roas_drop(paused, as_of)}
    assert not found["IT"].fired
    assert "0 of the last 3 weeks" in found["IT"].reason
    holes = weekly.with_columns(
        spend=pl.when((pl.col("subject") == "ES") & (pl.col("week_start").dt.week() % 7 == 0))
        .then(0.0)
        .otherwise(pl.col("spend"))
    )
    assert fired(roas_drop(holes, as_of)) == []


def test_one_subject_is_judged_by_itself():
    weekly, as_of = company(np.random.default_rng(5), subjects=("all",), sd=0.05, rho=0.0)
    weekly = weekly.with_columns(value=pl.col("spend") * 3 * np.exp(0.05 * np.random.default_rng(0).normal(size=60)))
    assert fired(roas_drop(weekly, as_of)) == []
    recent = pl.col("week_start") > weekly["week_start"].max() - timedelta(weeks=3)
    assert fired(
        roas_drop(weekly.with_columns(value=pl.when(recent).then(pl.col("value") / 2).otherwise("value")), as_of)
    ) == ["all"]


def test_short_history_is_said():
    weekly, as_of = company(np.random.default_rng(6), weeks=20)
    for trigger in roas_drop(weekly, as_of):
        assert not trigger.fired
        assert trigger.reason == "Not judged: 20 weeks of data, 29 needed."
        assert np.isnan(trigger.value)


def test_a_week_that_is_not_over_is_left_out():
    weekly, as_of = company(np.random.default_rng(7), drop=("IT", 0.6), sd=0.05)
    broken = pl.concat(
        [
            weekly,
            pl.DataFrame(
                {"subject": ["DE"], "week_start": [as_of + timedelta(days=1)], "spend": [1e5], "value": [0.0]}
            ),
        ]
    )
    assert roas_drop(broken, as_of + timedelta(days=3)) == roas_drop(weekly, as_of)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_currency_and_row_order_do_not_matter(seed, rate):
    rng = np.random.default_rng(seed)
    weekly, as_of = company(rng, weeks=35, drop=("IT", 0.5))
    other = weekly.sample(fraction=1.0, shuffle=True, seed=seed).with_columns(pl.col("spend", "value") * rate)
    for a, b in zip(roas_drop(weekly, as_of), roas_drop(other, as_of), strict=True):
        assert (a.subject, a.fired) == (b.subject, b.fired)
        assert a.value == pytest.approx(b.value)


# CLV drop


def customers(rng, n=4000, keep=1.0, season=1.0):
    """Customers of four tiers whose orders follow the model, but the VIPs place only `keep` of theirs."""
    rate = rng.gamma(0.6, 1.2, n)
    worth = rng.lognormal(4, 0.5, n)
    tier = np.array(["Low", "Medium", "High", "VIP"])[
        np.digitize(rate * worth, np.quantile(rate * worth, [0.4, 0.7, 0.9]))
    ]
    orders = rng.poisson(rate * season * np.where(tier == "VIP", keep, 1.0))
    value = np.array([rng.lognormal(np.log(w) - 0.18, 0.6, k).sum() for w, k in zip(worth, orders, strict=True)])
    return pl.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(n)],
            "tier": tier,
            "expected_orders": rate,
            "actual_orders": orders,
            "expected_value": rate * worth,
            "actual_value": value,
        }
    )


def test_tiers_that_do_as_expected_stay_quiet_whatever_the_season():
    zs = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        trigger = clv_drop(tier_values(customers(rng, n=1000, season=rng.uniform(0.6, 1.4))))[0]
        assert not trigger.fired
        zs.append(float(trigger.reason.split("(z ")[1].split(";")[0]))
    assert np.std(zs) == pytest.approx(1.0, abs=0.25)
    assert min(zs) > -3.2


def test_top_customers_who_stay_away_fire():
    for seed in range(10):
        trigger = clv_drop(tier_values(customers(np.random.default_rng(seed), keep=0.5)))[0]
        assert (trigger.subject, trigger.fired) == ("VIP", True)
        assert trigger.value == pytest.approx(0.5, abs=0.12)


def test_no_order_at_all_from_the_top_tier_fires():
    frame = customers(np.random.default_rng(1)).with_columns(
        actual_value=pl.when(pl.col("tier") == "VIP").then(0.0).otherwise(pl.col("actual_value"))
    )
    trigger = clv_drop(tier_values(frame))[0]
    assert trigger.fired
    assert trigger.value == pytest.approx(1.0)


def test_a_tier_that_always_falls_short_is_compared_with_itself():
    row = {"expected_value": [100.0, 100.0], "actual_value": [100.0, 70.0], "actual_se": [2.0, 2.0]}
    now = pl.DataFrame({"subject": ["Low", "VIP"]} | row)
    assert clv_drop(now)[0].fired
    same = now.with_columns(
        baseline_expected_value=100.0, baseline_actual_value="actual_value", baseline_se="actual_se"
    )
    trigger = clv_drop(same)[0]
    assert not trigger.fired
    assert trigger.value == pytest.approx(0.0)


def test_tier_sums_follow_from_the_customers():
    frame = pl.DataFrame(
        {
            "customer_id": ["a", "b", "c"],
            "tier": ["VIP", "VIP", "Low"],
            "expected_orders": [1.0, 1.0, 0.5],
            "actual_orders": [2, 0, 1],
            "expected_value": [10.0, 10.0, 5.0],
            "actual_value": [30.0, 10.0, 4.0],
        }
    )
    vip = tier_values(frame).filter(pl.col("subject") == "VIP").row(0, named=True)
    assert (vip["customers_count"], vip["expected_value"], vip["actual_value"]) == (2, 20.0, 40.0)
    # ratio 2, residuals +10 and -10, two customers: sqrt(200 * 2 / 1)
    assert vip["actual_se"] == pytest.approx(20.0)


def test_a_missing_tier_is_said():
    frame = tier_values(customers(np.random.default_rng(1))).filter(pl.col("subject") != "VIP")
    trigger = clv_drop(frame)[0]
    assert not trigger.fired
    assert "'High'" in trigger.reason


# flat elasticity


def elasticities(**columns):
    return pl.DataFrame({"subject": [f"s{i}" for i in range(len(columns["recent_mean"]))]} | columns)


def test_elasticities_that_have_not_changed_stay_quiet():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.05, 1.2, (4000, 6))  # flat ones among them
    se = rng.uniform(0.04, 0.15, (4000, 6))
    recent, baseline = rng.normal(truth, se), rng.normal(truth, 0.7 * se)
    frame = elasticities(
        recent_mean=recent.ravel(), recent_se=se.ravel(), baseline_mean=baseline.ravel(), baseline_se=0.7 * se.ravel()
    )
    alarms = np.array([t.fired for t in elasticity_flat(frame)]).reshape(-1, 6).any(axis=1)
    assert alarms.mean() < 1e-3


def test_clicks_that_stop_following_bids_fire():
    frame = elasticities(
        recent_mean=[0.05, 0.05, 0.45, 0.05],
        recent_se=[0.06, 0.06, 0.06, 0.2],
        baseline_mean=[0.7, 0.1, 0.9, 0.7],
        baseline_se=[0.05, 0.05, 0.05, 0.05],
    )
    found = elasticity_flat(frame)
    assert [t.fired for t in found] == [True, False, False, False]  # was flat before; is not flat; is not known well
    assert "0.05 ± 0.06" in found[0].reason
    assert found[0].action == "cap bids, shift to other campaigns"


def test_without_a_baseline_more_certainty_is_asked():
    frame = elasticities(
        recent_mean=[0.05, -0.1, None, 0.1],
        recent_se=[0.06, 0.06, None, float("nan")],
        baseline_mean=[None, float("nan"), 0.7, 0.7],
        baseline_se=[None, float("nan"), 0.1, 0.1],
    )
    found = elasticity_flat(frame)
    assert [t.fired for t in found] == [False, True, False, False]
    assert found[2].reason == found[3].reason == "Not judged: no recent estimate."


# new campaign


def test_only_campaigns_launched_lately_into_a_history_fire():
    as_of, data_from = date(2026, 6, 28), date(2025, 1, 1)
    first_seen = pl.DataFrame(
        {
            "subject": ["old", "new", "edge", "late", "tomorrow"],
            "first_date": [data_from, date(2026, 6, 25), date(2026, 6, 14), date(2026, 6, 13), date(2026, 6, 29)],
        }
    )
    found = new_campaign(first_seen, data_from, as_of)
    assert [(t.subject, t.fired, t.value) for t in found] == [("edge", True, 14.0), ("new", True, 3.0)]
    young = new_campaign(first_seen, date(2026, 5, 1), as_of)
    assert fired(young) == []
    assert "fires with 60" in young[0].reason
    assert new_campaign(first_seen.clear(), data_from, as_of) == ()


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (RoasDropConfig, {"drop_fraction": 0.0}),
        (RoasDropConfig, {"recent_weeks": 0}),
        (RoasDropConfig, {"most_baseline_weeks": 10}),
        (ClvDropConfig, {"z": 1.0}),
        (ElasticityFlatConfig, {"probability": 0.2}),
        (NewCampaignConfig, {"recent_days": 0}),
    ],
)
def test_configs_name_the_bad_field(kind, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        kind(**bad)
