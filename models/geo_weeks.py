"""The mix model's weekly series by geo, put together from the marts' frames."""

import polars as pl

from models.errors import DataError
from models.media_weeks import media_weeks
from models.mmm.geo import GeoData

NAMELESS_MAX = 0.05  # of spend or KPI that names no geo: beyond, the geos are not the company


def geo_weeks(spend: pl.DataFrame, kpi: pl.DataFrame, controls: pl.DataFrame, lift_tests: pl.DataFrame) -> GeoData:
    """Series of every geo that both spend and KPI name, over the weeks that both cover.

    Parameters
    ----------
    spend : week_start, geo, channel, spend; every line in every week. A channel without any spend is left out.
    kpi : week_start, geo, value; every geo in every week. Rows without a geo are left out of both.
    controls, lift_tests : as in `media_weeks`, controls the same in all geos, lift_tests with geo besides: a test that
        names a geo is read there, one that names none by the whole company, one of a geo that is not fitted by nobody.

    Raises
    ------
    DataError : fewer than two geos have both spend and KPI, or more than 5 % of either names no geo; see `MMMData`.
    """
    for name, frame, column in (("spend", spend, "spend"), ("KPI", kpi, "value")):
        total = float(frame[column].sum())
        nameless = float(frame.filter(pl.col("geo").is_null())[column].sum())
        if total > 0 and nameless > NAMELESS_MAX * total:
            raise DataError(
                f"{nameless / total:.0%} of the {name} names no geo; expected at most {NAMELESS_MAX:.0%}.\n"
                "Fill country in ad_spend, and geo in kpi or country in orders, or set mmm_geo.enabled to false."
            )
    totals = [frame.group_by("geo").agg(pl.col(column).sum()) for frame, column in ((spend, "spend"), (kpi, "value"))]
    running = [set(frame.filter(pl.col(frame.columns[1]) > 0)["geo"].drop_nulls().to_list()) for frame in totals]
    geos = sorted(running[0] & running[1])
    if len(geos) < 2:
        raise DataError(
            f"Geos with both spend and KPI: {geos or 'none'}; expected two or more, named alike in both.\n"
            "Fill country in ad_spend, and geo in kpi or country in orders, or set mmm_geo.enabled to false."
        )
    ran = spend.filter(pl.col("geo").is_in(geos)).group_by("channel").agg(pl.col("spend").sum())
    channels = ran.filter(pl.col("spend") > 0)["channel"].sort().to_list()
    everywhere = spend.select("week_start").unique().join(pl.DataFrame({"channel": channels}), how="cross")
    data = []
    for geo in geos:
        mine = spend.filter(pl.col("geo") == geo).drop("geo")
        filled = everywhere.join(mine, on=["week_start", "channel"], how="left").fill_null(0.0)
        here, tests = kpi.filter(pl.col("geo") == geo), lift_tests.filter(pl.col("geo") == geo)
        data.append(media_weeks(filled, here, controls, tests, channels=channels))
    whole = media_weeks(filled, here, controls, lift_tests.filter(pl.col("geo").is_null()), channels=channels)
    return GeoData(geos=tuple(geos), data=tuple(data), lift_tests=whole.lift_tests)
