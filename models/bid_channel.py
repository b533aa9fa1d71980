"""A channel's keyword days as models of bids read them: numbered, sorted, with the bid in force and what it buys."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.bid_pooling import PoolingConfig, pool
from models.bid_slopes import log_linear_slopes

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

KEYS = ("channel", "campaign", "keyword")
MEAN_STEPS = 200  # of the alternation between keywords and dates; a few dozen are usual


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


def levels(channel: ChannelBids, elasticity: FloatArray, days: int, history_days: int) -> dict[str, FloatArray]:
    """The bid in force of each keyword and what it buys a day, of late; and the bids it has tried.

    The bid in force is the latest that was set; the mean of logs where all of late were drawn at random around one.
    What was bought at other bids is brought to it by the elasticity. A day without a row bought nothing, from the
    keyword's first row of late to the channel's last day; a keyword without a row of late buys nothing now.

    Parameters
    ----------
    elasticity : (keywords,), by which clicks at other bids are brought to the bid in force.
    days : of late are this many days up to the channel's last one.
    history_days : up to the day of the run, from which bids count as tried.

    Returns
    -------
    bid, bid_low, bid_high (company currency), impressions, clicks, cost a day: (keywords,) each.
    """
    numbered = channel.rows.with_columns(
        k=pl.Series(channel.keyword), slope=pl.Series(elasticity[channel.keyword]), day=pl.Series(channel.day)
    )
    last_day = int(channel.day.max())
    is_late = pl.col("day") > last_day - days
    late = numbered.filter(is_late)
    force = in_force(pl.concat([late, numbered.filter(~is_late.any().over("k"))]))
    late = late.join(force, on="k", how="left", maintain_order="left").with_columns(
        x=pl.col("bid") / pl.col("bid_in_force"), part=1.0 / pl.len().over("k", "day")
    )
    spread = pl.col("part") * pl.col("x") ** pl.col("slope")
    ran = pl.col("day").n_unique() / (last_day - pl.col("day").min() + 1)  # part of the days
    bought = late.group_by("k").agg(
        clicks=pl.col("clicks").sum() / spread.sum() * ran,
        impressions=pl.col("impressions").sum() / spread.sum() * ran,
        cost=pl.col("cost").sum() / (spread * pl.col("x")).sum() * ran,
    )
    is_tried = (pl.col("day") > channel.last_day - history_days) | is_late
    tried = numbered.filter(is_tried).group_by("k").agg(bid_low=pl.col("bid").min(), bid_high=pl.col("bid").max())
    frame = (
        force.join(bought, on="k", how="left")
        .join(tried, on="k", how="left")
        .sort("k")
        .select(
            bid="bid_in_force",
            bid_low=pl.min_horizontal("bid_low", "bid_in_force"),
            bid_high=pl.max_horizontal("bid_high", "bid_in_force"),
            impressions=pl.col("impressions").fill_null(0.0),
            clicks=pl.col("clicks").fill_null(0.0),
            cost=pl.col("cost").fill_null(0.0),
        )
    )
    return {name: frame[name].to_numpy().astype(float) for name in frame.columns}


def in_force(numbered: pl.DataFrame) -> pl.DataFrame:
    """Bid in force of each keyword k: the latest that was set, several on one day by their mean of logs; else of all.

    numbered : k, day, bid, randomised.
    """
    log_bid = pl.col("bid").log()
    was_set = numbered.filter(~pl.col("randomised"))
    latest = was_set.filter(pl.col("day") == pl.col("day").max().over("k")).group_by("k").agg(latest=log_bid.mean())
    every = numbered.group_by("k").agg(every=log_bid.mean())
    return every.join(latest, on="k", how="left").select("k", bid_in_force=pl.coalesce("latest", "every").exp())


def cost_slopes(channel: ChannelBids, prior_sd: float, history_days: int) -> list[float]:
    """Elasticity of the cost per click to the bid: of each keyword, each campaign, then the channel, within [0.1, 2].

    Of the last `history_days`, with an effect of each keyword and each date, since what rivals bid moves all prices of
    a day; a keyword that is alone on its date tells nothing, one that is alone in its channel has no dates' effects.
    Pooled as the clicks are about 1, with which bids pay in proportion.
    """
    n = len(channel.keywords)
    numbered = channel.rows.with_columns(k=pl.Series(channel.keyword), day=pl.Series(channel.day))
    is_recent = pl.col("day") > channel.last_day - history_days
    rows = numbered.filter(is_recent & (pl.col("clicks") > 0) & (pl.col("cost") > 0))
    if rows["randomised"].any():
        rows = rows.filter("randomised")
    prior = PoolingConfig(
        prior_mean=1.0, prior_sd=prior_sd, keyword_spread=0.1, campaign_spread=0.1, grid_points=6
    )  # auctions of one channel charge alike
    slope, precision = np.zeros(n), np.zeros(n)
    if not rows.is_empty():
        names, group = np.unique(rows["k"].to_numpy(), return_inverse=True)
        weight = rows["clicks"].to_numpy()
        price, bid = (rows["cost"] / rows["clicks"]).log().to_numpy(), rows["bid"].log().to_numpy()
        if len(names) > 1:
            _, date_of = np.unique(rows["day"].to_numpy(), return_inverse=True)
            price, bid = (_without_means(values, group, date_of, weight) for values in (price, bid))
        found, variance, _, _ = log_linear_slopes(np.exp(price), np.exp(bid), group, weight)
        known = np.isfinite(variance)
        slope[names[known]], precision[names[known]] = found[known], 1.0 / np.maximum(variance[known], 1e-4)
    pooled = pool(slope, precision, channel.campaign_of, prior)
    return [*np.clip(pooled.keyword_mean, 0.1, 2.0), *np.clip(pooled.campaign_mean, 0.1, 2.0),
            float(np.clip(pooled.channel_mean, 0.1, 2.0))]  # fmt: skip


def _without_means(values: FloatArray, group: IntArray, date_of: IntArray, weight: FloatArray) -> FloatArray:
    """Values less an effect of each group and of each date, by turns; what is left of a fit is exactly 0.

    Sources: Gaure (2013), "OLS with multiple high dimensional category variables", Computational Statistics & Data
    Analysis 66, 8-18 (alternating projections).
    """
    left = values - values.mean()
    for _ in range(MEAN_STEPS):
        moved = 0.0
        for of in (group, date_of):
            mean = np.bincount(of, weights=weight * left) / np.bincount(of, weights=weight)
            left = left - mean[of]
            moved = float(np.abs(mean).max())
        if moved < 1e-10:
            break
    return np.where(np.abs(left) < 1e-8, 0.0, left)
