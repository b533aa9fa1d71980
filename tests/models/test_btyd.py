"""Closed forms against lifetimes, against each other, and against simulation."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifetimes import BetaGeoFitter, GammaGammaFitter
from scipy.integrate import quad
from scipy.stats import beta as beta_distribution

from models.btyd import (
    PurchaseParameters,
    SpendParameters,
    alive_probability,
    expected_orders,
    expected_orders_if_alive,
    expected_spend,
    order_count_probabilities,
)
from models.clv_spread import value_quantiles

CDNOW = PurchaseParameters(r=0.243, alpha=4.414, a=0.793, b=2.426)
CDNOW_SPEND = SpendParameters(p=6.25, q=3.74, v=15.44)

shapes = st.floats(0.05, 5.0)
purchase_parameters = st.builds(PurchaseParameters, r=shapes, alpha=st.floats(0.5, 50.0), a=shapes, b=shapes)


@st.composite
def histories(draw: st.DrawFn) -> tuple[float, float, float]:
    x = draw(st.integers(0, 300))
    age = draw(st.floats(0.0, 200.0))
    return float(x), age * draw(st.floats(0.0, 1.0)) if x else 0.0, age


def lifetimes_model(parameters: PurchaseParameters) -> BetaGeoFitter:
    model = BetaGeoFitter()
    model.params_ = pd.Series({name: getattr(parameters, name) for name in ("r", "alpha", "a", "b")})
    return model


def test_expectations_equal_those_of_lifetimes():
    x, recency = np.array([0.0, 1, 2, 7, 26, 60]), np.array([0.0, 3, 30, 38.9, 30, 39])
    age, model = np.full(6, 39.0), lifetimes_model(CDNOW)
    ours = expected_orders(CDNOW, 39.0, x, recency, age)
    theirs = model.conditional_expected_number_of_purchases_up_to_time(39.0, x, recency, age)
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    np.testing.assert_allclose(
        alive_probability(CDNOW, x, recency, age), model.conditional_probability_alive(x, recency, age), rtol=1e-12
    )


def test_published_customer_of_cdnow():
    # the worked customer of the spreadsheet to FHL: two repeat orders, last in week 30.43 of 38.86
    assert expected_orders(CDNOW, 39.0, 2.0, 30.43, 38.86) == pytest.approx(1.226, abs=5e-4)


def test_expected_spend_equals_that_of_lifetimes():
    model = GammaGammaFitter()
    model.params_ = pd.Series({"p": 6.25, "q": 3.74, "v": 15.44})
    x, mean_spend = np.array([0.0, 1, 4, 90]), np.array([0.0, 12, 55, 30])
    theirs = model.conditional_expected_average_profit(x, mean_spend)
    np.testing.assert_allclose(expected_spend(CDNOW_SPEND, x, mean_spend), theirs, rtol=1e-12)


@given(purchase_parameters, histories(), st.floats(0.1, 104.0))
def test_expected_orders_are_the_integral_over_the_dropout_probability(parameters, history, time):
    x, _, age = history
    shape, scale = parameters.r + x, parameters.alpha + age

    def orders(
        dropout,
    ):  # of a buyer with this dropout probability, averaged over the order rate
        return -np.expm1(-shape * np.log1p(dropout * time / scale)) / dropout

    law = beta_distribution(parameters.a, parameters.b + x)
    expected, _ = quad(lambda u: orders(max(law.ppf(u), 1e-300)), 0.0, 1.0, limit=200)
    assert expected_orders_if_alive(parameters, time, x, age) == pytest.approx(expected, rel=1e-4)


@given(purchase_parameters, histories())
def test_alive_probability_is_a_probability_that_recent_orders_do_not_lower(parameters, history):
    x, recency, age = history
    earlier, later = alive_probability(parameters, x, [0.5 * recency, recency], age)
    assert 0.0 <= earlier <= later <= 1.0


@pytest.mark.parametrize("x", [0.0, 1.0, 12.0, 150.0])
def test_order_counts_sum_to_one_with_the_expected_mean(x):
    age = np.array([4.0, 39.0, 120.0])
    counts = order_count_probabilities(CDNOW, 52.0, x, age, 5000)
    np.testing.assert_allclose(counts.sum(axis=1), 1.0, rtol=1e-9)
    np.testing.assert_allclose(counts @ np.arange(5001), expected_orders_if_alive(CDNOW, 52.0, x, age), rtol=1e-8)


def test_without_dropout_counts_are_negative_binomial():
    parameters = PurchaseParameters(r=2.0, alpha=5.0, a=0.0, b=1.0)
    counts = order_count_probabilities(parameters, 10.0, 3.0, np.array([15.0]), 400)
    assert counts[0] @ np.arange(401) == pytest.approx((2 + 3) * 10 / (5 + 15))
    assert expected_orders_if_alive(parameters, 10.0, 3.0, 15.0) == pytest.approx(2.5)


def test_whole_differences_of_parameters_are_no_exception():
    # scipy's hyp2f1 is infinite at the first of these and negative at the second
    for r, a, b, age, x in ((0.25, 0.25, 0.5, 5.0, 99.0), (0.3, 2.3, 1.0, 0.05, 1.0)):
        exact, near = (
            expected_orders_if_alive(PurchaseParameters(r=r + step, alpha=0.01, a=a, b=b), 60.0, x, age)
            for step in (0.0, 1e-5)
        )
        assert exact == pytest.approx(near, rel=1e-3)


@pytest.mark.parametrize("a", [1.0, 1.0 + 1e-9, 0.5])
def test_removable_singularities_are_smooth(a):
    b = 1.0 - a if a == 0.5 else 2.0
    values = [
        float(expected_orders_if_alive(PurchaseParameters(r=0.3, alpha=4.0, a=a + step, b=b), 39.0, 0.0, 20.0))
        for step in (-1e-4, 0.0, 1e-4)
    ]
    assert values[1] == pytest.approx(0.5 * (values[0] + values[2]), rel=1e-5)


@pytest.mark.parametrize(
    ("x", "recency", "age", "mean_spend"),
    [(0.0, 0.0, 39.0, 0.0), (1.0, 5.0, 39.0, 20.0), (3.0, 36.0, 39.0, 30.0), (20.0, 39.0, 39.0, 12.0)],
)
def test_value_quantiles_equal_those_of_a_simulation(x, recency, age, mean_spend):
    rng, n, weeks = np.random.default_rng(1), 400_000, 52.0
    rate = rng.gamma(CDNOW.r + x, 1.0 / (CDNOW.alpha + age), n)
    count = np.minimum(rng.poisson(rate * weeks), rng.geometric(rng.beta(CDNOW.a, CDNOW.b + x, n)))
    count *= rng.random(n) < alive_probability(CDNOW, x, recency, age)
    order_rate = rng.gamma(CDNOW_SPEND.q + CDNOW_SPEND.p * x, 1.0 / (CDNOW_SPEND.v + x * mean_spend), n)
    value = np.where(count > 0, rng.gamma(CDNOW_SPEND.p * np.maximum(count, 1)) / order_rate, 0.0)
    found = value_quantiles(
        CDNOW, CDNOW_SPEND, weeks, *(np.array([v]) for v in (x, recency, age, mean_spend)), (0.05, 0.5, 0.95)
    )
    np.testing.assert_allclose(found[:, 0], np.quantile(value, [0.05, 0.5, 0.95]), rtol=0.02, atol=0.05)
    assert value.mean() == pytest.approx(
        expected_orders(CDNOW, weeks, x, recency, age) * expected_spend(CDNOW_SPEND, x, mean_spend), rel=0.02
    )


@pytest.mark.parametrize("fields", [{"r": 0.0}, {"alpha": float("nan")}, {"a": -0.1}, {"b": float("inf")}])
def test_impossible_purchase_parameters_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        PurchaseParameters(**{"r": 1.0, "alpha": 1.0, "a": 1.0, "b": 1.0, **fields})


@pytest.mark.parametrize("fields", [{"q": 1.0}, {"p": 0.0}, {"v": -1.0}])
def test_impossible_spend_parameters_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        SpendParameters(**{"p": 1.0, "q": 2.0, "v": 1.0, **fields})
