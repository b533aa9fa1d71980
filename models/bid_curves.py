"""What a bid buys: impressions, clicks, cost, conversions and value against the bid, per keyword and campaign.

Around the bid in force b0, with x = b / b0,

    clicks = c0 x^e,  impressions = i0 x^h,  cost per click = p0 x^g,

e, h and g from `models.bid_slopes`, pooled keyword in campaign in channel; conversions and value go with the clicks. So
    marginal ROAS = value per click * e / ((e + g) * cost per click),
and a click more costs more than it brings beyond the bid at which that is 1.
"""

from dataclasses import dataclass, field
from datetime import date
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.bid_channel import KEYS, ChannelBids, channels_of, cost_slopes, levels, prepared_rows
from models.bid_demand import DemandConfig, follows_demand
from models.bid_pooling import Pooled, PoolingConfig, Weighed, observational_bias, pool, weigh
from models.bid_slopes import Evidence, SlopesConfig, bodies_of_evidence
from models.bid_trees import TreesConfig, fit_trees, trees_elasticity
from models.elasticity import ElasticityConfig, fit_fixed_effects

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

Z90 = 1.6448536269514722  # standard normal quantile of 95 %
BODY_NAMES = ("recent random bids", "earlier random bids", "recent bids that were set", "earlier bids that were set")
KEYWORD, CAMPAIGN, CHANNEL = "keyword", "campaign", "channel"
RANDOMISED, OBSERVATIONAL, PRIOR = "randomised", "observational", "prior"
VALUES = ("value_per_click", "value_per_click_p05", "value_per_click_p95", "conversion_probability")
ELASTICITY_COLUMNS = (
    "level", *KEYS, "elasticity_mean", "elasticity_p05", "elasticity_p95", "impressions_elasticity_mean",
    "cost_per_click_elasticity_mean", "diminishing_bid", "half_slope_bid", "flatness", "flatness_p05", "flatness_p95",
    "is_flat", "marginal_roas", "bid", "bid_low", "bid_high", "impressions", "clicks", "cost", *VALUES, "basis",
    "randomised_fraction", "elasticity_trees", "clicks_weight", "reason", "warning",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BidCurveConfig:
    """How bid curves are estimated and read."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    slopes: SlopesConfig = field(default_factory=SlopesConfig)
    pooling: PoolingConfig = field(default_factory=PoolingConfig)
    demand: DemandConfig = field(default_factory=DemandConfig)
    trees: TreesConfig = field(default_factory=TreesConfig)
    level_days: int = 28  # over which clicks a day and the bid in force are taken: four whole weeks
    flat_below: float = 0.25  # an elasticity that is below it with 95 % counts as flat; as the trigger has it
    cost_prior_sd: float = 0.3  # of the elasticity of cost per click about 1: bids pay in proportion, or a little less
    reach: float = 2.0  # a bid is named up to this multiple of the highest that was tried, down to its inverse
    curve_points: int = 9  # bids of a curve

    def __post_init__(self) -> None:
        if self.level_days < 7:
            raise ValueError(f"level_days is {self.level_days}: expected at least 7, a week")
        for name, least in (("flat_below", 0.0), ("cost_prior_sd", 0.0), ("reach", 1.0)):
            if not getattr(self, name) > least:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a number above {least:g}")
        if self.curve_points < 3:
            raise ValueError(f"curve_points is {self.curve_points}: expected at least 3")


def bid_elasticities(
    bids: pl.DataFrame, as_of: date, config: BidCurveConfig | None = None, values: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Rows of ``out.bid_elasticity``: every keyword, every campaign and every channel.

    Parameters
    ----------
    bids : date, channel, campaign, keyword, bid (company currency), impressions, clicks, cost, randomised: a row for
        each day of a keyword. Rows without a bid above 0, or after `as_of`, are left out. Null campaigns are one.
    values : channel, campaign, keyword and `VALUES`, of which the interval may be absent; a null keyword or campaign
        stands for all of them. The narrowest row that fits counts.

    Returns
    -------
    `ELASTICITY_COLUMNS`. keyword is null in rows of a campaign, `campaign` too in rows of a channel. Where nothing is
    known, the interval is that of the prior, `basis` says "prior", flatness and bids are null and `reason` says why.
    flatness = 1 - elasticity within [0, 1]: the part of a raise of the bid that buys no clicks. half_slope_bid: where
    one more unit of bid buys half the clicks that it buys at the bid in force; diminishing_bid: where a click more
    costs what it is worth; both null beyond `reach`. `clicks_weight`: a day's information on log clicks, for
    `bid_jitter`.
    """
    config = config or BidCurveConfig()
    rows = prepared_rows(bids, as_of)
    if rows.is_empty():
        return _typed(pl.DataFrame(schema=dict.fromkeys(ELASTICITY_COLUMNS, pl.Null)))
    found = [
        (channel, _evidence(channel, "clicks", config), _evidence(channel, "impressions", config))
        for channel in channels_of(rows, as_of)
    ]
    bias_clicks = observational_bias([clicks for _, clicks, _ in found], config.pooling)
    bias_shown = observational_bias([shown for _, _, shown in found], config.pooling)
    tables = []
    for channel, clicks, shown in found:
        weighed = weigh(clicks, bias_clicks, config.pooling)
        pooled = pool(weighed.slope, weighed.precision, channel.campaign_of, config.pooling)
        other = weigh(shown, bias_shown, config.pooling)
        impressions = pool(other.slope, other.precision, channel.campaign_of, config.pooling)
        tables.append(_table(channel, clicks, weighed, pooled, impressions, config))
    table = pl.concat(tables)
    # keywords without a campaign: the channel's row says it of them all
    table = table.filter((pl.col("level") != CAMPAIGN) | pl.col("campaign").is_not_null())
    return _typed(_with_values(table, values, config))


def bid_curve_points(elasticities: pl.DataFrame, config: BidCurveConfig | None = None) -> pl.DataFrame:
    """Rows of ``out.bid_curve``: what each keyword and campaign buys at bids evenly spaced in log over what was tried.

    Parameters
    ----------
    elasticities : from `bid_elasticities`.

    Returns
    -------
    `KEYS`, bid, bid_factor (of the bid in force), impressions, clicks, cost, conversions and value a day, and
    marginal_roas at that bid. Conversions and value are null where a click's are not known. A campaign's bid moves all
    its keywords in proportion. Lines on prior knowledge alone have no curve.
    """
    config = config or BidCurveConfig()
    known = elasticities.filter(
        (pl.col("basis") != PRIOR) & (pl.col("clicks") > 0) & (pl.col("level") != CHANNEL) & (pl.col("bid") > 0)
    )
    steps = pl.DataFrame({"step": np.linspace(0.0, 1.0, config.curve_points)})
    low, high = pl.min_horizontal("bid_low", "bid"), pl.max_horizontal("bid_high", "bid")
    e, g = pl.col("elasticity_mean"), pl.col("cost_per_click_elasticity_mean")
    return (
        known.join(steps, how="cross")
        .with_columns(at=(low.log() + pl.col("step") * (high.log() - low.log())).exp())
        .with_columns(bid_factor=pl.col("at") / pl.col("bid"))
        .select(
            *KEYS,
            pl.col("at").alias("bid"),
            "bid_factor",
            impressions=pl.col("impressions") * pl.col("bid_factor") ** pl.col("impressions_elasticity_mean"),
            clicks=pl.col("clicks") * pl.col("bid_factor") ** e,
            cost=pl.col("cost") * pl.col("bid_factor") ** (e + g),
            conversions=pl.col("clicks") * pl.col("bid_factor") ** e * pl.col("conversion_probability"),
            value=pl.col("clicks") * pl.col("bid_factor") ** e * pl.col("value_per_click"),
            marginal_roas=pl.col("marginal_roas") / pl.col("bid_factor") ** g,
        )
        .sort("channel", "campaign", "keyword", "bid", nulls_last=False)
    )


def _evidence(channel: ChannelBids, counted: str, config: BidCurveConfig) -> tuple[Evidence, ...]:
    return bodies_of_evidence(
        channel.rows[counted].to_numpy(), channel.log_bid, channel.keyword, channel.day,
        channel.rows["randomised"].to_numpy(), len(channel.keywords), channel.last_day, config.slopes,
    )  # fmt: skip


def _second_opinion(channel: ChannelBids, yardstick: Evidence, config: BidCurveConfig) -> float | None:
    """Elasticity by trees on the rows of the yardstick; None with one keyword, whose days have no effects."""
    age = channel.last_day - channel.day
    old = (age >= config.slopes.recent_days) & (age < config.slopes.history_days)
    rows = (age < config.slopes.recent_days) if yardstick.is_recent else old
    rows &= channel.rows["randomised"].to_numpy() == yardstick.is_randomised
    rows &= np.isfinite(yardstick.variance)[channel.keyword]
    clicks, x = channel.rows["clicks"].to_numpy()[rows], channel.log_bid[rows]
    _, k = np.unique(channel.keyword[rows], return_inverse=True)
    _, d = np.unique(channel.day[rows], return_inverse=True)
    awake = np.bincount(d, weights=clicks)[d] > 0
    if not awake.all():
        clicks, x, k = clicks[awake], x[awake], k[awake]
        rows[np.flatnonzero(rows)[~awake]] = False
        _, d = np.unique(d[awake], return_inverse=True)
    fitted = fit_fixed_effects(clicks, x, k, d, ElasticityConfig())
    if fitted is None:
        return None
    relative = x - (np.bincount(k, weights=x) / np.bincount(k))[k]
    offset = np.log(fitted.mu) - fitted.slope * relative
    group = channel.campaign_of[channel.keyword[rows]]
    trees = fit_trees(clicks, relative, group, offset, config.trees)
    return trees_elasticity(trees, relative, group, offset, config.trees)


def _table(
    channel: ChannelBids,
    bodies: tuple[Evidence, ...],
    weighed: Weighed,
    pooled: Pooled,
    impressions: Pooled,
    config: BidCurveConfig,
) -> pl.DataFrame:
    """Rows of one channel: its keywords, its campaigns, itself."""
    n, m = len(channel.keywords), len(channel.campaigns)
    now = levels(channel, pooled.keyword_mean, config.level_days, config.slopes.history_days)
    of = channel.campaign_of
    knows = _any(weighed.precision > 0, of, m)
    yardstick = bodies[weighed.yardstick] if weighed.yardstick >= 0 else None
    basis = PRIOR if yardstick is None else RANDOMISED if yardstick.is_randomised else OBSERVATIONAL
    trees = None if yardstick is None else _second_opinion(channel, yardstick, config)
    sums = {name: np.bincount(of, weights=now[name], minlength=m) for name in ("impressions", "clicks", "cost")}
    mean_bid = _mean_bid(now["bid"], now["clicks"], of, m)
    low = np.minimum.reduceat(now["bid_low"] / now["bid"], _starts(of)) * mean_bid
    high = np.maximum.reduceat(now["bid_high"] / now["bid"], _starts(of)) * mean_bid
    whole = _mean_bid(now["bid"], now["clicks"], np.zeros(n, dtype=np.intp), 1)
    random_share = float(weighed.shares[:2].sum())
    per_day = _weights(now["clicks"], yardstick)
    lines = {
        "level": [*([KEYWORD] * n), *([CAMPAIGN] * m), CHANNEL],
        "campaign": [*channel.keywords["campaign"], *channel.campaigns, None],
        "keyword": [*channel.keywords["keyword"], *([None] * (m + 1))],
        "elasticity_mean": [*pooled.keyword_mean, *pooled.campaign_mean, pooled.channel_mean],
        "sd": [*pooled.keyword_sd, *pooled.campaign_sd, pooled.channel_sd],
        "impressions_elasticity_mean": [
            *impressions.keyword_mean, *impressions.campaign_mean, impressions.channel_mean,
        ],
        "cost_per_click_elasticity_mean": cost_slopes(channel, config.cost_prior_sd, config.slopes.history_days),
        "bid": [*now["bid"], *mean_bid, whole[0]],
        "bid_low": [*now["bid_low"], *low, whole[0] * (now["bid_low"] / now["bid"]).min()],
        "bid_high": [*now["bid_high"], *high, whole[0] * (now["bid_high"] / now["bid"]).max()],
        **{name: [*now[name], *sums[name], float(now[name].sum())] for name in sums},
        "clicks_weight": [*per_day, *np.bincount(of, weights=per_day, minlength=m), float(per_day.sum())],
        "knows": np.concatenate([weighed.precision > 0, knows, [knows.any()]]),
    }  # fmt: skip
    is_tried = yardstick is not None
    return pl.DataFrame(lines, schema_overrides={"campaign": pl.String, "keyword": pl.String}).with_columns(
        channel=pl.lit(channel.name),
        basis=pl.lit(basis),
        randomised_fraction=pl.lit(random_share if is_tried else None, dtype=pl.Float64),
        elasticity_trees=pl.lit(trees, dtype=pl.Float64),
        reason=pl.when(pl.col("knows")).then(pl.lit(_told(bodies, weighed))).otherwise(
            pl.lit(_lacking(bodies, is_tried))
        ),
        warning=pl.lit(_warning(channel, bodies, weighed, pooled, config), dtype=pl.String),
    )  # fmt: skip


def _with_values(table: pl.DataFrame, values: pl.DataFrame | None, config: BidCurveConfig) -> pl.DataFrame:
    """Intervals, flatness, and with a click's value the bids that follow from it."""
    table = value_of_click(table, values)
    mean, half = pl.col("elasticity_mean"), Z90 * pl.col("sd")
    e, g = pl.max_horizontal(mean, pl.lit(1e-3)), pl.col("cost_per_click_elasticity_mean")
    knows, bid = pl.col("knows"), pl.col("bid")
    per_click, buys = pl.col("cost") / pl.col("clicks"), (pl.col("cost") > 0) & (pl.col("clicks") > 0)
    marginal = pl.when(knows & buys).then(pl.col("value_per_click") * e / ((e + g) * per_click))
    table = table.with_columns(
        elasticity_p05=mean - half,
        elasticity_p95=mean + half,
        flatness=pl.when(knows).then((1 - mean).clip(0, 1)),
        flatness_p05=pl.when(knows).then((1 - mean - half).clip(0, 1)),
        flatness_p95=pl.when(knows).then((1 - mean + half).clip(0, 1)),
        is_flat=pl.when(knows).then(mean + half < config.flat_below),
        marginal_roas=marginal,
        basis=pl.when(knows).then("basis").otherwise(pl.lit(PRIOR)),
        diminishing=bid * marginal ** (1 / g),
        half_slope=pl.when(knows & (mean < 1)).then(bid * 2.0 ** (1 / (1 - e))),
    )
    top, bottom = pl.col("bid_high") * config.reach, pl.col("bid_low") / config.reach
    return table.with_columns(
        diminishing_bid=pl.when(pl.col("diminishing").is_between(bottom, top)).then("diminishing"),
        half_slope_bid=pl.when(pl.col("half_slope") <= top).then("half_slope"),
    ).select(ELASTICITY_COLUMNS)


def value_of_click(table: pl.DataFrame, values: pl.DataFrame | None) -> pl.DataFrame:
    """The table with `VALUES` of the narrowest row of `values` that fits a line and knows what a click is worth.

    All of them come from that one row: a mean of one level beside the interval of another would contradict it. Where no
    row knows a value, the narrowest that knows a conversion's probability counts.
    """
    names = VALUES
    if values is None or values.is_empty():
        return table.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in names)
    values = values.with_columns(pl.lit(None, pl.Float64).alias(name) for name in names if name not in values.columns)
    rest = values.select(*KEYS, *(pl.col(name).cast(pl.Float64) for name in names)).sort(*KEYS, *names)
    rest = rest.unique(KEYS, keep="first", maintain_order=True)
    for level in (3, 2, 1):
        keys, blank = list(KEYS[:level]), [pl.col(name).is_null() for name in KEYS[level:]]
        of_level = rest.filter(pl.all_horizontal(*[pl.col(name).is_not_null() for name in keys], *blank))
        found = of_level.select(*keys, *(pl.col(name).alias(f"{name}_{level}") for name in names))
        table = table.join(found, on=keys, how="left", maintain_order="left")
    deciding = [(name, level) for name in ("value_per_click", "conversion_probability") for level in (3, 2, 1)]
    chosen = pl.coalesce(
        pl.when(pl.col(f"{name}_{level}").is_not_null()).then(pl.lit(level)) for name, level in deciding
    )
    return (
        table.with_columns(chosen_level=chosen)
        .with_columns(
            pl.coalesce(
                pl.when(pl.col("chosen_level") == level).then(pl.col(f"{name}_{level}")) for level in (3, 2, 1)
            ).alias(name)
            for name in names
        )
        .drop("chosen_level", *(f"{name}_{level}" for name in names for level in (1, 2, 3)))
    )


def _told(bodies: tuple[Evidence, ...], weighed: Weighed) -> str:
    """What the elasticity rests on."""
    shares = [
        f"{share:.0%} {name}"
        for name, share in sorted(zip(BODY_NAMES, weighed.shares, strict=True), key=lambda pair: -pair[1])
        if share >= 0.005
    ]
    days = sum(body.rows for body in bodies if body.tells)
    told = f"From {days} keyword days: {', '.join(shares)}."
    return told if weighed.yardstick in (0, 1) else f"{told} No bid was drawn at random, so the interval is wide."


def _lacking(bodies: tuple[Evidence, ...], is_tried: bool) -> str:
    """Why a line has no elasticity of its own."""
    if is_tried:
        return "Its own bid was hardly varied or brought no clicks: its campaign and channel stand in."
    most = max(bodies, key=lambda body: body.rows)
    return f"Not known: {most.lack}. The interval is what is usual anywhere."


def _warning(
    channel: ChannelBids, bodies: tuple[Evidence, ...], weighed: Weighed, pooled: Pooled, config: BidCurveConfig
) -> str | None:
    """Signs that bids that were set follow demand, or that the market has changed; null without any."""
    told = []
    clicks, randomised = channel.rows["clicks"].to_numpy(), channel.rows["randomised"].to_numpy()
    slope = pooled.keyword_mean[channel.keyword]
    seen = follows_demand(
        clicks, channel.log_bid, channel.keyword, channel.day, randomised, slope, config.demand
    )  # fmt: skip
    if seen is not None:
        told.append(
            f"Bids that were set follow demand: day by day they go with it (correlation {seen:.2f}). Effects of the "
            "date take out the demand that all keywords share, not that of one keyword."
        )
    z = np.abs(weighed.gaps / weighed.gap_ses)
    for i, body in enumerate(bodies):
        if not np.isfinite(z[i]) or z[i] < config.pooling.doubt_z or weighed.yardstick < 0:
            continue
        base = bodies[weighed.yardstick]
        if base.is_randomised and not body.is_randomised and body.is_recent:
            told.append(
                f"Bids that were set would give an elasticity {weighed.gaps[i]:+.2f} off that of random ones: "
                "they are hardly believed."
            )
        elif base.is_randomised == body.is_randomised and not body.is_recent:
            told.append(f"The elasticity was {weighed.gaps[i]:+.2f} off today's before: earlier days hardly count.")
    return " ".join(told) or None


def _weights(clicks: FloatArray, yardstick: Evidence | None) -> FloatArray:
    """Information of a day's clicks on their logarithm."""
    extra, dispersion = (0.0, 1.0) if yardstick is None else (yardstick.extra, yardstick.dispersion)
    return clicks / (1.0 + extra * clicks) / dispersion


def _mean_bid(bid: FloatArray, clicks: FloatArray, of: IntArray, m: int) -> FloatArray:
    """Mean bid of each group, weighted by clicks; plain where there are none."""
    weight = clicks + 1e-9
    return np.bincount(of, weights=weight * bid, minlength=m) / np.bincount(of, weights=weight, minlength=m)


def _starts(of: IntArray) -> IntArray:
    """Where each group of sorted numbers begins."""
    return np.flatnonzero(np.diff(of, prepend=-1))


def _any(flags: NDArray[np.bool_], of: IntArray, m: int) -> NDArray[np.bool_]:
    return np.bincount(of, weights=flags, minlength=m) > 0


def _typed(table: pl.DataFrame) -> pl.DataFrame:
    """Columns of the right type, also where all are null."""
    texts = ("level", *KEYS, "basis", "reason", "warning")
    rest = [name for name in ELASTICITY_COLUMNS if name not in texts and name != "is_flat"]
    return table.with_columns(
        pl.col(list(texts)).cast(pl.String), pl.col(rest).cast(pl.Float64), pl.col("is_flat").cast(pl.Boolean)
    )
