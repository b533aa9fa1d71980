"""Certified maximum: against an exact dynamic programme, closed forms, and the optimiser rivals use."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from models.certificate import concave_envelope, maximise

STEPS = 40  # grid steps per line


def hill_lines(rng, n_lines, slopes=(0.7, 4.0), points=STEPS + 1):
    """Random Hill curves on whole-number grids."""
    x = np.arange(points, dtype=float)
    slope = rng.uniform(*slopes, n_lines)[:, None]
    half = rng.uniform(0.1, 0.8, n_lines)[:, None] * points
    top = rng.lognormal(0, 0.6, n_lines)[:, None]
    return [x] * n_lines, list(top * x**slope / (half**slope + x**slope))


def dynamic_programme(values, total):
    """Exact optimum over whole-number spends.

    It is the optimum over all spends: while two lines lie between grid points, money can be shifted between them
    without loss until one reaches a point, and then the other is on one too because the total is whole.
    """
    best = np.full(total + 1, -np.inf)
    best[0] = 0.0
    for y in values:
        after = np.full(total + 1, -np.inf)
        for units, worth in enumerate(y[: total + 1]):
            after[units:] = np.maximum(after[units:], best[: total + 1 - units] + worth)
        best = after
    return best[total]


@pytest.mark.parametrize("slopes", [(0.7, 1.0), (0.7, 4.0), (2.0, 4.0)])
def test_equals_the_exact_dynamic_programme(slopes):
    rng = np.random.default_rng(7)
    for _ in range(100):
        n_lines = int(rng.integers(2, 7))
        spend, value = hill_lines(rng, n_lines, slopes)
        total = int(rng.integers(1, n_lines * STEPS))
        exact = dynamic_programme(value, total)
        found = maximise(spend, value, total, tolerance=1e-9)
        assert found.value == pytest.approx(exact, rel=1e-8)
        assert found.upper_bound >= exact * (1 - 1e-12)
        assert found.upper_bound - found.value <= 1e-9 * found.upper_bound
        assert found.spend.sum() == pytest.approx(total, abs=1e-9)


def test_equals_the_dynamic_programme_on_jagged_curves():
    rng = np.random.default_rng(11)
    for _ in range(60):
        n_lines = int(rng.integers(2, 6))
        value = list(np.cumsum(rng.normal(0.2, 1, (n_lines, 13)), axis=1))
        total = int(rng.integers(1, n_lines * 12))
        exact = dynamic_programme(value, total)
        found = maximise([np.arange(13.0)] * n_lines, value, total, tolerance=0.0)
        assert found.value == pytest.approx(exact, abs=1e-9)
        assert found.upper_bound == pytest.approx(exact, abs=1e-9)


def test_square_roots_follow_the_closed_form():
    weight = np.array([1.0, 2.0, 3.0, 0.5])
    x = np.linspace(0, 100, 20_001)
    found = maximise([x] * 4, [w * np.sqrt(x) for w in weight], 60.0)
    # equal margins: x_i in proportion to weight_i^2
    assert found.spend == pytest.approx(60 * weight**2 / (weight**2).sum(), abs=0.01)
    assert found.value == pytest.approx(np.sqrt(60 * (weight**2).sum()), rel=1e-6)


def test_never_worse_than_slsqp_from_a_uniform_start():
    rng = np.random.default_rng(3)
    x = np.linspace(0, 1, 401)
    losses = []
    for _ in range(60):
        slope, half, top = rng.uniform(2, 4, 4), rng.uniform(0.1, 0.8, 4), rng.lognormal(0, 0.6, 4)

        def hill(spend, slope=slope, half=half, top=top):
            return top * spend**slope / (half**slope + spend**slope)

        total = rng.uniform(0.5, 2.0)
        rival = minimize(
            lambda spend, hill=hill: -hill(spend).sum(),
            np.full(4, total / 4),
            method="SLSQP",
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda spend, total=total: spend.sum() - total},
        )
        found = maximise([x] * 4, list(hill(x[:, None]).T), total)
        ours = hill(found.spend).sum()
        assert ours >= -rival.fun * (1 - 1e-4)  # the rival sees the smooth curves, ours 401 points of them
        losses.append(1 + rival.fun / ours)
    assert max(losses) > 0.01  # or the instances were too easy to tell


def test_reaching_the_node_limit_leaves_a_true_bound():
    rng = np.random.default_rng(5)
    for _ in range(20):
        spend, value = hill_lines(rng, 5, (3.0, 4.0))
        total = int(rng.integers(10, 150))
        found = maximise(spend, value, total, max_nodes=1)
        exact = dynamic_programme(value, total)
        assert found.value <= exact * (1 + 1e-12)
        assert found.upper_bound >= exact * (1 - 1e-12)


def test_refuses_a_total_out_of_range():
    with pytest.raises(ValueError, match="outside"):
        maximise([np.array([0.0, 1.0])], [np.array([0.0, 1.0])], 2.0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=30))
def test_envelope_is_above_the_points_and_concave(heights):
    x, y = np.arange(len(heights), dtype=float), np.array(heights, dtype=float)
    at = concave_envelope(x, y)
    assert np.all(np.interp(x, x[at], y[at]) >= y - 1e-9)
    assert np.all(np.diff(np.diff(y[at]) / np.diff(x[at])) < 0)
    assert (at[0], at[-1]) == (0, len(heights) - 1)


def test_lines_with_the_same_curve_are_searched_once():
    x = np.linspace(0, 3, 31)
    y = x**4 / (1 + x**4)
    n_lines, total = 12, 54  # in grid steps of 0.1
    found = maximise([x] * n_lines, [y] * n_lines, total / 10, tolerance=1e-9)
    assert found.value == pytest.approx(dynamic_programme([y] * n_lines, total), rel=1e-9)
    assert found.upper_bound - found.value <= 1e-9 * found.upper_bound
    assert found.node_count < 500
