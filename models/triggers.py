"""Conditions that start a reallocation or a retraining, judged against the noise of their own history.

Each function is pure, looks at one kind of shock, and returns what it saw whether it fired or not. A z is a test
statistic with the normal tail probability of its own distribution, so that one threshold serves short histories too.
At the default thresholds a company without shocks sees a false alarm on fewer than one day in a thousand, unless its
noise has much heavier tails than the normal and many subjects are watched.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtr

from models.roas_change import (
    RoasDropConfig,
    change,
    log_roas,
    typical_change,
    weekly_correlation,
    weekly_matrix,
    z_of_change,
    z_threshold,
)
from models.tier_value import RelativeValue, relative_value

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """One condition, judged.

    Attributes
    ----------
    name : "roas_drop", "clv_drop", "elasticity_flat" or "new_campaign".
    subject : the country, tier, channel or campaign it is about.
    value, threshold : the figure and the limit it must pass to fire, in the units of the condition; NaN where the
        history is too short to say.
    reason : what was seen, in one sentence. action : what to do when it fired.
    """

    name: str
    subject: str
    value: float
    threshold: float
    fired: bool
    reason: str
    action: str


@dataclass(frozen=True, kw_only=True)
class ClvDropConfig:
    """When a fall of the top tier's realised value counts."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    top_tier: str = "VIP"  # the tier whose value is watched
    drop_fraction: float = 0.15  # a well fitted model is within a few percent per tier
    z: float = -4.0  # 3e-5 per day

    def __post_init__(self) -> None:
        if not 0 < self.drop_fraction < 1:
            raise ValueError(f"drop_fraction = {self.drop_fraction}: must be between 0 and 1")
        if not self.z < 0:
            raise ValueError(f"z = {self.z}: must be below 0")


@dataclass(frozen=True, kw_only=True)
class ElasticityFlatConfig:
    """When clicks no longer follow bids."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    flat_threshold: float = 0.25  # +10 % of bid buys +2.4 % of clicks
    probability: float = 0.95  # that the elasticity is below it; `z` guards against false alarms
    probability_alone: float = 0.9999  # the same where no baseline confirms a change
    z: float = -3.7  # 1e-4 per channel and day, and only for channels that are flat as well

    def __post_init__(self) -> None:
        for name in ("probability", "probability_alone"):
            if not 0.5 < getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: must be between 0.5 and 1")
        if not self.z < 0:
            raise ValueError(f"z = {self.z}: must be below 0")


@dataclass(frozen=True, kw_only=True)
class NewCampaignConfig:
    """What counts as newly launched."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    recent_days: int = 14  # afterwards the models have seen it
    history_days: int = 60  # with less data before it, everything looks new

    def __post_init__(self) -> None:
        for name in ("recent_days", "history_days"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: must be 1 or more")


ACTIONS = {
    "roas_drop": "re-optimise or pause",
    "clv_drop": "retrain CLV, reallocate to higher-value cohorts",
    "elasticity_flat": "cap bids, shift to other campaigns",
    "new_campaign": "re-initialise models with the latest data",
}


def roas_drop(weekly: pl.DataFrame, as_of: date, config: RoasDropConfig | None = None) -> tuple[Trigger, ...]:
    """Subjects whose return on ad spend fell against that of all the others.

    A subject's weekly log ROAS minus that of all other subjects together has neither season nor company-wide moves in
    it. The mean of the recent weeks is compared with that of the baseline weeks before, with the noise of the baseline
    and its week-to-week correlation. A subject that only looks low because others rose does not count: against the
    median of the others the fall must be half as large as well. Neither does one bad week: of the falls of mean
    and median the smaller counts. With one subject its own log ROAS is judged.

    Parameters
    ----------
    weekly : `subject`, `week_start` (Mondays), `spend`, `value`; one row per subject and week, absent weeks count as
        no spend. Weeks not over by `as_of` are left out.

    Returns
    -------
    One trigger per subject; `value` is the fall as a fraction of the ROAS that the baseline led to expect.

    Sources: `models.roas_change.z_of_change`.
    """
    config = config or RoasDropConfig()
    complete = weekly.filter(pl.col("week_start") <= as_of - timedelta(days=6))
    subjects = sorted(weekly["subject"].unique().to_list())
    if complete.is_empty():
        return tuple(_short("roas_drop", s, "no complete week", config.drop_fraction) for s in subjects)
    seen_weeks = complete["week_start"].unique().sort().to_list()
    first, last = seen_weeks[0], seen_weeks[-1]
    weeks_count = min((last - first).days // 7 + 1, config.recent_weeks + config.most_baseline_weeks)
    if weeks_count < config.recent_weeks + config.baseline_weeks:
        why = f"{weeks_count} weeks of data, {config.recent_weeks + config.baseline_weeks} needed"
        return tuple(_short("roas_drop", s, why, config.drop_fraction) for s in subjects)
    weeks = [last - timedelta(weeks=k) for k in reversed(range(weeks_count))]
    spend, value = (weekly_matrix(complete, subjects, weeks, column) for column in ("spend", "value"))
    z_needed = z_threshold(len(subjects), config)
    own = [log_roas(v, s, config) for v, s in zip(value, spend, strict=True)]
    if len(subjects) == 1:
        return (_judge_roas(subjects[0], own[0], weekly_correlation(own, config), z_needed, None, config),)
    all_value, all_spend = value.sum(axis=0), spend.sum(axis=0)
    rest = [log_roas(all_value - v, all_spend - s, config) for v, s in zip(value, spend, strict=True)]
    relative = [y - r for y, r in zip(own, rest, strict=True)]
    rho = weekly_correlation(relative, config)
    changes = np.array([change(y, config) for y in own])
    found = []
    for i, subject in enumerate(subjects):
        others = np.delete(changes, i)
        others = others[np.isfinite(others)]
        from_median = _fall(changes[i] - np.median(others)) if len(others) > 1 else np.nan
        found.append(_judge_roas(subject, relative[i], rho, z_needed, from_median, config))
    return tuple(found)


def _judge_roas(
    subject: str, y: FloatArray, rho: float, z_needed: float, from_median: float | None, config: RoasDropConfig
) -> Trigger:
    """Compare the recent weeks of one subject's log ROAS with its baseline; weeks without spend are NaN."""
    seen = np.isfinite(y)
    base_seen, recent_seen = int(seen[: -config.recent_weeks].sum()), int(seen[-config.recent_weeks :].sum())
    if base_seen < 0.75 * config.baseline_weeks:  # too few weeks to judge noise by
        why = f"spend in only {base_seen} baseline weeks, at least {0.75 * config.baseline_weeks:.0f} needed"
        return _short("roas_drop", subject, why, config.drop_fraction)
    if recent_seen < (config.recent_weeks + 1) // 2:
        why = f"spend in only {recent_seen} of the last {config.recent_weeks} weeks"
        return _short("roas_drop", subject, why, config.drop_fraction)
    fallen = max(change(y, config), typical_change(y, config))  # the smaller fall, so that one bad week does not fire
    fall, z = _fall(fallen), z_of_change(y, fallen, rho, config)
    deep = fall >= config.drop_fraction and z <= z_needed
    others_rose = from_median is not None and from_median < config.drop_fraction / 2
    reason = (
        f"ROAS of the last {config.recent_weeks} weeks is {_percent(abs(fall))} {'below' if fall >= 0 else 'above'} "
        f"that of the {len(y) - config.recent_weeks} weeks before"
        f"{'' if from_median is None else ', relative to the others'}"
        f"{', because others rose' if deep and others_rose else ''}"
        f" (z {z:.1f}; fires at {_percent(config.drop_fraction)} and z {z_needed:.1f})."
    )
    return _trigger("roas_drop", subject, fall, config.drop_fraction, deep and not others_rose, reason)


def clv_drop(tiers: pl.DataFrame, config: ClvDropConfig | None = None) -> tuple[Trigger, ...]:
    """Whether the top tier's customers brought less than the model expected, against the other tiers.

    The ratio of actual to expected value of the top tier is divided by that of all other tiers together, which takes
    season and company-wide moves out.

    Parameters
    ----------
    tiers : `subject` (tier), `expected_value`, `actual_value`, `actual_se` (standard error of the actual value), as
        `models.tier_value.tier_values` makes it. Where it also has `baseline_expected_value`, `baseline_actual_value`
        and `baseline_se` of an earlier window, the top tier is compared with its own standing then: a model that
        always expects too much of its best customers is no drop.

    Returns
    -------
    One trigger, for the top tier; `value` is the fall as a fraction.
    """
    config = config or ClvDropConfig()
    top, rest = tiers.filter(pl.col("subject") == config.top_tier), tiers.filter(pl.col("subject") != config.top_tier)
    name = config.top_tier
    if top.is_empty() or rest.is_empty():
        tiers_seen = ", ".join(map(repr, tiers["subject"].to_list())) or "none"
        return (_short("clv_drop", name, f"needs this tier and another, found {tiers_seen}", config.drop_fraction),)
    now = relative_value(top, rest, "expected_value", "actual_value", "actual_se")
    usual = RelativeValue(ratio=1.0, se=0.0, null_se=0.0)
    if "baseline_expected_value" in tiers.columns:
        usual = relative_value(top, rest, "baseline_expected_value", "baseline_actual_value", "baseline_se")
    if not (now.null_se > 0 and usual.ratio > 0):
        return (_short("clv_drop", name, "no value to compare in one of the windows", config.drop_fraction),)
    fall = 1 - now.ratio / usual.ratio
    z = (now.ratio - usual.ratio) / float(np.hypot(now.null_se * usual.ratio**0.5, usual.se))
    reason = (
        f"Customers of tier {name!r} brought {_percent(abs(fall))} {'less' if fall >= 0 else 'more'} than expected, "
        f"relative to the other tiers (z {z:.1f}; fires at {_percent(config.drop_fraction)} and z {config.z:.1f})."
    )
    fired = fall >= config.drop_fraction and z <= config.z
    return (_trigger("clv_drop", name, fall, config.drop_fraction, fired, reason),)


def elasticity_flat(elasticities: pl.DataFrame, config: ElasticityFlatConfig | None = None) -> tuple[Trigger, ...]:
    """Channels or campaigns whose clicks have stopped following their bids.

    Parameters
    ----------
    elasticities : `subject`, `recent_mean`, `recent_se`, `baseline_mean`, `baseline_se`; null or NaN where it could
        not be estimated. Without a baseline the elasticity has to be flat beyond greater doubt.

    Returns
    -------
    One trigger per subject; `value` is the recent elasticity.
    """
    config = config or ElasticityFlatConfig()
    found = []
    for subject, mean, se, base_mean, base_se in elasticities.select(
        "subject", "recent_mean", "recent_se", "baseline_mean", "baseline_se"
    ).iter_rows():
        if not _usable(mean, se):
            found.append(_short("elasticity_flat", subject, "no recent estimate", config.flat_threshold))
            continue
        flat = float(ndtr((config.flat_threshold - mean) / se))
        reason = f"Elasticity of clicks to the bid is {mean:.2f} ± {se:.2f}, below {config.flat_threshold} "
        reason += f"with probability {flat:.4f}"
        if _usable(base_mean, base_se):
            z = (mean - base_mean) / float(np.hypot(se, base_se))
            fired = flat >= config.probability and z <= config.z
            reason += f"; before it was {base_mean:.2f} ± {base_se:.2f} (z {z:.1f}; fires at probability "
            reason += f"{config.probability} and z {config.z:.1f})."
        else:
            fired = flat >= config.probability_alone
            reason += f"; there is no earlier estimate (fires at probability {config.probability_alone})."
        found.append(_trigger("elasticity_flat", subject, float(mean), config.flat_threshold, fired, reason))
    return tuple(found)


def new_campaign(
    first_seen: pl.DataFrame, data_from: date, as_of: date, config: NewCampaignConfig | None = None
) -> tuple[Trigger, ...]:
    """Campaigns or products that appeared lately although the data reach further back.

    Parameters
    ----------
    first_seen : `subject`, `first_date` (first day with spend). data_from : first day of the data.

    Returns
    -------
    One trigger per subject first seen within the recent days; `value` is its age in days. None recent: no triggers.
    """
    config = config or NewCampaignConfig()
    found = []
    for subject, first in first_seen.select("subject", "first_date").sort("first_date", "subject").iter_rows():
        age, history = (as_of - first).days, (first - data_from).days
        if not 0 <= age <= config.recent_days:
            continue
        fired = history >= config.history_days
        needs = "" if fired else f"; fires with {config.history_days}"
        reason = f"First seen on {first}, {age} days ago, after {history} days of data without it{needs}."
        found.append(_trigger("new_campaign", subject, float(age), float(config.recent_days), fired, reason))
    return tuple(found)


def _trigger(name: str, subject: str, value: float, threshold: float, fired: bool, reason: str) -> Trigger:
    return Trigger(
        name=name,
        subject=str(subject),
        value=value,
        threshold=threshold,
        fired=bool(fired),
        reason=reason,
        action=ACTIONS[name],
    )


def _short(name: str, subject: str, why: str, threshold: float) -> Trigger:
    """Trigger that could not be judged."""
    return _trigger(name, subject, np.nan, threshold, False, f"Not judged: {why}.")


def _fall(log_change: float) -> float:
    return float(-np.expm1(log_change))


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"


def _usable(mean: float | None, se: float | None) -> bool:
    return mean is not None and se is not None and bool(np.isfinite(mean)) and bool(np.isfinite(se)) and se > 0
