"""What part of the value that clicks are given the ads caused: the mix model's return over the one that is claimed."""

from dataclasses import dataclass
from typing import ClassVar

import polars as pl


@dataclass(frozen=True, kw_only=True)
class IncrementalityConfig:
    """What is believed of a ratio of returns."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    ratio_max: float = 3.0  # a claim that sees less than a third of the value is no basis to scale from

    def __post_init__(self) -> None:
        if not self.ratio_max >= 1.0:
            raise ValueError(f"ratio_max is {self.ratio_max}: expected at least 1")


def channel_incrementality(
    claimed: pl.DataFrame, mix: pl.DataFrame | None, config: IncrementalityConfig | None = None
) -> pl.DataFrame:
    """Incrementality per channel.

    Parameters
    ----------
    claimed : channel, spend (company currency), conversion_value that the platform claims for it, null where unknown.
    mix : channel, roas_mean and, where known, roas_p05 and roas_p95, of the mix model; None without one.

    Returns
    -------
    channel, incrementality, incrementality_p05, incrementality_p95, incrementality_reason; at least 0 and at most
    `ratio_max`. 1 without an interval where either return is unknown, with the reason. The interval is that of the mix
    model; claims are taken as counted.
    """
    config = config or IncrementalityConfig()
    names = ("roas_mean", "roas_p05", "roas_p95")
    base = claimed.select("channel", pl.col("spend", "conversion_value").cast(pl.Float64)).sort("channel")
    if mix is None:
        base = base.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in names)
    else:
        absent = [pl.lit(None, dtype=pl.Float64).alias(name) for name in names if name not in mix.columns]
        found = mix.with_columns(absent).select("channel", pl.col(names).cast(pl.Float64).fill_nan(None))
        base = base.join(found, on="channel", how="left", maintain_order="left")
    claims = pl.when((pl.col("spend") > 0) & (pl.col("conversion_value") > 0)).then(
        pl.col("conversion_value") / pl.col("spend")
    )
    ratio = {
        name: (pl.col(name.replace("incrementality", "roas")) / claims).clip(0.0, config.ratio_max)
        for name in ("incrementality_p05", "incrementality_p95")
    }
    mean = (pl.col("roas_mean") / claims).clip(0.0, config.ratio_max)
    reason = (
        pl.when(pl.col("roas_mean").is_null())
        .then(pl.lit("taken as 1: no mix model in service says what the channel caused"))
        .when(claims.is_null())
        .then(pl.lit("taken as 1: the platform claims no value to compare with"))
        .otherwise(
            pl.format(
                "mix model's ROAS {} over the claimed {}", pl.col("roas_mean").round(2), claims.fill_null(0.0).round(2)
            )
        )
    )
    return base.select(
        "channel",
        incrementality=mean.fill_null(1.0),
        **ratio,
        incrementality_reason=reason,
    )


def clv_ratios(scorecard: pl.DataFrame | None, ratio_max: float = 2.0) -> pl.DataFrame:
    """What a customer of a channel is worth over the mean one: channel, clv_ratio in [1 / ratio_max, ratio_max].

    Parameters
    ----------
    scorecard : rows of ``out.channel_scorecard``: channel, clv_mean, new_customers. Channels without a known value or
        without customers are left out; with none the result is empty.
    """
    empty = pl.DataFrame(schema={"channel": pl.String, "clv_ratio": pl.Float64})
    if scorecard is None or not {"channel", "clv_mean", "new_customers"} <= set(scorecard.columns):
        return empty
    known = scorecard.filter((pl.col("clv_mean") > 0) & (pl.col("new_customers") > 0)).sort("channel")
    if known.is_empty():
        return empty
    mean = (pl.col("clv_mean") * pl.col("new_customers")).sum() / pl.col("new_customers").sum()
    return known.select("channel", clv_ratio=(pl.col("clv_mean") / mean).clip(1.0 / ratio_max, ratio_max))
