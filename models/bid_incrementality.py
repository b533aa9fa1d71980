"""What part of the value that clicks are given the ads caused: the mix model's return over that of the clicks."""

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from models.bid_curves import KEYWORD
from models.click_value import Basis

NO_MIX = "no mix model in service says what the channel caused"
NOT_MONEY = "the mix model's KPI is not money"
NO_MARGIN = "only one of KPI and click values is margin, and orders tell no margin above 0 to join them"
EARNS_NOTHING = 1e-6  # margin over revenue where orders earn nothing: no bid pays, and none is divided by 0


@dataclass(frozen=True, kw_only=True)
class IncrementalityConfig:
    """What is believed of a ratio of returns."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    ratio_max: float = 3.0  # clicks that see less than a third of the value are no basis to scale from

    def __post_init__(self) -> None:
        if not self.ratio_max >= 1.0:
            raise ValueError(f"ratio_max is {self.ratio_max}: expected at least 1")


@dataclass(frozen=True, kw_only=True)
class Money:
    """What either side of the comparison counts, and the margin that joins them.

    kpi : of the mix model, "revenue", "margin" or "conversions".
    clicks : of the values of clicks, "revenue" or "margin".
    earned : margin over revenue of all orders; None where it is not known.
    """

    kpi: str = "revenue"
    clicks: Basis = "revenue"
    earned: float | None = None

    @property
    def kpi_factor(self) -> float | None:
        """What brings a value of clicks to what the KPI counts; None where nothing does."""
        if self.kpi == self.clicks:
            return 1.0
        if self.kpi == "conversions" or self.earned is None or not self.earned > 0.0:
            return None
        return self.earned if self.kpi == "margin" else 1.0 / self.earned

    @property
    def lack(self) -> str:
        """Why a channel has no return of the mix model to compare with."""
        if self.kpi_factor is not None:
            return NO_MIX
        return NOT_MONEY if self.kpi == "conversions" else NO_MARGIN

    @property
    def reported_factor(self) -> float | None:
        """What brings a value that a platform reports, revenue, to what clicks' values count; None: not known."""
        if self.clicks == "revenue":
            return 1.0
        return None if self.earned is None else max(self.earned, 0.0)

    def margin_fraction(self, of_kpi: float) -> float:
        """What is earned of a value of clicks, so that margin is taken once: all of margin; of revenue, `of_kpi`.

        Where the KPI is margin, `of_kpi` is of margin; of revenue counts what orders earn.
        """
        if self.clicks == "margin":
            return 1.0
        return of_kpi if self.kpi != "margin" or self.earned is None else max(self.earned, EARNS_NOTHING)


def click_returns(
    elasticities: pl.DataFrame, order_values: pl.DataFrame | None = None, kpi_factor: float = 1.0
) -> pl.DataFrame:
    """What the values of its clicks say that each channel returns: the side of the ratio that bids multiply.

    Parameters
    ----------
    elasticities : rows of ``out.bid_elasticity``; those of keywords with a value and a cost count.
    order_values : channel, order_value (company currency a conversion; null where unknown) of the channels whose click
        values hold the lifetime value of new customers. The mix model counts orders; lifetime value in the claim alone
        would divide it out of the bids again. Their clicks therefore count by the orders they bring; the ratio then
        scales values with lifetime value in them. A channel whose order value is not known has no return.
    kpi_factor : `Money.kpi_factor`, by which a value of clicks is brought to what the mix model counts.

    Returns
    -------
    channel, click_roas (value per unit of money; null where unknown), in order of name: every channel once.
    """
    keywords = elasticities.filter(pl.col("level") == KEYWORD)
    names = keywords.select(pl.col("channel").unique().sort())
    if order_values is None:
        order_values = pl.DataFrame(schema={"channel": pl.String, "order_value": pl.Float64})
    worth = (
        pl.when(pl.col("is_lifetime").fill_null(False))
        .then(pl.col("conversion_probability") * pl.col("order_value"))
        .otherwise("value_per_click")
    )
    found = (
        keywords.join(
            order_values.select("channel", pl.col("order_value").cast(pl.Float64), is_lifetime=pl.lit(True)),
            on="channel",
            how="left",
            maintain_order="left",
        )
        .select("channel", "keyword", "clicks", "cost", worth=worth)
        .filter(pl.col("worth").is_not_null() & (pl.col("clicks") > 0) & (pl.col("cost") > 0))
        .group_by("channel", maintain_order=True)
        .agg(click_roas=kpi_factor * (pl.col("clicks") * pl.col("worth")).sum() / pl.col("cost").sum())
    )
    return names.join(found, on="channel", how="left", maintain_order="left").with_columns(
        pl.when(pl.col("click_roas") > 0).then("click_roas").alias("click_roas")
    )


def channel_incrementality(
    returns: pl.DataFrame, mix: pl.DataFrame | None, config: IncrementalityConfig | None = None, lack: str = NO_MIX
) -> pl.DataFrame:
    """Incrementality per channel: the mix model's return over the one that the values of its clicks add up to.

    Bids multiply the very values of `returns`, so that value times incrementality adds up to what the mix model says.

    Parameters
    ----------
    returns : from `click_returns`.
    mix : channel, roas_mean and, where known, roas_p05 and roas_p95, of the mix model; None without one.
    lack : why a channel has no return of the mix model.

    Returns
    -------
    channel, incrementality, incrementality_p05, incrementality_p95, incrementality_reason; at least 0 and at most
    `ratio_max`. 1 without an interval where either return is unknown, with the reason. The interval is that of the mix
    model; values of clicks are taken as they are.
    """
    config = config or IncrementalityConfig()
    names = ("roas_mean", "roas_p05", "roas_p95")
    base = returns.select("channel", pl.col("click_roas").cast(pl.Float64)).sort("channel")
    if mix is None:
        base = base.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in names)
    else:
        absent = [pl.lit(None, dtype=pl.Float64).alias(name) for name in names if name not in mix.columns]
        found = mix.with_columns(absent).select("channel", pl.col(names).cast(pl.Float64).fill_nan(None))
        base = base.join(found, on="channel", how="left", maintain_order="left")
    ratios = {
        name.replace("roas", "incrementality"): (pl.col(name) / pl.col("click_roas")).clip(0.0, config.ratio_max)
        for name in names
    }
    reason = (
        pl.when(pl.col("roas_mean").is_null())
        .then(pl.lit(f"taken as 1: {lack}"))
        .when(pl.col("click_roas").is_null())
        .then(pl.lit("taken as 1: no value of the channel's clicks to compare with"))
        .otherwise(
            pl.format(
                "mix model's ROAS {} over the {} of its clicks",
                pl.col("roas_mean").round(2),
                pl.col("click_roas").fill_null(0.0).round(2),
            )
        )
    )
    return base.select(
        "channel",
        incrementality=ratios["incrementality_mean"].fill_null(1.0),
        incrementality_p05=ratios["incrementality_p05"],
        incrementality_p95=ratios["incrementality_p95"],
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
