"""Greedy fill under nested groups: against a linear programme, and branch and bound against a dynamic programme."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from benchmarks.allocation_instances import exact_optimum, random_instance
from models.certificate import concave_runs, maximise
from models.nested import GroupBound, fill, nested_order


def random_pieces(rng, n_lines=6):
    """Concave lines as pieces, with nested groups {0,1,2,3} around {0,1} and {4,5} apart."""
    slope, length, owner = [], [], []
    for line in range(n_lines):
        pieces = int(rng.integers(1, 6))
        slope += sorted(rng.uniform(-0.5, 3, pieces), reverse=True)
        length += rng.uniform(0.1, 2, pieces).tolist()
        owner += [line] * pieces
    groups = []
    for name, members in (("inner", [0, 1]), ("outer", [0, 1, 2, 3]), ("apart", [4, 5])):
        inside = np.zeros(n_lines, dtype=bool)
        inside[members] = True
        room = sum(length[k] for k, line in enumerate(owner) if inside[line])
        low = rng.uniform(0, 0.6) * room if rng.random() < 0.6 else 0.0
        high = low + rng.uniform(0.1, 1) * (room - low) if rng.random() < 0.7 else np.inf
        groups.append(GroupBound(name=name, inside=inside, low=low, high=high))
    return np.array(slope), np.array(length), np.array(owner), groups, rng.uniform(0.2, 0.8) * sum(length)


def by_linear_programme(slope, length, owner, base, groups, total):
    rows = np.array([g.inside[owner].astype(float) for g in groups])
    held = np.array([base[g.inside].sum() for g in groups])
    high, low = np.array([g.high for g in groups]), np.array([g.low for g in groups])
    capped = np.isfinite(high)
    found = linprog(
        -slope,
        A_ub=np.vstack([rows[capped], -rows]),
        b_ub=np.concatenate([(high - held)[capped], -(low - held)]),
        A_eq=np.ones((1, len(slope))),
        b_eq=[total - base.sum()],
        bounds=np.column_stack([np.zeros(len(slope)), length]),
    )
    return -found.fun if found.status == 0 else None


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 100_000))
def test_fill_is_the_optimum_of_the_linear_programme(seed):
    slope, length, owner, groups, total = random_pieces(np.random.default_rng(seed))
    base = np.zeros(6)
    exact = by_linear_programme(slope, length, owner, base, groups, total)
    taken = fill(slope, length, owner, base, nested_order(groups), total)
    assert (taken is None) == (exact is None)
    if taken is not None:
        assert slope @ taken == pytest.approx(exact, abs=1e-7)
        assert taken.sum() == pytest.approx(total)
        for group in groups:
            assert group.low - 1e-7 <= taken[group.inside[owner]].sum() <= group.high + 1e-7


def test_nested_order_puts_inner_groups_first_and_refuses_partial_overlap():
    def group(*members):
        inside = np.zeros(5, dtype=bool)
        inside[list(members)] = True
        return GroupBound(name=str(members), inside=inside, low=0.0, high=1.0)

    ordered = nested_order([group(0, 1, 2), group(3, 4), group(0, 1)])
    assert [int(g.inside.sum()) for g in ordered] == [2, 2, 3]
    assert nested_order([group(0, 1), group(1, 2)]) is None
    assert nested_order([group(0, 1), group(0, 1)]) is not None
    assert nested_order([group(0, 1, 2), group(2, 3), group(0, 1)]) is None
    assert nested_order([]) == ()


def curves_of(instance):
    """An instance's allowed curves: floors, caps, off or at least."""
    spend, value, joined, groups = [], [], [], []
    for i, curve in enumerate(instance.curves):
        x = np.arange(instance.low[i], instance.high[i] + 1.0)
        if instance.at_least[i]:
            x = np.concatenate([[0.0], np.arange(instance.at_least[i], instance.high[i] + 1.0)])
        on = np.ones(len(x) - 1, dtype=bool)
        on[0] = instance.at_least[i] == 0
        spend.append(x)
        value.append(curve[x.astype(int)])
        joined.append(on)
    for lines, floor, cap in instance.groups:
        inside = np.zeros(len(instance.low), dtype=bool)
        inside[list(lines)] = True
        groups.append(GroupBound(name=str(lines), inside=inside, low=float(floor), high=float(cap)))
    return spend, value, joined, groups


@pytest.mark.parametrize("seed", range(1000, 1060))
def test_branching_equals_the_dynamic_programme_with_floors_caps_groups_and_off_or_at_least(seed):
    instance = random_instance(seed)
    spend, value, joined, groups = curves_of(instance)
    exact = exact_optimum(instance)
    found = maximise(spend, value, float(instance.total), joined=joined, groups=groups, tolerance=1e-9)
    assert found.value == pytest.approx(exact, rel=1e-8)
    assert found.upper_bound >= exact
    assert found.upper_bound - found.value <= 1e-9 * found.upper_bound
    for group in groups:
        assert group.low - 1e-6 <= found.spend[group.inside].sum() <= group.high + 1e-6
    for i, least in enumerate(instance.at_least):
        assert found.spend[i] == pytest.approx(0.0, abs=1e-9) or found.spend[i] >= least - 1e-9


def test_the_instances_are_worth_testing():
    """Without their groups and thresholds the same instances would have another optimum, and often."""
    differs = 0
    for seed in range(1000, 1030):
        instance = random_instance(seed)
        spend, value, _, _ = curves_of(instance)
        free = maximise(spend, value, float(instance.total), tolerance=1e-9)
        differs += free.value > exact_optimum(instance) * (1 + 1e-6)
    assert differs >= 10


def test_runs_are_concave_and_leave_out_what_is_not_allowed():
    x = np.arange(7.0)
    y = np.array([0.0, 1.0, 3.0, 6.0, 8.0, 9.0, 9.5])  # slopes 1 2 3 2 1 .5
    assert concave_runs(x, y, np.ones(6, dtype=bool)) == [(0, 1), (1, 2), (2, 6)]
    joined = np.array([False, True, True, True, False, True])
    assert concave_runs(x, y, joined) == [(0, 0), (1, 2), (2, 4), (5, 6)]
    assert concave_runs(x[:1], y[:1], joined[:0]) == [(0, 0)]
    assert concave_runs(x[:3], y[:3], np.array([False, False])) == [(0, 0), (1, 1), (2, 2)]


def test_no_plan_is_said_where_groups_or_gaps_allow_none():
    x, y, on = np.array([0.0, 5.0, 10.0]), np.array([0.0, 4.0, 6.0]), np.array([True, True])
    inside = np.array([True, False])
    floor = GroupBound(name="g", inside=inside, low=11.0, high=np.inf)
    with pytest.raises(ValueError, match="group"):
        maximise([x, x], [y, y], 12.0, groups=[floor])
    off_or_on = [np.array([False, True]), np.array([False, True])]
    with pytest.raises(ValueError, match="allowed"):
        maximise([x, x], [y, y], 3.0, joined=off_or_on)
    assert maximise([x, x], [y, y], 7.0, joined=[off_or_on[0], on]).spend.sum() == pytest.approx(7.0)
