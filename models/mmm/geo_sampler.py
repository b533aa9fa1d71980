"""Draws from the posterior by geo: the mode with the curvature there, then NUTS, as for the national model.

The mode of z is no help for tau, since the density at the best d rises with it for long. tau is therefore first found
by Newton's steps on its own posterior, d under its Laplace approximation; the curvature is taken there.

Geos are independent given what they share, so that the curvature needs one difference of gradients per shared parameter
and per parameter of one geo, not per parameter of all.

Sources: Louis (1982), "Finding the observed information matrix when using the EM algorithm", for slope and curvature of
the posterior of tau.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from models.mmm.config import MMMConfig
from models.mmm.geo import GeoConfig, GeoInputs, log_density
from models.mmm.sampler import (
    DIFFERENCE_STEP,
    RETRY_FACTOR,
    RETRY_TARGET_ACCEPT,
    VARIANCE_MAX,
    Sample,
    judged,
    nuts,
)

Array = NDArray[np.float64]
STEPS_MAX = 10
RANGE = 2.0  # prior sds of log tau: farther out the Laplace approximation of d is no guide
STEP_MAX, TOLERANCE = 0.7, 0.05  # of log tau: a factor two at most, five per cent are near enough for a start


@dataclass(frozen=True, kw_only=True)
class GeoCoordinates:
    """Where the sampler starts, in which units it moves: z = start + scale u; scale holds mostly zeros."""

    start: Array
    scale: sparse.csr_array


def geo_mode(inputs: GeoInputs) -> GeoCoordinates:
    """Mode of z given tau with a root of the inverse curvature there; tau at its Laplace estimate, where learned."""
    config = inputs.geo_config
    if not config.is_learned:
        return _mode_at(inputs, None)
    log_tau = float(np.log(config.effect_sd))
    fixed = _at_tau(inputs, log_tau)
    at = _mode_at(fixed, None)
    for _ in range(STEPS_MAX):
        slope, bend = _marginal(config, log_tau, at, fixed.at_deviation)
        reach = RANGE * config.effect_log_sd + np.log(config.effect_sd) - log_tau, STEP_MAX
        step = float(np.clip(slope / bend, max(-STEP_MAX, reach[0] - 2 * RANGE * config.effect_log_sd), min(reach)))
        if abs(step) < TOLERANCE:
            break
        log_tau += step
        fixed = _at_tau(inputs, log_tau)
        at = _mode_at(fixed, _rescaled(at, fixed.at_deviation, float(np.exp(-step))))
    return _with_tau(inputs, log_tau, at)


def _at_tau(inputs: GeoInputs, log_tau: float) -> GeoInputs:
    return replace(inputs, geo_config=replace(inputs.geo_config, effect_sd=float(np.exp(log_tau)), effect_log_sd=0.0))


def _mode_at(inputs: GeoInputs, start: GeoCoordinates | None) -> GeoCoordinates:
    """Mode for a tau that is fixed; searched in the units of `start`."""
    n = inputs.n_free
    units = start or GeoCoordinates(start=np.zeros(n), scale=sparse.eye_array(n, format="csr"))

    def descent(u: Array) -> tuple[float, Array]:
        value, gradient = _density(inputs, units, u)
        return -value, -gradient

    found = optimize.minimize(descent, np.zeros(n), jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    z = units.start + units.scale @ found.x
    untested = replace(inputs, national=())
    return GeoCoordinates(start=z, scale=_with_tests(inputs, z, _root(untested, *curvature(untested, z))))


def own_positions(inputs: GeoInputs) -> NDArray[np.int64]:
    """Positions in z of what is each geo's own: (n_geos, n_own); none where there is but one geo, nor tau."""
    index, first = inputs.index, inputs.at_deviation
    repeated = index[:, index[0] != index[-1]]
    return np.hstack([repeated, np.arange(first, inputs.n_free).reshape(inputs.n_geos, -1)])


def curvature(inputs: GeoInputs, z: Array) -> tuple[Array, Array]:
    """Minus the second derivatives of the log density at z, tau fixed.

    Returns
    -------
    (n_shared, n_free) those by a shared parameter and any; (n_geos, n_own, n_own) those by two of one geo's own. Two
    geos' own parameters have none, as long as there are no tests on the whole company.
    """
    own = own_positions(inputs)
    shared = np.setdiff1d(np.arange(len(z)), own)

    def difference(at: Any) -> Array:
        step = np.zeros(len(z))
        step[at] = DIFFERENCE_STEP
        return (log_density(inputs, z - step)[1] - log_density(inputs, z + step)[1]) / (2 * DIFFERENCE_STEP)

    across = np.array([difference(at) for at in shared])
    within = [difference(own[:, k])[own] for k in range(own.shape[1])]  # all geos at once
    return across, np.stack(within, axis=2) if within else np.zeros((inputs.n_geos, 0, 0))


def _root(inputs: GeoInputs, across: Array, within: Array) -> sparse.csr_array:
    """Root (n_free, n_free) of the inverse of the curvature: geos are independent given what they share."""
    own = own_positions(inputs)
    n = inputs.n_free
    shared = np.setdiff1d(np.arange(n), own)
    covariance = _inverse(within)
    by_own = across[:, own.ravel()].reshape(len(shared), *own.shape).transpose(1, 2, 0)
    pull = covariance @ by_own
    top = np.linalg.cholesky(_inverse(across[:, shared] - np.einsum("gks,gkt->st", by_own, pull)))
    root = np.zeros((n, n))
    root[np.ix_(shared, shared)] = top
    root[np.ix_(own.ravel(), shared)] = -(pull @ top).reshape(-1, len(shared))
    root[own[:, :, None], own[:, None, :]] = np.linalg.cholesky(covariance)
    return sparse.csr_array(root)


def _with_tests(inputs: GeoInputs, z: Array, root: sparse.csr_array) -> sparse.csr_array:
    """The root where each test on the whole company adds j j' to the curvature, j its miss in errors by z."""
    for test in inputs.national:
        higher = replace(test, rows=test.rows + test.rows[:, [5]] * np.eye(6)[4])  # a lift one error higher
        by_test = [log_density(replace(inputs, national=(one,)), z)[1] for one in (test, higher)]
        pull = root.T @ (by_test[1] - by_test[0])
        shrink = (1.0 - 1.0 / np.sqrt(1.0 + pull @ pull)) / max(float(pull @ pull), 1e-12)
        root = sparse.csr_array(root.toarray() - shrink * np.outer(root @ pull, pull))
    return root


def _inverse(curvature: Array) -> Array:
    """Inverse of symmetric matrices (..., n, n), none of its eigenvalues above `VARIANCE_MAX`."""
    value, direction = np.linalg.eigh(0.5 * (curvature + curvature.swapaxes(-1, -2)))
    return np.asarray((direction / np.maximum(value, 1.0 / VARIANCE_MAX)[..., None, :]) @ direction.swapaxes(-1, -2))


def _marginal(config: GeoConfig, log_tau: float, at: GeoCoordinates, first: int) -> tuple[float, float]:
    """Slope and curvature, above 0, of the log posterior of log tau, d under its Laplace approximation."""
    d, covariance = at.start[first:], (at.scale[first:] @ at.scale[first:].T).toarray()
    complete = float((d**2).sum() + np.trace(covariance))
    missing = float(2.0 * (covariance**2).sum() + 4.0 * d @ covariance @ d)
    prior = 1.0 / config.effect_log_sd**2
    slope = complete - len(d) - prior * (log_tau - np.log(config.effect_sd))
    return slope, prior + max(2.0 * complete - missing, 0.0)


def _rescaled(at: GeoCoordinates, first: int, factor: float) -> GeoCoordinates:
    """The same place, tau * d kept, for another tau."""
    start = at.start.copy()
    start[first:] *= factor
    return GeoCoordinates(start=start, scale=at.scale)


def _with_tau(inputs: GeoInputs, log_tau: float, at: GeoCoordinates) -> GeoCoordinates:
    """Coordinates of all of z from those for one tau: what the mode moves by with tau, tau's own spread."""
    config, here = inputs.geo_config, inputs.at_sd
    information = config.effect_log_sd**2 * _marginal(config, log_tau, at, here)[1]
    start = np.insert(at.start, here, (log_tau - np.log(config.effect_sd)) / config.effect_log_sd)
    step = np.zeros(len(start))
    step[here] = DIFFERENCE_STEP
    rise = (log_density(inputs, start + step)[1] - log_density(inputs, start - step)[1]) / (2 * DIFFERENCE_STEP)
    scale = np.insert(np.insert(at.scale.toarray(), here, 0.0, axis=0), here, 0.0, axis=1)
    scale[:, here] = np.insert(at.scale @ (at.scale.T @ np.delete(rise, here)), here, 1.0) / np.sqrt(information)
    return GeoCoordinates(start=start, scale=sparse.csr_array(scale))


def geo_sample(inputs: GeoInputs, config: MMMConfig, at: GeoCoordinates) -> Sample:
    """Draw by NUTS; where the diagnostics are short of their aim, once more.

    Where draws diverged, they are replaced by twice as many with smaller steps; else as many chains again are added to
    them. tune, draws, chains, seed are those of `config`.
    """
    accept = inputs.geo_config.target_accept
    first = _run(inputs, replace(config, target_accept=accept), at)
    if first.is_good:
        return first
    if first.divergences:
        harder = replace(
            config,
            target_accept=max(accept, RETRY_TARGET_ACCEPT),
            tune=RETRY_FACTOR * config.tune,
            draws=RETRY_FACTOR * config.draws,
        )
        return _run(inputs, harder, at)
    second = _run(inputs, replace(config, target_accept=accept, seed=config.seed ^ 1), at)
    return judged(np.concatenate([first.z, second.z]), second.divergences)


def _run(inputs: GeoInputs, config: MMMConfig, at: GeoCoordinates) -> Sample:
    """The sampler's own scales are one per dimension: all else was found at the mode."""
    return nuts(inputs.n_free, partial(_density, inputs, at), lambda u: at.start + at.scale @ u, config, "diag")


def _density(inputs: GeoInputs, at: GeoCoordinates, u: Array) -> tuple[float, Array]:
    value, gradient = log_density(inputs, at.start + at.scale @ u)
    return value, at.scale.T @ gradient
