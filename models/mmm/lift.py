"""Lift tests in the units of the sampler."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.mmm.data import DAY, WEEK, LiftTest, MMMData

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LiftInputs:
    """Usable tests, with a note for each one left out.

    rows : (n_tests, 6) the channel's index, spend before, after the change in mean spends, length in weeks, lift with
        its standard error in mean KPIs.
    """

    rows: Array
    notes: tuple[str, ...]


def lift_inputs(data: MMMData, spend_scale: Array, kpi_scale: float) -> LiftInputs:
    """Spend levels without, with the change of each test; tests outside the weeks are left out with a note."""
    rows, notes = [], []
    for test in data.lift_tests:
        label = f"Lift test on {test.channel!r} from {test.start_date}"
        days = _overlap_days(data, test)
        if test.channel not in data.channels:
            notes.append(f"{label} is not used: the channel has no spend in the data.")
        elif not days.any():
            notes.append(f"{label} is not used: it lies outside the weeks of the data.")
        else:
            channel = data.channels.index(test.channel)
            level = float(days @ data.spend[:, channel] / days.sum())
            changed = level + test.spend_change / test.weeks
            if changed < -0.1 * level or level + changed <= 0:  # a tenth: rounding in reported totals
                notes.append(
                    f"{label} is not used: it takes away {-test.spend_change:,.0f}, "
                    f"but only {level * test.weeks:,.0f} was spent in its weeks."
                )
                continue
            scale = spend_scale[channel]
            levels = level / scale, max(changed, 0.0) / scale
            rows.append((channel, *levels, test.weeks, test.lift / kpi_scale, test.lift_se / kpi_scale))
    return LiftInputs(rows=np.array(rows, dtype=np.float64).reshape(-1, 6), notes=tuple(notes))


def _overlap_days(data: MMMData, test: LiftTest) -> Array:
    """Days of the test that fall into each week: (n_weeks,)."""
    start = np.maximum(data.week_start, np.datetime64(test.start_date))
    end = np.minimum(data.week_start + WEEK, np.datetime64(test.end_date) + DAY)
    return np.maximum((end - start) / DAY, 0.0)
