"""Customer value: from order histories to a registered fit, and from the fit to a value for every customer.

Histories go from the warehouse to the model without their names, in Arrow columns; values come back beside the names in
batches, so that ten million customers pass through a machine that could not hold their rows as Python objects.
"""

import json
from dataclasses import asdict
from datetime import date
from time import perf_counter
from typing import cast

import duckdb
import polars as pl
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from models import clv
from models.clv_histories import CHANNEL, MONEY
from models.run import Run
from tasks.files import write_atomically
from tasks.registry import ModelRun, artefact_folder, find, frame_sha256, model_name, plain_json, register
from tasks.trained import Trained, standing
from tasks.warehouse import append, connect, has_table, replace_rows, transaction
from tasks.workspace import code_sha256

TABLE = "mart.customer_rfm"
SHAPE_THE_FIT = ("value", "time_unit_days", "penalizer", "repeaters_min")  # the others only say how it is used
BATCH_ROWS = 250_000  # customers written together: some 30 MB
HISTORY = (
    "frequency",
    "recency_days",
    "age_days",
    "first_order_date",
    "frequency_before",
    "recency_before_days",
    CHANNEL,
)


@task(cache_policy=NO_CACHE)
def train_clv(run: Run, config: clv.CLVConfig, every_days: int, force: bool) -> Trained:
    """Fit customer lifetime value on all order histories."""
    return train(run, config, every_days, force)


@task(cache_policy=NO_CACHE)
def value_customers(run: Run, config: clv.CLVConfig) -> int:
    """Write the value of every customer and of every channel's customers; return how many customers."""
    return value(run, config)


def train(run: Run, config: clv.CLVConfig, every_days: int, force: bool) -> Trained:
    """`train_clv` without the orchestrator."""
    histories = read_histories(run, config)
    if histories is None or histories.is_empty():
        return Trained(model="clv", model_id=None, verdict=None, fitted=False, reason="add the source orders")
    settings = {name: getattr(config, name) for name in SHAPE_THE_FIT}
    if recent := standing(run, "clv", run.as_of, every_days, force, settings):
        return recent
    model_id = model_name("clv", frame_sha256(histories), json.dumps(asdict(config)), code_sha256())
    started = perf_counter()
    fitted = clv.fit(histories, config)
    seconds = perf_counter() - started
    file = artefact_folder(run, model_id) / "clv.json"
    write_atomically(file, clv.to_json(fitted))
    entry = ModelRun(
        model_id=model_id,
        model="clv",
        verdict=fitted.verdict,
        is_champion=True,  # its worst verdict is REVIEW: a simpler model has stood in
        metrics=plain_json(clv.metrics(fitted) | {"settings": settings}),
        data_from=cast(date, histories["first_order_date"].min()),
        data_to=run.as_of,
        fit_seconds=seconds,
        artefact_path=file.relative_to(run.workspace).as_posix(),
    )
    register(run, entry)
    return Trained(
        model="clv", model_id=model_id, verdict=fitted.verdict, fitted=True, reason="; ".join(fitted.reasons)
    )


def value(run: Run, config: clv.CLVConfig) -> int:
    """`value_customers` without the orchestrator."""
    champion, histories = find(run.warehouse, model="clv"), read_histories(run, config)
    if champion is None or histories is None or histories.is_empty():
        return 0
    fitted = clv.from_json((run.workspace / champion.artefact_path).read_text(encoding="utf-8"))
    worth = clv.worth(fitted, histories, config)
    with connect(run.warehouse) as con, transaction(con):
        write_values(con, run, worth.customers)
    replace_rows(run.warehouse, "out.channel_value", worth.channels, run)
    return len(histories)


def read_histories(run: Run, config: clv.CLVConfig) -> pl.DataFrame | None:
    """What the model reads of `mart.customer_rfm`, in the order of the table; None where there is no such table."""
    if not run.warehouse.exists():
        return None
    with connect(run.warehouse) as con:
        if not has_table(con, TABLE):
            return None
        columns = ", ".join((*HISTORY, *MONEY[config.value]))
        return con.sql(f"select {columns} from {TABLE}").pl()


def write_values(con: duckdb.DuckDBPyConnection, run: Run, values: pl.DataFrame) -> None:
    """Replace this run's rows of `out.customer_value`; `values` has a row for each of `mart.customer_rfm`, in order."""
    table, begin = "out.customer_value", 0
    names = con.cursor().sql(f"select customer_id from {TABLE}").to_arrow_reader(BATCH_ROWS)
    stamp = (pl.lit(run.run_id).alias("run_id"), pl.lit(run.as_of).alias("as_of"))
    for batch in names:
        customers = cast(pl.DataFrame, pl.from_arrow(pa.Table.from_batches([batch])))
        rows = pl.concat([customers, values.slice(begin, len(customers))], how="horizontal")
        append(con, table, rows.select(*stamp, pl.all()), replace_run=None if begin else run.run_id)
        begin += len(customers)
    if begin != len(values):
        raise ValueError(f"{begin} customers in {TABLE}, {len(values)} values: the table changed while it was read")
