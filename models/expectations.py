"""A contract's rules as descriptions of Great Expectations checks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from models.contracts import Contract, Rule
from models.sqltext import identifier


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """One Great Expectations check as plain data: its type name and its keyword arguments."""

    check_id: str
    type: str
    kwargs: Mapping[str, Any]


def compile_expectations(contract: Contract, as_of: date, without: Iterable[str] = ()) -> tuple[Expectation, ...]:
    """The contract's rules as Great Expectations checks, in the order of the contract.

    Parameters
    ----------
    as_of : the day against which freshness is judged.
    without : columns that hold no value at all; rules that need one are left out, except presence and keys.
    """
    absent = set(without)
    always = {"present", "key", "restated"}
    return tuple(
        _expectation(rule, as_of)
        for rule in contract.rules
        if rule.kind != "lines" and (rule.kind in always or not absent & set(rule.columns))
    )


def _expectation(rule: Rule, as_of: date) -> Expectation:
    column = rule.columns[0] if rule.columns else ""
    kind: str
    kwargs: dict[str, Any]
    match rule.kind:
        case "present":
            kind, kwargs = "expect_column_values_to_not_be_null", {"column": column}
        case "type":
            kind, kwargs = "expect_column_values_to_be_of_type", {"column": column, "type_": rule.params["type"]}
        case "range":
            kind, kwargs = "expect_column_values_to_be_between", {"column": column, **_between(rule.params)}
        case "values":
            kind = "expect_column_values_to_be_in_set"
            kwargs = {"column": column, "value_set": list(rule.params["values"])}
        case "order":
            kind = "expect_column_pair_values_a_to_be_greater_than_b"
            kwargs = {
                "column_A": column,
                "column_B": rule.columns[1],
                "or_equal": True,
                "ignore_row_if": "either_value_is_missing",
            }
        case "rows":
            kind, kwargs = "expect_table_row_count_to_be_between", {"min_value": rule.params["minimum"]}
        case _:
            kind, kwargs = "unexpected_rows_expectation", {"unexpected_rows_query": _unexpected_rows(rule, as_of)}
    return Expectation(check_id=rule.check_id, type=kind, kwargs=kwargs)


def _between(params: Mapping[str, Any]) -> dict[str, Any]:
    kwargs: dict[str, Any] = {}
    for key, value in params.items():
        side = "min" if "inimum" in key else "max"
        kwargs[f"{side}_value"] = value
        if key.startswith("exclusive"):
            kwargs[f"strict_{side}"] = True
    return kwargs


def _unexpected_rows(rule: Rule, as_of: date) -> str:
    """A SELECT with one row for each row that breaks the rule; `{batch}` is the table under check.

    It holds names from the contract only, identifier, never a value from data.
    """
    names = ", ".join(map(identifier, rule.columns))
    match rule.kind:
        case "key":
            scope = f"{names}, _file" if rule.params["per_file"] else names
            return f"select 1 from {{batch}} qualify row_number() over (partition by {scope}) > 1"  # noqa: S608
        case "restated":
            return f"select 1 from {{batch}} qualify _load_id < max(_load_id) over (partition by {names})"  # noqa: S608
        case "reference":
            other = f"select {identifier(rule.params['column'])} from {rule.params['table']}"  # noqa: S608
            return f"select 1 from {{batch}} where {names} is not null and {names} not in ({other})"  # noqa: S608
        case "fresh":
            oldest = date.fromordinal(max(1, as_of.toordinal() - rule.params["days"]))  # 1: a run without a day yet
            newest = f"cast(max({names}) as date)"
            return f"select {newest} from {{batch}} having {newest} < date '{oldest}'"  # noqa: S608
        case _:
            return str(rule.params["query"])
