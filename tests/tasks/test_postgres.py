"""Extracts from a real PostgreSQL server: values, one reading SELECT and nothing else, no credential in any error."""

import logging
import traceback
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import ConfigError, DataError, MarginalError, OutsideServiceError
from models.sources import SourceConfig
from tasks import database_readers
from tasks.databases import extract
from tests.tasks.postgres import PASSWORD, QUOTED, USER, Server, running_server

SECRETS = (USER, PASSWORD, QUOTED, "k3w9")
OWN_SETTINGS = ("timezone = 'Asia/Tokyo'", "datestyle = 'German'", "extra_float_digits = 0")  # a server's may be any


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        server.execute(
            "create table shop (id int primary key, name text)",
            "insert into shop values (1, 'one'), (2, 'two')",
            "create sequence counter",
            *(f"alter role {USER} set {setting}" for setting in OWN_SETTINGS),
            "create role visitor login password 'canary_visitor_k3w9'",
            "create database latin encoding 'LATIN1' locale 'C' template template0",
            "create database bytes encoding 'SQL_ASCII' locale 'C' template template0",
        )
        yield server


def run(server: Server, workspace: Path, query: str, address: str | None = None) -> Path:
    source = SourceConfig(database="env:SHOP_DB", query=query)
    return extract("orders", source, address or server.address, workspace, allow_outside=False)


def column(server: Server, workspace: Path, expression: str) -> tuple[pa.DataType, list[Any]]:
    table = pq.read_table(run(server, workspace, f"select {expression} as value"))
    return table.schema.field("value").type, table.column("value").to_pylist()


@pytest.mark.parametrize(
    ("expression", "kind", "value"),
    [
        ("7::int2", pa.int64(), 7),
        ("(-2147483648)::int4", pa.int64(), -(2**31)),
        ("9223372036854775807::int8", pa.int64(), 2**63 - 1),
        ("1.1::float4", pa.float64(), 1.1),
        ("0.33333334::float4", pa.float64(), 0.33333334),
        ("0.1::float8 + 0.2::float8", pa.float64(), 0.30000000000000004),
        ("'NaN'::float8", pa.float64(), pytest.approx(float("nan"), nan_ok=True)),
        ("true", pa.bool_(), True),
        ("date '2026-03-01'", pa.date32(), date(2026, 3, 1)),
        ("timestamp '2026-03-01 10:20:30.123456'", pa.timestamp("us"), datetime(2026, 3, 1, 10, 20, 30, 123456)),  # noqa: DTZ001
        ("timestamptz '2026-03-01 00:30+02'", pa.timestamp("us", tz="UTC"), datetime(2026, 2, 28, 22, 30, tzinfo=UTC)),
        ("(timestamptz '2026-03-01 00:30+02')::date", pa.date32(), date(2026, 2, 28)),
        ("'Zürich €'::text", pa.string(), "Zürich €"),
        ("'ab '::char(5)", pa.string(), "ab"),
        ("'shop'::name", pa.string(), "shop"),
        ('\'{"b": [1, 2], "a": null}\'::jsonb', pa.string(), '{"a": null, "b": [1, 2]}'),
        ("'{\"b\":1}'::json", pa.string(), '{"b":1}'),
        ("'0b2f64a0-0000-4000-8000-000000000001'::uuid", pa.string(), "0b2f64a0-0000-4000-8000-000000000001"),
        ("array[1, null, 2]", pa.string(), "{1,NULL,2}"),
        ("array[date '2026-03-01']", pa.string(), "{2026-03-01}"),
        ("inet '10.0.0.1'", pa.string(), "10.0.0.1/32"),
        ("12.5::money", pa.string(), "$12.50"),
        ("interval '1 day 2 hours'", pa.string(), "1 day 02:00:00"),
        ("'\\xff00'::bytea", pa.string(), "\\xff00"),
        ("null", pa.string(), None),
        ("null::numeric", pa.decimal128(1, 0), None),
    ],
)
def test_a_value_keeps_its_type_and_all_of_it(
    server: Server, tmp_path: Path, expression: str, kind: pa.DataType, value: Any
) -> None:
    assert column(server, tmp_path, expression) == (kind, [value])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["12345678901234567890123456.123456789012", "-0.5", "7"], pa.decimal128(38, 12)),  # 26 and 12 digits: 38
        (["1234567890123456789012345678901234567890", "0.1"], pa.string()),  # 40 and 1 digits: more than 38
        (["12.50", "NaN"], pa.string()),
        (["-99.99", "100.00"], pa.decimal128(5, 2)),
        (["0.00000000000000000001"], pa.decimal128(21, 20)),
    ],
)
def test_an_exact_number_loses_no_digit(server: Server, tmp_path: Path, values: list[str], kind: pa.DataType) -> None:
    query = "select v::numeric as value from (values " + ", ".join(f"('{value}')" for value in values) + ") as t(v)"
    found = pq.read_table(run(server, tmp_path, query)).column("value")
    assert found.type == kind
    assert found.to_pylist() == (values if kind == pa.string() else [Decimal(value) for value in values])


def test_a_column_of_mostly_missing_numbers_fits_those_that_are_there(server: Server, tmp_path: Path) -> None:
    query = "select case when g % 1000 = 0 then g / 100::numeric(9, 2) end as value from generate_series(1, 5000) g"
    found = pq.read_table(run(server, tmp_path, f"select value::numeric(9, 1) as value from ({query}) as q"))
    assert found.schema.types == [pa.decimal128(3, 1)]
    assert found.column("value").drop_null().to_pylist() == [Decimal(10 * n) for n in range(1, 6)]
    assert found.column("value").null_count == 4995


def test_rows_and_columns_come_in_the_order_and_under_the_names_of_the_query(server: Server, tmp_path: Path) -> None:
    name = 'a"; drop table shop; --'
    query = f'select name as "ä", id as "{name.replace(chr(34), chr(34) * 2)}" from shop order by id desc; '
    table = pq.read_table(run(server, tmp_path, query))
    assert table.to_pylist() == [{"ä": "two", name: 2}, {"ä": "one", name: 1}]
    assert server.rows("select count(*) from shop") == [(2,)]


def test_a_large_result_comes_in_batches_and_the_same_result_is_the_same_file(server: Server, tmp_path: Path) -> None:
    query = "select g as id, g / 8::numeric as cost, repeat('x', 50) || g as name from generate_series(1, 400000) g"
    path = run(server, tmp_path, query)
    file = pq.ParquetFile(path)
    assert file.metadata.num_row_groups > 1
    table = file.read()
    file.close()
    assert table.column("id").to_pylist() == list(range(1, 400001))
    assert pa.compute.sum(table.column("cost")).as_py() == Decimal(400000 * 400001 // 2) / 8
    before, kept = path.read_bytes(), path.stat()
    assert run(server, tmp_path, query) == path
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (kept.st_ino, kept.st_mtime_ns), "written again"
    (tmp_path / "other").mkdir()
    assert run(server, tmp_path / "other", query).read_bytes() == before
    run(server, tmp_path, query.replace("400000", "1"))
    assert pq.read_table(path).num_rows == 1
    assert [file.name for file in path.parent.iterdir()] == ["orders.parquet"]


@pytest.mark.parametrize(
    ("database", "expression", "value"),
    [("latin", "chr(233)", "é"), ("bytes", "E'\\xc3\\xa9'", "é")],
)
def test_text_of_any_database_is_utf8(
    server: Server, tmp_path: Path, database: str, expression: str, value: str
) -> None:
    path = run(server, tmp_path, f"select {expression} as value", server.at(database=database))
    assert pq.read_table(path).column("value").to_pylist() == [value]


def test_an_address_may_be_a_list_of_keywords(server: Server, tmp_path: Path) -> None:
    address = f"host=127.0.0.1 port={server.port} user={USER} password='{PASSWORD}' dbname=postgres\n"
    assert pq.read_table(run(server, tmp_path, "table shop", address)).num_rows == 2


NOT_ONE_SELECT = [
    "insert into shop values (3, 'three')",
    "insert into shop values (3, 'three') returning id",
    "with added as (insert into shop values (3, 'three') returning id) select * from added",
    "update shop set name = ''",
    "delete from shop returning id",
    "drop table shop",
    "create table other as select 1 as id",
    "select id into other from shop",
    "select 1; drop table shop",
    "select 1) as q; drop table shop; --",
    "select 1) as q; commit; drop table shop; --",
    "truncate shop",
    "copy shop to program 'true'",
    "do $$ begin delete from shop; end $$",
    "call nothing()",
    "set transaction read write",
    "show all",
    "select id from shop for update",
    "   ",
    "-- nothing",
    "select from shop",
    "select nope from shop",
    "select * from nowhere",
    "select 1 as a, 2 as \"A\"",
]  # fmt: skip
WRITES_IN_A_FUNCTION = [
    "select nextval('counter')",
    "select set_config('transaction_read_only', 'off', false), 1 as id from shop",
]


@pytest.mark.parametrize("query", [*NOT_ONE_SELECT, *WRITES_IN_A_FUNCTION])
def test_anything_but_one_reading_select_is_refused(server: Server, tmp_path: Path, query: str) -> None:
    with pytest.raises(ConfigError if query in NOT_ONE_SELECT else OutsideServiceError) as caught:
        run(server, tmp_path, query)
    assert str(caught.value).startswith("sources.orders: env:SHOP_DB: ") and "query" in str(caught.value)
    assert server.rows("select id, name from shop order by id") == [(1, "one"), (2, "two")]
    assert server.rows("select is_called from counter") == [(False,)]
    assert not list((tmp_path / "artifacts" / "extracts").iterdir())


def test_a_query_that_takes_too_long_is_stopped(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_readers, "STATEMENT_SECONDS", 1)
    assert column(server, tmp_path, "current_setting('statement_timeout')")[1] == ["1s"]
    with pytest.raises(OutsideServiceError, match=r"broke off: canceling statement due to statement timeout\n"):
        run(server, tmp_path, "select pg_sleep(20) as value")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("select * from shop where false", "gives no rows"),
        ("select 'infinity'::date as until", "'until' holds infinity"),
        ("select timestamptz '-infinity' as since", "'since' holds infinity"),
        ("select date '0044-03-15 BC' as ides", "'ides' holds infinity or a day outside"),
        ("select timestamp '10000-01-01' as far", "'far' holds infinity or a day outside"),
    ],
)
def test_what_cannot_be_kept_is_a_fault_of_the_data(server: Server, tmp_path: Path, query: str, found: str) -> None:
    with pytest.raises(DataError, match=found):
        run(server, tmp_path, query)


def test_bytes_that_are_no_text_are_refused_by_the_server(server: Server, tmp_path: Path) -> None:
    with pytest.raises(OutsideServiceError, match='invalid byte sequence for encoding "UTF8": 0xff'):
        run(server, tmp_path, "select E'\\xff' as value", server.at(database="bytes"))


def test_the_last_and_first_day_of_the_calendar_are_kept(server: Server, tmp_path: Path) -> None:
    assert column(server, tmp_path, "date '9999-12-31'")[1] == [date.max]
    last = datetime(9999, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001
    assert column(server, tmp_path, "timestamp '9999-12-31 23:59:59.999999'")[1] == [last]
    assert column(server, tmp_path, "date '0001-01-01'")[1] == [date.min]


FAILURES = {  # name -> (how the address differs, query, kind of error, what its message says)
    "refused": ({"port": 1}, "table shop", OutsideServiceError, "no server answers"),
    "password": ({"password": "canary_wrong_k3w9"}, "table shop", OutsideServiceError, "user or the password"),
    "user": ({"user": "canary_other_k3w9"}, "table shop", OutsideServiceError, "user or the password"),
    "no password": ({"password": ""}, "table shop", OutsideServiceError, "asks for a password"),
    "database": ({"database": "canary_k3w9"}, "table shop", OutsideServiceError, "no database or user"),
    "misleading": ({"database": "canary_k3w9%20in%20URI"}, "table shop", OutsideServiceError, "no database or user"),
    "encryption": ({"options": "?sslmode=require"}, "table shop", OutsideServiceError, "disagree on encryption"),
    "option": ({"options": "?canary_k3w9=1"}, "table shop", ConfigError, "cannot be understood"),
    "escape": ({"user": "canary%zz_k3w9"}, "table shop", ConfigError, "cannot be understood"),
    "control": ({"user": "canary\0k3w9"}, "table shop", ConfigError, "characters that cannot be"),
    "surrogate": ({"user": "canary\udcffk3w9"}, "table shop", ConfigError, "characters that cannot be"),
    "right": ({"user": "visitor", "password": "canary_visitor_k3w9"}, "table shop", ConfigError, "permission denied"),
    "user in a value": ({}, f"select '{USER}'::int", OutsideServiceError, "repeat a part of the address"),
    "password in a value": ({}, f"select '{PASSWORD}'::int", OutsideServiceError, "repeat a part of the address"),
    "password in a name": ({}, f'select * from "{PASSWORD}"', ConfigError, "repeat a part of the address"),
    "late": ({}, f"select ('{USER}' || g)::int from generate_series(1, 9) g", OutsideServiceError, "part of the addr"),
    "cut": ({}, "select pg_terminate_backend(pg_backend_pid())", OutsideServiceError, "broke off"),
    "empty": ({}, "select * from shop where false", DataError, "no rows"),
    "infinity": ({}, "select 'infinity'::date as day", DataError, "infinity"),
    "duplicate": ({}, "select 1 as a, 2 as a", ConfigError, "two columns named 'a'"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_no_error_repeats_a_credential(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    changes, query, kind, says = FAILURES[name]
    other = Server(port=changes.get("port", server.port))
    address = other.at(**{key: value for key, value in changes.items() if key != "port"})
    run(server, tmp_path, "table shop")
    caplog.set_level(logging.DEBUG)
    with pytest.raises(MarginalError) as caught:
        run(server, tmp_path, query, address)
    error = caught.value
    assert type(error) is kind and says in str(error)
    assert 1 <= len(str(error).splitlines()) <= 5
    spoken = [*caplog.messages, *capfd.readouterr(), *traceback.format_exception(error), repr(error.__dict__)]
    links: list[BaseException | None] = [error]
    for link in links:
        if link is not None:
            spoken += [str(link), repr(link), repr(link.args)]
            links += [link.__cause__, link.__context__]
    spoken += [file.read_bytes().decode("latin-1") for file in tmp_path.rglob("*") if file.is_file()]
    for secret in (*SECRETS, address, "canary"):
        assert not [text for text in spoken if secret in text]
    assert pq.read_table(tmp_path / "artifacts" / "extracts" / "orders.parquet").num_rows == 2, "the old rows are gone"


@pytest.mark.parametrize(
    ("address", "secrets"),
    [
        ("postgresql://ann:p%40ss@host/name", {"ann", "p%40ss", "p@ss"}),
        ("postgresql://ann@host/name?password=secret&sslpassword=other", {"ann", "secret", "other"}),
        ("host=h user=ann password='it\\'s secret'", {"ann", "it\\'s secret"}),
        ("host=h user = ann password = secret", {"ann", "secret"}),
        ("postgresql://host/name", set()),
    ],
)
def test_the_credentials_of_an_address_are_found(address: str, secrets: set[str]) -> None:
    assert secrets <= database_readers._credentials(address)
    assert not {"host", "name", "h"} & database_readers._credentials(address)


@pytest.mark.parametrize(
    ("address", "patient"),
    [
        ("postgresql://host/name", "postgresql://host/name?connect_timeout=10&keepalives_idle=30"),
        ("postgresql://u:p?w@host/name", "postgresql://u:p?w@host/name?connect_timeout=10&keepalives_idle=30"),
        ("postgresql://host?user=ann", "postgresql://host?user=ann&connect_timeout=10&keepalives_idle=30"),
        ("postgresql://host?connect_timeout=3", "postgresql://host?connect_timeout=3&keepalives_idle=30"),
        ("host=h user=ann", "host=h user=ann connect_timeout=10 keepalives_idle=30"),
        ("host=h keepalives_idle=9 connect_timeout=3", "host=h keepalives_idle=9 connect_timeout=3"),
    ],
)
def test_an_address_gets_limits_to_waiting_unless_it_has_its_own(address: str, patient: str) -> None:
    assert database_readers._patient(address) == patient
