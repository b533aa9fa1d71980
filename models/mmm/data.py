"""What the mix model is fed, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError

MIN_WEEKS = 20  # below this a level, a season and one channel cannot be told apart, whatever the priors
WEEK_DAYS = 7
RECENT_WEEKS = 13  # a quarter: the level of spend, the cost of a click that today's figures are quoted at
DAY, WEEK = np.timedelta64(1, "D"), np.timedelta64(WEEK_DAYS, "D")


@dataclass(frozen=True, kw_only=True)
class LiftTest:
    """A geo or holdout experiment on one channel; `spend_change`, `lift` are totals over the test.

    The test moves the channel's weekly spend from the level x̄ recorded in those weeks by spend_change / n,
    n = days / 7, and the KPI by `lift` in total. A holdout has both negative.
    """

    channel: str
    start_date: date
    end_date: date  # the last day, included
    spend_change: float
    lift: float
    lift_se: float

    def __post_init__(self) -> None:
        label = f"lift test on {self.channel!r} from {self.start_date}"
        if self.end_date < self.start_date:
            raise DataError(f"{label}: it ends on {self.end_date}, before it starts.\nCorrect end_date in lift_tests.")
        if not np.isfinite([self.spend_change, self.lift, self.lift_se]).all() or self.spend_change == 0:
            raise DataError(
                f"{label}: spend_change {self.spend_change}, lift {self.lift}, lift_se {self.lift_se}.\n"
                "All three must be finite and spend_change must not be 0."
            )
        if self.lift_se <= 0:
            raise DataError(f"{label}: lift_se is {self.lift_se}; a standard error is above 0.")

    @property
    def weeks(self) -> float:
        """Length in weeks; 10 days are 1.43."""
        return ((self.end_date - self.start_date).days + 1) / WEEK_DAYS


@dataclass(frozen=True, kw_only=True)
class MMMData:
    """Weekly series of one company; nothing missing, nothing negative in spend.

    Parameters
    ----------
    week_start : (n_weeks,) datetime64[D], one week apart, increasing.
    kpi : (n_weeks,) KPI per week, any unit.
    channels : names, distinct.
    spend : (n_weeks, n_channels) money per week, >= 0.
    control_names : names, distinct; holidays as 0/1 columns belong here too.
    controls : (n_weeks, n_controls), any unit.
    lift_tests : experiments that calibrate the model.
    exposure : channel -> (n_weeks,) impressions or clicks, >= 0; such a channel responds to them, not to spend.

    Raises
    ------
    DataError : a value that is missing, infinite, or negative where it must not be; a week that is absent; fewer
        than 20 weeks; a KPI that never changes; a channel that spent without any of the exposure it is to be read by.
    """

    week_start: NDArray[np.datetime64]
    kpi: NDArray[np.float64]
    channels: tuple[str, ...]
    spend: NDArray[np.float64]
    control_names: tuple[str, ...] = ()
    controls: NDArray[np.float64] | None = None
    lift_tests: tuple[LiftTest, ...] = ()
    exposure: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _set(self, "week_start", np.asarray(self.week_start).astype("datetime64[D]"))
        _set(self, "kpi", np.asarray(self.kpi, dtype=np.float64))
        _set(self, "spend", np.asarray(self.spend, dtype=np.float64))
        controls = np.empty((len(self.kpi), 0)) if self.controls is None else self.controls
        _set(self, "controls", np.asarray(controls, dtype=np.float64))
        exposure = {name: np.asarray(seen, dtype=np.float64) for name, seen in self.exposure.items()}
        _set(self, "exposure", exposure)
        _check_shapes(self)
        _check_weeks(self.week_start)
        _check_values(self)

    @property
    def n_weeks(self) -> int:
        """Number of weeks."""
        return len(self.kpi)

    def head(self, n_weeks: int) -> MMMData:
        """The first `n_weeks`, with the lift tests that had ended by then."""
        last_day = self.week_start[n_weeks - 1] + WEEK
        return MMMData(
            week_start=self.week_start[:n_weeks],
            kpi=self.kpi[:n_weeks],
            channels=self.channels,
            spend=self.spend[:n_weeks],
            control_names=self.control_names,
            controls=control_matrix(self)[:n_weeks],
            lift_tests=tuple(t for t in self.lift_tests if np.datetime64(t.end_date) < last_day),
            exposure={name: seen[:n_weeks] for name, seen in self.exposure.items()},
        )


def control_matrix(data: MMMData) -> NDArray[np.float64]:
    """Controls as (n_weeks, n_controls), also where there are none."""
    return np.empty((data.n_weeks, 0)) if data.controls is None else data.controls


def _set(data: MMMData, name: str, value: object) -> None:
    object.__setattr__(data, name, value)


def _check_shapes(data: MMMData) -> None:
    n_weeks = len(data.week_start)
    expected = {
        "kpi": (data.kpi.shape, (n_weeks,)),
        "spend": (data.spend.shape, (n_weeks, len(data.channels))),
        "controls": (control_matrix(data).shape, (n_weeks, len(data.control_names))),
    }
    expected |= {f"exposure of {name!r}": (seen.shape, (n_weeks,)) for name, seen in data.exposure.items()}
    wrong = [f"{name} has shape {found}, not {right}" for name, (found, right) in expected.items() if found != right]
    if wrong:
        raise ValueError("; ".join(wrong))
    for what, names in (("channels", data.channels), ("control_names", data.control_names)):
        if len(set(names)) < len(names):
            raise ValueError(f"{what} repeats a name: {sorted(names)}")
    if unknown := set(data.exposure) - set(data.channels):
        raise ValueError(f"exposure names {sorted(unknown)}, which are no channels")
    if not data.channels:
        raise DataError("No channel has spend: a mix model needs at least one.\nAdd rows to ad_spend.")


def _check_weeks(week_start: NDArray[np.datetime64]) -> None:
    if len(week_start) < MIN_WEEKS:
        raise DataError(
            f"Found {len(week_start)} complete weeks with both spend and KPI; a mix model needs {MIN_WEEKS}, "
            "and 104 to see two seasons.\nAdd history."
        )
    gaps = np.flatnonzero(np.diff(week_start).astype(int) != WEEK_DAYS)
    if len(gaps):
        before, after = week_start[gaps[0]], week_start[gaps[0] + 1]
        raise DataError(
            f"Week {before} is followed by {after}; expected weeks 7 days apart ({len(gaps)} such places).\n"
            "Add the missing weeks, with spend 0 where nothing ran."
        )


def _check_values(data: MMMData) -> None:
    columns = [("kpi", data.kpi)]
    columns += [(f"spend of {name!r}", data.spend[:, i]) for i, name in enumerate(data.channels)]
    columns += [(f"control {name!r}", control_matrix(data)[:, i]) for i, name in enumerate(data.control_names)]
    columns += [(f"exposure of {name!r}", seen) for name, seen in data.exposure.items()]
    problems = [
        f"{name}: {int((~np.isfinite(values)).sum())} weeks missing or infinite, first {data.week_start[bad[0]]}"
        for name, values in columns
        if len(bad := np.flatnonzero(~np.isfinite(values)))
    ]
    problems += [
        f"{name}: {int((values < 0).sum())} weeks below 0, first {data.week_start[np.flatnonzero(values < 0)[0]]}"
        for name, values in columns
        if name.startswith(("spend of", "exposure of")) and (values < 0).any()
    ]
    problems += [
        f"exposure of {name!r}: 0 in every week, though {data.spend[:, data.channels.index(name)].sum():,.0f} was "
        "spent; load its impressions or clicks, or take it out of mmm.media_variable"
        for name, seen in data.exposure.items()
        if not seen.any() and data.spend[:, data.channels.index(name)].any()
    ]
    if problems:
        raise DataError("The mix model cannot use these weeks:\n" + "\n".join(problems[:4]))
    if np.ptp(data.kpi) <= 1e-12 * np.abs(data.kpi).max():  # rounding of a 64-bit float
        raise DataError(f"The KPI is {data.kpi[0]:g} in every week: nothing to explain.\nCheck the kpi source.")
