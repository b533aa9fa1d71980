"""Plans on demand: from the champion's curves or anybody's, under other wishes, and why a plan is what it is."""

import json
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from models import response
from models.allocation import AllocationConfig, allocate
from models.errors import ConfigError, DataError, InfeasiblePlan
from models.flight_rules import flight_caps, flight_kernels
from models.flighting import FlightConfig, plan_flights
from models.mmm import store
from models.modes import frontier, unknown_budget
from models.plan import Plan
from models.plan_changes import explain
from models.response import ResponseCurves
from models.run import Run
from tasks.planning import (
    BASE,
    Units,
    adopt,
    champion_curves,
    completed,
    current_spend,
    inputs_of,
    line_rows,
    make_plans,
    next_monday,
    plan_lines,
    plan_name,
    plan_names,
    recent_spend,
    store_plans,
    summary_row,
)
from tasks.registry import artefact_folder
from tasks.workspace import code_sha256, identify, latest_day, lock


@dataclass(frozen=True, kw_only=True)
class Modes:
    """What is asked of a plan beside its rules: nothing, by default."""

    unknown_budget: bool = False  # spend while it pays, up to a total if one is given
    min_marginal_roas: float | None = None  # of the last unit of money, with `unknown_budget`
    frontier: bool = False
    flight_weeks: int | None = None


def with_wishes(config: AllocationConfig, constraints: Path | None, wishes: dict[str, Any]) -> AllocationConfig:
    """The configured allocation with a constraints file's keys and the command line's wishes on top.

    Raises
    ------
    ConfigError : the file is no YAML mapping, has an unknown key, or a value is out of range.
    """
    changes: dict[str, Any] = {}
    if constraints is not None:
        try:
            content = yaml.safe_load(constraints.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{constraints} could not be read as YAML: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict):
            raise ConfigError(f"{constraints} is not a mapping; expected keys as in `allocation` of marginal.yaml.")
        changes = content.get("allocation", content)
    changes |= wishes
    valid = {entry.name for entry in fields(AllocationConfig)}
    if unknown := sorted(set(changes) - valid):
        raise ConfigError(f"Unknown constraint {unknown[0]}; expected one of {', '.join(sorted(valid))}.")
    try:
        return TypeAdapter(AllocationConfig).validate_python(asdict(config) | changes)
    except ValidationError as error:
        raise ConfigError("\n".join(_plain(one) for one in error.errors()[:4])) from error


def _plain(error: ErrorDetails) -> str:
    """Where a constraint is wrong, what was found and what was expected."""
    place = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if not place:
        return f"The constraints cannot be used: {message}"
    return f"The constraint {place} cannot be used: {message}; found {str(error['input'])[:60]!r}."


def plan_on_workspace(
    workspace: Path,
    config: AllocationConfig,
    money: str,
    wishes: dict[str, Any],
    constraints: Path | None,
    wants_adoption: bool,
    modes: Modes | None = None,
    *,
    units: Units,
) -> dict[str, Any]:
    """A plan from the champion's curves; with `wants_adoption` it is stored and put in force.

    Raises
    ------
    ConfigError : nothing has been run here yet, a plan of unknown budget is to be adopted, or a flight cannot keep a
        rule.
    """
    warehouse, modes = workspace / "warehouse.duckdb", modes or Modes()
    day = latest_day(warehouse)
    if day is None:
        raise ConfigError(f"{workspace} has no data yet; expected a workspace that has been run.\nRun: marginal run")
    config = with_wishes(config, constraints, wishes)
    asked = json.dumps([asdict(config), asdict(modes)], sort_keys=True, default=str)
    run = Run(run_id=identify(asked, "", code_sha256(), day, "plan"), as_of=day, seed=0, workspace=workspace)
    caps = flight_caps(config) if modes.flight_weeks else {}
    with lock(workspace):
        config = completed(run, config, units)
        why_not: dict[str, str] = {}
        if modes.unknown_budget:
            if wants_adoption:
                raise ConfigError(
                    "A plan of unknown budget says how much would pay; it cannot be adopted as it is.\n"
                    "Look at its planned_spend, then adopt with: marginal plan --budget X --adopt"
                )
            plans = {BASE: _while_it_pays(run, config, modes, money)}
        else:
            _, plans, why_not = make_plans(run, config, money)
        if wants_adoption:
            store_plans(run, plans, config)
            adopt(warehouse, plans[BASE].plan_id)
        found = answer(plans, next_monday(day), wants_adoption, why_not)
        if modes.frontier or modes.flight_weeks:
            champion, curves = champion_curves(run)
            current = current_spend(run)
            today = {line: current.get(line, 0.0) for line in curves.lines}
            if modes.frontier:
                found["frontier"] = frontier(curves, today, config).to_dicts()
            if modes.flight_weeks:
                fitted = store.load(artefact_folder(run, champion.model_id))
                before = recent_spend(run, curves.lines)
                weekly = found["summary"]["planned_spend"]
                found["flights"] = flown(curves, weekly, modes.flight_weeks, flight_kernels(fitted), before, caps)
    return found


def _while_it_pays(run: Run, config: AllocationConfig, modes: Modes, money: str) -> Plan:
    champion, curves = champion_curves(run)
    spend = current_spend(run)
    today = {line: spend.get(line, 0.0) for line in curves.lines}
    return unknown_budget(
        curves,
        today,
        replace(config, max_change_fraction=None, max_change_fractions={}),  # how much would pay, not the next step
        min_marginal_roas=modes.min_marginal_roas,
        plan_id=plan_name(run, champion, config),
        money=money,
    )


def plan_on_curves(
    curves: Path, constraints: Path | None, wishes: dict[str, Any], modes: Modes | None = None
) -> dict[str, Any]:
    """The allocator alone, on anybody's curves: no workspace, no current spend.

    Raises
    ------
    ConfigError : there is no total to allocate.
    """
    config, modes = with_wishes(AllocationConfig(), constraints, wishes), modes or Modes()
    if config.total is None and not modes.unknown_budget:
        raise ConfigError("There is no budget to allocate.\nGive --budget, or total in the constraints file.")
    caps = flight_caps(config) if modes.flight_weeks else {}
    lines = read_curves(curves)
    if modes.unknown_budget:
        plan = unknown_budget(lines, None, config, min_marginal_roas=modes.min_marginal_roas)
    else:
        plan = allocate(lines, None, config)
    found = answer({BASE: plan}, None, adopted=False, why_not={})
    if modes.frontier:
        found["frontier"] = frontier(lines, None, config).to_dicts()
    if modes.flight_weeks:
        found["flights"] = flown(lines, plan.planned_spend, modes.flight_weeks, {}, {}, caps)
    return found


def flown(
    curves: ResponseCurves,
    weekly: float,
    weeks: int,
    kernels: dict[str, list[float]],
    before: dict[str, list[float]],
    caps: dict[str, float],
) -> dict[str, Any]:
    """A weekly total over several weeks: always-on, pulse and optimised, with the bound and the best one's spends.

    Where there is no money to spread, the table is empty and there is no best one.
    """
    if weekly <= 0:
        return {"table": [], "upper_bound": None, "carried": None, "best": None, "spend": {}}
    config = FlightConfig(
        total=weekly * weeks, weeks=weeks, kernels=kernels, spend_before=before, line_weekly_caps=caps
    )
    flights = plan_flights(curves, config)
    best = flights.best()
    return {
        "table": flights.table().to_dicts(),
        "upper_bound": flights.upper_bound,
        "carried": flights.carried,
        "best": best.kind,
        "spend": dict(zip(flights.lines, best.spend.T.tolist(), strict=True)),
    }


def explain_plan(workspace: Path, plan_id: str, money: str) -> dict[str, Any]:
    """Why each line of a stored plan moved, against the plan made before it.

    Raises
    ------
    ConfigError : no plan of this name is stored.
    """
    warehouse = workspace / "warehouse.duckdb"
    names = plan_names(warehouse)
    if plan_id not in names:
        near = ", ".join(names[-3:]) or "none"
        raise ConfigError(f"No plan {plan_id} is stored here; expected one of the plans made, the last are: {near}.")
    day = latest_day(warehouse) or date.min
    run = Run(run_id="explain", as_of=day, seed=0, workspace=workspace)
    earlier = names[: names.index(plan_id)]
    lines = plan_lines(warehouse, plan_id)
    result: dict[str, Any] = {"plan_id": plan_id, "before": earlier[-1] if earlier else None, "lines": lines}
    if earlier:
        try:
            found = explain(inputs_of(run, earlier[-1]), inputs_of(run, plan_id), money)
            result |= {"changed": list(found.changed), "moves": found.frame.to_dicts()}
        except (ConfigError, DataError, InfeasiblePlan) as error:
            result["note"] = f"It cannot be compared with the plan before it, {earlier[-1]}. {error}"
    return result


def answer(plans: dict[str, Plan], period_start: date | None, adopted: bool, why_not: dict[str, str]) -> dict[str, Any]:
    """What `marginal plan --json` prints; a scenario without a plan says why under `infeasible`."""
    base = plans[BASE]
    return {
        "plan_id": base.plan_id,
        "summary": summary_row(base, in_force=adopted),
        "lines": line_rows(base, period_start),
        "constraints": [asdict(price) for price in base.constraints],
        "scenarios": {name: summary_row(plan, in_force=False) for name, plan in plans.items() if name != BASE}
        | {name: {"scenario": name, "infeasible": reason} for name, reason in why_not.items()},
    }


def read_curves(file: Path) -> ResponseCurves:
    """Curves from CSV or Parquet."""
    if not file.is_file():
        raise ConfigError(f"{file} does not exist; expected a CSV or Parquet file of line, spend, response [, draw].")
    try:
        return response.load(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{file} could not be read: {str(error).splitlines()[0]}\nExpected CSV or Parquet.") from error
