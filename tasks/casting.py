"""Text to the contract's types inside DuckDB, with a reason for each value that does not fit."""

from collections.abc import Mapping

import duckdb

from models.contracts import TYPE_NAMES, Contract
from models.errors import ConfigError, DataError
from models.sources import SourceConfig
from models.sqltext import identifier, literal

BLANKS = " \t\r\n\u00a0"  # what spreadsheets leave around a value; U+00A0 is the no-break space
NO_VALUE = ("na", "n/a", "#n/a", "nan", "null", "none", "\\n")  # how exports write "nothing" among numbers and dates
EXACT_INTEGERS = 2**53  # above it a double skips whole numbers
SHOWN = 40  # characters of a bad value that a reason repeats
ALONE = 1  # one bad value is a bad row; two or more without a single good one are a column of the wrong type


def cast_rows(
    con: duckdb.DuckDBPyConnection, contract: Contract, matched: Mapping[str, str], source: SourceConfig
) -> None:
    """Leave in `rows_cast`: `_row_number`, `t<i>` the text and `v<i>` the value of column i, `check_ids`, `reason`.

    The last two name, joined, the checks a row broke and why; they are empty for a good row.
    """
    _check_format(con, contract, source.date_format)
    texts, values, checks, reasons = [], [], [], []
    for index, column in enumerate(contract.columns):
        name, kind = column.name, column.physical_type
        theirs = matched.get(name)
        texts.append(f"{_text(theirs, kind)} as t{index}")
        values.append(f"{_value(f't{index}', kind, source.date_format)} as v{index}")
        if column.required:
            checks.append(f"case when t{index} is null then '{name}_present' end")
            reasons.append(f"case when t{index} is null then '{name} is empty' end")
        if kind != "VARCHAR" and theirs is not None:
            bad = f"t{index} is not null and v{index} is null"
            checks.append(f"case when {bad} then '{name}_type' end")
            reasons.append(f"case when {bad} then '{name} is not {TYPE_NAMES[kind]}: ' || left(t{index}, {SHOWN}) end")
    con.execute(
        f"""
        create or replace temp table rows_cast as
        with texts as (select _row_number, {", ".join(texts)} from rows_read),
        cast_values as (select *, {", ".join(values)} from texts)
        select *, concat_ws(',', {", ".join(checks)}) as check_ids, concat_ws('; ', {", ".join(reasons)}) as reason
        from cast_values
        """
    )


def refuse_wrong_columns(
    con: duckdb.DuckDBPyConnection, contract: Contract, matched: Mapping[str, str], file: str
) -> None:
    """Stop at a column without a single value of its type.

    Raises
    ------
    DataError : all values of a column fail to cast, or a required column is empty from top to bottom.
    """
    wanted = [(i, column) for i, column in enumerate(contract.columns) if column.name in matched]
    counts = ", ".join(f"count(t{index}), count(v{index})" for index, _ in wanted)
    row = con.execute(f"select count(*), {counts} from rows_cast").fetchone() or (0,)
    rows = row[0]
    for (index, column), texts, values in zip(wanted, row[1::2], row[2::2], strict=True):
        if column.required and rows > ALONE and texts == 0:
            raise DataError(
                f"{contract.name}: column {matched[column.name]!r} of {file} is empty in all {rows} rows; "
                f"expected {TYPE_NAMES[column.physical_type]} in each.\nExport the file again with it filled."
            )
        if texts > ALONE and values == 0:
            found = con.execute(
                f"select distinct left(t{index}, {SHOWN}) from (from rows_cast order by _row_number limit 100) "
                f"where t{index} is not null order by all limit 3"
            ).fetchall()
            raise DataError(
                f"{contract.name}: column {matched[column.name]!r} of {file} holds {_listed(found)}; "
                f"expected {TYPE_NAMES[column.physical_type]} for {column.name}.\n{_advice(column.physical_type)}"
            )


def _listed(rows: list[tuple]) -> str:
    return ", ".join(repr(value) for (value,) in rows) + ", …"


def _advice(kind: str) -> str:
    if kind in {"DATE", "TIMESTAMP"}:
        return 'Give the source its format, for example `date_format: "%d.%m.%Y"`, or correct the file.'
    return "Map the right column with `columns`, rewrite the values with `query`, or correct the file."


def _check_format(con: duckdb.DuckDBPyConnection, contract: Contract, date_format: str | None) -> None:
    if date_format is None:
        return
    try:
        con.execute("select try_strptime('', ?)", [date_format])
    except duckdb.Error as error:
        raise ConfigError(
            f"sources.{contract.name}: date_format is {date_format!r}; expected a strptime format such as '%d.%m.%Y'."
        ) from error


def _text(theirs: str | None, kind: str) -> str:
    """The cleaned text of a column: blanks around it gone, nothing where it says nothing."""
    if theirs is None:
        return "null::varchar"
    text = f"nullif(trim({identifier(theirs)}, {literal(BLANKS)}), '')"
    if kind == "VARCHAR":
        return text
    return f"case when lower({text}) not in ({', '.join(map(literal, NO_VALUE))}) then {text} end"


def _value(text: str, kind: str, date_format: str | None) -> str:
    """The typed value of a text, NULL where it is none; moments with an offset are moved to UTC."""
    number = f"try_cast({text} as double)"
    parsed = f"try_strptime({text}, {literal(date_format or '%Y%m%d')})"
    match kind:
        case "DOUBLE":
            return f"case when isfinite({number}) then {number} end"
        case "BIGINT":
            whole = f"{number} = round({number}) and abs({number}) <= {EXACT_INTEGERS}"
            return f"case when {whole} then try_cast({number} as bigint) end"
        case "BOOLEAN":
            by_number = f"case {number} when 1 then true when 0 then false end"
            return f"coalesce(try_cast({text} as boolean), {by_number})"
        case "DATE":
            day = f"coalesce(try_cast({parsed} as date), try_cast({text} as date))"
            return f"case when isfinite({day}) then {day} end"
        case "TIMESTAMP":
            moment = f"coalesce(try_cast({parsed} as timestamptz), try_cast({text} as timestamptz))"
            return f"case when isfinite({moment}) then timezone('UTC', {moment}) end"
        case _:
            return text
