"""What a click is worth to whoever bids for it: by keyword, by campaign, by channel."""

from datetime import date, timedelta

import polars as pl

from models.click_value import MONEY, Basis

KEYS = ("channel", "campaign", "keyword")
FIGURES = ("value_per_click", "value_per_click_p05", "value_per_click_p95", "conversion_probability")
WINDOW_DAYS = 91  # a quarter: conversions of one keyword are few


def click_values(
    by_keyword: pl.DataFrame | None,
    by_campaign: pl.DataFrame | None,
    bids: pl.DataFrame,
    as_of: date,
    reported_factor: float | None = 1.0,
) -> pl.DataFrame:
    """Values per click of every line that has one, from the most careful source that knows it.

    Parameters
    ----------
    by_keyword, by_campaign : rows of ``out.keyword_value`` and ``out.click_value``: channel, campaign, keyword,
        `FIGURES` and clicks; None where they have not been made. Lines without a value are left out.
    bids : channel, campaign, clicks and, where the platform reports them, conversions and value: they stand in for
        channels of which no click is valued, over the last quarter, without an interval.
    reported_factor : by which their value is brought to what the other two count; None: it stands in for nothing.

    Returns
    -------
    channel, campaign, keyword, `FIGURES` (company currency a click; probability). A null keyword stands for all of a
    campaign, a null campaign for all of a channel: the mean over its campaigns by clicks.
    """
    parts = [_of(by_keyword, KEYS).drop_nulls(KEYS), _of(by_campaign, KEYS[:2]).drop_nulls("campaign")]
    if by_campaign is not None:
        known = by_campaign.drop_nulls("value_per_click").filter(pl.col("clicks") > 0).sort("channel", "campaign")
        weight = pl.col("clicks") / pl.col("clicks").sum()
        whole = known.group_by("channel", maintain_order=True).agg(
            pl.when(pl.col(name).is_not_null().all()).then((pl.col(name) * weight).sum()) for name in FIGURES
        )
        parts.append(_of(whole, KEYS[:1]))
    valued = pl.concat([part.select("channel") for part in parts]).unique()
    reported = _reported(bids, as_of).with_columns(pl.col("value_per_click") * pl.lit(reported_factor, pl.Float64))
    parts.append(_of(reported.join(valued, on="channel", how="anti"), KEYS[:1]))
    return pl.concat(parts).sort(KEYS)


def _of(frame: pl.DataFrame | None, keys: tuple[str, ...]) -> pl.DataFrame:
    """Known values with all columns, keys beyond `keys` null."""
    kinds = pl.Schema({**dict.fromkeys(KEYS, pl.String), **dict.fromkeys(FIGURES, pl.Float64)})
    if frame is None:
        return pl.DataFrame(schema=kinds)
    chosen = [pl.col(name) if name in keys else pl.lit(None, dtype=pl.String).alias(name) for name in KEYS]
    return frame.drop_nulls("value_per_click").select(*chosen, *FIGURES).cast(kinds)


def _reported(bids: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Value and conversions a click as the platform reports them, per channel; channels without a value left out.

    Each is over the clicks of those days on which it is reported: a day that says nothing is not a day of nothing.
    """
    recent = bids.filter(pl.col("date").is_between(as_of - timedelta(days=WINDOW_DAYS - 1), as_of))
    absent = [pl.lit(None, dtype=pl.Float64).alias(name) for name in ("conversions", "value") if name not in recent]

    def a_click(name: str) -> pl.Expr:
        told, clicks = pl.col(name).is_not_null() & pl.col("clicks").is_not_null(), pl.col("clicks")
        return pl.when(clicks.filter(told).sum() > 0).then(pl.col(name).filter(told).sum() / clicks.filter(told).sum())

    rates = recent.with_columns(absent).group_by("channel").agg(value=a_click("value"), rate=a_click("conversions"))
    return (
        rates.filter(pl.col("value") > 0)
        .sort("channel")
        .select(
            "channel",
            value_per_click="value",
            value_per_click_p05=pl.lit(None, dtype=pl.Float64),
            value_per_click_p95=pl.lit(None, dtype=pl.Float64),
            conversion_probability=pl.col("rate").clip(0.0, 1.0),
        )
    )


def basis_of(by_campaign: pl.DataFrame | None) -> Basis:
    """What clicks are valued in by rows of ``out.click_value``: all in one; revenue where they do not say."""
    if by_campaign is None or "basis" not in by_campaign.columns:
        return "revenue"
    return "margin" if (by_campaign["basis"] == "margin").any() else "revenue"


def lifetime_channels(by_campaign: pl.DataFrame | None, new_customers: pl.DataFrame | None) -> tuple[str, ...]:
    """Channels whose click values hold the lifetime value of new customers, in order of name.

    That is where a part of the conversions is known to be of new customers and what these are worth is known too, as
    in `models.click_value`.

    Parameters
    ----------
    by_campaign : rows of ``out.click_value``: channel, campaign, new_customer_share. None where there are none.
    new_customers : rows of ``out.new_customer_value``: channel, campaign (null: the whole channel), clv_mean.
    """
    if by_campaign is None or new_customers is None:
        return ()
    if "new_customer_share" not in by_campaign.columns:
        return ()
    worth = new_customers.drop_nulls("clv_mean").select(pl.col("channel", "campaign").cast(pl.String))
    fresh = by_campaign.filter(pl.col("new_customer_share") > 0).select(pl.col("channel", "campaign").cast(pl.String))
    whole = fresh.join(worth.filter(pl.col("campaign").is_null()), on="channel", how="semi")
    single = fresh.join(worth.drop_nulls("campaign"), on=("channel", "campaign"), how="semi")
    return tuple(pl.concat([whole, single])["channel"].unique().sort())


def order_values(conversions: pl.DataFrame | None, channels: tuple[str, ...], basis: Basis = "revenue") -> pl.DataFrame:
    """What an order of each of `channels` brings: channel, order_value (company currency, null where unknown).

    Parameters
    ----------
    conversions : channel, valued_count, value_sum, margin_sum of ``mart.click_order_value``; None without. A channel
        without a conversion of known value counts as all of them together.
    basis : whether an order brings its revenue or its margin.
    """
    named = pl.DataFrame({"channel": channels}, schema={"channel": pl.String})
    if conversions is None or not conversions["valued_count"].sum() > 0:
        return named.with_columns(order_value=pl.lit(None, dtype=pl.Float64))
    own = conversions.sort("channel").group_by("channel", maintain_order=True).agg(
        pl.col("valued_count").sum(), worth=pl.col(MONEY[basis][0]).sum()
    )  # fmt: skip
    everywhere = float(own["worth"].sum()) / float(own["valued_count"].sum())
    mean = pl.when(pl.col("valued_count") > 0).then(pl.col("worth") / pl.col("valued_count"))
    return named.join(own, on="channel", how="left", maintain_order="left").select(
        "channel", order_value=mean.fill_null(everywhere)
    )
