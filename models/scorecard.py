"""What each channel's customers cost and are worth, when they pay back, and one score of it all."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from models.clv_priority import PriorityConfig, with_priority
from models.cohort_curve import ALL, months_to_reach

EXCELLENT, GOOD, MARGINAL, POOR = "Excellent", "Good", "Marginal", "Poor"
SCALE, OPTIMISE, MONITOR, PAUSE = "scale", "optimise", "monitor", "pause"
NEW_CUSTOMERS = "new customers"
PARTS = ("score_ltv_cac", "score_conversion", "score_retention", "score_efficiency")
COLUMNS = (
    "channel",
    "spend",
    "new_customers",
    "cac",
    "clv_mean",
    "clv_p05",
    "clv_p95",
    "clv_basis",
    "clv_to_cac",
    "clv_to_cac_p05",
    "clv_to_cac_p95",
    "quality",
    "payback_months",
    "payback_months_p05",
    "payback_months_p95",
    "retention",
    "retention_months",
    "conversion_rate",
    *PARTS,
    "score_points",
    "composite_score",
    "action",
    "roas",
    "roas_source",
    "clv_adjusted_roas",
    "priority",
)


@dataclass(frozen=True, kw_only=True)
class ScorecardConfig:
    """Grades of CLV:CAC, the points of the composite score, and what a score advises."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    excellent_min: float = 3.0  # CLV:CAC; the industry's rule of thumb for healthy growth
    good_min: float = 2.0  # optimise and monitor
    marginal_min: float = 1.0  # below it a customer brings less than it costs
    ltv_cac_points: float = 25.0  # per unit of CLV:CAC
    ltv_cac_points_max: float = 50.0  # reached at CLV:CAC 2, so that one rich channel does not hide all else
    conversion_points: float = 500.0  # per unit of conversion rate
    conversion_rate_full: float = 0.02  # from it on all ten points: an ordinary rate from click to order
    retention_points: float = 30.0  # for a channel all of whose customers come back
    efficiency_points: float = 10.0  # for the channel whose next euro returns most, if it returns a euro
    points_min: float = 50.0  # of 100 that must be known before a score is given
    retention_months: int = 12  # within a year of the first order
    scale_min: float = 75.7  # midway between the published scores 87.3 (scale) and 64.1 (optimise)
    optimise_min: float = 53.4  # midway between 64.1 (optimise) and 42.7 (monitor)
    monitor_min: float = 30.8  # midway between 42.7 (monitor) and 18.9 (pause)

    def __post_init__(self) -> None:
        _rising("marginal_min, good_min, excellent_min", self.marginal_min, self.good_min, self.excellent_min)
        _rising("monitor_min, optimise_min, scale_min", self.monitor_min, self.optimise_min, self.scale_min)
        for name in (
            "ltv_cac_points",
            "ltv_cac_points_max",
            "conversion_points",
            "conversion_rate_full",
            "retention_points",
            "efficiency_points",
            "points_min",
        ):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a number above 0")
        if self.retention_months < 1:
            raise ValueError(f"retention_months is {self.retention_months}: expected at least 1")

    @property
    def full_points(self) -> tuple[float, ...]:
        """What each of the four parts counts for, in the order of `PARTS`; with these defaults 100 in all."""
        conversion = self.conversion_points * self.conversion_rate_full
        return (self.ltv_cac_points_max, conversion, self.retention_points, self.efficiency_points)


@dataclass(frozen=True, kw_only=True)
class ScorecardInputs:
    """What is known of channels; a frame that lacks, or a channel that lacks in one, leaves its figures empty.

    Attributes
    ----------
    spend : channel, spend (company currency, >= 0, of the days in which `customers` came).
    customers : channel, new_customers.
    worth : channel, clv_mean and, where they are known, clv_p05 and clv_p95: the value of a new customer, first order
        included.
    curves : rows of ``out.cohort_curve``.
    traffic : channel, clicks, conversions, claimed_roas (what the platform claims per spend).
    mix : channel, roas_mean, marginal_roas_mean: what the mix model found, in money per money.
    """

    spend: pl.DataFrame
    customers: pl.DataFrame
    worth: pl.DataFrame
    curves: pl.DataFrame | None = None
    traffic: pl.DataFrame | None = None
    mix: pl.DataFrame | None = None


def scorecard(inputs: ScorecardInputs, config: ScorecardConfig, priority: PriorityConfig | None = None) -> pl.DataFrame:
    """Rows of ``out.channel_scorecard``, largest spend first.

    Returns
    -------
    The columns `COLUMNS`. cac = spend / new_customers, null without either. clv_to_cac with the interval that the value
    has, quality its grade. payback_months: the first month, interpolated, at which the channel's cohort curve reaches
    cac, null where it does not within the curve; p05 from the curve's upper end, p95 from its lower. retention: share
    of customers who have ordered again within retention_months, the config's or as many as the company's curve has
    observed. The four parts of the score, each null where it is not known; score_points, for how many points of 100 the
    known parts count; composite_score, their sum over that, 0 to 100, null below `points_min`; action. A channel
    without spend has neither score nor action. roas is the mix model's or, where it says nothing of any channel, what
    the platform claims (roas_source): one source for all channels, as a claim does not compare with a measurement.
    """
    base = inputs.spend.select("channel", "spend").join(
        inputs.customers.select("channel", "new_customers"), on="channel", how="full", coalesce=True
    )
    base = base.with_columns(pl.col("spend").fill_null(0.0), pl.col("new_customers").fill_null(0).cast(pl.Int64))
    ends = [name for name in ("clv_p05", "clv_p95") if name in inputs.worth.columns]
    base = base.join(inputs.worth.select("channel", "clv_mean", *ends), on="channel", how="left")
    base = base.with_columns(
        pl.lit(None, pl.Float64).alias(name) for name in ("clv_p05", "clv_p95") if name not in ends
    )
    paid = (pl.col("spend") > 0) & (pl.col("new_customers") > 0)
    base = base.with_columns(
        cac=pl.when(paid).then(pl.col("spend") / pl.col("new_customers")),
        clv_basis=pl.when(pl.col("clv_mean").is_not_null()).then(pl.lit(NEW_CUSTOMERS)),
    ).with_columns(
        clv_to_cac=pl.col("clv_mean") / pl.col("cac"),
        clv_to_cac_p05=pl.col("clv_p05") / pl.col("cac"),
        clv_to_cac_p95=pl.col("clv_p95") / pl.col("cac"),
    )
    base = _with_mix(_with_traffic(_with_curves(base, inputs.curves, config), inputs.traffic), inputs.mix)
    return (
        with_priority(_scored(_graded(base, config), config), priority or PriorityConfig())
        .select(COLUMNS)
        .sort(["spend", "channel"], descending=[True, False])
    )


def _with_curves(base: pl.DataFrame, curves: pl.DataFrame | None, config: ScorecardConfig) -> pl.DataFrame:
    """Payback and retention off each channel's pooled curve."""
    names = ("payback_months", "payback_months_p05", "payback_months_p95", "retention")
    if curves is None or curves.is_empty():
        empty = [pl.lit(None, pl.Float64).alias(name) for name in names]
        return base.with_columns(*empty, pl.lit(None, pl.Int64).alias("retention_months"))
    pooled = curves.filter(pl.col("cohort_month") == ALL).sort("channel", "month")
    seen = pooled.filter(pl.col("observed"), channel=ALL)["month"]
    months = min(config.retention_months, int(str(seen.max()))) if len(seen) else 0
    rows = []
    for channel, cac in base.select("channel", "cac").iter_rows():
        curve = pooled.filter(channel=channel)
        ends = (curve[name].cast(pl.Float64) for name in ("value_per_customer", "value_p95", "value_p05"))
        at = curve.filter(pl.col("month") == months, pl.col("observed"))
        back = at["returned_fraction"].to_list() if months else []
        payback = [
            None if cac is None or end.is_empty() else months_to_reach(end.fill_null(np.nan).to_numpy(), cac)
            for end in ends
        ]
        rows.append((*payback, *(back or [None]), months if back else None))
    found = pl.DataFrame(rows, schema={**dict.fromkeys(names, pl.Float64), "retention_months": pl.Int64}, orient="row")
    return pl.concat([base, found], how="horizontal")


def _with_traffic(base: pl.DataFrame, traffic: pl.DataFrame | None) -> pl.DataFrame:
    """Conversion rate, and what the platform claims per spend."""
    if traffic is None:
        return base.with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("conversion_rate", "claimed"))
    rate = (pl.col("conversions") / pl.col("clicks")).clip(0.0, 1.0)
    known = traffic.select(
        "channel",
        conversion_rate=pl.when(pl.col("clicks") > 0).then(rate),
        claimed=pl.col("claimed_roas").cast(pl.Float64),
    )
    return base.join(known, on="channel", how="left")


def _with_mix(base: pl.DataFrame, mix: pl.DataFrame | None) -> pl.DataFrame:
    """ROAS, and the efficiency of the next euro against the best channel's."""
    names = ("roas_mean", "marginal_roas_mean")
    if mix is None:
        joined = base.with_columns(pl.lit(None, pl.Float64).alias(name) for name in names)
    else:
        joined = base.join(mix.select("channel", *names), on="channel", how="left")
    is_measured = joined["roas_mean"].count() > 0
    roas, source = (pl.col("roas_mean"), "mix model") if is_measured else (pl.col("claimed"), "platform")
    next_euro = pl.col("marginal_roas_mean")
    return joined.with_columns(
        roas=roas,
        roas_source=pl.when(roas.is_not_null()).then(pl.lit(source)),
        # the best next euro is the measure, but where none returns its euro nobody is fully efficient
        efficiency=next_euro.clip(lower_bound=0.0) / next_euro.max().clip(lower_bound=1.0),
    )


def _graded(base: pl.DataFrame, config: ScorecardConfig) -> pl.DataFrame:
    ratio = pl.col("clv_to_cac")
    return base.with_columns(
        quality=pl.when(ratio >= config.excellent_min)
        .then(pl.lit(EXCELLENT))
        .when(ratio >= config.good_min)
        .then(pl.lit(GOOD))
        .when(ratio >= config.marginal_min)
        .then(pl.lit(MARGINAL))
        .when(ratio.is_not_null())
        .then(pl.lit(POOR))
    )


def _scored(base: pl.DataFrame, config: ScorecardConfig) -> pl.DataFrame:
    """The parts, their sum over what they count for, and what to do.

    A channel whose customers bring less than they cost is paused whatever else it does well; while the interval of
    their value still reaches the cost it is watched.
    """
    ratio = (config.ltv_cac_points * pl.col("clv_to_cac")).clip(0.0, config.ltv_cac_points_max)
    rate = pl.col("conversion_rate").clip(upper_bound=config.conversion_rate_full)
    parts = base.with_columns(
        score_ltv_cac=ratio,
        score_conversion=config.conversion_points * rate,
        score_retention=config.retention_points * pl.col("retention"),
        score_efficiency=config.efficiency_points * pl.col("efficiency"),
    )
    counts = [
        pl.when(pl.col(name).is_not_null()).then(points).otherwise(0.0)
        for name, points in zip(PARTS, config.full_points, strict=True)
    ]
    parts = parts.with_columns(score_points=100.0 * pl.sum_horizontal(counts) / sum(config.full_points))
    is_scored = (pl.col("spend") > 0) & (pl.col("score_points") >= config.points_min)
    share = 100.0 * pl.sum_horizontal(PARTS) / pl.col("score_points") * (100.0 / sum(config.full_points))
    score = pl.col("composite_score")
    is_poor = pl.col("quality") == POOR
    is_surely_poor = is_poor & (pl.coalesce("clv_to_cac_p95", "clv_to_cac") < config.marginal_min)
    return parts.with_columns(composite_score=pl.when(is_scored).then(share.clip(0.0, 100.0))).with_columns(
        action=pl.when(score.is_null())
        .then(None)
        .when(is_surely_poor | (score < config.monitor_min))
        .then(pl.lit(PAUSE))
        .when(is_poor | (score < config.optimise_min))
        .then(pl.lit(MONITOR))
        .when(score < config.scale_min)
        .then(pl.lit(OPTIMISE))
        .otherwise(pl.lit(SCALE))
    )


def _rising(names: str, *values: float) -> None:
    if not all(low < high for low, high in itertools.pairwise(values)):
        raise ValueError(f"{names} are {', '.join(map(str, values))}: expected rising numbers")
