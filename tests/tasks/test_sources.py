"""Loading: every kind of file gives the same rows, and loading again changes only what changed."""

import csv
import gzip
import json
import math
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import DataError
from models.run import Run
from models.sources import SourceConfig
from tasks import ledger
from tasks.sources import load_files, source_fingerprint
from tasks.warehouse import connect
from tests.tasks.loading import ADS, HEADER, ROWS, load, make_run, rows, state, write

CDNOW = SourceConfig(
    path="package:lifetimes/datasets/CDNOW_sample.txt",
    delimiter="whitespace",
    header=False,
    names=("master_id", "sample_id", "day", "quantity", "spend"),
    query="select sample_id || '-' || row_number() over () as order_id, sample_id as customer_id, "
    "strptime(day, '%Y%m%d') as ordered_at, spend as revenue from input",
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path)


def parquet(path: Path) -> None:
    frame = pl.DataFrame(ROWS, schema=["date", "channel", "cost"], orient="row")
    frame.with_columns(pl.col("date").str.to_date()).write_parquet(path)


def records() -> list[dict[str, Any]]:
    return [dict(zip(("date", "channel", "cost"), row, strict=True)) for row in ROWS]


FILES = {
    "comma.csv": ADS.encode(),
    "semicolon.csv": ADS.replace(",", ";").encode(),
    "tab.tsv": ADS.replace(",", "\t").encode(),
    "pipe.txt": ADS.replace(",", "|").encode(),
    "windows.csv": ADS.replace("\n", "\r\n").encode(),
    "mark.csv": b"\xef\xbb\xbf" + ADS.encode(),
    "utf16.csv": ADS.replace(",", "\t").encode("utf-16"),
    "packed.csv.gz": gzip.compress(ADS.encode()),
    "quoted.csv": ("\n".join(f'"{line.replace(",", chr(34) + "," + chr(34))}"' for line in ADS.split())).encode(),
    "capitals.csv": ADS.replace("date,channel,cost", " Date ,CHANNEL,Cost").encode(),
    "list.json": json.dumps(records()).encode(),
    "lines.ndjson": "\n".join(map(json.dumps, records())).encode(),
    "lines.jsonl.gz": gzip.compress("\n".join(map(json.dumps, records())).encode()),
    "odd [1]'s.csv": ADS.encode(),
    "day=2/hive.csv": ADS.encode(),
}


@pytest.mark.parametrize("name", [*FILES, "rows.parquet"])
def test_each_kind_of_file_gives_the_same_rows(run: Run, name: str) -> None:
    if name == "rows.parquet":
        parquet(write(run, name, b""))
    else:
        write(run, name, FILES[name])
    summary = load(run, f"landing/{name}")
    assert (summary.rows_read, summary.rows_kept, summary.rows_quarantined) == (40, 40, 0)
    loaded = rows(run, "select date, channel, cost, _row_number from raw.ad_spend order by _row_number")
    assert loaded == [(date.fromisoformat(day), *rest, n) for n, (day, *rest) in enumerate(ROWS, start=1)]
    assert rows(run, "select distinct _file, _load_id from raw.ad_spend") == [(f"landing/{name}", 1)]


@pytest.mark.parametrize("name", ["ads.csv", "ads.csv.gz"])
def test_windows_text_keeps_its_letters(run: Run, name: str) -> None:
    content = ADS.replace("tv", "fernsehgerät für 5 €").encode("cp1252")
    write(run, name, gzip.compress(content) if name.endswith("gz") else content)
    load(run, f"landing/{name}")
    found = rows(run, "select distinct channel, _file from raw.ad_spend order by 1")
    assert found == [("fernsehgerät für 5 €", f"landing/{name}"), ("search", f"landing/{name}")]


def test_columns_absent_from_the_file_are_null_of_their_type_and_extra_ones_are_named(run: Run) -> None:
    write(run, "ads.csv", ADS.replace("cost\n", "cost,note\n").replace(".5\n", ".5,x\n"))
    summary = load(run)
    assert summary.extra_columns == ("note",)
    assert "columns not used: note" in summary.message
    described = {name: kind for name, kind, *_ in rows(run, "describe raw.ad_spend")}
    assert described["clicks"] == "DOUBLE"
    assert described["campaign"] == "VARCHAR"
    assert "note" not in described
    assert rows(run, "select count(clicks), count(campaign) from raw.ad_spend") == [(0, 0)]


def test_folder_glob_and_list_find_the_same_files(run: Run) -> None:
    for number in range(3):
        write(run, f"{number}.csv", HEADER + f"2026-01-0{number + 1},tv,1\n")
    write(run, "notes.pdf", "not a source")
    listed = tuple(f"landing/{number}.csv" for number in range(3))
    for path in ("landing", "landing/*.csv", listed, ("landing/0.csv", "landing/*.csv")):
        load_files(run, "ad_spend", SourceConfig(path=path))
        assert rows(run, "select _file from raw.ad_spend order by 1") == [(label,) for label in listed]


def test_values_are_read_as_people_write_them(run: Run) -> None:
    write(run, "ads.csv", HEADER + '2026-01-01," c0 ", 1.5 \n20260102,a0u,1e3\n2026-01-03 00:00:00,NA,+3\n')
    load(run)
    assert rows(run, "select date, channel, cost from raw.ad_spend order by date") == [
        (date(2026, 1, 1), "c0", 1.5),
        (date(2026, 1, 2), "a0u", 1000.0),
        (date(2026, 1, 3), "NA", 3.0),  # a channel may be called so; a number may not
    ]


def test_moments_are_utc(run: Run) -> None:
    moments = ["2026-01-02T10:00:00+02:00", "2026-01-02 10:00:00", "2026-01-02", "2026-01-02T10:00:00Z"]
    lines = "".join(f"o{n},k,{moment},1\n" for n, moment in enumerate(moments))
    write(run, "orders.csv", "order_id,customer_id,ordered_at,revenue\n" + lines)
    load(run, "landing/orders.csv", "orders")
    found = rows(run, "select ordered_at::varchar from raw.orders order by order_id")
    assert found == [(f"2026-01-02 {hour:02d}:00:00",) for hour in (8, 10, 0, 10)]


def test_date_format_reads_other_dates(run: Run) -> None:
    write(run, "ads.csv", "date,channel,cost\n31.01.2026,tv,1\n01.02.2026,tv,2\n")
    load(run, date_format="%d.%m.%Y")
    assert rows(run, "select date from raw.ad_spend") == [(date(2026, 1, 31),), (date(2026, 2, 1),)]


@pytest.mark.parametrize(("text", "value"), [("true", True), ("0", False), ("1.0", True), ("No", False), ("T", True)])
def test_booleans(run: Run, text: str, value: bool) -> None:
    write(run, "geo.csv", f"experiment_id,date,geo,treated,value\ne,2026-01-01,g,{text},1\n")
    load(run, "landing/geo.csv", "geo_experiments")
    assert rows(run, "select treated from raw.geo_experiments") == [(value,)]


def test_rows_without_any_value_are_no_rows(run: Run) -> None:
    write(run, "ads.csv", ADS + ",,\n,,\n\n")
    summary = load(run)
    assert (summary.rows_read, summary.rows_kept, summary.rows_ignored) == (42, 40, 2)


def test_cdnow_through_a_query(run: Run) -> None:
    summary = load_files(run, "orders", CDNOW)
    assert (summary.rows_kept, summary.rows_quarantined) == (6919, 0)  # Fader, Hardie & Lee 2005: 2357 customers
    found = rows(
        run, "select count(distinct customer_id), min(ordered_at)::date, max(ordered_at)::date from raw.orders"
    )
    assert found == [(2357, date(1997, 1, 1), date(1998, 6, 30))]


def test_mapping_renames_columns(run: Run) -> None:
    write(run, "ads.csv", ADS.replace("channel,cost", "Network,Spend (EUR)"))
    load(run, columns={"channel": "Network", "cost": "spend (eur)"})
    assert rows(run, "select count(*) from raw.ad_spend where cost > 0 and channel in ('tv', 'search')") == [(40,)]


# ---- quarantine


def test_bad_rows_go_to_quarantine_and_the_rest_is_kept(run: Run) -> None:
    bad = "2026-02-01,tv,abc\n,tv,2\n2026-02-03,tv,nan\nyesterday,tv,inf\n2026-02-04,tv,1,9\n"
    write(run, "ads.csv", ADS * 5 + bad + "2026-02-05,tv,7\n")  # the header four times more: no rows
    summary = load(run)
    assert (summary.rows_read, summary.rows_kept, summary.rows_quarantined, summary.rows_ignored) == (210, 201, 5, 4)


def test_quarantine_says_where_and_why(run: Run) -> None:
    many = HEADER + "".join(f"2025-{m:02d}-{d:02d},tv,1\n" for m in range(1, 13) for d in range(1, 29))
    write(run, "ads.csv", many + "2026-02-01,tv,abc\n2026-02-02,tv,1,9\n,tv,\n2026-02-05,tv,7\n")
    load(run)
    found = rows(
        run, "select row_number, check_ids, reason, payload, source, file, stage from out.quarantine order by 1"
    )
    common = ("ad_spend", "landing/ads.csv", "load")
    assert found == [
        (337, "cost_type", "cost is not a number: abc", '{"date":"2026-02-01","channel":"tv","cost":"abc"}', *common),
        (338, "lines_readable", "line 339: too many columns", '{"line":"2026-02-02,tv,1,9"}', *common),
        (
            339,
            "date_present,cost_present",
            "date is empty; cost is empty",
            '{"date":null,"channel":"tv","cost":null}',
            *common,
        ),
    ]
    assert rows(run, "select max(_row_number) from raw.ad_spend") == [(340,)]


def test_too_many_bad_rows_stop_the_run(run: Run) -> None:
    write(run, "ads.csv", ADS + "2026-02-01,tv,n.b.\n" * 3)
    with pytest.raises(DataError, match=r"3 of 43 rows.*at most 5%(?s:.)*cost_type.*row 41 of landing/ads.csv.*n\.b\."):
        load(run)


@given(
    cells=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12), max_size=6)
)
@settings(max_examples=25, deadline=None)
def test_any_text_in_any_cell_is_kept_or_quarantined(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str]
) -> None:
    run = make_run(tmp_path_factory.mktemp("any"))
    run.landing.mkdir()
    good = [(day, channel, str(cost)) for day, channel, cost in ROWS * 4]
    strange = [("2026-03-01", cell or "-", cell) for cell in cells]
    with (run.landing / "ads.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
        writer.writerows([("date", "channel", "cost"), *good, *strange])
    summary = load(run)
    assert summary.rows_read == len(good) + len(strange) == summary.rows_kept + summary.rows_quarantined
    for channel, cost in rows(run, "select channel, cost from raw.ad_spend where date = '2026-03-01'"):
        assert math.isfinite(cost)
        assert float(channel.replace("_", "")) == cost  # both cells of the row held the same text


# ---- again, changed, gone


def test_loading_twice_changes_nothing(run: Run) -> None:
    write(run, "ads.csv", ADS * 2 + "2026-02-01,tv,x\n")
    first = load(run)
    before = state(run)
    second = load(run)
    assert state(run) == before
    assert (first.files_loaded, second.files_loaded, second.files_unchanged) == (1, 0, 1)
    assert second.rows_quarantined == first.rows_quarantined == 1


def test_a_changed_file_replaces_exactly_its_rows(run: Run) -> None:
    write(run, "a.csv", HEADER + "2026-01-01,tv,1\n2026-01-02,tv,2\n")
    write(run, "b.csv", HEADER + "2026-01-03,tv,3\n")
    load(run, "landing/*.csv")
    untouched = rows(run, "from raw.ad_spend where _file = 'landing/b.csv'")
    write(run, "a.csv", HEADER + "2026-01-01,tv,10\n")
    summary = load(run, "landing/*.csv")
    assert (summary.files_loaded, summary.files_unchanged) == (1, 1)
    assert rows(run, "from raw.ad_spend where _file = 'landing/b.csv'") == untouched
    assert rows(run, "select cost from raw.ad_spend where _file = 'landing/a.csv'") == [(10.0,)]


def test_rows_of_a_removed_file_stay_and_are_marked(run: Run) -> None:
    write(run, "a.csv", HEADER + "2026-01-01,tv,1\n")
    removed = write(run, "b.csv", HEADER + "2026-01-03,tv,3\n")
    load(run, "landing")
    removed.unlink()
    summary = load(run, "landing")
    assert (summary.files_gone, summary.files_unchanged, summary.rows_kept) == (1, 1, 2)
    assert rows(run, "select file, notes from out.lineage order by 1") == [
        ("landing/a.csv", ""),
        ("landing/b.csv", "file removed, its rows kept"),
    ]
    write(run, "b.csv", HEADER + "2026-01-03,tv,3\n")  # back again, unchanged
    assert load(run, "landing").files_unchanged == 2
    assert rows(run, "select distinct notes from out.lineage") == [("",)]


def test_rows_of_a_removed_file_go_where_the_source_says_so(run: Run) -> None:
    write(run, "a.csv", HEADER + "2026-01-01,tv,1\n")
    removed = write(run, "b.csv", HEADER + "2026-01-03,tv,3\n")
    load(run, "landing", when_removed="drop")
    removed.unlink()
    load(run, "landing", when_removed="drop")
    assert rows(run, "select _file from raw.ad_spend") == [("landing/a.csv",)]
    assert rows(run, "select file from out.lineage") == [("landing/a.csv",)]


def test_rows_of_a_file_that_the_settings_no_longer_name_go(run: Run) -> None:
    write(run, "a.csv", HEADER + "2026-01-01,tv,1\n")
    write(run, "b.csv", HEADER + "2026-01-03,tv,3\n")
    load(run, "landing")
    load(run, "landing/a.csv")
    assert rows(run, "select _file from raw.ad_spend") == [("landing/a.csv",)]


def test_a_removed_only_file_leaves_its_rows(run: Run) -> None:
    write(run, "ads.csv", ADS).unlink()
    with pytest.raises(DataError, match="there is no file"):
        load(run)
    write(run, "ads.csv", ADS)
    load(run)
    (run.landing / "ads.csv").unlink()
    assert load(run).rows_kept == 40
    with pytest.raises(DataError, match="there is no file"):
        load(run, when_removed="drop")


def test_a_backfill_reads_again_the_files_that_hold_its_days(run: Run) -> None:
    for day in (1, 2, 3):
        write(run, f"{day}.csv", HEADER + f"2026-01-0{day},tv,1\n")
    load(run, "landing")
    source = SourceConfig(path="landing")
    again = load_files(run, "ad_spend", source, days=("2026-01-02", "2026-01-03"))
    assert (again.files_loaded, again.files_unchanged, again.rows_kept) == (2, 1, 3)


def test_changed_settings_read_the_file_anew(run: Run) -> None:
    write(run, "ads.csv", "date,channel,cost,net\n2026-01-01,tv,12,10\n")
    load(run)
    assert load(run, columns={"cost": "net"}).files_loaded == 1
    assert rows(run, "select cost from raw.ad_spend") == [(10.0,)]


def test_a_failed_load_leaves_everything_as_it_was(run: Run) -> None:
    write(run, "ads.csv", ADS)
    load(run)
    before = state(run)
    write(run, "ads.csv", ADS.replace("cost", "price"))
    with pytest.raises(DataError):
        load(run)
    assert state(run) == before


def test_lineage_conserves_rows_in_every_run(run: Run) -> None:
    write(run, "ads.csv", ADS * 2 + "2026-02-01,tv,x\n")
    load(run)
    load(make_run(run.workspace, "run-2", date(2026, 2, 1)))
    found = rows(
        run,
        "select run_id, table_name, rows_read, rows_kept, rows_quarantined, rows_ignored from out.lineage order by 1",
    )
    assert found == [("run-1", "raw.ad_spend", 82, 80, 1, 1), ("run-2", "raw.ad_spend", 82, 80, 1, 1)]
    assert rows(run, "select count(*) from out_latest.lineage") == [(1,)]
    assert rows(run, "select run_id from out_latest.quarantine") == [("run-2",)]


def test_a_source_that_is_dropped_leaves_nothing(run: Run) -> None:
    write(run, "ads.csv", ADS * 2)
    load(run)
    with connect(run.warehouse) as con:
        ledger.forget_source(con, ledger.read_contract("raw.ad_spend"))
    assert [rows(run, f"from {table}") for table in ("raw.ad_spend", "out.quarantine", "ops.loads")] == [[], [], []]
    assert load(run).files_loaded == 1


def test_fingerprint_follows_bytes_names_and_settings(run: Run) -> None:
    write(run, "ads.csv", ADS)
    seen = set()
    one = SourceConfig(path="landing/*.csv")
    seen.add(source_fingerprint(run.workspace, "ad_spend", one))
    assert source_fingerprint(run.workspace, "ad_spend", one) in seen
    seen.add(source_fingerprint(run.workspace, "ad_spend", SourceConfig(path="landing/*.csv", date_format="%d.%m.%Y")))
    write(run, "ads.csv", ADS + "2026-03-01,tv,1\n")
    seen.add(source_fingerprint(run.workspace, "ad_spend", one))
    (run.landing / "ads.csv").rename(run.landing / "spend.csv")
    seen.add(source_fingerprint(run.workspace, "ad_spend", one))
    assert len(seen) == 4
