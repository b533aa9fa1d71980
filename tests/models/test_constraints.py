"""Rules of a plan all together: kept, priced, and where they contradict each other, named."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from models.allocation import AllocationConfig, Group, allocate
from models.errors import ConfigError, InfeasiblePlan
from models.infeasible import only, rules_of
from models.response import ResponseCurves
from tests.models.test_allocation import FREE, cents, curves_of, random_curves, spends, value_at

SEEDS = st.integers(100, 10_000)
LINES = tuple(f"line_{i}" for i in range(6))


def company(seed, n_draws=40):
    """Six lines of any shape, their spend today, and the budget."""
    curves, current = random_curves(seed, 6, n_draws)
    return curves, current, float(np.round(current.sum(), 2))


def random_rules(rng, current, total):
    """Floors, caps, thresholds, nested or overlapping groups, a ROAS and a number of moves, each some of the time."""
    overlap = rng.random() < 0.3
    rules = {
        "floors": {"line_0": float(current[0] * rng.uniform(0, 0.6))},
        "caps": {"line_1": float(current[1] * rng.uniform(0.6, 2.5))},
        "off_or_at_least": {"line_2": float(current[2] * rng.uniform(0.3, 1.5)), "line_3": float(current[3] * 0.7)},
        "groups": {
            "brand": {"lines": ["line_0", "line_4"], "floor": float(total * rng.uniform(0, 0.25))},
            "video": {"lines": ["line_4", "line_5"] if overlap else ["line_2", "line_5"], "max_share": 0.6},
        },
    }
    if rng.random() < 0.5:
        rules["max_moves"] = int(rng.integers(3, 6))
    if rng.random() < 0.5:
        rules["min_roas"] = float(rng.uniform(0.3, 1.2))
    return rules


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_all_rules_at_once_are_kept_to_the_cent_and_no_random_plan_beats_the_bound(seed):
    curves, current, total = company(seed)
    rng = np.random.default_rng(seed)
    config = replace(FREE, total=total, min_gain_fraction=0.0, min_probability_better=0.0)
    config = replace(config, **random_rules(rng, current, total))
    try:
        plan = allocate(curves, current, config)
    except InfeasiblePlan:
        reject()  # another example in its place
    x = spends(plan)
    assert sum(cents(amount) for amount in x) == cents(total)
    assert_kept(x, curves, current, config, total)
    assert plan.optimal_gap_fraction <= 1e-5
    for share in rng.dirichlet(np.ones(6) * 0.7, 300):
        rival = np.minimum(share * total, curves.max_spend)
        if is_kept(rival, curves, current, config, total):
            assert value_at(curves, rival) <= plan.upper_bound * (1 + 1e-9)


def is_kept(x, curves, current, config, total):
    try:
        assert_kept(x, curves, current, config, total)
    except AssertionError:
        return False
    return abs(x.sum() - total) < 1e-6


def assert_kept(x, curves, current, config, total):
    slack = 1e-6 * total
    for line, least in config.floors.items():
        assert x[LINES.index(line)] >= least - slack
    for line, most in config.caps.items():
        assert x[LINES.index(line)] <= most + slack
    for line, least in config.off_or_at_least.items():
        assert x[LINES.index(line)] == 0 or x[LINES.index(line)] >= least - slack
    for group in config.groups.values():
        held = sum(x[LINES.index(line)] for line in group.lines)
        assert held >= (group.floor or 0.0) - slack
        assert held <= (np.inf if group.max_share is None else group.max_share * total) + slack
    if config.max_moves is not None:
        assert (np.abs(x - current) > 0.01).sum() <= config.max_moves
    if config.min_roas is not None:
        assert value_at(curves, x) >= config.min_roas * x.sum() * (1 - 1e-6)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.sampled_from(["groups", "off_or_at_least", "max_moves", "min_roas", "caps"]))
def test_leaving_a_rule_out_never_costs_value(seed, dropped):
    curves, current, total = company(seed)
    rules = random_rules(np.random.default_rng(seed), current, total)
    config = replace(FREE, total=total, min_gain_fraction=0.0, min_probability_better=0.0, **rules)
    nothing = {"groups": {}, "off_or_at_least": {}, "max_moves": None, "min_roas": None, "caps": {}}
    try:
        tight = allocate(curves, current, config)
    except InfeasiblePlan:
        reject()  # another example in its place
    loose = allocate(curves, current, replace(config, **{dropped: nothing[dropped]}))
    assert loose.value_mean >= tight.value_mean * (1 - 1e-5)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.floats(1.0, 1.5))
def test_more_budget_never_costs_value_under_rules(seed, factor):
    curves, current, total = company(seed)
    rules = random_rules(np.random.default_rng(seed), current, total)
    rules["groups"]["video"] = {"lines": ["line_2", "line_5"], "cap": 0.6 * total}
    config = replace(FREE, spend_all=False, objective="revenue", min_gain_fraction=0.0, min_probability_better=0.0)
    try:
        small = allocate(curves, current, replace(config, total=total, **rules))
    except InfeasiblePlan:
        reject()  # another example in its place
    large = allocate(curves, current, replace(config, total=round(total * factor, 2), **rules))
    assert large.value_mean >= small.value_mean * (1 - 1e-5)
    assert large.upper_bound >= small.value_mean


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_a_permutation_of_the_lines_permutes_the_plan_under_all_rules(seed):
    curves, current, total = company(seed)
    rng = np.random.default_rng(seed)
    config = replace(FREE, total=total, **random_rules(rng, current, total))
    order = rng.permutation(6)
    shuffled = ResponseCurves(
        lines=tuple(curves.lines[i] for i in order), spend=curves.spend[order], response=curves.response[order]
    )
    try:
        plan = allocate(curves, current, config)
    except InfeasiblePlan:
        with pytest.raises(InfeasiblePlan):
            allocate(shuffled, current[order], config)
        return
    other = allocate(shuffled, current[order], config)
    assert other.verdict == plan.verdict
    assert other.value_mean == pytest.approx(plan.value_mean, rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.sampled_from([0.01, 7.5, 1000.0]))
def test_a_change_of_currency_scales_the_plan_under_rules(seed, rate):
    curves, current, total = company(seed)
    rules = random_rules(np.random.default_rng(seed), current, total)
    config = replace(FREE, total=total, **rules)
    scaled = {name: {k: v * rate for k, v in rules[name].items()} for name in ("floors", "caps", "off_or_at_least")}
    groups = {name: dict(group) for name, group in rules["groups"].items()}
    groups["brand"]["floor"] *= rate
    foreign = replace(config, total=total * rate, rounding_unit=0.01 * rate, groups=groups, **scaled)
    abroad = ResponseCurves(lines=curves.lines, spend=curves.spend * rate, response=curves.response * rate)
    try:
        plan = allocate(curves, current, config)
    except InfeasiblePlan:
        with pytest.raises(InfeasiblePlan):
            allocate(abroad, current * rate, foreign)
        return
    assert allocate(abroad, current * rate, foreign).value_mean / rate == pytest.approx(plan.value_mean, rel=1e-5)


def test_the_price_of_a_group_predicts_what_loosening_it_brings():
    curves = curves_of([lambda x: 60 * np.sqrt(x), lambda x: 30 * np.sqrt(x), lambda x: 20 * np.sqrt(x)], points=8001)
    rules = {"total": 900.0, "groups": {"brand": Group(lines=("line_1", "line_2"), floor=400.0)}}
    plan = allocate(curves, None, replace(FREE, **rules))
    price = {rule.name: rule for rule in plan.constraints}
    assert price["group 'brand'"].binding
    looser = allocate(
        curves, None, replace(FREE, total=900.0, groups={"brand": Group(lines=("line_1", "line_2"), floor=399.0)})
    )
    more = allocate(curves, None, replace(FREE, **(rules | {"total": 901.0})))
    gained, grown = looser.value_mean - plan.value_mean, more.value_mean - plan.value_mean
    assert gained == pytest.approx(price["group 'brand'"].shadow_price, rel=0.02)
    assert grown == pytest.approx(price["total"].shadow_price, rel=0.02)
    assert [line.binding for line in plan.lines] == ["budget", "group", "group"]
    # inside the group money follows the square of the factors: 30^2 : 20^2
    assert spends(plan)[1:] == pytest.approx([400 * 9 / 13, 400 * 4 / 13], abs=0.3)


@pytest.mark.parametrize("risk", ["cvar:0.2", "cvar:0.1:0.5"])
def test_prices_under_risk_predict_what_loosening_brings_to_what_is_counted(risk):
    shocks = np.exp(np.random.default_rng(5).normal(0, 0.4, (3, 1, 200)))
    plain = curves_of([lambda x: 60 * np.sqrt(x), lambda x: 30 * np.sqrt(x), lambda x: 20 * np.sqrt(x)], points=2001)
    curves = ResponseCurves(lines=plain.lines, spend=plain.spend, response=plain.mean[:, :, None] * shocks)

    def plan_of(total, floor):
        brand = Group(lines=("line_1", "line_2"), floor=floor)
        return allocate(curves, None, replace(FREE, total=total, groups={"brand": brand}, risk=risk))

    plan = plan_of(900.0, 500.0)
    price = {rule.name: rule.shadow_price for rule in plan.constraints}
    looser, more = plan_of(900.0, 480.0), plan_of(920.0, 500.0)
    assert (looser.risk_value - plan.risk_value) / 20 == pytest.approx(price["group 'brand'"], rel=0.06)
    assert (more.risk_value - plan.risk_value) / 20 == pytest.approx(price["total"], rel=0.06)
    assert (more.value_mean - plan.value_mean) / 20 > 1.1 * price["total"]  # the mean's price is another
    assert plan.shadow_price == price["total"]


def test_a_held_plan_has_no_prices_of_rules_and_its_own_margins():
    curves = curves_of([lambda x: 60 * np.sqrt(x), lambda x: 30 * np.sqrt(x)], points=2001)
    config = replace(FREE, groups={"brand": Group(lines=("line_1",), cap=300.0)}, max_moves=2, min_gain_fraction=0.5)
    plan = allocate(curves, [500.0, 250.0], config)
    assert plan.verdict == "hold"
    assert plan.constraints == ()
    assert plan.lines[0].marginal_value == pytest.approx(30 / np.sqrt(500.0), rel=1e-3)
    assert allocate(curves, [500.0, 250.0], replace(config, min_gain_fraction=0.0)).constraints


def test_the_price_of_a_roas_predicts_what_lowering_it_brings():
    curves = curves_of([lambda x: 60 * np.sqrt(x), lambda x: 30 * np.sqrt(x)], points=8001)
    config = replace(FREE, total=1500.0, spend_all=False, objective="revenue", min_roas=3.0)
    plan = allocate(curves, None, config)
    # both lines at equal margins: value k sqrt(X) with k^2 = 60^2 + 30^2, so ROAS 3 is reached at X = (k / 3)^2
    assert plan.planned_spend == pytest.approx((60**2 + 30**2) / 9, rel=1e-4)
    assert plan.roas_mean == pytest.approx(3.0, rel=1e-5)
    lower = allocate(curves, None, replace(config, min_roas=2.99))
    price = next(rule for rule in plan.constraints if rule.name.startswith("min_roas"))
    assert lower.value_mean - plan.value_mean == pytest.approx(0.01 * price.shadow_price, rel=0.02)


def test_shares_of_what_is_spent_where_money_may_stay_unspent():
    curves = curves_of([lambda x: 60 * np.sqrt(x), lambda x: 10 * np.sqrt(x)], points=2001)
    config = replace(FREE, total=1500.0, spend_all=False, groups={"brand": {"lines": ["line_1"], "min_share": 0.25}})
    plan = allocate(curves, None, config)
    assert spends(plan)[1] == pytest.approx(0.25 * plan.planned_spend, abs=0.02)
    assert plan.planned_spend < 1500
    assert plan.gap_fraction <= 1e-5


def test_off_or_at_least_switches_off_what_is_not_worth_its_threshold():
    curves = curves_of([lambda x: 60 * np.sqrt(x), lambda x: 10 * np.sqrt(x)], points=2001)
    small = allocate(curves, None, replace(FREE, total=500.0, off_or_at_least={"line_1": 5.0}))
    large = allocate(curves, None, replace(FREE, total=500.0, off_or_at_least={"line_1": 400.0}))
    assert spends(small)[1] > 5.0
    assert spends(large)[1] == 0.0
    forced = allocate(
        curves, None, replace(FREE, total=1200.0, off_or_at_least={"line_1": 400.0}, caps={"line_0": 900.0})
    )
    assert spends(forced)[1] >= 400.0


def test_a_line_spends_only_where_its_own_roas_holds():
    curves = curves_of([lambda x: 60 * np.sqrt(x), lambda x: 10 * np.sqrt(x)], points=2001)
    plan = allocate(curves, None, replace(FREE, total=1000.0, spend_all=False, objective="revenue",
                                          min_line_roas={"line_0": 4.0, "line_1": 1.0}))  # fmt: skip
    # 60 / sqrt(x) >= 4 up to 225, 10 / sqrt(x) >= 1 up to 100
    assert spends(plan) == pytest.approx([225.0, 100.0], abs=0.6)
    assert plan.lines[0].binding == "min_line_roas"


def test_clv_and_margins_change_the_ranking():
    """Short-term returns favour the first line, lifetime value the second, the margin the third."""
    curves = curves_of([lambda x: 30 * np.sqrt(x), lambda x: 25 * np.sqrt(x), lambda x: 20 * np.sqrt(x)], points=4001)
    base = replace(FREE, total=900.0)
    best = {
        "profit": allocate(curves, None, base),
        "clv": allocate(
            curves, None, replace(base, objective="clv", clv_ratio={"line_0": 1.0, "line_1": 3.0, "line_2": 1.0})
        ),
        "margin": allocate(curves, None, replace(base, margin_fraction=0.2, margin_fractions={"line_2": 0.9})),
        "conversions": allocate(
            curves, None, replace(base, objective="conversions",
                                  value_per_conversion={"line_0": 60.0, "line_1": 500.0, "line_2": 50.0})
        ),
    }  # fmt: skip
    assert {name: int(np.argmax(spends(plan))) for name, plan in best.items()} == {
        "profit": 0, "clv": 1, "margin": 2, "conversions": 0,
    }  # fmt: skip
    # equal margins: spend in proportion to the squares of what a unit of each response counts for
    assert spends(best["clv"]) == pytest.approx(900 * np.array([900, 75**2, 400]) / (900 + 75**2 + 400), abs=0.5)
    # ROAS and profit stay those of the response, whatever is maximised
    assert best["conversions"].profit_mean == pytest.approx(value_at(curves, spends(best["conversions"])) - 900)
    clv = best["clv"]
    assert clv.roas_mean == pytest.approx(value_at(curves, spends(clv)) / 900)


# contradictions


def conflict(config, seed=101, current=None):
    curves, _, total = company(seed)
    with pytest.raises(InfeasiblePlan) as error:
        allocate(curves, current, replace(config, total=total))
    assert error.value.exit_code == 5
    assert 1 <= len(str(error.value).splitlines()) <= 5
    return str(error.value), total


def test_only_the_rules_that_conflict_are_named():
    curves, _, total = company(101)
    config = replace(
        FREE,
        caps={"line_0": 100.0, "line_5": 50_000.0},
        floors={"line_4": 200.0},
        groups={
            "brand": Group(lines=("line_0", "line_1"), floor=0.7 * total),
            "video": Group(lines=("line_2", "line_3"), max_share=0.5),
        },
    )
    words, _ = conflict(config)
    assert "cap of 'line_0', 100.00" in words
    assert "group 'brand'" in words
    assert "line_4" not in words and "video" not in words and "line_5" not in words
    for named in ({"caps": {}}, {"groups": {}}):  # each of the two is needed for the contradiction
        allocate(curves, None, replace(config, total=total, **named))


def test_groups_against_groups_and_the_total():
    words, total = conflict(replace(FREE, groups={"a": {"lines": ["line_0", "line_1", "line_2"], "min_share": 0.7},
                                                  "b": {"lines": ["line_3", "line_4"], "min_share": 0.4}}))  # fmt: skip
    assert "group 'a'" in words and "group 'b'" in words and f"{total:,.2f}" in words
    words, _ = conflict(replace(FREE, groups={"a": {"lines": ["line_0"], "floor": 200.0, "cap": 100.0}}))
    assert "200.00" in words and "100.00" in words


def test_an_unreachable_roas_says_what_can_be_reached():
    words, total = conflict(replace(FREE, min_roas=50.0))
    assert "ROAS of the plan of at least 50" in words
    curves, _, _ = company(101)
    best = allocate(curves, None, replace(FREE, total=total))
    assert f"{best.roas_mean:.2f} at most" in words


def test_a_threshold_inside_forbidden_ground_and_a_lock_without_spend():
    words, _ = conflict(replace(FREE, caps={"line_0": 50.0}, floors={"line_0": 10.0}, off_or_at_least={"line_0": 80.0}))
    assert "'line_0'" in words and "80.00" in words
    words, _ = conflict(replace(FREE, max_moves=2))
    assert "no current spend" in words


def test_too_few_moves_for_the_budget():
    curves, current, total = company(101)
    with pytest.raises(InfeasiblePlan, match="at most 1 moves"):
        allocate(curves, current, replace(FREE, total=2.0 * total, max_moves=1))


def test_unusable_rules_are_refused_by_name():
    curves, _, total = company(101)
    with pytest.raises(ConfigError, match="value_per_conversion"):
        allocate(curves, None, replace(FREE, total=total, max_cpa=50.0))
    for ratio, words in (({}, "no line has one"), ({"line_0": 2.0}, "line 'line_1' has none")):
        with pytest.raises(ConfigError, match=words):
            allocate(curves, None, replace(FREE, total=total, objective="clv", clv_ratio=ratio))
    with pytest.raises(InfeasiblePlan, match="did you mean 'line_1'"):
        allocate(curves, None, replace(FREE, total=total, groups={"g": {"lines": ["line1"], "cap": 5.0}}))
    for bad in (
        {"groups": {"g": {"cap": 5.0}}},
        {"groups": {"g": {"lines": ["line_0"], "max_share": 1.5}}},
        {"groups": {"g": {"lines": ["line_0"], "cap": float("nan")}}},
        {"risk": "cvar"},
        {"risk": "cvar:2"},
        {"min_roas": 0.0},
        {"max_moves": -1},
        {"min_probability_roas": 0.9},
        {"clv_ratio": {"line_0": -1.0}},
    ):
        with pytest.raises((ValueError, TypeError)):
            replace(FREE, **bad)


def test_one_line_and_negative_responses_make_plain_plans():
    one = curves_of([np.sqrt], lines=("only",))
    assert spends(allocate(one, None, replace(FREE, total=500.0))) == pytest.approx([500.0])
    harmful = curves_of([lambda x: -x, np.sqrt])
    plan = allocate(harmful, None, replace(FREE, total=500.0))
    assert spends(plan) == pytest.approx([0.0, 500.0])
    with pytest.raises(InfeasiblePlan, match="ROAS"):
        allocate(curves_of([lambda x: -x]), None, replace(FREE, total=500.0, min_roas=1.0))


def test_the_rules_of_a_config_are_all_found_and_can_all_be_left_out():
    _, current, total = company(101)
    config = replace(AllocationConfig(), **random_rules(np.random.default_rng(3), current, total), locked=("line_5",))
    rules = rules_of(LINES, config)
    assert len(rules) == len({(r.field, r.key, r.part) for r in rules})
    assert only(config, rules, LINES).groups == config.groups
    bare = only(config, [], LINES)
    assert not (bare.floors or bare.caps or bare.off_or_at_least or bare.locked or bare.max_moves)
    assert bare.max_change_fraction is None
    assert rules_of(LINES, bare) == []


def test_the_same_rules_give_the_same_plan_twice_and_say_what_holds_each_line():
    curves, current, total = company(103)
    rules = random_rules(np.random.default_rng(2), current, total) | {"max_moves": 3, "min_roas": 0.5}
    config = replace(FREE, total=total, min_gain_fraction=0.0, min_probability_better=0.0, **rules)
    plan = allocate(curves, current, config)
    assert allocate(curves, current, config) == plan
    assert {rule.name for rule in plan.constraints} >= {"total", "min_roas 0.5", "max_moves 3"}
    still = [line for line in plan.lines if line.binding == "max_moves"]
    assert still and all(line.planned_spend == pytest.approx(line.spend, abs=0.01) for line in still)
    assert all("other moves pay more" in line.reason for line in still)
