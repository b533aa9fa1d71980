"""Log likelihood of the media parameters with its gradient, as one PyTensor operation.

The linear part is integrated out. With Z diag(prior_sd) = U diag(d) V', the residual r = KPI - media is Gaussian with
covariance S = sigma^2 I + U diag(d^2) U', so that, with v = S^-1 r = (r - U (d^2 / (sigma^2 + d^2) * U'r)) / sigma^2,

    log density = -(r'v + (n - k) log sigma^2 + sum log(sigma^2 + d^2)) / 2,
    gradient by media = v,   gradient by sigma^2 = (v'v - trace S^-1) / 2.

PyTensor can derive the same gradient from the same formulas; written out, it is one small function to compile, where
the derived graph is some eighty that take minutes on a cold cache. The tests hold one against the other.

Sources: Woodbury identity, Petersen, Pedersen, The Matrix Cookbook (2012), eq. 156; Hill media response, Jin et al.
(2017), eq. 2-4.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numba
import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.gradient import DisconnectedType
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import register_funcify_and_cache_key

Array = NDArray[np.float64]


@numba.njit
def log_likelihood_and_gradient(
    z: Array,
    prior_mean: Array,
    prior_root: Array,
    kpi: Array,
    lagged: Array,
    basis: Array,
    basis_variance: Array,
    lift_tests: Array,
) -> tuple[float, Array]:
    """Log likelihood, up to a constant, of theta = prior_mean + prior_root z with its gradient by z.

    Parameters
    ----------
    z : (n_parameters,) with n_parameters = 4 n_channels + 1; theta holds log effect, log half saturation, log slope,
        logit decay of all channels, log noise sd.
    prior_mean, prior_root : (n_parameters,), (n_parameters, n_parameters).
    kpi : (n_weeks,) in mean KPIs.
    lagged : (n_lags, n_weeks, n_channels) spend of this week and earlier ones, in mean spends.
    basis, basis_variance : U (n_weeks, k), d^2 (k,).
    lift_tests : (n_tests, 6) the channel's index, spend before, after the change, length in weeks, lift, its standard
        error.
    """
    theta = prior_mean.copy()
    for i in range(len(theta)):
        for j in range(len(theta)):
            theta[i] += prior_root[i, j] * z[j]
    by_theta = np.zeros(len(theta))
    log_likelihood = _by_theta(theta, kpi, lagged, basis, basis_variance, lift_tests, by_theta)
    gradient = np.zeros(len(theta))
    for i in range(len(theta)):
        for j in range(len(theta)):
            gradient[j] += prior_root[i, j] * by_theta[i]
    return log_likelihood, gradient


@numba.njit
def _by_theta(
    theta: Array,
    kpi: Array,
    lagged: Array,
    basis: Array,
    basis_variance: Array,
    lift_tests: Array,
    gradient: Array,
) -> float:
    """Log likelihood of theta; adds its gradient to `gradient`."""
    n_weeks, n_channels = lagged.shape[1:]
    half, steep, keep = n_channels, 2 * n_channels, 3 * n_channels  # where log half saturation, log slope, ... begin
    share = np.empty((n_weeks, n_channels))  # the Hill curve
    log_odds_by_decay = np.empty((n_weeks, n_channels))
    mean_share = np.zeros(n_channels)
    idle_share = np.zeros(n_channels)  # a channel that never spent has its effect at a spend of 1
    ceiling, by_ceiling = np.empty(n_channels), np.zeros(n_channels)
    residual = kpi.copy()
    for c in range(n_channels):
        spent = _carry_and_saturate(
            lagged, c, theta[half + c], np.exp(theta[steep + c]), theta[keep + c], share, log_odds_by_decay
        )
        if not spent:
            idle_share[c] = _hill(1.0, theta[half + c], np.exp(theta[steep + c]))
        for t in range(n_weeks):
            mean_share[c] += share[t, c] / n_weeks
        mean_share[c] += idle_share[c]
        ceiling[c] = np.exp(theta[c]) / mean_share[c]
        for t in range(n_weeks):
            residual[t] -= ceiling[c] * share[t, c]

    weighted = np.empty(n_weeks)  # S^-1 residual, the gradient by media
    variance = np.exp(2.0 * theta[4 * n_channels])
    log_likelihood, by_variance = _gaussian(residual, variance, basis, basis_variance, weighted)
    gradient[4 * n_channels] += 2.0 * variance * by_variance
    log_likelihood += _lift_likelihood(lift_tests, theta, ceiling, by_ceiling, gradient)
    for c in range(n_channels):
        slope = np.exp(theta[steep + c])
        for t in range(n_weeks):
            by_ceiling[c] += weighted[t] * share[t, c]
        gradient[c] += by_ceiling[c] * ceiling[c]
        by_mean_share = -by_ceiling[c] * ceiling[c] / mean_share[c]
        for t in range(n_weeks):
            odds = share[t, c] * (1.0 - share[t, c])
            if odds > 0.0:
                by_log_odds = (weighted[t] * ceiling[c] + by_mean_share / n_weeks) * odds
                gradient[half + c] -= slope * by_log_odds
                gradient[steep + c] += np.log(share[t, c] / (1.0 - share[t, c])) * by_log_odds
                gradient[keep + c] += log_odds_by_decay[t, c] * by_log_odds
        by_log_odds = by_mean_share * idle_share[c] * (1.0 - idle_share[c])
        gradient[half + c] -= slope * by_log_odds
        gradient[steep + c] -= slope * theta[half + c] * by_log_odds
    return log_likelihood


@numba.njit
def _hill(spend: float, log_half: float, slope: float) -> float:
    return 0.0 if spend <= 0.0 else 1.0 / (1.0 + np.exp(-slope * (np.log(spend) - log_half)))


@numba.njit
def _carry_and_saturate(
    lagged: Array, c: int, log_half: float, slope: float, logit_decay: float, share: Array, log_odds_by_decay: Array
) -> bool:
    """Fill column c of `share`, of the derivative of its log odds by logit decay; False where nothing was spent."""
    n_lags, n_weeks, _ = lagged.shape
    decay = 1.0 / (1.0 + np.exp(-logit_decay))
    weight = np.empty(n_lags)
    total, mean_lag, spent = 0.0, 0.0, 0.0
    for lag in range(n_lags):
        weight[lag] = decay**lag
        total += weight[lag]
        mean_lag += lag * weight[lag]
    mean_lag /= total
    for t in range(n_weeks):
        carried, tilted = 0.0, 0.0
        for lag in range(n_lags):
            part = weight[lag] / total * lagged[lag, t, c]
            carried += part
            tilted += part * (lag - mean_lag)
        spent += carried
        share[t, c] = _hill(carried, log_half, slope)
        log_odds_by_decay[t, c] = slope * (1.0 - decay) * tilted / carried if carried > 0.0 else 0.0
    return spent > 0.0


@numba.njit
def _gaussian(
    residual: Array, variance: float, basis: Array, basis_variance: Array, weighted: Array
) -> tuple[float, float]:
    """Log density of the residual with its derivative by the noise variance; fills `weighted` with S^-1 residual."""
    n_weeks, n_basis = basis.shape
    for t in range(n_weeks):
        weighted[t] = residual[t] / variance
    log_determinant = (n_weeks - n_basis) * np.log(variance)
    trace = (n_weeks - n_basis) / variance
    for k in range(n_basis):
        total = variance + basis_variance[k]
        log_determinant += np.log(total)
        trace += 1.0 / total
        projection = 0.0
        for t in range(n_weeks):
            projection += basis[t, k] * residual[t]
        projection *= basis_variance[k] / total / variance
        for t in range(n_weeks):
            weighted[t] -= projection * basis[t, k]
    quadratic, squares = 0.0, 0.0
    for t in range(n_weeks):
        quadratic += residual[t] * weighted[t]
        squares += weighted[t] * weighted[t]
    return -0.5 * (quadratic + log_determinant), 0.5 * (squares - trace)


@numba.njit
def _lift_likelihood(tests: Array, theta: Array, ceiling: Array, by_ceiling: Array, gradient: Array) -> float:
    """Log likelihood of the tests; adds its derivatives to `by_ceiling`, `gradient`."""
    n_channels = len(ceiling)
    log_likelihood = 0.0
    for i in range(len(tests)):
        c = int(tests[i, 0])
        log_half, slope = theta[n_channels + c], np.exp(theta[2 * n_channels + c])
        weeks, lift, lift_se = tests[i, 3], tests[i, 4], tests[i, 5]
        gain = _hill(tests[i, 2], log_half, slope) - _hill(tests[i, 1], log_half, slope)
        miss = (lift - ceiling[c] * weeks * gain) / lift_se
        log_likelihood -= 0.5 * miss * miss
        pull = miss * weeks / lift_se
        by_ceiling[c] += pull * gain
        for side in range(2):
            spend = tests[i, 1 + side]
            response = _hill(spend, log_half, slope)
            if spend > 0.0:
                by_log_odds = (2 * side - 1) * pull * ceiling[c] * response * (1.0 - response)
                gradient[n_channels + c] -= slope * by_log_odds
                gradient[2 * n_channels + c] += slope * (np.log(spend) - log_half) * by_log_odds
    return log_likelihood


class LogLikelihood(Op):  # type: ignore[misc]
    """`log_likelihood_and_gradient` inside a PyTensor graph; only z, the first input, is differentiated."""

    __props__ = ()

    def make_node(self, *inputs: Any) -> Apply:
        """Inputs as in `log_likelihood_and_gradient`; outputs the log likelihood, its gradient."""
        variables = [pt.as_tensor_variable(x) for x in inputs]
        return Apply(self, variables, [pt.dscalar(), pt.dvector()])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        """Evaluate outside numba."""
        log_likelihood, gradient = log_likelihood_and_gradient(*inputs)
        output_storage[0][0], output_storage[1][0] = np.asarray(log_likelihood), gradient

    def pullback(self, inputs: list[Any], outputs: list[Any], cotangents: list[Any]) -> list[Any]:
        """Chain rule for z."""
        return [cotangents[0] * outputs[1], *(DisconnectedType()() for _ in inputs[1:])]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Only z counts."""
        return [[True, False]] + [[False, False]] * (len(node.inputs) - 1)


@register_funcify_and_cache_key(LogLikelihood)
def _compiled_by_numba(op: LogLikelihood, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], str]:
    """Compile by numba, cached on disk under this module's text, so that an edit is never served from the cache."""

    @numba.njit
    def mix_log_likelihood(*inputs: Any) -> Any:
        value, gradient = log_likelihood_and_gradient(*inputs)
        return np.asarray(value), gradient

    return mix_log_likelihood, sha256(inspect.getsource(sys.modules[__name__]).encode()).hexdigest()
