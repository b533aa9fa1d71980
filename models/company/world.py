"""What is true of the demo company: its channels, response curves, calendar of controls, planted shocks."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

COUNTRIES = ("DE", "FR", "ES", "IT")
COUNTRY_SHARE = np.array([0.32, 0.22, 0.20, 0.26])  # of spend and of demand alike, so that countries compare
WEEKS_PER_YEAR = 365.25 / 7
DEFAULT_LAST_DAY = date(2026, 6, 28)  # a Sunday: the demo ends with a complete week
DEFAULT_CUSTOMERS = 40_000  # two years at about 385 first bookings a week
ORGANIC_ORDERS_PER_WEEK = 95.0  # first bookings nobody advertised for, at scale 1
ORDER_VALUE = 180.0  # mean booking in euro: two tickets and now and then a tour
REFUNDED_FRACTION = 0.02  # of orders, given back whole within a month
MARGIN_FRACTION = 0.6  # of revenue, left to pay for media
STREAMS = {"world": 1, "spend": 2, "week": 3, "tables": 4, "calendar": 5}  # independent random streams of one seed


@dataclass(frozen=True, kw_only=True)
class CompanyConfig:
    """Size and seed of a demo company; `shocks=False` gives a quiet one in which nothing is planted."""

    seed: int = 1
    weeks: int = 104
    customers: int = DEFAULT_CUSTOMERS
    last_day: date = DEFAULT_LAST_DAY
    shocks: bool = True
    dirt: bool = True

    def __post_init__(self) -> None:
        if self.weeks < 30:
            raise ValueError(f"weeks is {self.weeks}, expected at least 30: planted shocks need a history before them")
        if self.customers < 1000:
            raise ValueError(f"customers is {self.customers}, expected at least 1000")
        if self.last_day.weekday() != 6:
            raise ValueError(f"last_day {self.last_day} is not a Sunday")

    @property
    def first_monday(self) -> date:
        """First day of the history."""
        return self.last_day - timedelta(days=7 * self.weeks - 1)

    @property
    def scale(self) -> float:
        """Volume against the default company, the same customers per week being 1."""
        return (self.customers / self.weeks) / (DEFAULT_CUSTOMERS / 104)


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One channel as it truly works; weekly euro and first bookings."""

    name: str
    spend: float  # usual weekly spend
    decay: float  # share of last week's effect that is still there, geometric
    half_saturation: float  # weekly spend at which half of the ceiling is reached
    slope: float  # Hill exponent; above 1 the curve is S-shaped
    ceiling: float  # incremental first bookings a week at infinite spend
    order_value: float  # mean value of the bookings it brings
    repeat_rate: float  # repeat orders against the average customer
    cost_per_click: float
    organic_share: float  # share of organic bookings that the platform claims for this channel
    bid_elasticity: float | None  # of clicks to the bid; None where nothing is bid on


@dataclass(frozen=True, kw_only=True)
class World:
    """Everything that is true of one company, drawn from its seed."""

    config: CompanyConfig
    channels: tuple[Channel, ...]
    season: np.ndarray  # (weeks + 156,) relative to organic demand
    demand_shock: np.ndarray  # (weeks + 156,) what moves demand and brand search alike
    controls: dict[str, np.ndarray]  # name to (weeks + 156,) weekly values
    organic: np.ndarray  # (weeks + 156,) organic first bookings a week

    @property
    def names(self) -> tuple[str, ...]:
        """Channel names in order."""
        return tuple(channel.name for channel in self.channels)


HORIZON_WEEKS = 156  # weeks of calendar drawn beyond the history, for whoever steps on

# name, usual weekly spend, decay, half-saturation in usual spends, slope, ROAS at the usual spend, order value and
# repeat rate against the average, cost per click, claimed share of organic orders, bid elasticity.
# The order of platform ROAS and that of CLV differ on purpose: brand and retargeting look best and bring the least.
BLUEPRINT = (
    ("brand_search", 2_000, 0.10, 1.00, 1.0, 2.3, 0.95, 0.50, 0.45, 0.22, 0.60),
    ("generic_search", 6_000, 0.20, 1.60, 1.0, 3.3, 1.05, 1.40, 0.95, 0.02, 0.85),
    ("display_retargeting", 2_500, 0.15, 0.45, 1.0, 2.1, 0.95, 0.45, 0.35, 0.12, 0.70),
    ("prospecting_display", 4_000, 0.45, 0.95, 2.0, 2.3, 1.05, 2.00, 0.40, 0.00, None),
    ("paid_social", 4_000, 0.35, 1.20, 1.0, 2.7, 1.00, 0.90, 0.60, 0.03, None),
    ("video", 4_000, 0.55, 1.10, 2.3, 2.5, 1.00, 1.20, 0.30, 0.00, None),
)


def rng_of(config: CompanyConfig, stream: str, index: int = 0) -> np.random.Generator:
    """The random generator of one stream of one company: streams do not disturb each other."""
    return np.random.default_rng([config.seed, STREAMS[stream], index])


def hill(spend: np.ndarray | float, half_saturation: float, slope: float) -> np.ndarray:
    """Share of the ceiling reached at a steady weekly spend >= 0.

    Sources: Jin et al. (2017), Bayesian methods for media mix modeling with carryover and shape effects, eq. 5.
    """
    powered = (np.asarray(spend, dtype=float) / half_saturation) ** slope
    return powered / (1.0 + powered)


def draw_channels(config: CompanyConfig) -> tuple[Channel, ...]:
    """The blueprint's channels, each parameter varied by the seed."""
    rng = rng_of(config, "world")
    channels = []
    for name, spend, decay, half, slope, roas, value, repeat, cpc, claimed, elasticity in BLUEPRINT:
        usual = config.scale * spend * rng.lognormal(0, 0.10)
        half_saturation = usual * half * rng.lognormal(0, 0.15)
        slope_drawn = slope if slope == 1.0 else slope * rng.lognormal(0, 0.08)
        order_value = ORDER_VALUE * value
        contribution = usual * roas * rng.lognormal(0, 0.18)  # weekly revenue at the usual spend
        channels.append(
            Channel(
                name=name,
                spend=usual,
                decay=float(np.clip(decay + rng.normal(0, 0.05), 0.02, 0.6)),
                half_saturation=half_saturation,
                slope=slope_drawn,
                ceiling=contribution / order_value / float(hill(usual, half_saturation, slope_drawn)),
                order_value=order_value,
                repeat_rate=repeat * rng.lognormal(0, 0.05),
                cost_per_click=cpc,
                organic_share=claimed,
                bid_elasticity=None if elasticity is None else elasticity * rng.lognormal(0, 0.08),
            )
        )
    return tuple(channels)


def week_dates(config: CompanyConfig, weeks: int) -> list[date]:
    """Mondays of the first `weeks` weeks."""
    return [config.first_monday + timedelta(days=7 * week) for week in range(weeks)]


HOLIDAY_MONTH_DAYS = ((12, 25), (1, 1), (5, 1))  # fixed dates on which all four countries rest
EASTER_SUNDAYS = tuple(  # Gregorian computus, tabulated
    date.fromisoformat(day)
    for day in ("2023-04-09", "2024-03-31", "2025-04-20", "2026-04-05", "2027-03-28", "2028-04-16", "2029-04-01")
)


def is_holiday_week(monday: date) -> bool:
    """Whether the week of this Monday holds a public holiday of all four countries."""
    days = [monday + timedelta(days=offset) for offset in range(7)]
    return any((day.month, day.day) in HOLIDAY_MONTH_DAYS or day in EASTER_SUNDAYS for day in days)


def draw_world(config: CompanyConfig) -> World:
    """The company of this seed: channels, calendar and controls over the history and three years beyond."""
    rng = rng_of(config, "calendar")
    total = config.weeks + HORIZON_WEEKS
    mondays = week_dates(config, total)
    angle = 2 * np.pi * np.array([monday.timetuple().tm_yday for monday in mondays]) / 365.25
    season = 0.30 * -np.cos(angle - 0.35) + 0.08 * np.cos(2 * angle)  # summer trips, a small autumn
    shock = np.zeros(total)
    for week in range(1, total):
        shock[week] = 0.7 * shock[week - 1] + rng.normal(0, 0.05)
    price = 100 + np.cumsum(np.where(rng.random(total) < 0.08, rng.choice([-4.0, 4.0], total), 0.0))
    price = np.clip(price, 88, 112)
    promotion = (rng.random(total) < 0.10).astype(float)
    competitor = np.zeros(total)
    if config.shocks:
        launch = int(config.weeks * 0.55)
        competitor[launch : launch + 6] = 1.0  # a rival's launch campaign, six weeks
    holiday = np.array([float(is_holiday_week(monday)) for monday in mondays])
    growth = 0.25 * np.arange(total) / WEEKS_PER_YEAR / 2
    demand = 1 + growth + season + shock
    organic = (
        ORGANIC_ORDERS_PER_WEEK
        * config.scale
        * (demand - 0.012 * (price - 100) + 0.16 * promotion - 0.18 * competitor + 0.12 * holiday)
    )
    search = 100 * demand * rng.lognormal(0, 0.015, total)  # a public search index: demand, a little blurred
    return World(
        config=config,
        channels=draw_channels(config),
        season=season,
        demand_shock=shock,
        controls={
            "price": price,
            "promotion": promotion,
            "competitor": competitor,
            "search_demand": search,
            "holiday": holiday,
        },
        organic=np.maximum(organic, 5.0),
    )


LIFT_TEST_WEEKS = 6


def lift_test_weeks(config: CompanyConfig) -> dict[str, int]:
    """First week of the two holdout tests: the channels whose claims people doubt."""
    return {"brand_search": int(config.weeks * 0.60), "generic_search": int(config.weeks * 0.72)}


def historical_spend(world: World) -> np.ndarray:
    """Weekly spend (weeks, channels) as the team spent it: habits, flights, dark weeks, brand search after demand."""
    config = world.config
    rng = rng_of(config, "spend")
    weeks = config.weeks
    spend = np.zeros((weeks, len(world.channels)))
    for index, channel in enumerate(world.channels):
        habit = np.zeros(weeks)
        for week in range(1, weeks):
            habit[week] = 0.5 * habit[week - 1] + rng.normal(0, 0.45)
        level = np.exp(habit - habit.var() / 2)
        if channel.slope > 1:  # bought in flights
            phase, week = rng.integers(0, 4), 0
            while week < weeks:
                on, off = int(rng.integers(4, 8)), int(rng.integers(2, 4))
                level[max(week + on - phase, 0) : max(week + on + off - phase, 0)] *= rng.choice([0.0, 0.25])
                week += on + off
        level[rng.random(weeks) < 0.09] = 0.0  # a dark week: budget gone, account paused
        if channel.name == "brand_search":  # follows what people search for: the confounding
            level *= np.maximum(1 + 1.2 * (world.season[:weeks] + world.demand_shock[:weeks]), 0.3)
        else:
            level *= np.maximum(1 + 0.25 * world.season[:weeks], 0.5)
        spend[:, index] = channel.spend * level
    for name, first_week in lift_test_weeks(config).items():  # a test holds its channel steady
        index = world.names.index(name)
        spend[first_week : first_week + LIFT_TEST_WEEKS, index] = world.channels[index].spend
    if config.shocks:  # retargeting was pushed far beyond what its audience can take
        pushed = world.names.index(FLAT_CHANNEL)
        weeks_pushed = min(PUSHED_WEEKS, weeks // 3)
        spend[-weeks_pushed:, pushed] = 2.4 * world.channels[pushed].spend * rng.lognormal(0, 0.30, weeks_pushed)
    return np.round(spend, 2)


# The planted shocks. Each fires one trigger, named as in `out.trigger`.
ROAS_DROP_COUNTRY, ROAS_DROP_WEEKS, ROAS_DROP_FACTOR = "IT", 3, 0.20
FLAT_CHANNEL, FLAT_WEEKS, FLAT_ELASTICITY = "display_retargeting", 8, 0.04
PUSHED_WEEKS = 26  # the flattened channel was pushed for half a year before its audience gave out
CLV_DROP_TIER, CLV_DROP_WEEKS, CLV_DROP_KEEP = "VIP", 8, 0.45  # share of the top customers' orders that still come
NEW_CAMPAIGN, NEW_CAMPAIGN_CHANNEL, NEW_CAMPAIGN_SHARE = "paid_social_es_city_pass", "paid_social", 0.12
TRACKING_BREAK_DAYS_BEFORE_END = 40

PLANTED = (
    {"trigger": "roas_drop", "subject": ROAS_DROP_COUNTRY},
    {"trigger": "clv_drop", "subject": CLV_DROP_TIER},
    {"trigger": "elasticity_flat", "subject": FLAT_CHANNEL},
    {"trigger": "new_campaign", "subject": NEW_CAMPAIGN},
)


def effectiveness(world: World, week: int) -> np.ndarray:
    """Factor (countries,) on what media brings in a week: 1 but for the country whose ROAS has dropped."""
    factor = np.ones(len(COUNTRIES))
    if world.config.shocks and week >= world.config.weeks - ROAS_DROP_WEEKS:
        factor[COUNTRIES.index(ROAS_DROP_COUNTRY)] = ROAS_DROP_FACTOR
    return factor
