"""A small spend file, and what the loading tests do with it."""

from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from models.run import Run
from models.sources import SourceConfig
from tasks.sources import LoadSummary, load_files

HEADER = "date,channel,cost\n"
ROWS = [(f"2026-01-{day:02d}", channel, day + 0.5) for day in range(1, 21) for channel in ("search", "tv")]
ADS = HEADER + "".join(f"{day},{channel},{cost}\n" for day, channel, cost in ROWS)


def write(run: Run, name: str, content: str | bytes) -> Path:
    path = run.landing / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def load(run: Run, path: str = "landing/ads.csv", table: str = "ad_spend", **options: Any) -> LoadSummary:
    return load_files(run, table, SourceConfig(path=path, **options))


def rows(run: Run, query: str) -> list[tuple]:
    with duckdb.connect(str(run.warehouse)) as con:
        return con.execute(query).fetchall()


def state(run: Run) -> list[list[tuple]]:
    tables = ("raw.ad_spend", "out.quarantine", "out.lineage", "ops.loads")
    return [rows(run, f"from {table}") for table in tables]


def make_run(workspace: Path, run_id: str = "run-1", as_of: date = date(2026, 1, 31)) -> Run:
    return Run(run_id=run_id, as_of=as_of, seed=1, workspace=workspace)
