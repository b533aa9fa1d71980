"""Why a plan differs from an earlier one: each line's move, split among what changed in between.

Four things can change between two plans: the data (what is spent today), the posterior (the response curves), the
constraints, and the target (budget, objective, ROAS, risk). Plans are made with every mixture of old and new inputs,
and each change gets its mean effect over all orders in which the inputs could have changed: its Shapley value. The
parts of a line add up to its move exactly.

Source: Shapley (1953), "A value for n-person games", Contributions to the Theory of Games II, 307-317.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.allocation import Spend, allocate, current_of
from models.allocation_config import AllocationConfig
from models.errors import ConfigError, InfeasiblePlan
from models.response import ResponseCurves

FloatArray = NDArray[np.float64]

CAUSES = ("data", "posterior", "constraint", "target")
TARGETS = (  # fields of the config that say what is wanted; the others say what is allowed
    "total",
    "spend_all",
    "objective",
    "margin_fraction",
    "margin_fractions",
    "clv_ratio",
    "value_per_conversion",
    "min_roas",
    "max_cpa",
    "min_probability_roas",
    "risk",
)
WORDS = {
    "data": "today's spend",
    "posterior": "the response curves",
    "constraint": "the constraints",
    "target": "the target",
    "together": "several changes that only work together",
}


@dataclass(frozen=True, kw_only=True)
class PlanInputs:
    """All that a plan was made from."""

    curves: ResponseCurves
    current_spend: Spend | None
    config: AllocationConfig


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why the lines moved.

    Attributes
    ----------
    changed : causes whose inputs differ at all.
    frame : one row per line: line, old_spend, new_spend, change, one column per cause (money, adding up to the change)
        with "together" where changes cannot be told apart, and reason.
    """

    changed: tuple[str, ...]
    frame: pl.DataFrame


def explain(old: PlanInputs, new: PlanInputs, money: str = "euro") -> Explanation:
    """Attribute each line's move between the best plans of two sets of inputs.

    Plans are compared before the decision to hold: what is explained is where the optimum went. A line that one of the
    two does not know spends nothing there.

    Raises
    ------
    InfeasiblePlan, ConfigError : one of the two has no plan.
    """
    lines = tuple(dict.fromkeys([*old.curves.lines, *new.curves.lines]))
    changed = tuple(cause for cause in CAUSES if not _same(cause, old, new))
    plans: dict[frozenset[str], FloatArray | None] = {}

    def plan_with(causes: frozenset[str]) -> FloatArray | None:
        if causes not in plans:
            try:
                plans[causes] = _spends(_mixed(old, new, causes), lines)
            except (InfeasiblePlan, ConfigError):  # such as an objective without what the older inputs know
                plans[causes] = None
        return plans[causes]

    before, after = _spends(old, lines), _spends(new, lines)
    plans[frozenset()], plans[frozenset(changed)] = before, after
    parts = {cause: np.zeros(len(lines)) for cause in (*CAUSES, "together")}
    whole_orders = 0
    for order in permutations(changed):
        steps = [plan_with(frozenset(order[:k])) for k in range(len(order) + 1)]
        if any(step is None for step in steps):
            continue  # a mixture of old and new inputs that no plan fits says nothing about its parts
        whole_orders += 1
        for cause, (first, second) in zip(order, pairwise(steps), strict=True):
            if first is not None and second is not None:
                parts[cause] += second - first
    if whole_orders:
        parts = {cause: amount / whole_orders for cause, amount in parts.items()}
    else:
        parts["together"] = after - before
    reasons = [_reason(i, before, after, parts, money) for i in range(len(lines))]
    frame = pl.DataFrame(
        {"line": lines, "old_spend": before, "new_spend": after, "change": after - before} | parts | {"reason": reasons}
    )
    return Explanation(changed=changed, frame=frame)


def _same(cause: str, old: PlanInputs, new: PlanInputs) -> bool:
    if cause == "posterior":
        a, b = old.curves, new.curves
        return a.lines == b.lines and np.array_equal(a.spend, b.spend) and np.array_equal(a.response, b.response)
    if cause == "data":
        return _by_name(old) == _by_name(new)
    names = [f.name for f in fields(AllocationConfig) if (f.name in TARGETS) == (cause == "target")]
    # without a total of its own, a plan's budget is today's spend: that is data, not a target
    return all(getattr(old.config, name) == getattr(new.config, name) for name in names)


def _by_name(inputs: PlanInputs) -> dict[str, float] | None:
    current = current_of(inputs.curves.lines, inputs.current_spend)
    return None if current is None else dict(zip(inputs.curves.lines, current.tolist(), strict=True))


def _mixed(old: PlanInputs, new: PlanInputs, causes: frozenset[str]) -> PlanInputs:
    """The old inputs with those of some causes replaced by the new."""
    curves = new.curves if "posterior" in causes else old.curves
    spend = _by_name(new if "data" in causes else old)
    if spend is not None:
        spend = {line: spend.get(line, 0.0) for line in curves.lines}
    targets = {name: getattr((new if "target" in causes else old).config, name) for name in TARGETS}
    config = replace((new if "constraint" in causes else old).config, **targets)
    return PlanInputs(curves=curves, current_spend=spend, config=_known_only(config, curves.lines))


def _known_only(config: AllocationConfig, lines: Sequence[str]) -> AllocationConfig:
    """Rules about lines that the curves do not know left out: they belong to the other set of inputs."""
    known = set(lines)
    mappings = ("floors", "caps", "off_or_at_least", "max_change_fractions", "min_line_roas")
    changes: dict[str, Any] = {
        name: {k: v for k, v in getattr(config, name).items() if k in known} for name in mappings
    }
    worths = ("margin_fractions", "clv_ratio", "value_per_conversion")
    changes |= {name: {k: v for k, v in getattr(config, name).items() if k in known} for name in worths}
    groups = {name: replace(g, lines=tuple(x for x in g.lines if x in known)) for name, g in config.groups.items()}
    return replace(config, **changes, groups=groups, locked=tuple(x for x in config.locked if x in known))


def _spends(inputs: PlanInputs, lines: Sequence[str]) -> FloatArray:
    plan = allocate(inputs.curves, inputs.current_spend, inputs.config)
    spend = dict(zip(inputs.curves.lines, plan.optimal_spend, strict=True))
    return np.array([spend.get(line, 0.0) for line in lines])


def _reason(i: int, before: FloatArray, after: FloatArray, parts: dict[str, FloatArray], money: str) -> str:
    """The causes of one line's move, the largest first."""
    change = float(after[i] - before[i])
    told = [(cause, float(amount[i])) for cause, amount in parts.items() if abs(amount[i]) >= 0.01]
    if not told:
        return "unchanged."
    told.sort(key=lambda pair: -abs(pair[1]))
    causes = ", ".join(f"{_signed(amount)} from {WORDS[cause]}" for cause, amount in told)
    return f"{_signed(change)} {money} per week: {causes}."


def _signed(amount: float) -> str:
    return f"{amount:+,.2f}".replace("-", "\N{MINUS SIGN}")
