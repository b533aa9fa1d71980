"""Contract checks of one table, their results in `out.data_quality`, the rows that break a rule in quarantine."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import duckdb
import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.contracts import Contract, Rule
from models.errors import DataError
from models.expectations import compile_expectations
from models.run import Run
from models.sqltext import identifier, literal
from tasks import ledger, quarantine
from tasks.expectations import Finding, run_expectations
from tasks.warehouse import append, connect, has_table, quoted, transaction

LOAD_KINDS = {"present", "range", "values", "order", "reference"}  # judge a row, so each load once
MOVED_KINDS = {"range", "values", "order"}  # judge a row that has loaded by itself
JUDGE_VALUES = {"range", "values", "order", "reference"}  # say nothing where a column has none
WHOLE_KINDS = {"type", "rows", "query", "fresh"}  # judge the table
ROW_KINDS = {"lines", "present", "type", "range", "values", "order", "key", "restated"}  # name the rows that fail
ADVICE = {  # kind of rule -> what to do when too many rows break it
    "key": "If the file is finer than that, map the column that tells its rows apart, or sum them in `query`.",
    "rows": "Check that the files of this source are the right ones.",
}
OTHER_ADVICE = "Correct the files it comes from; the rows stand in out.quarantine."


@dataclass(frozen=True, kw_only=True)
class CheckSummary:
    """The checks of one table; `blocking` holds a sentence for each reason not to build on it."""

    table: str
    checks: int
    failed_errors: int
    failed_warnings: int
    rows_moved: int  # by checks, now or in an earlier run
    blocking: tuple[str, ...]


@task(cache_policy=NO_CACHE)
def check_table(run: Run, table: str) -> CheckSummary:
    """Check a raw or an `out` table against its contract."""
    return check(run, table)


def check(run: Run, table: str) -> CheckSummary:
    """`check_table` without the orchestrator.

    A raw table (`ad_spend` or `raw.ad_spend`) is judged as loaded, and each load once: what was found in it is kept,
    so that a new file costs what that file costs. Of an `out` table this run's rows are judged, and none is moved.

    Raises
    ------
    DataError : the table does not exist.
    """
    contract = ledger.read_contract(table if "." in table else f"raw.{table}")
    return _check_raw(run, contract) if contract.table.startswith("raw.") else _check_out(run, contract)


def _check_raw(run: Run, contract: Contract) -> CheckSummary:
    """Rules that judge a row are held against the loads they have not judged yet; the others against the table."""
    with connect(run.warehouse) as con, transaction(con):
        _expect_table(con, contract)
        ledger.prepare(con, contract)
        contract = _applicable(con, contract)
        stamps = _stamps(con, contract)
        open_loads = _open_loads(con, contract, stamps)
        absent = _absent(con, contract, "true")
    found: dict[tuple[int, ...], tuple[Finding, ...]] = {}
    for loads in sorted(set(open_loads.values())):
        rules = tuple(rule for rule in contract.rules if loads and open_loads.get(rule.check_id) == loads)
        expectations = compile_expectations(replace(contract, rules=rules), run.as_of)
        only = f"_load_id in ({', '.join(map(str, loads))})"
        found[loads] = run_expectations(run.warehouse, contract.table, expectations, only) if loads else ()
    with connect(run.warehouse) as con, transaction(con):
        for loads, findings in found.items():
            _judge(con, run, contract, stamps, loads, findings)
        quarantine.move_restated(con, run, contract)
    whole = replace(contract, rules=tuple(rule for rule in contract.rules if rule.kind in WHOLE_KINDS))
    on_table = run_expectations(run.warehouse, contract.table, compile_expectations(whole, run.as_of, without=absent))
    with connect(run.warehouse) as con, transaction(con):
        rows, unread = _loaded(con, contract)
        merged = _merged(con, contract, {one.check_id: one for one in on_table}, unread, absent)
        ledger.report(con, contract, run)
        share = quarantine.bad_fraction(con, contract, rows)
        blocking = _blocking(contract, merged.values(), rows, share)
        _write(con, run, contract, merged, rows, _newest(con, contract))
        aside = quarantine.rows_aside(con, contract)
    return _summary(contract, merged.values(), aside, blocking)


def _stamps(con: duckdb.DuckDBPyConnection, contract: Contract) -> dict[str, str]:
    """What each rule that judges rows depends on, by check: itself, and what the table it refers to holds."""
    stamps = {}
    for rule in contract.rules:
        if rule.kind in LOAD_KINDS:
            other = 0
            if rule.kind == "reference":
                query = "select coalesce(max(version), 0) from ops.loads where source = ?"
                other = con.execute(query, [rule.params["table"].removeprefix("raw.")]).fetchall()[0][0]
            text = repr((rule.kind, rule.columns, rule.severity, sorted(rule.params.items()), other))
            stamps[rule.check_id] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return stamps


def _open_loads(
    con: duckdb.DuckDBPyConnection, contract: Contract, stamps: dict[str, str]
) -> dict[str, tuple[int, ...]]:
    """Loads that a rule, as it is now, has not judged yet, by check."""
    ids = con.execute("select load_id from ops.loads where source = ?", [contract.name]).fetchall()
    query = "select check_id, stamp, load_id from ops.findings where source = ?"
    judged = set(con.execute(query, [contract.name]).fetchall())
    return {
        check: tuple(sorted(load for (load,) in ids if (check, stamp, load) not in judged))
        for check, stamp in stamps.items()
    }


def _judge(
    con: duckdb.DuckDBPyConnection,
    run: Run,
    contract: Contract,
    stamps: dict[str, str],
    loads: tuple[int, ...],
    findings: tuple[Finding, ...],
) -> None:
    """Note what each rule found in each load, and move the rows that broke an error rule."""
    rules = {rule.check_id: rule for rule in contract.rules}
    changed = con.execute(
        "select distinct load_id from ops.findings where source = $source and list_contains($loads, load_id) "
        "and list_contains($checks, check_id)",
        {
            "source": contract.name,
            "loads": list(loads),
            "checks": [f.check_id for f in findings if rules[f.check_id].kind in MOVED_KINDS],
        },
    ).fetchall()
    if changed:  # judged by an earlier form of the rule
        quarantine.restore_loads(con, contract, [load for (load,) in changed])
    broken: list[tuple[Rule, int]] = []
    for found in findings:
        rule = rules[found.check_id]
        counts = dict.fromkeys(loads, 0)
        if (found.failing_rows or changed) and rule.kind in {*MOVED_KINDS, "reference"}:
            query = (
                f"select _load_id, count(*) from {quoted(contract.table)} where {quarantine.breach(rule)} group by all"
            )
            counts |= {load: rows for load, rows in con.execute(query).fetchall() if load in counts}
            if rule.severity == "error" and rule.kind in MOVED_KINDS:
                broken += [(rule, load) for load, rows in counts.items() if rows]
        con.execute(
            "delete from ops.findings where source = $source and check_id = $check and list_contains($loads, load_id)",
            {"source": contract.name, "check": found.check_id, "loads": list(loads)},
        )
        con.executemany(  # loads is never empty
            "insert into ops.findings values (?, ?, ?, ?, ?)",
            [(contract.name, load, found.check_id, stamps[found.check_id], rows) for load, rows in counts.items()],
        )
    quarantine.move_broken(con, run, contract, broken)


def _check_out(run: Run, contract: Contract) -> CheckSummary:
    only = f"run_id = {literal(run.run_id)}"
    with connect(run.warehouse) as con:
        _expect_table(con, contract)
        have = {name for name, *_ in con.execute(f"describe {quoted(contract.table)}").fetchall()}
        lost = [name for name in contract.required if name not in have]
        contract = replace(contract, rules=tuple(rule for rule in contract.rules if have >= set(rule.columns)))
        absent = _absent(con, replace(contract, columns=tuple(c for c in contract.columns if c.name in have)), only)
        rows = con.execute(f"select count(*) from {quoted(contract.table)} where {only}").fetchall()[0][0]
    expectations = compile_expectations(contract, run.as_of, without=absent)
    findings = {one.check_id: one for one in run_expectations(run.warehouse, contract.table, expectations, only)}
    blocking = [f"{contract.table} has no column {name!r}; its contract promises one." for name in lost]
    blocking += _blocking(replace(contract, max_bad_fraction=0.0), findings.values(), rows, 0)
    with connect(run.warehouse) as con, transaction(con):
        _write(con, run, contract, findings, rows, {})
    return _summary(contract, findings.values(), 0, blocking)


def _expect_table(con: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    if not has_table(con, contract.table):
        raise DataError(f"{contract.table} does not exist yet; run `marginal ingest` (or `marginal run`) first.")


def _absent(con: duckdb.DuckDBPyConnection, contract: Contract, only: str) -> list[str]:
    """Optional columns without a single value."""
    if not contract.optional:
        return []
    rows = f"from {quoted(contract.table)} where {only}"
    found = ", ".join(f"exists (select 1 {rows} and {identifier(name)} is not null)" for name in contract.optional)
    row = con.execute(f"select {found}").fetchall()[0]
    return [name for name, has_value in zip(contract.optional, row, strict=True) if not has_value]


def _applicable(con: duckdb.DuckDBPyConnection, contract: Contract) -> Contract:
    """The contract without references to tables that the company does not have."""

    def holds(rule: Rule) -> bool:
        if rule.kind != "reference":
            return True
        other = rule.params["table"]
        return has_table(con, other) and bool(con.execute(f"select 1 from {quoted(other)} limit 1").fetchall())

    return replace(contract, rules=tuple(rule for rule in contract.rules if holds(rule)))


def _newest(con: duckdb.DuckDBPyConnection, contract: Contract) -> dict[str, str]:
    """What the freshness checks see, by check."""
    seen = {}
    for rule in contract.rules:
        if rule.kind == "fresh":
            query = f"select max({identifier(rule.columns[0])})::date from {quoted(contract.table)}"
            seen[rule.check_id] = f"the newest is {con.execute(query).fetchall()[0][0]}"
    return seen


def _loaded(con: duckdb.DuckDBPyConnection, contract: Contract) -> tuple[int, dict[str, int]]:
    """Rows read from all files, and how many of them each check kept out at the load."""
    rows = con.execute(
        "select coalesce(sum(rows_read - rows_ignored), 0) from ops.loads where source = ?", [contract.name]
    )
    total = int(rows.fetchall()[0][0])
    unread = con.execute(
        "select check_id, count(*) from (select unnest(string_split(check_ids, ',')) as check_id "
        "from out.quarantine where source = ? and stage = 'load') group by all",
        [contract.name],
    ).fetchall()
    return total, dict(unread)


def _merged(
    con: duckdb.DuckDBPyConnection,
    contract: Contract,
    on_table: dict[str, Finding],
    unread: dict[str, int],
    absent: list[str],
) -> dict[str, Finding]:
    """What each rule found in all rows, those included that did not even load, in the order of the contract."""
    stored = con.execute("select check_id, sum(rows) from ops.findings where source = ? group by all", [contract.name])
    by_load = {check: int(rows) for check, rows in stored.fetchall()}
    moved = con.execute("select check_ids, count(*) from out.quarantine where source = ? group by all", [contract.name])
    restated = {check: rows for check, rows in moved.fetchall() if check in quarantine.KEY_CHECKS}
    merged: dict[str, Finding] = {}
    for rule in contract.rules:
        check = rule.check_id
        failing = by_load.get(check, 0) + restated.get(check, 0) + unread.get(check, 0)
        if check in on_table:
            found = on_table[check]
            rows = found.failing_rows + failing
            merged[check] = replace(found, passed=found.passed and failing == 0, failing_rows=rows)
        elif failing or rule.kind not in WHOLE_KINDS | JUDGE_VALUES or not {*rule.columns} & {*absent}:
            merged[check] = Finding(check_id=check, passed=failing == 0, failing_rows=failing)
    return merged


def _blocking(contract: Contract, findings: Iterable[Finding], rows: int, share: float) -> list[str]:
    """A sentence for each error that no quarantine can heal."""
    rules = {rule.check_id: rule for rule in contract.rules}
    sentences = []
    for found in findings:
        rule = rules[found.check_id]
        is_healed = rule.kind in ROW_KINDS and found.failing_rows <= contract.max_bad_fraction * rows
        if not found.passed and rule.severity == "error" and not is_healed:
            sentences.append(
                f"{contract.name}: expected that {rule.sentence}; found {_observed(rule, found, rows)} "
                f"({contract.max_bad_fraction:.0%} may break it). {ADVICE.get(rule.kind, OTHER_ADVICE)}"
            )
    if not sentences and share > contract.max_bad_fraction:
        sentences.append(
            f"{contract.name}: {share:.1%} of {rows} rows break a rule; "
            f"expected at most {contract.max_bad_fraction:.0%}. "
            "The reasons stand in out.quarantine; correct the files they come from."
        )
    return sentences


def _observed(rule: Rule, found: Finding, rows: int) -> str:
    if rule.kind in ROW_KINDS or rule.kind == "reference":
        return f"{found.failing_rows} of {rows} rows break it" if found.failing_rows else f"it holds in all {rows} rows"
    if rule.kind == "rows":
        return f"{rows} rows"
    if found.passed:
        return "it holds"
    return f"it fails in {found.failing_rows} case{'s' * (found.failing_rows != 1)}"


def _write(
    con: duckdb.DuckDBPyConnection,
    run: Run,
    contract: Contract,
    findings: dict[str, Finding],
    rows: int,
    newest: dict[str, str],
) -> None:
    """Replace this run's results of one table in `out.data_quality`."""
    source = contract.table.removeprefix("raw.")
    ledger.make_out_table(con, ledger.read_contract("out.data_quality"))
    con.execute(
        "delete from out.data_quality where run_id = ? and source = ? and list_contains(?, check_id)",
        [run.run_id, source, [rule.check_id for rule in contract.rules]],
    )
    rules = [rule for rule in contract.rules if rule.check_id in findings]
    results = [
        {
            "run_id": run.run_id,
            "as_of": run.as_of,
            "source": source,
            "check_id": rule.check_id,
            "severity": rule.severity,
            "passed": findings[rule.check_id].passed,
            "observed": newest.get(rule.check_id) or _observed(rule, findings[rule.check_id], rows),
            "expected": rule.sentence,
            "failing_rows": findings[rule.check_id].failing_rows,
        }
        for rule in rules
    ]
    append(con, "out.data_quality", pl.DataFrame(results), replace_run=None)


def _summary(contract: Contract, findings: Iterable[Finding], moved: int, blocking: list[str]) -> CheckSummary:
    severity = {rule.check_id: rule.severity for rule in contract.rules}
    failed = [severity[found.check_id] for found in findings if not found.passed]
    return CheckSummary(
        table=contract.table,
        checks=len(severity),
        failed_errors=failed.count("error"),
        failed_warnings=failed.count("warning"),
        rows_moved=moved,
        blocking=tuple(blocking),
    )
