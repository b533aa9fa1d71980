"""Response curves: what each line brings per week at each level of spend, with uncertainty.

A line is a channel (or a group of campaigns). Between two points a curve is straight; beyond the last one a line may
not spend. Draws belong together across lines: draw 7 of every line is one possible world.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.errors import DataError

SPEND_TOLERANCE = 1e-9  # of the last point, for sums of floats

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ResponseCurves:
    """Curves of all lines on grids of equal length.

    Parameters
    ----------
    lines : names, distinct.
    spend : (n_lines, n_points) money per week, increasing along a line, 0 first.
    response : (n_lines, n_points, n_draws) incremental KPI per week at steady state.

    Raises
    ------
    ValueError : shapes that disagree, a grid that does not increase from 0, a value that is not finite.
    """

    lines: tuple[str, ...]
    spend: Array
    response: Array

    def __post_init__(self) -> None:
        if self.spend.ndim != 2 or self.response.shape[:2] != self.spend.shape or len(self.lines) != len(self.spend):
            raise ValueError(
                f"{len(self.lines)} lines, spend {self.spend.shape}, response {self.response.shape}: "
                "expected (n_lines, n_points) with (n_lines, n_points, n_draws)"
            )
        if self.response.ndim != 3 or self.response.shape[2] < 1 or self.spend.shape[1] < 2:
            raise ValueError(f"response has shape {self.response.shape}; expected two points, one draw, or more")
        if len(set(self.lines)) < len(self.lines):
            raise ValueError(f"lines repeats a name: {sorted(self.lines)}")
        if not (np.isfinite(self.spend).all() and np.isfinite(self.response).all()):
            raise ValueError("spend or response holds a value that is not finite")
        if (self.spend[:, 0] != 0).any() or (np.diff(self.spend, axis=1) <= 0).any():
            raise ValueError("each line's spend must start at 0, then increase")

    @property
    def n_draws(self) -> int:
        """Number of draws, the same for every line."""
        return int(self.response.shape[2])

    @property
    def mean(self) -> Array:
        """Expected response: (n_lines, n_points)."""
        return np.asarray(self.response.mean(axis=2))

    @property
    def max_spend(self) -> Array:
        """The most each line may spend: (n_lines,)."""
        return np.asarray(self.spend[:, -1])


def line_value(curves: ResponseCurves, plan: Array) -> Array:
    """Weekly response of each line: (n_lines, n_draws) for weekly spends (n_lines,).

    Raises ValueError for spend below 0 or beyond a line's last point.
    """
    left, fraction, _ = _locate(curves, plan)
    rows = np.arange(len(curves.lines))
    low, high = curves.response[rows, left], curves.response[rows, left + 1]
    return np.asarray(low + fraction[:, None] * (high - low))


def value(curves: ResponseCurves, plan: Array) -> Array:
    """Weekly response of the whole plan: (n_draws,) for weekly spends (n_lines,)."""
    return np.asarray(line_value(curves, plan).sum(axis=0))


def marginal(curves: ResponseCurves, plan: Array) -> Array:
    """Response per next unit of money: (n_lines, n_draws), the slope to the right (to the left at the last point)."""
    left, _, width = _locate(curves, plan)
    rows = np.arange(len(curves.lines))
    return np.asarray((curves.response[rows, left + 1] - curves.response[rows, left]) / width[:, None])


def curve_table(curves: ResponseCurves) -> pl.DataFrame:
    """Rows of out.response_curve: line, spend, response_mean, response_p05, response_p95, marginal_mean."""
    low, high = np.quantile(curves.response, [0.05, 0.95], axis=2)
    mean = curves.mean
    slope = np.diff(mean, axis=1) / np.diff(curves.spend, axis=1)
    slope = np.column_stack([slope, slope[:, -1]])
    return pl.DataFrame(
        {
            "line": np.repeat(np.array(curves.lines, dtype=object), curves.spend.shape[1]),
            "spend": curves.spend.ravel(),
            "response_mean": mean.ravel(),
            "response_p05": low.ravel(),
            "response_p95": high.ravel(),
            "marginal_mean": slope.ravel(),
        },
        schema_overrides={"line": pl.String},
    )


def save(curves: ResponseCurves, path: Path) -> None:
    """Write Parquet with columns line, spend, response, draw."""
    n_lines, n_points, n_draws = curves.response.shape
    line = np.repeat(np.array(curves.lines, dtype=object), n_points * n_draws)
    pl.DataFrame(
        {
            "line": pl.Series(line, dtype=pl.String),
            "spend": np.repeat(curves.spend.ravel(), n_draws),
            "response": curves.response.ravel(),
            "draw": np.tile(np.arange(n_draws, dtype=np.int32), n_lines * n_points),
        }
    ).write_parquet(path)


def load(path: Path) -> ResponseCurves:
    """Read Parquet or CSV with columns line, spend, response [, draw], whoever wrote it; see `from_frame`."""
    return from_frame(pl.read_csv(path) if path.suffix.lower() == ".csv" else pl.read_parquet(path))


def from_frame(frame: pl.DataFrame) -> ResponseCurves:
    """Curves from rows of line, spend, response [, draw], in any order.

    Lines may have grids of different length. A line without a point at spend 0 gets one with response 0.

    Raises
    ------
    DataError : a column is missing, a value is not a finite number, spend is below 0, a point appears twice, a draw
        lacks points, or lines differ in their draws.
    """
    missing = [name for name in ("line", "spend", "response") if name not in frame.columns]
    if missing:
        raise DataError(
            f"Curves lack column {', '.join(missing)}; found {', '.join(frame.columns)}.\n"
            "Expected line, spend, response and, if there are several, draw."
        )
    if frame.is_empty():
        raise DataError("The curves have no rows.\nExpected rows of line, spend, response.")
    if "draw" not in frame.columns:
        frame = frame.with_columns(draw=pl.lit(0))
    try:
        frame = frame.select(
            pl.col("line").cast(pl.String),
            pl.col("spend", "response").cast(pl.Float64),
            pl.col("draw").cast(pl.Int64),
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(f"Curves hold a value that is not a number: {str(error).splitlines()[0]}") from None
    if (
        frame.null_count().sum_horizontal().item()
        or not frame.select(pl.all_horizontal(pl.col("spend", "response").is_finite().all())).item()
    ):
        raise DataError("Curves hold a missing or infinite value.\nEvery row needs line, spend, response.")
    grids = {str(name): _one_line(str(name), rows) for (name,), rows in frame.group_by("line", maintain_order=True)}
    return _joined(grids)


def _one_line(name: str, rows: pl.DataFrame) -> tuple[Array, Array]:
    """Grid (n_points,) with responses (n_points, n_draws) of one line."""
    points, draws = rows["spend"].unique().sort(), rows["draw"].unique().sort()
    if points[0] < 0:
        raise DataError(f"Line {name!r} has spend {points[0]}; spend is 0 or more.")
    n_expected = len(points) * len(draws)
    if rows.height != n_expected or rows.select("spend", "draw").n_unique() != n_expected:
        raise DataError(
            f"Line {name!r} has {rows.height} rows for {len(points)} spends and {len(draws)} draws.\n"
            "Expected each spend once in each draw."
        )
    spend = points.to_numpy()
    response = rows.sort("spend", "draw")["response"].to_numpy().reshape(len(points), len(draws))
    if spend[0] > 0:
        spend = np.insert(spend, 0, 0.0)
        response = np.insert(response, 0, 0.0, axis=0)
    if len(spend) < 2:
        raise DataError(f"Line {name!r} has no point above spend 0.\nAdd one, or leave the line out.")
    return spend.astype(np.float64), response.astype(np.float64)


def _joined(grids: Mapping[str, tuple[Array, Array]]) -> ResponseCurves:
    n_draws = {name: response.shape[1] for name, (_, response) in grids.items()}
    if len(set(n_draws.values())) > 1:
        raise DataError(f"Lines differ in their number of draws: {n_draws}.\nGive every line the same draws.")
    n_points = max(len(spend) for spend, _ in grids.values())
    padded = [_padded(spend, response, n_points) for spend, response in grids.values()]
    return ResponseCurves(
        lines=tuple(grids),
        spend=np.stack([spend for spend, _ in padded]),
        response=np.stack([response for _, response in padded]),
    )


def _padded(spend: Array, response: Array, n_points: int) -> tuple[Array, Array]:
    """The same curve on `n_points`: points added inside the last piece, which is straight."""
    extra = np.linspace(spend[-2], spend[-1], n_points - len(spend) + 2)[1:-1]
    fraction = ((extra - spend[-2]) / (spend[-1] - spend[-2]))[:, None]
    between = response[-2] + fraction * (response[-1] - response[-2])
    return np.insert(spend, -1, extra), np.insert(response, -1, between, axis=0)


def _locate(curves: ResponseCurves, plan: Array) -> tuple[NDArray[np.intp], Array, Array]:
    """Piece each spend lies in (its left point), how far along it, its width."""
    plan = np.asarray(plan, dtype=np.float64)
    last = curves.max_spend
    if plan.shape != last.shape:
        raise ValueError(f"plan has shape {plan.shape}; expected {last.shape}")
    outside = ~((plan >= -SPEND_TOLERANCE * last) & (plan <= last * (1 + SPEND_TOLERANCE)))
    if outside.any():
        worst = int(np.flatnonzero(outside)[0])
        raise ValueError(f"line {curves.lines[worst]!r}: spend {plan[worst]:g}; expected 0 to {last[worst]:g}")
    spend = np.clip(plan, 0.0, last)
    left = np.minimum((curves.spend <= spend[:, None]).sum(axis=1) - 1, curves.spend.shape[1] - 2)
    rows = np.arange(len(spend))
    start, width = curves.spend[rows, left], curves.spend[rows, left + 1] - curves.spend[rows, left]
    return left, (spend - start) / width, width
