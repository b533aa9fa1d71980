"""A text file before its rows are read: its encoding, its delimiter, the line that names its columns."""

import codecs
import csv
import gzip
import io
import re
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

from models.errors import DataError
from models.sources import WHITESPACE, SourceConfig
from tasks.source_files import SourceFile, suffix_of

HEAD_BYTES = 262_144  # enough for any header with the lines above it
HEAD_LINES = (
    60  # reports of ad platforms put up to a dozen lines above the header, analytics exports whole small tables
)
DELIMITERS = (",", ";", "\t", "|")  # tried in this order; the one under which the header names most columns wins
WINDOWS = "cp1252"  # what a text that is not UTF-8 is in practice: Windows programs' western European code page
CELL_MAX = 1_000_000  # characters; beyond it a quote was left open
csv.field_size_limit(CELL_MAX)


@dataclass(frozen=True, kw_only=True)
class TextForm:
    """How a text file is laid out.

    Parameters
    ----------
    encoding : as DuckDB names it, or `cp1252`, which it does not read.
    delimiter : between the cells of a line; `whitespace` where blanks line columns up.
    names : of the columns, none empty, none twice.
    skipped : lines above the one with the names.
    header_lines : lines that the names take: none, one, or more where a quoted name holds a line break.
    """

    encoding: str
    delimiter: str
    names: tuple[str, ...]
    skipped: int
    header_lines: int


def text_form(file: SourceFile, source: SourceConfig, score: Callable[[Sequence[str]], int]) -> TextForm:
    """How a text file is laid out, found in its first lines.

    Parameters
    ----------
    score : how many columns of the contract the cells of a line name; the first line with most is the header.

    Raises
    ------
    DataError : binary data, a damaged archive, or no names where there should be some.
    """
    encoding, lines = _head(file)
    if not source.header:
        delimiter = source.delimiter or _plain_delimiter(lines[0] if lines else "", file)
        return TextForm(
            encoding=encoding, delimiter=delimiter, names=unique(list(source.names or ())), skipped=0, header_lines=0
        )
    if source.delimiter == WHITESPACE:
        cells = lines[0].split() if lines else []
        delimiter, line = WHITESPACE, 0
    else:
        delimiter, line, cells = _header(lines, _candidates(source, file), score)
    if not any(cell.strip() for cell in cells):
        raise DataError(f"the first line of {file.label} is blank; expected the names of the columns.")
    size = 1 if delimiter == WHITESPACE else _line_count(lines[line:])
    if size > 1:
        cells = _cells("\n".join(lines[line : line + size]), delimiter)
    return TextForm(encoding=encoding, delimiter=delimiter, names=unique(cells), skipped=line, header_lines=size)


def _line_count(lines: list[str]) -> int:
    """How many of the lines the first record takes: more than one where a quote stays open at its end."""
    quotes = 0
    for number, line in enumerate(lines[:HEAD_LINES], start=1):
        quotes += line.count('"')
        if quotes % 2 == 0:
            return number
    return 1


def _candidates(source: SourceConfig, file: SourceFile) -> tuple[str, ...]:
    if source.delimiter is not None:
        return (source.delimiter,)
    return ("\t",) if suffix_of(file.path) == ".tsv" else DELIMITERS


def _header(
    lines: list[str], delimiters: Sequence[str], score: Callable[[Sequence[str]], int]
) -> tuple[str, int, list[str]]:
    """The delimiter, the number and the cells of the header line.

    Where no line names a column of ours the first line is taken, so that the message can say what was found in it.
    """
    best: tuple[tuple[int, int, int], str, int, list[str]] | None = None
    for delimiter in delimiters:
        for number, line in enumerate(lines[:HEAD_LINES]):
            cells = _cells(line, delimiter)
            named = score(cells)
            if named == 0 and number > 0:
                continue
            rank = (named, -number, len(cells))
            if best is None or rank > best[0]:
                best = (rank, delimiter, number, cells)
    return best[1:] if best else (delimiters[0], 0, [])


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(line, newline=""), delimiter=delimiter), [])
    except csv.Error:
        return []


def _plain_delimiter(line: str, file: SourceFile) -> str:
    if suffix_of(file.path) == ".tsv":
        return "\t"
    return max(DELIMITERS, key=lambda mark: len(_cells(line, mark)))


def _head(file: SourceFile) -> tuple[str, list[str]]:
    """The file's encoding, and its first lines."""
    try:
        with opened(file) as stream:
            head = stream.read(HEAD_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file.label} cannot be unpacked: {error}; export it again.") from error
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", _lines(head[: len(head) // 2 * 2].decode("utf-16", errors="replace"))
    if b"\0" in head:
        raise DataError(
            f"{file.label} holds binary data; expected lines of text.\n"
            "Export it as CSV (a spreadsheet's own format is not read), or correct its name's ending."
        )
    try:
        return "utf-8", _lines(codecs.getincrementaldecoder("utf-8-sig")().decode(head))  # may end mid-character
    except UnicodeDecodeError:
        return WINDOWS, _lines(head.decode(WINDOWS, errors="replace"))


def _lines(text: str) -> list[str]:
    return re.split(r"\r\n|\n|\r", text)


def recoded(file: SourceFile, folder: Path, encoding: str) -> SourceFile:
    """A copy in UTF-8 of a file in an encoding that DuckDB does not read.

    Raises
    ------
    DataError : the file is not in that encoding.
    """
    copy = folder / f"rows{suffix_of(file.path)}"
    try:
        with (
            opened(file) as stream,
            io.TextIOWrapper(stream, encoding=encoding, newline="") as text,
            copy.open("w", encoding="utf-8", newline="") as target,
        ):
            shutil.copyfileobj(text, target)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file.label} is neither UTF-8 nor Windows text (byte {error.object[error.start]:#x}); "
            "expected one of them.\nExport it again as CSV in UTF-8."
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file.label} cannot be unpacked: {error}; export it again.") from error
    return replace(file, path=copy)


def unpacked(file: SourceFile, folder: Path) -> SourceFile:
    """A copy of a gzipped file as it is inside; DuckDB would wait for ever on some damaged ones.

    Raises
    ------
    DataError : the archive is damaged.
    """
    copy = folder / f"unpacked{suffix_of(file.path)}"
    try:
        with gzip.open(file.path) as stream, copy.open("wb") as target:
            shutil.copyfileobj(stream, target)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{file.label} cannot be unpacked: {error}; export it again.") from error
    return replace(file, path=copy)


def opened(file: SourceFile) -> IO[bytes]:
    """The file's bytes, unpacked."""
    return cast(IO[bytes], gzip.open(file.path)) if file.is_compressed else file.path.open("rb")


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Names without blanks around them, none empty, none twice (DuckDB does not tell `a` from `A`)."""
    unique_names: list[str] = []
    taken: set[str] = set()
    for position, name in enumerate(names, start=1):
        stem = fresh = name.strip().replace("\0", "") or f"column_{position}"
        number = 1
        while fresh.casefold() in taken:
            number += 1
            fresh = f"{stem}_{number}"
        taken.add(fresh.casefold())
        unique_names.append(fresh)
    return tuple(unique_names)
