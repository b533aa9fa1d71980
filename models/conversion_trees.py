"""Gradient boosted trees on categories, for clicks that count by the share of their conversions seen.

Sources: Chen & Guestrin (2016), "XGBoost: a scalable tree boosting system", KDD; Lundberg et al. (2020), "From local
explanations to global understanding with explainable AI for trees", Nature Machine Intelligence 2 (contributions).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.conversion_features import Codes, Vocabulary
from models.conversion_scores import sigmoid

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TreesConfig:
    """How the trees are grown."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    rounds: int = 50  # trees; twice as many overfit a few thousand conversions (demo seeds from 100 on)
    depth: int = 3  # interactions of three features
    learning_rate: float = 0.1  # with 50 rounds 99.5 % of a constant error is learned
    leaf_conversions_min: float = 10.0  # information of a leaf, about its conversions
    ridge: float = 10.0  # of a leaf's log odds, in conversions' worth of information

    def __post_init__(self) -> None:
        for name in ("rounds", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least 1")
        if not 0.0 < self.learning_rate <= 1.0:
            raise ValueError(f"learning_rate is {self.learning_rate}: expected a fraction inside (0, 1]")
        for name in ("leaf_conversions_min", "ridge"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least 0")


def boost(
    coded: Codes, known: Vocabulary, exposure: Floats, conversions: Floats, base: float, config: TreesConfig
) -> str:
    """Trees, as xgboost's own JSON, for the likelihood of `conversion_scores.fit_logistic`.

    Parameters
    ----------
    coded : (n, features) codes, -1 for what is not known.
    exposure, conversions : (n,) clicks times the share of conversions seen, and conversions seen.
    base : log odds of all clicks together.
    """
    import xgboost

    def objective(margin: Floats, _: object) -> tuple[Floats, Floats]:
        p = sigmoid(margin.astype(float))
        return exposure * p - conversions, exposure * p * (1.0 - p)

    parameters = {
        "max_depth": config.depth,
        "eta": config.learning_rate,
        "min_child_weight": config.leaf_conversions_min,
        "lambda": config.ridge,
        "base_score": base,  # in log odds, as the objective is our own
        "tree_method": "hist",
        "nthread": 1,  # sums in one order: the same bits on every run
        "disable_default_eval_metric": True,
    }
    booster = xgboost.train(parameters, _matrix(coded, known), config.rounds, obj=objective)
    return bytes(booster.save_raw("json")).decode()


def margins(booster: str, coded: Codes, known: Vocabulary) -> Floats:
    """Log odds (n,) of each row of codes."""
    return np.asarray(_load(booster).predict(_matrix(coded, known), output_margin=True), dtype=float)


def additions(booster: str, coded: Codes, known: Vocabulary) -> Floats:
    """What each feature adds to the log odds of each row, (n, features): Shapley values of the trees."""
    added = _load(booster).predict(_matrix(coded, known), pred_contribs=True)
    return np.asarray(added, dtype=float)[:, :-1]  # the last column is the intercept


def _matrix(coded: Codes, known: Vocabulary) -> Any:
    """Codes as xgboost's categories, -1 as missing."""
    import xgboost

    values = np.where(coded >= 0, coded, np.nan).astype(np.float32)
    names = list(known.features)
    kinds = ["c"] * len(names)
    return xgboost.DMatrix(values, feature_names=names, feature_types=kinds, enable_categorical=True, nthread=1)


def _load(text: str) -> Any:
    """A booster from its JSON."""
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(text.encode()))
    return booster
