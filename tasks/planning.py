"""Planning: from the champion's curves to a plan in the warehouse."""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from models import response
from models.allocation import AllocationConfig, allocate, scenarios
from models.errors import DataError, GateError
from models.plan import Plan
from models.plan_changes import PlanInputs
from models.response import ResponseCurves
from models.run import Run
from tasks.files import write_atomically
from tasks.registry import CURVES, ModelRun, artefact_folder, find
from tasks.warehouse import connect, read_frame, replace_rows, transaction

CURRENT_WEEKS = 13  # today's spend is the mean of a quarter: shorter windows mistake a flight for a budget
SCENARIO_FACTORS = (0.8, 1.0, 1.3)  # the three budgets a board asks for
BASE = "base"


@dataclass(frozen=True, kw_only=True)
class Units:
    """What is counted: by the KPI "revenue", "margin" or "conversions", by a customer's value one of the first two."""

    kpi: str
    customer_value: str


@task(cache_policy=NO_CACHE)
def plan_budget(run: Run, config: AllocationConfig, money: str, units: Units) -> str:
    """Allocate the budget on the champion's curves, store the plan and return its plan_id."""
    config = completed(run, config, units)
    plan_id, plans, _ = make_plans(run, config, money)
    store_plans(run, plans, config)
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


def recent_spend(run: Run, lines: Sequence[str]) -> dict[str, list[float]]:
    """Weekly spend of each of these lines over the last quarter, last week last: what is carried into a flight."""
    weekly = read_frame(run.warehouse, "mart.spend_weekly")
    if weekly is None or weekly.is_empty():
        return {}
    weeks = weekly["week_start"].unique().sort()[-CURRENT_WEEKS:].to_frame()
    mine = weekly.filter(pl.col("channel").is_in(lines))
    by_channel = mine.group_by("channel", "week_start").agg(pl.col("spend").sum())
    return {
        channel: weeks.join(rows, on="week_start", how="left").sort("week_start")["spend"].fill_null(0.0).to_list()
        for (channel,), rows in sorted(by_channel.group_by("channel"), key=lambda pair: str(pair[0]))
    }


def completed(run: Run, config: AllocationConfig, units: Units) -> AllocationConfig:
    """The rules with what the customers' value says, for lines that the config leaves open.

    Where the KPI counts money, the value of a conversion is the mean first order that a channel brings, its CLV ratio
    what a new customer is worth over that. Where it counts conversions, one is worth one, and the ratio is what a new
    customer is worth in money. The value of a conversion is known only where the KPI and a customer's value count the
    same money.
    """
    if config.objective not in ("conversions", "clv") and config.max_cpa is None:
        return config
    _, curves = champion_curves(run)
    rows = read_frame(run.warehouse, "out_latest.new_customer_value")
    known = [] if rows is None else rows.filter(pl.col("campaign").is_null()).to_dicts()
    worth = {row["channel"]: row for row in known if row["channel"] in curves.lines and row["clv_mean"] is not None}
    if units.kpi == "conversions":
        ratio = {line: float(row["clv_mean"]) for line, row in worth.items()}
        first = dict.fromkeys(curves.lines, 1.0)
    else:
        orders = {line: float(row["first_order_value"] or 0.0) for line, row in worth.items()}
        ratio = {line: float(worth[line]["clv_mean"]) / amount for line, amount in orders.items() if amount > 0}
        first = {line: amount for line, amount in orders.items() if amount > 0 and units.kpi == units.customer_value}
    ratio = {line: times for line, times in ratio.items() if times > 0}
    return replace(config, value_per_conversion=first | config.value_per_conversion, clv_ratio=ratio | config.clv_ratio)


def plan_name(run: Run, champion: ModelRun, config: AllocationConfig) -> str:
    """A plan's id: a hash of what it is made from."""
    identity = json.dumps([run.run_id, champion.model_id, asdict(config)], sort_keys=True, default=str)
    return "p" + hashlib.sha256(identity.encode()).hexdigest()[:12]


def make_plans(run: Run, config: AllocationConfig, money: str) -> tuple[str, dict[str, Plan], dict[str, str]]:
    """(plan_id, plans by scenario, why not by scenario): the plan itself and what other budgets would give."""
    champion, curves = champion_curves(run)
    spend = current_spend(run)
    current = {line: spend.get(line, 0.0) for line in curves.lines}
    plan_id = plan_name(run, champion, config)
    base = allocate(curves, current, config, plan_id=plan_id, scenario=BASE, money=money)
    total = config.total if config.total is not None else sum(current.values())
    factors = [factor for factor in SCENARIO_FACTORS if factor != 1.0]
    others = scenarios(curves, current, replace(config, total=total), factors=factors, plan_id=plan_id, money=money)
    # a budget nobody asked for may be out of reach
    plans = {BASE: base} | {name: plan for name, plan in others.items() if isinstance(plan, Plan)}
    why_not = {name: str(plan).splitlines()[0] for name, plan in others.items() if not isinstance(plan, Plan)}
    return plan_id, plans, why_not


def summary_row(plan: Plan, *, in_force: bool) -> dict[str, Any]:
    """A plan's row of `out.plan_summary`."""
    names = (
        "plan_id",
        "scenario",
        "budget",
        "objective",
        "risk",
        "risk_value",
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


def inputs_file(run: Run, plan_id: str) -> Path:
    """Where a plan keeps what it was made from."""
    return run.artifacts / "plans" / f"{plan_id}.inputs.json"


def inputs_of(run: Run, plan_id: str) -> PlanInputs:
    """What a stored plan was made from.

    Raises
    ------
    DataError : its inputs were not kept, or cannot be read.
    """
    file = inputs_file(run, plan_id)
    if not file.is_file():
        raise DataError(f"The inputs of plan {plan_id} were not kept; expected {file.name} among the artifacts.")
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return PlanInputs(
            curves=response.load(artefact_folder(run, stored["model_id"]) / CURVES),
            current_spend=stored["current"],
            config=AllocationConfig(**stored["config"] | {"locked": tuple(stored["config"]["locked"])}),
        )
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"The inputs of plan {plan_id} cannot be read any more: {reason}") from error


def plan_names(warehouse: Path) -> list[str]:
    """Plans made in a workspace, the oldest first."""
    rows = read_frame(warehouse, "out.plan_summary")
    return [] if rows is None else rows.filter(pl.col("scenario") == BASE)["plan_id"].to_list()


def plan_lines(warehouse: Path, plan_id: str) -> list[dict[str, Any]]:
    """The lines of a stored plan: line, spend, planned_spend, binding, reason."""
    rows = read_frame(warehouse, "out.budget_plan")
    if rows is None:
        return []
    mine = rows.filter((pl.col("plan_id") == plan_id) & (pl.col("scenario") == BASE))
    return mine.select("line", "spend", "planned_spend", "binding", "reason").to_dicts()


def store_plans(run: Run, plans: dict[str, Plan], config: AllocationConfig) -> None:
    """Write the plans of this run with what they were made from; none is in force before it is adopted."""
    champion, curves = champion_curves(run)
    spend = current_spend(run)
    made_from = {
        "model_id": champion.model_id,
        "current": {line: spend.get(line, 0.0) for line in curves.lines},
        "config": asdict(config),
    }
    write_atomically(inputs_file(run, plans[BASE].plan_id), json.dumps(made_from, sort_keys=True, indent=1) + "\n")
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
