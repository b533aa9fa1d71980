"""Platforms whose exports are understood as they come.

An export is understood by its header: a preset lists for each of our columns the names it goes by, the most telling
first, and what must be done to the values. Names agree when they do apart from case and the width of blanks.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from models.preset_definitions import GA4, GOOGLE_ADS, META_ADS, MICROSOFT_ADS, SHOPIFY_ORDERS, Names

AUTO = "auto"  # preset of files from several platforms: the header of each tells which one it is
CURRENCY = "{currency}"  # in a name: an ISO 4217 code stands there
BYTE_ORDER_MARK = "\ufeff"  # no blank to Python, yet nothing a person sees


@dataclass(frozen=True, kw_only=True)
class Matched:
    """How the columns of one file become those of a contract.

    Parameters
    ----------
    names : our column -> the file's.
    transforms : our column -> what is done to its text before it is cast: `micros` (millionths to units), `hash`
        (SHA-256, for what names a person), `slug:<prefix>` (prefix and the text in lower case, every run of other
        signs than letters and digits an underscore).
    constants : our column -> its value in every row, where the file has no such column.
    currency : currency that the header names, as an ISO 4217 code.
    continuation : a column of the file; a row in which it is empty goes on with the row above and is ignored.
    """

    names: Mapping[str, str]
    transforms: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    currency: str | None = None
    continuation: str | None = None


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One platform's exports.

    Parameters
    ----------
    table : source that they feed.
    names : our column -> the names it goes by, the most telling first -> what is done to the values, or "".
    marks : names that tell the platform: hardly another one's exports have them.
    constants : our column -> its value where the export has none of the names.
    continuation : names of a column that only the first row of several about one thing fills.
    advice : our column -> what to choose on the platform so that the export has it.
    """

    table: str
    names: Names
    marks: tuple[str, ...]
    constants: Mapping[str, str] = field(default_factory=dict)
    continuation: tuple[str, ...] = ()
    advice: Mapping[str, str] = field(default_factory=dict)


PRESETS: Mapping[str, Preset] = {
    "google_ads": Preset(
        table="ad_spend",
        names=GOOGLE_ADS,
        marks=(
            *("Impr.", "Conv. value", "Conv.-Wert", "Currency code", "Währungscode", "Kampagnentyp", "Interaktionen"),
            *(
                "segments.date",
                "segments_date",
                "campaign.advertising_channel_type",
                "campaign_advertising_channel_type",
            ),
            *(name for name in GOOGLE_ADS["cost"] if "micros" in name.casefold()),
        ),
        constants={"channel": "google_ads"},
        advice={"date": "Segment the report by Day.", "cost": "Add the column Cost."},
    ),
    "microsoft_ads": Preset(
        table="ad_spend",
        names=MICROSOFT_ADS,
        marks=(
            *("TimePeriod", "GregorianDate", "Gregorian date", "CampaignName", "CampaignType", "AdGroupName"),
            *("CurrencyCode", "DeviceType", "AccountName", "AccountNumber", "Account number", "Account name"),
            *("Ad distribution", "AdDistribution", "Currency code", "ConversionsQualified"),
        ),
        constants={"channel": "microsoft_ads"},
        advice={"date": "Set the report's unit of time to Day.", "cost": "Add the column Spend."},
    ),
    "meta_ads": Preset(
        table="ad_spend",
        names=META_ADS,
        marks=(
            *("Amount spent ({currency})", "Ausgegebener Betrag ({currency})", "Amount spent", "Ad set name"),
            *("Reporting starts", "Reporting ends", "Kampagnenname", "Name der Anzeigengruppe"),
            *("date_start", "date_stop", "adset_name", "publisher_platform", "inline_link_clicks", "Link clicks"),
            *(
                "Clicks (all)",
                "Klicks (alle)",
                "Link-Klicks",
                "account_currency",
                "Ad set budget",
                "Attribution setting",
            ),
        ),
        constants={"channel": "meta_ads"},
        advice={"date": "Break the report down by time, Day.", "cost": "Add the column Amount spent."},
    ),
    "ga4": Preset(
        table="kpi",
        names=GA4,
        marks=(
            *("Total revenue", "Gesamtumsatz", "totalRevenue", "Purchase revenue", "purchaseRevenue"),
            *("Ecommerce purchases", "E-Commerce-Käufe", "ecommercePurchases", "Engaged sessions", "Sessions"),
            *("Sitzungen", "Key events", "Schlüsselereignisse", "Active users", "Aktive Nutzer"),
        ),
        advice={"date": "Add the dimension Date.", "value": "Add the metric Total revenue."},
    ),
    "shopify_orders": Preset(
        table="orders",
        names=SHOPIFY_ORDERS,
        marks=(
            *("Financial Status", "Fulfillment Status", "Lineitem quantity", "Lineitem name", "Lineitem price"),
            *("Accepts Marketing", "Cancelled at", "financial_status", "subtotal_price", "fulfillment_status"),
        ),
        continuation=("Financial Status", "Currency", "Total", "Subtotal"),
        advice={"customer_id": "Export with the column Email.", "revenue": "Export with the column Subtotal."},
    ),
}


def plain(name: str) -> str:
    """A column's name as names are compared: without case, every run of blanks one space."""
    return " ".join(name.replace(BYTE_ORDER_MARK, " ").split()).casefold()


def index_names(names: Iterable[str]) -> dict[str, str]:
    """What `find_name` looks names up in: each name, as it is and as names are compared, -> the name."""
    listed = list(names)
    first = {plain(name): name for name in reversed(listed)}
    return {**first, **{name: name for name in listed}}


def find_name(wanted: str, index: Mapping[str, str]) -> str | None:
    """The name that is `wanted`, the exact one first; `{currency}` stands for any ISO 4217 code."""
    if CURRENCY not in wanted:
        return index.get(wanted, index.get(plain(wanted)))
    before = plain(wanted).partition(CURRENCY)[0]
    return next((name for key, name in index.items() if key.startswith(before) and named_currency(wanted, name)), None)


def named_currency(wanted: str, name: str) -> str | None:
    """The currency code that `name` has where `wanted` has `{currency}`; None where the two are not the same name."""
    before, mark, after = plain(wanted).partition(CURRENCY)
    found = re.fullmatch(rf"{re.escape(before)}([a-z]{{3}}){re.escape(after)}", plain(name)) if mark else None
    return found.group(1).upper() if found else None


def detect_preset(header: Iterable[str], table: str | None = None) -> str | None:
    """The preset of a header: the one with most marks in it, then with most columns; None without any mark.

    table : the source whose presets alone are looked at; all when not given.
    """
    index = index_names(header)

    def fit(preset: Preset) -> tuple[int, int]:
        marks = sum(find_name(mark, index) is not None for mark in preset.marks)
        columns = sum(any(find_name(name, index) is not None for name in known) for known in preset.names.values())
        return (marks, columns) if marks else (0, 0)

    fits = {name: fit(preset) for name, preset in PRESETS.items() if table in {None, preset.table}}
    best = max(fits, key=lambda name: fits[name], default=None)
    return best if best is not None and fits[best] > (0, 0) else None
