"""What media did: contribution, return and response, each with its interval."""

from collections.abc import Sequence

from models.report import decision, figures, wording
from models.report.blocks import (
    Block,
    Row,
    Tables,
    absent,
    cell,
    folded,
    grid,
    plain_table,
    present,
    prose,
    ranged,
    table,
)
from models.report.planner import planner
from models.report.wording import Words

KEY, TITLE = "media", "What media did"
CURVES_DRAWN = 24  # small multiples before the page turns heavy; the plan's biggest moves come first
ENDS = ("mean", "p05", "p95")
MARKS = "What each line returns at other spends: open dot today, filled dot planned, the band holds 90 % of the draws."


def section(tables: Tables, words: Words, note: str) -> Block:
    """Contribution and return by channel, and the response curves behind the plan."""
    channels = sorted(
        decision.champion_rows(tables, "mmm_channel"),
        key=lambda row: (-(wording.number(row.get("contribution_mean")) or 0.0), str(row.get("channel"))),
    )
    curves = _curves(tables, words)
    if not channels and not curves:
        return absent(KEY, TITLE, "No mix model: the sources ad_spend and kpi (or orders) switch it on.")
    blocks = _pictures(channels, words)
    if channels:
        blocks.append(_table(channels, words))
    if curves:
        blocks += [prose(MARKS), grid(curves), *planner(tables, words)]
    for name, summary in (
        ("evidence", "Evidence per channel: tests, model and attribution"),
        ("attribution", "Attribution of conversions to channels"),
    ):
        if name in tables:
            blocks.append(folded(summary, [plain_table(summary, tables[name], words)]))
    return present(KEY, TITLE, _lead(channels, words), blocks, note=note)


def _lead(channels: Sequence[Row], words: Words) -> str:
    whole = [row for row in channels if all(wording.number(row.get(f"roas_{end}")) is not None for end in ENDS)]
    if not channels:
        return "The response of each line, as the model in use sees it."
    total = sum(wording.number(row.get("contribution_mean")) or 0.0 for row in channels)
    text = f"Paid media brought {words.value(total)} of {words.kpi} over the model’s window, most of it from "
    text += f"{channels[0]['channel']}."
    if len(whole) > 1:
        vague = max(whole, key=lambda row: (row["roas_p95"] - row["roas_p05"]) / max(abs(row["roas_mean"]), 1e-9))
        text += f" Least is known about {vague['channel']}: a lift test there would teach the most."
    return text


def _pictures(channels: Sequence[Row], words: Words) -> list[Block]:
    names = [str(row.get("channel")) for row in channels]
    found: list[Block] = []
    for key, title, stem, unit in (
        ("fig-contribution", "Contribution", "contribution", words.unit),
        ("fig-roas", "Return on ad spend (ROAS)", "roas", f"{words.kpi} per {words.sign.strip()}"),
    ):
        mean, low, high = (
            [real for row in channels if (real := wording.number(row.get(f"{stem}_{end}"))) is not None] for end in ENDS
        )
        if not names or not len(mean) == len(low) == len(high) == len(names):
            continue
        even = 1.0 if stem == "roas" and words.is_money else None
        found.append(figures.intervals(key, title, names, (mean, low, high), unit, mark=even, mark_name="pays back"))
    return [{"kind": "pair", "blocks": found}] if found else []


def _table(channels: Sequence[Row], words: Words) -> Block:
    columns = ["Channel", f"Contribution in {words.kpi}", "ROAS", "Marginal ROAS"]
    rows = [
        [
            cell(row.get("channel")),
            ranged(row, "contribution", words.value),
            ranged(row, "roas", wording.ratio),
            ranged(row, "marginal_roas", wording.ratio),
        ]
        for row in channels
    ]
    return table("Contribution and return by channel, with 90 % intervals", columns, rows, kinds="tnnn")


def _curves(tables: Tables, words: Words) -> list[Block]:
    plan = decision.plan_in_force(tables)
    lines = {str(row.get("line")): row for row in decision.plan_lines(tables, plan)}
    grouped: dict[str, list[Row]] = {}
    for row in decision.champion_rows(tables, "response_curve"):
        grouped.setdefault(str(row.get("line")), []).append(row)
    order = sorted(grouped, key=lambda line: (-abs(decision.change(lines.get(line, {}))), line))
    found = []
    for i, line in enumerate(order[:CURVES_DRAWN]):
        points = sorted(grouped[line], key=lambda row: wording.number(row.get("spend")) or 0.0)
        shape = {
            name: [wording.number(row.get(name)) or 0.0 for row in points]
            for name in ("spend", *(f"response_{end}" for end in ENDS))
        }
        spends = (("Today", "spend"), ("Planned", "planned_spend"))
        marks = [
            (name, real)
            for name, column in spends
            if (real := wording.number(lines.get(line, {}).get(column))) is not None
        ]
        units = (f"spend, {words.sign.strip()} {decision.PER}", f"{words.kpi} {decision.PER}")
        found.append(figures.curve(f"fig-curve-{i}", line, shape, marks, units))
    return found
