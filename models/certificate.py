"""Certified maximum of a sum of piecewise-linear curves that share one budget.

Each line's curve may have any shape, S-shaped included. The concave envelopes give an upper bound: with envelopes in
place of the curves the problem is a greedy fill, and its solution leaves every line on a point where envelope equals
curve, but for at most one line. Branch and bound then cuts that line's range at the curve's own points, until the best
plan found and the best bound left agree. The curves have finitely many points, so this ends.

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

FloatArray = NDArray[np.float64]
type Ranges = tuple[tuple[int, int], ...]  # per line the first and last of its curve's points still allowed


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A plan with the proof of how good it is.

    Attributes
    ----------
    spend : (n_lines,) spends that add up to the total.
    value : sum of the curves at `spend`.
    upper_bound : no spends within the ranges that add up to the total are worth more than this.
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
    value: float
    spend: FloatArray
    off_line: int  # the one line that may lie off its curve; -1 when there is none


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


def maximise(
    spend: Sequence[FloatArray],
    value: Sequence[FloatArray],
    total: float,
    *,
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
    tolerance : stop once the gap is at most this share of the upper bound.
    max_nodes : stop after so many relaxations; the gap is then larger than `tolerance`, and still true.

    Raises
    ------
    ValueError : `total` lies outside what the lines may spend.
    """
    cache: dict[tuple[int, int, int], _Envelope] = {}

    def envelope(line: int, first: int, last: int) -> _Envelope:
        key = (line, first, last)
        if key not in cache:
            x, y = spend[line][first : last + 1], value[line][first : last + 1]
            at = concave_envelope(x, y)
            hx, hy = x[at], y[at]
            length = np.diff(hx)
            # rounding must not let a later piece overtake an earlier one of the same line
            slope = np.minimum.accumulate(np.diff(hy) / length) if len(length) else length
            cache[key] = _Envelope(hx, hy, slope, length)
        return cache[key]

    def relax(ranges: Ranges) -> _Relaxed | None:
        return _fill([envelope(i, *pair) for i, pair in enumerate(ranges)], spend, value, total)

    twins = _twins(spend, value)
    ranges: Ranges = tuple((0, len(x) - 1) for x in spend)
    root = relax(ranges)
    if root is None:
        raise ValueError(f"total {total} is outside the sum of the lines' ranges")
    best, nodes, order, seen = root, 1, count(), {ranges}
    heap = [(-root.bound, next(order), root, ranges)]
    while heap and nodes < max_nodes:
        bound = -heap[0][0]
        if bound - best.value <= tolerance * abs(bound):
            break
        _, _, node, ranges = heappop(heap)
        line = node.off_line
        for part in _cuts(spend[line], node.spend[line], *ranges[line]):
            child_ranges = _sort_twins((*ranges[:line], part, *ranges[line + 1 :]), twins)
            if child_ranges in seen:
                continue
            seen.add(child_ranges)
            child = relax(child_ranges)
            nodes += 1
            if child is None:
                continue
            if child.value > best.value:
                best = child
            if child.bound > best.value:
                heappush(heap, (-child.bound, next(order), child, child_ranges))
    upper_bound = max(best.value, -heap[0][0]) if heap else best.value
    return Certificate(spend=best.spend, value=best.value, upper_bound=upper_bound, node_count=nodes)


def _fill(
    envelopes: list[_Envelope], spend: Sequence[FloatArray], value: Sequence[FloatArray], total: float
) -> _Relaxed | None:
    """Spend the budget on the steepest envelope pieces first; None when the ranges cannot add up to the total."""
    n_lines = len(envelopes)
    vertices = np.concatenate([e.x for e in envelopes])
    heights = np.concatenate([e.y for e in envelopes])
    sizes = np.array([len(e.x) for e in envelopes])
    start = np.cumsum(sizes) - sizes
    slope = np.concatenate([e.slope for e in envelopes])
    length = np.concatenate([e.length for e in envelopes])
    owner = np.repeat(np.arange(n_lines), sizes - 1)

    slack = 1e-9 * max(abs(total), 1.0)  # float sums of a few hundred lines err by far less
    need = total - vertices[start].sum()
    if need < -slack or need - length.sum() > slack:
        return None
    steepest = np.argsort(-slope, kind="stable")
    filled = np.cumsum(length[steepest])
    whole = int(np.searchsorted(filled, need - slack * 1e-3, side="right"))
    at = start + np.bincount(owner[steepest[:whole]], minlength=n_lines)
    x, y = vertices[at], heights[at]
    on_curve = float(y.sum())
    if whole == len(steepest):
        return _Relaxed(on_curve, on_curve, x, -1)
    piece = steepest[whole]
    line = int(owner[piece])
    part = float(np.clip(total - x.sum(), 0.0, length[piece]))
    x[line] += part
    bound = on_curve + float(slope[piece]) * part
    true = on_curve - float(y[line]) + float(np.interp(x[line], spend[line], value[line]))
    return _Relaxed(max(bound, true), true, x, line)


def _twins(spend: Sequence[FloatArray], value: Sequence[FloatArray]) -> list[list[int]]:
    """Groups of lines with the same curve: exchanging their spends changes nothing."""
    groups: dict[tuple[bytes, bytes], list[int]] = {}
    for i, (x, y) in enumerate(zip(spend, value, strict=True)):
        groups.setdefault((x.tobytes(), y.tobytes()), []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def _sort_twins(ranges: Ranges, twins: list[list[int]]) -> Ranges:
    """The same node with the ranges of each group of twins in order, so that it is searched once."""
    if not twins:
        return ranges
    changed = list(ranges)
    for group in twins:
        for i, pair in zip(group, sorted(ranges[i] for i in group), strict=True):
            changed[i] = pair
    return tuple(changed)


def _cuts(x: FloatArray, at: float, first: int, last: int) -> list[tuple[int, int]]:
    """Ranges of points that a line's range falls into when cut on both sides of `at`."""
    left = int(np.searchsorted(x, at, side="right")) - 1
    right = left if x[left] == at else left + 1
    edges = sorted({first, *(p for p in (left, right) if first < p < last), last})
    return list(pairwise(edges))
