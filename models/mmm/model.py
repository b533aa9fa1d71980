"""The PyMC model of the media parameters, the linear part integrated out.

Weekly KPI = baseline + sum over channels of effect * h(adstock) / mean h(adstock) + noise, with
baseline = Z b, b ~ Normal(0, diag(prior_sd^2)), noise ~ Normal(0, sigma^2), h the Hill curve. A lift test adds
lift ~ Normal(n [F(x̄ + change) - F(x̄)], lift_se), F the channel's steady weekly response.

Only shapes are fixed when the model is compiled: the series, the priors, the lift tests are data, so that one
compilation serves every fit of as many channels.

Sources: Jin et al. (2017), "Bayesian methods for media mix modeling with carryover and shape effects"; effect as the
prior's anchor, Zhang et al. (2024), "Media mix model calibration with Bayesian priors".
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import nutpie
import pymc as pm
import pytensor
from numpy.typing import NDArray

from models.mmm.likelihood import LogLikelihood

Array = NDArray[np.float64]


def build(n_channels: int, n_lags: int) -> pm.Model:
    """Model of `n_channels` with carry-over of `n_lags` - 1 weeks, on placeholder data; `fit` brings the real ones.

    The free variables z are standard normal; prior_mean + prior_root z are log effect, log half saturation, log slope,
    logit decay of every channel, then log noise sd, where prior_root prior_root' is their prior covariance.
    """
    n_parameters = 4 * n_channels + 1
    with pm.Model() as model:
        z = pm.Normal("z", 0.0, 1.0, shape=n_parameters)
        log_likelihood, _ = LogLikelihood()(
            z,
            _data("prior_mean", np.zeros(n_parameters)),
            _data("prior_root", np.eye(n_parameters)),
            _data("kpi", np.zeros(2)),
            _data("lagged", np.ones((n_lags, 2, n_channels))),
            _data("basis", np.zeros((2, 1))),
            _data("basis_variance", np.ones(1)),
            _data("lift_tests", np.ones((0, 6))),
        )
        pm.Potential("log_likelihood", log_likelihood)
    return model


def _data(name: str, value: NDArray[Any]) -> Any:
    return pytensor.shared(value, name=name, shape=(None,) * value.ndim)


@lru_cache(maxsize=8)
def compiled(n_channels: int, n_lags: int) -> Any:
    """The model made ready for nutpie; kept for the life of the process."""
    with pytensor.config.change_flags(numba__fastmath=False):  # else sums depend on what was in the cache
        return nutpie.compile_pymc_model(build(n_channels, n_lags), backend="numba")
