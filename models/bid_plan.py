"""A bid for each keyword: where the next unit of money brings what it must, within caps, budget and what is sure.

With marginal ROAS m at the bid in force and cost per click rising as bid^g, the bid that brings a return T on its last
unit is bid * (m / T)^(1 / g). T is the same for all keywords of a channel: what the mode asks for, or more where the
channel's planned spend would not do. It is found by bisection, as cost falls in T:

    profit   T = target_roas / (margin_fraction * CLV ratio): the last unit pays for itself
    troas    as much value as an average ROAS of at least target_roas / CLV ratio allows
    cpa      as many conversions as an average cost of at most target_cpa each allows
    budget   as much value as the planned spend buys; without a plan, as today's spend buys

In troas and cpa a T between 0 and the target R is enough: what a higher T gives up returns less than R on average, so
the surplus value - R * cost never falls as T rises to R.

A move is made where it is large enough and as good as sure. Those that are not stay, the rest is solved again, until
none is left. Where the rules cannot be kept so, lines of whose way nobody is sure may go down too, never up.

Sources: Varian (2009), "Online ad auctions", American Economic Review 99(2), 430-434 (bid where value per click is the
incremental cost per click); Yang et al. (2019), "Bid optimization by multivariable control in display advertising", KDD
(one multiplier per constraint).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtr

from models.bid_curves import KEYWORD, PRIOR
from models.bid_plan_reasons import ACTIONS, plan_reasons

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

INTERVAL = 2 * 1.6448536269514722  # standard deviations between the ends of a 90 % interval
COLUMNS = (
    "channel", "campaign", "keyword", "bid", "planned_bid", "bid_factor", "value_per_click", "incrementality",
    "marginal_roas", "target_roas", "probability_right", "clicks", "planned_clicks", "cost", "planned_cost",
    "planned_value", "action", "reason",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BidPlanConfig:
    """What bids aim at, and how far they may move at once."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    mode: Literal["profit", "troas", "cpa", "budget"] = "profit"  # what a bid aims at
    target_roas: float = 1.0  # profit: of the last unit of money, after margin; troas: on average
    target_cpa: float | None = None  # money per incremental conversion, for cpa
    margin_fraction: float | None = None  # profit = it * value - cost; null: 1 of margin, of revenue as in allocation
    max_move_fraction: float = 0.2  # of a bid at once: curves are known around the bid in force
    min_move_fraction: float = 0.02  # less is not worth a change
    min_incrementality: float = 0.1  # below it nine tenths of what clicks get came anyway
    lowest_bid: float | None = None  # money; the least that may be bid, None: no line is taken out for its return
    suppress_below: float = 0.25  # of the target; a line that at the lowest bid at best returns less goes
    sure: float = 0.75  # probability that a move goes the right way; below it the bid stays

    def __post_init__(self) -> None:
        for name in ("target_roas", "margin_fraction", "target_cpa", "lowest_bid"):
            value = getattr(self, name)
            if value is not None and not value > 0.0:
                raise ValueError(f"{name} is {value}: expected a number above 0")
        if self.mode == "cpa" and self.target_cpa is None:
            raise ValueError("target_cpa is not set: mode cpa needs the money that a conversion may cost")
        if not 0.0 < self.max_move_fraction < 1.0:
            raise ValueError(f"max_move_fraction is {self.max_move_fraction}: expected a fraction inside (0, 1)")
        if not 0.0 <= self.min_move_fraction < self.max_move_fraction:
            raise ValueError(
                f"min_move_fraction is {self.min_move_fraction}: expected 0 or more, below max_move_fraction"
            )
        for name in ("min_incrementality", "suppress_below"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a fraction in [0, 1)")
        if not 0.5 <= self.sure < 1.0:
            raise ValueError(f"sure is {self.sure}: expected a probability in [0.5, 1)")


def plan_bids(
    elasticities: pl.DataFrame,
    incrementality: pl.DataFrame,
    budgets: pl.DataFrame | None = None,
    clv: pl.DataFrame | None = None,
    config: BidPlanConfig | None = None,
) -> pl.DataFrame:
    """Rows of ``out.bid_plan``, one for each keyword.

    Parameters
    ----------
    elasticities : from `bid_curves.bid_elasticities`.
    incrementality : from `bid_incrementality.channel_incrementality`; a channel that is not there counts as 1.
    budgets : channel, spend, planned_spend: money a week without and by the plan in force. A channel's keywords may
        cost their present cost times planned_spend / spend. Channels that are not there have no limit, in mode budget
        today's cost.
    clv : from `bid_incrementality.clv_ratios`, where values per click do not hold lifetime value already.

    Returns
    -------
    `COLUMNS`. value_per_click as clicks are valued; marginal_roas of the planned bid and target_roas on incremental
    value; clicks, cost and value a day. Bids move by at most `max_move_fraction`; only suppression takes one to 0: of
    lines that caused next to nothing, or return next to nothing where one move reaches `lowest_bid`. A line without a
    known value or elasticity of its own holds. marginal_roas is null in mode cpa, which counts conversions; target_roas
    there too, and where no target keeps the rules.
    """
    config = config or BidPlanConfig()
    rows = elasticities.filter((pl.col("level") == KEYWORD) & (pl.col("bid") > 0)).sort(
        "channel", "campaign", "keyword"
    )
    if clv is None:
        clv = pl.DataFrame(schema={"channel": pl.String, "clv_ratio": pl.Float64})
    if budgets is None:
        budgets = pl.DataFrame(schema={"channel": pl.String, "spend": pl.Float64, "planned_spend": pl.Float64})
    rows = (
        rows.join(incrementality, on="channel", how="left", maintain_order="left")
        .join(clv.select("channel", "clv_ratio"), on="channel", how="left", maintain_order="left")
        .join(budgets.select("channel", "spend", "planned_spend"), on="channel", how="left", maintain_order="left")
        .with_columns(pl.col("incrementality", "clv_ratio").fill_null(1.0))
        .with_columns(pl.col("incrementality_reason").fill_null("taken as 1: nothing is known of the channel"))
    )
    parts = [_channel(part, config) for _, part in rows.group_by("channel", maintain_order=True)]
    if not parts:
        kinds = dict.fromkeys(("channel", "campaign", "keyword", "action", "reason"), pl.String)
        return pl.DataFrame(schema={name: kinds.get(name, pl.Float64) for name in COLUMNS})
    return pl.concat(parts)


@dataclass(frozen=True, kw_only=True)
class _Lines:
    """Lines of a channel as arrays (n,): at the bid in force, money and clicks a day."""

    bid: FloatArray
    clicks: FloatArray
    cost: FloatArray
    value: FloatArray  # of a click, incremental, in what the mode counts; 0 where unknown
    e: FloatArray
    g: FloatArray
    marginal: FloatArray
    doubt: FloatArray  # standard deviation of the log of `marginal`
    low: FloatArray
    high: FloatArray

    def bids(self, target: float) -> FloatArray:
        """Bids whose last unit of money brings `target` > 0, within the caps."""
        wanted = self.bid * (np.maximum(self.marginal, 1e-12) / target) ** (1.0 / self.g)
        return np.clip(wanted, self.low, self.high)

    def costs(self, bid: FloatArray) -> FloatArray:
        return self.cost * (bid / self.bid) ** (self.e + self.g)

    def bought(self, bid: FloatArray) -> FloatArray:
        return np.asarray(np.where(bid > 0, self.clicks * (bid / self.bid) ** self.e, 0.0))


def _channel(rows: pl.DataFrame, config: BidPlanConfig) -> pl.DataFrame:
    lines, known, best = _lines(rows, config)
    ratio = float(rows["clv_ratio"][0])
    floor, limit = _targets(config, ratio)
    allowed = _allowed(rows, lines, config.mode)
    caused_little, returns_little = _is_hopeless(rows, lines, best, floor if config.mode == "profit" else limit, config)
    gone = known & (caused_little | returns_little)

    def keeps(bid: FloatArray) -> bool:
        runs = bid > 0
        cost = float(lines.costs(bid)[runs].sum())
        surplus = float((lines.value * lines.bought(bid))[known].sum()) - limit * float(
            lines.costs(bid)[known & runs].sum()
        )
        return cost <= allowed * (1 + 1e-9) and (config.mode not in ("troas", "cpa") or surplus >= -1e-9 * cost)

    def solve(held: BoolArray, not_up: BoolArray) -> tuple[float, FloatArray, bool]:
        def plan(target: float) -> FloatArray:
            bid = lines.bids(target)
            bid = np.where(not_up, np.minimum(bid, lines.bid), bid)
            return np.where(gone, 0.0, np.where(held, lines.bid, bid))

        highest = 1e3 * max(float(lines.marginal.max()), limit, floor)
        target, met = _least(lambda target: keeps(plan(target)), floor, highest)
        return target, plan(target), met

    target, bid, met, unsure, small = _settled(lines, known & ~gone, solve, keeps, config)
    right = _probability(lines, bid, target)
    move = np.sign(bid - lines.bid)
    action = np.where(gone, "suppress", np.array(ACTIONS)[move.astype(int)])
    at = np.where(bid > 0, bid, lines.bid)
    marginal = np.where(known, lines.marginal * (at / lines.bid) ** -lines.g, np.nan)
    planned = lines.bought(bid)
    frame = rows.select(
        "channel", "campaign", "keyword", "bid", "value_per_click", "incrementality", "clicks", "cost",
        "incrementality_reason", "is_flat", "basis", curve_reason="reason",
        has_plan=pl.col("planned_spend").is_not_null(),
    )  # fmt: skip
    frame = frame.with_columns(
        planned_bid=pl.Series(bid),
        bid_factor=pl.Series(bid / lines.bid),
        next_brings=pl.Series(marginal).fill_nan(None),
        marginal_roas=pl.Series(marginal if config.mode != "cpa" else np.full(len(bid), np.nan)).fill_nan(None),
        target_roas=pl.lit(target if config.mode != "cpa" and met and target > 1e-6 else None, dtype=pl.Float64),
        probability_right=pl.when(pl.Series(known & ~gone & (move != 0))).then(pl.Series(right)),
        planned_clicks=pl.Series(planned),
        planned_cost=pl.Series(np.where(bid > 0, lines.costs(at), 0.0)),
        planned_value=pl.Series(planned) * pl.col("value_per_click") * pl.col("incrementality"),
        action=pl.Series(action),
        is_unsure=pl.Series(unsure),
        is_small=pl.Series(small),
        caused_little=pl.Series(caused_little),
        is_capped=pl.Series(np.isclose(bid, lines.low) | np.isclose(bid, lines.high)),
        is_met=pl.lit(met),
        is_held_down=pl.lit(target > floor * (1 + 1e-6) and np.isfinite(allowed) and config.mode == "profit"),
        clv_ratio=pl.lit(ratio),
    )
    return frame.with_columns(plan_reasons(config.mode)).select(COLUMNS)


def _lines(rows: pl.DataFrame, config: BidPlanConfig) -> tuple[_Lines, BoolArray, FloatArray]:
    """Lines as arrays; which of them are known; the highest credible value of a click."""
    names = ("bid", "clicks", "cost", "elasticity_mean", "elasticity_p05", "elasticity_p95", "incrementality")
    bid, clicks, cost, mean, p05, p95, inc = (rows[name].to_numpy().astype(float) for name in names)
    per = "conversion_probability" if config.mode == "cpa" else "value_per_click"
    worth = rows[per].cast(pl.Float64).fill_null(np.nan).to_numpy()
    g = rows["cost_per_click_elasticity_mean"].to_numpy().astype(float)
    e = np.maximum(mean, 0.02)  # clicks never fall with the bid; and its logarithm is taken
    known = np.isfinite(worth) & (clicks > 0) & (cost > 0) & (rows["basis"] != PRIOR).to_numpy()
    value = np.where(known, worth * inc, 0.0)
    per_click = np.divide(cost, clicks, out=np.ones(len(bid)), where=known)
    marginal = np.where(known, value * e / ((e + g) * per_click), 0.0)
    relative = [_relative(rows, "incrementality"), np.zeros(len(bid)) if config.mode == "cpa" else _relative(rows, per)]
    doubt = np.sqrt(sum(part**2 for part in relative) + (g / (e * (e + g)) * (p95 - p05) / INTERVAL) ** 2)
    cap = config.max_move_fraction
    least = np.minimum(bid, config.lowest_bid or 0.0)  # a bid that is below it already may stay
    lines = _Lines(
        bid=bid, clicks=clicks, cost=cost, value=value, e=e, g=g, marginal=marginal, doubt=np.maximum(doubt, 1e-9),
        low=np.maximum(bid * (1 - cap), least), high=bid * (1 + cap),
    )  # fmt: skip
    return lines, known, value * np.exp(1.6448536269514722 * np.hypot(*relative))


def _relative(rows: pl.DataFrame, name: str) -> FloatArray:
    """Standard deviation over mean, from the interval; 0 without one."""
    ends = [f"{name}_p05", f"{name}_p95"]
    if not set(ends) <= set(rows.columns):
        return np.zeros(len(rows))
    found = rows.select(((pl.col(ends[1]) - pl.col(ends[0])) / INTERVAL / pl.col(name)).cast(pl.Float64)).to_series()
    return np.nan_to_num(found.fill_null(0.0).to_numpy(), nan=0.0, posinf=0.0)


def _targets(config: BidPlanConfig, clv_ratio: float) -> tuple[float, float]:
    """Least return of the last unit, and the average return to keep (0 where none is asked)."""
    if config.mode == "profit":
        return config.target_roas / ((config.margin_fraction or 1.0) * clv_ratio), 0.0
    if config.mode == "troas":
        return 1e-9, config.target_roas / clv_ratio
    if config.mode == "cpa":
        return 1e-9, 1.0 / (config.target_cpa or 1.0)
    return 1e-9, 0.0


def _allowed(rows: pl.DataFrame, lines: _Lines, mode: str) -> float:
    """Money a day that the channel's keywords may cost by the plan in force; without one, in mode budget, as today."""
    spend, planned = rows["spend"][0], rows["planned_spend"][0]
    if planned is None:
        return float(lines.cost.sum()) if mode == "budget" else np.inf
    if spend is None or not spend > 0:
        return float(planned) / 7.0
    return float(lines.cost.sum()) * float(planned) / float(spend)


def _is_hopeless(
    rows: pl.DataFrame, lines: _Lines, best: FloatArray, target: float, config: BidPlanConfig
) -> tuple[BoolArray, BoolArray]:
    """Lines that caused next to nothing; lines that one move takes to the lowest bid and that return too little there.

    What a click costs at bids that were never tried is not known well: without a stated lowest bid a line that returns
    little is bid down move by move.
    """
    upper = rows["incrementality_p95"].cast(pl.Float64).fill_null(rows["incrementality"]).to_numpy()
    cheapest = lines.costs(lines.low) / np.maximum(lines.bought(lines.low), 1e-300)
    is_near = lines.low <= (config.lowest_bid or 0.0)
    return upper < config.min_incrementality, is_near & (best < config.suppress_below * target * cheapest)


Solver = Callable[[BoolArray, BoolArray], tuple[float, FloatArray, bool]]


def _settled(
    lines: _Lines, may_move: BoolArray, solve: Solver, keeps: Callable[[FloatArray], bool], config: BidPlanConfig
) -> tuple[float, FloatArray, bool, BoolArray, BoolArray]:
    """Target, bids, whether the rules are kept; lines that stay for doubt, and for the smallness of their move.

    `solve` takes lines that hold and lines that may not go up.
    """
    never = np.zeros(len(lines.bid), dtype=bool)
    unsure, small = never.copy(), never.copy()
    while True:
        target, bid, met = solve(~may_move | unsure | small, never)
        doubtful, slight = _doubts(lines, bid, target, may_move, config)
        if not (doubtful | slight).any():
            break
        unsure, small = unsure | doubtful, small | (slight & ~doubtful)
    if met or not (unsure | small).any():
        return target, bid, met, unsure, small
    not_up = unsure | small  # the rules need some of these to go down
    while True:
        target, bid, met = solve(~may_move, not_up)
        doubtful, slight = _doubts(lines, bid, target, may_move & (bid > lines.bid), config)
        if not (doubtful | slight).any():
            break
        not_up |= doubtful | slight
    bid = _large_enough(lines, bid, may_move, keeps, config.min_move_fraction)
    stays = bid == lines.bid
    return target, bid, met and keeps(bid), unsure & stays, small & stays & ~unsure


def _doubts(
    lines: _Lines, bid: FloatArray, target: float, of: BoolArray, config: BidPlanConfig
) -> tuple[BoolArray, BoolArray]:
    """Moves of whose way it is not sure, and moves that are too small to be made."""
    moved = of & (bid != lines.bid)
    slight = np.abs(bid / lines.bid - 1.0) < config.min_move_fraction * (1 - 1e-9)
    return moved & (_probability(lines, bid, target) < config.sure), moved & slight


def _large_enough(
    lines: _Lines, bid: FloatArray, may_move: BoolArray, keeps: Callable[[FloatArray], bool], least: float
) -> FloatArray:
    """Bids without moves down that are too small: as few lines as the rules need go down by `least`, worst first."""
    slight = may_move & (bid < lines.bid) & (bid > lines.bid * (1.0 - least * (1 - 1e-9)))
    bid = np.where(slight, lines.bid, bid)
    can = slight & (lines.low <= lines.bid * (1.0 - least))
    for line in sorted(np.flatnonzero(can), key=lambda i: (lines.marginal[i], i)):
        if keeps(bid):
            break
        bid[line] = lines.bid[line] * (1.0 - least)
    return bid


def _least(keeps: Callable[[float], bool], low: float, high: float) -> tuple[float, bool]:
    """The least target in [low, high] that keeps the rules, and whether one does."""
    if keeps(low):
        return low, True
    if not keeps(high):
        return high, False
    for _ in range(100):
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return high, True


def _probability(lines: _Lines, bid: FloatArray, target: float) -> FloatArray:
    """Probability that the return at the bid in force lies on the side of the target that the move supposes."""
    z = np.log(np.maximum(lines.marginal, 1e-12) / target) / lines.doubt
    return np.asarray(ndtr(np.where(bid >= lines.bid, z, -z)))
