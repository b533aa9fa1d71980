"""A second opinion on elasticity: boosted trees in which more bid never buys fewer clicks, of whatever shape.

The trees are grown on top of the effects of keywords and dates; what they say of the bid is read by counterfactual
simulation: the same days again with every bid a little higher and a little lower.

Sources: Chen & Guestrin (2016), "XGBoost: a scalable tree boosting system", KDD (trees); its monotone constraints as
documented; Friedman (2001), "Greedy function approximation", Annals of Statistics 29(5), 1189-1232, section 8.2
(reading a fit by moving one feature for all rows).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class TreesConfig:
    """How the trees are grown and read."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    rounds: int = 100  # trees
    depth: int = 2  # the bid beside one campaign at a time
    learning_rate: float = 0.15  # of what is left, learned by each tree
    leaf_clicks_min: float = 50.0  # expected clicks of a leaf: a standard error of 14 %
    step: float = 0.15  # of log bid, up and down from each day's bid

    def __post_init__(self) -> None:
        for name in ("rounds", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least 1")
        if not 0.0 < self.learning_rate <= 1.0:
            raise ValueError(f"learning_rate is {self.learning_rate}: expected a fraction inside (0, 1]")
        for name in ("leaf_clicks_min", "step"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a number above 0")


@dataclass(frozen=True, kw_only=True)
class FittedTrees:
    """Trees as xgboost's own JSON, and the range of relative log bids that they were grown on."""

    booster: str
    low: float
    high: float


def fit_trees(
    counts: FloatArray, x: FloatArray, group: IntArray, log_offset: FloatArray, config: TreesConfig
) -> FittedTrees:
    """Trees for counts, Poisson, on top of `log_offset`; never falling in x.

    Parameters
    ----------
    counts : (n,) >= 0. x : (n,) log bid less its keyword's mean. group : (n,) numbers of campaigns.
    log_offset : (n,) log of the counts expected at x = 0.
    """
    import xgboost

    parameters = {
        "objective": "count:poisson",
        "max_depth": config.depth,
        "eta": config.learning_rate,
        "min_child_weight": config.leaf_clicks_min,
        "lambda": 1.0,
        "monotone_constraints": "(1,0)",
        "tree_method": "hist",
        "nthread": 1,  # sums in one order: the same bits on every run
    }
    matrix = _matrix(x, group, log_offset, counts)
    booster = xgboost.train(parameters, matrix, config.rounds)
    low, high = np.quantile(x, [0.05, 0.95])  # outside them trees are flat for want of data
    return FittedTrees(booster=bytes(booster.save_raw("json")).decode(), low=float(low), high=float(high))


def counterfactual_counts(
    fitted: FittedTrees, x: FloatArray, group: IntArray, log_offset: FloatArray, bid_factor: float
) -> FloatArray:
    """Counts (n,) expected of the same days had every bid been `bid_factor` (> 0) times as high."""
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(fitted.booster.encode()))
    found = booster.predict(_matrix(x + np.log(bid_factor), group, log_offset))
    return np.asarray(found, dtype=float)


def trees_elasticity(
    fitted: FittedTrees, x: FloatArray, group: IntArray, log_offset: FloatArray, config: TreesConfig
) -> float | None:
    """Elasticity by counterfactual simulation: bids a step up against a step down, on days where both were tried.

    None where no day has both within the range of the trees.
    """
    inside = (x - config.step >= fitted.low) & (x + config.step <= fitted.high)
    if not inside.any():
        return None
    rows = (x[inside], group[inside], log_offset[inside])
    up, down = (counterfactual_counts(fitted, *rows, float(np.exp(sign * config.step))).sum() for sign in (1, -1))
    return float(np.log(up / down) / (2 * config.step))


def _matrix(x: FloatArray, group: IntArray, log_offset: FloatArray, counts: FloatArray | None = None) -> Any:
    import xgboost

    features = np.column_stack([x, group]).astype(np.float32)
    return xgboost.DMatrix(
        features, label=counts, base_margin=log_offset, feature_names=["bid", "campaign"], feature_types=["q", "q"],
        nthread=1,
    )  # fmt: skip
