"""Log density of the mix model in JAX: the function of `likelihood`, on whatever device JAX has.

The value is written plainly, all channels at once; the gradient is derived. Codes of the forms, units and the order of
the parameters are those of `likelihood`, which the tests hold this against. Everything is in 64 bits, also where the
rest of a process uses JAX in its own 32: the setting lasts for the call, in the calling thread.

One compilation serves all fits of the same form and shape in a process. JAX is an optional dependency, this module
imports it, so it is itself imported only where it is asked for.

Sources: as in `likelihood`; Bradbury et al. (2018), "JAX: composable transformations of Python+NumPy programs".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError
from models.mmm.inputs import Inputs
from models.mmm.likelihood import (
    BLOCKS,
    CARRY_FIRST,
    DELAYED,
    GEOMETRIC,
    HALF_LOG_3,
    HILL,
    INTEGRATED,
    JOINT_NORMAL,
    LOG_2,
    STUDENT_T_DF,
    TANH,
    WEIBULL_PDF,
)

try:
    import jax  # type: ignore[import-not-found, unused-ignore]
    import jax.numpy as jnp  # type: ignore[import-not-found, unused-ignore]
except ImportError as error:
    raise ConfigError(
        f"mmm.backend is 'jax', but JAX cannot be imported ({error}).\n"
        "Install it with: pip install 'marginal[jax]', or set mmm.backend to 'numba'."
    ) from error

Array = NDArray[np.float64]
Traced = Any  # an array within a compiled function
Form = tuple[int, int, int, int]
LEVEL_MAX = 50.0  # e^50 half saturations: the ceiling, before exp overflows


def log_density(inputs: Inputs, start: Array, scale: Array) -> Callable[[Array], tuple[float, Array]]:
    """Log posterior density by u with its gradient, as `likelihood.log_density_and_gradient` gives them.

    Compiles, so that the function handed back only computes; it may be called from several threads at once.

    Parameters
    ----------
    start, scale : (n_free,), (n_free, n_free); u (n_free,) stands for z = start + scale u.

    Raises
    ------
    ConfigError : on import of this module, where JAX is not installed.
    """
    carry, curve, order, noise = (int(code) for code in inputs.form)
    form: Form = (carry, curve, order, noise)
    arrays = [array for array in inputs.arrays() if array is not inputs.form]
    with jax.enable_x64(True):
        held = jax.device_put((start, scale, *arrays))

    def density(u: Array) -> tuple[float, Array]:
        with jax.enable_x64(True):
            value, gradient = _value_and_gradient(np.asarray(u, dtype=np.float64), *held, form=form)
            return float(value), np.array(gradient)

    density(np.zeros(inputs.n_free))
    return density


@partial(jax.jit, static_argnames="form")
def _value_and_gradient(u: Traced, *arrays: Traced, form: Form) -> tuple[Traced, Traced]:
    return jax.value_and_grad(_log_posterior)(u, *arrays, form=form)


def _log_posterior(
    u: Traced, start: Traced, scale: Traced, prior_mean: Traced, prior_root: Traced, *arrays: Traced, form: Form
) -> Traced:
    z = start + scale @ u
    return _log_likelihood(prior_mean + prior_root @ z, *arrays, form=form) - 0.5 * (z @ z)


def _log_likelihood(  # noqa: PLR0913, PLR0917 (arrays of `likelihood`, in its order)
    theta: Traced,
    kpi: Traced,
    padded: Traced,
    signed: Traced,
    basis: Traced,
    singular: Traced,
    lift_tests: Traced,
    partner_levels: Traced,
    pairs: Traced,
    wander: Traced,
    at_tests: Traced,
    *,
    form: Form,
) -> Traced:
    carry_kind, curve_kind, order, noise_kind = form
    n_channels, n_signed, n_basis, n_pairs = len(padded), len(signed), len(singular), len(pairs)
    at_signed = (BLOCKS + wander.shape[1]) * n_channels
    at_noise, at_pairs = at_signed + n_signed, len(theta) - n_pairs
    log_effect, log_half, log_slope, first, second, *steps = theta[:at_signed].reshape(-1, n_channels)
    slope = jnp.exp(log_slope)
    n_lags = padded.shape[1] - len(kpi) + 1
    weight = _lag_weights(carry_kind, first[:, None], second[:, None], n_lags)
    if order == CARRY_FIRST:
        share = _reached(curve_kind, _carried(weight, padded), log_half[:, None], slope[:, None])
    else:
        share = _carried(weight, _reached(curve_kind, padded, log_half[:, None], slope[:, None]))
    walk = jnp.stack(steps, axis=1) if steps else jnp.zeros((n_channels, 0))
    share *= jnp.exp(walk @ wander.T)
    mean_share = share.mean(axis=1)
    at_one = _curve(curve_kind, 0.0, log_half, slope)
    mean_share = jnp.where(mean_share <= 0.0, at_one, mean_share)  # never spent: its effect is that at a spend of 1
    ceiling = jnp.exp(log_effect) / mean_share
    one, other = pairs[:, 0], pairs[:, 1]
    synergy = theta[at_pairs:] / (mean_share[one] * mean_share[other])
    residual = kpi - ceiling @ share - jnp.exp(theta[at_signed:at_noise]) @ signed
    residual -= synergy @ (share[one] * share[other])

    variance = jnp.exp(2.0 * theta[at_noise])
    if noise_kind == INTEGRATED:
        value = _integrated(residual, variance, basis, singular)
    else:
        residual -= basis @ (singular * theta[at_noise + 1 : at_noise + 1 + n_basis])
        value = _independent(noise_kind, residual, variance)
    tested = lift_tests[:, 0].astype(int)
    before, after = (_reached(curve_kind, lift_tests[:, i], log_half[tested], slope[tested]) for i in (1, 2))
    tested_in = pairs == tested[:, None, None]  # (n_tests, n_pairs, 2)
    partner = jnp.where(tested_in[:, :, 0], other, one)
    level = jnp.where(tested_in.any(axis=2), jnp.take_along_axis(partner_levels, partner, axis=1), 0.0)
    raised = ceiling[tested] + _reached(curve_kind, level, log_half[partner], slope[partner]) @ synergy
    raised *= jnp.exp((walk[tested] * at_tests).sum(axis=1))
    weeks, lift, lift_se = lift_tests[:, 3], lift_tests[:, 4], lift_tests[:, 5]
    return value - 0.5 * (((lift - raised * weeks * (after - before)) / lift_se) ** 2).sum()


def _carried(weight: Traced, series: Traced) -> Traced:
    """Sum over the lags (n_channels, n_weeks); weight (n_channels, n_lags), series (n_channels, n_lags - 1 + n_weeks).

    One product over windows: a sum lag by lag takes as long to compute, but ever longer to compile as lags are added.
    """
    n_lags = weight.shape[1]
    n_weeks = series.shape[1] - n_lags + 1
    at = np.arange(n_weeks)[:, None] + np.arange(n_lags - 1, -1, -1)
    return jnp.einsum("ctl,cl->ct", series[:, at], weight)


def _reached(kind: int, spend: Traced, log_half: Traced, slope: Traced) -> Traced:
    """Share of the ceiling, 0 without spend; the log of 0 is taken nowhere, since a derivative would see it."""
    spends = spend > 0.0
    return jnp.where(spends, _curve(kind, jnp.log(jnp.where(spends, spend, 1.0)), log_half, slope), 0.0)


def _curve(kind: int, log_spend: Traced, log_half: Traced, slope: Traced) -> Traced:
    level = slope * (log_spend - log_half)
    if kind == HILL:
        return jax.nn.sigmoid(level)
    power = jnp.exp(jnp.minimum(level, LEVEL_MAX))
    return jnp.tanh(HALF_LOG_3 * power) if kind == TANH else -jnp.expm1(-LOG_2 * power)


def _lag_weights(kind: int, first: Traced, second: Traced, n_lags: int) -> Traced:
    """Weights (n_channels, n_lags), summing to 1; first, second (n_channels, 1)."""
    lag = np.arange(n_lags, dtype=np.float64)
    shape = jnp.exp(second)
    if kind == GEOMETRIC:
        log_weight = lag * jax.nn.log_sigmoid(first)
    elif kind == DELAYED:
        log_weight = (lag - shape) ** 2 * jax.nn.log_sigmoid(first)
    elif kind == WEIBULL_PDF:
        away = np.log(lag + 1.0) - first
        log_weight = second - first + (shape - 1.0) * away - jnp.exp(jnp.minimum(shape * away, 600.0))
    else:
        away = np.log(np.maximum(lag, 1.0)) - first
        log_weight = jnp.where(lag == 0.0, 0.0, -jnp.exp(jnp.minimum(shape * away, LEVEL_MAX)))
    return jax.nn.softmax(log_weight, axis=1)


def _integrated(residual: Traced, variance: Traced, basis: Traced, singular: Traced) -> Traced:
    n_weeks, n_basis = basis.shape
    total = variance + singular**2
    weighted = (residual - basis @ (singular**2 / total * (basis.T @ residual))) / variance
    log_determinant = (n_weeks - n_basis) * jnp.log(variance) + jnp.log(total).sum()
    return -0.5 * (residual @ weighted + log_determinant)


def _independent(kind: int, residual: Traced, variance: Traced) -> Traced:
    squared = residual**2 / variance
    if kind == JOINT_NORMAL:
        return -0.5 * (squared + jnp.log(variance)).sum()
    return -0.5 * ((STUDENT_T_DF + 1.0) * jnp.log1p(squared / STUDENT_T_DF) + jnp.log(variance)).sum()
