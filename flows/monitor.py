"""Monitor: judge every trigger, tell of those that fired."""

from prefect import flow

from flows.settings import Settings
from models.outcome import Outcome, done, skipped
from models.run import Run
from models.triggers import Trigger
from tasks.alerts import send_alert
from tasks.monitoring import record_triggers, watch_campaigns, watch_elasticity, watch_roas, watch_value


@flow(name="monitor")
def monitor(run: Run, settings: Settings) -> Outcome:
    """Judge the four triggers on what is there; a trigger without its source is not judged."""
    judged = (
        *watch_roas(run, settings.triggers.roas_drop),
        *watch_value(run, settings.clv, settings.triggers.clv_drop),
        *watch_elasticity(run, settings.triggers.elasticity_flat),
        *watch_campaigns(run, settings.triggers.new_campaign),
    )
    record_triggers(run, judged, None)
    fired = tuple(trigger for trigger in judged if trigger.fired)
    names = ", ".join(f"{trigger.name} ({trigger.subject})" for trigger in fired) or "none"
    return done(f"{len(judged)} conditions judged, fired: {names}", fired=fired, judged=judged)


@flow(name="alert")
def alert(run: Run, settings: Settings, fired: tuple[Trigger, ...]) -> Outcome:
    """One alert for all that fired: in the log, and to the webhook where one is set."""
    if not fired:
        return skipped("no trigger fired")
    secret = settings.alerts.webhook_url
    webhook = secret.get_secret_value() if secret else None
    send_alert(run, settings.company, fired, webhook, settings.alerts.timeout_seconds)
    where = "log and webhook" if webhook else "log; set alerts.webhook_url to be told elsewhere"
    return done(f"{len(fired)} fired, told in {where}")
