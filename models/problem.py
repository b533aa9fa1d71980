"""An allocation as numbers: curves with their allowed parts, nested groups, and rows that tie lines together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.nested import GroupBound

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

TOLERANCE = 1e-6  # to which a plan keeps its rules, as a share of what they bound


class NoPlan(Exception):
    """No spends meet the rules; whoever asked turns this into words."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A rule low <= sum(spend_weight * spend + value_weight * value) <= high over all lines.

    Parameters
    ----------
    name : what the rule is called in messages. kind : "group", "roas" or "cpa".
    spend_weight, value_weight : (n_lines,). Where a value weight is above 0 there is no `high`: more value never hurts.
    scale : a natural size of the sum, for tolerances.
    """

    name: str
    kind: str
    spend_weight: FloatArray
    value_weight: FloatArray
    low: float
    high: float
    scale: float


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Maximise the sum of the lines' values; money per week.

    Parameters
    ----------
    lines : names.
    spend, value : per line the points of its mean curve, joined linearly where `joined` says so.
    joined : per line (n_points - 1,) whether spends between two neighbouring points are allowed.
    total : money that the lines spend, with what stays unspent.
    unspent_worth : value of a unit of money not spent; None where all must be spent.
    groups : nested limits on sums of spend. rows : other rules over several lines.
    stay : (n_lines,) spends that count as no move, and `max_moves` the most lines that may move; or None.
    """

    lines: tuple[str, ...]
    spend: tuple[FloatArray, ...]
    value: tuple[FloatArray, ...]
    joined: tuple[BoolArray, ...]
    total: float
    unspent_worth: float | None
    groups: tuple[GroupBound, ...] = ()
    rows: tuple[Row, ...] = ()
    stay: FloatArray | None = None
    max_moves: int | None = None

    @property
    def is_nested(self) -> bool:
        """Whether nothing but the total and nested groups ties the lines together."""
        return not self.rows and self.max_moves is None


def mean_value(problem: Problem, spend: FloatArray) -> FloatArray:
    """Mean value of each line at `spend`, (n_lines,)."""
    return np.array([np.interp(s, x, y) for s, x, y in zip(spend, problem.spend, problem.value, strict=True)])


def is_allowed(problem: Problem, spend: FloatArray, slack: float) -> bool:
    """Whether a plan keeps every rule, sums of money to `slack` and rows to their scale."""
    inside = all(
        x[0] - slack <= s <= x[-1] + slack and (on.all() or on_curve(x, on, s, slack))
        for s, x, on in zip(spend.tolist(), problem.spend, problem.joined, strict=True)
    )
    apart = problem.total - float(spend.sum())
    if not inside or apart < -slack or (problem.unspent_worth is None and apart > slack):
        return False
    held = [float(spend[group.inside].sum()) for group in problem.groups]
    if any(not g.low - slack <= s <= g.high + slack for g, s in zip(problem.groups, held, strict=True)):
        return False
    value = mean_value(problem, spend)
    for row in problem.rows:
        sum_ = float(row.spend_weight @ spend + row.value_weight @ value)
        if not row.low - TOLERANCE * row.scale <= sum_ <= row.high + TOLERANCE * row.scale:
            return False
    if problem.max_moves is None or problem.stay is None:
        return True
    return int((np.abs(spend - problem.stay) > slack).sum()) <= problem.max_moves


def on_curve(x: FloatArray, joined: BoolArray, at: float, slack: float) -> bool:
    """Whether a line may spend `at`."""
    return any(a - slack <= at <= b + slack for a, b in allowed_parts(x, joined))


def allowed_parts(x: FloatArray, joined: BoolArray) -> list[tuple[float, float]]:
    """Intervals that a line may spend in."""
    return [(float(x[a]), float(x[b])) for a, b in part_positions(joined)]


def part_positions(joined: BoolArray) -> list[tuple[int, int]]:
    """First and last point of each stretch of points that are joined."""
    breaks = np.flatnonzero(~joined)
    first = np.concatenate([[0], breaks + 1]).astype(int)
    last = np.concatenate([breaks, [len(joined)]]).astype(int)
    return list(zip(first.tolist(), last.tolist(), strict=True))
