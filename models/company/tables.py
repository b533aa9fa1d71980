"""What the demo company's business systems export: the eleven source tables, dirt included."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from models.company.evidence import experiment_table, geo_experiment_table, lift_test_table
from models.company.history import History
from models.company.world import (
    COUNTRIES,
    COUNTRY_SHARE,
    FLAT_CHANNEL,
    FLAT_ELASTICITY,
    FLAT_WEEKS,
    NEW_CAMPAIGN,
    NEW_CAMPAIGN_CHANNEL,
    NEW_CAMPAIGN_SHARE,
    REFUNDED_FRACTION,
    TRACKING_BREAK_DAYS_BEFORE_END,
    rng_of,
)

CLICK_WEEKS = 8  # web analytics keeps two months of clicks and journeys
BID_WEEKS = 39  # bid history, half of it randomised
RANDOMISED_SHARE = 0.5
KEYWORDS_PER_CHANNEL = 16
DEVICES = ("mobile", "desktop", "tablet")
DESTINATIONS = ("Paris", "Rome", "Barcelona", "Lisbon", "Berlin")
KEYWORD_TYPES = {"brand_search": "brand", "generic_search": "generic"}
FAMILIES, LAST_MINUTE = 0.15, 0.12  # shares of customers
CLICK_TO_ORDER_DAYS = 2.0  # mean delay between a click and its booking


def campaign_name(channel: str, country: str) -> str:
    """Campaigns are a channel in a country."""
    return f"{channel}_{country.lower()}"


def source_tables(history: History) -> dict[str, pl.DataFrame]:
    """The eleven source tables of a history, by name."""
    ads = ad_spend(history)
    orders = order_table(history)
    clicks = click_table(history, orders)
    tables = {
        "ad_spend": ads,
        "kpi": kpi_table(history),
        "orders": orders,
        "customers": customer_table(history),
        "clicks": clicks,
        "touchpoints": touchpoint_table(history, orders),
        "experiments": experiment_table(history),
        "geo_experiments": geo_experiment_table(history),
        "lift_tests": lift_test_table(history),
        "bids": bid_table(history),
        "controls": control_table(history),
    }
    return make_dirty(tables, history) if history.world.config.dirt else tables


def daily_weights(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Shares (rows, 7) of a week's budget by day: even, a little noise, summing to one."""
    weights = rng.lognormal(0, 0.06, (rows, 7))
    return weights / weights.sum(axis=1, keepdims=True)


def with_campaign(orders: pl.DataFrame) -> pl.DataFrame:
    """Orders with the campaign that claims them."""
    return orders.with_columns(
        campaign=pl.when(pl.col("channel").is_not_null()).then(
            pl.concat_str("channel", pl.lit("_"), pl.col("country").str.to_lowercase())
        )
    )


def ad_spend(history: History) -> pl.DataFrame:
    """Daily cost, impressions, clicks and claimed conversions of every campaign and country."""
    world, config = history.world, history.world.config
    rng = rng_of(config, "tables", 1)
    claimed = (
        with_campaign(history.orders)
        .filter(pl.col("channel").is_not_null())
        .group_by(pl.col("ordered_at").dt.date().alias("date"), "campaign")
        .agg(conversions=pl.len(), conversion_value=pl.col("revenue").sum())
    )
    frames = []
    first = config.first_monday
    for index, channel in enumerate(world.channels):
        shares = COUNTRY_SHARE * rng.lognormal(0, 0.05, (config.weeks, len(COUNTRIES)))
        shares /= shares.sum(axis=1, keepdims=True)
        for position, country in enumerate(COUNTRIES):
            weekly = history.spend[:, index] * shares[:, position]
            cost = (weekly[:, None] * daily_weights(rng, config.weeks)).ravel()
            names = np.full(len(cost), campaign_name(channel.name, country), dtype=object)
            frames.append(_campaign_days(rng, first, channel.name, country, names, cost, channel.cost_per_click))
    table = pl.concat(frames)
    if config.shocks:
        table = _launch_campaign(table, config.last_day)
    table = table.join(claimed, on=["date", "campaign"], how="left").with_columns(
        pl.col("conversions").fill_null(0), pl.col("conversion_value").fill_null(0.0).round(2)
    )
    if config.shocks:
        break_day = config.last_day - timedelta(days=TRACKING_BREAK_DAYS_BEFORE_END)
        broken = pl.col("date") == break_day
        table = table.with_columns(
            conversions=pl.when(broken).then(0).otherwise(pl.col("conversions")),
            conversion_value=pl.when(broken).then(0.0).otherwise(pl.col("conversion_value")),
        )
    return table.sort("date", "channel", "campaign", "country").with_columns(currency=pl.lit("EUR"))


def _campaign_days(
    rng: np.random.Generator, first: date, channel: str, country: str, names: np.ndarray, cost: np.ndarray, cpc: float
) -> pl.DataFrame:
    clicks = rng.poisson(cost / cpc)
    return pl.DataFrame(
        {
            "date": [first + timedelta(days=day) for day in range(len(cost))],
            "channel": [channel] * len(cost),
            "campaign": names.tolist(),
            "country": [country] * len(cost),
            "cost": np.round(cost, 2),
            "impressions": rng.poisson(clicks * 45.0 + 20),
            "clicks": clicks,
        }
    )


def _launch_campaign(table: pl.DataFrame, last_day: date) -> pl.DataFrame:
    """Last week's launch: takes its share of one campaign's budget and traffic."""
    donor = campaign_name(NEW_CAMPAIGN_CHANNEL, "ES")
    week = (pl.col("campaign") == donor) & (pl.col("date") > last_day - timedelta(days=7))
    share = NEW_CAMPAIGN_SHARE / COUNTRY_SHARE[COUNTRIES.index("ES")]
    counts = ("impressions", "clicks")
    launched = table.filter(week).with_columns(
        pl.lit(NEW_CAMPAIGN).alias("campaign"),
        (pl.col("cost") * share).round(2),
        *[(pl.col(name) * share).round().cast(pl.Int64) for name in counts],
    )
    moved = table.with_columns(
        cost=pl.col("cost") - pl.when(week).then((pl.col("cost") * share).round(2)).otherwise(0.0),
        **{
            name: pl.col(name) - pl.when(week).then((pl.col(name) * share).round().cast(pl.Int64)).otherwise(0)
            for name in counts
        },
    )
    return pl.concat([moved, launched])


def kpi_table(history: History) -> pl.DataFrame:
    """Daily revenue and orders by country, every day present."""
    config = history.world.config
    days = pl.DataFrame({"date": [config.first_monday + timedelta(days=day) for day in range(7 * config.weeks)]})
    booked = history.orders.group_by(pl.col("ordered_at").dt.date().alias("date"), pl.col("country").alias("geo")).agg(
        value=pl.col("revenue").sum().round(2), orders=pl.len()
    )
    grid = days.join(pl.DataFrame({"geo": COUNTRIES}), how="cross")
    return grid.join(booked, on=["date", "geo"], how="left").fill_null(0).select("date", "value", "orders", "geo")


def order_table(history: History) -> pl.DataFrame:
    """Every order; about 2 % are refunded within a month."""
    config = history.world.config
    rng = rng_of(config, "tables", 2)
    orders = with_campaign(history.orders)
    size = len(orders)
    refund_days = np.where(rng.random(size) < REFUNDED_FRACTION, rng.integers(1, 30, size), 9999)
    end = datetime.combine(config.last_day, datetime.max.time())
    party_size, lead_minutes = _trips(rng_of(config, "tables", 11), orders["customer_id"])
    return orders.with_columns(
        margin=(pl.col("revenue") * 0.6).round(2),
        party_size=pl.Series(party_size),
        starts_at=pl.col("ordered_at") + pl.duration(minutes=pl.lit(pl.Series(lead_minutes))),
        currency=pl.lit("EUR"),
        refunded_at=pl.col("ordered_at") + pl.duration(days=pl.lit(pl.Series(refund_days))),
    ).select(
        "order_id",
        "customer_id",
        "ordered_at",
        "revenue",
        "margin",
        "currency",
        "country",
        "channel",
        "campaign",
        "party_size",
        "starts_at",
        refunded_at=pl.when(pl.col("refunded_at") <= end).then(pl.col("refunded_at")),
    )


def _trips(rng: np.random.Generator, customer_id: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """People a trip is for and minutes from booking to its start: some customers are families, some book late."""
    number = customer_id.str.slice(1).cast(pl.Int64).to_numpy()
    traits = rng.random((int(number.max()) + 1, 2)) if len(number) else np.zeros((1, 2))
    is_family, is_late = traits[number, 0] < FAMILIES, traits[number, 1] < LAST_MINUTE
    party_size = np.where(is_family, 3, 1) + rng.poisson(0.8, len(number))
    early_days, late_days = 3.0 + rng.gamma(2.0, 12.0, len(number)), rng.uniform(0.0, 2.0, len(number))
    return party_size, (1440 * np.where(is_late, late_days, early_days)).astype(np.int64)


def customer_table(history: History) -> pl.DataFrame:
    """Every customer with what was known at the first booking."""
    rng = rng_of(history.world.config, "tables", 3)
    first = with_campaign(history.orders).filter(pl.col("is_first"))
    size = len(first)
    return first.select(
        "customer_id", acquired_at="ordered_at", channel="channel", campaign="campaign", country="country"
    ).with_columns(
        device=pl.Series(rng.choice(DEVICES, size, p=[0.62, 0.30, 0.08])),
        destination=pl.Series(rng.choice(DESTINATIONS, size, p=[0.3, 0.25, 0.2, 0.15, 0.1])),
        keyword_type=pl.col("channel").replace_strict(KEYWORD_TYPES, default=None, return_dtype=pl.String),
    )


def _recent_orders(history: History, orders: pl.DataFrame) -> pl.DataFrame:
    start = history.world.config.last_day - timedelta(days=7 * CLICK_WEEKS - 1)
    return orders.filter(pl.col("channel").is_not_null(), pl.col("ordered_at").dt.date() >= start)


def click_table(history: History, orders: pl.DataFrame) -> pl.DataFrame:
    """Clicks of the last two months: the converted ones days before their order, and all the others."""
    world, config = history.world, history.world.config
    rng = rng_of(config, "tables", 4)
    recent = _recent_orders(history, orders)
    delay_minutes = (1440 * rng.exponential(CLICK_TO_ORDER_DAYS, len(recent))).astype(int) + 1
    converted = recent.select(
        clicked_at=pl.col("ordered_at") - pl.duration(minutes=pl.lit(pl.Series(delay_minutes))),
        channel="channel",
        campaign="campaign",
        customer_id="customer_id",
        converted_at="ordered_at",
        order_id="order_id",
        value="revenue",
    )
    counts = [
        int(history.spend[-CLICK_WEEKS:, index].sum() / channel.cost_per_click)
        for index, channel in enumerate(world.channels)
    ]
    channel_of = np.repeat(np.array(world.names), counts)
    size = len(channel_of)
    minutes = rng.integers(0, 7 * 1440 * CLICK_WEEKS, size)
    start = datetime.combine(config.last_day - timedelta(days=7 * CLICK_WEEKS - 1), datetime.min.time())
    country = np.array(COUNTRIES)[rng.choice(len(COUNTRIES), size, p=COUNTRY_SHARE)]
    others = pl.DataFrame({"minutes": minutes, "channel": channel_of, "country": country}).select(
        clicked_at=pl.lit(start) + pl.duration(minutes=pl.col("minutes")),
        channel="channel",
        campaign=pl.concat_str("channel", pl.lit("_"), pl.col("country").str.to_lowercase()),
    )
    table = pl.concat([converted, others], how="diagonal")
    table = table.sort("clicked_at", "channel", "campaign", maintain_order=True)
    size = len(table)
    return (
        table.with_columns(
            click_id=pl.concat_str(pl.lit("K"), pl.int_range(size).cast(pl.String).str.zfill(8)),
            number=pl.Series(rng.integers(1, KEYWORDS_PER_CHANNEL + 1, size)).cast(pl.String),
            query_type=pl.col("channel").replace_strict(KEYWORD_TYPES, default=None, return_dtype=pl.String),
            device=pl.Series(rng.choice(DEVICES, size, p=[0.7, 0.25, 0.05])),
        )
        .with_columns(
            keyword=pl.when(pl.col("query_type").is_not_null()).then(pl.concat_str("channel", pl.lit("_kw_"), "number"))
        )
        .select(
            "click_id",
            "clicked_at",
            "channel",
            "campaign",
            "keyword",
            "query_type",
            "device",
            "customer_id",
            "converted_at",
            "order_id",
            "value",
        )
    )


def touchpoint_table(history: History, orders: pl.DataFrame) -> pl.DataFrame:
    """Journeys of the last two months: upper-funnel touches before the claimed one, and journeys that led nowhere."""
    world = history.world
    rng = rng_of(world.config, "tables", 5)
    recent = _recent_orders(history, orders)
    touches = rng.integers(0, 4, len(recent))  # earlier touches
    row = np.repeat(np.arange(len(recent)), touches)
    weights = np.array([0.08, 0.20, 0.17, 0.20, 0.20, 0.15])  # who opens journeys: mostly prospecting
    earlier = recent[row].select(
        person_id="customer_id",
        touched_at=pl.col("ordered_at")
        - pl.duration(minutes=pl.lit(pl.Series(rng.integers(1440, 14 * 1440, len(row))))),
        channel=pl.Series(rng.choice(world.names, len(row), p=weights)),
        campaign=pl.lit(None, dtype=pl.String),
        converted=pl.lit(False),
        value=pl.lit(None, dtype=pl.Float64),
    )
    last = recent.select(
        person_id="customer_id",
        touched_at=pl.col("ordered_at") - pl.duration(minutes=5),
        channel="channel",
        campaign="campaign",
        converted=pl.lit(True),
        value="revenue",
    )
    size = 3 * len(recent)
    start = datetime.combine(world.config.last_day - timedelta(days=7 * CLICK_WEEKS - 1), datetime.min.time())
    nowhere = pl.DataFrame(
        {
            "person_id": [f"V{number:07d}" for number in rng.integers(0, max(size // 2, 1), size)],
            "touched_at": [start + timedelta(minutes=int(m)) for m in rng.integers(0, 1440 * 7 * CLICK_WEEKS, size)],
            "channel": rng.choice(world.names, size, p=weights),
        }
    ).with_columns(converted=pl.lit(False))
    table = pl.concat([earlier, last, nowhere], how="diagonal")
    return table.sort("person_id", "touched_at", "channel", maintain_order=True)


def bid_table(history: History) -> pl.DataFrame:
    """Daily bids and clicks per keyword or audience; half of the bids jittered at random, the rest after demand."""
    world, config = history.world, history.world.config
    rng = rng_of(config, "tables", 9)
    days = 7 * min(BID_WEEKS, config.weeks)
    first = config.last_day - timedelta(days=days - 1)
    week = config.weeks - days // 7 + np.arange(days) // 7
    demand = (1 + world.season + world.demand_shock)[week][:, None]
    frames = []
    for channel in world.channels:
        if channel.bid_elasticity is None:
            continue
        usual = channel.cost_per_click * rng.lognormal(0, 0.3, KEYWORDS_PER_CHANNEL)
        traffic = 60 * rng.lognormal(0, 0.4, KEYWORDS_PER_CHANNEL)
        is_random = rng.random((days, KEYWORDS_PER_CHANNEL)) < RANDOMISED_SHARE
        jitter = rng.uniform(-0.45, 0.45, is_random.shape)  # log bid
        log_bid = np.where(is_random, jitter, 0.6 * np.log(demand) + rng.normal(0, 0.05, is_random.shape))
        elasticity = np.full(days, channel.bid_elasticity)
        if config.shocks and channel.name == FLAT_CHANNEL:
            elasticity[-7 * FLAT_WEEKS :] = FLAT_ELASTICITY
        clicks = rng.poisson(traffic * demand * np.exp(elasticity[:, None] * log_bid))
        bid = usual * np.exp(log_bid)
        day, keyword = np.indices(clicks.shape)
        country = [COUNTRIES[number % len(COUNTRIES)] for number in range(KEYWORDS_PER_CHANNEL)]
        frames.append(
            pl.DataFrame(
                {
                    "date": [first + timedelta(days=int(offset)) for offset in day.ravel()],
                    "keyword": [f"{channel.name}_kw_{number + 1}" for number in keyword.ravel()],
                    "bid": np.round(bid.ravel(), 4),
                    "impressions": rng.poisson(clicks * 30.0 + 10).ravel(),
                    "clicks": clicks.ravel(),
                    "cost": np.round((clicks * bid * 0.85).ravel(), 2),
                    "campaign": [campaign_name(channel.name, country[number]) for number in keyword.ravel()],
                    "channel": [channel.name] * clicks.size,
                    "randomised": is_random.ravel(),
                }
            )
        )
    return pl.concat(frames)


def control_table(history: History) -> pl.DataFrame:
    """Daily price index, promotion, competitor activity, search demand and public holidays."""
    world, config = history.world, history.world.config
    rows = [
        pl.DataFrame(
            {
                "date": [config.first_monday + timedelta(days=day) for day in range(7 * config.weeks)],
                "name": [name] * (7 * config.weeks),
                "value": np.round(np.repeat(values[: config.weeks], 7), 4),
            }
        )
        for name, values in world.controls.items()
    ]
    return pl.concat(rows)


def make_dirty(tables: dict[str, pl.DataFrame], history: History) -> dict[str, pl.DataFrame]:
    """A few rows as they come in real exports: doubled, unreadable, negative, without a key."""
    rng = rng_of(history.world.config, "tables", 10)
    ads, orders = tables["ad_spend"], tables["orders"]
    doubled = ads[np.sort(rng.choice(len(ads), 5, replace=False))]
    text = ads.with_columns(pl.col("cost").cast(pl.String))
    unreadable = text[:1].with_columns(campaign=pl.lit("brand_search_xx"), cost=pl.lit("n/a"))
    negative = text[1:2].with_columns(campaign=pl.lit("brand_search_yy"), cost=pl.lit("-12.5"))
    twice = orders[np.sort(rng.choice(len(orders), 4, replace=False))]
    nobody = orders[:2].with_columns(
        order_id=pl.Series(["O-no-customer-1", "O-no-customer-2"]), customer_id=pl.lit(None, dtype=pl.String)
    )
    below_zero = orders[2:4].with_columns(
        order_id=pl.Series(["O-negative-1", "O-negative-2"]), revenue=-pl.col("revenue")
    )
    return tables | {
        "ad_spend": pl.concat([text, doubled.with_columns(pl.col("cost").cast(pl.String)), unreadable, negative]),
        "orders": pl.concat([orders, twice, nobody, below_zero]),
    }
