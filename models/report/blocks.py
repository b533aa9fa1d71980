"""The parts a section is made of: prose, table, figure, folded part, as plain dicts."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl

from models.report import wording

Row = dict[str, Any]
Block = dict[str, Any]
Cell = dict[str, Any]
Tables = Mapping[str, pl.DataFrame]

MANY_ROWS = 200  # rows a folded table shows at most; the warehouse holds the rest


def rows_of(tables: Tables, name: str) -> list[Row]:
    """The rows of a table, none when it is absent."""
    return tables[name].to_dicts() if name in tables else []


def cell(text: Any, value: Any = None, *, sub: str = "", tone: str = "") -> Cell:
    """One table cell.

    Parameters
    ----------
    text : what is read.
    value : the number behind it at full precision, kept in the page for whoever copies or checks it.
    sub : a second, quieter line, usually the interval.
    tone : "good", "warn", "bad", "quiet" or empty.
    """
    exact = wording.number(value)
    shown = wording.NONE if text is None or text == "" else str(text)
    return {"text": shown, "value": None if exact is None else repr(exact), "sub": sub, "tone": tone}


def money(words: wording.Words, row: Row, name: str, *, signed: bool = False) -> Cell:
    """Cell of an amount of money."""
    return cell(words.money(row.get(name), signed=signed), row.get(name))


def ranged(row: Row, stem: str, show: Any) -> Cell:
    """Cell of `<stem>_mean` with the interval `<stem>_p05` to `<stem>_p95` beneath, each formatted by `show`."""
    mean, low, high = (row.get(f"{stem}_{end}") for end in ("mean", "p05", "p95"))
    return cell(show(mean), mean, sub=wording.span(show(low), show(high)))


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, kinds: str = "") -> Block:
    """A table; the first column heads its row, and a column without any content is left out.

    Parameters
    ----------
    caption : names the table for every reader, on screen or by ear.
    columns : headings.
    rows : one sequence of cells per row.
    kinds : one character per column: "n" number, "s" short and kept on one line, "w" wide prose, "t" other text; filled
        up with "t".
    """
    kinds = kinds.ljust(len(columns), "t")
    full = [i for i in range(len(columns)) if i == 0 or any(row[i]["text"] != wording.NONE for row in rows)]
    heads = [{"label": columns[i], "kind": kinds[i]} for i in full]
    return {"kind": "table", "caption": caption, "columns": heads, "rows": [[row[i] for i in full] for row in rows]}


def prose(text: str, tone: str = "") -> Block:
    """A paragraph."""
    return {"kind": "prose", "text": text, "tone": tone}


def facts(items: Sequence[tuple[str, str]]) -> Block:
    """Names with what they stand for."""
    return {"kind": "facts", "items": [{"label": label, "text": text} for label, text in items]}


def folded(summary: str, blocks: Sequence[Block]) -> Block:
    """Blocks that open on a click."""
    return {"kind": "folded", "summary": summary, "blocks": list(blocks)}


def grid(blocks: Sequence[Block]) -> Block:
    """Small figures side by side, as many as the width holds."""
    return {"kind": "grid", "blocks": list(blocks)}


def present(key: str, title: str, lead: str, blocks: Sequence[Block], *, note: str = "") -> Block:
    """A section that has something to show."""
    return {"id": key, "title": title, "lead": lead, "blocks": list(blocks), "note": note, "is_absent": False}


def absent(key: str, title: str, switch_on: str) -> Block:
    """A section without data: one line that says what would switch it on."""
    return {"id": key, "title": title, "lead": switch_on, "blocks": [], "note": "", "is_absent": True}


def origin(tables: Tables, name: str, run_id: str) -> str:
    """A line that dates a table when it was written by an earlier run than this one; else empty."""
    first = rows_of(tables, name)[:1]
    if not first or first[0].get("run_id") in (run_id, None):
        return ""
    return f"From the run of {wording.day(first[0].get('as_of'))}; this run computed nothing newer."


def plain_table(caption: str, frame: pl.DataFrame, words: wording.Words) -> Block:
    """Any output table as it stands, formatted by what its column names say."""
    columns = [name for name in frame.columns if name not in ("run_id", "as_of")]
    kinds = "".join("n" if frame.schema[name].is_numeric() else "t" for name in columns)
    cells = [[_plain(name, row[name], words) for name in columns] for row in frame.head(MANY_ROWS).to_dicts()]
    more = f" (first {MANY_ROWS} of {wording.count(frame.height)} rows)" if frame.height > MANY_ROWS else ""
    labels = [wording.title(name.removesuffix("_fraction")) for name in columns]
    return table(caption + more, labels, cells, kinds=kinds)


def _plain(name: str, value: Any, words: wording.Words) -> Cell:
    if isinstance(value, bool):
        return cell("yes" if value else "no")
    if isinstance(value, date):
        return cell(wording.day(value))
    real = wording.number(value)
    if real is None:
        return cell(value if isinstance(value, str) else wording.NONE)
    if name in ("bid", "planned_bid", "value_per_click", "value_per_conversion", "cac", "spend"):
        return cell(words.money(real), real)
    if name.endswith("_fraction") or name in ("share", "coverage", "nominal", "weight"):
        return cell(wording.percent(real), real)
    return cell(wording.count(real) if isinstance(value, int) else wording.ratio(real), real)
