"""Unknown budget, a target at least cost, the frontier: closed forms and the laws that tie them together."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.allocation import AllocationConfig, allocate
from models.errors import ConfigError, InfeasiblePlan
from models.modes import efficient, frontier, least_cost, unknown_budget
from tests.models.test_allocation import FREE, curves_of, random_curves, spends

ROOTS = curves_of([lambda x: 60 * np.sqrt(x), lambda x: 30 * np.sqrt(x)], end=4000.0, points=16_001)
K2 = 60**2 + 30**2  # at equal margins both lines together are worth sqrt(K2 * spend)


@pytest.mark.parametrize(
    ("floors", "spend"),
    [
        ({"min_marginal_roas": 1.5}, K2 / 4 / 1.5**2),  # sqrt(K2 / X) / 2 = m
        ({"min_average_roas": 2.5}, K2 / 2.5**2),  # sqrt(K2 / X) = a
        ({"min_average_roas": 2.5, "min_marginal_roas": 1.0}, K2 / 2.5**2),  # average binds: 2 m < a
        ({"min_average_roas": 2.5, "min_marginal_roas": 2.0}, K2 / 4 / 2.0**2),  # marginal binds
        ({}, K2 / 4),  # break-even at a margin of 1
    ],
)
def test_unknown_budget_spends_up_to_its_floors(floors, spend):
    plan = unknown_budget(ROOTS, None, FREE, **floors)
    assert plan.planned_spend == pytest.approx(spend, rel=2e-3)
    assert spends(plan)[0] / spends(plan)[1] == pytest.approx(4.0, rel=0.02)
    assert plan.roas_mean >= floors.get("min_average_roas", 0.0) * (1 - 1e-6)
    assert plan.profit_mean == pytest.approx(plan.value_mean - plan.planned_spend)


def test_unknown_budget_keeps_other_rules_and_refuses_nonsense():
    capped = unknown_budget(ROOTS, None, replace(FREE, caps={"line_0": 100.0}, total=150.0), min_marginal_roas=0.1)
    assert spends(capped) == pytest.approx([100.0, 50.0], abs=0.02)
    with pytest.raises(ConfigError, match="min_average_roas"):
        unknown_budget(ROOTS, None, FREE, min_average_roas=-1.0)
    with pytest.raises(InfeasiblePlan):
        unknown_budget(ROOTS, None, replace(FREE, floors={"line_1": 3000.0}), min_average_roas=30.0)


def test_least_cost_inverts_the_best_value():
    found = least_cost(ROOTS, None, 2000.0, FREE)
    assert found.plan.planned_spend == pytest.approx(2000.0**2 / K2, rel=1e-4)
    assert found.plan.value_mean >= 2000.0
    assert found.cost_bound <= found.plan.planned_spend <= found.cost_bound + 0.05


@settings(max_examples=15, deadline=None)
@given(st.integers(100, 5000), st.floats(0.2, 0.9))
def test_the_cheapest_plan_for_a_plans_value_costs_no_more_than_it(seed, factor):
    curves, current = random_curves(seed, 4, 20)
    total = float(np.round(factor * current.sum(), 2))
    best = allocate(curves, None, replace(FREE, total=total))
    found = least_cost(curves, None, best.value_mean * (1 - 1e-6), FREE)
    assert found.plan.planned_spend <= total + 0.02
    assert found.plan.value_mean >= best.value_mean * (1 - 1e-6)


def test_a_target_beyond_reach_says_what_can_be_had():
    with pytest.raises(InfeasiblePlan, match="the most is"):
        least_cost(ROOTS, None, 1e9, FREE)
    with pytest.raises(ConfigError, match="nan"):
        least_cost(ROOTS, None, float("nan"), FREE)


def test_frontier_trades_value_against_roas_and_keeps_the_efficient():
    curves, current = random_curves(101, 4, 100)
    frame = frontier(curves, current, AllocationConfig(max_change_fraction=0.6), factors=(0.7, 1.0, 1.3))
    assert frame.height == 9
    assert set(frame["risk"]) == {"mean", "cvar:0.1:0.5", "cvar:0.1"}
    mean = frame.filter(frame["risk"] == "mean").sort("budget")
    assert mean["value_mean"].is_sorted()
    assert mean["is_efficient"].any()
    wary = frame.filter(frame["risk"] == "cvar:0.1").sort("budget")
    assert (wary["value_tail"].to_numpy() >= mean["value_tail"].to_numpy() * (1 - 1e-4)).all()
    assert (wary["value_mean"].to_numpy() <= mean["value_mean"].to_numpy() * (1 + 1e-6)).all()
    assert frame["planned_spend"].to_list() == pytest.approx(
        frame.select([f"spend_{line}" for line in curves.lines]).sum_horizontal().to_list()
    )
    with pytest.raises(ConfigError, match="budget"):
        frontier(curves, None, FREE)


def test_efficient_rows_by_hand():
    goods = np.array([[1.0, 5.0], [2.0, 4.0], [1.5, 4.0], [2.0, 4.0], [0.5, 5.0]])
    assert efficient(goods) == [True, True, False, True, False]
