"""What holds for whatever file is loaded: refused in plain words with nothing changed, or loaded with nothing lost."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from models.errors import MarginalError
from models.run import Run
from models.sources import SourceConfig
from tasks.contracts import check
from tasks.ledger import CONTRACTS
from tasks.raw import prepare_raw
from tasks.sources import load_files
from tests.tasks.loading import ADS
from tests.torture.mutations import Input

PATIENCE = 10.0  # seconds that one input may take
LONGEST = 2000  # characters of a message that a person still reads
SENTINEL = "controls"  # a source beside, which no other file may touch
SENTINEL_ROWS = "date,name,value\n2026-01-01,price,1.5\n2026-01-02,price,2.5\n"
SHAPE = "select table_schema, table_name, column_name, data_type from information_schema.columns"
INSIDE = ("Traceback", "Binder Error", "Catalog Error", "Parser Error", "INTERNAL Error")  # SQL that we made is wrong
OWN_FILES = {"warehouse.duckdb", "warehouse.duckdb.wal", ".marginal.lock"}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How an input ended (`loaded`, `refused`, `bug`), what it said, and each law that it broke."""

    outcome: str
    message: str
    broken: tuple[str, ...]
    seconds: float
    checked: bool
    read: int  # rows, as the lineage says


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Tables with their columns, the digest of each table's rows of each source, the lineage and what it speaks of.

    `files` counts the rows of a source that are kept (raw) and set aside (quarantine), by file.
    """

    shape: list[tuple]
    rows: Mapping[str, tuple[int, int]]
    lineage: list[dict[str, Any]]
    files: Mapping[tuple[str, str], int]

    def of(self, source: str) -> dict[str, tuple[int, int]]:
        """The digests that concern one source."""
        return {name: seen for name, seen in self.rows.items() if name.split(" ")[-1].removeprefix("raw.") == source}


class Bench:
    """A workspace in which one input after the other is judged; made anew now and then."""

    def __init__(self, workspace: Path) -> None:
        self.run = Run(run_id="run-1", as_of=date(2026, 2, 1), seed=1, workspace=workspace)
        shutil.rmtree(workspace, ignore_errors=True)
        self.run.landing.mkdir(parents=True)
        self.sources = sorted(file.name.split(".")[0].removeprefix("raw_") for file in CONTRACTS.glob("raw_*.yaml"))
        prepare_raw.fn(self.run, tuple(self.sources), tuple(self.sources))
        (self.run.landing / "beside.csv").write_text(SENTINEL_ROWS)
        load_files(self.run, SENTINEL, SourceConfig(path="landing/beside.csv"))
        (self.run.landing / "first.csv").write_text(ADS)
        load_files(self.run, "ad_spend", SourceConfig(path="landing/first.csv"))
        check(self.run, "ad_spend")
        self.known = self.snapshot(SENTINEL)

    def snapshot(self, source: str) -> Snapshot:
        """How the warehouse stands, seen by another reader than the product."""
        parts = [f"select 'raw.{name}', count(*), bit_xor(hash(t)) from raw.{name} as t" for name in self.sources]
        parts += [
            f"select '{table} ' || source, count(*), bit_xor(hash(t)) from {table} as t group by source"
            for table in ("out.quarantine", "out.lineage", "ops.loads")
        ]
        files = (
            f"select 'kept', _file, count(*) from raw.{source} group by all union all "
            f"select 'moved', file, count(*) from out.quarantine where source = '{source}' group by all"
        )
        with duckdb.connect(str(self.run.warehouse), read_only=True) as con:
            shape = sorted(con.execute(SHAPE).fetchall())
            found = con.execute(" union all ".join(parts)).fetchall()
            lineage = con.sql(f"from out.lineage where source = '{source}' and run_id = '{self.run.run_id}'")
            return Snapshot(
                shape=shape,
                rows={name: (count, digest) for name, count, digest in found},
                lineage=[dict(zip(lineage.columns, row, strict=True)) for row in lineage.fetchall()],
                files={(what, file): count for what, file, count in con.execute(files).fetchall()},
            )

    def judge(self, one: Input, *, also_check: bool, again: bool) -> Verdict:
        """Load a file, check its table where asked, do it again where asked, and hold all of it to the laws."""
        path = self.run.landing / f"input{one.suffix}"
        path.write_bytes(one.content)
        broken: list[str] = []
        outcome, message, now = "loaded", "", None
        started = time.monotonic()
        try:
            source = SourceConfig(path=f"landing/{path.name}", **{"when_removed": "drop", **one.options})
            load_files(self.run, one.table, source)
            if also_check:
                broken += conserved(one, path, self.snapshot(one.table))
                blocking = check(self.run, one.table).blocking
                broken += [f"a blocking sentence has several lines: {text!r}" for text in blocking if "\n" in text]
            now = self.snapshot(one.table)
            broken += conserved(one, path, now)
            if again:
                load_files(self.run, one.table, source)
                if also_check:
                    check(self.run, one.table)
                if self.snapshot(one.table).rows != now.rows:
                    broken.append("the same file again gives other rows")
        except MarginalError as error:
            outcome, message = "refused", str(error)
            broken += wrong_message(message)
        except Exception as error:
            outcome, message = "bug", f"{type(error).__name__}: {str(error)[:600]}"
            broken.append(message)
        seconds = time.monotonic() - started
        if seconds > PATIENCE * (1 + again):
            broken.append(f"took {seconds:.0f} s")
        broken += self._untouched(path, outcome, now or self.snapshot(one.table))
        path.unlink(missing_ok=True)
        return Verdict(
            outcome=outcome,
            message=message,
            broken=tuple(broken),
            seconds=seconds,
            checked=also_check and outcome == "loaded",
            read=sum(row["rows_read"] for row in now.lineage) if now else 0,
        )

    def _untouched(self, path: Path, outcome: str, now: Snapshot) -> list[str]:
        """Nothing that stands in a file was run: tables, the source beside and the workspace's files are as before."""
        broken = []
        before, self.known = self.known, now
        if now.shape != before.shape:
            broken.append(f"tables or columns changed: {sorted(set(before.shape) ^ set(now.shape))[:3]}")
        if now.of(SENTINEL) != before.of(SENTINEL):
            broken.append("a source beside changed")
        if outcome != "loaded" and now.rows != before.rows:
            broken.append("a refused file changed the warehouse")
        known = {"beside.csv", "first.csv", path.name} | OWN_FILES
        strange = [file for file in self.run.workspace.rglob("*") if file.is_file() and file.name not in known]
        return [*broken, *(f"a file appeared: {file.name!r}" for file in strange)]


def conserved(one: Input, path: Path, seen: Snapshot) -> list[str]:
    """Breaches of the conservation law, by what is really there and not by what the lineage says of itself alone."""
    label = f"landing/{path.name}"
    if [row["file"] for row in seen.lineage] != [label]:
        return [f"lineage names {[row['file'] for row in seen.lineage]}"]
    row = seen.lineage[0]
    kept, moved = (seen.files.get((what, label), 0) for what in ("kept", "moved"))
    broken = []
    if (row["rows_kept"], row["rows_quarantined"]) != (kept, moved):
        broken.append(f"lineage: {row['rows_kept']} kept, {row['rows_quarantined']} moved; there are {kept}, {moved}")
    if row["rows_read"] != kept + moved + row["rows_ignored"]:
        broken.append(f"{row['rows_read']} read; {kept} kept + {moved} quarantined + {row['rows_ignored']} ignored")
    if one.rows is not None and kept + moved != one.rows:
        broken.append(f"the file holds {one.rows} rows of data, but {kept} are kept and {moved} quarantined")
    return broken


def wrong_message(message: str) -> list[str]:
    """What is wrong with a message to a user, as it would be printed."""
    broken = []
    lines = message.splitlines()
    if not 1 <= len(lines) <= 5:
        broken.append(f"the message has {len(lines)} lines: {message[:200]!r}")
    if len(message) > LONGEST:
        broken.append(f"the message has {len(message)} characters: {message[:200]!r}")
    if any(not line.isprintable() for line in message.split("\n")):
        broken.append(f"the message holds signs that steer a terminal: {message[:400]!r}")
    if found := [text for text in INSIDE if text in message]:
        broken.append(f"the message tells of our own code ({found[0]}): {message[:400]!r}")
    return broken


def as_answer(verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain data."""
    return {
        "outcome": verdict.outcome,
        "message": verdict.message,
        "broken": list(verdict.broken),
        "seconds": verdict.seconds,
        "checked": verdict.checked,
        "read": verdict.read,
    }
