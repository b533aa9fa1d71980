"""A shop whose customers' true values are known: channels differ in how often their customers come back."""

from datetime import date, timedelta

import numpy as np
import polars as pl

START = date(2024, 1, 1)
DAYS = 700
AS_OF = START + timedelta(days=DAYS)
HORIZON = 150
RATES = {"search": 0.004, "social": 0.012, "video": 0.03}  # repeat orders a day of a customer, for ever
ORDER = 100.0  # mean value of an order
DEVICES = ("mobile", "desktop")


def true_value(channel: str, horizon: float = HORIZON) -> float:
    """Expected value of the repeat orders in `horizon` days; the device factors (0.7 and 1.3) average to one."""
    return RATES[channel] * ORDER * horizon


def shop(
    seed: int, customers: int = 3000, days: int = DAYS, shares: tuple[float, ...] = (0.5, 0.3, 0.2), after: int = 0
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(customer_early, order days) of customers who come evenly over `days`, with orders up to `after` days later.

    Repeat orders are a Poisson process at the channel's rate times 0.7 (mobile) or 1.3 (desktop); values are gamma
    with shape 4.
    """
    rng = np.random.default_rng(seed)
    channel = rng.choice(list(RATES), customers, p=shares)
    device = rng.choice(DEVICES, customers)
    first = rng.integers(0, days, customers)
    number = np.arange(customers)
    firsts = pl.DataFrame(
        {
            "customer_id": [f"c{who:06d}" for who in number],
            "first_order_date": [START + timedelta(days=int(day)) for day in first],
            "first_order_hour": rng.integers(0, 24, customers).astype(float),
            "first_order_weekday": rng.integers(1, 8, customers).astype(float),
            "channel": channel,
            "campaign": [f"{name}_{who % 3}" for name, who in zip(channel, number, strict=True)],
            "country": rng.choice(["DE", "FR"], customers),
            "device": device,
            "destination": [None] * customers,
            "keyword_type": [None] * customers,
        },
        schema_overrides={"destination": pl.String, "keyword_type": pl.String},
    )
    rate = np.array([RATES[name] for name in channel]) * np.where(device == "mobile", 0.7, 1.3)
    left = days + after - first
    count = rng.poisson(rate * left)
    who = np.repeat(number, count)
    when = first[who] + 1 + np.floor(rng.random(len(who)) * left[who]).astype(int)
    placed = pl.DataFrame(
        {
            "customer_id": [f"c{name:06d}" for name in np.concatenate([number, who])],
            "order_date": [START + timedelta(days=int(day)) for day in np.concatenate([first, when])],
            "value": rng.gamma(4.0, ORDER / 4.0, len(number) + len(who)),
        }
    )
    placed = placed.filter(pl.col("order_date") <= START + timedelta(days=days + after))
    return firsts, order_days(placed)


def order_days(placed: pl.DataFrame) -> pl.DataFrame:
    """customer_id, order_date, value (and refunded_date, kept_value where given) as the features read them."""
    if "refunded_date" not in placed.columns:
        placed = placed.with_columns(refunded_date=pl.lit(None, dtype=pl.Date))
    kept = pl.when(pl.col("refunded_date").is_null()).then("value").otherwise(0.0)
    extra = {} if "kept_value" in placed.columns else {"kept_value": kept}
    return placed.with_columns(orders=pl.lit(1, dtype=pl.Int64), **extra).sort("customer_id", "order_date", "value")
