"""The report on customers: tiers, cohorts, the CLV:CAC matrix, the score with its parts, cohort curves."""

from datetime import date
from typing import Any

import polars as pl
import pytest

from models.cohort_curve import ALL, CohortCurveConfig, cohort_curves
from models.cohorts import CohortConfig, cohort_rules
from models.report import wording
from models.report.view import build_view
from models.scorecard import PARTS, ScorecardConfig, ScorecardInputs, scorecard
from tests.models import report_tables as made
from tests.models.report_views import blocks, column, section, view_of

CHANNELS = ("Brand", "Display", made.HOSTILE)
COST = {"Brand": 40.0, "Display": 90.0, made.HOSTILE: 400.0}


def curve_rows() -> pl.DataFrame:
    """Seven cohorts of each channel: 50 at first, then 30, 20, 10, 10 ... a month, a tenth of customers each month."""
    firsts = [date(2025, month, 1) for month in range(6, 13)]
    rows = [
        (channel, first, month, 100, 100 if month == 0 else 10, 10 if month else 0, 100.0 * brought)
        for channel in CHANNELS
        for i, first in enumerate(firsts)
        for month, brought in enumerate([50.0, 30.0, 20.0, 10.0, 10.0, 10.0, 10.0][: 7 - i])
    ]
    names = ["channel", "cohort_month", "month", "customers", "ordering_customers", "returning_customers", "revenue"]
    orders = pl.DataFrame(rows, schema=names, orient="row").with_columns(margin=pl.col("revenue"))
    return cohort_curves(orders, date(2026, 1, 5), CohortCurveConfig(months=8))


def card() -> pl.DataFrame:
    """A scorecard without a mix model, so that one part of the score is not known."""
    inputs = ScorecardInputs(
        spend=pl.DataFrame({"channel": CHANNELS, "spend": [700 * COST[name] for name in CHANNELS]}),
        customers=pl.DataFrame({"channel": CHANNELS, "new_customers": [700] * 3}),
        worth=pl.DataFrame(
            {
                "channel": CHANNELS,
                "clv_mean": [160.0, 120.0, 100.0],
                "clv_p05": [150.0, 100.0, 80.0],
                "clv_p95": [170.0, 140.0, 120.0],
            }
        ),
        curves=curve_rows(),
        traffic=pl.DataFrame(
            {"channel": CHANNELS, "clicks": [1000] * 3, "conversions": [20, 10, 5], "claimed_roas": [3.2, 1.4, 0.3]}
        ),
    )
    return scorecard(inputs, ScorecardConfig())


def profile_rows() -> list[dict[str, Any]]:
    """Tiers and cohorts of a hundred customers; families and last-minute are not offered."""
    sizes = {"Low": 30, "Medium": 30, "High": 30, "VIP": 10}
    numbers = {"clv_mean": 50.0, "clv_p05": 40.0, "clv_p95": 60.0, "clv_fraction": 0.2, "orders_mean": 2.0}
    more = {"revenue_mean": 90.0, "revenue_fraction": 0.3, "switch_on": None}
    tiers = [
        {"kind": "tier", "name": name, "description": f"Rule of {name}.", "customers": size,
         "customer_fraction": size / 100, **numbers, **more}
        for name, size in sizes.items()
    ]  # fmt: skip
    cohorts = [
        {"kind": "cohort", "name": rule.name, "description": rule.description or None,
         "customers": None if rule.fits is None else 20, "customer_fraction": None if rule.fits is None else 0.2,
         **(dict.fromkeys(numbers) if rule.fits is None else numbers), **more, "switch_on": rule.switch_on or None}
        for rule in cohort_rules({}, CohortConfig())
    ]  # fmt: skip
    return tiers + cohorts


def tables() -> dict[str, pl.DataFrame]:
    return made.everything() | {
        "channel_scorecard": made.stamped(card().to_dicts()),
        "cohort_curve": made.stamped(curve_rows().to_dicts()),
        "cohort_profile": made.stamped(profile_rows()),
    }


def customers(**changes: pl.DataFrame) -> dict[str, Any]:
    return section(view_of(tables() | changes), "customers")


def shown(part: dict[str, Any], caption: str) -> dict[str, Any]:
    return next(table for table in blocks(part, "table") if table["caption"].startswith(caption))


def texts(table: dict[str, Any], label: str, key: str = "text") -> list[str]:
    i = [head["label"] for head in table["columns"]].index(label)
    return [row[i][key].replace(wording.THIN, " ") for row in table["rows"]]


def figure(part: dict[str, Any], key: str) -> dict[str, Any]:
    return next(one for one in blocks(part, "figure") if one["id"] == key)


def test_the_matrix_shows_ratio_band_payback_and_what_to_do() -> None:
    matrix = shown(customers(), "What a customer costs and brings")
    assert texts(matrix, "Channel") == ["Brand", "Display", made.HOSTILE]  # best ratio first
    assert texts(matrix, "CLV : CAC") == ["4.00", "1.33", "0.25"]
    assert texts(matrix, "CLV : CAC", "sub") == ["3.75 to 4.25", "1.11 to 1.56", "0.20 to 0.30"]
    assert texts(matrix, "Quality") == ["Excellent", "Marginal", "Poor"]
    assert texts(matrix, "Quality", "tone") == ["good", "warn", "bad"]
    # 40 is brought by the first order's 50; 90 lies half way from 80 to 100; 400 is never reached
    assert texts(matrix, "Pays back in") == ["at once", "1.5 months", wording.NONE]
    assert texts(matrix, "Action")[2] == "pause" and texts(matrix, "Action", "tone")[2] == "bad"
    assert column(matrix, "Cost of one (CAC)") == pytest.approx([40.0, 90.0, 400.0])
    said = [block["text"] for block in blocks(customers(), "prose")]
    assert any(text.startswith("CLV is that of a new customer, first order included.") for text in said)


def test_the_score_shows_its_parts_and_how_much_of_it_is_known() -> None:
    part = customers()
    score = shown(part, "The score and its parts")
    labels = [head["label"] for head in score["columns"]]
    assert "Next euro" not in labels  # no mix model, no such part
    assert set(texts(score, "Score", "sub")) == {"from 90 of 100 points"}
    known = card().sort("composite_score", descending=True)
    assert column(score, "Score") == pytest.approx(known["composite_score"].to_list())
    for label, name in zip(("CLV : CAC", "Conversion", "Retention"), PARTS, strict=False):
        assert column(score, label) == pytest.approx(known[name].to_list())
    bars = figure(part, "fig-score")["spec"]["data"]
    assert [bar["name"] for bar in bars] == ["CLV : CAC", "Conversion", "Retention"]
    assert bars[0]["x"] == pytest.approx(known["score_ltv_cac"].to_list())


def test_the_rules_told_are_those_the_scorecard_was_made_by() -> None:
    rules = ScorecardConfig(excellent_min=4.0, good_min=2.5, conversion_points=400.0, retention_points=20.0)
    names = {"run_id": made.RUN_ID, "as_of": made.AS_OF, "company": "Halden", "currency": "EUR"}
    part = section(build_view(tables(), rules, **names), "customers")
    said = " ".join(block["text"] for block in blocks(part, "prose"))
    assert "Excellent from 4, Good from 2.5, Marginal from 1, and Poor below" in said
    assert "Of 88 points" in said and "conversion rate × 400 (at most 8), the share who order again × 20" in said


def test_a_scorecard_of_cost_and_value_alone_has_no_score() -> None:
    plain = made.stamped(card().select("channel", "spend", "new_customers", "cac", "clv_mean", "clv_to_cac").to_dicts())
    part = customers(channel_scorecard=plain)
    assert [head["label"] for head in shown(part, "What a customer costs")["columns"]] == [
        "Channel",
        "CLV : CAC",
        "Value of one (CLV)",
        "Cost of one (CAC)",
        "New customers",
        "Spend",
    ]
    assert not [one for one in blocks(part, "figure") if one["id"] == "fig-score"]


def test_cohorts_come_with_their_rule_and_what_would_switch_on_the_others() -> None:
    part = customers()
    habits = shown(part, "How customers order")
    assert texts(habits, "Cohort") == ["Frequent travellers", "Gift buyers", "Others"]
    assert texts(habits, "Rule")[0] == "Ordered on 4 days or more in 3 or more months of the last 365 days."
    assert texts(habits, "Value each from here on", "sub") == ["€40.00 to €60.00"] * 3
    said = [block["text"] for block in blocks(part, "prose")]
    assert "The column orders.starts_at would switch on the cohort last-minute." in said


def test_tiers_carry_the_interval_of_their_mean_and_without_profiles_a_customers() -> None:
    tiers = shown(customers(), "Value tiers; 90 % intervals of the mean")
    assert texts(tiers, "Mean value each", "sub") == ["€40.00 to €60.00"] * 4
    assert texts(tiers, "Rule")[3] == "Rule of VIP."
    before = shown(section(view_of(made.everything()), "customers"), "Value tiers; the interval is that of the tier")
    assert "Rule" not in [head["label"] for head in before["columns"]]


def test_curves_are_the_tables_with_projection_apart_and_the_cost_as_a_line() -> None:
    part = customers()
    whole = figure(part, "fig-cohorts")
    drawn = {one.get("name"): one for one in whole["spec"]["data"]}
    pooled = curve_rows().filter(channel=ALL, cohort_month=ALL, observed=True)
    assert drawn["Customers so far"]["x"] == pooled["month"].to_list()
    assert drawn["Customers so far"]["y"] == pytest.approx(pooled["value_per_customer"].to_list())
    assert "Projected" not in drawn  # no model is there to carry the curve beyond what any cohort has reached
    small = {one["title"]: one for one in blocks(part, "figure") if one["id"].startswith("fig-cohort-")}
    assert set(small) == set(CHANNELS)
    (line,) = small["Display"]["spec"]["layout"]["shapes"]
    assert line["y0"] == line["y1"] == pytest.approx(90.0)
    assert "a customer cost €90.00" in small["Display"]["alt"]


def test_a_projection_goes_on_from_the_last_month_that_was_seen() -> None:
    rows = curve_rows().with_columns(observed=pl.col("observed") & (pl.col("month") < 4), expected_value=pl.lit(70.0))
    data = figure(customers(cohort_curve=made.stamped(rows.to_dicts())), "fig-cohorts")["spec"]["data"]
    drawn = {one.get("name"): one for one in data}
    assert drawn["Customers so far"]["x"] == [0, 1, 2, 3]
    assert drawn["Projected"]["x"][:2] == [3, 4] and drawn["Projected"]["line"]["dash"] == "dash"
    assert drawn["Lifetime model"]["y"] == [70.0] * 9


def test_the_table_of_cohorts_marks_what_is_projected() -> None:
    table = shown(customers(), "What a customer of each month has brought")
    assert [head["label"] for head in table["columns"]] == [
        "First order in", "Customers", "Month 0", "Month 1", "Month 3", "Month 6",
    ]  # fmt: skip
    newest = table["rows"][-1]
    assert newest[0]["text"] == "2025-12"
    assert [cell["tone"] for cell in newest[2:]] == ["", "quiet", "quiet", "quiet"]
    assert column(table, "Month 3") == pytest.approx([110.0] * 7)  # all cohorts grow alike
    retention = shown(customers(), "Share of each month’s customers who ordered")
    assert column(retention, "Month 1") == pytest.approx([0.1] * 6 + [None])


def test_a_poor_channel_is_named_first() -> None:
    assert f"A customer from {made.HOSTILE} costs more than it will bring." in customers()["lead"]


def test_without_the_new_tables_the_section_stands_as_before() -> None:
    part = section(view_of(made.everything()), "customers")
    assert not part["is_absent"]
    assert not [one for one in blocks(part, "figure") if one["id"].startswith("fig-cohort")]
