"""Maximum-likelihood fits behind customer lifetime value, each with a stated fallback.

Purchases: BG/NBD, then the likelier of BG/NBD with a penalty and the same model without dropout (negative binomial),
and one pooled rate where too few ordered again.
Spend: Gamma-Gamma, then Gamma-Gamma with a penalty, then each customer's mean drawn to the average by a prior worth
two orders. Every step down leaves a reason, so that the gate can ask a person to look.

A plain fit is made by Newton's method on the derivatives of `models.btyd_newton`; lifetimes makes the fits with a
penalty, asked for or fallen back to, and is what the tests hold the plain ones against.
"""

import contextlib
import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.special import gammaln

from models.btyd import Floats, PurchaseParameters, SpendParameters, purchase_log_likelihood, spend_log_likelihood
from models.btyd_newton import (
    ROWS_FIRST,
    Derivatives,
    Histories,
    Orders,
    climb,
    purchase_derivatives,
    spend_derivatives,
)
from models.clv_groups import fit_groups

Matrix = tuple[tuple[float, ...], ...]
Rows = tuple[Floats, ...]

PENALTIES = (1e-3, 1e-2, 1e-1)  # tried in turn after a failed fit: the range lifetimes' documentation advises
LARGEST = 1e3  # a shape parameter beyond this runs to infinity: its distribution is a point to three digits
SMALLEST = 1e-4  # below this a distribution sits at zero
MEAN_RATIO_MAX = (
    2.0  # a modelled mean order value this far from the observed one comes from a tail the data do not show
)
PRIOR_ORDERS = 2.0  # shrunken means: the average counts as much as this many of a customer's own orders
PRIOR_Q = 3.0  # shrunken means: the smallest round shape with a finite variance of customers' mean order values
PURCHASE_OWN = (1, 3)  # of r, alpha, a, b each group's own are alpha (its pace) and b (its dropout)
SPEND_OWN = (2,)  # of p, q, v each group's own is v, the scale of its order values
GROUPS_MAX = 40  # groups fitted, largest first; customers of the others are valued as of a group nobody has seen
PENALISED_ROWS = 50_000  # histories, evenly picked, that a fit with a penalty looks at: it steadies, it is not exact


@dataclass(frozen=True, kw_only=True)
class PurchaseGroup:
    """Purchase parameters of one group of customers; `name` is None for a group nobody has seen."""

    name: str | None
    parameters: PurchaseParameters
    covariance: Matrix


@dataclass(frozen=True, kw_only=True)
class SpendGroup:
    """Spend parameters of one group of customers; `name` is None for a group nobody has seen."""

    name: str | None
    parameters: SpendParameters
    covariance: Matrix


@dataclass(frozen=True, kw_only=True)
class FittedPurchases:
    """Purchase parameters with how they were found; `covariance` (4, 4) is of their logarithms, r, alpha, a, b."""

    method: str
    parameters: PurchaseParameters
    log_likelihood: float
    covariance: Matrix | None = None
    reasons: tuple[str, ...] = ()
    groups: tuple[PurchaseGroup, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FittedSpend:
    """Spend parameters with how they were found; `covariance` (3, 3) is of their logarithms, p, q, v."""

    method: str
    parameters: SpendParameters
    log_likelihood: float | None
    covariance: Matrix | None = None
    reasons: tuple[str, ...] = ()
    groups: tuple[SpendGroup, ...] = ()


def fit_purchases(groups: Mapping[str, Rows], repeaters_min: int, penalizer: float) -> FittedPurchases:
    """Fit the purchase model to customers with `x` repeat order days, `recency` and `age` in one time unit.

    Parameters
    ----------
    groups : per group of customers their distinct `x, recency, age` as in `models.btyd` and the number of customers
        who share each, all (n,). At least one customer in all.
    repeaters_min : customers with a repeat order below which only one pooled rate is estimated.
    penalizer : weight of the squared parameters in the loss, 0 for maximum likelihood.
    """
    data = {name: Histories(x=x, recency=t, age=age, weight=w) for name, (x, t, age, w) in groups.items()}
    x, recency, age, weights = (
        np.concatenate([getattr(part, column) for part in data.values()])
        for column in ("x", "recency", "age", "weight")
    )
    repeaters = int(weights[x > 0].sum())
    own: tuple[PurchaseGroup, ...] = ()
    likelihood: float | None = None
    covariance: Matrix | None
    if repeaters < repeaters_min or age.max() <= 0.0:
        reason = f"{repeaters} customers ordered again, BG/NBD needs {repeaters_min}: one pooled order rate is used"
        reasons: tuple[str, ...] = (reason,)
        parameters, method = _pooled_rate(x, age, weights), "pooled_rate"
        covariance = _of_alpha_alone(1.0 / (float(weights @ x) + 0.5))
    else:

        def refuse(values: Floats) -> str | None:
            scaled = values / np.array([1.0, age.max(), 1.0, 1.0])
            if scaled.min() > SMALLEST and scaled.max() < LARGEST:
                return None
            return "a parameter ran off (r {:.3g}, alpha {:.3g}, a {:.3g}, b {:.3g})".format(*values)

        def maximise(penalty: float) -> Any:
            from lifetimes import BetaGeoFitter

            rows = slice(None, None, max(x.size // PENALISED_ROWS, 1))
            return BetaGeoFitter(penalizer_coef=penalty).fit(x[rows], recency[rows], age[rows], weights=weights[rows])

        start = np.log([1.0, float(np.average(age, weights=weights)) + 1.0, 1.0, 2.0])
        plain = partial(_newton, purchase_derivatives, list(data.values()), start)
        values, covariance, likelihood, failure = _settle(plain, maximise, penalizer, refuse)
        reasons = (f"BG/NBD does not settle on these customers: {failure}",) if failure else ()
        candidates: list[tuple[PurchaseParameters, str, Matrix | None]] = []
        if values is not None:
            r, alpha, a, b = values.tolist()
            settled = PurchaseParameters(r=r, alpha=alpha, a=a, b=b)
            plainly = likelihood is not None or not failure
            candidates.append((settled, "bg_nbd" if plainly else "bg_nbd_penalised", covariance))
        if likelihood is None and (values is None or failure):
            candidates.append((_no_dropout(x, age, weights), "nbd", None))
        parameters, method, covariance = candidates[0]
        if len(candidates) > 1:
            parameters, method, covariance = max(
                candidates, key=lambda candidate: purchase_log_likelihood(candidate[0], x, recency, age, weights)
            )
        if likelihood is not None and values is not None:
            many = _many(data, repeaters_min)
            found = _own(purchase_derivatives, many, PURCHASE_OWN, np.log(values), refuse)
            own = tuple(
                PurchaseGroup(
                    name=name, parameters=PurchaseParameters(r=r, alpha=alpha, a=a, b=b), covariance=_rows(matrix)
                )
                for name, (r, alpha, a, b), matrix in found
            )
    return FittedPurchases(
        method=method,
        parameters=parameters,
        log_likelihood=purchase_log_likelihood(parameters, x, recency, age, weights)
        if likelihood is None
        else likelihood,
        covariance=covariance,
        reasons=reasons,
        groups=own,
    )


def fit_spend(
    groups: Mapping[str, Rows], repeaters_min: int, penalizer: float, average_order: float = 0.0
) -> FittedSpend:
    """Fit the spend model to customers with `x` repeat order days worth `mean_spend` each.

    Parameters
    ----------
    groups : per group of the customers with repeat orders of some value `x, mean_spend`, each (n,), both above 0.
    repeaters_min : customers with such orders below which only the average is estimated.
    penalizer : weight of the squared parameters (money in units of its mean) in the loss, 0 for maximum likelihood.
    average_order : mean order value to assume when no repeat order has any.
    """
    x, m = (np.concatenate([rows[column] for rows in groups.values()]) for column in range(2))
    weights = np.ones(x.size)
    if repeaters := x.size:
        average_order = float(x @ m / x.sum())
    if repeaters < repeaters_min:
        reason = (
            f"{repeaters} customers paid for repeat orders, Gamma-Gamma needs {repeaters_min}: shrunken means are used"
        )
        return FittedSpend(
            method="shrunken_mean", parameters=_shrunken_mean(average_order), log_likelihood=None, reasons=(reason,)
        )
    scale = float(m.mean())  # in units of the mean a penalty is the same in every currency
    data = {name: Orders(x=x, m=m / scale, weight=np.ones(x.size)) for name, (x, m) in groups.items() if x.size}

    def refuse(values: Floats) -> str | None:
        p, q, v = values
        if not (min(p, v) > SMALLEST and max(p, q, v) < LARGEST and q > 1.0):
            return f"a parameter ran off or the mean is infinite (p {p:.3g}, q {q:.3g}; q must exceed 1)"
        mean = p * v * scale / (q - 1.0)
        if not 1.0 / MEAN_RATIO_MAX < mean / average_order < MEAN_RATIO_MAX:
            return f"its mean order value {mean:.4g} is far from the observed {average_order:.4g}"
        return None

    def maximise(penalty: float) -> Any:
        from lifetimes import GammaGammaFitter

        rows = slice(None, None, max(x.size // PENALISED_ROWS, 1))
        return GammaGammaFitter(penalizer_coef=penalty).fit(x[rows], m[rows] / scale, weights=weights[rows])

    plain = partial(_newton, spend_derivatives, list(data.values()), np.log([2.0, 3.0, 1.0]))
    values, covariance, likelihood, failure = _settle(plain, maximise, penalizer, refuse)
    reasons = (f"Gamma-Gamma does not settle on these orders: {failure}",) if failure else ()
    own: tuple[SpendGroup, ...] = ()
    if values is None:
        parameters, method = _shrunken_mean(average_order), "shrunken_mean"
    else:
        p, q, v = values.tolist()
        parameters = SpendParameters(p=p, q=q, v=v * scale)
        method = "gamma_gamma_penalised" if failure else "gamma_gamma"
        if likelihood is not None:
            likelihood -= x.size * float(np.log(scale))  # a density per unit of money
            many = _many(data, repeaters_min)
            own = tuple(
                SpendGroup(name=name, parameters=SpendParameters(p=p, q=q, v=v * scale), covariance=_rows(matrix))
                for name, (p, q, v), matrix in _own(spend_derivatives, many, SPEND_OWN, np.log(values), refuse)
            )
    return FittedSpend(
        method=method,
        parameters=parameters,
        log_likelihood=spend_log_likelihood(parameters, x, m, weights) if likelihood is None else likelihood,
        covariance=covariance,
        reasons=reasons,
        groups=own,
    )


def _newton(
    derivatives: Callable[[Floats, Any], Derivatives], groups: list[Any], start: Floats
) -> tuple[Floats, Derivatives] | None:
    """Maximum over all groups together, looked for on a part of the rows first."""
    rows = sum(group.x.size for group in groups)
    for part in ROWS_FIRST:
        if rows > 2 * part:
            some = [group.thinned(max(int(group.x.size * part / rows), 1)) for group in groups]
            found = climb(_summed(derivatives, some), start)
            start = start if found is None else found[0]
    return climb(_summed(derivatives, groups), start)


def _summed(derivatives: Callable[[Floats, Any], Derivatives], groups: list[Any]) -> Callable[[Floats], Derivatives]:
    def together(logs: Floats) -> Derivatives:
        parts = [derivatives(logs, group) for group in groups]
        value, gradient, hessian = parts[0]
        for part in parts[1:]:
            value, gradient, hessian = value + part[0], gradient + part[1], hessian + part[2]
        return value, gradient, hessian

    return together


def _many(data: dict[str, Any], repeaters_min: int) -> dict[str, Any]:
    """The groups large enough to be told apart, at most `GROUPS_MAX`, by name; none where there is but one."""
    repeaters = {name: float(part.weight[part.x > 0].sum()) for name, part in data.items()}
    large = sorted((name for name in data if repeaters[name] >= repeaters_min), key=lambda name: -repeaters[name])
    names = sorted(large[:GROUPS_MAX])
    return {name: data[name] for name in names} if len(names) > 1 else {}


def _own(
    derivatives: Callable[[Floats, Any], Derivatives],
    groups: dict[str, Any],
    own: tuple[int, ...],
    start: Floats,
    refuse: Callable[[Floats], str | None],
) -> list[tuple[str | None, list[float], Floats]]:
    """Name, parameters and covariance of every group and of one nobody has seen; empty where groups do not settle."""
    if not groups:
        return []
    found = fit_groups(
        [partial(lambda part, logs: derivatives(logs, part), part) for part in groups.values()], own, start
    )
    if found is None or any(refuse(np.exp(logs)) for logs in found[0]):
        return []
    return list(zip([*groups, None], np.exp(found[0]).tolist(), found[1], strict=True))


def _settle(
    plain: Callable[[], tuple[Floats, Derivatives] | None],
    maximise: Callable[[float], Any],
    penalizer: float,
    refuse: Callable[[Floats], str | None],
) -> tuple[Floats | None, Matrix | None, float | None, str | None]:
    """The plain fit where it is acceptable, else the first acceptable one with a penalty.

    Returns
    -------
    Parameters and covariance (None when nothing was acceptable), log-likelihood of a plain fit (None for another), and
    why the fit that was asked for is not the one returned (None where it is).
    """
    why = None
    if penalizer == 0.0:
        found = plain()
        if found is None:
            why = "its likelihood has no maximum"
        elif (why := refuse(np.exp(found[0]))) is None:
            return np.exp(found[0]), _rows(np.linalg.inv(-found[1][2])), found[1][0], None
    for penalty in (*([penalizer] if penalizer else []), *(larger for larger in PENALTIES if larger > penalizer)):
        fitted, failure = _attempt(maximise, penalty)
        if fitted is not None:
            values = fitted.params_.to_numpy()
            failure = refuse(values)
            if failure is None:
                return values, _covariance(fitted), None, why
        why = why or failure
    return None, None, None, why


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
    return _rows(np.linalg.inv(fitted._hessian_) / float(fitted.data["weights"].sum()))


def _rows(matrix: Floats) -> Matrix:
    """As tuples, which compare and go into JSON."""
    return tuple(tuple(row) for row in matrix.tolist())


def _pooled_rate(x: Floats, age: Floats, weights: Floats) -> PurchaseParameters:
    """Everyone at one average rate with exponential spread; nobody drops out.

    Half an order (Jeffreys' prior of a rate) on one unit of time keeps the rate of a young shop small, not zero.
    """
    rate = (float(weights @ x) + 0.5) / (float(weights @ age) + 1.0)
    return PurchaseParameters(r=1.0, alpha=1.0 / rate, a=0.0, b=1.0)


def _of_alpha_alone(variance: float) -> Matrix:
    """Covariance of the log-parameters where only alpha was estimated: of a rate from n orders, 1 / n."""
    matrix = np.zeros((4, 4))
    matrix[1, 1] = variance
    return _rows(matrix)


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
