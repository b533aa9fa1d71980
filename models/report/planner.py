"""A planner for the reader: move the money between lines and see what the curves say."""

from models.report import decision, figures, wording
from models.report.blocks import Block, Row, Tables, folded
from models.report.wording import Words

LINES_OPEN = 12  # more sliders than this are folded away
TITLE = "Try your own split"
TEXT = (
    "Move a line’s weekly spend; the rest follows from the response curves above. The interval treats lines as "
    "independent, so it is a guide; the plan’s own interval is exact."
)
COLUMNS = {"spend": "spend", "mean": "response_mean", "p05": "response_p05", "p95": "response_p95"}


def planner(tables: Tables, words: Words) -> list[Block]:
    """The planner over every line that has both a curve and a place in the plan; none without curves."""
    plan = decision.plan_in_force(tables)
    lines = {str(row.get("line")): row for row in decision.plan_lines(tables, plan)}
    grouped: dict[str, list[Row]] = {}
    for row in decision.champion_rows(tables, "response_curve"):
        grouped.setdefault(str(row.get("line")), []).append(row)
    found = []
    for line, row in lines.items():
        points = sorted(grouped.get(line, []), key=lambda point: wording.number(point.get("spend")) or 0.0)
        today, planned = wording.number(row.get("spend")), wording.number(row.get("planned_spend"))
        if len(points) < 2 or today is None or planned is None:
            return []  # a total over some of the lines would mislead
        found.append(
            {"name": line, "today": today, "planned": planned}
            | {short: [wording.number(point.get(name)) or 0.0 for point in points] for short, name in COLUMNS.items()}
        )
    if not found:
        return []
    spec = figures.clean({"currency": words.sign, "is_money": words.is_money, "lines": found})
    block: Block = {"kind": "planner", "title": TITLE, "text": TEXT, "lines": [line["name"] for line in found]}
    block["spec"] = spec
    return [block] if len(found) <= LINES_OPEN else [folded(TITLE, [block])]
