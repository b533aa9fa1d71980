"""Telling people: the log always, a webhook where one is set."""

import json
import logging
from pathlib import Path

import httpx
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.errors import OutsideServiceError
from models.run import Run
from models.triggers import Trigger
from tasks.files import write_atomically

logger = logging.getLogger("marginal.alerts")


def alert_text(company: str, run: Run, fired: tuple[Trigger, ...]) -> str:
    """The alert as a person reads it."""
    lines = [f"{company}, {run.as_of}: {len(fired)} trigger{'s' if len(fired) > 1 else ''} fired."]
    lines += [f"- {trigger.name} ({trigger.subject}): {trigger.reason} Action: {trigger.action}." for trigger in fired]
    return "\n".join(lines)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def send_alert(
    run: Run, company: str, fired: tuple[Trigger, ...], webhook_url: str | None, timeout_seconds: float
) -> bool:
    """Tell of fired triggers once per run; a resumed run does not tell twice."""
    return tell(run, company, fired, webhook_url, timeout_seconds)


def tell(run: Run, company: str, fired: tuple[Trigger, ...], webhook_url: str | None, timeout_seconds: float) -> bool:
    """`send_alert` without the orchestrator; False where this run has told already.

    Raises
    ------
    OutsideServiceError : the webhook did not accept the message; its address is not shown.
    """
    receipt = receipt_path(run)
    if receipt.exists():
        return False
    text = alert_text(company, run, fired)
    logger.warning(text)
    if webhook_url:
        body = {
            "text": text,
            "company": company,
            "as_of": run.as_of.isoformat(),
            "run_id": run.run_id,
            "triggers": [{"name": t.name, "subject": t.subject, "reason": t.reason, "action": t.action} for t in fired],
        }
        try:
            httpx.post(webhook_url, json=body, timeout=timeout_seconds).raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OutsideServiceError(
                f"The alert webhook did not accept the message ({type(error).__name__}); expected a 2xx answer.\n"
                "Check alerts.webhook_url (MARGINAL__ALERTS__WEBHOOK_URL); the alert is in the log and the report."
            ) from None  # the cause would show the address, which is a secret
    write_atomically(receipt, json.dumps({"run_id": run.run_id, "text": text}, indent=1))
    return True


def receipt_path(run: Run) -> Path:
    """The file that says this run has told."""
    return run.artifacts / "alerts" / f"{run.run_id}.json"
