"""The contract files: valid ODCS 3.1.0, complete, and in step with their list and with the code."""

import json
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jsonschema
import pytest
import yaml

from models.clv import TIERS
from models.contracts import TYPE_NAMES, Contract, parse_contract
from models.expectations import compile_expectations
from models.gate import Status
from models.outcome import Outcome
from models.plan import Plan

FOLDER = Path(__file__).resolve().parents[2] / "data_contracts"
FILES = sorted(FOLDER.glob("*.odcs.yaml"))
SCHEMA = json.loads(files("open_data_contract_standard").joinpath("schema.json").read_text())
SOURCES = {  # table: columns a file must have, columns it may have that were promised by name
    "ad_spend": ("date channel cost", "impressions clicks conversions conversion_value bid currency"),
    "kpi": ("date value", "orders geo currency"),
    "orders": (
        "order_id customer_id ordered_at revenue",
        "margin currency country channel campaign refunded_at refunded party_size starts_at category",
    ),
    "customers": ("customer_id acquired_at", "channel campaign device destination keyword_type"),
    "clicks": (
        "click_id clicked_at channel",
        "campaign keyword query_type device customer_id converted_at order_id value currency",
    ),
    "touchpoints": ("person_id touched_at channel", "campaign converted value currency"),
    "experiments": ("experiment_id unit_id arm assigned_at outcome", "value segment currency"),
    "geo_experiments": ("experiment_id date geo treated value", "cost currency"),
    "lift_tests": ("channel start_date end_date spend_change lift lift_se", "geo currency"),
    "bids": ("date keyword bid impressions clicks cost", "conversions value campaign randomised currency"),
    "controls": ("date name value", ""),
    "spend_ledger": ("date channel cost", "currency"),
    "rates": ("date currency rate", ""),
}
RESULTS = {  # table: columns promised beyond run_id and as_of
    "run_log": "flow started_at finished_at status code_version config_sha256 data_sha256 message",
    "data_quality": "source check_id severity passed observed expected failing_rows",
    "quarantine": "source file row_number reason payload",
    "lineage": ("table_name source file file_sha256 rows_read rows_kept rows_quarantined rows_ignored notes loaded_at"),
    "customer_value": (
        "customer_id frequency recency_days age_days alive_probability expected_orders clv_mean clv_p05 clv_p95 tier "
        "cohort method"
    ),
    "channel_scorecard": (
        "channel spend new_customers cac clv_mean clv_to_cac payback_months quality retention conversion_rate "
        "composite_score action"
    ),
    "click_value": "channel campaign conversion_probability value_per_conversion value_per_click clicks",
    "channel_value": "channel customers clv_mean clv_p05 clv_p95 error_parameters error_customers",
    "new_customer_value": (
        "channel campaign customers first_order_value clv_mean clv_p05 clv_p95 horizon_days "
        "observed_fraction shrinkage method"
    ),
    "early_value": "group customer_id cutoff_date value_mean value_p05 value_p95 method",
    "value_contribution": "group customer_id cutoff_date feature contribution",
    "value_holdout": (
        "model_id group candidate decile is_served horizon_days judged_from customers actual_total "
        "expected_total actual_mean expected_mean bias_fraction mae mae_equal_totals spearman "
        "decile_error_fraction coverage_fraction"
    ),
    "cohort_curve": (
        "channel cohort_month month customers value_per_customer value_p05 value_p95 retention "
        "returned_fraction observed expected_value"
    ),
    "cohort_profile": (
        "kind name description customers customer_fraction clv_mean clv_p05 clv_p95 clv_fraction "
        "orders_mean revenue_mean revenue_fraction switch_on"
    ),
    "keyword_value": (
        "channel campaign keyword conversion_probability conversion_probability_p05 "
        "conversion_probability_p95 value_per_conversion value_per_conversion_p05 "
        "value_per_conversion_p95 value_per_click value_per_click_p05 value_per_click_p95 clicks "
        "conversions new_customer_share method"
    ),
    "feature_contribution": "model_id model line feature contribution_abs_mean contribution_mean",
    "uplift": "experiment_id segment uplift_mean uplift_p05 uplift_p95 persuadable share",
    "experiment_readout": (
        "experiment_id arm units rate lift p_value_adjusted probability_best minimal_detectable_effect decision"
    ),
    "attribution": "method channel conversions value",
    "evidence": "channel kind roas_mean roas_se weight tension_z",
    "mmm_channel": (
        "model_id channel contribution_mean contribution_p05 contribution_p95 roas_mean roas_p05 roas_p95 "
        "marginal_roas_mean marginal_roas_p05 marginal_roas_p95"
    ),
    "mmm_geo": (
        "model_id geo channel contribution_mean contribution_p05 contribution_p95 roas_mean roas_p05 roas_p95 "
        "marginal_roas_mean marginal_roas_p05 marginal_roas_p95"
    ),
    "mmm_week": "model_id week_start part mean p05 p95",
    "mmm_channel_detail": (
        "model_id channel half_life_weeks_mean half_life_weeks_p05 half_life_weeks_p95 half_saturation_mean "
        "half_saturation_p05 half_saturation_p95 slope_mean slope_p05 slope_p95 saturation_level_mean "
        "saturation_level_p05 saturation_level_p95 prior_share"
    ),
    "response_curve": "model_id line spend response_mean response_p05 response_p95 marginal_mean",
    "bid_elasticity": ("keyword campaign elasticity_mean elasticity_p05 elasticity_p95 diminishing_bid flatness"),
    "bid_curve": "channel campaign keyword bid bid_factor impressions clicks cost conversions value marginal_roas",
    "bid_experiment": (
        "channel campaign keyword jitter_fraction days elasticity_se_now elasticity_se_after keywords clicks_factor "
        "cost_factor money_at_stake reason"
    ),
    "bid_plan": "keyword campaign bid planned_bid value_per_click incrementality marginal_roas action reason",
    "plan_summary": (
        "plan_id scenario budget objective value_mean value_p05 value_p95 upper_bound gap_fraction roas_mean "
        "probability_roas_met in_force verdict"
    ),
    "budget_plan": (
        "plan_id scenario line period_start spend planned_spend value_mean value_p05 value_p95 marginal_value binding "
        "shadow_price reason"
    ),
    "forecast": "scenario metric period_start period_end mean p05 p25 p50 p75 p95",
    "backtest": "metric horizon_days nominal coverage crps mape naive_crps",
    "drift": "model feature kind value threshold drifted",
    "trigger": "name subject value threshold fired reason action flow_run_id",
    "model_run": "model_id model verdict is_champion metrics data_from data_to fit_seconds artefact_path",
    "decision_review": "plan_id line predicted actual actual_p05 actual_p95 verdict",
}
MAY_LEAVE_INTERVAL = {  # means that their interval need not hold
    "clv",  # of a customer who has most likely left, more than 95 % of the futures are worth nothing
    "actual",  # the outcome's own column is no mean
}


def contract_of(table: str) -> Contract:
    return parse_contract((FOLDER / f"{table}.odcs.yaml").read_text())


def document_of(file: Path) -> dict[str, Any]:
    table: dict[str, Any] = yaml.safe_load(file.read_text())["schema"][0]
    return table


def test_every_table_has_its_contract() -> None:
    assert {file.name for file in FILES} == {f"raw_{name}.odcs.yaml" for name in SOURCES} | {
        f"out_{name}.odcs.yaml" for name in RESULTS
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_file_is_valid_odcs(file: Path) -> None:
    document = yaml.safe_load(file.read_text())
    faults = [error.message for error in jsonschema.Draft201909Validator(SCHEMA).iter_errors(document)]
    assert faults == []
    assert document["apiVersion"] == "v3.1.0"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_contract_parses_and_compiles(file: Path) -> None:
    contract = parse_contract(file.read_text())
    assert file.name == f"{contract.table.replace('.', '_', 1)}.odcs.yaml"
    assert contract.key or contract.name == "touchpoints"
    assert all(column.physical_type in TYPE_NAMES and column.description.endswith(".") for column in contract.columns)
    checks = compile_expectations(contract, date(2026, 1, 31))
    lines = contract.table.startswith("raw.")  # a rule that the reader sees to, hence no check
    assert len(checks) == len(contract.rules) - lines


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_figure_has_its_unit(file: Path) -> None:
    columns = parse_contract(file.read_text()).columns
    assert [
        column.name for column in columns if (column.physical_type in {"VARCHAR", "BOOLEAN"}) == bool(column.unit)
    ] == []


@pytest.mark.parametrize("table", SOURCES)
def test_sources_ask_for_no_more_than_promised(table: str) -> None:
    contract = contract_of(f"raw_{table}")
    must, may = (set(names.split()) for names in SOURCES[table])
    assert set(contract.required) == must
    assert may <= set(contract.optional)


@pytest.mark.parametrize("table", SOURCES)
def test_a_source_with_money_may_name_its_currency(table: str) -> None:
    columns = {column.name: column for column in contract_of(f"raw_{table}").columns}
    has_money = any((column.unit or "").startswith("currency of the row") for column in columns.values())
    assert ("currency" in columns) == (has_money or table in {"kpi", "rates"})  # the KPI may be counted in orders
    assert not any("company currency" in (column.unit or "") for name, column in columns.items() if name != "rate")


@pytest.mark.parametrize("table", RESULTS)
def test_results_have_what_was_promised_and_carry_their_run(table: str) -> None:
    contract = contract_of(f"out_{table}")
    names = [column.name for column in contract.columns]
    assert names[:2] == ["run_id", "as_of"]
    assert set(RESULTS[table].split()) <= set(names)
    assert contract.key[0] == "run_id"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_fractions_and_money_are_bounded(file: Path) -> None:
    contract = parse_contract(file.read_text())
    ranged = {rule.columns[0]: rule.params for rule in contract.rules if rule.kind == "range"}
    for column in contract.columns:
        if column.unit == "fraction" and column.name != "gap_fraction":  # a gap may exceed the bound it is measured by
            assert ranged[column.name] == {"minimum": 0, "maximum": 1}
        is_amount = column.name in {"cost", "spend", "planned_spend", "revenue", "budget", "impressions", "clicks"}
        if is_amount and contract.name != "spend_ledger":  # finance books credit notes
            assert ranged[column.name] == {"minimum": 0}


@pytest.mark.parametrize("table", RESULTS)
def test_ends_of_intervals_are_in_order(table: str) -> None:
    contract = contract_of(f"out_{table}")
    names = {column.name for column in contract.columns}
    ordered = {rule.columns: rule.severity for rule in contract.rules if rule.kind == "order"}
    stems = {name.removesuffix("p05") for name in names if name.endswith("p05") and f"{name[:-3]}p25" not in names}
    for stem in stems:
        assert ordered[(f"{stem}p95", f"{stem}p05")] == "error"
        if stem.removesuffix("_") not in MAY_LEAVE_INTERVAL and f"{stem}mean" in names:
            assert ordered[(f"{stem}mean", f"{stem}p05")] == ordered[(f"{stem}p95", f"{stem}mean")] == "warning"


def test_quantiles_are_in_order() -> None:
    ordered = {rule.columns for rule in contract_of("out_forecast").rules if rule.kind == "order"}
    assert {("p25", "p05"), ("p50", "p25"), ("p75", "p50"), ("p95", "p75")} <= ordered


def test_enumerations_are_the_codes() -> None:
    def values(table: str, column: str) -> set[str]:
        rules = {rule.check_id: rule for rule in contract_of(f"out_{table}").rules}
        return set(rules[f"{column}_values"].params["values"])

    assert values("customer_value", "tier") == set(TIERS)
    assert values("model_run", "verdict") == values("decision_review", "verdict") == {str(status) for status in Status}
    assert values("plan_summary", "verdict") == set(get_args(get_type_hints(Plan)["verdict"]))
    assert values("run_log", "status") == {*get_args(get_type_hints(Outcome)["status"]), "running"}


@pytest.mark.parametrize("file", [file for file in FILES if "relationships" in document_of(file)], ids=lambda f: f.name)
def test_a_reference_of_a_result_is_checked(file: Path) -> None:
    contract = parse_contract(file.read_text())
    queries = [rule for rule in contract.rules if rule.kind == "query" and rule.check_id.endswith("_known")]
    links = document_of(file)["relationships"]
    assert len(queries) == len(links)
    for link, rule in zip(links, queries, strict=True):
        near, far = ([link[end]] if isinstance(link[end], str) else link[end] for end in ("from", "to"))
        (other,) = {end.split(".")[0] for end in far}
        targets = [end.split(".")[1] for end in far]
        assert near == [f"{contract.name}.{column}" for column in rule.columns]
        assert set(targets) <= {column.name for column in contract_of(f"out_{other}").columns}
        picked = ", ".join(targets)
        assert f"select {picked if len(targets) == 1 else f'({picked})'} from out.{other})" in rule.params["query"]


def test_the_list_names_every_file() -> None:
    listed = (FOLDER / "README.md").read_text()
    assert [file.name for file in FILES if f"`{file.name}`" not in listed] == []
