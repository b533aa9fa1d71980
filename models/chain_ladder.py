"""Completing a triangle of cumulative sums by the growth of what is older: Mack's distribution-free chain ladder.

A row is a group that began at the same time (a cohort), a column its age. Young rows are observed to a low age only;
they grow on by the factors of the rows that have been observed longer. The standard errors hold both the error of the
factors and how single rows differ from them.

Sources: Mack (1993), Distribution-free calculation of the standard error of chain ladder reserve estimates, ASTIN
Bulletin 23(2), equations 5 to 7 and their recursive form in Mack (1999), ASTIN Bulletin 29(2).
"""

from dataclasses import dataclass, replace

import numpy as np

Floats = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Growth from one age to the next; all arrays have one entry per step, (ages - 1,).

    Attributes
    ----------
    factor : sum at the next age over sum at this age, >= 0; 1 where nothing was observed or the sum was 0.
    variance : Mack's sigma squared, >= 0: variance of a row's next sum is this times its present sum.
    base : the sum at this age of the rows that the factor was taken from.
    rows : how many rows those are.
    """

    factor: Floats
    variance: Floats
    base: Floats
    rows: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A full triangle and the standard error of each cell, both (rows, ages); the error is 0 where it was observed."""

    value: Floats
    error: Floats


def fit_ladder(value: Floats, observed: np.ndarray) -> Ladder:
    """Growth factors of a triangle.

    Parameters
    ----------
    value : (rows, ages) cumulative sums >= 0; what stands in unobserved cells is not read.
    observed : (rows, ages) of bool; a row is observed from its first age on without a gap.

    Raises
    ------
    ValueError : the shapes differ, or a row has a gap.
    """
    if value.shape != observed.shape or value.ndim != 2:
        raise ValueError(f"value is {value.shape} and observed {observed.shape}: expected one shape (rows, ages)")
    if np.any(observed[:, 1:] & ~observed[:, :-1]):
        raise ValueError("a row is observed again after a gap: expected ages observed from the first on")
    steps = max(value.shape[1] - 1, 0)
    factor, variance, base = np.ones(steps), np.zeros(steps), np.zeros(steps)
    rows = observed[:, 1:].sum(axis=0)
    for k in range(steps):
        known = observed[:, k + 1]
        now, then = value[known, k], value[known, k + 1]
        base[k] = now.sum()
        if base[k] <= 0.0:
            continue
        factor[k] = then.sum() / base[k]
        grown = now > 0.0
        if grown.sum() > 1:
            residual = then[grown] - factor[k] * now[grown]
            variance[k] = (residual**2 / now[grown]).sum() / (grown.sum() - 1)
        elif k > 1:  # one row alone shows no spread: Mack's extrapolation of the last sigma
            before, last = variance[k - 2], variance[k - 1]
            variance[k] = min(last**2 / before if before > 0.0 else last, before, last)
    return Ladder(factor=factor, variance=variance, base=base, rows=rows)


def pooled_dispersion(ladder: Ladder) -> Ladder:
    """The same growth with one dispersion for all steps: variance of a sum of new orders is `phi` times its mean.

    A step that few rows have taken shows its variance badly; increments that are sums of many independent orders share
    `phi`, to which every step adds what it has seen. Where a step shrinks (value is taken back) nothing is changed.

    Sources: Renshaw & Verrall (1998), A stochastic model underlying the chain-ladder technique, British Actuarial
    Journal 4(4), for the over-dispersed Poisson form.
    """
    spare = np.maximum(ladder.rows - 1, 0)
    growth = np.where(ladder.base > 0.0, ladder.factor - 1.0, 0.0)
    expected = float(spare @ growth)
    if np.any(growth < 0.0) or expected <= 0.0:
        return ladder
    phi = float(spare @ ladder.variance) / expected
    return replace(ladder, variance=phi * growth)


def complete(value: Floats, observed: np.ndarray, ladder: Ladder) -> Completed:
    """Fill the unobserved cells by `ladder`, with the standard error of each row's cell.

    A cell whose row has no observed age at all stays NaN, as does one behind a step that no row has taken.
    """
    full = np.where(observed, value, np.nan)
    squared = np.where(observed, 0.0, np.nan)
    for k, factor in enumerate(ladder.factor):
        if ladder.rows[k] == 0:
            continue
        open_ = ~observed[:, k + 1]
        now = full[open_, k]
        spread = ladder.variance[k]
        from_factor = now**2 * spread / ladder.base[k] if ladder.base[k] > 0.0 else 0.0
        full[open_, k + 1] = now * factor
        squared[open_, k + 1] = factor**2 * squared[open_, k] + spread * now + from_factor
    return Completed(value=full, error=np.sqrt(squared))


def pooled_curve(value: Floats, observed: np.ndarray, size: Floats, ladder: Ladder) -> tuple[Floats, Floats]:
    """The typical row per unit of size, and its standard error, both (ages,).

    It starts at all rows' first sums over all rows' sizes and grows by the ladder, so that rows of every age count with
    what they have shown and young rows bias nothing. The error is that of the long-run curve, not of one more row.

    Parameters
    ----------
    size : (rows,) > 0, e.g. customers.
    """
    ages = value.shape[1]
    curve, squared = np.full(ages, np.nan), np.full(ages, np.nan)
    begun = observed[:, 0] & (size > 0)
    if not begun.any():
        return curve, squared
    weight, first = size[begun], value[begun, 0]
    curve[0] = first.sum() / weight.sum()
    residual = weight * (first / weight - curve[0]) ** 2
    squared[0] = residual.sum() / weight.sum() / (begun.sum() - 1) if begun.sum() > 1 else np.nan
    for k, factor in enumerate(ladder.factor):
        if ladder.rows[k] == 0:
            break
        curve[k + 1] = curve[k] * factor
        noise = curve[k] ** 2 * ladder.variance[k] / ladder.base[k] if ladder.base[k] > 0.0 else 0.0
        squared[k + 1] = factor**2 * squared[k] + noise
    return curve, np.sqrt(squared)
