"""The raw layer's tables, there before anything is loaded."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from models.run import Run
from tasks import ledger
from tasks.warehouse import connect, transaction


@task(cache_policy=NO_CACHE)
def prepare_raw(run: Run, tables: tuple[str, ...]) -> None:
    """Make an empty raw table for every source that has none, so that the marts can always name it."""
    with connect(run.warehouse) as con, transaction(con):
        for table in tables:
            ledger.prepare(con, ledger.read_contract(f"raw.{table}"))
