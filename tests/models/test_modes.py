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


# line_0 as before, a unit of line_1 counts twice: both lines are then worth 60 sqrt(x)
ALIKE = {"clv_ratio": {"line_0": 1.0, "line_1": 2.0}}


def test_unknown_budget_counts_money_as_its_objective_does():
    """Each line up to where its last unit earns itself back: 60 / (2 sqrt(x)) = 1, and 2 at half the margin."""
    clv = unknown_budget(ROOTS, None, replace(FREE, objective="clv", **ALIKE))
    assert spends(clv) == pytest.approx([900.0, 900.0], abs=0.3)
    assert clv.objective == "clv"
    assert clv.value_mean == pytest.approx(2 * 60 * 30.0, rel=1e-4)
    assert clv.profit_mean == pytest.approx(clv.value_mean - clv.planned_spend)
    margins = replace(FREE, margin_fraction=0.5, margin_fractions={"line_1": 1.0})
    own = unknown_budget(ROOTS, None, margins)
    assert spends(own) == pytest.approx([225.0, 225.0], abs=0.3)
    assert own.profit_mean == pytest.approx(0.5 * 60 * 15 + 30 * 15 - 450.0, rel=1e-4)


def test_unknown_budget_is_compared_in_its_objective_and_never_held():
    """A floor of 3 leaves money in the bank that would have earned a profit: a loss, and told as one."""
    today = [900.0, 225.0]  # break-even, so the most profit
    plan = unknown_budget(ROOTS, today, FREE, min_marginal_roas=3.0)
    assert plan.verdict == "move"
    assert spends(plan) == pytest.approx([100.0, 25.0], abs=0.3)
    now = 60 * 30 + 30 * 15 - sum(today)
    assert plan.gain_mean == pytest.approx(plan.profit_mean - now, rel=1e-4)
    assert plan.gain_mean < 0
    assert plan.probability_better == 0.0


def test_a_configured_roas_does_not_switch_off_break_even():
    plan = unknown_budget(ROOTS, None, replace(FREE, min_roas=0.5))
    assert plan.planned_spend == pytest.approx(K2 / 4, rel=2e-3)
    bound = unknown_budget(ROOTS, None, replace(FREE, min_roas=2.5))
    assert bound.planned_spend == pytest.approx(K2 / 2.5**2, rel=2e-3)


@pytest.mark.parametrize(
    ("rules", "floor", "words"),
    [
        ({"objective": "conversions", "value_per_conversion": {"line_0": 1.0, "line_1": 1.0}}, None, "conversions"),
        ({"objective": "clv", **ALIKE}, 2.0, "min_marginal_roas"),
        ({"margin_fractions": {"line_1": 0.5}}, 2.0, "margin_fractions"),
        ({"objective": "revenue", "margin_fractions": {"line_1": 0.5}}, None, "profit"),
    ],
)
def test_unknown_budget_refuses_what_has_no_price_in_money(rules, floor, words):
    with pytest.raises(ConfigError, match=words):
        unknown_budget(ROOTS, None, replace(FREE, **rules), min_marginal_roas=floor)


@pytest.mark.parametrize(
    "rules", [{"objective": "clv", **ALIKE}, {"margin_fraction": 0.5, "margin_fractions": {"line_1": 1.0}}]
)
def test_least_cost_reaches_a_target_beyond_break_even(rules):
    """Both lines are worth 60 sqrt(x), together 60 sqrt(2 X): 6,000 costs 5,000, far beyond where it pays."""
    found = least_cost(ROOTS, None, 6000.0, replace(FREE, **rules))
    assert found.plan.planned_spend == pytest.approx(5000.0, rel=1e-4)
    assert found.plan.objective == replace(FREE, **rules).objective
    assert found.cost_bound <= found.plan.planned_spend <= found.cost_bound + 0.05


def test_least_cost_knows_the_mean_only():
    with pytest.raises(ConfigError, match="found risk: cvar"):
        least_cost(ROOTS, None, 2000.0, replace(FREE, risk="cvar:0.1"))


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


def test_the_frontier_counts_in_the_objective_and_prices_the_best_plan():
    """Worth 60 sqrt(2 X): ROAS and marginal ROAS follow, although today's spend is good enough to be held."""
    config = replace(FREE, objective="clv", min_gain_fraction=0.5, **ALIKE)
    row = frontier(ROOTS, [700.0, 900.0], config, factors=(1.0,), attitudes=("mean",)).row(0, named=True)
    assert allocate(ROOTS, [700.0, 900.0], config).verdict == "hold"
    assert row["spend_line_0"] == pytest.approx(800.0, abs=0.3)
    assert row["value_mean"] == pytest.approx(60 * np.sqrt(2 * 1600), rel=1e-4)
    assert row["roas_mean"] == pytest.approx(row["value_mean"] / row["planned_spend"])
    assert row["marginal_roas"] == pytest.approx(30 * np.sqrt(2 / 1600), rel=1e-3)


def test_efficient_rows_by_hand():
    goods = np.array([[1.0, 5.0], [2.0, 4.0], [1.5, 4.0], [2.0, 4.0], [0.5, 5.0]])
    assert efficient(goods) == [True, True, False, True, False]
