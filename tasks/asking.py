"""The state of a workspace, from what is stored: freshness, champions, triggers, the plan in force."""

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from models.sqltext import identifier
from tasks.ledger import read_contract
from tasks.planning import plan_in_force
from tasks.warehouse import connect, quoted, read_frame, table_exists
from tasks.workspace import latest_day

DATED = ("date", "timestamp")  # logical types of columns that tell a day


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
