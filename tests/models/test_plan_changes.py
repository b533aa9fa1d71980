"""Explanations: parts add up to the move, unchanged inputs explain nothing, a lone change explains all."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.allocation import AllocationConfig
from models.errors import InfeasiblePlan
from models.plan_changes import CAUSES, PlanInputs, explain
from models.response import ResponseCurves
from tests.models.test_allocation import random_curves

EVERY = (*CAUSES, "together")


def inputs(seed=101, config=None):
    curves, current = random_curves(seed, 5, 30)
    return PlanInputs(curves=curves, current_spend=current, config=config or AllocationConfig())


def tilted(curves, seed):
    factor = np.random.default_rng(seed).uniform(0.7, 1.3, len(curves.lines))
    return replace(curves, response=curves.response * factor[:, None, None])


@settings(max_examples=25, deadline=None)
@given(st.integers(100, 5000))
def test_parts_add_up_to_the_move_and_an_unchanged_input_has_none(seed):
    rng = np.random.default_rng(seed)
    old = inputs(seed)
    changes = {}
    if with_data := rng.random() < 0.5:
        changes["current_spend"] = old.current_spend * rng.uniform(0.9, 1.1, 5)
    if with_curves := rng.random() < 0.5:
        changes["curves"] = tilted(old.curves, seed)
    config = old.config
    if with_rule := rng.random() < 0.5:
        config = replace(config, caps={"line_1": float(old.current_spend[1])})
    if with_target := rng.random() < 0.5:
        config = replace(config, total=float(old.current_spend.sum() * 1.05))
    found = explain(old, replace(old, **changes, config=config))
    shown = dict(zip(CAUSES, (with_data, with_curves, with_rule, with_target), strict=True))
    assert found.changed == tuple(cause for cause in CAUSES if shown[cause])
    total = found.frame.select(EVERY).sum_horizontal().to_numpy()
    assert total == pytest.approx((found.frame["new_spend"] - found.frame["old_spend"]).to_numpy(), abs=1e-6)
    for cause in CAUSES:
        if not shown[cause]:
            assert (found.frame[cause] == 0.0).all()


def test_a_lone_change_explains_everything():
    old = inputs()
    new = replace(old, curves=tilted(old.curves, 1))
    found = explain(old, new)
    assert found.changed == ("posterior",)
    assert found.frame["posterior"].to_numpy() == pytest.approx(found.frame["change"].to_numpy())
    moved = found.frame.filter(found.frame["change"].abs() > 1)
    assert moved.height > 0
    assert all("from the response curves." in reason for reason in moved["reason"])


def test_nothing_changed_is_said():
    found = explain(inputs(), inputs())
    assert found.changed == ()
    assert set(found.frame["reason"]) == {"unchanged."}


def test_a_cap_explains_the_line_it_stops():
    old = inputs()
    unhindered = dict(zip(old.curves.lines, explain(old, old).frame["new_spend"], strict=True))
    line = max(unhindered, key=unhindered.get)
    new = replace(old, config=replace(old.config, caps={line: 0.9 * unhindered[line]}))
    frame = explain(old, new).frame
    row = frame.row(frame["line"].to_list().index(line), named=True)
    assert row["constraint"] == pytest.approx(-0.1 * unhindered[line], abs=0.02)
    assert "from the constraints" in row["reason"]
    assert frame["constraint"].sum() == pytest.approx(0.0, abs=0.02)  # what it gives up goes elsewhere


def test_a_line_that_is_new_moves_from_nothing():
    old = inputs()
    fewer = ResponseCurves(lines=old.curves.lines[:4], spend=old.curves.spend[:4], response=old.curves.response[:4])
    before = PlanInputs(curves=fewer, current_spend=old.current_spend[:4], config=AllocationConfig())
    frame = explain(before, old).frame
    assert frame["old_spend"][4] == 0.0
    assert frame["change"][4] == frame["new_spend"][4] > 0


def test_changes_that_only_work_together_are_not_told_apart():
    """The new floor needs the new budget, and the new budget the new cap: no order has a plan at each step."""
    old = inputs(config=AllocationConfig(max_change_fraction=None, total=1000.0, caps=dict.fromkeys(
        [f"line_{i}" for i in range(5)], 200.0)))  # fmt: skip
    rules = {"floors": {"line_0": 1500.0}, "caps": {}, "total": 2000.0}
    found = explain(old, replace(old, config=replace(old.config, **rules)))
    assert set(found.changed) == {"constraint", "target"}
    assert found.frame["together"].to_numpy() == pytest.approx(found.frame["change"].to_numpy())
    assert (found.frame.select(CAUSES).to_numpy() == 0).all()


def test_two_plans_that_cannot_be_made_are_not_explained():
    old = inputs()
    with pytest.raises(InfeasiblePlan):
        explain(old, replace(old, config=replace(old.config, total=1e9)))
