"""What is known of a click when it happens, as numbers for a model.

Every feature is a category; a value that is missing, rare or unseen has the code -1, which models read as "not known".
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

FEATURES = ("channel", "campaign", "keyword", "query_type", "device", "hour_band", "weekday")
COUNTS = ("clicks_count", "conversions_count")
CATEGORIES_MOST = 500  # of a feature: the codes of all features and -1 then fit into one 64-bit number, 501^7 < 2^63

Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Known values of each feature, in order of their codes; a feature that does not vary has none."""

    values: dict[str, tuple[str, ...]]

    @property
    def features(self) -> tuple[str, ...]:
        """Features that vary, in the order of `FEATURES`."""
        return tuple(name for name in FEATURES if self.values.get(name))


def cells(frame: pl.DataFrame) -> pl.DataFrame:
    """Cells in one order, whatever order they came in: clicked_date, the features as text, and both counts.

    A feature that the frame lacks is null throughout. weekday is 1 (Monday) to 7.
    """
    named = frame.with_columns(
        weekday=pl.col("clicked_date").dt.weekday(),
        **{name: pl.lit(None, pl.String) for name in FEATURES[:-1] if name not in frame.columns},
    )
    keys = ["clicked_date", *FEATURES]
    texts = named.select("clicked_date", *[pl.col(name).cast(pl.String) for name in FEATURES], *COUNTS)
    return texts.group_by(keys).agg(pl.col(COUNTS).sum()).sort(keys, nulls_last=True)


def vocabulary(frame: pl.DataFrame, clicks_min: int, categories_max: int) -> Vocabulary:
    """Values with at least `clicks_min` clicks, at most `categories_max` of a feature, the most clicked first."""
    values = {}
    for name in FEATURES:
        counted = frame.group_by(name).agg(pl.col("clicks_count").sum()).drop_nulls(name)
        varied = len(counted) + int(frame[name].null_count() > 0) > 1
        kept = counted.filter(pl.col("clicks_count") >= clicks_min).sort(
            ["clicks_count", name], descending=[True, False]
        )
        values[name] = tuple(kept[name][:categories_max].to_list()) if varied else ()
    return Vocabulary(values=values)


def codes(frame: pl.DataFrame, known: Vocabulary) -> Codes:
    """(n, features) codes; -1 for what is missing or not in the vocabulary."""
    columns = []
    for name in known.features:
        table = {value: code for code, value in enumerate(known.values[name])}
        columns.append(frame[name].replace_strict(table, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy())
    return np.column_stack(columns) if columns else np.zeros((len(frame), 0), dtype=np.int64)


def distinct(coded: Codes) -> tuple[Codes, NDArray[np.intp]]:
    """Rows of codes that differ, in order, and for each row the number of its own among them."""
    key = np.zeros(len(coded), dtype=np.int64)
    for column in coded.T:  # digits of one number, see `CATEGORIES_MOST`
        key = key * (int(column.max(initial=-1)) + 2) + column + 1
    _, first, kind = np.unique(key, return_index=True, return_inverse=True)
    return coded[first], kind


def one_hot(coded: Codes, known: Vocabulary) -> sparse.csr_array:
    """(n, 1 + all values) design of a linear model: an intercept and one column for each known value."""
    rows = len(coded)
    columns, offset = [np.zeros((rows, 1), dtype=np.int64)], 1
    for position, name in enumerate(known.features):
        columns.append(np.where(coded[:, [position]] >= 0, coded[:, [position]] + offset, -1))
        offset += len(known.values[name])
    index = np.hstack(columns)
    there = index >= 0
    pointer = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    return sparse.csr_array((np.ones(int(there.sum())), index[there], pointer), shape=(rows, offset))


def effects(coded: Codes, known: Vocabulary, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, features) what each value adds to a linear model of `one_hot`, 0 where it is not known."""
    found, offset = np.zeros(coded.shape), 1
    for position, name in enumerate(known.features):
        values = np.append(coefficients[offset : offset + len(known.values[name])], 0.0)  # code -1 reads the last one
        found[:, position] = values[coded[:, position]]
        offset += len(known.values[name])
    return found
