"""Bid elasticity: recovery of known truth, honest errors, invariances, endogenous bids left out."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize

from models.elasticity import ElasticityConfig, bid_elasticity, elasticity_windows

START = date(2026, 1, 1)
ALWAYS = (START, START + timedelta(days=400))


def bid_history(
    rng,
    *,
    elasticity=0.7,
    keywords=12,
    days=56,
    traffic=8.0,
    dispersion=0.2,
    channel="search",
    randomised=True,
    demand=0.0,
):
    """Daily bids and overdispersed clicks; with `demand` the bids follow the demand of the keyword's day."""
    day, keyword = np.tile(np.arange(days), keywords), np.repeat(np.arange(keywords), days)
    n = len(day)
    surge = rng.normal(0, 0.5, n) if demand else np.zeros(n)
    bid = np.exp(rng.normal(0, 0.4, keywords)[keyword] + rng.uniform(-0.35, 0.35, n) + demand * surge)
    usual = traffic * rng.lognormal(0, 0.7, keywords)[keyword] * rng.lognormal(0, 0.2, days)[day]
    mean = usual * np.exp(surge) * bid**elasticity
    if dispersion:
        mean = mean * rng.gamma(1 / dispersion, dispersion, n)
    return pl.DataFrame(
        {
            "date": [START + timedelta(days=int(d)) for d in day],
            "keyword": [f"kw_{k}" for k in keyword],
            "campaign": [f"campaign_{k % 2}" for k in keyword],
            "channel": [channel] * n,
            "bid": bid,
            "clicks": rng.poisson(mean),
            "randomised": [randomised] * n,
        }
    )


def estimate(bids, **kwargs):
    return bid_elasticity(bids, *ALWAYS, **kwargs).row(0, named=True)


@pytest.mark.parametrize(("keywords", "days", "tolerance"), [(5, 28, 0.6), (20, 56, 0.16), (60, 160, 0.055)])
def test_recovers_the_truth_better_with_more_data(keywords, days, tolerance):
    for seed in range(5):
        found = estimate(bid_history(np.random.default_rng(seed), keywords=keywords, days=days))
        assert found["mean"] == pytest.approx(0.7, abs=tolerance)


@pytest.mark.parametrize(("traffic", "dispersion"), [(0.5, 0.0), (8.0, 0.2), (60.0, 0.3)])
def test_standard_error_is_the_spread_of_the_estimates(traffic, dispersion):
    rng = np.random.default_rng(0)
    found = [estimate(bid_history(rng, traffic=traffic, dispersion=dispersion)) for _ in range(80)]
    z = np.array([(row["mean"] - 0.7) / row["se"] for row in found])
    assert abs(z.mean()) < 0.35  # three standard errors of 80 draws
    assert z.std() == pytest.approx(1.0, abs=0.25)


def test_is_the_dummy_variable_regression_without_overdispersion():
    bids = bid_history(np.random.default_rng(1), keywords=6, days=40, dispersion=0.0)
    effects = bids.select("keyword", pl.col("date").cast(pl.String)).to_dummies(drop_first=True).to_numpy()
    design = np.column_stack([np.log(bids["bid"]), np.ones(len(bids)), effects])
    clicks = bids["clicks"].to_numpy()
    likelihood = minimize(
        lambda beta: (np.exp(design @ beta) - clicks * (design @ beta)).sum(),
        np.zeros(design.shape[1]),
        jac=lambda beta: design.T @ (np.exp(design @ beta) - clicks),
        method="BFGS",
    )
    found = estimate(bids)
    # the second pass weights by the little overdispersion chance leaves, hence not to the last digit
    assert found["mean"] == pytest.approx(likelihood.x[0], abs=0.1 * found["se"])


def test_units_names_and_row_order_do_not_matter():
    bids = bid_history(np.random.default_rng(2))
    base = estimate(bids)
    for other in (
        bids.with_columns(pl.col("bid") * 1000),
        bids.sample(fraction=1.0, shuffle=True, seed=0),
        bids.with_columns(pl.col("keyword").str.reverse()),
    ):
        assert estimate(other)["mean"] == pytest.approx(base["mean"], abs=1e-6)
        assert estimate(other)["se"] == pytest.approx(base["se"], rel=1e-4)


def test_bids_that_follow_demand_are_left_out_where_some_were_random():
    rng = np.random.default_rng(3)
    trial = bid_history(rng, keywords=20)
    followed = bid_history(rng, keywords=20, randomised=False, demand=0.6)
    mixed, alone = estimate(pl.concat([trial, followed])), estimate(trial)
    assert mixed == alone
    assert mixed["is_randomised"]
    naive = estimate(followed)
    assert not naive["is_randomised"]
    assert naive["mean"] - 0.7 > 5 * naive["se"]  # what leaving them in would have cost


def test_campaigns_of_one_channel_are_told_apart():
    rng = np.random.default_rng(4)
    steep = bid_history(rng, elasticity=1.2).with_columns(campaign=pl.lit("steep"))
    flat = bid_history(rng, elasticity=0.0).with_columns(campaign=pl.lit("flat"))
    found = bid_elasticity(pl.concat([steep, flat]), *ALWAYS, level="campaign")
    assert found["subject"].to_list() == ["search/flat", "search/steep"]
    assert found["mean"].to_list() == pytest.approx([0.0, 1.2], abs=0.25)


def test_what_cannot_be_told_is_null():
    rng = np.random.default_rng(5)
    few = bid_history(rng, keywords=2, days=5)
    fixed = bid_history(rng, channel="fixed").with_columns(bid=pl.lit(1.5))
    silent = bid_history(rng, channel="silent").with_columns(clicks=pl.lit(0))
    found = bid_elasticity(pl.concat([few, fixed, silent], how="vertical_relaxed"), *ALWAYS)
    assert found["subject"].to_list() == ["fixed", "search", "silent"]
    assert found["mean"].null_count() == found["se"].null_count() == 3
    assert bid_elasticity(few.clear(), *ALWAYS).is_empty()


def test_zero_clicks_and_days_outside_the_window_are_no_trouble():
    bids = bid_history(np.random.default_rng(6), traffic=0.3, dispersion=0.0, keywords=40)
    assert (bids["clicks"] == 0).mean() > 0.5
    found = estimate(bids)
    assert found["mean"] == pytest.approx(0.7, abs=4 * found["se"])
    window = (START + timedelta(days=10), START + timedelta(days=30))
    inside = bids.filter(pl.col("date").is_between(*window))
    assert bid_elasticity(bids, *window).equals(bid_elasticity(inside, *ALWAYS))


def test_windows_stand_side_by_side():
    rng = np.random.default_rng(7)
    config = ElasticityConfig(recent_days=30, baseline_days=60)
    before = bid_history(rng, elasticity=0.8, days=60, traffic=30)
    after = bid_history(rng, elasticity=0.05, days=30, traffic=30).with_columns(pl.col("date") + timedelta(days=60))
    found = elasticity_windows(pl.concat([before, after]), START + timedelta(days=89), config).row(0, named=True)
    assert found["recent_mean"] == pytest.approx(0.05, abs=4 * found["recent_se"])
    assert found["baseline_mean"] == pytest.approx(0.8, abs=4 * found["baseline_se"])
    unlike = pl.concat([before.with_columns(randomised=pl.lit(False)), after])
    assert elasticity_windows(unlike, START + timedelta(days=89), config)["baseline_mean"].to_list() == [None]
