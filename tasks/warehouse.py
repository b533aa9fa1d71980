"""The door to the workspace's DuckDB file: opened late, closed early, written in transactions."""

import graphlib
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.errors import DataError, OutsideServiceError, WorkspaceLocked
from models.run import Run
from models.sqltext import literal

SQL = Path(__file__).resolve().parent.parent / "sql"
SCHEMAS = ("raw", "staging", "mart", "out", "out_latest")
LAYERS = ("staging", "mart")  # built from sql/<layer>/<table>.sql; raw and out are written by tasks
MEMORY = "4GB"  # DuckDB's share; what does not fit is spilled to a folder beside the warehouse
INCREMENTAL = re.compile(r"^-- incremental: (?P<table>raw\.\w+)$", re.MULTILINE)
NO_SPACE = ("No space left", "Disk quota exceeded", "not enough disk space", "failed to offload")


@contextmanager
def connect(warehouse: Path, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the warehouse for the shortest time that does the work.

    Raises
    ------
    WorkspaceLocked : another process holds the file.
    DataError : the file is not a DuckDB database of this version.
    """
    try:
        con = duckdb.connect(str(warehouse), read_only=read_only)
    except duckdb.Error as error:
        if is_disk_full(error):
            raise disk_full(warehouse) from error
        if isinstance(error, duckdb.IOException) and "lock" in str(error).lower():
            raise WorkspaceLocked(
                f"{warehouse.name} is held by another process; expected to be its only user.\n"
                "Wait for that process to end, or close the program that has the file open."
            ) from error
        raise DataError(
            f"{warehouse.name} could not be opened as a DuckDB database: {str(error).splitlines()[0]}\n"
            "Move the file away; the next run builds it again from the landing files."
        ) from error
    try:
        con.execute("set timezone = 'UTC'")
        con.execute("set enable_progress_bar = false")
        con.execute(f"set memory_limit = '{MEMORY}'")
        con.execute(f"set temp_directory = {literal(str(warehouse.with_suffix('.spill')))}")
        if not read_only:
            for schema in SCHEMAS:
                con.execute(f"create schema if not exists {schema}")
        yield con
    except duckdb.Error as error:
        if is_disk_full(error):
            raise disk_full(warehouse) from error
        raise
    finally:
        con.close()


def is_disk_full(error: BaseException) -> bool:
    """Whether DuckDB failed because there was no room left."""
    return any(text in str(error) for text in NO_SPACE)


def disk_full(path: Path) -> OutsideServiceError:
    """What a user is told then."""
    return OutsideServiceError(
        f"The disk that holds {path.name} is full; expected room for the data and a spill folder beside it.\n"
        "Nothing is lost: the warehouse holds what was there before this step.\n"
        "Free some room and run the same command again."
    )


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All of the block's statements, or none of them."""
    con.begin()
    try:
        yield
    except BaseException:
        con.rollback()
        raise
    con.commit()


def quoted(table: str) -> str:
    """`schema.table` as a quoted SQL identifier."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in table.split(".", 1))


def has_table(con: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether `schema.table` exists in an open warehouse."""
    schema, name = table.split(".", 1)
    query = "select count(*) from information_schema.tables where table_schema = ? and table_name = ?"
    return bool(con.execute(query, [schema, name]).fetchall()[0][0])


def table_exists(warehouse: Path, table: str) -> bool:
    """Whether `schema.table` exists; False when there is no warehouse yet."""
    if not warehouse.exists():
        return False
    with connect(warehouse) as con:
        return has_table(con, table)


def read_frame(warehouse: Path, table: str) -> pl.DataFrame | None:
    """A whole table or view, decimals as floats; None when it does not exist."""
    if not table_exists(warehouse, table):
        return None
    with connect(warehouse) as con:
        frame = con.sql(f"select * from {quoted(table)}").pl()
    return frame.with_columns(pl.selectors.decimal().cast(pl.Float64))


def query_frame(warehouse: Path, name: str, **parameters: object) -> pl.DataFrame:
    """The rows of the SELECT in `sql/<name>.sql`, decimals as floats."""
    with connect(warehouse) as con:
        frame = con.sql((SQL / f"{name}.sql").read_text(), params=parameters or None).pl()
    return frame.with_columns(pl.selectors.decimal().cast(pl.Float64))


def replace_rows(warehouse: Path, table: str, frame: pl.DataFrame, run: Run) -> None:
    """Replace this run's rows of an `out` table by `frame`, in one transaction.

    `run_id` and `as_of` are put in front of the frame's own columns; the table and its `out_latest` view are
    created when absent, and columns the table lacks are added.
    """
    stamped = frame.select(pl.lit(run.run_id).alias("run_id"), pl.lit(run.as_of).alias("as_of"), pl.all())
    with connect(warehouse) as con, transaction(con):
        append(con, table, stamped, replace_run=run.run_id)


def append(con: duckdb.DuckDBPyConnection, table: str, stamped: pl.DataFrame, *, replace_run: str | None) -> None:
    """Insert rows that carry `run_id` and `as_of` inside an open transaction; `replace_run`'s rows go first."""
    con.register("incoming", stamped.to_arrow())
    try:
        con.execute(f"create table if not exists {quoted(table)} as select * from incoming limit 0")
        have = {row[0] for row in con.execute(f"describe {quoted(table)}").fetchall()}
        for column, kind, *_ in con.execute("describe incoming").fetchall():
            if column not in have:
                con.execute(f"alter table {quoted(table)} add column {quoted(column)} {kind}")
        if replace_run is not None:
            con.execute(f"delete from {quoted(table)} where run_id = ?", [replace_run])
        con.execute(f"insert into {quoted(table)} by name select * from incoming")
    finally:
        con.unregister("incoming")
    show_latest(con, table)


def show_latest(con: duckdb.DuckDBPyConnection, table: str) -> None:
    """Make the `out_latest` view of an `out` table: of the newest day, the run that wrote last."""
    con.execute(
        f"create or replace view {quoted(table.replace('out.', 'out_latest.', 1))} as "
        f"select * from {quoted(table)} where run_id = ("
        f"select run_id from {quoted(table)} order by as_of desc, rowid desc limit 1)"
    )


def layer_files() -> dict[str, Path]:
    """Table name to SELECT file for every table of the staging and mart layers."""
    return {f"{layer}.{file.stem}": file for layer in LAYERS for file in sorted((SQL / layer).glob("*.sql"))}


def tables_read(con: duckdb.DuckDBPyConnection, select: str) -> set[str]:
    """Names (`schema.table`) of the tables that a SELECT reads, found in its syntax tree."""
    tree = json.loads(con.execute("select json_serialize_sql(?)", [select]).fetchall()[0][0])
    if tree.get("error"):
        raise ValueError(f"not one SELECT: {tree.get('error_message')}")
    found: set[str] = set()
    queue: list[object] = [tree]
    while queue:
        node = queue.pop()
        if isinstance(node, dict):
            if node.get("type") == "BASE_TABLE" and node.get("schema_name"):
                found.add(f"{node['schema_name']}.{node['table_name']}")
            queue.extend(node.values())
        elif isinstance(node, list):
            queue.extend(node)
    return found


def build_order(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """(table, SELECT) of staging and mart, each after the tables it reads."""
    selects = {table: file.read_text() for table, file in layer_files().items()}
    reads = {table: tables_read(con, select) & selects.keys() for table, select in selects.items()}
    return [(table, selects[table]) for table in graphlib.TopologicalSorter(reads).static_order()]


@task(cache_policy=NO_CACHE)
def build_layers(run: Run, parameters: dict[str, str]) -> tuple[str, ...]:
    """Rebuild staging and marts for `as_of`, in the order of what they read; return the tables that were built."""
    return build_tables(run.warehouse, {"as_of": run.as_of, **parameters})


def build_tables(warehouse: Path, parameters: dict[str, object]) -> tuple[str, ...]:
    """`build_layers` without the orchestrator; a SELECT is given the parameters it names.

    A file of `sql/staging` becomes a view, so that nothing is stored twice, and one of `sql/mart` a table. One whose
    header says `-- incremental: raw.<source>` becomes a table to which only the loads that are new or have changed
    are added; it has a column `_load_id`.
    """
    built: list[str] = []
    with connect(warehouse) as con, transaction(con):
        for table, select in build_order(con):
            named = {name: value for name, value in parameters.items() if re.search(rf"\${name}\b", select)}
            plain = select.rstrip().rstrip(";")
            if found := INCREMENTAL.search(select):
                _build_new_loads(con, table, plain, found["table"], named)
            elif table.startswith("staging."):
                _drop(con, table, "BASE TABLE")
                con.execute(f"create or replace view {quoted(table)} as {_with_literals(plain, named)}")
            else:
                con.execute(f"create or replace table {quoted(table)} as {plain}", named or None)
            built.append(table)
    return tuple(built)


def _with_literals(select: str, values: dict[str, object]) -> str:
    """A SELECT with its parameters written out, for views, which take none; all come from settings, none from data."""
    for name, value in values.items():
        text = f"date {literal(str(value))}" if isinstance(value, date) else literal(str(value))
        select = re.sub(rf"\${name}\b", text.replace("\\", r"\\"), select)
    return select


def _drop(con: duckdb.DuckDBPyConnection, table: str, kind: str) -> None:
    """Drop what stands under a table's name if it is of that kind."""
    schema, name = table.split(".", 1)
    query = "select table_type from information_schema.tables where table_schema = ? and table_name = ?"
    if con.execute(query, [schema, name]).fetchall() == [(kind,)]:
        con.execute(f"drop {'view' if kind == 'VIEW' else 'table'} {quoted(table)}")


def _build_new_loads(
    con: duckdb.DuckDBPyConnection, table: str, select: str, raw: str, values: dict[str, object]
) -> None:
    """Bring an incremental table up to the loads of its raw table: what is gone goes, what is new comes."""
    con.execute("create table if not exists ops.built (name varchar, sha256 varchar, load_id bigint, version bigint)")
    sha256 = hashlib.sha256(json.dumps([select, values], default=str, sort_keys=True).encode()).hexdigest()
    loads = con.execute("select load_id, version from ops.loads where source = ?", [raw.removeprefix("raw.")])
    wanted = {(sha256, load, version) for load, version in loads.fetchall()}
    built = con.execute("select sha256, load_id, version from ops.built where name = ?", [table]).fetchall()
    have = set(built) if has_table(con, table) else set()
    new = sorted(load for _, load, _ in wanted - have)
    old = sorted(load for _, load, _ in have - wanted)
    fresh = f"from ({select}) where _load_id in ({', '.join(map(str, new)) or 'null'})"
    if not wanted & have:
        _drop(con, table, "VIEW")
        con.execute(f"create or replace table {quoted(table)} as {fresh}", values or None)
    else:
        con.execute(f"delete from {quoted(table)} where list_contains($old, _load_id)", {"old": old})
        con.execute(f"insert into {quoted(table)} {fresh}", values or None)
    con.execute("delete from ops.built where name = ?", [table])
    if wanted:
        con.executemany("insert into ops.built values (?, ?, ?, ?)", [(table, *entry) for entry in sorted(wanted)])
