"""What the dates and numbers of a text file look like, counted inside DuckDB."""

from collections.abc import Callable, Sequence

import duckdb

from models.contracts import Column
from models.formats import DAY_MONTH_YEAR, TELLS, UNDECIDED, DateShapes, NumberShapes
from tasks.casting import Reading


def number_shapes(con: duckdb.DuckDBPyConnection, reading: Reading, relation: str) -> dict[str, NumberShapes]:
    """What the text cells of each number column look like."""

    def counts(text: str) -> dict[str, str]:
        shapes = {
            "point": TELLS["."],
            "comma": TELLS[","],
            "undecided_point": UNDECIDED["."],
            "undecided_comma": UNDECIDED[","],
            "small": r"\d{1,3}",
            "large": r"\d{4,}",
        }
        number = f"ltrim({text}, '+-')"
        found = {name: f"count(*) filter (regexp_full_match({number}, '{shape}'))" for name, shape in shapes.items()}
        undecided = f"{UNDECIDED['.']}|{UNDECIDED[',']}"
        return {**found, "example": f"min({number}) filter (regexp_full_match({number}, '{undecided}'))"}

    columns = _text_columns(reading, {"DOUBLE", "BIGINT"})
    bare = ("clean(X)", "without_currency(X)", "without_groups(X)")
    found = _count(con, reading, relation, columns, bare, counts)
    return {name: NumberShapes(**shapes) for name, shapes in found.items()}


def date_shapes(con: duckdb.DuckDBPyConnection, reading: Reading, relation: str) -> dict[str, DateShapes]:
    """What the text cells of each date column look like; none where the settings give the format."""

    def counts(text: str) -> dict[str, str]:
        first, mark, second = (f"regexp_extract({text}, '{DAY_MONTH_YEAR}', {group})" for group in (1, 2, 3))
        first, second = f"try_cast({first} as int)", f"try_cast({second} as int)"
        slashed = f"{mark} in ('/', '-') and"
        undecided = f"{slashed} {first} <= 12 and {second} <= 12 and {first} <> {second}"
        return {
            "day_first": f"count(*) filter ({slashed} {first} > 12 and {second} <= 12)",
            "month_first": f"count(*) filter ({slashed} {second} > 12 and {first} <= 12)",
            "undecided": f"count(*) filter ({undecided})",
            "example": f"min({text}) filter ({undecided})",
        }

    columns = [] if reading.source.date_format is not None else _text_columns(reading, {"DATE", "TIMESTAMP"})
    found = _count(con, reading, relation, columns, ("clean(X)",), counts)
    return {name: DateShapes(**shapes) for name, shapes in found.items()}


def _text_columns(reading: Reading, kinds: set[str]) -> list[Column]:
    """Columns of these types that are text in the file."""
    return [
        column
        for column in reading.contract.columns
        if column.physical_type in kinds
        and column.name in reading.matched.names
        and reading.type_of(column) == "VARCHAR"
    ]


def _count(
    con: duckdb.DuckDBPyConnection,
    reading: Reading,
    relation: str,
    columns: Sequence[Column],
    steps: Sequence[str],
    counts: Callable[[str], dict[str, str]],
) -> dict[str, dict]:
    """The counts of each column's cells, all in one pass."""
    if not columns:
        return {}
    names = list(counts(""))
    cells = ", ".join(f"{reading.cell(column)} as x{index}" for index, column in enumerate(columns))
    rows = f"(select {cells} from {relation})"
    for step in steps:
        made = ", ".join(f"{step.replace('X', f'x{index}')} as x{index}" for index in range(len(columns)))
        rows = f"(select {made} from {rows})"
    wanted = ", ".join(sql for index in range(len(columns)) for sql in counts(f"x{index}").values())
    row = con.execute(f"select {wanted} from {rows}").fetchall()[0]
    size = len(names)
    return {
        column.name: dict(zip(names, row[index * size : (index + 1) * size], strict=True))
        for index, column in enumerate(columns)
    }
