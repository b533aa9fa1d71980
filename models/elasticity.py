"""Elasticity of clicks to the bid, from bids that were varied at random where there are such."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

LEVELS = {"channel": ("channel",), "campaign": ("channel", "campaign")}


@dataclass(frozen=True, kw_only=True)
class ElasticityConfig:
    """How elasticities are estimated and compared."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    recent_days: int = 56  # eight whole weeks: fewer leave a standard error above 0.1 at a few hundred clicks a day
    baseline_days: int = 112  # the sixteen weeks before them
    min_rows: int = 30  # keyword days; fewer leave no freedom after keyword and date effects
    min_log_bid_spread: float = 0.02  # standard deviation of log bids within keywords: 2 % of variation
    max_iterations: int = 100
    tolerance: float = 1e-8  # of the elasticity between two iterations

    def __post_init__(self) -> None:
        for name in ("recent_days", "baseline_days", "max_iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: must be 1 or more")
        if self.min_rows < 5:
            raise ValueError(f"min_rows = {self.min_rows}: must be 5 or more")


def bid_elasticity(
    bids: pl.DataFrame,
    window_start: date,
    window_end: date,
    config: ElasticityConfig | None = None,
    *,
    level: str = "channel",
) -> pl.DataFrame:
    """Percent more clicks for a percent more bid, per channel or campaign.

    Poisson regression of clicks on the log bid with an effect of each keyword and each date, so that neither
    differences between keywords nor days of high demand count. Where a subject has rows whose bid was set at random,
    only those are used; bids that people or algorithms set follow demand and bias the rest.

    Parameters
    ----------
    bids : `date`, `keyword`, `channel`, `campaign`, `bid` (> 0), `clicks` (>= 0), and `randomised` (optional).
        `channel` or `campaign` may be absent where `level` does not need them. Rows without a bid above 0 are left out.
    window_start, window_end : first and last date used.
    level : "channel", or "campaign" for each campaign of each channel (subjects "channel/campaign").

    Returns
    -------
    `subject`, `mean`, `se`, `rows_count`, `is_randomised`; `mean` and `se` are null where there are too few rows or
    bids hardly varied. `se` allows for overdispersion and for correlated days of one keyword.

    Sources: Santos Silva & Tenreyro (2006), "The log of gravity", Review of Economics and Statistics 88(4), 641-658
    (Poisson pseudo maximum likelihood, zeros included); Correia, Guimarães & Zylkin (2020), "Fast Poisson estimation
    with high-dimensional fixed effects", Stata Journal 20(1), 95-115 (weighted demeaning); Cameron & Miller (2015),
    "A practitioner's guide to cluster-robust inference", Journal of Human Resources 50(2), 317-372, section VI.B
    (each keyword's score enlarged by its leverage, for few or unequal keywords).
    """
    config = config or ElasticityConfig()
    if level not in LEVELS:
        raise ValueError(f"level = {level!r}: must be one of {sorted(LEVELS)}")
    names = LEVELS[level]
    rows = bids.filter(pl.col("date").is_between(window_start, window_end) & (pl.col("bid") > 0))
    randomised = (
        pl.col("randomised").fill_null(False).cast(pl.Boolean) if "randomised" in bids.columns else pl.lit(False)
    )
    rows = rows.with_columns(
        subject=pl.concat_str([pl.col(name).cast(pl.String) for name in names], separator="/"), randomised=randomised
    )
    found = []
    for (subject,), part in rows.group_by("subject", maintain_order=True):
        trial = part.filter("randomised")
        used = part if trial.is_empty() else trial
        mean, se = _estimate(used, config)
        found.append((subject, mean, se, len(used), not trial.is_empty()))
    schema = {"subject": pl.String, "mean": pl.Float64, "se": pl.Float64, "rows_count": pl.Int64}
    frame = pl.DataFrame(found, schema=schema | {"is_randomised": pl.Boolean}, orient="row")
    return frame.sort("subject")


def elasticity_windows(
    bids: pl.DataFrame, as_of: date, config: ElasticityConfig | None = None, *, level: str = "channel"
) -> pl.DataFrame:
    """Recent and earlier elasticities side by side, as `models.triggers.elasticity_flat` takes them.

    Parameters
    ----------
    bids : as for `bid_elasticity`. as_of : last day of the recent window.

    Returns
    -------
    `subject`, `recent_mean`, `recent_se`, `baseline_mean`, `baseline_se`; null where a window could not be estimated,
    and for the baseline also where only one of the windows has bids set at random: they would not compare.
    """
    config = config or ElasticityConfig()
    split = as_of - timedelta(days=config.recent_days)
    recent = bid_elasticity(bids, split + timedelta(days=1), as_of, config, level=level)
    earlier = bid_elasticity(bids, split - timedelta(days=config.baseline_days - 1), split, config, level=level)
    alike = pl.col("is_randomised") == pl.col("is_randomised_right")
    return recent.join(earlier, on="subject", how="left").select(
        "subject",
        recent_mean="mean",
        recent_se="se",
        baseline_mean=pl.when(alike).then("mean_right"),
        baseline_se=pl.when(alike).then("se_right"),
    )


def _estimate(rows: pl.DataFrame, config: ElasticityConfig) -> tuple[float | None, float | None]:
    """Elasticity and its standard error from one subject's rows; None where they cannot tell."""
    keys = ["keyword", "campaign"] if "campaign" in rows.columns else ["keyword"]
    # an effect fits a keyword or a date without clicks perfectly: it says nothing about bids
    rows = rows.filter((pl.col("clicks").sum().over(keys) > 0) & (pl.col("clicks").sum().over("date") > 0))
    if len(rows) < config.min_rows:
        return None, None
    keyword = rows.select(pl.struct(keys).rank("dense")).to_series().to_numpy().astype(np.intp) - 1
    day = rows["date"].rank("dense").to_numpy().astype(np.intp) - 1
    clicks = rows["clicks"].cast(pl.Float64).to_numpy()
    log_bid = np.log(rows["bid"].cast(pl.Float64).to_numpy())
    if _demeaner(keyword, day, np.ones(len(rows)))(log_bid).std() < config.min_log_bid_spread:
        return None, None
    fitted = fit_fixed_effects(clicks, log_bid, keyword, day, config)
    return (None, None) if fitted is None else (fitted.slope, fitted.se)


@dataclass(frozen=True, kw_only=True)
class FixedEffectsFit:
    """One slope for all keywords, beside an effect of each keyword and each date.

    Attributes
    ----------
    slope, se : elasticity and its standard error, which allows for correlated days of one keyword.
    mu : (n,) fitted counts.
    extra : variance beyond Poisson, as a share of the squared mean.
    dispersion : what the weighted residuals vary by, at least 1.
    information : of the slope after both kinds of effects; dispersion / information is its variance where days are
        independent.
    """

    slope: float
    se: float
    mu: FloatArray
    extra: float
    dispersion: float
    information: float


def fit_fixed_effects(
    clicks: FloatArray, log_bid: FloatArray, keyword: IntArray, day: IntArray, config: ElasticityConfig
) -> FixedEffectsFit | None:
    """Slope by Poisson first, then once more with weights for the overdispersion it leaves.

    Parameters
    ----------
    clicks, log_bid : (n,) counts >= 0 and log bids, finite; every keyword and every date has a click.
    keyword, day : (n,) numbers from 0 without gaps.

    Returns
    -------
    None with fewer than two keywords, without a degree of freedom, or where iterations do not settle.
    """
    n, groups = len(clicks), int(keyword.max()) + 1
    freedom = n - groups - int(day.max()) - 1
    if freedom < 1 or groups < 2:
        return None
    first = _iterate(clicks, log_bid, keyword, day, (clicks + clicks.mean()) / 2, 0.0, config)
    if first is None:
        return None
    _, mu = first
    # variance = mu + extra * mu^2, so that a few large keywords do not outweigh all others
    extra = max(float(((clicks - mu) ** 2 * n / freedom - mu).sum() / (mu**2).sum()), 0.0)
    second = _iterate(clicks, log_bid, keyword, day, mu, extra, config)
    if second is None:
        return None
    slope, mu = second
    weight = mu / (1 + extra * mu)
    x = _demeaner(keyword, day, weight)(log_bid)
    information = float((weight * x * x).sum())
    residual = (clicks - mu) / mu
    dispersion = max(float((weight * residual**2).sum()) / freedom, 1.0)
    scores = np.bincount(keyword, weights=weight * x * residual)
    shares = np.bincount(keyword, weights=weight * x * x) / information
    clustered = float(((scores / (1 - np.minimum(shares, 0.9))) ** 2).sum()) * n / freedom / information**2
    return FixedEffectsFit(
        slope=slope,
        se=float(np.sqrt(max(dispersion / information, clustered))),
        mu=mu,
        extra=extra,
        dispersion=dispersion,
        information=information,
    )


def _iterate(
    clicks: FloatArray,
    log_bid: FloatArray,
    keyword: IntArray,
    day: IntArray,
    mu: FloatArray,
    extra: float,
    config: ElasticityConfig,
) -> tuple[float, FloatArray] | None:
    """Slope and fitted means by weighted least squares from the start `mu`; None where it does not settle."""
    eta, slope = np.log(mu), np.inf
    for _ in range(config.max_iterations):
        target, weight = eta + (clicks - mu) / mu, mu / (1 + extra * mu)
        demean = _demeaner(keyword, day, weight)
        x, y = demean(log_bid), demean(target)
        before, slope = slope, float((weight * x * y).sum() / (weight * x * x).sum())
        eta = np.clip(target - (y - slope * x), -30.0, 30.0)  # the fitted linear predictor, kept from overflow
        mu = np.exp(eta)
        if abs(slope - before) < config.tolerance:
            return slope, mu
    return None


def _demeaner(keyword: IntArray, day: IntArray, weight: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Take weighted keyword and date means out of a series, by turns until both are gone."""
    by_keyword, by_day = np.bincount(keyword, weights=weight), np.bincount(day, weights=weight)

    def demean(series: FloatArray) -> FloatArray:
        left = series.astype(float)
        size = np.abs(left).max() + 1.0
        for _ in range(500):
            left = left - (np.bincount(keyword, weights=weight * left) / by_keyword)[keyword]
            of_day = np.bincount(day, weights=weight * left) / by_day
            left = left - of_day[day]
            if np.abs(of_day).max() < 1e-10 * size:
                break
        return left

    return demean
