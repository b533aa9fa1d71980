"""Plans on demand: rules read and refused, flights within the rules, what is told."""

import json
from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from models.allocation import AllocationConfig, Group
from models.errors import ConfigError, DataError
from models.flight_rules import flight_caps, flight_kernels
from models.run import Run
from tasks import plan_asking, planning
from tasks.plan_asking import Modes, explain_plan, plan_on_curves, with_wishes
from tasks.plan_telling import told_explanation, told_plan
from tasks.planning import Units, completed, inputs_file, inputs_of, make_plans, recent_spend
from tests.models.test_allocation import curves_of

CURVES = "line,spend,response\na,0,0\na,100,300\na,200,400\nb,0,0\nb,100,200\nb,200,390\n"
REVENUE = Units(kpi="revenue", customer_value="revenue")


@pytest.fixture
def curves(tmp_path):
    file = tmp_path / "curves.csv"
    file.write_text(CURVES)
    return file


@pytest.fixture
def rules(tmp_path):
    def write(text):
        file = tmp_path / "rules.yaml"
        file.write_text(text)
        return file

    return write


@pytest.fixture
def run(tmp_path):
    return Run(run_id="test", as_of=date(2026, 6, 28), seed=0, workspace=tmp_path)


# the rules


def test_constraints_are_read_as_written(rules):
    file = rules("allocation:\n  caps: {a: 150}\n  locked: [b]\n  groups: {brand: {lines: [a, b], floor: 50}}\n")
    config = with_wishes(AllocationConfig(margin_fraction=0.4), file, {"total": 300.0})
    assert config == AllocationConfig(
        margin_fraction=0.4,
        caps={"a": 150.0},
        locked=("b",),
        groups={"brand": Group(lines=("a", "b"), floor=50.0)},
        total=300.0,
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cap: {a: 5}", "Unknown constraint cap"),
        ("caps: 5", "constraint caps cannot be used.*found '5'"),
        ("floors: {a: much}", r"constraint floors\.a cannot be used.*found 'much'"),
        ("groups: {g: {lines: [a], flor: 5}}", r"constraint groups\.g\.flor cannot be used"),
        ("min_roas: -1", "min_roas = -1"),
        ("[caps]", "not a mapping"),
        ("caps: {a: 5", "could not be read as YAML"),
    ],
)
def test_what_is_wrong_with_a_constraints_file_is_said(rules, text, words):
    with pytest.raises(ConfigError, match=words):
        with_wishes(AllocationConfig(), rules(text), {})


# flights


def test_a_flight_keeps_the_caps(curves, rules):
    modes = Modes(flight_weeks=4)
    free = plan_on_curves(curves, None, {"total": 200.0}, modes)["flights"]
    assert max(free["spend"]["a"]) > 60.0
    capped = plan_on_curves(curves, rules("caps: {a: 60}"), {"total": 200.0}, modes)["flights"]
    assert max(capped["spend"]["a"]) <= 60.0
    assert sum(capped["spend"]["a"]) + sum(capped["spend"]["b"]) == pytest.approx(800.0, abs=0.1)


@pytest.mark.parametrize(
    "rule",
    [
        {"floors": {"a": 1.0}},
        {"locked": ("a",)},
        {"groups": {"g": Group(lines=("a",), cap=5.0)}},
        {"off_or_at_least": {"a": 5.0}},
        {"max_moves": 0},
        {"min_line_roas": {"a": 1.0}},
        {"min_roas": 1.0},
        {"max_cpa": 5.0},
        {"max_change_fractions": {"a": 0.1}},
        {"margin_fractions": {"a": 0.5}},
        {"objective": "clv"},
        {"risk": "cvar:0.1"},
    ],
)
def test_a_flight_refuses_rules_that_it_cannot_keep(rule):
    with pytest.raises(ConfigError, match=next(iter(rule))):
        flight_caps(AllocationConfig(**rule))


def test_a_flight_needs_spend_that_carries_over():
    fitted = SimpleNamespace(config=SimpleNamespace(order="saturation_first"))
    with pytest.raises(ConfigError, match="adstock_first"):
        flight_kernels(fitted)


def test_a_flight_of_unknown_budget_flies_what_would_pay(curves):
    """The returns are 3 and 1 in a, 2 and 1.9 in b: 100 and 200 a week where the last unit returns 1.5."""
    found = plan_on_curves(curves, None, {}, Modes(unknown_budget=True, min_marginal_roas=1.5, flight_weeks=4))
    assert found["summary"]["planned_spend"] == pytest.approx(300.0)
    spent = {row["kind"]: row["spend"] for row in found["flights"]["table"]}
    assert spent["always-on"] == spent["optimised"] == pytest.approx(1200.0, abs=0.1)
    nothing = plan_on_curves(curves, None, {}, Modes(unknown_budget=True, min_marginal_roas=50.0, flight_weeks=4))
    assert nothing["summary"]["planned_spend"] == 0.0
    assert nothing["flights"]["best"] is None
    assert "There is no flight: the plan spends nothing." in told_plan(nothing)
    json.dumps(nothing)


# what customers are worth


def customers(monkeypatch, rows):
    columns = {"campaign": pl.String, "channel": pl.String, "first_order_value": pl.Float64, "clv_mean": pl.Float64}
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    monkeypatch.setattr(planning, "read_frame", lambda *_: frame)
    monkeypatch.setattr(
        planning, "champion_curves", lambda _: (SimpleNamespace(model_id="m"), curves_of([np.sqrt] * 3))
    )


ROWS = [
    (None, "line_0", 50.0, 100.0),
    (None, "line_1", None, 80.0),  # no order in money
    ("spring", "line_2", 10.0, 10.0),  # a campaign's value is not its channel's
]


@pytest.mark.parametrize(
    ("units", "conversion", "ratio"),
    [
        (REVENUE, {"line_0": 50.0}, {"line_0": 2.0}),
        (Units(kpi="margin", customer_value="margin"), {"line_0": 50.0}, {"line_0": 2.0}),
        (Units(kpi="margin", customer_value="revenue"), {}, {"line_0": 2.0}),
        (
            Units(kpi="conversions", customer_value="revenue"),
            {"line_0": 1.0, "line_1": 1.0, "line_2": 1.0},
            {"line_0": 100.0, "line_1": 80.0},
        ),
    ],
)
def test_worths_are_in_units_of_the_kpi(monkeypatch, run, units, conversion, ratio):
    customers(monkeypatch, ROWS)
    config = completed(run, AllocationConfig(objective="clv"), units)
    assert config.value_per_conversion == conversion
    assert config.clv_ratio == ratio


def test_what_the_config_says_of_a_line_stands(monkeypatch, run):
    customers(monkeypatch, ROWS)
    config = AllocationConfig(objective="clv", clv_ratio={"line_0": 1.5, "line_2": 1.0}, max_cpa=9.0)
    filled = completed(run, config, REVENUE)
    assert filled.clv_ratio == {"line_0": 1.5, "line_2": 1.0}
    assert filled.value_per_conversion == {"line_0": 50.0}
    plain = AllocationConfig()
    assert completed(run, plain, REVENUE) is plain


def test_spend_before_a_flight_is_that_of_the_models_lines(monkeypatch, run):
    weeks = [date(2026, 6, 1) + timedelta(weeks=k) for k in range(3)]
    rows = [(weeks[0], "tv", 10.0), (weeks[2], "tv", 30.0), (weeks[1], "radio", 5.0)]
    frame = pl.DataFrame(rows, schema=["week_start", "channel", "spend"], orient="row")
    monkeypatch.setattr(planning, "read_frame", lambda *_: frame)
    assert recent_spend(run, ("tv", "search")) == {"tv": [10.0, 0.0, 30.0]}


# what is told


def test_a_scenario_without_a_plan_says_why(monkeypatch, run):
    lines = curves_of([np.sqrt, np.sqrt])
    monkeypatch.setattr(planning, "champion_curves", lambda _: (SimpleNamespace(model_id="m"), lines))
    monkeypatch.setattr(planning, "current_spend", lambda _: {"line_0": 300.0, "line_1": 300.0})
    config = AllocationConfig(floors={"line_0": 300.0, "line_1": 250.0}, max_change_fraction=None)
    _, plans, why_not = make_plans(run, config, "EUR")
    assert set(plans) == {"base", "+30%"}
    assert set(why_not) == {"-20%"}
    found = plan_asking.answer(plans, None, False, why_not)
    assert found["scenarios"]["-20%"]["infeasible"] == why_not["-20%"]
    told = told_plan(found, with_scenarios=True)
    assert f"-20%: no plan. {why_not['-20%']}" in told
    assert "+30%: budget 780" in told


def test_a_plan_reads_with_its_name_its_bound_and_its_weeks(curves):
    found = plan_on_curves(curves, None, {"total": 300.0}, Modes(flight_weeks=2))
    told = told_plan(found).splitlines()
    assert told[0] == f"Plan {found['plan_id']}"
    assert "next unit" in told[1]
    assert "No plan under these rules that spends as much is worth more than 690." in told
    assert "  b                       200 200" in told
    wary = told_plan(plan_on_curves(curves, None, {"total": 300.0, "risk": "cvar:0.1"}))
    assert "worth more than 690, counted as cvar:0.1; this one is so counted 690." in wary


def test_inputs_that_cannot_be_read_are_a_note_beside_the_reasons(monkeypatch, run):
    with pytest.raises(DataError, match="not kept"):
        inputs_of(run, "p2")
    file = inputs_file(run, "p2")
    file.parent.mkdir(parents=True)
    file.write_text('{"model_id": "m"')
    with pytest.raises(DataError, match="cannot be read any more"):
        inputs_of(run, "p2")
    line = {"line": "a", "spend": 1.0, "planned_spend": 2.0, "binding": "none", "reason": "new."}
    monkeypatch.setattr(plan_asking, "plan_names", lambda _: ["p1", "p2"])
    monkeypatch.setattr(plan_asking, "plan_lines", lambda *_: [line])
    monkeypatch.setattr(plan_asking, "latest_day", lambda _: run.as_of)
    told = told_explanation(explain_plan(run.workspace, "p2", "EUR"))
    assert "new." in told
    assert "cannot be compared with the plan before it, p1. The inputs of plan p1 were not kept" in told
