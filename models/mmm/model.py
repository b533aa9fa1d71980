"""The mix model as a PyMC model, coefficients of the linear part and all.

    KPI = media + signed controls + Z b + noise,   media = sum over channels of ceiling * saturation(carry-over(spend))

It states the model in the field's common language, and it is what the compiled density is held against: PyTensor
derives gradients from the formulas where `likelihood` has them written out. Fits sample the compiled density, in which
the linear part is integrated out, since that takes a ninth of the time.

Sources: Jin et al. (2017), "Bayesian methods for media mix modeling with carryover and shape effects"; effect as the
prior's anchor, Zhang et al. (2024), "Media mix model calibration with Bayesian priors".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.mmm.config import MMMConfig
from models.mmm.inputs import Inputs
from models.mmm.likelihood import BLOCKS, HALF_LOG_3, LOG_2, STUDENT_T_DF

if TYPE_CHECKING:
    import pymc as pm


def joint_model(inputs: Inputs, config: MMMConfig) -> pm.Model:
    """PyMC model of `inputs` made with a config that samples the linear part (integrated False, or Student's t).

    Its one free variable z is standard normal; theta = prior_mean + prior_root z as in `log_density_and_gradient`.

    Raises
    ------
    ValueError : the linear part of `inputs` is integrated out.
    """
    import pymc as pm  # two seconds that a fit need not wait for
    import pytensor.tensor as pt

    if not inputs.is_joint:
        raise ValueError("inputs integrate the linear part out; make them with integrated=False")
    n, n_signed = inputs.n_channels, len(inputs.signed)
    with pm.Model() as model:
        z = pm.Normal("z", 0.0, 1.0, shape=inputs.n_free)
        theta = inputs.prior_mean + pt.dot(inputs.prior_root, z)
        effect, half, slope, first, second = (theta[i * n : (i + 1) * n] for i in range(BLOCKS))
        at_signed = (BLOCKS + inputs.wander.shape[1]) * n
        steps = theta[BLOCKS * n : at_signed].reshape((-1, n))
        noise = pt.exp(theta[at_signed + n_signed])
        curve = _curve(config, half, pt.exp(slope), pt)
        share = _carried(inputs, config, first, second, curve, pt) * pt.exp(pt.dot(inputs.wander, steps))
        idle = inputs.media[:, config.max_lag_weeks :].sum(axis=1) == 0
        mean_share = pt.where(idle, curve(np.ones((1, n)))[0], share.mean(axis=0))
        ceiling = pt.exp(effect) / mean_share
        mean = pt.dot(share, ceiling)
        mean += pt.dot(pt.exp(theta[at_signed : at_signed + n_signed]), inputs.signed_columns)
        at_pairs = len(inputs.prior_mean) - len(inputs.pairs)
        mean += pt.dot(inputs.basis * inputs.singular, theta[at_signed + n_signed + 1 : at_pairs])
        synergy = [theta[at_pairs + p] / (mean_share[a] * mean_share[b]) for p, (a, b) in enumerate(inputs.pairs)]
        for (a, b), each in zip(inputs.pairs, synergy, strict=True):
            mean += each * share[:, a] * share[:, b]
        if config.noise == "student_t":
            pm.StudentT("kpi", nu=STUDENT_T_DF, mu=mean, sigma=noise, observed=inputs.kpi)
        else:
            pm.Normal("kpi", mean, noise, observed=inputs.kpi)
        if len(rows := inputs.lift.rows):
            at = rows[:, 0].astype(int)
            levels = np.ones((2, len(rows), n))
            levels[0, np.arange(len(rows)), at], levels[1, np.arange(len(rows)), at] = rows[:, 1], rows[:, 2]
            reached = [curve(level)[np.arange(len(rows)), at] for level in levels]
            raised, partners = ceiling[at], curve(inputs.lift.partner_levels)
            for (a, b), each in zip(inputs.pairs, synergy, strict=True):
                raised += each * ((at == a) * partners[:, b] + (at == b) * partners[:, a])
            then = pt.exp((inputs.lift.wander * steps[:, at].T).sum(axis=1))
            lift = rows[:, 3] * raised * then * (reached[1] - reached[0])
            pm.Normal("lift", lift, rows[:, 5], observed=rows[:, 4])
    return model


def _curve(config: MMMConfig, log_half: Any, slope: Any, pt: Any) -> Any:
    """Share of the ceiling as a function of spends (..., n_channels)."""

    def share(spend: Any) -> Any:
        spend = pt.as_tensor_variable(spend)
        safe = pt.switch(spend > 0, spend, 1.0)  # no gradient may pass through log 0
        level = slope * (pt.log(safe) - log_half)
        if config.saturation == "logistic":
            reached = pt.tanh(HALF_LOG_3 * pt.exp(level))
        elif config.saturation == "s_shape":
            reached = -pt.expm1(-LOG_2 * pt.exp(level))
        else:
            reached = pt.sigmoid(level)
        return pt.switch(spend > 0, reached, 0.0)

    return share


def _carried(inputs: Inputs, config: MMMConfig, first: Any, second: Any, curve: Any, pt: Any) -> Any:
    """Share (n_weeks, n_channels) of the ceiling, carry-over and saturation in the config's order."""
    n_lags = config.max_lag_weeks + 1
    n_weeks = inputs.media.shape[1] - n_lags + 1
    lag = np.arange(n_lags)[:, None]
    if config.adstock == "geometric":
        log_weight = lag * pt.log(pt.sigmoid(first))
    elif config.adstock == "delayed":
        log_weight = (lag - pt.exp(second)) ** 2 * pt.log(pt.sigmoid(first))
    elif config.adstock == "weibull_pdf":
        age = np.log(lag + 1.0) - first
        log_weight = second - first + (pt.exp(second) - 1) * age - pt.exp(pt.exp(second) * age)
    else:
        log_weight = -((lag / pt.exp(first)) ** pt.exp(second))
    weight = pt.special.softmax(log_weight, axis=0)
    whole = inputs.media.T
    media = np.stack([whole[n_lags - 1 - k : n_lags - 1 - k + n_weeks] for k in range(n_lags)])
    if config.order == "adstock_first":
        return curve((weight[:, None, :] * media).sum(axis=0))
    return (weight[:, None, :] * curve(media)).sum(axis=0)
