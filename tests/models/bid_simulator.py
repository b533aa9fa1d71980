"""Keyword days with a known truth: elasticities by keyword, demand that bids may follow."""

from datetime import date, timedelta

import numpy as np
import polars as pl

START = date(2026, 1, 1)


def keyword_days(
    rng: np.random.Generator,
    *,
    elasticity: np.ndarray | float = 0.7,
    keywords: int = 12,
    days: int = 56,
    traffic: float = 40.0,
    campaigns: int = 3,
    channel: str = "search",
    random_share: float = 1.0,
    follows: float = 0.0,
    own_demand: float = 0.0,
    extra: float = 0.0,
    width: float = 0.35,
    start: date = START,
) -> pl.DataFrame:
    """Bids and what they bought; `follows` of each keyword's own demand goes into bids that were set."""
    day, keyword = np.tile(np.arange(days), keywords), np.repeat(np.arange(keywords), days)
    n = len(day)
    slope = np.broadcast_to(elasticity, keywords)[keyword]
    is_random = rng.random(n) < random_share
    surge = rng.normal(0, own_demand, n) if own_demand else np.zeros(n)
    x = np.where(is_random, rng.uniform(-width, width, n), follows * surge + rng.normal(0, 0.15, n))
    usual = rng.lognormal(0, 0.3, keywords)[keyword]
    season = rng.lognormal(0, 0.2, days)[day]
    mean = traffic * rng.lognormal(0, 0.4, keywords)[keyword] * season * np.exp(surge + slope * x)
    if extra:
        mean = mean * rng.gamma(1 / extra, extra, n)
    clicks = rng.poisson(mean)
    bid = usual * np.exp(x)
    return pl.DataFrame(
        {
            "date": [start + timedelta(days=int(d)) for d in day],
            "keyword": [f"kw_{k}" for k in keyword],
            "campaign": [f"campaign_{k % campaigns}" for k in keyword],
            "channel": [channel] * n,
            "bid": bid,
            "impressions": rng.poisson(mean * 30),
            "clicks": clicks,
            "cost": clicks * bid * 0.8,
            "randomised": is_random,
        }
    )
