"""The top of the page: the decision, what it is worth, how far it is proven, what fired."""

from collections.abc import Sequence
from datetime import date

from models.report import decision, wording
from models.report.blocks import Block, Row, Tables, rows_of
from models.report.wording import Words

VERDICTS = {
    "PASS": "passed every check",
    "REVIEW": "passed with reservations; see Models",
    "FAIL": "did not pass: no new plan may be built on it",
}


def headline(tables: Tables, words: Words, *, run_id: str, as_of: date) -> Block:
    """What somebody reads who reads nothing else."""
    plan = decision.plan_in_force(tables)
    lines = decision.plan_lines(tables, plan)
    fired = [row for row in rows_of(tables, "trigger") if row.get("fired")]
    return {
        "decision": decision.sentence(plan, lines, words),
        "worth": _worth(plan, lines, words),
        "warnings": _warnings(tables, plan, run_id),
        "facts": _facts(tables, plan, words, as_of),
        "fired": [
            {
                "name": wording.title(row.get("name")),
                **{key: str(row.get(key) or "") for key in ("subject", "reason", "action")},
            }
            for row in fired
        ],
        "fired_line": _fired_line(tables, len(fired)),
    }


def _worth(plan: Row | None, lines: Sequence[Row], words: Words) -> str:
    if plan is None:
        return "The sources ad_spend and kpi (or orders) in marginal.yaml switch the plan on."
    mean, chance = wording.number(plan.get("gain_mean")), wording.number(plan.get("probability_better"))
    if mean is None:
        ends = wording.interval(words.value(plan.get("value_p05")), words.value(plan.get("value_p95")))
        return f"It is expected to return {words.value(plan.get('value_mean'))} {words.kpi} {decision.PER}{ends}."
    low, high = (words.objective_value(plan.get(f"gain_{end}")) for end in ("p05", "p95"))
    worth = f"{words.objective_value(mean)} {words.objective} {decision.PER}{wording.interval(low, high)}"
    odds = "" if chance is None else wording.odds(chance)
    if decision.is_hold(plan, lines):
        beats = f" and beats today’s spend with probability {odds}" if odds else ""
        return f"The best move found would bring {worth}{beats}: too little, or too unsure, to act on."
    beats = f" Probability that it beats today’s spend: {odds}." if odds else ""
    return f"Expected {worth}.{beats}"


def _warnings(tables: Tables, plan: Row | None, run_id: str) -> list[str]:
    failed = [
        row for row in rows_of(tables, "data_quality") if row.get("passed") is False and row.get("severity") == "error"
    ]
    gates = [row for row in decision.model_rows(tables, "mmm") if row.get("verdict") == "FAIL"]
    found = []
    if failed:
        aside = all(row.get("failing_rows") and not str(row.get("source")).startswith("out.") for row in failed)
        checks = wording.plural(len(failed), "check")
        text = f"Rows that broke {checks} were set aside" if aside else f"{checks} of severity error failed"
        found.append(f"{text}; see Data.")
    if any(row.get("is_champion") for row in gates):
        found.append("The mix model in use failed its gate; see Models.")
    elif gates:
        found.append("The newest mix model failed its gate; the champion before it is still used.")
    if plan is not None and plan.get("run_id") not in (run_id, None):
        why = next(
            (str(row.get("message") or "") for row in rows_of(tables, "run_log") if row.get("flow") == "plan"), ""
        )
        text = f"No new plan this morning: the plan of {wording.day(plan.get('as_of'))} stays in force."
        found.append(f"{text} {why}".strip())
    return found


def _facts(tables: Tables, plan: Row | None, words: Words, as_of: date) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []

    def add(label: str, text: str, note: str, tone: str = "") -> None:
        found.append({"label": label, "text": text, "tone": tone, "note": note})

    model = decision.model_in_use(tables, "mmm")
    if model is not None:
        verdict = str(model.get("verdict"))
        note = f"The mix model {VERDICTS.get(verdict, 'has no verdict')}."
        add("Model gate", verdict, note, decision.TONES.get(verdict, ""))
    if plan is not None and wording.number(plan.get("gap_fraction")) is not None:
        bound = f"{words.value(plan.get('upper_bound'))} {words.kpi} {decision.PER}"
        note = f"No plan under the same limits that spends as much is worth more than {bound}."
        add("Proof", f"within {wording.percent(max(plan['gap_fraction'], 0.001))} of best", note)
    if plan is not None and wording.number(plan.get("budget")) is not None:
        roas = f"ROAS of the plan {wording.ratio(plan['roas_mean'])}." if plan.get("roas_mean") is not None else ""
        add("Budget", f"{words.money(plan['budget'])} {decision.PER}", roas)
    dates = [wording.as_date(row.get("data_to")) for row in rows_of(tables, "model_run")]
    newest = max((when for when in dates if when is not None), default=None)
    if newest is not None:
        late = (as_of - newest).days
        note = "No later day is in the models." if late <= 0 else f"{wording.plural(late, 'day')} before the report."
        add("Models know data to", wording.day(newest), note)
    return found


def _fired_line(tables: Tables, fired: int) -> str:
    if "trigger" not in tables:
        return "No trigger was checked: the monitor stage writes them."
    if tables["trigger"].is_empty():
        return "No trigger had anything to watch this morning."
    checked = wording.plural(tables["trigger"].height, "trigger")
    if not fired:
        return f"Nothing fired this morning: {checked} checked, all quiet."
    return f"{wording.count(fired)} of {checked} fired this morning."
