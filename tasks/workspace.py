"""The workspace as a place of work: one run at a time, each run known by what it computed from."""

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from models.errors import WorkspaceLocked
from models.run import Run
from tasks.warehouse import append, connect, has_table, query_frame, read_frame, table_exists, transaction

ROOT = Path(__file__).resolve().parent.parent
CODE = ("flows/*.py", "tasks/*.py", "models/**/*.py", "sql/**/*.sql", "data_contracts/*.yaml", "requirements.lock")
NEVER = date.min  # as_of of a run that has not read its data yet


@contextmanager
def lock(workspace: Path) -> Iterator[None]:
    """Hold the workspace for one run; the operating system lets go when the process ends, however it ends.

    Raises
    ------
    WorkspaceLocked : another run holds it.
    """
    with (workspace / ".marginal.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WorkspaceLocked(
                f"{workspace} is in use by another run; wait for it to end, then start this one again."
            ) from error
        yield


def code_sha256() -> str:
    """Hash of the project's own code, SQL, contracts and lock."""
    digest = hashlib.sha256()
    for pattern in CODE:
        for file in sorted(ROOT.glob(pattern)):
            digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def identify(config_sha256: str, data_sha256: str, code: str, as_of: date | None, extra: str = "") -> str:
    """The run_id of computing the same thing: equal inputs give an equal name."""
    parts = json.dumps([config_sha256, data_sha256, code, str(as_of), extra])
    return "r" + hashlib.sha256(parts.encode()).hexdigest()[:12]


def finished_run(run: Run) -> str | None:
    """Message of this very run if it ended well before, else None."""
    rows = read_frame(run.warehouse, "out.run_log")
    if rows is None:
        return None
    done = rows.filter(pl.col("run_id") == run.run_id, pl.col("flow") == "daily", pl.col("status") == "done")
    return str(done["message"][-1]) if len(done) else None


def log_flow(run: Run, flow: str, entry: dict[str, object]) -> None:
    """Write one flow's row of `out.run_log`, replacing what this run wrote about the flow before.

    entry : started_at, finished_at (None while it runs), status, code_version, config_sha256, data_sha256, message.
    """
    frame = pl.DataFrame(
        [{"run_id": run.run_id, "as_of": run.as_of, "flow": flow, **entry}],
        schema_overrides={
            "started_at": pl.Datetime("us"),
            "finished_at": pl.Datetime("us"),
            "message": pl.String,
        },
    )
    with connect(run.warehouse) as con, transaction(con):
        if has_table(con, "out.run_log"):
            con.execute("delete from out.run_log where run_id = ? and flow = ?", [run.run_id, flow])
        append(con, "out.run_log", frame, replace_run=None)


def date_rows(run: Run) -> None:
    """Give the rows that were written before the day was known (loads, quality) the run's `as_of`."""
    with connect(run.warehouse) as con, transaction(con):
        tables = con.execute(
            "select table_name from information_schema.columns where table_schema = 'out' and column_name = 'as_of'"
        ).fetchall()
        for (name,) in tables:
            con.execute(
                f'update out."{name}" set as_of = ? where run_id = ? and as_of = ?', [run.as_of, run.run_id, NEVER]
            )


def latest_day(warehouse: Path) -> date | None:
    """The last day the data cover, None where nothing is loaded that carries a date."""
    if not table_exists(warehouse, "raw.ad_spend"):  # loading makes all raw tables at once
        return None
    latest: date | None = query_frame(warehouse, "query/latest_day").item()
    return latest


def now() -> datetime:
    """The clock in UTC, for logs only."""
    return datetime.now(UTC).replace(tzinfo=None)
