"""What happened to the demo company: weeks stepped one by one under any spend plan.

A week's outcome depends on the state before it, the spend in it and the seed; the same week under another plan
uses the same random stream, so that plans compare.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta

import numpy as np
import polars as pl

from models.company.world import (
    CLV_DROP_KEEP,
    CLV_DROP_WEEKS,
    COUNTRIES,
    COUNTRY_SHARE,
    ORDER_VALUE,
    World,
    effectiveness,
    hill,
    historical_spend,
    rng_of,
)

# BG/NBD and Gamma-Gamma truth, times in weeks (Fader, Hardie & Lee 2005; Fader & Hardie 2013)
BG_NBD = {"r": 0.55, "alpha": 30.0, "a": 0.8, "b": 2.4}
GAMMA_GAMMA = {"p": 10.0, "q": 16.0}  # v follows from the mean order value: v = mean * (q - 1) / p
DRAWN_AHEAD_WEEKS = 300  # of a customer's life in which repeat orders are drawn
MAX_REPEATS = 80  # orders drawn ahead per customer; the chance of more is below 1e-6
TOP_CUSTOMER_QUANTILE = 0.93  # customers above this true value rate are the ones the CLV shock silences
DAY_WEIGHTS = np.array([1.0, 0.95, 0.95, 1.0, 1.1, 1.1, 0.9]) / 7.0  # bookings by weekday, Monday first
REPEAT_CLAIMED = {"brand_search": 0.15, "display_retargeting": 0.10}  # share of repeat orders a platform claims


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """Repeat orders that customers acquired so far will place, drawn when they were acquired."""

    day: np.ndarray  # days since the first Monday, float
    customer: np.ndarray  # customer number
    value: np.ndarray
    country: np.ndarray  # index into COUNTRIES
    is_top: np.ndarray
    survival: np.ndarray  # uniform draw that decides whether the order survives the CLV shock
    claim: np.ndarray  # uniform draw that decides which platform claims it


@dataclass(frozen=True, kw_only=True)
class State:
    """Where the company stands before a week."""

    week: int
    adstock: np.ndarray  # (channels,) carried-over weekly spend, normalised: equals spend in steady state
    customers: int
    repeats: Repeats


@dataclass(frozen=True, kw_only=True)
class Week:
    """One week's outcome: the visible orders and customers, and the hidden contributions."""

    week: int
    spend: np.ndarray  # (channels,)
    contribution: np.ndarray  # (channels,) expected incremental revenue
    orders: (
        pl.DataFrame
    )  # order_id, customer_id, ordered_at, revenue, country, channel claimed, source hidden, is_first
    customers: pl.DataFrame  # customer_id, source, rate, dropout, mean_value, is_top: all hidden


@dataclass(frozen=True, kw_only=True)
class History:
    """Consecutive weeks and the state after them."""

    world: World
    weeks: tuple[Week, ...]
    state: State
    orders: pl.DataFrame = field(repr=False)
    customers: pl.DataFrame = field(repr=False)

    @property
    def spend(self) -> np.ndarray:
        """Weekly spend, shape (weeks, channels), euro."""
        return np.array([week.spend for week in self.weeks])

    @property
    def contribution(self) -> np.ndarray:
        """Expected incremental revenue, shape (weeks, channels), euro."""
        return np.array([week.contribution for week in self.weeks])


def start(world: World) -> State:
    """The state before the first week: no customers, nothing carried over."""
    nothing = np.zeros(0)
    repeats = Repeats(
        day=nothing,
        customer=nothing.astype(int),
        value=nothing,
        country=nothing.astype(int),
        is_top=nothing.astype(bool),
        survival=nothing,
        claim=nothing,
    )
    return State(week=0, adstock=np.zeros(len(world.channels)), customers=0, repeats=repeats)


def steady_response(world: World, spend: np.ndarray, week: int) -> np.ndarray:
    """Incremental revenue a week (channels,) at a steady weekly spend (channels,), with the week's effectiveness."""
    factor = float(COUNTRY_SHARE @ effectiveness(world, week))
    return np.array(
        [
            factor * channel.order_value * channel.ceiling * float(hill(amount, channel.half_saturation, channel.slope))
            for channel, amount in zip(world.channels, spend, strict=True)
        ]
    )


def draw_customers(
    rng: np.random.Generator, repeat_rate: np.ndarray, order_value: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(orders a week while alive, chance to leave after a repeat, mean order value) of new customers, each (n,)."""
    size = len(repeat_rate)
    rate = rng.gamma(BG_NBD["r"], 1 / BG_NBD["alpha"], size) * repeat_rate
    dropout = rng.beta(BG_NBD["a"], BG_NBD["b"], size)
    p, q = GAMMA_GAMMA["p"], GAMMA_GAMMA["q"]
    v = order_value * (q - 1) / p
    mean_value = p / rng.gamma(q, 1 / v, size)
    return rate, dropout, mean_value


def top_value_rate() -> float:
    """The value rate (euro a week) above which a customer counts as a top one."""
    rng = np.random.default_rng(20260628)  # a quantile of the known distribution, the same for every company
    rate, _, mean_value = draw_customers(rng, np.ones(200_000), np.full(200_000, ORDER_VALUE))
    return float(np.quantile(rate * mean_value, TOP_CUSTOMER_QUANTILE))


TOP_VALUE_RATE = top_value_rate()


def draw_repeats(
    rng: np.random.Generator,
    first_day: np.ndarray,
    number: np.ndarray,
    country: np.ndarray,
    traits: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> Repeats:
    """All repeat orders of new customers: exponential gaps until a coin says the customer has left (BG/NBD)."""
    rate, dropout, mean_value = traits
    size = len(rate)
    gaps_weeks = rng.exponential(1.0, (size, MAX_REPEATS)) / np.maximum(rate, 1e-9)[:, None]
    stays = rng.random((size, MAX_REPEATS)) > dropout[:, None]
    placed = np.concatenate([np.ones((size, 1), dtype=bool), np.cumprod(stays[:, :-1], axis=1).astype(bool)], axis=1)
    day = first_day[:, None] + 7.0 * np.cumsum(gaps_weeks, axis=1)
    who, which = np.nonzero(placed & (day < first_day[:, None] + 7 * DRAWN_AHEAD_WEEKS))
    p = GAMMA_GAMMA["p"]
    return Repeats(
        day=day[who, which],
        customer=number[who],
        value=mean_value[who] * rng.gamma(p, 1 / p, len(who)),
        country=country[who],
        is_top=(rate * mean_value)[who] > TOP_VALUE_RATE,
        survival=rng.random(len(who)),
        claim=rng.random(len(who)),
    )


def step(world: World, state: State, spend: np.ndarray) -> tuple[State, Week]:
    """One week under a spend of euro per channel, shape (channels,), finite and >= 0."""
    config = world.config
    spend = np.asarray(spend, dtype=float)
    if spend.shape != (len(world.channels),) or not np.all(np.isfinite(spend)) or np.any(spend < 0):
        raise ValueError(f"spend is {spend}, expected {len(world.channels)} finite amounts >= 0")
    rng = rng_of(config, "week", state.week)
    decay = np.array([channel.decay for channel in world.channels])
    adstock = (1 - decay) * spend + decay * state.adstock
    share = COUNTRY_SHARE[:, None] * effectiveness(world, state.week)[:, None]  # (countries, 1)
    bookings = np.array(
        [
            channel.ceiling * float(hill(amount, channel.half_saturation, channel.slope))
            for channel, amount in zip(world.channels, adstock, strict=True)
        ]
    )
    value = np.array([channel.order_value for channel in world.channels])
    expected = np.concatenate([share * bookings, COUNTRY_SHARE[:, None] * world.organic[state.week]], axis=1)
    counts = rng.poisson(expected)  # (countries, channels + organic)
    country, source = (axis.ravel() for axis in np.indices(counts.shape))
    country, source = np.repeat(country, counts.ravel()), np.repeat(source, counts.ravel())
    size = len(source)

    repeat_rate = np.append([channel.repeat_rate for channel in world.channels], 1.0)[source]
    traits = draw_customers(rng, repeat_rate, np.append(value, ORDER_VALUE)[source])
    day = 7.0 * state.week + rng.choice(7, size, p=DAY_WEIGHTS / DAY_WEIGHTS.sum()) + rng.uniform(0.29, 0.96, size)
    number = state.customers + 1 + np.arange(size)
    p = GAMMA_GAMMA["p"]
    first_value = traits[2] * rng.gamma(p, 1 / p, size)
    claims = np.array([channel.organic_share for channel in world.channels])
    claimed = np.searchsorted(np.cumsum(claims), rng.random(size), side="right")  # == channels: nobody claims it
    claimed = np.where(source == len(world.channels), claimed, source)

    new = draw_repeats(rng, day, number, country, traits)
    old = state.repeats
    pool = Repeats(**{name: np.concatenate([getattr(old, name), getattr(new, name)]) for name in vars(old)})
    due = pool.day < 7.0 * (state.week + 1)
    kept = due.copy()
    if config.shocks and state.week >= config.weeks - CLV_DROP_WEEKS:
        kept &= ~pool.is_top | (pool.survival < CLV_DROP_KEEP)
    later = Repeats(**{name: getattr(pool, name)[~due] for name in vars(pool)})
    repeat_edges = np.cumsum([REPEAT_CLAIMED.get(name, 0.0) for name in world.names])
    repeat_claimed = np.searchsorted(repeat_edges, pool.claim[kept], side="right")

    channel_names = [*world.names, None]
    midnight = datetime.combine(config.first_monday, time())
    columns = {
        "customer": np.concatenate([number, pool.customer[kept]]),
        "day": np.concatenate([day, pool.day[kept]]),
        "revenue": np.round(np.concatenate([first_value, pool.value[kept]]), 2),
        "country": np.concatenate([country, pool.country[kept]]),
        "claimed": np.concatenate([claimed, repeat_claimed]),
        "source": np.concatenate([source, np.full(int(kept.sum()), len(world.channels))]),
        "is_first": np.concatenate([np.ones(size, dtype=bool), np.zeros(int(kept.sum()), dtype=bool)]),
    }
    order = np.argsort(columns["day"], kind="stable")
    columns = {name: values[order] for name, values in columns.items()}
    orders = pl.DataFrame(
        {
            "order_id": [f"O{state.week:03d}{index:05d}" for index in range(len(order))],
            "customer_id": [f"C{who:07d}" for who in columns["customer"]],
            "ordered_at": [midnight + timedelta(minutes=int(1440 * when)) for when in columns["day"]],
            "revenue": columns["revenue"],
            "country": [COUNTRIES[index] for index in columns["country"]],
            "channel": [channel_names[index] for index in columns["claimed"]],
            "source": [channel_names[index] for index in columns["source"]],
            "is_first": columns["is_first"],
        },
        schema_overrides={"channel": pl.String, "source": pl.String, "ordered_at": pl.Datetime("us")},
    )
    customers = pl.DataFrame(
        {
            "customer_id": [f"C{who:07d}" for who in number],
            "source": [channel_names[index] for index in source],
            "rate": traits[0],
            "dropout": traits[1],
            "mean_value": traits[2],
            "is_top": traits[0] * traits[2] > TOP_VALUE_RATE,
        },
        schema_overrides={"source": pl.String},
    )
    contribution = bookings * value * float(share.sum())
    after = replace(state, week=state.week + 1, adstock=adstock, customers=state.customers + size, repeats=later)
    return after, Week(week=state.week, spend=spend, contribution=contribution, orders=orders, customers=customers)


def run_history(world: World) -> History:
    """The company's whole past: every week of the config under the team's historical spend."""
    state, weeks = start(world), []
    for spend in historical_spend(world):
        state, week = step(world, state, spend)
        weeks.append(week)
    return History(
        world=world,
        weeks=tuple(weeks),
        state=state,
        orders=pl.concat([week.orders for week in weeks]),
        customers=pl.concat([week.customers for week in weeks]),
    )
