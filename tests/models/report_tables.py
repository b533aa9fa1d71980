"""Output tables of an imagined run for the report's tests: every section filled, names hostile on purpose."""

import json
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

AS_OF = date(2026, 1, 5)
RUN_ID = "2026-01-05-3f9a1c22"
HOSTILE = "<script>alert(1)</script>"
LINES = ("Generic search", "Display", "Brand", HOSTILE)
TODAY = (42_000.0, 38_000.0, 9_000.0, 3_100.0)
PLANNED = (54_400.0, 25_600.0, 9_000.0, 3_100.0)


def stamped(rows: list[dict[str, Any]], *, run_id: str = RUN_ID, as_of: date = AS_OF) -> pl.DataFrame:
    """Rows as a table of `out` with the run's stamp."""
    frame = pl.DataFrame(rows, infer_schema_length=None, strict=False)
    return frame.select(pl.lit(run_id).alias("run_id"), pl.lit(as_of).alias("as_of"), pl.all())


def plan_summary(**changes: Any) -> list[dict[str, Any]]:
    """The plan in force and its two rivals."""
    base = {
        "plan_id": "p1",
        "scenario": "base",
        "budget": 92_100.0,
        "objective": "profit",
        "value_mean": 212_345.6,
        "value_p05": 181_000.0,
        "value_p95": 244_000.0,
        "upper_bound": 213_000.0,
        "gap_fraction": 0.0031,
        "roas_mean": 2.3056,
        "probability_roas_met": None,
        "gain_mean": 8_214.0,
        "gain_p05": -1_120.0,
        "gain_p95": 17_890.0,
        "probability_better": 0.931,
        "in_force": True,
        "verdict": "move",
    }
    others = [
        {**base, "scenario": name, "budget": factor * 92_100.0, "in_force": False}
        for name, factor in (("-20%", 0.8), ("+30%", 1.3))
    ]
    return [{**base, **changes}, *others]


def budget_plan(today: tuple[float, ...] = TODAY, planned: tuple[float, ...] = PLANNED) -> list[dict[str, Any]]:
    """The plan's lines."""
    return [
        {
            "plan_id": "p1",
            "scenario": "base",
            "line": line,
            "period_start": date(2026, 1, 12),
            "spend": now,
            "planned_spend": then,
            "value_mean": 2.0 * then + 0.123,
            "value_p05": 1.5 * then,
            "value_p95": 2.6 * then,
            "marginal_value": 1.4,
            "binding": "cap" if line == "Brand" else "none",
            "shadow_price": 0.21,
            "reason": f"{line}: the next euro returns 1.40",
        }
        for line, now, then in zip(LINES, today, planned, strict=True)
    ]


def response_curve(model_id: str = "mmm-1") -> list[dict[str, Any]]:
    """A concave curve per line."""
    rows = []
    for line, now in zip(LINES, TODAY, strict=True):
        for spend in np.linspace(0.0, 2 * now, 9).tolist():
            mean = 6 * now * spend / (spend + 2 * now)
            rows.append({"model_id": model_id, "line": line, "spend": spend, "response_mean": mean,
                         "response_p05": 0.8 * mean, "response_p95": 1.3 * mean, "marginal_mean": 1.0})  # fmt: skip
    return rows


def mmm_channel(model_id: str = "mmm-1") -> list[dict[str, Any]]:
    """What each channel did."""
    rows = []
    for i, line in enumerate(LINES):
        ends = {"mean": 1.0, "p05": 0.7, "p95": 1.4}
        kinds = {"contribution": 1e6 * (4 - i), "roas": 2.5 - 0.5 * i, "marginal_roas": 1.5 - 0.3 * i}
        values = {f"{kind}_{end}": kinds[kind] * factor for kind in kinds for end, factor in ends.items()}
        rows.append({"model_id": model_id, "channel": line, **values})
    return rows


def forecast(*, with_total: bool = True) -> list[dict[str, Any]]:
    """Thirteen weeks of revenue under two scenarios, and their total."""
    rows = []
    monday = date(2026, 1, 5)
    for scenario, lift in (("plan", 1.03), ("today", 1.0)):
        spans = [(monday + timedelta(weeks=k), 6, 700_000.0 * lift) for k in range(13)]
        spans += [(monday, 90, 9_100_000.0 * lift)] if with_total else []
        for start, days, mean in spans:
            quantiles = {
                name: mean * f for name, f in (("p05", 0.9), ("p25", 0.96), ("p50", 1.0), ("p75", 1.04), ("p95", 1.1))
            }
            rows.append({"scenario": scenario, "metric": "revenue", "period_start": start,
                         "period_end": start + timedelta(days=days), "mean": mean, **quantiles})  # fmt: skip
    return rows


def customer_value() -> list[dict[str, Any]]:
    """A hundred customers, the dearest ten of them VIP."""
    tiers = ("Low", "Medium", "High", "VIP")
    return [
        {"customer_id": f"person-{i}", "frequency": i % 5, "recency_days": 10.0, "age_days": 300.0,
         "alive_probability": 0.6, "expected_orders": 1.5, "clv_mean": 10.0 + i, "clv_p05": 5.0 + i,
         "clv_p95": 20.0 + i, "tier": tiers[min(i // 30, 3)], "cohort": "2025-01", "method": "bg_nbd"}
        for i in range(100)
    ]  # fmt: skip


def model_run() -> list[dict[str, Any]]:
    """A mix model and a value model."""
    clv = {
        "bg_nbd": {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426},
        "gamma_gamma": {"p": 6.25, "q": 3.74, "v": 15.44},
    }
    shared = {"is_champion": True, "data_from": date(2023, 1, 2), "data_to": date(2026, 1, 4), "fit_seconds": 1.0}
    return [
        {"model_id": "mmm-1", "model": "mmm", "verdict": "PASS", "metrics": json.dumps({"r_hat_max": 1.004}),
         "artefact_path": "artifacts/models/mmm-1/curves.parquet", **shared},
        {"model_id": "clv-1", "model": "clv", "verdict": "REVIEW", "metrics": json.dumps(clv),
         "artefact_path": "artifacts/models/clv-1/clv.json", **shared},
    ]  # fmt: skip


def quarantine() -> list[dict[str, Any]]:
    """Rows set aside: four for one reason, one for another with a person in it."""
    good = json.dumps({"date": "2025-12-03", "channel": HOSTILE, "cost": "-41.2"})
    person = json.dumps({"order_id": "o-17", "customer_id": "person-99", "email": "jo@example.org", "revenue": ""})
    return [
        {
            "source": "ad_spend",
            "file": "landing/spend.csv",
            "row_number": i,
            "reason": "cost is negative",
            "payload": good,
        }
        for i in range(4)
    ] + [
        {
            "source": "orders",
            "file": "landing/orders.csv",
            "row_number": 9,
            "reason": "revenue is missing",
            "payload": person,
        }
    ]


def lineage() -> list[dict[str, Any]]:
    """Three files of two sources: cleaned, clean, and one whose name is hostile."""
    loaded = datetime(2026, 1, 5, 5, 58, 12)  # noqa: DTZ001 (out.lineage holds UTC without a zone)
    files = [
        ("ad_spend", "landing/spend.csv", "ab", 44_125, 44_116, 4, 5,
         "2 lines above the header; decimal comma; dates are day first; 3 totals"),
        ("ad_spend", f"landing/{HOSTILE}.csv", "cd", 310, 310, 0, 0, "decimal comma"),
        ("orders", "landing/orders.csv", "ef", 1_000, 999, 1, 0, ""),
    ]  # fmt: skip
    names = ("source", "file", "file_sha256", "rows_read", "rows_kept", "rows_quarantined", "rows_ignored", "notes")
    rows = [dict(zip(names, file, strict=True)) for file in files]
    return [
        {"table_name": f"raw.{row['source']}", **row, "file_sha256": 32 * str(row["file_sha256"]), "loaded_at": loaded}
        for row in rows
    ]


def freshness() -> list[dict[str, Any]]:
    """A source in time, one late, one without a limit."""
    loaded = datetime(2026, 1, 5, 5, 58, 12)  # noqa: DTZ001 (UTC without a zone, as in ops.loads)
    ages = [("ad_spend", 1, 8), ("orders", 11, 8), ("customers", 40, None)]
    return [
        {"source": source, "newest_date": AS_OF - timedelta(days=behind), "loaded_at": loaded, "behind_days": behind,
         "allowed_days": allowed, "late_days": None if allowed is None else max(0, behind - allowed)}
        for source, behind, allowed in ages
    ]  # fmt: skip


def everything() -> dict[str, pl.DataFrame]:
    """All tables the report knows a section for."""
    rows: dict[str, list[dict[str, Any]]] = {
        "plan_summary": plan_summary(),
        "budget_plan": budget_plan(),
        "response_curve": response_curve(),
        "mmm_channel": mmm_channel(),
        "forecast": forecast(),
        "customer_value": customer_value(),
        "channel_scorecard": [
            {"channel": HOSTILE, "spend": 1_976_000.0, "new_customers": 7600, "cac": 260.0, "clv_mean": 198.0,
             "clv_to_cac": 0.7615, "payback_months": None, "quality": "Poor", "action": "pause"},
            {"channel": "Brand", "spend": 468_000.0, "new_customers": 9100, "cac": 51.43, "clv_mean": 230.0,
             "clv_to_cac": 4.472, "payback_months": 2.8, "quality": "Excellent", "action": "scale"},
        ],
        "trigger": [
            {"name": "new_campaign", "subject": "Brand", "value": float("nan"), "threshold": 1.0, "fired": False,
             "reason": "nothing new", "action": "", "flow_run_id": None},
            {"name": "roas_drop", "subject": HOSTILE, "value": 0.74, "threshold": 1.0, "fired": True,
             "reason": "ROAS 0.74, below 1.00", "action": "reallocate", "flow_run_id": "f1"},
        ],
        "data_quality": [
            {"source": "orders", "check_id": "null_audit", "severity": "error", "passed": True, "observed": "0",
             "expected": "0", "failing_rows": 0},
            {"source": "ad_spend", "check_id": "cpc_sanity", "severity": "warning", "passed": False,
             "observed": "41.20 on Display, 3 January 2026", "expected": "a click costs at most 20 EUR",
             "failing_rows": 3},
            {"source": "ad_spend", "check_id": "cost_range", "severity": "error", "passed": False,
             "observed": "4 of 44120 rows break it", "expected": "cost is at least 0", "failing_rows": 4},
        ],
        "quarantine": quarantine(),
        "lineage": lineage(),
        "model_run": model_run(),
        "run_log": [
            {"flow": "ingest", "status": "done", "code_version": "c0ffee", "config_sha256": "d1" * 32,
             "data_sha256": "e2" * 32, "message": "3 files"},
        ],
    }  # fmt: skip
    return {name: stamped(content) for name, content in rows.items()}
