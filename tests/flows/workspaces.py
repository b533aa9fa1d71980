"""Small workspaces for tests of flows."""

import subprocess
import sys
from datetime import date
from pathlib import Path

import duckdb
import yaml

from models.company.world import CompanyConfig
from tasks.demo import write_company

VOLATILE = {"started_at", "finished_at", "loaded_at", "fit_seconds", "flow_run_id"}  # clocks and names Prefect draws
QUICK = {"draws": 250, "tune": 250}  # enough to run every line; accuracy has its own tests


def small_company(folder: Path, *, seed: int = 900, weeks: int, customers: int) -> Path:
    """A demo workspace whose mix model is sampled briefly."""
    write_company(folder, CompanyConfig(seed=seed, weeks=weeks, customers=customers))
    change_settings(folder, mmm=QUICK)
    return folder


def change_settings(folder: Path, **sections: object) -> None:
    """Set top-level keys of a workspace's `marginal.yaml`; None takes a key away."""
    file = folder / "marginal.yaml"
    content = yaml.safe_load(file.read_text()) | sections
    file.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))


def keep_sources(folder: Path, *names: str) -> None:
    """Leave only these sources in a workspace."""
    content = yaml.safe_load((folder / "marginal.yaml").read_text())
    change_settings(folder, sources={name: content["sources"][name] for name in names})


def out_tables(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """Rows of every `out` table, in a fixed order, without what the clock decides."""
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as con:
        names = con.execute(
            "select table_name from information_schema.tables where table_schema = 'out' order by 1"
        ).fetchall()
        found = {}
        for (name,) in names:
            columns = [row[0] for row in con.execute(f'describe out."{name}"').fetchall() if row[0] not in VOLATILE]
            listed = ", ".join(f'"{column}"' for column in columns)
            found[name] = con.execute(f'select {listed} from out."{name}" order by all').fetchall()
        return found


def query(folder: Path, sql: str) -> list[tuple[object, ...]]:
    """Rows of a query on a workspace's warehouse."""
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as con:
        return con.execute(sql).fetchall()


def marginal(*arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run the `marginal` command as a user does."""
    command = [sys.executable, "-m", "flows.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def spend_csv(days: int = 210, start: date = date(2025, 1, 6)) -> str:
    """A plain `ad_spend` file: two channels, daily."""
    lines = ["date,channel,cost"]
    for day in range(days):
        when = date.fromordinal(start.toordinal() + day)
        lines += [f"{when},search,{100 + 37 * (day % 11)}", f"{when},social,{80 + 23 * (day % 17)}"]
    return "\n".join(lines) + "\n"


def kpi_csv(days: int = 210, start: date = date(2025, 1, 6)) -> str:
    """A plain `kpi` file that goes with `spend_csv`."""
    first = start.toordinal()
    rows = [f"{date.fromordinal(first + day)},{1000 + 111 * (day % 11) + 61 * (day % 5)}" for day in range(days)]
    return "\n".join(["date,value", *rows]) + "\n"


def plain_workspace(folder: Path, spend: str | None = None, kpi: str | None = None) -> Path:
    """A workspace with two CSV files."""
    (folder / "landing").mkdir(parents=True)
    (folder / "landing" / "ad_spend.csv").write_text(spend_csv() if spend is None else spend)
    (folder / "landing" / "kpi.csv").write_text(kpi_csv() if kpi is None else kpi)
    sources = {"ad_spend": "landing/ad_spend.csv", "kpi": "landing/kpi.csv"}
    (folder / "marginal.yaml").write_text(yaml.safe_dump({"company": "Plain", "sources": sources, "mmm": QUICK}))
    return folder
