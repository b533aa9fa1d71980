"""Which tables are there: the raw layer before anything is loaded, the output of a run."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from models.run import Run
from tasks import ledger
from tasks.warehouse import connect, has_table, quoted, transaction


@task(cache_policy=NO_CACHE)
def prepare_raw(run: Run, tables: tuple[str, ...], configured: tuple[str, ...]) -> None:
    """Make an empty raw table for every source that has none, so that the marts can always name it.

    A source that is no longer configured is emptied: what is computed comes from the configured sources alone.
    """
    with connect(run.warehouse) as con, transaction(con):
        for table in tables:
            contract = ledger.read_contract(f"raw.{table}")
            ledger.prepare(con, contract)
            if table not in configured:
                ledger.forget_source(con, contract)


def is_written(run: Run, table: str) -> bool:
    """Whether this run has rows in an `out` table."""
    with connect(run.warehouse) as con:
        if not has_table(con, f"out.{table}"):
            return False
        query = f"select exists (select 1 from {quoted('out.' + table)} where run_id = ?)"
        return bool(con.execute(query, [run.run_id]).fetchall()[0][0])
