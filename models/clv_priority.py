"""Which line deserves the next euro once the customers it brings are weighed: ROAS times a CLV multiplier.

The multiplier is the value of a line's customers over that of the mean customer, so a line that looks poor by its
short-term return but brings customers for years moves up, and one that sells cheaply to whoever would not stay moves
down.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

Floats = np.ndarray
HIGH, MEDIUM, LOW = "High", "Medium", "Low"
TIE = 1e-9  # lines that are all alike are all High, whatever the rounding of their mean


@dataclass(frozen=True, kw_only=True)
class PriorityConfig:
    """From which CLV-adjusted ROAS on a line has which priority."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    high_min: float = 1.0  # weighed by its customers, a euro brings back a euro at once
    high_over_mean_min: float = 1.0  # and no less than the mean euro does, for money that moves comes from elsewhere
    medium_min: float = 1 / 3  # at the healthy ratio of lifetime value to cost, 3, a third at once is a euro in the end

    def __post_init__(self) -> None:
        if not 0.0 < self.medium_min < self.high_min:
            raise ValueError(
                f"medium_min is {self.medium_min} and high_min {self.high_min}: expected 0 < medium_min < high_min"
            )
        if not self.high_over_mean_min >= 0.0:
            raise ValueError(f"high_over_mean_min is {self.high_over_mean_min}: expected at least 0")


def clv_multiplier(clv: Floats, weight: Floats | None = None) -> Floats:
    """Each line's CLV over the mean customer's, (n,); 1 where all are alike.

    Parameters
    ----------
    clv : (n,) value of a customer of each line, >= 0, in one currency; NaN where unknown, which stays NaN.
    weight : (n,) customers of each line, >= 0; without them every line counts the same.
    """
    known = np.isfinite(clv)
    weight = np.ones(clv.shape) if weight is None else weight
    whole = weight[known].sum()
    mean = float(clv[known] @ weight[known]) / whole if whole > 0 else np.nan
    return np.divide(clv, mean, out=np.full(clv.shape, np.nan), where=known & (mean > 0))


def priorities(adjusted_roas: Floats, spend: Floats, config: PriorityConfig) -> list[str | None]:
    """High, Medium or Low for each line; None where its CLV-adjusted ROAS is NaN.

    Parameters
    ----------
    adjusted_roas, spend : (n,); the mean that High is held against is weighed by spend, all alike where none is spent.
    """
    known = np.isfinite(adjusted_roas)
    weight = spend[known] if spend[known].sum() > 0.0 else np.ones(int(known.sum()))
    mean = float(adjusted_roas[known] @ weight) / weight.sum() if known.any() else np.nan
    high = max(config.high_min, config.high_over_mean_min * mean * (1.0 - TIE))
    found: list[str | None] = []
    for value in adjusted_roas:
        is_known = bool(np.isfinite(value))
        found.append((HIGH if value >= high else MEDIUM if value >= config.medium_min else LOW) if is_known else None)
    return found


def with_priority(lines: pl.DataFrame, config: PriorityConfig) -> pl.DataFrame:
    """`lines` with clv_adjusted_roas and priority.

    Parameters
    ----------
    lines : roas (value per spend, any horizon, the same for all lines; null where unknown), clv_mean (null where
        unknown), and where they are there new_customers, by which the mean customer is weighed, and spend, by which
        the mean line is.
    """
    roas, clv = (lines[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in ("roas", "clv_mean"))
    ones = np.ones(len(lines))
    customers, spend = (
        lines[name].cast(pl.Float64).to_numpy() if name in lines.columns else ones
        for name in ("new_customers", "spend")
    )
    adjusted = roas * clv_multiplier(clv, customers)
    return lines.with_columns(
        pl.Series("clv_adjusted_roas", adjusted).fill_nan(None),
        pl.Series("priority", priorities(adjusted, spend, config), dtype=pl.String),
    )
