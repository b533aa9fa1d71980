"""Great Expectations is given counts by DuckDB, never the rows."""

from pathlib import Path

import duckdb
import pytest

from models.expectations import Expectation
from tasks import expectations
from tasks.expectations import run_expectations

ROWS = 5000


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    file = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(file)) as con:
        con.execute(f"create schema raw; create table raw.t as select id, -id as below from range(1, {ROWS + 1}) t(id)")
    return file


@pytest.mark.parametrize("only", [None, "id > 1"])
@pytest.mark.parametrize("column, failing", [("id", 0), ("below", ROWS)])
def test_no_result_of_a_check_grows_with_the_table(
    warehouse: Path, monkeypatch: pytest.MonkeyPatch, only: str | None, column: str, failing: int
) -> None:
    brought: list[int] = []
    keep = expectations.FullyBufferedCursorFetchStrategy

    def counted(cursor: object, initial_buffer: list[tuple]) -> object:
        brought.append(len(initial_buffer))
        return keep(cursor, initial_buffer=initial_buffer)

    monkeypatch.setattr(expectations, "FullyBufferedCursorFetchStrategy", counted)
    kwargs = {"column": column, "min_value": 0}
    check = Expectation(check_id="c", type="expect_column_values_to_be_between", kwargs=kwargs)
    (found,) = run_expectations(warehouse, "raw.t", [check], only)
    assert found.failing_rows == max(failing - (only is not None), 0)
    assert brought and max(brought) <= 3  # names of columns; counts; one example
