"""Rows that break a rule, out of the raw tables into quarantine; back again before the next check."""

from datetime import date

import duckdb

from models.contracts import BOUNDS, Contract, Rule
from models.run import Run
from models.sqltext import identifier, literal
from tasks.warehouse import quoted

MOVED_KINDS = {"range", "values", "order"}  # judge a row by itself; keys compare rows and come after


def restore(con: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    """Put rows that an earlier check moved back into the raw table."""
    values = ", ".join(
        f"""(payload ->> {literal(f'$."{column.name}"')})::{column.physical_type} as {identifier(column.name)}"""
        for column in contract.columns
    )
    con.execute(
        f"insert into {quoted(contract.table)} by name "
        f"select {values}, file as _file, row_number as _row_number, load_id as _load_id "
        "from out.quarantine join ops.loads using (source, file) where source = ? and stage = 'check'",
        [contract.name],
    )
    con.execute("delete from out.quarantine where source = ? and stage = 'check'", [contract.name])


def move(con: duckdb.DuckDBPyConnection, run: Run, contract: Contract) -> int:
    """Move rows that break an error rule, and all but the last loaded of a key, to quarantine; return how many."""
    table = quoted(contract.table)
    con.execute(
        "create or replace temp table faults (_file varchar, _row_number bigint, check_id varchar, reason varchar)"
    )
    for rule in contract.rules:
        if rule.severity == "error" and rule.kind in MOVED_KINDS:
            values = " || ', ' || ".join(f"'{name} is ' || {identifier(name)}::varchar" for name in rule.columns)
            con.execute(
                f"insert into faults select _file, _row_number, $check_id, {values} || '; expected: ' || $sentence "
                f"from {table} where {_breach(rule)}",
                {"check_id": rule.check_id, "sentence": rule.sentence},
            )
    if contract.key:
        keys = ", ".join(map(identifier, contract.key))
        con.execute(
            f"""
            insert into faults
            select
              _file, _row_number, case when _file = kept_file then 'key_unique' else 'key_restated' end,
              'same ' || $key || ' as the later row ' || kept_row || ' of ' || kept_file
            from (
              select
                _file, _row_number,
                first(_file) over latest as kept_file, first(_row_number) over latest as kept_row
              from {table} as rows_loaded
              where not exists (
                from faults where faults._file = rows_loaded._file and faults._row_number = rows_loaded._row_number
              )
              window latest as (partition by {keys} order by _load_id desc, _row_number desc)
            )
            where (_file, _row_number) <> (kept_file, kept_row)
            """,
            {"key": ", ".join(contract.key)},
        )
    payload = ", ".join(f"{literal(c.name)}: {identifier(c.name)}::varchar" for c in contract.columns)
    con.execute(
        f"""
        insert into out.quarantine by name
        select
          $run_id as run_id, $as_of as as_of, $source as source, _file as file, _row_number as row_number,
          string_agg(reason, '; ' order by check_id) as reason, to_json({{{payload}}})::varchar as payload,
          string_agg(check_id, ',' order by check_id) as check_ids, 'check' as stage
        from faults join {table} using (_file, _row_number)
        group by all
        order by file, row_number
        """,
        {"run_id": run.run_id, "as_of": run.as_of, "source": contract.name},
    )
    con.execute(
        f"delete from {table} using faults where {table}._file = faults._file "
        f"and {table}._row_number = faults._row_number"
    )
    moved = con.execute("select count(distinct (_file, _row_number)) from faults").fetchall()[0][0]
    con.execute("drop table faults")
    return int(moved)


def _breach(rule: Rule) -> str:
    """A condition that holds for the rows breaking a rule; an empty value breaks none."""
    names = [identifier(name) for name in rule.columns]
    match rule.kind:
        case "range":
            bounds = [f"{names[0]} {BOUNDS[key][0]} {_bound(value)}" for key, value in rule.params.items()]
            return f"not ({' and '.join(bounds)})"
        case "values":
            return f"{names[0]} not in ({', '.join(literal(str(value)) for value in rule.params['values'])})"
        case _:
            return f"{names[0]} < {names[1]}"


def _bound(value: object) -> str:
    return f"date '{value}'" if isinstance(value, date) else str(value)


def bad_fraction(con: duckdb.DuckDBPyConnection, contract: Contract, rows: int) -> float:
    """Share of the rows read that broke an error rule; those restated by a later file are no fault."""
    bad = con.execute(
        "select count(*) from out.quarantine where source = ? and check_ids <> 'key_restated'", [contract.name]
    ).fetchall()[0][0]
    return bad / rows if rows else 0.0
