"""Checks: each fault is found and moved, good rows stay, and the same files give the same result every time."""

from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from models.contracts import parse_contract
from models.errors import DataError
from models.run import Run
from models.sources import SourceConfig
from tasks import quarantine
from tasks.contracts import CheckSummary, _check_raw, check
from tasks.ledger import CONTRACTS, read_contract
from tasks.sources import load_files
from tasks.warehouse import connect, replace_rows

START = date(2026, 1, 1)
SMALLEST = {  # a file with nothing but the required columns
    "ad_spend": "date,channel,cost\n2026-01-01,tv,1",
    "kpi": "date,value\n2026-01-01,1",
    "orders": "order_id,customer_id,ordered_at,revenue\no,c,2026-01-01,1",
    "customers": "customer_id,acquired_at\nc,2026-01-01",
    "clicks": "click_id,clicked_at,channel\nk,2026-01-01,tv",
    "touchpoints": "person_id,touched_at,channel\np,2026-01-01,tv",
    "experiments": "experiment_id,unit_id,arm,assigned_at,outcome\ne,1,a,2026-01-01,0\ne,2,b,2026-01-01,1",
    "geo_experiments": "experiment_id,date,geo,treated,value\ne,2026-01-01,g,1,1\ne,2026-01-01,h,0,1",
    "lift_tests": "channel,start_date,end_date,spend_change,lift,lift_se\ntv,2026-01-01,2026-01-08,1,1,1",
    "bids": "date,keyword,bid,impressions,clicks,cost\n2026-01-01,k,1,9,1,1",
    "controls": "date,name,value\n2026-01-01,price,1",
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "landing").mkdir()
    return Run(run_id="run-1", as_of=date(2026, 4, 15), seed=1, workspace=tmp_path)


def spend(days: int = 100, channels: int = 3) -> pl.DataFrame:
    """One row per day and channel, 10 clicks each."""
    names = [f"c{index}" for index in range(channels)]
    return pl.DataFrame(
        [(START + timedelta(days=day), name, 100.0 + day, 50.0, 10.0) for day in range(days) for name in names],
        schema=["date", "channel", "cost", "impressions", "clicks"],
        orient="row",
    )


def load(run: Run, table: str = "ad_spend", **files: pl.DataFrame | str) -> None:
    for name, content in files.items():
        path = run.landing / f"{name}.csv"
        path.write_text(content) if isinstance(content, str) else content.write_csv(path)
    load_files(run, table, SourceConfig(path=tuple(f"landing/{name}.csv" for name in files)))


def loaded_and_checked(run: Run, frame: pl.DataFrame) -> CheckSummary:
    load(run, ads=frame)
    return check(run, "ad_spend")


def rows(run: Run, query: str) -> list[tuple]:
    with duckdb.connect(str(run.warehouse)) as con:
        return con.execute(query).fetchall()


def failed(run: Run) -> list[tuple]:
    return rows(run, "select check_id, severity, failing_rows from out.data_quality where not passed order by 1")


def state(run: Run) -> list[list[tuple]]:
    tables = ("raw.ad_spend", "out.quarantine", "out.lineage", "out.data_quality")
    return [rows(run, f"from {table} order by all") for table in tables]


@pytest.mark.parametrize("table", SMALLEST)
def test_the_smallest_file_of_each_source_passes(run: Run, table: str) -> None:
    load(run, table, **{table: SMALLEST[table]})
    summary = check(run, table)
    assert (summary.failed_errors, summary.rows_moved, summary.blocking) == (0, 0, ())
    assert [check_id for check_id, *_ in failed(run)] in (
        [],
        ["date_fresh"],
        ["clicked_at_fresh"],
        ["ordered_at_fresh"],
    )


def test_good_rows_stay_as_they_are(run: Run) -> None:
    summary = loaded_and_checked(run, spend())
    assert (summary.failed_errors, summary.failed_warnings, summary.rows_moved, summary.blocking) == (0, 0, 0, ())
    assert rows(run, "select count(*), sum(cost) from raw.ad_spend") == [(300, spend()["cost"].sum())]
    checks = {check_id for (check_id,) in rows(run, "select check_id from out.data_quality")}
    assert {
        "cost_present",
        "cost_type",
        "cost_range",
        "key_unique",
        "has_rows",
        "date_fresh",
    } <= checks
    assert not {"bid_range", "conversions_range"} & checks  # the file has no such columns


def test_rows_out_of_range_move_with_their_reason(run: Run) -> None:
    frame = spend().with_columns(cost=pl.when(pl.int_range(pl.len()) == 7).then(-5.0).otherwise("cost"))
    summary = loaded_and_checked(run, frame)
    assert (summary.rows_moved, summary.blocking) == (1, ())
    assert failed(run) == [("cost_range", "error", 1)]
    found = rows(run, "select row_number, check_ids, reason, stage from out.quarantine")
    assert found == [(8, "cost_range", "cost is -5.0; expected: cost is at least 0", "check")]
    assert rows(run, "select min(cost), count(*) from raw.ad_spend") == [(100.0, 299)]


def test_of_duplicates_in_a_file_the_last_stays(run: Run) -> None:
    frame = spend()
    again = frame.head(3).with_columns(cost=pl.lit(1.0))
    assert loaded_and_checked(run, pl.concat([frame, again])).rows_moved == 3
    assert failed(run) == [("key_unique", "error", 3)]
    assert rows(run, "select cost from raw.ad_spend where date = '2026-01-01'") == [(1.0,)] * 3
    reason = rows(run, "select reason from out.quarantine where row_number = 1")[0][0]
    assert reason.endswith("as the later row 301 of landing/ads.csv")


def test_a_later_file_corrects_an_earlier_one_without_blame(run: Run) -> None:
    load(run, a=spend())
    load(run, a=spend(), b=spend().with_columns(pl.col("cost") + 1))
    summary = check(run, "ad_spend")
    assert (summary.rows_moved, summary.blocking) == (300, ())  # all of them, and still nothing is wrong
    assert failed(run) == [("key_restated", "warning", 300)]
    assert rows(run, "select distinct _file from raw.ad_spend") == [("landing/b.csv",)]
    load(run, a=spend())  # without b the first file counts again
    assert check(run, "ad_spend").rows_moved == 0
    assert rows(run, "select count(*), sum(cost) from raw.ad_spend") == [(300, spend()["cost"].sum())]


def test_a_bad_correction_does_not_replace_a_good_row(run: Run) -> None:
    load(run, a=spend())
    load(run, a=spend(), b=spend().head(1).with_columns(cost=pl.lit(-1.0)))
    check(run, "ad_spend")
    assert rows(run, "select cost from raw.ad_spend where date = '2026-01-01' and channel = 'c0'") == [(100.0,)]
    assert rows(run, "select file, check_ids from out.quarantine") == [("landing/b.csv", "cost_range")]


def test_old_data_are_reported(run: Run) -> None:
    assert loaded_and_checked(run, spend(days=90)).failed_warnings == 1
    found = rows(run, "select check_id, observed from out.data_quality where not passed")
    assert found == [("date_fresh", "the newest is 2026-03-31")]


def test_references_are_reported_and_kept(run: Run) -> None:
    lines = "".join(f"o{n},c{n % 5},2026-04-14,1\n" for n in range(20))
    load(run, "orders", orders="order_id,customer_id,ordered_at,revenue\n" + lines)
    assert check(run, "orders").failed_warnings == 0  # without customers there is nothing to compare with
    load(run, "customers", customers="customer_id,acquired_at\n" + "".join(f"c{n},2026-01-01\n" for n in range(4)))
    assert check(run, "orders").rows_moved == 0
    assert failed(run) == [("customer_id_reference", "warning", 4)]


def test_a_pair_out_of_order_moves(run: Run) -> None:
    tests = SMALLEST["lift_tests"] + "".join(f"\ntv,2025-0{n}-01,2025-0{n}-15,1,1,1" for n in range(1, 10)) * 3
    unique = "\n".join(dict.fromkeys(tests.split("\n")))
    many = unique + "".join(f"\nc{n},2025-01-01,2025-01-15,1,1,1" for n in range(40))
    load(run, "lift_tests", lift=many + "\ntv,2026-02-02,2026-02-01,1,1,1")
    assert check(run, "lift_tests").rows_moved == 1
    assert failed(run) == [("end_date_after_start_date", "error", 1)]


def test_too_many_bad_rows_block(run: Run) -> None:
    frame = spend().with_columns(cost=pl.when(pl.int_range(pl.len()) < 16).then(-5.0).otherwise("cost"))
    summary = loaded_and_checked(run, frame)
    assert len(summary.blocking) == 1
    assert "expected that cost is at least 0; found 16 of 300 rows break it (5% may break it)" in summary.blocking[0]


def test_many_small_faults_block_together(run: Run) -> None:
    number = pl.int_range(pl.len())
    frame = spend().with_columns(
        cost=pl.when(number < 10).then(-5.0).otherwise("cost"),
        clicks=pl.when(number.is_between(20, 29)).then(-1.0).otherwise("clicks"),
    )
    summary = loaded_and_checked(run, frame)
    assert len(summary.blocking) == 1
    assert "6.7% of 300 rows break a rule; expected at most 5%" in summary.blocking[0]


def test_rows_that_did_not_load_count_for_their_check(run: Run) -> None:
    load(run, ads=spend().write_csv() + "2026-03-01,c9,n.b.,1,1\n,c9,1,1,1\n")
    check(run, "ad_spend")
    assert failed(run) == [("cost_type", "error", 1), ("date_present", "error", 1)]


def test_an_empty_table_blocks_and_does_not_crash(run: Run) -> None:
    load(run, ads=spend())
    with connect(run.warehouse) as con:
        con.execute("delete from raw.ad_spend; delete from ops.loads")
    assert any("the table has rows" in sentence for sentence in check(run, "ad_spend").blocking)


def test_the_same_files_give_the_same_result(run: Run) -> None:
    frame = pl.concat([spend(), spend().head(4)]).with_columns(
        cost=pl.when(pl.int_range(pl.len()) == 50).then(-0.1).otherwise("cost")
    )
    loaded_and_checked(run, frame)
    once = state(run)
    check(run, "ad_spend")
    load(run, ads=frame)
    check(run, "ad_spend")
    assert state(run) == once
    assert rows(run, "select rows_read, rows_kept, rows_quarantined from out.lineage") == [(304, 299, 5)]


def test_another_run_has_its_own_results(run: Run) -> None:
    loaded_and_checked(run, spend())
    check(Run(run_id="run-2", as_of=run.as_of, seed=1, workspace=run.workspace), "ad_spend")
    found = rows(run, "select run_id, count(*) from out.data_quality group by 1 order by 1")
    assert [run_id for run_id, _ in found] == ["run-1", "run-2"]
    assert found[0][1] == found[1][1]


def test_findings_agree_with_an_independent_count(run: Run) -> None:
    rng = np.random.default_rng(5)
    rows_count = 4000
    frame = pl.DataFrame(
        {
            "date": [START + timedelta(days=int(day)) for day in rng.integers(0, 90, rows_count)],
            "channel": [f"c{index}" for index in rng.integers(0, 500, rows_count)],
            "cost": rng.normal(20, 10, rows_count),
            "impressions": rng.integers(-1, 40, rows_count).astype(float),
            "clicks": rng.integers(0, 30, rows_count).astype(float),
        }
    )
    loaded_and_checked(run, frame)
    found = {check_id: failing for check_id, _, failing in failed(run)}
    assert found["cost_range"] == frame.filter(pl.col("cost") < 0).height
    assert found["impressions_range"] == frame.filter(pl.col("impressions") < 0).height
    assert found["clicks_within_impressions"] == frame.filter(pl.col("clicks") > pl.col("impressions")).height
    sound = frame.filter(pl.col("cost") >= 0, pl.col("impressions") >= 0)  # rows set aside give way to none
    good = sound.unique(["date", "channel"], keep="last")
    assert found["key_unique"] == sound.height - good.height
    kept = rows(run, "select date, channel, cost from raw.ad_spend order by all")
    assert kept == sorted(good.select("date", "channel", "cost").rows())


def test_rows_come_back_from_quarantine_bit_for_bit(run: Run) -> None:
    rng = np.random.default_rng(6)
    frame = spend().with_columns(
        cost=pl.Series(-np.exp(rng.normal(0, 30, 300))), channel=pl.lit("ä'\"\\{\n") + pl.col("channel")
    )
    frame.write_parquet(run.landing / "ads.parquet")
    load_files(run, "ad_spend", SourceConfig(path="landing/ads.parquet"))
    loaded = rows(run, "from raw.ad_spend order by _row_number")
    assert check(run, "ad_spend").rows_moved == 300
    with connect(run.warehouse) as con:
        quarantine.restore_loads(con, read_contract("raw.ad_spend"), [1])
    assert rows(run, "from raw.ad_spend order by _row_number") == loaded


def test_a_rule_that_changes_is_held_against_rows_it_has_judged_before(run: Run) -> None:
    load(run, "controls", controls="date,name,value\n2026-01-01,price,1\n2026-01-01,weather,2\n")
    assert check(run, "controls").rows_moved == 0
    text = (CONTRACTS / "raw_controls.odcs.yaml").read_text()
    anchor = "        description: What was measured"
    values = (
        "        quality:\n          - type: library\n            metric: invalidValues\n"
        "            arguments: {validValues: [VALUES]}\n            mustBe: 0\n            severity: error\n"
    )
    for wanted, kept in (("price", "price"), ("weather", "weather"), ("price, weather", "price,weather")):
        enumerated = parse_contract(text.replace(anchor, values.replace("VALUES", wanted) + anchor))
        _check_raw(run, enumerated)
        assert rows(run, "select string_agg(name, ',' order by name) from raw.controls") == [(kept,)]
        assert rows(run, "select distinct check_ids from out.quarantine") == [("name_values",)] * (kept == wanted)
    assert ("name_values", "error") not in {(check_id, severity) for check_id, severity, _ in failed(run)}


def test_a_new_file_costs_no_second_look_at_the_others(run: Run) -> None:
    frame = spend()
    every = SourceConfig(path="landing/*.csv")
    (run.landing / "a.csv").write_text(frame.head(150).write_csv())
    load_files(run, "ad_spend", every)
    check(run, "ad_spend")
    with connect(run.warehouse) as con:  # a row that no rule would let pass, put where a second look would find it
        con.execute("update raw.ad_spend set cost = -1 where _row_number = 1")
    (run.landing / "b.csv").write_text(frame.tail(150).write_csv())
    load_files(run, "ad_spend", every)
    assert check(run, "ad_spend").rows_moved == 0
    assert rows(run, "select count(*) from raw.ad_spend where cost = -1") == [(1,)]


def plan(**changes: object) -> pl.DataFrame:
    row = {"plan_id": "p", "scenario": "base", "budget": 100.0, "objective": "profit", "value_mean": 5.0}
    return pl.DataFrame([row | {"value_p05": 4.0, "value_p95": 6.0, "in_force": True, "roas_mean": None} | changes])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"budget": -1.0}, "expected that budget is at least 0; found 1 of 1 rows break it"),
        ({"value_p05": 7.0}, "intervals are in order"),
        ({"objective": None}, "objective is never empty"),
    ],
)
def test_results_are_checked_too(run: Run, changes: dict, message: str | None) -> None:
    other = Run(run_id="run-0", as_of=run.as_of, seed=1, workspace=run.workspace)
    replace_rows(run.warehouse, "out.plan_summary", plan(budget=-7.0), other)  # another run's rows are not judged
    replace_rows(run.warehouse, "out.plan_summary", plan(**changes), run)
    blocking = check(run, "out.plan_summary").blocking
    assert blocking == () if message is None else message in blocking[0]
    assert rows(run, "select count(*) from out.plan_summary") == [(2,)]
    assert rows(run, "select distinct run_id, source from out.data_quality") == [("run-1", "out.plan_summary")]


def test_a_result_without_a_promised_column_blocks(run: Run) -> None:
    replace_rows(run.warehouse, "out.plan_summary", plan().drop("budget"), run)
    assert check(run, "out.plan_summary").blocking == (
        "out.plan_summary has no column 'budget'; its contract promises one.",
    )


def test_a_table_that_is_not_there(run: Run) -> None:
    with pytest.raises(DataError, match=r"raw\.kpi does not exist yet"):
        check(run, "kpi")
