"""Cases that the project's source documents describe: reproduced with figures derived by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

from models.allocation import AllocationConfig, Plan, allocate, scenarios
from models.errors import InfeasiblePlan
from tests.models.test_allocation import FREE, curves_of, spends

CAMPAIGNS = ("branded", "generic", "retargeting", "prospecting")
ROAS = np.array([5.0, 2.5, 4.0, 1.2])
CLV = np.array([60.0, 500.0, 50.0, 1000.0])
CAPS = np.array([300.0, 400.0, 250.0, 600.0])


def linear(returns, end=1000.0):
    return curves_of([lambda x, r=r: r * x for r in returns], end=end, points=2, lines=CAMPAIGNS)


def test_the_linear_programme_of_budget_allocation_under_constraints():
    """Maximise sum(return * spend) under a total, caps, and ROAS of at least 2 per line (the last one has 1.2)."""
    config = replace(
        FREE, total=1000.0, spend_all=False, objective="revenue", caps=dict(zip(CAMPAIGNS, CAPS.tolist(), strict=True)),
        min_line_roas=dict.fromkeys(CAMPAIGNS, 2.0),
    )  # fmt: skip
    plan = allocate(linear(ROAS), None, config)
    exact = linprog(-ROAS, A_ub=[np.ones(4)], b_ub=[1000.0], bounds=[(0, c if r >= 2 else 0) for c, r in
                                                                     zip(CAPS, ROAS, strict=True)])  # fmt: skip
    assert plan.value_mean == pytest.approx(-exact.fun)
    assert spends(plan) == pytest.approx([300.0, 400.0, 250.0, 0.0])  # 1500 + 1000 + 1000, 50 stays unspent
    assert plan.value_mean == pytest.approx(3500.0)
    assert [line.binding for line in plan.lines][:3] == ["cap", "cap", "cap"]
    assert [line.shadow_price for line in plan.lines][:3] == pytest.approx([5.0, 2.5, 4.0])


def test_lifetime_value_ranks_the_campaigns_anew():
    """ROAS alone ranks branded first and prospecting last; times CLV the order turns round: 1250, 1200, 300, 200."""
    config = replace(FREE, total=600.0, caps=dict.fromkeys(CAMPAIGNS, 250.0))
    ratio = dict(zip(CAMPAIGNS, (CLV / 60).tolist(), strict=True))
    short = allocate(linear(ROAS), None, config)
    long = allocate(linear(ROAS), None, replace(config, objective="clv", clv_ratio=ratio))
    assert spends(short) == pytest.approx([250.0, 100.0, 250.0, 0.0])
    assert spends(long) == pytest.approx([100.0, 250.0, 0.0, 250.0])
    assert [CAMPAIGNS[i] for i in np.argsort(-ROAS * CLV)] == ["generic", "prospecting", "branded", "retargeting"]


def test_layered_constraints_most_conversions_at_a_roas_of_3_and_a_cpa_of_50():
    """Conversions (spend / CPA_i) of value w_i: as a linear programme in four spends."""
    cpa = np.array([20.0, 40.0, 30.0, 90.0])
    worth = np.array([90.0, 100.0, 110.0, 400.0])
    revenue = worth / cpa  # 4.5, 2.5, 3.67, 4.44 per unit of money
    value_per_conversion = dict(zip(CAMPAIGNS, worth.tolist(), strict=True))
    config = replace(
        FREE, total=100_000.0, spend_all=False, objective="conversions", value_per_conversion=value_per_conversion,
        caps=dict(zip(CAMPAIGNS, [10_000.0, 90_000.0, 15_000.0, 90_000.0], strict=True)), min_roas=3.0, max_cpa=50.0,
    )  # fmt: skip
    plan = allocate(linear(revenue, 100_000.0), None, config)
    exact = linprog(
        -1 / cpa,
        A_ub=[np.ones(4), 3.0 - revenue, 1.0 - 50.0 / cpa],
        b_ub=[100_000.0, 0.0, 0.0],
        bounds=[(0, 10_000.0), (0, 90_000.0), (0, 15_000.0), (0, 90_000.0)],
    )
    assert plan.value_mean == pytest.approx(-exact.fun, rel=1e-5)
    x = spends(plan)
    assert revenue @ x >= 3.0 * x.sum() * (1 - 1e-6)
    assert x.sum() <= 50.0 * (x / cpa).sum() * (1 + 1e-6)
    free = allocate(linear(revenue, 100_000.0), None, replace(config, min_roas=None, max_cpa=None))
    assert revenue @ spends(free) < 3.0 * spends(free).sum()  # or the layers did nothing


def test_a_floor_for_the_brand():
    config = replace(FREE, total=600.0, caps=dict.fromkeys(CAMPAIGNS, 400.0))
    floor = {"brand visibility": {"lines": ["generic", "prospecting"], "min_share": 0.5}}
    plan = allocate(linear(ROAS), None, replace(config, groups=floor))
    assert spends(plan) == pytest.approx([300.0, 300.0, 0.0, 0.0])
    price = next(rule for rule in plan.constraints if rule.name == "group 'brand visibility'")
    assert price.shadow_price == pytest.approx(5.0 - 2.5)  # a euro less for the brand goes to branded search
    with pytest.raises(InfeasiblePlan, match="brand visibility"):
        allocate(linear(ROAS), None, replace(config, groups=floor, caps=dict.fromkeys(CAMPAIGNS[1::2], 100.0)))


def test_bounds_of_80_percent_and_three_scenarios():
    """Logistic saturation; each line may move by 80 %, the budgets are -20 %, as today, +30 %."""
    today = np.array([400.0, 250.0, 150.0, 100.0])
    beta, lam = np.array([900.0, 700.0, 300.0, 500.0]), np.array([0.004, 0.006, 0.01, 0.002])

    def response(i):
        return lambda x: beta[i] * np.tanh(lam[i] * x / 2)  # 2 * expit(z) - 1 = tanh(z / 2)

    curves = curves_of([response(i) for i in range(4)], end=1500.0, points=1501, lines=CAMPAIGNS)
    config = AllocationConfig(max_change_fraction=0.8, min_gain_fraction=0.0, min_probability_better=0.0)
    found = scenarios(curves, today, config)
    assert list(found) == ["-20%", "base", "+30%"]
    for plan, factor in zip(found.values(), (0.8, 1.0, 1.3), strict=True):
        assert isinstance(plan, Plan)
        x = spends(plan)
        assert x.sum() == pytest.approx(900.0 * factor)
        assert np.all(x >= 0.2 * min(factor, 1.0) * today - 0.01) and np.all(x <= 1.8 * max(factor, 1.0) * today + 0.01)
        # the documents' own rule: shares by marginal return today, clipped, scaled to the total
        marginal = beta * lam / 2 / np.cosh(lam * today / 2) ** 2
        rule = np.clip(marginal / marginal.sum() * x.sum(), 0.2 * today, 1.8 * today)
        rule *= x.sum() / rule.sum()
        by_rule = sum(response(i)(rule[i]) for i in range(4))
        assert plan.value_mean > by_rule
        assert plan.gap_fraction <= 1e-6
    assert found["-20%"].value_mean < found["base"].value_mean < found["+30%"].value_mean
