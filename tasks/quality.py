"""Checks of the whole warehouse, after its layers were built; their results in `out.data_quality`."""

import difflib
from collections.abc import Mapping
from functools import cache

import duckdb
import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.errors import ConfigError
from models.quality import PARAMETER, Breach, Check, QualityConfig, Result, blocking, judge, page, parse_check
from models.run import Run
from models.sqltext import identifier
from tasks import ledger
from tasks.contracts import CheckSummary
from tasks.warehouse import SQL, append, connect, has_table, quoted, transaction

CHECKS = SQL / "check"
INPUTS = ("spend_daily", "spend_prices", "kpi_daily", "orders_daily")  # made once, in this order, read by many checks


@task(cache_policy=NO_CACHE)
def check_quality(run: Run, config: QualityConfig, parameters: Mapping[str, str]) -> CheckSummary:
    """Run every check of `sql/check`; `parameters` as for the layers, of which the currency is read."""
    results = run_checks(run, config, parameters)
    failed = [result.severity for result in results if not result.passed]
    return CheckSummary(
        table="the warehouse",
        checks=len(results),
        failed_errors=failed.count("error"),
        failed_warnings=failed.count("warning"),
        rows_moved=0,
        blocking=blocking(results),
    )


def run_checks(run: Run, config: QualityConfig, parameters: Mapping[str, str]) -> tuple[Result, ...]:
    """`check_quality` without the orchestrator: the result of each check whose data are there.

    Raises
    ------
    ConfigError : `off` names a check that does not exist.
    """
    checks = all_checks()
    _expect_known(config.off, [check.check_id for check in checks])
    values = {**vars(config), "as_of": run.as_of, "currency": parameters["currency"]}
    with connect(run.warehouse) as con:
        _make_inputs(con, values)
        results = tuple(
            judge(check, _breaches(con, check, values))
            for check in checks
            if check.check_id not in config.off and all(_has_values(con, need) for need in check.needs)
        )
        _drop_inputs(con)
        with transaction(con):
            _write(con, run, results)
    return results


@cache
def all_checks() -> tuple[Check, ...]:
    """Every check of `sql/check`, by id."""
    read = (parse_check(file.stem, file.read_text(encoding="utf-8")) for file in sorted(CHECKS.glob("*.sql")))
    return tuple(check for check in read if check is not None)


def checks_page() -> str:
    """The text of docs/checks.md."""
    return page(all_checks())


def _expect_known(names: tuple[str, ...], known: list[str]) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "docs/checks.md lists them."
            raise ConfigError(f"quality.off names {name!r}, which is no check; {hint}")


def _make_inputs(con: duckdb.DuckDBPyConnection, values: Mapping[str, object]) -> None:
    for name in INPUTS:
        select = (CHECKS / f"{name}.sql").read_text(encoding="utf-8")
        con.execute(f"create or replace temp table {name} as {select}", _named(select, values) or None)


def _drop_inputs(con: duckdb.DuckDBPyConnection) -> None:
    for name in INPUTS:
        con.execute(f"drop table {name}")


def _named(select: str, values: Mapping[str, object]) -> dict[str, object]:
    """The parameters that a SELECT names."""
    return {name: values[name] for name in set(PARAMETER.findall(select))}


def _has_values(con: duckdb.DuckDBPyConnection, need: str) -> bool:
    """Whether `schema.table.column` has at least one value."""
    table, column = need.rsplit(".", 1)
    if not has_table(con, table):
        return False
    query = f"select 1 from {quoted(table)} where {identifier(column)} is not null limit 1"
    return bool(con.execute(query).fetchall())


def _breaches(con: duckdb.DuckDBPyConnection, check: Check, values: Mapping[str, object]) -> list[Breach]:
    found = con.execute(check.select, _named(check.select, values) or None).fetchall()
    return [Breach(subject=str(subject), observed=str(observed), rows=int(rows)) for subject, observed, rows in found]


def _write(con: duckdb.DuckDBPyConnection, run: Run, results: tuple[Result, ...]) -> None:
    """Replace this run's results of these checks."""
    ledger.make_out_table(con, ledger.read_contract("out.data_quality"))
    con.execute(
        "delete from out.data_quality where run_id = ? and list_contains(?, check_id)",
        [run.run_id, [check.check_id for check in all_checks()]],
    )
    if results:
        rows = [{"run_id": run.run_id, "as_of": run.as_of, **vars(result)} for result in results]
        append(con, "out.data_quality", pl.DataFrame(rows), replace_run=None)
