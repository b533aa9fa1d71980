"""How long after a click conversions come, and which share of a day's conversions can have been seen by now.

Clicks of the last days have converted only in part: their delays are cut off on the right at the last day. A day's
conversions are taken as Poisson with mean (conversions of that day) x (share that comes after x days) wherever they
could be seen, a table with holes, whose maximum likelihood is found by EM. Days on which tracking broke are holes too.

Sources: Kalbfleisch & Lawless (1991), "Regression models for right truncated data with applications to AIDS incidence
times and reporting lags", Statistica Sinica 1, 19-32 (the nonparametric estimate; without holes it is the chain
ladder); Brier (1980), "Analysis of contingency tables under cluster sampling", Biometrika 67, 591-596 (how far channels
differ beyond chance); Chapelle (2014), "Modeling delayed feedback in display advertising", KDD (the problem).
"""

from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DELAY_DAYS_MAX = 90  # later conversions are not credited, as in sql/mart/click_conversions.sql; platforms go no further
DAYS_MAX = 4000  # days of history looked at; a wrong year in one row must not make a table of a century
ITERATIONS_MAX = 2000
TOLERANCE = 1e-10  # of any share between two iterations
WHOLE_DAY_FRACTION = 0.1  # of the usual number of unconverted clicks: with fewer, a leading day holds conversions alone
TAIL_FRACTION = 0.02  # of conversions in the oldest quarter of the delays seen: beyond it the end has not been seen
BIN_EXPECTED = 5.0  # conversions a bin must lead one to expect before chi-square means anything (Cochran 1954)


@dataclass(frozen=True, kw_only=True)
class DelayConfig:
    """How the delay from click to conversion is estimated."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    break_expected: float = 20.0  # conversions; none where twenty are due has a chance of 2e-9

    def __post_init__(self) -> None:
        if not self.break_expected > 0:
            raise ValueError(f"break_expected is {self.break_expected}: expected a number above 0")


@dataclass(frozen=True, kw_only=True)
class FittedDelay:
    """What is known of delays at `as_of`.

    Attributes
    ----------
    share : (K + 1,) share of conversions that come 0, 1, ..., K calendar days after the click, all channels together;
        each sums to one.
    channel_share : the same for each channel, drawn towards `share` with the weight of `pooling` conversions (infinite
        where channels do not differ beyond chance).
    silent : days (channel, date) on which conversions were not tracked: none came where many were due.
    lost : days (channel, date) whose clicks never convert although many should have: no part of any rate.
    first_whole_day : days before it hold converted clicks alone, as in an export by day of order; no part of any rate.
    conversions, before_click, too_late : conversions used, and those left out because they came before their click or
        `DELAY_DAYS_MAX` days after.
    """

    as_of: date
    first_whole_day: date
    share: tuple[float, ...]
    channel_share: dict[str, tuple[float, ...]]
    pooling: float
    silent: tuple[tuple[str, date], ...]
    lost: tuple[tuple[str, date], ...]
    conversions: int
    before_click: int
    too_late: int
    oldest_days: int
    reasons: tuple[str, ...]

    @property
    def mean_days(self) -> float:
        """Mean delay in calendar days."""
        return float(np.arange(len(self.share)) @ np.array(self.share))


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """Clicks (channels, days) and conversions (channels, days, K + 1), the last day being `as_of`."""

    channels: tuple[str, ...]
    first: date
    clicks: Floats
    conversions: Floats
    before_click: int
    too_late: int


def fit_delay(clicks: pl.DataFrame, delays: pl.DataFrame, as_of: date, config: DelayConfig) -> FittedDelay:
    """Estimate the delay.

    Parameters
    ----------
    clicks : channel, clicked_date, clicks_count; several rows of one channel and day are added up.
    delays : channel, clicked_date, delay_days (whole days, below 0 where the conversion lies before its click),
        conversions_count.
    as_of : last day on which a click or conversion could be seen.
    """
    counts = _counts(clicks, delays, as_of)
    days, delay_range = counts.clicks.shape[1], counts.conversions.shape[2]
    age = days - 1 - np.arange(days)
    seen = np.broadcast_to(age[:, None] >= np.arange(delay_range), counts.conversions.shape).copy()
    start = _first_whole_day(counts)
    seen[:, :start] = False
    share = _em(counts.conversions, seen)
    silent = _silent(counts, share, start, config)
    lost = _lost(counts, share, seen & ~_holes(silent, delay_range), start, config)
    seen &= ~_holes(silent, delay_range)
    seen &= ~lost[:, :, None]
    share = _em(counts.conversions, seen)
    pooling = _pooling(counts.conversions, seen, share)
    per_channel = {
        name: tuple(
            (share if np.isinf(pooling) else _em(counts.conversions[[row]], seen[[row]], share, pooling)).tolist()
        )
        for row, name in enumerate(counts.channels)
    }
    fitted = FittedDelay(
        as_of=as_of,
        first_whole_day=counts.first + timedelta(days=start),
        share=tuple(share.tolist()),
        channel_share=per_channel,
        pooling=pooling,
        silent=_named(counts, silent),
        lost=_named(counts, lost),
        conversions=int(counts.conversions[:, start:].sum()),
        before_click=counts.before_click,
        too_late=counts.too_late,
        oldest_days=days - 1 - start,
        reasons=(),
    )
    return FittedDelay(**{**vars(fitted), "reasons": _reasons(fitted)})


def observed_fraction(fitted: FittedDelay, channel: pl.Series, clicked_date: pl.Series) -> Floats:
    """Share of the conversions of clicks of these channels and dates, each (n,), that can have been seen by `as_of`.

    Returns
    -------
    (n,) in [0, 1]: 0 for clicks that no rate may use (before the first whole day, tracking lost, after `as_of`), 1 when
    all have come. A channel that was not there when the delay was estimated has the share of all channels.
    """
    keys = pl.DataFrame({"channel": channel.cast(pl.String), "date": clicked_date.cast(pl.Date)})
    table: list[tuple[str | None, date, float]] = []
    silent, lost = set(fitted.silent), set(fitted.lost)
    delays = range(len(fitted.share))
    for name, day in keys.unique(maintain_order=True).iter_rows():
        fraction = 0.0
        if fitted.first_whole_day <= day <= fitted.as_of and (name, day) not in lost:
            share = fitted.channel_share.get(name, fitted.share)
            upto = min((fitted.as_of - day).days, delays[-1])
            whole = upto == delays[-1]
            missed = sum(share[x] for x in range(upto + 1) if (name, day + timedelta(days=x)) in silent)
            fraction = (1.0 if whole else float(np.sum(share[: upto + 1]))) - missed
        table.append((name, day, min(max(fraction, 0.0), 1.0)))
    shares = pl.DataFrame(table, schema={"channel": pl.String, "date": pl.Date, "fraction": pl.Float64}, orient="row")
    found = keys.join(shares, on=["channel", "date"], how="left", nulls_equal=True, maintain_order="left")
    return found["fraction"].to_numpy()


def to_dict(fitted: FittedDelay) -> dict[str, Any]:
    """Plain values for JSON."""
    days = {name: [[channel, day.isoformat()] for channel, day in getattr(fitted, name)] for name in ("silent", "lost")}
    dates = {name: getattr(fitted, name).isoformat() for name in ("as_of", "first_whole_day")}
    pooling = None if np.isinf(fitted.pooling) else fitted.pooling
    return {**asdict(fitted), **days, **dates, "pooling": pooling, "mean_days": fitted.mean_days}


def _counts(clicks: pl.DataFrame, delays: pl.DataFrame, as_of: date) -> _Counts:
    """Both frames as arrays, rows of any order to the same bits."""
    earliest = as_of - timedelta(days=DAYS_MAX)
    day = pl.col("clicked_date").is_between(earliest, as_of)
    clicks, delays = (
        clicks.filter(day),
        delays.filter(day, (pl.lit(as_of) - pl.col("clicked_date")).dt.total_days() >= pl.col("delay_days")),
    )
    channels = tuple(sorted(clicks["channel"].unique().to_list()))
    first = min([as_of, *clicks["clicked_date"].to_list()])
    days = (as_of - first).days + 1
    delay_range = min(DELAY_DAYS_MAX, days - 1) + 1
    number = {name: row for row, name in enumerate(channels)}
    count = np.zeros((len(channels), days))
    for channel, when, amount in clicks.select("channel", "clicked_date", "clicks_count").iter_rows():
        count[number[channel], (when - first).days] += amount
    came, before, late = np.zeros((len(channels), days, delay_range)), 0, 0
    rows = delays.select("channel", "clicked_date", "delay_days", "conversions_count")
    for channel, when, delay, amount in rows.iter_rows():
        if delay < 0:
            before += amount
        elif delay >= delay_range or channel not in number or when < first:
            late += amount
        else:
            came[number[channel], (when - first).days, delay] += amount
    return _Counts(channels=channels, first=first, clicks=count, conversions=came, before_click=before, too_late=late)


def _first_whole_day(counts: _Counts) -> int:
    """Index of the first day that holds its unconverted clicks too."""
    without = (counts.clicks - counts.conversions.sum(axis=2)).sum(axis=0)
    enough = without > WHOLE_DAY_FRACTION * np.median(without)
    return int(np.argmax(enough)) if enough.any() else 0


def _em(conversions: Floats, seen: Bools, prior: Floats | None = None, weight: float = 0.0) -> Floats:
    """Shares (K + 1,) of delays: expectation of what could not be seen, then the mean of all.

    `prior` (K + 1,) counts as `weight` more conversions.
    """
    size = conversions.shape[2]
    flat, mask = conversions.reshape(-1, size), seen.reshape(-1, size)
    kinds, kind = np.unique(mask, axis=0, return_inverse=True)  # rows that see the same delays are one row
    counted = np.zeros(kinds.shape)
    np.add.at(counted, kind.ravel(), np.where(mask, flat, 0.0))
    by_delay, total = counted.sum(axis=0), counted.sum(axis=1)
    extra = np.zeros(size) if prior is None else weight * prior
    if by_delay.sum() + extra.sum() == 0.0:
        return np.eye(size)[0]  # nothing has converted: no delay is known, and none is assumed
    share = _chain_ladder(kinds, counted, extra)
    for _ in range(ITERATIONS_MAX):
        fraction = kinds @ share
        conversions_of = np.divide(total, fraction, out=np.zeros_like(total), where=fraction > 0.0)
        filled = by_delay + share * (conversions_of @ ~kinds) + extra
        new = filled / filled.sum()
        moved = float(np.abs(new - share).max())
        share = new
        if moved < TOLERANCE:
            break
    return share


def _chain_ladder(seen: Bools, counted: Floats, extra: Floats) -> Floats:
    """Shares (K + 1,) from the chance that a conversion within x days came on day x itself, longest delay first.

    This is the maximum where each day sees all delays up to its age; a delay that nobody could see gets none.
    """
    total = counted.sum(axis=0) + extra
    reaches = np.cumsum(seen[:, ::-1], axis=1)[:, ::-1] > 0  # the day sees this delay or a longer one
    within = np.array([np.cumsum(counted, axis=1)[reaches[:, x], x].sum() for x in range(len(total))]) + np.cumsum(
        extra
    )
    hazard = np.divide(total, within, out=np.zeros_like(total), where=within > 0.0)
    not_later = np.append(np.cumprod(1.0 - hazard[:0:-1])[::-1], 1.0)  # (K + 1,): all delays beyond x did not happen
    share = hazard * not_later
    return share / share.sum()


def _rates(counts: _Counts, fraction: Floats, start: int) -> Floats:
    """Conversions a click (channels,), clicks counted by the fraction (channels, days) of theirs that was seen."""
    exposure = (counts.clicks * fraction)[:, start:].sum(axis=1)
    came = counts.conversions[:, start:].sum(axis=(1, 2))
    return np.divide(came, exposure, out=np.zeros_like(came), where=exposure > 0.0)


def _by_day_of_conversion(values: Floats) -> Floats:
    """(channels, days) of conversion from (channels, days) of click by delay."""
    channels, days, size = values.shape
    out = np.zeros((channels, days))
    for delay in range(size):
        out[:, delay:] += values[:, : days - delay, delay]
    return out


def _silent(counts: _Counts, share: Floats, start: int, config: DelayConfig) -> Bools:
    """Days of conversion (channels, days) without any although `break_expected` were due, in one channel or in all."""
    upto = np.cumsum(share)
    days = counts.clicks.shape[1]
    fraction = upto[np.minimum(days - 1 - np.arange(days), len(share) - 1)]
    rate = _rates(counts, np.broadcast_to(fraction, counts.clicks.shape), start)
    due = _by_day_of_conversion((counts.clicks * rate[:, None])[:, :, None] * share)
    due[:, :start] = 0.0
    return _vanished(_by_day_of_conversion(counts.conversions), due, config.break_expected)


def _lost(counts: _Counts, share: Floats, seen: Bools, start: int, config: DelayConfig) -> Bools:
    """Days of click (channels, days) of which nothing came although `break_expected` conversions were due."""
    fraction = seen @ share
    due = counts.clicks * _rates(counts, fraction, start)[:, None] * fraction
    return _vanished(counts.conversions.sum(axis=2), due, config.break_expected)


def _vanished(came: Floats, due: Floats, least: float) -> Bools:
    """Days without anything where at least `least` was due: one day of a channel, or a run of days of all channels.

    A run of days of one channel counts as what it says: a channel that pauses while its clicks trickle on has no
    conversions either.
    """
    return ((came == 0) & (due >= least)) | _runs(came.sum(axis=0), due.sum(axis=0), least)


def _runs(came: Floats, due: Floats, least: float) -> Bools:
    """Runs of days (days,) without anything where at least `least` was due in the run."""
    nothing = (came == 0) & (due > 0)
    run = np.cumsum(~nothing)  # days of one run share their number
    return nothing & (np.bincount(run, np.where(nothing, due, 0.0))[run] >= least)


def _holes(silent: Bools, delay_range: int) -> Bools:
    """(channels, days of click, delays) whose day of conversion was silent."""
    channels, days = silent.shape
    holes = np.zeros((channels, days, delay_range), dtype=bool)
    for delay in range(delay_range):
        holes[:, : days - delay, delay] = silent[:, delay:]
    return holes


def _pooling(conversions: Floats, seen: Bools, share: Floats) -> float:
    """How many conversions the shares of all channels weigh in each channel's own, by how far channels differ.

    With chi-square over its degrees of freedom as the overdispersion C, and n conversions in a channel, a Dirichlet of
    weight k has C = (n + k) / (1 + k) (Brier 1980).
    """
    counted = np.where(seen, conversions, 0.0)
    fraction = seen @ share
    conversions_of = np.divide(counted.sum(axis=2), fraction, out=np.zeros_like(fraction), where=fraction > 0.0)
    due = (conversions_of[:, :, None] * share * seen).sum(axis=1)
    came = counted.sum(axis=1)
    total = due.sum(axis=0)
    edges = np.minimum((np.cumsum(total) - 0.5 * total) / max(total.sum(), 1e-300) * 6, 5).astype(int)  # about sixths
    bins = np.eye(6)[edges]
    due, came = due @ bins, came @ bins
    usable = due >= BIN_EXPECTED
    freedom = np.maximum(usable.sum(axis=1) - 1, 0)
    if not freedom.sum():
        return float("inf")
    squared = np.where(usable, (came - due) ** 2 / np.maximum(due, 1e-300), 0.0).sum(axis=1)
    spread = float(squared[freedom > 0].sum() / freedom.sum())
    size = float(freedom @ came.sum(axis=1) / freedom.sum())
    return float("inf") if spread <= 1.0 else max((size - spread) / (spread - 1.0), 1.0)


def _named(counts: _Counts, mask: Bools) -> tuple[tuple[str, date], ...]:
    """(channel, date) of every day that is marked."""
    return tuple((counts.channels[row], counts.first + timedelta(days=int(day))) for row, day in np.argwhere(mask))


def _reasons(fitted: FittedDelay) -> tuple[str, ...]:
    """What a person should know of this estimate."""
    found = []
    if fitted.before_click:
        found.append(f"{fitted.before_click} conversions lie before their click and were left out with it")
    if fitted.silent:
        days = sorted({day for _, day in fitted.silent})
        found.append(
            f"conversions were not tracked on {len(days)} days ({days[0]} to {days[-1]}), where many were due and none "
            "came: these days are taken as unknown, not as zero"
        )
    if fitted.lost:
        days = sorted({day for _, day in fitted.lost})
        found.append(
            f"clicks of {len(days)} days ({days[0]} to {days[-1]}) have no conversion at all where many were due: "
            "they are part of no rate"
        )
    longest = min(fitted.oldest_days, len(fitted.share) - 1)
    tail = [x for x in range(longest + 1) if x > 0.75 * longest]
    if fitted.conversions and sum(fitted.share[x] for x in tail) > TAIL_FRACTION:
        found.append(
            f"conversions still come {longest} days after the click, the longest delay that can be seen: "
            "rates are lower bounds until more days of clicks are there"
        )
    return tuple(found)
