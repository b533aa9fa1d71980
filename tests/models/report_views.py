"""Finding one's way in the report's view."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from models.report.view import build_view
from tests.models import report_tables as made


def view_of(tables: dict[str, pl.DataFrame], **changes: Any) -> dict[str, Any]:
    names: dict[str, Any] = {"run_id": made.RUN_ID, "as_of": made.AS_OF, "company": "Halden", "currency": "EUR"}
    return build_view(tables, **(names | changes))


def section(view: dict[str, Any], key: str) -> dict[str, Any]:
    return next(part for part in view["sections"] if part["id"] == key)


def blocks(part: dict[str, Any], kind: str) -> Iterator[dict[str, Any]]:
    """All blocks of a kind inside a section, folded ones too."""
    for inner in part["blocks"]:
        if inner["kind"] == kind:
            yield inner
        if "blocks" in inner:
            yield from blocks(inner, kind)


def column(table: dict[str, Any], label: str) -> list[float | None]:
    """The exact values of a table's column."""
    i = [head["label"] for head in table["columns"]].index(label)
    return [None if row[i]["value"] is None else float(row[i]["value"]) for row in table["rows"]]
