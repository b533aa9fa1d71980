"""Customers drawn from the models' own laws, for the tests of customer value."""

import datetime as dt

import numpy as np
import polars as pl

from models.btyd_newton import Histories


def bg_nbd(n: int, seed: int) -> Histories:
    rng = np.random.default_rng(seed)
    rate, dropout, age = rng.gamma(0.6, 1 / 8.0, n), rng.beta(0.8, 2.5, n), rng.integers(7, 546, n) / 7.0
    x, recency, clock, on = np.zeros(n), np.zeros(n), np.zeros(n), np.arange(n)
    while on.size:
        clock[on] += rng.exponential(1.0, on.size) / np.maximum(rate[on], 1e-12)
        on = on[clock[on] <= age[on]]
        x[on] += 1
        recency[on] = clock[on]
        on = on[rng.random(on.size) > dropout[on]]
    return Histories(x=x, recency=recency, age=age, weight=np.ones(n))


def shop(
    n: int,
    seed: int,
    paces: tuple[float, ...] = (1.0,),
    drop: float = 1.0,
    days: int = 730,
    after: int = 0,
) -> tuple[pl.DataFrame, np.ndarray]:
    """Rows of `mart.customer_rfm`, and what each customer spends in the `after` days that follow.

    Customers come evenly over `days`; each belongs to one of the channels, whose order rates are scaled by `paces`.
    In the last 56 days and ever after, those of the highest tenth by value rate order at `drop` times their rate.
    """
    rng = np.random.default_rng(seed)
    channel = rng.integers(0, len(paces), n)
    rate = rng.gamma(0.6, 1 / 140.0, n) * np.array(paces)[channel]  # orders a day
    dropout, mean = rng.beta(0.8, 2.5, n), 8.0 / rng.gamma(9.0, 1.0 / 180.0, n)
    top = rate * mean > np.quantile(rate * mean, 0.9)
    born = rng.integers(0, days, n)
    # orders, their sum and the day of the last: before the window, in it, after it
    orders, spent, last = np.zeros((n, 3)), np.zeros((n, 3)), np.tile(born[:, None].astype(float), (1, 3))
    clock, on = born.astype(float), np.arange(n)
    while on.size:
        clock[on] += rng.exponential(1.0, on.size) / np.maximum(rate[on], 1e-12)
        on = on[clock[on] < days + after]
        late = clock[on] >= days - 55
        kept = ~(late & top[on]) | (rng.random(on.size) < drop)
        span = np.where(clock[on] >= days + 1, 2, np.where(late, 1, 0))
        who, part = on[kept], span[kept]
        orders[who, part] += 1
        spent[who, part] += mean[who] * rng.gamma(8.0, 1 / 8.0, who.size)
        last[who, part] = np.floor(clock[who])
        on = on[rng.random(on.size) >= dropout[on]]
    now = orders[:, 0] + orders[:, 1]
    known = born <= days - 56
    day = np.where(orders[:, 1] > 0, last[:, 1], last[:, 0])
    rfm = pl.DataFrame(
        {
            "customer_id": [f"u{number:07d}" for number in range(n)],
            "frequency": now.astype(np.int64),
            "recency_days": np.where(now > 0, day - born, 0.0),
            "age_days": (days - born).astype(float),
            "monetary_mean": (spent[:, 0] + spent[:, 1]) / np.maximum(now, 1.0),
            "revenue_total": spent[:, 0] + spent[:, 1] + mean,
            "first_order_date": [dt.date(2024, 1, 1)] * n,
            "frequency_before": [int(x) if k else None for x, k in zip(orders[:, 0], known, strict=True)],
            "recency_before_days": [t if k else None for t, k in zip(last[:, 0] - born, known, strict=True)],
            "acquisition_channel": [f"channel_{number}" for number in channel],
        }
    )
    return rfm, spent[:, 2]
