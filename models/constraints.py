"""From the rules of an allocation to the problem that is solved: allowed parts of each curve, groups, rows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.allocation_config import AllocationConfig
from models.errors import ConfigError, InfeasiblePlan
from models.limits import Limits
from models.nested import GroupBound, nested_order
from models.problem import Problem, Row

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def line_worth(lines: Sequence[str], config: AllocationConfig) -> FloatArray:
    """What a unit of each line's response counts for in the objective, (n_lines,); see `AllocationConfig`.

    Raises
    ------
    ConfigError : the objective counts conversions, and a line has no `value_per_conversion`; or lifetime value, and a
        line has no `clv_ratio`.
    """
    if config.objective == "conversions":
        return 1.0 / value_per_conversion(lines, config, "objective: conversions")
    if config.objective == "revenue":
        return np.ones(len(lines))
    worth = np.array([config.margin_fractions.get(line, config.margin_fraction) for line in lines])
    worth = worth / config.margin_fraction
    if config.objective == "clv":
        worth = worth * _clv_ratio(lines, config)
    return worth


def _clv_ratio(lines: Sequence[str], config: AllocationConfig) -> FloatArray:
    """Lifetime value over first value of each line, (n_lines,)."""
    if missing := [line for line in lines if line not in config.clv_ratio]:
        whose = "no line has one" if len(missing) == len(lines) else f"line {missing[0]!r} has none"
        raise ConfigError(
            f"objective: clv needs clv_ratio of every line; {whose}.\n"
            "The source orders with a channel for each customer gives it where a line has new customers; "
            "for other lines set allocation.clv_ratio, 1 where a customer is worth the first order."
        )
    return np.array([config.clv_ratio[line] for line in lines])


def value_per_conversion(lines: Sequence[str], config: AllocationConfig, asker: str) -> FloatArray:
    """KPI units per conversion of each line, (n_lines,); ConfigError where one is missing."""
    if missing := [line for line in lines if line not in config.value_per_conversion]:
        raise ConfigError(
            f"{asker} needs value_per_conversion of every line; line {missing[0]!r} has none.\n"
            "Give what one conversion of it is worth in KPI units; 1 where the KPI counts conversions."
        )
    return np.array([config.value_per_conversion[line] for line in lines])


def unspent_worth(config: AllocationConfig) -> float:
    """Value, in KPI units, of not spending one unit of money."""
    if config.spend_all or config.objective in ("revenue", "conversions"):
        return 0.0
    return 1.0 / config.margin_fraction


def build(
    lines: tuple[str, ...],
    grid: FloatArray,
    mean: FloatArray,
    limits: Limits,
    current: FloatArray | None,
    config: AllocationConfig,
    unspent: float | None = None,
) -> Problem:
    """The problem that `config` describes.

    Parameters
    ----------
    grid, mean : (n_lines, n_points) spend and mean response, unweighted, joined linearly.
    current : (n_lines,) spend now, or None.
    unspent : what a unit of money counts for that is not spent, where money may stay; None: as the objective says.

    Raises
    ------
    InfeasiblePlan : a line has no allowed spend, or a group's least is above its most.
    """
    worth = line_worth(lines, config)
    stay = _stay(current, limits, config)
    spend: list[FloatArray] = []
    value: list[FloatArray] = []
    joined: list[BoolArray] = []
    for i, line in enumerate(lines):
        x, on = _domain(grid[i], mean[i], limits, i, config, line, None if stay is None else float(stay[i]))
        if len(x) == 0:
            raise InfeasiblePlan(_no_spend(line, limits, i, config))
        spend.append(x)
        value.append(np.interp(x, grid[i], mean[i]) * worth[i])
        joined.append(on)
    bounds = _group_bounds(lines, limits, config)
    nested = nested_order(bounds)
    rows = [] if nested is not None else [_as_row(bound, limits.total) for bound in bounds]
    rows += _share_rows(lines, limits, config)
    rows += _target_rows(lines, worth, limits, config)
    return Problem(
        lines=lines,
        spend=tuple(spend),
        value=tuple(value),
        joined=tuple(joined),
        total=limits.total,
        unspent_worth=None if config.spend_all else unspent_worth(config) if unspent is None else unspent,
        groups=nested or (),
        rows=tuple(rows),
        stay=stay,
        max_moves=config.max_moves,
    )


def _stay(current: FloatArray | None, limits: Limits, config: AllocationConfig) -> FloatArray | None:
    """Current spend in whole units, where moves are counted."""
    if config.max_moves is None:
        return None
    if current is None:
        raise InfeasiblePlan("max_moves limits moves from the current spend, but no current spend is given.")
    return np.round(np.round(current / config.rounding_unit) * config.rounding_unit, 9)


def _domain(
    grid: FloatArray,
    mean: FloatArray,
    limits: Limits,
    i: int,
    config: AllocationConfig,
    line: str,
    stay: float | None,
) -> tuple[FloatArray, BoolArray]:
    """Points of a line's curve within its limits, and which neighbours are joined; none where nothing is allowed."""
    low, high = float(limits.lower[i]), float(limits.upper[i])
    inside = grid[(grid > low) & (grid < high)]
    unit = config.rounding_unit
    at_least = float(np.ceil(config.off_or_at_least.get(line, 0.0) / unit - 1e-6)) * unit
    marks = [low, high, *(m for m in (stay, at_least) if m is not None and low < m < high)]
    x = np.unique(np.concatenate([inside, marks])) if len(marks) > 2 else np.concatenate([[low], inside, [high]])
    if high <= low:
        x = np.array([low])
    joined = np.ones(len(x) - 1, dtype=bool)
    if at_least > 0:
        x, joined = _kept(x, joined, (x >= at_least) | (x == 0))
        if len(x) > 1 and x[0] == 0:
            joined[0] = False
    if line in config.min_line_roas and len(x):
        x, joined = _with_roas(x, joined, grid, mean, config.min_line_roas[line], config.rounding_unit)
    return x, joined


def _kept(x: FloatArray, joined: BoolArray, keep: BoolArray) -> tuple[FloatArray, BoolArray]:
    at = np.flatnonzero(keep)
    if len(at) < 2:
        return x[at], np.ones(0, dtype=bool)
    return x[at], (np.diff(at) == 1) & joined[at[:-1]]


def _with_roas(
    x: FloatArray, joined: BoolArray, grid: FloatArray, mean: FloatArray, target: float, unit: float
) -> tuple[FloatArray, BoolArray]:
    """The parts of a line's range where its value is at least `target` times its spend; no spend is always allowed."""
    over = np.interp(x, grid, mean) - target * x
    extra = []
    for k in np.flatnonzero((over[:-1] * over[1:] < 0) & joined):
        at = x[k] + (x[k + 1] - x[k]) * over[k] / (over[k] - over[k + 1])
        snapped = np.ceil(at / unit - 1e-9) * unit if over[k + 1] > 0 else np.floor(at / unit + 1e-9) * unit
        if x[k] < snapped < x[k + 1]:
            extra.append(float(snapped))
    for mark in extra:
        before = int(np.searchsorted(x, mark))
        x, joined = np.insert(x, before, mark), np.insert(joined, before, True)
    over = np.interp(x, grid, mean) - target * x
    return _kept(x, joined, (over >= -1e-9 * max(target * float(x[-1]), 1.0)) | (x == 0))


def _no_spend(line: str, limits: Limits, i: int, config: AllocationConfig) -> str:
    rules = []
    if line in config.off_or_at_least:
        rules.append(f"off or at least {config.off_or_at_least[line]:,.2f}")
    if line in config.min_line_roas:
        rules.append(f"a ROAS of at least {config.min_line_roas[line]:g}")
    return (
        f"Line {line!r} must spend {limits.lower[i]:,.2f} to {limits.upper[i]:,.2f}, and no spend in there "
        f"is allowed by: {' and '.join(rules)}.\nLoosen that rule or the line's limits."
    )


def _group_bounds(lines: tuple[str, ...], limits: Limits, config: AllocationConfig) -> list[GroupBound]:
    """Groups with limits in money, inwards to whole units; shares too where the planned spend is known."""
    unit, bounds = config.rounding_unit, []
    for name, group in config.groups.items():
        inside = np.isin(lines, group.lines)
        low, high = group.floor or 0.0, np.inf if group.cap is None else group.cap
        if config.spend_all:
            low = max(low, (group.min_share or 0.0) * limits.total)
            high = min(high, np.inf if group.max_share is None else group.max_share * limits.total)
        if low > 0 or high < np.inf:
            low = np.ceil(low / unit - 1e-6) * unit
            high = np.floor(high / unit + 1e-6) * unit if np.isfinite(high) else high
            if low > high:
                raise InfeasiblePlan(f"Group {name!r}: its least, {low:,.2f}, is above its most, {high:,.2f}.")
            bounds.append(GroupBound(name=name, inside=inside, low=float(low), high=float(high)))
    return bounds


def _as_row(bound: GroupBound, total: float) -> Row:
    """A group that overlaps others, as a row."""
    weight = bound.inside.astype(float)
    return Row(
        name=f"group {bound.name!r}", kind="group", spend_weight=weight, value_weight=np.zeros(len(weight)),
        low=bound.low, high=bound.high, scale=total,
    )  # fmt: skip


def _share_rows(lines: tuple[str, ...], limits: Limits, config: AllocationConfig) -> list[Row]:
    """Shares of what is spent, where money may stay unspent."""
    if config.spend_all:
        return []
    rows: list[Row] = []
    none = np.zeros(len(lines))
    for name, group in config.groups.items():
        inside = np.isin(lines, group.lines).astype(float)
        if group.min_share is not None:
            rows.append(Row(name=f"group {name!r}", kind="group", spend_weight=inside - group.min_share,
                            value_weight=none, low=0.0, high=np.inf, scale=limits.total))  # fmt: skip
        if group.max_share is not None:
            rows.append(Row(name=f"group {name!r}", kind="group", spend_weight=inside - group.max_share,
                            value_weight=none, low=-np.inf, high=0.0, scale=limits.total))  # fmt: skip
    return rows


def _target_rows(lines: tuple[str, ...], worth: FloatArray, limits: Limits, config: AllocationConfig) -> list[Row]:
    """ROAS and CPA of the whole plan."""
    rows = []
    n = len(lines)
    if config.min_roas is not None:
        rows.append(
            Row(
                name=f"min_roas {config.min_roas:g}",
                kind="roas",
                spend_weight=np.full(n, -config.min_roas),
                value_weight=1.0 / worth,
                low=0.0,
                high=np.inf,
                scale=config.min_roas * limits.total,
            )
        )
    if config.max_cpa is not None:
        per_conversion = value_per_conversion(lines, config, "max_cpa")
        rows.append(
            Row(
                name=f"max_cpa {config.max_cpa:g}",
                kind="cpa",
                spend_weight=np.full(n, -1.0),
                value_weight=config.max_cpa / per_conversion / worth,
                low=0.0,
                high=np.inf,
                scale=limits.total,
            )
        )
    return rows


def tightened(problem: Problem, spend: FloatArray, unit: float) -> Problem:
    """The problem with its rows tightened by what one unit more or less in every line can change around `spend`."""
    rows = []
    for row in problem.rows:
        steps = [
            max(abs(np.interp(spend[i] + step, x, y) - np.interp(spend[i], x, y)) for step in (unit, -unit))
            for i, (x, y) in enumerate(zip(problem.spend, problem.value, strict=True))
        ]
        room = float((np.abs(row.spend_weight) * unit + np.abs(row.value_weight) * np.array(steps)).sum())
        if row.high - row.low <= 2 * room:
            rows.append(row)
            continue
        rows.append(replace(row, low=row.low + room, high=row.high - room))
    return replace(problem, rows=tuple(rows))
