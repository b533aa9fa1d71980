"""Planning: from the champion's curves to a plan in the warehouse."""

import csv
import hashlib
import io
import json
from dataclasses import asdict, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from models import response
from models.allocation import AllocationConfig, allocate, scenarios
from models.errors import GateError
from models.plan import Plan
from models.response import ResponseCurves
from models.run import Run
from tasks.files import write_atomically
from tasks.registry import CURVES, ModelRun, artefact_folder, find
from tasks.warehouse import connect, read_frame, replace_rows, transaction

CURRENT_WEEKS = 13  # today's spend is the mean of a quarter: shorter windows mistake a flight for a budget
SCENARIO_FACTORS = (0.8, 1.0, 1.3)  # the three budgets a board asks for
BASE = "base"


@task(cache_policy=NO_CACHE)
def plan_budget(run: Run, config: AllocationConfig, money: str) -> str:
    """Allocate the budget on the champion's curves, store the plan and return its plan_id."""
    plan_id, plans = make_plans(run, config, money)
    store_plans(run, plans)
    return plan_id


@task(cache_policy=NO_CACHE)
def adopt_plan(run: Run, plan_id: str) -> None:
    """Put a stored plan in force; the one before goes out of force in the same statement."""
    adopt(run.warehouse, plan_id)


def adopt(warehouse: Path, plan_id: str) -> None:
    """`adopt_plan` without the orchestrator."""
    with connect(warehouse) as con, transaction(con):
        con.execute("update out.plan_summary set in_force = (plan_id = ? and scenario = ?)", [plan_id, BASE])


def champion_curves(run: Run) -> tuple[ModelRun, ResponseCurves]:
    """The mix model in force and its response curves.

    Raises
    ------
    GateError : there is no champion.
    """
    champion = find(run.warehouse, model="mmm")
    if champion is None:
        raise GateError(
            "No mix model has passed its gate in this workspace; expected a champion to plan from.\n"
            "See the model's verdict and reasons with: marginal status"
        )
    return champion, response.load(artefact_folder(run, champion.model_id) / CURVES)


def current_spend(run: Run) -> dict[str, float]:
    """Mean weekly spend per channel over the last quarter."""
    weekly = read_frame(run.warehouse, "mart.spend_weekly")
    if weekly is None or weekly.is_empty():
        return {}
    weeks = weekly["week_start"].unique().sort()[-CURRENT_WEEKS:]
    recent = weekly.filter(pl.col("week_start").is_in(weeks.implode()))
    return dict(recent.group_by("channel").agg(pl.col("spend").sum() / len(weeks)).sort("channel").iter_rows())


def make_plans(run: Run, config: AllocationConfig, money: str) -> tuple[str, dict[str, Plan]]:
    """(plan_id, plans by scenario): the plan itself and what other budgets would give."""
    champion, curves = champion_curves(run)
    spend = current_spend(run)
    current = {line: spend.get(line, 0.0) for line in curves.lines}
    identity = json.dumps([run.run_id, champion.model_id, asdict(config)], sort_keys=True, default=str)
    plan_id = "p" + hashlib.sha256(identity.encode()).hexdigest()[:12]
    base = allocate(curves, current, config, plan_id=plan_id, scenario=BASE, money=money)
    total = config.total if config.total is not None else sum(current.values())
    factors = [factor for factor in SCENARIO_FACTORS if factor != 1.0]
    others = scenarios(curves, current, replace(config, total=total), factors=factors, plan_id=plan_id, money=money)
    # a budget nobody asked for may be out of reach
    plans = {BASE: base} | {name: plan for name, plan in others.items() if isinstance(plan, Plan)}
    return plan_id, plans


def summary_row(plan: Plan, *, in_force: bool) -> dict[str, Any]:
    """A plan's row of `out.plan_summary`."""
    names = (
        "plan_id",
        "scenario",
        "budget",
        "objective",
        "value_mean",
        "value_p05",
        "value_p95",
        "upper_bound",
        "gap_fraction",
        "roas_mean",
        "probability_roas_met",
        "planned_spend",
        "profit_mean",
        "status_quo_value",
        "gain_mean",
        "gain_p05",
        "gain_p95",
        "probability_better",
        "shadow_price",
        "verdict",
        "reason",
    )
    row = {name: getattr(plan, name) for name in names}
    return {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()} | {
        "in_force": in_force
    }


MAYBE_ABSENT = ("probability_roas_met", "probability_better", "gain_mean", "gain_p05", "gain_p95", "status_quo_value")
SUMMARY_TYPES = dict.fromkeys(MAYBE_ABSENT, pl.Float64)  # a column of nulls would have no type


def line_rows(plan: Plan, period_start: date | None) -> list[dict[str, Any]]:
    """A plan's rows of `out.budget_plan`: weekly money from `period_start` on."""
    return [
        {"plan_id": plan.plan_id, "scenario": plan.scenario, "period_start": period_start, **asdict(line)}
        for line in plan.lines
    ]


def next_monday(day: date) -> date:
    """The first Monday after a day: when a plan starts."""
    return day + timedelta(days=7 - day.weekday())


def store_plans(run: Run, plans: dict[str, Plan]) -> None:
    """Write the plans of this run; none is in force before it is adopted."""
    rows = [summary_row(plan, in_force=False) for plan in plans.values()]
    lines = [row for plan in plans.values() for row in line_rows(plan, next_monday(run.as_of))]
    replace_rows(run.warehouse, "out.budget_plan", pl.DataFrame(lines), run)
    replace_rows(run.warehouse, "out.plan_summary", pl.DataFrame(rows, schema_overrides=SUMMARY_TYPES), run)
    base = [row for row in lines if row["scenario"] == BASE]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["line", "period_start", "spend", "planned_spend"], extrasaction="ignore")
    writer.writeheader()
    writer.writerows(base)
    write_atomically(run.artifacts / "plans" / f"{plans[BASE].plan_id}.csv", text.getvalue())


def planning_gap(run: Run) -> str | None:
    """What is missing before anything can be planned, None where nothing is.

    Raises
    ------
    GateError : a mix model was fitted, failed its gate, and no champion can stand in.
    """
    if not current_spend(run):
        return "no spend: add the source ad_spend (and kpi or orders) for a plan"
    if find(run.warehouse, model="mmm") is not None:
        return None
    rows = read_frame(run.warehouse, "out.model_run")
    if rows is not None and not rows.filter(pl.col("model") == "mmm").is_empty():
        champion_curves(run)
    return "no mix model: it needs ad_spend and a weekly KPI (kpi or orders) over at least twenty weeks"


def plan_before(run: Run) -> dict[str, Any] | None:
    """The `out.plan_summary` row of the last plan another run made, None where there is none."""
    rows = read_frame(run.warehouse, "out.plan_summary")
    if rows is None:
        return None
    rows = rows.filter(pl.col("scenario") == BASE, pl.col("run_id") != run.run_id)
    return None if rows.is_empty() else rows.row(-1, named=True)


def plan_in_force(warehouse: Path) -> dict[str, Any] | None:
    """The `out.plan_summary` row of the plan in force, None where there is none."""
    rows = read_frame(warehouse, "out.plan_summary")
    if rows is None:
        return None
    rows = rows.filter(pl.col("in_force"))
    return None if rows.is_empty() else rows.row(-1, named=True)
