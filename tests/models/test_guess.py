"""What a file seems to be: of the platforms' exports all, of people's own files those with plain names."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contracts import parse_contract
from models.guess import guess, likeness

FOLDER = Path(__file__).parents[2] / "data_contracts"
CONTRACTS = [parse_contract(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("raw_*.odcs.yaml"))]


def rows(header: list[str], *lines: str) -> list[dict[str, str]]:
    return [dict(zip(header, line.split(";"), strict=True)) for line in lines]


@pytest.mark.parametrize(
    ("header", "line", "table", "columns"),
    [
        ("date;channel;cost", "2026-01-01;tv;1.5", "ad_spend", {}),
        ("Datum;Kanal;Ausgaben", "01.02.2026;TV;1.234,50", "ad_spend",
         {"date": "Datum", "channel": "Kanal", "cost": "Ausgaben"}),
        ("week_start;media channel;net spend (EUR)", "2026-01-05;radio;1,000", "ad_spend",
         {"date": "week_start", "channel": "media channel", "cost": "net spend (EUR)"}),
        ("date;value;orders", "2026-01-01;100;3", "kpi", {}),
        ("Day;Total sales;Orders", "2026-01-01;€ 100.00;3", "kpi", {"date": "Day", "value": "Total sales"}),
        ("Order number;Customer ID;Order date;Umsatz;Country", "A-1;77;2026-01-01 10:00;99.90;DE", "orders",
         {"order_id": "Order number", "customer_id": "Customer ID", "ordered_at": "Order date", "revenue": "Umsatz"}),
        ("customer_id;signup_date;channel", "77;2025-01-01;tv", "customers", {"acquired_at": "signup_date"}),
        ("gclid;click time;channel;device", "Cj0;2026-01-01 10:00:00;search;mobile", "clicks",
         {"click_id": "gclid", "clicked_at": "click time"}),
        ("date;name;value", "2026-01-01;price;9.99", "controls", {}),
        ("date;keyword;max cpc;impressions;clicks;cost", "2026-01-01;shoes;0.5;100;3;1.2", "bids", {"bid": "max cpc"}),
        ("date;currency;rate", "2026-01-01;USD;0.92", "rates", {}),
        ("visitor id;timestamp;medium", "v1;2026-01-01 10:00;email", "touchpoints",
         {"person_id": "visitor id", "touched_at": "timestamp", "channel": "medium"}),
    ],
)  # fmt: skip
def test_a_file_of_ones_own_is_placed(header: str, line: str, table: str, columns: dict[str, str]) -> None:
    names = header.split(";")
    found = guess(names, rows(names, line, line), CONTRACTS)
    assert (found.table, found.preset, found.columns) == (table, None, columns)


@pytest.mark.parametrize(
    ("header", "sure"),
    [
        ("date;channel;cost", True),
        ("day;network;spend", True),
        ("date;channel;net cost paid", False),  # only a part of the name is known
        ("date;chanel;cost", False),  # misspelt
    ],
)
def test_it_is_sure_of_names_it_knows(header: str, sure: bool) -> None:
    found = guess(header.split(";"), [], CONTRACTS)
    assert (found.table, found.sure) == ("ad_spend", sure)
    assert found.reasons


def test_a_platform_goes_before_names() -> None:
    names = ["Day", "Campaign", "Campaign type", "Currency code", "Cost", "Impr.", "Clicks"]
    found = guess(names, rows(names, "2026-01-01;Brand;Search;USD;1.00;10;1"), CONTRACTS)
    assert (found.table, found.preset, found.columns, found.sure) == ("ad_spend", "google_ads", {}, True)
    assert found.currency == "USD"
    assert "'Impr.'" in found.reasons[0]


def test_currency_in_the_header() -> None:
    names = ["Day", "Campaign name", "Amount spent (CHF)", "Link clicks"]
    assert guess(names, [], CONTRACTS).currency == "CHF"
    assert guess(["date", "channel", "Cost (SEK)"], [], CONTRACTS).currency == "SEK"
    names = ["date", "channel", "cost", "currency"]
    assert guess(names, rows(names, "d;c;1;EUR", "d;c;1;USD"), CONTRACTS).currency is None  # two of them


def test_a_platform_without_the_day_says_what_to_export() -> None:
    found = guess(["Campaign", "Campaign type", "Cost", "Impr.", "Conv. value"], [], CONTRACTS)
    assert (found.table, found.preset, found.sure) == ("ad_spend", "google_ads", False)
    assert "it has no column for date. Segment the report by Day." in found.reasons


def test_a_renamed_column_of_a_platform_is_mapped_but_not_sure() -> None:
    names = ["Day", "Campaign", "Costs", "Impr.", "Conv. value"]
    found = guess(names, rows(names, "2026-01-01;x;1.2;3;4"), CONTRACTS)
    assert (found.preset, found.columns, found.sure) == ("google_ads", {"cost": "Costs"}, False)
    names = ["Day", "Campaign", "Cost type", "Impr.", "Conv. value"]
    assert guess(names, rows(names, "2026-01-01;x;CPC;3;4"), CONTRACTS).columns == {}  # its values are no amounts


def test_values_tell_columns_of_one_name_apart() -> None:
    names = ["Date", "Channel", "Cost model", "Cost"]
    found = guess(names, rows(names, "2026-01-01;tv;CPM;12,50 €", "2026-01-02;tv;CPC;--"), CONTRACTS)
    assert (found.table, found.columns) == ("ad_spend", {})
    assert guess(["date", "channel", "cost"], rows(["date", "channel", "cost"], "tv;1.2;x"), CONTRACTS).table is None


def test_a_column_is_taken_once() -> None:
    assert guess(["date", "channel", "cost conversions"], [], CONTRACTS).columns == {"cost": "cost conversions"}


@pytest.mark.parametrize("header", ["a;b;c", "", "Sitzplatz;Reihe", "id;description;stock;price"])
def test_what_is_none_is_not_placed(header: str) -> None:
    found = guess(header.split(";"), [], CONTRACTS)
    assert (found.table, found.sure) == (None, False)
    assert found.reasons


def test_what_lacks_one_column_says_which() -> None:
    found = guess(["date", "cost", "clicks"], [], CONTRACTS)
    assert found.table is None
    assert found.reasons == ("it is nearest to ad_spend, but has no column for channel",)


def test_a_ledger_does_not_pass_before_spend() -> None:
    assert {contract.name for contract in CONTRACTS} >= {"ad_spend", "spend_ledger"}
    found = guess(["date", "channel", "cost"], [], CONTRACTS[::-1])
    assert (found.table, found.sure) == ("ad_spend", True)


@given(st.lists(st.text(max_size=12), max_size=12), st.lists(st.text(max_size=12), max_size=12))
def test_any_file_is_guessed_within_its_own_names(header: list[str], cells: list[str]) -> None:
    found = guess(header, [dict(zip(header, cells, strict=False))], CONTRACTS)
    assert set(found.columns.values()) <= set(header)
    assert len(set(found.columns.values())) == len(found.columns)
    assert found.sure <= (found.table is not None)


def test_a_header_is_more_like_one_than_a_row_or_a_title() -> None:
    title, header, row = ["Spend of 2026"], ["Datum", "Kanal", "Ausgaben"], ["01.02.2026", "TV", "1.234,50"]
    assert likeness(header, CONTRACTS) > 0 == likeness(title, CONTRACTS) == likeness(row, CONTRACTS)
