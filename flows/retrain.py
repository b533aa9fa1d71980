"""Retrain: models that are due are fitted, judged and registered; what they say of customers and clicks is written."""

from prefect import flow

from flows.settings import Settings
from models.outcome import Outcome, done, skipped
from models.run import Run
from tasks.bidding import estimate_elasticity
from tasks.click_value import train_conversion, value_clicks
from tasks.early_value import serve_values, train_early_value, value_new_customers, value_new_customers_by_channel
from tasks.geo_training import train_mmm_geo
from tasks.scorecard import draw_cohort_curves, profile_customers, score_channels
from tasks.trained import Trained
from tasks.training import train_mmm
from tasks.valuing import train_clv, value_customers


@flow(name="retrain")
def retrain(run: Run, settings: Settings, force: bool) -> Outcome:
    """Fit the models whose inputs are there and for which enough new days have come, then value what they can."""
    every_days = settings.retrain.every_days
    trained: tuple[Trained, ...] = (
        train_clv(run, settings.clv, every_days, force),
        train_early_value(run, settings.early_value, settings.clv, every_days, force),
        train_conversion(run, settings.conversion, every_days, force),
        train_mmm(run, settings.mmm, settings.gate, settings.kpi.value, every_days, force),
    )
    if settings.mmm_geo.enabled:
        geo = settings.mmm_geo
        trained += (train_mmm_geo(run, settings.mmm, geo, settings.gate, settings.kpi.value, every_days, force),)
    value_customers(run, settings.clv)
    serve_values(run, settings.clv)
    value_new_customers(run, settings.clv)
    notes = value_new_customers_by_channel(run, settings.new_customers, settings.clv)
    value_clicks(run, settings.conversion, settings.clv.value)
    bids = estimate_elasticity(run, settings.elasticity, settings.jitter)
    notes += profile_customers(run, settings.cohorts, settings.clv)
    draw_cohort_curves(run, settings.cohort_curve, settings.clv)
    score_channels(run, settings.scorecard, settings.priority, settings.kpi.value)
    words = told(trained, bids, notes)
    return skipped(words) if all(one.model_id is None for one in trained) else done(words)


def told(trained: tuple[Trained, ...], bids: int, notes: tuple[str, ...]) -> str:
    """What was fitted, kept or left out, and what a reader of the values should know, in one line."""
    parts = [f"{one.model}: {one.told}" for one in trained]
    if not bids:
        parts.append("bids: left out, add the source bids")
    return " ".join(["; ".join(parts) + ("." if notes else ""), *notes])
