"""Quick answers from what is stored: plans on demand, the state of a workspace."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import yaml

from models import response
from models.allocation import AllocationConfig, allocate
from models.errors import ConfigError, DataError
from models.plan import Plan
from models.response import ResponseCurves
from models.run import Run
from models.sqltext import identifier
from tasks.ledger import read_contract
from tasks.planning import BASE, adopt, line_rows, make_plans, next_monday, plan_in_force, store_plans, summary_row
from tasks.warehouse import connect, quoted, read_frame, table_exists
from tasks.workspace import code_sha256, identify, latest_day, lock

DATED = ("date", "timestamp")  # logical types of columns that tell a day


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
        return replace(config, **changes)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"The constraints cannot be used: {error}") from error


def plan_on_workspace(
    workspace: Path,
    config: AllocationConfig,
    money: str,
    wishes: dict[str, Any],
    constraints: Path | None,
    wants_adoption: bool,
) -> dict[str, Any]:
    """A plan from the champion's curves; with `wants_adoption` it is stored and put in force."""
    warehouse = workspace / "warehouse.duckdb"
    day = latest_day(warehouse)
    if day is None:
        raise ConfigError(f"{workspace} has no data yet; expected a workspace that has been run.\nRun: marginal run")
    config = with_wishes(config, constraints, wishes)
    asked = json.dumps(asdict(config), sort_keys=True, default=str)
    run = Run(run_id=identify(asked, "", code_sha256(), day, "plan"), as_of=day, seed=0, workspace=workspace)
    with lock(workspace):
        plan_id, plans = make_plans(run, config, money)
        if wants_adoption:
            store_plans(run, plans)
            adopt(warehouse, plan_id)
        return answer(plans, next_monday(day), wants_adoption)


def plan_on_curves(curves: Path, constraints: Path | None, wishes: dict[str, Any]) -> dict[str, Any]:
    """The allocator alone, on anybody's curves: no workspace, no current spend.

    Raises
    ------
    ConfigError : there is no total to allocate.
    """
    config = with_wishes(AllocationConfig(), constraints, wishes)
    if config.total is None:
        raise ConfigError("There is no budget to allocate.\nGive --budget, or total in the constraints file.")
    plan = allocate(read_curves(curves), None, config)
    return answer({BASE: plan}, None, adopted=False)


def read_curves(file: Path) -> ResponseCurves:
    """Curves from CSV or Parquet."""
    if not file.is_file():
        raise ConfigError(f"{file} does not exist; expected a CSV or Parquet file of line, spend, response [, draw].")
    try:
        return response.load(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{file} could not be read: {str(error).splitlines()[0]}\nExpected CSV or Parquet.") from error


def answer(plans: dict[str, Plan], period_start: date | None, adopted: bool) -> dict[str, Any]:
    """What `marginal plan --json` prints."""
    base = plans[BASE]
    return {
        "plan_id": base.plan_id,
        "summary": summary_row(base, in_force=adopted),
        "lines": line_rows(base, period_start),
        "scenarios": {name: summary_row(plan, in_force=False) for name, plan in plans.items() if name != BASE},
    }


def told_plan(result: dict[str, Any]) -> str:
    """How a plan reads."""
    summary = result["summary"]
    rows = [f"{'line':24}{'today':>12}{'planned':>12}{'next euro':>11}  why"]
    rows += [
        f"{row['line']:24}{row['spend']:>12,.0f}{row['planned_spend']:>12,.0f}{row['marginal_value']:>11.2f}"
        f"  {row['reason']}"
        for row in result["lines"]
    ]
    rows.append(
        f"Expected value {summary['value_mean']:,.0f} a week (90 %: {summary['value_p05']:,.0f} to "
        f"{summary['value_p95']:,.0f}); no plan can be worth more than {summary['upper_bound']:,.0f}."
    )
    rows.append(f"Verdict: {summary['verdict']}. {summary['reason']}")
    return "\n".join(rows)


def freshness(warehouse: Path, as_of: date) -> list[dict[str, Any]]:
    """How old each loaded source is, by name.

    Returns
    -------
    For each source: `source`; `newest_date`, the newest day up to `as_of` (None without any), in UTC where the source
    holds moments; `loaded_at`, its last load, in UTC; `behind_days` from that day to `as_of`; `allowed_days` by the
    contract's latency and `late_days` beyond it (None where the contract sets none); `is_late`.
    """
    if not table_exists(warehouse, "ops.loads"):
        return []
    with connect(warehouse) as con:
        query = "select source, max(loaded_at) from ops.loads group by source order by source"
        return [_age(con, source, loaded_at, as_of) for source, loaded_at in con.execute(query).fetchall()]


def _age(con: duckdb.DuckDBPyConnection, source: str, loaded_at: datetime, as_of: date) -> dict[str, Any]:
    contract = read_contract(f"raw.{source}")
    rule = next((rule for rule in contract.rules if rule.kind == "fresh"), None)
    dated = [column.name for column in contract.columns if column.logical_type in DATED]
    days = ", ".join(f"{identifier(name)}::date" for name in (rule.columns if rule else dated))
    select = f"select max(day) from (select greatest({days}) as day from {quoted(contract.table)}) where day <= ?"
    newest = con.execute(select, [as_of]).fetchall()[0][0]
    allowed = int(rule.params["days"]) if rule else None
    behind = None if newest is None else (as_of - newest).days
    late = None if behind is None or allowed is None else max(0, behind - allowed)
    return {
        "source": source,
        "newest_date": newest,
        "loaded_at": loaded_at,
        "behind_days": behind,
        "allowed_days": allowed,
        "late_days": late,
        "is_late": bool(late) or (newest is None and allowed is not None),
    }


def workspace_status(workspace: Path) -> dict[str, Any]:
    """Freshness per source, champions, last triggers, plan in force."""
    warehouse = workspace / "warehouse.duckdb"

    def rows(table: str, *columns: str) -> list[dict[str, Any]]:
        frame = read_frame(warehouse, table)
        if frame is None:
            return []
        return frame.select([name for name in columns if name in frame.columns]).to_dicts()

    day = latest_day(warehouse)
    return {
        "as_of": str(day) if day else None,
        "freshness": freshness(warehouse, day) if day else [],
        "sources": rows("out_latest.lineage", "table_name", "file", "rows_kept", "rows_quarantined", "loaded_at"),
        "models": [
            row
            for row in rows("out.model_run", "model", "model_id", "verdict", "is_champion", "data_to")
            if row["is_champion"]
        ],
        "triggers": rows("out_latest.trigger", "name", "subject", "fired", "reason"),
        "plan_in_force": plan_in_force(warehouse) if day else None,
    }


def _told_source(age: dict[str, Any], files: Sequence[dict[str, Any]]) -> str:
    """One source in a line: how new, how much, when loaded."""
    allowed = age["allowed_days"]
    state = f"{age['late_days']} days late" if age["late_days"] else "late" if age["is_late"] else "in time"
    limit = "no limit" if allowed is None else f"{state}, {allowed} days allowed"
    kept, aside = (sum(row[name] for row in files) for name in ("rows_kept", "rows_quarantined"))
    reach = f"to {age['newest_date']}" if age["newest_date"] else "no day yet"
    rows = f"{kept:,} rows, {aside:,} quarantined"
    return f"  {age['source']:16} {reach} ({limit}): {rows}, loaded {age['loaded_at']:%Y-%m-%d %H:%M} UTC"


def told_status(result: dict[str, Any]) -> str:
    """How the state of a workspace reads."""
    if result["as_of"] is None:
        return "Nothing has been run here yet. Run: marginal run"
    lines = [f"Data up to {result['as_of']}."]
    lines += [
        _told_source(age, [row for row in result["sources"] if row["table_name"] == f"raw.{age['source']}"])
        for age in result["freshness"]
    ]
    lines += [
        f"Champion {row['model']}: {row['model_id']} ({row['verdict']}), data to {row['data_to']}"
        for row in result["models"]
    ]
    fired = [row for row in result["triggers"] if row["fired"]]
    lines += [f"Fired: {row['name']} ({row['subject']}): {row['reason']}" for row in fired] or ["No trigger fired."]
    plan = result["plan_in_force"]
    lines.append(
        f"Plan in force: {plan['plan_id']} of {plan['as_of']} ({plan['verdict']})" if plan else "No plan in force."
    )
    return "\n".join(lines)
