"""A plan that reaches its ROAS with a stated probability.

The rule "the mean over the worst share a of the draws of value - target * spend is 0 or more" is concave and implies
that the target is reached in at least 1 - a of the draws. It asks for more than the probability needs, so the largest
share is sought whose plan still reaches the target often enough. A plan chosen on some draws looks better on them than
on others: it must pass by the sampling error of that probability. The bound is that of the problem without the rule: it
holds, and may be wide.

Sources: Nemirovski & Shapiro (2006), "Convex approximations of chance constrained programs", SIAM Journal on
Optimization 17(4), 969-996, section 2.2 (CVaR is the tightest convex one).
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.certificate import Certificate
from models.mixed_integer import Unproven
from models.problem import NoPlan

FloatArray = NDArray[np.float64]

HALVINGS = 6  # of the range of shares: to a sixty-fourth
CONFIDENCE = 1.645  # standard errors above the probability asked for: 95 % sure that it holds


def meet_probability(
    free: Certificate,
    plan_with: Callable[[float], Certificate],
    reached: Callable[[FloatArray], float],
    probability: float,
    n_draws: int,
) -> Certificate:
    """The most valuable plan found that reaches the target in at least `probability` of the draws.

    Parameters
    ----------
    free : the optimum without the rule. plan_with : the optimum under the rule for a share; NoPlan where there is none.
    reached : share of the draws in which a plan reaches the target.

    Raises
    ------
    NoPlan : no plan of this kind reaches the target that often.
    Unproven : none was found, and a search for one ended without a proof.
    """
    error = np.sqrt(probability * (1.0 - probability) / n_draws)
    asked = min(probability + CONFIDENCE * error, 1.0)
    if reached(free.spend) >= asked:
        return free
    best: Certificate | None = None
    why = NoPlan()
    low, high = max(1.0 - asked, 1.0 / n_draws), 1.0
    try:
        strict = plan_with(low)
        best = strict if reached(strict.spend) >= asked else None
    except NoPlan as reason:
        why = reason
    for _ in range(HALVINGS):
        share = (low + high) / 2
        try:
            found = plan_with(share)
        except NoPlan as reason:
            why = reason if isinstance(reason, Unproven) else why
            high = share if best is not None else high
            low = low if best is not None else share
            continue
        if reached(found.spend) >= asked:
            low = share
            if best is None or found.value > best.value:
                best = found
        else:
            high = share
    if best is None:
        raise why
    return replace(best, upper_bound=max(free.upper_bound, best.value))
