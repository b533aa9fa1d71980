"""The best plan of a problem with its bound, by whichever exact method fits the rules."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from models.certificate import Certificate, maximise
from models.mixed_integer import Criterion, DrawRow, maximise_tied
from models.problem import NoPlan, Problem
from models.tail import best_tail

FEW_LINES = 100  # up to here the mixed-integer programme is the faster way to the best tail
MANY_LINES_GAP = 1e-4  # a tenth of what a proof promises; each further digit costs as many rounds again
PROGRAMME_LINES = 500  # the mixed-integer programme of more lines with all their draws takes minutes


def solve(
    problem: Problem,
    *,
    tolerance: float = 1e-6,
    criterion: Criterion | None = None,
    draw_rows: Sequence[DrawRow] = (),
) -> Certificate:
    """Spends that keep every rule and maximise the value, with an upper bound that counts unspent money too.

    A total and nested groups: a greedy fill, with branching where curves are not concave. Anything else: a
    mixed-integer programme. Raises `NoPlan` where no spends keep the rules.
    """
    tail = criterion is not None and criterion.risk.kind == "cvar" and problem.is_nested and not draw_rows
    if criterion is not None and tail and len(problem.lines) > FEW_LINES:
        return _best_tail(problem, criterion, tolerance)
    if criterion is not None or draw_rows or not problem.is_nested:
        return maximise_tied(problem, tolerance=tolerance, criterion=criterion, draw_rows=draw_rows)
    return _nested(problem, tolerance)


def _best_tail(problem: Problem, criterion: Criterion, tolerance: float) -> Certificate:
    """The game of plan and weights; curves that are not concave may leave a gap, which the programme then closes."""
    if len(problem.lines) > PROGRAMME_LINES:
        tolerance = max(tolerance, MANY_LINES_GAP)
    game = best_tail(problem, criterion.draws, criterion.risk, lambda mean: _nested(mean, tolerance / 3), tolerance)
    done = game.upper_bound - game.value <= tolerance * abs(game.upper_bound)
    if done or len(problem.lines) > PROGRAMME_LINES:
        return game
    programme = maximise_tied(problem, tolerance=tolerance, criterion=criterion)
    best = max(game, programme, key=lambda proof: proof.value)
    bound = max(min(game.upper_bound, programme.upper_bound), best.value)
    return replace(best, upper_bound=bound)


def _nested(problem: Problem, tolerance: float) -> Certificate:
    """Total and nested groups alone."""
    spend, value, joined = list(problem.spend), list(problem.value), list(problem.joined)
    groups = problem.groups
    if problem.unspent_worth is not None:  # unspent money is one more line
        spend.append(np.array([0.0, problem.total]))
        value.append(spend[-1] * problem.unspent_worth)
        joined.append(np.ones(1, dtype=bool))
        groups = tuple(
            type(g)(name=g.name, inside=np.append(g.inside, False), low=g.low, high=g.high) for g in problem.groups
        )
    try:
        proof = maximise(spend, value, problem.total, joined=joined, groups=groups, tolerance=tolerance)
    except ValueError as error:
        raise NoPlan from error
    return Certificate(
        spend=proof.spend[: len(problem.lines)],
        value=proof.value,
        upper_bound=proof.upper_bound,
        node_count=proof.node_count,
    )
