"""The daily flow: raw files in; a certified plan, a forecast and a report out."""

import hashlib
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from prefect import flow

from flows.forecast import forecast
from flows.ingest import build, check, ingest, verify
from flows.journal import Journal
from flows.monitor import alert, monitor
from flows.reallocate import decide
from flows.report import report
from flows.retrain import retrain
from flows.settings import Settings, load_settings
from models.errors import ConfigError, DataError
from models.run import Run
from tasks.planning import plan_in_force
from tasks.sources import source_fingerprint
from tasks.workspace import NEVER, code_sha256, date_rows, finished_run, identify, latest_day, lock

STAGES = ("ingest", "check", "build", "retrain", "monitor", "plan", "forecast", "verify", "report", "alert")


@flow(name="daily")
def daily(
    workspace: str,
    as_of: date | None = None,
    force_retrain: bool = False,
    only: tuple[str, ...] = (),
    days: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Bring the warehouse, the models and the plan up to `as_of` (default: the last day in the data).

    days : first and last day of a backfill: files with rows of these days are read again, changed or not.
    """
    root = Path(workspace).resolve()
    settings = load_settings(root)
    with lock(root):
        day = open_journal(root, settings, as_of or settings.as_of, only, force_retrain)
        with day.whole("stages" if only else "daily"):
            day.stage("ingest", lambda: ingest(day.run, settings, days))
            day.run = dated(day.run)
            day.stage("check", lambda: check(day.run, settings))
            day.stage("build", lambda: build(day.run, settings))
            day.stage("retrain", lambda: retrain(day.run, settings, force_retrain))
            seen = day.stage("monitor", lambda: monitor(day.run, settings)).detail
            fired, judged = seen.get("fired", ()), seen.get("judged", ())
            day.stage("plan", lambda: decide(day.run, settings, fired, judged))
            day.stage("forecast", lambda: forecast(day.run, settings))
            day.stage("verify", lambda: verify(day.run, settings))
            page = day.stage("report", lambda: report(day.run, settings))
            day.stage("alert", lambda: alert(day.run, settings, fired))
        return summary(day, page.reason if day.stages["report"]["status"] == "done" else "")


def open_journal(root: Path, settings: Settings, as_of: date | None, only: tuple[str, ...], force: bool) -> Journal:
    """The journal of the run that these inputs define."""
    if unknown := [name for name in only if name not in STAGES]:
        raise ConfigError(f"There is no stage {unknown[0]}; expected one of {', '.join(STAGES)}.")
    code, config, data = code_sha256()[:12], settings.sha256(), fingerprint(root, settings)
    versions = {"code_version": code, "config_sha256": config, "data_sha256": data}
    run_id = identify(config, data, code, as_of, "force" if force else "")
    run = Run(run_id=run_id, as_of=as_of or NEVER, seed=settings.seed, workspace=root)
    return Journal(run=run, versions=versions, only=only)


def fingerprint(root: Path, settings: Settings) -> str:
    """Hash of every source's files and of how they are read."""
    parts = [
        source_fingerprint(root, table, source, **settings.reading(table))
        for table, source in sorted(settings.sources.items())
    ]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def dated(run: Run) -> Run:
    """The run with its day: the one asked for, else the last day in the data.

    Raises
    ------
    DataError : nothing has been loaded that carries a day.
    """
    day = run.as_of if run.as_of != NEVER else latest_day(run.warehouse)
    if day is None:
        raise DataError(
            "No spend, KPI or order has been loaded; expected at least one, for they say which day it is.\n"
            "Name ad_spend, kpi or orders under sources, then load everything with: marginal run"
        )
    known = replace(run, as_of=day)
    date_rows(known)
    return known


def standing(workspace: str, as_of: date | None = None) -> dict[str, Any] | None:
    """What this very run gave when it was made; None where something has changed since.

    Raises
    ------
    ConfigError, DataError, WorkspaceLocked : as the run itself would, before an orchestrator is started for it.
    """
    root = Path(workspace).resolve()
    settings = load_settings(root)
    with lock(root):
        day = open_journal(root, settings, as_of or settings.as_of, (), False)
        report_path = finished_run(day.run)
        if report_path is None or not (root / report_path).is_file():
            return None
        return already_done(day, report_path)


def already_done(day: Journal, report_path: str) -> dict[str, Any]:
    """The summary of a run that needs no second time."""
    rows = {name: {"status": "done", "reason": "nothing has changed since", "seconds": 0.0} for name in STAGES}
    day.stages.update(rows)
    return summary(day, report_path)


def summary(day: Journal, report_path: str) -> dict[str, Any]:
    """What `marginal run --json` prints."""
    plan = plan_in_force(day.run.warehouse)
    as_of = latest_day(day.run.warehouse) if day.run.as_of == NEVER else day.run.as_of
    return {
        "run_id": day.run.run_id,
        "as_of": str(as_of),
        "stages": day.stages,
        "report": report_path,
        "plan_id": plan["plan_id"] if plan else None,
    }
