"""The fitted mix model: posterior draws in natural units, with what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from models.mmm.config import MMMConfig
from models.mmm.data import WEEK, MMMData, control_matrix
from models.mmm.design import Design, design_matrix, fitted_columns
from models.mmm.exposure import media_at, media_of
from models.mmm.interactions import joint_media, pairs_of
from models.mmm.likelihood import STUDENT_T_DF
from models.mmm.link import kpi_parts, link_kpi
from models.mmm.media import carried_share, lag_weights
from models.mmm.varying import path, wander

Array = NDArray[np.float64]
Metric = float | int | None


@dataclass(frozen=True, kw_only=True)
class FittedMMM:
    """Posterior of a mix model.

    A channel's steady weekly response to weekly spend x is ceiling * saturation(x, half_saturation, slope), for the
    default, Hill's curve, ceiling * x^slope / (x^slope + half_saturation^slope).

    With a log link ceilings, synergies, coefficients, noise are on the scale of the KPI's logarithm, see `link`.

    Parameters
    ----------
    ceiling : (n_draws, n_channels) KPI per week that endless spend would bring.
    half_saturation : (n_draws, n_channels) weekly spend, money; where the response is to exposure, at its recent cost.
    slope : (n_draws, n_channels) without unit.
    decay : (n_draws, n_channels) share carried into the next week; of a Weibull carry-over its scale in weeks.
    carry_shape : (n_draws, n_channels) peak of a delayed carry-over in weeks, shape of a Weibull one, else 1.
    steps : (n_draws, n_steps, n_channels) of the walk of each effect, see `varying`; the ceiling is its typical one.
    synergy : (n_draws, n_pairs) KPI per week that a pair brings on top with both at their ceiling, see `interactions`.
    coefficients : (n_draws, n_columns) KPI per week for one unit of a column of the design.
    noise_sd : (n_draws,) KPI per week; the scale of Student's t where the noise has heavy tails.
    effect_contraction : (n_channels,) posterior over prior standard deviation of a channel's log effect; near 1 the
        data said nothing.
    metrics : r_hat_max, ess_min, divergences, r2, mape, crps_holdout, holdout_weeks, coverage_90; r2, mape are those
        of the held-out weeks if there are any, else of the fitted ones. With held-out weeks also coverage_50, _80, _95;
        of a quick fit r_hat_max is None, k_hat that of its importance weights.
    in_sample : r2, mape, crps, coverage_50, _80, _90, _95 of the fitted weeks.
    notes : what the user should know, in plain sentences.
    """

    data: MMMData
    config: MMMConfig
    design: Design
    ceiling: Array
    half_saturation: Array
    slope: Array
    decay: Array
    carry_shape: Array
    steps: Array
    synergy: Array
    coefficients: Array
    noise_sd: Array
    effect_contraction: Array
    metrics: Mapping[str, Metric]
    in_sample: Mapping[str, Metric]
    notes: tuple[str, ...]

    @property
    def n_draws(self) -> int:
        """Number of posterior draws."""
        return len(self.noise_sd)


def contributions(fitted: FittedMMM) -> Array:
    """KPI each channel brought in each fitted week: (n_draws, n_weeks, n_channels).

    Carry-over is included, and half of what it brings together with each partner of an interaction. With a log link
    they are those that add up, see `link`; `loss_without` has what removing one channel takes.
    """
    media = _media(fitted, media_of(fitted.data))
    return kpi_parts(_linear(fitted), media, fitted.noise_sd)[1] if fitted.config.link == "log" else media


def baseline(fitted: FittedMMM) -> Array:
    """KPI without paid media in each fitted week: (n_draws, n_weeks)."""
    if fitted.config.link == "log":
        return np.asarray(np.exp(_linear(fitted) + 0.5 * fitted.noise_sd[:, None] ** 2))
    return _linear(fitted)


def loss_without(fitted: FittedMMM) -> Array:
    """KPI lost each fitted week without one channel, others as they were: (n_draws, n_weeks, n_channels).

    What a holdout of that channel measures. All of an interaction goes with either partner.
    """
    media = _media(fitted, media_of(fitted.data), own_share_of_pairs=1.0)
    if fitted.config.link == "identity":
        return media
    return np.asarray(-expected_kpi(fitted)[:, :, None] * np.expm1(-media))


def residuals(fitted: FittedMMM) -> Array:
    """What the noise has to explain, on the link's scale: (n_draws, n_weeks)."""
    if fitted.config.link == "identity":
        return fitted.data.kpi - expected_kpi(fitted)
    return link_kpi(fitted.data, fitted.config) - _linear(fitted) - _media(fitted, media_of(fitted.data)).sum(axis=2)


def expected_kpi(fitted: FittedMMM) -> Array:
    """Expected KPI of each fitted week, noise left out: (n_draws, n_weeks)."""
    return baseline(fitted) + contributions(fitted).sum(axis=2)


def with_noise(fitted: FittedMMM, expected: Array, rng: np.random.Generator) -> Array:
    """Draws of the KPI itself around draws (n_draws, n_weeks) of its expectation."""
    drawn = noise(fitted, expected.shape[1], rng)
    if fitted.config.link == "log":
        return np.asarray(expected * np.exp(drawn - 0.5 * fitted.noise_sd[:, None] ** 2))
    return expected + drawn


def noise(fitted: FittedMMM, n_weeks: int, rng: np.random.Generator) -> Array:
    """Noise of `n_weeks` weeks on the link's scale: (n_draws, n_weeks)."""
    shape = fitted.n_draws, n_weeks
    heavy = fitted.config.noise == "student_t"
    white = rng.standard_t(STUDENT_T_DF, shape) if heavy else rng.standard_normal(shape)
    return fitted.noise_sd[:, None] * white


def predict(
    fitted: FittedMMM,
    week_start: NDArray[np.datetime64],
    spend: Array,
    controls: Array | None = None,
    exposure: Mapping[str, Array] | None = None,
) -> tuple[Array, Array]:
    """Expected baseline with media contributions in the weeks that follow the fitted ones.

    Parameters
    ----------
    week_start : (n_weeks,) weeks; the first follows the last fitted week.
    spend : (n_weeks, n_channels) money per week, >= 0.
    controls : (n_weeks, n_controls); None where the model has none. `usual_controls` where they are not known.
    exposure : channel -> (n_weeks,) impressions, clicks if known; else spend buys them at the recent cost.

    Returns
    -------
    (n_draws, n_weeks) baseline; (n_draws, n_weeks, n_channels) contributions, earlier carry-over included.
    """
    data = fitted.data
    week_start = np.asarray(week_start).astype("datetime64[D]")
    controls = np.empty((len(week_start), 0)) if controls is None else controls
    if len(week_start) and week_start[0] != data.week_start[-1] + WEEK:
        raise DataError(f"Weeks to predict begin on {week_start[0]}; expected {data.week_start[-1] + WEEK}.")
    expected_shapes = (len(week_start), len(data.channels)), (len(week_start), len(data.control_names))
    if (spend.shape, controls.shape) != expected_shapes:
        raise ValueError(f"spend, controls have shapes {spend.shape}, {controls.shape}; expected {expected_shapes}")
    linear = fitted.coefficients @ design_matrix(fitted.design, week_start, controls).T
    media = _media(fitted, np.vstack([media_of(data), media_at(data, spend, exposure or {})]))[:, data.n_weeks :]
    return kpi_parts(linear, media, fitted.noise_sd) if fitted.config.link == "log" else (linear, media)


def usual_controls(fitted: FittedMMM, n_weeks: int) -> Array:
    """Each control at its mean over the fitted weeks: (n_weeks, n_controls). With a log link media multiply them."""
    return np.tile(control_matrix(fitted.data).mean(axis=0), (n_weeks, 1))


def weights_of(fitted: FittedMMM) -> Array:
    """Share of an effect that comes each week after the spend: (n_lags, n_draws, n_channels)."""
    config = fitted.config
    return lag_weights(config.adstock, fitted.decay, fitted.carry_shape, config.max_lag_weeks)


def _linear(fitted: FittedMMM) -> Array:
    return fitted.coefficients @ fitted_columns(fitted.design, fitted.data).T


def _media(fitted: FittedMMM, media: Array, own_share_of_pairs: float = 0.5) -> Array:
    """What each channel adds on the link's scale, with a share of what its pairs add."""
    kind, carry_first = fitted.config.saturation, fitted.config.order == "adstock_first"
    share = carried_share(media, weights_of(fitted), fitted.half_saturation, fitted.slope, kind, carry_first)
    own = fitted.ceiling[:, None, :] * share * _path(fitted, len(media))
    pairs = pairs_of(fitted.data, fitted.config)
    return own + 2.0 * own_share_of_pairs * joint_media(share, fitted.synergy, pairs) if len(pairs) else own


def _path(fitted: FittedMMM, n_weeks: int) -> Array:
    """Factor of the effects in the fitted weeks and those that follow: (n_draws, n_weeks, n_channels)."""
    of_weeks = wander(fitted.data.n_weeks, fitted.config)
    return path(fitted.steps, of_weeks[np.minimum(np.arange(n_weeks), fitted.data.n_weeks - 1)])
