"""Intervals hold what comes: of customers, of channels; the error of the parameters is in them."""

import numpy as np
import polars as pl
import pytest

from models import clv
from models.btyd import (
    PurchaseParameters,
    SpendParameters,
    alive_probability,
    expected_orders,
    expected_spend,
    order_count_probabilities,
)
from models.clv_spread import value_quantiles, value_spread
from models.clv_value import Horizon, parameters_of, values
from tests.models.clv_shop import shop

CONFIG = clv.CLVConfig()
PURCHASE, SPEND = PurchaseParameters(r=0.243, alpha=4.414, a=0.793, b=2.426), SpendParameters(p=6.25, q=3.74, v=15.44)
X, RECENCY, AGE, MEAN = (
    np.array(column, dtype=float)
    for column in ([0, 1, 3, 12, 20], [0, 20, 36, 30, 39], [39, 39, 39, 39, 39], [0, 20, 30, 25, 12])
)


def randomised_coverage(fitted: clv.FittedCLV, rfm: pl.DataFrame, value: pl.DataFrame, spent: np.ndarray) -> float:
    """Coverage of the 90 % interval where an outcome of zero counts by the part of its chance that lies inside.

    Nobody can spend less than nothing: with the closed interval a customer who will probably not order is covered in
    95 % of cases by construction. Placing a zero at random within the chance of zero undoes that.
    """
    low, high = value["clv_p05"].to_numpy(), value["clv_p95"].to_numpy()
    nothing = np.empty(len(rfm))
    x, age = rfm["frequency"].to_numpy().astype(float), rfm["age_days"].to_numpy() / 7.0
    channel = rfm["acquisition_channel"].to_numpy()
    for name in np.unique(channel):
        purchase = parameters_of(fitted.purchases, fitted.spend, name)[0]
        for count in np.unique(x[channel == name]):
            rows = (channel == name) & (x == count)
            nothing[rows] = order_count_probabilities(purchase, 365 / 7.0, count, age[rows], 0)[:, 0]
    nothing = 1.0 - value["alive_probability"].to_numpy() * (1.0 - nothing)
    of_zero = np.where(low > 0, 0.0, np.where(high > 0, 1.0 - 0.05 / np.maximum(nothing, 0.05), 0.9 / nothing))
    return float(np.where(spent > 0, (spent >= low) & (spent <= high), of_zero).mean())


@pytest.mark.parametrize("seed", [21, 22])
def test_customers_intervals_cover_nine_in_ten(seed):
    rfm, spent = shop(20_000, seed, paces=(0.6, 1.0, 1.6), after=365)
    fitted = clv.fit(rfm, CONFIG)
    value = clv.predict(fitted, rfm, CONFIG)
    assert 0.885 < randomised_coverage(fitted, rfm, value, spent) < 0.915
    covered = ((spent >= value["clv_p05"].to_numpy()) & (spent <= value["clv_p95"].to_numpy())).mean()
    assert 0.94 < covered < 0.965  # zeros inside the closed interval


def test_channels_differ_and_their_intervals_hold_what_their_customers_spend():
    paces, inside, cases, order = (0.5, 0.8, 1.0, 1.3, 2.0), 0, 0, []
    for seed in range(31, 39):
        rfm, spent = shop(12_000, seed, paces=paces, after=365)
        channels = clv.channel_value(clv.fit(rfm, CONFIG), rfm, CONFIG)
        came = rfm.with_columns(spent=pl.Series(spent)).group_by(pl.col("acquisition_channel").alias("channel"))
        both = channels.join(came.agg(pl.col("spent").mean()), on="channel").sort("channel")
        inside += both["spent"].is_between(both["clv_p05"], both["clv_p95"]).sum()
        cases += len(both)
        order.append(both["clv_mean"].is_sorted())
    assert all(order)
    assert inside / cases >= 0.8  # of 40 at 90 %: fewer than 32 have a chance of 1.5 %
    assert inside < cases  # and the intervals are not so wide as to hold everything


def test_one_set_of_parameters_would_miss_the_channels():
    rfm, spent = shop(30_000, 40, paces=(0.5, 2.0), after=365)
    blind = rfm.with_columns(acquisition_channel=pl.lit("all"))
    slow = rfm["acquisition_channel"] == "channel_0"
    truth = spent[slow.to_numpy()].mean()
    own, pooled = (
        clv.predict(clv.fit(rows, CONFIG), rows, CONFIG).filter(slow)["clv_mean"].mean() for rows in (rfm, blind)
    )
    assert own == pytest.approx(truth, rel=0.1)
    assert pooled > 1.15 * truth


def test_slopes_are_those_of_the_expected_value():
    horizon = Horizon(days=364.0, discount_rate_annual=0.0, time_unit_days=7.0)
    found = values(PURCHASE, SPEND, np.zeros((7, 7)), (X, RECENCY, AGE, MEAN), horizon)

    def worth(logs):
        r, alpha, a, b, p, q, v = np.exp(logs)
        purchase = PurchaseParameters(r=r, alpha=alpha, a=a, b=b)
        spend = SpendParameters(p=p, q=q, v=v)
        return expected_orders(purchase, 52.0, X, RECENCY, AGE) * expected_spend(spend, X, MEAN)

    at = np.log([0.243, 4.414, 0.793, 2.426, 6.25, 3.74, 15.44])
    np.testing.assert_allclose(found.mean, worth(at), rtol=1e-12)
    for k, move in enumerate(1e-5 * np.eye(7)):
        slope = (worth(at + move) - worth(at - move)) / 2e-5
        assert np.all(np.abs(found.slopes[:, k] - slope) <= 1e-3 * np.abs(slope) + 1e-3 * found.mean)


def test_parameter_error_widens_as_a_mixture_over_refits_does():
    """A value uncertain by a factor exp(s z): quantiles against draws of z and of the distribution."""
    s, levels = 0.3, (0.05, 0.95)
    alive, error = alive_probability(PURCHASE, X, RECENCY, AGE), np.full(X.size, s)
    wide = value_spread(PURCHASE, SPEND, 52.0, (X, AGE, MEAN), alive, error, levels).quantiles
    inner = value_quantiles(PURCHASE, SPEND, 52.0, X, RECENCY, AGE, MEAN, tuple(np.linspace(0.002, 0.998, 499)))
    rng = np.random.default_rng(4)
    for customer in range(X.size):
        draws = rng.choice(inner[:, customer], 400_000) * np.exp(s * rng.standard_normal(400_000))
        expected, plain = np.quantile(draws, 0.95), np.quantile(inner[:, customer], 0.95)
        assert wide[1, customer] == pytest.approx(expected, rel=0.06)
        assert wide[1, customer] > plain


def test_variance_is_that_of_a_simulation():
    rng, n, weeks = np.random.default_rng(5), 400_000, 52.0
    alive = alive_probability(PURCHASE, X, RECENCY, AGE)
    found = value_spread(PURCHASE, SPEND, weeks, (X, AGE, MEAN), alive, np.zeros(X.size), (0.5,)).variance
    for k in (2, 3, 4):
        rate = rng.gamma(PURCHASE.r + X[k], 1.0 / (PURCHASE.alpha + AGE[k]), n)
        count = np.minimum(rng.poisson(rate * weeks), rng.geometric(rng.beta(PURCHASE.a, PURCHASE.b + X[k], n)))
        count = count * (rng.random(n) < alive[k])
        order_rate = rng.gamma(SPEND.q + SPEND.p * X[k], 1.0 / (SPEND.v + X[k] * MEAN[k]), n)
        value = np.where(count > 0, rng.gamma(SPEND.p * np.maximum(count, 1)) / order_rate, 0.0)
        assert found[k] == pytest.approx(value.var(), rel=0.03)


def test_more_customers_lower_the_error_of_the_parameters():
    errors = []
    for n in (2_000, 32_000):
        rfm = shop(n, 45)[0]
        errors.append(clv.channel_value(clv.fit(rfm, CONFIG), rfm, CONFIG)["error_parameters"][0])
    assert errors[1] == pytest.approx(errors[0] / 4.0, rel=0.35)
