"""Data contracts: an ODCS file as plain data.

A contract (`data_contracts/*.odcs.yaml`, Open Data Contract Standard 3.1.0) is the only place where a column, its
type, unit, range, key or severity is written. `models/expectations.py` turns its rules into checks.

Sources: Open Data Contract Standard 3.1.0, sections Schema, Data Quality, Service-Level Agreement.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

import yaml

Kind = Literal[
    "lines", "present", "type", "range", "values", "order", "key", "restated", "reference", "query", "rows", "fresh"
]
Severity = Literal["error", "warning"]

MAX_BAD_FRACTION = 0.05  # beyond one bad row in twenty a file is wrong, not dirty
TYPE_NAMES = {  # physical type -> how a sentence calls its values
    "BIGINT": "a whole number",
    "BOOLEAN": "true or false",
    "DATE": "a date (YYYY-MM-DD)",
    "DOUBLE": "a number",
    "TIMESTAMP": "a date and time (YYYY-MM-DD HH:MM:SS)",
    "VARCHAR": "text",
}
REFLECTED_TYPES = {  # physical type -> the name under which SQLAlchemy, hence Great Expectations, sees it
    "BIGINT": "BigInteger",
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "DOUBLE": "FLOAT",
    "TIMESTAMP": "TIMESTAMP",
    "VARCHAR": "String",
}
BOUNDS = {  # ODCS logicalTypeOptions key -> (comparison, words)
    "minimum": (">=", "at least"),
    "exclusiveMinimum": (">", "above"),
    "maximum": ("<=", "at most"),
    "exclusiveMaximum": ("<", "below"),
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table: what it means, in which type and unit, and whether it may be empty."""

    name: str
    logical_type: str
    physical_type: str
    required: bool = False
    unit: str | None = None
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One check of a table.

    Parameters
    ----------
    check_id : its name within the table, stable between versions.
    kind : what is checked; `params` depend on it.
    columns : columns it needs; an optional column without a single value switches the rule off.
    severity : "error" moves failing rows to quarantine, or stops the run where none can be blamed; "warning" reports.
    sentence : what must hold, in words.
    """

    check_id: str
    kind: Kind
    columns: tuple[str, ...]
    severity: Severity
    sentence: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Contract:
    """One table's contract; `table` is `schema.name`, `key` the columns that name a row."""

    table: str
    version: str
    description: str
    grain: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    rules: tuple[Rule, ...]
    max_bad_fraction: float = MAX_BAD_FRACTION

    def __post_init__(self) -> None:
        if not 0 <= self.max_bad_fraction <= 1:
            raise ValueError(f"{self.table}: maxBadFraction is {self.max_bad_fraction}; expected 0 to 1")
        names = [column.name for column in self.columns]
        ids = [rule.check_id for rule in self.rules]
        unknown = {name for rule in self.rules for name in rule.columns} - set(names)
        twice = {name for name in names if names.count(name) > 1} | {name for name in ids if ids.count(name) > 1}
        if unknown or twice:
            raise ValueError(f"{self.table}: unknown columns in rules {sorted(unknown)}, named twice {sorted(twice)}")

    @property
    def name(self) -> str:
        """The table's name without its schema; for raw tables also the name of the source."""
        return self.table.split(".", 1)[1]

    @property
    def required(self) -> tuple[str, ...]:
        """Columns that a file must have."""
        return tuple(column.name for column in self.columns if column.required)

    @property
    def optional(self) -> tuple[str, ...]:
        """Columns that a file may have."""
        return tuple(column.name for column in self.columns if not column.required)


def parse_contract(text: str) -> Contract:
    """The contract written in one ODCS document.

    Raises
    ------
    ValueError : the document holds no table, or its rules name columns it lacks.
    """
    document = yaml.safe_load(text)
    if not isinstance(document, dict) or len(document.get("schema") or []) != 1:
        raise ValueError("a contract holds exactly one table under `schema`")
    table = document["schema"][0]
    custom = _custom(table)
    properties = table["properties"]
    columns = tuple(_column(item) for item in properties)
    keyed = sorted((item for item in properties if item.get("primaryKey")), key=lambda item: item["primaryKeyPosition"])
    key = tuple(item["name"] for item in keyed)
    is_raw = table["physicalName"].startswith("raw.")
    pairs = zip(properties, columns, strict=True)
    rules = [_LINES] if is_raw else []
    rules += [rule for item, column in pairs for rule in _column_rules(item, column, is_raw)]
    if key:
        rules += _key_rules(key, is_raw)
    rules += [_quality_rule(item) for item in table.get("quality", [])]
    rules += [_fresh_rule(item) for item in document.get("slaProperties", []) if item["property"] == "latency"]
    return Contract(
        table=table["physicalName"],
        version=document["version"],
        description=table["description"],
        grain=table["dataGranularityDescription"],
        columns=columns,
        key=key,
        rules=tuple(rules),
        max_bad_fraction=float(custom.get("maxBadFraction", MAX_BAD_FRACTION)),
    )


_LINES = Rule(
    check_id="lines_readable",
    kind="lines",
    columns=(),
    severity="error",
    sentence="every line of a text file splits into its columns",
)


def _custom(item: Mapping[str, Any]) -> dict[str, Any]:
    return {entry["property"]: entry["value"] for entry in item.get("customProperties", [])}


def _column(item: Mapping[str, Any]) -> Column:
    return Column(
        name=item["name"],
        logical_type=item["logicalType"],
        physical_type=item["physicalType"],
        required=item.get("required", False),
        unit=_custom(item).get("unit"),
        description=item["description"],
    )


def _column_rules(item: Mapping[str, Any], column: Column, is_raw: bool) -> Iterable[Rule]:
    name = column.name
    if column.required:
        sentence = f"{name} is never empty"
        yield Rule(check_id=f"{name}_present", kind="present", columns=(name,), severity="error", sentence=sentence)
    if is_raw and column.physical_type != "VARCHAR":
        sentence = f"{name} is {TYPE_NAMES[column.physical_type]}"
        params = {"type": REFLECTED_TYPES[column.physical_type]}
        yield Rule(
            check_id=f"{name}_type", kind="type", columns=(name,), severity="error", sentence=sentence, params=params
        )
    bounds = {key: value for key, value in item.get("logicalTypeOptions", {}).items() if key in BOUNDS}
    if column.logical_type in {"date", "timestamp"}:
        bounds = {key: date.fromisoformat(value) for key, value in bounds.items()}
    if bounds:
        words = " and ".join(f"{BOUNDS[key][1]} {value}" for key, value in bounds.items())
        yield Rule(
            check_id=f"{name}_range",
            kind="range",
            columns=(name,),
            severity=_custom(item).get("rangeSeverity", "error"),
            sentence=f"{name} is {words}",
            params=bounds,
        )
    for check in item.get("quality", []):  # the library's invalidValues is the one metric used on columns
        values = tuple(check["arguments"]["validValues"])
        yield Rule(
            check_id=f"{name}_values",
            kind="values",
            columns=(name,),
            severity=check.get("severity", "error"),
            sentence=f"{name} is one of {', '.join(map(str, values))}",
            params={"values": values},
        )
    for link in item.get("relationships", []):
        table, other = link["to"].split(".")
        yield Rule(
            check_id=f"{name}_reference",
            kind="reference",
            columns=(name,),
            severity="warning",
            sentence=f"every {name} stands in {table}.{other}",
            params={"table": f"raw.{table}", "column": other},
        )


def _key_rules(key: tuple[str, ...], is_raw: bool) -> Iterable[Rule]:
    words = ", ".join(key)
    sentence = f"no two rows have the same {words}"
    if not is_raw:
        params = {"per_file": False}
        yield Rule(check_id="key_unique", kind="key", columns=key, severity="error", sentence=sentence, params=params)
        return
    yield Rule(
        check_id="key_unique",
        kind="key",
        columns=key,
        severity="error",
        sentence=f"{sentence} within a file",
        params={"per_file": True},
    )
    yield Rule(
        check_id="key_restated",
        kind="restated",
        columns=key,
        severity="warning",
        sentence=f"no file states again the {words} of an earlier one; where it does, the later file counts",
    )


def _quality_rule(item: Mapping[str, Any]) -> Rule:
    """A check of the whole table: a number of rows, or one of the two Great Expectations checks used as such."""
    common = {"check_id": item["id"], "severity": item["severity"], "sentence": item["description"]}
    if item.get("metric") == "rowCount":
        return Rule(kind="rows", columns=(), params={"minimum": item["mustBeGreaterOrEqualTo"]}, **common)
    implementation = item["implementation"]
    kwargs = implementation["kwargs"]
    columns = tuple(_custom(item).get("columns", ()))
    if implementation["type"] == "expect_column_pair_values_a_to_be_greater_than_b":
        return Rule(kind="order", columns=(kwargs["column_A"], kwargs["column_B"]), **common)
    return Rule(kind="query", columns=columns, params={"query": kwargs["unexpected_rows_query"]}, **common)


def _fresh_rule(item: Mapping[str, Any]) -> Rule:
    column, days = item["element"].split(".")[1], int(item["value"])
    return Rule(
        check_id=f"{column}_fresh",
        kind="fresh",
        columns=(column,),
        severity="warning",
        sentence=f"the newest {column} is at most {days} days before the day of the run",
        params={"days": days},
    )
