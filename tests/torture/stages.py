"""Ingest, check and build of a workspace without an orchestrator, in a process to be killed or starved.

`Stages` starts `python -m tests.torture.stages`, which imports everything once and then does the work of one workspace
after the other, each in a fork of itself.
"""

import functools
import hashlib
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Self

import duckdb
import great_expectations  # noqa: F401  # the imports come before the first step: a kill shall strike at work

from flows.settings import SOURCE_TABLES, load_settings
from models.errors import MarginalError
from models.run import Run
from tasks import warehouse
from tasks.contracts import check
from tasks.raw import prepare_raw
from tasks.sources import load_files

ROOT = Path(__file__).parents[2]
READY = "ready"
PATIENCE = 120.0  # seconds until a run counts as stuck; 4 s is usual
CLOCKS = {"loaded_at", "started_at", "finished_at"}
SCHEMAS = ("raw", "staging", "mart", "out", "ops")


def steps(workspace: Path, as_of: date) -> Iterator[str]:
    """Do one step after the other; each is named when it is done."""
    settings = load_settings(workspace)
    run = Run(run_id=f"run-{as_of}", as_of=as_of, seed=1, workspace=workspace)
    sources = [table for table in SOURCE_TABLES if table in settings.sources]
    prepare_raw.fn(run, tuple(SOURCE_TABLES), tuple(sources))
    yield "prepare"
    for table in sources:
        load_files(run, table, settings.sources[table], **settings.reading(table))
        yield f"load {table}"
    for table in sources:
        check(run, table)
        yield f"check {table}"
    warehouse.build_tables(run.warehouse, {"as_of": as_of, **settings.parameters})
    yield "build"


WRITES = ("begin", "commit", "insert", "update", "delete", "create", "drop", "alter")


class Counted:
    """The `duckdb` module, or a connection of it, that counts what is written and may end the process before it is."""

    writes = 0
    strike: int | None = None

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if self.inner is duckdb:
            return (lambda *args, **options: Counted(duckdb.connect(*args, **options))) if name == "connect" else found
        return functools.partial(self._call, name, found) if callable(found) else found

    def _call(self, name: str, found: Any, *args: Any, **options: Any) -> Any:
        said = str(args[0] if name == "execute" else name).split(maxsplit=1)[0].lower()
        if said in WRITES:
            Counted.writes += 1
            if Counted.writes == Counted.strike:
                os.kill(os.getpid(), signal.SIGKILL)
        return found(*args, **options)


@contextmanager
def counted(strike: int | None = None) -> Iterator[type[Counted]]:
    """Count the statements by which tasks write to the warehouse; SIGKILL before the one of number `strike`."""
    Counted.writes, Counted.strike = 0, strike
    warehouse.duckdb = Counted(duckdb)
    try:
        yield Counted
    finally:
        warehouse.duckdb = duckdb


def digests(workspace: Path) -> dict[str, tuple[int, str]]:
    """Number of rows and SHA-256 over every row of every table, in an order of their own, without clocks."""
    found: dict[str, tuple[int, str]] = {}
    with duckdb.connect(str(workspace / "warehouse.duckdb"), read_only=True) as con:
        con.execute("set timezone = 'UTC'")
        tables = con.execute(
            "select table_schema, table_name from information_schema.tables where list_contains(?, table_schema) "
            "order by all",
            [list(SCHEMAS)],
        ).fetchall()
        for schema, name in tables:
            described = con.execute(f'describe {schema}."{name}"').fetchall()
            columns = ", ".join(f'"{column}"::varchar' for column, *_ in described if column not in CLOCKS)
            digest, count = hashlib.sha256(), 0
            for row in con.execute(f'select {columns} from {schema}."{name}" order by all').fetchall():
                digest.update(repr(row).encode() + b"\n")
                count += 1
            found[f"{schema}.{name}"] = (count, digest.hexdigest())
    return found


class Stages:
    """A process that has imported everything and does the work of a workspace in a fork of itself, for each `run`."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.torture.stages"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self.process.stdout.readline().strip() == READY
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()

    def run(
        self, folder: Path, as_of: date, *, seconds: float = PATIENCE, write: int | None = None, log: Path | None = None
    ) -> int:
        """Do the work, killed after so many seconds or before the `write`-th statement that writes; the exit code.

        `log` takes a line for each step that is done, then what a user would read on stderr.
        """
        self.process.stdin.write(f"{folder}\t{as_of}\t{write or 0}\t{log or os.devnull}\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        ended, _, _ = select.select([self.process.stdout], [], [], seconds)
        if not ended:
            os.kill(child, signal.SIGKILL)  # not reaped yet, so the number is still its own
        return int(self.process.stdout.readline())


def say(text: object) -> None:
    """A line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def serve() -> None:
    """Fork for each workspace that is named; say the fork's number, then its exit code."""
    say(READY)
    for line in sys.stdin:
        folder, day, strike, log = line.rstrip("\n").split("\t")
        if (child := os.fork()) == 0:
            said = os.open(log, os.O_WRONLY | os.O_CREAT)
            os.dup2(said, 1)
            os.dup2(said, 2)
            code = 1
            try:
                with counted(int(strike) or None):
                    code = main(Path(folder), date.fromisoformat(day))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        say(child)
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def main(workspace: Path, as_of: date) -> int:
    """Run the steps; 0, or the exit code of the problem, with its message on stderr as the command has it."""
    try:
        for step in steps(workspace, as_of):
            say(step)
    except MarginalError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        return error.exit_code
    return 0


if __name__ == "__main__":
    serve()
