"""Retrain: models that are due are fitted, judged and registered."""

from prefect import flow

from flows.settings import Settings
from models.outcome import Outcome, done, skipped
from models.run import Run
from tasks.training import train_clv, train_mmm, value_customers


@flow(name="retrain")
def retrain(run: Run, settings: Settings, force: bool) -> Outcome:
    """Fit customer value and the mix model where their inputs are there and enough new days have come."""
    trained = (
        train_clv(run, settings.clv, settings.retrain.every_days, force),
        train_mmm(run, settings.mmm, settings.gate, settings.retrain.every_days, force),
    )
    value_customers(run, settings.clv)
    words = "; ".join(f"{one.model}: {one.told}" for one in trained)
    return skipped(words) if all(one.model_id is None for one in trained) else done(words)
