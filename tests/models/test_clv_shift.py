"""A drop of the best customers: seen where there is one, not seen where there is none, and carried forward."""

import numpy as np
import polars as pl
import pytest

from models import clv
from models.btyd import PurchaseParameters, SpendParameters
from models.clv_shift import Shift, slowed, top_share
from tests.models.clv_shop import shop

PURCHASE, SPEND = PurchaseParameters(r=0.6, alpha=20.0, a=0.8, b=2.5), SpendParameters(p=8.0, q=9.0, v=180.0)
CONFIG = clv.CLVConfig()


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_quiet_shop_shows_no_shift(seed):
    assert clv.fit(shop(15_000, seed)[0], CONFIG).shift is None


@pytest.mark.parametrize("drop", [0.3, 0.5])
def test_the_pace_of_the_best_is_recovered(drop):
    rfm, _ = shop(40_000, 11, drop=drop)
    fitted = clv.fit(rfm, CONFIG)
    assert fitted.shift is not None
    assert fitted.shift.pace == pytest.approx(drop, abs=0.15)  # the tenth is not told by name, only by histories
    assert fitted.verdict == "REVIEW"
    assert "best customers" in fitted.reasons[-1]
    assert clv.from_json(clv.to_json(fitted)) == fitted


def test_values_follow_a_drop_that_lasts():
    rfm, spent = shop(40_000, 12, drop=0.4, after=365)
    blind = rfm.drop("frequency_before", "recency_before_days")
    seeing, unseeing = (
        clv.predict(clv.fit(rows, CONFIG), rows, CONFIG)["clv_mean"].sum() / spent.sum() for rows in (rfm, blind)
    )
    assert unseeing > 1.12  # what the plain model promises too much
    assert seeing == pytest.approx(1.0, abs=0.07)


def test_season_alone_is_no_shift():
    """A third fewer orders of everybody in the window: the level, not the best."""
    rfm, _ = shop(30_000, 13)
    rng = np.random.default_rng(0)
    new = (pl.col("frequency") - pl.col("frequency_before")).fill_null(0)
    gone = pl.Series(rng.binomial(rfm.select(new).to_series().to_numpy(), 1 / 3))
    thinner = rfm.with_columns(frequency=pl.col("frequency") - gone).with_columns(
        recency_days=pl.when(new.gt(0) | pl.col("frequency_before").is_null())
        .then(pl.col("recency_days"))
        .otherwise(pl.col("recency_before_days"))
    )
    thinner = thinner.with_columns(
        recency_days=pl.when(pl.col("frequency") == 0).then(0.0).otherwise(pl.col("recency_days"))
    )
    assert clv.fit(thinner, CONFIG).shift is None


def test_share_above_a_threshold_is_a_share_that_falls_with_it():
    x, age, mean = np.array([0.0, 3.0, 30.0]), np.array([10.0, 60.0, 60.0]), np.array([0.0, 100.0, 300.0])
    shares = [top_share(PURCHASE, SPEND, x, age, mean, threshold) for threshold in (1e-9, 5.0, 50.0, 1e9)]
    np.testing.assert_allclose(shares[0], 1.0, atol=1e-4)
    np.testing.assert_allclose(shares[3], 0.0, atol=1e-9)
    assert (np.diff(shares, axis=0) <= 0.0).all()
    assert shares[1][0] < shares[1][1] < shares[1][2]


def test_share_is_that_of_a_simulation():
    rng, threshold = np.random.default_rng(2), 12.0
    rate = rng.gamma(PURCHASE.r + 4.0, 1.0 / (PURCHASE.alpha + 50.0), 400_000)
    worth = 8.0 * (180.0 + 4.0 * 150.0) / (8.0 * 4.0 + 8.0)  # the mean order value that the history makes one expect
    expected = rate[rate * worth > threshold].sum() / rate.sum()
    found = top_share(PURCHASE, SPEND, np.array([4.0]), np.array([50.0]), np.array([150.0]), threshold)
    assert found[0] == pytest.approx(expected, abs=0.004)


def test_a_slower_clock_keeps_the_order_of_events():
    rng, n = np.random.default_rng(3), 2_000
    age = rng.uniform(0.0, 100.0, n)
    x = rng.poisson(3.0, n).astype(float)
    recency = np.where(x > 0, age * rng.random(n), 0.0)
    shift = Shift(pace=0.4, threshold=10.0, z=9.0, window=8.0)
    before = np.where(age > 8.0, np.floor(x / 2), np.nan), np.full(n, np.nan)
    own_recency, own_age, pace = slowed(shift, PURCHASE, SPEND, (x, recency, age, np.full(n, 120.0)), before)
    assert (own_recency <= own_age).all()
    assert (own_age <= age + 1e-12).all()
    assert (own_age >= age - 0.6 * 8.0 - 1e-9).all()
    assert ((pace >= 0.4 - 1e-9) & (pace <= 1.0)).all()
