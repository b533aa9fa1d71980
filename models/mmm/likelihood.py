"""Log density of the mix model with its gradient, compiled by numba.

The linear part is integrated out. With Z diag(prior_sd) = U diag(d) V', the residual r = KPI - media is Gaussian with
covariance S = sigma^2 I + U diag(d^2) U', so that, with v = S^-1 r = (r - U (d^2 / (sigma^2 + d^2) * U'r)) / sigma^2,

    log density = -(r'v + (n - k) log sigma^2 + sum log(sigma^2 + d^2)) / 2,
    gradient by media = v,   gradient by sigma^2 = (v'v - trace S^-1) / 2.

The joint form keeps the coefficients g of U diag(d) as parameters; the noise may then have heavy tails. Both forms
share everything else, and the tests hold each against PyMC.

Derivatives are written out: one small function compiles in two seconds and is served from numba's cache afterwards,
where the derived graph is some eighty functions. All of it stays in this one file, since that cache looks for changes
in the file of the function it keeps, not in those it calls.

Sources: Woodbury identity, Petersen, Pedersen, The Matrix Cookbook (2012), eq. 156; media response and delayed
carry-over, Jin et al. (2017), eq. 1-5; Weibull carry-over, Robyn (Meta, 2021), "Adstock".
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

GEOMETRIC, DELAYED, WEIBULL_PDF, WEIBULL_CDF = range(4)
HILL, TANH, WEIBULL = range(3)
CARRY_FIRST, SATURATE_FIRST = range(2)
INTEGRATED, JOINT_NORMAL, JOINT_STUDENT_T = range(3)
STUDENT_T_DF = 4.0  # tails heavy enough for an outlier of ten sd, a variance that exists
LOG_2, HALF_LOG_3 = np.log(2.0), 0.5 * np.log(3.0)  # both curves reach 1/2 at the half saturation
BLOCKS = 5  # of parameters per channel: log effect, log half saturation, log slope, two of the carry-over

jit = numba.njit(cache=True, nogil=True, error_model="numpy")  # a division by 0 is infinite, as in numpy


@jit
def log_density_and_gradient(  # noqa: PLR0913, PLR0917 (compiled code takes arrays, no objects)
    u: Array,
    start: Array,
    scale: Array,
    prior_mean: Array,
    prior_root: Array,
    form: Ints,
    kpi: Array,
    padded: Array,
    signed: Array,
    basis: Array,
    singular: Array,
    lift_tests: Array,
    partner_levels: Array,
    pairs: Ints,
    wander: Array,
    at_tests: Array,
) -> tuple[float, Array]:
    """Log posterior density of u, up to a constant, with its gradient.

    u stands for z = start + scale u, z (standard normal a priori) for theta = prior_mean + prior_root z. Neither start
    nor scale touches the posterior of z: they only give the sampler a round target.

    Parameters
    ----------
    u, start : (n_free,); scale (n_free, n_free).
    prior_mean, prior_root : (n_theta,), (n_theta, n_free). theta holds, each for all channels, log effect, log half
        saturation, log slope, the two parameters of the carry-over, the steps of its walk; then the log of the
        coefficients of `signed`, the log noise sd, in the joint form the standardised coefficients of the basis.
    form : (4,) kind of carry-over, of saturation, their order, the form of the likelihood.
    kpi : (n_weeks,) in mean KPIs.
    padded : (n_channels, max_lag + n_weeks) media of the weeks before the first and of the weeks, in their means.
    signed : (n_signed, n_weeks) columns whose coefficients are above 0.
    basis, singular : U (n_weeks, k), d (k,).
    lift_tests : (n_tests, 6) the channel's index, spend before, after the change, length in weeks, lift, its standard
        error.
    partner_levels : (n_tests, n_channels) media of every channel in the weeks of each test.
    pairs : (n_pairs, 2) channels that interact; theta ends with what each brings on top at the mean of both shares.
    wander, at_tests : (n_weeks, n_steps), (n_tests, n_steps) of `varying`; without steps effects are constant.
    """
    z = start + scale @ u
    theta = prior_mean + prior_root @ z
    grad = np.zeros(len(theta))
    value = log_likelihood(
        theta, form, kpi, padded, signed, basis, singular, lift_tests, partner_levels, pairs, wander, at_tests, grad
    )
    value -= 0.5 * (z @ z)
    return value, scale.T @ (prior_root.T @ grad - z)


@jit
def log_likelihood(  # noqa: PLR0913, PLR0917 (as above)
    theta: Array,
    form: Ints,
    kpi: Array,
    padded: Array,
    signed: Array,
    basis: Array,
    singular: Array,
    lift_tests: Array,
    partner_levels: Array,
    pairs: Ints,
    wander: Array,
    at_tests: Array,
    gradient: Array,
) -> float:
    """Log likelihood of theta; adds its gradient to `gradient`."""
    n_weeks, n_channels = len(kpi), len(padded)
    n_signed, n_basis = len(signed), len(singular)
    n_blocks = BLOCKS + wander.shape[1]
    at_signed = n_blocks * n_channels
    at_noise = at_signed + n_signed
    share = np.empty((n_channels, n_weeks))
    by_parameter = np.empty((n_blocks - 1, n_channels, n_weeks))  # derivative of the share by half saturation, ...
    mean_share, ceiling, by_ceiling = np.empty(n_channels), np.empty(n_channels), np.zeros(n_channels)
    idle = np.zeros(n_channels)
    residual = kpi.copy()
    for c in range(n_channels):
        fill_share(form, padded[c], theta, c, n_channels, share[c], by_parameter[:, c])
        _walk(theta[BLOCKS * n_channels + c : at_signed : n_channels], wander, share[c], by_parameter[:, c])
        mean_share[c] = share[c].mean()
        if mean_share[c] <= 0.0:  # a channel that never spent has its effect at a spend of 1
            idle[c] = 1.0
            mean_share[c] = curve_at(form[1], 0.0, theta[n_channels + c], np.exp(theta[2 * n_channels + c]))[0]
        ceiling[c] = np.exp(theta[c]) / mean_share[c]
        residual -= ceiling[c] * share[c]
    for j in range(n_signed):
        residual -= np.exp(theta[at_signed + j]) * signed[j]
    at_pairs = len(theta) - len(pairs)
    synergy, by_synergy = np.empty(len(pairs)), np.zeros(len(pairs))
    for p in range(len(pairs)):
        a, b = pairs[p]
        synergy[p] = theta[at_pairs + p] / (mean_share[a] * mean_share[b])
        residual -= synergy[p] * share[a] * share[b]

    weighted = np.empty(n_weeks)  # the gradient by media
    variance = np.exp(2.0 * theta[at_noise])
    if form[3] == INTEGRATED:
        value, by_variance = _integrated(residual, variance, basis, singular, weighted)
        gradient[at_noise] += 2.0 * variance * by_variance
    else:
        coefficients = theta[at_noise + 1 : at_noise + 1 + n_basis]
        residual -= basis @ (singular * coefficients)
        value, by_log_sd = _independent(form[3], residual, variance, weighted)
        gradient[at_noise] += by_log_sd
        gradient[at_noise + 1 : at_noise + 1 + n_basis] += singular * (basis.T @ weighted)
    for j in range(n_signed):
        gradient[at_signed + j] += np.exp(theta[at_signed + j]) * (weighted @ signed[j])
    value += _lift_likelihood(
        form[1], lift_tests, partner_levels, pairs, at_tests, theta, ceiling, synergy, by_ceiling, by_synergy, gradient
    )
    _pair_gradient(pairs, weighted, synergy, by_synergy, share, mean_share, by_parameter, gradient)
    for c in range(n_channels):
        by_ceiling[c] += weighted @ share[c]
        by_effect = by_ceiling[c] * ceiling[c]
        gradient[c] += by_effect
        for block in range(n_blocks - 1):
            at = (block + 1) * n_channels + c
            gradient[at] += ceiling[c] * (weighted @ by_parameter[block, c])
            gradient[at] -= by_effect * by_parameter[block, c].mean() / mean_share[c]
        if idle[c] > 0.0:
            slope = np.exp(theta[2 * n_channels + c])
            _, rise = curve_at(form[1], 0.0, theta[n_channels + c], slope)
            gradient[n_channels + c] += by_effect * slope * rise / mean_share[c]
            gradient[2 * n_channels + c] += by_effect * slope * theta[n_channels + c] * rise / mean_share[c]
    return value


@jit
def _pair_gradient(
    pairs: Ints,
    weighted: Array,
    synergy: Array,
    by_synergy: Array,
    share: Array,
    mean_share: Array,
    by_parameter: Array,
    gradient: Array,
) -> None:
    """Add to `gradient` what synergies, and the curves within them, change; `by_synergy` holds the lift tests' part."""
    n_channels, n_weeks = share.shape
    for p in range(len(pairs)):
        a, b = pairs[p]
        by_synergy[p] += weighted @ (share[a] * share[b])
        gradient[len(gradient) - len(pairs) + p] += by_synergy[p] / (mean_share[a] * mean_share[b])
        for side in range(2):
            c, partner = pairs[p, side], pairs[p, 1 - side]
            by_share = synergy[p] * (weighted * share[partner] - by_synergy[p] / (mean_share[c] * n_weeks))
            for block in range(len(by_parameter)):
                gradient[(block + 1) * n_channels + c] += by_share @ by_parameter[block, c]


@jit
def fill_share(
    form: Ints, media: Array, theta: Array, c: int, n_channels: int, share: Array, by_parameter: Array
) -> None:
    """Fill the share of the ceiling reached each week and its derivatives by the channel's last four parameters."""
    n_weeks = len(share)
    n_lags = len(media) - n_weeks + 1
    log_half, slope = theta[n_channels + c], np.exp(theta[2 * n_channels + c])
    weight, by_first, by_second = _lag_weights(form[0], theta[3 * n_channels + c], theta[4 * n_channels + c], n_lags)
    if form[2] == CARRY_FIRST:
        for t in range(n_weeks):
            carried, tilted, bent = 0.0, 0.0, 0.0
            for lag in range(n_lags):
                spent = media[n_lags - 1 + t - lag]
                carried += weight[lag] * spent
                tilted += by_first[lag] * spent
                bent += by_second[lag] * spent
            share[t], by_parameter[0, t], by_parameter[1, t] = 0.0, 0.0, 0.0
            by_parameter[2, t], by_parameter[3, t] = 0.0, 0.0
            if carried > 0.0:
                log_spend = np.log(carried)
                share[t], rise = curve_at(form[1], log_spend, log_half, slope)
                by_parameter[0, t] = -slope * rise
                by_parameter[1, t] = slope * (log_spend - log_half) * rise
                by_parameter[2, t] = slope * rise * tilted / carried
                by_parameter[3, t] = slope * rise * bent / carried
        return
    reached, rises, bends = np.zeros(len(media)), np.zeros(len(media)), np.zeros(len(media))
    for t in range(len(media)):
        if media[t] > 0.0:
            log_spend = np.log(media[t])
            reached[t], rise = curve_at(form[1], log_spend, log_half, slope)
            rises[t] = -slope * rise
            bends[t] = slope * (log_spend - log_half) * rise
    for t in range(n_weeks):
        share[t] = 0.0
        by_parameter[: BLOCKS - 1, t] = 0.0
        for lag in range(n_lags):
            at = n_lags - 1 + t - lag
            share[t] += weight[lag] * reached[at]
            by_parameter[0, t] += weight[lag] * rises[at]
            by_parameter[1, t] += weight[lag] * bends[at]
            by_parameter[2, t] += by_first[lag] * reached[at]
            by_parameter[3, t] += by_second[lag] * reached[at]


@jit
def _walk(steps: Array, wander: Array, share: Array, by_parameter: Array) -> None:
    """Multiply a channel's share, with its derivatives, by the walk of its effect; add derivatives by the steps."""
    for t in range(len(share) if len(steps) else 0):
        factor = np.exp((wander[t] * steps).sum())
        share[t] *= factor
        by_parameter[: BLOCKS - 1, t] *= factor
        by_parameter[BLOCKS - 1 :, t] = share[t] * wander[t]


@jit
def curve_at(kind: int, log_spend: float, log_half: float, slope: float) -> tuple[float, float]:
    """Share of the ceiling at a spend, its derivative by slope * (log spend - log half saturation)."""
    level = slope * (log_spend - log_half)
    if kind == HILL:
        reached = 1.0 / (1.0 + np.exp(-level))
        return reached, reached * (1.0 - reached)
    if level > 50.0:  # e^50 half saturations: the ceiling, before exp overflows
        return 1.0, 0.0
    if kind == TANH:
        power = HALF_LOG_3 * np.exp(level)
        reached = np.tanh(power)
        return reached, (1.0 - reached * reached) * power
    power = LOG_2 * np.exp(level)
    return -np.expm1(-power), np.exp(-power) * power


@jit
def _lag_weights(kind: int, first: float, second: float, n_lags: int) -> tuple[Array, Array, Array]:
    """Weights of the lags, summing to 1, with their derivatives by the two parameters."""
    weight, by_first, by_second = np.empty(n_lags), np.zeros(n_lags), np.zeros(n_lags)
    keep = 1.0 / (1.0 + np.exp(-first))
    log_keep = -np.log1p(np.exp(-first))
    shape = np.exp(second)
    for lag in range(n_lags):
        if kind == GEOMETRIC:
            weight[lag] = lag * log_keep
            by_first[lag] = lag * (1.0 - keep)
        elif kind == DELAYED:
            away = lag - shape
            weight[lag] = away * away * log_keep
            by_first[lag] = away * away * (1.0 - keep)
            by_second[lag] = -2.0 * away * shape * log_keep
        elif kind == WEIBULL_PDF:
            level = min(shape * (np.log(lag + 1.0) - first), 600.0)  # e^50 would drown the other terms
            weight[lag] = second - first + (shape - 1.0) * (np.log(lag + 1.0) - first) - np.exp(level)
            by_first[lag] = shape * (np.exp(level) - 1.0)
            by_second[lag] = 1.0 + level * (1.0 - np.exp(level))
        elif lag == 0:
            weight[lag] = 0.0
        else:
            level = min(shape * (np.log(1.0 * lag) - first), 50.0)
            weight[lag] = -np.exp(level)
            by_first[lag] = shape * np.exp(level)
            by_second[lag] = -level * np.exp(level)
    weight = np.exp(weight - weight.max())
    weight /= weight.sum()
    by_first = weight * (by_first - weight @ by_first)
    by_second = weight * (by_second - weight @ by_second)
    return weight, by_first, by_second


@jit
def _integrated(
    residual: Array, variance: float, basis: Array, singular: Array, weighted: Array
) -> tuple[float, float]:
    """Log density of the residual with its derivative by the noise variance; fills `weighted` with S^-1 residual."""
    n_weeks, n_basis = basis.shape
    total = variance + singular**2
    weighted[:] = (residual - basis @ (singular**2 / total * (basis.T @ residual))) / variance
    log_determinant = (n_weeks - n_basis) * np.log(variance) + np.log(total).sum()
    trace = (n_weeks - n_basis) / variance + (1.0 / total).sum()
    return -0.5 * (residual @ weighted + log_determinant), 0.5 * (weighted @ weighted - trace)


@jit
def _independent(kind: int, residual: Array, variance: float, weighted: Array) -> tuple[float, float]:
    """The same for noise that is independent from week to week; the derivative is by the log of its scale."""
    value, by_log_sd = 0.0, 0.0
    for t in range(len(residual)):
        squared = residual[t] * residual[t]
        if kind == JOINT_NORMAL:
            weighted[t] = residual[t] / variance
            value -= 0.5 * (squared / variance + np.log(variance))
        else:
            weighted[t] = (STUDENT_T_DF + 1.0) * residual[t] / (STUDENT_T_DF * variance + squared)
            value -= 0.5 * (STUDENT_T_DF + 1.0) * np.log1p(squared / (STUDENT_T_DF * variance))
            value -= 0.5 * np.log(variance)
        by_log_sd += residual[t] * weighted[t] - 1.0
    return value, by_log_sd


@jit
def _lift_likelihood(  # noqa: PLR0913, PLR0917 (as above)
    kind: int,
    tests: Array,
    partner_levels: Array,
    pairs: Ints,
    at_tests: Array,
    theta: Array,
    ceiling: Array,
    synergy: Array,
    by_ceiling: Array,
    by_synergy: Array,
    gradient: Array,
) -> float:
    """Log likelihood of the tests; adds its derivatives to `by_ceiling`, `by_synergy`, `gradient`.

    A tested channel's ceiling is raised by what its partners, at their spend during the test, add to it.
    """
    n_channels = len(ceiling)
    value = 0.0
    for i in range(len(tests)):
        c = int(tests[i, 0])
        log_half, slope = theta[n_channels + c], np.exp(theta[2 * n_channels + c])
        weeks, lift, lift_se = tests[i, 3], tests[i, 4], tests[i, 5]
        gain, by_half, by_slope = 0.0, 0.0, 0.0
        for side in range(2):
            if tests[i, 1 + side] > 0.0:
                log_spend = np.log(tests[i, 1 + side])
                reached, rise = curve_at(kind, log_spend, log_half, slope)
                sign = 2.0 * side - 1.0
                gain += sign * reached
                by_half -= sign * slope * rise
                by_slope += sign * slope * (log_spend - log_half) * rise
        at_steps = slice(BLOCKS * n_channels + c, (BLOCKS + at_tests.shape[1]) * n_channels, n_channels)
        factor = np.exp((at_tests[i] * theta[at_steps]).sum())
        gain, by_half, by_slope = factor * gain, factor * by_half, factor * by_slope
        raised = ceiling[c]
        for p in range(len(pairs)):
            raised += synergy[p] * _partner_share(kind, pairs[p], c, partner_levels[i], theta)[0]
        miss = (lift - raised * weeks * gain) / lift_se
        value -= 0.5 * miss * miss
        pull = miss * weeks / lift_se
        by_ceiling[c] += pull * gain
        gradient[n_channels + c] += pull * raised * by_half
        gradient[2 * n_channels + c] += pull * raised * by_slope
        gradient[at_steps] += pull * raised * gain * at_tests[i]
        for p in range(len(pairs)):
            reached, by_partner_half, by_partner_slope, partner = _partner_share(
                kind, pairs[p], c, partner_levels[i], theta
            )
            by_synergy[p] += pull * gain * reached
            gradient[n_channels + partner] += pull * gain * synergy[p] * by_partner_half
            gradient[2 * n_channels + partner] += pull * gain * synergy[p] * by_partner_slope
    return value


@jit
def _partner_share(kind: int, pair: Ints, c: int, levels: Array, theta: Array) -> tuple[float, float, float, int]:
    """Share that the partner of c in a pair reaches at its level, by its log half saturation, by its log slope, itself.

    All 0 where c is not of the pair, or the partner did not run.
    """
    partner = pair[1] if pair[0] == c else pair[0]
    if (pair[0] != c and pair[1] != c) or levels[partner] <= 0.0:
        return 0.0, 0.0, 0.0, partner
    log_spend, log_half = np.log(levels[partner]), theta[len(levels) + partner]
    slope = np.exp(theta[2 * len(levels) + partner])
    reached, rise = curve_at(kind, log_spend, log_half, slope)
    return reached, -slope * rise, slope * (log_spend - log_half) * rise, partner
