"""Greedy fill of concave pieces under nested group limits: the exact optimum, without an optimiser.

Groups are nested (laminar) when any two of them are disjoint or one holds the other. What a group of concave lines is
worth as a function of its own money is again concave, and made of the same pieces in the order of their slope. So each
group, inner ones first, spends its least on its steepest pieces, keeps as many of the next as fit under its most, and
hands those on to the group around it.

Sources: Ibaraki & Katoh (1988), *Resource Allocation Problems*, chapter 9 (greedy is exact for separable concave
objectives under nested constraints); Rockafellar (1970), *Convex Analysis*, theorem 16.4 (the sup-convolution of
concave functions merges their slopes).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

SLACK_FRACTION = 1e-9  # of the total: sums of a few hundred thousand floats err by less


@dataclass(frozen=True, kw_only=True)
class GroupBound:
    """Least and most that some lines spend together.

    Parameters
    ----------
    name : what the group is called in messages.
    inside : (n_lines,) True for its lines.
    low, high : money, `low` <= `high`; `high` may be infinite.
    """

    name: str
    inside: NDArray[np.bool_]
    low: float
    high: float


def nested_order(groups: Sequence[GroupBound]) -> tuple[GroupBound, ...] | None:
    """The groups with inner ones before the ones around them; None where two of them overlap in part."""
    ordered = sorted(groups, key=lambda group: int(group.inside.sum()))
    if not ordered:
        return ()
    around = np.full(len(ordered[0].inside), -1)  # per line the smallest group seen so far, from the largest on
    for position, group in reversed(list(enumerate(ordered))):
        held = around[group.inside]
        if len(held) and (held != held[0]).any():
            return None
        around[group.inside] = position
    return tuple(ordered)


def fill(
    slope: FloatArray, length: FloatArray, owner: IntArray, base: FloatArray, groups: Sequence[GroupBound], total: float
) -> FloatArray | None:
    """Money put into each piece so that the lines spend `total`, every group keeps its limits and the value is largest.

    Parameters
    ----------
    slope, length, owner : (n_pieces,) value per unit of money, money and line of each piece. Within a line slopes never
        rise, in the order given. base : (n_lines,) money each line spends before its first piece.
    groups : nested, inner ones first; see `nested_order`.

    Returns
    -------
    (n_pieces,) money in each piece, or None where no spends meet the limits and the total.
    """
    slack = SLACK_FRACTION * max(abs(total), 1.0)
    order = np.argsort(-slope, kind="stable")
    left, line = length[order], owner[order]
    taken = np.zeros(len(order))
    for group in groups:
        at = np.flatnonzero(group.inside[line])
        put = _settle(left, taken, at, group, float(base[group.inside].sum()), slack)
        if not put:
            return None
    everything = GroupBound(name="total", inside=np.ones(len(base), dtype=bool), low=total, high=total)
    if not _settle(left, taken, np.arange(len(order)), everything, float(base.sum()), slack):
        return None
    result = np.empty(len(order))
    result[order] = taken
    return result


def _settle(left: FloatArray, taken: FloatArray, at: IntArray, group: GroupBound, base: float, slack: float) -> bool:
    """Spend a group's least, drop what is beyond its most; False where it can do neither."""
    spent = base + float(taken[at].sum())
    if spent > group.high + slack:
        return False
    room = left[at]
    need = group.low - spent
    if need > 0:
        before = np.cumsum(room) - room
        step = np.clip(need - before, 0.0, room)
        if float(step.sum()) < need - slack:
            return False
        taken[at] += step
        room = room - step
        spent = group.low
    if np.isfinite(group.high):
        before = np.cumsum(room) - room
        room = np.clip(group.high - spent - before, 0.0, room)
    left[at] = room
    return True
