"""Other questions to the same curves: how much to spend, a target at least cost, the frontier of value and risk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.allocation import Spend, allocate, current_of
from models.allocation_config import AllocationConfig
from models.constraints import line_worth
from models.errors import ConfigError, InfeasiblePlan
from models.plan import Plan
from models.response import ResponseCurves, line_value
from models.risk import cvar

FloatArray = NDArray[np.float64]

TAIL = 0.1  # the frontier's risk is the mean of the worst tenth of the draws
ATTITUDES = ("mean", "cvar:0.1:0.5", "cvar:0.1")  # of the frontier: without risk, half of it, all of it
FACTORS = (0.5, 0.65, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5)  # of the frontier's budgets
CENTS = 60  # halvings are ended by the rounding unit; this many would do for any budget


@dataclass(frozen=True, kw_only=True)
class LeastCost:
    """A plan that reaches a value at least cost.

    Attributes
    ----------
    plan : its `planned_spend` is the cost.
    cost_bound : no plan that costs less than this reaches the target.
    """

    plan: Plan
    cost_bound: float


def unknown_budget(
    curves: ResponseCurves,
    current_spend: Spend | None,
    config: AllocationConfig | None = None,
    *,
    min_average_roas: float | None = None,
    min_marginal_roas: float | None = None,
    plan_id: str = "plan",
    money: str = "euro",
) -> Plan:
    """The plan that spends as long as the average ROAS and the return of the last unit of money stay above floors.

    Parameters
    ----------
    config : other rules; a `total` is the most that may be spent, without one the curves' ends are.
    min_average_roas : mean value over spend of the whole plan, at least, and nothing else stops the spending;
        `config.min_roas` where None, beside the next.
    min_marginal_roas : value of the last unit of money spent, at least. Where both are None, money is spent while it
        earns itself back as the objective and its margins count it, for revenue at `margin_fraction`.

    Returns
    -------
    The best plan, never held; its figures are those of the objective.

    Raises
    ------
    ConfigError : a floor is no number above zero, or the objective gives its floor no meaning.
    InfeasiblePlan : floors of spend force a worse ROAS.
    """
    config = config or AllocationConfig()
    for name, floor in (("min_average_roas", min_average_roas), ("min_marginal_roas", min_marginal_roas)):
        if floor is not None and not 0 < floor < np.inf:
            raise ConfigError(f"{name} is {floor}; expected a number above zero.")
    _check_floor(config, min_average_roas, min_marginal_roas)
    stops = min_marginal_roas
    if stops is None:
        stops = 1.0 / config.margin_fraction if min_average_roas is None else 0.0
    most = float(curves.max_spend.sum())
    asked = replace(
        config,
        total=most if config.total is None else min(config.total, most),
        spend_all=False,
        min_roas=config.min_roas if min_average_roas is None else min_average_roas,
    )
    return allocate(
        curves,
        current_spend,
        asked,
        plan_id=plan_id,
        scenario="unknown budget",
        money=money,
        may_hold=False,
        unspent=stops,  # a unit of money is spent while it returns more than it is worth unspent
    )


def _check_floor(config: AllocationConfig, average: float | None, marginal: float | None) -> None:
    """ConfigError where the last unit of money has no return that a floor in money could be held against."""
    if config.objective == "conversions":
        raise ConfigError(
            "An unknown budget needs an objective in money: profit, revenue or clv; found conversions.\n"
            "For the most conversions at a price, give a budget and max_cpa."
        )
    if marginal is not None and (config.margin_fractions or config.objective == "clv"):
        found = "objective: clv" if config.objective == "clv" else "margin_fractions"
        raise ConfigError(
            f"min_marginal_roas is a return in the KPI, the same for every line; with {found} a unit of it counts "
            "differently by line.\nLeave min_marginal_roas out: money is then spent while it earns itself back."
        )
    if marginal is None and average is None and config.objective == "revenue" and config.margin_fractions:
        raise ConfigError(
            "objective: revenue has no one break-even where lines have margin_fractions.\nTake objective: profit."
        )


def least_cost(
    curves: ResponseCurves,
    current_spend: Spend | None,
    target_value: float,
    config: AllocationConfig | None = None,
    *,
    plan_id: str = "plan",
    money: str = "euro",
) -> LeastCost:
    """The cheapest plan whose mean value reaches a target.

    The best value of a budget that need not be spent never falls with the budget, so the least one that reaches the
    target is found by halving. Each smaller budget is ruled out by its upper bound. Value counts as in the objective;
    what is not spent counts for nothing.

    Raises
    ------
    ConfigError : the target is not a number above zero, or an attitude to risk is asked for.
    InfeasiblePlan : no plan within the rules reaches it; the message says the most that one can.
    """
    config = config or AllocationConfig()
    if not 0 < target_value < np.inf:
        raise ConfigError(f"The target value is {target_value}; expected a number above zero.")
    if config.risk != "mean":  # the bound on what is maximised would be none on the mean
        raise ConfigError(f"A target at least cost is one for the mean; found risk: {config.risk}.\nLeave risk out.")
    most = float(curves.max_spend.sum())
    high = most if config.total is None else min(config.total, most)

    def plan_of(total: float) -> Plan:
        return allocate(
            curves,
            current_spend,
            replace(config, total=total, spend_all=False),
            plan_id=plan_id,
            scenario="target at least cost",
            money=money,
            may_hold=False,
            unspent=0.0,
        )

    best = plan_of(high)
    if best.value_mean < target_value:
        raise InfeasiblePlan(
            f"No plan within the rules is worth {target_value:,.2f}: the most is {best.upper_bound:,.2f}, for "
            f"{best.planned_spend:,.2f} per week.\nLower the target, or loosen a limit."
        )
    high, low, bound = best.planned_spend, 0.0, 0.0
    for _ in range(CENTS):
        if high - low <= config.rounding_unit * 1.5:
            break
        middle = (low + high) / 2
        try:
            plan = plan_of(middle)
        except InfeasiblePlan:
            low = bound = middle
            continue
        if plan.value_mean >= target_value:
            best, high = plan, min(plan.planned_spend, middle)
        else:
            low = middle
            bound = middle if plan.upper_bound < target_value else bound
    return LeastCost(plan=best, cost_bound=min(bound, best.planned_spend))


def frontier(
    curves: ResponseCurves,
    current_spend: Spend | None,
    config: AllocationConfig | None = None,
    *,
    factors: Sequence[float] = FACTORS,
    attitudes: Sequence[str] = ATTITUDES,
) -> pl.DataFrame:
    """What more or less money and more or less risk would give: one row per plan that the rules allow.

    Returns
    -------
    Frame of budget, risk, planned_spend, value_mean, value_p05, value_tail (mean of the worst tenth of the draws),
    roas_mean, marginal_roas (of one more unit of budget, as the row's risk counts it), gap_fraction, is_efficient (no
    other row has at least as much value, ROAS and value in the tail, and more of one), and spend_<line> for each line.
    A row is the best plan of its budget, never one held at today's spend. Value and ROAS are in what the objective
    counts: the KPI for revenue and for profit with one margin, else times lifetime value or margins, or conversions.
    """
    config = config or AllocationConfig()
    current = current_of(curves.lines, current_spend)
    total = config.total if config.total is not None else None if current is None else float(current.sum())
    if total is None:
        raise ConfigError("There is no budget to trace a frontier around.\nGive a total.")
    worth = line_worth(curves.lines, config)
    rows: list[dict[str, object]] = []
    for factor in factors:
        for risk in attitudes:
            asked = replace(config, total=factor * total, risk=risk)
            try:
                plan = allocate(curves, current_spend, asked, may_hold=False)
            except InfeasiblePlan:
                continue
            spend = np.array(plan.optimal_spend)
            value = worth @ line_value(curves, np.minimum(spend, curves.max_spend))
            spent = plan.planned_spend
            rows.append(
                {
                    "budget": plan.budget,
                    "risk": risk,
                    "planned_spend": spent,
                    "value_mean": float(value.mean()),
                    "value_p05": float(np.quantile(value, 0.05)),
                    "value_tail": cvar(value, TAIL),
                    "roas_mean": float(value.mean()) / spent if spent > 0 else None,
                    "marginal_roas": plan.shadow_price,
                    "gap_fraction": plan.gap_fraction,
                }
                | {f"spend_{line}": amount for line, amount in zip(curves.lines, spend.tolist(), strict=True)}
            )
    frame = pl.DataFrame(rows)
    if frame.is_empty():
        raise InfeasiblePlan(
            f"None of {len(factors)} budgets around {total:,.2f} per week is possible within the rules.\n"
            "Loosen a limit."
        )
    goods = frame.select("value_mean", "roas_mean", "value_tail").fill_null(0.0).to_numpy()
    return frame.with_columns(is_efficient=pl.Series(efficient(goods))).select(
        *frame.columns[:9], "is_efficient", *frame.columns[9:]
    )


def efficient(goods: FloatArray) -> list[bool]:
    """Per row of (n_rows, n_goods) whether no other row has at least as much of each and more of one."""
    slack = 1e-9 * np.maximum(np.abs(goods).max(axis=0), 1e-300)
    at_least = (goods[:, None, :] <= goods[None, :, :] + slack).all(axis=2)
    more = (goods[:, None, :] < goods[None, :, :] - slack).any(axis=2)
    return [not bool(row) for row in (at_least & more).any(axis=1)]
