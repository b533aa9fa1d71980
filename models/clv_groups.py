"""Groups of customers that buy at their own pace: parameters of each, drawn to those of all as far as data are few.

Customers of two channels differ in how often they order and in what they spend. One set of parameters for all would
value the customers of every channel at nearly the same. Here some parameters (the scale of the order rate, the dropout,
the scale of spend) are each group's own, log-normal around a common centre whose spread is estimated too; the shapes
are shared. A small group gets the centre, a large one what its own customers say.

Sources: Fader & Hardie (2007), "Incorporating Time-Invariant Covariates into the Pareto/NBD and BG/NBD Models" (a
covariate scales alpha); Efron & Morris (1975) and DerSimonian & Laird (1986) for the spread between groups.
"""

from collections.abc import Callable, Sequence

import numpy as np

from models.btyd import Floats
from models.btyd_newton import Derivatives, climb

WIDE = 1.0  # spread of log parameters in the first round: groups a factor of e apart are let stand
PRIOR_SPREAD = 0.1  # one group's worth of belief that groups differ by a tenth
SPREAD_MIN = 0.01  # below a hundredth groups are the same to what is shown
EM_STEPS = 200  # of a one-line iteration on a handful of numbers


def fit_groups(
    groups: Sequence[Callable[[Floats], Derivatives]], own: tuple[int, ...], start: Floats
) -> tuple[Floats, Floats] | None:
    """Log parameters of every group and their covariances; None where no maximum is found.

    Parameters
    ----------
    groups : of each group the log-likelihood with derivatives in its log parameters, shape (k,).
    own : which of the k parameters are each group's own; the others are shared.
    start : shape (k,), log parameters of all customers together.

    Returns
    -------
    Log parameters (len(groups) + 1, k) and covariances (len(groups) + 1, k, k). The last entry is that of a group
    nobody has seen: the centre, with the spread between groups in its covariance.
    """
    n_groups, shared = len(groups), tuple(index for index in range(start.size) if index not in own)
    places = [
        np.array(
            [
                shared.index(index) if index in shared else len(shared) + group * len(own) + own.index(index)
                for index in range(start.size)
            ]
        )
        for group in range(n_groups)
    ]
    size = len(shared) + n_groups * len(own)
    centred = np.eye(n_groups) - 1.0 / n_groups

    def posterior(spread: Floats) -> Callable[[Floats], Derivatives]:
        prior = np.zeros((size, size))
        prior[len(shared) :, len(shared) :] = np.kron(centred, np.diag(spread**-2.0))

        def derivatives(values: Floats) -> Derivatives:
            value, gradient, hessian = -0.5 * float(values @ prior @ values), -prior @ values, -prior
            hessian = hessian.copy()
            for place, group in zip(places, groups, strict=True):
                group_value, group_gradient, group_hessian = group(values[place])
                value += group_value
                gradient[place] += group_gradient
                hessian[np.ix_(place, place)] += group_hessian
            return value, gradient, hessian

        return derivatives

    values = np.concatenate([start[list(shared)], np.tile(start[list(own)], n_groups)])
    spread = np.full(len(own), WIDE)
    for _ in range(2):
        found = climb(posterior(spread), values)
        if found is None:
            return None
        values, covariance = found[0], np.linalg.inv(-found[1][2])
        effects = values[len(shared) :].reshape(n_groups, len(own))
        errors = np.diag(covariance)[len(shared) :].reshape(n_groups, len(own))
        fitted_spread, spread = spread, _spread(effects, errors)
    centre = np.zeros((start.size, size))
    centre[list(shared), range(len(shared))] = 1.0
    for column, index in enumerate(own):
        centre[index, len(shared) + column :: len(own)] = 1.0 / n_groups
    unseen = centre @ covariance @ centre.T
    unseen[list(own), list(own)] += fitted_spread**2
    logs = np.stack([*(values[place] for place in places), centre @ values])
    return logs, np.stack([*(covariance[np.ix_(place, place)] for place in places), unseen])


def _spread(effects: Floats, errors: Floats) -> Floats:
    """Standard deviation between groups (k,) of `effects` (groups, k) that are known up to variances `errors`."""
    variance = np.maximum(effects.var(axis=0), SPREAD_MIN**2)
    for _ in range(EM_STEPS):
        share = variance / (variance + errors)  # of a group's deviation that is its own
        centre = (effects / (variance + errors)).sum(axis=0) / (1.0 / (variance + errors)).sum(axis=0)
        squares = (share * (effects - centre)) ** 2 + share * errors
        variance = (squares.sum(axis=0) + PRIOR_SPREAD**2) / (len(effects) + 1)
    return np.sqrt(np.maximum(variance, SPREAD_MIN**2))
