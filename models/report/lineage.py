"""From a number back to its files: what came of each source's rows, how fresh it is, which files made which table."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.report import wording
from models.report.blocks import MANY_ROWS, Block, Row, Tables, cell, folded, prose, rows_of, table

ROWS = {"rows_read": "Rows read", "rows_kept": "Kept", "rows_quarantined": "Set aside", "rows_ignored": "Ignored"}
NOTES = 4  # kinds of things the reader did that are shown per source, the most frequent first
RULES = 3  # broken rules shown per source; all of them stand in the table of rows set aside
SHORT_SHA = 12  # characters that tell files apart as surely as anybody needs on a page


@dataclass(frozen=True, kw_only=True)
class Journey:
    """What a section of the report rests on.

    Attributes
    ----------
    section : its title.
    results : tables of `out` that hold its numbers.
    inputs : tables that these are computed from, `schema.table`.
    sources : source tables that the inputs are built from.
    """

    section: str
    results: tuple[str, ...]
    inputs: tuple[str, ...]
    sources: tuple[str, ...]


MIX_INPUTS = ("mart.spend_weekly", "mart.kpi_weekly", "mart.controls_weekly", "staging.lift_tests")
MIX_SOURCES = ("ad_spend", "kpi", "orders", "controls", "lift_tests", "rates")
JOURNEYS = (
    Journey(
        section="The plan",
        results=("plan_summary", "budget_plan", "bid_plan"),
        inputs=(*MIX_INPUTS, "mart.bid_observations", "mart.click_cells"),
        sources=(*MIX_SOURCES, "bids", "clicks"),
    ),
    Journey(
        section="What media did", results=("mmm_channel", "response_curve"), inputs=MIX_INPUTS, sources=MIX_SOURCES
    ),
    Journey(section="Forecast", results=("forecast", "backtest"), inputs=MIX_INPUTS, sources=MIX_SOURCES),
    Journey(
        section="Customer value",
        results=("customer_value", "channel_scorecard", "cohort_curve", "click_value"),
        inputs=(
            "mart.customer_rfm",
            "mart.customer_order_days",
            "mart.cohort_orders",
            "mart.click_cells",
            "staging.ad_spend",
        ),
        sources=("orders", "customers", "clicks", "ad_spend", "rates"),
    ),
    Journey(
        section="Triggers",
        results=("trigger",),
        inputs=("mart.roas_weekly", "mart.customer_rfm", "mart.bid_observations", "mart.campaign_first_seen"),
        sources=("ad_spend", "kpi", "orders", "customers", "bids", "rates"),
    ),
)


def before_and_after(tables: Tables, broken: Mapping[str, Sequence[tuple[str, int]]]) -> list[Block]:
    """What came of the rows of each source.

    Parameters
    ----------
    broken : source -> (rule, rows set aside for it), the most frequent first.
    """
    by_source = _by_source(tables)
    if not by_source:
        return []
    cells = []
    for source, files in by_source.items():
        sums = {name: sum(int(row.get(name) or 0) for row in files) for name in ROWS}
        kept = wording.percent(sums["rows_kept"] / sums["rows_read"]) if sums["rows_read"] else ""
        shown = {name: cell(wording.count(total), total) for name, total in sums.items()}
        why = [f"{rule} ({wording.plural(rows, 'row')})" for rule, rows in broken.get(source, ())]
        cells.append([
            cell(source, sub=wording.plural(len(files), "file")),
            *(shown[name] | ({"sub": kept} if name == "rows_kept" else {}) for name in ROWS),
            cell("\n".join(_told(_notes(files), NOTES))),
            cell("\n".join(_told(why, RULES))),
        ])  # fmt: skip
    columns = ["Source", *ROWS.values(), "What the reader did", "Rules that rows set aside broke"]
    return [table("Before and after: what came of each source’s rows", columns, cells, kinds="tnnnnww")]


def freshness(tables: Tables) -> list[Block]:
    """How old the newest day of each source is, those that are late first."""
    rows = sorted(rows_of(tables, "freshness"), key=lambda row: (-(row.get("late_days") or 0), str(row.get("source"))))
    if not rows:
        return []
    columns = ["Source", "Newest day", "State", "Last load", "Days behind", "Days allowed"]
    cells = [
        [
            cell(row.get("source")),
            cell(wording.day(row.get("newest_date"))),
            _state(row),
            cell(moment(row.get("loaded_at"))),
            cell(wording.count(row.get("behind_days")), row.get("behind_days")),
            cell(wording.count(row.get("allowed_days")), row.get("allowed_days")),
        ]
        for row in rows
    ]
    return [table("How fresh each source is", columns, cells, kinds="tsssnn")]


def _state(row: Row) -> Block:
    late = row.get("late_days")
    if late is None:
        return cell("no limit", tone="quiet")
    return cell(f"{wording.plural(late, 'day')} late", tone="warn") if late else cell("in time", tone="good")


def origins(tables: Tables) -> list[Block]:
    """Where each number comes from: section, tables, sources, files with their hash and time of loading."""
    by_source = _by_source(tables)
    if not by_source:
        return []
    total = sum(map(len, by_source.values()))
    said = (
        "The numbers of a section stand in the warehouse, in the tables named first. They are computed from the tables "
        "named next, and these from the files of the sources. A file is known by its SHA-256."
    )
    parts = [prose(said), *_journeys(tables, by_source), _files(by_source, total)]
    return [folded(f"Where each number comes from: {wording.plural(total, 'file')}", parts)]


def _journeys(tables: Tables, by_source: Mapping[str, Sequence[Row]]) -> list[Block]:
    cells = [
        [
            cell(journey.section),
            cell(", ".join(f"out.{name}" for name in journey.results if name in tables)),
            cell(", ".join(journey.inputs)),
            cell(", ".join(name for name in journey.sources if name in by_source)),
        ]
        for journey in JOURNEYS
        if any(name in tables for name in journey.results)
    ]
    columns = ["Section", "Its numbers", "Computed from", "Sources"]
    return [table("From a section to its sources", columns, cells, kinds="twww")] if cells else []


def _files(by_source: Mapping[str, Sequence[Row]], total: int) -> Block:
    files = [row for rows in by_source.values() for row in rows]
    cells = [
        [
            cell(row.get("file"), sub=str(row.get("table_name") or "")),
            cell(moment(row.get("loaded_at")), sub=f"SHA-256 {str(row.get('file_sha256') or '')[:SHORT_SHA]}"),
            *(cell(wording.count(row.get(name)), row.get(name)) for name in ROWS),
            cell(row.get("notes")),
        ]
        for row in files[:MANY_ROWS]
    ]
    more = f" (first {MANY_ROWS} of {wording.count(total)} files)" if total > MANY_ROWS else ""
    columns = ["File", "Loaded", *ROWS.values(), "What the reader did"]
    return table(f"From a source to its files{more}", columns, cells, kinds="tsnnnnw")


def moment(value: Any) -> str:
    """A moment in UTC such as 5 January 2026, 06:00 UTC; the day alone where no time is known."""
    shown = wording.day(value)
    return f"{shown}, {value:%H:%M} UTC" if isinstance(value, datetime) else shown


def _by_source(tables: Tables) -> dict[str, list[Row]]:
    """Each source's files, sources and files in the order of their names."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows_of(tables, "lineage"), key=lambda row: (str(row.get("source")), str(row.get("file")))):
        found.setdefault(str(row.get("source")), []).append(row)
    return found


def _notes(files: Sequence[Row]) -> list[str]:
    """What the reader did, the most frequent first, with the number of files where there are several."""
    counted = Counter(note for row in files for note in dict.fromkeys(str(row.get("notes") or "").split("; ")) if note)
    order = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [note if len(files) == 1 else f"{note} ({wording.plural(count, 'file')})" for note, count in order]


def _told(lines: Iterable[str], most: int) -> list[str]:
    """The first lines, and how many more there are."""
    found = list(lines)
    return found if len(found) <= most else [*found[:most], f"and {wording.count(len(found) - most)} more"]
