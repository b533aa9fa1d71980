"""A file's cells to the contract's types inside DuckDB, with a reason for each value that does not fit."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import duckdb

from models.contracts import TYPE_NAMES, Column, Contract
from models.errors import ConfigError, DataError
from models.formats import (
    GROUPED_BY,
    Formats,
    date_formats,
)
from models.presets import Matched
from models.sources import SourceConfig
from models.sqltext import literal

BLANKS = " \t\r\n\u00a0\u202f\ufeff"  # what spreadsheets leave around a value; no-break spaces, a stray byte order mark
FIRST, LAST = "\u00a0", " \t\u00a0"  # what a value that needs trimming starts or ends with, besides signs below "!"
NO_VALUE = ("na", "n/a", "#n/a", "nan", "null", "none", "\\n", "--", "-", "–", "—")  # how exports write "nothing"
MARKS = {  # currency -> what stands beside its amounts, apart from its code
    "AUD": r"AU?\$|\$",
    "BRL": r"R\$",
    "CAD": r"CA?\$|\$",
    "CHF": r"Fr\.?",
    "CNY": "CN¥|¥",
    "CZK": "Kč",
    "DKK": r"kr\.?",
    "EUR": "€",
    "GBP": "£",
    "HUF": "Ft",
    "INR": "₹",
    "JPY": "¥",
    "KRW": "₩",
    "MXN": r"MX\$|\$",
    "NOK": r"kr\.?",
    "PLN": "zł",
    "SEK": r"kr\.?",
    "TRY": "₺",
    "USD": r"US\$|\$",
}
GROUPER = "[\\s\u00a0\u202f''’]"  # what groups thousands beside points and commas, as SQL writes it
EXACT_INTEGERS = 2**53  # above it a double skips whole numbers
FIRST_YEAR = 1000  # a year below is one of two digits, read as if it were whole
MICROS = 1_000_000.0  # platforms count money in millionths
SHOWN = 40  # characters of a bad value that a reason repeats
ALONE = 1  # one bad value is a bad row; two or more without a single good one are a column of the wrong type
NATIVE = {  # types of a file's columns that are cast as they are, not by way of text
    *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
    *("FLOAT", "DOUBLE", "BOOLEAN", "DATE"),
}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """All that turns the cells of one file into typed values.

    types : the file's column -> its DuckDB type; VARCHAR for everything in a text file.
    """

    contract: Contract
    source: SourceConfig
    matched: Matched
    types: Mapping[str, str]
    formats: Formats
    file: str

    def cell(self, column: Column) -> str:
        """The SQL of a column's cell as the file has it: a name, a constant, or nothing."""
        name = self.matched.names.get(column.name)
        if name is not None:
            return self.cell_named(name)
        constant = self.matched.constants.get(column.name)
        return "null::varchar" if constant is None else f"{literal(constant)}::varchar"

    def cell_named(self, name: str) -> str:
        """The SQL of the cell under one of the file's names: columns of a scan are numbered."""
        return f"f{list(self.types).index(name)}"

    def type_of(self, column: Column) -> str:
        """The DuckDB type of that cell."""
        return self.types.get(self.matched.names.get(column.name, ""), "VARCHAR")


def make_macros(con: duckdb.DuckDBPyConnection, currency: str | None) -> None:
    """The functions that the expressions below are written in.

    currency : whose marks may stand beside amounts; None where each row names its own, so that all may. An amount that
        shows another currency is not read as one in this.
    """
    marks = (
        "|".join({*MARKS.values(), "[A-Z]{3}"}) if currency is None else f"{MARKS.get(currency, currency)}|{currency}"
    )
    words = literal(f"(?i){'|'.join(map(re.escape, NO_VALUE))}")
    grouped = {mark: f"'^-?(?:{GROUPED_BY[mark]})$'" for mark in GROUPED_BY}
    unsigned = (
        f"regexp_replace(regexp_replace(t, '^([-+(]?)\\s*(?:{marks})\\s*|\\s*(?:{marks})\\s*([)]?)$', '\\1\\2', 'g'), "
        "'^\\((.*)\\)$', '-\\1')"
    )
    in_groups = f"regexp_full_match(t, '[-+]?\\d{{1,3}}({GROUPER}\\d{{3}})+([.,]\\d+)?')"
    edges = " or ".join(
        [f"prefix(t, {literal(blank)})" for blank in FIRST] + [f"suffix(t, {literal(blank)})" for blank in LAST]
    )
    macros = {
        "clean(t)": f"case when t <= '!' or {edges} "  # far cheaper than to trim every value
        f"then nullif(trim(t, {literal(BLANKS)}), '') else t end",
        "says_nothing(t)": f"regexp_full_match(t, {words})",  # IN would become a join, made for all rows
        "without_currency(t)": unsigned,
        "without_groups(t)": f"case when not regexp_matches(t, '{GROUPER}') then t "
        f"when {in_groups} then regexp_replace(t, '{GROUPER}', '', 'g') end",
        "point_number(t)": "try_cast(case when not contains(t, ',') then t "
        f"when regexp_matches(t, {grouped[',']}) then replace(t, ',', '') end as double)",
        "comma_number(t)": "try_cast(case when not contains(t, '.') then replace(t, ',', '.') "
        f"when regexp_matches(t, {grouped['.']}) then replace(replace(t, '.', ''), ',', '.') end as double)",
        "shown(t)": f"regexp_replace(left(t, {SHOWN}), '[\\p{{C}}\\p{{Z}}]', ' ', 'g')",  # in one line
        "finite(x)": "case when isfinite(x) then x end",
        "sane_day(d)": f"case when isfinite(d) and year(d) >= {FIRST_YEAR} then d end",
    }
    for macro, body in macros.items():
        con.execute(f"create or replace temp macro {macro} as {body}")


def check_date_format(con: duckdb.DuckDBPyConnection, source: SourceConfig, table: str) -> None:
    """Refuse a `date_format` that is none.

    Raises
    ------
    ConfigError : DuckDB does not know one of its marks.
    """
    if source.date_format is None:
        return
    try:
        con.execute("select try_strptime('', ?)", [source.date_format])
    except duckdb.Error as error:
        raise ConfigError(
            f"sources.{table}: date_format is {source.date_format!r}; expected a strptime format such as '%d.%m.%Y'."
        ) from error


def typed_select(reading: Reading, relation: str, extra: str) -> str:
    """A SELECT of the contract's columns, typed (`v0`, `v1`, ...), with `is_bad` and `extra`, over a relation.

    Values are made in steps, each a SELECT of its own: DuckDB writes a macro's argument out wherever it is used.
    """
    columns = reading.contract.columns
    tests = [test for index, column in enumerate(columns) if (test := _is_bad(reading, index, column))]
    goes_on = reading.matched.continuation
    if goes_on is not None:
        extra = f"{extra}, clean({reading.cell_named(goes_on)}::varchar) as goes_on"
        tests.append("goes_on is null")
    return f"select *, {' or '.join(tests) or 'false'} as is_bad from {_stepwise(reading, relation, extra)}"


def _stepwise(reading: Reading, relation: str, extra: str) -> str:
    """The relation with each column's cell (`a0`, ...) and value (`v0`, ...)."""
    steps: dict[str, list[str]] = {name: [] for name in "anksgxv"}
    for index, column in enumerate(reading.contract.columns):
        for name, expression in _steps(reading, index, column).items():
            steps[name].append(f"{expression} as {name}{index}")
    rows = f"(select {', '.join(steps['a'])}, {extra} from {relation})"
    for name in "nksgxv":
        if steps[name]:
            rows = f"(select *, {', '.join(steps[name])} from {rows})"
    return rows


def _may_fail(reading: Reading, column: Column) -> bool:
    """Whether a cell of an optional column can be there and yet have no value."""
    return not column.required and column.physical_type != "VARCHAR" and column.name in reading.matched.names


def _is_bad(reading: Reading, index: int, column: Column) -> str | None:
    if column.required:
        return f"v{index} is null"
    if not _may_fail(reading, column):
        return None
    filled = f"coalesce(not says_nothing(clean(a{index}::varchar)), false)"
    return f"(case when v{index} is null and a{index} is not null then {filled} else false end)"


def explain_bad_rows(con: duckdb.DuckDBPyConnection, reading: Reading) -> None:
    """From `bad_rows` (the file's columns and `_row_number`) make `bad_reasons`: `_row_number`, `check_ids`, `reason`.

    The last two name, joined, the checks a row broke and why; `t0`, ... hold the cells that say something.
    """
    texts, checks, reasons = [], [], []
    for index, column in enumerate(reading.contract.columns):
        name, kind = column.name, column.physical_type
        cell = f"clean(a{index}::varchar)"
        texts.append(f"case when not says_nothing({cell}) then {cell} end as t{index}")
        if column.required:
            checks.append(f"case when t{index} is null then '{name}_present' end")
            reasons.append(f"case when t{index} is null then '{name} is empty' end")
        if kind != "VARCHAR" and name in {*reading.matched.names, *reading.matched.constants}:
            bad = f"t{index} is not null and v{index} is null"
            checks.append(f"case when {bad} then '{name}_type' end")
            reasons.append(f"case when {bad} then '{name} is not {TYPE_NAMES[kind]}: ' || shown(t{index}) end")
    con.execute(
        f"create or replace temp table bad_reasons as select *, concat_ws(',', {', '.join(checks)}) as check_ids, "
        f"concat_ws('; ', {', '.join(reasons)}) as reason "
        f"from (select *, {', '.join(texts)} from {_stepwise(reading, 'bad_rows', '_row_number')})"
    )


def refuse_wrong_columns(con: duckdb.DuckDBPyConnection, reading: Reading, good: Mapping[str, int], rows: int) -> None:
    """Stop at a column without a single value of its type. `bad_reasons` holds all rows that have none.

    Parameters
    ----------
    good : our column -> how many values of it were read in the whole file.
    rows : rows of the file that are not ignored.

    Raises
    ------
    DataError : all values of a column fail to cast, or a required column is empty from top to bottom.
    """
    for index, column in enumerate(reading.contract.columns):
        theirs = reading.matched.names.get(column.name)
        if theirs is None or good[column.name] > 0:
            continue
        found = con.execute(
            f"select distinct shown(t{index}) from (select t{index} from bad_reasons "
            f"where t{index} is not null order by _row_number limit 100) order by all limit 3"
        ).fetchall()
        texts = con.execute(f"select count(t{index}) from bad_reasons").fetchall()[0][0]
        wanted = TYPE_NAMES[column.physical_type]
        if column.required and rows > ALONE and texts == 0:
            raise DataError(
                f"{reading.contract.name}: column {theirs!r} of {reading.file} is empty in all {rows} rows; "
                f"expected {wanted} in each.\nExport the file again with it filled."
            )
        if texts > ALONE:
            listed = ", ".join(repr(value) for (value,) in found)
            raise DataError(
                f"{reading.contract.name}: column {theirs!r} of {reading.file} holds {listed}, …; "
                f"expected {wanted} for {column.name}.\n{_advice(column.physical_type)}"
            )


def _advice(kind: str) -> str:
    if kind in {"DATE", "TIMESTAMP"}:
        return 'Give the source its format, for example `date_format: "%d.%m.%Y"`, or correct the file.'
    return (
        "Map the right column with `columns`, rewrite the values with `query`, or correct the file.\n"
        "Amounts in another currency than the company's need `currency: <its code>` under the source."
    )


def _steps(reading: Reading, index: int, column: Column) -> dict[str, str]:
    """How a cell (`a`) becomes a value (`v`), NULL where it is none.

    Text is first read as plainly as DuckDB does (`n`), which most values need and which is fast; only what is left is
    cleaned (`k`), freed of its currency (`s`) and of what groups its thousands (`g`). `x` is the better of the two.
    Moments become UTC, read in the session's zone where they carry no offset.
    """
    have, want = reading.type_of(column), column.physical_type
    a, n, k, x = (f"{step}{index}" for step in "ankx")
    steps = {"a": reading.cell(column)}
    is_text = not (have in NATIVE or have.startswith(("DECIMAL", "TIMESTAMP")))
    if is_text and have != "VARCHAR":
        steps["a"] += "::varchar"
    rest = f"case when {n} is null and {a} is not null then clean({a}) end"
    match want:
        case "VARCHAR":
            steps |= {"k": f"clean({a})"} if is_text else {}
            steps["v"] = f"(case when {k} <> '--' then {k} end)" if is_text else _as_text(a, have)
        case "DOUBLE" | "BIGINT":
            steps |= _number_steps(reading, index, column, rest) if is_text else {"x": f"try_cast({a} as double)"}
            whole = f"{x} = round({x}) and abs({x}) <= {EXACT_INTEGERS}"
            steps["v"] = f"finite({x})" if want == "DOUBLE" else f"case when {whole} then try_cast({x} as bigint) end"
        case "BOOLEAN" if have == "BOOLEAN":
            steps["v"] = a
        case "BOOLEAN":
            steps |= {"n": f"try_cast({a}::varchar as boolean)", "k": f"clean({a}::varchar)"}
            steps["x"] = f"case try_cast({k} as double) when 1 then true when 0 then false end"
            steps["v"] = f"coalesce({n}, try_cast({k} as boolean), {x})"
        case _:
            kind = "date" if want == "DATE" else "timestamptz"
            steps |= {"n": f"try_cast({a} as {kind})"}
            if is_text:
                steps["k"] = f"clean({a})" if reading.source.date_format else rest
            steps["x"] = _moment(reading, column, index, kind) if is_text else n
            steps["v"] = f"sane_day({x})" if want == "DATE" else f"timezone('UTC', sane_day({x}))"
    steps["v"] = _transformed(reading, column, steps["v"])
    return steps


def _as_text(cell: str, have: str) -> str:
    if have in {"DOUBLE", "FLOAT"}:  # a whole number kept as a double, as pandas does where some are missing
        whole = f"{cell} = trunc({cell}) and abs({cell}) < {EXACT_INTEGERS}"
        return f"(case when {whole} then {cell}::bigint::varchar else {cell}::varchar end)"
    return f"{cell}::varchar"


def _number_steps(reading: Reading, index: int, column: Column, rest: str) -> dict[str, str]:
    a = f"a{index}"
    bare = {"s": f"without_currency(k{index})", "g": f"without_groups(s{index})"}
    if reading.formats.decimal.get(column.name, ".") == ",":
        return {"k": f"clean({a})", **bare, "x": f"comma_number(g{index})"}
    return {"n": f"try_cast({a} as double)", "k": rest, **bare, "x": f"coalesce(n{index}, point_number(g{index}))"}


def _transformed(reading: Reading, column: Column, value: str) -> str:
    transform = reading.matched.transforms.get(column.name)
    if transform == "micros":
        return f"{value} / {MICROS}"
    if transform == "hash":
        return f"sha256(lower({value}))"
    if transform is not None and transform.startswith("slug:"):
        plain = rf"trim(regexp_replace(lower({value}), '[^\p{{L}}\p{{N}}]+', '_', 'g'), '_')"
        return f"{literal(transform.removeprefix('slug:'))} || nullif({plain}, '')"
    if column.name == "currency":
        default = reading.matched.currency or reading.source.currency
        return f"coalesce(upper({value}), {literal(default)})" if default else f"upper({value})"
    return value


def _moment(reading: Reading, column: Column, index: int, kind: str) -> str:
    """The stated format first, then ISO, then the formats that the values have shown."""
    stated, text = reading.source.date_format, f"k{index}"
    day_first = reading.formats.day_first.get(column.name)

    def parsed(forms: Iterable[str]) -> str:
        return f"try_cast(try_strptime({text}, [{', '.join(map(literal, forms))}]) as {kind})"

    tries = [parsed([stated])] if stated else []
    tries += [f"n{index}", f"try_cast({text} as {kind})"]
    # apart, for in one list those without an offset would be taken for UTC
    tries += [parsed(date_formats(day_first, with_offset=offset)) for offset in (False, True)]
    return f"coalesce({', '.join(tries)})"
