"""Numbers, dates and lists as a reader wants them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

# Signs of ISO 4217 codes; any other code stands before its amount as it is.
SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥", "INR": "₹", "PLN": "zł ", "CHF": "CHF "}
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
THIN = "\u202f"  # narrow no-break space: keeps a number and its unit on one line
JOINER = "\u2060"  # word joiner: no line break here
MINUS = "\u2212"  # the minus sign, as wide as the plus
ACRONYMS = ("roas", "clv", "kpi", "cac", "cpc", "cpm", "mmm", "sql", "id")
NONE = "–"  # shown where there is no number


def number(value: Any) -> float | None:
    """`value` as a finite float; None where it is missing, not a number or infinite."""
    if value is None or isinstance(value, str | bool | date):
        return None
    real = float(value)
    return real if math.isfinite(real) else None


def compact(value: float) -> str:
    """Three significant figures with k, M or bn; below 1 000 what a reader would write by hand.

    >>> [compact(x) for x in (12_412, 3_200_000, 999_999, 412.4, 42.105, 0)]
    ['12.4k', '3.20M', '1.00M', '412', '42.10', '0']
    """
    size = abs(value)
    sign = MINUS if value < 0 else ""
    if size == 0:
        return "0"
    if size < 100:  # cents matter below 100
        text = f"{size:.2f}"
        return (sign if float(text) else "") + text
    if size < 999.5:
        return f"{sign}{size:.0f}"
    if size >= 999.5e12:  # beyond the units below
        return f"{sign}{size:.3g}"
    for unit, suffix in ((1e3, "k"), (1e6, "M"), (1e9, "bn"), (1e12, "tn")):
        scaled = size / unit
        if scaled < 999.5 or suffix == "tn":
            digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
            return f"{sign}{scaled:.{digits}f}{suffix}"
    raise AssertionError("unreachable")


@dataclass(frozen=True, kw_only=True)
class Words:
    """The words of one company's report.

    Parameters
    ----------
    currency : ISO 4217 code of the company's currency.
    kpi : what media's value is counted in: "revenue", "margin" or "conversions".
    objective : what the plan maximises: "profit", or the KPI.
    """

    currency: str
    kpi: str = "revenue"
    objective: str = "revenue"

    @property
    def is_money(self) -> bool:
        """Whether the KPI is an amount of money."""
        return self.kpi != "conversions"

    @property
    def sign(self) -> str:
        """What stands before an amount of money."""
        return SYMBOLS.get(self.currency, self.currency + THIN)

    @property
    def unit(self) -> str:
        """The KPI's unit, for an axis."""
        return self.sign.strip() if self.is_money else self.kpi

    def money(self, value: Any, *, signed: bool = False) -> str:
        """An amount such as €12.4k or +€8.2k; a dash where there is none."""
        real = number(value)
        if real is None:
            return NONE
        text = compact(abs(real))
        shows = any(digit in text for digit in "123456789")
        sign = "" if not shows else MINUS if real < 0 else "+" if signed else ""
        return f"{sign}{self.sign}{text}"

    def value(self, value: Any, *, signed: bool = False) -> str:
        """An amount of the KPI: money when it is money."""
        if self.is_money:
            return self.money(value, signed=signed)
        real = number(value)
        return NONE if real is None else ("+" if signed and real > 0 else "") + compact(real)

    def objective_value(self, value: Any) -> str:
        """A signed amount of what the plan maximises; a line never breaks after its sign."""
        show = self.money if self.objective == "profit" else self.value
        return show(value, signed=True).replace("+", "+" + JOINER)


def ratio(value: Any) -> str:
    """A dimensionless ratio such as a ROAS, with two decimals."""
    real = number(value)
    if real is None:
        return NONE
    text = f"{abs(real):.2f}" if abs(real) < 1e3 else compact(abs(real))
    return (MINUS if real < 0 and float(f"{real:.2f}") else "") + text


def percent(value: Any, *, signed: bool = False) -> str:
    """A fraction as per cent; never rounded up to a certainty it is not.

    >>> [percent(x) for x in (0.934, 0.004, 0.9996, 1.0)] == [f"{p}{THIN}%" for p in ("93", "0.4", "> 99.9", "100")]
    True
    """
    real = number(value)
    if real is None:
        return NONE
    points = abs(real) * 100
    sign = MINUS if real < 0 else "+" if signed and real > 0 else ""
    if 99.95 <= points < 100:
        return f"{sign}> 99.9{THIN}%"
    if 0 < points < 0.05:  # too small for the one decimal shown
        return f"{sign}< 0.1{THIN}%"
    text = f"{points:.1f}" if points < 10 or 99 < points < 100 else f"{points:,.0f}"
    return f"{sign}{text.removesuffix('.0')}{THIN}%"


def odds(value: Any) -> str:
    """A probability counted over draws: no number of draws makes it 0 or 1."""
    real = number(value)
    return NONE if real is None else percent(min(max(real, 1e-4), 1 - 1e-4))  # beyond either, "< 0.1 %", "> 99.9 %"


def plain(value: float) -> str:
    """A model's parameter: four significant figures, whole when large."""
    return (MINUS if value < 0 else "") + f"{abs(value):{',.0f' if abs(value) >= 1e4 else '.4g'}}"


def count(value: Any) -> str:
    """A whole number with thousands kept apart, compact beyond a million."""
    real = number(value)
    if real is None:
        return NONE
    return compact(real) if abs(real) >= 1e6 else f"{real:,.0f}".replace("-", MINUS)


def span(low: str, high: str) -> str:
    """An interval from two formatted ends; empty where either is missing."""
    return "" if NONE in (low, high) else f"{low} to {high}"


def interval(low: str, high: str) -> str:
    """An interval as an aside in a sentence; empty where either end is missing."""
    ends = span(low, high)
    return f" (90{THIN}% interval {ends})" if ends else ""


def title(name: Any) -> str:
    """A name of our own tables as words: "roas_drop" becomes "ROAS drop"."""
    parts = [part.upper() if part in ACRONYMS else part for part in str(name or NONE).split("_")]
    text = " ".join(parts)
    return text[:1].upper() + text[1:]


def as_date(value: Any) -> date | None:
    """A date from a date, a timestamp or ISO text; None from anything else."""
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None


def day(value: Any) -> str:
    """A date such as 5 January 2026."""
    when = as_date(value)
    return NONE if when is None else f"{when.day} {MONTHS[when.month - 1]} {when.year}"


def weekday(value: date) -> str:
    """A date with its day of the week, such as Monday 5 January 2026."""
    return f"{WEEKDAYS[value.weekday()]} {day(value)}"


def listing(names: Sequence[str], most: int = 3) -> str:
    """Names in a sentence: "A", "A and B", "A, B and 4 others"."""
    if len(names) > most:
        rest = len(names) - most + 1
        names = [*names[: most - 1], f"{rest} others"]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else ""


def plural(size: int, one: str, many: str | None = None) -> str:
    """A count with its noun: "1 check", "3 checks"."""
    return f"{count(size)} {one if size == 1 else many or one + 's'}"


def shorten(text: str, most: int) -> str:
    """`text` with its middle taken out when it is longer than `most` characters."""
    if len(text) <= most:
        return text
    head = (most - 1 + 1) // 2
    return text[:head].rstrip() + "…" + text[len(text) - (most - 1 - head) :].lstrip()
