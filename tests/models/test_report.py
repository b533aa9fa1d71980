"""The report's view: the decision in words, every section with and without its tables, numbers as in the tables."""

import json
import math
from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.report import customers, decision, outlook, wording
from tests.models import report_tables as made
from tests.models.report_views import blocks, column, section, view_of

SECTIONS = {  # section: the tables that fill it, a word of its line when they are absent
    "plan": (("plan_summary", "budget_plan"), "ad_spend"),
    "media": (("mmm_channel", "response_curve"), "ad_spend"),
    "forecast": (("forecast",), "kpi"),
    "customers": (("customer_value", "channel_scorecard"), "orders"),
    "triggers": (("trigger",), "plan"),
    "data": (("data_quality", "quarantine", "lineage"), "landing"),
    "models": (("model_run",), "ad_spend"),
}
EUROS = wording.Words(currency="EUR", kpi="revenue", objective="profit")


# ---- words ----


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (4.2, "4.20"), (42.105, "42.10"), (412.4, "412"), (999.4, "999"), (999.6, "1.00k"), (12_412, "12.4k"),
     (-8_200, "−8.20k"), (999_999, "1.00M"), (3.2e6, "3.20M"), (123.4e6, "123M"), (4.5e9, "4.50bn")],
)  # fmt: skip
def test_amounts_read_as_a_person_writes_them(value: float, text: str) -> None:
    assert wording.compact(value) == text


@given(st.floats(min_value=1, max_value=1e14))
def test_a_compact_amount_is_the_amount_to_three_figures(value: float) -> None:
    text = wording.compact(value)
    unit = {"k": 1e3, "M": 1e6, "bn": 1e9, "tn": 1e12}
    suffix = next((name for name in unit if text.endswith(name)), "")
    read = float(text.removesuffix(suffix)) * unit.get(suffix, 1.0)
    assert math.isclose(read, value, rel_tol=0.0051)  # half a unit of the third figure, or of a cent
    assert wording.compact(-value) == wording.MINUS + text


@given(st.floats(min_value=1e-9, max_value=1 - 1e-9))
def test_a_chance_is_never_shown_as_certain_or_impossible(chance: float) -> None:
    shown = wording.percent(chance)
    assert shown not in (wording.percent(0.0), wording.percent(1.0))
    assert float(shown.strip("<> ").removesuffix(f"{wording.THIN}%")) == pytest.approx(100 * chance, abs=0.51)


def test_odds_over_draws_are_never_certain() -> None:
    shown = [wording.odds(chance).replace(wording.THIN, " ") for chance in (1.0, 0.931, 0.0)]
    assert shown == ["> 99.9 %", "93 %", "< 0.1 %"]


@given(st.text(min_size=1, max_size=80), st.integers(min_value=5, max_value=40))
def test_a_shortened_name_fits_and_a_short_one_is_untouched(text: str, most: int) -> None:
    short = wording.shorten(text, most)
    assert len(short) <= most
    assert short == text or len(text) > most


def test_missing_and_infinite_numbers_are_a_dash() -> None:
    for value in (None, float("nan"), float("inf"), "text"):
        assert EUROS.money(value) == wording.ratio(value) == wording.percent(value) == wording.NONE
    assert wording.span("1", wording.NONE) == ""


def test_money_carries_its_sign_and_its_currency() -> None:
    assert EUROS.money(8214.0, signed=True) == "+€8.21k"
    assert EUROS.money(-0.001, signed=True) == "€0.00"
    assert wording.Words(currency="SEK").money(1500) == f"SEK{wording.THIN}1.50k"
    orders = wording.Words(currency="EUR", kpi="conversions")
    assert orders.value(1500) == "1.50k"
    assert orders.money(1500) == "€1.50k"


# ---- the decision ----


@pytest.mark.parametrize(
    ("planned", "said"),
    [
        ((54_400.0, 25_600.0, 9_000.0, 3_100.0), "Move €12.4k a week from Display to Generic search."),
        ((54_400.0, 38_000.0, 10_000.0, 3_100.0), "Add €13.4k a week to Generic search and Brand."),
        ((42_000.0, 30_000.0, 9_000.0, 3_100.0), "Take €8.00k a week out of Display."),
        ((60_000.0, 28_000.0, 9_000.0, 3_100.0),
         "Move €10.0k a week from Display to Generic search, and spend €8.00k more in total."),
        (made.TODAY, "Hold: keep today’s spend."),
    ],
)  # fmt: skip
def test_the_decision_is_one_sentence(planned: tuple[float, ...], said: str) -> None:
    plan = made.plan_summary()[0]
    assert decision.sentence(plan, made.budget_plan(planned=planned), EUROS) == said


def test_a_held_plan_says_what_it_gives_up() -> None:
    tables = made.everything() | {"plan_summary": made.stamped(made.plan_summary(verdict="hold"))}
    top = view_of(tables)["headline"]
    assert top["decision"] == "Hold: keep today’s spend."
    assert top["worth"].startswith("The best move found would bring")


def test_the_headline_gives_gain_interval_and_odds() -> None:
    worth = view_of(made.everything())["headline"]["worth"].replace(wording.JOINER, "").replace(wording.THIN, " ")
    assert worth == (
        "Expected +€8.21k profit a week (90 % interval −€1.12k to +€17.9k). "
        "Probability that it beats today’s spend: 93 %."
    )


def test_without_a_gain_the_value_is_told() -> None:
    changes = dict.fromkeys(("gain_mean", "gain_p05", "gain_p95", "probability_better"))
    tables = made.everything() | {"plan_summary": made.stamped(made.plan_summary(**changes))}
    assert "€212k revenue a week" in view_of(tables)["headline"]["worth"]


def test_an_old_plan_in_force_is_named_old() -> None:
    old: dict[str, Any] = {"run_id": "earlier", "as_of": date(2025, 12, 29)}
    tables = made.everything() | {
        "plan_summary": made.stamped(made.plan_summary(), **old),
        "budget_plan": made.stamped(made.budget_plan(), **old),
    }
    view = view_of(tables)
    assert any("29 December 2025 stays in force" in line for line in view["headline"]["warnings"])
    assert "29 December 2025" in section(view, "plan")["note"]
    assert section(view, "forecast")["note"] == ""


def test_rows_set_aside_are_no_alarm_but_a_failed_check_is() -> None:
    tables = made.everything()
    assert view_of(tables)["headline"]["warnings"] == ["Rows that broke 1 check were set aside; see Data."]
    tables["data_quality"] = tables["data_quality"].with_columns(source=pl.lit("out.budget_plan"))
    assert view_of(tables)["headline"]["warnings"] == ["1 check of severity error failed; see Data."]


def test_a_failed_challenger_is_told_and_the_champion_speaks() -> None:
    runs = made.model_run()
    failed = runs[0] | {"model_id": "mmm-2", "verdict": "FAIL", "is_champion": False}
    strange = [row | {"roas_mean": 99.0} for row in made.mmm_channel("mmm-2")]
    tables = made.everything() | {
        "model_run": made.stamped([*runs, failed]),
        "mmm_channel": made.stamped(made.mmm_channel() + strange),
    }
    view = view_of(tables)
    assert any("champion before it" in line for line in view["headline"]["warnings"])
    assert next(fact for fact in view["headline"]["facts"] if fact["label"] == "Model gate")["text"] == "PASS"
    shown = column(next(blocks(section(view, "media"), "table")), "ROAS")
    assert shown == [row["roas_mean"] for row in made.mmm_channel()]


# ---- sections ----


def test_every_section_is_filled_when_all_tables_are_there() -> None:
    view = view_of(made.everything())
    assert [part["id"] for part in view["sections"]] == list(SECTIONS)
    assert not any(part["is_absent"] for part in view["sections"])


@pytest.mark.parametrize("key", SECTIONS)
def test_a_section_without_its_tables_says_what_switches_it_on(key: str) -> None:
    names, word = SECTIONS[key]
    view = view_of({name: frame for name, frame in made.everything().items() if name not in names})
    part = section(view, key)
    assert part["is_absent"]
    assert word in part["lead"]
    assert "\n" not in part["lead"]
    assert not any(other["is_absent"] for other in view["sections"] if other["id"] != key)


@pytest.mark.parametrize("name", sorted(made.everything()))
def test_no_single_table_is_needed(name: str) -> None:
    tables = made.everything()
    del tables[name]
    assert len(view_of(tables)["sections"]) == len(SECTIONS)


def test_nothing_at_all_is_a_page_too() -> None:
    view = view_of({})
    assert view["headline"]["decision"] == "No plan yet."
    assert all(part["is_absent"] for part in view["sections"])


def test_the_plans_numbers_are_the_tables_numbers() -> None:
    plan = next(blocks(section(view_of(made.everything()), "plan"), "table"))
    rows = sorted(
        made.budget_plan(),
        key=lambda row: (-abs(row["planned_spend"] - row["spend"]), -row["planned_spend"], row["line"]),
    )
    assert column(plan, "Today") == [row["spend"] for row in rows]
    assert column(plan, "Planned") == [row["planned_spend"] for row in rows]
    assert column(plan, "Brings in revenue") == [row["value_mean"] for row in rows]
    assert column(plan, "Change") == [row["planned_spend"] - row["spend"] for row in rows]
    assert {row[0]["text"]: row[4]["sub"] for row in plan["rows"]}["Generic search"] == "€81.6k to €141k"


def test_a_plan_over_several_weeks_shows_its_calendar_and_mean_week() -> None:
    weeks = [
        row | {"period_start": date(2026, 1, 12 + 7 * week), "planned_spend": row["planned_spend"] + 100.0 * week}
        for row in made.budget_plan()
        for week in (0, 1)
    ]
    part = section(view_of(made.everything() | {"budget_plan": made.stamped(weeks)}), "plan")
    plan = next(blocks(part, "table"))
    expected = sorted(value + 50.0 for value in made.PLANNED)
    assert sorted(value for value in column(plan, "Planned") if value is not None) == expected
    assert any(figure["id"] == "fig-calendar" for figure in blocks(part, "figure"))


def test_the_forecast_sentence_speaks_of_the_whole_horizon() -> None:
    rows = [row for row in made.forecast() if row["scenario"] == "plan"]
    said = outlook.sentence(rows, "revenue", EUROS).replace(wording.THIN, " ")
    assert said == (
        "We expect €9.37M revenue from 5 January 2026 to 5 April 2026; 90 % of simulated paths land between €8.44M "
        "and €10.3M."
    )
    assert len(outlook.periods_of(rows)) == 13


def test_the_plans_forecast_speaks_before_todays_spend() -> None:
    tables = made.everything()
    tables["forecast"] = tables["forecast"].sort("scenario", descending=True)
    assert tables["forecast"]["scenario"][0] == "today"
    assert section(view_of(tables), "forecast")["lead"].startswith("We expect €9.37M")


def test_without_a_total_the_sentence_does_not_add_up_quantiles() -> None:
    rows = [row for row in made.forecast(with_total=False) if row["scenario"] == "plan"]
    assert outlook.total_of(rows) is None
    assert "from 5 January 2026 to 11 January 2026" in outlook.sentence(rows, "revenue", EUROS)


def test_tiers_share_out_everything() -> None:
    rows = customers.tier_rows(made.stamped(made.customer_value()))
    assert [row["tier"] for row in rows] == ["Low", "Medium", "High", "VIP"]
    assert sum(row["customers"] for row in rows) == 100
    assert sum(row["value_share"] for row in rows) == pytest.approx(1.0)
    assert rows[-1]["value_share"] == pytest.approx(sum(range(100, 110)) / sum(range(10, 110)))


def test_the_value_models_parameters_are_shown() -> None:
    (known,) = blocks(section(view_of(made.everything()), "customers"), "facts")
    assert "r = 0.243, alpha = 4.414, a = 0.793, b = 2.426" in [item["text"] for item in known["items"]]


def test_fired_triggers_and_failed_errors_come_first() -> None:
    view = view_of(made.everything())
    states = [row[2]["text"] for row in next(blocks(section(view, "triggers"), "table"))["rows"]]
    assert states == ["fired", "quiet"]
    failed = next(blocks(section(view, "data"), "table"))
    assert [row[1]["text"] for row in failed["rows"]] == ["error", "warning"]
    assert failed["rows"][0][2]["text"] == "cost is at least 0"
    assert view["headline"]["fired"][0]["action"] == "reallocate"


def test_the_planner_needs_a_curve_for_every_line() -> None:
    tables = made.everything()
    (block,) = blocks(section(view_of(tables), "media"), "planner")
    assert [line["planned"] for line in block["spec"]["lines"]] == list(made.PLANNED)
    tables["response_curve"] = tables["response_curve"].filter(pl.col("line") != "Brand")
    assert not list(blocks(section(view_of(tables), "media"), "planner"))


# ---- laws ----


def test_figures_hold_only_what_json_can_carry() -> None:
    tables = made.everything()
    tables["response_curve"] = tables["response_curve"].with_columns(response_p95=pl.lit(float("nan")))
    view = view_of(tables)
    specs = [figure["spec"] for part in view["sections"] for figure in blocks(part, "figure")]
    assert len(specs) >= 9
    text = json.dumps(specs, allow_nan=False)
    assert "<script>" not in text  # plotly reads a little HTML in its labels


def test_every_figure_says_in_words_what_it_shows() -> None:
    figures = [figure for part in view_of(made.everything())["sections"] for figure in blocks(part, "figure")]
    assert len({figure["id"] for figure in figures}) == len(figures)
    assert all(any(letter.isdigit() for letter in figure["alt"]) for figure in figures)


def test_the_same_tables_give_the_same_view() -> None:
    assert view_of(made.everything()) == view_of(made.everything())


def test_a_table_of_conversions_is_not_called_money() -> None:
    view = view_of(made.everything(), kpi="conversions")
    plan = next(blocks(section(view, "plan"), "table"))
    value = plan["rows"][0][[head["label"] for head in plan["columns"]].index("Brings in conversions")]
    assert "€" not in value["text"]


def test_bids_name_their_campaign_and_stand_in_one_order() -> None:
    """The same keyword in two campaigns; equal moves stand by name, whatever the order of the rows."""
    rows = [
        {"channel": "search", "campaign": campaign, "keyword": "museum pass", "bid": 1.0, "planned_bid": 1.0 + move}
        for campaign, move in (("rome", 0.2), ("berlin", 0.2), ("oslo", -0.3))
    ]
    for order in (rows, rows[::-1]):
        part = section(view_of(made.everything() | {"bid_plan": made.stamped(order)}), "plan")
        table = next(one for one in blocks(part, "table") if one["caption"].startswith("Bids"))
        assert [head["label"] for head in table["columns"]][:3] == ["Channel", "Campaign", "Keyword"]
        assert [line[1]["text"] for line in table["rows"]] == ["oslo", "berlin", "rome"]
