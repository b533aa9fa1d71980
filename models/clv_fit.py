"""Maximum-likelihood fits behind customer lifetime value, each with a stated fallback.

Purchases: BG/NBD, then the likelier of BG/NBD with a penalty and the same model without dropout (negative binomial),
and one pooled rate where too few ordered again.
Spend: Gamma-Gamma, then Gamma-Gamma with a penalty, then each customer's mean drawn to the average by a prior worth
two orders. Every step down leaves a reason, so that the gate can ask a person to look.
"""

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.special import gammaln

from models.btyd import Floats, PurchaseParameters, SpendParameters, purchase_log_likelihood, spend_log_likelihood

Matrix = tuple[tuple[float, ...], ...]

PENALTIES = (1e-3, 1e-2, 1e-1)  # tried in turn after a failed fit: the range lifetimes' documentation advises
LARGEST = 1e3  # a shape parameter beyond this runs to infinity: its distribution is a point to three digits
SMALLEST = 1e-4  # below this a distribution sits at zero
MEAN_RATIO_MAX = (
    2.0  # a modelled mean order value this far from the observed one comes from a tail the data do not show
)
PRIOR_ORDERS = 2.0  # shrunken means: the average counts as much as this many of a customer's own orders
PRIOR_Q = 3.0  # shrunken means: the smallest round shape with a finite variance of customers' mean order values


@dataclass(frozen=True, kw_only=True)
class FittedPurchases:
    """Purchase parameters with how they were found; `covariance` (4, 4) is of their logarithms, r, alpha, a, b."""

    method: str
    parameters: PurchaseParameters
    log_likelihood: float
    covariance: Matrix | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FittedSpend:
    """Spend parameters with how they were found; `covariance` (3, 3) is of their logarithms, p, q, v."""

    method: str
    parameters: SpendParameters
    log_likelihood: float | None
    covariance: Matrix | None = None
    reasons: tuple[str, ...] = ()


def fit_purchases(x: Floats, recency: Floats, age: Floats, repeaters_min: int, penalizer: float) -> FittedPurchases:
    """Fit the purchase model to customers with `x` repeat order days, `recency` and `age` in one time unit.

    Parameters
    ----------
    x, recency, age : shape (n,), n >= 1, as in `models.btyd`; customers with equal histories are fitted as one.
    repeaters_min : customers with a repeat order below which only one pooled rate is estimated.
    penalizer : weight of the squared parameters in the loss, 0 for maximum likelihood.
    """
    from lifetimes import BetaGeoFitter

    histories = pl.DataFrame({"x": x, "recency": recency, "age": age})
    x, recency, age, weights = _compress(histories)
    repeaters = int(weights[x > 0].sum())
    if repeaters < repeaters_min or age.max() <= 0.0:
        reason = f"{repeaters} customers ordered again, BG/NBD needs {repeaters_min}: one pooled order rate is used"
        reasons: tuple[str, ...] = (reason,)
        parameters, method, covariance = _pooled_rate(x, age, weights), "pooled_rate", None
    else:

        def refuse(values: Floats) -> str | None:
            scaled = values / np.array([1.0, age.max(), 1.0, 1.0])
            if scaled.min() > SMALLEST and scaled.max() < LARGEST:
                return None
            return "a parameter ran off (r {:.3g}, alpha {:.3g}, a {:.3g}, b {:.3g})".format(*values)

        def maximise(penalty: float) -> Any:
            return BetaGeoFitter(penalizer_coef=penalty).fit(x, recency, age, weights=weights)

        values, covariance, penalised, failure = _climb(maximise, penalizer, refuse)
        reasons = (f"BG/NBD does not settle on these customers: {failure}",) if failure else ()
        candidates: list[tuple[PurchaseParameters, str, Matrix | None]] = []
        if values is not None:
            r, alpha, a, b = values.tolist()
            settled = PurchaseParameters(r=r, alpha=alpha, a=a, b=b)
            candidates.append((settled, "bg_nbd_penalised" if penalised else "bg_nbd", covariance))
        if penalised:
            candidates.append((_no_dropout(x, age, weights), "nbd", None))
        parameters, method, covariance = max(
            candidates, key=lambda candidate: purchase_log_likelihood(candidate[0], x, recency, age, weights)
        )
    return FittedPurchases(
        method=method,
        parameters=parameters,
        log_likelihood=purchase_log_likelihood(parameters, x, recency, age, weights),
        covariance=covariance,
        reasons=reasons,
    )


def fit_spend(
    x: Floats, mean_spend: Floats, repeaters_min: int, penalizer: float, average_order: float = 0.0
) -> FittedSpend:
    """Fit the spend model to customers with `x` repeat order days worth `mean_spend` each.

    Parameters
    ----------
    x, mean_spend : shape (n,); customers without a repeat order of some value are left out.
    repeaters_min : customers with such orders below which only the average is estimated.
    penalizer : weight of the squared parameters (money in units of its mean) in the loss, 0 for maximum likelihood.
    average_order : mean order value to assume when no repeat order has any.
    """
    from lifetimes import GammaGammaFitter

    paying = (x > 0) & (mean_spend > 0.0)
    x, m, weights = _compress(pl.DataFrame({"x": x[paying], "m": mean_spend[paying]}))
    if repeaters := int(weights.sum()):
        average_order = float(np.sum(weights * x * m) / np.sum(weights * x))
    if repeaters < repeaters_min:
        reason = (
            f"{repeaters} customers paid for repeat orders, Gamma-Gamma needs {repeaters_min}: shrunken means are used"
        )
        return FittedSpend(
            method="shrunken_mean", parameters=_shrunken_mean(average_order), log_likelihood=None, reasons=(reason,)
        )
    scale = float(np.average(m, weights=weights))  # in units of the mean a penalty is the same in every currency

    def refuse(values: Floats) -> str | None:
        p, q, v = values
        if not (min(p, v) > SMALLEST and max(p, q, v) < LARGEST and q > 1.0):
            return f"a parameter ran off or the mean is infinite (p {p:.3g}, q {q:.3g}; q must exceed 1)"
        mean = p * v * scale / (q - 1.0)
        if not 1.0 / MEAN_RATIO_MAX < mean / average_order < MEAN_RATIO_MAX:
            return f"its mean order value {mean:.4g} is far from the observed {average_order:.4g}"
        return None

    def maximise(penalty: float) -> Any:
        return GammaGammaFitter(penalizer_coef=penalty).fit(x, m / scale, weights=weights)

    values, covariance, penalised, failure = _climb(maximise, penalizer, refuse)
    reasons = (f"Gamma-Gamma does not settle on these orders: {failure}",) if failure else ()
    if values is None:
        parameters, method = _shrunken_mean(average_order), "shrunken_mean"
    else:
        p, q, v = values.tolist()
        parameters = SpendParameters(p=p, q=q, v=v * scale)
        method = "gamma_gamma_penalised" if penalised else "gamma_gamma"
    return FittedSpend(
        method=method,
        parameters=parameters,
        log_likelihood=spend_log_likelihood(parameters, x, m, weights),
        covariance=covariance,
        reasons=reasons,
    )


def _compress(histories: pl.DataFrame) -> tuple[Floats, ...]:
    """Distinct rows, sorted, as one array per column, with how often each occurs: the likelihood needs no more."""
    groups = histories.group_by(histories.columns).len("weight").sort(histories.columns)
    return tuple(groups[name].cast(pl.Float64).to_numpy() for name in groups.columns)


def _climb(
    maximise: Callable[[float], Any], penalizer: float, refuse: Callable[[Floats], str | None]
) -> tuple[Floats | None, Matrix | None, bool, str | None]:
    """First acceptable fit at `penalizer` or a larger penalty.

    Returns
    -------
    Parameters and covariance (None when nothing was acceptable), whether a larger penalty was needed, and why.
    """
    why = None
    for penalty in (penalizer, *(larger for larger in PENALTIES if larger > penalizer)):
        fitted, failure = _attempt(maximise, penalty)
        if fitted is not None:
            values = fitted.params_.to_numpy()
            failure = refuse(values)
            if failure is None:
                return values, _covariance(fitted), penalty != penalizer, why
        why = why or failure
    return None, None, True, why


def _attempt(maximise: Callable[[float], Any], penalty: float) -> tuple[Any, str | None]:
    """Run one fit in silence: the fitter, or the reason of its failure."""
    with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # overflow on the way to an optimum; the optimum itself is checked
        try:
            return maximise(penalty), None
        except Exception as error:  # degenerate data raise lifetimes' own, numpy's and scipy's errors alike
            return None, f"the optimiser stopped ({type(error).__name__})"


def _covariance(fitted: Any) -> Matrix | None:
    """Covariance of the log-parameters from the Hessian of the mean loss; None when that is not positive definite."""
    try:
        np.linalg.cholesky(fitted._hessian_)
    except np.linalg.LinAlgError:
        return None
    covariance = np.linalg.inv(fitted._hessian_) / float(fitted.data["weights"].sum())
    return tuple(tuple(row) for row in covariance.tolist())


def _pooled_rate(x: Floats, age: Floats, weights: Floats) -> PurchaseParameters:
    """Everyone at one average rate with exponential spread; nobody drops out.

    Half an order (Jeffreys' prior of a rate) on one unit of time keeps the rate of a young shop small, not zero.
    """
    rate = (float(weights @ x) + 0.5) / (float(weights @ age) + 1.0)
    return PurchaseParameters(r=1.0, alpha=1.0 / rate, a=0.0, b=1.0)


def _no_dropout(x: Floats, age: Floats, weights: Floats) -> PurchaseParameters:
    """Maximum likelihood of the negative binomial, the limit of BG/NBD in which nobody drops out."""
    from scipy.optimize import minimize

    def parameters(logs: Floats) -> tuple[float, float]:
        r, alpha = np.exp(np.clip(logs, -12.0, 12.0))  # beyond e^12 the rates are a point, to five digits
        return float(r), float(alpha)

    def loss(logs: Floats) -> float:
        r, alpha = parameters(logs)
        terms = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - (r + x) * np.log(alpha + age)
        return -float(weights @ terms) / float(weights.sum())

    rate = float(weights @ x) / float(weights @ age)
    r, alpha = parameters(minimize(loss, np.log([1.0, 1.0 / rate]), method="Nelder-Mead").x)
    return PurchaseParameters(r=r, alpha=alpha, a=0.0, b=1.0)


def _shrunken_mean(average_order: float) -> SpendParameters:
    """Gamma-Gamma with set shapes: the own mean and the average, weighted as own orders are to `PRIOR_ORDERS`."""
    p = (PRIOR_Q - 1.0) / PRIOR_ORDERS
    return SpendParameters(p=p, q=PRIOR_Q, v=max(average_order, 0.0) * (PRIOR_Q - 1.0) / p)
