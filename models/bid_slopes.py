"""How each keyword's counts answered to its bid, one estimate per body of evidence: by time, and by who set the bid.

Evidence of one channel comes in up to four bodies: recent or earlier days, bids drawn at random or set by people and
algorithms. They are estimated apart so that `models.bid_pooling` can weigh them by how far each is to be believed.

Sources: Santos Silva & Tenreyro (2006), "The log of gravity", Review of Economics and Statistics 88(4), 641-658
(Poisson pseudo maximum likelihood, zeros included); Wooldridge (1999), "Distribution-free estimation of some nonlinear
panel data models", Journal of Econometrics 90, 77-97 (slopes with fixed effects of each unit).
"""

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from models.elasticity import ElasticityConfig, fit_fixed_effects

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]

STEPS = 200  # of the alternation between keywords and dates; a few dozen are usual
WEEK = 7  # days whose errors may go together


@dataclass(frozen=True, kw_only=True)
class SlopesConfig:
    """Which days tell of today, and what a slope needs."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    recent_days: int = 56  # as in `ElasticityConfig`: eight whole weeks
    history_days: int = 364  # a year: older bids met another market
    min_rows: int = 30  # keyword days in a body of evidence; fewer leave no freedom after keyword and date effects
    min_keyword_rows: int = 5  # days of a keyword: two are spent on its level and slope
    min_log_bid_spread: float = 0.02  # standard deviation of log bids within a keyword: 2 % of variation

    def __post_init__(self) -> None:
        if not 1 <= self.recent_days <= self.history_days:
            raise ValueError(
                f"recent_days is {self.recent_days}: expected 1 to history_days, which is {self.history_days}"
            )
        for name, least in (("min_rows", 5), ("min_keyword_rows", 3)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least {least}")
        if not self.min_log_bid_spread > 0.0:
            raise ValueError(f"min_log_bid_spread is {self.min_log_bid_spread}: expected a number above 0")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one body of evidence says of the n keywords of a channel.

    Attributes
    ----------
    is_recent, is_randomised : which days and which bids.
    slope : (n,) elasticity of each keyword; 0 where `variance` is infinite, which is where it does not tell.
    variance : (n,) sampling variance of each, the level that all share left out.
    level_variance : sampling variance of the keywords' common level, > 0.
    dispersion, extra : counts vary by dispersion * (mean + extra * mean^2).
    rows : keyword days used.
    lack : why it tells nothing, in plain words; empty where it tells.
    """

    is_recent: bool
    is_randomised: bool
    slope: FloatArray
    variance: FloatArray
    level_variance: float = np.inf
    dispersion: float = 1.0
    extra: float = 0.0
    rows: int = 0
    lack: str = ""

    @property
    def tells(self) -> bool:
        """Whether any keyword's slope is known."""
        return bool(np.isfinite(self.variance).any())


def bodies_of_evidence(
    counts: FloatArray,
    log_bid: FloatArray,
    keyword: IntArray,
    day: IntArray,
    randomised: BoolArray,
    n_keywords: int,
    last_day: int,
    config: SlopesConfig,
) -> tuple[Evidence, ...]:
    """The four bodies of evidence of one channel, most trusted first: recent random, earlier random, recent, earlier.

    Parameters
    ----------
    counts : (n,) clicks or impressions a day, >= 0. log_bid : (n,) finite.
    keyword : (n,) 0 to n_keywords - 1. day : (n,) day numbers, at most `last_day`.
    randomised : (n,) whether the bid was drawn at random.
    """
    age = last_day - day
    found = []
    for is_randomised, is_recent in product((True, False), repeat=2):
        recent = (age >= 0) & (age < config.recent_days)
        earlier = (age >= config.recent_days) & (age < config.history_days)
        rows = (randomised == is_randomised) & (recent if is_recent else earlier)
        slope, variance = np.zeros(n_keywords), np.full(n_keywords, np.inf)
        told = keyword_slopes(counts[rows], log_bid[rows], keyword[rows], day[rows], is_randomised, config)
        if isinstance(told, str):
            body = Evidence(
                is_recent=is_recent, is_randomised=is_randomised, slope=slope, variance=variance, lack=told,
                rows=int(rows.sum()),
            )  # fmt: skip
        else:
            slope[told.keyword], variance[told.keyword] = told.slope, told.variance
            body = Evidence(
                is_recent=is_recent,
                is_randomised=is_randomised,
                slope=slope,
                variance=variance,
                level_variance=told.level_variance,
                dispersion=told.dispersion,
                extra=told.extra,
                rows=int(rows.sum()),
            )
        found.append(body)
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class KeywordSlopes:
    """Slopes of those keywords that tell: `keyword` (m,) their numbers; the rest as in `Evidence`."""

    keyword: IntArray
    slope: FloatArray
    variance: FloatArray
    level_variance: float
    dispersion: float
    extra: float


def keyword_slopes(
    counts: FloatArray,
    log_bid: FloatArray,
    keyword: IntArray,
    day: IntArray,
    is_randomised: bool,
    config: SlopesConfig,
) -> KeywordSlopes | str:
    """A slope for each keyword, with effects of each keyword and each date; or why there is none.

    log E(count) = a_keyword + b_keyword * log bid + d_date. A start with one slope for all gives the dates' effects and
    the extra variance; then keywords and dates are fitted by turns. The dates' effects take out demand that all
    keywords share. With one keyword there is nothing to tell demand from the bid but that the bid was drawn at random.
    """
    keep = _telling(counts, log_bid, keyword, day, config)
    counts, log_bid, keyword, day = counts[keep], log_bid[keep], keyword[keep], day[keep]
    if len(counts) < config.min_rows:
        return f"{len(counts)} days on which the bid was varied and clicks came, expected at least {config.min_rows}"
    names, k = np.unique(keyword, return_inverse=True)
    dates, d = np.unique(day, return_inverse=True)
    n_k, n_d = len(names), len(dates)
    center = np.bincount(k, weights=log_bid) / np.bincount(k)
    x = log_bid - center[k]
    if n_k == 1:
        if not is_randomised:
            return "one keyword whose bid was not drawn at random: demand and bid cannot be told apart"
        shared, extra, slope0, d, n_d = np.zeros(len(x)), 0.0, 0.0, np.zeros(len(x), dtype=np.intp), 1
        pooled_variance = 0.0
    else:
        first = fit_fixed_effects(counts, x, k, d, ElasticityConfig())
        if first is None:
            return "no freedom left after an effect of each keyword and each date"
        if not first.information > 0.0:
            return "every bid moved with the day: nothing of it is left after date effects"
        shared, extra, slope0 = np.log(first.mu) - first.slope * x, first.extra, first.slope
        pooled_variance = first.dispersion / first.information
    level, slope, date_effect = np.zeros(n_k), np.full(n_k, slope0), np.zeros(n_d)
    if n_k == 1:
        level[:] = np.log(counts.mean())
    for _ in range(STEPS):
        mu, weight = _means(shared + level[k] + slope[k] * x + date_effect[d], extra)
        step_level, step_slope, _ = _newton((counts - mu) / mu, weight, x, k, n_k)
        level, slope = level + step_level, slope + step_slope
        change = float(np.abs(step_slope).max())
        if n_k > 1:
            mu, weight = _means(shared + level[k] + slope[k] * x + date_effect[d], extra)
            pull = np.bincount(d, weights=weight * (counts - mu) / mu) / np.bincount(d, weights=weight)
            date_effect += np.clip(pull, -1.0, 1.0)
        if change < 1e-7:
            break
    mu, weight = _means(shared + level[k] + slope[k] * x + date_effect[d], extra)
    residual = (counts - mu) / mu
    # a keyword that is most of its date hardly tells: the date's effect fits it
    room = 1.0 - weight / np.bincount(d, weights=weight)[d] if n_k > 1 else np.ones(len(x))
    _, _, mean_x = _newton(residual, weight, x, k, n_k)
    spread = x - mean_x[k]
    information = np.bincount(k, weights=weight * room * spread**2)
    freedom = max(len(x) - 2 * n_k - (n_d - 1), 1)
    dispersion = max(float((weight * residual**2).sum()) / freedom, 1.0)
    together = _design_effect(weight * spread * residual, k, day, dispersion * float(information.sum()))
    known = information > 0.0
    variance = dispersion * together / information[known]
    naive = 1.0 / float((1.0 / variance).sum())
    return KeywordSlopes(
        keyword=names[known].astype(np.intp),
        slope=slope[known],
        variance=variance,
        level_variance=max(naive, pooled_variance * together),
        dispersion=dispersion * together,
        extra=extra,
    )


def log_linear_slopes(
    quantity: FloatArray, price: FloatArray, group: IntArray, weight: FloatArray | None = None
) -> tuple[FloatArray, FloatArray, float, float]:
    """Least squares of log quantity on log price with a level of each group: a slope for each group, one for all.

    Parameters
    ----------
    quantity, price : (n,) above 0. group : (n,) numbers from 0 without gaps. weight : (n,) > 0, of squares.

    Returns
    -------
    slopes and their variances (groups,), robust to unequal errors (HC1), infinite without variation of the price; the
    slope that all groups share and its variance.

    Sources: Taddy (2019), *Business Data Science*, chapter 2 (log-log elasticities of orange juice);
    White (1980), "A heteroskedasticity-consistent covariance matrix estimator", Econometrica 48(4), 817-838.
    """
    w = np.ones(len(quantity)) if weight is None else weight
    y, x = np.log(quantity), np.log(price)
    total = np.bincount(group, weights=w)
    x = x - (np.bincount(group, weights=w * x) / total)[group]
    y = y - (np.bincount(group, weights=w * y) / total)[group]
    xx, xy = np.bincount(group, weights=w * x * x), np.bincount(group, weights=w * x * y)
    rows = np.bincount(group)
    known = (xx > 1e-12 * total) & (rows > 2)
    slope = np.divide(xy, xx, out=np.zeros(len(xx)), where=known)
    meat = np.bincount(group, weights=(w * x * (y - slope[group] * x)) ** 2)
    variance = np.full(len(xx), np.inf)
    variance[known] = np.maximum(meat[known] / xx[known] ** 2, 1e-12) * rows[known] / (rows[known] - 2)
    all_xx = float(xx[known].sum())
    if not all_xx > 0.0:
        return slope, variance, 0.0, np.inf
    common = float(xy[known].sum()) / all_xx
    inside = known[group]
    freedom = max(int(inside.sum()) - int(known.sum()) - 1, 1)
    errors = (w * x * (y - common * x))[inside]
    return slope, variance, common, float((errors**2).sum()) / all_xx**2 * int(inside.sum()) / freedom


def _telling(
    counts: FloatArray, log_bid: FloatArray, keyword: IntArray, day: IntArray, config: SlopesConfig
) -> BoolArray:
    """Rows of keywords with clicks and a varied bid, on dates with clicks: effects fit all others perfectly."""
    keep = np.ones(len(counts), dtype=bool)
    while True:
        before = int(keep.sum())
        if before == 0:
            return keep
        k, d = keyword[keep], day[keep]
        rows, clicks = np.bincount(k), np.bincount(k, weights=counts[keep])
        mean = np.bincount(k, weights=log_bid[keep]) / np.maximum(rows, 1)
        spread = np.sqrt(np.bincount(k, weights=(log_bid[keep] - mean[k]) ** 2) / np.maximum(rows, 1))
        good = (clicks > 0) & (rows >= config.min_keyword_rows) & (spread >= config.min_log_bid_spread)
        dates, date = np.unique(d, return_inverse=True)
        awake = np.bincount(date, weights=counts[keep], minlength=len(dates)) > 0
        keep[keep] = good[k] & awake[date]
        if int(keep.sum()) == before:
            return keep


def _means(log_mean: FloatArray, extra: float) -> tuple[FloatArray, FloatArray]:
    """Means and their weights, kept from overflow."""
    mu = np.exp(np.clip(log_mean, -30.0, 30.0))
    return mu, mu / (1.0 + extra * mu)


def _newton(
    residual: FloatArray, weight: FloatArray, x: FloatArray, k: IntArray, n_k: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A step of each keyword's level and slope, no longer than 1; and its weighted mean of x."""
    total = np.bincount(k, weights=weight, minlength=n_k)
    mean_x = np.bincount(k, weights=weight * x, minlength=n_k) / total
    mean_r = np.bincount(k, weights=weight * residual, minlength=n_k) / total
    spread = x - mean_x[k]
    xx = np.bincount(k, weights=weight * spread**2, minlength=n_k)
    slope = np.divide(
        np.bincount(k, weights=weight * spread * residual, minlength=n_k), xx, out=np.zeros(n_k), where=xx > 0
    )
    slope = np.clip(slope, -1.0, 1.0)
    return np.clip(mean_r - slope * mean_x, -1.0, 1.0), slope, mean_x


def _design_effect(score: FloatArray, k: IntArray, day: IntArray, expected: float) -> float:
    """How much more a keyword's scores vary by week than independent days would, at least 1."""
    week = day // WEEK
    _, cell = np.unique(k * (int(week.max()) + 1) + week, return_inverse=True)
    return max(float((np.bincount(cell, weights=score) ** 2).sum()) / max(expected, 1e-300), 1.0)
