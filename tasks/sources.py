"""Source files into raw tables: incremental, idempotent, with bad rows in quarantine."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.columns import check_mapping, match_columns
from models.contracts import Contract
from models.errors import DataError
from models.run import Run
from models.sources import SourceConfig
from models.sqltext import identifier, literal
from tasks import ledger
from tasks.casting import cast_rows, refuse_wrong_columns
from tasks.readers import read_rows
from tasks.source_files import SourceFile, find_files
from tasks.warehouse import connect, quoted, transaction

READING_RULES = "1"  # part of every fingerprint; raise it when unchanged files must be read anew


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
    extra_columns: tuple[str, ...]

    @property
    def message(self) -> str:
        """The load in a line."""
        parts = [f"{self.rows_kept} rows kept", f"{self.rows_quarantined} in quarantine"]
        parts += [f"{self.files_loaded} files loaded", f"{self.files_unchanged} unchanged"]
        if self.files_gone:
            parts.append(f"{self.files_gone} gone, their rows with them")
        if self.extra_columns:
            parts.append(f"columns not used: {', '.join(self.extra_columns)}")
        return f"{self.table}: {'; '.join(parts)}"


@task(cache_policy=NO_CACHE)
def load_source(run: Run, table: str, source: SourceConfig, allow_outside: bool = False) -> LoadSummary:
    """Bring `raw.<table>` up to its source files."""
    return load_files(run, table, source, allow_outside=allow_outside)


def source_fingerprint(workspace: Path, table: str, source: SourceConfig, *, allow_outside: bool = False) -> str:
    """SHA-256 over all files of a source, their names and the way they are read.

    Raises
    ------
    ConfigError, DataError : as `find_files`.
    """
    contract = ledger.read_contract(f"raw.{table}")
    files = find_files(table, source, workspace, allow_outside=allow_outside)
    return _sha256([[file.label, _load_sha256(contract, source, file)] for file in files])


def load_files(run: Run, table: str, source: SourceConfig, *, allow_outside: bool = False) -> LoadSummary:
    """`load_source` without the orchestrator.

    A file is read again when its bytes, the source's settings or the contract changed, and then exactly its rows are
    replaced; rows of a file that is gone go too. All of it happens in one transaction, or nothing.

    Raises
    ------
    ConfigError : a path leaves the workspace, or the settings name a column that does not exist.
    DataError : no file, an empty or unreadable one, a column missing or of the wrong type, or too many bad rows.
    """
    contract = ledger.read_contract(f"raw.{table}")
    check_mapping(contract, source)
    files = find_files(table, source, run.workspace, allow_outside=allow_outside)
    with connect(run.warehouse) as con, transaction(con):
        ledger.prepare(con, contract)
        before = dict(con.execute("select file, load_sha256 from ops.loads where source = ?", [table]).fetchall())
        gone = sorted(before.keys() - {file.label for file in files})
        changed = [file for file in files if before.get(file.label) != _load_sha256(contract, source, file)]
        for label in [*gone, *(file.label for file in changed if file.label in before)]:
            ledger.forget_file(con, contract, label)
        for file in changed:
            _load_file(con, run, contract, source, file)
        _refuse_bad_table(con, contract, files)
        ledger.report(con, contract, run)
        return _summary(con, contract, loaded=len(changed), unchanged=len(files) - len(changed), gone=len(gone))


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=dict).encode()).hexdigest()


def _load_sha256(contract: Contract, source: SourceConfig, file: SourceFile) -> str:
    columns = [[column.name, column.physical_type, column.required] for column in contract.columns]
    return _sha256([READING_RULES, file.sha256, asdict(source), columns])


def _load_file(
    con: duckdb.DuckDBPyConnection, run: Run, contract: Contract, source: SourceConfig, file: SourceFile
) -> None:
    """Read one file into the raw table and the quarantine, and note it in the state."""
    read_rows(con, file, source, contract.name)
    available = [name for name, *_ in con.execute("describe rows_read").fetchall() if name != "_row_number"]
    matched = match_columns(contract, source, available, file.label)
    cast_rows(con, contract, matched, source)
    refuse_wrong_columns(con, contract, matched, file.label)
    row = con.execute("select coalesce(max(load_id), 0) + 1 from ops.loads").fetchone()
    load_id = row[0] if row else 1
    values = ", ".join(f"v{index}" for index in range(len(contract.columns)))
    con.execute(
        f"insert into {quoted(contract.table)} select {values}, $file, _row_number, $load_id "
        "from rows_cast where check_ids = '' order by _row_number",
        {"file": file.label, "load_id": load_id},
    )
    payload = ", ".join(f"{literal(name)}: {identifier(name)}" for name in available)
    con.execute(
        f"""
        insert into out.quarantine by name
        select
          $run_id as run_id, $as_of as as_of, $source as source, $file as file, row_number, reason, payload,
          check_ids, 'load' as stage
        from (
          select _row_number as row_number, reason, to_json({{{payload}}})::varchar as payload, check_ids
          from rows_cast join rows_read using (_row_number) where check_ids <> ''
          union all
          select row_number, reason, payload, 'lines_readable' from rows_unreadable
        )
        order by row_number
        """,
        {"run_id": run.run_id, "as_of": run.as_of, "source": contract.name, "file": file.label},
    )
    extra = sorted(set(available) - set(matched.values()))
    con.execute(
        "insert into ops.loads select $source, $file, $file_sha256, $load_sha256, $load_id, "
        "(select count(*) from rows_read) + (select count(*) from rows_unreadable), $extra, $loaded_at",
        {
            "source": contract.name,
            "file": file.label,
            "file_sha256": file.sha256,
            "load_sha256": _load_sha256(contract, source, file),
            "load_id": load_id,
            "extra": extra,
            "loaded_at": datetime.now(UTC).replace(tzinfo=None),
        },
    )


def _refuse_bad_table(con: duckdb.DuckDBPyConnection, contract: Contract, files: tuple[SourceFile, ...]) -> None:
    """Stop when the files together hold no rows, or too many that do not read as the contract says."""
    rows, bad = con.execute(
        "select (select sum(rows_read) from ops.loads where source = $source), "
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
    read, kept, moved, extra = con.execute(
        f"""
        select
          (select sum(rows_read) from ops.loads where source = $source),
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
        extra_columns=tuple(extra or ()),
    )
