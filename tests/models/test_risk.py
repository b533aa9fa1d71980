"""Risk: definitions, linear programmes as the second implementation, the frontier, fresh draws."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog

from models.allocation import allocate
from models.errors import InfeasiblePlan
from models.mixed_integer import Criterion, maximise_tied
from models.nested import GroupBound
from models.problem import Problem, is_allowed
from models.response import ResponseCurves, line_value
from models.risk import Risk, adjusted, cvar, parse_risk, plane
from models.solve import solve
from models.tail import best_tail
from tests.models.test_allocation import FREE, spends

VALUES = arrays(float, st.integers(2, 40), elements=st.floats(-100, 100))


def uncertain_company(seed, n_lines=4, n_draws=200, points=25, sd=(0.35, 0.35)):
    """Concave curves whose returns move together in pairs: risk lies in the mix."""
    rng = np.random.default_rng(seed)
    scale = rng.uniform(500, 2000, n_lines)
    grid = np.linspace(0, 3, points)[None, :] * scale[:, None]
    common = rng.normal(0, 1, (2, n_draws)) * np.array(sd)[:, None]
    shock = np.exp(common[np.arange(n_lines) % 2] + rng.normal(0, 0.15, (n_lines, n_draws)))
    top = scale * rng.uniform(2, 4, n_lines)
    shape = np.linspace(0, 3, points)[None, :] / (rng.uniform(0.5, 1.5, (n_lines, 1)) + np.linspace(0, 3, points))
    lines = tuple(f"line_{i}" for i in range(n_lines))
    curves = ResponseCurves(lines=lines, spend=grid, response=(top[:, None] * shape)[:, :, None] * shock[:, None, :])
    return curves, float(np.round(scale.sum(), 2))


def by_rockafellar_uryasev(curves, total, share):
    """The same optimum as one linear programme over pieces, a quantile and a shortfall per draw."""
    n, points, draws = curves.response.shape
    steps = np.diff(curves.spend, axis=1)
    slopes = np.diff(curves.response, axis=1) / steps[:, :, None]
    pieces = n * (points - 1)
    cost = np.concatenate([np.zeros(pieces), [-1.0], np.full(draws, 1 / (share * draws))])
    short = np.hstack([-slopes.reshape(pieces, draws).T, np.ones((draws, 1)), -np.eye(draws)])
    found = linprog(
        cost,
        A_ub=short,
        b_ub=curves.response[:, 0].sum(axis=0),
        A_eq=[np.concatenate([np.ones(pieces), np.zeros(draws + 1)])],
        b_eq=[total],
        bounds=[(0, s) for s in steps.ravel()] + [(None, None)] + [(0, None)] * draws,
    )
    return -found.fun


@given(VALUES, st.floats(0.02, 1.0))
def test_cvar_is_the_largest_value_of_its_variational_form(value, share):
    # max over c of c - mean(max(c - v, 0)) / share is reached at one of the draws
    form = max(c - np.maximum(c - value, 0).mean() / share for c in value)
    assert cvar(value, share) == pytest.approx(form, abs=1e-8)
    assert value.min() - 1e-9 <= cvar(value, share) <= value.mean() + 1e-9
    assert cvar(value, 1.0) == pytest.approx(value.mean(), abs=1e-9)


@given(VALUES, st.sampled_from(["mean", "cvar:0.1", "cvar:0.25:0.5", "meanvar:0.7"]), st.integers(0, 1000))
def test_planes_lie_above_and_touch(value, text, seed):
    risk = parse_risk(text)
    other = value + np.random.default_rng(seed).normal(0, 10, len(value))
    weights, constant = plane(value, risk, 50.0)
    assert weights @ value + constant == pytest.approx(adjusted(value, risk, 50.0), abs=1e-7)
    assert weights @ other + constant >= adjusted(other, risk, 50.0) - 1e-7


def test_mean_variance_is_the_formula_of_its_docstring():
    value = np.array([1.0, 3.0, 8.0])
    assert adjusted(value, Risk(kind="meanvar", level=0.5), 4.0) == pytest.approx(4.0 - 0.5 * (26 / 3) / 4.0)


@pytest.mark.parametrize("seed", [101, 102, 103])
@pytest.mark.parametrize("share", [0.1, 0.33])
def test_cvar_plans_equal_the_linear_programme(seed, share):
    curves, total = uncertain_company(seed)
    plan = allocate(curves, None, replace(FREE, total=total, risk=f"cvar:{share}"))
    exact = by_rockafellar_uryasev(curves, total, share)
    assert plan.risk_value == pytest.approx(exact, rel=2e-5)
    assert plan.upper_bound >= exact * (1 - 1e-9)
    assert plan.gap_fraction <= 3e-5
    value = line_value(curves, spends(plan)).sum(axis=0)
    assert plan.risk_value == pytest.approx(cvar(value, share))
    assert plan.value_mean == pytest.approx(value.mean())


def test_less_appetite_for_risk_buys_a_better_tail_with_mean_value():
    curves, total = uncertain_company(104)
    found = [allocate(curves, None, replace(FREE, total=total, risk=risk)) for risk in ("mean", "cvar:0.1")]
    tails = [cvar(line_value(curves, spends(plan)).sum(axis=0), 0.1) for plan in found]
    assert tails[1] > tails[0] * 1.001
    assert found[1].value_mean < found[0].value_mean


def test_the_frontier_of_mean_and_cvar_is_concave():
    curves, total = uncertain_company(105, sd=(0.1, 0.8))
    weights = np.linspace(0, 1, 9)
    points = []
    for weight in weights:
        plan = allocate(curves, None, replace(FREE, total=total, risk=f"cvar:0.1:{weight}"))
        value = line_value(curves, spends(plan)).sum(axis=0)
        points.append((cvar(value, 0.1), value.mean()))
    tail, mean = np.array(points).T
    scale = 1e-4 * mean.max()
    assert np.all(np.diff(tail) >= -scale) and np.all(np.diff(mean) <= scale)
    assert mean[0] - mean[-1] > 10 * scale
    for i in range(1, len(weights) - 1):  # each point on or above the chord of its neighbours
        if tail[i + 1] - tail[i - 1] > scale:
            chord = np.interp(tail[i], [tail[i - 1], tail[i + 1]], [mean[i - 1], mean[i + 1]])
            assert mean[i] >= chord - scale


def test_variance_of_correlated_lines_counts():
    """Two twins that move together and one apart: mean-variance spreads away from the twins."""
    rng = np.random.default_rng(0)
    x = np.linspace(0, 300, 31)
    together, apart = np.exp(rng.normal(0, 0.5, 400)), np.exp(rng.normal(0, 0.5, 400))
    apart *= together.mean() / apart.mean()
    shape = 30 * np.sqrt(x)[:, None]
    response = np.stack([shape * together, shape * together, shape * apart])
    curves = ResponseCurves(lines=("a", "b", "c"), spend=np.tile(x, (3, 1)), response=response)
    plain = spends(allocate(curves, None, replace(FREE, total=300.0)))
    wary = spends(allocate(curves, None, replace(FREE, total=300.0, risk="meanvar:2")))
    assert plain == pytest.approx([100, 100, 100], abs=10.1)
    assert wary[2] > 1.2 * plain[2]


@pytest.mark.parametrize("seed", range(106, 110))
def test_a_chance_of_a_roas_holds_on_fresh_draws(seed):
    curves, total = uncertain_company(seed, n_draws=2000)
    fresh = ResponseCurves(lines=curves.lines, spend=curves.spend, response=curves.response[:, :, 1000:])
    known = ResponseCurves(lines=curves.lines, spend=curves.spend, response=curves.response[:, :, :1000])
    target = 0.95 * allocate(known, None, replace(FREE, total=total)).roas_mean
    config = replace(FREE, total=total, spend_all=False, objective="revenue", min_roas=target)
    plan = allocate(known, None, replace(config, min_probability_roas=0.8))
    x = spends(plan)
    reached = np.mean(line_value(fresh, x).sum(axis=0) >= target * x.sum())
    assert plan.probability_roas_met >= 0.8
    assert reached >= 0.8 - 0.02
    free = allocate(known, None, config)
    assert free.probability_roas_met < 0.8  # or the rule did nothing
    assert plan.value_mean <= free.value_mean * (1 + 1e-6) <= plan.upper_bound * (1 + 2e-6)
    assert plan.value_mean >= 0.5 * free.value_mean


def test_a_chance_that_no_plan_has_is_named():
    curves, total = uncertain_company(110)
    with pytest.raises(InfeasiblePlan, match=r"probability of 0\.99"):
        allocate(curves, None, replace(FREE, total=total, min_roas=1.5, min_probability_roas=0.99))


@settings(max_examples=10, deadline=None)
@given(st.integers(100, 5000))
def test_s_shaped_lines_under_risk_keep_a_true_bound(seed):
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 20, 21)
    half = rng.uniform(4, 12, (3, 1, 1)) * rng.lognormal(0, 0.2, (3, 1, 60))
    response = rng.uniform(10, 30, (3, 1, 1)) * x[None, :, None] ** 3 / (half**3 + x[None, :, None] ** 3)
    curves = ResponseCurves(lines=("a", "b", "c"), spend=np.tile(x, (3, 1)), response=response)
    plan = allocate(curves, None, replace(FREE, total=24.0, risk="cvar:0.2"))
    assert plan.gap_fraction <= 1e-3
    for a in range(21):
        for b in range(21):
            if 0 <= 24 - a - b <= 20:
                rival = line_value(curves, np.array([a, b, 24 - a - b], dtype=float)).sum(axis=0)
                assert cvar(rival, 0.2) <= plan.upper_bound


@pytest.mark.parametrize("risk", ["cvar:0.1", "cvar:0.2:0.5"])
def test_the_game_of_plan_and_weights_agrees_with_the_mixed_integer_programme(risk):
    """Two methods for one tail: on concave lines their plans are worth the same, and each bound covers the other's."""
    curves, total = uncertain_company(111, n_lines=6, n_draws=100)
    attitude = parse_risk(risk)
    mean = curves.mean
    problem = Problem(
        lines=curves.lines,
        spend=tuple(curves.spend),
        value=tuple(mean),
        joined=(np.ones(24, dtype=bool),) * 6,
        total=total,
        unspent_worth=None,
        groups=(GroupBound(name="g", inside=np.arange(6) < 2, low=0.3 * total, high=0.5 * total),),
    )
    criterion = Criterion(
        draws=tuple(curves.response),
        adjusted=lambda value: adjusted(value, attitude, total),
        plane=lambda value: plane(value, attitude, total),
        risk=attitude,
    )
    programme = maximise_tied(problem, tolerance=1e-6, criterion=criterion)
    game = best_tail(problem, criterion.draws, attitude, solve, 1e-5)
    assert game.value <= programme.upper_bound
    assert programme.value <= game.upper_bound
    assert game.value == pytest.approx(programme.value, rel=3e-5)
    assert is_allowed(problem, game.spend, 1e-6 * total)
