"""Marts that grow with their loads are built for what is new, and for nothing else."""

from datetime import date
from pathlib import Path

import duckdb

from flows.settings import SOURCE_TABLES
from models.run import Run
from models.sources import SourceConfig
from tasks.raw import prepare_raw
from tasks.sources import load_files
from tasks.warehouse import build_tables

PARAMETERS = {"as_of": date(2026, 1, 31), "timezone": "UTC", "currency": "EUR", "kpi_value": "revenue"}
MARK = 1000


def clicks(workspace: Path, name: str, day: int, rows: int) -> None:
    lines = [f"{name}{row},2026-01-{day:02d} 10:00:00,search" for row in range(rows)]
    (workspace / f"{name}.csv").write_text("\n".join(["click_id,clicked_at,channel", *lines]) + "\n")


def counts(run: Run) -> list[int]:
    with duckdb.connect(str(run.warehouse)) as con:
        query = "select clicks_count from mart.clicks_by_load order by date"
        return [count for (count,) in con.execute(query).fetchall()]


def test_a_load_that_stands_is_not_built_again(tmp_path: Path) -> None:
    run = Run(run_id="r", as_of=PARAMETERS["as_of"], seed=1, workspace=tmp_path)
    clicks(tmp_path, "a", 1, 3)
    prepare_raw.fn(run, SOURCE_TABLES, ("clicks",))
    load_files(run, "clicks", SourceConfig(path="*.csv"))
    build_tables(run.warehouse, PARAMETERS)
    assert counts(run) == [3]
    with duckdb.connect(str(run.warehouse)) as con:  # what is built again would lose this
        con.execute("update mart.clicks_by_load set clicks_count = clicks_count + ?", [MARK])
    clicks(tmp_path, "b", 2, 5)
    load_files(run, "clicks", SourceConfig(path="*.csv"))
    build_tables(run.warehouse, PARAMETERS)
    assert counts(run) == [3 + MARK, 5]
    clicks(tmp_path, "a", 1, 4)
    load_files(run, "clicks", SourceConfig(path="*.csv"))
    build_tables(run.warehouse, PARAMETERS)
    assert counts(run) == [4, 5]
