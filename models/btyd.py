"""Closed forms of the BG/NBD purchase model with the Gamma-Gamma spend model.

Time is in any one unit (the project uses weeks), money in any one currency. `x` counts repeat order days, `recency` is
the time from the first to the last order, `age` the time from the first order to today.

Sources: Fader, Hardie & Lee (2005) "Counting Your Customers the Easy Way", Marketing Science 24(2), cited as FHL;
Fader & Hardie (2013) "The Gamma-Gamma Model of Monetary Value", cited as FH; Fader & Hardie (2008) "Computing P(alive)
Using the BG/NBD Model".
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln, expit, gammaln, hyp2f1

Floats = NDArray[np.float64]

SINGULARITY = 1e-7  # distance kept from removable singularities: there an expectation is good to seven digits


@dataclass(frozen=True, kw_only=True)
class PurchaseParameters:
    """Parameters of the BG/NBD: order rate ~ Gamma(r, alpha), dropout after an order ~ Beta(a, b).

    `a = 0` is the limit without dropout (the negative binomial model); alpha carries the time unit.
    """

    r: float
    alpha: float
    a: float
    b: float

    def __post_init__(self) -> None:
        for name, value in (("r", self.r), ("alpha", self.alpha), ("b", self.b)):
            if not (np.isfinite(value) and value > 0.0):
                raise ValueError(f"{name} is {value}: expected a finite number above 0")
        if not (np.isfinite(self.a) and self.a >= 0.0):
            raise ValueError(f"a is {self.a}: expected a finite number of at least 0")


@dataclass(frozen=True, kw_only=True)
class SpendParameters:
    """Parameters of the Gamma-Gamma: an order ~ Gamma(p, nu) with nu ~ Gamma(q, v); v carries the currency.

    `v = 0` says that orders are worth nothing.
    """

    p: float
    q: float
    v: float

    def __post_init__(self) -> None:
        for name, value, lowest in (("p", self.p, 0.0), ("q", self.q, 1.0)):
            if not (np.isfinite(value) and value > lowest):
                raise ValueError(f"{name} is {value}: expected a finite number above {lowest:g}")
        if not (np.isfinite(self.v) and self.v >= 0.0):
            raise ValueError(f"v is {self.v}: expected a finite number of at least 0")

    @property
    def mean(self) -> float:
        """Mean order value over the population, p v / (q - 1)."""
        return self.p * self.v / (self.q - 1.0)


def purchase_log_likelihood(
    parameters: PurchaseParameters, x: ArrayLike, recency: ArrayLike, age: ArrayLike, weights: ArrayLike = 1.0
) -> float:
    """Full log-likelihood, constants included; `weights` counts the customers that share a row.

    Sources: FHL equation 6.
    """
    r, alpha, a, b = parameters.r, parameters.alpha, parameters.a, parameters.b
    x, recency, age = (np.asarray(values, dtype=float) for values in (x, recency, age))
    rate = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    dropout = gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x)
    still_buying = -(r + x) * np.log(alpha + age)
    with np.errstate(divide="ignore"):
        gone = np.where(
            x > 0, np.log(a) - np.log(b + np.maximum(x, 1.0) - 1.0) - (r + x) * np.log(alpha + recency), -np.inf
        )
    return float(np.sum(np.asarray(weights) * (rate + dropout + np.logaddexp(still_buying, gone))))


def alive_probability(parameters: PurchaseParameters, x: ArrayLike, recency: ArrayLike, age: ArrayLike) -> Floats:
    """Probability in [0, 1] that a customer still buys; 1 for `x = 0`, since dropout can only follow a repeat order.

    Sources: Fader & Hardie (2008).
    """
    r, alpha, a, b = parameters.r, parameters.alpha, parameters.a, parameters.b
    x, recency, age = (np.asarray(values, dtype=float) for values in (x, recency, age))
    if a == 0.0:
        return np.ones(np.broadcast(x, recency, age).shape)
    log_odds_gone = (r + x) * np.log((alpha + age) / (alpha + recency)) + np.log(a / (b + np.maximum(x, 1.0) - 1.0))
    return np.where(x == 0, 1.0, expit(-log_odds_gone))


def expected_orders_if_alive(parameters: PurchaseParameters, time: ArrayLike, x: ArrayLike, age: ArrayLike) -> Floats:
    """Expected orders in the next `time` of a customer who still buys.

    Euler's transformation takes `x` out of the two upper arguments of the hypergeometric function of FHL equation 10,
    so that nothing overflows for customers with thousands of orders.

    Sources: FHL equation 10; Abramowitz & Stegun 15.3.3.
    """
    r, alpha, a, b = parameters.r, parameters.alpha, parameters.a, parameters.b
    time, x, age = (np.asarray(values, dtype=float) for values in (time, x, age))
    if a == 0.0:
        return (r + x) * time / (alpha + age)
    if min(abs(a - 1.0), abs(a + b - 1.0)) < SINGULARITY:
        a += 2.0 * SINGULARITY  # the closed form is 0/0 there
    if abs(r - a - round(r - a)) < SINGULARITY:
        r += 2.0 * SINGULARITY  # scipy's hyp2f1 goes wrong where c less both upper arguments is whole
    c = a + b + x - 1.0
    z = time / (alpha + age + time)
    survival = (1.0 - z) ** (a - 1.0) * hyp2f1(a + b - 1.0 - r, a - 1.0, c, z)
    return np.maximum(c / (a - 1.0) * (1.0 - survival), 0.0)


def expected_orders(
    parameters: PurchaseParameters, time: ArrayLike, x: ArrayLike, recency: ArrayLike, age: ArrayLike
) -> Floats:
    """Expected orders in the next `time` given the history.

    Sources: FHL equation 10.
    """
    return alive_probability(parameters, x, recency, age) * expected_orders_if_alive(parameters, time, x, age)


def order_count_probabilities(
    parameters: PurchaseParameters, time: float, x: float, age: ArrayLike, largest: int
) -> Floats:
    """Probability of 0, 1, ..., `largest` orders in the next `time` of a customer who still buys.

    Parameters
    ----------
    age : shape (n,).

    Returns
    -------
    Shape (n, largest + 1); rows sum to less than one by the chance of more than `largest` orders.

    Sources: FHL equation 8 with the posterior Gamma(r + x, alpha + age), Beta(a, b + x) in place of the prior.
    """
    shape, a, b = parameters.r + x, parameters.a, parameters.b + x
    age = np.asarray(age, dtype=float)[:, None]
    n = np.arange(largest + 1.0)
    log_stay = np.log(parameters.alpha + age) - np.log(parameters.alpha + age + time)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_z = np.log(time) - np.log(parameters.alpha + age + time)
        log_count = (
            gammaln(shape + n) - gammaln(shape) - gammaln(n + 1.0) + shape * log_stay + np.where(n > 0, n * log_z, 0.0)
        )
    count = np.exp(log_count)
    never_out = np.exp(gammaln(b + n) + gammaln(a + b) - gammaln(b) - gammaln(a + b + n))
    probabilities = count * never_out
    if a > 0.0 and largest > 0:
        out_at_n = np.exp(np.log(a) + gammaln(b + n[1:] - 1.0) + gammaln(a + b) - gammaln(b) - gammaln(a + b + n[1:]))
        probabilities[:, 1:] += out_at_n * np.maximum(1.0 - np.cumsum(count, axis=1)[:, :-1], 0.0)
    return probabilities


def spend_log_likelihood(
    parameters: SpendParameters, x: ArrayLike, mean_spend: ArrayLike, weights: ArrayLike = 1.0
) -> float:
    """Full log-likelihood of the mean spend per repeat order day; `x >= 1`, `mean_spend > 0`.

    Sources: FH equation 1a.
    """
    p, q, v = parameters.p, parameters.q, parameters.v
    x, mean_spend = np.asarray(x, dtype=float), np.asarray(mean_spend, dtype=float)
    terms = q * np.log(v) + (p * x - 1.0) * np.log(mean_spend) + p * x * np.log(x) - betaln(p * x, q)
    return float(np.sum(np.asarray(weights) * (terms - (p * x + q) * np.log(x * mean_spend + v))))


def expected_spend(parameters: SpendParameters, x: ArrayLike, mean_spend: ArrayLike) -> Floats:
    """Expected value of a customer's next order: the own mean drawn to the population's, fully at `x = 0`.

    Sources: FH equation 5.
    """
    x, mean_spend = np.asarray(x, dtype=float), np.asarray(mean_spend, dtype=float)
    return parameters.p * (parameters.v + x * mean_spend) / (parameters.p * x + parameters.q - 1.0)
