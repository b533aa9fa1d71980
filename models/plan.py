"""A budget plan: what it spends, what it is worth, how far from the best possible it can be."""

from dataclasses import dataclass
from typing import Literal

import polars as pl


@dataclass(frozen=True, kw_only=True)
class PlanLine:
    """One line of a plan; money per week, value in KPI units per week.

    Attributes
    ----------
    spend, planned_spend : now and planned.
    value_mean, value_p05, value_p95 : incremental value of the planned spend over the posterior draws.
    marginal_value : value of the next unit of money in this line, as the attitude to risk counts it; so are prices.
    binding : what keeps the spend from moving to where it would pay more: "floor", "cap", "max_change_up",
        "max_change_down", "curve_end" (the curve knows no higher spend), "locked", "zero", "budget" (only the total
        does), "none" (nothing does); under the rules that ask for them also "group", "off_or_at_least",
        "min_line_roas" and "max_moves".
    shadow_price : value of loosening the binding limit by one unit of money; for "budget" and "none" that of the total.
        Where all other lines are at their limits too, of loosening theirs with it.
    lower, upper : the limits it was held to.
    """

    line: str
    spend: float
    planned_spend: float
    value_mean: float
    value_p05: float
    value_p95: float
    marginal_value: float
    binding: str
    shadow_price: float
    lower: float
    upper: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class ConstraintPrice:
    """A rule over several lines, as the plan meets it.

    Attributes
    ----------
    name : "total", "group 'brand'", "min_roas 3", "max_cpa 50".
    slack : how far the plan is from breaking it, in the rule's own units.
    binding : whether loosening it would pay. shadow_price : value of loosening it by `per`.
    """

    name: str
    slack: float
    binding: bool
    shadow_price: float
    per: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A plan, what it is worth, and how far from the best possible it can be.

    Attributes
    ----------
    budget : weekly total given; `planned_spend` is below it only where money may stay unspent.
    upper_bound : no plan within the limits that spends `planned_spend` is worth more than this.
    gap_fraction : (upper_bound - value_mean) / |upper_bound|. For a held plan this is what holding gives up.
    value_mean, value_p05, value_p95 : of the sum of the lines' values, as the objective counts them (see
        `AllocationConfig`).
    risk : attitude. risk_value : what was maximised, `value_mean` for "mean"; bound and gap are those of it.
    constraints : total, groups and targets with their shadow prices, where there are groups or targets. Empty where a
        probability is asked for, which has no price, and where today's spend is held: prices are those of an optimum.
    optimal_spend, optimal_gap_fraction : the search's best plan and its own gap; the plan itself unless it is held.
    status_quo_value : mean value of the current spend; NaN without one, like `gain_*` and `probability_better`.
    profit_mean : margin times the KPI's mean less the spend, whatever is maximised; times lifetime value for clv.
    gain_mean, gain_p05, gain_p95 : objective of the best plan minus that of the current spend, over the draws.
    probability_better : share of the draws in which that gain is above zero.
    probability_roas_met : share of the draws in which value / spend reaches `min_roas`; None where none was asked.
    shadow_price : value of one more unit of budget.
    verdict : "move", or "hold" where the gain is inside noise and the current spend stays.
    """

    plan_id: str
    scenario: str
    objective: str
    budget: float
    planned_spend: float
    value_mean: float
    value_p05: float
    value_p95: float
    profit_mean: float
    upper_bound: float
    gap_fraction: float
    optimal_spend: tuple[float, ...]
    optimal_gap_fraction: float
    status_quo_value: float
    gain_mean: float
    gain_p05: float
    gain_p95: float
    probability_better: float
    roas_mean: float
    probability_roas_met: float | None
    shadow_price: float
    verdict: Literal["hold", "move"]
    reason: str
    lines: tuple[PlanLine, ...]
    risk: str = "mean"
    risk_value: float = float("nan")
    constraints: tuple[ConstraintPrice, ...] = ()

    def summary(self) -> dict[str, object]:
        """All fields but the lines, the rules and the risk, as one row."""
        apart = ("lines", "optimal_spend", "constraints", "risk", "risk_value")
        return {name: value for name, value in vars(self).items() if name not in apart}

    def line_frame(self) -> pl.DataFrame:
        """One row per line, with the plan's id and scenario in front."""
        rows = [{"plan_id": self.plan_id, "scenario": self.scenario, **vars(line)} for line in self.lines]
        return pl.DataFrame(rows)
