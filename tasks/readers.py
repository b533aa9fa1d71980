"""Rows of one file as text, whatever its format, inside DuckDB.

Each reader leaves two temporary tables: `rows_read` (the file's columns as text, and `_row_number` from 1) and
`rows_unreadable` (row_number, reason, payload: lines of a text file that do not split into its columns).
"""

import codecs
import csv
import gzip
import io
import re
import shutil
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

import duckdb

from models.errors import ConfigError, DataError
from models.sources import WHITESPACE, SourceConfig
from models.sqltext import identifier, literal
from tasks.source_files import PARQUET, TEXT, SourceFile, suffix_of

HEAD_BYTES = 65536  # enough for any header; what shows the encoding and the delimiter
DELIMITERS = (",", ";", "\t", "|")  # tried in this order; the one that splits the header into most columns wins
WINDOWS = "cp1252"  # what a text that is not UTF-8 is in practice: Windows programs' western European code page
UNIT_SEPARATOR = "\x1f"  # ASCII 31, in no text file: reads each line whole
MAX_ROW_LINES = 1  # an open quote that swallows further lines hides an unknown number of rows


def read_rows(con: duckdb.DuckDBPyConnection, file: SourceFile, source: SourceConfig, table: str) -> None:
    """Leave the rows of `file`, or of the source's query over them, in `rows_read` and `rows_unreadable`.

    Raises
    ------
    DataError : the file is not of the format its name says, or the query fails on it.
    ConfigError : the query is not one SELECT.
    """
    con.execute("drop table if exists rows_read; drop table if exists rows_unreadable")
    con.execute("create temp table rows_unreadable (row_number bigint, reason varchar, payload varchar)")
    try:
        if source.query is None:
            _read_file(con, file, source)
        else:
            _read_query(con, file, source, table)
    except duckdb.Error as error:
        raise DataError(
            f"sources.{table}: {file.label} cannot be read as {file.kind}: {_first_line(str(error))}\n"
            "Open it to see whether it is complete and of the kind that its name says, and export it again."
        ) from error


def _read_file(con: duckdb.DuckDBPyConnection, file: SourceFile, source: SourceConfig) -> None:
    if file.kind == TEXT:
        encoding, first = _head(file)
        with tempfile.TemporaryDirectory() as folder:
            readable = _recoded(file, Path(folder)) if encoding == WINDOWS else file
            _read_text(con, readable, source, "utf-8" if encoding == WINDOWS else encoding, first)
    elif file.kind == PARQUET:
        _keep(con, f"read_parquet({_path(file)}, hive_partitioning = false)")
    else:
        _read_json(con, file)


def _read_query(con: duckdb.DuckDBPyConnection, file: SourceFile, source: SourceConfig, table: str) -> None:
    """Run the source's query in a database of its own that can reach neither files, network nor the warehouse."""
    query = source.query or ""
    with duckdb.connect() as scratch:
        scratch.execute("set timezone = 'UTC'")
        scratch.execute("create temp table rows_unreadable (row_number bigint, reason varchar, payload varchar)")
        _read_file(scratch, file, source)
        scratch.execute("create table input as select * exclude (_row_number) from rows_read order by _row_number")
        scratch.execute("set threads = 1")  # rows come in the same order every time
        scratch.execute("set enable_external_access = false; set lock_configuration = true")
        try:
            statements = scratch.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise ConfigError(f"sources.{table}: query holds {len(statements)} statements; expected one SELECT.")
            columns = _unique([name for name, *_ in scratch.execute(f"describe {statements[0].query}").fetchall()])
            result = ", ".join(f"{identifier(name)} varchar" for name in columns)
            scratch.execute(f"create table result ({result})")
            scratch.execute(f"insert into result {statements[0].query}")
        except duckdb.Error as error:
            raise DataError(
                f"sources.{table}: the query fails on {file.label}: {_first_line(str(error))}\n"
                "Its rows are the relation `input`, all text; cast what you compute with."
            ) from error
        for name in ("rows_unreadable", "result"):
            con.register("from_scratch", scratch.table(name).to_arrow_reader())
            if name == "result":
                _keep(con, "from_scratch")
            else:
                con.execute("insert into rows_unreadable select * from from_scratch")
            con.unregister("from_scratch")


def _keep(con: duckdb.DuckDBPyConnection, relation: str) -> None:
    """Copy a relation into `rows_read`, all text; a row without any value, as spreadsheets append, is none."""
    columns = "row_number() over () as _row_number, columns(*)::varchar"
    con.execute(f"create temp table rows_read as select {columns} from {relation}")
    names = [identifier(name) for name, *_ in con.execute("describe rows_read").fetchall() if name != "_row_number"]
    con.execute(f"delete from rows_read where coalesce({', '.join(names)}) is null")


def _read_json(con: duckdb.DuckDBPyConnection, file: SourceFile) -> None:
    options = f"{_path(file)}, hive_partitioning = false"
    described = con.execute(
        f"describe select * from read_json({options}, maximum_depth = 1, sample_size = -1)"
    ).fetchall()
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name, *_ in described)  # text, so that no type is guessed
    _keep(con, f"read_json({options}, columns = {{{columns}}})")


def _read_text(
    con: duckdb.DuckDBPyConnection, file: SourceFile, source: SourceConfig, encoding: str, first: str
) -> None:
    aligned = source.delimiter == WHITESPACE
    delimiter = UNIT_SEPARATOR if aligned else source.delimiter or _delimiter(first, file)
    header = first.split() if aligned else next(csv.reader([first], delimiter=delimiter), [])
    names = _unique(header if source.header else list(source.names or ()))
    if not names:
        raise DataError(f"the first line of {file.label} is blank; expected the names of the columns.")
    quote, columns = ("", ["line"]) if aligned else ('"', names)
    con.execute("drop table if exists reject_errors; drop table if exists reject_scans")
    _keep(
        con,
        f"read_csv({_path(file)}, auto_detect = false, hive_partitioning = false, store_rejects = true, "
        f"encoding = {literal(encoding)}, header = {str(source.header).lower()}, delim = {literal(delimiter)}, "
        f"quote = {literal(quote)}, escape = {literal(quote)}, "
        f"columns = {{{', '.join(f"{literal(name)}: 'VARCHAR'" for name in columns)}}})",
    )
    if aligned:
        _split_aligned(con, names)
    _keep_rejects(con, file, source.header)


def _split_aligned(con: duckdb.DuckDBPyConnection, names: list[str]) -> None:
    """Lines whose columns are apart by blanks, into those columns."""
    con.execute(
        "create or replace temp table cut as "
        "select _row_number, line, regexp_split_to_array(trim(line), '\\s+') as parts from rows_read "
        "where trim(line) <> ''"
    )
    picked = ", ".join(f"parts[{index + 1}] as {identifier(name)}" for index, name in enumerate(names))
    con.execute(
        f"create or replace temp table rows_read as select _row_number, {picked} from cut where len(parts) = $count",
        {"count": len(names)},
    )
    con.execute(
        "insert into rows_unreadable select _row_number, "
        "'line has ' || len(parts) || ' fields, expected ' || $count, json_object('line', line) "
        "from cut where len(parts) <> $count",
        {"count": len(names)},
    )
    con.execute("drop table cut")


def _keep_rejects(con: duckdb.DuckDBPyConnection, file: SourceFile, header: bool) -> None:
    """Move the lines that DuckDB could not split into `rows_unreadable` and leave their numbers free."""
    swallowed = con.execute(
        "select min(line) from reject_errors where error_type = 'UNQUOTED VALUE' "
        "and len(trim(csv_line, e'\\r\\n')) - len(replace(trim(csv_line, e'\\r\\n'), e'\\n', '')) >= ?",
        [MAX_ROW_LINES],
    ).fetchone()
    if swallowed and swallowed[0] is not None:
        raise DataError(
            f"{file.label} opens a quote in line {swallowed[0]} that is never closed, so the rows after it are lost.\n"
            "Close the quote, or double quotes inside a value, and run again."
        )
    con.execute(
        "insert into rows_unreadable "
        "select line - $header, 'line ' || line || ': ' || lower(min_by(error_type, column_idx)), "
        "json_object('line', trim(any_value(csv_line), e'\\r\\n')) from reject_errors group by line order by line",
        {"header": int(header)},
    )
    con.execute("drop table reject_errors; drop table reject_scans")
    con.execute(  # the k-th row kept comes after each unreadable line with fewer than k kept lines before it
        """
        update rows_read set _row_number = _row_number + (
            select count(*) from (select row_number - row_number() over (order by row_number) as kept_before
                                  from rows_unreadable) as unreadable
            where kept_before < rows_read._row_number)
        where exists (from rows_unreadable)
        """
    )


def _head(file: SourceFile) -> tuple[str, str]:
    """The file's encoding as DuckDB names it, and its first line."""
    try:
        with _opened(file) as stream:
            head = stream.read(HEAD_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file.label} cannot be unpacked: {error}; export it again.") from error
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", _first_line(head.decode("utf-16", errors="replace"))
    if b"\0" in head:
        raise DataError(
            f"{file.label} holds binary data; expected lines of text.\n"
            "Export it as CSV (a spreadsheet's own format is not read), or correct its name's ending."
        )
    try:
        return "utf-8", _first_line(codecs.getincrementaldecoder("utf-8-sig")().decode(head))  # may end mid-character
    except UnicodeDecodeError:
        return WINDOWS, _first_line(head.decode(WINDOWS, errors="replace"))


def _recoded(file: SourceFile, folder: Path) -> SourceFile:
    """A copy in UTF-8 of a file as Windows programs write it, which DuckDB does not read."""
    copy = folder / f"rows{suffix_of(file.path)}"
    try:
        with (
            _opened(file) as stream,
            io.TextIOWrapper(stream, encoding=WINDOWS, newline="") as text,
            copy.open("w", encoding="utf-8", newline="") as target,
        ):
            shutil.copyfileobj(text, target)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file.label} is neither UTF-8 nor Windows text (byte {error.object[error.start]:#x}); "
            "expected one of them.\nExport it again as CSV in UTF-8."
        ) from error
    return replace(file, path=copy)


def _opened(file: SourceFile) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(file.path)) if file.is_compressed else file.path.open("rb")


def _delimiter(header: str, file: SourceFile) -> str:
    if suffix_of(file.path) == ".tsv":
        return "\t"
    return max(DELIMITERS, key=lambda mark: len(next(csv.reader([header], delimiter=mark))))


def _unique(names: list[str]) -> list[str]:
    """Names without blanks around them, none empty, none twice (DuckDB does not tell `a` from `A`)."""
    unique: list[str] = []
    for position, name in enumerate(names, start=1):
        stem = fresh = name.strip() or f"column_{position}"
        number = 1
        while fresh.casefold() in {other.casefold() for other in [*unique, "_row_number"]}:
            number += 1
            fresh = f"{stem}_{number}"
        unique.append(fresh)
    return unique


def _path(file: SourceFile) -> str:
    """The file's path as a literal that DuckDB does not take for a glob."""
    return literal(re.sub(r"([*?\[])", r"[\1]", str(file.path)))


def _first_line(text: str) -> str:
    return re.split(r"[\r\n]", text.strip("\r\n"), maxsplit=1)[0]
