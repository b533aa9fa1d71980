"""The smallest set of rules that contradict each other, in words.

Source: Junker (2004), "QuickXplain: preferred explanations and relaxations for over-constrained problems", AAAI-04,
167-172 (a minimal conflict with few checks: each rule in it is needed, without any one of them a plan exists).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.allocation_config import AllocationConfig

PARTS = ("floor", "cap", "min_share", "max_share")  # of a group
MAX_NAMED = 6  # rules in a message; more are counted


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule of a config that can be left out.

    Attributes
    ----------
    words : how a message names it. field : the config's field. key : line or group; None for rules of the whole plan.
    part : the limit of a group that is meant.
    """

    words: str
    field: str
    key: str | None = None
    part: str | None = None


def rules_of(lines: Sequence[str], config: AllocationConfig) -> list[Rule]:
    """Every rule of a config but the total, those of the whole plan last."""
    rules = [Rule(words=f"the change limit of {line!r}", field="max_change_fractions", key=line) for line in lines
             if config.max_change_fractions.get(line, config.max_change_fraction) is not None]  # fmt: skip
    named = (
        ("floors", "the floor of {0!r}, {1:,.2f}"),
        ("caps", "the cap of {0!r}, {1:,.2f}"),
        ("off_or_at_least", "{0!r} off or at least {1:,.2f}"),
        ("min_line_roas", "a ROAS of {0!r} of at least {1:g}"),
    )
    for name, words in named:
        amounts = getattr(config, name)
        rules += [Rule(words=words.format(line, amount), field=name, key=line) for line, amount in amounts.items()]
    rules += [Rule(words=f"the lock of {line!r}", field="locked", key=line) for line in config.locked]
    shares = {
        "floor": "{0:,.2f}",
        "cap": "{0:,.2f}",
        "min_share": "{0:.0%} of the spend",
        "max_share": "{0:.0%} of the spend",
    }
    said = {"floor": "at least", "min_share": "at least", "cap": "at most", "max_share": "at most"}
    for name, group in config.groups.items():
        for part, form in shares.items():
            if (amount := getattr(group, part)) is not None:
                words = f"{said[part]} {form.format(amount)} for group {name!r} ({', '.join(group.lines[:4])})"
                rules.append(Rule(words=words, field="groups", key=name, part=part))
    whole = (
        ("min_roas", "a ROAS of the plan of at least {0:g}"),
        ("max_cpa", "a cost per conversion of at most {0:,.2f}"),
        ("max_moves", "at most {0} moves"),
        ("min_probability_roas", "a probability of {0:g} to reach the ROAS"),
    )
    for name, words in whole:
        if (amount := getattr(config, name)) is not None:
            rules.append(Rule(words=words.format(amount), field=name))
    return rules


def only(config: AllocationConfig, rules: Sequence[Rule], lines: Sequence[str]) -> AllocationConfig:
    """The config with no other rules than these, and the total."""
    kept = {(rule.field, rule.key, rule.part) for rule in rules}
    changes: dict[str, Any] = {
        name: {line: amount for line, amount in getattr(config, name).items() if (name, line, None) in kept}
        for name in ("floors", "caps", "off_or_at_least", "min_line_roas")
    }
    changes["max_change_fractions"] = {
        line: config.max_change_fractions.get(line, config.max_change_fraction)
        for line in lines
        if ("max_change_fractions", line, None) in kept
    }
    changes["groups"] = {}
    for name, group in config.groups.items():
        dropped: dict[str, Any] = {part: None for part in PARTS if ("groups", name, part) not in kept}
        changes["groups"][name] = replace(group, **dropped)
    for name in ("min_roas", "max_cpa", "max_moves", "min_probability_roas"):
        changes[name] = getattr(config, name) if (name, None, None) in kept else None
    if changes["min_probability_roas"] is not None:
        changes["min_roas"] = config.min_roas
    changes["locked"] = tuple(line for line in config.locked if ("locked", line, None) in kept)
    return replace(config, max_change_fraction=None, **changes)


def smallest_conflict(
    lines: Sequence[str], config: AllocationConfig, has_plan: Callable[[AllocationConfig], bool]
) -> list[Rule]:
    """Rules of which a plan can keep all but any one, not all; empty where the total alone is out of reach.

    Parameters
    ----------
    has_plan : whether a plan exists under a config.
    """
    rules = rules_of(lines, config)

    def fits(some: Sequence[Rule]) -> bool:
        return has_plan(only(config, some, lines))

    if not fits([]):
        return []
    return _narrow(fits, [], rules, is_changed=False)


def _narrow(
    fits: Callable[[Sequence[Rule]], bool], given: list[Rule], rules: list[Rule], *, is_changed: bool
) -> list[Rule]:
    """QuickXplain: the part of `rules` that conflicts together with `given`."""
    if is_changed and not fits(given):
        return []
    if len(rules) == 1:
        return rules
    half = len(rules) // 2
    first, second = rules[:half], rules[half:]
    needed = _narrow(fits, given + first, second, is_changed=bool(first))
    return _narrow(fits, given + needed, first, is_changed=bool(needed)) + needed


def conflict_words(rules: Sequence[Rule], total: float) -> str:
    """The message for a conflict."""
    if not rules:
        return f"No plan spends {total:,.2f} per week on these curves; expected a total within their reach."
    named = "; ".join(rule.words for rule in rules[:MAX_NAMED])
    more = f"; and {len(rules) - MAX_NAMED} more" if len(rules) > MAX_NAMED else ""
    if len(rules) == 1:
        return f"No plan of {total:,.2f} per week can keep this rule: {named}.\nLoosen it, or change the total."
    return (
        f"No plan of {total:,.2f} per week keeps all of these rules at once: {named}{more}.\n"
        "Loosening any one of them enough, or changing the total, makes a plan possible."
    )
