"""The least and most each line may spend, with the name of the rule behind each limit."""

from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from models.allocation_config import AllocationConfig, Group
from models.errors import InfeasiblePlan

__all__ = ["AllocationConfig", "Group", "Limits", "find_limits", "unknown_line"]

FloatArray = NDArray[np.float64]


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


PER_LINE = (  # rules that name lines
    "floors",
    "caps",
    "locked",
    "off_or_at_least",
    "max_change_fractions",
    "min_line_roas",
    "margin_fractions",
    "clv_ratio",
    "value_per_conversion",
)
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
        change = config.max_change_fractions.get(line, config.max_change_fraction)
        if change is None or free_now == 0 or lower[i] > upper[i]:
            continue
        least = current[i] * min(scale, 1.0) * max(1 - change, 0.0)
        most = current[i] * (max(scale, 1.0) if config.spend_all else 1.0) * (1 + change)
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
    known = set(lines)
    for rule in PER_LINE:
        found += [unknown_line(name, lines, rule) for name in getattr(config, rule) if name not in known]
    for name, group in config.groups.items():
        found += [unknown_line(line, lines, f"group {name!r}") for line in group.lines if line not in known]
    at_least = ("least spend when on", config.off_or_at_least)
    for rule, amounts in (("floor", config.floors), ("cap", config.caps), at_least):
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
