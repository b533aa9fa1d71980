"""How a check's file is read, what its breaches become, which thresholds are refused."""

import pytest

from models.quality import Breach, Check, QualityConfig, blocking, judge, page, parse_check

TEXT = """-- purpose: spend that is too high
-- grain: date
-- units: euro
-- owner: growth data
-- source: ad_spend
-- severity: error
-- expected: spend is low
-- needs: staging.ad_spend.cost, staging.kpi.value
select date as subject, '' as observed, 1 as rows from spend_daily where cost > $unit_factor and date <= $as_of
"""


def parsed(text: str = TEXT) -> Check:
    check = parse_check("too_high", text)
    assert check is not None
    return check


def breaches(count: int) -> list[Breach]:
    return [Breach(subject=f"day {number}", observed="too high", rows=2) for number in range(count)]


def test_a_file_is_read_by_its_header() -> None:
    check = parsed()
    assert (check.check_id, check.source, check.severity) == ("too_high", "ad_spend", "error")
    assert check.expected == "spend is low"
    assert check.needs == ("staging.ad_spend.cost", "staging.kpi.value")
    assert check.thresholds == ("unit_factor",)  # the day of the run is no threshold
    assert check.select == TEXT


def test_a_file_without_such_a_header_is_what_checks_read() -> None:
    assert parse_check("spend_daily", "-- purpose: sums\nselect 1") is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-- needs: staging.ad_spend.cost, staging.kpi.value\n", "", r"lacks \['needs'\]"),
        ("severity: error", "severity: fatal", "'fatal'; expected error or warning"),
        ("$unit_factor", "$unit_faktor", r"unknown thresholds \['unit_faktor'\]"),
    ],
)
def test_a_wrong_file_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parsed(TEXT.replace(old, new))


def test_no_breach_means_that_a_check_holds() -> None:
    result = judge(parsed(), [])
    assert (result.passed, result.observed, result.failing_rows) == (True, "it holds", 0)
    assert blocking([result]) == ()


def test_three_breaches_are_told_and_the_others_counted() -> None:
    result = judge(parsed(), breaches(5))
    assert result.observed == "day 0: too high; day 1: too high; day 2: too high; and 2 more"
    assert (result.passed, result.failing_rows) == (False, 10)
    assert "more" not in judge(parsed(), breaches(3)).observed


def test_only_errors_block_and_say_what_to_do() -> None:
    warning = judge(parsed(TEXT.replace("severity: error", "severity: warning")), breaches(1))
    (sentence,) = blocking([warning, judge(parsed(), breaches(1))])
    assert sentence == (
        "ad_spend, check too_high: day 0: too high. Expected: spend is low. "
        "Correct the files, or add too_high to `quality.off` where this is as it should be."
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"reconciliation_fraction": 1.2}, "reconciliation_fraction = 1.2: must be between 0 and 1"),
        ({"unit_factor": 1.0}, "unit_factor = 1.0: must be above 1"),
        ({"unit_factor_blind": 0.5}, "unit_factor_blind = 0.5: must be above 1"),
        ({"gap_days": -1}, "gap_days = -1: must be at least 0"),
        ({"cpc_max": float("nan")}, "cpc_max = nan: must be at least 0"),
    ],
)
def test_a_threshold_out_of_range_is_named(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QualityConfig(**values)  # type: ignore[arg-type]


def test_the_page_lists_checks_by_name() -> None:
    other = parse_check("a_first", TEXT.replace(" > $unit_factor", " > 1"))
    assert other is not None
    rows = [line for line in page([parsed(), other]).splitlines() if line.startswith("| `")]
    assert rows == [
        "| `a_first` | ad_spend | error | spend is low | – |",
        "| `too_high` | ad_spend | error | spend is low | `unit_factor` |",
    ]
