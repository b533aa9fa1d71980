"""Flights: closed forms, a gradient method as the second implementation, caps, and pulses where they pay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from models.errors import ConfigError, InfeasiblePlan
from models.flighting import Flight, FlightConfig, Flights, plan_flights
from tests.models.test_allocation import curves_of, random_curves

ROOT = curves_of([lambda x: 30 * np.sqrt(x)], end=1000.0, points=401, lines=("tv",))
S_SHAPE = curves_of([lambda x: 900 * x**4 / (200.0**4 + x**4)], end=1000.0, points=201, lines=("tv",))


def by_hand(curves, spend, kernel, timing, horizon):
    """Value of one line's flight with its carry-out, written out as loops."""
    total = 0.0
    for week in range(horizon):
        exposure = sum(kernel[lag] * spend[week - lag] for lag in range(min(week + 1, len(kernel)))
                       if 0 <= week - lag < len(spend))  # fmt: skip
        factor = timing[week] if week < len(spend) else 1.0
        total += factor * float(np.interp(exposure, curves.spend[0], curves.mean[0]))
    return total


def test_without_carry_over_concave_curves_spend_evenly_and_follow_the_timing():
    even = plan_flights(ROOT, FlightConfig(total=1200.0, weeks=6))
    assert even.best().spend[:, 0] == pytest.approx([200.0] * 6, abs=2.6)
    # timing: margins f_t / sqrt(x_t) equal, so x_t in proportion to f_t^2
    timed = plan_flights(ROOT, FlightConfig(total=1200.0, weeks=6, timing=(1, 1, 2, 2, 1, 1)))
    assert timed.best().spend[:, 0] == pytest.approx(1200 * np.array([1, 1, 4, 4, 1, 1]) / 12, abs=3.0)
    table = timed.table()
    assert table["kind"].to_list() == ["always-on", "pulse", "optimised"]
    assert table["gap_fraction"][2] <= 1e-6
    assert table["value"][2] > table["value"][0] > table["value"][1]


@pytest.mark.parametrize("kept", [0.3, 0.7])
def test_concave_flights_with_carry_over_match_a_gradient_method(kept):
    config = FlightConfig(total=1500.0, weeks=6, retention={"tv": kept}, timing=(1, 2, 1, 1, 3, 1), carry_weeks=10)
    found = plan_flights(ROOT, config)
    kernel = (1 - kept) * kept ** np.arange(16)
    rival = minimize(
        lambda x: -by_hand(ROOT, x, kernel, config.timing, 16), np.full(6, 250.0), method="SLSQP",
        bounds=[(0, 1000)] * 6, constraints={"type": "ineq", "fun": lambda x: 1500 - x.sum()},
        options={"maxiter": 400, "ftol": 1e-10},
    )  # fmt: skip
    best = found.best()
    assert best.value == pytest.approx(by_hand(ROOT, best.spend[:, 0], kernel, config.timing, 16), rel=1e-9)
    assert best.value >= -rival.fun - 6 * 0.01 * 2.0  # six weeks rounded down by up to a cent that returns below 2
    assert found.upper_bound >= -rival.fun
    assert found.upper_bound - best.value <= 6 * 0.01 * 2.0 + 1e-6 * best.value


def test_carry_in_and_carry_out_are_valued():
    plain = FlightConfig(total=600.0, weeks=4, retention={"tv": 0.6}, carry_weeks=0)
    later = plan_flights(ROOT, FlightConfig(total=600.0, weeks=4, retention={"tv": 0.6}, carry_weeks=12))
    warm = plan_flights(ROOT, FlightConfig(total=600.0, weeks=4, retention={"tv": 0.6}, carry_weeks=0,
                                           spend_before={"tv": [400.0, 400.0]}))  # fmt: skip
    cold = plan_flights(ROOT, plain)
    assert later.best().value > cold.best().value
    assert later.best().spend[-1, 0] > cold.best().spend[-1, 0] + 1  # spend at the end is worth more
    assert warm.best().value > cold.best().value
    assert warm.best().spend[0, 0] < cold.best().spend[0, 0] - 1  # what still works need not be bought again


def test_what_earlier_spend_brings_is_no_merit_of_a_flight():
    config = FlightConfig(total=600.0, weeks=4, kernels={"tv": [0.6, 0.3, 0.1]}, spend_before={"tv": [400.0, 400.0]})
    found = plan_flights(ROOT, config)
    before = [400.0 * (0.3 + 0.1), 400.0 * 0.1, 0.0, 0.0]
    exact = sum(float(np.interp(amount, ROOT.spend[0], ROOT.mean[0])) for amount in before)
    assert found.carried == pytest.approx(exact)
    row = found.table().row(2, named=True)
    assert row["roas"] == pytest.approx((row["value"] - exact) / row["spend"])
    always = found.table().row(0, named=True)
    assert always["gap_fraction"] == pytest.approx(
        (found.upper_bound - always["value"]) / (found.upper_bound - exact), rel=1e-6
    )


def test_empty_flights_have_no_roas_and_no_gap():
    empty = tuple(Flight(kind=kind, spend=np.zeros((4, 1)), value=7.0) for kind in ("always-on", "optimised"))
    table = Flights(lines=("tv",), flights=empty, upper_bound=7.0, carried=7.0).table()
    assert table["roas"].to_list() == [None, None]
    assert table["gap_fraction"].to_list() == [0.0, 0.0]


def test_pulses_beat_always_on_where_little_money_meets_a_threshold():
    """100 a week lies deep in the foot of the S; 200 in every second week, or 400 in every fourth, does not."""
    found = plan_flights(S_SHAPE, FlightConfig(total=800.0, weeks=8))
    value = dict(zip(found.table()["kind"], found.table()["value"], strict=True))
    steady, burst = 8 * 900 / (1 + 2.0**4), max(4 * 900 / 2, 2 * 900 * 2.0**4 / (1 + 2.0**4))
    assert value["always-on"] == pytest.approx(steady, rel=1e-3)
    assert value["pulse"] == pytest.approx(burst, rel=1e-3)
    assert value["optimised"] >= value["pulse"]
    # the best number of equal bursts, by trying all
    best = max(k * 900 * (800 / k) ** 4 / (200.0**4 + (800 / k) ** 4) for k in range(1, 9))
    assert value["optimised"] == pytest.approx(best, rel=2e-3)
    assert found.upper_bound >= best


def test_weekly_monthly_and_line_caps_are_kept():
    curves = curves_of([lambda x: 30 * np.sqrt(x), lambda x: 20 * np.sqrt(x)], points=101, lines=("tv", "search"))
    config = FlightConfig(
        total=2000.0, weeks=8, retention={"tv": 0.5}, weekly_cap=300.0, months=["jan"] * 4 + ["feb"] * 4,
        monthly_caps={"jan": 700.0}, line_weekly_caps={"search": 60.0}, line_totals={"tv": 1300.0},
    )  # fmt: skip
    for flight in plan_flights(curves, config).flights:
        x = flight.spend
        assert x.sum() <= 2000.0 + 1e-6
        assert (x.sum(axis=1) <= 300.0 + 1e-6).all()
        assert x[:4].sum() <= 700.0 + 1e-6
        assert (x[:, 1] <= 60.0 + 1e-6).all()
        assert x[:, 0].sum() <= 1300.0 + 1e-6
        assert (x >= 0).all()
        assert np.abs(x * 100 - np.round(x * 100)).max() < 1e-6


@settings(max_examples=12, deadline=None)
@given(st.integers(100, 5000), st.floats(0.0, 0.8))
def test_no_random_flight_beats_the_bound_and_more_money_never_hurts(seed, kept):
    curves, current = random_curves(seed, 3, 5, points=21)
    rng = np.random.default_rng(seed)
    total = float(current.sum() * 6 * rng.uniform(0.3, 1.0))
    retention = dict.fromkeys(curves.lines, kept)
    found = plan_flights(curves, FlightConfig(total=total, weeks=6, retention=retention, carry_weeks=4))
    kernel = (1 - kept) * kept ** np.arange(10)
    for _ in range(40):
        x = rng.dirichlet(np.full(18, 0.5)).reshape(6, 3) * total
        value = 0.0
        for i in range(3):
            exposure = np.convolve(x[:, i], kernel)[:10]
            value += float(np.interp(exposure, curves.spend[i], curves.mean[i]).sum())
        assert value <= found.upper_bound
    more = plan_flights(curves, FlightConfig(total=total * 1.2, weeks=6, retention=retention, carry_weeks=4))
    assert more.upper_bound >= found.upper_bound * (1 - 1e-6)
    values = [flight.value for flight in found.flights]
    assert values[2] >= max(values[:2]) - 1e-6 * abs(values[2])


def test_bad_flights_are_refused_in_words():
    with pytest.raises(ConfigError, match="nan"):
        FlightConfig(total=float("nan"), weeks=4)
    with pytest.raises(ConfigError, match="retention"):
        FlightConfig(total=10.0, weeks=4, retention={"tv": 1.0})
    with pytest.raises(ConfigError, match="months"):
        FlightConfig(total=10.0, weeks=4, monthly_caps={"jan": 5.0})
    with pytest.raises(ConfigError, match="radio"):
        plan_flights(ROOT, FlightConfig(total=10.0, weeks=4, retention={"radio": 0.5}))
    with pytest.raises(ConfigError, match="timing"):
        plan_flights(ROOT, FlightConfig(total=10.0, weeks=4, timing=(1.0, 2.0)))
    with pytest.raises(ConfigError, match="kernel"):
        plan_flights(ROOT, FlightConfig(total=10.0, weeks=4, kernels={"tv": [0.0, 0.0]}))
    with pytest.raises(InfeasiblePlan, match="cap"):
        plan_flights(ROOT, FlightConfig(total=10.0, weeks=4, weekly_cap=-1.0))
