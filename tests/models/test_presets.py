"""The presets: what they promise of our columns, and how names are compared."""

import itertools
from pathlib import Path

import pytest

from models.contracts import Contract, parse_contract
from models.presets import PRESETS, detect_preset, find_name, index_names, named_currency, plain

CONTRACTS = Path(__file__).parents[2] / "data_contracts"
KINDS = ("", "micros", "hash")

GOOGLE = ["Day", "Campaign", "Campaign type", "Currency code", "Cost", "Impr.", "Clicks", "Conv. value"]
GAQL = ["segments.date", "campaign.name", "metrics.cost_micros", "metrics.clicks"]
MICROSOFT = ["Gregorian date", "Account name", "Campaign name", "Currency code", "Spend", "Impressions", "Clicks"]
META = ["Day", "Campaign name", "Ad set name", "Amount spent (EUR)", "Impressions", "Link clicks", "Reporting starts"]
ANALYTICS = ["Date", "Sessions", "Ecommerce purchases", "Total revenue"]
SHOPIFY = ["Name", "Email", "Financial Status", "Currency", "Subtotal", "Total", "Created at", "Lineitem name"]


def contract(table: str) -> Contract:
    return parse_contract((CONTRACTS / f"raw_{table}.odcs.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_speaks_of_columns_that_its_table_has(name: str) -> None:
    preset = PRESETS[name]
    columns = {column.name for column in contract(preset.table).columns}
    assert preset.names.keys() | preset.constants.keys() | preset.advice.keys() <= columns
    assert set(contract(preset.table).required) <= preset.names.keys() | preset.constants.keys()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_names_nothing_twice_and_knows_what_to_do_with_values(name: str) -> None:
    for ours, known in PRESETS[name].names.items():
        assert all(then in KINDS or then.startswith("slug:") for then in known.values()), ours
    marks = [plain(mark) for mark in PRESETS[name].marks]
    assert len(set(marks)) == len(marks)
    pairs = itertools.combinations(PRESETS[name].names.items(), 2)  # one column of a file is one of ours
    assert not [
        (one, other, set(names) & set(others))
        for (one, names), (other, others) in pairs
        if {plain(n) for n in names} & {plain(n) for n in others}
    ]


@pytest.mark.parametrize(
    ("header", "preset"),
    [
        (GOOGLE, "google_ads"),
        (GAQL, "google_ads"),
        (MICROSOFT, "microsoft_ads"),
        (META, "meta_ads"),
        (ANALYTICS, "ga4"),
        (SHOPIFY, "shopify_orders"),
        (["Day", "Campaign", "Cost", "Currency code"], "google_ads"),  # both platforms' mark, but Google's cost
        (["Day", "Campaign", "Spend", "Currency code"], "microsoft_ads"),
        (  # more columns that Google knows, but more marks of Meta
            [
                "Date",
                "Clicks",
                "Impressions",
                "Conversions",
                "Device",
                "Currency code",
                "Reporting starts",
                "Reporting ends",
            ],
            "meta_ads",
        ),
        (["date", "channel", "cost", "clicks", "conversions"], None),
        (["order_id", "customer_id", "ordered_at", "revenue"], None),
        ([], None),
    ],
)
def test_a_header_tells_its_platform(header: list[str], preset: str | None) -> None:
    assert detect_preset(header) == preset
    assert detect_preset([name.upper().replace(" ", " \u00a0") for name in header]) == preset


def test_a_platform_is_looked_for_among_those_of_the_table() -> None:
    assert detect_preset([*META, *SHOPIFY], "ad_spend") == "meta_ads"
    assert detect_preset([*META, *SHOPIFY], "orders") == "shopify_orders"
    assert detect_preset(GOOGLE, "controls") is None


def test_names_are_compared_without_case_and_width_of_blanks() -> None:
    index = index_names(["\ufeffDay", "Conv.\u00a0 value", "cost", "COST", " Amount spent  (eur) "])
    assert find_name("day", index) == "\ufeffDay"
    assert find_name("Conv. Value", index) == "Conv.\u00a0 value"
    assert (find_name("COST", index), find_name("cost", index), find_name("Cost", index)) == ("COST", "cost", "cost")
    assert find_name("Amount spent ({currency})", index) == " Amount spent  (eur) "
    assert find_name("Amount spent", index) is None


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Amount spent (EUR)", "EUR"),
        ("amount SPENT\u00a0(usd)", "USD"),
        ("Amount spent (EURO)", None),
        ("Amount spent ()", None),
        ("Amount spent", None),
        ("Budget (EUR)", None),
    ],
)
def test_a_header_names_its_currency(name: str, code: str | None) -> None:
    assert named_currency("Amount spent ({currency})", name) == code
    assert named_currency("Amount spent", name) is None
