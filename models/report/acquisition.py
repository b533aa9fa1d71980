"""What a channel's customers cost and bring: the CLV:CAC matrix, the composite score with its parts, what to do."""

from collections.abc import Sequence
from typing import Any

from models.report import figures, wording
from models.report.blocks import Block, Cell, Row, cell, money, prose, table
from models.report.wording import Words
from models.scorecard import ScorecardConfig

ACTIONS = {"scale": "good", "optimise": "", "monitor": "warn", "pause": "bad"}
QUALITIES = {"excellent": "good", "good": "", "marginal": "warn", "poor": "bad"}
PRIORITIES = {"high": "good", "medium": "", "low": "warn"}
PARTS = {
    "score_ltv_cac": "CLV : CAC",
    "score_conversion": "Conversion",
    "score_retention": "Retention",
    "score_efficiency": "Next euro",
}
TONES = ("--step-4", "--step-3", "--step-2", "--step-1")
FULL_POINTS = 99.5  # less than this of 100 is known: the score says so
RICHEST_FIRST = "clv_to_cac"


def matrix(scorecard: Sequence[Row], words: Words, config: ScorecardConfig) -> list[Block]:
    """Cost and value of a customer by channel, best ratio first, then the score, with the rules of `config`."""
    ordered = sorted(
        scorecard, key=lambda row: (-(wording.number(row.get(RICHEST_FIRST)) or 0.0), str(row.get("channel")))
    )
    columns = [
        "Channel",
        "CLV : CAC",
        "Quality",
        "Action",
        "Priority",
        "Pays back in",
        "Value of one (CLV)",
        "Cost of one (CAC)",
        "New customers",
        "Spend",
    ]
    rows = [
        [
            cell(row.get("channel")),
            _ranged(row, "clv_to_cac", "clv_to_cac", wording.ratio),
            cell(row.get("quality"), tone=QUALITIES.get(str(row.get("quality")).lower(), "")),
            _action(row),
            cell(row.get("priority"), tone=PRIORITIES.get(str(row.get("priority")).lower(), "")),
            _ranged(row, "payback_months", "payback_months", months),
            _ranged(row, "clv_mean", "clv", words.money),
            money(words, row, "cac"),
            cell(wording.count(row.get("new_customers")), row.get("new_customers")),
            money(words, row, "spend"),
        ]
        for row in ordered
    ]
    return [
        table("What a customer costs and brings, by channel", columns, rows, kinds="tnsssnnnnn"),
        prose(_bands(config), "quiet"),
        *_scores(ordered, config),
    ]


def months(value: Any) -> str:
    """A payback time: at once, or a number of months."""
    real = wording.number(value)
    if real is None:
        return wording.NONE
    return "at once" if real < 0.05 else f"{real:.1f}{wording.THIN}months"


def _bands(config: ScorecardConfig) -> str:
    return (
        "CLV is that of a new customer, first order included. "
        f"CLV:CAC is Excellent from {config.excellent_min:g}, Good from {config.good_min:g}, "
        f"Marginal from {config.marginal_min:g}, and Poor below. Intervals hold 90 %."
    )


def _rule(config: ScorecardConfig) -> str:
    ratio, conversion, retention, efficiency = (f"{points:g}" for points in config.full_points)
    return (
        f"Of {sum(config.full_points):g} points, shown as out of 100, the score adds "
        f"CLV:CAC × {config.ltv_cac_points:g} (at most {ratio}), "
        f"conversion rate × {config.conversion_points:g} (at most {conversion}), "
        f"the share who order again × {retention}, and up to {efficiency} for what the next euro returns against the "
        "best channel. Where a part is not known the rest counts for all."
    )


def _scores(scorecard: Sequence[Row], config: ScorecardConfig) -> list[Block]:
    """The composite score: a bar of its parts, and the figures behind them."""
    scored = [row for row in scorecard if wording.number(row.get("composite_score")) is not None]
    if not scored:
        return []
    scored.sort(key=lambda row: (-row["composite_score"], str(row.get("channel"))))
    columns = [
        "Channel",
        "Score",
        *PARTS.values(),
        "Conversion rate",
        "Order again",
        "ROAS, CLV-adjusted",
    ]
    rows = [
        [
            cell(row.get("channel")),
            cell(f"{row['composite_score']:.0f}", row["composite_score"], sub=_out_of(row)),
            *(_points(row, name) for name in PARTS),
            cell(wording.percent(row.get("conversion_rate")), row.get("conversion_rate")),
            cell(wording.percent(row.get("retention")), row.get("retention"), sub=_within(row)),
            cell(wording.ratio(row.get("clv_adjusted_roas")), row.get("clv_adjusted_roas"), sub=_of_roas(row)),
        ]
        for row in scored
    ]
    return [
        _bars(scored),
        table("The score and its parts, in points", columns, rows, kinds="tnnnnnnnn"),
        prose(_rule(config), "quiet"),
    ]


def _bars(scored: Sequence[Row]) -> Block:
    names = [str(row.get("channel")) for row in scored]
    places = list(range(len(names)))
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": label,
            "y": places,
            "x": [wording.number(row.get(name)) for row in scored],
            "marker": {"color": tone, "line": {"color": "--paper", "width": 2}},
            "hovertemplate": "%{x:.1f} points<extra>" + label + "</extra>",
            "width": 0.55,
        }
        for (name, label), tone in zip(PARTS.items(), TONES, strict=True)
        if any(wording.number(row.get(name)) is not None for row in scored)
    ]
    layout = {
        "barmode": "stack",
        "xaxis": {"title": {"text": "points"}, "rangemode": "tozero", "zeroline": True},
        "yaxis": figures.rows_axis(names),
        "showlegend": True,
        "legend": {"traceorder": "normal"},
    }
    words = "; ".join(f"{name} {row['composite_score']:.0f} of 100" for name, row in zip(names, scored, strict=True))
    return figures.figure(
        "fig-score",
        "What a channel’s score is made of",
        f"Composite score: {words}.",
        data,
        layout,
        120 + 44 * len(names),
    )


def _points(row: Row, name: str) -> Cell:
    real = wording.number(row.get(name))
    return cell(wording.NONE if real is None else f"{real:.1f}", real)


def _out_of(row: Row) -> str:
    points = wording.number(row.get("score_points"))
    return "" if points is None or points >= FULL_POINTS else f"from {points:.0f} of 100 points"


def _within(row: Row) -> str:
    real = wording.number(row.get("retention_months"))
    return "" if real is None else f"within {real:.0f} months"


def _of_roas(row: Row) -> str:
    return f"{wording.ratio(row.get('roas'))} by the {row['roas_source']}" if row.get("roas_source") else ""


def _action(row: Row) -> Cell:
    return cell(row.get("action"), tone=ACTIONS.get(str(row.get("action")).lower(), ""))


def _ranged(row: Row, middle: str, stem: str, show: Any) -> Cell:
    low, high = (show(row.get(f"{stem}_{end}")) for end in ("p05", "p95"))
    ends = "" if low == high else wording.span(low, high)
    return cell(show(row.get(middle)), row.get(middle), sub=ends)
