"""The contract files: valid ODCS 3.1.0, complete, and in step with their list."""

import json
from datetime import date
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import yaml

from models.contracts import TYPE_NAMES, parse_contract
from models.expectations import compile_expectations

FOLDER = Path(__file__).resolve().parents[2] / "data_contracts"
FILES = sorted(FOLDER.glob("*.odcs.yaml"))
SCHEMA = json.loads(files("open_data_contract_standard").joinpath("schema.json").read_text())
SOURCES = {  # table: columns a file must have
    "ad_spend": {"date", "channel", "cost"},
    "kpi": {"date", "value"},
    "orders": {"order_id", "customer_id", "ordered_at", "revenue"},
    "customers": {"customer_id", "acquired_at"},
    "clicks": {"click_id", "clicked_at", "channel"},
    "touchpoints": {"person_id", "touched_at", "channel"},
    "experiments": {"experiment_id", "unit_id", "arm", "assigned_at", "outcome"},
    "geo_experiments": {"experiment_id", "date", "geo", "treated", "value"},
    "lift_tests": {"channel", "start_date", "end_date", "spend_change", "lift", "lift_se"},
    "bids": {"date", "keyword", "bid", "impressions", "clicks", "cost"},
    "controls": {"date", "name", "value"},
}
RESULTS = {
    "run_log", "data_quality", "quarantine", "lineage", "customer_value", "channel_scorecard", "mmm_channel",
    "response_curve", "plan_summary", "budget_plan", "forecast", "trigger", "model_run",
}  # fmt: skip


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


@pytest.mark.parametrize("table", SOURCES)
def test_sources_ask_for_no_more_than_promised(table: str) -> None:
    contract = parse_contract((FOLDER / f"raw_{table}.odcs.yaml").read_text())
    assert set(contract.required) == SOURCES[table]


@pytest.mark.parametrize("table", sorted(RESULTS))
def test_results_carry_their_run(table: str) -> None:
    contract = parse_contract((FOLDER / f"out_{table}.odcs.yaml").read_text())
    assert [column.name for column in contract.columns[:2]] == ["run_id", "as_of"]
    assert contract.key[0] == "run_id"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_fractions_and_money_are_bounded_and_have_units(file: Path) -> None:
    contract = parse_contract(file.read_text())
    ranged = {rule.columns[0]: rule.params for rule in contract.rules if rule.kind == "range"}
    for column in contract.columns:
        if column.unit == "fraction" and column.name != "gap_fraction":  # a gap may exceed the bound it is measured by
            assert ranged[column.name] == {"minimum": 0, "maximum": 1}
        if column.name in {"cost", "spend", "planned_spend", "revenue", "budget", "impressions", "clicks"}:
            assert ranged[column.name] == {"minimum": 0}
            assert column.unit is not None


def test_the_list_names_every_file() -> None:
    listed = (FOLDER / "README.md").read_text()
    assert [file.name for file in FILES if f"`{file.name}`" not in listed] == []
