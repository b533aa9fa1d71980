"""What a click is worth to whoever bids for it: by keyword, by campaign, by channel."""

from datetime import date, timedelta

import polars as pl

KEYS = ("channel", "campaign", "keyword")
FIGURES = ("value_per_click", "value_per_click_p05", "value_per_click_p95", "conversion_probability")
WINDOW_DAYS = 91  # a quarter: conversions of one keyword are few


def click_values(
    by_keyword: pl.DataFrame | None, by_campaign: pl.DataFrame | None, bids: pl.DataFrame, as_of: date
) -> pl.DataFrame:
    """Values per click of every line that has one, from the most careful source that knows it.

    Parameters
    ----------
    by_keyword, by_campaign : rows of ``out.keyword_value`` and ``out.click_value``: channel, campaign, keyword,
        `FIGURES` and clicks; None where they have not been made. Lines without a value are left out.
    bids : channel, campaign, clicks and, where the platform reports them, conversions and value: they stand in for
        channels of which no click is valued, over the last quarter, without an interval.

    Returns
    -------
    channel, campaign, keyword, `FIGURES` (company currency a click; probability). A null keyword stands for all of a
    campaign, a null campaign for all of a channel: the mean over its campaigns by clicks.
    """
    parts = [_of(by_keyword, KEYS).drop_nulls(KEYS), _of(by_campaign, KEYS[:2]).drop_nulls("campaign")]
    if by_campaign is not None:
        known = by_campaign.drop_nulls("value_per_click").filter(pl.col("clicks") > 0).sort("channel", "campaign")
        weight = pl.col("clicks") / pl.col("clicks").sum()
        whole = known.group_by("channel", maintain_order=True).agg((pl.col(name) * weight).sum() for name in FIGURES)
        parts.append(_of(whole, KEYS[:1]))
    valued = pl.concat([part.select("channel") for part in parts]).unique()
    parts.append(_of(_reported(bids, as_of).join(valued, on="channel", how="anti"), KEYS[:1]))
    return pl.concat(parts).sort(KEYS)


def _of(frame: pl.DataFrame | None, keys: tuple[str, ...]) -> pl.DataFrame:
    """Known values with all columns, keys beyond `keys` null."""
    kinds = pl.Schema({**dict.fromkeys(KEYS, pl.String), **dict.fromkeys(FIGURES, pl.Float64)})
    if frame is None:
        return pl.DataFrame(schema=kinds)
    chosen = [pl.col(name) if name in keys else pl.lit(None, dtype=pl.String).alias(name) for name in KEYS]
    return frame.drop_nulls("value_per_click").select(*chosen, *FIGURES).cast(kinds)


def _reported(bids: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Value and conversions a click as the platform reports them, per channel; channels without a value left out."""
    recent = bids.filter(pl.col("date").is_between(as_of - timedelta(days=WINDOW_DAYS - 1), as_of))
    absent = [pl.lit(None, dtype=pl.Float64).alias(name) for name in ("conversions", "value") if name not in recent]
    sums = recent.with_columns(absent).group_by("channel").agg(pl.col("clicks", "conversions", "value").sum())
    known = sums.filter((pl.col("clicks") > 0) & (pl.col("value") > 0)).sort("channel")
    return known.select(
        "channel",
        value_per_click=pl.col("value") / pl.col("clicks"),
        value_per_click_p05=pl.lit(None, dtype=pl.Float64),
        value_per_click_p95=pl.lit(None, dtype=pl.Float64),
        conversion_probability=(pl.col("conversions") / pl.col("clicks")).clip(0.0, 1.0),
    )
