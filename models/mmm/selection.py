"""Which form of the mix model suits a company: BIC, leave-one-out density, forecasts from past origins, weights.

Candidates are fitted by the quick approximation, so that a dozen forms cost seconds; the one chosen is then sampled.

Sources: Schwarz (1978) for BIC; Vehtari, Gelman, Gabry (2017), "Practical Bayesian model evaluation using
leave-one-out cross-validation and WAIC"; Yao et al. (2018), "Using stacking to average Bayesian predictive
distributions", eq. 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from models.mmm import sampler
from models.mmm.config import MMMConfig
from models.mmm.data import MIN_WEEKS, MMMData, control_matrix
from models.mmm.design import fitted_columns, make_design
from models.mmm.exposure import media_of
from models.mmm.fit import quick_fit
from models.mmm.fitted import FittedMMM, predict, residuals, with_noise
from models.mmm.inputs import SLOPE_OF_ONE, make_inputs
from models.mmm.likelihood import STUDENT_T_DF
from models.mmm.link import link_kpi
from models.mmm.media import carried_share, lag_weights, mean_spend
from models.mmm.quick import pareto_smoothed
from models.mmm.scores import crps

Array = NDArray[np.float64]
TIE_SE = 2.0  # a lead within two standard errors is a tie
TIE_LEAD = 4.0  # as is a smaller one, whatever its error says: Sivula, Magnusson, Vehtari (2020), section 4
STACKING_STEPS = 2000  # of expectation maximisation; weights then stand still to four digits
DECAY_GRID = tuple(round(0.1 * i, 1) for i in range(10))  # 0 to 0.9, the grid people search by hand
FORMS: Mapping[str, Mapping[str, str]] = {
    "geometric, hill": {},
    "delayed, hill": {"adstock": "delayed"},
    "weibull_pdf, hill": {"adstock": "weibull_pdf"},
    "geometric, logistic": {"saturation": "logistic"},
    "geometric, michaelis_menten": {"saturation": "michaelis_menten"},
    "geometric, s_shape": {"saturation": "s_shape"},
    "geometric, hill, saturation first": {"order": "saturation_first"},
}


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The form chosen, with why.

    Parameters
    ----------
    chosen : name of the candidate.
    table : one row per candidate: candidate, bic, elpd_loo (log density of a left-out week, summed), lead_se (that of
        its distance from the best), loo_k_hat_max, crps (mean of the forecasts, KPI units; NaN where too few weeks
        remain before every origin), weight (stacking), reason.
    """

    chosen: str
    table: pl.DataFrame


def select(
    data: MMMData, candidates: Mapping[str, MMMConfig], n_origins: int = 3, horizon_weeks: int = 13
) -> Selection:
    """Compare candidates on the same weeks; the earliest named among those tied with the best is chosen.

    Parameters
    ----------
    candidates : configs by name, the one preferred where nothing speaks against it first.
    n_origins, horizon_weeks : forecasts are made from this many ends of history, each this many weeks before the next;
        an origin with fewer than 20 weeks before it is passed over.
    """
    names, density, rows = list(candidates), [], []
    for config in candidates.values():
        fitted = quick_fit(data, config)
        pointwise, k_hat = leave_one_out(fitted)
        density.append(pointwise)
        rows.append((bic(data, config), float(pointwise.sum()), k_hat, _crps(data, config, n_origins, horizon_weeks)))
    elpd = np.array([row[1] for row in rows])
    best = int(elpd.argmax())
    lead_se = np.array([np.sqrt(data.n_weeks) * (density[best] - own).std() for own in density])
    tied = elpd[best] - elpd <= np.maximum(TIE_SE * lead_se, TIE_LEAD)
    chosen = int(np.flatnonzero(tied)[0])
    weight = stacking_weights(np.array(density).T)
    reasons = [
        f"left-out weeks: {elpd[best] - elpd[i]:.1f} +- {lead_se[i]:.1f} behind {names[best]}"
        + (", a tie; named first" if i == chosen and i != best else ", a tie" if tied[i] and i != best else "")
        if i != best
        else "left-out weeks: the best" + ("" if chosen == best else f", but tied with {names[chosen]}, named first")
        for i in range(len(names))
    ]
    columns = {
        "candidate": names,
        "bic": [row[0] for row in rows],
        "elpd_loo": elpd,
        "lead_se": lead_se,
        "loo_k_hat_max": [row[2] for row in rows],
        "crps": [row[3] for row in rows],
        "weight": weight,
        "reason": reasons,
    }
    return Selection(chosen=names[chosen], table=pl.DataFrame(columns))


def bic(data: MMMData, config: MMMConfig) -> float:
    """Schwarz's criterion at the posterior mode, k log(n) - 2 log likelihood, k with the linear part's parameters.

    Comparable between forms of noise and links, and the same whether the linear part is integrated out of the sampler
    or not: it is always at the mode of all parameters together, the density that of the KPI in its means with all of
    its constants. Lift tests count at the mode up to a constant that candidates share.
    """
    joint = replace(config, integrated=False)  # a likelihood with coefficients integrated out would be another quantity
    inputs = make_inputs(data, make_design(data, joint), joint)
    at = sampler.mode(inputs).start
    log_likelihood = sampler.log_density(inputs)(at)[0] + 0.5 * float(at @ at)
    constant = stats.t.logpdf(0.0, STUDENT_T_DF) if config.noise == "student_t" else stats.norm.logpdf(0.0)
    log_likelihood += data.n_weeks * float(constant)  # that of noise of scale 1, which the sampler leaves out
    if config.link == "log":  # to a density of the KPI in its means, as without
        log_likelihood -= float((np.log(data.kpi) - np.log(data.kpi.mean())).sum())
    return inputs.n_free * float(np.log(data.n_weeks)) - 2.0 * log_likelihood


def leave_one_out(fitted: FittedMMM) -> tuple[Array, float]:
    """Log density of each week left out (n_weeks,) by Pareto smoothed weights; the largest k-hat."""
    miss = residuals(fitted) / fitted.noise_sd[:, None]
    heavy = fitted.config.noise == "student_t"
    log_p = (stats.t.logpdf(miss, STUDENT_T_DF) if heavy else stats.norm.logpdf(miss)) - np.log(fitted.noise_sd)[
        :, None
    ]
    if fitted.config.link == "log":
        log_p -= np.log(fitted.data.kpi)  # from a density of the logarithm to one of the KPI
    pointwise, k_hats = np.empty(fitted.data.n_weeks), np.empty(fitted.data.n_weeks)
    for week in range(fitted.data.n_weeks):
        weight, k_hats[week] = pareto_smoothed(-log_p[:, week])
        pointwise[week] = np.log(weight @ np.exp(log_p[:, week] - log_p[:, week].max())) + log_p[:, week].max()
    return pointwise, float(k_hats[np.isfinite(k_hats)].max(initial=0.0))


def stacking_weights(log_density: Array) -> Array:
    """Weights (n_models,), summing to 1, of the mixture that gives the left-out weeks most density.

    log_density : (n_weeks, n_models) of each week left out.
    """
    density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    weight = np.full(density.shape[1], 1.0 / density.shape[1])
    for _ in range(STACKING_STEPS):
        share = weight * density
        weight = (share / share.sum(axis=1, keepdims=True)).mean(axis=0)
    return weight


def _crps(data: MMMData, config: MMMConfig, n_origins: int, horizon: int) -> float:
    """Mean CRPS of forecasts `horizon` weeks ahead from `n_origins` ends of history."""
    found = []
    for back in range(n_origins, 0, -1):
        n = data.n_weeks - back * horizon
        if n < MIN_WEEKS:
            continue
        fitted, ahead = quick_fit(data.head(n), config), slice(n, n + horizon)
        later = {name: seen[ahead] for name, seen in data.exposure.items()}
        base, media = predict(fitted, data.week_start[ahead], data.spend[ahead], control_matrix(data)[ahead], later)
        drawn = with_noise(fitted, base + media.sum(axis=2), np.random.default_rng([config.seed, 8]))
        found.append(crps(data.kpi[ahead], drawn))
    return float(np.mean(found)) if found else float("nan")


def decay_table(data: MMMData, config: MMMConfig | None = None, grid: tuple[float, ...] = DECAY_GRID) -> pl.DataFrame:
    """Least squares with one channel's decay on a grid, the others' at their best: channel, decay, aic, bic, is_best.

    Curves are those of the prior's medians, in the order that the config names. It shows what the sampler integrates
    over, in the form people know.

    Sources: Akaike (1974); AIC, BIC of a linear model up to a constant, n log(rss / n) + penalty * k.
    """
    config = replace(config or MMMConfig(), adstock="geometric")
    design = make_design(data, config)
    columns, kpi = fitted_columns(design, data), link_kpi(data, config)
    media = media_of(data)
    scaled, best = media / mean_spend(media), np.full(len(data.channels), config.priors.decay_median)
    steep = 1.0 if config.saturation in SLOPE_OF_ONE else config.priors.slope_median
    half, slope = (np.full((1, len(best)), x) for x in (config.priors.half_saturation_median, steep))
    carry_first = config.order == "adstock_first"

    def log_rss(decay: Array) -> float:
        weights = lag_weights(
            "geometric", np.maximum(decay, 1e-12)[None], np.ones((1, len(decay))), config.max_lag_weeks
        )
        reached = carried_share(scaled, weights, half, slope, config.saturation, carry_first)[0]
        regressors = np.hstack([columns, reached])
        fitted = regressors @ np.linalg.lstsq(regressors, kpi, rcond=None)[0]
        return float(np.log(((kpi - fitted) ** 2).mean()))

    def with_decay(channel: int, decay: float) -> Array:
        changed = best.copy()
        changed[channel] = decay
        return changed

    for _ in range(2):  # a second sweep lets each channel answer the others' choice
        for channel in range(len(best)):
            best[channel] = min(grid, key=lambda decay: log_rss(with_decay(channel, decay)))
    n, k = data.n_weeks, columns.shape[1] + 2 * len(best) + 1
    rows = [
        (name, decay, n * level + 2.0 * k, n * level + float(np.log(n)) * k, bool(decay == best[channel]))
        for channel, name in enumerate(data.channels)
        for decay in grid
        for level in [log_rss(with_decay(channel, decay))]
    ]
    return pl.DataFrame(rows, schema=["channel", "decay", "aic", "bic", "is_best"], orient="row")
