"""Report: the page a team opens in the morning."""

from prefect import flow

from flows.settings import Settings
from models.outcome import Outcome, done
from models.run import Run
from tasks.reporting import write_report


@flow(name="report")
def report(run: Run, settings: Settings) -> Outcome:
    """Write the run's page; the reason is its path in the workspace."""
    return done(write_report(run, settings.currency, settings.company, settings.kpi.value, settings.scorecard))
