"""Certified maximum of a sum of piecewise-linear curves that share one budget and nested group limits.

Each line's curve may have any shape, S-shaped included, and may be allowed on parts of its range only (off, or at
least so much). The concave envelopes give an upper bound: with envelopes in place of the curves the problem is a greedy
fill, and its solution leaves every line on a point where envelope equals curve, but for one line per binding limit.
Branch and bound then cuts the range of the line that is farthest off its curve at the curve's own points, until the
best plan found and the best bound left agree. The curves have finitely many points, so this ends.

Sources: Boyd & Vandenberghe (2004), *Convex Optimization*, section 5.2 (the dual of a separable problem);
Falk & Soland (1969), "An algorithm for separable nonconvex programming problems", Management Science 15(9), 550-569
(branch and bound on envelopes); Aubin & Ekeland (1976), "Estimates of the duality gap in nonconvex optimization",
Mathematics of Operations Research 1(3), 225-245 (one shared constraint leaves at most one line off its curve).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count, pairwise

import numpy as np
from numpy.typing import NDArray

from models.nested import GroupBound, fill, nested_order

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
FLOAT_ERROR = 1e-12  # relative, of sums of up to a few hundred thousand values

type Ranges = tuple[tuple[int, int], ...]  # per line the first and last of its curve's points still allowed


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A plan with the proof of how good it is.

    Attributes
    ----------
    spend : (n_lines,) spends that add up to the total.
    value : sum of the curves at `spend`.
    upper_bound : no spends within the ranges and limits that add up to the total are worth more than this.
    node_count : relaxations solved.
    """

    spend: FloatArray
    value: float
    upper_bound: float
    node_count: int


@dataclass(frozen=True, slots=True)
class _Envelope:
    """Least concave function above one line's curve on a part of its range."""

    x: FloatArray  # vertices, where envelope equals curve
    y: FloatArray
    slope: FloatArray  # of the pieces between vertices, never rising
    length: FloatArray


@dataclass(frozen=True, slots=True)
class _Relaxed:
    """Optimum of one node with envelopes in place of curves."""

    bound: float
    spend: FloatArray
    excess: FloatArray  # envelope less curve at `spend`, per line; infinite where the curve does not allow the spend


def concave_envelope(x: FloatArray, y: FloatArray) -> NDArray[np.intp]:
    """Positions of the vertices of the least concave function above the points.

    Parameters
    ----------
    x : (n_points,) strictly increasing. y : (n_points,) finite.
    """
    slope = np.diff(y) / np.diff(x)
    if np.all(np.diff(slope) < 0):
        return np.arange(len(x))
    xs, ys = x.tolist(), y.tolist()
    hull: list[int] = []
    for here in range(len(xs)):
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            if (ys[b] - ys[a]) * (xs[here] - xs[a]) > (ys[here] - ys[a]) * (xs[b] - xs[a]):
                break
            hull.pop()
        hull.append(here)
    return np.array(hull)


def concave_runs(x: FloatArray, y: FloatArray, joined: BoolArray) -> list[tuple[int, int]]:
    """Ranges of points, touching or apart, on each of which the curve is allowed and concave.

    Parameters
    ----------
    x, y : (n_points,) the curve. joined : (n_points - 1,) whether spends between two neighbouring points are allowed.
    """
    if len(x) == 1:
        return [(0, 0)]
    slope = np.diff(y) / np.diff(x)
    rises = np.append(False, slope[1:] > slope[:-1])
    runs: list[tuple[int, int]] = []
    first = 0
    for piece, (allowed, rise) in enumerate(zip(joined.tolist(), rises.tolist(), strict=True)):
        if not allowed:
            if first < piece or not runs or runs[-1][1] < piece:
                runs.append((first, piece))
            first = piece + 1
        elif rise and first < piece:
            runs.append((first, piece))
            first = piece
    last = len(x) - 1
    if first < last or not runs or runs[-1][1] < last:
        runs.append((first, last))
    return runs


class _Search:
    """The curves, the limits, and the relaxation of any node."""

    def __init__(
        self,
        spend: Sequence[FloatArray],
        value: Sequence[FloatArray],
        joined: Sequence[BoolArray],
        groups: tuple[GroupBound, ...],
        total: float,
    ) -> None:
        self.spend, self.value, self.joined, self.groups, self.total = spend, value, joined, groups, total
        self.cache: dict[tuple[int, int, int], _Envelope] = {}
        self.runs = [concave_runs(x, y, on) for x, y, on in zip(spend, value, joined, strict=True)]
        self.relaxed = 0

    def envelope(self, line: int, first: int, last: int) -> _Envelope:
        key = (line, first, last)
        if key not in self.cache:
            x, y = self.spend[line][first : last + 1], self.value[line][first : last + 1]
            at = concave_envelope(x, y)
            hx, hy = x[at], y[at]
            length = np.diff(hx)
            # rounding must not let a later piece overtake an earlier one of the same line
            slope = np.minimum.accumulate(np.diff(hy) / length) if len(length) else length
            self.cache[key] = _Envelope(hx, hy, slope, length)
        return self.cache[key]

    def relax(self, ranges: Ranges) -> _Relaxed | None:
        """Optimum over the envelopes on these ranges; None where they cannot meet the limits."""
        self.relaxed += 1
        envelopes = [self.envelope(i, *pair) for i, pair in enumerate(ranges)]
        base = np.array([e.x[0] for e in envelopes])
        length = np.concatenate([e.length for e in envelopes])
        slope = np.concatenate([e.slope for e in envelopes])
        owner = np.repeat(np.arange(len(envelopes)), [len(e.length) for e in envelopes])
        taken = fill(slope, length, owner, base, self.groups, self.total)
        if taken is None:
            return None
        spend = base + np.bincount(owner, taken, minlength=len(base))
        height = np.array([e.y[0] for e in envelopes]) + np.bincount(owner, slope * taken, minlength=len(base))
        excess = np.array([self._excess(i, spend[i], height[i], ranges[i]) for i in range(len(base))])
        return _Relaxed(float(height.sum()), spend, excess)

    def _excess(self, line: int, at: float, height: float, pair: tuple[int, int]) -> float:
        x = self.spend[line]
        if pair[0] == pair[1]:
            return 0.0
        piece = min(max(int(np.searchsorted(x, at, side="right")) - 1, pair[0]), pair[1] - 1)
        inside = 1e-12 * (x[-1] - x[0]) < at - x[piece] < (x[piece + 1] - x[piece]) * (1 - 1e-12)
        if inside and not self.joined[line][piece]:
            return np.inf
        return max(height - float(np.interp(at, x, self.value[line])), 0.0)

    def plans(self, node: _Relaxed, ranges: Ranges) -> list[_Relaxed]:
        """Plans near a node's solution: itself where the curves allow it, and the best on concave runs around it."""
        plans = [] if np.isinf(node.excess).any() else [node]
        polished = self.polish(node.spend, ranges) if node.excess.max() > 0 else None
        return plans if polished is None else [*plans, polished]

    def polish(self, spend: FloatArray, ranges: Ranges) -> _Relaxed | None:
        """Optimum with each line kept to the concave run nearest to its spend: a plan, not only a bound."""
        chosen = []
        for i, at in enumerate(spend.tolist()):
            x, (first, last) = self.spend[i], ranges[i]
            inside = [(max(a, first), min(b, last)) for a, b in self.runs[i] if a <= last and b >= first]
            away = [max(x[a] - at, at - x[b], 0.0) for a, b in inside]
            nearest = min(away)
            chosen.append([pair for pair, far in zip(inside, away, strict=True) if far <= nearest][-1])
        return self.relax(tuple(chosen))


def maximise(
    spend: Sequence[FloatArray],
    value: Sequence[FloatArray],
    total: float,
    *,
    joined: Sequence[BoolArray] | None = None,
    groups: Sequence[GroupBound] = (),
    tolerance: float = 1e-6,
    max_nodes: int = 10_000,
) -> Certificate:
    """Spends that add up to `total` and maximise the sum of the lines' values, with an upper bound on that maximum.

    Parameters
    ----------
    spend : per line the points of its curve, strictly increasing; the first and last are the least and most it may
        spend. One point means the line is fixed.
    value : per line the curve's values at those points, joined linearly between them.
    total : money to spend; at least the sum of the first points and at most the sum of the last.
    joined : per line, between each two neighbouring points, whether spends between them are allowed; all by default.
    groups : nested limits on sums of lines.
    tolerance : stop once the gap is at most this share of the upper bound.
    max_nodes : stop after so many relaxations; the gap is then larger than `tolerance`, and still true.

    Raises
    ------
    ValueError : no spends meet the ranges, the groups and the total; or the groups are not nested.
    """
    ordered = nested_order(groups)
    if ordered is None:
        raise ValueError("the groups overlap in part; expected them nested or apart")
    allowed = [np.ones(len(x) - 1, dtype=bool) for x in spend] if joined is None else joined
    if (at_once := _all_concave(spend, value, allowed, ordered, total)) is not None:
        return at_once
    return _branch(_Search(spend, value, allowed, ordered, total), tolerance, max_nodes)


def _branch(search: _Search, tolerance: float, max_nodes: int) -> Certificate:
    """Best bound first, until plan and bound agree."""
    spend, total = search.spend, search.total
    twins = _twins(spend, search.value, search.groups)
    ranges: Ranges = tuple((0, len(x) - 1) for x in spend)
    root = search.relax(ranges)
    if root is None:
        raise ValueError(f"total {total} is outside the sum of the lines' ranges, or a group's limits are")
    best, best_value = None, -np.inf
    order, seen = count(), {ranges}
    heap = [(-root.bound, next(order), root, ranges)]
    lost = -np.inf  # the highest bound of nodes dropped unsolved

    while heap:
        bound, _, node, ranges = heap[0]
        if -bound - best_value <= tolerance * abs(bound) or (best is not None and search.relaxed >= max_nodes):
            break
        heappop(heap)
        for found in search.plans(node, ranges):
            worth = found.bound - float(found.excess.sum())
            if worth > best_value:
                best, best_value = found, worth
        line = int(np.argmax(node.excess))
        if node.excess[line] <= 1e-13 * abs(node.bound):  # float noise: on its curves, nothing left to cut
            lost = max(lost, node.bound)
            continue
        for part in _cuts(spend[line], node.spend[line], *ranges[line], search.joined[line]):
            child_ranges = _sort_twins((*ranges[:line], part, *ranges[line + 1 :]), twins)
            if child_ranges in seen:
                continue
            seen.add(child_ranges)
            child = search.relax(child_ranges)
            if child is not None and child.bound > best_value:
                heappush(heap, (-child.bound, next(order), child, child_ranges))
    if best is None:
        raise ValueError(f"no spends that add up to {total} lie on the allowed parts of the curves")
    upper_bound = max(best_value, lost, -heap[0][0] if heap else -np.inf)
    return Certificate(spend=best.spend, value=best_value, upper_bound=_above(upper_bound), node_count=search.relaxed)


def _above(bound: float) -> float:
    """A bound that stays one whatever the order in which its terms are added."""
    return bound + FLOAT_ERROR * abs(bound)


def _all_concave(
    spend: Sequence[FloatArray],
    value: Sequence[FloatArray],
    joined: Sequence[BoolArray],
    groups: tuple[GroupBound, ...],
    total: float,
) -> Certificate | None:
    """The optimum by one fill where every curve is concave and allowed throughout; None where one is not."""
    sizes = np.array([len(x) for x in spend])
    if not np.concatenate([*joined, [True]]).all():
        return None
    x, y = np.concatenate(spend), np.concatenate(value)
    first = np.cumsum(sizes) - sizes
    within = np.ones(len(x), dtype=bool)
    within[first] = False  # the step from the last point of one line to the first of the next is none
    length, slope = np.diff(x, prepend=x[0]), np.zeros(len(x))
    slope[within] = np.diff(y, prepend=y[0])[within] / length[within]
    rise = np.diff(slope, prepend=slope[0])
    rise[first] = 0.0
    rise[(first + 1)[sizes > 1]] = 0.0
    if (rise > 1e-9 * np.abs(slope).max()).any():  # float noise of a mean over draws is no bend
        return None
    owner = np.repeat(np.arange(len(spend)), sizes)
    taken = fill(slope[within], length[within], owner[within], x[first], groups, total)
    if taken is None:
        return None
    plan = x[first] + np.bincount(owner[within], taken, minlength=len(spend))
    bound = float(y[first].sum() + slope[within] @ taken)  # pieces in any order: no plan can be worth more
    before = (x - length) - x[first][owner]
    put = np.clip((plan - x[first])[owner] - before, 0.0, length)
    worth = float(y[first].sum() + slope[within] @ put[within])
    return Certificate(spend=plan, value=worth, upper_bound=_above(max(bound, worth)), node_count=1)


def _twins(spend: Sequence[FloatArray], value: Sequence[FloatArray], groups: Sequence[GroupBound]) -> list[list[int]]:
    """Lines with the same curve in the same groups: exchanging their spends changes nothing."""
    alike: dict[tuple[bytes, bytes, bytes], list[int]] = {}
    for i, (x, y) in enumerate(zip(spend, value, strict=True)):
        member = bytes(bool(group.inside[i]) for group in groups)
        alike.setdefault((x.tobytes(), y.tobytes(), member), []).append(i)
    return [lines for lines in alike.values() if len(lines) > 1]


def _sort_twins(ranges: Ranges, twins: list[list[int]]) -> Ranges:
    """The same node with the ranges of each group of twins in order, so that it is searched once."""
    if not twins:
        return ranges
    changed = list(ranges)
    for group in twins:
        for i, pair in zip(group, sorted(ranges[i] for i in group), strict=True):
            changed[i] = pair
    return tuple(changed)


def _cuts(x: FloatArray, at: float, first: int, last: int, joined: BoolArray) -> list[tuple[int, int]]:
    """Ranges of points that a line's range falls into when cut on both sides of `at`; forbidden parts are left out."""
    left = min(max(int(np.searchsorted(x, at, side="right")) - 1, first), last - 1)
    right = left if x[left] == at and left > first else left + 1
    edges = sorted({first, *(p for p in (left, right) if first < p < last), last})
    parts = [pair for pair in pairwise(edges) if pair[1] - pair[0] > 1 or joined[pair[0]]]
    parts += [(p, p) for p in edges if not any(a <= p <= b for a, b in parts)]  # a point between two forbidden parts
    return parts
