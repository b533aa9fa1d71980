"""Whether a model says the same once it has seen a few more weeks, and where not, what moved and why."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.mmm.config import MMMConfig
from models.mmm.data import MMMData
from models.mmm.fit import fit
from models.mmm.fitted import FittedMMM, residuals
from models.mmm.results import roas

Array = NDArray[np.float64]
SURE = 0.9  # probability from which one channel is said to return more than another


def refits(data: MMMData, config: MMMConfig, n_dates: int = 8, step_weeks: int = 2) -> list[FittedMMM]:
    """Fits of the history as it stood at `n_dates` dates, the last of them today; each starts from the one before."""
    fits: list[FittedMMM] = []
    for back in range(n_dates - 1, -1, -1):
        fits.append(fit(data.head(data.n_weeks - back * step_weeks), config, fits[-1] if fits else None))
    return fits


def stability_table(fits: Sequence[FittedMMM]) -> pl.DataFrame:
    """One row per refit and channel.

    Columns: data_to (the last week's start), channel, roas_before, roas_after, low, high (the 90 % interval before),
    is_jump (the mean left that interval), flipped_with (channels it had surely been above and now is surely below, or
    the other way round), reason (empty where nothing moved).
    """
    rows = []
    for before, after in pairwise(fits):
        old, new = roas(before), roas(after)
        low, high = np.quantile(old, [0.05, 0.95], axis=0)
        channels = before.data.channels
        for i, name in enumerate(channels):
            mean = float(new[:, i].mean())
            jumps = not low[i] <= mean <= high[i]
            flipped = [channels[j] for j in range(len(channels)) if j != i and _flips(old, new, i, j)]
            rows.append(
                (
                    after.data.week_start[-1].item(),
                    name,
                    float(old[:, i].mean()),
                    mean,
                    float(low[i]),
                    float(high[i]),
                    jumps,
                    ", ".join(flipped),
                    _reason(before, after, i) if jumps or flipped else "",
                )
            )
    names = ("data_to", "channel", "roas_before", "roas_after", "low", "high", "is_jump", "flipped_with", "reason")
    return pl.DataFrame(rows, schema=list(names), orient="row")


def _flips(old: Array, new: Array, i: int, j: int) -> bool:
    was, now = float((old[:, i] > old[:, j]).mean()), float((new[:, i] > new[:, j]).mean())
    return (was > SURE and now < 1 - SURE) or (was < 1 - SURE and now > SURE)


def _reason(before: FittedMMM, after: FittedMMM, channel: int) -> str:
    """What the added weeks brought that the earlier ones had not."""
    n = before.data.n_weeks
    old, new = before.data.spend[:, channel], after.data.spend[n:, channel]
    tests = set(after.data.lift_tests) - set(before.data.lift_tests)
    said = [f"a lift test on {test.channel} came in" for test in sorted(tests, key=lambda test: test.start_date)]
    if len(new) and new.max() > old.max():
        said.append(f"spend of {new.max():,.0f} a week, above all before")
    if len(new) and old.min() > 0 and new.min() == 0:
        said.append("the first weeks without spend")
    noise = float(np.median(before.noise_sd))
    miss = residuals(after).mean(axis=0)[n:]
    if len(miss) and np.abs(miss).max() > 3 * noise:
        week = after.data.week_start[n + int(np.abs(miss).argmax())]
        said.append(f"the week of {week} lies {np.abs(miss).max() / noise:.1f} noise sds off")
    if float(after.metrics.get("r_hat_max") or 0.0) > 1.01:
        said.append("the sampler had not converged")
    return "; ".join(said) or "no single cause found in the added weeks"
