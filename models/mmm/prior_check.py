"""What the priors say before any data: absurd set-ups are stopped, an earlier study becomes a prior."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError, DataError
from models.mmm.config import MMMConfig, RoasPrior
from models.mmm.data import WEEK, MMMData
from models.mmm.fitted import FittedMMM
from models.mmm.inputs import Inputs, kinds_of, split_theta
from models.mmm.likelihood import BLOCKS
from models.mmm.media import carried_share, lag_weights
from models.mmm.results import roas
from models.mmm.varying import path

Array = NDArray[np.float64]
N_DRAWS = 2000
SHARE_MAX = 1.0  # of the KPI: media that a priori bring more than everything are stated in another unit
SHARE_MIN = 1e-4  # media that a priori bring nothing at all, likewise


def prior_media_share(inputs: Inputs, seed: int = 0) -> Array:
    """Draws (n_draws, n_channels) of the share of the KPI that each channel brings, from the prior alone."""
    z = np.random.default_rng([seed, 9]).standard_normal((N_DRAWS, inputs.n_free))
    theta = inputs.prior_mean + z @ inputs.prior_root.T
    return np.asarray(np.exp(theta[:, : inputs.n_channels]))


def draw_from_prior(inputs: Inputs, rng: np.random.Generator) -> tuple[Array, Array]:
    """One draw z (n_free,) from the prior, with a KPI (n_weeks,) in mean KPIs that it makes likely.

    Lift tests are part of the data, not of this draw. For simulation-based calibration, and to see what the priors
    expect of a KPI.

    Sources: Talts et al. (2018), "Validating Bayesian inference algorithms with simulation-based calibration".
    """
    z = rng.standard_normal(inputs.n_free)
    media, log_signed, log_noise, sampled, synergy = split_theta(
        (inputs.prior_mean + inputs.prior_root @ z)[None], inputs
    )
    kinds, n_lags = kinds_of(inputs), inputs.media.shape[1] - len(inputs.kpi) + 1
    effect, half, slope, shape = (np.exp(media[:, i]) for i in (0, 1, 2, 4))
    first = np.exp(media[:, 3]) if kinds[0].startswith("weibull") else 1.0 / (1.0 + np.exp(-media[:, 3]))
    weights = lag_weights(kinds[0], first, shape, n_lags - 1)
    share = carried_share(inputs.media.T[n_lags - 1 :], weights, half, slope, kinds[1], kinds[2])[0]
    share *= path(media[:, BLOCKS:], inputs.wander)[0]
    reached = np.where(share.sum(axis=0) > 0, share.mean(axis=0), 1.0)
    coefficients = sampled[0] if inputs.is_joint else rng.standard_normal(len(inputs.singular))
    mean = share @ (effect[0] / reached) + np.exp(log_signed[0]) @ inputs.signed_columns
    for (one, other), extra in zip(inputs.pairs, synergy[0], strict=True):
        mean += extra * share[:, one] * share[:, other] / (reached[one] * reached[other])
    mean += inputs.basis @ (inputs.singular * coefficients)
    return z, mean + np.exp(log_noise[0]) * rng.standard_normal(len(mean))


def check_prior(inputs: Inputs, channels: tuple[str, ...], config: MMMConfig) -> None:
    """Refuse priors whose median channel or total is absurd.

    Raises
    ------
    ConfigError : media would bring more than the whole KPI, or a stated ROAS next to nothing.
    """
    share = np.median(prior_media_share(inputs, config.seed), axis=0)
    worst = int(share.argmax())
    if share.sum() > SHARE_MAX:
        raise ConfigError(
            f"Before any data the priors say that media bring {share.sum():.0%} of the KPI, {channels[worst]} alone "
            f"{share[worst]:.0%}; expected less than {SHARE_MAX:.0%}.\n"
            "Look at mmm.priors: a ROAS is KPI per unit of money, in the units of the data."
        )
    for i, name in enumerate(channels):
        if name in config.priors.roas and share[i] < SHARE_MIN:
            raise ConfigError(
                f"mmm.priors.roas says that {name} brings {share[i]:.1e} of the KPI; expected at least {SHARE_MIN:g}.\n"
                "A ROAS is KPI per unit of money, in the units of the data."
            )


def from_earlier(earlier: FittedMMM, data: MMMData) -> Mapping[str, RoasPrior]:
    """ROAS priors from the posterior of an earlier study of other weeks, for the channels that both have.

    Effects wander from then to now by `drift_per_year`, so the prior is wider than that posterior.

    Raises
    ------
    DataError : the two share a week or a lift test; its evidence would count twice.
    """
    shared = np.intersect1d(earlier.data.week_start, data.week_start)
    tests = set(earlier.data.lift_tests) & set(data.lift_tests)
    if len(shared) or tests:
        what = f"{len(shared)} weeks, the first {shared[0]}" if len(shared) else f"{len(tests)} lift tests"
        raise DataError(
            f"The earlier study holds {what}, which this fit holds too: they would count twice.\n"
            "Use it as a start of the sampler instead, or cut the weeks."
        )
    middle = [one.week_start[0] + (one.week_start[-1] + WEEK - one.week_start[0]) / 2 for one in (earlier.data, data)]
    years = abs(float((middle[1] - middle[0]) / np.timedelta64(1, "D"))) / 365.25
    draws, found = roas(earlier), {}
    for i, name in enumerate(earlier.data.channels):
        if name in data.channels and np.isfinite(draws[:, i]).all() and (draws[:, i] > 0).all():
            sd = float(np.sqrt(np.log(draws[:, i]).var() + years * earlier.config.drift_per_year**2))
            found[name] = RoasPrior(median=float(np.median(draws[:, i])), log_sd=sd)
    return found
