"""Partial pooling of slopes, keyword in campaign in channel, from bodies of evidence that deserve unequal trust.

Bids drawn at random on recent days are the yardstick. Each other body counts with its precision times

    f = naive variance / (variance of its level + bias variance),

so that all its keywords together tell no more than one estimate with that bias would: of earlier days because markets
drift, of bids that people set because they may follow demand, a bias that all bodies of set bids share. The bias
variance is what the disagreement with the yardstick shows beyond chance, and no less than a floor; for bids that people
set the floor is learnt from all channels.

Then keyword ~ N(campaign, tau_k^2), campaign ~ N(channel, tau_c^2), channel ~ N(prior): given the two spreads all is
normal and in closed form; the spreads are averaged over a grid of their half-normal priors.

Sources: Ibrahim & Chen (2000), "Power prior distributions for regression models", Statistical Science 15(1), 46-60
(evidence counted in part); Gelman et al. (2013), *Bayesian Data Analysis*, 3rd ed., sections 5.4 and 5.7 (hierarchical
normal, spreads integrated out, half-normal priors); Gordon et al. (2019), "A comparison of approaches to advertising
measurement", Marketing Science 38(2), 193-225, and Blake, Nosko & Tadelis (2015), "Consumer heterogeneity and paid
search effectiveness", Econometrica 83(1), 155-174 (how far observational estimates miss randomised ones).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from models.bid_slopes import Evidence

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class PoolingConfig:
    """What is held likely of elasticities before any bid was seen, and of biases."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    prior_mean: float = 0.7  # of a channel: more bid buys more clicks, seldom in proportion
    prior_sd: float = 0.5  # 90 % between -0.1 and 1.5
    keyword_spread: float = 0.2  # scale of the half-normal prior of keywords about their campaign
    campaign_spread: float = 0.15  # of campaigns about their channel, which have more in common
    observational_bias_sd: float = 0.3  # nearly half a usual elasticity, as in the comparisons cited above
    drift_sd: float = 0.03  # of a channel's elasticity between earlier and recent days
    doubt_z: float = 2.0  # disagreement in standard errors beyond which it is reported
    grid_points: int = 12  # of each spread

    def __post_init__(self) -> None:
        for name in (
            "prior_sd", "keyword_spread", "campaign_spread", "observational_bias_sd", "drift_sd", "doubt_z",
        ):  # fmt: skip
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a number above 0")
        if self.grid_points < 3:
            raise ValueError(f"grid_points is {self.grid_points}: expected at least 3")


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """Slopes of a channel's n keywords, all evidence in one.

    Attributes
    ----------
    slope, precision : (n,); 0 and 0 where nothing is known of the keyword itself.
    shares : part of the precision of the level that each body of evidence holds, in their order, summing to 1 or 0.
    gaps : level of each body less that of the yardstick; NaN for the yardstick and where they do not compare.
    gap_ses : their standard errors.
    yardstick : position of the most trusted body that tells; -1 without one.
    """

    slope: FloatArray
    precision: FloatArray
    shares: FloatArray
    gaps: FloatArray
    gap_ses: FloatArray
    yardstick: int


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Posterior of one channel: means and standard deviations; keywords (n,), campaigns (m,)."""

    keyword_mean: FloatArray
    keyword_sd: FloatArray
    campaign_mean: FloatArray
    campaign_sd: FloatArray
    channel_mean: float
    channel_sd: float
    keyword_spread: float
    campaign_spread: float


def gaps_to_yardstick(bodies: Sequence[Evidence]) -> tuple[int, FloatArray, FloatArray]:
    """Yardstick (the first body that tells), the gap of each other body's level to it, and that gap's standard error.

    Levels are compared over keywords that both bodies know, so that unlike keywords are no disagreement.
    """
    gaps, ses = np.full(len(bodies), np.nan), np.full(len(bodies), np.nan)
    yardstick = next((i for i, body in enumerate(bodies) if body.tells), -1)
    for i, body in enumerate(bodies):
        if yardstick < 0 or i == yardstick or not body.tells:
            continue
        base = bodies[yardstick]
        both = np.isfinite(body.variance) & np.isfinite(base.variance)
        if not both.any():
            continue
        weight = 1.0 / (body.variance[both] + base.variance[both])
        gaps[i] = float((weight * (body.slope - base.slope)[both]).sum() / weight.sum())
        shared = sum(max(part.level_variance - _naive(part), 0.0) for part in (body, base))
        ses[i] = float(np.sqrt(1.0 / weight.sum() + shared))
    return yardstick, gaps, ses


def observational_bias(channels: Sequence[Sequence[Evidence]], config: PoolingConfig) -> float:
    """Standard deviation of the bias of bids that people set, from channels that have random ones beside them.

    The prior counts as one channel more.
    """
    squares, count = config.observational_bias_sd**2, 1
    for bodies in channels:
        yardstick, gaps, ses = gaps_to_yardstick(bodies)
        for i, body in enumerate(bodies):
            compares = bool(np.isfinite(gaps[i])) and bodies[yardstick].is_randomised
            if compares and not body.is_randomised and body.is_recent:
                squares, count = squares + max(gaps[i] ** 2 - ses[i] ** 2, 0.0), count + 1
    return float(np.sqrt(squares / count))


def weigh(bodies: Sequence[Evidence], bias_sd: float, config: PoolingConfig) -> Weighed:
    """All bodies of evidence of a channel, most trusted first, in one slope and precision per keyword."""
    n = len(bodies[0].slope)
    yardstick, gaps, ses = gaps_to_yardstick(bodies)
    beyond = np.nan_to_num(gaps**2 - ses**2, nan=0.0)  # of the squared gap, more than chance explains
    was_set = [i for i, body in enumerate(bodies) if body.tells and not body.is_randomised]
    # what set bids have in common is one bias, which no number of them averages away; the most recent show it
    bias = max(bias_sd**2, float(beyond[was_set[0]])) if was_set else 0.0
    level = np.zeros(len(bodies))
    for i, body in enumerate(bodies):
        if body.tells:
            drift = 0.0 if body.is_recent else config.drift_sd**2
            drift = max(drift, float(beyond[i]) - (bias if i in was_set else 0.0))
            level[i] = 1.0 / (body.level_variance + drift)
    together = float(level[was_set].sum())
    level[was_set] /= 1.0 + bias * together
    moment, precision = np.zeros(n), np.zeros(n)
    for i, body in enumerate(bodies):
        if body.tells:
            known = np.isfinite(body.variance)
            part = np.zeros(n)
            part[known] = level[i] * _naive(body) / body.variance[known]
            moment, precision = moment + part * body.slope, precision + part
    slope = np.divide(moment, precision, out=np.zeros(n), where=precision > 0)
    total = float(level.sum())
    shares = level / total if total > 0 else level
    return Weighed(slope=slope, precision=precision, shares=shares, gaps=gaps, gap_ses=ses, yardstick=yardstick)


def pool(slope: FloatArray, precision: FloatArray, campaign: IntArray, config: PoolingConfig) -> Pooled:
    """Posterior of keywords, campaigns and channel.

    Parameters
    ----------
    slope, precision : (n,) of each keyword; precision 0 where nothing is known. campaign : (n,) from 0 without gaps.
    """
    quantiles = ndtri(0.5 + 0.5 * (np.arange(config.grid_points) + 0.5) / config.grid_points)
    n, m = len(slope), int(campaign.max()) + 1
    log_weight, parts = [], []
    for tau_k in config.keyword_spread * quantiles:
        # keywords of a campaign: precision of each about the campaign's level
        about = precision / (1.0 + tau_k**2 * precision)
        of_campaign = np.bincount(campaign, weights=about, minlength=m)
        mean = np.divide(
            np.bincount(campaign, weights=about * slope, minlength=m), of_campaign, out=np.zeros(m),
            where=of_campaign > 0,
        )  # fmt: skip
        known = precision > 0
        inside = 0.5 * float(np.log(about[known]).sum() - (about * (slope - mean[campaign]) ** 2).sum())
        inside -= 0.5 * float(np.log(of_campaign[of_campaign > 0]).sum())
        for tau_c in config.campaign_spread * quantiles:
            about_channel = of_campaign / (1.0 + tau_c**2 * of_campaign)
            prior = 1.0 / config.prior_sd**2
            total = prior + float(about_channel.sum())
            level = (prior * config.prior_mean + float(about_channel @ mean)) / total
            seen = of_campaign > 0
            fit = float(np.log(about_channel[seen]).sum()) - float(about_channel @ (mean - level) ** 2)
            fit -= prior * (level - config.prior_mean) ** 2 + float(np.log(total))
            log_weight.append(inside + 0.5 * fit)
            keep_c = 1.0 / (1.0 + tau_c**2 * of_campaign)  # how much of the channel stays in the campaign
            mean_c = (1.0 - keep_c) * mean + keep_c * level
            var_c = tau_c**2 * keep_c + keep_c**2 / total
            keep_k = 1.0 / (1.0 + tau_k**2 * precision)
            mean_k = (1.0 - keep_k) * slope + keep_k * mean_c[campaign]
            var_k = tau_k**2 * keep_k + keep_k**2 * var_c[campaign]
            parts.append((np.concatenate([mean_k, mean_c, [level, tau_k, tau_c]]), np.concatenate([var_k, var_c])))
            parts[-1] = (parts[-1][0], np.concatenate([parts[-1][1], [1.0 / total, 0.0, 0.0]]))
    weight = np.exp(np.array(log_weight) - max(log_weight))
    weight /= weight.sum()
    means, variances = np.array([mean for mean, _ in parts]), np.array([var for _, var in parts])
    center = weight @ means
    sd = np.sqrt(weight @ (variances + (means - center) ** 2))
    return Pooled(
        keyword_mean=center[:n],
        keyword_sd=sd[:n],
        campaign_mean=center[n : n + m],
        campaign_sd=sd[n : n + m],
        channel_mean=float(center[n + m]),
        channel_sd=float(sd[n + m]),
        keyword_spread=float(center[n + m + 1]),
        campaign_spread=float(center[n + m + 2]),
    )


def _naive(body: Evidence) -> float:
    """Variance of the level as if keywords shared no error."""
    return 1.0 / float((1.0 / body.variance).sum())
