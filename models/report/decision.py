"""The plan that is acted on, its lines, and the decision they make in plain words."""

import json
from collections.abc import Sequence
from typing import Any

from models.report import wording
from models.report.blocks import Row, Tables, rows_of
from models.report.wording import Words

PER = "a week"  # all amounts of a plan are weekly
CENT = 0.005  # smaller changes are no change of an amount of money
TONES = {"PASS": "good", "REVIEW": "warn", "FAIL": "bad"}


def plan_in_force(tables: Tables) -> Row | None:
    """The row of `plan_summary` that is acted on: the one in force; once another has replaced it, the base plan."""
    plans = rows_of(tables, "plan_summary")
    first = plans[0] if plans else None
    base = next((row for row in plans if row.get("scenario") == "base"), first)
    return next((row for row in plans if row.get("in_force")), base)


def plan_lines(tables: Tables, plan: Row | None) -> list[Row]:
    """The lines of a plan, one row each: over several periods spends and values are averaged per period.

    The interval of an average is not the average of the intervals, so such a row has none.
    """
    grouped: dict[str, list[Row]] = {}
    for row in plan_rows(tables, plan):
        grouped.setdefault(str(row.get("line")), []).append(row)
    return [group[0] if len(group) == 1 else _average(group) for group in grouped.values()]


def plan_rows(tables: Tables, plan: Row | None) -> list[Row]:
    """The rows of `budget_plan` that belong to a row of `plan_summary`."""
    if plan is None:
        return []
    identity = (plan.get("plan_id"), plan.get("scenario"))
    return [row for row in rows_of(tables, "budget_plan") if (row.get("plan_id"), row.get("scenario")) == identity]


def _average(group: Sequence[Row]) -> Row:
    mean = {}
    for name in ("spend", "planned_spend", "value_mean", "marginal_value"):
        values = [real for row in group if (real := wording.number(row.get(name))) is not None]
        mean[name] = sum(values) / len(values) if values else None
    return {**group[0], **mean, "value_p05": None, "value_p95": None}


def change(row: Row) -> float:
    """Planned spend less today's, zero where either is missing."""
    today, planned = wording.number(row.get("spend")), wording.number(row.get("planned_spend"))
    return 0.0 if today is None or planned is None else planned - today


def is_hold(plan: Row, lines: Sequence[Row]) -> bool:
    """Whether the plan is to leave spend where it is."""
    return str(plan.get("verdict")).lower() == "hold" or all(abs(change(row)) < CENT for row in lines)


def sentence(plan: Row | None, lines: Sequence[Row], words: Words) -> str:
    """The decision as one sentence somebody can act on."""
    if plan is None:
        return "No plan yet."
    if is_hold(plan, lines):
        return "Hold: keep today’s spend."
    ups = sorted((row for row in lines if change(row) >= CENT), key=change, reverse=True)
    downs = sorted((row for row in lines if change(row) <= -CENT), key=change)
    to, source = (wording.listing([str(row["line"]) for row in side]) for side in (ups, downs))
    up, down = sum(map(change, ups)), -sum(map(change, downs))
    if not downs:
        return f"Add {words.money(up)} {PER} to {to}."
    if not ups:
        return f"Take {words.money(down)} {PER} out of {source}."
    moved, rest = min(up, down), up - down
    text = f"Move {words.money(moved)} {PER} from {source} to {to}"
    if abs(rest) > 0.01 * moved:  # a rest below 1 % of the move would read as nothing beside it
        return f"{text}, and spend {words.money(abs(rest))} {'more' if rest > 0 else 'less'} in total."
    return text + "."


def champion_rows(tables: Tables, name: str) -> list[Row]:
    """Rows of the mix model that plans are made from: the champion's; where there is none, those written last."""
    rows = rows_of(tables, name)
    fallback = rows[-1].get("model_id") if rows else None
    fits = model_rows(tables, "mmm")
    champion = next((row.get("model_id") for row in fits if row.get("is_champion")), fallback)
    return [row for row in rows if row.get("model_id") == champion]


def model_rows(tables: Tables, model: str) -> list[Row]:
    """Rows of `model_run` for one kind of model, newest last."""
    return [row for row in rows_of(tables, "model_run") if row.get("model") == model]


def model_in_use(tables: Tables, model: str) -> Row | None:
    """The champion of one kind of model; without one the newest fit."""
    rows = model_rows(tables, model)
    return next((row for row in rows if row.get("is_champion")), rows[-1] if rows else None)


def metrics_of(row: Row | None) -> dict[str, Any]:
    """The metrics of a model run; empty where the text is no JSON object."""
    try:
        found = json.loads((row or {}).get("metrics") or "{}")
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
