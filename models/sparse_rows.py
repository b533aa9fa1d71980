"""Rows of a linear programme, collected as they come."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint
from scipy.sparse import csc_array

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


class SparseRows:
    """Rows low <= numbers @ variables <= high of a sparse matrix."""

    def __init__(self) -> None:
        self._rows: list[IntArray] = []
        self._columns: list[IntArray] = []
        self._numbers: list[FloatArray] = []
        self._low: list[float] = []
        self._high: list[float] = []
        self._first_of_last = 0

    def add(self, columns: IntArray, numbers: FloatArray, low: float, high: float) -> None:
        """Add one row."""
        self.add_many(np.zeros(len(columns), dtype=int), columns, numbers, 1, low, high)

    def add_many(
        self, rows: IntArray, columns: IntArray, numbers: FloatArray, count: int, low: float, high: float
    ) -> None:
        """Add `count` rows with the same limits; `rows` (0 to count - 1) and `columns` say where the numbers stand."""
        self._first_of_last = len(self._low)
        self._low += [low] * count
        self._high += [high] * count
        self.add_to_last(rows, columns, numbers)

    def add_to_last(self, rows: IntArray, columns: IntArray, numbers: FloatArray) -> None:
        """Put further numbers into the rows added last."""
        self._rows.append(rows + self._first_of_last)
        self._columns.append(columns)
        self._numbers.append(numbers)

    def constraint(self, n_columns: int) -> LinearConstraint:
        """All rows, as a constraint on `n_columns` variables."""
        where = (np.concatenate(self._rows), np.concatenate(self._columns))
        matrix = csc_array((np.concatenate(self._numbers), where), shape=(len(self._low), n_columns))
        return LinearConstraint(matrix, np.array(self._low), np.array(self._high))
