"""The mix model's weekly series, put together from the marts' frames."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from models.mmm.data import LiftTest, MMMData

EXPOSURE = {"impressions": "impressions_count", "clicks": "clicks_count"}  # media variable -> column of the spend


def media_weeks(
    spend: pl.DataFrame,
    kpi: pl.DataFrame,
    controls: pl.DataFrame,
    lift_tests: pl.DataFrame,
    media_variable: Mapping[str, str] | None = None,
    channels: Sequence[str] | None = None,
) -> MMMData:
    """Series over the weeks that both spend and KPI cover.

    Parameters
    ----------
    spend : week_start, channel, spend; every channel in every week. A channel without any spend is left out. Where
        `media_variable` asks for them also impressions_count, clicks_count.
    kpi : week_start, value.
    controls : week_start, name, value; may be empty. A control that some week lacks is carried forward, then backward.
    lift_tests : channel, start_date, end_date, spend_change, lift, lift_se; tests of other channels are left out.
    media_variable : channel -> impressions or clicks, for those whose response is to what people saw; names of other
        channels are passed over.
    channels : the channels to hold, whether they spent or not; None: those that spent.

    Raises
    ------
    DataError : see `MMMData`.
    """
    wide = spend.pivot("channel", index="week_start", values="spend", sort_columns=True)
    joined = kpi.select("week_start", pl.col("value").alias("__kpi")).join(wide, on="week_start").sort("week_start")
    channels = tuple(channels or (name for name in wide.columns[1:] if float(joined[name].sum()) > 0))
    names: tuple[str, ...] = ()
    matrix = np.empty((len(joined), 0))
    if not controls.is_empty():
        table = joined.select("week_start").join(
            controls.pivot("name", index="week_start", values="value", sort_columns=True), on="week_start", how="left"
        )
        filled = table.drop("week_start").select(pl.all().forward_fill().backward_fill())
        names = tuple(name for name in filled.columns if filled[name].n_unique() > 1)
        matrix = filled.select(names).to_numpy() if names else matrix
    last_day = joined["week_start"].max()
    tests = tuple(
        LiftTest(**row)
        for row in lift_tests.select("channel", "start_date", "end_date", "spend_change", "lift", "lift_se").to_dicts()
        if row["channel"] in channels and last_day is not None and row["start_date"] <= last_day
    )
    exposure = {
        name: joined.select("week_start")
        .join(spend.filter(pl.col("channel") == name), on="week_start", how="left", maintain_order="left")[
            EXPOSURE[variable]
        ]
        .to_numpy()
        for name, variable in sorted((media_variable or {}).items())
        if name in channels
    }
    return MMMData(
        week_start=joined["week_start"].to_numpy(),
        kpi=joined["__kpi"].to_numpy(),
        channels=channels,
        spend=joined.select(channels).to_numpy(),
        control_names=names,
        controls=matrix,
        lift_tests=tests,
        exposure=exposure,
    )
