"""The least and most each line may spend, with the name of the rule behind each limit."""

from dataclasses import dataclass, field
from difflib import get_close_matches
from math import isfinite
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from models.errors import InfeasiblePlan

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class AllocationConfig:
    """What a plan may do, per week.

    A floor or a cap outranks the change limit; a lock outranks all. The change limit is around the current spend, and
    where the total differs from the current one also around the current mix at the new total, so that a larger or
    smaller budget alone never contradicts it.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    total: float | None = None  # money per week; None: as much as now
    spend_all: bool = True  # False: money may stay unspent where it would not earn itself back
    floors: dict[str, float] = field(default_factory=dict)  # least weekly spend per line
    caps: dict[str, float] = field(default_factory=dict)  # most weekly spend per line
    locked: tuple[str, ...] = ()  # lines that stay at their current spend
    max_change_fraction: float | None = 0.3  # ad platforms relearn after larger steps; None: no limit
    new_line_fraction: float = 0.05  # a line with no spend now may take this share of the total: enough to learn from
    objective: Literal["profit", "revenue"] = "profit"  # with a fixed total the two give the same plan
    margin_fraction: float = 1.0  # profit = margin_fraction * value - spend
    min_roas: float | None = None  # value per unit of spend; its probability is reported
    min_probability_better: float = 0.6  # below this the move is noise; 0.5 would be a coin
    min_gain_fraction: float = 0.001  # below a thousandth the move is not worth the work
    rounding_unit: float = 0.01  # plans are written to the cent
    gap_tolerance: float = 1e-6  # of the upper bound; a thousandth of what a plan's proof promises

    def __post_init__(self) -> None:
        positive = ("margin_fraction", "rounding_unit", "gap_tolerance")
        shares = ("new_line_fraction", "min_probability_better")
        if bad := [name for name in positive if not 0 < getattr(self, name) < np.inf]:
            raise ValueError(f"{bad[0]} = {getattr(self, bad[0])}: must be above 0")
        if bad := [name for name in shares if not 0 <= getattr(self, name) <= 1]:
            raise ValueError(f"{bad[0]} = {getattr(self, bad[0])}: must be between 0 and 1")
        if self.max_change_fraction is not None and not 0 <= self.max_change_fraction < np.inf:
            raise ValueError(f"max_change_fraction = {self.max_change_fraction}: must be 0 or more, or null for none")
        if not self.min_gain_fraction >= 0:
            raise ValueError(f"min_gain_fraction = {self.min_gain_fraction}: must be 0 or more")
        if self.objective not in ("profit", "revenue"):
            raise ValueError(f"objective = {self.objective!r}: must be 'profit' or 'revenue'")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Weekly limits, all whole numbers of the rounding unit.

    Attributes
    ----------
    total : money to spend, or the most when money may stay unspent.
    lower, upper : (n_lines,) least and most spend of each line.
    lower_kind : per line "zero", "floor", "max_change_down" or "locked".
    upper_kind : per line "curve_end", "cap", "max_change_up" or "locked".
    """

    total: float
    lower: FloatArray
    upper: FloatArray
    lower_kind: tuple[str, ...]
    upper_kind: tuple[str, ...]


WORDS = {
    "zero": "zero",
    "floor": "its floor",
    "cap": "its cap",
    "max_change_down": "the change limit",
    "max_change_up": "the change limit",
    "locked": "its lock",
    "curve_end": "the end of its response curve",
}


def find_limits(lines: tuple[str, ...], curve_end: FloatArray, current: FloatArray, config: AllocationConfig) -> Limits:
    """Limits of each line under `config`.

    Parameters
    ----------
    lines : names. curve_end : (n_lines,) the last spend the response curve knows. current : (n_lines,) spend now.

    Raises
    ------
    InfeasiblePlan : the rules contradict each other; the message has both sums and the lines that matter most.
    """
    _check_inputs(lines, current, config)
    unit = config.rounding_unit
    total = float(current.sum()) if config.total is None else config.total
    total_units = round(total / unit)
    if not total_units > 0:
        raise InfeasiblePlan(
            f"The total budget is {_money(total)} per week: it must be above zero. "
            "Give a total, or spend data from which the current one can be read."
        )
    lower, lower_kind, upper, upper_kind = _apply_rules(lines, curve_end, current, total, config)
    if broken := [
        f"Line {line!r}: {WORDS[lower_kind[i]]} {_money(lower[i])} is above {WORDS[upper_kind[i]]} {_money(upper[i])}."
        for i, line in enumerate(lines)
        if lower[i] > upper[i] + 1e-6 * unit
    ]:
        raise InfeasiblePlan("\n".join([*broken[:4], "Lower the first or raise the second."]))

    least = np.ceil(lower / unit - 1e-6)  # inwards, but not for the last bit of a float
    most = np.floor(upper / unit + 1e-6)
    crossed = least > most  # no whole unit between the two limits
    least[crossed] = most[crossed] = np.round((lower[crossed] + upper[crossed]) / 2 / unit)
    # rounding alone must not make a plan impossible: change limits and locks give way by one unit
    soft_low = np.array([kind in ("max_change_down", "locked") for kind in lower_kind])
    soft_high = np.array([kind in ("max_change_up", "locked") for kind in upper_kind])
    if 0 < least.sum() - total_units <= soft_low.sum():
        least -= soft_low
    if 0 < total_units - most.sum() <= soft_high.sum():
        most += soft_high
    if least.sum() > total_units:
        raise InfeasiblePlan(_too_much(lines, lower, lower_kind, total))
    if config.spend_all and most.sum() < total_units:
        raise InfeasiblePlan(_too_little(lines, upper, upper_kind, total, curve_end))
    return Limits(
        total=total_units * unit,
        lower=least * unit,
        upper=most * unit,
        lower_kind=tuple(lower_kind),
        upper_kind=tuple(upper_kind),
    )


def _apply_rules(
    lines: tuple[str, ...], curve_end: FloatArray, current: FloatArray, total: float, config: AllocationConfig
) -> tuple[FloatArray, list[str], FloatArray, list[str]]:
    """Lower and upper limits before rounding, with their kinds."""
    locked = np.isin(lines, config.locked)
    free_now, free_then = current[~locked].sum(), total - current[locked].sum()
    scale = free_then / free_now if free_now > 0 and free_then > 0 else 1.0
    lower, upper = np.zeros(len(lines)), curve_end.astype(float)
    lower_kind, upper_kind = ["zero"] * len(lines), ["curve_end"] * len(lines)
    for i, line in enumerate(lines):
        if locked[i]:
            lower[i] = upper[i] = current[i]
            lower_kind[i] = upper_kind[i] = "locked"
            continue
        floor, cap = config.floors.get(line, 0.0), config.caps.get(line, np.inf)
        lower[i], lower_kind[i] = (floor, "floor") if floor > 0 else (0.0, "zero")
        upper[i], upper_kind[i] = (cap, "cap") if cap < curve_end[i] else (curve_end[i], "curve_end")
        if config.max_change_fraction is None or free_now == 0 or lower[i] > upper[i]:
            continue
        least = current[i] * min(scale, 1.0) * (1 - config.max_change_fraction)
        most = current[i] * (max(scale, 1.0) if config.spend_all else 1.0) * (1 + config.max_change_fraction)
        if current[i] == 0:
            most = config.new_line_fraction * total
        rule_lower, rule_upper = lower[i], upper[i]
        if least > rule_lower:
            lower[i], lower_kind[i] = max(rule_lower, min(least, rule_upper)), "max_change_down"
        if most < rule_upper:
            upper[i], upper_kind[i] = min(rule_upper, max(most, rule_lower)), "max_change_up"
    return lower, lower_kind, upper, upper_kind


def _check_inputs(lines: tuple[str, ...], current: FloatArray, config: AllocationConfig) -> None:
    found: list[str] = []
    for rule, names in (("floors", config.floors), ("caps", config.caps), ("locked", config.locked)):
        found += [unknown_line(name, lines, rule) for name in names if name not in lines]
    for rule, amounts in (("floor", config.floors), ("cap", config.caps)):
        found += [
            f"The {rule} of line {name!r} is {amount}: it must be a number, zero or more."
            for name, amount in amounts.items()
            if not (isfinite(amount) and amount >= 0)
        ]
    if config.total is not None and not isfinite(config.total):
        found.append(f"The total budget is {config.total}: it must be a number above zero.")
    found += [
        f"The current spend of line {line!r} is {amount}: it must be a number, zero or more."
        for line, amount in zip(lines, current.tolist(), strict=True)
        if not (isfinite(amount) and amount >= 0)
    ]
    if found:
        raise InfeasiblePlan("\n".join(found[:5]))


def unknown_line(name: str, lines: tuple[str, ...], where: str) -> str:
    """Sentence that says which line was probably meant."""
    near = get_close_matches(str(name), lines, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the lines are {', '.join(map(repr, lines[:8]))}."
    return f"Unknown line {name!r} in {where}: {hint}"


def _too_much(lines: tuple[str, ...], lower: FloatArray, kinds: list[str], total: float) -> str:
    return (
        f"The least that the lines must spend adds up to {_money(lower.sum())} per week, above the total of "
        f"{_money(total)}.\nTightest: {_named(lines, lower, kinds, -lower)}.\n"
        f"Lower them by {_money(lower.sum() - total)} together, or raise the total."
    )


def _too_little(
    lines: tuple[str, ...], upper: FloatArray, kinds: list[str], total: float, curve_end: FloatArray
) -> str:
    return (
        f"The most that the lines may spend adds up to {_money(upper.sum())} per week, below the total of "
        f"{_money(total)}.\nTightest: {_named(lines, upper, kinds, upper - curve_end)}.\n"
        f"Raise them by {_money(total - upper.sum())} together, lower the total, or let money stay unspent."
    )


def _named(lines: tuple[str, ...], amounts: FloatArray, kinds: list[str], room: FloatArray) -> str:
    order = np.argsort(room, kind="stable")[:3]
    return ", ".join(f"{lines[i]!r} {_money(amounts[i])} ({WORDS[kinds[i]]})" for i in order)


def _money(amount: float) -> str:
    return f"{amount:,.2f}"
