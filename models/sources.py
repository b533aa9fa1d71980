"""Where the rows of a source table come from, as written under `sources` in the settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal
from zoneinfo import available_timezones

from models.errors import ConfigError

WHITESPACE = "whitespace"  # delimiter of files that line columns up with blanks
FROM_ENVIRONMENT = "env:"  # `database: env:SHOP` is the address held by the environment variable SHOP
PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@|password\s*=", re.IGNORECASE)  # in an address or a list of keywords


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One source table's files or query, with how to read them.

    Parameters
    ----------
    path : file, folder or glob, or several, relative to the workspace: CSV, TSV, TXT, Parquet, JSON or NDJSON,
        also gzipped. `package:lifetimes/datasets/CDNOW_sample.txt` is a file inside an installed Python package.
    database : instead of a path: a SQLite or DuckDB file in the workspace, `postgresql://host/name` without a
        password, or `env:NAME` for an address that the environment variable NAME holds. `query` is run there.
    query : SELECT. With `path`: over the relation `input`, which holds the rows of one file as text; its result is
        loaded instead. With `database`: in the dialect of the database.
    preset : name of a platform whose exports are understood as they come: google_ads, meta_ads, microsoft_ads, ga4,
        shopify_orders.
    columns : our column name -> the file's (or the query's) name; names that agree need no entry.
    constants : our column name -> the value it has in every row of files that lack it, for example `channel: tv`.
    delimiter : of a text file; one character or `whitespace`; found in the header when not given.
    header : whether a line of a text file holds the names; lines above it are ignored.
    names : column names of a text file without a header.
    date_format : strptime format of dates and times that are not ISO, for example `%d.%m.%Y`; found in the values
        where they tell it.
    decimal : the mark between units and fractions in numbers, "." or ","; found in the values where they tell it.
    timezone : IANA zone of times that carry no offset; the company's when not given.
    currency : currency of amounts in rows that name none, as an ISO 4217 code; the company's when not given.
    when_removed : what becomes of the rows of a file that is gone: `keep` them, or `drop` them.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    path: str | tuple[str, ...] | None = None
    database: str | None = None
    query: str | None = None
    preset: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    delimiter: str | None = None
    header: bool = True
    names: tuple[str, ...] | None = None
    date_format: str | None = None
    decimal: Literal[".", ","] | None = None
    timezone: str | None = None
    currency: str | None = None
    when_removed: Literal["keep", "drop"] = "keep"

    def __post_init__(self) -> None:
        if (self.path is None) == (self.database is None):
            raise ValueError("expected either `path` or `database` (with `query`), and not both")
        if self.database is not None and not self.query:
            raise ValueError("`database` is given without `query`; expected the SELECT to run there")
        if self.database is not None and PASSWORD.search(self.database):
            raise ConfigError(
                "a source's `database` holds a password; expected none in a file that is kept and shared.\n"
                "Put the whole address into an environment variable, say SHOP_DB, and write `database: env:SHOP_DB`."
            )
        if self.path is not None and (not self.paths or not all(path.strip() for path in self.paths)):
            raise ValueError(f"path is {self.path!r}; expected a file, folder or glob")
        if any("\0" in path for path in self.paths):
            raise ValueError(f"path is {self.path!r}; expected no zero byte in it")
        if self.delimiter is not None and self.delimiter != WHITESPACE and len(self.delimiter) != 1:
            raise ValueError(f"delimiter is {self.delimiter!r}; expected one character or 'whitespace'")
        if self.header and self.names is not None:
            raise ValueError("names are given for a file with a header; set `header: false` or leave them out")
        if not self.header and not self.names:
            raise ValueError("header is false; expected `names` with one name for each column of the file")
        if self.timezone is not None and self.timezone not in available_timezones():
            raise ValueError(f"timezone is {self.timezone!r}; expected an IANA name such as Europe/Berlin")
        if self.currency is not None and not re.fullmatch(r"[A-Z]{3}", self.currency):
            raise ValueError(f"currency is {self.currency!r}; expected an ISO 4217 code such as EUR")

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths as a tuple, also where there is one only or none."""
        if self.path is None:
            return ()
        return (self.path,) if isinstance(self.path, str) else tuple(self.path)
