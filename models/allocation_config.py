"""What a plan may do: the rules of an allocation, per week."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import ClassVar, Literal

from models.risk import Risk, parse_risk

OBJECTIVES = ("profit", "revenue", "conversions", "clv")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Limits on what some lines spend together: money per week, or shares of all that is spent."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    lines: tuple[str, ...]
    floor: float | None = None  # least money, such as a brand's
    cap: float | None = None
    min_share: float | None = None  # of the planned spend
    max_share: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", tuple(self.lines))
        for name, most in (("floor", inf), ("cap", inf), ("min_share", 1.0), ("max_share", 1.0)):
            amount = getattr(self, name)
            if amount is not None and not (isfinite(amount) and 0 <= amount <= most):
                limit = "a number, zero or more" if most == inf else "between 0 and 1"
                raise ValueError(f"{name} = {amount} of a group: must be {limit}")


@dataclass(frozen=True, kw_only=True)
class AllocationConfig:
    """What a plan may do, per week.

    A floor or a cap outranks the change limit; a lock outranks all. The change limit is around the current spend, and
    where the total differs from the current one also around the current mix at the new total, so that a larger or
    smaller budget alone never contradicts it.

    What a plan is worth counts each line's response: as it is (profit, revenue), per conversion (conversions), times
    its lifetime ratio (clv), and for profit and clv times the line's margin over `margin_fraction`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    total: float | None = None  # money per week; None: as much as now
    spend_all: bool = True  # False: money may stay unspent where it would not earn itself back
    floors: dict[str, float] = field(default_factory=dict)  # least weekly spend per line
    caps: dict[str, float] = field(default_factory=dict)  # most weekly spend per line
    off_or_at_least: dict[str, float] = field(default_factory=dict)  # lines that spend nothing, or this and more
    locked: tuple[str, ...] = ()  # lines that stay at their current spend
    groups: dict[str, Group] = field(default_factory=dict)  # by name: lines, floor, cap, min_share, max_share
    max_change_fraction: float | None = 0.3  # ad platforms relearn after larger steps; None: no limit
    max_change_fractions: dict[str, float] = field(default_factory=dict)  # lines with a change limit of their own
    new_line_fraction: float = 0.05  # a line with no spend now may take this share of the total: enough to learn from
    max_moves: int | None = None  # lines whose spend may change
    objective: Literal["profit", "revenue", "conversions", "clv"] = "profit"  # with one margin and a fixed total,
    # profit and revenue give the same plan
    margin_fraction: float = 1.0  # profit = margin_fraction * value - spend
    margin_fractions: dict[str, float] = field(default_factory=dict)  # lines with a margin of their own
    clv_ratio: dict[str, float] = field(default_factory=dict)  # lifetime value over first value per line
    value_per_conversion: dict[str, float] = field(default_factory=dict)  # KPI units that one conversion is worth
    min_roas: float | None = None  # mean value over spend of the whole plan, at least
    min_line_roas: dict[str, float] = field(default_factory=dict)  # the same of a line that spends
    max_cpa: float | None = None  # spend per conversion of the whole plan, at most
    min_probability_roas: float | None = None  # least probability that the plan reaches min_roas
    risk: str = "mean"  # or cvar:0.1 (mean of the worst tenth), meanvar:0.5 (mean less 0.5 variances per unit of money)
    min_probability_better: float = 0.6  # below this the move is noise; 0.5 would be a coin; asked of risk mean only
    min_gain_fraction: float = 0.001  # below a thousandth the move is not worth the work
    rounding_unit: float = 0.01  # plans are written to the cent
    gap_tolerance: float = 1e-6  # of the upper bound; a thousandth of what a plan's proof promises

    def __post_init__(self) -> None:
        positive = ("margin_fraction", "rounding_unit", "gap_tolerance")
        shares = ("new_line_fraction", "min_probability_better")
        if bad := [name for name in positive if not 0 < getattr(self, name) < inf]:
            raise ValueError(f"{bad[0]} = {getattr(self, bad[0])}: must be above 0")
        if bad := [name for name in shares if not 0 <= getattr(self, name) <= 1]:
            raise ValueError(f"{bad[0]} = {getattr(self, bad[0])}: must be between 0 and 1")
        if self.max_change_fraction is not None and not 0 <= self.max_change_fraction < inf:
            raise ValueError(f"max_change_fraction = {self.max_change_fraction}: must be 0 or more, or null for none")
        if not self.min_gain_fraction >= 0:
            raise ValueError(f"min_gain_fraction = {self.min_gain_fraction}: must be 0 or more")
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective = {self.objective!r}: must be one of {', '.join(map(repr, OBJECTIVES))}")
        self._check_targets()
        groups = {name: _group(name, rule) for name, rule in self.groups.items()}
        object.__setattr__(self, "groups", groups)
        parse_risk(self.risk)

    def _check_targets(self) -> None:
        """Targets and worths per line."""
        if bad := [name for name in ("min_roas", "max_cpa") if not _positive_or_none(getattr(self, name))]:
            raise ValueError(f"{bad[0]} = {getattr(self, bad[0])}: must be above 0, or null for none")
        if self.max_moves is not None and self.max_moves < 0:
            raise ValueError(f"max_moves = {self.max_moves}: must be 0 or more, or null for any number")
        likely = self.min_probability_roas
        if likely is not None and not 0 < likely < 1:
            raise ValueError(f"min_probability_roas = {likely}: must be between 0 and 1, or null for none")
        if likely is not None and self.min_roas is None:
            raise ValueError("min_probability_roas needs min_roas, the ROAS to be reached")
        for rule in ("margin_fractions", "clv_ratio", "value_per_conversion"):
            if bad := [line for line, amount in getattr(self, rule).items() if not 0 < amount < inf]:
                raise ValueError(f"{rule} of {bad[0]!r} = {getattr(self, rule)[bad[0]]}: must be above 0")
        if bad := [line for line, share in self.max_change_fractions.items() if not 0 <= share < inf]:
            raise ValueError(f"max_change_fractions of {bad[0]!r}: must be 0 or more")

    @property
    def attitude(self) -> Risk:
        """The parsed `risk`."""
        return parse_risk(self.risk)


def _positive_or_none(amount: float | None) -> bool:
    return amount is None or 0 < amount < inf


def _group(name: str, rule: Group | Mapping[str, object]) -> Group:
    """A group as written in YAML."""
    if isinstance(rule, Group):
        return rule
    if not isinstance(rule, Mapping) or "lines" not in rule:
        raise ValueError(f"group {name!r}: expected lines and one of floor, cap, min_share, max_share")
    return Group(**rule)  # type: ignore[arg-type]  # checked where it is made
