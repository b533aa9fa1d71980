"""Draws from the posterior of the media parameters: the mode, then NUTS on a target made round by it.

Every fit first climbs to the posterior mode and measures the curvature there. The sampler then moves in
u = scale^-1 (z - start), in which the posterior is close to a unit normal, so that little has to be tuned. A champion's
draws serve as start and scale just as well: both only choose the coordinates, the posterior is the same whatever they
are.

Sources: Hoffman, Gelman (2014), "The No-U-Turn sampler", section 4 on linear transformations as mass matrices;
Vehtari et al. (2021), "Rank-normalization, folding, and localization", for the aims.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import arviz as az
import numpy as np
import nutpie
from numpy.typing import NDArray
from scipy import optimize

from models.mmm.config import MMMConfig
from models.mmm.inputs import Inputs
from models.mmm.likelihood import log_density_and_gradient

Array = NDArray[np.float64]
R_HAT_AIM, ESS_AIM = 1.01, 400.0  # Vehtari et al. (2021), section 4
RETRY_TARGET_ACCEPT = 0.99  # smaller steps follow tighter bends
RETRY_FACTOR = 2  # twice the tuning, twice the draws
DIFFERENCE_STEP = 1e-4  # of a prior sd; the gradient is exact, so its difference is good to 1e-8
VARIANCE_MAX = 4.0  # of z in prior variances: a ridge in the posterior is no reason to stride past the prior


@dataclass(frozen=True, kw_only=True)
class Coordinates:
    """Where the sampler starts, in which units it moves: z = start + scale u."""

    start: Array
    scale: Array


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Draws of z (n_chains, n_draws, n_free), with the sampler's diagnostics; k_hat of an approximation."""

    z: Array
    r_hat_max: float | None
    ess_min: float
    divergences: int
    k_hat: float | None = None

    @property
    def is_good(self) -> bool:
        """Whether the diagnostics meet their aims."""
        return (
            self.r_hat_max is not None
            and self.r_hat_max <= R_HAT_AIM
            and self.ess_min >= ESS_AIM
            and self.divergences == 0
        )


def log_density(inputs: Inputs, coordinates: Coordinates | None = None) -> Callable[[Array], tuple[float, Array]]:
    """Log posterior density with its gradient, by u; by z where there are no coordinates. Threads may share it.

    Raises
    ------
    ConfigError : the inputs ask for JAX, which is not installed.
    """
    at = coordinates or Coordinates(start=np.zeros(inputs.n_free), scale=np.eye(inputs.n_free))
    if inputs.backend == "jax":
        from models.mmm import jax_density

        return jax_density.log_density(inputs, at.start, at.scale)
    arrays = inputs.arrays()
    return lambda u: log_density_and_gradient(np.ascontiguousarray(u), at.start, at.scale, *arrays)


def mode(inputs: Inputs) -> Coordinates:
    """Posterior mode of z with a root of the inverse curvature there: the Laplace approximation."""
    density = log_density(inputs)

    def descent(z: Array) -> tuple[float, Array]:
        value, gradient = density(z)
        return -value, -gradient

    found = optimize.minimize(descent, np.zeros(inputs.n_free), jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    steps = DIFFERENCE_STEP * np.eye(inputs.n_free)
    rows = [(density(found.x - step)[1] - density(found.x + step)[1]) / (2 * DIFFERENCE_STEP) for step in steps]
    curvature = 0.5 * (np.array(rows) + np.array(rows).T)
    value, direction = np.linalg.eigh(curvature)
    covariance = (direction / np.maximum(value, 1.0 / VARIANCE_MAX)) @ direction.T
    return Coordinates(start=found.x, scale=np.linalg.cholesky(covariance))


def from_draws(z: Array) -> Coordinates:
    """Coordinates from draws of z (n_draws, n_free)."""
    shrunk = np.cov(z.T) + 1e-6 * np.eye(z.shape[1])  # a prior variance is 1: only guards against a lost direction
    return Coordinates(start=z.mean(axis=0), scale=np.linalg.cholesky(shrunk))


def sample(inputs: Inputs, config: MMMConfig, coordinates: Coordinates) -> Sample:
    """Draw by NUTS; where the diagnostics are short of their aim, once more with smaller steps and twice as long.

    The second run moves in coordinates taken from the draws of the first.
    """
    first = _run(inputs, config, coordinates)
    if first.is_good:
        return first
    harder = replace(
        config,
        target_accept=max(config.target_accept, RETRY_TARGET_ACCEPT),
        tune=RETRY_FACTOR * config.tune,
        draws=RETRY_FACTOR * config.draws,
    )
    return _run(inputs, harder, from_draws(first.z.reshape(-1, inputs.n_free)))


def _run(inputs: Inputs, config: MMMConfig, at: Coordinates) -> Sample:
    return nuts(inputs.n_free, log_density(inputs, at), lambda u: at.start + at.scale @ u, config)


def nuts(
    n: int,
    density: Callable[[Array], tuple[float, Array]],
    natural: Callable[[Array], Array],
    config: MMMConfig,
    adaptation: str = "low_rank",
) -> Sample:
    """Draw z = natural(u) by NUTS from a log density of u (n,) with its gradient, whose draws are near a unit normal.

    Parameters
    ----------
    density : threads share it.
    adaptation : of the sampler's own scales, "low_rank" or "diag"; the first takes long from some 200 dimensions on.
    """

    def expand(_seed: int, _second: int, _chain: int) -> Callable[[Array], dict[str, Array]]:
        return lambda u: {"z": natural(u)}

    model = nutpie.compiled_pyfunc.from_pyfunc(
        n,
        lambda: density,
        expand,
        [np.dtype("float64")],
        [(n,)],
        ["z"],
        make_initial_point_fn=lambda seed: np.random.default_rng(seed).standard_normal(n),
    )
    result: Any = nutpie.sample(
        model,
        draws=config.draws,
        tune=config.tune,
        chains=config.chains,
        cores=config.chains,
        seed=config.seed,
        target_accept=config.target_accept,
        adaptation=adaptation,
        progress_bar=False,
        save_warmup=False,
    )
    z = result["posterior"].to_dataset()["z"].to_numpy()
    return judged(z, int(result["sample_stats"]["diverging"].to_numpy().sum()))


def judged(z: Array, divergences: int) -> Sample:
    """Draws z (n_chains, n_draws, n_free) with their diagnostics."""
    posterior = az.convert_to_dataset({"z": z})
    return Sample(
        z=z,
        r_hat_max=float(az.rhat(posterior)["z"].max()),
        ess_min=min(float(az.ess(posterior, method=method)["z"].min()) for method in ("bulk", "tail")),
        divergences=divergences,
    )
