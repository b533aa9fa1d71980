"""Behavioural cohorts with their rules, and what customers bring by how long they have been customers."""

from collections.abc import Sequence
from typing import Any

from models.report import figures, wording
from models.report.blocks import Block, Row, cell, folded, grid, prose, table
from models.report.wording import Words

ALL = "all"
CHANNELS_DRAWN = 12  # small pictures before the page turns heavy; the channels with most customers come first
SHOWN_MONTHS = (0, 1, 3, 6, 12, 18, 24)  # columns of the table of cohorts: a phone has room for few
COHORTS_SHOWN = 24  # two years of cohorts, the newest
NOTE = (
    "Month 0 is the day of the first order. The line is what customers have brought on average by then, dashed where "
)
NOTE += (
    "no month’s customers are that old; the band holds 90 %. The thin dotted line is what a customer cost: the curve "
)
NOTE += "crosses it at payback."


def habits(profile: Sequence[Row], words: Words) -> list[Block]:
    """Each cohort with its rule, and one line for each that the data cannot tell."""
    rows = [row for row in profile if row.get("kind") == "cohort"]
    offered = [row for row in rows if wording.number(row.get("customers")) is not None]
    columns = [
        "Cohort",
        "Customers",
        "Value each from here on",
        "Orders each",
        "Share of revenue",
        "Share of value",
        "Rule",
    ]
    cells = [
        [
            cell(str(row.get("name")).capitalize()),
            cell(wording.count(row.get("customers")), row.get("customers"), sub=_share(row.get("customer_fraction"))),
            cell(words.money(row.get("clv_mean")), row.get("clv_mean"), sub=ends(row, words)),
            cell(wording.ratio(row.get("orders_mean")), row.get("orders_mean")),
            cell(wording.percent(row.get("revenue_fraction")), row.get("revenue_fraction")),
            cell(wording.percent(row.get("clv_fraction")), row.get("clv_fraction")),
            cell(row.get("description")),
        ]
        for row in offered
    ]
    lacking = [str(row["switch_on"]) for row in rows if row.get("switch_on")]
    found: list[Block] = []
    if cells:
        found.append(table("How customers order; 90 % intervals of the mean value", columns, cells, kinds="tnnnnnw"))
    return found + [prose(text, "quiet") for text in lacking]


def ends(row: Row, words: Words) -> str:
    """The interval of a group's mean value."""
    return wording.span(words.money(row.get("clv_p05")), words.money(row.get("clv_p95")))


def curves(rows: Sequence[Row], scorecard: Sequence[Row], words: Words) -> list[Block]:
    """The pooled curve of all customers, one small picture per channel with its cost, and the cohorts as a table."""
    pooled = [row for row in rows if row.get("cohort_month") == ALL]
    lines: dict[str, list[Row]] = {}
    for row in sorted(pooled, key=lambda row: (str(row.get("channel")), int(row["month"]))):
        lines.setdefault(str(row.get("channel")), []).append(row)
    if ALL not in lines:
        return []
    cost = {str(row.get("channel")): wording.number(row.get("cac")) for row in scorecard}
    paid = [name for name in lines if name != ALL]
    paid.sort(key=lambda name: (-int(lines[name][0].get("customers") or 0), name))
    pictures = [
        _picture(f"fig-cohort-{i}", name, lines[name], words, cost=cost.get(name), height=230)
        for i, name in enumerate(paid[:CHANNELS_DRAWN])
    ]
    whole = _picture("fig-cohorts", "What a customer has brought, by age", lines[ALL], words, legend=True, height=320)
    found = [whole, prose(NOTE, "quiet")]
    if pictures:
        found.append(grid(pictures))
    cohorts = [row for row in rows if row.get("channel") == ALL and row.get("cohort_month") != ALL]
    return [*found, *_tables(cohorts, words)]


def _picture(
    key: str,
    title: str,
    line: Sequence[Row],
    words: Words,
    *,
    cost: float | None = None,
    legend: bool = False,
    height: int,
) -> Block:
    def column(name: str, rows: Sequence[Row]) -> list[float | None]:
        return [wording.number(row.get(name)) for row in rows]

    known = [row for row in line if wording.number(row.get("value_per_customer")) is not None]
    banded = [row for row in known if None not in (row.get("value_p05"), row.get("value_p95"))]
    seen = [row for row in known if row.get("observed")]
    ahead = [*seen[-1:], *(row for row in known if not row.get("observed"))]
    expected = [row for row in line if wording.number(row.get("expected_value")) is not None]
    edge = {
        "x": column("month", banded),
        "mode": "lines",
        "line": {"width": 0},
        "showlegend": False,
        "hoverinfo": "skip",
    }
    data: list[dict[str, Any]] = [
        {**edge, "y": column("value_p05", banded)},
        {**edge, "y": column("value_p95", banded), "fill": "tonexty", "fillcolor": figures.BAND},
    ]
    hover = {"mode": "lines", "hovertemplate": "month %{x}: %{y:,.4s}<extra></extra>"}
    if legend and expected:
        style = {"color": figures.SECOND, "width": 1.6}
        model = {"x": column("month", expected), "y": column("expected_value", expected), "name": "Lifetime model"}
        data.append({**model, "line": style, **hover})
    for name, part, dash in (("Customers so far", seen, "solid"), ("Projected", ahead, "dash")):
        if len(part) > 1:
            xy = {"x": column("month", part), "y": column("value_per_customer", part), "name": name}
            data.append({**xy, "line": {"color": figures.ACCENT, "width": 2.4, "dash": dash}, **hover})
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "months since the first order"}, "dtick": 6, "range": [0, max(len(line) - 1, 1)]},
        "yaxis": {"title": {"text": words.sign.strip()}, "rangemode": "tozero", "nticks": 5},
        "showlegend": legend,
        "legend": {"traceorder": "normal"},
    }
    if not legend:
        layout["margin"] = {"l": 52, "r": 8, "t": 8, "b": 44}
    if cost is not None:
        line_at = {"x0": 0, "x1": 1, "xref": "paper", "y0": cost, "y1": cost}
        layout["shapes"] = [{"type": "line", **line_at, "line": {"color": figures.INK, "width": 1, "dash": "dot"}}]
    return figures.figure(key, title, _alt(title, known, cost, words), data, layout, height)


def _alt(title: str, known: Sequence[Row], cost: float | None, words: Words) -> str:
    first, last = known[0], known[-1]
    text = f"{title}: {words.money(first['value_per_customer'])} with the first order, "
    text += f"{words.money(last['value_per_customer'])} after {last['month']} months"
    return text + (f"; a customer cost {words.money(cost)}." if cost is not None else ".")


def _tables(rows: Sequence[Row], words: Words) -> list[Block]:
    """Value and share ordering, cohort by month; a projection is shown quietly."""
    cohorts: dict[str, dict[int, Row]] = {}
    for row in rows:
        cohorts.setdefault(str(row["cohort_month"]), {})[int(row["month"])] = row
    if not cohorts:
        return []
    newest = sorted(cohorts)[-COHORTS_SHOWN:]
    last = max(max(cells) for cells in cohorts.values())
    months = [month for month in SHOWN_MONTHS if month <= last]
    found = []
    for caption, name, show in (
        ("What a customer of each month has brought; a projection is pale", "value_per_customer", words.money),
        ("Share of each month’s customers who ordered within that month of theirs", "retention", wording.percent),
    ):
        shown = [month for month in months if month or name == "value_per_customer"]
        cells = [
            [
                cell(cohort),
                cell(wording.count(cohorts[cohort][0].get("customers")), cohorts[cohort][0].get("customers")),
                *(_cell(cohorts[cohort].get(month, {}), name, show) for month in shown),
            ]
            for cohort in newest
        ]
        heads = ["First order in", "Customers", *(f"Month {month}" for month in shown)]
        found.append(folded(caption.split(";")[0], [table(caption, heads, cells, kinds="t" + "n" * (len(shown) + 1))]))
    return found


def _cell(row: Row, name: str, show: Any) -> dict[str, Any]:
    return cell(show(row.get(name)), row.get(name), tone="" if row.get("observed") else "quiet")


def _share(value: Any) -> str:
    shown = wording.percent(value)
    return "" if shown == wording.NONE else f"{shown} of all"
