"""How far true rates lie from predicted ones, and what a line's own conversions make of a prediction.

A line's true rate is beta distributed about its prediction, which is worth some conversions: those that the prediction
of an unknown line is worth, one over the squared spread of lines, and a share of those learnt of this line. Neither is
known: every pair on a grid has the weight that predictions and outcomes of held-out lines give it, so that a few lines
that happened to be predicted well do not make a perfect model.

Sources: Gelman et al. (2013), "Bayesian Data Analysis", 3rd ed., section 5.3 (a grid for the spread of rates);
Gelman (2006), Bayesian Analysis 1, 515-533 (half-normal prior for the spread between few groups).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln
from scipy.stats import beta

Floats = NDArray[np.float64]

SPREADS = np.geomspace(0.02, 2.0, 20)  # relative, of true rates: from 2 % to a factor of seven
SHARES = np.array([0.03, 0.1, 0.3, 1.0])  # of learnt conversions that still hold: from hardly any to all
SPREAD_SCALE = 0.5  # half-normal prior: seldom by more than a factor of two
INTERVAL = (0.05, 0.95)  # the interval of every output table
LINES_MAX = 2000  # looked at: the spread of so many is known to a few per cent
RATE_MIN = 1e-9  # keeps both parameters of the beta above zero


def spread_weights(size: Floats, came: Floats, predicted: Floats, learnt: Floats) -> tuple[float, ...]:
    """Weight of each pair of `SPREADS` and `SHARES`, in that order, summing to one, from held-out lines.

    Parameters
    ----------
    size : (n,) clicks that the model had not seen, counted by the share of their conversions seen.
    came : (n,) conversions of them seen.
    predicted : (n,) probability of converting, in (0, 1).
    learnt : (n,) conversions of the line that the model had learnt from.
    """
    used = np.flatnonzero(size > 0.0)
    used = used[:: -(-len(used) // LINES_MAX) or 1]
    n, y, p = np.maximum(size[used], came[used]), came[used], np.clip(predicted[used], RATE_MIN, 1.0 - RATE_MIN)
    prior = np.log(np.gradient(SPREADS)) - 0.5 * (SPREADS / SPREAD_SCALE) ** 2
    weight = np.repeat(prior, len(SHARES))
    for j, (spread, share) in enumerate(_grid()):
        yes, no = _beta(p, spread, share * learnt[used])
        weight[j] += float((betaln(y + yes, n - y + no) - betaln(yes, no)).sum())
    weight = np.exp(weight - weight.max())
    return tuple((weight / weight.sum()).tolist())


def mean_spread(weights: tuple[float, ...]) -> float:
    """Expected relative spread of true rates about predictions for lines of which nothing was learnt."""
    return float(np.repeat(SPREADS, len(SHARES)) @ np.array(weights))


def updated(
    predicted: Floats,
    learnt: Floats,
    size: Floats,
    came: Floats,
    weights: tuple[float, ...],
    most: Floats | None = None,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean, coefficient of variation and both ends of the 90 % interval of each line's rate, each (n,).

    Parameters
    ----------
    predicted, learnt : (n,) what was predicted, in (0, 1), and the line's conversions behind it.
    size, came : (n,) clicks, counted by the share of their conversions seen, and conversions, both unknown to it.
    weights : as `spread_weights` gives them.
    most : (n,) clicks that a prediction is worth at most.

    The interval is that of the beta distribution with the mean and variance of the mixture over the grid.
    """
    p, n = np.clip(predicted, RATE_MIN, 1.0 - RATE_MIN), np.maximum(size, came)
    mean, square = np.zeros(p.shape), np.zeros(p.shape)
    for (spread, share), weight in zip(_grid(), weights, strict=True):
        yes, no = _beta(p, spread, share * learnt, most)
        total = yes + no + n
        rate = (yes + came) / total
        mean += weight * rate
        square += weight * (rate * (1.0 - rate) / (total + 1.0) + rate**2)
    variance = np.maximum(square - mean**2, (RATE_MIN * mean) ** 2)
    clicks = np.maximum(mean * (1.0 - mean) / variance - 1.0, RATE_MIN)
    low, high = (beta.ppf(q, mean * clicks, (1.0 - mean) * clicks) for q in INTERVAL)
    return mean, np.sqrt(variance) / mean, low, high


def _grid() -> list[tuple[float, float]]:
    """Pairs of spread and share."""
    return [(float(spread), float(share)) for spread in SPREADS for share in SHARES]


def _beta(p: Floats, spread: float, learnt: Floats, most: Floats | None = None) -> tuple[Floats, Floats]:
    """Parameters of the beta of mean `p`; its worth is in conversions or, above a half, in clicks without one."""
    clicks = (spread**-2 + learnt) / np.minimum(p, 1.0 - p)
    clicks = clicks if most is None else np.minimum(clicks, most)
    return clicks * p, clicks * (1.0 - p)
