"""Source files into raw tables: incremental, idempotent, with bad rows in quarantine."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import SecretStr

from models.columns import check_mapping
from models.contracts import Contract
from models.errors import DataError
from models.run import Run
from models.sources import SourceConfig
from models.sqltext import identifier
from tasks import ledger, quarantine
from tasks.databases import extract
from tasks.intake import take_in
from tasks.source_files import SourceFile, find_files
from tasks.warehouse import connect, has_table, quoted, transaction

READING_RULES = "2"  # part of every fingerprint; raise it when unchanged files must be read anew
EXTRACT_SECONDS = 900.0  # one command looks at its sources several times; the database is asked once
_extracts: dict[str, tuple[Path, float]] = {}
UTC_ZONE, EURO = "UTC", "EUR"  # the company's where the settings name none


@dataclass(frozen=True, kw_only=True)
class LoadSummary:
    """A source after its load: what changed, and how many rows of all its files are where."""

    table: str
    files_loaded: int
    files_unchanged: int
    files_gone: int
    rows_read: int
    rows_kept: int
    rows_quarantined: int
    rows_ignored: int
    extra_columns: tuple[str, ...]

    @property
    def message(self) -> str:
        """The load in a line."""
        parts = [f"{self.rows_kept} rows kept", f"{self.rows_quarantined} in quarantine"]
        if self.rows_ignored:
            parts.append(f"{self.rows_ignored} lines that are no rows")
        parts += [f"{self.files_loaded} files loaded", f"{self.files_unchanged} unchanged"]
        if self.files_gone:
            parts.append(f"{self.files_gone} removed, their rows kept")
        if self.extra_columns:
            parts.append(f"columns not used: {', '.join(self.extra_columns)}")
        return f"{self.table}: {'; '.join(parts)}"


@task(cache_policy=NO_CACHE)
def load_source(
    run: Run,
    table: str,
    source: SourceConfig,
    allow_outside: bool = False,
    timezone: str = UTC_ZONE,
    currency: str = EURO,
    address: SecretStr | None = None,
    days: tuple[str, str] | None = None,
) -> LoadSummary:
    """Bring `raw.<table>` up to its source files."""
    return load_files(
        run,
        table,
        source,
        allow_outside=allow_outside,
        timezone=timezone,
        currency=currency,
        address=address,
        days=days,
    )


def source_fingerprint(
    workspace: Path,
    table: str,
    source: SourceConfig,
    *,
    allow_outside: bool = False,
    timezone: str = UTC_ZONE,
    currency: str = EURO,
    address: SecretStr | None = None,
) -> str:
    """SHA-256 over all files of a source, their names and the way they are read; removed ones whose rows stay too.

    Raises
    ------
    ConfigError, DataError : as `find_files`.
    """
    contract = ledger.read_contract(f"raw.{table}")
    warehouse = workspace / "warehouse.duckdb"
    before: dict[str, str] = {}
    if warehouse.exists():
        with connect(warehouse) as con:
            before = _loaded(con, contract)
    files = _files(table, source, workspace, allow_outside=allow_outside, address=address, before=before)
    now = {file.label: _load_sha256(contract, source, file, timezone, currency) for file in files}
    kept = {label: sha for label, sha in before.items() if label not in now and _stays(source, workspace, label)}
    return _sha256(sorted({**now, **kept}.items()))


def load_files(
    run: Run,
    table: str,
    source: SourceConfig,
    *,
    allow_outside: bool = False,
    timezone: str = UTC_ZONE,
    currency: str = EURO,
    address: SecretStr | None = None,
    days: tuple[str, str] | None = None,
) -> LoadSummary:
    """`load_source` without the orchestrator.

    A file is read again when its bytes, the source's settings or the contract changed, and then exactly its rows are
    replaced. Rows of a file that was removed stay, unless the source says `when_removed: drop`; those of a file that
    the settings no longer name go. All of it happens in one transaction, or nothing.

    Parameters
    ----------
    timezone : of times without an offset, where the source names none.
    currency : of the company; amounts that show another one need a source that says so.
    address : of the source's database, where the settings name the environment variable that holds it.
    days : first and last day (YYYY-MM-DD) of a backfill: files that hold rows of these days are read again, changed
        or not.

    Raises
    ------
    ConfigError : a path leaves the workspace, or the settings name a column that does not exist.
    DataError : no file, an empty or unreadable one, a column missing or of the wrong type, or too many bad rows.
    """
    contract = ledger.read_contract(f"raw.{table}")
    check_mapping(contract, source)
    with connect(run.warehouse) as con, transaction(con):
        ledger.prepare(con, contract)
        before = _loaded(con, contract)
        files = _files(table, source, run.workspace, allow_outside=allow_outside, address=address, before=before)
        again = _holding(con, contract, days) if days else set()
        changed = [
            file
            for file in files
            if file.label in again or before.get(file.label) != _load_sha256(contract, source, file, timezone, currency)
        ]
        absent = sorted(before.keys() - {file.label for file in files})
        gone = [label for label in absent if _stays(source, run.workspace, label)]
        forgotten = [
            *(label for label in absent if label not in gone),
            *(f.label for f in changed if f.label in before),
        ]
        if forgotten:
            quarantine.restore_restated(con, contract)
        for label in forgotten:
            ledger.forget_file(con, contract, label)
        con.execute(
            "update ops.loads set is_gone = list_contains($gone, file) where source = $source",
            {"gone": gone, "source": table},
        )
        for file in changed:
            _load_file(con, run, contract, source, file, timezone, currency)
        _refuse_bad_table(con, contract, files)
        ledger.report(con, contract, run)
        return _summary(con, contract, loaded=len(changed), unchanged=len(files) - len(changed), gone=len(gone))


def _files(
    table: str,
    source: SourceConfig,
    workspace: Path,
    *,
    allow_outside: bool,
    address: SecretStr | None,
    before: Mapping[str, str],
) -> tuple[SourceFile, ...]:
    """The files of a source as they are now; of a database, the extract made of it now."""
    extracted = None
    if source.database is not None:
        extracted = _extract(table, source, address, workspace, allow_outside=allow_outside)
    may_be_gone = bool(before) and source.when_removed == "keep"
    return find_files(
        table, source, workspace, allow_outside=allow_outside, extracted=extracted, may_be_gone=may_be_gone
    )


def _extract(
    table: str, source: SourceConfig, address: SecretStr | None, workspace: Path, *, allow_outside: bool
) -> Path:
    """The extract of a database source, made anew unless this process made it for the same run a moment ago."""
    wanted = _sha256([str(workspace), table, source.database, source.query])
    made = _extracts.get(wanted)
    if made is None or time.monotonic() - made[1] > EXTRACT_SECONDS or not made[0].is_file():
        secret = address.get_secret_value() if address is not None else None
        path = extract(table, source, secret, workspace, allow_outside=allow_outside)
        made = _extracts[wanted] = (path, time.monotonic())
    return made[0]


def _loaded(con: duckdb.DuckDBPyConnection, contract: Contract) -> dict[str, str]:
    """What is loaded: file -> the hash of how it was read."""
    if not has_table(con, "ops.loads"):
        return {}
    query = "select file, load_sha256 from ops.loads where source = ?"
    return dict(con.execute(query, [contract.name]).fetchall())


def _stays(source: SourceConfig, workspace: Path, label: str) -> bool:
    """Whether rows of a file that is not among a source's files stay: it was removed, not left out of the settings."""
    return source.when_removed == "keep" and not (workspace / label).exists()


def _holding(con: duckdb.DuckDBPyConnection, contract: Contract, days: tuple[str, str]) -> set[str]:
    """Files with rows of these days."""
    dated = [column.name for column in contract.columns if column.physical_type in {"DATE", "TIMESTAMP"}]
    day = f"{identifier(dated[0])}::date"
    query = f"select distinct _file from {quoted(contract.table)} where {day} between ? and ?"
    return {file for (file,) in con.execute(query, list(days)).fetchall()}


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=dict).encode()).hexdigest()


def _load_sha256(contract: Contract, source: SourceConfig, file: SourceFile, timezone: str, currency: str) -> str:
    columns = [[column.name, column.physical_type, column.required] for column in contract.columns]
    return _sha256([READING_RULES, file.sha256, asdict(source), columns, timezone, currency])


def _load_file(
    con: duckdb.DuckDBPyConnection,
    run: Run,
    contract: Contract,
    source: SourceConfig,
    file: SourceFile,
    timezone: str,
    currency: str,
) -> None:
    """Read one file into the raw table and the quarantine, and note it in the state."""
    load_id = ledger.tick(con)
    intake = take_in(con, run, contract, source, file, load_id, timezone, currency)
    record = {
        "source": contract.name,
        "file": file.label,
        "file_sha256": file.sha256,
        "load_sha256": _load_sha256(contract, source, file, timezone, currency),
        "load_id": load_id,
        "version": load_id,
        "rows_read": intake.rows_read,
        "rows_ignored": intake.rows_ignored,
        "extra_columns": list(intake.extra_columns),
        "notes": list(intake.notes),
        "is_gone": False,
        "has_keys_checked": False,
        "loaded_at": datetime.now(UTC).replace(tzinfo=None),
    }
    con.execute(f"insert into ops.loads values ({', '.join(f'${name}' for name in ledger.LOADS)})", record)


def _refuse_bad_table(con: duckdb.DuckDBPyConnection, contract: Contract, files: tuple[SourceFile, ...]) -> None:
    """Stop when the files together hold no rows, or too many that do not read as the contract says."""
    rows, bad = con.execute(
        "select (select sum(rows_read - rows_ignored) from ops.loads where source = $source), "
        "(select count(*) from out.quarantine where source = $source and stage = 'load')",
        {"source": contract.name},
    ).fetchall()[0]
    if not rows:
        raise DataError(
            f"{contract.name}: {', '.join(file.label for file in files[:3])} hold{'s' * (len(files) == 1)} no rows; "
            "expected a header and at least one row.\nExport again, for a period that has data."
        )
    if bad <= contract.max_bad_fraction * rows:
        return
    check, count = con.execute(
        "select check_id, count(*) as failing "
        "from (select unnest(string_split(check_ids, ',')) as check_id from out.quarantine "
        "where source = ? and stage = 'load') group by all order by failing desc, check_id limit 1",
        [contract.name],
    ).fetchall()[0]
    file, row_number, reason = con.execute(
        "select file, row_number, reason from out.quarantine where source = ? and stage = 'load' "
        "and list_contains(string_split(check_ids, ','), ?) order by file, row_number limit 1",
        [contract.name, check],
    ).fetchall()[0]
    raise DataError(
        f"{contract.name}: {bad} of {rows} rows do not read as the contract says; "
        f"expected at most {contract.max_bad_fraction:.0%} of them.\n"
        f"{count} break {check}, for example row {row_number} of {file}: {reason}.\n"
        "Correct the file, or the source's `columns`, `date_format` or `query` in marginal.yaml."
    )


def _summary(
    con: duckdb.DuckDBPyConnection, contract: Contract, *, loaded: int, unchanged: int, gone: int
) -> LoadSummary:
    read, ignored, kept, moved, extra = con.execute(
        f"""
        select
          (select sum(rows_read) from ops.loads where source = $source),
          (select sum(rows_ignored) from ops.loads where source = $source),
          (select count(*) from {quoted(contract.table)}),
          (select count(*) from out.quarantine where source = $source),
          (select list_sort(list_distinct(flatten(list(extra_columns)))) from ops.loads where source = $source)
        """,
        {"source": contract.name},
    ).fetchall()[0]
    return LoadSummary(
        table=contract.name,
        files_loaded=loaded,
        files_unchanged=unchanged,
        files_gone=gone,
        rows_read=int(read),
        rows_kept=kept,
        rows_quarantined=moved,
        rows_ignored=int(ignored),
        extra_columns=tuple(extra or ()),
    )
