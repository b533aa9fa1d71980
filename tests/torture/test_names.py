"""What users and attackers call columns, channels and files: kept as it is written, never run, never taken for ours."""

import csv
import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from models.errors import ConfigError, DataError
from models.run import Run
from models.sources import SourceConfig
from tasks.contracts import check
from tasks.sources import load_files
from tests.tasks.loading import ADS, ROWS, load, make_run, rows, write
from tests.torture.laws import wrong_message
from tests.torture.mutations import EVIL
from tests.torture.seeds import as_parquet

OWN = (
    *(
        "_file",
        "_row_number",
        "_load_id",
        "rowid",
        "input",
        "payload",
        "check_ids",
        "reason",
        "fate",
        "is_bad",
        "position",
    ),
    *("a0", "t0", "v0", "x0", "cells", "filled", "goes_on", "line", "*"),
)
HOSTILE = (
    '"; drop table raw.ad_spend; --',
    "'); drop table out.lineage; --",
    "a\"b'c`d",
    "select",
    "x.y.z",
    "naïve — €",
    "соst",  # two letters are Cyrillic
    "ｃｏｓｔ",  # full width
    "$run_id",
    "?",
    "{0}",
    "%s",
    "<b>x</b>",
    "\\",
    "a\nb",
    "x" * 3000,
)
NAMES = (*OWN, *HOSTILE)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path)


def encoded(kind: str, name: str) -> bytes:
    """The usual rows, with the costs under another name."""
    return in_format(kind, [{"date": day, "channel": channel, name: cost} for day, channel, cost in ROWS])


def in_format(kind: str, records: list[dict[str, Any]]) -> bytes:
    if kind == "csv":
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(
            [list(records[0]), *(list(record.values()) for record in records)]
        )
        return text.getvalue().encode()
    if kind == "ndjson":
        return "\n".join(map(json.dumps, records)).encode()
    return as_parquet(pa.Table.from_pylist(records))


@pytest.mark.parametrize("kind", ["csv", "ndjson", "parquet"])
@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:24])
def test_a_column_of_any_name_is_not_used_or_mapped(run: Run, kind: str, name: str) -> None:
    path = f"landing/ads.{kind}"
    write(run, f"ads.{kind}", encoded(kind, name))
    with pytest.raises(DataError) as caught:
        load(run, path)  # no column cost
    assert wrong_message(str(caught.value)) == []
    assert load(run, path, columns={"cost": name}).rows_kept == len(ROWS)
    assert rows(run, "select sum(cost) from raw.ad_spend") == [(sum(cost for *_, cost in ROWS),)]


@pytest.mark.parametrize("kind", ["csv", "ndjson", "parquet"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "a\nb"], ids=lambda name: ascii(name)[:24])
def test_a_bad_row_under_any_name_is_set_aside_as_it_was(run: Run, kind: str, name: str) -> None:
    rest = [{"date": day, "channel": channel, "cost": str(cost), name: "kept"} for day, channel, cost in ROWS]
    rest[7]["cost"] = "dear"
    write(run, f"ads.{kind}", in_format(kind, rest))
    summary = load(run, f"landing/ads.{kind}")
    assert (summary.rows_kept, summary.rows_quarantined) == (len(ROWS) - 1, 1)
    check(run, "ad_spend")
    found = rows(run, "select row_number, payload from out.quarantine")
    assert [number for number, _ in found] == [8]
    assert json.loads(found[0][1])["cost"] == "dear"
    assert "kept" in json.loads(found[0][1]).values()


@pytest.mark.parametrize("kind", ["csv", "ndjson", "parquet"])
def test_a_column_without_a_name(run: Run, kind: str) -> None:
    rest = [{"date": day, "channel": channel, "cost": cost, "": "x"} for day, channel, cost in ROWS]
    content = {
        "csv": ADS.replace("cost\n", "cost,,\n").replace(".5\n", ".5,x,y\n").encode(),
        "ndjson": "\n".join(map(json.dumps, rest)).encode(),
        "parquet": as_parquet(pa.Table.from_pylist(rest)),
    }
    write(run, f"ads.{kind}", content[kind])
    if kind == "ndjson":  # DuckDB takes objects with such a key for maps, not for rows
        with pytest.raises(DataError, match="has no column 'date'"):
            load(run, f"landing/ads.{kind}")
        return
    assert load(run, f"landing/ads.{kind}").rows_kept == len(ROWS)


@pytest.mark.parametrize("name", ["COST", "Cost ", "cost"])
def test_two_columns_of_one_name_are_told_apart(run: Run, name: str) -> None:
    write(run, "ads.csv", ADS.replace("cost\n", f"cost,{name}\n").replace(".5\n", ".5,999\n"))
    load(run)
    assert rows(run, "select sum(cost) from raw.ad_spend") == [(sum(cost for *_, cost in ROWS),)]


CHANNELS = {value for values in EVIL.values() for value in values} | set(HOSTILE)
BLANK = {
    "",
    "\ufeff",
    "\x85",
    "\u2028",
    "\u2029",
    "\x0b",
    "\x0c",
    "\x1c",
}  # says nothing; a row without a channel is bad


@pytest.mark.parametrize("value", sorted(CHANNELS - BLANK), ids=lambda value: ascii(value)[:40])
def test_a_channel_of_any_name_stays_what_it_is(run: Run, value: str) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [("date", "channel", "cost"), *(("2026-01-01", value, n) for n in range(3)), ("2026-01-02", "tv", 9)]
    )
    write(run, "ads.csv", text.getvalue())
    load(run)
    check(run, "ad_spend")
    kept = rows(run, "select distinct channel from raw.ad_spend where channel <> 'tv'")
    moved = rows(run, "select payload from out.quarantine")
    assert kept == [(value.strip(),)] or any(json.loads(payload).get("channel") == value for (payload,) in moved)


@pytest.mark.parametrize(
    "name",
    [
        "a b.csv",
        "a'b.csv",
        'a"b.csv',
        "[1].csv",
        "*.csv",
        "{a,b}.csv",
        "$HOME.csv",
        "%41.csv",
        "'; drop table raw.ad_spend; --.csv",
        "новый файл.csv",
        "year=2026.csv",
        "a\\b.csv",
        "-w.csv",
        "a#b?c.csv",
        "two\nlines.csv",
        "x" * 200 + ".csv",
    ],
    ids=ascii,
)
def test_a_file_of_any_name_is_read(run: Run, name: str) -> None:
    write(run, name, ADS)
    write(run, "b.csv.old", "not this one")
    assert load(run, "landing").rows_kept == len(ROWS)
    assert rows(run, "select distinct _file from raw.ad_spend") == [(f"landing/{name}",)]
    assert check(run, "ad_spend").blocking == ()
    write(run, name, ADS.replace("cost", "price"))
    with pytest.raises(DataError) as caught:
        load(run, "landing")
    assert wrong_message(str(caught.value)) == []


def test_a_query_sees_strange_names_as_names(run: Run) -> None:
    name = '"; drop table input; --'
    write(run, "ads.csv", encoded("csv", name))
    query = 'select date, channel, """; drop table input; --" as cost from input'
    assert load(run, query=query).rows_kept == len(ROWS)


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:24])
def test_settings_of_any_name_are_refused_or_used(run: Run, name: str) -> None:
    write(run, "ads.csv", ADS)
    for options in ({"columns": {name: "cost"}}, {"columns": {"cost": name}}, {"constants": {name: "1"}}):
        with pytest.raises((ConfigError, DataError)) as caught:
            load(run, **options)
        assert wrong_message(str(caught.value)) == [], options
    load(run, constants={"campaign": name})
    assert rows(run, "select distinct campaign from raw.ad_spend") == [(name.strip(),)]


@pytest.mark.parametrize("name", ["\0", "a\0b", ""])
def test_a_path_that_can_be_none_is_refused(run: Run, name: str) -> None:
    run.landing.mkdir()
    with pytest.raises((ConfigError, DataError, ValueError)) as caught:
        load_files(run, "ad_spend", SourceConfig(path=f"landing/{name}.csv" if name else name))
    assert "embedded null" not in str(caught.value)  # which is what the operating system's door says


def test_nothing_but_the_expected_tables_is_there_after_it_all(run: Run) -> None:
    write(run, "ads.csv", ADS + "".join(f'2026-01-30,"{name.replace(chr(34), chr(34) * 2)}",1\n' for name in HOSTILE))
    load(run)
    check(run, "ad_spend")
    with duckdb.connect(str(run.warehouse), read_only=True) as con:
        tables = con.execute("select table_schema, table_name from information_schema.tables").fetchall()
    assert ("raw", "ad_spend") in tables
    assert ("out", "lineage") in tables
    assert sorted(path.name for path in run.workspace.iterdir()) == ["landing", "warehouse.duckdb"]
    assert make_run(run.workspace).as_of == date(2026, 1, 31)
