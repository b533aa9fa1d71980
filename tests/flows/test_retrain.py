"""What retraining says of itself: models, bids, and what the tasks found worth telling."""

from flows.retrain import told
from tasks.trained import Trained

FITTED = Trained(model="clv", model_id="clv-1", verdict="PASS", fitted=True, reason="")
ABSENT = Trained(model="mmm", model_id=None, verdict=None, fitted=False, reason="add the source ad_spend")


def test_models_alone_are_a_list() -> None:
    assert told((FITTED, ABSENT), 3, ()) == "clv: fitted, PASS; mmm: left out, add the source ad_spend"


def test_missing_bids_and_what_the_tasks_say_are_told() -> None:
    notes = ("Quarters are too few to compare.", "The column orders.starts_at would switch on the cohort last-minute.")
    assert told((FITTED,), 0, notes) == (
        "clv: fitted, PASS; bids: left out, add the source bids. Quarters are too few to compare. "
        "The column orders.starts_at would switch on the cohort last-minute."
    )
