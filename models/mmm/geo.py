"""The mix model by geo: shared curves, effects that differ from geo to geo and are partially pooled.

Each geo is a company of its own, scaled by its own mean KPI, mean media, with its own baseline and noise. Carry-over,
half saturation, slope, synergies are the same everywhere, in the geo's own mean spends. The log effect of a channel c
in geo g is

    log effect_gc = log(media share * s_gc) + common_c + tau * d_gc,   d_gc ~ Normal(0, 1),

s_gc the geo's spend per KPI over that of the whole company, so that what is pooled is the return per unit of money. tau
is learned from how much the geos differ, or held at a stated value; at 0 all geos return the same.

The density is the sum over geos of the national one, so that with one geo and tau = 0 it is the national density.
Geos are kept in the order of their names: the same geos in any order give the same draws.

Sources: Sun et al. (2017), "Geo-level Bayesian hierarchical media mix modeling"; Betancourt, Girolami (2013),
"Hamiltonian Monte Carlo for hierarchical models", on d in place of tau * d.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numba
import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError, DataError
from models.mmm.config import MMMConfig
from models.mmm.data import LiftTest, MMMData
from models.mmm.design import Design, make_design
from models.mmm.geo_lift import GeoLift, NationalTest, geo_lift, national_tests, with_others_lift
from models.mmm.inputs import Inputs, make_inputs
from models.mmm.likelihood import BLOCKS, log_likelihood
from models.mmm.media import mean_spend
from models.mmm.prior_check import check_prior

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class GeoConfig:
    """Whether the mix model is fitted by geo too, and how far apart the geos' effects are believed to be.

    enabled : where spend and KPI name their geo; takes minutes rather than seconds.
    effect_sd : median of tau, the sd of the log effects of one channel around their common value.
    effect_log_sd : sd of log tau; 0 holds tau at `effect_sd`.
    target_accept : of the sampler, in place of the national model's: in many dimensions its small steps cost more than
        they bring. Raised where draws diverge.
    """

    enabled: bool = False  # fit by country too, where ad_spend and KPI name one; minutes, not seconds
    effect_sd: float = 0.25  # 90 % of the geos within a factor 1.5 of the common return
    effect_log_sd: float = 0.5  # tau within 0.11-0.57 with 90 %
    target_accept: float = 0.85  # half the steps of 0.95 for the same effective draws

    def __post_init__(self) -> None:
        for name in ("effect_sd", "effect_log_sd"):
            if not 0 <= getattr(self, name) <= 3:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 to 3")
        if not 0.5 <= self.target_accept < 1:
            raise ValueError(f"target_accept is {self.target_accept}; expected 0.5 to below 1")

    @property
    def is_learned(self) -> bool:
        """Whether tau is sampled."""
        return self.effect_sd > 0 and self.effect_log_sd > 0


@dataclass(frozen=True, kw_only=True)
class GeoData:
    """Weekly series of one company by geo, in the order of the geos' names.

    Parameters
    ----------
    geos : names, distinct.
    data : one per geo, with the same weeks, channels, controls; a geo's own lift tests in its own data.
    lift_tests : tests on the whole company; their change of spend is split over the geos as was the spend.

    Raises
    ------
    DataError : no geo, a name twice, geos of unlike weeks, channels or controls.
    """

    geos: tuple[str, ...]
    data: tuple[MMMData, ...]
    lift_tests: tuple[LiftTest, ...] = ()

    def __post_init__(self) -> None:
        if len(self.geos) != len(self.data):
            raise ValueError(f"{len(self.geos)} geos, {len(self.data)} data; expected one each")
        if not self.geos or len(set(self.geos)) < len(self.geos):
            raise DataError(f"Geos are {sorted(self.geos)}; expected one or more, each once.\nCorrect the geo column.")
        order = sorted(range(len(self.geos)), key=self.geos.__getitem__)
        object.__setattr__(self, "geos", tuple(self.geos[g] for g in order))
        object.__setattr__(self, "data", tuple(self.data[g] for g in order))
        first = self.data[0]
        for name, one in zip(self.geos[1:], self.data[1:], strict=True):
            unlike = [
                what
                for what, same in (
                    ("weeks", np.array_equal(one.week_start, first.week_start)),
                    ("channels", one.channels == first.channels),
                    ("controls", one.control_names == first.control_names),
                )
                if not same
            ]
            if unlike:
                raise DataError(
                    f"Geo {name!r} differs from {self.geos[0]!r} in its {', '.join(unlike)}; expected the same for all."
                    "\nFill the missing weeks of a channel with spend 0, or leave the geo out."
                )

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels, the same in every geo."""
        return self.data[0].channels


@dataclass(frozen=True, kw_only=True)
class GeoInputs:
    """What the density reads: each geo's arrays, where its parameters are in the one vector z.

    z holds what a national fit samples, in its order, what is a geo's own (log noise sd, effects of signed controls,
    sampled columns) once per geo; then, if tau is learned, its standardised logarithm; then d (n_geos, n_channels).

    prior_mean, prior_root : (n_geos, n_theta), (n_geos, n_theta, n_national) theta_g = prior_mean_g + prior_root_g z_g,
        then tau * d_g on the log effects.
    index : (n_geos, n_national) z_g = z[index_g].
    national : tests on the whole company; notes : those left out, in plain sentences.
    """

    geos: tuple[str, ...]
    each: tuple[Inputs, ...]
    designs: tuple[Design, ...]
    geo_config: GeoConfig
    prior_mean: Array
    prior_root: Array
    index: NDArray[np.int64]
    national: tuple[NationalTest, ...]
    notes: tuple[str, ...]

    @property
    def n_geos(self) -> int:
        """Number of geos."""
        return len(self.geos)

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return self.each[0].n_channels

    @property
    def at_sd(self) -> int:
        """Position of the standardised log tau, where it is learned."""
        return int(self.index.max()) + 1

    @property
    def at_deviation(self) -> int:
        """Position of the first d."""
        return self.at_sd + self.geo_config.is_learned

    @cached_property
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """Form, KPI, media, signed columns, basis, singular of all geos, pairs; see `log_density_and_gradient`."""
        names = ("kpi", "media", "signed_columns", "basis", "singular")
        series = (np.stack([getattr(one, name) for one in self.each]) for name in names)
        return self.each[0].form, *series, self.each[0].pairs

    @cached_property
    def lift(self) -> GeoLift:
        """All tests, by geo."""
        return geo_lift(self.each, self.national)

    @property
    def n_free(self) -> int:
        """Number of sampled dimensions."""
        return self.at_deviation + (self.n_geos * self.n_channels if self.geo_config.effect_sd > 0 else 0)


def make_geo_inputs(data: GeoData, config: MMMConfig, geo_config: GeoConfig) -> GeoInputs:
    """Lay out the arrays of every geo and the one vector z that they share.

    Raises
    ------
    DataError : an interaction of which a channel never ran in some geo.
    ConfigError : the priors are absurd for the company as a whole, see `check_prior`; or effects are to vary.
    """
    if config.varying_weeks:
        raise ConfigError("mmm.varying_weeks is not combined with a model by geo; expected 0.\nLeave one of them out.")
    designs = tuple(make_design(one, config) for one in data.data)
    each = tuple(make_inputs(one, design, config) for one, design in zip(data.data, designs, strict=True))
    for name, one in zip(data.geos, each, strict=True):
        if len(one.pairs) != len(config.interactions):
            raise DataError(
                f"In geo {name!r} a channel of mmm.interactions {list(config.interactions)} never ran; expected all of "
                "them to run in every geo.\nLeave that pair out, or the geo."
            )
    prior_mean = np.stack([one.prior_mean for one in each])
    prior_root = np.stack([one.prior_root for one in each])
    prior_mean[:, : len(data.channels)] += _return_level(data, config)
    at_signed, at_pairs = BLOCKS * len(data.channels), prior_mean.shape[1] - len(each[0].pairs)
    own = prior_root[0, at_signed:at_pairs].any(axis=0)  # dimensions of a geo's own parameters
    width = np.where(own, len(each), 1)
    start = np.concatenate([[0], np.cumsum(width)[:-1]])
    index = start + np.where(own, np.arange(len(each))[:, None], 0)
    kpi_scale = np.array([np.abs(one.kpi).mean() for one in data.data])
    share = kpi_scale / kpi_scale.sum() @ np.exp(prior_mean[:, : len(data.channels)])
    company = np.concatenate([np.log(share), prior_mean[0, len(data.channels) :]])
    check_prior(replace(each[0], prior_mean=company), data.channels, config)
    tests, notes = national_tests(data.data, data.lift_tests, each, config)
    return GeoInputs(
        geos=data.geos,
        each=each,
        designs=designs,
        geo_config=geo_config,
        prior_mean=prior_mean,
        prior_root=prior_root,
        index=index.astype(np.int64),
        national=tests,
        notes=notes,
    )


def _return_level(data: GeoData, config: MMMConfig) -> Array:
    """Log of each geo's spend per KPI over the company's: (n_geos, n_channels); 0 for a channel with a stated ROAS."""
    spend = np.array([mean_spend(one.spend).sum() for one in data.data])
    kpi = np.array([np.abs(one.kpi).mean() for one in data.data])
    level = np.log(spend / kpi) - np.log(spend.sum() / kpi.sum())
    stated = np.array([name in config.priors.roas for name in data.channels])
    return np.where(stated, 0.0, level[:, None])


def effect_sd(inputs: GeoInputs, z: Array) -> Array:
    """Each draw's tau: (...) for z (..., n_free)."""
    config = inputs.geo_config
    if not config.is_learned:
        return np.full(z.shape[:-1], config.effect_sd)
    return np.asarray(config.effect_sd * np.exp(config.effect_log_sd * z[..., inputs.at_sd]))


def theta_of(inputs: GeoInputs, z: Array, geo: int) -> Array:
    """Parameters (n_draws, n_theta) of one geo for draws z (n_draws, n_free), see `log_density_and_gradient`."""
    theta = inputs.prior_mean[geo] + z[:, inputs.index[geo]] @ inputs.prior_root[geo].T
    if inputs.geo_config.effect_sd > 0:
        n, at = inputs.n_channels, inputs.at_deviation + geo * inputs.n_channels
        theta[:, :n] += effect_sd(inputs, z)[:, None] * z[:, at : at + n]
    return np.asarray(theta)


@np.errstate(over="ignore", divide="ignore", invalid="ignore")  # far out the density is 0, or nan, as compiled
def log_density(inputs: GeoInputs, z: Array) -> tuple[float, Array]:
    """Log posterior density of z (n_free,), up to a constant, with its gradient."""
    n, tau = inputs.n_channels, float(effect_sd(inputs, z))
    theta = inputs.prior_mean + (inputs.prior_root @ z[inputs.index][:, :, None])[:, :, 0]
    deviation = z[inputs.at_deviation :].reshape(-1, n)
    if tau > 0:
        theta[:, :n] += tau * deviation
    by_theta = np.zeros(theta.shape)
    *series, pairs = inputs.arrays
    rows, counted_twice = with_others_lift(inputs.each, inputs.national, inputs.lift, theta)
    value = _sum_over_geos(theta, *series, rows, inputs.lift.partner_levels, inputs.lift.first, pairs, by_theta)
    gradient = -z
    by_national = (by_theta[:, None, :] @ inputs.prior_root)[:, 0, :]
    gradient += np.bincount(inputs.index.ravel(), by_national.ravel(), minlength=len(z))
    if tau > 0:
        gradient[inputs.at_deviation :] += (tau * by_theta[:, :n]).ravel()
    if inputs.geo_config.is_learned:
        slope = float((by_theta[:, :n] * deviation).sum())
        gradient[inputs.at_sd] += inputs.geo_config.effect_log_sd * tau * slope
    return value - counted_twice - 0.5 * float(z @ z), gradient


@numba.njit(cache=False, nogil=True, error_model="numpy")  # a cache would not see `log_likelihood` change; 1.2 s
def _sum_over_geos(  # noqa: PLR0913, PLR0917 (compiled code takes arrays, no objects)
    theta: Array,
    form: NDArray[np.int64],
    kpi: Array,
    padded: Array,
    signed: Array,
    basis: Array,
    singular: Array,
    lift_tests: Array,
    partner_levels: Array,
    first: NDArray[np.int64],
    pairs: NDArray[np.int64],
    gradient: Array,
) -> float:
    """Log likelihood of theta (n_geos, n_theta), all arrays by geo, the rows of geo g's tests from first[g] on."""
    value = 0.0
    for g in range(len(theta)):
        of_geo = slice(first[g], first[g + 1])
        value += log_likelihood(
            theta[g],
            form,
            kpi[g],
            padded[g],
            signed[g],
            basis[g],
            singular[g],
            lift_tests[of_geo],
            partner_levels[of_geo],
            pairs,
            np.zeros((kpi.shape[1], 0)),
            np.zeros((first[g + 1] - first[g], 0)),
            gradient[g],
        )
    return value
