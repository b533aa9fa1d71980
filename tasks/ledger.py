"""What was loaded from where: its state (schema `ops`) with its report (`out.lineage`, `out.quarantine`)."""

from functools import cache
from pathlib import Path

import duckdb

from models.contracts import Contract, parse_contract
from models.errors import ConfigError
from models.run import Run
from models.sqltext import identifier
from tasks.warehouse import has_table, quoted, show_latest

CONTRACTS = Path(__file__).resolve().parent.parent / "data_contracts"
LOADS = {  # one row for each file whose rows are in a raw table
    "source": "VARCHAR",
    "file": "VARCHAR",
    "file_sha256": "VARCHAR",
    "load_sha256": "VARCHAR",  # of all that decides how the file is read
    "load_id": "BIGINT",  # in the order of loading; a later load's row wins over an earlier one of the same key
    "version": "BIGINT",  # higher each time rows of the load come or go
    "rows_read": "BIGINT",
    "rows_ignored": "BIGINT",
    "extra_columns": "VARCHAR[]",
    "notes": "VARCHAR[]",
    "is_gone": "BOOLEAN",  # the file was removed and its rows stay
    "has_keys_checked": "BOOLEAN",
    "loaded_at": "TIMESTAMP",
}
FINDINGS = {  # how many rows of a load broke a rule; `stamp` names the rule's form and what it was held against
    "source": "VARCHAR",
    "load_id": "BIGINT",
    "check_id": "VARCHAR",
    "stamp": "VARCHAR",
    "rows": "BIGINT",
}
ORIGIN = {"_file": "VARCHAR", "_row_number": "BIGINT", "_load_id": "BIGINT"}  # columns that every raw table adds


@cache
def read_contract(table: str) -> Contract:
    """The contract of `schema.table`.

    Raises
    ------
    ConfigError : there is none.
    """
    file = CONTRACTS / f"{table.replace('.', '_', 1)}.odcs.yaml"
    if not file.is_file():
        schema = table.split(".", 1)[0]
        known = sorted(path.name.removesuffix(".odcs.yaml") for path in CONTRACTS.glob(f"{schema}_*.odcs.yaml"))
        names = ", ".join(name.removeprefix(f"{schema}_") for name in known)
        raise ConfigError(f"{table} has no contract; there is one for each of {names}.")
    return parse_contract(file.read_text(encoding="utf-8"))


def prepare(con: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    """Make the tables a load writes to; a raw table of another shape than the contract's is made anew, empty."""
    con.execute("create schema if not exists ops")
    _prepare_state(con)
    for table in ("quarantine", "lineage"):
        make_out_table(con, read_contract(f"out.{table}"))
    shape = {column.name: column.physical_type for column in contract.columns} | ORIGIN
    if has_table(con, contract.table):
        if _shape(con, contract.table) == shape:
            return
        con.execute(f"drop table {quoted(contract.table)}")
    _forget_records(con, contract)
    _create(con, contract.table, shape)


def _prepare_state(con: duckdb.DuckDBPyConnection) -> None:
    """The state's own tables; one of an earlier version's shape is made anew, and all files are then loaded again."""
    if has_table(con, "ops.loads"):
        if _shape(con, "ops.loads") == LOADS:
            return
        raw = con.execute("select table_name from information_schema.tables where table_schema = 'raw'").fetchall()
        for (name,) in raw:
            con.execute(f"drop table {quoted(f'raw.{name}')}")
        con.execute("drop table if exists ops.findings; drop table ops.loads")
        if has_table(con, "out.quarantine"):
            con.execute("delete from out.quarantine")
    _create(con, "ops.loads", LOADS)
    con.execute("create table if not exists ops.clock (ticks bigint)")
    con.execute("insert into ops.clock select 0 where not exists (from ops.clock)")
    _create(con, "ops.findings", FINDINGS)


def _shape(con: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    return {name: kind for name, kind, *_ in con.execute(f"describe {quoted(table)}").fetchall()}


def _create(con: duckdb.DuckDBPyConnection, table: str, shape: dict[str, str]) -> None:
    columns = ", ".join(f"{identifier(name)} {kind}" for name, kind in shape.items())
    con.execute(f"create table if not exists {quoted(table)} ({columns})")


def tick(con: duckdb.DuckDBPyConnection) -> int:
    """The next number of a count that never goes back, not even when what it named is forgotten."""
    con.execute("update ops.clock set ticks = ticks + 1")
    return int(con.execute("select ticks from ops.clock").fetchall()[0][0])


def touch(con: duckdb.DuckDBPyConnection, contract: Contract, loads: list[int]) -> None:
    """Note that rows of these loads came or went, so that what was built on them is built anew."""
    if loads:
        con.execute(
            "update ops.loads set version = $version where source = $source and list_contains($loads, load_id)",
            {"version": tick(con), "source": contract.name, "loads": loads},
        )


def forget_source(con: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    """Take all rows of a source out, as when it no longer stands in the settings; its empty table stays."""
    con.execute(f"delete from {quoted(contract.table)}")
    _forget_records(con, contract)


def _forget_records(con: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    for table in ("ops.loads", "ops.findings", "out.quarantine"):
        con.execute(f"delete from {table} where source = ?", [contract.name])


def make_out_table(con: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    """Create an `out` table from its contract, with its `out_latest` view; columns that it lacks are added."""
    shape = {column.name: column.physical_type for column in contract.columns}
    if has_table(con, contract.table):
        have = _shape(con, contract.table)
        lacking = [name for name in shape if name not in have]
        for name in lacking:
            con.execute(f"alter table {contract.table} add column {identifier(name)} {shape[name]}")
        if not lacking:
            return
    _create(con, contract.table, shape)
    show_latest(con, contract.table)


def forget_file(con: duckdb.DuckDBPyConnection, contract: Contract, file: str) -> None:
    """Take a file's rows out of the raw table, of the quarantine and of the state."""
    loads = "select load_id from ops.loads where source = $source and file = $file"
    values = {"source": contract.name, "file": file}
    con.execute(f"delete from ops.findings where source = $source and load_id in ({loads})", values)
    con.execute(f"delete from {quoted(contract.table)} where _load_id in ({loads})", values)
    for table in ("ops.loads", "out.quarantine"):
        con.execute(f"delete from {table} where source = $source and file = $file", values)


def report(con: duckdb.DuckDBPyConnection, contract: Contract, run: Run) -> None:
    """Write this run's lineage of a raw table, and put the run's name on its rows in quarantine."""
    con.execute(
        "update out.quarantine set run_id = $run_id, as_of = $as_of "
        "where source = $source and (run_id, as_of) <> ($run_id, $as_of)",
        {"run_id": run.run_id, "as_of": run.as_of, "source": contract.name},
    )
    con.execute("delete from out.lineage where run_id = ? and source = ?", [run.run_id, contract.name])
    con.execute(
        f"""
        insert into out.lineage by name
        select
          $run_id as run_id, $as_of as as_of, $table as table_name, source, file, file_sha256, rows_read,
          coalesce(kept, 0) as rows_kept, coalesce(moved, 0) as rows_quarantined, rows_ignored,
          array_to_string(notes || case when is_gone then ['file removed, its rows kept'] else [] end, '; ') as notes,
          loaded_at
        from ops.loads
        left join (select _load_id as load_id, count(*) as kept from {quoted(contract.table)} group by all)
          using (load_id)
        left join (select file, count(*) as moved from out.quarantine where source = $source group by all)
          using (file)
        where source = $source
        order by file
        """,
        {"run_id": run.run_id, "as_of": run.as_of, "table": contract.table, "source": contract.name},
    )
