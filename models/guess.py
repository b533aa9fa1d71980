"""Which source a file is, from its header and a few of its rows.

A platform is told by names that only its exports have (`models/presets.py`). Any other file is compared, column by
column, with what our columns are called in everyday exports and with what their values look like.
"""

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from models.columns import header_score, matched_so_far, nearest_name
from models.contracts import Column, Contract
from models.presets import AUTO, PRESETS, detect_preset, find_name, index_names
from models.sources import SourceConfig

WORDS: Mapping[str, tuple[str, ...]] = {  # our column -> what else it is called, as `_key` leaves a name
    "date": ("day", "datum", "tag", "jour", "fecha", "dia", "giorno", "week", "weekstart", "woche", "period", "ds"),
    "channel": (
        "medium",
        "source",
        "platform",
        "network",
        "kanal",
        "channelname",
        "media",
        "mediachannel",
        "plattform",
    ),
    "cost": (
        "spend",
        "costs",
        "amountspent",
        "adspend",
        "adcost",
        "mediaspend",
        "kosten",
        "ausgaben",
        "coste",
        "costo",
    ),
    "campaign": ("campaignname", "kampagne", "kampagnenname", "campagne", "utmcampaign"),
    "ad_group": ("adgroup", "adgroupname", "adset", "adsetname", "anzeigengruppe"),
    "country": ("land", "countrycode", "market", "region", "shippingcountry"),
    "device": ("devicetype", "devicecategory", "gerat", "geraet"),
    "impressions": ("impr", "impressionen", "views"),
    "clicks": ("klicks", "linkclicks", "clics"),
    "conversions": ("conv", "results", "purchases", "leads"),
    "conversion_value": ("convvalue", "conversionsvalue"),
    "currency": ("currencycode", "waehrung", "wahrung", "curr"),
    "value": (
        "revenue",
        "sales",
        "turnover",
        "umsatz",
        "totalrevenue",
        "totalsales",
        "kpi",
        "amount",
        "erlos",
        "erloes",
    ),
    "orders": ("ordercount", "orderscount", "transactions", "bestellungen", "purchases"),
    "geo": ("region", "country", "state", "dma", "land"),
    "order_id": (
        "order",
        "ordernumber",
        "orderno",
        "transactionid",
        "bestellnummer",
        "invoice",
        "invoiceid",
        "invoiceno",
    ),
    "customer_id": ("customer", "customernumber", "clientid", "userid", "kundennummer", "kunde", "kundenid", "buyerid"),
    "ordered_at": (
        "orderdate",
        "orderedon",
        "createdat",
        "orderedat",
        "bestelldatum",
        "purchasedate",
        "invoicedate",
        "date",
    ),
    "revenue": ("sales", "amount", "total", "subtotal", "netsales", "ordervalue", "umsatz", "price", "nettoumsatz"),
    "margin": ("profit", "grossprofit", "contributionmargin", "marge", "deckungsbeitrag"),
    "refunded_at": ("refundedon", "cancelledat", "returnedat"),
    "acquired_at": ("signup", "signupdate", "registeredat", "registrationdate", "createdat", "firstorderdate", "since"),
    "click_id": ("gclid", "fbclid", "msclkid", "clickid"),
    "clicked_at": ("clicktime", "clickdate", "timestamp", "clickedon"),
    "person_id": ("userid", "visitorid", "clientid", "userpseudoid", "customerid", "cookieid"),
    "touched_at": ("touchtime", "timestamp", "eventtime", "visittime", "time"),
    "unit_id": ("userid", "customerid", "visitorid"),
    "assigned_at": ("timestamp", "enrolledat", "exposedat"),
    "arm": ("variant", "group", "treatment", "bucket"),
    "outcome": ("converted", "conversion", "target"),
    "bid": ("maxcpc", "cpcbid", "gebot"),
    "keyword": ("searchkeyword", "target", "suchbegriff"),
    "rate": ("exchangerate", "fxrate", "kurs", "wechselkurs"),
}
EXACT, KNOWN, PARTIAL = 1.0, 0.9, 0.7  # our name; one of WORDS; one of both inside a longer name such as "Spend (EUR)"
ALIKE = 0.8  # difflib ratio of a misspelt name; below it, short names look like each other by chance
ENOUGH = 0.6  # a required column found with less is not found
OPTIONAL_WEIGHT = 0.5  # a table is told by what it must have
AHEAD = 0.5  # score by which the best table must lead to be sure of it: half a required column
SHAPED = 0.8  # of the values that are there: the rest may be bad rows

DATES = re.compile(
    r"\d{4}[-/.]?\d{1,2}[-/.]?\d{1,2}([ T]\d{1,2}:\d{2}.*)?|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}([ ,]+\d{1,2}:\d{2}.*)?"
    r"|\w{3,9}\.? \d{1,2},? \d{4}|\d{1,2}\.? \w{3,9}\.? \d{4}"
)
NUMBERS = re.compile(
    r"[-+(]?\s*([A-Z]{1,3}|[€$£¥])?\s*[-+]?\d[\d.,'’\s\u00a0\u202f]*(E[+-]?\d+)?\s*([A-Z]{3}|[€$£¥%])?\)?"
)
TRUTHS = re.compile(r"true|false|yes|no|[01tfyn]", re.IGNORECASE)
NOTHING = {"", "-", "--", "n/a", "N/A", "NULL", "null"}  # no value, whatever the type
SHAPES = {"DATE": DATES, "TIMESTAMP": DATES, "DOUBLE": NUMBERS, "BIGINT": NUMBERS, "BOOLEAN": TRUTHS}


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What a file seems to be.

    Parameters
    ----------
    table : the source it belongs to; None where none fits.
    preset : the platform it comes from, if one is told.
    columns : our column -> the file's, for the settings: only names that are not understood anyway.
    sure : whether nothing else fits nearly as well and every required column was told by its name.
    reasons : what speaks for it, and what is missing; a sentence each.
    currency : of the amounts, as an ISO 4217 code, where the header or all rows name one.
    """

    table: str | None
    preset: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    sure: bool = False
    reasons: tuple[str, ...] = ()
    currency: str | None = None


def guess(header: Sequence[str], sample: Sequence[Mapping[str, str]], contracts: Sequence[Contract]) -> Guess:
    """What the file with this header is.

    Parameters
    ----------
    header : names of the file's columns.
    sample : some of its rows, name -> text; a few dozen are enough.
    contracts : of the sources there are.
    """
    preset = detect_preset(header)
    tables = {contract.name: contract for contract in contracts}
    if preset is not None and PRESETS[preset].table in tables:
        return _of_preset(preset, header, sample, tables[PRESETS[preset].table])
    return _of_names(header, sample, contracts)


def likeness(cells: Sequence[str], contracts: Sequence[Contract]) -> int:
    """How much a line of a file looks like a header of any source; 0 where nothing in it does."""
    known = {word for words in WORDS.values() for word in words}
    words = sum(_key(cell) in known for cell in cells)
    source = SourceConfig(path="any", preset=AUTO)
    return words + max((header_score(contract, source, cells) for contract in contracts), default=0)


def _of_preset(name: str, header: Sequence[str], sample: Sequence[Mapping[str, str]], contract: Contract) -> Guess:
    preset, index = PRESETS[name], index_names(header)
    marks = [found for mark in preset.marks if (found := find_name(mark, index)) is not None]
    reasons = [f"{', '.join(map(repr, marks[:3]))} {'is a column' if len(marks) == 1 else 'are columns'} of {name}"]
    source = SourceConfig(path="any", preset=name)
    matched, missing = matched_so_far(contract, source, header)
    columns: dict[str, str] = {}
    for ours in missing:
        free = [other for other in header if other not in {*matched.names.values(), *columns.values()}]
        near = nearest_name([*preset.names.get(ours, {}), ours], free)
        if near is not None and _fits(_column(contract, ours), near, sample):
            columns[ours] = near
            reasons.append(f"{near!r} may be its {ours}")
        else:
            reasons.append(f"it has no column for {ours}. {preset.advice.get(ours, '')}".strip())
    return Guess(
        table=preset.table,
        preset=name,
        columns=columns,
        sure=not missing,
        reasons=tuple(reasons),
        currency=matched.currency or _only_value(matched.names.get("currency"), sample),
    )


def _of_names(header: Sequence[str], sample: Sequence[Mapping[str, str]], contracts: Sequence[Contract]) -> Guess:
    """The table whose columns the header names best."""
    ranked = sorted(
        (_Fit(contract=contract, found=_pair(contract, header, sample)) for contract in contracts),
        key=lambda fit: (-fit.score, fit.name),  # ad_spend goes before the ledger, which has the same columns
    )
    complete = [fit for fit in ranked if not fit.missing]
    if not complete:
        return Guess(table=None, reasons=_why_not(ranked, header))
    best = complete[0]
    rivals = [fit for fit in complete[1:] if set(fit.contract.required) != set(best.contract.required)]
    clear = not rivals or best.score - rivals[0].score >= AHEAD
    named = [best.found[ours] for ours in best.contract.required]
    reasons = [f"{theirs!r} is taken for {ours}" for ours, (theirs, score) in best.found.items() if score < EXACT]
    if not clear:
        reasons.append(f"it may be {rivals[0].name} as well")
    theirs_of = {ours: theirs for ours, (theirs, _) in best.found.items()}
    code = next((code for theirs in header if (code := _code_in(theirs)) is not None), None)
    return Guess(
        table=best.name,
        columns={ours: theirs for ours, theirs in theirs_of.items() if find_name(ours, index_names([theirs])) is None},
        sure=clear and all(score >= KNOWN for _, score in named),
        reasons=tuple(reasons) or (f"it has the columns of {best.name}",),
        currency=_only_value(theirs_of.get("currency"), sample) or code,
    )


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """How a header fits a contract: our column -> the file's and how alike they are."""

    contract: Contract
    found: Mapping[str, tuple[str, float]]

    @property
    def name(self) -> str:
        return self.contract.name

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(ours for ours in self.contract.required if ours not in self.found)

    @property
    def score(self) -> float:
        return sum(
            score * (1 if ours in self.contract.required else OPTIONAL_WEIGHT)
            for ours, (_, score) in self.found.items()
        )


def _pair(
    contract: Contract, header: Sequence[str], sample: Sequence[Mapping[str, str]]
) -> dict[str, tuple[str, float]]:
    """Columns of ours and of the file that go together, the most alike first, none twice."""
    pairs = [
        (alike, column.required, -at, column.name, theirs)
        for column in contract.columns
        for at, theirs in enumerate(header)
        if (alike := _alike(column.name, theirs)) >= ENOUGH and _fits(column, theirs, sample)
    ]
    found: dict[str, tuple[str, float]] = {}
    for alike, _, _, ours, theirs in sorted(pairs, reverse=True):
        if ours not in found and all(theirs != other for other, _ in found.values()):
            found[ours] = (theirs, alike)
    return {column.name: found[column.name] for column in contract.columns if column.name in found}


def _alike(ours: str, theirs: str) -> float:
    """How alike two names are, 0 to 1."""
    key, own = _key(theirs), _key(ours)
    if not key:
        return 0.0
    if key == own:
        return EXACT
    known = WORDS.get(ours, ())
    if key in known:
        return KNOWN
    parts = {_key(part) for part in re.split(r"[\W_]+", theirs)}
    if parts & {own, *known}:
        return PARTIAL
    best = max(difflib.SequenceMatcher(None, key, word).ratio() for word in (own, *known))
    return PARTIAL * best if best >= ALIKE else 0.0


def _key(name: str) -> str:
    """A name as it is compared: letters and digits alone, without case and accents."""
    bare = unicodedata.normalize("NFKD", name.casefold())
    return "".join(sign for sign in bare if sign.isalnum())


def _fits(column: Column, theirs: str, sample: Sequence[Mapping[str, str]]) -> bool:
    """Whether the values that a column has in the sample look like those of its type."""
    values = [text for row in sample if (text := (row.get(theirs) or "").strip()) and text not in NOTHING]
    shape = SHAPES.get(column.physical_type)
    if not values:
        return True
    if shape is None:
        return sum(DATES.fullmatch(text) is not None and not text.isdigit() for text in values) < SHAPED * len(values)
    return sum(shape.fullmatch(text) is not None for text in values) >= SHAPED * len(values)


def _column(contract: Contract, name: str) -> Column:
    return next(column for column in contract.columns if column.name == name)


def _code_in(name: str) -> str | None:
    found = re.search(r"[(\[ _](EUR|USD|GBP|CHF|SEK|NOK|DKK|PLN|CAD|AUD|JPY)\b", name)
    return found.group(1) if found else None


def _only_value(theirs: str | None, sample: Sequence[Mapping[str, str]]) -> str | None:
    """The currency code that all rows with one have."""
    codes = {
        text.strip().upper() for row in sample if theirs and (text := row.get(theirs) or "").strip() not in NOTHING
    }
    return next(iter(codes)) if len(codes) == 1 and re.fullmatch(r"[A-Z]{3}", min(codes)) else None


def _why_not(ranked: Sequence[_Fit], header: Sequence[str]) -> tuple[str, ...]:
    near = min((fit for fit in ranked if fit.found), key=lambda fit: len(fit.missing), default=None)
    if near is None:
        return (f"no column of it is known: {', '.join(header[:10])}",)
    return (f"it is nearest to {near.name}, but has no column for {', '.join(near.missing)}",)
