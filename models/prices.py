"""What each rule of a plan costs: shadow prices from the linear programme around the plan.

Around an optimum each line can go a little up or down along the pieces of its curve next to its spend, under all rules.
Standing still is best there; the dual variables of that linear programme are the prices of the rules. Choices that are
not linear (which concave part of a curve, who may move) are held fixed. A programme with ties has several dual
solutions; these are one of them, and each says what loosening its rule alone by a little brings at most.

Sources: Boyd & Vandenberghe (2004), *Convex Optimization*, section 5.6 (sensitivity).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array, hstack, vstack

from models.allocation_config import AllocationConfig
from models.limits import Limits
from models.margins import Margins
from models.plan import ConstraintPrice
from models.problem import Problem, mean_value, part_positions

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class _Around:
    """Each line's next pieces: slope and room upwards and downwards, and where its allowed part ends."""

    after: FloatArray
    before: FloatArray
    up: FloatArray
    down: FloatArray
    part_low: FloatArray
    part_high: FloatArray


def price_rules(
    problem: Problem,
    spend: FloatArray,
    limits: Limits,
    config: AllocationConfig,
    counted: Sequence[FloatArray] | None = None,
) -> tuple[tuple[ConstraintPrice, ...], Margins]:
    """Prices of the rules over several lines, and each line's margins with what binds it.

    Parameters
    ----------
    spend : (n_lines,) an optimal plan before rounding.
    counted : per line what its points count for in what is maximised, where that is not the mean: values under the
        plane of a risk-adjusted value at `spend`. The rules stay rules on the mean.
    """
    near = _around(problem, spend, 1.5 * config.rounding_unit)
    rows = _rows(problem, near, spend)
    if counted is not None:
        near = _around(replace(problem, value=tuple(counted)), spend, 1.5 * config.rounding_unit)
    duals = _duals(rows, near, problem.unspent_worth)
    pay_up, pay_down = near.after.copy(), near.before.copy()
    for (_, up, down, _, _), dual in zip(rows, duals, strict=True):
        pay_up -= dual * up
        pay_down -= dual * down
    tiny = 1e-7 * max(float(np.abs(near.after).max()), 1e-12)
    constraints = tuple(_constraint(problem, row, dual, spend, config) for row, dual in zip(rows, duals, strict=True))
    tied = np.zeros(len(spend), dtype=bool)
    for group, (_, up, _, _, _), dual in zip(problem.groups, rows[1:], duals[1:], strict=False):
        tied |= group.inside & (abs(dual) > tiny) & (up != 0)
    budget = max(float(duals[0]), 0.0)
    binding, price = [], np.full(len(spend), budget)
    for i in range(len(spend)):
        kind = "group" if tied[i] else "budget" if budget > tiny else "none"
        stays = problem.stay is not None and abs(spend[i] - problem.stay[i]) <= 1.5 * config.rounding_unit
        if limits.lower_kind[i] == "locked":
            kind, price[i] = "locked", 0.0
        elif near.up[i] <= 0 and pay_up[i] > tiny:
            kind, price[i] = _upper_kind(i, near, limits, config), pay_up[i]
        elif near.down[i] <= 0 and pay_down[i] < -tiny:
            kind, price[i] = _lower_kind(i, near, limits, config, problem.lines[i]), -pay_down[i]
        if problem.max_moves is not None and stays and kind in ("budget", "none", "group"):
            kind = "max_moves"
        binding.append(kind)
    margins = Margins(
        next_value=near.after, last_value=near.before, budget_price=budget, binding=tuple(binding), shadow_price=price
    )
    return constraints, margins


def _around(problem: Problem, spend: FloatArray, slack: float) -> _Around:
    n = len(spend)
    after, before, up, down, part_low, part_high = (np.zeros(n) for _ in range(6))
    for i, at in enumerate(spend.tolist()):
        x, y, joined = problem.spend[i], problem.value[i], problem.joined[i]
        parts = [(0, len(x) - 1)] if joined.all() else part_positions(joined)
        first, last = min(parts, key=lambda part: max(x[part[0]] - at, at - x[part[1]], 0.0))
        part_low[i], part_high[i] = x[first], x[last]
        if len(x) < 2:
            continue
        steps = np.diff(y) / np.diff(x)
        right = int(np.clip(np.searchsorted(x, at + slack, side="right") - 1, 0, len(x) - 2))
        left = int(np.clip(np.searchsorted(x, at - slack, side="left") - 1, 0, len(x) - 2))
        after[i], before[i] = steps[right], steps[left]
        up[i] = x[right + 1] - at if at < x[last] - slack else 0.0
        down[i] = at - x[left] if at > x[first] + slack else 0.0
    return _Around(after, before, up, down, part_low, part_high)


type _RowOf = tuple[str, FloatArray, FloatArray, float, float]  # name, change per unit up and down, room below, above


def _rows(problem: Problem, near: _Around, spend: FloatArray) -> list[_RowOf]:
    """The rules as rows over small moves: what each may still lose and gain."""
    ones = np.ones(len(spend))
    spent = float(spend.sum())
    above = max(problem.total - spent, 0.0)
    rows: list[_RowOf] = [("total", ones, ones, -np.inf if problem.unspent_worth is not None else 0.0, above)]
    for group in problem.groups:
        weight = group.inside.astype(float)
        held = float(spend[group.inside].sum())
        rows.append((f"group {group.name!r}", weight, weight, min(group.low - held, 0.0), max(group.high - held, 0.0)))
    value = mean_value(problem, spend)
    for row in problem.rows:
        held = float(row.spend_weight @ spend + row.value_weight @ value)
        up = row.spend_weight + row.value_weight * near.after
        down = row.spend_weight + row.value_weight * near.before
        rows.append((row.name, up, down, min(row.low - held, 0.0), max(row.high - held, 0.0)))
    return rows


def _duals(rows: list[_RowOf], near: _Around, worth: float | None) -> FloatArray:
    """Price of each row: what the objective gains per unit of its limit that binds; negative for a least."""
    weight_up, weight_down = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    ups = _steepest(near.after, near.up > 0, weight_up)
    downs = _steepest(-near.before, near.down > 0, weight_down)
    matrix = csr_array(hstack([csr_array(weight_up[:, ups]), csr_array(-weight_down[:, downs])]))
    low, high = np.array([row[3] for row in rows]), np.array([row[4] for row in rows])
    scale = max(float(np.abs(near.after).max()), 1e-12)
    fee = worth or 0.0
    cost = np.concatenate([-(near.after[ups] - fee), near.before[downs] - fee]) / scale
    room = np.concatenate([near.up[ups], near.down[downs]])
    if len(room) == 0:
        return np.zeros(len(rows))
    money = float(room.max())
    fixed = low == high
    capped, least = np.isfinite(high) & ~fixed, np.isfinite(low) & ~fixed
    bounds = np.column_stack([np.zeros(len(room)), room / money])
    found = linprog(
        cost,
        A_ub=csr_array(vstack([matrix[capped], -matrix[least]])) if (capped | least).any() else None,
        b_ub=np.concatenate([high[capped], -low[least]]) / money if (capped | least).any() else None,
        A_eq=matrix[fixed] if fixed.any() else None,
        b_eq=high[fixed] / money if fixed.any() else None,
        bounds=bounds,
    )
    duals = np.zeros(len(rows))
    if found.status != 0:
        return duals
    if fixed.any():
        duals[fixed] = -found.eqlin.marginals * scale
    if (capped | least).any():
        marginals = -found.ineqlin.marginals * scale
        duals[capped] += marginals[: capped.sum()]
        duals[least] -= marginals[capped.sum() :]
    duals[0] += fee
    return duals


def _steepest(slope: FloatArray, has_room: NDArray[np.bool_], weights: FloatArray) -> NDArray[np.intp]:
    """Of the lines with room that weigh alike in every row, the one with the steepest slope: no other moves first."""
    at = np.flatnonzero(has_room)
    order = at[np.argsort(-slope[at], kind="stable")]
    _, first = np.unique(weights[:, order].T, axis=0, return_index=True)
    return order[np.sort(first)]


def _constraint(
    problem: Problem, row: _RowOf, dual: float, spend: FloatArray, config: AllocationConfig
) -> ConstraintPrice:
    name, _, _, below, above = row
    tight = 2 * config.rounding_unit * len(spend)
    loose = min(-below if np.isfinite(below) else np.inf, above if np.isfinite(above) else np.inf)
    of = next((r for r in problem.rows if r.name == name), None)
    price, unit = abs(dual), "one unit of money"
    if of is not None and of.kind == "roas" and config.min_roas is not None:
        price, unit = price * float(spend.sum()), "1 of ROAS"
    elif of is not None and of.kind == "cpa" and config.max_cpa is not None:
        price, unit = price * float(spend.sum()) / config.max_cpa, "one unit of money per conversion"
    if name == "total" and problem.unspent_worth is not None and above > tight:
        price = 0.0
    return ConstraintPrice(
        name=name,
        slack=float(max(loose, 0.0)) + 0.0,  # no minus zero
        binding=bool(price > 0),
        shadow_price=float(price),
        per=unit,
    )


def _upper_kind(i: int, near: _Around, limits: Limits, config: AllocationConfig) -> str:
    inner = near.part_high[i] < limits.upper[i] - 1.5 * config.rounding_unit
    return "min_line_roas" if inner else limits.upper_kind[i]


def _lower_kind(i: int, near: _Around, limits: Limits, config: AllocationConfig, line: str) -> str:
    if near.part_low[i] <= limits.lower[i] + 1.5 * config.rounding_unit:
        return limits.lower_kind[i]
    return "off_or_at_least" if line in config.off_or_at_least else "min_line_roas"
