"""Where the rows of a source table come from, as written under `sources` in the settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from models.errors import ConfigError

WHITESPACE = "whitespace"  # delimiter of files that line columns up with blanks


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One source table's files, with how to read them.

    Parameters
    ----------
    path : file, folder or glob, or several, relative to the workspace: CSV, TSV, TXT, Parquet, JSON or NDJSON,
        also gzipped. `package:lifetimes/datasets/CDNOW_sample.txt` is a file inside an installed Python package.
    query : SELECT over the relation `input`, which holds the rows of one file as text; its result is loaded instead.
    columns : our column name -> the file's (or the query's) name; names that agree need no entry.
    delimiter : of a text file; one character or `whitespace`; found in the header when not given.
    header : whether the first line of a text file holds the names.
    names : column names of a text file without a header.
    date_format : strptime format of dates and times that are not ISO, for example `%d.%m.%Y`.
    currency : currency of the money columns, as an ISO 4217 code; kept, not used yet.
    preset : none exist yet.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    path: str | tuple[str, ...]
    query: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    delimiter: str | None = None
    header: bool = True
    names: tuple[str, ...] | None = None
    date_format: str | None = None
    currency: str | None = None
    preset: str | None = None

    def __post_init__(self) -> None:
        if self.preset is not None:
            raise ConfigError(
                f"preset is {self.preset!r}; no presets exist yet.\n"
                "Leave it out and map the file's names with `columns`, or reshape its rows with `query`."
            )
        if not self.paths or not all(path.strip() for path in self.paths):
            raise ValueError(f"path is {self.path!r}; expected a file, folder or glob")
        if self.delimiter is not None and self.delimiter != WHITESPACE and len(self.delimiter) != 1:
            raise ValueError(f"delimiter is {self.delimiter!r}; expected one character or 'whitespace'")
        if self.header and self.names is not None:
            raise ValueError("names are given for a file with a header; set `header: false` or leave them out")
        if not self.header and not self.names:
            raise ValueError("header is false; expected `names` with one name for each column of the file")

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths as a tuple, also where there is one only."""
        return (self.path,) if isinstance(self.path, str) else tuple(self.path)
