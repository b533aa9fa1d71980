"""Forecast: what the weeks ahead bring under the plan."""

from prefect import flow

from flows.settings import Settings
from models.outcome import Outcome, done, skipped
from models.run import Run
from tasks.forecasting import forecast_kpi


@flow(name="forecast")
def forecast(run: Run, settings: Settings) -> Outcome:
    """Simulate the weeks ahead; the reason is the forecast in one sentence."""
    told = forecast_kpi(run, settings.forecast, settings.currency)
    return done(told) if told else skipped("no weekly KPI: add the source kpi or orders for a forecast")
