"""Impressions or clicks as a channel's media variable, stated in money at the recent cost of one.

A response is to what people saw. Where a channel's impressions or clicks are given, the model's input is that number
times what one has cost over the last 13 weeks: money at today's price. Ceilings, curves and marginal returns are then
in money without more ado, under one assumption: the next euro buys exposure at that price. ROAS divides by the money
that was spent, at the prices of its time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.mmm.data import RECENT_WEEKS, MMMData

Array = NDArray[np.float64]
COST_MOVED = 1.5  # a recent cost this many times another quarter's: curves in money then answer for today only


def unit_cost(data: MMMData, channel: str) -> float:
    """Money for one impression or click of `channel` over the last 13 weeks.

    Over all weeks where the last 13 hold no exposure or no spend; 0 for a channel that never spent.
    """
    spend, exposure = data.spend[:, data.channels.index(channel)], data.exposure[channel]
    recent = slice(-RECENT_WEEKS, None)
    if spend[recent].sum() > 0 and exposure[recent].sum() > 0:
        return float(spend[recent].sum() / exposure[recent].sum())
    return float(spend.sum() / exposure.sum()) if exposure.sum() > 0 else 0.0


def media_at(data: MMMData, spend: Array, exposure: Mapping[str, Array]) -> Array:
    """Media (n, n_channels) of any n weeks in money at the recent unit costs of `data`.

    Spend (n, n_channels) itself, for the channels in `exposure` that times what one costs.
    """
    media = np.array(spend, dtype=np.float64)
    for name, seen in exposure.items():
        media[:, data.channels.index(name)] = unit_cost(data, name) * seen
    return media


def media_of(data: MMMData) -> Array:
    """Media (n_weeks, n_channels) of the weeks in `data`; its spend where no exposure is given."""
    return media_at(data, data.spend, data.exposure) if data.exposure else data.spend


def moved_costs(data: MMMData) -> tuple[str, ...]:
    """Channels whose cost of an impression or click moved, or that spent without any, each with the figures."""
    found = []
    for name, exposure in data.exposure.items():
        spend, recent = data.spend[:, data.channels.index(name)], unit_cost(data, name)
        ends = range(data.n_weeks, RECENT_WEEKS - 1, -RECENT_WEEKS)
        quarters = [slice(end - RECENT_WEEKS, end) for end in ends]
        costs = [spend[q].sum() / exposure[q].sum() for q in quarters if spend[q].sum() > 0 and exposure[q].sum() > 0]
        if costs and max(max(costs) / recent, recent / min(costs)) > COST_MOVED:
            found.append(f"{name} ({min(costs):.3g} to {max(costs):.3g} a quarter, now {recent:.3g})")
        bare = (spend > 0) & (exposure == 0)
        if bare.any():
            found.append(f"{name} ({int(bare.sum())} weeks with spend but without exposure)")
    return tuple(found)
