"""How a file writes its dates and numbers, decided from counts of what its values look like.

A value such as 03/04/2026 or 1,234 reads in two ways. Other values of the column, or of the file, tell which one is
meant; where none does, the file is refused with both readings, since a wrong number looks as right as a right one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from models.errors import DataError

Mark = Literal[".", ","]
STRAY_FRACTION = 0.05  # of the values that tell: so few that tell otherwise are bad rows, as many as a table may have
SMALL_SEEN = 3  # numbers below 1000 without a mark, and none above: the marks of this column group thousands
DAY_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", ", %H:%M", ", %H:%M:%S")
NAMED_MONTHS = ("%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%a, %b %d, %Y", "%A, %B %d, %Y")
YEAR_FIRST = ("%Y%m%d", "%Y.%m.%d", "%Y-%m-%d", "%Y/%m/%d")  # the last two need a format only with a zone after a blank

# Shapes of a number whose blanks, sign and currency are gone. Either mark in exactly one group of three tells nothing.
GROUPED_BY = {",": r"[1-9]\d{0,2}(,\d{3})+(\.\d+)?", ".": r"[1-9]\d{0,2}(\.\d{3})+(,\d+)?"}
UNDECIDED = {",": r"[1-9]\d{0,2},\d{3}", ".": r"[1-9]\d{0,2}\.\d{3}"}
TELLS = {  # decimal mark -> what only a number with that mark looks like
    ".": r"\d*\.\d{1,2}|\d*\.\d{4,}|0\.\d+|\d{4,}\.\d+|\.\d+|[1-9]\d{0,2}(,\d{3})+\.\d+|[1-9]\d{0,2}(,\d{3}){2,}",
    ",": r"\d*,\d{1,2}|\d*,\d{4,}|0,\d+|\d{4,},\d+|,\d+|[1-9]\d{0,2}(\.\d{3})+,\d+|[1-9]\d{0,2}(\.\d{3}){2,}",
}
DAY_MONTH_YEAR = r"^(\d{1,2})([./-])(\d{1,2})[./-]\d{4}(?:\D|$)"  # in whichever order day and month stand


@dataclass(frozen=True, kw_only=True)
class NumberShapes:
    """What the numbers of one text column look like: counts of values, and an example that reads in two ways."""

    point: int = 0  # only a decimal point explains them
    comma: int = 0  # only a decimal comma does
    undecided_point: int = 0  # 1.234
    undecided_comma: int = 0  # 1,234
    small: int = 0  # digits alone, below 1000
    large: int = 0  # digits alone, from 1000
    example: str | None = None


@dataclass(frozen=True, kw_only=True)
class DateShapes:
    """What the dates of one text column look like: counts of values such as 03/04/2026, and one that tells nothing.

    Dates with points (03.04.2026) are day first everywhere and not counted.
    """

    day_first: int = 0  # 31/01/2026
    month_first: int = 0  # 01/31/2026
    undecided: int = 0  # 03/04/2026
    example: str | None = None


@dataclass(frozen=True, kw_only=True)
class Formats:
    """How a file's texts are read.

    Parameters
    ----------
    decimal : our column -> its decimal mark.
    day_first : our column -> whether day comes before month; columns that show no such dates are absent.
    settled : whether values told it, or a setting; if not, values not looked at yet may still tell otherwise.
    notes : what a person may want to know of it.
    """

    decimal: Mapping[str, Mark]
    day_first: Mapping[str, bool]
    settled: bool
    notes: tuple[str, ...] = ()


def decide(
    file: str,
    numbers: Mapping[str, NumberShapes],
    dates: Mapping[str, DateShapes],
    *,
    decimal: Mark | None,
    delimiter: str,
) -> Formats:
    """The formats of a file.

    Parameters
    ----------
    numbers, dates : shapes by our column name, of the columns that are text in the file.
    decimal : the mark the settings give.
    delimiter : of the file's columns; a semicolon is used where the comma is a decimal mark.

    Raises
    ------
    DataError : values read in two ways and nothing tells which; the message shows both.
    """
    marks = {name: _mark(file, name, shapes, numbers, decimal, delimiter) for name, shapes in numbers.items()}
    orders = {name: _order(file, name, shapes, dates) for name, shapes in dates.items() if _any(shapes)}
    notes = []
    if "," in marks.values():
        notes.append("decimal comma")
    if orders:
        notes.append("dates are day first" if all(orders.values()) else "dates are month first")
    settled = (decimal is not None or all(s.point or s.comma for s in numbers.values())) and all(
        _any(shapes) for shapes in dates.values()
    )
    return Formats(decimal=marks, day_first=orders, settled=settled, notes=tuple(notes))


def _any(shapes: DateShapes) -> bool:
    return bool(shapes.day_first or shapes.month_first or shapes.undecided)


def _winner[T](first: T, count: int, second: T, other: int) -> T | None:
    """The one that nearly all values tell; None where they disagree."""
    if min(count, other) > STRAY_FRACTION * (count + other):
        return None
    return first if count >= other else second


def _total(shapes: Iterable[NumberShapes]) -> NumberShapes:
    listed = list(shapes)
    return NumberShapes(point=sum(s.point for s in listed), comma=sum(s.comma for s in listed))


def _mark(
    file: str,
    name: str,
    own: NumberShapes,
    all_numbers: Mapping[str, NumberShapes],
    stated: Mark | None,
    delimiter: str,
) -> Mark:
    if stated is not None:
        return stated
    if own.point or own.comma:
        found: Mark | None = _winner(".", own.point, ",", own.comma)
        if found is None:
            raise DataError(
                f"{file}: {name} has a decimal point in {own.point} values and a decimal comma in {own.comma}; "
                "expected one way of writing numbers.\nExport the file again in one language setting."
            )
        return found
    if not own.undecided_point and not own.undecided_comma:
        return "."
    whole = _total(all_numbers.values())
    if whole.point or whole.comma:
        told: Mark | None = _winner(".", whole.point, ",", whole.comma)
        if told is not None:
            return told
    elif own.undecided_comma and not own.undecided_point and own.small >= SMALL_SEEN and not own.large:
        return "."
    elif own.undecided_point and not own.undecided_comma and delimiter == ",":
        return "."  # programs write so; people who group by points separate columns by semicolons or tabs
    text = own.example or ""
    digits = text.replace(",", "").replace(".", "")
    raise DataError(
        f"{file}: {name} holds {text}, which reads as {digits} or as {text.replace(',', '.')}; "
        "no other number of the file tells which.\n"
        'Say it in marginal.yaml with `decimal: "."` or `decimal: ","` under the source.'
    )


def _order(file: str, name: str, own: DateShapes, all_dates: Mapping[str, DateShapes]) -> bool:
    """Whether day comes first."""
    tells = own if own.day_first or own.month_first else _all_of(all_dates.values())
    if tells.day_first or tells.month_first:
        found = _winner(True, tells.day_first, False, tells.month_first)
        if found is not None:
            return found
        raise DataError(
            f"{file}: {name} has the day first in {tells.day_first} values and the month first in "
            f"{tells.month_first}; expected one order.\nExport the file again with dates as YYYY-MM-DD."
        )
    text = (own.example or "").split(" ")[0]
    first, second, year = text.replace("-", "/").split("/")
    raise DataError(
        f"{file}: {name} holds {text}, which reads as {year}-{int(second):02d}-{int(first):02d} (day first) or as "
        f"{year}-{int(first):02d}-{int(second):02d} (month first); no value of the file tells which.\n"
        'Say it in marginal.yaml with `date_format: "%d/%m/%Y"` or `date_format: "%m/%d/%Y"` under the source.'
    )


def _all_of(shapes: Iterable[DateShapes]) -> DateShapes:
    listed = list(shapes)
    return DateShapes(
        day_first=sum(s.day_first for s in listed), month_first=sum(s.month_first for s in listed), undecided=1
    )


def date_formats(day_first: bool | None, *, with_offset: bool = False) -> tuple[str, ...]:
    """The strptime formats in which a date or moment that is not ISO is read.

    Parameters
    ----------
    day_first : None where the column shows no date with slashes or dashes that could be either.
    with_offset : those of moments that end in an offset from UTC, such as +0100 or +01:00; the others otherwise.
    """
    order = "%d{0}%m{0}%Y" if day_first else "%m{0}%d{0}%Y"
    slashes = () if day_first is None else tuple(order.format(mark) for mark in "/-")
    days = (*slashes, "%d.%m.%Y", *YEAR_FIRST, *NAMED_MONTHS)
    times = [time for time in DAY_TIMES if time or not with_offset]
    return tuple(day + time + " %z" * with_offset for time in times for day in days)
