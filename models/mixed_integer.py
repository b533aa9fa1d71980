"""Certified maximum under rules that tie lines together in any way: a mixed-integer programme, refined until exact.

Each line mixes the points of a range of its curve; a binary variable chooses the range. Mixtures of points cover the
curve and more, so the programme's bound holds for every plan. Where its solution lies off a curve, the range is cut
there and it is solved again; a second, linear programme on concave parts of the curves around the solution gives a
plan. Risk-adjusted values are bounded by the planes of `models.risk` that were met so far.

Sources: Vielma, Ahmed & Nemhauser (2010), "Mixed-integer models for nonseparable piecewise-linear optimization",
Operations Research 58(2), 303-315, section 3 (disaggregated convex combination, a sharp formulation);
Kelley (1960), "The cutting-plane method for solving convex programs", Journal of SIAM 8(4), 703-712. The solver is
HiGHS.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, milp

from models.certificate import Certificate, concave_envelope, concave_runs
from models.problem import TOLERANCE, NoPlan, Problem, Row, is_allowed, mean_value, part_positions
from models.risk import Risk, tail_weights
from models.sparse_rows import SparseRows

FloatArray = NDArray[np.float64]
type Ranges = list[list[tuple[int, int, bool]]]  # per line: first and last point, and whether being there is a move

MAX_ROUNDS = 80  # a line has few concave parts; a plan that needs more keeps a gap, which is reported
LOCAL_ROUNDS = 30  # of a linear programme around a solution
NODE_LIMIT = 20_000  # of one programme; a limit in seconds would make a plan depend on the machine
INFEASIBLE = 2  # HiGHS's status, as scipy numbers it
SOLVER_ERROR = 1e-7  # HiGHS's tolerance on reduced costs in a programme scaled to 1: added to its bound


class Unproven(NoPlan):
    """The search ended without a plan and without a proof that there is none."""


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """A risk-adjusted value of the whole plan, by the draws of its lines.

    Parameters
    ----------
    draws : per line (n_points, n_draws), at the points of the problem's curves.
    adjusted : from the plan's draws (n_draws,) to what is maximised.
    plane : from the plan's draws to weights and constant of a plane above `adjusted`.
    risk : the attitude behind them.
    """

    draws: tuple[FloatArray, ...]
    adjusted: Callable[[FloatArray], float]
    plane: Callable[[FloatArray], tuple[FloatArray, float]]
    risk: Risk


@dataclass(frozen=True, kw_only=True)
class DrawRow:
    """A rule that the mean over the worst `share` of the draws of (value - spend_weight @ spend) is 0 or more."""

    share: float
    draws: tuple[FloatArray, ...]  # per line (n_points, n_draws), in the KPI's units
    spend_weight: float


@dataclass(frozen=True)
class _Cut:
    """Mean curves of all lines under some weights of the draws, with the plane's constant."""

    curves: list[FloatArray]
    constant: float


@dataclass(frozen=True)
class _Solved:
    bound: float
    spend: FloatArray
    mixed: list[FloatArray]  # per line the weight of each of its points
    chosen: list[int]  # per line the range that weighs most


class _Model:
    """The problem with its purse of unspent money as one more line, scaled so that money and value are about 1."""

    def __init__(self, problem: Problem, criterion: Criterion | None) -> None:
        self.problem, self.criterion = problem, criterion
        self.n = len(problem.lines)
        self.spend, self.value, self.joined = list(problem.spend), list(problem.value), list(problem.joined)
        if problem.unspent_worth is not None:
            purse = np.array([0.0, problem.total])
            self.spend.append(purse)
            self.value.append(purse * problem.unspent_worth)
            self.joined.append(np.ones(1, dtype=bool))
        self.money = max(problem.total, 1e-12)
        self.worth = max(sum(float(np.abs(y).max()) for y in self.value), 1e-12)
        self.cuts: list[_Cut] = []
        self.rules: list[_Cut] = []  # rows that must be 0 or more
        self.is_proven = True  # whether the last programme ended with a solution, or with a proof that there is none
        self.runs = [concave_runs(x, y, on) for x, y, on in zip(self.spend, self.value, self.joined, strict=True)]

    def start(self) -> Ranges:
        """Per line its allowed parts; the current spend apart, where moves are counted."""
        counted = self.problem.max_moves is not None
        ranges: Ranges = [[(a, b, counted) for a, b in part_positions(on)] for on in self.joined]
        if not counted or self.problem.stay is None:
            return ranges
        for i in range(self.n):
            at = np.flatnonzero(np.abs(self.spend[i] - self.problem.stay[i]) <= 1e-9 * self.money)
            if len(at):
                here = int(at[0])
                ranges[i] = [(here, here, False), *[r for r in ranges[i] if r[:2] != (here, here)]]
        if len(self.spend) > self.n:
            ranges[-1] = [(0, 1, False)]
        return ranges

    def points(self, line: int, first: int, last: int) -> NDArray[np.intp]:
        """Points of a range that a best mixture may use."""
        if self.criterion is not None or self.rules or last - first < 2:
            return np.arange(first, last + 1)
        return first + concave_envelope(self.spend[line][first : last + 1], self.value[line][first : last + 1])

    def solve(self, ranges: Ranges, tolerance: float) -> _Solved | None:
        """Best mixture on these ranges, None where there is none; `tolerance` is the solver's own gap."""
        columns = [(i, k, p) for i, line in enumerate(ranges) for k, (a, b, _) in enumerate(line)
                   for p in self.points(i, a, b).tolist()]  # fmt: skip
        line = np.array([i for i, _, _ in columns])
        point = np.array([p for _, _, p in columns])
        first_range = np.cumsum([0, *(len(r) for r in ranges)])
        range_of = np.array([first_range[i] + k for i, k, _ in columns])
        n_mix, n_range = len(columns), int(first_range[-1])
        theta = n_mix + n_range
        x = np.array([self.spend[i][p] for i, p in zip(line, point, strict=True)]) / self.money
        y = np.array([self.value[i][p] for i, p in zip(line, point, strict=True)]) / self.worth

        table = SparseRows()
        at = np.arange(n_mix)
        in_line = np.repeat(np.arange(len(ranges)), [len(r) for r in ranges])
        table.add_many(range_of, at, np.ones(n_mix), n_range, 0.0, 0.0)
        table.add_to_last(np.arange(n_range), n_mix + np.arange(n_range), -np.ones(n_range))
        table.add_many(in_line, n_mix + np.arange(n_range), np.ones(n_range), len(ranges), 1.0, 1.0)
        table.add(at, x, self.problem.total / self.money, self.problem.total / self.money)
        for group in self.problem.groups:
            inside = np.flatnonzero(np.append(group.inside, False)[np.minimum(line, self.n)])
            table.add(inside, x[inside], group.low / self.money, group.high / self.money)
        for row in self.problem.rows:
            self._add_row(table, row, line, x, y)
        if self.problem.max_moves is not None:
            moves = [n_mix + first_range[i] + k for i, r in enumerate(ranges) for k, part in enumerate(r) if part[2]]
            table.add(np.array(moves, dtype=int), np.ones(len(moves)), -np.inf, float(self.problem.max_moves))
        for rule in self.rules:
            z = np.array([rule.curves[i][p] for i, p in zip(line, point, strict=True)]) / self.worth
            table.add(at, z, -rule.constant / self.worth, np.inf)
        cost = np.zeros(theta + 1)
        upper = np.ones(theta + 1)
        lower = np.zeros(theta + 1)
        if self.criterion is None:
            cost[:n_mix] = -y
        else:
            cost[theta] = -1.0
            lower[theta], upper[theta] = -1e4, 10.0  # the scaled value is within ±1; variance may take much more
            for cut in self.cuts:
                z = np.array([cut.curves[i][p] for i, p in zip(line, point, strict=True)]) / self.worth
                table.add(np.append(at, theta), np.append(z, -1.0), -cut.constant / self.worth, np.inf)
        integral = np.zeros(theta + 1)
        several = np.array([len(ranges[i]) > 1 for i in in_line])
        integral[n_mix:theta] = several
        lower[n_mix:theta][~several] = 1.0
        found = milp(
            cost,
            integrality=integral,
            bounds=Bounds(lower, upper),
            constraints=table.constraint(theta + 1),
            options={"mip_rel_gap": tolerance, "node_limit": NODE_LIMIT},
        )
        self.is_proven = found.x is not None or found.status == INFEASIBLE
        if found.x is None:
            return None
        bound = found.mip_dual_bound if several.any() and found.mip_dual_bound is not None else found.fun
        mix = np.clip(found.x[:n_mix], 0.0, 1.0)
        spend = np.bincount(line, mix * x, minlength=len(ranges)) * self.money
        mixed = [
            np.bincount(point[line == i], mix[line == i], minlength=len(self.spend[i])) for i in range(len(ranges))
        ]
        used = found.x[n_mix:theta]
        chosen = [int(np.argmax(used[a:b])) for a, b in pairwise(first_range.tolist())]
        return _Solved((-float(bound) + SOLVER_ERROR) * self.worth, spend, mixed, chosen)

    def _add_row(self, table: SparseRows, row: Row, line: NDArray[np.intp], x: FloatArray, y: FloatArray) -> None:
        weight_x, weight_y = np.append(row.spend_weight, 0.0), np.append(row.value_weight, 0.0)
        of = np.minimum(line, self.n)
        total = weight_x[of] * x * self.money + weight_y[of] * y * self.worth
        table.add(np.arange(len(line)), total / row.scale, row.low / row.scale, row.high / row.scale)

    def draws_at(self, draws: Sequence[FloatArray], spend: FloatArray) -> FloatArray:
        """Sum over the lines of their draws at `spend`, (n_draws,)."""
        total = np.zeros(draws[0].shape[1])
        for i in range(self.n):
            grid = self.spend[i]
            k = int(np.clip(np.searchsorted(grid, spend[i], side="right") - 1, 0, max(len(grid) - 2, 0)))
            if len(grid) == 1:
                total += draws[i][0]
                continue
            part = float(np.clip((spend[i] - grid[k]) / (grid[k + 1] - grid[k]), 0.0, 1.0))
            total += (1 - part) * draws[i][k] + part * draws[i][k + 1]
        return total

    def purse(self, spend: FloatArray) -> float:
        """Worth of what stays unspent."""
        if self.problem.unspent_worth is None:
            return 0.0
        return self.problem.unspent_worth * max(self.problem.total - float(spend[: self.n].sum()), 0.0)

    def true_value(self, spend: FloatArray) -> float:
        """What a plan is worth on the curves themselves."""
        if self.criterion is None:
            return float(mean_value(self.problem, spend[: self.n]).sum()) + self.purse(spend)
        return self.criterion.adjusted(self.draws_at(self.criterion.draws, spend) + self.purse(spend))

    def learn(self, spend: FloatArray) -> None:
        """Add the plane that touches the risk-adjusted value at a plan."""
        if self.criterion is None:
            return
        weights, constant = self.criterion.plane(self.draws_at(self.criterion.draws, spend) + self.purse(spend))
        curves = [draws @ weights for draws in self.criterion.draws]
        if len(self.spend) > self.n:
            curves.append(self.value[-1] * float(weights.sum()))
        self.cuts.append(_Cut(curves, constant))

    def keeps_rules(self, spend: FloatArray, rules: Sequence[DrawRow]) -> bool:
        """Whether a plan keeps the rules on draws; a plane is added for each that it breaks."""
        kept = True
        for rule in rules:
            margin = self.draws_at(rule.draws, spend) - rule.spend_weight * float(spend[: self.n].sum())
            weights = tail_weights(margin, rule.share)
            if float(weights @ margin) < -TOLERANCE * 0.1 * self.worth:
                curves = [d @ weights - rule.spend_weight * x for d, x in zip(rule.draws, self.spend, strict=False)]
                if len(self.spend) > self.n:
                    curves.append(np.zeros(2))
                self.rules.append(_Cut(curves, 0.0))
                kept = False
        return kept

    def distance(self, solved: _Solved) -> FloatArray:
        """How far each line's mixture lies above its curve, scaled; (n_lines,) or one more for the purse."""
        every = [self.value] if self.criterion is None else []
        every += [cut.curves for cut in (*self.cuts[-3:], *self.rules[-3:])]
        apart = np.zeros(len(self.spend))
        for curves in every:
            for i, (x, y) in enumerate(zip(self.spend, curves, strict=True)):
                above = float(solved.mixed[i] @ y) - float(np.interp(solved.spend[i], x, y))
                apart[i] = max(apart[i], above / self.worth)
        return apart


def maximise_tied(
    problem: Problem,
    *,
    tolerance: float = 1e-6,
    criterion: Criterion | None = None,
    draw_rows: Sequence[DrawRow] = (),
) -> Certificate:
    """Spends that keep every rule and maximise the mean value, or a risk-adjusted one, with an upper bound on it.

    Parameters
    ----------
    tolerance : stop once the gap is at most this share of the upper bound.
    criterion : what is maximised in place of the mean. draw_rows : rules on the draws of the whole plan.

    Returns
    -------
    Certificate with the spends of the problem's lines; value and bound count unspent money where it is worth something.

    Raises
    ------
    NoPlan : no spends keep the rules; as `Unproven` where the search ended before it knew.
    """
    model = _Model(problem, criterion)
    ranges = model.start()
    if criterion is not None or draw_rows:
        middle = np.array([float(np.median(x)) for x in model.spend])
        model.learn(middle)
        model.keeps_rules(middle, draw_rows)
    best, best_value, bound = None, -np.inf, np.inf
    rounds, proven = 0, False
    for rounds in range(1, MAX_ROUNDS + 1):  # noqa: B007
        solved = model.solve(ranges, tolerance / 3)
        if solved is None:
            proven = model.is_proven
            break
        bound = min(bound, solved.bound)
        kept = model.keeps_rules(solved.spend, draw_rows)
        model.learn(solved.spend)
        for spend in _plans(model, solved, ranges, draw_rows, tolerance):
            worth = model.true_value(spend)
            if worth > best_value:
                best, best_value = spend[: model.n], worth
        if bound - best_value <= tolerance * abs(bound):
            break
        far = model.distance(solved)
        cut = [i for i in np.argsort(-far).tolist() if far[i] > tolerance / (4 * len(far))]
        if not cut and kept and criterion is None:
            break
        for i in cut:
            ranges[i] = _cut(ranges[i], model.spend[i], solved.spend[i], model.joined[i], model.runs[i])
    if best is None:
        raise NoPlan if proven else Unproven
    return Certificate(spend=best, value=best_value, upper_bound=max(bound, best_value), node_count=rounds)


def _plans(
    model: _Model, solved: _Solved, ranges: Ranges, draw_rows: Sequence[DrawRow], tolerance: float
) -> list[FloatArray]:
    """Plans that keep all rules: the solution itself, and the best one on the concave parts of the curves around it."""
    slack = TOLERANCE * 0.1 * model.money
    plans = [solved.spend] if _holds(model, solved.spend, draw_rows, slack) else []
    near: Ranges = []
    for i, at in enumerate(solved.spend.tolist()):
        first, last, moves = ranges[i][solved.chosen[i]]
        x = model.spend[i]
        inside = [(max(a, first), min(b, last)) for a, b in model.runs[i] if a <= last and b >= first]
        away = [max(x[a] - at, at - x[b], 0.0) for a, b in inside]
        pair = [p for p, far in zip(inside, away, strict=True) if far <= min(away)][-1]
        near.append([(*pair, moves)])
    if all(part[0] == r for part, r in zip(near, [r[0] for r in ranges], strict=True)) and not model.cuts:
        return plans
    before = np.inf
    for _ in range(LOCAL_ROUNDS if model.cuts or draw_rows else 1):  # planes are added until it agrees with itself
        local = model.solve(near, tolerance / 3)
        if local is None or before - local.bound <= 0.1 * tolerance * abs(local.bound):
            break
        before = local.bound
        holds = _holds(model, local.spend, draw_rows, slack)
        if holds:
            plans.append(local.spend)
        model.learn(local.spend)
        if holds and local.bound - model.true_value(local.spend) <= tolerance * abs(local.bound):
            break
    return plans


def _holds(model: _Model, spend: FloatArray, draw_rows: Sequence[DrawRow], slack: float) -> bool:
    kept = model.keeps_rules(spend, draw_rows)
    return kept and is_allowed(model.problem, spend[: model.n], slack)


def _cut(
    parts: list[tuple[int, int, bool]],
    x: FloatArray,
    at: float,
    joined: NDArray[np.bool_],
    runs: list[tuple[int, int]],
) -> list[tuple[int, int, bool]]:
    """A line's ranges with the one around `at` cut at the ends of its concave part, or around the spend itself."""
    result = []
    for first, last, moves in parts:
        if last - first < 2 or not x[first] <= at <= x[last]:
            result.append((first, last, moves))
            continue
        run = next(((a, b) for a, b in runs if x[a] <= at <= x[b]), (first, last))
        edges = sorted({first, *(p for p in run if first < p < last), last})
        if len(edges) == 2:  # the whole range is concave in the mean; other curves may not be
            here = int(np.searchsorted(x, at, side="right")) - 1
            edges = sorted({first, *(p for p in (here, here + 1) if first < p < last), last})
        result += [(a, b, moves) for a, b in pairwise(edges) if b - a > 1 or joined[a]]
    return result
