"""Attitudes to risk, as functions of the value of the whole plan over its draws.

Each is concave in the draws, so at any plan a plane lies above it: weights over the draws and a constant. The optimiser
collects such planes; their lower envelope bounds the risk-adjusted value of every plan.

Sources: Rockafellar & Uryasev (2000), "Optimization of conditional value-at-risk", Journal of Risk 2(3), 21-41,
equation 4 (CVaR) and its dual form, the worst reweighting of the draws by at most 1 / (level * n_draws) each;
Markowitz (1952), "Portfolio selection", Journal of Finance 7(1), 77-91 (mean and variance).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Risk:
    """What of the distribution is maximised.

    Attributes
    ----------
    kind : "mean"; "cvar", the mean of the worst `level` share of the draws; "meanvar", the mean less `level` times the
        variance per unit of the total budget (so that a change of currency changes nothing).
    level : (0, 1] for "cvar", 0 or more for "meanvar".
    weight : for "cvar" what it counts for; the rest is the mean. Between 0 and 1 it traces the mean-CVaR frontier.
    """

    kind: Literal["mean", "cvar", "meanvar"]
    level: float = 1.0
    weight: float = 1.0


def parse_risk(text: str) -> Risk:
    """Attitude from "mean", "cvar:0.1", "cvar:0.1:0.5" (half of it the mean) or "meanvar:0.5"; else ValueError."""
    kind, *given = str(text).split(":")
    expected = "expected mean, cvar:SHARE[:WEIGHT] with 0 < SHARE <= 1 and 0 <= WEIGHT <= 1, or meanvar:L with L >= 0"
    try:
        amounts = [float(amount) for amount in given]
    except ValueError:
        raise ValueError(f"risk = {text!r}: {expected}") from None
    if kind == "mean" and not amounts:
        return Risk(kind="mean")
    if kind == "cvar" and 1 <= len(amounts) <= 2 and 0 < amounts[0] <= 1 and 0 <= amounts[-1] <= 1:
        return Risk(kind="cvar", level=amounts[0], weight=amounts[1] if len(amounts) > 1 else 1.0)
    if kind == "meanvar" and len(amounts) == 1 and 0 <= amounts[0] < np.inf:
        return Risk(kind="meanvar", level=amounts[0])
    raise ValueError(f"risk = {text!r}: {expected}")


def tail_weights(value: FloatArray, share: float) -> FloatArray:
    """Weights (n_draws,) that sum to 1 and give the mean of the worst `share` of the draws."""
    weights = np.zeros(len(value))
    most = 1.0 / (share * len(value))
    order = np.argsort(value, kind="stable")
    whole = min(int(np.floor(share * len(value) * (1 + 1e-12))), len(value))
    weights[order[:whole]] = most
    if whole < len(value):
        weights[order[whole]] = max(1.0 - whole * most, 0.0)
    return weights


def cvar(value: FloatArray, share: float) -> float:
    """Mean of the worst `share` of the draws, the draw at the border counted in part."""
    return float(tail_weights(value, share) @ value)


def plane(value: FloatArray, risk: Risk, total: float) -> tuple[FloatArray, float]:
    """Weights (n_draws,) and constant of a plane above the risk-adjusted value that touches it at `value`.

    Parameters
    ----------
    value : (n_draws,) value of the plan. total : budget that variance is counted per unit of.
    """
    n = len(value)
    if risk.kind == "mean":
        return np.full(n, 1.0 / n), 0.0
    if risk.kind == "cvar":
        return risk.weight * tail_weights(value, risk.level) + (1 - risk.weight) / n, 0.0
    away = value - value.mean()
    price = risk.level / total
    return 1.0 / n - 2.0 * price * away / n, price * float(away @ away) / n


def adjusted(value: FloatArray, risk: Risk, total: float) -> float:
    """Risk-adjusted value of a plan with these draws."""
    weights, constant = plane(value, risk, total)
    return float(weights @ value) + constant
