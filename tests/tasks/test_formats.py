"""Dates and numbers as people's programs write them, through the loader."""

from datetime import date
from pathlib import Path

import pytest

from models.errors import DataError
from models.run import Run
from tests.tasks.loading import load, make_run, rows, write


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path)


def costs(run: Run, values: list[str], **options: str) -> list[float]:
    lines = "".join(f"2026-01-{day:02d};tv;{value}\n" for day, value in enumerate(values, start=1))
    write(run, "ads.csv", "date;channel;cost\n" + lines)
    load(run, **options)
    return [cost for (cost,) in rows(run, "select cost from raw.ad_spend order by date")]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1.234,56", "12,5", "7", "1.000"], [1234.56, 12.5, 7, 1000]),  # German
        (["1,234.56", "12.5", "7", "1,000"], [1234.56, 12.5, 7, 1000]),  # English
        (["1\u00a0234,56", "12,5", "7", "1 000"], [1234.56, 12.5, 7, 1000]),  # French
        (["1'234.56", "12.5", "7", "1'000"], [1234.56, 12.5, 7, 1000]),  # Swiss
        (["€ 1.234,56", "12,50 €", "EUR 7", "€1.000"], [1234.56, 12.5, 7, 1000]),
        (["1,234,567", "2,000,000", "5", "1e3"], [1234567, 2e6, 5, 1000]),
        (["0,125", "0,5", "2", "1"], [0.125, 0.5, 2, 1]),
    ],
)
def test_numbers_of_many_countries(run: Run, values: list[str], expected: list[float]) -> None:
    assert costs(run, values) == expected


def test_a_number_that_reads_in_two_ways_is_refused_until_the_settings_say(run: Run) -> None:
    with pytest.raises(DataError, match=r"1,234, which reads as 1234 or as 1\.234"):
        costs(run, ["1,234", "2,345"])
    assert costs(run, ["1,234", "2,345"], decimal=",") == [1.234, 2.345]
    assert costs(run, ["1,234", "2,345"], decimal=".") == [1234, 2345]


def test_what_the_first_rows_do_not_show_the_later_ones_do(run: Run) -> None:
    """20 000 whole numbers, then decimal commas: the file is read again by them, and no row is lost or misread."""
    whole = "".join(f"2026-01-01;c{n};5\n" for n in range(21_000))
    write(run, "ads.csv", "date;channel;cost\n" + whole + "2026-01-01;x;1.234\n2026-01-01;y;0,5\n")
    assert load(run).rows_quarantined == 0
    assert rows(run, "select channel, cost from raw.ad_spend where channel in ('x', 'y')") == [("x", 1234), ("y", 0.5)]


def test_amounts_in_another_currency_are_not_read_as_the_companys(run: Run) -> None:
    with pytest.raises(DataError, match=r"'\$10.50', '\$7.00'.*expected a number(?s:.)*currency"):
        costs(run, ["$10.50", "$7.00"])
    assert costs(run, ["$10.50", "$7.00"], currency="USD") == [10.5, 7]
    assert rows(run, "select distinct currency from raw.ad_spend") == [("USD",)]


def test_dashes_and_blanks_are_no_values(run: Run) -> None:
    write(run, "ads.csv", "date,channel,cost,clicks\n2026-01-01,tv,1.5,--\n2026-01-02,tv,2.5, \n2026-01-03,tv,3,4\n")
    load(run)
    assert rows(run, "select clicks from raw.ad_spend order by date") == [(None,), (None,), (4,)]


def dates(run: Run, values: list[str], **options: str) -> list[date]:
    write(run, "ads.csv", "date;channel;cost\n" + "".join(f"{value};c{n};1\n" for n, value in enumerate(values)))
    load(run, **options)
    return [day for (day,) in rows(run, "select date from raw.ad_spend order by _row_number")]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["31/01/2026", "03/04/2026"], ["2026-01-31", "2026-04-03"]),
        (["01/31/2026", "03/04/2026"], ["2026-01-31", "2026-03-04"]),
        (["03.04.2026", "1.2.2026"], ["2026-04-03", "2026-02-01"]),  # points are day first everywhere
        (["Jan 31, 2026", "3 April 2026", "05-Feb-2026"], ["2026-01-31", "2026-04-03", "2026-02-05"]),
        (["20260131", "2026-02-01", "2026/02/03", "2026-02-04T10:00:00Z"], None),
    ],
)
def test_dates_of_many_countries(run: Run, values: list[str], expected: list[str] | None) -> None:
    expected = expected or ["2026-01-31", "2026-02-01", "2026-02-03", "2026-02-04"]
    assert dates(run, values) == [date.fromisoformat(day) for day in expected]


def test_a_date_that_reads_in_two_ways_is_refused_until_the_settings_say(run: Run) -> None:
    with pytest.raises(DataError, match=r"2026-04-03 \(day first\) or as 2026-03-04 \(month first\)"):
        dates(run, ["03/04/2026", "05/05/2026"])
    assert dates(run, ["03/04/2026"], date_format="%m/%d/%Y") == [date(2026, 3, 4)]


def test_years_of_two_digits_are_not_guessed(run: Run) -> None:
    with pytest.raises(DataError, match=r"holds '30/01/26'.*expected a date"):
        dates(run, ["31/01/26", "30/01/26"])


def test_times_without_an_offset_are_in_the_sources_zone(run: Run) -> None:
    lines = "a,k,2026-01-02 00:30:00,1\nb,k,2026-07-02 00:30:00 +0000,1\nc,k,31/07/2026 00:30,1\n"
    write(run, "orders.csv", "order_id,customer_id,ordered_at,revenue\n" + lines)
    load(run, "landing/orders.csv", "orders", timezone="Europe/Berlin")
    assert rows(run, "select order_id, ordered_at::varchar from raw.orders order by 1") == [
        ("a", "2026-01-01 23:30:00"),  # an hour behind in winter
        ("b", "2026-07-02 00:30:00"),
        ("c", "2026-07-30 22:30:00"),  # two in summer
    ]


def test_lines_around_a_table_are_ignored_and_counted(run: Run) -> None:
    above = 'Campaign report\n"January 1, 2026 - January 3, 2026"\n'
    table = "Date,Channel,Cost\n2026-01-01,tv,1\n2026-01-02,tv,2\n"
    below = 'Total,--,3\n,,\n"© 2026 Example Corporation"\n'
    write(run, "ads.csv", above + table + below)
    summary = load(run)
    assert (summary.rows_read, summary.rows_kept, summary.rows_ignored, summary.rows_quarantined) == (7, 2, 5, 0)
    notes = rows(run, "select notes from out.lineage")[0][0]
    assert notes == "2 lines above the header; 1 empty rows; 1 lines below the table; 1 total rows"


def test_a_line_that_only_looks_like_a_total_is_kept(run: Run) -> None:
    write(run, "ads.csv", "date,channel,cost\n2026-01-01,Total Fitness,1\n2026-01-02,Summe,2\n")
    assert load(run).rows_kept == 2


def test_row_numbers_leave_room_for_lines_that_could_not_be_read(run: Run) -> None:
    lines = [f"2026-01-01,c{n},1" for n in range(1, 61)]
    lines[9] = "2026-01-01,c10,1,too,many"
    lines[29] = "2026-01-01"
    write(run, "ads.csv", "date,channel,cost\n" + "\n".join(lines))
    load(run)
    assert rows(run, "select count(*) from raw.ad_spend where channel <> 'c' || _row_number") == [(0,)]
    assert rows(run, "select row_number from out.quarantine order by 1") == [(10,), (30,)]


def test_rows_are_numbered_in_the_order_of_the_file_however_many_threads_read_it(run: Run) -> None:
    count = 300_000  # several blocks of the reader for each thread
    write(run, "ads.csv", "date,channel,cost\n" + "".join(f"2026-01-01,c{n},1\n" for n in range(1, count + 1)))
    load(run)
    wrong = rows(run, "select count(*) from raw.ad_spend where channel <> 'c' || _row_number")
    assert (wrong, rows(run, "select count(*) from raw.ad_spend")) == ([(0,)], [(count,)])
