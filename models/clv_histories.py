"""Customer histories as arrays: read from rows of `mart.customer_rfm`, checked, in time units."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from models.btyd import Floats
from models.errors import DataError

COLUMNS = ("frequency", "recency_days", "age_days")
CHANNEL = "acquisition_channel"
EVERYBODY = ""  # the group of customers whose channel is not told
BITS = 2**16 - 1  # largest number that 16 bits hold
WINDOW_DAYS = 56  # the recent window of `mart.customer_rfm`: eight weeks, in which a change of the best customers shows
MONEY = {"revenue": ("monetary_mean", "revenue_total"), "margin": ("margin_mean", "margin_total")}

Basis = Literal["revenue", "margin"]


@dataclass(frozen=True, kw_only=True)
class CustomerHistories:
    """All (n,): repeat order days, times in units, mean value of a repeat order day (>= 0), group of customers.

    `x_before` and `recency_before` are as they stood at the start of the recent window, NaN for customers who came
    later or where nothing is known of it.
    """

    x: Floats
    recency: Floats
    age: Floats
    mean_spend: Floats
    group: np.ndarray  # int32, index into `names`
    names: tuple[str, ...]
    x_before: Floats
    recency_before: Floats
    time_unit_days: float

    @property
    def window(self) -> float:
        """Length of the recent window in time units."""
        return WINDOW_DAYS / self.time_unit_days

    def groups(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and rows of every group that has any, by name."""
        order = np.argsort(self.group, kind="stable")
        ends = np.cumsum(np.bincount(self.group, minlength=len(self.names)))
        for name, rows in zip(self.names, np.split(order, ends[:-1]), strict=True):
            if rows.size:
                yield name, rows


def read_histories(rfm: pl.DataFrame, time_unit_days: float, basis: Basis = "revenue") -> CustomerHistories:
    """Histories from rows of `mart.customer_rfm`; net refunds and losses count as no value.

    Raises
    ------
    DataError : a column is missing, or a value impossible; every breach is named.
    """
    money = MONEY[basis][0]
    columns = (*COLUMNS, money, "first_order_date")
    missing = [name for name in columns if name not in rfm.columns]
    if missing:
        raise DataError(f"Customer histories lack {', '.join(missing)}: expected the columns {', '.join(columns)}.")
    x, recency, age, mean_spend = (rfm[name].cast(pl.Float64).to_numpy() for name in columns[:4])
    breaches = {
        "a missing number or first order date": ~np.isfinite(x + recency + age + mean_spend)
        | rfm["first_order_date"].is_null().to_numpy(),
        "a frequency that is no whole number of at least 0": (x < 0) | (x != np.floor(x)),
        "a last order before the first or after the end of the data": (recency < 0) | (recency > age),
        "a last order apart from the first, without a repeat": (x == 0) & (recency != 0),
    }
    found = [f"{int(rows.sum())} with {what}" for what, rows in breaches.items() if rows.any()]
    if found:
        raise DataError(
            f"Of {x.size} customer histories {'; '.join(found)}. Repair or quarantine these rows, then run again."
        )
    names, group = (EVERYBODY,), np.zeros(x.size, dtype=np.int32)
    if CHANNEL in rfm.columns and x.size:
        channel = rfm[CHANNEL].cast(pl.String).fill_null(EVERYBODY)
        names = tuple(channel.unique().sort().to_list())
        group = channel.cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int32)
    unknown = np.full(x.size, np.nan)
    before = [
        rfm[name].cast(pl.Float64).fill_null(np.nan).to_numpy() if name in rfm.columns else unknown
        for name in ("frequency_before", "recency_before_days")
    ]
    return CustomerHistories(
        x=x,
        recency=recency / time_unit_days,
        age=age / time_unit_days,
        mean_spend=np.maximum(mean_spend, 0.0),
        group=group,
        names=names,
        x_before=before[0],
        recency_before=before[1] / time_unit_days,
        time_unit_days=time_unit_days,
    )


def purchase_groups(histories: CustomerHistories) -> dict[str, tuple[Floats, ...]]:
    """Distinct `x, recency, age` of every group and how many customers have each, in an order of their own."""
    if histories.x.size and _is_packable(histories):
        keys = _packed(histories)
        keys.sort()
        first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        weight = np.diff(first, append=keys.size).astype(float)
        group, *parts = ((keys[first] >> np.uint64(16 * place)) & np.uint64(BITS) for place in (3, 2, 1, 0))
        x, recency, age = (part.astype(float) for part in parts)
        unit = histories.time_unit_days
        columns, names = (x, recency / unit, age / unit, weight), group.astype(np.int64)
    else:
        order = np.lexsort((histories.age, histories.recency, histories.x, histories.group))
        rows = np.stack([histories.group, histories.x, histories.recency, histories.age])[:, order]
        first = np.flatnonzero(np.concatenate([[True], (rows[:, 1:] != rows[:, :-1]).any(axis=0)]))
        weight = np.diff(first, append=order.size).astype(float)
        columns, names = (*rows[1:, first], weight), rows[0, first].astype(np.int64)
    ends = np.searchsorted(names, np.arange(len(histories.names) + 1))
    return {
        name: tuple(column[ends[place] : ends[place + 1]] for column in columns)
        for place, name in enumerate(histories.names)
        if ends[place + 1] > ends[place]
    }


def spend_groups(histories: CustomerHistories) -> dict[str, tuple[Floats, Floats]]:
    """`x, mean_spend` of the customers of every group who paid for a repeat order, sorted."""
    paying = np.flatnonzero((histories.x > 0) & (histories.mean_spend > 0.0))
    x, mean_spend, group = histories.x[paying], histories.mean_spend[paying], histories.group[paying]
    key = x if len(histories.names) == 1 else group * (x.max(initial=0.0) + 1.0) + x
    small = key.astype(np.uint16) if key.max(initial=0.0) <= BITS else key  # 16 bits are sorted by counting
    order = np.argsort(small, kind="stable")
    key, x, group, mean_spend = key[order], x[order], group[order], mean_spend[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if key.size else np.zeros(1, dtype=np.intp)
    for begin, end in itertools.pairwise([*starts.tolist(), key.size]):
        mean_spend[begin:end].sort()
    ends = np.searchsorted(group, np.arange(len(histories.names) + 1))
    return {
        name: (x[ends[place] : ends[place + 1]], mean_spend[ends[place] : ends[place + 1]])
        for place, name in enumerate(histories.names)
    }


def sorted_rows(histories: CustomerHistories) -> list[tuple[str, np.ndarray]]:
    """Rows of every group, by name, in an order that does not depend on the one they came in."""
    if _is_packable(histories):
        by_money = np.argsort(histories.mean_spend, kind="stable")
        order = by_money[np.argsort(_packed(histories)[by_money], kind="stable")]
    else:
        order = np.lexsort((histories.mean_spend, histories.age, histories.recency, histories.x, histories.group))
    ends = np.cumsum(np.bincount(histories.group, minlength=len(histories.names)))
    rows_of = zip(histories.names, np.split(order, ends[:-1]), strict=True)
    return [(name, rows) for name, rows in rows_of if rows.size]


def _is_packable(histories: CustomerHistories) -> bool:
    """Whether group, orders and times, in whole days, fit into 16 bits each."""
    days = [column * histories.time_unit_days for column in (histories.recency, histories.age)]
    if max(len(histories.names), histories.x.max(initial=0), *(column.max(initial=0) for column in days)) >= BITS:
        return False
    return all(np.abs(column - np.rint(column)).max(initial=0.0) < 1e-6 for column in days)


def _packed(histories: CustomerHistories) -> np.ndarray:
    """One number of 64 bits per history: sorted in a tenth of the time that four columns take."""
    keys = histories.group.astype(np.uint64)
    times = (np.rint(column * histories.time_unit_days) for column in (histories.recency, histories.age))
    for column in (histories.x, *times):
        keys = keys << np.uint64(16) | column.astype(np.uint64)
    return keys


def as_before(histories: CustomerHistories) -> CustomerHistories:
    """The histories of those who were customers before the recent window, as they stood then."""
    known = np.isfinite(histories.x_before)
    unknown = np.full(int(known.sum()), np.nan)
    return CustomerHistories(
        x=histories.x_before[known],
        recency=histories.recency_before[known],
        age=histories.age[known] - histories.window,
        mean_spend=histories.mean_spend[known],
        group=histories.group[known],
        names=histories.names,
        x_before=unknown,
        recency_before=unknown,
        time_unit_days=histories.time_unit_days,
    )
