"""A quick approximation of the posterior: importance sampling around its mode, adapted, judged by k-hat.

Proposals are a multivariate t around the mode; each round moves its centre and spread to the weighted draws of the
round before. The last round's weights are smoothed, and their tail index k says whether they can be trusted.

Sources: Cappé et al. (2008), "Adaptive importance sampling in general mixture classes"; Vehtari et al. (2024),
"Pareto smoothed importance sampling", section 3.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.mmm import sampler
from models.mmm.config import MMMConfig
from models.mmm.inputs import Inputs
from models.mmm.sampler import Coordinates, Sample

Array = NDArray[np.float64]
PROPOSAL_DF = 7.0  # tails a little heavier than the posterior's, which are those of normals
ROUNDS = 10
PROPOSALS = 4000  # of a round: some forty for each entry of a spread of 30 x 30, smoothed below


def importance_sample(inputs: Inputs, config: MMMConfig) -> Sample:
    """Draws of z (1, n, n_free) resampled by smoothed importance weights, with their k-hat."""
    rng = np.random.default_rng([config.seed, 7])
    density = sampler.log_density(inputs)
    at = sampler.mode(inputs)
    z, log_weight = _propose(density, at, rng, inputs.n_free)
    for _ in range(ROUNDS - 1):
        weight, _ = pareto_smoothed(log_weight)
        at = _moved(z, weight, at)
        z, log_weight = _propose(density, at, rng, inputs.n_free)
    weight, k_hat = pareto_smoothed(log_weight)
    ess = 1.0 / float((weight**2).sum())
    positions = (np.arange(config.kept_draws) + rng.random()) / config.kept_draws
    kept = np.searchsorted(np.cumsum(weight), positions).clip(max=len(z) - 1)
    return Sample(z=z[None, rng.permutation(kept)], r_hat_max=None, ess_min=ess, divergences=0, k_hat=k_hat)


def _propose(
    density: Callable[[Array], tuple[float, Array]], at: Coordinates, rng: np.random.Generator, n: int
) -> tuple[Array, Array]:
    white = rng.standard_normal((PROPOSALS, n))
    u = white * np.sqrt(PROPOSAL_DF / rng.chisquare(PROPOSAL_DF, PROPOSALS))[:, None]
    z = at.start + u @ at.scale.T
    target = np.array([density(row)[0] for row in z])
    log_proposal = -0.5 * (PROPOSAL_DF + n) * np.log1p((u**2).sum(axis=1) / PROPOSAL_DF)
    log_weight = target - log_proposal
    return z, np.where(np.isfinite(log_weight), log_weight, -np.inf)


def _moved(z: Array, weight: Array, at: Coordinates) -> Coordinates:
    """Centre and spread of the weighted draws, the spread drawn towards the last one where few draws count."""
    mean = weight @ z
    centred = z - mean
    spread = (centred * weight[:, None]).T @ centred
    trust = 1.0 / (float((weight**2).sum()) * z.shape[1])  # effective draws per dimension
    share = trust / (trust + 5.0)  # five draws a dimension are worth as much as the last spread
    spread = share * spread + (1.0 - share) * at.scale @ at.scale.T
    return Coordinates(start=mean, scale=np.linalg.cholesky(spread))


def pareto_smoothed(log_weight: Array) -> tuple[Array, float]:
    """Normalised weights (n,) with the largest replaced by quantiles of a generalised Pareto tail; its k-hat.

    Sources: Vehtari et al. (2024), section 2.3; Zhang, Stephens (2009) for the tail's shape.
    """
    n = len(log_weight)
    weight = np.exp(log_weight - log_weight.max())
    n_tail = int(min(0.2 * n, 3.0 * np.sqrt(n)))
    order = np.argsort(weight)
    tail, cutoff = order[n - n_tail :], weight[order[n - n_tail - 1]]
    excess = weight[tail] - cutoff
    if n_tail < 5 or excess[-1] <= 0 or not np.isfinite(excess).all():
        return weight / weight.sum(), float("inf")
    k_hat, scale = _pareto_fit(np.maximum(excess, 1e-300))
    level = (np.arange(n_tail) + 0.5) / n_tail
    smoothed = cutoff + stats.genpareto.ppf(level, k_hat, scale=scale)
    weight[tail] = np.minimum(smoothed, 1.0)
    return weight / weight.sum(), k_hat


def _pareto_fit(excess: Array) -> tuple[float, float]:
    """Shape with scale of a generalised Pareto distribution for increasing values above 0.

    Sources: Zhang, Stephens (2009), "A new and efficient estimation method for the generalized Pareto distribution";
    the shape drawn towards 0.5 by ten observations, Vehtari et al. (2024), appendix C.
    """
    n = len(excess)
    n_grid = 30 + int(np.sqrt(n))
    grid = 1.0 - np.sqrt(n_grid / (np.arange(1, n_grid + 1) - 0.5))
    grid = grid / (3.0 * excess[int(n / 4 + 0.5) - 1]) + 1.0 / excess[-1]
    shape = np.log1p(-grid[:, None] * excess).mean(axis=1)
    log_likelihood = n * (np.log(-grid / shape) - shape - 1.0)
    with np.errstate(over="ignore"):  # a hopeless grid point gets a weight of 0
        weight = 1.0 / np.exp(log_likelihood - log_likelihood[:, None]).sum(axis=1)
    b = float((grid * weight).sum() / weight.sum())
    k = float(np.log1p(-b * excess).mean())
    return (n * k + 5.0) / (n + 10.0), -k / b
