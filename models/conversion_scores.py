"""Scores of predicted conversion probabilities on clicks of which not all conversions can have been seen yet.

What is scored is what can be observed: that a click has converted by now, with probability (probability that it
converts) x (share of conversions seen by now).

Sources: Guo et al. (2017), "On calibration of modern neural networks", ICML, equation 3 (expected calibration error;
here over bins of equal numbers of clicks); Brier (1950), Monthly Weather Review 78(1); Platt (1999), "Probabilistic
outputs for support vector machines", Advances in Large Margin Classifiers (the sigmoid).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 15  # Guo et al. (2017)
TINY = 1e-12  # keeps logarithms finite; no rate of clicks comes near it
STEPS_MAX = 100
LOG_ODDS_MAX = 30.0  # beyond it a probability is 0 or 1 to thirteen digits


def sigmoid(log_odds: Floats) -> Floats:
    """Probability of each log odds."""
    return 1.0 / (1.0 + np.exp(-np.clip(log_odds, -LOG_ODDS_MAX, LOG_ODDS_MAX)))


def log_odds(probability: Floats) -> Floats:
    """Inverse of `sigmoid`; 0 and 1 become large, not infinite."""
    inside = np.clip(probability, TINY, 1.0 - TINY)
    return np.log(inside) - np.log1p(-inside)


def scores(clicks: Floats, conversions: Floats, fraction: Floats, probability: Floats) -> dict[str, float]:
    """Log-loss and Brier score a click, and the expected calibration error.

    Parameters
    ----------
    clicks, conversions : (n,) counts of cells, 0 <= conversions <= clicks.
    fraction : (n,) share of conversions seen, in [0, 1].
    probability : (n,) that a click of the cell ever converts, in [0, 1].

    Returns
    -------
    log_loss (nats a click), brier, ece (all at least 0), rate (conversions observed a click), predicted (expected a
    click). NaN where there is no click.
    """
    total = float(clicks.sum())
    if total == 0.0:
        return dict.fromkeys(("log_loss", "brier", "ece", "rate", "predicted"), float("nan"))
    seen = np.clip(probability * fraction, TINY, 1.0 - TINY)
    loss = -(conversions * np.log(seen) + (clicks - conversions) * np.log1p(-seen))
    squared = conversions * (1.0 - seen) ** 2 + (clicks - conversions) * seen**2
    return {
        "log_loss": float(loss.sum()) / total,
        "brier": float(squared.sum()) / total,
        "ece": calibration_error(clicks, conversions, seen),
        "rate": float(conversions.sum()) / total,
        "predicted": float(clicks @ seen) / total,
    }


def calibration_error(clicks: Floats, conversions: Floats, probability: Floats) -> float:
    """Mean over clicks of |observed - predicted rate| of the bin they fall in, bins ordered by prediction."""
    predicted, kind = np.unique(probability, return_inverse=True)  # equal predictions share a bin
    n, y = np.bincount(kind.ravel(), clicks), np.bincount(kind.ravel(), conversions)
    place = (np.cumsum(n) - 0.5 * n) / n.sum()
    gap = np.bincount(np.minimum((BINS * place).astype(int), BINS - 1), y - n * predicted)
    return float(np.abs(gap).sum() / n.sum())


def fit_sigmoid(exposure: Floats, conversions: Floats, score: Floats) -> tuple[float, float]:
    """Intercept and slope (>= 0) of log odds on `score`, so that expected conversions meet those seen.

    `exposure` (n,) is clicks times the share of conversions seen. One conversion's worth of prior holds the line to
    intercept 0 and slope 1 where the data say nothing.
    """
    centre = float(exposure @ score / exposure.sum()) if exposure.sum() > 0 else 0.0
    design = np.column_stack([np.ones_like(score), score - centre])
    start = np.array([centre, 1.0])
    beta = fit_logistic(design, exposure, conversions, start, np.array([1e-6, 1.0]))
    slope = max(float(beta[1]), 0.0)
    return float(beta[0]) - slope * centre, slope


def fit_logistic(design: Floats, exposure: Floats, conversions: Floats, start: Floats, penalty: Floats) -> Floats:
    """Coefficients (k,) of log odds on `design` (n, k), dense or scipy.sparse, by Newton's method.

    Maximises sum(conversions * eta - exposure * log(1 + exp(eta))) - 0.5 * sum(penalty * (beta - start)^2): its score
    is sum((conversions - exposure * p) x), unbiased where a click counts by the share of its conversions that was seen,
    even in a cell with more conversions than exposure.
    """
    beta = start.astype(float)

    def objective(b: Floats) -> float:
        eta = design @ b
        inside = conversions @ eta - exposure @ np.logaddexp(0.0, eta)
        return float(inside - 0.5 * penalty @ (b - start) ** 2)

    now = objective(beta)
    for _ in range(STEPS_MAX):
        p = sigmoid(design @ beta)
        gradient = design.T @ (conversions - exposure * p) - penalty * (beta - start)
        weight = exposure * p * (1.0 - p)
        weighted = design.multiply(weight[:, None]).tocsr() if hasattr(design, "multiply") else design * weight[:, None]
        cross = design.T @ weighted
        hessian = np.asarray(cross.toarray() if hasattr(cross, "toarray") else cross) + np.diag(penalty)
        step = np.linalg.solve(hessian + 1e-9 * np.eye(len(beta)), gradient)
        size = 1.0
        while size > 1e-6 and not objective(beta + size * step) >= now:
            size *= 0.5
        if size <= 1e-6:
            break
        beta = beta + size * step
        before, now = now, objective(beta)
        if now - before <= 1e-10 * (1.0 + abs(now)):
            break
    return beta
