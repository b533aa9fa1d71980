"""What was loaded from where: its state (`ops.loads`) with its report (`out.lineage`, `out.quarantine`)."""

from functools import cache
from pathlib import Path

import duckdb

from models.contracts import Contract, parse_contract
from models.errors import ConfigError
from models.run import Run
from models.sqltext import identifier
from tasks.warehouse import has_table, quoted, show_latest

CONTRACTS = Path(__file__).resolve().parent.parent / "data_contracts"
LOADS = (
    "create table if not exists ops.loads (source varchar, file varchar, file_sha256 varchar, load_sha256 varchar, "
    "load_id bigint, rows_read bigint, extra_columns varchar[], loaded_at timestamp)"
)
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
    con.execute(LOADS)
    for table in ("quarantine", "lineage"):
        make_out_table(con, read_contract(f"out.{table}"))
    shape = {column.name: column.physical_type for column in contract.columns} | ORIGIN
    if has_table(con, contract.table):
        described = con.execute(f"describe {quoted(contract.table)}").fetchall()
        if {name: kind for name, kind, *_ in described} == shape:
            return
        con.execute(f"drop table {quoted(contract.table)}")
    _forget_records(con, contract)
    columns = ", ".join(f"{identifier(name)} {kind}" for name, kind in shape.items())
    con.execute(f"create table {quoted(contract.table)} ({columns})")


def forget_source(con: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    """Take all rows of a source out, as when it no longer stands in the settings; its empty table stays."""
    con.execute(f"delete from {quoted(contract.table)}")
    _forget_records(con, contract)


def _forget_records(con: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    for table in ("ops.loads", "out.quarantine"):
        con.execute(f"delete from {table} where source = ?", [contract.name])


def make_out_table(con: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    """Create an `out` table from its contract, with its `out_latest` view, where it does not exist."""
    if has_table(con, contract.table):
        return
    columns = ", ".join(f"{identifier(column.name)} {column.physical_type}" for column in contract.columns)
    con.execute(f"create table {contract.table} ({columns})")
    show_latest(con, contract.table)


def forget_file(con: duckdb.DuckDBPyConnection, contract: Contract, file: str) -> None:
    """Take a file's rows out of the raw table, of the quarantine and of the state."""
    con.execute(f"delete from {quoted(contract.table)} where _file = ?", [file])
    for table in ("ops.loads", "out.quarantine"):
        con.execute(f"delete from {table} where source = ? and file = ?", [contract.name, file])


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
          coalesce(kept, 0) as rows_kept, coalesce(moved, 0) as rows_quarantined, loaded_at
        from ops.loads
        left join (select _file as file, count(*) as kept from {quoted(contract.table)} group by all)
          using (file)
        left join (select file, count(*) as moved from out.quarantine where source = $source group by all)
          using (file)
        where source = $source
        order by file
        """,
        {"run_id": run.run_id, "as_of": run.as_of, "table": contract.table, "source": contract.name},
    )
