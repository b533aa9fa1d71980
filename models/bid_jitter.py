"""Which bids to draw at random, by how much and for how long, where it is not known what a bid buys.

Daily factors exp(u), u uniform in [-d, d], on the bid in force give after n days an elasticity with standard error

    se = 1 / sqrt(n * w * d^2 / 3),

w being a day's information on log clicks (clicks over their dispersion). They cost what curvature costs: by
the curve E[x^a] = sinh(a d) / (a d), of clicks (a = e) and of money (a = e + g).

Sources: Wald (1943), "On the efficient design of statistical investigations", Annals of Mathematical Statistics 14
(information of a slope is the spread of its regressor); Vaver & Koehler (2011), "Measuring ad effectiveness using geo
experiments", Google (why to draw at random instead of modelling who set what).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.bid_channel import KEYS
from models.bid_curves import CAMPAIGN, CHANNEL, KEYWORD

FloatArray = NDArray[np.float64]

COLUMNS = (
    *KEYS, "jitter_fraction", "days", "elasticity_se_now", "elasticity_se_after", "keywords", "clicks_factor",
    "cost_factor", "money_at_stake", "reason",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class JitterConfig:
    """How far and how long bids may be drawn at random, and for which precision."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    unknown_se: float = 0.15  # an elasticity less sure than this does not tell a flat line from a steep one
    target_se: float = 0.1  # 90 % within 0.16
    max_jitter_fraction: float = 0.3  # of the bid, up; down as far in proportion
    max_days: int = 56  # what takes longer meets another market
    proposals_max: int = 20  # the most money at stake first

    def __post_init__(self) -> None:
        if not 0.0 < self.target_se < self.unknown_se:
            raise ValueError(f"target_se is {self.target_se}: expected a number above 0, below unknown_se")
        if not 0.0 < self.max_jitter_fraction < 1.0:
            raise ValueError(f"max_jitter_fraction is {self.max_jitter_fraction}: expected a fraction inside (0, 1)")
        for name in ("max_days", "proposals_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least 1")


def jitter_days(weight: FloatArray, half_width: float, se: float) -> FloatArray:
    """Days (n,) for a standard error of the elasticity; infinite without clicks.

    Parameters
    ----------
    weight : (n,) a day's information on log clicks, >= 0. half_width : of uniform log factors, > 0. se : > 0.
    """
    with np.errstate(divide="ignore"):
        return np.asarray(np.ceil(3.0 / (np.asarray(weight, dtype=float) * half_width**2 * se**2)))


def propose_jitter(elasticities: pl.DataFrame, config: JitterConfig | None = None) -> pl.DataFrame:
    """Rows of ``out.bid_experiment``: the experiments that are worth most, first.

    A keyword with enough clicks is tried alone; the others of its campaign together, each with draws of its own, for
    the campaign's elasticity; what is too little even so together with the like of its channel. What would take longer
    than `max_days` then is left out.

    Parameters
    ----------
    elasticities : from `bid_curves.bid_elasticities`.

    Returns
    -------
    `COLUMNS`. keyword is null where keywords of a campaign are tried together, campaign too for a channel.
    money_at_stake: a week's cost times the standard deviation of the elasticity. Factors are mean clicks and cost of
    the days over those of days at the bid in force.
    """
    config = config or JitterConfig()
    width = float(np.log1p(config.max_jitter_fraction))
    lines = elasticities.with_columns(
        se=(pl.col("elasticity_p95") - pl.col("elasticity_p05")) / (2 * 1.6448536269514722),
        days=pl.Series(jitter_days(elasticities["clicks_weight"].to_numpy(), width, config.target_se)),
    )
    unknown = lines.filter((pl.col("level") == KEYWORD) & (pl.col("se") > config.unknown_se))
    rest = unknown.filter(pl.col("days") > config.max_days)
    parts = [unknown.filter(pl.col("days") <= config.max_days).with_columns(keywords=pl.lit(1, dtype=pl.UInt32))]
    for level, keys in ((CAMPAIGN, ["channel", "campaign"]), (CHANNEL, ["channel"])):
        found = _together(rest, lines.filter(pl.col("level") == level), keys, width, config)
        parts.append(found.filter((pl.col("days") <= config.max_days) & (pl.col("se") > config.target_se)))
        done = found.filter((pl.col("days") <= config.max_days) | (pl.col("se") <= config.target_se))
        rest = rest.join(done.select(keys), on=keys, how="anti")
    chosen = pl.concat(parts, how="diagonal_relaxed").with_columns(
        money_at_stake=7 * pl.col("cost") * pl.col("se"),
    )
    chosen = chosen.sort(["money_at_stake", *KEYS], descending=[True, False, False, False]).head(config.proposals_max)
    e, g = pl.col("elasticity_mean"), pl.col("cost_per_click_elasticity_mean")
    before = pl.format("the elasticity is known to {} only", pl.col("se").round(2))
    count = pl.col("keywords")
    who = (
        pl.when(pl.col("level") == KEYWORD)
        .then(pl.lit("Draw its bid"))
        .otherwise(
            pl.format(
                "Draw the bids of the {} keywords of the {} that have too few clicks alone", count, pl.col("level")
            )
        )
    )
    return chosen.select(
        *KEYS,
        jitter_fraction=pl.lit(config.max_jitter_fraction),
        days=pl.col("days").cast(pl.Int64),
        elasticity_se_now="se",
        elasticity_se_after=(
            1 / (1 / pl.col("se") ** 2 + pl.col("days") * pl.col("clicks_weight") * width**2 / 3)
        ).sqrt(),
        keywords=pl.col("keywords").cast(pl.Int64),
        clicks_factor=_mean_power(e, width),
        cost_factor=_mean_power(e + g, width),
        money_at_stake="money_at_stake",
        reason=pl.format(
            "{} each day at random, up to {}% up or down in proportion, for {} days: {}.",
            who,
            pl.lit(round(100 * config.max_jitter_fraction)),
            pl.col("days").cast(pl.Int64),
            before,
        ),
    ).select(COLUMNS)


def _together(
    rest: pl.DataFrame, wholes: pl.DataFrame, keys: list[str], width: float, config: JitterConfig
) -> pl.DataFrame:
    """The keywords that have too few clicks alone, drawn together for the elasticity of the whole that they are of."""
    sums = rest.group_by(keys).agg(pl.col("clicks_weight", "cost").sum(), keywords=pl.len())
    found = wholes.drop("clicks_weight", "cost", "days").join(sums, on=keys)
    days = jitter_days(found["clicks_weight"].to_numpy(), width, config.target_se)
    return found.with_columns(days=pl.Series(days, dtype=pl.Float64))


def _mean_power(a: pl.Expr, width: float) -> pl.Expr:
    """E[exp(a u)] for u uniform in [-width, width]; the limit is 1 at a = 0."""
    z = pl.when(a.abs() < 1e-6).then(1e-6).otherwise(a) * width
    return (z.exp() - (-z).exp()) / (2 * z)
