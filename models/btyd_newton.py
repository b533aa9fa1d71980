"""Newton's method on the log-likelihoods of BG/NBD and Gamma-Gamma, with their derivatives in closed form.

Both likelihoods are sums over distinct histories. What depends on the number of orders alone is summed per number
first, so that a step over a million histories is a few passes over plain arrays.

Sources: Fader, Hardie & Lee (2005), Marketing Science 24(2), equation 6, cited as FHL; Fader & Hardie (2013), "The
Gamma-Gamma Model of Monetary Value", equation 1a, cited as FH. The derivatives are ours; the tests hold them against
finite differences and the optimum against lifetimes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.special import digamma, gammaln, polygamma

from models.btyd import Floats

STEPS_MAX = 60  # Newton doubles the digits with every step; more steps than this mean that there is no optimum
DECREMENT = 1e-4  # log-likelihood still to be gained, times two: the last step leaves a ten-thousandth of it squared
LOG_STEP_MAX = 2.0  # a parameter changes by a factor of at most e^2 in one step: the quadratic holds no further
HALVINGS_MAX = 30  # a step this often halved is lost in rounding
BLOCK = 8_192  # rows worked on together: they stay in the cache, and a sum of so few starts no threads of its own
ROWS_FIRST = (20_000, 160_000)  # histories, evenly picked, on which the first steps are made before all are looked at

Derivatives = tuple[float, Floats, Floats]  # value, gradient (k,), Hessian (k, k)


@dataclass(frozen=True, kw_only=True)
class Histories:
    """Distinct purchase histories of a group of customers, `weight` customers each; all arrays (n,)."""

    x: Floats
    recency: Floats
    age: Floats
    weight: Floats
    counts: tuple[Floats, Floats] = field(init=False)  # each number of orders, and customers with it
    once: tuple[Floats, Floats] = field(init=False)  # age and weight of those with one order
    again: tuple[Floats, ...] = field(init=False)  # x, recency, age, weight of the others

    def __post_init__(self) -> None:
        once = self.x == 0
        object.__setattr__(self, "counts", _count(self.x, self.weight))
        object.__setattr__(self, "once", (self.age[once], self.weight[once]))
        again = (self.x, self.recency, self.age, self.weight)
        object.__setattr__(self, "again", tuple(column[~once] for column in again))

    def thinned(self, rows: int) -> "Histories":
        """About `rows` of the histories, evenly picked in the order in which they stand."""
        every = max(self.x.size // rows, 1)
        columns = (self.x, self.recency, self.age, self.weight)
        x, recency, age, weight = (column[every // 2 :: every] for column in columns)
        return Histories(x=x, recency=recency, age=age, weight=weight)


@dataclass(frozen=True, kw_only=True)
class Orders:
    """Repeat orders of a group of customers: `x` of mean value `m` (> 0), `weight` customers each; all arrays (n,)."""

    x: Floats
    m: Floats
    weight: Floats
    counts: tuple[Floats, Floats] = field(init=False)
    fixed: tuple[float, float] = field(init=False)  # sum of x ln(x m), and of ln m, over customers

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", _count(self.x, self.weight))
        log_m, log_x = np.log(self.m), np.log(self.x)
        fixed = float(self.weight @ (self.x * (log_m + log_x))), float(self.weight @ log_m)
        object.__setattr__(self, "fixed", fixed)

    def thinned(self, rows: int) -> "Orders":
        """About `rows` of the rows, evenly picked in the order in which they stand."""
        every = max(self.x.size // rows, 1)
        x, m, weight = (column[every // 2 :: every] for column in (self.x, self.m, self.weight))
        return Orders(x=x, m=m, weight=weight)


def _count(x: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Each number that occurs, and how many customers have it."""
    if x.max(initial=0.0) < 10 * x.size:
        customers = np.bincount(x.astype(np.intp), weight)
        occurs = np.flatnonzero(customers)
        return occurs.astype(float), customers[occurs]
    numbers, place = np.unique(x, return_inverse=True)
    return numbers, np.bincount(place, weight, minlength=numbers.size)


def purchase_derivatives(logs: Floats, data: Histories) -> Derivatives:
    """Log-likelihood of the BG/NBD with its derivatives in the logarithms of r, alpha, a, b.

    Sources: FHL equation 6.
    """
    r, alpha, a, b = theta = np.exp(logs)
    numbers, customers = data.counts
    total = float(customers.sum())
    value = float(customers @ (gammaln(r + numbers) + gammaln(b + numbers) - gammaln(a + b + numbers)))
    value += total * (r * np.log(alpha) - gammaln(r) + gammaln(a + b) - gammaln(b))
    gradient, hessian = np.zeros(4), np.zeros((4, 4))
    of_sum = digamma(a + b) * total - customers @ digamma(a + b + numbers)
    gradient[0] = customers @ digamma(r + numbers) + total * (np.log(alpha) - digamma(r))
    gradient[1] = total * r / alpha
    gradient[2] = of_sum
    gradient[3] = of_sum + customers @ digamma(b + numbers) - total * digamma(b)
    curve_sum = polygamma(1, a + b) * total - customers @ polygamma(1, a + b + numbers)
    hessian[0, 0] = customers @ polygamma(1, r + numbers) - total * polygamma(1, r)
    hessian[0, 1] = total / alpha
    hessian[1, 1] = -total * r / alpha**2
    hessian[2, 2] = hessian[2, 3] = curve_sum
    hessian[3, 3] = curve_sum + customers @ polygamma(1, b + numbers) - total * polygamma(1, b)

    age, w = data.once
    log_age, inverse = np.log(alpha + age), 1.0 / (alpha + age)
    value -= r * (w @ log_age)
    gradient[0] -= w @ log_age
    gradient[1] -= r * (w @ inverse)
    hessian[0, 1] -= w @ inverse
    hessian[1, 1] += r * (w @ inverse**2)

    for begin in range(0, data.again[0].size, BLOCK):
        block = tuple(column[begin : begin + BLOCK] for column in data.again)
        value += _add_repeaters(theta, block, gradient, hessian)
    return value, *_in_logs(theta, gradient, hessian)


def _add_repeaters(theta: Floats, block: tuple[Floats, ...], gradient: Floats, hessian: Floats) -> float:
    """Add to the derivatives what hangs on the times of customers with repeat orders; their part of the value."""
    r, alpha, a, b = theta
    x, recency, age, w = block
    n, c = r + x, 1.0 / (b + x - 1.0)
    far, near = 1.0 / (alpha + age), 1.0 / (alpha + recency)  # 1 / (alpha + time to today), to the last order
    log_age = np.log(alpha + age)
    d_r = log_age - np.log(alpha + recency)
    odds = n * d_r + np.log(a * c)
    small = np.exp(-np.abs(odds))
    gone = np.where(odds > 0.0, 1.0, small) / (1.0 + small)
    w_gone = w * gone
    w_stays = w - w_gone
    gradient[0] -= w @ log_age - w_gone @ d_r
    mean_inverse = w_stays * far + w_gone * near
    gradient[1] -= n @ mean_inverse
    total_gone = w_gone.sum()
    gradient[2] += total_gone / a
    gradient[3] -= w_gone @ c
    hessian[0, 1] -= mean_inverse.sum()
    hessian[1, 1] += (n * w_stays) @ (far * far) + (n * w_gone) @ (near * near)
    hessian[2, 2] -= total_gone / a**2
    hessian[3, 3] += w_gone @ (c * c)
    s = w_gone * (1.0 - gone)
    s_r, d_alpha = s * d_r, n * (far - near)
    s_alpha, s_c = s * d_alpha, s * c
    hessian[0, 0] += s_r @ d_r
    hessian[0, 1] += s_r @ d_alpha
    hessian[0, 2] += s_r.sum() / a
    hessian[0, 3] -= s_r @ c
    hessian[1, 1] += s_alpha @ d_alpha
    hessian[1, 2] += s_alpha.sum() / a
    hessian[1, 3] -= s_alpha @ c
    hessian[2, 2] += s.sum() / a**2
    hessian[2, 3] -= s_c.sum() / a
    hessian[3, 3] += s_c @ c
    return float(w @ (np.maximum(odds, 0.0) + np.log1p(small) - n * log_age))


def spend_derivatives(logs: Floats, data: Orders) -> Derivatives:
    """Log-likelihood of the Gamma-Gamma with its derivatives in the logarithms of p, q, v.

    Sources: FH equation 1a.
    """
    p, q, v = theta = np.exp(logs)
    numbers, customers = data.counts
    x, m, w = data.x, data.m, data.weight
    total = float(customers.sum())
    n = p * numbers + q
    w_log = w_inverse = x_log = x_inverse = w_square = x_square = 0.0
    for begin in range(0, x.size, BLOCK):
        rows = slice(begin, begin + BLOCK)
        paid = x[rows] * m[rows] + v
        inverse, log_sum, wx = 1.0 / paid, np.log(paid), w[rows] * x[rows]
        square = inverse * inverse
        w_log, w_inverse, w_square = (
            w_log + w[rows] @ log_sum,
            w_inverse + w[rows] @ inverse,
            w_square + w[rows] @ square,
        )
        x_log, x_inverse, x_square = x_log + wx @ log_sum, x_inverse + wx @ inverse, x_square + wx @ square
    value = float(customers @ (gammaln(n) - gammaln(p * numbers))) + total * (q * np.log(v) - gammaln(q))
    value += p * data.fixed[0] - data.fixed[1] - p * x_log - q * w_log
    trigamma_n = polygamma(1, n)
    gradient = np.array(
        [
            customers @ (numbers * (digamma(n) - digamma(p * numbers))) + data.fixed[0] - x_log,
            total * (np.log(v) - digamma(q)) + customers @ digamma(n) - w_log,
            total * q / v - p * x_inverse - q * w_inverse,
        ]
    )
    hessian = np.zeros((3, 3))
    hessian[0, 0] = customers @ (numbers**2 * (trigamma_n - polygamma(1, p * numbers)))
    hessian[0, 1] = customers @ (numbers * trigamma_n)
    hessian[0, 2] = -x_inverse
    hessian[1, 1] = customers @ trigamma_n - total * polygamma(1, q)
    hessian[1, 2] = total / v - w_inverse
    hessian[2, 2] = -total * q / v**2 + p * x_square + q * w_square
    return value, *_in_logs(theta, gradient, hessian)


def climb(derivatives: Callable[[Floats], Derivatives], start: Floats) -> tuple[Floats, Derivatives] | None:
    """Maximum near `start` with the derivatives there; None where there is none within reach.

    Where the curvature is not that of a maximum the step follows the gradient, scaled by the size of the curvature in
    each direction; a step that does not climb is halved.
    """
    logs = np.asarray(start, dtype=float)
    with np.errstate(all="ignore"):
        here = derivatives(logs)
        for _ in range(STEPS_MAX):
            value, gradient, hessian = here
            if not (np.isfinite(value) and np.isfinite(gradient).all() and np.isfinite(hessian).all()):
                return None
            curvature, directions = np.linalg.eigh(-hessian)
            along = directions.T @ gradient
            size = np.maximum(np.abs(curvature), 1e-12 * np.abs(curvature).max())
            step = directions @ (along / size)
            decrement = float(along @ (along / size))
            if curvature.min() > 0.0 and decrement < DECREMENT:
                return logs + step, (value + 0.5 * decrement, gradient + hessian @ step, hessian)
            step *= min(1.0, LOG_STEP_MAX / max(np.abs(step).max(), 1e-300))
            for _ in range(HALVINGS_MAX):
                there = derivatives(logs + step)
                if there[0] >= value:
                    break
                step *= 0.5
            else:
                return None
            logs, here = logs + step, there
    return None


def _in_logs(theta: Floats, gradient: Floats, upper: Floats) -> tuple[Floats, Floats]:
    """Derivatives in the logarithms of `theta` from those in itself; of the Hessian the upper half is read."""
    hessian = np.triu(upper) + np.triu(upper, 1).T
    return theta * gradient, hessian * np.outer(theta, theta) + np.diag(theta * gradient)
