"""What each channel's customers cost and are worth."""

import polars as pl


def channel_scorecard(spend: pl.DataFrame, rfm: pl.DataFrame, value: pl.DataFrame) -> pl.DataFrame:
    """Rows of `out.channel_scorecard`, largest spend first.

    Parameters
    ----------
    spend : channel, spend (company currency over the whole history).
    rfm : customer_id, acquisition_channel.
    value : customer_id, clv_mean (expected value of the horizon ahead).

    Returns
    -------
    channel, spend (0 where nothing is spent), new_customers, cac = spend / new_customers (null without either),
    clv_mean over the channel's customers, clv_to_cac.
    """
    worth = (
        rfm.join(value, on="customer_id")
        .group_by(pl.col("acquisition_channel").alias("channel"))
        .agg(new_customers=pl.len().cast(pl.Int64), clv_mean=pl.col("clv_mean").mean())
    )
    joined = spend.join(worth, on="channel", how="full", coalesce=True).with_columns(
        pl.col("spend").fill_null(0.0), pl.col("new_customers").fill_null(0)
    )
    paid = (pl.col("spend") > 0) & (pl.col("new_customers") > 0)
    return (
        joined.with_columns(cac=pl.when(paid).then(pl.col("spend") / pl.col("new_customers")))
        .with_columns(clv_to_cac=pl.col("clv_mean") / pl.col("cac"))
        .select("channel", "spend", "new_customers", "cac", "clv_mean", "clv_to_cac")
        .sort(["spend", "channel"], descending=[True, False])
    )
