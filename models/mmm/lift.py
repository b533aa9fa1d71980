"""Lift tests in the units of the sampler."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.mmm.data import WEEK_DAYS, LiftTest, MMMData

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LiftInputs:
    """One entry per usable test; spend levels in mean spends, lifts in mean KPIs; notes name the tests left out."""

    channel: NDArray[np.int64]
    before: Array
    after: Array
    weeks: Array
    lift: Array
    lift_se: Array
    notes: tuple[str, ...]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """By the names the compiled model knows."""
        return {
            "lift_channel": self.channel,
            "lift_before": self.before,
            "lift_after": self.after,
            "lift_weeks": self.weeks,
            "lift": self.lift,
            "lift_se": self.lift_se,
        }


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
            rows.append((channel, level / scale, max(changed, 0.0) / scale, test.weeks, test.lift, test.lift_se))
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return LiftInputs(
        channel=table[:, 0].astype(np.int64),
        before=table[:, 1],
        after=table[:, 2],
        weeks=table[:, 3],
        lift=table[:, 4] / kpi_scale,
        lift_se=table[:, 5] / kpi_scale,
        notes=tuple(notes),
    )


def _overlap_days(data: MMMData, test: LiftTest) -> Array:
    """Days of the test that fall into each week: (n_weeks,)."""
    start = np.maximum(data.week_start, np.datetime64(test.start_date))
    end = np.minimum(data.week_start + WEEK_DAYS, np.datetime64(test.end_date) + 1)
    return np.maximum((end - start).astype(np.float64), 0.0)
