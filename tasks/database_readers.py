"""The rows of a query, read from a PostgreSQL server, a SQLite file or a DuckDB file.

Drivers repeat the address in what they say, and an error keeps the one that was being handled when it was raised. So
ours is raised after theirs is done with, and repeats its words only where they hold nothing of the address.
"""

import re
import sqlite3
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from models.errors import ConfigError, DataError, MarginalError, OutsideServiceError
from models.sources import FROM_ENVIRONMENT, SourceConfig

SERVER = re.compile(r"postgres(ql)?://|(host|hostaddr|service|dbname|user|port)\s*=")  # libpq's two kinds of address
CREDENTIALS = (
    r"//([^:@/?]*)(?::([^@/]*))?@",  # //user:password@host
    r"(?:user|password)\s*=\s*([^&'\s]+)",  # ?user=…&password=… and user=… password=…
    r"(?:user|password)\s*=\s*'((?:\\.|[^'\\])*)'",  # password='…'
)
PATIENCE = {
    "connect_timeout": 10,  # seconds; a server that takes longer is not there
    "keepalives_idle": 30,  # seconds of silence after which the connection is tried, so that a dead one is noticed
}
STATEMENT_SECONDS = 1800  # years of marketing data take minutes; half an hour is a mistake or a lock
BUSY_SECONDS = 5  # a SQLite file is locked for the moment of a write; a lock that stays is another program's hold
BATCH_ROWS = 20_000  # of a file at once: a few megabytes, and row groups that still compress well
EXACT_INTEGERS = 2**53  # above it a double skips whole numbers
EXACT_DIGITS = 38  # of the widest decimal that Parquet, Arrow and DuckDB share
MAGIC_SQLITE, MAGIC_DUCKDB = b"SQLite format 3\0", b"DUCK"  # how the files begin, the second from byte 8
MAGIC_BYTES = 16  # hold both
SQLITE_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}

AS_IS = "{}"
POSTGRES_CASTS = {  # any other type, `money` and arrays among them, becomes text as the server writes it
    **dict.fromkeys(("bool", "int8", "float8", "date", "timestamp", "timestamptz"), AS_IS),
    **dict.fromkeys(("int2", "int4"), "{}::int8"),
    "float4": "{}::text::float8",  # 1.1 stays 1.1 and is not 1.10000002384
}
DUCKDB_CASTS = {
    **dict.fromkeys(("BOOLEAN", "BIGINT", "DOUBLE", "DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"), AS_IS),
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER"), "{}::bigint"),
    **dict.fromkeys(("TIMESTAMP_S", "TIMESTAMP_MS"), "{}::timestamp"),
    "DECIMAL": AS_IS,
    "FLOAT": "{}::text::double",  # as float4 above
}
WIDE_NUMBERS = {"numeric", "UBIGINT", "HUGEINT", "UHUGEINT"}  # read as text; a decimal where all values fit one
REFUSALS = {  # what libpq or the server says, without names in quotes, when no connection comes about -> what it means
    "connect: invalid": "the address cannot be understood",
    "connection info string": "the address cannot be understood",
    "in URI": "the address cannot be understood",
    "authentication failed": "the server does not accept the user or the password",
    "no password supplied": "the server asks for a password, and the address has none",
    "pg_hba.conf": "the server does not let this user in from here",
    "translate host name": "no host of that name is known",
    "does not exist": "the server has no database or user of that name",
    "SSL": "server and address disagree on encryption (sslmode)",
    "refused": "no server answers at that host and port",
    "time": "the server did not answer in time",
}

Batches = Generator[pa.RecordBatch, None, list[pa.DataType]]  # of a result; returns the types that its columns fit


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A source's database and query; as text it is what messages call it, which never is a secret address."""

    table: str
    source: SourceConfig
    address: str | None

    def __str__(self) -> str:
        return f"sources.{self.table}: {re.sub('//[^@/]*@', '//', self.source.database or '')}"

    def __repr__(self) -> str:
        return f"Origin({self})"

    @property
    def place(self) -> str:
        """The address to open."""
        return (self.address or self.source.database or "").strip()

    @property
    def query(self) -> str:
        """The query without what closes a statement."""
        return (self.source.query or "").strip().rstrip("; \t\r\n")


def read_database(origin: Origin, workspace: Path, *, allow_outside: bool) -> Batches:
    """The reader for the database: a server by its address, a file by its first bytes.

    Raises
    ------
    ConfigError : the address is not set, not understood, or leaves the workspace.
    DataError : there is no such file, or it is no database.
    """
    if not origin.address and (origin.source.database or "").startswith(FROM_ENVIRONMENT):
        raise ConfigError(f"{origin} is an environment variable that is not set; expected a database's address in it.")
    if not origin.place.isprintable():
        raise ConfigError(f"{origin} holds characters that cannot be in an address; expected a line of plain text.")
    if SERVER.match(origin.place):
        return _postgres(origin)
    if "://" in origin.place:
        raise ConfigError(
            f"{origin}: this kind of address is not read.\n"
            "Expected a file of SQLite or DuckDB, or an address like postgresql://user:password@host:5432/name."
        )
    path, head, trouble = workspace / origin.place, b"", "it is neither of SQLite nor of DuckDB"
    try:
        path = path.resolve()
        leaves = not path.is_relative_to(workspace.resolve())
        if not leaves or allow_outside:  # nothing outside is looked at
            with path.open("rb") as stream:
                head = stream.read(MAGIC_BYTES)
    except OSError as error:
        leaves, trouble = False, error.strerror or "it cannot be opened"
    if leaves and not allow_outside:
        raise ConfigError(
            f"{origin}: the file is outside the workspace; expected one inside.\n"
            "Copy it in, or write `allow_outside: true` in marginal.yaml."
        )
    if head == MAGIC_SQLITE:
        return _sqlite(origin, path)
    if head[8:12] == MAGIC_DUCKDB:
        return _duckdb(origin, path)
    raise DataError(
        f"{origin}: the file cannot be read: {trouble}.\n"
        "Expected a database file of SQLite or DuckDB, named relative to the workspace. Correct `database`."
    )


def _postgres(origin: Origin) -> Batches:
    from adbc_driver_postgresql import dbapi

    problem: MarginalError
    try:
        connection = dbapi.connect(_patient(origin.place))
    except dbapi.Error as error:
        problem = _no_connection(origin, str(error))
    else:
        try:
            with connection, connection.cursor() as cursor:
                for setting in (
                    "transaction read only",
                    f"local statement_timeout = {STATEMENT_SECONDS * 1000}",
                    "local timezone = 'UTC'",
                    "local client_encoding = 'UTF8'",
                    "local datestyle = 'ISO'",
                    "local extra_float_digits = 3",  # the text of a float4 names it exactly
                    "local synchronize_seqscans = off",  # rows in the same order every time, as far as the server can
                    "local max_parallel_workers_per_gather = 0",  # idem
                ):
                    cursor.execute(f"set {setting}")
                cursor.execute(f"select * from ({origin.query}\n) as q limit 0")  # only a SELECT may stand in brackets
                fields = list(cursor.fetch_record_batch().schema)
                names = [field.name for field in fields]
                kinds = [(field.metadata or {}).get(b"POSTGRESQL:type", b"").decode() for field in fields]
                cursor.execute(_picked(origin, kinds, POSTGRES_CASTS))
                return (yield from _settled(cursor.fetch_record_batch(), names, kinds))
        except (dbapi.Error, OSError, pa.ArrowException) as error:
            problem = _broken_off(origin, str(error), getattr(error, "sqlstate", None) or "")
    raise problem


def _patient(address: str) -> str:
    """The address with limits to waiting, where it sets none itself."""
    limits = [f"{name}={value}" for name, value in PATIENCE.items() if name not in address]
    if not limits:
        return address
    if "://" not in address:
        return " ".join([address, *limits])
    return address + ("&" if "?" in address.rpartition("@")[2] else "?") + "&".join(limits)


def _no_connection(origin: Origin, said: str) -> MarginalError:
    """Why there is no connection, in our words alone: the driver's repeat user, host and sometimes the address."""
    unnamed = re.sub(r'"[^"]*"', "", said)
    why = next((meaning for words, meaning in REFUSALS.items() if words in unnamed), "the server turns it down")
    kind = ConfigError if why == REFUSALS["in URI"] else OutsideServiceError
    return kind(
        f"{origin}: no connection: {why}.\n"
        "Expected a PostgreSQL server at an address like postgresql://user:password@host:5432/name.\n"
        "Try the address with psql from this machine, and correct it or the server."
    )


def _broken_off(origin: Origin, said: str, state: str) -> MarginalError:
    """Why the query failed; `state` is the SQLSTATE, which errors after the first row come without."""
    words = re.search(r":  (\S.*)", said)  # after the severity and two blanks; further down the query is repeated
    message = _repeated(origin, words[1] if words else "the connection was lost")
    if state.startswith(("42", "0A")) or state == "25006":  # syntax, names, rights; not supported; not read only
        return _bad_query(origin, message)
    return OutsideServiceError(
        f"{origin}: the query broke off: {message}\n"
        f"Expected it to end well within {STATEMENT_SECONDS} seconds. Run it by hand to see what it meets."
    )


def _bad_query(origin: Origin, message: str) -> ConfigError:
    return ConfigError(
        f"{origin}: the query fails: {message}\n"
        "Expected one SELECT that the database accepts, and nothing that writes. Correct `query`."
    )


def _repeated(origin: Origin, message: str, *also: str) -> str:
    """The first line of what a database says, where it has nothing of the address in it."""
    if any(secret in message for secret in [*_credentials(origin.place), *also]):
        return "its words are left out, for they repeat a part of the address"
    return re.split(r"[\r\n]", message.strip(), maxsplit=1)[0]


def _credentials(address: str) -> set[str]:
    """What of an address must not be repeated: the whole, the user, the passwords; as written and as meant."""
    groups = [match.groups() for pattern in CREDENTIALS for match in re.finditer(pattern, address)]
    return {text for part in [address, *sum(groups, ())] if part for text in (part, unquote(part))}


def _duckdb(origin: Origin, path: Path) -> Batches:
    problem: MarginalError
    try:
        with duckdb.connect(str(path), read_only=True) as con:
            con.execute("set timezone = 'UTC'; set threads = 1")  # rows in the same order every time
            con.execute("set enable_external_access = false; set lock_configuration = true")
            statements = con.extract_statements(origin.query)
            if [statement.type for statement in statements] == [duckdb.StatementType.SELECT]:
                described = con.execute(f"describe {origin.query}").fetchall()
                names, kinds = [name for name, *_ in described], [kind.partition("(")[0] for _, kind, *_ in described]
                reader = con.sql(_picked(origin, kinds, DUCKDB_CASTS)).to_arrow_reader(BATCH_ROWS)
                return (yield from _settled(reader, names, kinds))
        problem = _bad_query(origin, f"it holds {len(statements)} statements, or another than a SELECT")
    except (duckdb.Error, OSError, pa.ArrowException) as error:
        message = _repeated(origin, str(error), *([path.name] if origin.address else []))
        if "Could not set lock" in str(error) or isinstance(error, duckdb.ConnectionException):
            problem = _in_use(origin)
        elif isinstance(error, (duckdb.ProgrammingError, duckdb.PermissionException)):
            problem = _bad_query(origin, message)
        else:
            problem = _unreadable(origin, message)
    raise problem


def _sqlite(origin: Origin, path: Path) -> Batches:
    problem: MarginalError
    try:
        con = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        try:
            con.text_factory = _text
            con.set_authorizer(_allowed)
            cursor = con.execute(origin.query)
            if cursor.description:
                return (yield from _classed(cursor, [column[0] for column in cursor.description]))
            problem = _bad_query(origin, "it is empty")
        finally:
            con.close()
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # without the extension of the code
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            problem = _in_use(origin)
        elif code in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_READONLY}:
            problem = _bad_query(origin, str(error))
        else:
            problem = _unreadable(origin, str(error))
    raise problem


def _allowed(action: int, *_: str | None) -> int:
    """What SQLite asks about each step of a statement: reading is all that is done."""
    return sqlite3.SQLITE_OK if action in SQLITE_ALLOWED else sqlite3.SQLITE_DENY


def _in_use(origin: Origin) -> OutsideServiceError:
    return OutsideServiceError(
        f"{origin}: another program holds the file; expected it free for reading.\nRun again when that one is done."
    )


def _unreadable(origin: Origin, message: str) -> DataError:
    return DataError(
        f"{origin}: the rows cannot be read: {message}\n"
        "Expected a whole file and a query that fits its values. Run the query by hand, or copy the file again."
    )


def _picked(origin: Origin, kinds: Sequence[str], casts: Mapping[str, str]) -> str:
    """The query with its columns cast to what Parquet has; named by position, so that no name of theirs is in it."""
    if not kinds:
        raise _bad_query(origin, "it returns no column")
    names = [f"c{index}" for index in range(len(kinds))]
    columns = [casts.get(kind, "{}::text").format(f"q.{name}") for name, kind in zip(names, kinds, strict=True)]
    return f"select {', '.join(columns)} from ({origin.query}\n) as q({', '.join(names)})"


def _settled(batches: pa.RecordBatchReader, names: Sequence[str], kinds: Sequence[str]) -> Batches:
    """The batches under their names; wide numbers, which come as text, fit the narrowest decimal that holds all."""
    widest = {index: (1, 0) for index, kind in enumerate(kinds) if kind in WIDE_NUMBERS}
    for batch in batches:
        for index, (whole, scale) in widest.items():
            seen = _digits(batch.column(index))
            widest[index] = max(whole, seen[0]), max(scale, seen[1])
        yield pa.record_batch(batch.columns, names=list(names))
    types = list(batches.schema.types)
    for index, (whole, scale) in widest.items():
        if whole + scale <= EXACT_DIGITS:
            types[index] = pa.decimal128(whole + scale, scale)
    return types


def _digits(texts: pa.Array) -> tuple[int, int]:
    """The most digits before and behind the point of any of the numbers; too many where one is no finite number."""
    texts = texts.drop_null()  # what a missing number is cut into is undefined
    if pc.any(pc.match_substring_regex(texts, "[^0-9.-]")).as_py():  # NaN, Infinity
        return EXACT_DIGITS + 1, 0
    parts = pc.extract_regex(texts, r"^-?(?P<whole>\d*)\.?(?P<fraction>\d*)$")
    lengths = (pc.max(pc.utf8_length(pc.struct_field(parts, part))).as_py() for part in ("whole", "fraction"))
    whole, scale = (length or 0 for length in lengths)
    return whole, scale


def _classed(rows: Any, names: Sequence[str]) -> Batches:
    """SQLite's rows as text. A column whose values are all numbers fits a number, one of several classes stays text."""
    classes: list[set[type]] = [set() for _ in names]
    is_exact = [True] * len(names)  # whether a double holds all whole numbers of the column
    while fetched := rows.fetchmany(BATCH_ROWS):
        columns = list(zip(*fetched, strict=True))
        for index, column in enumerate(columns):
            classes[index].update(map(type, column))
            is_exact[index] &= all(abs(value) <= EXACT_INTEGERS for value in column if isinstance(value, int))
        yield pa.record_batch([pa.array(_texts(column), pa.string()) for column in columns], names=list(names))
    return [_number(found - {type(None)}, exact) for found, exact in zip(classes, is_exact, strict=True)]


def _number(classes: set[type], is_exact: bool) -> pa.DataType:
    if classes == {int}:
        return pa.int64()
    return pa.float64() if classes and classes <= {int, float} and is_exact else pa.string()


def _texts(column: Iterable[Any]) -> list[str | None]:
    return [
        value if value is None or isinstance(value, str) else value.hex() if isinstance(value, bytes) else repr(value)
        for value in column
    ]


def _text(value: bytes) -> str:
    return value.decode("utf-8", errors="backslashreplace")  # what is no UTF-8 stays to be seen
