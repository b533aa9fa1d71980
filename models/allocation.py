"""Weekly budget plan that maximises the expected response, with its proof.

Money is per week and in one currency. "Value" is the incremental response the curves predict, in the units of the KPI
(revenue by default), as the objective counts it. Profit is ``margin_fraction * value - spend``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.allocation_config import AllocationConfig, Group
from models.certificate import Certificate
from models.constraints import tightened
from models.errors import InfeasiblePlan
from models.limits import unknown_line
from models.margins import Margins, find_margins
from models.plan import ConstraintPrice, Plan, PlanLine
from models.plan_reasons import line_reasons, verdict_reason
from models.prices import price_rules
from models.problem import NoPlan, is_allowed
from models.response import ResponseCurves, line_value
from models.risk import adjusted
from models.rounding import round_plan
from models.setting import Setting, draws_on, optimum, solve_setting
from models.solve import solve

FloatArray = NDArray[np.float64]
type Spend = Mapping[str, float] | Sequence[float] | FloatArray  # by name, or in the order of the curves' lines

__all__ = ["AllocationConfig", "Group", "Plan", "PlanLine", "allocate", "current_of", "scenarios"]


def allocate(
    curves: ResponseCurves,
    current_spend: Spend | None,
    config: AllocationConfig | None = None,
    *,
    plan_id: str = "plan",
    scenario: str = "base",
    money: str = "euro",
    may_hold: bool = True,
    unspent: float | None = None,
) -> Plan:
    """Weekly spend per line that maximises the objective within the rules.

    Parameters
    ----------
    curves : response draws per line on a grid of weekly spend, joined linearly between grid points. A line may not
        spend beyond its last point; a current spend beyond it is valued as at that point.
    current_spend : weekly spend per line, by name (a line left out spends nothing) or in the order of `curves.lines`,
        finite and >= 0. None: there is none, so nothing limits the change and nothing can be held.
    config : the rules; see `AllocationConfig`.
    money : what the reasons call one unit of money.
    may_hold : False: the plan is the best one, however little it gains.
    unspent : value of a unit of money that is not spent, where money may stay; None: as the objective says.

    Returns
    -------
    Plan whose lines add up to the total exactly in whole rounding units.

    Raises
    ------
    InfeasiblePlan : the rules contradict each other or the total, or an input is not a usable number. The message names
        the smallest set of rules that cannot be kept together.
    ConfigError : the objective or a target needs a figure per line that is missing.
    """
    config = config or AllocationConfig()
    current = current_of(curves.lines, current_spend)
    setting, proof = optimum(curves, current, config, unspent)
    curves, limits = setting.curves, setting.limits
    optimal = _rounded(setting, proof.spend, _margins(setting, proof.spend).next_value)
    optimal_draws = _draws(curves, optimal)
    status_quo, gain = _compare(setting, optimal, optimal_draws)
    better = float(np.mean(gain > 0)) if current is not None else np.nan

    kept = None if current is None else _keep(current, setting)
    counted = (np.nan, np.nan) if config.risk == "mean" else _counted(setting, optimal, optimal_draws)
    if config.risk == "mean":
        worth = gain.mean() > config.min_gain_fraction * abs(status_quo) and better >= config.min_probability_better
    else:  # the draws' tail may be better though most draws are not
        worth = counted[0] > config.min_gain_fraction * abs(counted[1])
    hold = may_hold and kept is not None and not worth
    planned, draws = optimal, optimal_draws
    constraints: tuple[ConstraintPrice, ...] = ()
    if hold and kept is not None:
        planned, draws, margins = kept, _draws(curves, kept), _margins(setting, kept)
    else:
        constraints, margins = _prices(setting, proof.spend)
        constraints += _price_of_a_move(setting, proof)

    spent = float(np.round(planned.sum(), 9))
    total = draws.sum(axis=0)
    value = float(total.mean())
    risk_value, bound = _score(draws, spent, setting), _bound(proof, spent, setting)
    optimal_bound = _bound(proof, float(optimal.sum()), setting)
    response = draws / setting.worth[:, None]
    roas = response.sum(axis=0) / spent if spent > 0 else np.full_like(total, np.nan)
    return Plan(
        plan_id=plan_id,
        scenario=scenario,
        objective=config.objective,
        budget=limits.total,
        planned_spend=spent,
        value_mean=value,
        value_p05=float(np.quantile(total, 0.05)),
        value_p95=float(np.quantile(total, 0.95)),
        profit_mean=_earned(setting, value, response) - spent,
        upper_bound=max(bound, risk_value),
        gap_fraction=_gap(bound, risk_value, limits.total),
        optimal_spend=tuple(optimal.tolist()),
        optimal_gap_fraction=_gap(optimal_bound, _score(optimal_draws, float(optimal.sum()), setting), limits.total),
        status_quo_value=status_quo,
        gain_mean=float(gain.mean()),
        gain_p05=float(np.quantile(gain, 0.05)),
        gain_p95=float(np.quantile(gain, 0.95)),
        probability_better=better,
        roas_mean=float(roas.mean()),
        probability_roas_met=None if config.min_roas is None else float(np.mean(roas >= config.min_roas)),
        shadow_price=margins.budget_price,
        verdict="hold" if hold else "move",
        reason=verdict_reason(hold, kept is not None, config, float(gain.mean()), status_quo, better, counted),
        lines=_lines(
            setting,
            planned,
            draws,
            margins,
            line_reasons(curves.lines, current, planned, margins, config, hold=hold, money=money),
        ),
        risk=config.risk,
        risk_value=risk_value,
        constraints=constraints,
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
    current = current_of(curves.lines, current_spend)
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


def current_of(lines: tuple[str, ...], spend: Spend | None) -> FloatArray | None:
    """The current spend in the order of the lines, (n_lines,); InfeasiblePlan for a name or a number that is none."""
    if spend is None:
        return None
    if isinstance(spend, Mapping):
        known = set(lines)
        if unknown := [unknown_line(name, lines, "the current spend") for name in spend if name not in known]:
            raise InfeasiblePlan("\n".join(unknown[:5]))
        return np.array([spend.get(line, 0.0) for line in lines], dtype=float)
    current = np.asarray(spend, dtype=float)
    if current.shape != (len(lines),):
        raise InfeasiblePlan(
            f"Current spend has shape {current.shape}: expected one number for each of {len(lines)} lines."
        )
    return current


def _ties_lines(config: AllocationConfig) -> bool:
    """Whether the prices of other rules than the total and each line's limits are asked for."""
    asked = (config.min_roas, config.max_cpa, config.max_moves)
    return bool(config.groups or config.off_or_at_least or config.min_line_roas) or any(a is not None for a in asked)


def _rounded(setting: Setting, best: FloatArray, price: FloatArray) -> FloatArray:
    """The plan in whole units; where rounding breaks a target, that of the slightly tightened problem."""
    problem, unit = setting.problem, setting.config.rounding_unit
    plan = round_plan(problem, best, price, unit)
    if not problem.rows or is_allowed(problem, plan, unit):
        return plan
    inner = tightened(problem, best, unit)
    try:
        return round_plan(problem, solve_setting(setting, inner).spend, price, unit)
    except NoPlan:
        return plan


def _margins(setting: Setting, spend: FloatArray) -> Margins:
    """Each line's margins at a plan, in what is maximised, as if nothing but the total tied lines together."""
    counted = setting.counted(spend)
    return find_margins(setting.curves.spend, counted, spend, setting.limits, setting.config, setting.unspent)


def _prices(setting: Setting, spend: FloatArray) -> tuple[tuple[ConstraintPrice, ...], Margins]:
    """Prices of the rules over several lines, where there are any and all have one, and each line's margins."""
    config = setting.config
    if not _ties_lines(config):
        return (), _margins(setting, spend)
    counted = None
    if config.risk != "mean":
        risk_weights = setting.weights(spend)
        counted = [draws @ risk_weights for draws in draws_on(setting.curves, setting.problem)]
    constraints, margins = price_rules(setting.problem, spend, setting.limits, config, counted)
    # a probability has no price here, and what it costs would be put down to the other rules
    return () if config.min_probability_roas is not None else constraints, margins


def _price_of_a_move(setting: Setting, proof: Certificate) -> tuple[ConstraintPrice, ...]:
    """What one more move would bring, by solving again."""
    problem, config = setting.problem, setting.config
    if problem.max_moves is None or problem.stay is None:
        return ()
    if config.risk != "mean" or config.min_probability_roas is not None:
        return ()
    more = solve(replace(problem, max_moves=problem.max_moves + 1), tolerance=setting.config.gap_tolerance)
    price = max(more.value - proof.value, 0.0)
    binding = price > 2 * config.gap_tolerance * abs(proof.upper_bound)
    moved = int((np.abs(proof.spend - problem.stay) > config.rounding_unit).sum())
    return (
        ConstraintPrice(
            name=f"max_moves {problem.max_moves}",
            slack=float(problem.max_moves - moved),
            binding=binding,
            shadow_price=price if binding else 0.0,
            per="one more move, by solving again",
        ),
    )


def _keep(current: FloatArray, setting: Setting) -> FloatArray | None:
    """The current spend in whole units, or None where the rules or the total do not allow it."""
    config, limits = setting.config, setting.limits
    unit = config.rounding_unit
    apart = float(current.sum()) - limits.total
    outside = np.any((current < limits.lower - unit) | (current > limits.upper + unit))
    if outside or apart > unit * len(current) or (config.spend_all and -apart > unit * len(current)):
        return None
    within = np.clip(current, limits.lower, limits.upper)
    kept = round_plan(setting.problem, within, current / unit - np.floor(current / unit), unit)
    close = np.abs(kept - within).max() <= 2 * unit
    if config.min_probability_roas is not None and config.min_roas is not None:
        total = (_draws(setting.curves, kept) / setting.worth[:, None]).sum(axis=0)
        close = close and np.mean(total >= config.min_roas * kept.sum()) >= config.min_probability_roas
    return kept if close and is_allowed(setting.problem, kept, unit) else None


def _draws(curves: ResponseCurves, spend: FloatArray) -> FloatArray:
    """Value draws of each line at `spend`, (n_lines, n_draws); beyond the end of a curve those at its end."""
    return line_value(curves, np.minimum(spend, curves.max_spend))


def _compare(setting: Setting, plan: FloatArray, draws: FloatArray) -> tuple[float, FloatArray]:
    """Mean value of the current spend, and the objective that the plan gains over it per draw; NaN without one."""
    current, config = setting.current, setting.config
    if current is None:
        return np.nan, np.full(draws.shape[1], np.nan)
    now = _draws(setting.curves, current)
    return float(now.sum(axis=0).mean()), _objective(draws, plan, config) - _objective(now, current, config)


def _objective(draws: FloatArray, spend: FloatArray, config: AllocationConfig) -> FloatArray:
    """Objective of a plan per draw."""
    value = draws.sum(axis=0)
    return config.margin_fraction * value - spend.sum() if config.objective in ("profit", "clv") else value


def _counted(setting: Setting, plan: FloatArray, draws: FloatArray) -> tuple[float, float]:
    """What a plan gains over today's spend as the attitude to risk counts it, and what today's counts for."""
    current = setting.current
    if current is None:
        return np.nan, np.nan
    spent, spent_now = float(plan.sum()), float(current.sum())
    now = _score(_draws(setting.curves, current), spent_now, setting)
    return _score(draws, spent, setting) - now - setting.unspent * (spent - spent_now), now


def _earned(setting: Setting, value: float, response: FloatArray) -> float:
    """What a plan brings in before its cost: lifetime value where that is counted, else the KPI at each margin."""
    config = setting.config
    if config.objective in ("profit", "clv"):
        return config.margin_fraction * value
    margin = np.array([config.margin_fractions.get(line, config.margin_fraction) for line in setting.curves.lines])
    return float(margin @ response.mean(axis=1))


def _score(draws: FloatArray, spent: float, setting: Setting) -> float:
    """What the plan's draws count for under the attitude to risk; unspent money left out."""
    risk, total = setting.config.attitude, setting.limits.total
    if risk.kind == "mean":
        return float(draws.sum(axis=0).mean())
    purse = setting.unspent * (total - spent)
    return adjusted(draws.sum(axis=0) + purse, risk, total) - purse


def _bound(proof: Certificate, spent: float, setting: Setting) -> float:
    """Bound for plans that spend as much: unspent money is worth the same in all of them."""
    return proof.upper_bound - setting.unspent * (setting.limits.total - spent)


def _gap(bound: float, value: float, total: float) -> float:
    """Distance to the bound as a share of it; 0 where it is a billionth of the budget, as for an empty plan."""
    apart = max(bound - value, 0.0)
    return apart / abs(bound) if apart > 1e-9 * total and bound != 0 else 0.0


def _lines(
    setting: Setting, planned: FloatArray, draws: FloatArray, margins: Margins, reasons: list[str]
) -> tuple[PlanLine, ...]:
    """One row per line of the plan."""
    current, limits = setting.current, setting.limits
    p05, p95 = np.quantile(draws, [0.05, 0.95], axis=1)
    mean = draws.mean(axis=1)
    return tuple(
        PlanLine(
            line=name,
            spend=np.nan if current is None else float(current[i]),
            planned_spend=float(planned[i]),
            value_mean=float(mean[i]),
            value_p05=float(p05[i]),
            value_p95=float(p95[i]),
            marginal_value=float(margins.next_value[i]),
            binding=margins.binding[i],
            shadow_price=float(margins.shadow_price[i]),
            lower=float(limits.lower[i]),
            upper=float(limits.upper[i]),
            reason=reasons[i],
        )
        for i, name in enumerate(setting.curves.lines)
    )
