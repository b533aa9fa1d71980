"""Plans: closed forms, laws any optimum obeys, limits, decisions to hold, messages when nothing fits."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.allocation import AllocationConfig, Plan, allocate, scenarios
from models.errors import InfeasiblePlan
from models.response import ResponseCurves

FREE = AllocationConfig(max_change_fraction=None)
SEEDS = st.integers(0, 10_000)


def curves_of(functions, end=1000.0, points=101, lines=None):
    """Curves without uncertainty from functions of weekly spend."""
    grid = np.linspace(0, end, points)
    lines = lines or tuple(f"line_{i}" for i in range(len(functions)))
    response = np.stack([f(grid) for f in functions])[:, :, None]
    return ResponseCurves(lines=lines, spend=np.tile(grid, (len(lines), 1)), response=response)


def random_curves(seed, n_lines=4, n_draws=50, points=41):
    """Hill curves with posterior draws, concave to strongly S-shaped, and a current spend."""
    rng = np.random.default_rng(seed)
    current = np.round(rng.uniform(500, 5000, n_lines), 2)
    grid = np.linspace(0, 3, points)[None, :] * current[:, None]
    x = np.linspace(0, 3, points)[None, :, None]
    slope = rng.uniform(0.7, 4, (n_lines, 1, 1))
    half = rng.uniform(0.4, 1.5, (n_lines, 1, 1)) * rng.lognormal(0, 0.2, (n_lines, 1, n_draws))
    top = (current * rng.uniform(1, 5, n_lines))[:, None, None] * rng.lognormal(0, 0.3, (n_lines, 1, n_draws))
    lines = tuple(f"line_{i}" for i in range(n_lines))
    return ResponseCurves(lines=lines, spend=grid, response=top * x**slope / (half**slope + x**slope)), current


def spends(plan):
    return np.array([line.planned_spend for line in plan.lines])


def value_at(curves, spend):
    mean = curves.response.mean(axis=2)
    return sum(float(np.interp(x, curves.spend[i], mean[i])) for i, x in enumerate(spend))


def cents(amount):
    return round(amount * 100)


# closed forms


def test_logarithms_share_the_budget_until_margins_are_equal():
    # maximise sum a_i log(1 + x_i / b_i): margins a_i / (b_i + x_i) are equal where x_i = a_i * mu - b_i
    a, b = np.array([300.0, 200.0, 100.0]), np.array([50.0, 100.0, 20.0])
    curves = curves_of([lambda x, a=a_, b=b_: a * np.log1p(x / b) for a_, b_ in zip(a, b, strict=True)], points=4001)
    plan = allocate(curves, None, replace(FREE, total=700.0))
    mu = (700 + b.sum()) / a.sum()
    assert spends(plan) == pytest.approx(a * mu - b, abs=0.3)
    assert plan.shadow_price == pytest.approx(1 / mu, rel=1e-3)
    assert [line.marginal_value for line in plan.lines] == pytest.approx([1 / mu] * 3, rel=2e-3)
    assert plan.gap_fraction <= 1e-6


def test_shadow_prices_predict_what_loosening_a_limit_brings():
    curves = curves_of([lambda x: 60 * np.sqrt(x), lambda x: 30 * np.sqrt(x), lambda x: 20 * np.sqrt(x)], points=8001)
    config = replace(FREE, total=900.0, caps={"line_0": 300.0}, floors={"line_2": 200.0})
    plan = allocate(curves, None, config)
    assert [line.binding for line in plan.lines] == ["cap", "budget", "floor"]
    looser_cap = allocate(curves, None, replace(config, caps={"line_0": 301.0}))
    looser_floor = allocate(curves, None, replace(config, floors={"line_2": 199.0}))
    more = allocate(curves, None, replace(config, total=901.0))
    assert looser_cap.value_mean - plan.value_mean == pytest.approx(plan.lines[0].shadow_price, rel=0.05)
    assert looser_floor.value_mean - plan.value_mean == pytest.approx(plan.lines[2].shadow_price, rel=0.05)
    assert more.value_mean - plan.value_mean == pytest.approx(plan.shadow_price, rel=0.01)


def test_unspent_money_stops_where_a_euro_returns_its_cost():
    curves = curves_of([lambda x: 20 * np.sqrt(x)], points=10_001)
    plan = allocate(curves, None, replace(FREE, total=900.0, spend_all=False))
    assert plan.planned_spend == pytest.approx(100, abs=0.2)  # 10 / sqrt(x) = 1
    assert plan.shadow_price == 0.0
    assert plan.gap_fraction <= 1e-6
    half_margin = allocate(curves, None, replace(FREE, total=900.0, spend_all=False, margin_fraction=0.5))
    assert half_margin.planned_spend == pytest.approx(25, abs=0.2)  # 0.5 * 10 / sqrt(x) = 1
    revenue = allocate(curves, None, replace(FREE, total=900.0, spend_all=False, objective="revenue"))
    assert revenue.planned_spend == 900.0


def test_figures_of_the_plan_are_those_of_the_draws():
    curves, current = random_curves(3)
    plan = allocate(curves, current, AllocationConfig(min_roas=1.5))
    draws = np.array(
        [
            [np.interp(x, curves.spend[i], curves.response[i, :, d]) for d in range(curves.response.shape[2])]
            for i, x in enumerate(spends(plan))
        ]
    )
    total = draws.sum(axis=0)
    assert plan.value_mean == pytest.approx(total.mean())
    assert (plan.value_p05, plan.value_p95) == pytest.approx(tuple(np.quantile(total, [0.05, 0.95])))
    assert plan.roas_mean == pytest.approx(total.mean() / spends(plan).sum())
    assert plan.probability_roas_met == np.mean(total / spends(plan).sum() >= 1.5)
    assert plan.profit_mean == pytest.approx(total.mean() - spends(plan).sum())
    for i, line in enumerate(plan.lines):
        assert line.value_mean == pytest.approx(draws[i].mean())
        assert (line.value_p05, line.value_p95) == pytest.approx(tuple(np.quantile(draws[i], [0.05, 0.95])))


# laws


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_bounds_hold_and_spends_add_up_to_the_cent(seed):
    curves, current = random_curves(seed)
    rng = np.random.default_rng(seed)
    config = AllocationConfig(
        total=float(np.round(current.sum() * rng.uniform(0.8, 1.2), 2)),
        floors={"line_0": float(current[0] * rng.uniform(0, 0.9))},
        caps={"line_1": float(current[1] * rng.uniform(0.9, 1.3))},
    )
    plan = allocate(curves, current, config)
    assert sum(cents(x) for x in spends(plan)) == cents(config.total)
    assert np.all(np.abs(spends(plan) * 100 - np.round(spends(plan) * 100)) < 1e-6)
    lower = np.array([line.lower for line in plan.lines])
    upper = np.array([line.upper for line in plan.lines])
    assert np.all(spends(plan) >= lower - 1e-6)
    assert np.all(spends(plan) <= upper + 1e-6)
    assert plan.lines[0].planned_spend >= config.floors["line_0"] - 1e-6
    assert plan.lines[1].planned_spend <= config.caps["line_1"] + 1e-6
    assert plan.value_mean == pytest.approx(value_at(curves, spends(plan)))
    assert plan.upper_bound >= plan.value_mean
    assert plan.optimal_gap_fraction <= 2e-6  # one for the search, one for cents


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_no_random_plan_within_the_limits_beats_the_bound(seed):
    curves, current = random_curves(seed)
    plan = allocate(curves, current, AllocationConfig())
    rng = np.random.default_rng(seed)
    lower, upper = 0.7 * current, 1.3 * current
    for share in rng.dirichlet(np.ones(4), 50):
        x = lower + share * (current - lower).sum()
        if np.all(x <= upper):
            assert value_at(curves, x) <= plan.upper_bound * (1 + 1e-6)  # limits are rounded to cents


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.floats(1.0, 1.5))
def test_more_budget_is_never_worth_less(seed, factor):
    curves, current = random_curves(seed)
    total = float(np.round(current.sum(), 2))
    for config in (FREE, AllocationConfig()):
        small = allocate(
            curves, current, replace(config, total=total, min_gain_fraction=0.0, min_probability_better=0.0)
        )
        large = allocate(curves, current, replace(config, total=round(total * factor, 2)))
        if factor > 1.01 or large.verdict == "move":
            assert large.value_mean >= small.value_mean * (1 - 3e-6)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.floats(0.0, 0.3))
def test_loosening_the_change_limit_never_costs_value(seed, tight):
    curves, current = random_curves(seed)
    always = AllocationConfig(min_probability_better=0.0, min_gain_fraction=0.0)
    narrow = allocate(curves, current, replace(always, max_change_fraction=tight))
    wide = allocate(curves, current, replace(always, max_change_fraction=tight + 0.2))
    assert wide.value_mean >= narrow.value_mean * (1 - 3e-6)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_the_order_of_the_lines_does_not_matter(seed):
    curves, current = random_curves(seed)
    order = np.random.default_rng(seed).permutation(4)
    shuffled = ResponseCurves(
        lines=tuple(curves.lines[i] for i in order), spend=curves.spend[order], response=curves.response[order]
    )
    plan, other = allocate(curves, current), allocate(shuffled, current[order])
    assert spends(other) == pytest.approx(spends(plan)[order], abs=0.011)  # a cent of rounding may go elsewhere
    assert [line.line for line in other.lines] == [curves.lines[i] for i in order]
    assert [line.binding for line in other.lines] == [plan.lines[i].binding for i in order]


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from([0.01, 7.5, 1000.0]))
def test_a_change_of_currency_scales_the_plan(seed, rate):
    curves, current = random_curves(seed)
    foreign = ResponseCurves(lines=curves.lines, spend=curves.spend * rate, response=curves.response * rate)
    plan = allocate(curves, current)
    other = allocate(foreign, current * rate, AllocationConfig(rounding_unit=0.01 * rate))
    assert spends(other) / rate == pytest.approx(spends(plan), abs=0.011)
    assert other.verdict == plan.verdict


def test_names_and_positions_give_the_same_plan_twice():
    curves, current = random_curves(5)
    by_name = allocate(curves, dict(zip(curves.lines, current, strict=True)))
    assert by_name == allocate(curves, current) == allocate(curves, list(current))


# limits


def test_locked_lines_stay_and_new_lines_may_start_small():
    curves, current = random_curves(8)
    current[3] = 0.0
    plan = allocate(curves, current, AllocationConfig(locked=("line_2",), new_line_fraction=0.04))
    assert plan.lines[2].planned_spend == current[2]
    assert plan.lines[2].binding == "locked"
    assert plan.lines[3].upper <= 0.04 * current.sum()


def test_a_floor_or_cap_outranks_the_change_limit():
    curves, current = random_curves(9)
    config = AllocationConfig(
        total=float(1.1 * current[1:].sum()), caps={"line_0": 0.0}, floors={"line_1": float(1.5 * current[1])}
    )
    plan = allocate(curves, current, config)
    assert plan.lines[0].planned_spend == 0.0
    assert plan.lines[1].planned_spend == pytest.approx(1.5 * current[1], abs=0.01)


def test_change_limit_follows_a_larger_or_smaller_budget():
    curves, current = random_curves(10)
    for factor in (0.5, 2.0):
        plan = allocate(curves, current, AllocationConfig(total=float(current.sum() * factor)))
        low, high = sorted((1.0, factor))
        assert np.all(spends(plan) >= current * low * 0.7 - 0.01)
        assert np.all(spends(plan) <= current * high * 1.3 + 0.01)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (AllocationConfig(total=1000.0, floors={"line_0": 700.0, "line_1": 600.0}), ["1,300.00", "1,000.00", "line_0"]),
        (
            AllocationConfig(total=9000.0, caps={f"line_{i}": 100.0 for i in range(4)}),
            ["400.00", "9,000.00", "its cap"],
        ),
        (AllocationConfig(floors={"line_1": 500.0}, caps={"line_1": 400.0}), ["line_1", "floor 500.00", "cap 400.00"]),
        (AllocationConfig(floors={"line1": 5.0}), ["'line1'", "did you mean 'line_1'"]),
        (AllocationConfig(locked=("lime_2",)), ["'lime_2'", "locked", "'line_2'"]),
        (AllocationConfig(floors={"line_0": -5.0}), ["floor", "line_0", "-5.0"]),
        (AllocationConfig(caps={"line_0": float("nan")}), ["cap", "line_0", "nan"]),
        (AllocationConfig(total=0.0), ["0.00", "above zero"]),
        (AllocationConfig(total=float("inf")), ["inf"]),
        (AllocationConfig(total=1e9), ["1,000,000,000.00", "end of its response curve"]),
    ],
)
def test_contradictions_are_named_with_both_sums(config, words):
    curves, _ = random_curves(1)
    with pytest.raises(InfeasiblePlan) as error:
        allocate(curves, None, replace(config, total=config.total if config.total is not None else 2000.0))
    assert all(word in str(error.value) for word in words), str(error.value)
    assert 1 <= len(str(error.value).splitlines()) <= 5


def test_unusable_current_spend_is_refused():
    curves, current = random_curves(1)
    with pytest.raises(InfeasiblePlan, match="'line_1' is locked"):
        allocate(curves, None, AllocationConfig(total=1000.0, locked=("line_1",)))
    with pytest.raises(InfeasiblePlan, match="did you mean 'line_3'"):
        allocate(curves, {"line3": 5.0})
    with pytest.raises(InfeasiblePlan, match="'line_2' is nan"):
        allocate(curves, np.where(np.arange(4) == 2, np.nan, current))
    with pytest.raises(InfeasiblePlan, match="4 lines"):
        allocate(curves, [1.0, 2.0])
    with pytest.raises(InfeasiblePlan, match="above zero"):
        allocate(curves, np.zeros(4))


@pytest.mark.parametrize(
    "bad",
    [{"max_change_fraction": -0.1}, {"margin_fraction": 0.0}, {"min_probability_better": 1.5}, {"objective": "clicks"}],
)
def test_config_names_the_bad_field(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        AllocationConfig(**bad)


# decisions


def test_holds_when_the_gain_is_noise_and_says_what_holding_costs():
    rng = np.random.default_rng(0)
    x = np.linspace(0, 3000, 61)[None, :, None]
    top = 3000 * np.exp(rng.normal(0, 0.5, (2, 1, 400)) + np.array([0.0, 0.12])[:, None, None])
    curves = ResponseCurves(lines=("a", "b"), spend=np.tile(x[:, :, 0], (2, 1)), response=top * x / (1000 + x))
    plan = allocate(curves, {"a": 1000.0, "b": 1000.0})
    assert plan.verdict == "hold"
    assert list(spends(plan)) == [1000.0, 1000.0]
    assert plan.value_mean == pytest.approx(plan.status_quo_value)
    assert plan.gap_fraction == pytest.approx(1 - plan.value_mean / plan.upper_bound)
    assert plan.optimal_gap_fraction <= 1e-6 < plan.gap_fraction
    assert "Hold" in plan.reason
    assert all(line.reason.startswith("unchanged") for line in plan.lines)
    eager = allocate(
        curves, {"a": 1000.0, "b": 1000.0}, AllocationConfig(min_gain_fraction=0, min_probability_better=0)
    )
    assert eager.verdict == "move"
    assert eager.value_mean > plan.value_mean


def test_moves_when_the_gain_is_sure():
    curves = curves_of([lambda x: 50 * np.sqrt(x), lambda x: 5 * np.sqrt(x)], lines=("good", "poor"))
    plan = allocate(curves, {"good": 300.0, "poor": 300.0})
    assert plan.verdict == "move"
    assert [line.planned_spend for line in plan.lines] == [390.0, 210.0]
    assert [line.binding for line in plan.lines] == ["max_change_up", "max_change_down"]
    assert plan.probability_better == 1.0
    assert plan.lines[0].reason.startswith("+30 %")
    assert plan.lines[0].reason.endswith("the most of all lines; stopped by the 30 % change limit.")
    assert plan.lines[1].reason.startswith("\N{MINUS SIGN}30 %")


def test_a_reason_names_the_lines_own_change_limit():
    curves = curves_of([lambda x: 50 * np.sqrt(x), lambda x: 5 * np.sqrt(x)], lines=("good", "poor"))
    plan = allocate(curves, [300.0, 300.0], AllocationConfig(max_change_fractions={"good": 0.1}))
    assert plan.lines[0].planned_spend == 330.0
    assert plan.lines[0].reason.endswith("stopped by the 10 % change limit.")


def test_the_attitude_to_risk_decides_whether_to_hold():
    """A safer line with a little less mean: in the mean today's spend is better, in its worst tenth far worse."""
    risky = np.exp(np.random.default_rng(1).normal(0.05, 0.8, 400))
    shape = np.linspace(0, 1000, 11)
    curves = ResponseCurves(
        lines=("safe", "risky"),
        spend=np.tile(shape, (2, 1)),
        response=np.stack([np.outer(shape, np.ones(400)), np.outer(shape, risky)]),
    )
    wary = AllocationConfig(max_change_fraction=None, risk="cvar:0.1")
    plan = allocate(curves, {"safe": 200.0, "risky": 400.0}, wary)
    assert plan.gain_mean < 0
    assert plan.verdict == "move"
    assert spends(plan) == pytest.approx([600.0, 0.0], abs=0.02)
    assert "counted as cvar:0.1, which decides" in plan.reason
    # more mean but a worse tail is no reason to move
    bold = allocate(curves, {"safe": 600.0}, wary)
    assert spends(bold) == pytest.approx([600.0, 0.0], abs=0.02)


def test_current_spend_outside_the_limits_is_never_held():
    curves, current = random_curves(2)
    plan = allocate(curves, current, AllocationConfig(caps={"line_0": float(current[0] / 2)}, min_gain_fraction=10.0))
    assert plan.verdict == "move"
    assert "rules out today's spend" in plan.reason


def test_scenarios_are_named_and_one_that_cannot_be_met_does_not_end_the_others():
    curves, current = random_curves(4)
    config = AllocationConfig(floors={"line_0": float(current.sum() * 0.6), "line_1": float(current.sum() * 0.25)})
    found = scenarios(curves, current, replace(config, max_change_fraction=None))
    assert list(found) == ["-20%", "base", "+30%"]
    for name, factor in (("base", 1.0), ("+30%", 1.3)):
        plan = found[name]
        if isinstance(plan, Plan):
            assert plan.scenario == name
            assert plan.planned_spend == pytest.approx(factor * current.sum(), abs=0.01)
    assert isinstance(found["-20%"], InfeasiblePlan)


def test_a_current_spend_beyond_the_curve_is_valued_at_its_end():
    curves = curves_of([np.sqrt, lambda x: 2 * np.sqrt(x)])
    plan = allocate(curves, [1500.0, 100.0], replace(FREE, total=1000.0))
    assert plan.status_quo_value == pytest.approx(np.sqrt(1000) + 2 * np.sqrt(100))


def test_frames_hold_every_line():
    curves, current = random_curves(6)
    plan = allocate(curves, current, plan_id="p1", scenario="base")
    frame = plan.line_frame()
    assert frame["line"].to_list() == list(curves.lines)
    assert frame["plan_id"].unique().to_list() == ["p1"]
    assert frame["planned_spend"].sum() == pytest.approx(plan.budget)
    assert frame["value_mean"].sum() == pytest.approx(plan.value_mean)
    assert {"upper_bound", "gap_fraction", "roas_mean", "verdict"} <= set(plan.summary())
