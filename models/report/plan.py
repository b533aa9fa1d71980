"""The plan line by line: where spend stands, where it should go, what that brings, what stops it."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from models.report import decision, figures, wording
from models.report.blocks import (
    Block,
    Cell,
    Row,
    Tables,
    absent,
    cell,
    folded,
    money,
    plain_table,
    present,
    ranged,
    rows_of,
    table,
)
from models.report.wording import Words

KEY, TITLE = "plan", "The plan"
LINES_DRAWN = 30  # lines the picture holds; beyond it the table alone is readable
HELD_BY = {  # the allocator's names of limits, in words
    "none": "",
    "budget": "the total",
    "max_change_up": "change limit",
    "max_change_down": "change limit",
    "curve_end": "end of its curve",
    "zero": "not worth starting",
    "group": "limit of its group",
    "off_or_at_least": "least when on",
    "min_line_roas": "its own ROAS",
    "max_moves": "number of moves",
}


def section(tables: Tables, words: Words, note: str) -> Block:
    """The plan in force with its picture, its table and its rivals."""
    plan = decision.plan_in_force(tables)
    lines = decision.plan_lines(tables, plan)
    if plan is None or not lines:
        return absent(KEY, TITLE, "No plan: the sources ad_spend and kpi (or orders) switch it on.")
    lines = sorted(lines, key=_weight)
    blocks = [_picture(lines, words), _table(lines, words)]
    blocks += _calendar(tables, plan)
    blocks += _scenarios(tables, plan, words)
    if "bid_plan" in tables:
        blocks.append(folded("Bids within the plan", [_bids(tables["bid_plan"], words)]))
    if "decision_review" in tables:
        blocks.append(
            folded("Did earlier plans work?", [plain_table("Prediction and outcome", tables["decision_review"], words)])
        )
    return present(KEY, TITLE, _lead(plan, lines, words), blocks, note=note)


def _bids(bids: pl.DataFrame, words: Words) -> Block:
    """The bids that move most, in money a click."""
    line = ("channel", "campaign", "keyword")  # one keyword may stand in several campaigns
    shown = (*line, "bid", "planned_bid", "value_per_click", "incrementality", "marginal_roas", "action", "reason")
    order = [-(pl.col("planned_bid") - pl.col("bid")).abs(), *(pl.col(name) for name in line if name in bids.columns)]
    moved = bids.sort(order, nulls_last=True, maintain_order=True)
    return plain_table("Bids, money a click", moved.select(name for name in shown if name in moved.columns), words)


def _weight(row: Row) -> tuple[float, float, str]:
    return -abs(decision.change(row)), -(wording.number(row.get("planned_spend")) or 0.0), str(row.get("line"))


def _lead(plan: Row, lines: Sequence[Row], words: Words) -> str:
    moved = [row for row in lines if abs(decision.change(row)) >= decision.CENT]
    today, planned = (sum(wording.number(row.get(name)) or 0.0 for row in lines) for name in ("spend", "planned_spend"))
    if not moved:
        return f"No line moves: {words.money(today)} {decision.PER} over {wording.plural(len(lines), 'line')} stays."
    return (
        f"{wording.count(len(moved))} of {wording.plural(len(lines), 'line')} move. In total {words.money(today)} "
        f"{decision.PER} today, {words.money(planned)} {decision.PER} planned, to maximise {words.objective}."
    )


def _picture(lines: Sequence[Row], words: Words) -> Block:
    drawn = lines[:LINES_DRAWN]
    today, planned = ([wording.number(row.get(name)) or 0.0 for row in drawn] for name in ("spend", "planned_spend"))
    names = [str(row.get("line")) for row in drawn]
    return figures.dumbbell(
        "fig-plan", "Today and planned", names, today, planned, f"{words.sign.strip()} {decision.PER}"
    )


def _table(lines: Sequence[Row], words: Words) -> Block:
    columns = [
        "Line",
        "Today",
        "Planned",
        "Change",
        f"Brings in {words.kpi}",
        f"Next {words.sign.strip()} brings",
        "Held by",
        "Why",
    ]
    rows = [
        [
            cell(row.get("line")),
            money(words, row, "spend"),
            money(words, row, "planned_spend"),
            _change(row, words),
            ranged(row, "value", words.value),
            cell(wording.ratio(row.get("marginal_value")), row.get("marginal_value")),
            _binding(row),
            cell(row.get("reason")),
        ]
        for row in lines
    ]
    return table(f"The plan, amounts {decision.PER}; intervals hold 90 % of the draws", columns, rows, kinds="tnnnnntw")


def _change(row: Row, words: Words) -> Cell:
    step, today = decision.change(row), wording.number(row.get("spend"))
    share = wording.percent(step / today, signed=True) if today else ""
    if abs(step) < decision.CENT:
        return cell("stays", step, tone="quiet")
    return cell(words.money(step, signed=True), step, sub=share, tone="up" if step > 0 else "down")


def _binding(row: Row) -> Cell:
    held: Any = row.get("binding")
    text = HELD_BY.get(str(held), str(held).replace("_", " ")) if held else ""
    price = wording.number(row.get("shadow_price"))
    sub = f"shadow price {wording.ratio(price)}" if text and price is not None else ""
    return cell(text, price if text else None, sub=sub, tone="" if text else "quiet")


def _calendar(tables: Tables, plan: Row) -> list[Block]:
    rows = decision.plan_rows(tables, plan)
    dates = [wording.as_date(row.get("period_start")) for row in rows]
    periods = sorted({when for when in dates if when is not None})
    if len(periods) < 2:
        return []
    names = list(dict.fromkeys(str(row.get("line")) for row in rows))
    spend = {
        (str(row.get("line")), when): wording.number(row.get("planned_spend")) or 0.0
        for row, when in zip(rows, dates, strict=True)
    }
    z = [[spend.get((name, when), 0.0) for when in periods] for name in names]
    return [figures.heatmap("fig-calendar", "Planned spend by period", names, periods, z)]


def _scenarios(tables: Tables, plan: Row, words: Words) -> list[Block]:
    plans = [row for row in rows_of(tables, "plan_summary") if row.get("plan_id") == plan.get("plan_id")]
    plans.sort(key=lambda row: wording.number(row.get("budget")) or 0.0)
    if len(plans) < 2:
        return []
    columns = [
        "Scenario",
        "Budget",
        f"Returns in {words.kpi}",
        "ROAS",
        "Chance of the ROAS floor",
        "Gap to the bound",
        "Verdict",
    ]
    rows = [
        [
            cell(row.get("scenario"), sub="this plan" if row.get("scenario") == plan.get("scenario") else ""),
            money(words, row, "budget"),
            ranged(row, "value", words.value),
            cell(wording.ratio(row.get("roas_mean")), row.get("roas_mean")),
            cell(wording.odds(row.get("probability_roas_met")), row.get("probability_roas_met")),
            cell(wording.percent(row.get("gap_fraction")), row.get("gap_fraction")),
            cell(row.get("verdict")),
        ]
        for row in plans
    ]
    blocks = [table("Scenarios: the best plan at other budgets", columns, rows, kinds="tnnnnnt")]
    ends = [[wording.number(row.get(f"value_{end}")) for row in plans] for end in ("mean", "p05", "p95")]
    mean, low, high = ([x for x in side if x is not None] for side in ends)
    if len(mean) == len(low) == len(high) == len(plans):
        names = [str(row.get("scenario")) for row in plans]
        picture = figures.intervals(
            "fig-scenarios", "What each scenario returns", names, (mean, low, high), f"{words.unit} {decision.PER}"
        )
        blocks.insert(0, picture)
    return blocks
