"""Contracts: what an ODCS file says, what it compiles to, and which column of a file is meant."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.columns import check_mapping, match_columns
from models.contracts import Column, Contract, Rule, parse_contract
from models.errors import ConfigError, DataError
from models.expectations import Expectation, compile_expectations
from models.sources import SourceConfig
from models.sqltext import identifier, literal

AS_OF = date(2026, 3, 31)
TEXT = """
apiVersion: v3.1.0
kind: DataContract
id: sales
version: 2.0.0
status: active
schema:
  - name: sales
    physicalName: raw.sales
    description: What was sold.
    dataGranularityDescription: day × shop
    properties:
      - {name: shop, logicalType: string, physicalType: VARCHAR, required: true, primaryKey: true,
         primaryKeyPosition: 2, description: Shop., relationships: [{type: foreignKey, to: shops.shop}]}
      - {name: day, logicalType: date, physicalType: DATE, required: true, primaryKey: true,
         primaryKeyPosition: 1, description: Day., logicalTypeOptions: {minimum: "2000-01-01"}}
      - name: share_fraction
        logicalType: number
        physicalType: DOUBLE
        description: Share.
        logicalTypeOptions: {exclusiveMinimum: 0, maximum: 1}
        customProperties: [{property: unit, value: fraction}, {property: rangeSeverity, value: warning}]
      - name: kind
        logicalType: string
        physicalType: VARCHAR
        description: Kind.
        quality:
          - {type: library, metric: invalidValues, arguments: {validValues: [a, b]}, mustBe: 0, severity: error}
    quality:
      - {id: has_rows, type: library, metric: rowCount, description: rows are there, mustBeGreaterOrEqualTo: 1,
         severity: error}
      - id: no_b
        type: custom
        description: nothing is of kind b
        severity: warning
        engine: great-expectations
        implementation:
          type: unexpected_rows_expectation
          kwargs: {unexpected_rows_query: "select 1 from {batch} where kind = 'b'"}
        customProperties: [{property: columns, value: [kind]}]
    customProperties: [{property: maxBadFraction, value: 0.1}]
slaProperties:
  - {property: latency, value: 3, unit: d, element: sales.day}
"""


def compiled(**options: object) -> dict[str, Expectation]:
    return {each.check_id: each for each in compile_expectations(parse_contract(TEXT), AS_OF, **options)}


def test_a_contract_is_read_whole() -> None:
    contract = parse_contract(TEXT)
    assert (contract.table, contract.name, contract.version) == ("raw.sales", "sales", "2.0.0")
    assert contract.key == ("day", "shop")
    assert contract.required == ("shop", "day")
    assert contract.optional == ("share_fraction", "kind")
    assert contract.max_bad_fraction == 0.1
    assert contract.columns[2] == Column(
        name="share_fraction", logical_type="number", physical_type="DOUBLE", unit="fraction", description="Share."
    )
    severities = {rule.check_id: rule.severity for rule in contract.rules}
    assert severities == {
        "lines_readable": "error",
        "shop_present": "error",
        "shop_reference": "warning",
        "day_present": "error",
        "day_type": "error",
        "day_range": "error",
        "share_fraction_type": "error",
        "share_fraction_range": "warning",
        "kind_values": "error",
        "key_unique": "error",
        "key_restated": "warning",
        "has_rows": "error",
        "no_b": "warning",
        "day_fresh": "warning",
    }


def test_sentences_say_what_must_hold() -> None:
    sentences = {rule.check_id: rule.sentence for rule in parse_contract(TEXT).rules}
    assert sentences["share_fraction_range"] == "share_fraction is above 0 and at most 1"
    assert sentences["kind_values"] == "kind is one of a, b"
    assert sentences["shop_reference"] == "every shop stands in shops.shop"
    assert sentences["key_unique"] == "no two rows have the same day, shop within a file"
    assert sentences["day_fresh"] == "the newest day is at most 3 days before the day of the run"


def test_rules_compile_to_great_expectations() -> None:
    checks = compiled()
    assert checks["day_present"].type == "expect_column_values_to_not_be_null"
    assert checks["day_type"].kwargs == {"column": "day", "type_": "DATE"}
    assert checks["share_fraction_range"].kwargs == {
        "column": "share_fraction",
        "min_value": 0,
        "strict_min": True,
        "max_value": 1,
    }
    assert checks["day_range"].kwargs == {"column": "day", "min_value": date(2000, 1, 1)}
    assert checks["kind_values"].kwargs == {"column": "kind", "value_set": ["a", "b"]}
    assert checks["has_rows"].kwargs == {"min_value": 1}
    assert checks["no_b"].kwargs["unexpected_rows_query"] == "select 1 from {batch} where kind = 'b'"
    assert "2026-03-28" in checks["day_fresh"].kwargs["unexpected_rows_query"]
    assert "lines_readable" not in checks  # the reader sees to it


def test_a_run_without_a_day_has_no_old_data() -> None:
    fresh = next(each for each in compile_expectations(parse_contract(TEXT), date.min) if each.check_id == "day_fresh")
    assert "0001-01-01" in fresh.kwargs["unexpected_rows_query"]


def test_rules_on_columns_without_values_are_left_out() -> None:
    everything = set(compiled())
    assert everything - set(compiled(without=["kind"])) == {"kind_values", "no_b"}
    assert everything - set(compiled(without=["shop"])) == {"shop_reference"}  # presence and key stay


def test_severity_and_limits_are_guarded() -> None:
    with pytest.raises(ValueError, match=r"maxBadFraction is 1\.5; expected 0 to 1"):
        parse_contract(TEXT.replace("value: 0.1}", "value: 1.5}"))
    with pytest.raises(ValueError, match="unknown columns in rules \\['price'\\]"):
        parse_contract(TEXT.replace("value: [kind]", "value: [price]"))
    with pytest.raises(ValueError, match="named twice \\['has_rows'\\]"):
        parse_contract(TEXT.replace("id: no_b", "id: has_rows"))
    with pytest.raises(ValueError, match="exactly one table"):
        parse_contract("kind: DataContract")


# ---- a file's columns


def contract(*required: str, optional: tuple[str, ...] = ()) -> Contract:
    names = [*((name, True) for name in required), *((name, False) for name in optional)]
    columns = tuple(
        Column(name=name, logical_type="string", physical_type="VARCHAR", required=needed) for name, needed in names
    )
    return Contract(table="raw.t", version="1", description="", grain="", columns=columns, key=(), rules=())


def test_columns_match_by_name_then_by_mapping() -> None:
    wanted = contract("date", "cost", optional=("clicks", "bid"))
    source = SourceConfig(path="t.csv", columns={"cost": "Spend"})
    matched = match_columns(wanted, source, ["Date ", "cost", " spend", "Clicks"], "t.csv")
    assert matched.names == {"date": "Date ", "cost": " spend", "clicks": "Clicks"}


def test_an_exact_name_goes_before_one_in_other_case() -> None:
    assert match_columns(contract("date"), SourceConfig(path="t"), ["DATE", "date"], "t").names == {"date": "date"}


@pytest.mark.parametrize(
    ("found", "advice"),
    [
        (["date", "costs"], "Nearest is 'costs'."),
        (["date", "Cost (EUR)", "cast_iron"], "Nearest is 'Cost (EUR)'."),
        (["date", "xyz"], "No name comes near it."),
    ],
)
def test_a_missing_column_names_the_nearest(found: list[str], advice: str) -> None:
    with pytest.raises(DataError) as caught:
        match_columns(contract("date", "cost"), SourceConfig(path="t.csv"), found, "t.csv")
    assert advice in str(caught.value)
    assert f"found {', '.join(found)}" in str(caught.value)


def test_a_mapping_to_an_optional_column_must_hold() -> None:
    with pytest.raises(DataError, match="no column 'Klicks'"):
        match_columns(contract("a", optional=("b",)), SourceConfig(path="t", columns={"b": "Klicks"}), ["a"], "t")


def test_a_mapping_from_an_unknown_column_is_refused() -> None:
    with pytest.raises(ConfigError, match="no column 'cst'; did you mean 'cost'"):
        check_mapping(contract("cost"), SourceConfig(path="t", columns={"cst": "x"}))


@given(st.lists(st.text(max_size=8), max_size=8), st.text(max_size=8))
def test_any_header_matches_or_says_why(found: list[str], theirs: str) -> None:
    source = SourceConfig(path="t", columns={"a": theirs})
    try:
        matched = match_columns(contract("a"), source, found, "t")
    except DataError as error:
        assert "no column" in str(error)
    else:
        assert matched.names["a"] in found


# ---- settings of a source


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": ""}, "path is ''"),
        ({"path": ()}, r"path is \(\)"),
        ({"path": "a", "delimiter": ",,"}, "expected one character or 'whitespace'"),
        ({"path": "a", "header": False}, "expected `names`"),
        ({"path": "a", "names": ("x",)}, "names are given for a file with a header"),
        ({}, "expected either `path` or `database`"),
        ({"path": "a", "database": "b", "query": "select 1"}, "expected either `path` or `database`"),
        ({"database": "b"}, "without `query`"),
        ({"path": "a", "timezone": "Berlin"}, "expected an IANA name"),
        ({"path": "a", "currency": "€"}, "expected an ISO 4217 code"),
    ],
)
def test_impossible_sources_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SourceConfig(**options)


@given(st.text())
def test_quoting_is_undone_by_halving_quotes(text: str) -> None:
    assert identifier(text)[1:-1].replace('""', '"') == text
    assert literal(text)[1:-1].replace("''", "'") == text


def test_rules_default_to_no_parameters() -> None:
    assert Rule(check_id="x", kind="lines", columns=(), severity="error", sentence="").params == {}


@pytest.mark.parametrize("database", ["postgresql://me:canary@host/db", "host=h password=canary", "x://:canary@h"])
def test_a_password_in_the_settings_is_refused_and_not_told(database: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SourceConfig(database=database, query="select 1")
    assert "holds a password" in str(caught.value)
    assert "canary" not in repr(caught.value)
