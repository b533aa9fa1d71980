"""What dates and numbers mean: told by the values, or refused with both readings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import DataError
from models.formats import DateShapes, NumberShapes, date_formats, decide


def mark(*columns: NumberShapes, delimiter: str = ",") -> list[str]:
    numbers = {f"n{index}": shapes for index, shapes in enumerate(columns)}
    return list(decide("a.csv", numbers, {}, decimal=None, delimiter=delimiter).decimal.values())


def test_a_column_is_read_by_its_own_values() -> None:
    assert mark(NumberShapes(point=3), NumberShapes(comma=3)) == [".", ","]


def test_a_column_that_tells_nothing_is_read_by_the_others() -> None:
    undecided = NumberShapes(undecided_point=2, undecided_comma=0, example="1.234")
    assert mark(NumberShapes(comma=5), undecided) == [",", ","]
    assert mark(NumberShapes(point=5), undecided) == [".", "."]


def test_thousands_are_known_by_the_small_numbers_beside_them() -> None:
    grouped = NumberShapes(undecided_comma=4, small=3, example="1,234")
    assert mark(grouped) == ["."]
    for less_sure in (NumberShapes(undecided_comma=4, small=2), NumberShapes(undecided_comma=4, small=9, large=1)):
        with pytest.raises(DataError, match="reads as"):
            mark(less_sure)


def test_points_before_three_digits_are_decimal_in_a_file_of_commas_alone() -> None:
    shapes = NumberShapes(undecided_point=4, example="1.234")
    assert mark(shapes) == ["."]
    with pytest.raises(DataError, match=r"1\.234, which reads as 1234 or as 1\.234"):
        mark(shapes, delimiter=";")


def test_a_file_in_two_languages_is_refused_but_a_stray_value_is_a_bad_row() -> None:
    with pytest.raises(DataError, match="decimal point in 10 values and a decimal comma in 3"):
        mark(NumberShapes(point=10, comma=3))
    assert mark(NumberShapes(point=100, comma=1)) == ["."]
    assert mark(NumberShapes(point=1, comma=100)) == [","]


def test_the_settings_go_first() -> None:
    shapes = {"n": NumberShapes(undecided_comma=4, example="1,234")}
    assert decide("a", shapes, {}, decimal=",", delimiter=",").decimal == {"n": ","}


def day_first(*columns: DateShapes) -> dict[str, bool]:
    dates = {f"d{index}": shapes for index, shapes in enumerate(columns)}
    return dict(decide("a.csv", {}, dates, decimal=None, delimiter=",").day_first)


def test_dates_are_read_by_those_that_read_in_one_way_only() -> None:
    undecided = DateShapes(undecided=9, example="03/04/2026")
    assert day_first(DateShapes(day_first=1, undecided=9), undecided) == {"d0": True, "d1": True}
    assert day_first(DateShapes(month_first=1)) == {"d0": False}
    assert day_first(DateShapes()) == {}  # ISO: nothing to decide


def test_an_ambiguous_date_is_refused_with_both_readings() -> None:
    with pytest.raises(DataError) as caught:
        day_first(DateShapes(undecided=9, example="03/04/2026 10:00"))
    message = str(caught.value)
    assert "03/04/2026" in message
    assert "2026-04-03 (day first)" in message
    assert "2026-03-04 (month first)" in message
    assert 'date_format: "%d/%m/%Y"' in message
    with pytest.raises(DataError, match="day first in 4 values and the month first in 3"):
        day_first(DateShapes(day_first=4, month_first=3))


@given(point=st.integers(0, 50), comma=st.integers(0, 50))
def test_reading_is_symmetric_in_the_two_marks(point: int, comma: int) -> None:
    def outcome(**counts: int) -> str:
        try:
            return mark(NumberShapes(**counts))[0]
        except DataError:
            return "refused"

    swapped = {".": ",", ",": ".", "refused": "refused"}
    if point != comma:
        assert outcome(point=comma, comma=point) == swapped[outcome(point=point, comma=comma)]


def test_formats_try_the_order_that_the_values_show() -> None:
    assert date_formats(True)[0] == "%d/%m/%Y"
    assert date_formats(False)[0] == "%m/%d/%Y"
    assert not [form for form in date_formats(None) if "/%m/" in form and not form.startswith("%Y")]
