"""Reallocate: a new plan, whenever a trigger or the calendar asks for one."""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.settings import Settings
from models.errors import DataError
from models.outcome import Outcome, done, skipped
from models.run import Run
from models.triggers import Trigger
from tasks.bidding import plan_keyword_bids
from tasks.contracts import check_table
from tasks.monitoring import record_triggers
from tasks.planning import Units, adopt_plan, plan_before, plan_budget, planning_gap


@flow(name="reallocate")
def reallocate(run: Run, settings: Settings, cause: str) -> dict[str, Any]:
    """Make a plan from the champion's curves, hold it against its contract, and put it in force."""
    units = Units(kpi=settings.kpi.value, customer_value=settings.clv.value)
    plan_id = plan_budget(run, settings.allocation, settings.currency, units)
    checked = (check_table(run, "out.plan_summary"), check_table(run, "out.budget_plan"))
    if blocking := [sentence for summary in checked for sentence in summary.blocking]:
        raise DataError("\n".join(blocking[:5]))
    adopt_plan(run, plan_id)
    return {"plan_id": plan_id, "flow_run_id": str(flow_run.id), "cause": cause}


def decide(run: Run, settings: Settings, fired: tuple[Trigger, ...], judged: tuple[Trigger, ...]) -> Outcome:
    """Reallocate if a trigger fired, no plan is in force, or the one in force has grown old; then set the bids."""
    if missing := planning_gap(run):
        return skipped(missing)
    cause = cause_of(run, settings, fired)
    if cause is None:
        bids = set_bids(run, settings)
        return skipped(f"the plan in force stands: no trigger fired and it is recent{bids}")
    result = reallocate(run, settings, cause)
    if fired:
        record_triggers(run, judged, result["flow_run_id"])
    return done(f"{cause}: plan {result['plan_id']}{set_bids(run, settings)}", **result)


def set_bids(run: Run, settings: Settings) -> str:
    """Plan the bids within the plan in force; they move by small steps, so also where the plan stands."""
    count = plan_keyword_bids(run, settings.bids, settings.kpi.value, settings.allocation.margin_fraction)
    return f"; {count} bids" if count else ""


def cause_of(run: Run, settings: Settings, fired: tuple[Trigger, ...]) -> str | None:
    """Why a plan is due today, None where it is not."""
    plan = plan_before(run)  # not this run's own: an interrupted run comes to the same plan for the same reason
    if fired:
        return "fired: " + ", ".join(f"{trigger.name} ({trigger.subject})" for trigger in fired)
    if plan is None:
        return "no plan was in force"
    if (run.as_of - plan["as_of"]).days >= settings.retrain.replan_days:
        return f"the plan in force is of {plan['as_of']}"
    return None
