"""The gate: worst check wins, bounds are inclusive, reasons read well."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.gate import Check, GateConfig, Status, at_least, at_most, judge, none_of


def check(status: Status) -> Check:
    return Check(name="any", status=status, found="1", expected="2", recommendation="Do it.")


@pytest.mark.parametrize(
    ("value", "status"),
    [(1.0, "PASS"), (1.01, "PASS"), (1.0101, "REVIEW"), (1.05, "REVIEW"), (1.0501, "FAIL"), (math.inf, "FAIL")],
)
def test_at_most_steps_down_at_its_bounds(value: float, status: str) -> None:
    assert at_most("r_hat_max", value, 1.01, 1.05, "Sample longer.").status == status


@pytest.mark.parametrize(("value", "status"), [(400, "PASS"), (399, "REVIEW"), (100, "REVIEW"), (99, "FAIL")])
def test_at_least_steps_down_at_its_bounds(value: float, status: str) -> None:
    assert at_least("ess_min", value, 400, 100, "Sample longer.").status == status


def test_without_a_review_bound_nothing_fails_but_nan() -> None:
    assert at_most("x", 1e9, 1.0, None, "Look.").status == Status.REVIEW
    assert at_least("x", -1e9, 1.0, None, "Look.").status == Status.REVIEW
    assert at_most("x", math.nan, 1.0, None, "Look.").status == Status.FAIL
    assert at_least("x", math.nan, 1.0, 0.5, "Look.").status == Status.FAIL


@given(st.lists(st.sampled_from(list(Status)), min_size=1, max_size=6))
def test_the_worst_check_decides_in_any_order(statuses: list[Status]) -> None:
    severity = ["PASS", "REVIEW", "FAIL"].index
    verdict = judge(check(status) for status in statuses)
    assert severity(verdict.status) == max(severity(status) for status in statuses)
    assert verdict.status == judge(check(status) for status in reversed(statuses)).status
    reasons = [severity(reason.status) for reason in verdict.reasons]
    assert reasons == sorted((severity(status) for status in statuses if status != Status.PASS), reverse=True)


def test_a_model_without_checks_fails() -> None:
    assert judge([]).status == Status.FAIL


def test_culprits_are_named() -> None:
    assert none_of("constant_spend", [], "spend that varies", "Vary it.").status == Status.PASS
    named = none_of("constant_spend", ["tv", "radio"], "spend that varies", "Vary it.")
    assert named.status == Status.REVIEW
    assert str(named) == "REVIEW constant_spend: found tv, radio, expected spend that varies. Vary it."


def test_a_verdict_becomes_plain_data() -> None:
    plain = judge([check(Status.PASS), check(Status.FAIL)]).as_dict()
    assert plain["status"] == "FAIL"
    assert [one["status"] for one in plain["checks"]] == ["PASS", "FAIL"]
    assert type(plain["status"]) is str


def test_bounds_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.2 and 1\.05 are the wrong way round"):
        GateConfig(r_hat_pass=1.2)
