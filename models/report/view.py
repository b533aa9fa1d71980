"""The whole report of one run as a plain dict, in the order it is read."""

from datetime import date
from typing import Any

from models.report import audit, customers, decision, media, outlook, plan, wording
from models.report.blocks import Tables, origin
from models.report.headline import headline
from models.scorecard import ScorecardConfig

STANDING = {  # a section's table that stays valid until a later run replaces it, read from an earlier run if need be
    "plan": "budget_plan",
    "media": "mmm_channel",
    "forecast": "forecast",
    "customers": "customer_value",
}


def build_view(
    tables: Tables,
    scorecard: ScorecardConfig | None = None,
    /,
    *,
    run_id: str,
    as_of: date,
    company: str,
    currency: str,
    kpi: str = "revenue",
) -> dict[str, Any]:
    """Everything the page says, formatted; the template only sets it.

    Parameters
    ----------
    tables : output table name (without schema) to its rows, each with `run_id` and `as_of`; a table that no run
        has written is absent. `kpi_weekly` (week_start, value) may be among them: the forecast's past.
    scorecard : the rules that ``out.channel_scorecard`` was made by; the defaults where it is None.
    run_id : the run whose report it is; rows of an earlier one are shown with its date.
    as_of : the day of the report.
    company : its name, as the reader knows it.
    currency : ISO 4217 code that all money is in.
    kpi : what media's value is counted in: "revenue", "margin" or "conversions".

    Returns
    -------
    A dict of strings, numbers, lists and dicts: `title`, `company`, `date`, `run_id`, `headline`, `sections`,
    `plan_table` (the plan's table block or None). The same input gives the same dict; no clock is read.
    """
    plan_row = decision.plan_in_force(tables) or {}
    words = wording.Words(currency=currency, kpi=kpi, objective=str(plan_row.get("objective") or kpi))
    notes = {key: origin(tables, table, run_id) for key, table in STANDING.items()}
    sections = [
        plan.section(tables, words, notes["plan"]),
        media.section(tables, words, notes["media"]),
        outlook.section(tables, words, notes["forecast"], as_of),
        customers.section(tables, words, notes["customers"], scorecard or ScorecardConfig()),
        audit.triggers(tables, words),
        audit.data(tables),
        audit.models(tables, run_id),
    ]
    return {
        "title": f"{company}, {wording.day(as_of)}",
        "company": company,
        "date": wording.weekday(as_of),
        "run_id": run_id,
        "headline": headline(tables, words, run_id=run_id, as_of=as_of),
        "sections": sections,
        "plan_table": next((block for block in sections[0]["blocks"] if block["kind"] == "table"), None),
    }
