"""Planted faults and clean companies through files, contracts and checks: what is caught, what is a false alarm.

`.venv/bin/python -m benchmarks.faults` prints the tables; the tests use the same steps on fewer seeds.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from models.company.faults import FAULTS, Fault, last_day, source_of
from models.company.history import run_history
from models.company.tables import source_tables
from models.company.world import CompanyConfig, draw_world
from models.quality import QualityConfig
from models.run import Run
from models.sources import SourceConfig
from tasks.contracts import check
from tasks.ledger import CONTRACTS
from tasks.quality import run_checks
from tasks.raw import prepare_raw
from tasks.sources import load_files
from tasks.warehouse import build_tables

Tables = Mapping[str, pl.DataFrame]
Failed = set[tuple[str, str]]  # (check_id, severity)

SOURCES = tuple(sorted(file.name.removeprefix("raw_").split(".")[0] for file in CONTRACTS.glob("raw_*.odcs.yaml")))
USED = ("ad_spend", "kpi", "orders", "customers", "clicks", "geo_experiments")  # tables that faults are planted in
PARAMETERS = {"kpi_value": "revenue", "timezone": "UTC", "currency": "EUR"}
SMALL = CompanyConfig(weeks=30, customers=12_000, shocks=False, dirt=False)  # as many customers a week as the default
CLICKS_KEPT = 20  # of the small company's clicks one in so many, and all that converted: enough for their checks
SEEDS_PLANTED, SEEDS_CLEAN = range(1, 6), range(1, 21)  # reported; thresholds were chosen on seeds from 100 on


def small_tables(seed: int) -> dict[str, pl.DataFrame]:
    """What a small clean company exports, with fewer clicks."""
    tables = source_tables(run_history(draw_world(replace(SMALL, seed=seed))))
    thin = pl.col("order_id").is_not_null() | (pl.int_range(pl.len()) % CLICKS_KEPT == 0)
    return {name: tables[name].filter(thin) if name == "clicks" else tables[name] for name in USED}


def load(run: Run, tables: Tables) -> None:
    """Write each table as the file that a user would drop, and load the sources they belong to."""
    run.landing.mkdir(exist_ok=True)
    for name, frame in tables.items():
        frame.write_csv(run.landing / f"{name}.csv", datetime_format="%Y-%m-%d %H:%M:%S")
    for source in dict.fromkeys(map(source_of, tables)):
        files = sorted(f"landing/{file.name}" for file in run.landing.glob("*.csv") if source_of(file.stem) == source)
        load_files(run, source, SourceConfig(path=tuple(files)))


def check_and_build(run: Run, sources: Iterable[str]) -> None:
    """Hold sources against their contracts, then build the layers."""
    for source in sources:
        check(run, source)
    build(run)


def build(run: Run) -> None:
    """Build the layers for the day of the run."""
    build_tables(run.warehouse, {"as_of": run.as_of, **PARAMETERS})


def make_workspace(folder: Path, tables: Tables, as_of: date | None = None) -> Run:
    """A workspace with these tables loaded, not yet checked or built."""
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(run_id="run-1", as_of=as_of or last_day(tables), seed=1, workspace=folder)
    sources = tuple(dict.fromkeys(map(source_of, tables)))
    prepare_raw.fn(run, SOURCES, sources)
    load(run, tables)
    return run


def failed(run: Run) -> Failed:
    """Run the checks; what failed for this run, the contracts' rules included, as others read it."""
    run_checks(run, QualityConfig(), PARAMETERS)
    query = "select check_id, severity from out.data_quality where run_id = ? and not passed"
    with duckdb.connect(str(run.warehouse)) as con:
        return set(con.execute(query, [run.run_id]).fetchall())


def failed_with(run: Run, tables: Tables, fault: Fault, seed: int) -> Failed:
    """Plant a fault in a workspace that holds these tables; what failed then."""
    planted = fault.plant(tables, np.random.default_rng(seed))
    changed = {name: frame for name, frame in planted.items() if frame is not tables.get(name)}
    load(run, changed)
    check_and_build(run, dict.fromkeys(map(source_of, changed)))
    return failed(run)


def faults(folder: Path) -> list[str]:
    """Markdown: each fault, by which check it was caught in how many companies; false alarms of clean companies."""
    caught = dict.fromkeys(FAULTS, 0)
    others: dict[str, set[str]] = {name: set() for name in FAULTS}
    for seed in SEEDS_PLANTED:
        tables = small_tables(seed)
        clean = make_workspace(folder / f"clean-{seed}", tables)
        check_and_build(clean, tables)
        for name, fault in FAULTS.items():
            copy = shutil.copytree(clean.workspace, folder / "copy")
            found = failed_with(replace(clean, workspace=copy), tables, fault, seed)
            caught[name] += (fault.check_id, fault.severity) in found
            others[name] |= {check_id for check_id, _ in found} - {fault.check_id, *fault.also}
            shutil.rmtree(copy)
        shutil.rmtree(clean.workspace)
    lines = ["| fault | caught by | severity | companies | unrelated checks that failed |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | `{fault.check_id}` | {fault.severity} | {caught[name]} of {len(SEEDS_PLANTED)} "
        f"| {', '.join(sorted(others[name])) or 'none'} |"
        for name, fault in FAULTS.items()
    ]
    missed = sum(len(SEEDS_PLANTED) - count for count in caught.values())
    return [*lines, "", f"{len(FAULTS)} kinds of fault, missed {missed} times.", "", *_false_alarms(folder)]


def _false_alarms(folder: Path) -> list[str]:
    """Markdown: what fails in companies of the default size in which nothing is wrong."""
    lines = ["| clean companies | errors | warnings | most warnings in one |", "|---|---|---|---|"]
    errors, warnings, told = 0, [], []
    for seed in SEEDS_CLEAN:
        tables = source_tables(run_history(draw_world(CompanyConfig(seed=seed, shocks=False, dirt=False))))
        run = make_workspace(folder / "clean", tables)
        check_and_build(run, tables)
        found = failed(run)
        errors += sum(severity == "error" for _, severity in found)
        warnings.append(sum(severity == "warning" for _, severity in found))
        told += [f"seed {seed}: {check_id}" for check_id, _ in sorted(found)]
        shutil.rmtree(run.workspace)
    seeds = f"seeds {SEEDS_CLEAN[0]} to {SEEDS_CLEAN[-1]}"
    return [*lines, f"| {seeds} | {errors} | {sum(warnings)} | {max(warnings)} |", "", ", ".join(told) or "No alarm."]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="marginal-faults-") as place:
        sys.stdout.write("\n".join(faults(Path(place))) + "\n")
