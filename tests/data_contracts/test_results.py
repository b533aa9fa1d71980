"""Contracts of results, held against rows: what is right passes, and each promise that is broken is named."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from models.run import Run
from tasks.contracts import CheckSummary, check
from tasks.warehouse import replace_rows

LINEAGE = {
    "table_name": "raw.kpi", "source": "kpi", "file": "landing/kpi.csv", "file_sha256": "ab" * 32, "rows_read": 12,
    "rows_kept": 8, "rows_quarantined": 1, "rows_ignored": 3, "notes": "2 lines above the header",
    "loaded_at": datetime(2026, 1, 5, 6, 0, tzinfo=UTC),
}  # fmt: skip
QUARANTINE = {
    "source": "kpi", "file": "landing/kpi.csv", "row_number": 4, "reason": "value is empty", "payload": "{}",
    "check_ids": "value_present", "stage": "load",
}  # fmt: skip
PLAN = {
    "plan_id": "p1", "scenario": "base", "budget": 100.0, "objective": "profit", "value_mean": 5.0, "in_force": False,
}  # fmt: skip
LINE = {
    "plan_id": "p1", "scenario": "base", "line": "tv", "period_start": date(2026, 1, 12), "spend": 90.0,
    "planned_spend": 100.0, "value_mean": 5.0, "value_p05": 4.0, "value_p95": 6.0, "binding": "cap",
}  # fmt: skip
EVIDENCE = {"channel": "tv", "kind": "mmm", "roas_mean": 2.0, "roas_se": 0.5, "weight": 0.25, "tension_z": 1.0}
UPLIFT = {
    "experiment_id": "e1", "segment": "all", "uplift_mean": 0.02, "uplift_p05": 0.01, "uplift_p95": 0.03,
    "persuadable": True, "share": 1.0,
}  # fmt: skip
CLICK = {
    "channel": "search", "campaign": None, "conversion_probability": 0.1, "value_per_conversion": 80.0,
    "value_per_click": 8.0, "clicks": 500,
}  # fmt: skip
ROAS = {
    f"{stem}_{end}": value for stem in ("contribution", "roas", "marginal_roas")
    for end, value in (("mean", 2.0), ("p05", 1.0), ("p95", 3.0))
}  # fmt: skip
MODEL = {"model_id": "m1", "model": "mmm", "verdict": "PASS", "is_champion": True}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(run_id="run-1", as_of=date(2026, 1, 5), seed=1, workspace=tmp_path)


def checked(run: Run, table: str, *rows: dict[str, Any], **others: dict[str, Any]) -> CheckSummary:
    """Check `rows` as a table, beside one row of each other table."""
    for name, row in others.items():
        replace_rows(run.warehouse, f"out.{name}", pl.DataFrame([row]), run)
    replace_rows(run.warehouse, f"out.{table}", pl.DataFrame(rows, infer_schema_length=None), run)
    return check(run, f"out.{table}")


@pytest.mark.parametrize(
    ("table", "rows", "others"),
    [
        ("lineage", [LINEAGE], {}),
        ("quarantine", [QUARANTINE], {"lineage": LINEAGE}),
        ("budget_plan", [LINE], {"plan_summary": PLAN}),
        ("evidence", [EVIDENCE, EVIDENCE | {"kind": "lift_test", "weight": 0.75}], {}),
        ("uplift", [UPLIFT], {}),
        ("click_value", [CLICK, CLICK | {"campaign": "brand"}], {}),
        ("mmm_channel", [{"model_id": "m1", "channel": "tv"} | ROAS], {"model_run": MODEL}),
    ],
)
def test_what_is_right_passes(
    run: Run, table: str, rows: list[dict[str, Any]], others: dict[str, dict[str, Any]]
) -> None:
    summary = checked(run, table, *rows, **others)
    assert (summary.failed_errors, summary.failed_warnings, summary.blocking) == (0, 0, ())


@pytest.mark.parametrize(
    ("table", "rows", "others", "message"),
    [
        (
            "lineage",
            [LINEAGE | {"rows_ignored": 2}],
            {},
            "rows read are rows kept, rows in quarantine and rows ignored",
        ),
        ("quarantine", [QUARANTINE | {"file": "landing/b.csv"}], {"lineage": LINEAGE}, "stands in out.lineage"),
        ("budget_plan", [LINE | {"scenario": "+30%"}], {"plan_summary": PLAN}, "every plan stands in out.plan_summary"),
        ("budget_plan", [LINE | {"binding": "whim"}], {"plan_summary": PLAN}, "binding is one of floor, cap"),
        ("evidence", [EVIDENCE], {}, "the weights of a channel sum to one"),
        ("uplift", [UPLIFT | {"uplift_p05": 0.04}], {}, "uplift intervals are in order"),
        ("uplift", [UPLIFT | {"share": 1.5}], {}, "share is at least 0 and at most 1"),
        ("click_value", [CLICK, CLICK], {}, "no two rows have the same run_id, channel, campaign"),
        ("mmm_channel", [{"model_id": "m2", "channel": "tv"} | ROAS], {"model_run": MODEL}, "stands in out.model_run"),
    ],
)
def test_what_is_wrong_blocks(
    run: Run, table: str, rows: list[dict[str, Any]], others: dict[str, dict[str, Any]], message: str
) -> None:
    summary = checked(run, table, *rows, **others)
    assert len(summary.blocking) == 1
    assert message in summary.blocking[0]


def test_a_mean_outside_its_interval_is_reported_and_blocks_nothing(run: Run) -> None:
    summary = checked(run, "uplift", UPLIFT | {"uplift_mean": 0.5})
    assert (summary.failed_warnings, summary.blocking) == (1, ())


def test_a_channel_that_never_spent_has_no_return(run: Run) -> None:
    never = {name: None if "roas" in name else value for name, value in ROAS.items()}
    spent = {"model_id": "m1", "channel": "tv"} | ROAS
    assert checked(run, "mmm_channel", spent, spent | {"channel": "radio"} | never, model_run=MODEL).blocking == ()
