"""Great Expectations checks, run by DuckDB on the warehouse's own tables."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import duckdb_engine
from sqlalchemy.dialects import registry
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy

from models.errors import WorkspaceLocked
from models.expectations import Expectation

MEMORY = "512MB"  # checks stream; more would only keep pages of the table that are read once
COUNTS_ONLY = {"result_format": "BASIC", "partial_unexpected_count": 1}  # 0 would have it fetch every bad row


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found; `failing_rows` is 0 for checks of a table as a whole."""

    check_id: str
    passed: bool
    failing_rows: int


class BufferedContext(duckdb_engine.Dialect.execution_ctx_cls):  # type: ignore[misc]
    """Reads a result to its end at once: Great Expectations fetches only after it closed the connection."""

    def post_exec(self) -> None:
        """Swap the cursor's rows for a copy of them."""
        super().post_exec()
        if self.cursor is not None and self.cursor.description:
            rows = [] if self.statement in BufferedDialect.batches else self.cursor.fetchall()
            self.cursor_fetch_strategy = FullyBufferedCursorFetchStrategy(self.cursor, initial_buffer=rows)


class BufferedDialect(duckdb_engine.Dialect):  # type: ignore[misc]
    """DuckDB for SQLAlchemy as `warehouse.connect` opens it, with results that outlive their connection."""

    execution_ctx_cls = BufferedContext
    supports_statement_cache = False
    opened: ClassVar[list[duckdb.DuckDBPyConnection]] = []  # Great Expectations keeps some out of its pool's sight
    batches: ClassVar[set[str]] = set()  # SELECTs that it runs as they are for their column names alone

    @classmethod
    def close_all(cls) -> None:
        """Close what was opened, for a connection left open would hold the warehouse; forget its batches."""
        while cls.opened:
            cls.opened.pop().close()
        cls.batches.clear()

    def connect(self, database: str, **_: Any) -> duckdb_engine.ConnectionWrapper:
        """Open the file without settings of its own, so that it may be open in this process already."""
        try:
            con = duckdb.connect(database)
        except duckdb.IOException as error:
            raise WorkspaceLocked(
                f"{Path(database).name} is held by another process; expected to be its only user.\n"
                "Wait for that process to end, or close the program that has the file open."
            ) from error
        self.opened.append(con)
        con.execute(f"set timezone = 'UTC'; set enable_progress_bar = false; set memory_limit = '{MEMORY}'")
        return duckdb_engine.ConnectionWrapper(con)


registry.register("duckdb.buffered", __name__, "BufferedDialect")


def run_expectations(
    warehouse: Path, table: str, expectations: Sequence[Expectation], only: str | None = None
) -> tuple[Finding, ...]:
    """The finding of each check on `schema.table`, in their order.

    Parameters
    ----------
    only : a SQL condition that picks the rows to check; all rows when not given.

    Raises
    ------
    RuntimeError : a check itself is wrong.
    """
    if not expectations:
        return ()
    with _quiet():
        import great_expectations as gx
        from great_expectations.data_context.types.base import (
            DataContextConfig,
            InMemoryStoreBackendDefaults,
            ProgressBarsConfig,
        )
        from great_expectations.expectations.registry import get_expectation_impl

        settings = DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            analytics_enabled=False,
            progress_bars=ProgressBarsConfig(globally=False),
        )
        context = gx.get_context(mode="ephemeral", project_config=settings)
        source = context.data_sources.add_sql("warehouse", connection_string=f"duckdb+buffered:///{warehouse}")
        try:
            schema, name = table.split(".", 1)
            if only is None:
                asset = source.add_table_asset(name, table_name=name, schema_name=schema)
            else:
                query = f"select * from {schema}.{name} where {only}"
                BufferedDialect.batches.add(query)
                asset = source.add_query_asset(name, query=query)
            batch = asset.add_batch_definition("whole").get_batch()
            checks = [
                get_expectation_impl(each.type)(**each.kwargs, meta={"check_id": each.check_id})
                for each in expectations
            ]
            suite = gx.ExpectationSuite(name=name, expectations=checks)
            results = batch.validate(suite, result_format=COUNTS_ONLY).results
        finally:
            source.get_engine().dispose()
            BufferedDialect.close_all()
    findings = {result.expectation_config.meta["check_id"]: _finding(table, result) for result in results}
    return tuple(findings[each.check_id] for each in expectations)


def _finding(table: str, result: Any) -> Finding:
    check_id = result.expectation_config.meta["check_id"]
    if result.exception_info and result.exception_info.get("raised_exception"):
        raise RuntimeError(f"{table}: check {check_id} failed to run: {result.exception_info['exception_message']}")
    if "unexpected_count" in result.result:
        failing = result.result["unexpected_count"]
    else:  # a query's observed value is its number of rows; that of a table-level check is something else
        is_query = result.expectation_config.type == "unexpected_rows_expectation"
        failing = result.result["observed_value"] if is_query else 0
    return Finding(check_id=check_id, passed=bool(result.success), failing_rows=int(failing or 0))  # None: no rows


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Great Expectations without its own logs and the deprecation notices of what it uses."""
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
