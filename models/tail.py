"""The plan with the best tail under nested rules, for any number of lines: a game between plan and reweighted draws.

CVaR is the mean under the worst reweighting of the draws. For concave curves the best plan against the worst weights
and the worst weights against the best plan meet. Given weights, the best plan is that of mean curves under them: a
greedy fill, whose value bounds the CVaR of every plan. Given the plans met so far, the worst weights are a small linear
programme, whose dual variables mix those plans into one that is at least as good.

Sources: Rockafellar & Uryasev (2000), Journal of Risk 2(3), 21-41; Dantzig & Wolfe (1960), "Decomposition principle for
linear programs", Operations Research 8(1), 101-111; Sion (1958), "On general minimax theorems", Pacific Journal of
Mathematics 8(1), 171-176.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from models.certificate import Certificate
from models.problem import Problem, is_allowed
from models.risk import Risk, adjusted

FloatArray = NDArray[np.float64]

MAX_ROUNDS = 60  # a round is a fill and a small programme; what is left is a gap, which is reported
CALM = 0.5  # share of the best weights so far in the next ones: half-way steps swing less


def best_tail(
    problem: Problem,
    draws: Sequence[FloatArray],
    risk: Risk,
    solve_mean: Callable[[Problem], Certificate],
    tolerance: float,
) -> Certificate:
    """Spends with the best risk-adjusted value found, and a bound on that of any.

    Parameters
    ----------
    draws : per line (n_points, n_draws) at the points of the problem's curves. risk : of kind "cvar".
    solve_mean : the best plan for given mean curves, with its bound. tolerance : gap to stop at.
    """
    sizes = np.array([len(x) for x in problem.spend])
    stacked = np.concatenate(draws)
    ends = np.cumsum(sizes)
    n_draws = stacked.shape[1]
    weights = np.full(n_draws, 1.0 / n_draws)
    centre, bound = weights, np.inf
    best, best_value = None, -np.inf
    plans: list[FloatArray] = []
    values: list[FloatArray] = []

    def value_of(spend: FloatArray) -> FloatArray:
        unspent = 0.0 if problem.unspent_worth is None else problem.unspent_worth * (problem.total - spend.sum())
        return _draws_at(problem, stacked, ends - sizes, sizes, spend) + unspent

    is_convex = bool(np.concatenate([*problem.joined, [True]]).all())  # then a mixture of plans is a plan
    rounds = 0
    for rounds in range(1, MAX_ROUNDS + 1):  # noqa: B007
        under = np.split(stacked @ weights, ends[:-1])
        proof = solve_mean(replace(problem, value=tuple(under)))
        if proof.upper_bound < bound:
            bound, centre = proof.upper_bound, weights
        plans.append(proof.spend)
        values.append(value_of(proof.spend))
        worst, mix = _worst_weights(np.array(values), risk)
        mixed = np.array(plans).T @ mix
        for spend, value in ((proof.spend, values[-1]), (mixed, value_of(mixed))):
            worth = adjusted(value, risk, problem.total)
            is_plan = spend is proof.spend or is_convex or is_allowed(problem, spend, 1e-7 * problem.total)
            if worth > best_value and is_plan:
                best, best_value = spend, worth
        if bound - best_value <= tolerance * abs(bound):
            break
        weights = CALM * centre + (1 - CALM) * worst
    assert best is not None  # noqa: S101  # the first plan is one
    return Certificate(spend=best, value=best_value, upper_bound=max(bound, best_value), node_count=rounds)


def _worst_weights(values: FloatArray, risk: Risk) -> tuple[FloatArray, FloatArray]:
    """Weights (n_draws,) that make the best of the plans worth least, and the mixture (n_plans,) that meets them.

    Parameters
    ----------
    values : (n_plans, n_draws).
    """
    n_plans, n_draws = values.shape
    scale = max(float(np.abs(values).max()), 1e-12)
    plain = (1 - risk.weight) * values.mean(axis=1) / scale
    found = linprog(
        np.append(np.zeros(n_draws), 1.0),
        A_ub=np.column_stack([risk.weight * values / scale, -np.ones(n_plans)]),
        b_ub=-plain,
        A_eq=np.append(np.ones(n_draws), 0.0)[None, :],
        b_eq=[1.0],
        bounds=[(0.0, 1.0 / (risk.level * n_draws))] * n_draws + [(None, None)],
    )
    mix = np.clip(-found.ineqlin.marginals, 0.0, None)
    tail = np.clip(found.x[:n_draws], 0.0, None)
    return risk.weight * tail / tail.sum() + (1 - risk.weight) / n_draws, mix / mix.sum()


def _draws_at(
    problem: Problem, stacked: FloatArray, first: NDArray[np.intp], sizes: NDArray[np.intp], spend: FloatArray
) -> FloatArray:
    """Sum over the lines of their draws at `spend`, (n_draws,)."""
    x = np.concatenate(problem.spend)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    passed = np.bincount(owner, x <= spend[owner], minlength=len(sizes)).astype(int)
    left = first + np.clip(passed - 1, 0, np.maximum(sizes - 2, 0))
    right = np.minimum(left + 1, first + sizes - 1)
    width = np.where(right > left, x[right] - x[left], 1.0)
    part = np.clip((spend - x[left]) / width, 0.0, 1.0)
    return (1 - part) @ stacked[left] + part @ stacked[right]
