"""Values of new customers from early signals, and of existing ones from their whole history: one fit, one prediction.

A group of customers is those `0`, `7` or `30` days after the first order (``day_0``, ...) or all that have ordered
(``existing``). Each group has its own trees and its own judgement (`models.value_blend`): early signals tell new
customers apart that the lifetime model cannot, while an old customer's orders say most.

Sources: Tashman (2000) for rolling origins; see `models.value_features`, `models.value_booster`, `models.value_blend`.
"""

import json
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from models import clv, value_blend
from models import value_booster as trees
from models.value_blend import BTYD, BlendConfig, FittedBlend, Fold
from models.value_features import cutoffs_after_first_order, cutoffs_at, features, histories, span_days

EXISTING = "existing"
HORIZON_SHARE = 0.3  # of the history: as much again trains and is judged, each over before the next begins


@dataclass(frozen=True, kw_only=True)
class FittedValues:
    """One fitted blend per group, with the lifetime model of all customers and every figure of the judgement."""

    lifetimes: clv.FittedCLV
    groups: dict[str, FittedBlend]
    horizon_days: int

    @property
    def reasons(self) -> tuple[str, ...]:
        """What served and why, and where the history was too short for the horizon; one sentence each."""
        told: list[str] = []
        for name, fitted in self.groups.items():
            told += fitted.reasons
            if fitted.booster is not None and fitted.horizon_days < self.horizon_days and fitted.winner != BTYD:
                told.append(
                    f"{name}: the history has {fitted.horizon_days} of {self.horizon_days} days to train on; "
                    "the rest is carried on by the lifetime model's curve."
                )
        return tuple(told)


def fit(
    firsts: pl.DataFrame,
    days: pl.DataFrame,
    as_of: date,
    config: BlendConfig,
    lifetimes: clv.CLVConfig,
    seed: int,
    fitted_lifetimes: clv.FittedCLV | None = None,
) -> tuple[FittedValues, pl.DataFrame]:
    """Fit and judge every group.

    Parameters
    ----------
    firsts, days : as `models.value_features.features` reads them; rows after `as_of` are ignored.
    lifetimes : the lifetime model's config, whose horizon all values cover.
    fitted_lifetimes : the champion of all histories at `as_of`; fitted here where it is not given. The rest is
        trained and judged on at most `customers_max` customers.

    Returns
    -------
    The fit, and the rows of ``out.value_holdout`` (none where no group could be judged).

    Raises
    ------
    DataError : there is no customer.
    """
    firsts = firsts.filter(pl.col("first_order_date") <= as_of)
    days = as_known(days, as_of)
    if fitted_lifetimes is None:
        fitted_lifetimes = clv.fit(histories(features(firsts, days, cutoffs_at(firsts, as_of))), lifetimes)
    firsts = firsts.sort("customer_id")
    firsts = firsts[np.unique(np.linspace(0, len(firsts) - 1, min(len(firsts), config.customers_max)).astype(int))]
    days = days.join(firsts.select("customer_id"), on="customer_id", how="semi")
    groups, rows = {}, []
    for fold in folds(firsts, days, as_of, config, lifetimes.horizon_days):
        groups[fold.group], judged = value_blend.fit(fold, firsts, days, config, lifetimes, seed)
        rows.append(judged)
    table = pl.concat([part for part in rows if not part.is_empty()]) if any(map(len, rows)) else pl.DataFrame()
    return FittedValues(lifetimes=fitted_lifetimes, groups=groups, horizon_days=lifetimes.horizon_days), table


def as_known(days: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Order days as they stood at the end of `as_of`: later ones are gone, later refunds have not come."""
    later = pl.col("refunded_date") > as_of
    known = days.filter(pl.col("order_date") <= as_of)
    return known.with_columns(refunded_date=pl.when(~later).then(pl.col("refunded_date")))


def predict(
    fitted: FittedValues,
    firsts: pl.DataFrame,
    days: pl.DataFrame,
    cutoffs: pl.DataFrame,
    config: clv.CLVConfig,
    group: str = EXISTING,
) -> pl.DataFrame:
    """Value of each cut-off's customer from the cut-off on: see `models.value_blend.predict` for the columns.

    Nothing after a cut-off has any influence. The first order's value is not part of it.
    """
    return value_blend.predict(fitted.groups[group], fitted.lifetimes, features(firsts, days, cutoffs), config)


def contributions(
    fitted: FittedValues, firsts: pl.DataFrame, days: pl.DataFrame, cutoffs: pl.DataFrame, group: str, top: int
) -> pl.DataFrame:
    """The `top` features of each cut-off in the group's trees, in long form (`models.value_booster.contributions`).

    Empty where the group has no trees.
    """
    booster = fitted.groups[group].booster
    table = features(firsts, days, cutoffs) if booster else pl.DataFrame()
    if booster is None or table.is_empty():
        schema = {"customer_id": pl.String, "cutoff_date": pl.Date, "feature": pl.String, "contribution": pl.Float64}
        return pl.DataFrame(schema=schema)
    return trees.contributions(booster, table, top)


def with_served_values(valued: pl.DataFrame, served: pl.DataFrame, tier_quantiles: tuple[float, ...]) -> pl.DataFrame:
    """Rows of ``out.customer_value`` with the served mean, interval and method in place of the lifetime model's.

    Parameters
    ----------
    valued : rows of `models.clv.predict`.
    served : rows of `predict` for the group ``existing``; customers that are not in it keep what they have.
    tier_quantiles : of the lifetime model's config; tiers are told anew from the served means.
    """
    new = served.select(
        "customer_id",
        clv_mean="value_mean",
        clv_p05="value_p05",
        clv_p95="value_p95",
        method="method",
    )
    joined = valued.join(new, on="customer_id", how="left", suffix="_served", maintain_order="left")
    names = ("clv_mean", "clv_p05", "clv_p95", "method")
    merged = joined.with_columns(pl.coalesce(f"{name}_served", name).alias(name) for name in names)
    tier = clv.tiers(merged["clv_mean"].to_numpy(), tier_quantiles).alias("tier")
    return merged.with_columns(tier).select(valued.columns)


def with_served_channels(
    channels: pl.DataFrame, before: pl.DataFrame, after: pl.DataFrame, channel: pl.DataFrame
) -> pl.DataFrame:
    """Rows of ``out.channel_value`` with the means of the served values.

    Interval and errors keep their size relative to the mean: they are the lifetime model's, which has a covariance.

    Parameters
    ----------
    before, after : rows of ``out.customer_value`` of the same customers, by the lifetime model and as served.
    channel : customer_id, channel.
    """
    new = after.select("customer_id", new="clv_mean")
    both = before.select("customer_id", old="clv_mean").join(new, on="customer_id")
    ratio = (
        both.join(channel, on="customer_id")
        .group_by("channel")
        .agg(ratio=pl.col("new").sum() / pl.col("old").sum())
        .filter(pl.col("ratio").is_finite())
    )
    money = ("clv_mean", "clv_p05", "clv_p95", "error_parameters", "error_customers")
    factor = pl.col("ratio").fill_null(1.0)
    joined = channels.join(ratio, on="channel", how="left", nulls_equal=True, maintain_order="left")
    return joined.with_columns(pl.col(*money) * factor).select(channels.columns)


def folds(
    firsts: pl.DataFrame, days: pl.DataFrame, as_of: date, config: BlendConfig, horizon_days: int
) -> tuple[Fold, ...]:
    """The cut-offs of every group, training ones over before the judged ones begin."""
    span = span_days(days, as_of)
    found = [_existing(firsts, as_of, span, config, horizon_days)]
    found += [_early(firsts, as_of, span, day, config, horizon_days) for day in config.early_days]
    return tuple(found)


def _existing(firsts: pl.DataFrame, as_of: date, span: int, config: BlendConfig, horizon_days: int) -> Fold:
    """Origins one horizon apart back from `as_of`: the last is judged, the ones before it train."""
    near = min(horizon_days, span // (config.origins + 1))
    origins = [as_of - timedelta(days=near * step) for step in range(1, config.origins + 1)]
    usable = near >= config.horizon_days_min
    cuts = tuple(cutoffs_at(firsts, origin) for origin in origins) if usable else ()
    return Fold(
        group=EXISTING,
        horizon_days=max(near, 1),
        judge_origin=origins[0],
        train=cuts[1:],
        judge=cuts[0] if cuts else firsts.head(0).select("customer_id", cutoff_date="first_order_date"),
        serve=cuts,
    )


def _early(firsts: pl.DataFrame, as_of: date, span: int, day: int, config: BlendConfig, horizon_days: int) -> Fold:
    """Cohorts by day of the cut-off: early ones train, the ones that began after those were over are judged."""
    room = max(span - day, 0)
    near = min(horizon_days, int(HORIZON_SHARE * room))
    width = min(near, (room - 2 * near) // 2)
    last = as_of - timedelta(days=near)  # the last cut-off whose horizon is over
    begin = last - timedelta(days=max(width, 0))
    over = cutoffs_after_first_order(firsts, day, last)
    usable = near >= config.horizon_days_min and width > 0
    nothing = over.head(0)
    return Fold(
        group=f"day_{day}",
        horizon_days=max(near, 1),
        judge_origin=begin,
        train=(over.filter(pl.col("cutoff_date") <= begin - timedelta(days=near)),) if usable else (),
        judge=over.filter(pl.col("cutoff_date") > begin) if usable else nothing,
        serve=(over,) if usable else (),
    )


def doubts(fitted: FittedValues, config: BlendConfig) -> tuple[str, ...]:
    """What a person should look at, one sentence each: none gives the verdict PASS, any REVIEW.

    A group whose served total was off by more than `bias_max`, or whose interval held too few or too many.
    """
    found = []
    for name, blend in fitted.groups.items():
        served = blend.scores.get("served")
        if served is None:
            continue
        if abs(served.bias_fraction) > config.bias_max:
            found.append(
                f"{name}: the served values were off by {served.bias_fraction:+.1%} in total on later customers, "
                f"expected at most {config.bias_max:.0%}; see out.value_holdout."
            )
        low, high = config.coverage_review
        if not low <= served.coverage_fraction <= high:
            found.append(
                f"{name}: the 90 % interval held {served.coverage_fraction:.1%} of later customers, expected "
                f"{low:.0%} to {high:.0%}."
            )
    return tuple(found)


def metrics(fitted: FittedValues) -> dict[str, Any]:
    """What ``out.model_run.metrics`` keeps, ready for JSON: winner, weight, horizon and scores of each group."""
    groups = {}
    for name, blend in fitted.groups.items():
        plain = value_blend.to_dict(blend)
        groups[name] = {key: plain[key] for key in ("winner", "weight", "horizon_days", "scores")}
    return {"groups": groups, "horizon_days": fitted.horizon_days, "reasons": list(fitted.reasons)}


def to_json(fitted: FittedValues) -> str:
    """Text from which `from_json` makes an equal object; trees are in it as XGBoost's own JSON."""
    groups = {name: value_blend.to_dict(blend) for name, blend in fitted.groups.items()}
    plain = {"lifetimes": json.loads(clv.to_json(fitted.lifetimes)), "groups": groups}
    return json.dumps(plain | {"horizon_days": fitted.horizon_days}, indent=1, sort_keys=True, allow_nan=False)


def from_json(text: str) -> FittedValues:
    """Inverse of `to_json`."""
    data = json.loads(text)
    return FittedValues(
        lifetimes=clv.from_json(json.dumps(data["lifetimes"])),
        groups={name: value_blend.from_dict(blend) for name, blend in data["groups"].items()},
        horizon_days=data["horizon_days"],
    )
