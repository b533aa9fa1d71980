"""Lift tests in the units of the sampler."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.mmm.config import MMMConfig
from models.mmm.data import DAY, WEEK, LiftTest, MMMData
from models.mmm.design import YEAR_DAYS
from models.mmm.exposure import media_of
from models.mmm.interactions import pairs_of, raised_ceiling
from models.mmm.media import saturation
from models.mmm.varying import path, wander

if TYPE_CHECKING:
    from models.mmm.fitted import FittedMMM

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LiftInputs:
    """Usable tests, with a note for each one left out.

    rows : (n_tests, 6) the channel's index, spend before, after the change in mean spends, length in weeks, lift with
        its standard error in mean KPIs.
    partner_levels : (n_tests, n_channels) media of every channel in the weeks of each test, in mean spends.
    wander : (n_tests, n_steps) of `varying`, in the weeks of each test.
    """

    rows: Array
    partner_levels: Array
    wander: Array
    notes: tuple[str, ...]


def lift_inputs(data: MMMData, media_scale: Array, kpi_scale: float, config: MMMConfig) -> LiftInputs:
    """Spend levels without, with the change of each test; tests outside the weeks are left out with a note.

    An effect wanders: after a years it differs by drift_per_year * sqrt(a) lifts, so that the standard error of a test
    that ended a years before the last week is sqrt(lift_se^2 + a (drift_per_year * lift)^2). Where the model lets
    effects vary, a test speaks of its own weeks, and none grows old.

    Where the response is to exposure, the test's money bought it at the cost of the test's own weeks.
    With a log link a lift counts against the KPI K recorded in the test's weeks, as log(1 + lift / (weeks K)) a week.
    """
    last_day = data.week_start[-1] + WEEK - DAY
    media = media_of(data)
    ages = 0.0 if config.varying_weeks else config.drift_per_year
    of_weeks = wander(data.n_weeks, config)
    rows, levels_of_all, walks, notes = [], [], [], []
    for test in data.lift_tests:
        label = f"Lift test on {test.channel!r} from {test.start_date}"
        days = overlap_days(data, test)
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
            if config.link == "log" and test.weeks * float(days @ data.kpi / days.sum()) + test.lift <= 0:
                notes.append(
                    f"{label} is not used: its lift of {test.lift:,.0f} takes away all of the KPI of its weeks."
                )
                continue
            seen = float(days @ media[:, channel] / days.sum())
            scale = media_scale[channel] * (level / seen if level > 0 and seen > 0 else 1.0)
            levels = level / scale, max(changed, 0.0) / scale
            years = max(float((last_day - np.datetime64(test.end_date)) / DAY), 0.0) / YEAR_DAYS
            se = float(np.sqrt(test.lift_se**2 + years * (ages * test.lift) ** 2))
            levels_of_all.append(days @ media / days.sum() / media_scale)
            walks.append(days @ of_weeks / days.sum())
            if config.link == "log":
                usual = test.weeks * float(days @ data.kpi / days.sum())
                rows.append((channel, *levels, 1.0, np.log1p(test.lift / usual), se / (usual + test.lift)))
            else:
                rows.append((channel, *levels, test.weeks, test.lift / kpi_scale, se / kpi_scale))
    return LiftInputs(
        rows=np.array(rows, dtype=np.float64).reshape(-1, 6),
        partner_levels=np.array(levels_of_all, dtype=np.float64).reshape(-1, len(data.channels)),
        wander=np.array(walks, dtype=np.float64).reshape(len(rows), of_weeks.shape[1]),
        notes=tuple(notes),
    )


def lift_misses(fitted: FittedMMM, tests: tuple[LiftTest, ...]) -> dict[str, float]:
    """By channel the largest distance, in standard errors, of a test's lift from what a fit without it says.

    The error is that of the test and of the curve together. Near 0 where test and weeks agree.
    """
    data, found = replace(fitted.data, lift_tests=tests), dict[str, float]()
    inputs = lift_inputs(data, np.ones(len(data.channels)), 1.0, fitted.config)
    pairs, kind = pairs_of(data, fitted.config), fitted.config.saturation
    then = path(fitted.steps, inputs.wander)
    for i, ((index, before, after, weeks, lift, lift_se), levels) in enumerate(
        zip(inputs.rows, inputs.partner_levels, strict=True)
    ):
        c = int(index)
        ceiling = raised_ceiling(
            fitted.ceiling, fitted.synergy, pairs, kind, levels, fitted.half_saturation, fitted.slope
        )[:, c]
        reached = saturation(kind, np.array([[before], [after]]), fitted.half_saturation[:, c], fitted.slope[:, c])
        expected = weeks * then[:, i, c] * ceiling * (reached[1] - reached[0])
        miss = abs(lift - expected.mean()) / float(np.sqrt(lift_se**2 + expected.var()))
        found[data.channels[c]] = max(miss, found.get(data.channels[c], 0.0))
    return found


def overlap_days(data: MMMData, test: LiftTest) -> Array:
    """Days of the test that fall into each week: (n_weeks,)."""
    start = np.maximum(data.week_start, np.datetime64(test.start_date))
    end = np.minimum(data.week_start + WEEK, np.datetime64(test.end_date) + DAY)
    return np.maximum((end - start) / DAY, 0.0)
