"""Whose column is whose: explicit mapping, constants, preset, our own names; and what is said when one is missing."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from models.columns import COMPLETE, check_mapping, header_score, match_columns, matched_so_far, nearest_name
from models.contracts import Column, Contract, parse_contract
from models.errors import ConfigError, DataError
from models.presets import AUTO
from models.sources import SourceConfig

CONTRACTS = Path(__file__).parents[2] / "data_contracts"
GOOGLE = ["Day", "Campaign", "Campaign type", "Currency code", "Cost", "Impr.", "Clicks"]


def contract(*required: str, optional: tuple[str, ...] = ()) -> Contract:
    names = [*((name, True) for name in required), *((name, False) for name in optional)]
    columns = tuple(
        Column(name=name, logical_type="string", physical_type="VARCHAR", required=needed) for name, needed in names
    )
    return Contract(table="raw.t", version="1", description="", grain="", columns=columns, key=(), rules=())


def source_contract(table: str) -> Contract:
    return parse_contract((CONTRACTS / f"raw_{table}.odcs.yaml").read_text(encoding="utf-8"))


ADS, ORDERS = source_contract("ad_spend"), source_contract("orders")


def config(**options: object) -> SourceConfig:
    return SourceConfig(path="t.csv", **options)  # type: ignore[arg-type]


# ---- without a preset


def test_columns_match_by_name_then_by_mapping() -> None:
    wanted = contract("date", "cost", optional=("clicks", "bid"))
    matched = match_columns(wanted, config(columns={"cost": "Spend"}), ["Date ", "cost", " spend", "Clicks"], "t.csv")
    assert matched.names == {"date": "Date ", "cost": " spend", "clicks": "Clicks"}
    assert (matched.transforms, matched.constants, matched.currency, matched.continuation) == ({}, {}, None, None)


def test_an_exact_name_goes_before_one_in_other_case() -> None:
    assert match_columns(contract("date"), config(), ["DATE", "date"], "t").names == {"date": "date"}


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
        match_columns(contract("date", "cost"), config(), found, "t.csv")
    assert advice in str(caught.value)
    assert f"t.csv has no column 'cost'; found {', '.join(found)}" in str(caught.value)
    assert "Expected date, cost." in str(caught.value)


def test_a_column_in_use_is_not_suggested() -> None:
    with pytest.raises(DataError, match="No name comes near it"):
        match_columns(contract("date", "dates"), config(), ["date", "xyz"], "t.csv")


def test_a_mapping_to_an_optional_column_must_hold() -> None:
    with pytest.raises(DataError, match="no column 'Klicks'"):
        match_columns(contract("a", optional=("b",)), config(columns={"b": "Klicks"}), ["a"], "t")


@given(st.lists(st.text(max_size=8), max_size=8), st.text(max_size=8))
def test_any_header_matches_or_says_why(found: list[str], theirs: str) -> None:
    source = config(columns={"a": theirs}, preset=AUTO)
    try:
        matched = match_columns(contract("a"), source, found, "t")
    except DataError as error:
        assert "no column" in str(error)
    else:
        assert matched.names["a"] in found
    assert (header_score(contract("a"), source, found) >= COMPLETE) == (
        not matched_so_far(contract("a"), source, [name for name in found if name.strip()])[1]
    )


@pytest.mark.parametrize(
    "name", ["costs", "Amount, net", "it's", "Cost: net", "#", "{x}", "Größe", " x", "no\n", "'", "a\tb"]
)
def test_the_line_to_add_is_yaml(name: str) -> None:
    with pytest.raises(DataError) as caught:
        match_columns(contract("date", "cost"), config(columns={"cost": f"{name} 1"}), ["date", f"{name} 2"], "t.csv")
    assert len(str(caught.value).splitlines()) == 4
    line = yaml.safe_load(str(caught.value).splitlines()[-1])
    assert line == {"sources": {"t": {"columns": {"cost": f"{name} 2"}}}}


def test_a_name_without_end_is_cut() -> None:
    with pytest.raises(DataError) as caught:
        match_columns(contract("date", "cost"), config(), ["date", "x" * 1_000_000], "t.csv")
    assert len(str(caught.value)) < 1000


# ---- constants


def test_a_constant_stands_in_for_a_column_that_the_file_lacks() -> None:
    wanted = contract("date", "channel", "cost")
    source = config(constants={"channel": "tv"})
    matched = match_columns(wanted, source, ["date", "cost"], "t")
    assert (matched.names, matched.constants) == ({"date": "date", "cost": "cost"}, {"channel": "tv"})
    matched = match_columns(wanted, source, ["date", "cost", "Channel"], "t")
    assert (matched.names["channel"], matched.constants) == ("Channel", {})


def test_a_constant_of_the_settings_goes_before_the_preset() -> None:
    source = config(preset="google_ads", constants={"channel": "paid_search"})
    matched = match_columns(ADS, source, GOOGLE, "t")
    assert matched.constants == {"channel": "paid_search"}
    assert "channel" not in {**matched.names, **matched.transforms}


# ---- presets


def test_a_preset_knows_the_names_and_what_to_do_with_the_values() -> None:
    matched = match_columns(ADS, config(preset="google_ads"), GOOGLE, "t")
    assert matched.names == {
        "date": "Day",
        "channel": "Campaign type",
        "campaign": "Campaign",
        "cost": "Cost",
        "impressions": "Impr.",
        "clicks": "Clicks",
        "currency": "Currency code",
    }
    assert matched.transforms == {"channel": "slug:google_"}
    matched = match_columns(ADS, config(preset="google_ads"), ["segments.date", "metrics.cost_micros"], "t")
    assert matched.transforms == {"cost": "micros"}
    assert matched.constants == {"channel": "google_ads"}


def test_the_most_telling_name_wins_and_the_rest_are_unused() -> None:
    header = ["Day", "Amount spent (USD)", "clicks", "Clicks (all)", "Link clicks", "Campaign ID", "Campaign name"]
    matched = match_columns(ADS, config(preset="meta_ads"), header, "t")
    assert (matched.names["clicks"], matched.names["campaign"], matched.currency) == (
        "Link clicks",
        "Campaign name",
        "USD",
    )


def test_a_mapping_goes_before_the_preset_and_keeps_what_is_known_of_the_name() -> None:
    source = config(preset="google_ads", columns={"cost": "metrics_cost_micros", "campaign": "Label"})
    matched = match_columns(ADS, source, [*GOOGLE, "metrics_cost_micros", "Label"], "t")
    assert (matched.names["cost"], matched.names["campaign"]) == ("metrics_cost_micros", "Label")
    assert matched.transforms == {"channel": "slug:google_", "cost": "micros"}
    source = config(preset="meta_ads", columns={"cost": "amount spent (chf)"})
    assert match_columns(ADS, source, ["Day", "Amount spent (CHF)"], "t").currency == "CHF"


def test_what_names_a_person_is_hashed_under_whichever_name() -> None:
    header = ["Name", "Created at", "Subtotal", "Financial Status"]
    matched = match_columns(ORDERS, config(preset="shopify_orders"), [*header, "Email"], "t")
    assert (matched.transforms, matched.continuation) == ({"customer_id": "hash"}, "Financial Status")
    mapped = config(preset="shopify_orders", columns={"customer_id": "E-Mail-Adresse"})
    assert match_columns(ORDERS, mapped, [*header, "E-Mail-Adresse"], "t").transforms == {"customer_id": "hash"}
    matched = match_columns(ORDERS, config(preset="shopify_orders"), [*header, "Email", "Customer ID"], "t")
    assert (matched.names["customer_id"], matched.transforms) == ("Customer ID", {})


def test_a_total_with_taxes_does_not_pass_for_the_subtotal() -> None:
    header = ["Name", "Email", "Created at", "Total", "Financial Status"]
    with pytest.raises(
        DataError, match=r"no column for revenue(?s:.)*Nearest is 'Total'\. Export with the column Subtotal"
    ):
        match_columns(ORDERS, config(preset="shopify_orders"), header, "t.csv")


def test_the_first_day_of_a_period_does_not_pass_for_the_day() -> None:
    header = ["Campaign name", "Amount spent (EUR)", "Reporting starts", "Reporting ends"]
    with pytest.raises(DataError, match=r"no column for date(?s:.)*Break the report down by time, Day\."):
        match_columns(ADS, config(preset="meta_ads"), header, "t.csv")


def test_auto_takes_the_preset_that_the_header_tells() -> None:
    assert match_columns(ADS, config(preset=AUTO), GOOGLE, "t").names["channel"] == "Campaign type"
    assert match_columns(ADS, config(preset=AUTO), ["Day", "Amount spent (EUR)"], "t").constants == {
        "channel": "meta_ads"
    }
    own = match_columns(ADS, config(preset=AUTO), ["date", "channel", "cost"], "t")
    assert own.names == {"date": "date", "channel": "channel", "cost": "cost"}


def test_a_preset_message_says_what_was_found_expected_and_to_do() -> None:
    with pytest.raises(DataError) as caught:
        match_columns(ADS, config(preset="google_ads"), ["Day", "Campaign", "Costs", "Impr."], "g.csv")
    assert str(caught.value) == (
        "ad_spend: g.csv has no column for cost; found Day, Campaign, Costs, Impr..\n"
        "Expected one of Cost, Kosten, metrics.cost_micros, metrics.costMicros, metrics_cost_micros, cost_micros "
        "(preset google_ads).\n"
        "Nearest is 'Costs'. Add the column Cost. If it is that column under another name, add to marginal.yaml:\n"
        "  sources: {ad_spend: {columns: {cost: Costs}}}"
    )


# ---- settings that cannot be


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (ADS, {"columns": {"cst": "x"}}, r"ad_spend\.columns: .* no column 'cst'; did you mean 'cost'"),
        (ADS, {"constants": {"chanel": "x"}}, r"ad_spend\.constants: .* no column 'chanel'; did you mean 'channel'"),
        (ADS, {"preset": "google_ad"}, "no preset 'google_ad'; did you mean 'google_ads'"),
        (ADS, {"preset": "xyz"}, "no preset 'xyz'\\.\nExpected one of google_ads, microsoft_ads"),
        (ADS, {"preset": "shopify_orders"}, "exports that hold orders; expected google_ads or microsoft_ads"),
        (ORDERS, {"preset": "google_ads"}, "hold ad_spend; expected shopify_orders or auto here"),
        (source_contract("bids"), {"preset": "google_ads"}, "hold ad_spend; there is none for bids"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(table: Contract, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check_mapping(table, config(**options))
    assert len(str(caught.value).splitlines()) == 2


def test_a_mapping_that_fits_is_not() -> None:
    check_mapping(ADS, config(preset="google_ads", columns={"cost": "x"}, constants={"channel": "y"}))
    check_mapping(ADS, config(preset=AUTO))


# ---- the header among the lines of a file


def test_the_true_header_scores_best() -> None:
    source = config(preset="google_ads")
    lines = [
        ["Campaign"],  # a title that is one of the names
        ["January 1, 2026 - January 31, 2026"],
        GOOGLE,
        ["2026-01-01", "Brand", "Search", "EUR", "1.00", "10", "1"],
        ["Campaign", "Clicks", "Impr.", "Device", "Currency", "Conversions", "Conv. value", "Ad group"],
    ]
    scores = [header_score(ADS, source, line) for line in lines]
    assert max(scores) == scores[2] == COMPLETE + 7
    assert (scores[1], scores[3]) == (0, 0)
    assert 0 < scores[0] < scores[4] < COMPLETE


def test_a_header_with_a_column_renamed_still_beats_what_stands_above_it() -> None:
    source = config(preset="google_ads")
    renamed = [name if name != "Cost" else "Costs" for name in GOOGLE]
    assert header_score(ADS, source, renamed) == 6 > header_score(ADS, source, ["Campaign", "Day"]) == 2


def test_constants_alone_make_no_header() -> None:
    source = config(constants=dict.fromkeys(("date", "channel", "cost"), "1"))
    assert header_score(ADS, source, ["x", "y", ""]) == 0


def test_a_wide_file_is_looked_at_in_time() -> None:
    """The cost is linear in the names: no name is compared with every other."""
    header = [f"column {number}" for number in range(10_000)]
    with pytest.raises(DataError, match="and 9970 more"):
        match_columns(ADS, config(preset=AUTO), header, "t")
    assert nearest_name(["column 10000"], header) == "column 100"  # of those that are compared


def test_nearest_of_nothing() -> None:
    assert nearest_name([], ["a"]) is None
    assert nearest_name(["a"], []) is None
