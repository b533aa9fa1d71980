"""The forecast: a sentence with its odds, and the paths as a fan."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from models.report import figures, wording
from models.report.blocks import Block, Cell, Row, Tables, absent, cell, folded, plain_table, present, rows_of, table
from models.report.wording import Words

KEY, TITLE = "forecast", "Forecast"
HISTORY_WEEKS = 26  # half a year of what was, enough to judge a fan by eye
MONEY_METRICS = ("revenue", "margin", "profit", "spend", "value", "kpi")
ACTED_ON = ("plan", "base")  # scenarios that speak before their rivals
QUANTILES = ("p05", "p25", "p50", "p75", "p95")


def section(tables: Tables, words: Words, note: str, as_of: date) -> Block:
    """The sentence, one fan per metric, and the numbers behind them."""
    groups = _groups(tables)
    if not groups:
        return absent(KEY, TITLE, "No forecast: the source kpi (or orders) switches it on.")
    metrics = list(dict.fromkeys(metric for _, metric in groups))
    metrics.sort(key=lambda name: name not in MONEY_METRICS)
    blocks: list[Block] = []
    for i, metric in enumerate(metrics):
        scenarios = [scenario for scenario, name in groups if name == metric]
        history = _history(tables, as_of) if i == 0 and metric not in ("orders", "roas") else []
        blocks.append(_fan(i, metric, scenarios, groups, words, history))
    if len(blocks) > 1:
        blocks = [blocks[0], {"kind": "pair", "blocks": blocks[1:]}]
    blocks.append(folded("The numbers behind the fan", [_table(groups, words)]))
    if "backtest" in tables:
        blocks.append(folded("How earlier forecasts held", [plain_table("Backtest", tables["backtest"], words)]))
    scenario = next(scenario for scenario, name in groups if name == metrics[0])
    lead = sentence(groups[scenario, metrics[0]], metrics[0], words) + _coverage(tables, metrics[0])
    return present(KEY, TITLE, lead, blocks, note=note)


def _groups(tables: Tables) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows_of(tables, "forecast"):
        if wording.as_date(row.get("period_start")) is not None:
            found.setdefault((str(row.get("scenario")), str(row.get("metric"))), []).append(row)
    order = sorted(found, key=lambda key: key[0] not in ACTED_ON)  # stable: else as the table has them
    return {key: sorted(found[key], key=lambda row: (_start(row), _days(row))) for key in order}


def _start(row: Row) -> date:
    return wording.as_date(row.get("period_start")) or date.min


def _days(row: Row) -> int:
    end = wording.as_date(row.get("period_end"))
    return 0 if end is None else (end - _start(row)).days


def periods_of(rows: Sequence[Row]) -> list[Row]:
    """The single periods of a forecast: a row that spans others (a total over the horizon) is left out."""
    shortest = min(_days(row) for row in rows)
    return [row for row in rows if _days(row) <= 1.5 * shortest or _days(row) == shortest]


def total_of(rows: Sequence[Row]) -> Row | None:
    """The row that spans the most, when it spans more than one period."""
    longest = max(rows, key=_days)
    return longest if longest not in periods_of(rows) else None


def sentence(rows: Sequence[Row], metric: str, words: Words) -> str:
    """What is expected and between what most paths land: over the whole horizon where the table has a total.

    Quantiles of a sum are not sums of quantiles, so without a total the sentence speaks of the first period.
    """
    total = total_of(rows)
    row = total or periods_of(rows)[0]
    show = _show(metric, words)
    when = f"from {wording.day(_start(row))} to {wording.day(row.get('period_end'))}"
    return (
        f"We expect {show(row.get('mean'))} {_title(metric)} {when}; 90{wording.THIN}% of simulated paths land "
        f"between {show(row.get('p05'))} and {show(row.get('p95'))}."
    )


def _title(metric: str) -> str:
    return "ROAS" if metric.lower() == "roas" else metric.replace("_", " ")


def _show(metric: str, words: Words) -> Any:
    if metric in MONEY_METRICS:
        return words.money if metric != "kpi" or words.is_money else wording.count
    return wording.ratio if "roas" in metric.lower() else lambda value: Words.value(_COUNTS, value)


_COUNTS = Words(currency="", kpi="conversions")


def _coverage(tables: Tables, metric: str) -> str:
    rows = [
        row
        for row in rows_of(tables, "backtest")
        if row.get("metric") == metric and abs((wording.number(row.get("nominal")) or 0.0) - 0.9) < 1e-6
    ]
    held = [real for row in rows if (real := wording.number(row.get("coverage"))) is not None]
    if not held:
        return ""
    share = wording.percent(sum(held) / len(held))
    return f" In backtests such intervals held {share} of what then happened."


def _history(tables: Tables, as_of: date) -> list[tuple[date, float]]:
    found = [
        (when, value)
        for row in rows_of(tables, "kpi_weekly")
        if (when := wording.as_date(row.get("week_start"))) is not None
        and when <= as_of
        and (value := wording.number(row.get("value"))) is not None
    ]
    return sorted(found)[-HISTORY_WEEKS:]


def _fan(
    i: int,
    metric: str,
    scenarios: Sequence[str],
    groups: dict[tuple[str, str], list[Row]],
    words: Words,
    history: Sequence[tuple[date, float]],
) -> Block:
    rows = periods_of(groups[scenarios[0], metric])
    quantiles = {name: [wording.number(row.get(name)) or 0.0 for row in rows] for name in QUANTILES}
    other = None
    if len(scenarios) > 1:
        rival = {_start(row): wording.number(row.get("p50")) or 0.0 for row in periods_of(groups[scenarios[1], metric])}
        if set(rival) == {_start(row) for row in rows}:
            other = (f"Median, {scenarios[1].replace('_', ' ')}", [rival[_start(row)] for row in rows])
    title = wording.title(metric) + (f", {scenarios[0].replace('_', ' ')}" if len(scenarios) > 1 else "")
    unit = words.sign.strip() if metric in MONEY_METRICS else ""
    starts = [_start(row) for row in rows]
    return figures.fan(
        f"fig-forecast-{i}", title, starts, quantiles, unit, history=history, other=other, height=340 if i == 0 else 260
    )


def _table(groups: dict[tuple[str, str], list[Row]], words: Words) -> Block:
    def ends(row: Row, show: Any) -> list[Cell]:
        return [cell(show(row.get(name)), row.get(name)) for name in ("mean", *QUANTILES)]

    rows = [
        [
            cell(f"{wording.day(_start(row))} to {wording.day(row.get('period_end'))}"),
            cell(_title(metric)),
            cell(scenario.replace("_", " ")),
            *ends(row, _show(metric, words)),
        ]
        for (scenario, metric), group in groups.items()
        for row in group
    ]
    columns = ["Period", "Metric", "Scenario", "Mean", "5 %", "25 %", "Median", "75 %", "95 %"]
    return table("Forecast by period, with quantiles of the simulated paths", columns, rows, kinds="tttnnnnnn")
