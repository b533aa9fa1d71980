"""A file as a relation that DuckDB streams, whatever its format, and the lines of it that are no rows."""

import csv
import io
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from models.errors import ConfigError, DataError
from models.sources import WHITESPACE, SourceConfig
from models.sqltext import identifier, literal
from tasks.source_files import PARQUET, TEXT, SourceFile
from tasks.text_files import WINDOWS, TextForm, recoded, text_form, unique, unpacked

UNIT_SEPARATOR = "\x1f"  # ASCII 31, in no text file: reads each line whole
MAX_ROW_LINES = 1  # an open quote that swallows further lines hides an unknown number of rows
JSON_OBJECT_BYTES = 67_108_864  # 64 MiB: a whole list on one line is one object to the reader; its default is 16 MiB


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The rows of a file, read each time the relation is used.

    Parameters
    ----------
    relation : SQL that follows FROM. Its columns are `f0`, `f1`, ..., so that no name of the file meets one of ours;
        also `file_row` where the reader numbers the rows.
    types : the file's name for each of these columns, in their order -> its DuckDB type.
    row_number : SQL of a row's number in the file, from 1; None where only the order of the rows tells it.
    delimiter : between the cells of a text file.
    skipped : lines above the header of a text file.
    first_line : of a text file: number of the line with row 1.
    is_text : whether lines that do not split into columns are found in `reject_errors` after a scan.
    unreadable : row number, reason and text of such lines where they are known beforehand.
    """

    relation: str
    types: Mapping[str, str]
    row_number: str | None = None
    delimiter: str = ","
    skipped: int = 0
    first_line: int = 1
    is_text: bool = False
    unreadable: tuple[tuple[int, str, str], ...] = ()


@contextmanager
def scanned(
    con: duckdb.DuckDBPyConnection,
    file: SourceFile,
    source: SourceConfig,
    table: str,
    score: Callable[[Sequence[str]], int],
) -> Iterator[Scan]:
    """The rows of `file`, or of the source's query over them.

    Raises
    ------
    DataError : the file is not of the format its name says, or the query fails on it.
    ConfigError : the query is not one SELECT.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            if source.query is None or source.database is not None:
                yield _scan(con, file, source, Path(folder), score)
            else:
                yield _query_scan(con, file, source, table, Path(folder))
    except (duckdb.OutOfMemoryException, duckdb.FatalException):
        raise
    except duckdb.Error as error:
        if "No space left" in str(error):
            raise
        raise DataError(
            f"sources.{table}: {file.label} cannot be read as {file.kind}: {first_line(str(error))}\n"
            "Open it to see whether it is complete and of the kind that its name says, and export it again."
        ) from error


def _scan(
    con: duckdb.DuckDBPyConnection,
    file: SourceFile,
    source: SourceConfig,
    folder: Path,
    score: Callable[[Sequence[str]], int],
) -> Scan:
    if file.is_compressed and file.kind != PARQUET:
        file = unpacked(file, folder)
    if file.kind == TEXT:
        form = text_form(file, source, score)
        readable = recoded(file, folder, WINDOWS) if form.encoding == WINDOWS else file
        return _aligned_scan(con, readable, form) if form.delimiter == WHITESPACE else _text_scan(readable, form)
    if file.kind == PARQUET:
        relation = f"read_parquet({_path(file)}, hive_partitioning = false, file_row_number = true)"
        described = con.execute(f"describe select * from {relation}").fetchall()
        types = {name: kind for name, kind, *_ in described if name != "file_row_number"}
        return _renamed(relation, types, "file_row_number + 1")
    return _json_scan(con, file)


def _renamed(relation: str, types: Mapping[str, str], row_number: str) -> Scan:
    """A relation with the file's names as one with ours."""
    cells = ", ".join(f"{identifier(name)} as f{index}" for index, name in enumerate(types))
    inner = f"(select {cells}{', ' * bool(cells)}{row_number} as file_row from {relation})"
    return Scan(relation=inner, types=types, row_number="file_row")


def _json_scan(con: duckdb.DuckDBPyConnection, file: SourceFile) -> Scan:
    options = f"{_path(file)}, hive_partitioning = false, maximum_object_size = {JSON_OBJECT_BYTES}"
    described = con.execute(
        f"describe select * from read_json({options}, maximum_depth = 1, sample_size = -1)"
    ).fetchall()
    types = dict.fromkeys((name for name, *_ in described), "VARCHAR")  # text, so that no type is guessed
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in types)
    return _renamed(f"read_json({options}, columns = {{{columns}}})", types, "row_number() over ()")


def _text_scan(file: SourceFile, form: TextForm) -> Scan:
    relation = _read_csv(file, form, form.delimiter, [f"f{index}" for index in range(len(form.names))], '"')
    return Scan(
        relation=relation,
        types=dict.fromkeys(form.names, "VARCHAR"),
        delimiter=form.delimiter,
        skipped=form.skipped,
        first_line=form.skipped + form.header_lines + 1,
        is_text=True,
    )


def _read_csv(file: SourceFile, form: TextForm, delimiter: str, names: Sequence[str], quote: str) -> str:
    encoding = "utf-8" if form.encoding == WINDOWS else form.encoding
    return (
        f"read_csv({_path(file)}, auto_detect = false, hive_partitioning = false, store_rejects = true, "
        f"encoding = {literal(encoding)}, skip = {form.skipped}, header = {str(form.header_lines > 0).lower()}, "
        f"delim = {literal(delimiter)}, quote = {literal(quote)}, escape = {literal(quote)}, "
        f"columns = {{{', '.join(f"{literal(name)}: 'VARCHAR'" for name in names)}}})"
    )


def _aligned_scan(con: duckdb.DuckDBPyConnection, file: SourceFile, form: TextForm) -> Scan:
    """Lines whose columns are apart by blanks, cut into them; lines of another number of words are unreadable."""
    lines = _read_csv(file, form, UNIT_SEPARATOR, ["line"], "")
    con.execute(
        "create or replace temp table lines_read as select regexp_split_to_array(trim(line), '\\s+') as words, line "
        f"from {lines} where trim(line) <> ''"
    )
    size = len(form.names)
    odd = con.execute(
        "select rowid + 1, 'line has ' || len(words) || ' fields, expected ' || $size, line from lines_read "
        "where len(words) <> $size order by rowid",
        {"size": size},
    ).fetchall()
    picked = ", ".join(f"words[{index + 1}] as f{index}" for index in range(size))
    con.execute(
        f"create or replace temp table rows_read as select {picked}, rowid + 1 as file_row from lines_read "
        f"where len(words) = {size} order by rowid"
    )
    con.execute("drop table lines_read")
    types = dict.fromkeys(form.names, "VARCHAR")
    return Scan(relation="rows_read", types=types, row_number="file_row", unreadable=tuple(odd))


def _query_scan(
    con: duckdb.DuckDBPyConnection, file: SourceFile, source: SourceConfig, table: str, folder: Path
) -> Scan:
    """Run the source's query in a database of its own that can reach neither files, network nor the warehouse."""
    query = source.query or ""
    with duckdb.connect() as scratch:
        scratch.execute("set timezone = 'UTC'")
        scan = _scan(scratch, file, source, folder, len)
        cells = ", ".join(f"f{index}::varchar as {identifier(name)}" for index, name in enumerate(scan.types))
        scratch.execute(f"create table input as select {cells} from {scan.relation}")
        unreadable = unreadable_lines(scratch, scan, file)
        scratch.execute("set threads = 1")  # rows come in the same order every time
        scratch.execute("set enable_external_access = false; set lock_configuration = true")
        try:
            statements = scratch.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise ConfigError(f"sources.{table}: query holds {len(statements)} statements; expected one SELECT.")
            names = unique([name for name, *_ in scratch.execute(f"describe {statements[0].query}").fetchall()])
            scratch.execute(f"create table result ({', '.join(f'{identifier(name)} varchar' for name in names)})")
            scratch.execute(f"insert into result {statements[0].query}")
        except duckdb.Error as error:
            raise DataError(
                f"sources.{table}: the query fails on {file.label}: {first_line(str(error))}\n"
                "Its rows are the relation `input`, all text; cast what you compute with."
            ) from error
        renamed = ", ".join(f"{identifier(name)} as f{index}" for index, name in enumerate(names))
        con.register("from_scratch", scratch.sql(f"select {renamed} from result").to_arrow_reader())
        con.execute("create or replace temp table rows_read as from from_scratch")
        con.unregister("from_scratch")
    types = dict.fromkeys(names, "VARCHAR")
    return Scan(relation="rows_read", types=types, row_number="rowid + 1", unreadable=unreadable)


def unreadable_lines(con: duckdb.DuckDBPyConnection, scan: Scan, file: SourceFile) -> tuple[tuple[int, str, str], ...]:
    """Row number, reason and text of the lines that the last scan of a text file could not split into its columns.

    Raises
    ------
    DataError : a quote is opened and never closed, so that it cannot be told which rows were lost.
    """
    if not scan.is_text:
        return scan.unreadable
    found = con.execute(
        "select line, lower(min_by(error_type, column_idx)), trim(any_value(csv_line), e'\\r\\n') "
        "from reject_errors group by line order by line"
    ).fetchall()
    con.execute("drop table if exists reject_errors; drop table if exists reject_scans")
    lines = []
    for line, reason, text in found:
        if reason == "unquoted value" and (text or "").count("\n") >= MAX_ROW_LINES:
            raise DataError(
                f"{file.label} opens a quote in line {line} that is never closed, so the rows after it are lost.\n"
                "Close the quote, or double quotes inside a value, and run again."
            )
        lines.append((line - scan.first_line + 1, f"line {line}: {reason}", text or ""))
    return tuple(lines)


def cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of one line, for those that have too few or too many."""
    try:
        return next(csv.reader(io.StringIO(line), delimiter=delimiter), [])
    except csv.Error:
        return [line]


def _path(file: SourceFile) -> str:
    """The file's path as a literal that DuckDB does not take for a glob."""
    return literal(re.sub(r"([*?\[])", r"[\1]", str(file.path)))


def first_line(text: str) -> str:
    """The first line of a message."""
    return re.split(r"[\r\n]", text.strip("\r\n"), maxsplit=1)[0]
