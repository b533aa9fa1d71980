"""Rows that break a rule, out of the raw tables into quarantine, and back again where the rule no longer holds."""

from datetime import date

import duckdb

from models.contracts import BOUNDS, Contract, Rule
from models.run import Run
from models.sqltext import identifier, literal
from tasks import ledger
from tasks.warehouse import quoted

KEY_CHECKS = ("key_unique", "key_restated")  # compare rows: which of them stays can change with every load
HASHES_AT_ONCE = 5_000_000  # key hashes grouped in one go: more of them group slower, and take memory


def restore_restated(con: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    """Put rows back that gave way to a row of the same key: that row is about to go, and all keys are compared anew."""
    _restore(con, contract, f"check_ids in ({', '.join(map(literal, KEY_CHECKS))})", {})
    con.execute("update ops.loads set has_keys_checked = false where source = ?", [contract.name])


def restore_loads(con: duckdb.DuckDBPyConnection, contract: Contract, loads: list[int]) -> None:
    """Put rows of these loads back that broke a rule of theirs, since the rule has changed."""
    checks = ", ".join(map(literal, KEY_CHECKS))
    _restore(con, contract, f"check_ids not in ({checks}) and list_contains($loads, load_id)", {"loads": loads})


def _restore(con: duckdb.DuckDBPyConnection, contract: Contract, which: str, values: dict[str, object]) -> None:
    picked = (
        "select q.rowid as id, l.load_id, q.* from out.quarantine as q join ops.loads as l using (source, file) "
        f"where source = $source and stage = 'check' and {which}"
    )
    typed = ", ".join(
        f"""(payload ->> {literal(f'$."{column.name}"')})::{column.physical_type} as {identifier(column.name)}"""
        for column in contract.columns
    )
    values = {**values, "source": contract.name}
    touched = [load for (load,) in con.execute(f"select distinct load_id from ({picked})", values).fetchall()]
    con.execute(
        f"insert into {quoted(contract.table)} by name "
        f"select {typed}, file as _file, row_number as _row_number, load_id as _load_id from ({picked})",
        values,
    )
    con.execute(f"delete from out.quarantine where rowid in (select id from ({picked}))", values)
    ledger.touch(con, contract, touched)


def breach(rule: Rule) -> str:
    """A condition that holds for the rows breaking a rule; an empty value breaks none."""
    names = [identifier(name) for name in rule.columns]
    match rule.kind:
        case "range":
            bounds = [f"{names[0]} {BOUNDS[key][0]} {_bound(value)}" for key, value in rule.params.items()]
            return f"not ({' and '.join(bounds)})"
        case "values":
            return f"{names[0]} not in ({', '.join(literal(str(value)) for value in rule.params['values'])})"
        case "reference":
            other = f"select {identifier(rule.params['column'])} from {rule.params['table']}"
            return f"{names[0]} is not null and {names[0]} not in ({other})"
        case _:
            return f"{names[0]} < {names[1]}"


def _bound(value: object) -> str:
    return f"date '{value}'" if isinstance(value, date) else str(value)


def move_broken(con: duckdb.DuckDBPyConnection, run: Run, contract: Contract, rules: list[tuple[Rule, int]]) -> None:
    """Move the rows of loads that break a rule, each given as (rule, load), to quarantine."""
    if not rules:
        return
    _make_faults(con)
    for rule, load_id in rules:
        values = " || ', ' || ".join(f"'{name} is ' || {identifier(name)}::varchar" for name in rule.columns)
        con.execute(
            f"insert into faults select _load_id, _row_number, $check_id, {values} || '; expected: ' || $sentence "
            f"from {quoted(contract.table)} where _load_id = $load_id and {breach(rule)}",
            {"check_id": rule.check_id, "sentence": rule.sentence, "load_id": load_id},
        )
    _move_faults(con, run, contract)


def move_restated(con: duckdb.DuckDBPyConnection, run: Run, contract: Contract) -> None:
    """Move all rows but the last loaded of each key to quarantine.

    Only keys of loads that were not compared yet are looked at. Which keys stand more than once is found by their
    64-bit hash, in parts that fit in memory; rows are then told apart by the keys themselves.
    """
    table = quoted(contract.table)
    fresh, rows, others = con.execute(
        "select coalesce(list(load_id) filter (not has_keys_checked), []), "
        "coalesce(sum(rows_read) filter (not has_keys_checked), 0), "
        "count(*) filter (has_keys_checked) from ops.loads where source = ?",
        [contract.name],
    ).fetchall()[0]
    if not contract.key or not fresh:
        return
    keys = ", ".join(map(identifier, contract.key))
    chosen = ", ".join(map(str, fresh))
    con.execute("create or replace temp table suspects (hash ubigint)")
    con.execute(
        f"create or replace temp table hashes as select hash({keys}) as hash from {table} where _load_id in ({chosen})"
    )
    parts = int(rows) // HASHES_AT_ONCE + 1
    for part in range(parts):
        con.execute(
            f"insert into suspects select hash from hashes where hash % {parts} = {part} "
            "group by hash having count(*) > 1"
        )
    if others:
        con.execute(
            f"insert into suspects select distinct hash from (select hash({keys}) as hash from {table} "
            f"where _load_id not in ({chosen})) where hash in (from hashes)"
        )
    con.execute("drop table hashes")
    if con.execute("select exists (from suspects)").fetchall()[0][0]:
        _make_faults(con)
        con.execute(
            f"""
            insert into faults
            select
              _load_id, _row_number, case when _load_id = kept_load then 'key_unique' else 'key_restated' end,
              'same ' || $key || ' as the later row ' || kept_row || ' of ' || kept_file
            from (
              select
                _load_id, _row_number, first(_load_id) over latest as kept_load,
                first(_row_number) over latest as kept_row, first(_file) over latest as kept_file
              from {table}
              where hash({keys}) in (from suspects)
              window latest as (partition by {keys} order by _load_id desc, _row_number desc)
            )
            where (_load_id, _row_number) <> (kept_load, kept_row)
            """,
            {"key": ", ".join(contract.key)},
        )
        _move_faults(con, run, contract)
    con.execute("drop table suspects")
    con.execute("update ops.loads set has_keys_checked = true where source = ?", [contract.name])


def _make_faults(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "create or replace temp table faults (_load_id bigint, _row_number bigint, check_id varchar, reason varchar)"
    )


def _move_faults(con: duckdb.DuckDBPyConnection, run: Run, contract: Contract) -> None:
    """The rows named in `faults`, from the raw table to quarantine."""
    table = quoted(contract.table)
    payload = ", ".join(f"{literal(c.name)}: {identifier(c.name)}::varchar" for c in contract.columns)
    con.execute(
        f"""
        insert into out.quarantine by name
        select
          $run_id as run_id, $as_of as as_of, $source as source, _file as file, _row_number as row_number,
          string_agg(reason, '; ' order by check_id) as reason, to_json({{{payload}}})::varchar as payload,
          string_agg(check_id, ',' order by check_id) as check_ids, 'check' as stage
        from faults join {table} using (_load_id, _row_number)
        group by all
        order by file, row_number
        """,
        {"run_id": run.run_id, "as_of": run.as_of, "source": contract.name},
    )
    con.execute(
        f"delete from {table} using faults where {table}._load_id = faults._load_id "
        f"and {table}._row_number = faults._row_number"
    )
    loads = [load for (load,) in con.execute("select distinct _load_id from faults order by 1").fetchall()]
    ledger.touch(con, contract, loads)
    con.execute("drop table faults")


def rows_aside(con: duckdb.DuckDBPyConnection, contract: Contract) -> int:
    """Rows of a source that checks have set aside."""
    query = "select count(*) from out.quarantine where source = ? and stage = 'check'"
    return int(con.execute(query, [contract.name]).fetchall()[0][0])


def bad_fraction(con: duckdb.DuckDBPyConnection, contract: Contract, rows: int) -> float:
    """Share of the rows read that broke an error rule; those restated by a later file are no fault."""
    bad = con.execute(
        "select count(*) from out.quarantine where source = ? and check_ids <> 'key_restated'", [contract.name]
    ).fetchall()[0][0]
    return bad / rows if rows else 0.0
