"""Ingest: files to typed tables, contracts checked, marts built."""

from prefect import flow

from flows.settings import SOURCE_TABLES, Settings
from models.errors import DataError
from models.outcome import Outcome, done
from models.run import Run
from tasks.contracts import check_table
from tasks.quality import check_quality
from tasks.raw import is_written, prepare_raw
from tasks.sources import load_source
from tasks.warehouse import build_layers

OUT_TABLES = (  # run_log and data_quality are still being written; plans are checked before they are adopted
    *("quarantine", "lineage"),
    *("customer_value", "channel_value", "new_customer_value", "early_value", "value_contribution", "value_holdout"),
    *("cohort_curve", "cohort_profile", "channel_scorecard", "click_value", "keyword_value", "feature_contribution"),
    *("uplift", "experiment_readout", "attribution", "evidence"),
    *("mmm_channel", "mmm_week", "mmm_channel_detail", "mmm_geo", "response_curve"),
    *("bid_elasticity", "bid_curve", "bid_experiment", "bid_plan"),
    *("forecast", "backtest", "drift", "trigger", "model_run", "decision_review"),
)


@flow(name="ingest")
def ingest(run: Run, settings: Settings, days: tuple[str, str] | None = None) -> Outcome:
    """Load every source; files that have not changed cost nothing, unless they hold `days` to be loaded anew."""
    prepare_raw(run, SOURCE_TABLES, tuple(settings.sources))
    loads = [
        load_source(run, table, settings.sources[table], days=days, **settings.reading(table))
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
    """Rebuild staging and marts for the day of the run, and check what no single row can show."""
    tables = build_layers(run, settings.parameters)
    summary = check_quality(run, settings.quality, settings.parameters)
    if summary.blocking:
        raise DataError("\n".join(summary.blocking[:5]))
    return done(f"{len(tables)} tables, {summary.checks} checks, {summary.failed_warnings} warnings")
