"""An allocation solved: from curves and rules to the best spends before rounding, or to the rules that conflict."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.allocation_config import AllocationConfig
from models.certificate import Certificate
from models.chance import meet_probability
from models.constraints import build, line_worth
from models.errors import InfeasiblePlan
from models.infeasible import conflict_words, smallest_conflict
from models.limits import Limits, find_limits
from models.mixed_integer import Criterion, DrawRow, Unproven
from models.problem import NoPlan, Problem
from models.response import ResponseCurves, line_value
from models.risk import adjusted, plane
from models.solve import solve

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is allocated: curves as the objective counts them, limits, rules."""

    curves: ResponseCurves
    mean: FloatArray
    limits: Limits
    problem: Problem
    current: FloatArray | None
    config: AllocationConfig
    worth: FloatArray

    @property
    def unspent(self) -> float:
        """Value of a unit of money that stays unspent."""
        return self.problem.unspent_worth or 0.0

    def counted(self, spend: FloatArray) -> FloatArray:
        """(n_lines, n_points) what the curves count for in what is maximised, to first order around a plan."""
        return self.mean if self.config.risk == "mean" else self.curves.response @ self.weights(spend)

    def weights(self, spend: FloatArray) -> FloatArray:
        """(n_draws,) weights of the draws in the plane that touches the risk-adjusted value at a plan."""
        total = self.limits.total
        value = line_value(self.curves, np.minimum(spend, self.curves.max_spend)).sum(axis=0)
        weights, _ = plane(value + self.unspent * (total - float(spend.sum())), self.config.attitude, total)
        return weights


def optimum(
    curves: ResponseCurves, current: FloatArray | None, config: AllocationConfig, unspent: float | None = None
) -> tuple[Setting, Certificate]:
    """The best spends before rounding, with the bound on the value of all money, unspent money included.

    Parameters
    ----------
    unspent : value of a unit of money that is not spent, where money may stay; None: as the objective says.
    """
    mean = curves.mean
    try:
        setting = make_setting(curves, mean, current, config, unspent)
        return setting, solve_setting(setting, setting.problem)
    except Unproven as error:
        raise InfeasiblePlan(
            "The search ended before it found a plan or proved that there is none.\n"
            "Ask for fewer rules that tie lines together, or fewer lines."
        ) from error
    except NoPlan:
        pass

    def has_plan(some: AllocationConfig) -> bool:
        try:
            setting = make_setting(curves, mean, current, replace(some, gap_tolerance=1.0))
            solve_setting(setting, setting.problem)
        except Unproven:  # what is not known to conflict is not named
            return True
        except (NoPlan, InfeasiblePlan):
            return False
        return True

    conflict = smallest_conflict(curves.lines, config, has_plan)
    total = config.total if config.total is not None else 0.0 if current is None else float(current.sum())
    words = conflict_words(conflict, total)
    if any(rule.field == "min_roas" for rule in conflict):
        words += _reachable(curves, mean, current, config)
    raise InfeasiblePlan(words)


def _reachable(curves: ResponseCurves, mean: FloatArray, current: FloatArray | None, config: AllocationConfig) -> str:
    """The best ROAS within the other rules, as a sentence; nothing where money may stay unspent."""
    if not config.spend_all:
        return ""
    free = replace(config, min_roas=None, min_probability_roas=None, objective="revenue", risk="mean")
    try:
        setting = make_setting(curves, mean, current, free)
        proof = solve_setting(setting, setting.problem)
    except (NoPlan, InfeasiblePlan):
        return ""
    return f"\nWithin the other rules the plan's ROAS can be {proof.upper_bound / setting.limits.total:.2f} at most."


def make_setting(
    curves: ResponseCurves,
    mean: FloatArray,
    current: FloatArray | None,
    config: AllocationConfig,
    unspent: float | None = None,
) -> Setting:
    """The problem that curves and rules make; `mean` (n_lines, n_points) is the mean response of the curves."""
    known = np.zeros(len(curves.lines)) if current is None else current
    limits = find_limits(curves.lines, curves.max_spend, known, config)
    if current is None and config.locked:
        raise InfeasiblePlan(f"Line {config.locked[0]!r} is locked at its current spend, but none is given.")
    problem = build(curves.lines, curves.spend, mean, limits, current, config, unspent)
    worth = line_worth(curves.lines, config)
    counted = curves
    if (worth != 1.0).any():
        counted = replace(curves, response=curves.response * worth[:, None, None])
    return Setting(
        curves=counted,
        mean=mean * worth[:, None],
        limits=limits,
        problem=problem,
        current=current,
        config=config,
        worth=worth,
    )


def solve_setting(setting: Setting, problem: Problem) -> Certificate:
    """The best spends of a problem under the setting's attitude to risk; NoPlan where there are none."""
    config, curves, limits = setting.config, setting.curves, setting.limits
    if config.risk == "mean" and config.min_probability_roas is None:
        return solve(problem, tolerance=config.gap_tolerance)
    tolerance = max(config.gap_tolerance, 1e-5)  # planes are added one by one; a hundredth of what a proof promises
    draws = draws_on(curves, problem)
    risk = config.attitude
    criterion = None
    if risk.kind != "mean":
        criterion = Criterion(
            draws=draws,
            adjusted=lambda value: adjusted(value, risk, limits.total),
            plane=lambda value: plane(value, risk, limits.total),
            risk=risk,
        )
    if config.min_probability_roas is None or config.min_roas is None:
        return solve(problem, tolerance=tolerance, criterion=criterion)
    plain = tuple(d / w for d, w in zip(draws, setting.worth, strict=True))

    def plan_with(share: float) -> Certificate:
        rule = DrawRow(share=share, draws=plain, spend_weight=config.min_roas or 0.0)
        return solve(problem, tolerance=tolerance, criterion=criterion, draw_rows=[rule])

    def reached(spend: FloatArray) -> float:
        value = line_value(curves, np.minimum(spend, curves.max_spend)) / setting.worth[:, None]
        return float(np.mean(value.sum(axis=0) >= (config.min_roas or 0.0) * spend.sum() * (1 - 1e-9)))

    free = solve(problem, tolerance=tolerance, criterion=criterion)
    return meet_probability(free, plan_with, reached, config.min_probability_roas, curves.n_draws)


def draws_on(curves: ResponseCurves, problem: Problem) -> tuple[FloatArray, ...]:
    """Draws of each line (n_points, n_draws) at the points of the problem's curves."""
    result = []
    for i, x in enumerate(problem.spend):
        grid = curves.spend[i]
        if np.array_equal(x, grid):
            result.append(curves.response[i])
            continue
        left = np.clip(np.searchsorted(grid, x, side="right") - 1, 0, len(grid) - 2)
        part = ((x - grid[left]) / (grid[left + 1] - grid[left]))[:, None]
        result.append((1 - part) * curves.response[i, left] + part * curves.response[i, left + 1])
    return tuple(result)
