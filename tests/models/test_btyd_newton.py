"""Newton fits: derivatives against differences, optima against lifetimes, no optimum where there is none."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifetimes import BetaGeoFitter, GammaGammaFitter

from models.btyd import PurchaseParameters, SpendParameters, purchase_log_likelihood, spend_log_likelihood
from models.btyd_newton import BLOCK, Histories, Orders, climb, purchase_derivatives, spend_derivatives
from models.clv_fit import fit_purchases
from tests.models.clv_shop import bg_nbd

logs = st.floats(-2.0, 2.0)


def histories(n: int, seed: int) -> Histories:
    rng = np.random.default_rng(seed)
    x = rng.geometric(0.4, n) - 1.0
    age = rng.integers(1, 300, n) / 7.0
    return Histories(
        x=x, recency=np.where(x > 0, age * rng.random(n), 0.0), age=age, weight=rng.integers(1, 5, n) * 1.0
    )


def orders(n: int, seed: int) -> Orders:
    rng = np.random.default_rng(seed)
    x = rng.geometric(0.4, n) * 1.0
    m = rng.gamma(6.0 * x, 1.0 / rng.gamma(4.0, 1.0 / 18.0, n)) / x
    return Orders(x=x, m=m, weight=np.ones(n))


def differences(derivatives, at, data, step=1e-5):
    moves = step * np.eye(at.size)
    pairs = [(derivatives(at + move, data), derivatives(at - move, data)) for move in moves]
    gradient = np.array([up[0] - down[0] for up, down in pairs]) / (2 * step)
    return gradient, np.array([up[1] - down[1] for up, down in pairs]) / (2 * step)


@settings(max_examples=25)
@given(st.tuples(logs, logs, logs, logs), st.integers(0, 99))
def test_purchase_derivatives_are_those_of_the_likelihood(at, seed):
    data, at = histories(60, seed), np.array(at)
    value, gradient, hessian = purchase_derivatives(at, data)
    r, alpha, a, b = np.exp(at)
    parameters = PurchaseParameters(r=r, alpha=alpha, a=a, b=b)
    assert value == pytest.approx(
        purchase_log_likelihood(parameters, data.x, data.recency, data.age, data.weight), rel=1e-11
    )
    by_steps = differences(purchase_derivatives, at, data)
    np.testing.assert_allclose(gradient, by_steps[0], rtol=1e-5, atol=1e-5 * abs(value))
    np.testing.assert_allclose(hessian, by_steps[1], rtol=1e-5, atol=1e-5 * np.abs(hessian).max())


@settings(max_examples=25)
@given(st.tuples(logs, logs, logs), st.integers(0, 99))
def test_spend_derivatives_are_those_of_the_likelihood(at, seed):
    data, at = orders(60, seed), np.array(at) + 1.0
    value, gradient, hessian = spend_derivatives(at, data)
    p, q, v = np.exp(at)
    if q > 1.0:
        assert value == pytest.approx(spend_log_likelihood(SpendParameters(p=p, q=q, v=v), data.x, data.m), rel=1e-11)
    by_steps = differences(spend_derivatives, at, data)
    np.testing.assert_allclose(gradient, by_steps[0], rtol=1e-5, atol=1e-5 * abs(value))
    np.testing.assert_allclose(hessian, by_steps[1], rtol=1e-5, atol=1e-5 * np.abs(hessian).max())


def test_rows_beyond_a_block_count_as_those_within():
    whole = histories(BLOCK + 500, 3)
    columns = (whole.x, whole.recency, whole.age, whole.weight)
    parts = [
        Histories(x=x, recency=recency, age=age, weight=weight)
        for x, recency, age, weight in zip(*(np.array_split(column, 5) for column in columns), strict=True)
    ]
    at = np.log([0.5, 9.0, 0.7, 2.0])
    together = [purchase_derivatives(at, part) for part in parts]
    for k, found in enumerate(purchase_derivatives(at, whole)):
        np.testing.assert_allclose(found, sum(part[k] for part in together), rtol=1e-10, atol=1e-7)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_optima_equal_those_of_lifetimes_to_twelve_digits_of_the_likelihood(seed):
    data, spend = bg_nbd(4_000, seed), orders(3_000, seed)
    found = climb(lambda at: purchase_derivatives(at, data), np.log([1.0, 30.0, 1.0, 2.0]))
    paid = climb(lambda at: spend_derivatives(at, spend), np.log([2.0, 3.0, spend.m.mean()]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = BetaGeoFitter().fit(data.x, data.recency, data.age).params_.to_numpy()
        theirs_spend = GammaGammaFitter().fit(spend.x, spend.m).params_.to_numpy()
    for ours, peer, derivatives, rows in (
        (found, theirs, purchase_derivatives, data),
        (paid, theirs_spend, spend_derivatives, spend),
    ):
        best, peers = derivatives(ours[0], rows)[0], derivatives(np.log(peer), rows)[0]
        assert best == pytest.approx(peers, rel=1e-12)
        assert best >= peers - 1e-12 * abs(peers)
        np.testing.assert_allclose(np.exp(ours[0]), peer, rtol=1e-3)  # they stop at 1e-7 of the mean loss
        assert ours[1][0] == pytest.approx(best, rel=1e-12)


def test_no_maximum_is_told_as_none():
    always = Histories(
        x=np.arange(1.0, 80.0), recency=np.arange(1.0, 80.0), age=np.arange(1.0, 80.0), weight=np.ones(79)
    )
    found = climb(lambda at: purchase_derivatives(at, always), np.log([1.0, 10.0, 1.0, 2.0]))
    assert found is None or np.exp(found[0]).max() > 1e3 or np.exp(found[0]).min() < 1e-3
    fitted = fit_purchases({"all": (always.x, always.recency, always.age, always.weight)}, 30, 0.0)
    assert fitted.method != "bg_nbd"
    assert fitted.reasons
