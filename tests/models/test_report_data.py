"""The report's data section: rows before and after, freshness, the way from a number back to its files."""

import json
from typing import Any

import duckdb
import polars as pl
import pytest

from models.report import audit, lineage, wording
from models.report.blocks import MANY_ROWS
from tasks.warehouse import SQL, tables_read
from tests.models import report_tables as made
from tests.models.report_views import blocks, column, section, view_of


def test_quarantine_counts_rows_and_masks_persons() -> None:
    table = next(
        table
        for table in blocks(section(view_of(made.everything()), "data"), "table")
        if "set aside" in table["caption"]
    )
    assert column(table, "Rows") == [4.0, 1.0]
    text = json.dumps(table, ensure_ascii=False)
    assert "person-99" not in text
    assert "example.org" not in text
    assert "cost=-41.2" in text
    assert audit.masked("1,Jo Doe,jo@example.org") == ""
    assert audit.masked('{"E-Mail": "x", "cost": "1"}') == "E-Mail=•••, cost=1"


def test_quarantine_is_told_by_rule_however_many_rows_broke_it() -> None:
    rows = [made.quarantine()[0] | {"reason": f"cost is -{i}.5; expected: cost is at least 0"} for i in range(50)]
    tables = made.everything() | {"quarantine": made.stamped(rows)}
    shown = list(blocks(section(view_of(tables), "data"), "table"))
    table = next(one for one in shown if "set aside" in one["caption"])
    assert column(table, "Rows") == [50.0]
    checked = [row | {"check_ids": "customer_id_known", "reason": "customer_id is person-99"} for row in rows]
    tables["quarantine"] = made.stamped(checked)
    text = json.dumps(section(view_of(tables), "data"))
    assert "person-99" not in text
    assert "Customer ID known" in text


def tables_of_data(tables: dict[str, pl.DataFrame]) -> dict[str, dict[str, Any]]:
    """The data section's tables by the first word of their caption."""
    return {part["caption"].split()[0]: part for part in blocks(section(view_of(tables), "data"), "table")}


def test_before_and_after_sums_each_sources_files() -> None:
    tables = made.everything()
    part = tables_of_data(tables)["Before"]
    assert [row[0]["text"] for row in part["rows"]] == ["ad_spend", "orders"]
    for label, name in lineage.ROWS.items():
        sums = tables["lineage"].group_by("source").agg(pl.col(label).sum()).sort("source")[label]
        assert column(part, name) == sums.to_list()
    kept = part["rows"][0][2]["sub"].replace(wording.THIN, " ")
    assert kept == "> 99.9 %"  # 44 426 of 44 435
    done, why = (cell["text"].split("\n") for cell in part["rows"][0][-2:])
    assert done == ["decimal comma (2 files)", "2 lines above the header (1 file)", "3 totals (1 file)",
                    "dates are day first (1 file)"]  # fmt: skip
    assert why == ["cost is negative (4 rows)"]
    lead = section(view_of(tables), "data")["lead"]
    assert lead.endswith("Of 45,435 rows in 3 files, 45,425 were kept, 5 set aside and 5 ignored.")


def test_a_rule_stands_for_all_its_rows_and_many_are_cut_short() -> None:
    rows = [
        made.quarantine()[0] | {"check_ids": check, "reason": f"cost is -{i}; expected: cost is at least 0"}
        for i, check in enumerate(("cost_range", "cost_range", "cost_range", "a", "b", "cost_range,cpc_sanity"))
    ]
    why = tables_of_data(made.everything() | {"quarantine": made.stamped(rows)})["Before"]["rows"][0][-1]["text"]
    assert why.split("\n") == [
        "cost is at least 0 (3 rows)",  # as the check says it, not as one of its rows does
        "cost is -3; expected: cost is at least 0 (1 row)",  # a rule that no check told of
        "cost is -4; expected: cost is at least 0 (1 row)",
        "and 1 more",
    ]
    why = tables_of_data(made.everything() | {"quarantine": made.stamped(rows[-1:])})["Before"]["rows"][0][-1]["text"]
    assert why == "cost is at least 0; a click costs at most 20 EUR (1 row)"


def test_late_sources_come_first_with_their_days() -> None:
    part = tables_of_data(made.everything() | {"freshness": made.stamped(made.freshness())})["How"]
    assert [(row[0]["text"], row[2]["text"]) for row in part["rows"]] == [
        ("orders", "3 days late"),
        ("ad_spend", "in time"),
        ("customers", "no limit"),
    ]
    assert column(part, "Days behind") == [11.0, 1.0, 40.0]
    assert part["rows"][0][1]["text"] == "25 December 2025"
    assert part["rows"][0][3]["text"] == "5 January 2026, 05:58 UTC"
    assert "How" not in tables_of_data(made.everything())


def test_a_number_can_be_followed_to_its_files() -> None:
    tables = made.everything()
    shown = [part for part in blocks(section(view_of(tables), "data"), "table") if part["caption"].startswith("From")]
    journeys, files = shown
    plan = {row[0]["text"]: [cell["text"] for cell in row[1:]] for row in journeys["rows"]}["The plan"]
    assert plan[0] == "out.plan_summary, out.budget_plan"
    assert "mart.kpi_weekly" in plan[1]
    assert plan[2] == "ad_spend, orders"  # those with files; the company has no KPI of its own
    assert [row[0]["text"] for row in files["rows"]] == [row["file"] for row in sorted(
        made.lineage(), key=lambda row: (row["source"], row["file"]))]  # fmt: skip
    assert column(files, "Rows read") == [310.0, 44_125.0, 1_000.0]
    assert files["rows"][1][1]["text"] == "5 January 2026, 05:58 UTC"
    assert files["rows"][1][1]["sub"] == "SHA-256 abababababab"
    del tables["lineage"]
    assert "From" not in tables_of_data(tables)


def test_thousands_of_files_stay_a_page() -> None:
    rows = [made.lineage()[1] | {"file": f"landing/{i:05}.csv"} for i in range(5000)]
    tables = made.everything() | {"lineage": made.stamped(rows)}
    parts = tables_of_data(tables)
    assert len(parts["From"]["rows"]) == MANY_ROWS
    assert parts["From"]["caption"].endswith("(first 200 of 5,000 files)")
    assert column(parts["Before"], "Rows read") == [310.0 * 5000]


@pytest.mark.parametrize("journey", lineage.JOURNEYS, ids=lambda journey: journey.section)
def test_the_way_back_is_the_one_that_the_sql_takes(journey: lineage.Journey) -> None:
    def sources(table: str) -> set[str]:
        schema, name = table.split(".")
        if schema == "raw":
            return {name}
        return {one for read in tables_read(con, (SQL / schema / f"{name}.sql").read_text()) for one in sources(read)}

    assert journey.section in {part["title"] for part in view_of({})["sections"]}
    with duckdb.connect() as con:
        assert {one for table in journey.inputs for one in sources(table)} == set(journey.sources)
