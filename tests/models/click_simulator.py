"""Clicks whose probability of converting and whose delay are known."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

AS_OF = date(2026, 6, 28)
CONTEXT = ("clicked_date", "channel", "campaign", "keyword", "query_type", "device", "hour_band")


@dataclass(frozen=True, kw_only=True)
class Clicks:
    """Every click with its hidden `p`, `converts` and `delay_days`; what is seen of them at `as_of`."""

    rows: pl.DataFrame
    as_of: date = AS_OF

    @property
    def seen(self) -> pl.DataFrame:
        """Clicks so far, with whether their conversion has come."""
        came = pl.col("converts") & (pl.col("clicked_date") + pl.duration(days=pl.col("delay_days")) <= self.as_of)
        return self.rows.filter(pl.col("clicked_date") <= self.as_of).with_columns(came=came)

    @property
    def cells(self) -> pl.DataFrame:
        return self.seen.group_by(CONTEXT).agg(
            clicks_count=pl.len().cast(pl.Int64), conversions_count=pl.col("came").sum().cast(pl.Int64)
        )

    @property
    def delays(self) -> pl.DataFrame:
        came = self.seen.filter("came")
        return came.group_by("channel", "clicked_date", "delay_days").agg(conversions_count=pl.len().cast(pl.Int64))

    def truth(self, days: int) -> tuple[float, float, int]:
        """(rate seen, rate that will be, conversions still to come) of the clicks of the last `days`."""
        last = self.seen.filter(pl.col("clicked_date") > self.as_of - timedelta(days=days))
        came, converts = last["came"].sum(), last["converts"].sum()
        return came / len(last), converts / len(last), converts - came


def simulate(
    seed: int,
    clicks: int,
    *,
    days: int = 60,
    rate: float = 0.05,
    mean_delay: dict[str, float] | float = 2.0,
    interaction: float = 0.0,
) -> Clicks:
    """`clicks` clicks over `days` days up to `AS_OF`, in three channels of four campaigns.

    `mean_delay` (days) of geometric delays, of all channels or of each. Log odds differ by channel, campaign and
    device; `interaction` adds to those of campaign 0 on mobile and takes from those of its other devices.
    """
    rng = np.random.default_rng(seed)
    channel = rng.choice(["search", "social", "video"], clicks, p=[0.5, 0.3, 0.2])
    number = rng.choice(4, clicks, p=[0.4, 0.3, 0.2, 0.1])
    device = rng.choice(["mobile", "desktop", "tablet"], clicks, p=[0.6, 0.3, 0.1])
    effect = {"search": 0.6, "social": 0.0, "video": -0.8, "mobile": -0.3, "desktop": 0.3, "tablet": 0.0}
    odds = np.log(rate / (1 - rate)) + np.array([effect[c] + effect[d] for c, d in zip(channel, device, strict=True)])
    odds += np.array([0.4, 0.0, -0.4, 0.2])[number]
    odds += np.where(number == 0, np.where(device == "mobile", interaction, -interaction), 0.0)
    p = 1 / (1 + np.exp(-odds))
    mean = np.array([mean_delay[c] if isinstance(mean_delay, dict) else mean_delay for c in channel])
    is_search = channel == "search"
    keyword, band = rng.integers(0, 5, clicks), rng.integers(0, 4, clicks)
    schema = {
        "clicked_date": pl.Date, "channel": pl.String, "campaign": pl.String, "keyword": pl.String,
        "query_type": pl.String, "device": pl.String, "hour_band": pl.Int64, "p": pl.Float64,
        "converts": pl.Boolean, "delay_days": pl.Int64,
    }  # fmt: skip
    columns = {
        "clicked_date": [AS_OF - timedelta(days=int(age)) for age in rng.integers(0, days, clicks)],
        "channel": channel.tolist(),
        "campaign": [f"{c}_{n}" for c, n in zip(channel, number, strict=True)],
        "keyword": [f"kw{k}" if s else None for s, k in zip(is_search, keyword, strict=True)],
        "query_type": [("generic", "brand")[n % 2] if s else None for s, n in zip(is_search, number, strict=True)],
        "device": device.tolist(),
        "hour_band": band.tolist(),
        "p": p.tolist(),
        "converts": (rng.random(clicks) < p).tolist(),
        "delay_days": (rng.geometric(1 / (1 + mean)) - 1 if clicks else np.zeros(0)).tolist(),
    }
    rows = pl.DataFrame(columns, schema=schema)
    return Clicks(rows=rows)
