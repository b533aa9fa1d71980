"""Response curves from a table of points, so that the allocator serves curves from any model or spreadsheet."""

import polars as pl

from models.response import ResponseCurves, from_frame


def curves_from_points(points: pl.DataFrame) -> ResponseCurves:
    """Curves that join the given points linearly; see `models.response.from_frame`."""
    return from_frame(points)
