"""Extracts from files of SQLite and DuckDB, and what holds for every extract: whole or not there, inside, read only."""

import shutil
import signal
import sqlite3
import subprocess
import sys
import traceback
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import ConfigError, DataError, MarginalError, OutsideServiceError
from models.sources import SourceConfig
from tasks import database_readers, databases
from tasks.databases import extract
from tasks.source_files import file_sha256

ROOT = Path(__file__).parents[2]
EXTRACT = Path("artifacts", "extracts", "orders.parquet")


def run(
    workspace: Path, query: str, database: str = "shop.db", address: str | None = None, *, allow_outside: bool = False
) -> Path:
    source = SourceConfig(database=database, query=query)
    return extract("orders", source, address, workspace, allow_outside=allow_outside)


def sqlite(path: Path, *statements: str) -> Path:
    con = sqlite3.connect(path)
    for statement in statements:
        con.execute(statement)
    con.commit()
    con.close()
    return path


def a_duckdb(path: Path, *statements: str) -> Path:
    with duckdb.connect(str(path)) as con:
        for statement in statements:
            con.execute(statement)
    return path


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    made = ("create table shop (id integer, name text)", "insert into shop values (1, 'one'), (2, 'two')")
    sqlite(folder / "shop.db", *made)
    a_duckdb(folder / "shop.duckdb", *made)
    return folder


SQLITE_COLUMNS = [
    ("whole", "integer", ["9223372036854775807", "-1", "null"], pa.int64(), [2**63 - 1, -1, None]),
    ("real", "real", ["0.1 + 0.2", "9e999", "null"], pa.float64(), [0.30000000000000004, float("inf"), None]),
    ("money", "decimal(10, 2)", ["12", "12.5", "-0.25"], pa.float64(), [12.0, 12.5, -0.25]),
    ("wide", "numeric", ["9007199254740993", "0.5", "1"], pa.string(), ["9007199254740993", "0.5", "1"]),
    ("mixed", "", ["7", "'007'", "1.5"], pa.string(), ["7", "007", "1.5"]),
    ("dirty", "integer", ["7", "'n/a'", "null"], pa.string(), ["7", "n/a", None]),
    ("code", "text", ["'007'", "'1'", "''"], pa.string(), ["007", "1", ""]),
    ("day", "date", ["'2026-03-01'", "'2026-03-02'", "null"], pa.string(), ["2026-03-01", "2026-03-02", None]),
    ("blob", "blob", ["x'00ff'", "'text'", "null"], pa.string(), ["00ff", "text", None]),
    ("broken", "text", ["cast(x'41ff' as text)", "'ä'", "null"], pa.string(), ["A\\xff", "ä", None]),
    ("empty", "integer", ["null", "null", "null"], pa.string(), [None, None, None]),
]


def test_a_sqlite_column_has_the_type_of_its_values_and_none_is_lost(workspace: Path) -> None:
    declared = ", ".join(f"{name} {kind}" for name, kind, *_ in SQLITE_COLUMNS)
    rows = [", ".join(column[2][row] for column in SQLITE_COLUMNS) for row in range(3)]
    sqlite(workspace / "types.db", f"create table t ({declared})", *(f"insert into t values ({row})" for row in rows))
    table = pq.read_table(run(workspace, "select * from t order by rowid;", "types.db"))
    found = [(name, table.schema.field(name).type, table.column(name).to_pylist()) for name in table.column_names]
    assert found == [(name, kind, values) for name, _, _, kind, values in SQLITE_COLUMNS]


def test_a_late_row_of_another_class_changes_the_whole_column(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_readers, "BATCH_ROWS", 100)
    rows = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000) select i"
    path = run(workspace, f"{rows} as a, case i when 999 then 'x' else i end as b from n")
    file = pq.ParquetFile(path)
    assert file.metadata.num_row_groups == 10
    table = file.read()
    file.close()
    assert table.schema.types == [pa.int64(), pa.string()]
    assert table.column("a").to_pylist() == list(range(1, 1001))
    assert table.column("b").to_pylist() == [str(i) if i != 999 else "x" for i in range(1, 1001)]


DUCKDB_VALUES = [
    ("7::tinyint", pa.int64(), 7),
    ("4294967295::uinteger", pa.int64(), 2**32 - 1),
    ("9223372036854775807::bigint", pa.int64(), 2**63 - 1),
    ("18446744073709551615::ubigint", pa.decimal128(20, 0), Decimal(2**64 - 1)),
    ("sum(7)", pa.decimal128(1, 0), Decimal(7)),
    ("170141183460469231731687303715884105727::hugeint", pa.string(), str(2**127 - 1)),  # 39 digits
    ("12.50::decimal(10, 2)", pa.decimal128(10, 2), Decimal("12.50")),
    ("1.1::float", pa.float64(), 1.1),
    ("0.1::double + 0.2::double", pa.float64(), 0.30000000000000004),
    ("true", pa.bool_(), True),
    ("date '2026-03-01'", pa.date32(), date(2026, 3, 1)),
    ("timestamp '2026-03-01 10:20:30.123456'", pa.timestamp("us"), datetime(2026, 3, 1, 10, 20, 30, 123456)),  # noqa: DTZ001
    ("timestamp_s '2026-03-01 10:20:30'", pa.timestamp("us"), datetime(2026, 3, 1, 10, 20, 30)),  # noqa: DTZ001
    ("timestamptz '2026-03-01 00:30+02'", pa.timestamp("us", tz="UTC"), datetime(2026, 2, 28, 22, 30, tzinfo=UTC)),
    ("'Zürich €'", pa.string(), "Zürich €"),
    ("'b'::enum('a', 'b')", pa.string(), "b"),
    ("'0b2f64a0-0000-4000-8000-000000000001'::uuid", pa.string(), "0b2f64a0-0000-4000-8000-000000000001"),
    ("[1, 2]", pa.string(), "[1, 2]"),
    ("null", pa.string(), None),
]


@pytest.mark.parametrize(("expression", "kind", "value"), DUCKDB_VALUES)
def test_a_duckdb_value_keeps_its_type(workspace: Path, expression: str, kind: pa.DataType, value: Any) -> None:
    table = pq.read_table(run(workspace, f"select {expression} as value -- kept", "shop.duckdb"))
    found = table.schema.field("value").type
    assert (pa.string() if pa.types.is_null(found) else found, table.column("value").to_pylist()) == (kind, [value])


def test_duckdb_rows_come_in_the_order_of_the_query(workspace: Path) -> None:
    query = 'select range as "a""b", range % 7 as c from range(50000) order by c desc, 1'
    table = pq.read_table(run(workspace, query, "shop.duckdb"))
    expected = sorted(range(50000), key=lambda number: (-(number % 7), number))
    assert table.column('a"b').to_pylist() == expected


@pytest.mark.parametrize("database", ["shop.db", "shop.duckdb"])
def test_the_same_rows_are_the_same_file(workspace: Path, database: str) -> None:
    path = run(workspace, "select * from shop order by id", database)
    assert path == workspace / EXTRACT
    first = path.stat()
    run(workspace, "select id, name from shop order by id", database)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns), "written again"
    run(workspace, "select * from shop order by id desc", database)
    assert pq.read_table(path).column("id").to_pylist() == [2, 1]
    assert [file.name for file in path.parent.iterdir()] == ["orders.parquet"]


REFUSED = {
    "shop.db": [
        "insert into shop values (3, 'three')",
        "delete from shop returning id",
        "drop table shop",
        "select 1; drop table shop",
        "pragma user_version = 7",
        "pragma table_info(shop)",
        "attach 'other.db' as other",
        "vacuum into 'other.db'",
        "begin exclusive",
        "select load_extension('other')",
    ],
    "shop.duckdb": [
        "insert into shop values (3, 'three')",
        "delete from shop returning id",
        "drop table shop",
        "select 1; drop table shop",
        "select 1) as q; drop table shop; --",
        "copy shop to 'other.csv'",
        "attach 'other.db' as other",
        "select * from read_text('shop.db')",
        "select * from 'shop.db'",
        "select * from glob('*')",
        "set threads = 4",
        "pragma version",
        "install httpfs",
    ],
}
MISTAKEN = ["selec 1", "select nope from shop", "select * from nowhere", "   ", "-- nothing", "select 1 as a, 2 as A"]


@pytest.mark.parametrize(
    ("database", "query"), [(name, query) for name in REFUSED for query in REFUSED[name] + MISTAKEN]
)
def test_anything_but_one_reading_select_is_refused(workspace: Path, database: str, query: str) -> None:
    before = {path: file_sha256(path) for path in workspace.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=rf"^sources\.orders: {database}: the query ") as caught:
        run(workspace, query, database)
    assert 2 <= len(str(caught.value).splitlines()) <= 5
    assert {path: file_sha256(path) for path in workspace.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("database", "query"),
    [
        ("shop.db", "select * from shop where id > 9"),
        ("shop.duckdb", "select 'x'::int"),
        ("shop.duckdb", "from shop limit 0"),
    ],
)
def test_rows_that_are_not_there_or_do_not_fit_are_a_fault_of_the_data(
    workspace: Path, database: str, query: str
) -> None:
    with pytest.raises(
        DataError, match=f"^sources.orders: {database}: the (query gives no rows|rows cannot be read: Conv)"
    ):
        run(workspace, query, database)


def test_a_file_that_another_holds_is_an_outside_fault(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_readers, "BUSY_SECONDS", 0)
    holder = sqlite3.connect(workspace / "shop.db")
    holder.execute("begin exclusive")
    with pytest.raises(OutsideServiceError, match="another program holds the file"):
        run(workspace, "select * from shop")
    holder.close()
    with duckdb.connect(str(workspace / "shop.duckdb")), pytest.raises(OutsideServiceError, match="another program"):
        run(workspace, "select * from shop", "shop.duckdb")
    code = "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(workspace / "shop.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"held\n"
        with pytest.raises(OutsideServiceError, match="another program holds the file"):
            run(workspace, "select * from shop", "shop.duckdb")
        child.communicate(b"")
    assert run(workspace, "select * from shop", "shop.duckdb").is_file()


def test_a_file_is_let_go_even_while_an_error_lives(workspace: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        run(workspace, "select id, id from shop", "shop.duckdb")
    a_duckdb(workspace / "shop.duckdb", "insert into shop values (3, 'three')")
    assert "two columns named 'id'" in str(caught.value)


def test_the_first_bytes_tell_the_kind_not_the_name(workspace: Path) -> None:
    (workspace / "shop.db").rename(workspace / "first.duckdb")
    (workspace / "shop.duckdb").rename(workspace / "odd [1]'s%20?#.sqlite")
    (workspace / "second's%20?#.x").write_bytes((workspace / "first.duckdb").read_bytes())
    for name in ("first.duckdb", "odd [1]'s%20?#.sqlite", "second's%20?#.x"):
        assert pq.read_table(run(workspace, "select * from shop", name)).num_rows == 2


@pytest.mark.parametrize(
    ("database", "content", "says"),
    [
        ("nowhere.db", None, "No such file"),
        ("text.db", b"id,name\n1,one\n", "neither of SQLite nor of DuckDB"),
        ("empty.db", b"", "neither of SQLite nor of DuckDB"),
        ("short.db", b"SQLite", "neither of SQLite nor of DuckDB"),
        ("broken.db", b"SQLite format 3\0" + b"x" * 4096, "not a database"),
        ("broken.duckdb", b"x" * 8 + b"DUCK" + b"x" * 4096, "cannot be read"),
        (".", None, "Is a directory"),
        ("x" * 300, None, "File name too long"),
    ],
)
def test_a_file_that_is_no_database_is_a_fault_of_the_data(
    workspace: Path, database: str, content: bytes | None, says: str
) -> None:
    if content is not None:
        (workspace / database).write_bytes(content)
    with pytest.raises(DataError, match=says):
        run(workspace, "select * from shop", database)


@pytest.mark.parametrize("name", ["../outside.db", "{absolute}", "link.db", "folder/../../outside.db"])
def test_a_path_that_leaves_the_workspace_is_refused_unless_allowed(workspace: Path, name: str) -> None:
    outside = workspace.parent / "outside.db"
    shutil.copy(workspace / "shop.db", outside)
    (workspace / "link.db").symlink_to(outside)
    (workspace / "folder").mkdir()
    database = name.format(absolute=outside)
    with pytest.raises(ConfigError, match=r"the file is outside the workspace.*\n.*allow_outside: true"):
        run(workspace, "select * from shop", database)
    assert run(workspace, "select * from shop", database, allow_outside=True).is_file()
    outside.unlink()
    with pytest.raises(ConfigError, match="the file is outside the workspace"):  # whether there is one is not told
        run(workspace, "select * from shop", database)


@pytest.mark.parametrize("address", ["mysql://ann:canary@host/name", "https://canary", "canary\n.db", "canary\0"])
def test_an_address_of_another_kind_is_refused(workspace: Path, address: str) -> None:
    with pytest.raises(ConfigError, match=r"^sources\.orders: env:SHOP_DB") as caught:
        run(workspace, "select 1 as a", "env:SHOP_DB", address)
    assert "canary" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("address", [None, ""])
def test_an_address_that_is_not_set_is_asked_for(workspace: Path, address: str | None) -> None:
    with pytest.raises(ConfigError, match=r"env:SHOP_DB is an environment variable that is not set"):
        run(workspace, "select 1 as a", "env:SHOP_DB", address)


@pytest.mark.parametrize(
    ("name", "content", "query"),
    [
        ("canary.db", None, "select 1"),
        ("../canary.db", None, "select 1"),
        ("canary" * 60, None, "select 1"),
        ("canary.db", b"SQLite format 3\0" + b"x" * 4096, "select * from shop"),
        ("canary.db", b"x" * 8 + b"DUCK" + b"x" * 4096, "select 1"),
        ("canary.db", b"x" * 8 + b"DUCK" + b"x" * 4096, "select 'canary.db'::int"),
    ],
)
def test_a_file_named_by_the_environment_is_not_named_in_an_error(
    workspace: Path, name: str, content: bytes | None, query: str
) -> None:
    if content is not None:
        (workspace / name).write_bytes(content)
    with pytest.raises(MarginalError) as caught:
        run(workspace, query, "env:SHOP_DB", name)
    error = caught.value
    assert error.__cause__ is None and error.__context__ is None
    assert "canary" not in "".join(traceback.format_exception(error)) + repr(error)


def test_a_full_disk_is_said_and_leaves_the_old_file(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run(workspace, "select * from shop")
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for step in ("_write", "_replace"):
        with (
            monkeypatch.context() as patch,
            pytest.raises(DataError, match=r"orders\.parquet: No space left on device"),
        ):
            patch.setattr(databases, step, full)
            run(workspace, "select id from shop")
        assert path.read_bytes() == before
        assert [file.name for file in path.parent.iterdir()] == ["orders.parquet"]


KILLED = """
import os, signal, sys
from pathlib import Path
from models.sources import SourceConfig
from tasks import databases
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
moment = sys.argv[2]
if moment == "spooling":
    databases._check = lambda batch, origin, seen=[]: seen.append(1) or len(seen) > 2 and die()
elif moment == "writing":
    databases._sync = die
elif moment == "renaming":
    Path.replace = die
else:
    sync = databases._sync
    databases._sync = lambda path: die() if path.is_dir() else sync(path)
query = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 90000) select i as id from n"
source = SourceConfig(database="shop.db", query=query)
databases.extract("orders", source, None, Path(sys.argv[1]), allow_outside=False)
"""


@pytest.mark.parametrize("moment", ["spooling", "writing", "renaming", "renamed"])
def test_an_extract_that_is_killed_leaves_the_old_file_or_the_new_one_whole(workspace: Path, moment: str) -> None:
    path = run(workspace, "select * from shop")
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(workspace), moment], check=False, cwd=ROOT, stderr=subprocess.PIPE
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    if moment == "renamed":
        assert pq.read_table(path).num_rows == 90000
    else:
        assert path.read_bytes() == before
        assert {file.name for file in path.parent.iterdir()} > {"orders.parquet"}, "killed before it began"
    run(workspace, "select id from shop")
    assert pq.read_table(path).column_names == ["id"]
    assert [file.name for file in path.parent.iterdir()] == ["orders.parquet"]
