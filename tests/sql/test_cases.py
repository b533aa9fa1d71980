"""Every SQL case: rows given to each input, rows expected of the SELECT, on an in-memory DuckDB.

A case is `cases/<layer>.<table>.<name>.yaml` with `given: {table: [rows]}`, `parameters:` and `expect: [rows]`; a layer
is a folder of `sql`.
Expected figures are worked out by hand in the case's comments.
"""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from tasks.ledger import read_contract
from tasks.warehouse import INCREMENTAL, SQL, build_order, layer_files, tables_read

RATES = [{"currency": "USD", "valid_from": date(2026, 1, 2), "valid_until": date(2026, 1, 9), "rate": 0.5}]
CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))


def typed_table(con: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    """Create an input: raw tables with their contract's types, others with the types the rows show."""
    con.execute(f"create schema if not exists {table.split('.', maxsplit=1)[0]}")
    if table.startswith("raw."):
        columns = ", ".join(f'"{column.name}" {column.physical_type}' for column in read_contract(table).columns)
        con.execute(f"create table {table} ({columns}, _load_id bigint default 1)")
        for row in rows:
            names = ", ".join(f'"{name}"' for name in row)
            con.execute(
                f"insert into {table} ({names}) values ({', '.join('?' * len(row))})", list(row.values())
            ).fetchall()
        return
    for number, row in enumerate(rows):
        values = ", ".join(f'? as "{name}"' for name in row)
        verb = f"insert into {table} by name" if number else f"create table {table} as"
        con.execute(f"{verb} select {values}", list(row.values())).fetchall()


def run_case(case: dict[str, Any], table: str) -> list[dict[str, Any]]:
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'")
        select = (SQL / f"{table.replace('.', '/', 1)}.sql").read_text()
        reads = tables_read(con, select)
        raw: dict[str, list[dict[str, Any]]] = {name: [] for name in reads if name.startswith("raw.")}
        for name, rows in {"staging.rates": RATES, **raw, **case["given"]}.items():
            typed_table(con, name, rows)
        for name in sorted(reads - case["given"].keys()):  # rows of a raw table as its loads are kept
            kept = layer_files()[name].read_text() if name in layer_files() else ""
            if INCREMENTAL.search(kept):
                con.execute(f"create schema if not exists {name.split('.')[0]}")
                con.execute(f"create table {name} as {kept}", named_in(kept, case)).fetchall()
        con.execute(f"create table result as {select}", named_in(select, case)).fetchall()
        cursor = con.execute("select * from result")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def named_in(select: str, case: dict[str, Any]) -> dict[str, Any] | None:
    """The parameters that a SELECT names."""
    parameters = {"timezone": "UTC", "currency": "EUR", **case.get("parameters", {})}
    return {name: value for name, value in parameters.items() if f"${name}" in select} or None


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_case(file: Path) -> None:
    case = yaml.safe_load(file.read_text())
    layer, name, _ = file.stem.split(".", 2)
    found = run_case(case, f"{layer}.{name}")
    narrowed = [{column: _plain(row[column]) for column in case["expect"][0]} for row in found]
    expected = [{column: _plain(value) for column, value in row.items()} for row in case["expect"]]
    assert sorted(narrowed, key=repr) == sorted(expected, key=repr)


def _plain(value: Any) -> Any:
    return round(float(value), 9) if isinstance(value, int | float | Decimal) else value


def test_build_order_puts_each_table_after_what_it_reads() -> None:
    with duckdb.connect() as con:
        order = [table for table, _ in build_order(con)]
        assert set(order) == set(layer_files())
        for table, select in build_order(con):
            for read in tables_read(con, select) & set(order):
                assert order.index(read) < order.index(table)


def test_every_select_reads_known_tables_only() -> None:
    """A typo in a schema or a table name would otherwise show on some user's data only."""
    raw = {
        f"raw.{file.name.removeprefix('raw_').removesuffix('.odcs.yaml')}"
        for file in (SQL.parent / "data_contracts").glob("raw_*.odcs.yaml")
    }
    with duckdb.connect() as con:
        for file in SQL.rglob("*.sql"):
            state = {"ops.loads"} if file.parent.name == "check" else set()
            assert tables_read(con, file.read_text()) <= raw | set(layer_files()) | state, file.name
