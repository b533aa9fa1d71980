"""When to spend: weeks × lines with carry-over; always-on, pulsed and the best plan found, with a bound on any.

A line's response in a week is its curve at the exposure of that week: spend of this and earlier weeks, weighted by a
kernel that sums to 1, so that steady spend gives the curve's own response. Spend before the window still works in it
(carry-in), and spend in it works on after its end (carry-out); both are counted.

With concave envelopes in place of the curves the best timing is a linear programme: its value bounds every plan, and on
concave curves it is the optimum. On S-shaped curves plans are improved by linear programmes that keep each week's
exposure on the concave part of the curve it is on, from several starts; what is left to the bound is reported.

Sources: Little (1979), "Aggregate advertising models: the state of the art", Operations Research 27(4), 629-667
(pulsing pays where the response is S-shaped); Broadbent (1979), "One way TV advertisements work", Journal of the Market
Research Society 21(3), 139-166 (adstock).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_array, csr_array

from models.certificate import concave_envelope, concave_runs
from models.errors import ConfigError, InfeasiblePlan
from models.response import ResponseCurves

FloatArray = NDArray[np.float64]

SOLVER_ERROR = 1e-7  # HiGHS's tolerance on reduced costs, in a programme scaled to 1: added to the bound
IMPROVEMENTS = 12  # rounds of improvement per start; each is a linear programme
UNIT = 0.01  # flights are written to the cent
PULSE_PERIODS = (2, 4)  # every second and every fourth week


@dataclass(frozen=True, kw_only=True)
class FlightConfig:
    """A window of weeks and what may be spent in it.

    Attributes
    ----------
    total : money over all weeks. weeks : of the window.
    retention : per line the share of this week's effect left in the next, [0, 1): a geometric kernel.
    kernels : per line weights of this and the following weeks, of any length, in place of `retention`; they are scaled
        to sum to 1.
    spend_before : per line spends of the weeks before the window, the last one last.
    timing : (weeks,) or per line (weeks,) factors on the response of each week: season, or return by week.
    weekly_cap : most over all lines in a week. monthly_caps : most over all lines per month label of `months`.
    months : label of each week, such as "2026-01". line_weekly_caps, line_totals : most per line, a week and in all.
    carry_weeks : weeks after the window whose response still counts; 0 leaves carry-out uncounted.
    """

    total: float
    weeks: int
    retention: Mapping[str, float] = field(default_factory=dict)
    kernels: Mapping[str, Sequence[float]] = field(default_factory=dict)
    spend_before: Mapping[str, Sequence[float]] = field(default_factory=dict)
    timing: Sequence[float] | Mapping[str, Sequence[float]] = ()
    weekly_cap: float | None = None
    months: Sequence[str] = ()
    monthly_caps: Mapping[str, float] = field(default_factory=dict)
    line_weekly_caps: Mapping[str, float] = field(default_factory=dict)
    line_totals: Mapping[str, float] = field(default_factory=dict)
    carry_weeks: int = 12

    def __post_init__(self) -> None:
        if not 0 < self.total < np.inf:
            raise ConfigError(f"The total of a flight is {self.total}; expected a number above zero.")
        if self.weeks < 1 or self.carry_weeks < 0:
            raise ConfigError(
                f"A flight has {self.weeks} weeks and {self.carry_weeks} after it; expected 1 and 0 or more."
            )
        if bad := [line for line, share in self.retention.items() if not 0 <= share < 1]:
            raise ConfigError(f"retention of {bad[0]!r} is {self.retention[bad[0]]}; expected 0 or more, below 1.")
        if self.monthly_caps and len(self.months) != self.weeks:
            raise ConfigError(f"months has {len(self.months)} labels; expected one for each of {self.weeks} weeks.")


@dataclass(frozen=True, kw_only=True)
class Flight:
    """Spend per week and line. `kind` is "always-on", "pulse" or "optimised"; `spend` is (weeks, n_lines)."""

    kind: str
    spend: FloatArray
    value: float


@dataclass(frozen=True, kw_only=True)
class Flights:
    """Flights of one budget side by side; no flight within the caps is worth more than `upper_bound`.

    `carried` is what the window is worth without any spend in it, by what was spent before. Values hold it, but no
    flight earns it.
    """

    lines: tuple[str, ...]
    flights: tuple[Flight, ...]
    upper_bound: float
    carried: float

    def table(self) -> pl.DataFrame:
        """One row per flight: kind, spend, value, roas, gap_fraction to the bound, both net of `carried`.

        The ROAS is null where nothing is spent, the gap 0 where nothing can be earned.
        """
        most = abs(self.upper_bound - self.carried)
        rows = [
            {
                "kind": flight.kind,
                "spend": (spent := float(flight.spend.sum())),
                "value": flight.value,
                "roas": (flight.value - self.carried) / spent if spent > 0 else None,
                "gap_fraction": max(self.upper_bound - flight.value, 0.0) / most if most > 0 else 0.0,
            }
            for flight in self.flights
        ]
        return pl.DataFrame(rows, schema_overrides={"roas": pl.Float64})

    def best(self) -> Flight:
        """The most valuable of them."""
        return max(self.flights, key=lambda flight: flight.value)


class _Window:
    """The arrays behind a flight problem, and the linear programmes over it."""

    def __init__(self, curves: ResponseCurves, config: FlightConfig) -> None:
        self.config, self.lines, self.n = config, curves.lines, len(curves.lines)
        self.weeks = config.weeks
        self.grid, self.mean = curves.spend, curves.mean
        kernels = [_kernel(line, config) for line in self.lines]
        longest = min(max(len(k) for k in kernels) - 1, config.carry_weeks)
        self.horizon = self.weeks + longest
        self.timing = np.ones((self.horizon, self.n))
        self.timing[: self.weeks] = _timing(self.lines, config)
        self.after = np.stack([_toeplitz(k, self.horizon, self.weeks) for k in kernels])  # (n, horizon, weeks)
        carried = [
            _carry_in(kernel, config.spend_before.get(line, ()), self.horizon)
            for kernel, line in zip(kernels, self.lines, strict=True)
        ]
        self.before = np.stack(carried)
        self.runs = [
            concave_runs(x, y, np.ones(len(x) - 1, dtype=bool)) for x, y in zip(self.grid, self.mean, strict=True)
        ]
        self.worth = max(float((self.mean.max(axis=1) * self.timing).sum()), 1e-12)

    def exposure(self, spend: FloatArray) -> FloatArray:
        """(n_lines, horizon) exposure of a flight (weeks, n_lines)."""
        return np.einsum("ihw,wi->ih", self.after, spend) + self.before

    def value(self, spend: FloatArray) -> float:
        """Response of all counted weeks, carry-in included; exposure beyond a curve's end counts as at its end."""
        exposure = self.exposure(spend)
        response = np.stack([np.interp(e, x, y) for e, x, y in zip(exposure, self.grid, self.mean, strict=True)])
        return float((response.T * self.timing).sum())

    def solve(self, parts: list[list[tuple[int, int]]] | None, tie: FloatArray | None) -> tuple[FloatArray, float]:
        """Best flight with each line and week on a part of its curve (the whole without `parts`), under an envelope.

        Parameters
        ----------
        parts : per line and week the first and last point.
        tie : (weeks, n_lines) pattern that each line's spend follows up to a factor of its own; None leaves every week
            free.

        Returns
        -------
        The flight (weeks, n_lines), and its value under the envelopes.
        """
        money = self.config.total
        n_spend = self.weeks * self.n
        rows: list[int] = []
        columns: list[int] = []
        numbers: list[float] = []
        right: list[float] = []
        cost: list[float] = []
        upper: list[float] = []
        constant, start = 0.0, n_spend
        for i in range(self.n):
            for t in range(self.horizon):
                first, last = (0, self.grid.shape[1] - 1) if parts is None else parts[i][t]
                x, y = self.grid[i, first : last + 1], self.mean[i, first : last + 1] * self.timing[t, i]
                at = concave_envelope(x, y)
                hx, hy = x[at], y[at]
                pieces = len(hx) - 1
                row = i * self.horizon + t
                rows += [row] * pieces
                columns += range(start, start + pieces)
                numbers += [-1.0] * pieces
                cost += list(-np.diff(hy) / np.diff(hx) * money / self.worth)
                upper += list(np.diff(hx) / money)
                constant += float(hy[0])
                start += pieces
                if parts is None or last == self.grid.shape[1] - 1:  # beyond the curve's end more brings nothing
                    rows.append(row)
                    columns.append(start)
                    numbers.append(-1.0)
                    cost.append(0.0)
                    upper.append(np.inf)
                    start += 1
                right.append((hx[0] - self.before[i, t]) / money)
                weeks = np.flatnonzero(self.after[i, t])
                rows += [row] * len(weeks)
                columns += (weeks * self.n + i).tolist()
                numbers += self.after[i, t, weeks].tolist()
        n_rows = self.n * self.horizon
        if tie is not None:
            n_rows, start = self._tied(tie, rows, columns, numbers, right, n_rows, start)
            cost, upper = [*cost, *[0.0] * self.n], [*upper, *[np.inf] * self.n]
        caps, most = self._caps(start)
        caps_upper = [np.inf] * n_spend
        for i, line in enumerate(self.lines):
            if line in self.config.line_weekly_caps:
                caps_upper[i :: self.n] = [self.config.line_weekly_caps[line] / money] * self.weeks
        found = linprog(
            np.concatenate([np.zeros(n_spend), cost]),
            A_ub=caps if len(most) else None,
            b_ub=most / money if len(most) else None,
            A_eq=csr_array(coo_array((numbers, (rows, columns)), shape=(n_rows, start))),
            b_eq=np.array(right),
            bounds=np.column_stack([np.zeros(start), np.array([*caps_upper, *upper])]),
        )
        if found.status == 2:  # HiGHS: infeasible
            raise InfeasiblePlan(self._why_not())
        if found.x is None:
            raise InfeasiblePlan(f"The flight could not be solved: {found.message}")
        spend = np.clip(found.x[:n_spend], 0.0, None).reshape(self.weeks, self.n) * money
        return spend, (-float(found.fun) + SOLVER_ERROR) * self.worth + constant

    def _tied(
        self, tie: FloatArray, rows: list, columns: list, numbers: list, right: list, n_rows: int, start: int
    ) -> tuple[int, int]:
        """Each line's spends are a pattern times one number."""
        for i in range(self.n):
            for t in range(self.weeks):
                rows += [n_rows, n_rows]
                columns += [t * self.n + i, start + i]
                numbers += [1.0, -float(tie[t, i])]
                right.append(0.0)
                n_rows += 1
        return n_rows, start + self.n

    def _caps(self, n_columns: int) -> tuple[csr_array, FloatArray]:
        """Most over the window, per week, per month and per line, as rows over the spends."""
        weights, most = [np.ones((self.weeks, self.n))], [self.config.total]
        if self.config.weekly_cap is not None:
            for t in range(self.weeks):
                weights.append(np.zeros((self.weeks, self.n)))
                weights[-1][t] = 1.0
                most.append(self.config.weekly_cap)
        for month, cap in self.config.monthly_caps.items():
            weights.append(np.zeros((self.weeks, self.n)))
            weights[-1][[label == month for label in self.config.months]] = 1.0
            most.append(cap)
        for line, cap in self.config.line_totals.items():
            weights.append(np.zeros((self.weeks, self.n)))
            weights[-1][:, self.lines.index(line)] = 1.0
            most.append(cap)
        matrix = np.zeros((len(most), n_columns))
        matrix[:, : self.weeks * self.n] = np.stack(weights).reshape(len(most), -1)
        return csr_array(matrix), np.array(most, dtype=float)

    def _why_not(self) -> str:
        return "No flight keeps the caps and the total.\nRaise a cap, or lower the total."

    def around(self, spend: FloatArray) -> list[list[tuple[int, int]]]:
        """Per line and week the concave part of the curve that a flight's exposure lies on."""
        parts = []
        for i, row in enumerate(self.exposure(spend)):
            x = self.grid[i]
            ends = [x[b] for _, b in self.runs[i]]
            at = np.minimum(np.searchsorted(ends, row - 1e-12 * x[-1], side="left"), len(ends) - 1)
            parts.append([self._with_neighbours(i, int(k)) for k in at])
        return parts

    def _with_neighbours(self, i: int, k: int) -> tuple[int, int]:
        """A concave part; where the curve bends up, that whole stretch down to zero, under its chord."""
        first, last = self.runs[i][k]
        return (0, last) if last - first == 1 and k < len(self.runs[i]) - 1 else (first, last)


def plan_flights(curves: ResponseCurves, config: FlightConfig) -> Flights:
    """Always-on, pulsed and optimised flights of one budget, with a bound on any.

    The budget is the most that may be spent; weeks in which nothing pays stay empty. Always-on spends the same in every
    week, pulses all in every second or fourth week; for both the split between the lines is optimised too.

    Parameters
    ----------
    curves : weekly response at steady spend; the posterior mean is used.

    Raises
    ------
    ConfigError : a line, kernel or length does not fit. InfeasiblePlan : the caps contradict each other.
    """
    _check_names(curves.lines, config)
    window = _Window(curves, config)
    free, bound = window.solve(None, None)
    always = _improved(window, window.solve(None, np.ones((window.weeks, window.n)))[0], tied=True)
    pulses = [_pulse(window, period) for period in PULSE_PERIODS if window.weeks >= period]
    starts = [free, always, *pulses]
    best = max((_improved(window, start, tied=False) for start in starts), key=window.value)
    pulse = max(pulses, key=window.value) if pulses else always
    named = (("always-on", always), ("pulse", pulse), ("optimised", best))
    flights = []
    for kind, spend in named:
        whole = np.floor(spend / UNIT + 1e-6) * UNIT  # downwards: caps are kept
        flights.append(Flight(kind=kind, spend=whole, value=window.value(whole)))
    return Flights(
        lines=curves.lines,
        flights=tuple(flights),
        upper_bound=max(bound, *(flight.value for flight in flights)),
        carried=window.value(np.zeros((window.weeks, window.n))),
    )


def _pulse(window: _Window, period: int) -> FloatArray:
    pattern = np.zeros((window.weeks, window.n))
    pattern[::period] = 1.0
    return window.solve(None, pattern)[0]


def _improved(window: _Window, spend: FloatArray, *, tied: bool) -> FloatArray:
    """A flight improved on the curves themselves until no linear programme around it finds a better one."""
    pattern = np.ones((window.weeks, window.n)) if tied else None
    best, worth = spend, window.value(spend)
    for _ in range(IMPROVEMENTS):
        try:
            found, _ = window.solve(window.around(best), pattern)
        except InfeasiblePlan:
            break
        if window.value(found) <= worth * (1 + 1e-9):
            break
        best, worth = found, window.value(found)
    return best


def _kernel(line: str, config: FlightConfig) -> FloatArray:
    """Weights of this and the following weeks, summing to 1."""
    if line in config.kernels:
        kernel = np.asarray(config.kernels[line], dtype=float)
        if (
            kernel.ndim != 1
            or len(kernel) == 0
            or not np.isfinite(kernel).all()
            or (kernel < 0).any()
            or kernel.sum() <= 0
        ):
            raise ConfigError(f"The kernel of line {line!r} must be weights of zero or more, not all zero.")
        return kernel / kernel.sum()
    kept = config.retention.get(line, 0.0)
    kernel = np.float64(kept) ** np.arange(config.weeks + config.carry_weeks)
    return kernel * (1.0 - kept) if kept > 0 else kernel[:1]


def _toeplitz(kernel: FloatArray, horizon: int, weeks: int) -> FloatArray:
    lag = np.arange(horizon)[:, None] - np.arange(weeks)[None, :]
    inside = (lag >= 0) & (lag < len(kernel))
    return np.where(inside, kernel[np.clip(lag, 0, len(kernel) - 1)], 0.0)


def _carry_in(kernel: FloatArray, before: Sequence[float], horizon: int) -> FloatArray:
    """Exposure in each week from the spends before the window."""
    past = np.asarray(before, dtype=float)
    lag = np.arange(horizon)[:, None] + np.arange(len(past), 0, -1)[None, :]
    return np.where(lag < len(kernel), kernel[np.clip(lag, 0, len(kernel) - 1)], 0.0) @ past


def _timing(lines: Sequence[str], config: FlightConfig) -> FloatArray:
    """Factors (weeks, n_lines) on the response."""
    if not isinstance(config.timing, Mapping):
        given = dict.fromkeys(lines, config.timing) if len(config.timing) else {}
    else:
        given = dict(config.timing)
    factors = np.ones((config.weeks, len(lines)))
    for i, line in enumerate(lines):
        if line in given:
            factor = np.asarray(given[line], dtype=float)
            if factor.shape != (config.weeks,) or not np.isfinite(factor).all() or (factor < 0).any():
                raise ConfigError(f"timing of {line!r}: expected {config.weeks} numbers, zero or more.")
            factors[:, i] = factor
    return factors


def _check_names(lines: Sequence[str], config: FlightConfig) -> None:
    timing = config.timing if isinstance(config.timing, Mapping) else {}
    for rule in (
        config.retention,
        config.kernels,
        config.spend_before,
        timing,
        config.line_weekly_caps,
        config.line_totals,
    ):
        if unknown := [line for line in rule if line not in lines]:
            raise ConfigError(
                f"Unknown line {unknown[0]!r} in the flight; the lines are {', '.join(map(repr, lines[:8]))}."
            )
