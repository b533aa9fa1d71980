"""Weekly budget plan that maximises the expected response, with its proof.

Money is per week and in one currency. "Value" is the incremental response the curves predict, in the units of the KPI
(revenue by default). Profit is ``margin_fraction * value - spend``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.certificate import maximise
from models.errors import InfeasiblePlan
from models.limits import AllocationConfig, Limits, find_limits, unknown_line
from models.margins import Margins, find_margins, unspent_worth
from models.plan import Plan, PlanLine
from models.plan_reasons import line_reasons, verdict_reason
from models.response import ResponseCurves, line_value

FloatArray = NDArray[np.float64]
type Spend = Mapping[str, float] | Sequence[float] | FloatArray  # by name, or in the order of the curves' lines

__all__ = ["AllocationConfig", "Plan", "PlanLine", "allocate", "scenarios"]


def allocate(
    curves: ResponseCurves,
    current_spend: Spend | None,
    config: AllocationConfig | None = None,
    *,
    plan_id: str = "plan",
    scenario: str = "base",
    money: str = "euro",
) -> Plan:
    """Weekly spend per line that maximises the posterior mean value within the limits.

    Parameters
    ----------
    curves : response draws per line on a grid of weekly spend, joined linearly between grid points. A line may not
        spend beyond its last point; a current spend beyond it is valued as at that point.
    current_spend : weekly spend per line, by name (a line left out spends nothing) or in the order of `curves.lines`,
        finite and >= 0. None: there is none, so nothing limits the change and nothing can be held.
    config : the limits; see `AllocationConfig`.
    money : what the reasons call one unit of money.

    Returns
    -------
    Plan whose lines add up to the total exactly in whole rounding units.

    Raises
    ------
    InfeasiblePlan : the limits contradict each other or the total, or an input is not a usable number.
    """
    config = config or AllocationConfig()
    current = _current(curves.lines, current_spend)
    known = np.zeros(len(curves.lines)) if current is None else current
    limits = find_limits(curves.lines, curves.max_spend, known, config)
    if current is None and config.locked:
        raise InfeasiblePlan(f"Line {config.locked[0]!r} is locked at its current spend, but none is given.")
    mean = curves.mean

    best, bound = _best(curves, mean, limits, config)
    margins = find_margins(curves.spend, mean, best, limits, config)
    optimal = _round(best, limits, margins.next_value, config)
    optimal_draws = _draws(curves, optimal)
    status_quo, gain = _compare(curves, optimal, optimal_draws, current, config)
    better = float(np.mean(gain > 0)) if current is not None else np.nan

    kept = None if current is None else _keep(current, limits, config)
    worth = gain.mean() > config.min_gain_fraction * abs(status_quo) and better >= config.min_probability_better
    hold = kept is not None and not worth
    planned, draws = optimal, optimal_draws
    if hold and kept is not None:
        planned, draws = kept, _draws(curves, kept)
        margins = find_margins(curves.spend, mean, kept, limits, config)

    # the bound covers unspent money too, which is worth the same in every plan that spends as much
    spent, optimal_spent = float(np.round(planned.sum(), 9)), float(optimal.sum())
    upper_bound = bound - unspent_worth(config) * (limits.total - spent)
    optimal_bound = bound - unspent_worth(config) * (limits.total - optimal_spent)
    reasons = line_reasons(current, planned, margins, config, hold, money)
    total = draws.sum(axis=0)
    value = float(total.mean())
    roas = total / spent if spent > 0 else np.full_like(total, np.nan)
    return Plan(
        plan_id=plan_id,
        scenario=scenario,
        objective=config.objective,
        budget=limits.total,
        planned_spend=spent,
        value_mean=value,
        value_p05=float(np.quantile(total, 0.05)),
        value_p95=float(np.quantile(total, 0.95)),
        profit_mean=config.margin_fraction * value - spent,
        upper_bound=max(upper_bound, value),
        gap_fraction=_gap(upper_bound, value),
        optimal_spend=tuple(optimal.tolist()),
        optimal_gap_fraction=_gap(optimal_bound, float(optimal_draws.sum(axis=0).mean())),
        status_quo_value=status_quo,
        gain_mean=float(gain.mean()),
        gain_p05=float(np.quantile(gain, 0.05)),
        gain_p95=float(np.quantile(gain, 0.95)),
        probability_better=better,
        roas_mean=float(roas.mean()),
        probability_roas_met=None if config.min_roas is None else float(np.mean(roas >= config.min_roas)),
        shadow_price=margins.budget_price,
        verdict="hold" if hold else "move",
        reason=verdict_reason(hold, kept is not None, config, float(gain.mean()), status_quo, better),
        lines=_lines(curves.lines, current, planned, draws, margins, limits, reasons),
    )


def scenarios(
    curves: ResponseCurves,
    current_spend: Spend,
    config: AllocationConfig | None = None,
    *,
    factors: Sequence[float] = (0.8, 1.0, 1.3),
    plan_id: str = "plan",
    money: str = "euro",
) -> dict[str, Plan | InfeasiblePlan]:
    """Plans for several budgets, each a multiple of the configured (or else the current) total.

    Returns
    -------
    By name ("-20%", "base", "+30%"). A budget that the limits do not allow gives its `InfeasiblePlan` as the value
    instead of ending the others, to be shown in words.
    """
    config = config or AllocationConfig()
    current = _current(curves.lines, current_spend)
    total = config.total if config.total is not None or current is None else float(current.sum())
    plans: dict[str, Plan | InfeasiblePlan] = {}
    for factor in factors:
        name = "base" if factor == 1 else f"{100 * (factor - 1):+.0f}%"
        changed = replace(config, total=None if total is None else factor * total)
        try:
            plans[name] = allocate(curves, current_spend, changed, plan_id=plan_id, scenario=name, money=money)
        except InfeasiblePlan as error:
            plans[name] = error
    return plans


def _current(
    lines: tuple[str, ...], spend: Mapping[str, float] | Sequence[float] | FloatArray | None
) -> FloatArray | None:
    """Put the current spend in the order of the lines."""
    if spend is None:
        return None
    if isinstance(spend, Mapping):
        if unknown := [unknown_line(name, lines, "the current spend") for name in spend if name not in lines]:
            raise InfeasiblePlan("\n".join(unknown[:5]))
        return np.array([spend.get(line, 0.0) for line in lines], dtype=float)
    current = np.asarray(spend, dtype=float)
    if current.shape != (len(lines),):
        raise InfeasiblePlan(
            f"Current spend has shape {current.shape}: expected one number for each of {len(lines)} lines."
        )
    return current


def _best(
    curves: ResponseCurves, mean: FloatArray, limits: Limits, config: AllocationConfig
) -> tuple[FloatArray, float]:
    """Best spend before rounding, with the upper bound on the value of all money, unspent money included."""
    points, values = [], []
    for i in range(len(curves.lines)):
        low, high = limits.lower[i], limits.upper[i]
        inside = curves.spend[i][(curves.spend[i] > low) & (curves.spend[i] < high)]
        x = np.concatenate([[low], inside, [high] if high > low else []])
        points.append(x)
        values.append(np.interp(x, curves.spend[i], mean[i]))
    if not config.spend_all:  # unspent money is one more line
        points.append(np.array([0.0, limits.total]))
        values.append(points[-1] * unspent_worth(config))
    proof = maximise(points, values, limits.total, tolerance=config.gap_tolerance)
    return proof.spend[: len(curves.lines)], proof.upper_bound


def _round(best: FloatArray, limits: Limits, price: FloatArray, config: AllocationConfig) -> FloatArray:
    """Whole rounding units within the limits that add up to the total; `price` says where one unit matters most."""
    unit = config.rounding_unit
    least, most = np.round(limits.lower / unit), np.round(limits.upper / unit)
    units = np.clip(np.floor(best / unit + 1e-6), least, most)
    if config.spend_all:
        left = round(limits.total / unit) - int(units.sum())
        order = np.argsort(-price, kind="stable") if left > 0 else np.argsort(price, kind="stable")
        step = 1 if left > 0 else -1
        while left != 0:
            for i in order:
                if left != 0 and least[i] <= units[i] + step <= most[i]:
                    units[i] += step
                    left -= step
    return np.round(units * unit, 9) + 0.0  # no minus zero


def _keep(current: FloatArray, limits: Limits, config: AllocationConfig) -> FloatArray | None:
    """The current spend in whole units, or None where the limits or the total do not allow it."""
    unit = config.rounding_unit
    apart = float(current.sum()) - limits.total
    outside = np.any((current < limits.lower - unit) | (current > limits.upper + unit))
    if outside or apart > unit * len(current) or (config.spend_all and -apart > unit * len(current)):
        return None
    within = np.clip(current, limits.lower, limits.upper)
    return _round(within, limits, current / unit - np.floor(current / unit), config)


def _draws(curves: ResponseCurves, spend: FloatArray) -> FloatArray:
    """Value draws of each line at `spend`, (n_lines, n_draws); beyond the end of a curve those at its end."""
    return line_value(curves, np.minimum(spend, curves.max_spend))


def _compare(
    curves: ResponseCurves, plan: FloatArray, draws: FloatArray, current: FloatArray | None, config: AllocationConfig
) -> tuple[float, FloatArray]:
    """Mean value of the current spend, and the objective that the plan gains over it per draw; NaN without one."""
    if current is None:
        return np.nan, np.full(draws.shape[1], np.nan)
    now = _draws(curves, current)
    return float(now.sum(axis=0).mean()), _objective(draws, plan, config) - _objective(now, current, config)


def _objective(draws: FloatArray, spend: FloatArray, config: AllocationConfig) -> FloatArray:
    """Objective of a plan per draw."""
    value = draws.sum(axis=0)
    return config.margin_fraction * value - spend.sum() if config.objective == "profit" else value


def _gap(bound: float, value: float) -> float:
    """Distance to the bound as a share of it; 0 where both are 0."""
    apart = max(bound - value, 0.0)
    return apart / abs(bound) if apart > 0 and bound != 0 else 0.0


def _lines(
    names: tuple[str, ...],
    current: FloatArray | None,
    planned: FloatArray,
    draws: FloatArray,
    margins: Margins,
    limits: Limits,
    reasons: list[str],
) -> tuple[PlanLine, ...]:
    """One row per line of the plan."""
    p05, p95 = np.quantile(draws, [0.05, 0.95], axis=1)
    return tuple(
        PlanLine(
            line=name,
            spend=np.nan if current is None else float(current[i]),
            planned_spend=float(planned[i]),
            value_mean=float(draws[i].mean()),
            value_p05=float(p05[i]),
            value_p95=float(p95[i]),
            marginal_value=float(margins.next_value[i]),
            binding=margins.binding[i],
            shadow_price=float(margins.shadow_price[i]),
            lower=float(limits.lower[i]),
            upper=float(limits.upper[i]),
            reason=reasons[i],
        )
        for i, name in enumerate(names)
    )
