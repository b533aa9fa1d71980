"""A mix model fitted by geo, and what a user asks it: each geo's figures, the company's, curves of either.

Draws belong together across geos: draw 7 of every geo is one possible world, so that sums are taken draw by draw.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.mmm.config import MMMConfig
from models.mmm.exposure import media_of
from models.mmm.fit import CONTRADICTION_SE, finished
from models.mmm.fitted import FittedMMM, contributions
from models.mmm.geo import GeoConfig, GeoData, GeoInputs, effect_sd, make_geo_inputs, theta_of
from models.mmm.geo_lift import national_misses, national_tests
from models.mmm.geo_sampler import GeoCoordinates, geo_mode, geo_sample
from models.mmm.lift import lift_misses
from models.mmm.media import mean_spend
from models.mmm.results import channel_table, marginal_roas, recent_spend, response_curves, steady_response
from models.mmm.sampler import Sample
from models.response import ResponseCurves

Array = NDArray[np.float64]
LAPLACE_DRAWS = 400  # to compare lift tests with: the spread of a lift to 4 %


@dataclass(frozen=True, kw_only=True)
class GeoFit:
    """Posterior of a mix model by geo, in the order of the geos' names.

    fits : one `FittedMMM` per geo, on the same draws, so that all that can be asked of a national fit can be asked of a
        geo. Diagnostics of the sampler are those of all geos together. How effects drift to today is one world's, the
        same in every geo.
    effect_sd : (n_draws,) tau, the sd of log effects between geos.
    notes : what the user should know, in plain sentences.
    """

    geos: tuple[str, ...]
    fits: tuple[FittedMMM, ...]
    effect_sd: Array
    notes: tuple[str, ...]

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return self.fits[0].data.channels


def fit_geo(data: GeoData, config: MMMConfig | None = None, geo_config: GeoConfig | None = None) -> GeoFit:
    """Posterior of the mix model by geo; the same data with the same configs give the same draws.

    Where the lift tests of a channel contradict what the weeks of all geos say without them, its budget is taken to
    follow demand in every geo, with a note. `config.holdout_weeks` is not used here.

    Raises
    ------
    DataError : an interaction of which a channel never ran in some geo.
    """
    config, geo_config = config or MMMConfig(), geo_config or GeoConfig()
    config, notes = _confounding_resolved(data, config, geo_config)
    inputs = make_geo_inputs(data, config, geo_config)
    return _geo_fit(geo_sample(inputs, config, geo_mode(inputs)), inputs, data, config, notes)


def _confounding_resolved(data: GeoData, config: MMMConfig, geo_config: GeoConfig) -> tuple[MMMConfig, tuple[str, ...]]:
    """The config with the channels whose tests lie far from what the weeks say, each with a note."""
    tested = bool(data.lift_tests) or any(one.lift_tests for one in data.data)
    if config.confounded is not None or not tested:
        return replace(config, confounded=config.confounded or ()), ()
    apart = replace(config, confounded=())
    weeks = replace(data, data=tuple(replace(one, lift_tests=()) for one in data.data), lift_tests=())
    inputs = make_geo_inputs(weeks, apart, geo_config)
    sample = _laplace(geo_mode(inputs), config.seed)
    misses: dict[str, tuple[float, str]] = {}
    tests, _ = national_tests(weeks.data, data.lift_tests, inputs.each, apart)
    theta = [theta_of(inputs, sample.z[0], g) for g in range(inputs.n_geos)]
    for name, miss in national_misses(inputs.each, tests, theta).items():
        misses[name] = (miss, "all geos")
    fits = _geo_fit(sample, inputs, weeks, apart, ()).fits
    for geo, fitted, one in zip(data.geos, fits, data.data, strict=True):
        for name, miss in lift_misses(fitted, one.lift_tests).items():
            misses[name] = max((miss, geo), misses.get(name, (0.0, "")))
    found = {name: miss for name, miss in misses.items() if miss[0] > CONTRADICTION_SE}
    notes = tuple(
        f"A lift test on {name!r} in {geo} lies {miss:.1f} standard errors from what the weeks say without it, as "
        "where a budget follows sales: its level is read from the tests, not from what moves together."
        for name, (miss, geo) in found.items()
    )
    return replace(config, confounded=tuple(found)), notes


def _laplace(at: GeoCoordinates, seed: int) -> Sample:
    white = np.random.default_rng([seed, 11]).standard_normal((len(at.start), LAPLACE_DRAWS))
    z = (at.start[:, None] + at.scale @ white).T[None]
    return Sample(z=z, r_hat_max=None, ess_min=float(LAPLACE_DRAWS), divergences=0)


def _geo_fit(sample: Sample, inputs: GeoInputs, data: GeoData, config: MMMConfig, notes: tuple[str, ...]) -> GeoFit:
    z = sample.z.reshape(-1, inputs.n_free)
    z = z[np.linspace(0, len(z) - 1, min(config.kept_draws, len(z))).round().astype(int)]
    fits, company = [], (*inputs.notes, *notes)
    seeds = np.random.SeedSequence([config.seed, 12]).generate_state(inputs.n_geos)  # baselines err independently
    for g, one in enumerate(data.data):
        theta = theta_of(inputs, z, g)
        direct = replace(inputs.each[g], prior_mean=np.zeros(theta.shape[1]), prior_root=np.eye(theta.shape[1]))
        apart = replace(config, seed=int(seeds[g])) if inputs.n_geos > 1 else config
        fitted = finished(replace(sample, z=theta[None]), direct, one, inputs.designs[g], apart)
        prior_sd = np.hypot(np.linalg.norm(inputs.prior_root[g], axis=1)[: inputs.n_channels], _prior_effect_sd(inputs))
        contraction = theta[:, : inputs.n_channels].std(axis=0) / prior_sd
        noted = (*fitted.notes, *company)
        fits.append(replace(fitted, config=config, effect_contraction=contraction, notes=noted))
    own = [
        f"{geo}: {note}" if note in one.lift.notes else note
        for geo, one in zip(data.geos, inputs.each, strict=True)
        for note in one.notes
    ]
    return GeoFit(
        geos=data.geos, fits=tuple(fits), effect_sd=effect_sd(inputs, z), notes=tuple(dict.fromkeys((*company, *own)))
    )


def _prior_effect_sd(inputs: GeoInputs) -> float:
    """Root of the prior mean of tau^2."""
    config = inputs.geo_config
    return config.effect_sd * float(np.exp(config.effect_log_sd**2)) if config.is_learned else config.effect_sd


def national_contributions(fit: GeoFit) -> Array:
    """KPI each channel brought in each week, summed over geos: (n_draws, n_weeks, n_channels)."""
    total = contributions(fit.fits[0])
    for fitted in fit.fits[1:]:
        total = total + contributions(fitted)
    return total


def national_roas(fit: GeoFit) -> Array:
    """KPI per unit of money over all weeks and geos: (n_draws, n_channels); NaN for a channel that never spent."""
    spend = np.sum([fitted.data.spend.sum(axis=0) for fitted in fit.fits], axis=0)
    brought = np.sum([contributions(fitted).sum(axis=1) for fitted in fit.fits], axis=0)
    return np.asarray(brought / np.where(spend > 0, spend, np.nan))


def national_marginal_roas(fit: GeoFit) -> Array:
    """KPI per next unit of weekly money, split over geos as of late: (n_draws, n_channels)."""
    return np.sum([share * marginal_roas(fitted) for fitted, share in zip(fit.fits, _split(fit), strict=True)], axis=0)


def national_table(fit: GeoFit) -> pl.DataFrame:
    """The rows of `channel_table` for the company: channel; contribution, roas, marginal_roas as _mean, _p05, _p95."""
    brought = np.sum([contributions(fitted).sum(axis=1) for fitted in fit.fits], axis=0)
    measures = {"contribution": brought, "roas": national_roas(fit), "marginal_roas": national_marginal_roas(fit)}
    columns: dict[str, pl.Series] = {"channel": pl.Series(fit.channels, dtype=pl.String)}
    for name, draws in measures.items():
        low, high = np.quantile(draws, [0.05, 0.95], axis=0)
        for suffix, values in (("mean", draws.mean(axis=0)), ("p05", low), ("p95", high)):
            columns[f"{name}_{suffix}"] = pl.Series(values).fill_nan(None)
    return pl.DataFrame(columns)


def geo_table(fit: GeoFit) -> pl.DataFrame:
    """The rows of `channel_table` of every geo, with geo in front."""
    return pl.concat(
        channel_table(one).select(pl.lit(geo).alias("geo"), pl.all())
        for geo, one in zip(fit.geos, fit.fits, strict=True)
    )


def national_curves(
    fit: GeoFit, max_spend_factor: float = 2.5, n_points: int = 80, max_draws: int = 500
) -> ResponseCurves:
    """Steady weekly response to each channel's spend in all geos, split over them as in the last 13 weeks.

    Over all weeks for a channel dark for 13 weeks. Parameters as of `response_curves`.
    """
    if max_spend_factor <= 0 or n_points < 2 or max_draws < 1:
        raise ValueError(f"max_spend_factor {max_spend_factor}, n_points {n_points}, max_draws {max_draws}: too small")
    spend = np.sum([media_of(fitted.data) for fitted in fit.fits], axis=0)
    recent = np.sum([recent_spend(fitted) for fitted in fit.fits], axis=0)
    last = np.maximum(max_spend_factor * np.maximum(recent, mean_spend(spend)), spend.max(axis=0))
    grid = last[:, None] * np.linspace(0.0, 1.0, n_points) ** 2
    n_draws = fit.fits[0].n_draws
    kept = np.linspace(0, n_draws - 1, min(max_draws, n_draws)).round().astype(int)
    response = np.zeros((len(last), n_points, len(kept)))
    for fitted, share in zip(fit.fits, _split(fit), strict=True):
        response += steady_response(fitted, grid.T * share, kept).transpose(1, 0, 2)
    return ResponseCurves(lines=fit.channels, spend=grid, response=response)


def _split(fit: GeoFit) -> Array:
    """Share of each channel's spend that goes to each geo: (n_geos, n_channels), summing to 1 over geos.

    As all channels' spend for a channel that never ran.
    """
    recent = np.stack([recent_spend(fitted) for fitted in fit.fits])
    whole = np.stack([fitted.data.spend.mean(axis=0) for fitted in fit.fits])
    by_weeks = np.where(recent.sum(axis=0) > 0, recent, whole)
    split = np.where(by_weeks.sum(axis=0) > 0, by_weeks, whole.sum(axis=1, keepdims=True))
    return np.asarray(split / split.sum(axis=0))


def geo_curves(fit: GeoFit, max_spend_factor: float = 2.5, n_points: int = 40, max_draws: int = 250) -> ResponseCurves:
    """Curves of every channel in every geo, lines "channel / geo", for a plan that moves money between geos.

    A channel that never ran in a geo has no line there: its curve would be in units of money that nobody has spent.
    Parameters as of `response_curves`; memory is lines x points x draws x 8 bytes, 80 MB for 20 channels in 50 geos.
    """
    lines, spend, response = [], [], []
    for geo, fitted in zip(fit.geos, fit.fits, strict=True):
        curves = response_curves(fitted, max_spend_factor, n_points, max_draws)
        ran = np.flatnonzero(fitted.data.spend.any(axis=0))
        lines += [f"{fit.channels[c]} / {geo}" for c in ran]
        spend.append(curves.spend[ran])
        response.append(curves.response[ran])
    return ResponseCurves(lines=tuple(lines), spend=np.vstack(spend), response=np.vstack(response))
