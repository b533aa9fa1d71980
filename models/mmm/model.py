"""The PyMC model of the media parameters, the linear part integrated out.

Weekly KPI = baseline + sum over channels of effect * h(adstock) / mean h(adstock) + noise, with
baseline = Z b, b ~ Normal(0, diag(prior_sd^2)), noise ~ Normal(0, sigma^2), h the Hill curve.
With Z diag(prior_sd) = U diag(d) V', the density of the residual r = KPI - media, b integrated out, is Gaussian with
covariance sigma^2 I + U diag(d^2) U', which costs one product U'r. Only shapes are fixed when the model is compiled:
the series, the priors, the lift tests are data, so that one compilation serves every fit of as many channels.

Sources: Jin et al. (2017), "Bayesian methods for media mix modeling with carryover and shape effects";
Woodbury identity; lift likelihood as in pymc-marketing's lift tests.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import nutpie
import pymc as pm
import pytensor
import pytensor.tensor as pt
from numpy.typing import NDArray

PARAMETERS = ("effect", "half_saturation", "slope", "decay")  # rows of prior_location, prior_scale
TINY = 1e-12  # of a mean spend: keeps log(0) out of the gradient

Array = NDArray[np.float64]


def build(n_channels: int, n_lags: int) -> pm.Model:
    """Model of `n_channels` with carry-over of `n_lags` - 1 weeks, on placeholder data (see `Inputs` in fit.py)."""
    with pm.Model() as model:
        kpi = _data("kpi", np.zeros(2), (None,))
        lagged = _data("lagged", np.ones((n_lags, 2, n_channels)), (n_lags, None, n_channels))
        basis = _data("basis", np.zeros((2, 1)), (None, None))
        basis_variance = _data("basis_variance", np.ones(1), (None,))
        location = _data("prior_location", np.zeros((4, n_channels)), (4, n_channels))
        scale = _data("prior_scale", np.ones((4, n_channels)), (4, n_channels))
        idle = _data("idle", np.zeros(n_channels), (n_channels,))
        noise_prior = _data("noise_prior", np.array([0.0, 1.0]), (2,))

        z_media = pm.Normal("z_media", 0.0, 1.0, shape=(4, n_channels))
        z_noise = pm.Normal("z_noise", 0.0, 1.0)

        log_effect, log_half, log_slope, logit_decay = (location[i] + scale[i] * z_media[i] for i in range(4))
        slope = pt.exp(log_slope)
        log_weight = -pt.softplus(-logit_decay) * np.arange(float(n_lags))[:, None]
        weight = pt.exp(log_weight)
        weight = weight / weight.sum(axis=0)
        carried = (weight[:, None, :] * lagged).sum(axis=0)
        share = pt.sigmoid(slope * (pt.log(carried + TINY) - log_half))
        at_mean_spend = pt.sigmoid(-slope * log_half)
        ceiling = pt.exp(log_effect) / (share.mean(axis=0) + idle * at_mean_spend)

        residual = kpi - pt.dot(share, ceiling)
        variance = pt.exp(2 * (noise_prior[0] + noise_prior[1] * z_noise))
        projected = pt.dot(basis.T, residual)
        explained = pt.dot(basis_variance / (variance + basis_variance), projected**2)
        quadratic = (pt.dot(residual, residual) - explained) / variance
        log_determinant = (kpi.shape[0] - basis_variance.shape[0]) * pt.log(variance)
        log_determinant += pt.log(variance + basis_variance).sum()
        pm.Potential("kpi_likelihood", -0.5 * (quadratic + log_determinant))

        _add_lift_tests(ceiling, log_half, slope)
    return model


def _add_lift_tests(ceiling: Any, log_half: Any, slope: Any) -> None:
    """Add lift ~ Normal(n [F(x̄ + change) - F(x̄)], lift_se), F the channel's steady weekly response."""
    channel = pytensor.shared(np.zeros(0, dtype="int64"), name="lift_channel", shape=(None,))
    before, after, weeks, lift, lift_se = (
        _data(name, np.ones(0), (None,)) for name in ("lift_before", "lift_after", "lift_weeks", "lift", "lift_se")
    )

    def response(spend: Any) -> Any:
        return pt.sigmoid(slope[channel] * (pt.log(spend + TINY) - log_half[channel]))

    expected = weeks * ceiling[channel] * (response(after) - response(before))
    pm.Potential("lift_likelihood", -0.5 * pt.sum(((lift - expected) / lift_se) ** 2))


def _data(name: str, value: Array, shape: tuple[int | None, ...]) -> Any:
    return pytensor.shared(value, name=name, shape=shape)


@lru_cache(maxsize=8)
def compiled(n_channels: int, n_lags: int) -> Any:
    """The model made ready for nutpie; kept for the life of the process."""
    return nutpie.compile_pymc_model(build(n_channels, n_lags), backend="numba")
