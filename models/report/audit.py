"""What a careful reader asks: which triggers were checked, what the data is worth, which models spoke."""

import json
from collections.abc import Sequence
from typing import Any

import polars as pl

from models.report import decision, lineage, wording
from models.report.blocks import (
    Block,
    Cell,
    Row,
    Tables,
    absent,
    cell,
    facts,
    folded,
    plain_table,
    present,
    prose,
    rows_of,
    table,
)
from models.report.wording import Words

OWN_FLOWS = ("daily", "report", "alert")  # they end after the page is written
REASONS = 20  # more kinds of mistakes than this are one: the file
FIGURE = r"-?\d+([.,:-]\d+)*"
EXAMPLES = 3  # quarantined rows shown per reason, enough to recognise the mistake
PAYLOAD = 160  # characters of a row that help to recognise it
PERSONAL = ("id", "email", "mail", "phone", "name", "address", "ip")  # last words of fields that may name a person


def triggers(tables: Tables, words: Words) -> Block:
    """Every trigger that was checked, those that fired first."""
    rows = sorted(rows_of(tables, "trigger"), key=lambda row: not row.get("fired"))
    if not rows:
        return absent("triggers", "Triggers", "No trigger was checked: a plan or a forecast to watch switches them on.")
    fired = sum(bool(row.get("fired")) for row in rows)
    columns = ["Trigger", "Subject", "State", "Value", "Threshold", "Why", "Action"]
    cells = [
        [
            cell(wording.title(row.get("name"))),
            cell(row.get("subject")),
            cell("fired", tone="bad") if row.get("fired") else cell("quiet", tone="quiet"),
            cell(wording.ratio(row.get("value")), row.get("value")),
            cell(wording.ratio(row.get("threshold")), row.get("threshold")),
            cell(row.get("reason")),
            cell(row.get("action") if row.get("fired") else None),
        ]
        for row in rows
    ]
    blocks = [table("Triggers checked this morning", columns, cells, kinds="ttsnnww")]
    if "drift" in tables:
        blocks.append(folded("Drift of data and predictions", [plain_table("Drift", tables["drift"], words)]))
    lead = f"{wording.count(fired)} of {wording.plural(len(rows), 'trigger')} fired."
    return present("triggers", "Triggers", lead, blocks)


def data(tables: Tables) -> Block:
    """Failed checks, rows before and after cleaning, freshness, and the way back from a number to its files."""
    known = [name for name in ("data_quality", "quarantine", "lineage") if name in tables]
    if not known:
        return absent("data", "Data", "No data was checked in this run: files in the landing folder switch it on.")
    checks = rows_of(tables, "data_quality")
    failed = [row for row in checks if row.get("passed") is False]
    blocks: list[Block] = []
    if failed:
        failed.sort(key=lambda row: (row.get("severity") != "error", str(row.get("source")), str(row.get("check_id"))))
        blocks.append(_checks("Checks that failed", failed))
    aside = _set_aside(tables)
    blocks += lineage.before_and_after(tables, _broken(aside, checks))
    blocks += lineage.freshness(tables)
    blocks += _quarantine(aside, "quarantine" in tables)
    if len(checks) > len(failed):
        passed = [row for row in checks if row.get("passed") is not False]
        summary = f"{wording.plural(len(passed), 'check')} passed"
        blocks.append(folded(summary, [_checks("Checks that passed", passed)]))
    blocks += lineage.origins(tables)
    return present("data", "Data", _data_lead(tables, checks, failed), blocks)


def _data_lead(tables: Tables, checks: Sequence[Row], failed: Sequence[Row]) -> str:
    blocking = sum(row.get("severity") == "error" for row in failed)
    if not checks:
        text = "No quality check ran."
    elif not failed:
        text = f"All {wording.plural(len(checks), 'quality check')} passed."
    else:
        kinds = f", {wording.count(blocking) if blocking else 'none'} of them of severity error"
        text = f"{wording.count(len(failed))} of {wording.plural(len(checks), 'quality check')} failed{kinds}."
    files = rows_of(tables, "lineage")
    if files:
        read, kept, aside, ignored = (sum(int(row.get(name) or 0) for row in files) for name in lineage.ROWS)
        text += (
            f" Of {wording.plural(read, 'row')} in {wording.plural(len(files), 'file')}, {wording.count(kept)} were "
            f"kept, {wording.count(aside)} set aside and {wording.count(ignored)} ignored."
        )
    return text


def _checks(caption: str, rows: Sequence[Row]) -> Block:
    columns = ["Check", "Severity", "What must hold", "What was found", "Rows"]
    cells = [
        [
            cell(wording.title(row.get("check_id")), sub=str(row.get("source") or "")),
            cell(row.get("severity"), tone=_severity(row)),
            cell(row.get("expected")),
            cell(row.get("observed")),
            cell(wording.count(row.get("failing_rows")), row.get("failing_rows")),
        ]
        for row in rows
    ]
    return table(caption, columns, cells, kinds="tswwn")


def _severity(row: Row) -> str:
    return "quiet" if row.get("passed") is not False else "bad" if row.get("severity") == "error" else "warn"


def _set_aside(tables: Tables) -> list[Row]:
    """Rows in quarantine by source and rule, the most frequent first: source, rule, reason, rows, examples."""
    rows = tables.get("quarantine", pl.DataFrame())
    if rows.is_empty():
        return []
    rule = pl.col("reason").str.replace_all(FIGURE, "#")  # a reason names its row's figures; the rule is one
    if "check_ids" in rows.columns:
        rule = pl.col("check_ids").fill_null(rule)
    grouped = (
        rows.group_by("source", rule.alias("rule"))
        .agg(pl.len().alias("rows"), pl.struct(pl.all()).head(EXAMPLES).alias("examples"))
        .sort(["rows", "source", "rule"], descending=[True, False, False])
    )
    return [row | {"reason": _reason(row["examples"][0])} for row in grouped.to_dicts()]


def _broken(aside: Sequence[Row], checks: Sequence[Row]) -> dict[str, list[tuple[str, int]]]:
    """By source, the sentence of each rule that rows broke: one row's reason would stand for no other."""
    sentences = {(row.get("source"), row.get("check_id")): str(row.get("expected")) for row in checks}
    found: dict[str, list[tuple[str, int]]] = {}
    for row in aside:
        told = [sentences.get((row["source"], check)) for check in row["rule"].split(",")]
        sentence = "; ".join(part for part in told if part) if all(told) else row["reason"]
        found.setdefault(row["source"], []).append((sentence, row["rows"]))
    return found


def _quarantine(aside: Sequence[Row], is_known: bool) -> list[Block]:
    if not aside:
        return [prose("No row was set aside.", "quiet")] if is_known else []
    cells = [
        [
            cell(row["source"]),
            cell(row["reason"]),
            cell(wording.count(row["rows"]), row["rows"]),
            cell("\n".join(_example(one) for one in row["examples"])),
        ]
        for row in aside[:REASONS]
    ]
    more = f"; the {REASONS} most frequent of {wording.count(len(aside))}" if len(aside) > REASONS else ""
    caption = f"Rows set aside, by reason{more}; what may name a person is masked"
    return [table(caption, ["Source", "Reason", "Rows", "Examples"], cells, kinds="ttnw")]


def _reason(row: Row) -> str:
    """The first row's reason; the rule's name alone where the reason may quote a person's field."""
    rule = str(row.get("check_ids") or "")
    names_person = any(_names_person(part) for part in rule.replace(",", "_").split("_"))
    return wording.title(rule) if names_person else str(row.get("reason"))


def _example(row: Row) -> str:
    place = f"{row.get('file')}, row {row.get('row_number')}"
    shown = masked(row.get("payload"))
    return f"{place}: {shown}" if shown else place


def masked(payload: Any) -> str:
    """A quarantined row's filled fields without what may name a person: the report is passed on, a person is not.

    Text that is no JSON object is left out whole, since what it holds cannot be told.
    """
    try:
        fields = json.loads(payload) if isinstance(payload, str) else payload
    except ValueError:
        return ""
    if not isinstance(fields, dict):
        return ""
    filled = {str(key): value for key, value in fields.items() if value not in (None, "")}
    text = ", ".join(f"{key}={'•••' if _names_person(key) else value}" for key, value in filled.items())
    return text if len(text) <= PAYLOAD else text[: PAYLOAD - 1] + "…"


def _names_person(key: str) -> bool:
    return key.lower().replace("-", "_").replace(" ", "_").split("_")[-1] in PERSONAL


def models(tables: Tables, run_id: str) -> Block:
    """The models of the run with their verdicts, and what replays it."""
    rows = rows_of(tables, "model_run")
    identity = facts([("Run", run_id), *_identity(tables)])
    if not rows:
        switch_on = "No model has been fitted yet: the sources kpi and ad_spend, or orders, switch them on."
        return absent("models", "Models", switch_on) | {"blocks": [*_stages(tables), identity]}
    columns = ["Model", "Verdict", "Role", "Data", "Metrics", "Artefact"]
    cells = [
        [
            cell(wording.title(row.get("model")), sub=str(row.get("model_id") or "")),
            cell(row.get("verdict"), tone=decision.TONES.get(str(row.get("verdict")), "")),
            cell("champion" if row.get("is_champion") else "challenger"),
            cell(wording.day(row.get("data_from")), sub=f"to {wording.day(row.get('data_to'))}"),
            _metrics(row),
            cell(row.get("artefact_path")),
        ]
        for row in rows
    ]
    good = sum(row.get("verdict") == "PASS" for row in rows)
    passed = f"{wording.count(good)} of {wording.plural(len(rows), 'model')} passed every check."
    lead = f"{passed} The identity below replays this run."
    return present(
        "models",
        "Models",
        lead,
        [table("Models of this run", columns, cells, kinds="tsssw"), *_stages(tables), identity],
    )


def _stages(tables: Tables) -> list[Block]:
    rows = [row for row in rows_of(tables, "run_log") if row.get("flow") not in OWN_FLOWS]
    cells = [[cell(wording.title(row.get("flow"))), cell(row.get("status")), cell(row.get("message"))] for row in rows]
    if not cells:
        return []
    return [
        folded(
            "Stages of this run", [table("Stages of this run", ["Stage", "Ended", "What it says"], cells, kinds="tsw")]
        )
    ]


def _metrics(row: Row) -> Cell:
    shown = []
    for key, value in _flat(decision.metrics_of(row)):
        real = wording.number(value)
        shown.append(f"{key} {value if real is None else wording.plain(real)}")
    return cell(" · ".join(shown))


def _flat(metrics: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in metrics.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            found += _flat(value, f"{name} ")
        elif value is not None and not isinstance(value, list):
            found.append((name, value))
    return found


def _identity(tables: Tables) -> list[tuple[str, str]]:
    rows = rows_of(tables, "run_log")
    last = rows[-1] if rows else {}
    known = (("Config SHA-256", "config_sha256"), ("Data SHA-256", "data_sha256"), ("Code", "code_version"))
    return [(title, str(last[name])) for title, name in known if last.get(name)]
