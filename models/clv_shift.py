"""Whether the best customers have lately ordered less than their histories made one expect, and what follows from it.

BG/NBD takes a customer's pace as constant. If those with the highest value per week slow down, it goes on expecting
their old pace for a year. Here the orders of the recent window are compared with what was expected of each customer
before it. With `s` the share of a customer's expected orders that comes from rates above a threshold,

    orders = level * expected * (1 - s * (1 - pace)),

where `level` (a season, a strike: common to all) is fitted and set aside, and `pace` is kept if it is beyond doubt.
For the customers concerned the window then counts for less time, so that their silence in it is not taken for their
leaving, and from there on only so many of their orders come. Every closed form of the BG/NBD stays as it is. That the
change lasts is an assumption, and is said to be one.

Sources: the gamma mixture of rates is equation 3 of Fader, Hardie & Lee (2005); the robust covariance of an estimating
equation is that of White (1980), Econometrica 48.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaincc

from models.btyd import (
    Floats,
    PurchaseParameters,
    SpendParameters,
    alive_probability,
    expected_orders_if_alive,
    expected_spend,
)

Z_MIN = 4.0  # standard errors: one in thirty thousand quiet windows, so that a weekly run does not cry wolf in years
DROP_MIN = 0.1  # a smaller change than a tenth is not worth a second set of values
PACE_MIN = 0.05  # nobody stops for good within one window
TOP = (
    0.02,
    0.03,
    0.05,
    0.07,
    0.1,
    0.14,
    0.2,
)  # fractions of customers looked at: from a handful of regulars to every fifth
CONDITION_MAX = 1e10  # beyond it all customers have the same share, and level and pace cannot be told apart
ROWS_FIRST = 50_000  # customers by whom the threshold is chosen
STEPS = 20  # paces are told apart to a twentieth, so that customers of one history share their tables


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Customers of a value above `threshold` (money per time unit) order at `pace` times their former rate."""

    pace: float
    threshold: float
    z: float
    window: float

    @property
    def reason(self) -> str:
        """One sentence for the person who looks."""
        return (
            f"the best customers order {1.0 - self.pace:.0%} less than before since the last {self.window:.0f} time "
            f"units began ({self.z:.1f} standard errors): values take this to last"
        )


@dataclass(frozen=True, kw_only=True)
class Before:
    """Customers as they stood before the window, all (n,), with their orders in it."""

    x: Floats
    recency: Floats
    age: Floats
    mean_spend: Floats
    orders: Floats


Part = tuple[PurchaseParameters, SpendParameters, Before]


def top_share(
    purchase: PurchaseParameters, spend: SpendParameters, x: Floats, age: Floats, mean_spend: Floats, threshold: float
) -> Floats:
    """Share (n,) of each customer's expected orders that comes from a value rate above `threshold`."""
    return _above(purchase, spend, x, age, mean_spend, threshold, 1.0)


def find_threshold(parts: list[Part], fraction: float) -> float:
    """Value per time unit above which `fraction` of the customers are, as their histories tell."""
    total = sum(part.x.size for _, _, part in parts)

    def excess(log_threshold: float) -> float:
        above = (
            _above(purchase, spend, part.x, part.age, part.mean_spend, np.exp(log_threshold), 0.0).sum()
            for purchase, spend, part in parts
        )
        return float(sum(above)) / total - fraction

    rates = [
        expected_spend(spend, part.x, part.mean_spend).mean() * purchase.r / purchase.alpha
        for purchase, spend, part in parts
    ]
    middle = np.log(max(float(np.mean(rates)), 1e-12))
    return float(np.exp(brentq(excess, middle - 12.0, middle + 12.0, xtol=1e-3)))


def find_shift(parts: list[Part], window: float, fractions: tuple[float, ...] = TOP) -> Shift | None:
    """The shift that the window shows of the best customers, if it is beyond doubt and a drop.

    Parameters
    ----------
    parts : per group of customers its parameters and histories; all in one time unit and currency.
    fractions : of customers who may be the best; the one that tells the orders of the window best is taken.
    """
    parts = [part for part in parts if part[2].x.size]
    if (
        not parts
        or sum(part.orders.sum() for _, _, part in parts) == 0.0
        or any(spend.v == 0.0 for _, spend, _ in parts)
    ):
        return None
    some = _thinned(parts)
    try:
        thresholds = [find_threshold(some, fraction) for fraction in fractions]
    except ValueError:  # no threshold parts the customers: they are all alike
        return None
    told = [(found[0], threshold) for threshold in thresholds if (found := _regress(some, window, threshold))]
    threshold = max(told)[1] if told else thresholds[0]
    found = _regress(parts, window, threshold)
    if found is None or found[2] < Z_MIN or found[1] > 1.0 - DROP_MIN:
        return None
    _, pace, z = found  # what the order of the rows does to the last digits is rounded away
    return Shift(pace=round(pace, 4), threshold=float(f"{threshold:.6g}"), z=round(z, 2), window=window)


def _thinned(parts: list[Part]) -> list[Part]:
    """Evenly picked customers, `ROWS_FIRST` at most: enough to choose a threshold by."""
    every = -(-sum(part.x.size for _, _, part in parts) // ROWS_FIRST)
    return [
        (purchase, spend, Before(**{name: getattr(part, name)[::every] for name in Before.__dataclass_fields__}))
        for purchase, spend, part in parts
    ]


def _regress(parts: list[Part], window: float, threshold: float) -> tuple[float, float, float] | None:
    """Weighted squares explained by level and pace, the pace, and its distance from 1 in standard errors."""
    columns = [
        (
            alive_probability(purchase, part.x, part.recency, part.age)
            * expected_orders_if_alive(purchase, window, part.x, part.age),
            top_share(purchase, spend, part.x, part.age, part.mean_spend, threshold),
            part.orders,
        )
        for purchase, spend, part in parts
    ]
    expected, share, orders = (np.concatenate(column) for column in zip(*columns, strict=True))
    design = np.stack([np.ones_like(share), -share])
    information = (design * expected) @ design.T
    if np.linalg.cond(information) > CONDITION_MAX:
        return None
    right = design @ orders
    level, drop = np.linalg.solve(information, right)
    if level <= 0.0:
        return None
    residual = orders - expected * (level - drop * share)
    inverse = np.linalg.inv(information)
    covariance = inverse @ ((design * residual**2) @ design.T) @ inverse
    gradient = np.array([drop / level**2, -1.0 / level])
    error = max(float(np.sqrt(gradient @ covariance @ gradient)), 1e-12)
    pace = float(1.0 - drop / level)
    return float(right @ inverse @ right), float(np.clip(pace, PACE_MIN, 2.0)), (1.0 - pace) / error


def slowed(
    shift: Shift,
    purchase: PurchaseParameters,
    spend: SpendParameters,
    now: tuple[Floats, Floats, Floats, Floats],
    before: tuple[Floats, Floats],
) -> tuple[Floats, Floats, Floats]:
    """Recency and age on each customer's own clock, and the share of orders that come from now on, each (n,).

    Parameters
    ----------
    now : x, recency, age, mean_spend, each (n,).
    before : x and recency before the window, NaN for customers who came in it.
    """
    x, recency, age, mean_spend = now
    x_before = np.where(np.isfinite(before[0]), before[0], 0.0)
    elapsed = np.maximum(age - shift.window, 0.0)
    pace = _pace(shift, top_share(purchase, spend, x_before, elapsed, mean_spend, shift.threshold))
    late = age - elapsed
    own_age = elapsed + pace * late
    own_recency = np.minimum(recency, elapsed) + pace * np.maximum(recency - elapsed, 0.0)
    ahead = _pace(shift, top_share(purchase, spend, x, own_age, mean_spend, shift.threshold))
    return np.minimum(own_recency, own_age), own_age, ahead


def _pace(shift: Shift, share: Floats) -> Floats:
    return np.round((1.0 - share * (1.0 - shift.pace)) * STEPS) / STEPS


def _above(
    purchase: PurchaseParameters,
    spend: SpendParameters,
    x: Floats,
    age: Floats,
    mean_spend: Floats,
    threshold: float,
    orders: float,
) -> Floats:
    """Chance that the value rate exceeds the threshold, each rate weighted by its power `orders`."""
    rate = threshold / np.maximum(expected_spend(spend, x, mean_spend), 1e-300)
    return gammaincc(purchase.r + x + orders, (purchase.alpha + age) * np.minimum(rate, 1e300))
