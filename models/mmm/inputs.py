"""Arrays that the log density reads: the company's series and the priors in the sampler's units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.mmm import likelihood
from models.mmm.config import Backend, Link, MMMConfig
from models.mmm.data import MMMData
from models.mmm.design import Design, fitted_columns
from models.mmm.exposure import media_of
from models.mmm.interactions import pairs_of
from models.mmm.lift import LiftInputs, lift_inputs
from models.mmm.likelihood import BLOCKS
from models.mmm.link import centre_and_scale, link_kpi
from models.mmm.media import mean_spend, padded
from models.mmm.varying import wander

Array = NDArray[np.float64]
ADSTOCK = {
    "geometric": likelihood.GEOMETRIC,
    "delayed": likelihood.DELAYED,
    "weibull_pdf": likelihood.WEIBULL_PDF,
    "weibull_cdf": likelihood.WEIBULL_CDF,
}
SATURATION = {
    "hill": likelihood.HILL,
    "michaelis_menten": likelihood.HILL,
    "logistic": likelihood.TANH,
    "s_shape": likelihood.WEIBULL,
}
SLOPE_OF_ONE = ("michaelis_menten", "logistic")


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What `log_density_and_gradient` reads, in units of mean KPI, mean weekly media per channel.

    With a log link the KPI is its logarithm less `kpi_centre`, the mean of it; kpi_scale is then 1.

    prior_mean, prior_root : of theta, see `log_density_and_gradient`; a parameter that the form does not have is fixed.
    columns, column_sd : the unsigned linear part with the prior sds of its coefficients; columns * column_sd is
        basis * singular * rotation'.
    pairs : (n_pairs, 2) channels that interact.
    wander : (n_weeks, n_steps) of `varying`.
    backend : what computes the density of these arrays.
    free, signed : indices of these columns, of those with a believed sign, in the design; signs (n_signed,) +1 or -1.
    """

    link: Link
    backend: Backend
    kpi_centre: float
    kpi_scale: float
    media_scale: Array
    n_channels: int
    form: NDArray[np.int64]
    kpi: Array
    media: Array
    columns: Array
    column_sd: Array
    basis: Array
    singular: Array
    rotation: Array
    free: NDArray[np.int64]
    signed: NDArray[np.int64]
    signs: Array
    signed_columns: Array
    prior_mean: Array
    prior_root: Array
    lift: LiftInputs
    pairs: NDArray[np.int64]
    wander: Array
    notes: tuple[str, ...]

    @property
    def n_free(self) -> int:
        """Number of sampled dimensions."""
        return self.prior_root.shape[1]

    @property
    def is_joint(self) -> bool:
        """Whether the linear part is sampled."""
        return bool(self.form[3] != likelihood.INTEGRATED)

    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """The arguments of `log_density_and_gradient` after u, start, scale."""
        return (
            self.prior_mean,
            self.prior_root,
            self.form,
            self.kpi,
            self.media,
            self.signed_columns,
            self.basis,
            self.singular,
            self.lift.rows,
            self.lift.partner_levels,
            self.pairs,
            self.wander,
            self.lift.wander,
        )


def make_inputs(data: MMMData, design: Design, config: MMMConfig) -> Inputs:
    """Scale the series, split the linear part into signed and unsigned columns, lay out the priors.

    A sign or a ROAS stated for something that the data do not hold is passed over, with a note.
    """
    kpi_centre, kpi_scale = centre_and_scale(data, config)
    kpi = (link_kpi(data, config) - kpi_centre) / kpi_scale
    media = media_of(data)
    media_scale = mean_spend(media)
    columns = fitted_columns(design, data)
    believed = {name: sign for name, sign in config.control_signs.items() if name in data.control_names}
    signed = np.array([design.names.index(f"control:{name}") for name in believed], dtype=np.int64)
    signs = np.array([1.0 if sign == "positive" else -1.0 for sign in believed.values()])
    free = np.array([i for i in range(len(design.names)) if i not in set(signed.tolist())], dtype=np.int64)
    column_sd = design.prior_sd[free] / kpi_scale
    basis, singular, rotation = np.linalg.svd(columns[:, free] * column_sd, full_matrices=False)
    joint = not config.integrated or config.noise == "student_t"
    kpi_sd = float(link_kpi(data, config).std()) / kpi_scale
    prior_mean, prior_root = prior(data, config, kpi_sd, len(signed), len(singular) if joint else 0)
    lift = lift_inputs(data, media_scale, kpi_scale, config)
    form = (
        ADSTOCK[config.adstock],
        SATURATION[config.saturation],
        likelihood.CARRY_FIRST if config.order == "adstock_first" else likelihood.SATURATE_FIRST,
        likelihood.JOINT_STUDENT_T
        if config.noise == "student_t"
        else likelihood.JOINT_NORMAL
        if joint
        else likelihood.INTEGRATED,
    )
    return Inputs(
        link=config.link,
        backend=config.backend,
        kpi_centre=kpi_centre,
        kpi_scale=kpi_scale,
        media_scale=media_scale,
        n_channels=len(data.channels),
        form=np.array(form, dtype=np.int64),
        kpi=kpi,
        media=np.ascontiguousarray(padded(media / media_scale, config.max_lag_weeks).T),
        columns=columns[:, free],
        column_sd=column_sd,
        basis=np.ascontiguousarray(basis),
        singular=singular,
        rotation=rotation.T,
        free=free,
        signed=signed,
        signs=signs,
        signed_columns=np.ascontiguousarray(signs[:, None] * columns[:, signed].T),
        prior_mean=prior_mean,
        prior_root=prior_root,
        lift=lift,
        pairs=pairs_of(data, config),
        wander=wander(data.n_weeks, config),
        notes=(*lift.notes, *_unknown_names(data, config)),
    )


def prior(
    data: MMMData, config: MMMConfig, kpi_sd: float, n_signed: int = 0, n_sampled_columns: int = 0
) -> tuple[Array, Array]:
    """Mean (n_theta,) of the parameters with a root (n_theta, n_free) of their covariance.

    kpi_sd : in mean KPIs.
    """
    priors, n = config.priors, len(data.channels)
    spend_scale, kpi_scale = mean_spend(data.spend), float(np.abs(data.kpi).mean())
    n_steps = wander(data.n_weeks, config).shape[1]
    share = spend_scale / spend_scale.sum()
    effect, own_sd, common_sd = np.log(priors.media_share * share), np.full(n, priors.effect_log_sd), np.zeros(n)
    common_sd += priors.media_share_log_sd
    for i, name in enumerate(data.channels):
        if stated := priors.roas.get(name):
            effect[i] = np.log(stated.median * spend_scale[i] / kpi_scale)
            own_sd[i], common_sd[i] = stated.log_sd, 0.0
    synergy_sd = priors.interaction_sd * np.exp(effect[pairs_of(data, config)].mean(axis=1))
    slope_sd = 0.0 if config.saturation in SLOPE_OF_ONE else priors.slope_log_sd
    slope = 0.0 if config.saturation in SLOPE_OF_ONE else np.log(priors.slope_median)
    first, first_sd, second, second_sd = _carry_prior(config)
    mean = np.concatenate(
        [
            effect,
            np.full(n, np.log(priors.half_saturation_median)),
            np.full(n, slope),
            np.full(n, first),
            np.full(n, second),
            np.zeros(n * n_steps),
            np.full(n_signed, np.log(priors.signed_median * kpi_sd)),
            [np.log(priors.noise_median * kpi_sd)],
            np.zeros(n_sampled_columns + len(synergy_sd)),
        ]
    )
    sd = np.concatenate(
        [
            own_sd,
            np.repeat([priors.half_saturation_log_sd, slope_sd, first_sd, second_sd], n),
            np.ones(n * n_steps),
            np.full(n_signed, priors.signed_log_sd),
            [priors.noise_log_sd],
            np.ones(n_sampled_columns),
            synergy_sd,
        ]
    )
    covariance = np.diag(sd**2)
    covariance[:n, :n] += np.outer(common_sd, common_sd)
    free = np.flatnonzero(np.diag(covariance) > 0)
    root = np.zeros((len(mean), len(free)))
    root[free] = np.linalg.cholesky(covariance[np.ix_(free, free)])
    return mean, root


def _carry_prior(config: MMMConfig) -> tuple[float, float, float, float]:
    """Mean, sd of the first parameter of the carry-over, then of the second; an sd of 0 where it has none."""
    priors = config.priors
    if config.max_lag_weeks == 0:
        return 0.0, 0.0, 0.0, 0.0
    if config.adstock.startswith("weibull"):
        first = float(np.log(priors.weibull_scale_median_weeks)), priors.weibull_scale_log_sd
        return *first, float(np.log(priors.weibull_shape_median)), priors.weibull_shape_log_sd
    first = float(np.log(priors.decay_median / (1 - priors.decay_median))), priors.decay_logit_sd
    if config.adstock == "delayed":
        return *first, float(np.log(priors.peak_median_weeks)), priors.peak_log_sd
    return *first, 0.0, 0.0


def kinds_of(inputs: Inputs) -> tuple[str, str, bool]:
    """Names of carry-over and saturation, and whether spend is carried over before it saturates."""
    carry, curve, order, _ = (int(code) for code in inputs.form)
    named = {code: name for name, code in reversed(SATURATION.items())}
    return list(ADSTOCK)[carry], named[curve], order == likelihood.CARRY_FIRST


def split_theta(theta: Array, inputs: Inputs) -> tuple[Array, Array, Array, Array, Array]:
    """Media parameters (n_draws, 5 + n_steps, n_channels), log signed, log noise sd, coefficients, synergies."""
    n_blocks = BLOCKS + inputs.wander.shape[1]
    at_signed = n_blocks * inputs.n_channels
    at_noise = at_signed + len(inputs.signed)
    media = theta[:, :at_signed].reshape(len(theta), n_blocks, inputs.n_channels)
    at_pairs = theta.shape[1] - len(inputs.pairs)
    signed, noise = theta[:, at_signed:at_noise], theta[:, at_noise]
    return media, signed, noise, theta[:, at_noise + 1 : at_pairs], theta[:, at_pairs:]


def _unknown_names(data: MMMData, config: MMMConfig) -> tuple[str, ...]:
    ran = tuple(name for i, name in enumerate(data.channels) if data.spend[:, i].any())
    stated_known = (
        ("mmm.control_signs", config.control_signs, data.control_names),
        ("mmm.priors.roas", config.priors.roas, data.channels),
        ("mmm.confounded", config.confounded or (), data.channels),
        ("mmm.interactions", [name for pair in config.interactions for name in pair], ran),
        ("mmm.media_variable", config.media_variable, tuple(data.exposure)),
    )
    return tuple(
        f"{setting} names {name!r}, which the data do not hold or never changes: not used."
        for setting, stated, known in stated_known
        for name in stated
        if name not in known
    )
