"""A channel's keyword days as models of bids read them: numbered, sorted, with the bid in force and what it buys."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.bid_pooling import PoolingConfig, pool
from models.bid_slopes import log_linear_slopes

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

KEYS = ("channel", "campaign", "keyword")


@dataclass(frozen=True, kw_only=True)
class ChannelBids:
    """One channel's keyword days as arrays of n rows; keywords are numbered in order of campaign and name."""

    name: str
    rows: pl.DataFrame
    keywords: pl.DataFrame  # campaign, keyword: (n,) in order of their numbers
    campaigns: list[str | None]
    keyword: IntArray
    campaign_of: IntArray
    day: IntArray
    last_day: int
    log_bid: FloatArray

    @classmethod
    def of(cls, name: str, rows: pl.DataFrame, as_of: date) -> "ChannelBids":
        """From rows of `prepared_rows` of this channel."""
        keys = pl.struct("campaign", "keyword")
        keywords = rows.select("campaign", "keyword").unique(maintain_order=True)
        campaigns = keywords["campaign"].unique(maintain_order=True)
        return cls(
            name=name,
            rows=rows,
            keywords=keywords,
            campaigns=campaigns.to_list(),
            keyword=rows.select(keys.rle_id()).to_series().to_numpy().astype(np.intp),
            campaign_of=keywords.select(pl.col("campaign").rle_id()).to_series().to_numpy().astype(np.intp),
            day=rows["date"].to_physical().to_numpy().astype(np.intp),
            last_day=int(pl.Series([as_of]).to_physical()[0]),
            log_bid=np.log(rows["bid"].to_numpy()),
        )


def prepared_rows(bids: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Usable rows, sorted so that sums do not depend on how they came.

    Without a bid above 0, clicks, a keyword or a channel a row says nothing of bids; nor may one after `as_of`.
    """
    randomised = pl.col("randomised").fill_null(False) if "randomised" in bids.columns else pl.lit(False)
    numbers = [pl.col(name).cast(pl.Float64) for name in ("bid", "impressions", "clicks", "cost")]
    return (
        bids.with_columns(*numbers, randomised=randomised.cast(pl.Boolean))
        .filter(
            (pl.col("date") <= as_of)
            & (pl.col("bid") > 0)
            & pl.col("bid").is_finite()
            & (pl.col("clicks") >= 0)
            & pl.col("keyword").is_not_null()
            & pl.col("channel").is_not_null()
        )
        .select("date", *KEYS, "bid", "impressions", "clicks", "cost", "randomised")
        .with_columns(pl.col("impressions", "cost").fill_null(0.0).fill_nan(0.0).clip(0.0))
        .sort("channel", "campaign", "keyword", "date", "randomised", "bid", "clicks", "impressions", "cost")
    )


def channels_of(rows: pl.DataFrame, as_of: date) -> Iterator[ChannelBids]:
    """Each channel of `prepared_rows`, in order of name."""
    for (name,), part in rows.group_by("channel", maintain_order=True):
        yield ChannelBids.of(str(name), part, as_of)


def levels(channel: ChannelBids, elasticity: FloatArray, days: int) -> dict[str, FloatArray]:
    """The bid in force of each keyword and what it buys a day, from its last `days` days; and the bids it has tried.

    Parameters
    ----------
    elasticity : (keywords,), by which clicks at other bids are brought to the bid in force.

    Returns
    -------
    bid, bid_low, bid_high (company currency), impressions, clicks, cost a day: (keywords,) each.
    """
    numbered = channel.rows.with_columns(k=pl.Series(channel.keyword), slope=pl.Series(elasticity[channel.keyword]))
    recent = pl.col("date") > pl.col("date").max().over("k") - timedelta(days=days)
    last = numbered.filter(recent)
    # jitter goes around the bid in force: where bids that were set stand beside it, they are that bid
    set_bids = pl.col("bid").log().filter(~pl.col("randomised")).mean()
    force = last.group_by("k").agg(in_force=set_bids.fill_null(pl.col("bid").log().mean()).exp())
    last = last.join(force, on="k").with_columns(x=pl.col("bid") / pl.col("in_force"))
    spread = pl.col("x") ** pl.col("slope")
    levels = last.group_by("k").agg(
        bid=pl.col("in_force").first(),
        clicks=pl.col("clicks").sum() / spread.sum(),
        impressions=pl.col("impressions").sum() / spread.sum(),
        cost=pl.col("cost").sum() / (spread * pl.col("x")).sum(),
    )
    tried = numbered.group_by("k").agg(bid_low=pl.col("bid").min(), bid_high=pl.col("bid").max())
    frame = levels.join(tried, on="k").sort("k")
    return {name: frame[name].to_numpy().astype(float) for name in frame.columns if name != "k"}


def cost_slopes(channel: ChannelBids, prior_sd: float) -> list[float]:
    """Elasticity of the cost per click to the bid: of each keyword, each campaign, then the channel, within [0.1, 2].

    Pooled as the clicks are about 1, with which bids pay in proportion.
    """
    n = len(channel.keywords)
    rows = channel.rows.select(
        "clicks", "cost", "bid", "randomised", k=pl.Series(channel.keyword)
    ).filter((pl.col("clicks") > 0) & (pl.col("cost") > 0))  # fmt: skip
    if rows["randomised"].any():
        rows = rows.filter("randomised")
    prior = PoolingConfig(
        prior_mean=1.0, prior_sd=prior_sd, keyword_spread=0.1, campaign_spread=0.1, grid_points=6
    )  # auctions of one channel charge alike
    slope, precision = np.zeros(n), np.zeros(n)
    if not rows.is_empty():
        names, group = np.unique(rows["k"].to_numpy(), return_inverse=True)
        price = (rows["cost"] / rows["clicks"]).to_numpy()
        found, variance, _, _ = log_linear_slopes(price, rows["bid"].to_numpy(), group, rows["clicks"].to_numpy())
        known = np.isfinite(variance)
        slope[names[known]], precision[names[known]] = found[known], 1.0 / np.maximum(variance[known], 1e-4)
    pooled = pool(slope, precision, channel.campaign_of, prior)
    return [*np.clip(pooled.keyword_mean, 0.1, 2.0), *np.clip(pooled.campaign_mean, 0.1, 2.0),
            float(np.clip(pooled.channel_mean, 0.1, 2.0))]  # fmt: skip
