"""Keyword days with a known truth: elasticities by keyword, demand that bids may follow; and well known keywords."""

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


def lines(n: int = 6, seed: int = 0, **columns) -> pl.DataFrame:
    """Keyword rows of `out.bid_elasticity`, all well known."""
    rng = np.random.default_rng(seed)
    bid, clicks = rng.lognormal(0, 0.4, n), rng.lognormal(4, 0.5, n)
    e = rng.uniform(0.3, 1.2, n)
    base = {
        "level": ["keyword"] * n,
        "channel": ["search"] * n,
        "campaign": ["a"] * n,
        "keyword": [f"kw_{k}" for k in range(n)],
        "elasticity_mean": e,
        "elasticity_p05": e - 1e-6,
        "elasticity_p95": e + 1e-6,
        "cost_per_click_elasticity_mean": np.ones(n),
        "bid": bid,
        "clicks": clicks,
        "cost": 0.8 * bid * clicks,
        "value_per_click": rng.uniform(1.0, 3.0, n),
        "conversion_probability": np.full(n, 0.02),
        "basis": ["randomised"] * n,
        "marginal_roas": np.full(n, 1.0),
        "is_flat": [False] * n,
        "reason": ["told"] * n,
    }
    return pl.DataFrame(base | columns).with_columns(
        value_per_click_p05=pl.col("value_per_click"), value_per_click_p95=pl.col("value_per_click")
    )
