"""Slopes per keyword: recovery, honest variances, a full dummy regression, published elasticities of prices."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize

from models.bid_slopes import SlopesConfig, bodies_of_evidence, keyword_slopes, log_linear_slopes
from tests.models.bid_simulator import keyword_days


def arrays(frame: pl.DataFrame):
    keyword = frame["keyword"].rank("dense").to_numpy().astype(np.intp) - 1
    day = frame["date"].to_physical().to_numpy().astype(np.intp)
    return frame["clicks"].to_numpy().astype(float), np.log(frame["bid"].to_numpy()), keyword, day


def numbers(truth: np.ndarray) -> np.ndarray:
    """Truth of kw_0, kw_1, ... in the order of their names."""
    return truth[np.argsort([f"kw_{k}" for k in range(len(truth))])]


@pytest.mark.parametrize(("days", "tolerance"), [(28, 0.2), (112, 0.09), (448, 0.04)])
def test_recovers_each_keyword_better_with_more_days(days: int, tolerance: float) -> None:
    errors = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        truth = rng.normal(0.7, 0.2, 12)
        found = keyword_slopes(*arrays(keyword_days(rng, elasticity=truth, days=days)), True, SlopesConfig())
        errors += list(found.slope - numbers(truth))
    assert np.sqrt(np.mean(np.square(errors))) < tolerance


@pytest.mark.parametrize(("traffic", "extra"), [(3.0, 0.0), (40.0, 0.0), (40.0, 0.2)])
def test_variance_is_the_spread_of_the_estimates(traffic: float, extra: float) -> None:
    z = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        frame = keyword_days(rng, traffic=traffic, extra=extra, keywords=6)
        found = keyword_slopes(*arrays(frame), True, SlopesConfig())
        z += list((found.slope - 0.7) / np.sqrt(found.variance))
    assert abs(np.mean(z)) < 0.25  # four standard errors of 240 draws
    assert 0.85 < np.std(z) < 1.15


def test_is_the_regression_with_a_dummy_for_every_keyword_date_and_slope() -> None:
    frame = keyword_days(np.random.default_rng(1), elasticity=np.array([0.2, 0.6, 1.0, 0.8]), keywords=4, days=25)
    clicks, x, keyword, day = arrays(frame)
    x = x - (np.bincount(keyword, weights=x) / np.bincount(keyword))[keyword]  # as the alternation has it
    levels = np.eye(4)[keyword]
    design = np.column_stack([levels * x[:, None], levels, np.eye(25)[day - day.min()][:, 1:]])
    likelihood = minimize(
        lambda beta: (np.exp(design @ beta) - clicks * (design @ beta)).sum(),
        np.concatenate([np.full(4, 0.5), np.full(4, np.log(clicks.mean())), np.zeros(24)]),
        jac=lambda beta: design.T @ (np.exp(design @ beta) - clicks),
        method="BFGS",
    )
    found = keyword_slopes(clicks, x, keyword, day, True, SlopesConfig())
    # the weights allow for the little overdispersion that chance leaves, hence not to the last digit
    assert found.slope == pytest.approx(likelihood.x[:4], abs=0.02)
    information = design.T @ (np.exp(design @ likelihood.x)[:, None] * design)
    assert np.sqrt(found.variance) == pytest.approx(np.sqrt(np.diag(np.linalg.inv(information))[:4]), rel=0.2)


def test_what_cannot_be_told_says_why() -> None:
    rng = np.random.default_rng(2)
    few = keyword_slopes(*arrays(keyword_days(rng, keywords=2, days=6)), True, SlopesConfig())
    assert isinstance(few, str)
    assert "expected at least 30" in few
    one = keyword_days(rng, keywords=1, days=80)
    alone = keyword_slopes(*arrays(one), False, SlopesConfig())
    assert isinstance(alone, str)
    assert "one keyword" in alone
    drawn = keyword_slopes(*arrays(one), True, SlopesConfig())
    assert abs(drawn.slope[0] - 0.7) < 3.5 * np.sqrt(drawn.variance[0])
    clicks, x, keyword, day = arrays(keyword_days(rng))
    for nothing in (keyword_slopes(0 * clicks, x, keyword, day, True, SlopesConfig()),
                    keyword_slopes(clicks, 0 * x, keyword, day, True, SlopesConfig())):  # fmt: skip
        assert isinstance(nothing, str)
    with_day = keyword_slopes(clicks, 0.1 * (day - day.min()), keyword, day, False, SlopesConfig())
    assert isinstance(with_day, str)
    assert "after an effect of each keyword and each date" in with_day


def test_a_keyword_without_clicks_leaves_the_others_as_they_were() -> None:
    frame = keyword_days(np.random.default_rng(3))
    silent = frame.filter(pl.col("keyword") == "kw_0").with_columns(keyword=pl.lit("zz"), clicks=pl.lit(0))
    base = keyword_slopes(*arrays(frame), True, SlopesConfig())
    more = keyword_slopes(*arrays(pl.concat([frame, silent], how="vertical_relaxed")), True, SlopesConfig())
    assert more.keyword.tolist() == base.keyword.tolist()
    assert more.slope == pytest.approx(base.slope, abs=1e-9)


def test_bodies_part_by_time_and_by_who_set_the_bid() -> None:
    frame = keyword_days(np.random.default_rng(4), days=112, random_share=0.5)
    clicks, x, keyword, day = arrays(frame)
    randomised = frame["randomised"].to_numpy()
    bodies = bodies_of_evidence(clicks, x, keyword, day, randomised, 13, int(day.max()), SlopesConfig())
    assert [(body.is_randomised, body.is_recent) for body in bodies] == [
        (True, True), (True, False), (False, True), (False, False),
    ]  # fmt: skip
    assert sum(body.rows for body in bodies) == len(frame)
    assert all(np.isinf(body.variance[12]) and body.slope[12] == 0.0 for body in bodies)  # the thirteenth has no rows


def test_orange_juice_has_the_published_elasticities(shared_data: Path) -> None:
    """Taddy, *Business Data Science*, chapter 2: log sales on log price times brand, and one slope for all brands."""
    sales = pl.read_csv(shared_data / "dominicks_orange_juice" / "oj.csv")
    brand = sales["brand"].rank("dense").to_numpy().astype(np.intp) - 1
    slope, variance, common, _ = log_linear_slopes(sales["sales"].to_numpy(), sales["price"].to_numpy(), brand)
    assert slope == pytest.approx([-3.378, -3.321, -2.712], abs=0.001)
    assert common == pytest.approx(-3.139, abs=0.001)
    assert np.all(np.sqrt(variance) < 0.06)


def test_log_linear_is_least_squares_with_robust_errors() -> None:
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(3), 40)
    price = np.exp(rng.normal(0, 0.4, 120))
    quantity = np.exp(2 - 1.5 * np.log(price) + rng.normal(0, 0.3, 120) * (1 + group))
    slope, variance, common, _ = log_linear_slopes(quantity, price, group)
    for number in range(3):
        x = np.column_stack([np.ones(40), np.log(price[group == number])])
        y = np.log(quantity[group == number])
        beta, *_ = np.linalg.lstsq(x, y)
        bread = np.linalg.inv(x.T @ x)
        hc1 = bread @ (x.T * (y - x @ beta) ** 2) @ x @ bread * 40 / 38
        assert slope[number] == pytest.approx(beta[1], rel=1e-9)
        assert variance[number] == pytest.approx(hc1[1, 1], rel=1e-9)
    assert slope.min() <= common <= slope.max()
    still, spread, _, _ = log_linear_slopes(quantity, np.ones(120), group)
    assert np.isinf(spread).all()
    assert not still.any()
