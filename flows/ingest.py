"""Ingest: files to typed tables, contracts checked, marts built."""

from prefect import flow

from flows.settings import SOURCE_TABLES, Settings
from models.errors import DataError
from models.outcome import Outcome, done
from models.run import Run
from tasks.contracts import check_table
from tasks.raw import is_written, prepare_raw
from tasks.sources import load_source
from tasks.warehouse import build_layers

OUT_TABLES = (
    "customer_value",
    "channel_scorecard",
    "mmm_channel",
    "response_curve",
    "forecast",
    "trigger",
    "model_run",
)


@flow(name="ingest")
def ingest(run: Run, settings: Settings) -> Outcome:
    """Load every source; files that have not changed cost nothing."""
    prepare_raw(run, SOURCE_TABLES, tuple(settings.sources))
    loads = [
        load_source(run, table, settings.sources[table], settings.allow_outside)
        for table in SOURCE_TABLES
        if table in settings.sources
    ]
    read = sum(load.rows_read for load in loads)
    return done(f"{len(loads)} sources, {read:,} rows read")


@flow(name="check")
def check(run: Run, settings: Settings) -> Outcome:
    """Hold every source against its contract; stop on what would make a decision wrong."""
    summaries = [check_table(run, table) for table in SOURCE_TABLES if table in settings.sources]
    blocking = [sentence for summary in summaries for sentence in summary.blocking]
    if blocking:
        raise DataError("\n".join(blocking[:5]))
    warnings = sum(summary.failed_warnings for summary in summaries)
    moved = sum(summary.rows_moved for summary in summaries)
    return done(f"{len(summaries)} tables, {moved:,} rows set aside, {warnings} warnings")


@flow(name="verify")
def verify(run: Run, settings: Settings) -> Outcome:
    """Hold what leaves against its contract too: nobody downstream is handed what the page would not show."""
    summaries = [check_table(run, f"out.{table}") for table in OUT_TABLES if is_written(run, table)]
    if blocking := [sentence for summary in summaries for sentence in summary.blocking]:
        raise DataError("\n".join(blocking[:5]))
    return done(f"{len(summaries)} output tables")


@flow(name="build")
def build(run: Run, settings: Settings) -> Outcome:
    """Rebuild staging and marts for the day of the run."""
    return done(f"{len(build_layers(run, settings.kpi.value))} tables")
