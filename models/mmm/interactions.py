"""Pairs of channels that bring more, or less, together than apart.

    KPI = ... + synergy * share_a * share_b,   share the part of its ceiling that a channel reaches in a week

A synergy of 0 is the model without it. Each has one normal prior around 0, in units of the two channels' median
effects, so that without evidence nothing is claimed. It is sampled beside the media parameters, not integrated out with
the linear part: its column moves with the curves, and a lift test reads it too.

Credit: half of a pair's joint KPI goes to each. The next euro on one channel moves all of it; curves and marginal
returns therefore hold the partner at its recent spend. Moving both at once is right to first order only.

Sources: Naik, Raman (2003), "Understanding the impact of synergy in multimedia communications".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.mmm.config import MMMConfig
from models.mmm.data import MMMData
from models.mmm.media import saturation

Array = NDArray[np.float64]


def pairs_of(data: MMMData, config: MMMConfig) -> NDArray[np.int64]:
    """Indices (n_pairs, 2) of the channels of each interaction whose two channels ran at all."""
    ran = {name: i for i, name in enumerate(data.channels) if data.spend[:, i].any()}
    found = [(ran[one], ran[other]) for one, other in config.interactions if one in ran and other in ran]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def joint_media(share: Array, synergy: Array, pairs: NDArray[np.int64]) -> Array:
    """KPI that pairs bring on top, credited half to each channel: (n_draws, n_weeks, n_channels).

    share : (n_draws, n_weeks, n_channels); synergy : (n_draws, n_pairs) KPI if both reached their ceiling.
    """
    credit = np.zeros(share.shape)
    for p, (one, other) in enumerate(pairs):
        half = 0.5 * synergy[:, p, None] * share[:, :, one] * share[:, :, other]
        credit[:, :, one] += half
        credit[:, :, other] += half
    return credit


def raised_ceiling(
    ceiling: Array, synergy: Array, pairs: NDArray[np.int64], kind: str, level: Array, half: Array, slope: Array
) -> Array:
    """Ceilings (n_draws, n_channels) with what partners at a steady `level` (n_channels,) add to them."""
    raised = ceiling.copy()
    reached = saturation(kind, level, half, slope) if len(pairs) else ceiling
    for p, (one, other) in enumerate(pairs):
        raised[:, one] += synergy[:, p] * reached[:, other]
        raised[:, other] += synergy[:, p] * reached[:, one]
    return raised
