"""Sentences that say why a plan moves each line."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.allocation_config import AllocationConfig
from models.margins import Margins

FloatArray = NDArray[np.float64]

STOPS = {
    "floor": "kept up by its floor",
    "cap": "stopped by its cap",
    "curve_end": "stopped where its response curve ends",
    "locked": "locked",
    "group": "held by the limit of its group",
    "off_or_at_least": "kept at the least it may spend when on",
    "min_line_roas": "stopped by its own ROAS",
    "max_moves": "left as it is: other moves pay more",
}


def line_reasons(
    lines: Sequence[str],
    current: FloatArray | None,
    planned: FloatArray,
    margins: Margins,
    config: AllocationConfig,
    *,
    hold: bool,
    money: str,
) -> list[str]:
    """Why each line gets what it gets, with the figures that decided it.

    Parameters
    ----------
    current : (n_lines,) spend now, or None. planned : (n_lines,) the plan. money : name of one unit of money.
    """
    reasons = []
    for i, spend in enumerate(planned.tolist()):
        returns = _returns(i, margins, money)
        now = None if current is None else float(current[i])
        if hold:
            reasons.append(f"unchanged: {returns}; the best move of the whole plan is inside noise.")
        else:
            move = _move(now, spend, config.rounding_unit)
            change = config.max_change_fractions.get(lines[i], config.max_change_fraction)
            reasons.append(f"{move}: {returns}{_stop(margins.binding[i], now, spend, change, config.rounding_unit)}.")
    return reasons


def verdict_reason(
    hold: bool,
    may_hold: bool,
    config: AllocationConfig,
    gain: float,
    status_quo: float,
    better: float,
    counted: tuple[float, float] = (np.nan, np.nan),
) -> str:
    """Why the plan moves or holds.

    Parameters
    ----------
    may_hold : whether limits and total allow the current spend. gain : mean of the best plan's objective minus today's.
    status_quo : mean value today; NaN without current spend. better : probability that the gain is above zero.
    counted : gain and today's value as the attitude to risk counts them; they decide where there is one.
    """
    if np.isnan(status_quo):
        return "Move: there is no current spend to compare with; this is the best plan within the limits."
    needs = f"{config.min_gain_fraction:.1%}".replace("%", " %")
    figures = f"expected {_size(gain, status_quo)}, better than today with probability {better:.2f}"
    needs_all = f"{needs} and probability {config.min_probability_better:.2f}"
    if config.risk != "mean":
        figures = f"counted as {config.risk}, which decides, {_size(*counted)}; in the mean {figures}"
        needs_all = f"{needs} so counted"
    if hold:
        return f"Hold: {figures}; a move needs {needs_all}."
    return f"Move: {figures}." if may_hold else f"Move: the total or a limit rules out today's spend; {figures}."


def _size(gain: float, status_quo: float) -> str:
    change = "gain" if gain >= 0 else "loss"
    if not status_quo:
        return f"{change} {abs(gain):,.2f}"
    return f"{change} {abs(gain) / abs(status_quo):.1%} of today's value".replace("%", " %")


def _move(current: float | None, planned: float, unit: float) -> str:
    if current is None:
        return f"{planned:,.2f}"
    if abs(planned - current) <= unit:
        return "unchanged"
    if current == 0:
        return "new"
    return f"{100 * (planned / current - 1):+.0f} %".replace("-", "\N{MINUS SIGN}")


def _returns(i: int, margins: Margins, money: str) -> str:
    here, price = margins.next_value[i], margins.budget_price
    text = f"the next {money} here returns {here:.2f}"
    if len(margins.next_value) == 1:
        return text
    if here >= margins.next_value.max():
        return f"{text}, the most of all lines"
    if here <= margins.next_value.min():
        return f"{text}, the least of all lines"
    return f"{text}, against {price:.2f} in the best line with room" if price > 0 else text


def _stop(kind: str, current: float | None, planned: float, change: float | None, unit: float) -> str:
    if kind == "zero":
        return "; not worth starting"
    if kind in STOPS:
        return f"; {STOPS[kind]}"
    if kind not in ("max_change_up", "max_change_down") or change is None:
        return ""
    if not current:
        return "; stopped by the limit for a new line"
    limit = f"{change:.0%}".replace("%", " %")
    beyond = abs(planned - current) > change * current + unit
    return f"; stopped by the {limit} change limit" + (" around its share of the new total" if beyond else "")
