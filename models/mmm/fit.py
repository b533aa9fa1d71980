"""Sampling of the mix model: posterior draws, diagnostics, holdout score."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import arviz as az
import numpy as np
import nutpie
from numpy.typing import NDArray

from models.errors import DataError
from models.mmm.config import MMMConfig, MMMPriors
from models.mmm.data import MIN_WEEKS, MMMData, control_matrix
from models.mmm.design import Design, design_matrix, make_design
from models.mmm.fitted import FittedMMM, Metric, expected_kpi, predict, with_noise
from models.mmm.lift import LiftInputs, lift_inputs
from models.mmm.media import adstock, hill, lagged, mean_spend
from models.mmm.model import compiled

Array = NDArray[np.float64]
R_HAT_AIM, ESS_AIM = 1.01, 400.0  # Vehtari et al. (2021), section 4
RETRY_TARGET_ACCEPT = 0.99  # smaller steps follow tighter bends
RETRY_FACTOR = 2  # twice the tuning, twice the draws


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Arrays the compiled model reads, in units of mean KPI, mean weekly spend per channel.

    prior_mean, prior_root : of log effect, log half saturation, log slope, logit decay by channel, log noise sd.
    columns, column_sd : the linear part with the prior sds of its coefficients; columns * column_sd is
        basis * singular * rotation'.
    """

    kpi_scale: float
    spend_scale: Array
    columns: Array
    column_sd: Array
    basis: Array
    singular: Array
    rotation: Array
    prior_mean: Array
    prior_root: Array
    lift: LiftInputs


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Draws of the sampler z (n_chains, n_draws, 4 n_channels + 1), with its diagnostics."""

    z: Array
    r_hat_max: float
    ess_min: float
    divergences: int

    @property
    def is_good(self) -> bool:
        """Whether the diagnostics meet their aims."""
        return self.r_hat_max <= R_HAT_AIM and self.ess_min >= ESS_AIM and self.divergences == 0


def fit(data: MMMData, config: MMMConfig | None = None) -> FittedMMM:
    """Posterior of the mix model for `data`; the same data with the same config give the same draws.

    Where the diagnostics of the first run are short of their aim, it is sampled once more, with smaller steps, twice
    as long. With `config.holdout_weeks` a second fit on the earlier weeks is scored on the last ones; r2, mape are then
    those of the held-out weeks, else of the fitted ones.

    Raises
    ------
    DataError : the weeks before the holdout are fewer than 20.

    Sources: Jin et al. (2017), "Bayesian methods for media mix modeling with carryover and shape effects".
    """
    config = config or MMMConfig()
    if config.holdout_weeks and data.n_weeks - config.holdout_weeks < MIN_WEEKS:
        raise DataError(
            f"mmm.holdout_weeks is {config.holdout_weeks} of {data.n_weeks} weeks; {MIN_WEEKS} must remain to fit on.\n"
            f"Lower it to {max(data.n_weeks - MIN_WEEKS, 0)} or less, or add history."
        )
    fitted = _fit(data, config)
    fitted = replace(fitted, metrics={**fitted.metrics, "holdout_weeks": config.holdout_weeks})
    if config.holdout_weeks == 0:
        return fitted
    return replace(fitted, metrics={**fitted.metrics, **_holdout_metrics(data, config)})


def _fit(data: MMMData, config: MMMConfig) -> FittedMMM:
    design = make_design(data, config)
    inputs = _inputs(data, design, config)
    sample = _sample(inputs, data, config)
    if not sample.is_good:
        harder = replace(
            config,
            target_accept=max(config.target_accept, RETRY_TARGET_ACCEPT),
            tune=RETRY_FACTOR * config.tune,
            draws=RETRY_FACTOR * config.draws,
        )
        sample = _sample(inputs, data, harder)
    fitted = _natural_units(sample, inputs, data, design, config)
    in_sample = _scores(fitted, data.kpi, expected_kpi(fitted), stream=2)
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
    return replace(fitted, metrics=metrics, in_sample=in_sample)


def _inputs(data: MMMData, design: Design, config: MMMConfig) -> Inputs:
    kpi_scale = float(np.abs(data.kpi).mean())
    spend_scale = mean_spend(data.spend)
    columns = design_matrix(design, data.week_start, control_matrix(data))
    column_sd = design.prior_sd / kpi_scale
    basis, singular, rotation = np.linalg.svd(columns * column_sd, full_matrices=False)
    prior_mean, prior_root = _prior(spend_scale, float(data.kpi.std()) / kpi_scale, config.priors)
    return Inputs(
        kpi_scale=kpi_scale,
        spend_scale=spend_scale,
        columns=columns,
        column_sd=column_sd,
        basis=basis,
        singular=singular,
        rotation=rotation.T,
        prior_mean=prior_mean,
        prior_root=prior_root,
        lift=lift_inputs(data, spend_scale, kpi_scale),
    )


def _prior(spend_scale: Array, kpi_sd: float, priors: MMMPriors) -> tuple[Array, Array]:
    """Mean with a root of the covariance of the model's parameters."""
    share = spend_scale / spend_scale.sum()
    n_channels = len(share)
    mean = np.concatenate(
        [
            np.log(priors.media_share * share),
            np.full(n_channels, np.log(priors.half_saturation_median)),
            np.full(n_channels, np.log(priors.slope_median)),
            np.full(n_channels, np.log(priors.decay_median / (1 - priors.decay_median))),
            [np.log(priors.noise_median * kpi_sd)],
        ]
    )
    media_sds = (priors.effect_log_sd, priors.half_saturation_log_sd, priors.slope_log_sd, priors.decay_logit_sd)
    covariance = np.diag(np.append(np.repeat(media_sds, n_channels), priors.noise_log_sd) ** 2)
    covariance[:n_channels, :n_channels] += priors.media_share_log_sd**2
    return mean, np.linalg.cholesky(covariance)


def _sample(inputs: Inputs, data: MMMData, config: MMMConfig) -> Sample:
    model = compiled(len(data.channels), config.max_lag_weeks + 1).with_data(
        kpi=data.kpi / inputs.kpi_scale,
        lagged=lagged(data.spend / inputs.spend_scale, config.max_lag_weeks),
        basis=inputs.basis,
        basis_variance=inputs.singular**2,
        prior_mean=inputs.prior_mean,
        prior_root=inputs.prior_root,
        lift_tests=inputs.lift.rows,
    )
    result: Any = nutpie.sample(
        model,
        draws=config.draws,
        tune=config.tune,
        chains=config.chains,
        cores=config.chains,
        seed=config.seed,
        target_accept=config.target_accept,
        adaptation="low_rank",  # channels trade off against each other; half the steps, twice the ESS of a diagonal
        progress_bar=False,
        save_warmup=False,
    )
    posterior = result["posterior"].to_dataset()[["z"]]
    return Sample(
        z=posterior["z"].to_numpy(),
        r_hat_max=float(az.rhat(posterior)["z"].max()),
        ess_min=min(float(az.ess(posterior, method=method)["z"].min()) for method in ("bulk", "tail")),
        divergences=int(result["sample_stats"]["diverging"].to_numpy().sum()),
    )


def _natural_units(sample: Sample, inputs: Inputs, data: MMMData, design: Design, config: MMMConfig) -> FittedMMM:
    z = sample.z.reshape(-1, sample.z.shape[2])
    kept = np.linspace(0, len(z) - 1, min(config.kept_draws, len(z))).round().astype(int)
    theta = inputs.prior_mean + z[kept] @ inputs.prior_root.T
    noise = np.exp(theta[:, -1])
    media = theta[:, :-1].reshape(len(kept), 4, -1)
    effect, half, slope = (np.exp(media[:, i]) for i in range(3))
    decay = 1.0 / (1.0 + np.exp(-media[:, 3]))
    share = hill(
        adstock(data.spend / inputs.spend_scale, decay, config.max_lag_weeks), half[:, None, :], slope[:, None, :]
    )
    idle = data.spend.sum(axis=0) == 0
    ceiling = effect / np.where(idle, hill(np.ones(1), half, slope), share.mean(axis=1))
    residual = data.kpi / inputs.kpi_scale - np.einsum("ntc,nc->nt", share, ceiling)
    coefficients = _draw_coefficients(inputs, residual, noise, np.random.default_rng([config.seed, 1]))
    return FittedMMM(
        data=data,
        config=config,
        design=design,
        ceiling=ceiling * inputs.kpi_scale,
        half_saturation=half * inputs.spend_scale,
        slope=slope,
        decay=decay,
        coefficients=coefficients * inputs.kpi_scale,
        noise_sd=noise * inputs.kpi_scale,
        effect_contraction=np.log(effect).std(axis=0) / np.linalg.norm(inputs.prior_root, axis=1)[: len(data.channels)],
        metrics={},
        in_sample={},
        notes=inputs.lift.notes,
    )


def _draw_coefficients(inputs: Inputs, residual: Array, noise: Array, rng: np.random.Generator) -> Array:
    """One exact draw of the linear coefficients per posterior draw of the rest.

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


def _holdout_metrics(data: MMMData, config: MMMConfig) -> dict[str, Metric]:
    n_fit = data.n_weeks - config.holdout_weeks
    fitted = _fit(data.head(n_fit), replace(config, holdout_weeks=0))
    base, media = predict(fitted, data.week_start[n_fit:], data.spend[n_fit:], control_matrix(data)[n_fit:])
    scores = _scores(fitted, data.kpi[n_fit:], base + media.sum(axis=2), stream=3)
    return {"crps_holdout" if name == "crps" else name: score for name, score in scores.items()}


def _scores(fitted: FittedMMM, actual: Array, expected: Array, stream: int) -> dict[str, Metric]:
    drawn = with_noise(fitted, expected, np.random.default_rng([fitted.config.seed, stream]))
    return {
        "r2": _r2(actual, expected.mean(axis=0)),
        "mape": _mape(actual, expected.mean(axis=0)),
        "crps": crps(actual, drawn),
        "coverage_90": _coverage(actual, drawn),
    }


def _r2(actual: Array, predicted: Array) -> float:
    """1 - squared error over squared deviation; None of it is clipped, so a bad forecast is below 0."""
    spread = float(((actual - actual.mean()) ** 2).sum())
    return 1.0 - float(((actual - predicted) ** 2).sum()) / spread if spread > 0 else 0.0


def _mape(actual: Array, predicted: Array) -> float | None:
    """Mean absolute error as a fraction of the actual; weeks with a KPI of 0 are left out."""
    used = actual != 0
    return float(np.abs(predicted[used] / actual[used] - 1.0).mean()) if used.any() else None


def _coverage(actual: Array, drawn: Array) -> float:
    low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
    return float(((actual >= low) & (actual <= high)).mean())


def crps(actual: Array, drawn: Array) -> float:
    """Mean continuous ranked probability score of draws (n_draws, n_weeks), in KPI units.

    E|X - y| - E|X - X'| / 2, the second term from sorted draws.

    Sources: Gneiting, Raftery (2007), eq. 21.
    """
    n_draws = len(drawn)
    ordered = np.sort(drawn, axis=0)
    weight = 2.0 * np.arange(1, n_draws + 1) - n_draws - 1.0
    spread = (weight[:, None] * ordered).sum(axis=0) / n_draws**2
    return float((np.abs(drawn - actual).mean(axis=0) - spread).mean())
