"""Realised against expected value of customer tiers."""

from dataclasses import dataclass

import numpy as np
import polars as pl


@dataclass(frozen=True, kw_only=True)
class RelativeValue:
    """One tier's actual-to-expected ratio over that of the other tiers.

    Attributes
    ----------
    ratio : 1 where the tier did as well as the others against what was expected.
    se : its standard error. null_se : the standard error it would have if the ratio were 1.
    """

    ratio: float
    se: float
    null_se: float


def tier_values(customers: pl.DataFrame) -> pl.DataFrame:
    """Expected and actual value of a window, summed by tier.

    Parameters
    ----------
    customers : one row per customer: `customer_id`, `tier` (assigned before the window), `expected_orders`,
        `actual_orders`, `expected_value`, `actual_value`, the expectations made before the window.

    Returns
    -------
    `subject` (tier), `customers_count`, `expected_orders`, `actual_orders`, `expected_value`, `actual_value`,
    `actual_se`: the standard error of the summed actual value, from the spread of customers around what the tier as a
    whole brought, so that differences between customers and between orders both count.
    """
    ratio = pl.col("actual_value").sum() / pl.col("expected_value").sum()
    residual = pl.col("actual_value") - ratio * pl.col("expected_value")
    return (
        customers.group_by("tier")
        .agg(
            customers_count=pl.len(),
            expected_orders=pl.col("expected_orders").sum(),
            actual_orders=pl.col("actual_orders").sum(),
            expected_value=pl.col("expected_value").sum(),
            actual_value=pl.col("actual_value").sum(),
            actual_se=(residual.pow(2).sum() * pl.len() / (pl.len() - 1).clip(1)).sqrt(),
        )
        .rename({"tier": "subject"})
        .sort("subject")
    )


def relative_value(top: pl.DataFrame, rest: pl.DataFrame, expected: str, actual: str, se: str) -> RelativeValue:
    """Ratio of the rows `top` over that of the rows `rest`, from the three columns named; NaN where nothing is there.

    The variance of a sum of orders grows with its mean. A window that by chance lacks the large orders would show
    both a low sum and a small error; under the null the error is therefore scaled up to the expected sum.
    """
    expected_top, actual_top = top[expected].to_numpy().sum(), top[actual].to_numpy().sum()
    expected_rest, actual_rest = rest[expected].to_numpy().sum(), rest[actual].to_numpy().sum()
    if min(expected_top, expected_rest, actual_rest) <= 0:
        return RelativeValue(ratio=np.nan, se=np.nan, null_se=np.nan)
    level = actual_rest / expected_rest
    ratio = actual_top / expected_top / level
    se_top = float(np.linalg.norm(top[se].to_numpy())) / expected_top / level
    se_rest = float(np.linalg.norm(rest[se].to_numpy())) / actual_rest
    grown = se_top / np.sqrt(ratio) if 0 < ratio < 1 else se_top
    return RelativeValue(
        ratio=float(ratio), se=float(np.hypot(se_top, ratio * se_rest)), null_se=float(np.hypot(grown, se_rest))
    )
