"""The state of a workspace: how fresh each source is, for a program and for a person."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from models.run import Run
from models.sources import SourceConfig
from tasks.asking import freshness, told_status, workspace_status
from tasks.raw import prepare_raw
from tasks.sources import load_files
from tasks.workspace import latest_day

SOURCES = {  # newest day of each: spend is that of the run, orders 12 days older, of which 8 are allowed
    "ad_spend": "date,channel,cost\n2026-01-30,tv,5\n2026-01-31,tv,6\n2026-01-31,radio,-1\n",
    "orders": "order_id,customer_id,ordered_at,revenue\no1,c1,2026-01-18 09:00:00,5\no2,c2,2026-01-19 23:30:00,5\n",
    "customers": "customer_id,acquired_at\nc1,2025-06-01 10:00:00\n",
    "lift_tests": "channel,start_date,end_date,spend_change,lift,lift_se\ntv,2025-12-01,2025-12-14,-50,-60,9\n",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A workspace that the tests only read."""
    run = Run(run_id="run-1", as_of=date(2026, 1, 31), seed=1, workspace=tmp_path_factory.mktemp("workspace"))
    prepare_raw.fn(run, ("ad_spend", "kpi", *SOURCES), tuple(SOURCES))
    run.landing.mkdir()
    for name, content in SOURCES.items():
        (run.landing / f"{name}.csv").write_text(content)
        load_files(run, name, SourceConfig(path=f"landing/{name}.csv"))
    return run


def ages(run: Run, as_of: date) -> dict[str, dict[str, Any]]:
    return {row.pop("source"): row for row in freshness(run.warehouse, as_of)}


def test_each_sources_age_is_measured_by_its_contract(run: Run) -> None:
    found = ages(run, run.as_of)
    assert list(found) == sorted(SOURCES)
    assert all(row.pop("loaded_at").year > 2000 for row in found.values())
    names = ("newest_date", "behind_days", "allowed_days", "late_days", "is_late")
    assert {source: tuple(row[name] for name in names) for source, row in found.items()} == {
        "ad_spend": (date(2026, 1, 31), 0, 8, 0, False),
        "orders": (date(2026, 1, 19), 12, 8, 4, True),
        "customers": (
            date(2025, 6, 1),
            244,
            None,
            None,
            False,
        ),  # June to January: 29 + 31 + 31 + 30 + 31 + 30 + 31 + 31
        "lift_tests": (date(2025, 12, 14), 48, None, None, False),  # the end of the test, not its start
    }


def test_days_after_the_run_do_not_make_a_source_fresh(run: Run) -> None:
    assert ages(run, date(2026, 1, 30))["ad_spend"]["newest_date"] == date(2026, 1, 30)
    early = ages(run, date(2026, 1, 1))["orders"]
    assert (early["newest_date"], early["behind_days"], early["late_days"], early["is_late"]) == (
        None,
        None,
        None,
        True,
    )


@pytest.mark.parametrize(("days", "late"), [(8, 0), (9, 1)])
def test_the_last_day_allowed_is_in_time(run: Run, days: int, late: int) -> None:
    row = ages(run, date(2026, 1, 19) + timedelta(days=days))["orders"]
    assert (row["late_days"], row["is_late"]) == (late, late > 0)


def test_status_tells_it(run: Run) -> None:
    assert latest_day(run.warehouse) == run.as_of
    result = workspace_status(run.workspace)
    assert {"as_of", "sources", "models", "triggers", "plan_in_force", "freshness"} == set(result)
    assert [row["source"] for row in result["freshness"] if row["is_late"]] == ["orders"]
    lines = [" ".join(line.split()) for line in told_status(result).splitlines()]
    assert lines[0] == "Data up to 2026-01-31."
    told = {line.split()[0]: line.split(" ", 1)[1].rsplit(", loaded", 1)[0] for line in lines[1:5]}
    assert told["orders"] == "to 2026-01-19 (4 days late, 8 days allowed): 2 rows, 0 quarantined"
    assert told["customers"] == "to 2025-06-01 (no limit): 1 rows, 0 quarantined"


def test_an_empty_workspace_has_no_ages(tmp_path: Path) -> None:
    assert freshness(tmp_path / "warehouse.duckdb", date(2026, 1, 31)) == []
    assert workspace_status(tmp_path)["freshness"] == []
