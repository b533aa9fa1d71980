"""One file into its raw table: good rows typed, bad ones set aside with the reason, lines that are no rows counted."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import duckdb

from models.columns import header_score, match_columns
from models.contracts import Contract
from models.formats import Formats, decide
from models.presets import Matched
from models.run import Run
from models.sources import SourceConfig
from models.sqltext import identifier, literal
from tasks.casting import (
    Reading,
    check_date_format,
    explain_bad_rows,
    make_macros,
    refuse_wrong_columns,
    typed_select,
)
from tasks.readers import Scan, cells_of, scanned, unreadable_lines
from tasks.shapes import date_shapes, number_shapes
from tasks.source_files import SourceFile
from tasks.warehouse import quoted

SAMPLE_ROWS = 20_000  # what dates and numbers look like shows in far fewer; where it does not, all rows are looked at
TOTAL = r"(?i)^\s*(?:(?:grand\s|sub-?)?totals?|gesamt\w*|summe|insgesamt|totaal|totale|totaux)(?:\W|$)"
COMMENT = r"^#(?:[\s#-]|$)"  # "# Start date: 20260101", "# ------"; an order called #1001 is none
IGNORED = {  # why a row of a file is none of the table's -> how a note says it
    "empty": "empty rows",
    "header": "repeated headers",
    "total": "total rows",
    "comment": "comments",
    "footer": "lines below the table",
    "continuation": "lines that go on with the row above",
}


@dataclass(frozen=True, kw_only=True)
class Intake:
    """What became of a file: its rows by fate, columns that are not used, what a person may want to know."""

    rows_read: int
    rows_ignored: int
    extra_columns: tuple[str, ...]
    notes: tuple[str, ...]


def take_in(
    con: duckdb.DuckDBPyConnection,
    run: Run,
    contract: Contract,
    source: SourceConfig,
    file: SourceFile,
    load_id: int,
    timezone: str,
    currency: str,
) -> Intake:
    """Read one file into the raw table and the quarantine, inside an open transaction.

    Raises
    ------
    DataError : not of its format, a required column missing, empty or of another type, values that read in two ways.
    """
    con.execute(f"set timezone = {literal(source.timezone or timezone)}")
    check_date_format(con, source, contract.name)
    with scanned(con, file, source, contract.name, lambda cells: header_score(contract, source, cells)) as scan:
        matched = match_columns(contract, source, scan.types, file.label)
        make_macros(con, None if "currency" in matched.names else matched.currency or source.currency or currency)
        intake = _take_in(con, run, contract, source, file, load_id, scan, matched)
    con.execute("set timezone = 'UTC'")
    return intake


def _take_in(
    con: duckdb.DuckDBPyConnection,
    run: Run,
    contract: Contract,
    source: SourceConfig,
    file: SourceFile,
    load_id: int,
    scan: Scan,
    matched: Matched,
) -> Intake:
    blank = Formats(decimal={}, day_first={}, settled=False)
    reading = Reading(
        contract=contract, source=source, matched=matched, types=scan.types, formats=blank, file=file.label
    )
    sample = _formats(con, reading, scan, f"(from {scan.relation} limit {SAMPLE_ROWS})")
    formats = sample or _formats(con, reading, scan, scan.relation, last=True) or blank
    reading = replace(reading, formats=formats)
    inserted, unreadable = _insert(con, reading, scan, file, load_id)
    bad = _count(con, contract, -load_id)
    if bad and not formats.settled and inserted > SAMPLE_ROWS:  # rows beyond the sample may tell another format
        again = _formats(con, reading, scan, scan.relation, last=True)
        if again is not None and again != formats:
            con.execute(f"delete from {quoted(contract.table)} where abs(_load_id) = ?", [load_id])
            reading = replace(reading, formats=again)
            inserted, unreadable = _insert(con, reading, scan, file, load_id)
            bad = _count(con, contract, -load_id)
    _number_rows(con, contract, scan, load_id, unreadable)
    ignored: Counter[str] = Counter()
    if bad:
        ignored += _set_bad_aside(con, run, reading, scan, load_id)
    ignored += _set_unreadable_aside(con, run, reading, scan, load_id, unreadable)
    notes = _notes(scan, matched.currency, reading.formats, ignored)
    return Intake(
        rows_read=inserted + len(unreadable) + scan.skipped,
        rows_ignored=ignored.total() + scan.skipped,
        extra_columns=tuple(sorted(set(scan.types) - set(matched.names.values()))),
        notes=notes,
    )


def _formats(
    con: duckdb.DuckDBPyConnection, reading: Reading, scan: Scan, relation: str, *, last: bool = False
) -> Formats | None:
    """The formats that the rows of a relation tell; None where they tell too little and more rows may tell more."""
    numbers, dates = number_shapes(con, reading, relation), date_shapes(con, reading, relation)
    _forget_rejects(con)
    undecided = any(not (s.point or s.comma) and (s.undecided_point or s.undecided_comma) for s in numbers.values())
    undecided |= any(s.undecided and not (s.day_first or s.month_first) for s in dates.values())
    if undecided and not last:
        return None
    return decide(
        reading.file,
        numbers,
        dates,
        decimal=reading.source.decimal,
        delimiter=scan.delimiter,
    )


def _forget_rejects(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("drop table if exists reject_errors; drop table if exists reject_scans")


def _count(con: duckdb.DuckDBPyConnection, contract: Contract, load_id: int) -> int:
    query = f"select count(*) from {quoted(contract.table)} where _load_id = ?"
    return int(con.execute(query, [load_id]).fetchall()[0][0])


def _insert(
    con: duckdb.DuckDBPyConnection, reading: Reading, scan: Scan, file: SourceFile, load_id: int
) -> tuple[int, tuple[tuple[int, str, str], ...]]:
    """All rows of the file in one pass, in its order; bad ones carry the negative of `load_id`.

    Returns how many there are, and the lines that do not split into columns.
    """
    _forget_rejects(con)
    number = scan.row_number or "null::bigint"
    select = typed_select(reading, scan.relation, f"{number} as _row_number")
    values = ", ".join(f"v{index}" for index in range(len(reading.contract.columns)))
    done = con.execute(
        f"insert into {quoted(reading.contract.table)} "
        f"select {values}, {literal(reading.file)}, _row_number, case when is_bad then -{load_id} else {load_id} end "
        f"from ({select})"
    ).fetchall()
    return int(done[0][0]), unreadable_lines(con, scan, file)


def _number_rows(
    con: duckdb.DuckDBPyConnection,
    contract: Contract,
    scan: Scan,
    load_id: int,
    unreadable: tuple[tuple[int, str, str], ...],
) -> None:
    """Number the rows just inserted by their order, leaving out the numbers of the lines that could not be read."""
    if scan.row_number is not None:
        return
    table = quoted(contract.table)
    con.execute(
        f"update {table} set _row_number = rowid + 1 - (select min(rowid) from {table} where abs(_load_id) = $load_id) "
        "where abs(_load_id) = $load_id",
        {"load_id": load_id},
    )
    if not unreadable:
        return
    numbers = sorted(number for number, *_ in unreadable)
    before = [number - position for position, number in enumerate(numbers, start=1)]  # rows kept before each
    con.execute(
        f"""
        update {table} as rows_loaded set _row_number = rows_loaded._row_number + shifts.shift
        from (
          select seen.id, gap.shift
          from (select rowid as id, _row_number from {table} where abs(_load_id) = $load_id) as seen
          asof join (
            select kept_before, max(shift) as shift
            from (select unnest($before) as kept_before, unnest(range(1, len($before) + 1)) as shift) group by all
          ) as gap on seen._row_number > gap.kept_before
        ) as shifts
        where rows_loaded.rowid = shifts.id
        """,
        {"load_id": load_id, "before": before},
    )


def _set_bad_aside(
    con: duckdb.DuckDBPyConnection, run: Run, reading: Reading, scan: Scan, load_id: int
) -> Counter[str]:
    """Move the bad rows of a load to quarantine with reason and payload; count those that are no rows at all."""
    table, contract = quoted(reading.contract.table), reading.contract
    _bad_rows(con, reading, scan, load_id)
    explain_bad_rows(con, reading)
    cells = ", ".join(f"f{index}::varchar" for index in range(len(scan.types)))
    con.execute(
        "create or replace temp table bad_fates as select _row_number, check_ids, reason, "
        f"{_fate(reading)} as fate "
        # cleaned as a list: ten thousand columns cleaned one by one take the binder minutes
        f"from (select *, list_transform([{cells}], lambda cell: clean(cell)) as cells from bad_rows) "
        "join bad_reasons using (_row_number)",
        {"last_good": _last_good(con, contract, load_id), "header": [name.casefold() for name in scan.types]},
    )
    fates = con.execute("select fate, count(*) from bad_fates where fate is not null group by all").fetchall()
    con.execute(
        "delete from bad_reasons where _row_number in (select _row_number from bad_fates where fate is not null)"
    )
    good = con.execute(
        f"select {', '.join(f'count({identifier(column.name)})' for column in contract.columns)} "
        f"from {table} where _load_id = ? or (_load_id = ? and _row_number in (select _row_number from bad_reasons))",
        [load_id, -load_id],
    ).fetchall()[0]
    kept = _count(con, contract, load_id) + con.execute("select count(*) from bad_reasons").fetchall()[0][0]
    names = [column.name for column in contract.columns]
    refuse_wrong_columns(con, reading, dict(zip(names, good, strict=True)), kept)
    payload = ", ".join(f"{literal(name)}: f{index}::varchar" for index, name in enumerate(scan.types))
    con.execute(
        f"""
        insert into out.quarantine by name
        select
          $run_id as run_id, $as_of as as_of, $source as source, $file as file, _row_number as row_number,
          reason, to_json({{{payload}}})::varchar as payload, check_ids, 'load' as stage
        from bad_reasons join bad_rows using (_row_number)
        order by _row_number
        """,
        _stamp(run, reading),
    )
    con.execute(f"delete from {table} where _load_id = ?", [-load_id])
    con.execute("drop table bad_rows; drop table bad_reasons; drop table bad_fates")
    return Counter(dict(fates))


def _bad_rows(con: duckdb.DuckDBPyConnection, reading: Reading, scan: Scan, load_id: int) -> None:
    """The bad rows as the file has them, read once more."""
    numbers = f"select _row_number from {quoted(reading.contract.table)} where _load_id = {-load_id}"
    if scan.row_number is not None:
        columns = "".join(f"f{index}, " for index in range(len(scan.types)))
        select = f"select {columns}{scan.row_number} as _row_number from {scan.relation}"
        con.execute(f"create or replace temp table bad_rows as from ({select}) where _row_number in ({numbers})")
        return
    con.execute(  # the k-th row of the relation is the one with the k-th number
        f"""
        create or replace temp table bad_rows as
        select positions.* exclude (position)
        from (
          select cells.*, numbers._row_number, cells.position
          from (select *, row_number() over () as position from {scan.relation}) as cells
          join (
            select _row_number, _load_id, row_number() over (order by _row_number) as position
            from {quoted(reading.contract.table)} where abs(_load_id) = {load_id}
          ) as numbers using (position)
          where numbers._load_id < 0
        ) as positions
        """
    )
    _forget_rejects(con)


def _last_good(con: duckdb.DuckDBPyConnection, contract: Contract, load_id: int) -> int:
    query = f"select coalesce(max(_row_number), 0) from {quoted(contract.table)} where _load_id = ?"
    return int(con.execute(query, [load_id]).fetchall()[0][0])


def _fate(reading: Reading) -> str:
    """Why a bad row is no row of the table (a key of IGNORED), or NULL where it is one and belongs in quarantine.

    Reads the list `cells` of the row's cells, NULL where they are blank.
    """
    filled = "len(list_filter(cells, lambda cell: cell is not null))"
    dated = [
        f"t{index}"
        for index, column in enumerate(reading.contract.columns)
        if column.required and column.physical_type in {"DATE", "TIMESTAMP"} and column.name in reading.matched.names
    ]
    undated = " and ".join(f"({day} is null or regexp_matches({day}, '{TOTAL}'))" for day in dated) or "false"
    named = [
        f"t{index} is null"
        for index, column in enumerate(reading.contract.columns)
        if column.physical_type == "VARCHAR" and column.name in reading.matched.names and column.name != "currency"
    ]
    summary = f"{undated} and {' and '.join(named)}" if named and reading.source.preset is not None else "false"
    goes_on = reading.matched.continuation
    tests = [
        ("empty", f"{filled} = 0"),
        ("header", "list_transform(cells, lambda cell: lower(cell)) = $header"),
        ("comment", f"{filled} = 1 and regexp_matches(cells[1], '{COMMENT}')"),
        ("continuation", f"clean({reading.cell_named(goes_on)}::varchar) is null" if goes_on else "false"),
        ("total", f"{undated} and len(list_filter(cells, lambda cell: regexp_matches(cell, '{TOTAL}'))) > 0"),
        ("total", summary),
        ("footer", f"{filled} = 1 and len(cells) > 2 and _row_number > $last_good"),
    ]
    whens = " ".join(f"when {test} then '{fate}'" for fate, test in tests)
    return f"case when $last_good is null or $header is null then null {whens} end"


def _set_unreadable_aside(
    con: duckdb.DuckDBPyConnection,
    run: Run,
    reading: Reading,
    scan: Scan,
    load_id: int,
    lines: tuple[tuple[int, str, str], ...],
) -> Counter[str]:
    """Lines that do not split into the columns: into quarantine, but for those below or between tables."""
    last_good = _last_good(con, reading.contract, load_id) if lines else 0
    ignored: Counter[str] = Counter()
    kept = []
    for number, reason, line in lines:
        cells = [cell.strip() for cell in cells_of(line, scan.delimiter)] or [""]
        if re.search(COMMENT, cells[0]):
            ignored["comment"] += 1
        elif (not cells[0] or re.search(TOTAL, cells[0])) and any(re.search(TOTAL, cell) for cell in cells):
            ignored["total"] += 1
        elif sum(map(bool, cells)) <= 1 and number > last_good and len(scan.types) > 1:
            ignored["footer"] += 1
        else:
            kept.append((number, reason, json.dumps({"line": line}, ensure_ascii=False, separators=(",", ":"))))
    if kept:
        numbers, reasons, payloads = map(list, zip(*kept, strict=True))
        con.execute(
            """
            insert into out.quarantine by name
            select
              $run_id as run_id, $as_of as as_of, $source as source, $file as file, unnest($numbers) as row_number,
              unnest($reasons) as reason, unnest($payloads) as payload, 'lines_readable' as check_ids, 'load' as stage
            """,
            {**_stamp(run, reading), "numbers": numbers, "reasons": reasons, "payloads": payloads},
        )
    return ignored


def _stamp(run: Run, reading: Reading) -> dict[str, object]:
    return {"run_id": run.run_id, "as_of": run.as_of, "source": reading.contract.name, "file": reading.file}


def _notes(scan: Scan, currency: str | None, formats: Formats, ignored: Mapping[str, int]) -> tuple[str, ...]:
    notes = [f"{scan.skipped} lines above the header"] if scan.skipped else []
    notes += formats.notes
    notes += [f"amounts in {currency}"] if currency else []
    notes += [f"{count} {IGNORED[fate]}" for fate, count in sorted(ignored.items())]
    return tuple(notes)
