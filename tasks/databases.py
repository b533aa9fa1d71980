"""Rows of a query in another database, as a Parquet file in the workspace.

The rows go into a spool in batches; when the last is there the types of all columns are known, and the Parquet file is
written from it and put in place in one step.
"""

import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.errors import ConfigError, DataError
from models.sources import SourceConfig
from tasks.database_readers import Batches, Origin, read_database
from tasks.source_files import file_sha256

COMPRESSION = "zstd"  # half the size of Parquet's usual snappy at the same speed
FIRST_DAY, LAST_DAY = ((day - date(1970, 1, 1)).days for day in (date.min, date.max))  # what a calendar holds
MICROSECONDS = 86_400_000_000  # in a day


def extract(table: str, source: SourceConfig, address: str | None, workspace: Path, *, allow_outside: bool) -> Path:
    """Run the source's query in its database and keep the rows as `artifacts/extracts/<table>.parquet`.

    The file is replaced in one step, and only by other bytes: the same rows in the same order give the same file.
    DATE, TIMESTAMP (one with a zone: in UTC), BIGINT, DOUBLE, BOOLEAN and text keep their type, exact numbers become a
    decimal where all values of the column fit 38 digits, and what has no such type is text as the database writes it.

    Parameters
    ----------
    table : source table, for the file's name and for messages.
    source : holds `database` and `query`.
    address : what the environment variable of an `env:NAME` database holds; None for any other. It is in no message,
        cause or context of an error.
    workspace : the user's folder.
    allow_outside : whether a database file may lie outside it.

    Raises
    ------
    ConfigError : the address is not understood or leaves the workspace, or the query is not one SELECT that the
        database accepts.
    DataError : the file is missing or no database, the result has no rows or a value that cannot be kept, or the disk
        is full.
    OutsideServiceError : the server does not answer, lets nobody in or breaks the query off, or a file is in use.
    """
    target = workspace / "artifacts" / "extracts" / f"{table}.parquet"
    spool, partial = (target.with_name(target.name + ending) for ending in (".spool", ".partial"))
    origin = Origin(table=table, source=source, address=address)
    batches = read_database(origin, workspace, allow_outside=allow_outside)
    full = ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        types = _fill(spool, batches, origin)
        _write(partial, spool, types)
        _replace(target, partial)
    except OSError as error:  # of ours: the readers turn theirs into messages
        full = error.strerror or str(error)
    finally:
        batches.close()
        spool.unlink(missing_ok=True)
        partial.unlink(missing_ok=True)
    if full:
        raise DataError(
            f"{origin}: the rows cannot be written to {target.relative_to(workspace)}: {full}\n"
            "The file of the last extract is as it was. Make room or give access there, and run again."
        )
    return target


def _fill(spool: Path, batches: Batches, origin: Origin) -> list[pa.DataType]:
    """Write the batches to the spool; the types that the columns will have."""
    rows, writer = 0, None
    with pa.OSFile(str(spool), "wb") as sink:
        while True:
            try:
                batch = next(batches)
            except StopIteration as end:
                types: list[pa.DataType] = end.value
                break
            _check(batch, origin)
            if writer is None:
                writer = pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=COMPRESSION))
            writer.write_batch(batch)
            rows += batch.num_rows
        if writer is not None:
            writer.close()
    if not rows:
        raise DataError(
            f"{origin}: the query gives no rows; expected at least one.\n"
            "Run it by hand to see whether its conditions are too narrow or its table is empty."
        )
    return types


def _check(batch: pa.RecordBatch, origin: Origin) -> None:
    """Refuse names that do not tell columns apart, and days that readers of the file cannot hold."""
    names = [name.casefold() for name in batch.schema.names]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"{origin}: the query returns two columns named {twice!r}, capitals aside; expected names that differ.\n"
            "Name each column with `as`."
        )
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if not _is_in_calendar(column):
            raise DataError(
                f"{origin}: column {name!r} holds infinity or a day outside the years 1 to 9999.\n"
                "Leave it out in the query, for example with nullif(column, 'infinity')."
            )


def _is_in_calendar(column: pa.Array) -> bool:
    if not pa.types.is_temporal(column.type):
        return True
    whole, day = (pa.int32(), 1) if pa.types.is_date(column.type) else (pa.int64(), MICROSECONDS)
    ends = pc.min_max(column.cast(whole)).as_py()
    return ends["min"] is None or FIRST_DAY * day <= ends["min"] <= ends["max"] < (LAST_DAY + 1) * day


def _write(partial: Path, spool: Path, types: Sequence[pa.DataType]) -> None:
    """The spool as Parquet, a row group for each batch; it is on the disk when this returns."""
    with pa.OSFile(str(spool), "rb") as source, pa.ipc.open_stream(source) as batches:
        schema = pa.schema(list(zip(batches.schema.names, types, strict=True)))
        with pq.ParquetWriter(str(partial), schema, compression=COMPRESSION) as writer:
            for batch in batches:
                columns = [pc.cast(column, kind) for column, kind in zip(batch.columns, types, strict=True)]
                writer.write_batch(pa.record_batch(columns, schema=schema))
    _sync(partial)


def _replace(target: Path, partial: Path) -> None:
    if target.is_file() and file_sha256(target) == file_sha256(partial):
        return
    partial.replace(target)
    _sync(target.parent)  # the new name too outlives a power cut


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
