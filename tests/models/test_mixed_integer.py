"""The mixed-integer programme: against the dynamic programme, and against enumeration where rules tie lines."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.allocation_instances import exact_optimum, random_instance
from models import mixed_integer
from models.allocation import AllocationConfig, allocate
from models.errors import InfeasiblePlan
from models.mixed_integer import Unproven, maximise_tied
from models.nested import GroupBound
from models.problem import NoPlan, Problem, Row, is_allowed
from tests.models.test_allocation import random_curves
from tests.models.test_nested import curves_of


def small_problem(rng, n_lines=3, steps=12, **rules):
    """Hill curves on whole-number grids small enough to enumerate."""
    x = np.arange(steps + 1.0)
    slope, half = rng.uniform(0.7, 4, (n_lines, 1)), rng.uniform(0.2, 0.8, (n_lines, 1)) * steps
    value = rng.lognormal(2, 0.5, (n_lines, 1)) * x**slope / (half**slope + x**slope)
    return Problem(
        lines=tuple(f"line_{i}" for i in range(n_lines)),
        spend=(x,) * n_lines,
        value=tuple(value),
        joined=(np.ones(steps, dtype=bool),) * n_lines,
        total=float(steps * n_lines // 2),
        unspent_worth=0.0,
        **rules,
    )


def enumerated(problem, rule):
    """Best plan in whole units among those that `rule` allows."""
    best = -np.inf
    for plan in product(*(range(len(x)) for x in problem.spend)):
        spend = np.array(plan, dtype=float)
        if spend.sum() <= problem.total:
            value = np.array([problem.value[i][k] for i, k in enumerate(plan)])
            if rule(spend, value):
                best = max(best, float(value.sum()))
    return best


@pytest.mark.parametrize("seed", range(1000, 1025))
def test_equals_the_dynamic_programme(seed):
    instance = random_instance(seed)
    spend, value, joined, groups = curves_of(instance)
    problem = Problem(
        lines=tuple(f"line_{i}" for i in range(len(spend))),
        spend=tuple(spend),
        value=tuple(value),
        joined=tuple(joined),
        total=float(instance.total),
        unspent_worth=None,
        groups=tuple(groups),
    )
    exact = exact_optimum(instance)
    found = maximise_tied(problem)
    assert found.value == pytest.approx(exact, rel=2e-6)
    assert found.upper_bound >= exact
    assert found.upper_bound - found.value <= 1e-6 * found.upper_bound
    assert is_allowed(problem, found.spend, 1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_a_roas_of_the_whole_plan_holds_and_no_whole_plan_beats_the_bound(seed):
    rng = np.random.default_rng(seed)
    plain = small_problem(rng)
    free = maximise_tied(plain)
    target = rng.uniform(1.0, 1.5) * free.value / free.spend.sum()
    row = Row(
        name="min_roas", kind="roas", spend_weight=np.full(3, -target), value_weight=np.ones(3), low=0.0, high=np.inf,
        scale=target * plain.total,
    )  # fmt: skip
    problem = Problem(**{**vars(plain), "rows": (row,)})
    found = maximise_tied(problem)
    exact = enumerated(problem, lambda x, y: y.sum() >= target * x.sum())
    assert found.upper_bound >= exact
    assert found.value >= exact * (1 - 1e-6)  # fractions of a unit may be worth more, never less
    assert found.upper_bound - found.value <= 1e-6 * free.value
    assert found.value >= target * found.spend.sum() - 1e-5 * problem.total
    assert found.value < free.value * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_the_number_of_moves_is_kept_exactly(seed):
    rng = np.random.default_rng(seed)
    plain = small_problem(rng, n_lines=4, steps=8)
    stay = rng.integers(1, 5, 4).astype(float)
    problem = Problem(**{**vars(plain), "stay": stay, "max_moves": 2})
    found = maximise_tied(problem)
    exact = enumerated(problem, lambda x, _: (x != stay).sum() <= 2)
    assert (np.abs(found.spend - stay) > 1e-6).sum() <= 2
    assert found.upper_bound >= exact
    assert found.value == pytest.approx(exact, rel=1e-6)
    more = maximise_tied(Problem(**{**vars(problem), "max_moves": 3}))
    assert more.value >= found.value * (1 - 1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_groups_that_overlap_in_part(seed):
    rng = np.random.default_rng(seed)
    plain = small_problem(rng, n_lines=3, steps=12)
    rows = [
        Row(name="g", kind="group", spend_weight=np.array(w), value_weight=np.zeros(3), low=low, high=high, scale=18.0)
        for w, low, high in (([1.0, 1.0, 0.0], 8.0, 18.0), ([0.0, 1.0, 1.0], 0.0, 9.0))
    ]
    problem = Problem(**{**vars(plain), "rows": tuple(rows)})
    found = maximise_tied(problem)
    exact = enumerated(problem, lambda x, _: x[0] + x[1] >= 8 and x[1] + x[2] <= 9)
    assert found.value == pytest.approx(exact, rel=1e-6)
    assert found.upper_bound >= exact


def test_says_when_there_is_no_plan():
    plain = small_problem(np.random.default_rng(0))
    with pytest.raises(NoPlan):
        maximise_tied(Problem(**{**vars(plain), "unspent_worth": None, "total": 99.0}))
    inside = np.array([True, True, True])
    floor = GroupBound(name="all", inside=inside, low=19.0, high=30.0)
    with pytest.raises(NoPlan):
        maximise_tied(Problem(**{**vars(plain), "groups": (floor,)}))


def test_a_search_that_gives_up_does_not_say_that_the_rules_conflict(monkeypatch):
    given_up = SimpleNamespace(x=None, status=1, mip_dual_bound=None, fun=None)
    monkeypatch.setattr(mixed_integer, "milp", lambda *_, **__: given_up)
    with pytest.raises(Unproven):
        maximise_tied(small_problem(np.random.default_rng(0)))
    curves, current = random_curves(101, 6)
    with pytest.raises(InfeasiblePlan, match="search ended") as error:
        allocate(curves, current, AllocationConfig(max_moves=3, max_change_fraction=None))
    assert "moves" not in str(error.value)


def test_lines_that_may_not_stay_count_as_moves():
    """A current spend outside a line's limits is a move whatever the plan is."""
    x = np.array([0.0, 2.0, 4.0])
    problem = Problem(
        lines=("a", "b"), spend=(x, x), value=(np.array([0.0, 3.0, 4.0]), np.array([0.0, 2.0, 3.0])),
        joined=(np.ones(2, dtype=bool),) * 2, total=4.0, unspent_worth=None, stay=np.array([5.0, 2.0]), max_moves=1,
    )  # fmt: skip
    found = maximise_tied(problem)
    assert found.spend == pytest.approx([2.0, 2.0], abs=1e-6)
    with pytest.raises(NoPlan):
        maximise_tied(Problem(**{**vars(problem), "max_moves": 0}))
