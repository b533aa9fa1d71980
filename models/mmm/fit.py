"""The mix model's fit: posterior draws in natural units, holdout score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from models.gate import GateConfig
from models.mmm import sampler
from models.mmm.config import MMMConfig
from models.mmm.data import MIN_WEEKS, MMMData, control_matrix
from models.mmm.design import Design, make_design
from models.mmm.exposure import media_of
from models.mmm.fitted import FittedMMM, Metric, expected_kpi, predict, with_noise
from models.mmm.inputs import Inputs, make_inputs, split_theta
from models.mmm.interactions import joint_media, pairs_of
from models.mmm.lift import lift_misses
from models.mmm.likelihood import BLOCKS
from models.mmm.media import carried_share, lag_weights, saturation
from models.mmm.prior_check import check_prior
from models.mmm.quick import importance_sample
from models.mmm.sampler import Coordinates, Sample
from models.mmm.scores import scores
from models.mmm.varying import path

Array = NDArray[np.float64]
CONTRADICTION_SE = 2.5  # one test in eighty lies so far out by chance
K_HAT_MAX = GateConfig().k_hat_pass  # above, a quick approximation decides nothing


def fit(data: MMMData, config: MMMConfig | None = None, previous: FittedMMM | None = None) -> FittedMMM:
    """Posterior of the mix model for `data`; the same data with the same config give the same draws.

    Where the diagnostics of the first run are short of their aim, it is sampled once more, with smaller steps, twice
    as long. Where a lift test contradicts what the weeks say without it, that channel's budget is taken to follow
    demand (see `design`), and a note says so. With `config.holdout_weeks` a second fit on the earlier weeks is scored
    on the last ones; r2, mape are then those of the held-out weeks, else of the fitted ones.

    Parameters
    ----------
    previous : an earlier fit of the same channels whose posterior gives the sampler its start and its scales; it is no
        prior, the posterior stays what it is. One of another form or of other channels is passed over.

    Raises
    ------
    DataError : the weeks before the holdout are fewer than 20.
    ConfigError : the priors are absurd, see `check_prior`.

    Sources: Jin et al. (2017), "Bayesian methods for media mix modeling with carryover and shape effects".
    """
    config = config or MMMConfig()
    if config.holdout_weeks and data.n_weeks - config.holdout_weeks < MIN_WEEKS:
        raise DataError(
            f"mmm.holdout_weeks is {config.holdout_weeks} of {data.n_weeks} weeks; {MIN_WEEKS} must remain to fit on.\n"
            f"Lower it to {max(data.n_weeks - MIN_WEEKS, 0)} or less, or add history."
        )
    fitted = _fit(data, config, previous)
    fitted = replace(fitted, metrics={**fitted.metrics, "holdout_weeks": config.holdout_weeks})
    if config.holdout_weeks == 0:
        return fitted
    return replace(fitted, metrics={**fitted.metrics, **_holdout_metrics(data, config)})


def quick_fit(data: MMMData, config: MMMConfig | None = None) -> FittedMMM:
    """The posterior by importance sampling from its Laplace approximation: a second or two, for scenarios.

    metrics hold k_hat in place of r_hat_max; the gate fails one above 0.7, so that no plan rests on it. Where the
    approximation does not hold for the weeks alone, no channel is taken to be confounded, and a note says so.
    """
    config, notes = _confounding_resolved(data, config or MMMConfig(), may_sample=False)
    return _with_notes(_approximated(data, config), notes)


def _fit(data: MMMData, config: MMMConfig, previous: FittedMMM | None = None) -> FittedMMM:
    config, notes = _confounding_resolved(data, config, may_sample=True)
    return _with_notes(_sampled(data, config, previous), notes)


def _sampled(data: MMMData, config: MMMConfig, previous: FittedMMM | None = None) -> FittedMMM:
    design = make_design(data, config)
    inputs = make_inputs(data, design, config)
    check_prior(inputs, data.channels, config)
    earlier = warm_start(previous, data, config, inputs) if previous is not None else None
    return finished(sampler.sample(inputs, config, earlier or sampler.mode(inputs)), inputs, data, design, config)


def _approximated(data: MMMData, config: MMMConfig) -> FittedMMM:
    design = make_design(data, config)
    inputs = make_inputs(data, design, config)
    check_prior(inputs, data.channels, config)
    return finished(importance_sample(inputs, config), inputs, data, design, config)


def _confounding_resolved(data: MMMData, config: MMMConfig, *, may_sample: bool) -> tuple[MMMConfig, tuple[str, ...]]:
    """The config with the channels whose lift test contradicts what the weeks say without it, each with a note.

    Tests and weeks are compared before they are joined: a curve that has seen both bends until they agree. The weeks
    are fitted by the quick approximation; where its k-hat says that it does not hold, by sampling, or without that
    nothing is decided.
    """
    if config.confounded is not None or not data.lift_tests:
        return replace(config, confounded=config.confounded or ()), ()
    weeks, apart = replace(data, lift_tests=()), replace(config, confounded=())
    weeks_alone = _approximated(weeks, apart)
    k_hat = float(weeks_alone.metrics["k_hat"] or 0.0)
    if not k_hat <= K_HAT_MAX and not may_sample:
        told = (
            f"Whether lift tests contradict what the weeks say without them is not known: the quick approximation of "
            f"the weeks does not hold (k-hat {k_hat:.2f}, expected at most {K_HAT_MAX:g}). Fit by sampling."
        )
        return apart, (told,)
    if not k_hat <= K_HAT_MAX:
        weeks_alone = _sampled(weeks, apart)
    misses = lift_misses(weeks_alone, data.lift_tests)
    contradicted = {name: miss for name, miss in misses.items() if miss > CONTRADICTION_SE}
    notes = tuple(
        f"A lift test on {name!r} lies {miss:.1f} standard errors from what the weeks say without it, as where a "
        "budget follows sales: its level is read from the test, not from what moves together."
        for name, miss in contradicted.items()
    )
    return replace(config, confounded=tuple(contradicted)), notes


def _with_notes(fitted: FittedMMM, notes: tuple[str, ...]) -> FittedMMM:
    return replace(fitted, notes=(*fitted.notes, *notes))


def warm_start(previous: FittedMMM, data: MMMData, config: MMMConfig, inputs: Inputs) -> Coordinates | None:
    """Start and scale from an earlier posterior, in the units of this fit; None where its parameters are others.

    That is where carry-over, saturation, their order, link or noise are of another form, or where channels, controls
    of a believed sign or interactions are not the same ones in the same order; and where effects vary, whose walks are
    of other weeks.

    Parameters
    ----------
    data, config, inputs : of this fit.
    """
    parameters = _parameters(data, config)
    if inputs.is_joint or config.varying_weeks or _parameters(previous.data, previous.config) != parameters:
        return None
    config = previous.config
    believed = [name for name in config.control_signs if name in previous.data.control_names]
    weights = lag_weights(config.adstock, previous.decay, previous.carry_shape, config.max_lag_weeks)
    mean_share = _mean_share(previous.data, config, weights, previous.half_saturation, previous.slope)
    first = previous.decay if config.adstock.startswith("weibull") else previous.decay / (1 - previous.decay)
    signed = [previous.design.names.index(f"control:{name}") for name in believed]
    blocks = [
        previous.ceiling * mean_share / inputs.kpi_scale,
        previous.half_saturation / inputs.media_scale,
        previous.slope,
        first,
        previous.carry_shape,
        np.abs(previous.coefficients[:, signed]) / inputs.kpi_scale,
        previous.noise_sd[:, None] / inputs.kpi_scale,
    ]
    pairs = pairs_of(previous.data, config)
    joint = previous.synergy * mean_share[:, pairs].prod(axis=2) / inputs.kpi_scale
    theta = np.hstack([np.log(np.hstack(blocks)), joint])
    free = np.flatnonzero(np.abs(inputs.prior_root).sum(axis=1) > 0)
    if theta.shape[1] != len(inputs.prior_mean) or not np.isfinite(theta).all() or len(theta) <= 2 * len(free):
        return None
    z = np.linalg.solve(inputs.prior_root[free], (theta - inputs.prior_mean)[:, free].T).T
    return sampler.from_draws(z)


def _parameters(data: MMMData, config: MMMConfig) -> tuple[object, ...]:
    """What the parameters of a fit mean, in their order."""
    believed = [(name, sign) for name, sign in config.control_signs.items() if name in data.control_names]
    forms = config.adstock, config.saturation, config.order, config.link, config.noise, config.max_lag_weeks > 0
    return forms, config.varying_weeks, data.channels, believed, pairs_of(data, config).tolist()


def finished(sample: Sample, inputs: Inputs, data: MMMData, design: Design, config: MMMConfig) -> FittedMMM:
    """The fit that a sample is, in natural units, with its metrics; `inputs` are what was sampled from."""
    fitted = _natural_units(sample, inputs, data, design, config)
    in_sample = _scored(fitted, data.kpi, expected_kpi(fitted), stream=2)
    metrics: dict[str, Metric] = {
        "r_hat_max": sample.r_hat_max,
        "ess_min": sample.ess_min,
        "divergences": sample.divergences,
        "r2": in_sample["r2"],
        "mape": in_sample["mape"],
        "crps_holdout": None,
        "holdout_weeks": 0,
        "coverage_90": None,
    }
    if sample.k_hat is not None:
        metrics["k_hat"] = sample.k_hat
    return replace(fitted, metrics=metrics, in_sample=in_sample)


def _natural_units(sample: Sample, inputs: Inputs, data: MMMData, design: Design, config: MMMConfig) -> FittedMMM:
    z = sample.z.reshape(-1, sample.z.shape[2])
    kept = np.linspace(0, len(z) - 1, min(config.kept_draws, len(z))).round().astype(int)
    theta = inputs.prior_mean + z[kept] @ inputs.prior_root.T
    media, log_signed, log_noise, sampled, extra = split_theta(theta, inputs)
    noise = np.exp(log_noise)
    effect, half, slope, shape = (np.exp(media[:, i]) for i in (0, 1, 2, 4))
    first = media[:, 3]
    decay = np.exp(first) if config.adstock.startswith("weibull") else 1.0 / (1.0 + np.exp(-first))
    weights = lag_weights(config.adstock, decay, shape, config.max_lag_weeks)
    scaled = media_of(data) / inputs.media_scale
    share = carried_share(scaled, weights, half, slope, config.saturation, config.order == "adstock_first")
    steps = media[:, BLOCKS:]
    share *= path(steps, inputs.wander)
    idle = scaled.sum(axis=0) == 0
    mean_share = np.where(idle, saturation(config.saturation, np.ones(1), half, slope), share.mean(axis=1))
    ceiling = effect / mean_share
    synergy = extra / mean_share[:, inputs.pairs].prod(axis=2)
    signed = np.exp(log_signed)
    residual = inputs.kpi - np.einsum("ntc,nc->nt", share, ceiling) - signed @ inputs.signed_columns
    residual -= joint_media(share, synergy, inputs.pairs).sum(axis=2)
    coefficients = np.empty((len(theta), len(design.names)))
    rng = np.random.default_rng([config.seed, 1])
    coefficients[:, inputs.free] = (
        _unseen_drawn(inputs, sampled, rng) if inputs.is_joint else _draw_coefficients(inputs, residual, noise, rng)
    )
    coefficients[:, inputs.signed] = signed * inputs.signs
    coefficients *= inputs.kpi_scale
    coefficients[:, 0] += inputs.kpi_centre
    prior_sd = np.linalg.norm(inputs.prior_root, axis=1)[: len(data.channels)]
    return FittedMMM(
        data=data,
        config=config,
        design=design,
        ceiling=ceiling * inputs.kpi_scale,
        half_saturation=half * inputs.media_scale,
        slope=slope,
        steps=steps,
        synergy=synergy * inputs.kpi_scale,
        decay=decay,
        carry_shape=shape,
        coefficients=coefficients,
        noise_sd=noise * inputs.kpi_scale,
        effect_contraction=np.log(effect).std(axis=0) / prior_sd,
        metrics={},
        in_sample={},
        notes=inputs.notes,
    )


def _mean_share(data: MMMData, config: MMMConfig, weights: Array, half: Array, slope: Array) -> Array:
    """Mean over the weeks of the share of its ceiling that each channel reached; at its mean spend if it never ran."""
    media = media_of(data)
    share = carried_share(media, weights, half, slope, config.saturation, config.order == "adstock_first")
    idle = media.sum(axis=0) == 0
    return np.asarray(np.where(idle, 0.5, share.mean(axis=1)))  # only a start for the sampler: any share will do


def _draw_coefficients(inputs: Inputs, residual: Array, noise: Array, rng: np.random.Generator) -> Array:
    """One exact draw of the unsigned linear coefficients per posterior draw of the rest.

    With Z S = U diag(d) V' (S the prior sds), b = S V g with g independent, Normal(d u'r / (s^2 + d^2),
    s^2 / (s^2 + d^2)); directions that Z does not see (more columns than weeks) keep their prior.
    """
    singular, rotation = inputs.singular, inputs.rotation
    total = noise[:, None] ** 2 + singular**2
    mean = singular * (residual @ inputs.basis) / total
    white = rng.standard_normal((len(noise), len(inputs.column_sd)))
    seen = white @ rotation
    unseen = white - seen @ rotation.T
    scaled = (mean + np.sqrt(noise[:, None] ** 2 / total) * seen) @ rotation.T + unseen
    return np.asarray(scaled * inputs.column_sd)


def _unseen_drawn(inputs: Inputs, sampled: Array, rng: np.random.Generator) -> Array:
    """Coefficients from sampled ones g, b = S V g; directions that Z does not see are drawn from their prior."""
    white = rng.standard_normal((len(sampled), len(inputs.column_sd)))
    unseen = white - (white @ inputs.rotation) @ inputs.rotation.T
    return np.asarray((sampled @ inputs.rotation.T + unseen) * inputs.column_sd)


def _holdout_metrics(data: MMMData, config: MMMConfig) -> dict[str, Metric]:
    n_fit = data.n_weeks - config.holdout_weeks
    fitted = _fit(data.head(n_fit), replace(config, holdout_weeks=0))
    later = {name: seen[n_fit:] for name, seen in data.exposure.items()}
    base, media = predict(fitted, data.week_start[n_fit:], data.spend[n_fit:], control_matrix(data)[n_fit:], later)
    found = _scored(fitted, data.kpi[n_fit:], base + media.sum(axis=2), stream=3)
    return {"crps_holdout" if name == "crps" else name: score for name, score in found.items()}


def _scored(fitted: FittedMMM, actual: Array, expected: Array, stream: int) -> dict[str, Metric]:
    drawn = with_noise(fitted, expected, np.random.default_rng([fitted.config.seed, stream]))
    return dict(scores(actual, expected, drawn))
