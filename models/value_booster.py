"""Gradient-boosted trees for what a customer will be worth: mean, 90 % interval, contributions of the features.

The target is zero for most customers and has a heavy tail, so that the mean is fitted by the Tweedie deviance (a
compound Poisson-gamma law) with a log link: never negative, and one large order does not rule the fit. The interval
comes from two quantile trees, then is shifted so that it held 90 % of later customers (`calibrate`).

Sources: Chen & Guestrin (2016), "XGBoost"; Jorgensen (1987), JRSS B 49, for the Tweedie law; Koenker & Bassett (1978)
for the quantile loss; Romano, Patterson & Candes (2019), "Conformalized quantile regression"; Lundberg et al. (2020),
Nature Machine Intelligence 2, for contributions that sum to the prediction.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
import polars as pl

from models.btyd import Floats
from models.value_features import CATEGORIES, KEY, NUMBERS

COVERAGE = 0.90  # of the interval of every output table
QUANTILES = (0.05, 0.95)
FLOOR_FRACTION = 1e-4  # of the mean target: below it a tree's log prediction says no more than zero
WINDOWS = {"value_last_30_days": 30.0, "value_last_90_days": 90.0, "order_days_last_30_days": 30.0}
WINDOWS |= {"order_days_last_90_days": 90.0}
PER_DAY = ("frequency", "orders", "value_total", "recency_days")
LEFT_OUT = ("age_days",)  # of later cut-offs it is beyond what the trees saw: they would take it for a period
INPUTS = (*CATEGORIES, *(name for name in NUMBERS if name not in LEFT_OUT), "silence_gaps")


@dataclass(frozen=True, kw_only=True)
class BoosterConfig:
    """Size and care of the trees; chosen on demo companies of seeds from 100 on."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    rounds: int = 100  # twice as many fitted noise: the deviance of later customers rose
    learning_rate: float = 0.05  # with 100 rounds 99.4 % of a constant error is learned
    max_depth: int = 3  # three features meet in a leaf; a fourth gained nothing on later customers
    min_child_weight: float = 20.0  # about that many average customers in a leaf
    tweedie_variance_power: float = 1.5  # midway between Poisson (1) and gamma (2)
    categories_max: int = 50  # of one feature, by customers; the rest are treated as missing
    rows_max: int = 50_000  # evenly taken from more: a hundred small trees learn next to nothing from further rows
    rows_min: int = 200  # fewer carry no trees
    positives_min: int = 50  # customers who were worth something, likewise

    def __post_init__(self) -> None:
        for name, value, low in (
            ("rounds", self.rounds, 1),
            ("max_depth", self.max_depth, 1),
            ("min_child_weight", self.min_child_weight, 0.0),
            ("categories_max", self.categories_max, 1),
            ("rows_max", self.rows_max, 100),
            ("rows_min", self.rows_min, 10),
            ("positives_min", self.positives_min, 2),
        ):
            if not value >= low:
                raise ValueError(f"{name} is {value}: expected at least {low}")
        if not 0.0 < self.learning_rate <= 1.0:
            raise ValueError(f"learning_rate is {self.learning_rate}: expected a number in (0, 1]")
        if not 1.0 < self.tweedie_variance_power < 2.0:
            power = self.tweedie_variance_power
            raise ValueError(f"tweedie_variance_power is {power}: expected a number between 1 and 2")


@dataclass(frozen=True, kw_only=True)
class FittedBooster:
    """Trees as XGBoost's own JSON, the categories they know, and the shift of the interval.

    `scale` is the mean target in company currency, the unit in which the trees work; `shift` is in units of the
    predicted mean (see `calibrate`).
    """

    mean_trees: str
    quantile_trees: str | None
    categories: dict[str, tuple[str, ...]]
    scale: float
    level: float = 1.0
    shift: float = 0.0


def fit(
    table: pl.DataFrame, target: Floats, config: BoosterConfig, seed: int, *, with_interval: bool = True
) -> FittedBooster | None:
    """Fit mean and, with `with_interval`, quantiles of `target` on the features in `table`.

    Parameters
    ----------
    table : rows of `models.value_features.features`; nulls are missing values, which trees send to their better side.
    target : shape (n,), value after the cut-off in company currency; negative values count as 0.
    seed : of ties inside XGBoost; rows are put in order first, so that theirs does not matter.

    Returns
    -------
    None where the rows or the customers with any value are too few (`rows_min`, `positives_min`).
    """
    import xgboost

    target = np.maximum(np.nan_to_num(np.asarray(target, dtype=float)), 0.0)
    if len(table) < config.rows_min or int((target > 0.0).sum()) < config.positives_min:
        return None
    ordered = table.with_columns(target=pl.Series(target)).sort(*KEY)
    ordered = ordered[np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), config.rows_max)).astype(int))]
    y = ordered["target"].to_numpy()
    if not y.mean() > 0.0:
        return None
    categories = {name: _known(ordered[name], config.categories_max) for name in CATEGORIES}
    scale = float(y.mean())
    inputs = _matrix(ordered, categories)
    common: dict[str, Any] = {
        "tree_method": "hist",
        "eta": config.learning_rate,
        "max_depth": config.max_depth,
        "nthread": 1,  # sums over threads differ in their last bits
        "seed": seed,
        "verbosity": 0,
    }
    data = _dmatrix(inputs, y / scale)
    tweedie = {"objective": "reg:tweedie", "tweedie_variance_power": config.tweedie_variance_power}
    mean = xgboost.train(common | tweedie | {"min_child_weight": config.min_child_weight}, data, config.rounds)
    quantile_trees = None
    if with_interval:
        quantiles = {"objective": "reg:quantileerror", "quantile_alpha": np.array(QUANTILES), "min_child_weight": 1.0}
        quantile_trees = _text(xgboost.train(common | quantiles, data, config.rounds))
    fitted = FittedBooster(mean_trees=_text(mean), quantile_trees=quantile_trees, categories=categories, scale=scale)
    predicted = float(predict_mean(fitted, ordered).mean())
    return replace(fitted, level=scale / predicted)  # the deviance fits each leaf, not the total exactly


def predict_mean(fitted: FittedBooster, table: pl.DataFrame) -> Floats:
    """Expected value after the cut-off of each row, shape (n,), company currency, above 0."""
    if table.is_empty():
        return np.zeros(0)
    trees = _booster(fitted.mean_trees).predict(_dmatrix(_matrix(table, fitted.categories)))
    return np.maximum(trees.astype(float), FLOOR_FRACTION) * fitted.scale * fitted.level


def predict_interval(fitted: FittedBooster, table: pl.DataFrame, mean: Floats) -> tuple[Floats, Floats]:
    """Ends of the 90 % interval of each row, 0 <= low <= high, company currency; `mean` is the row's served mean."""
    if fitted.quantile_trees is None:
        raise ValueError("these trees have no interval: fit them with_interval")
    if table.is_empty():
        return np.zeros(0), np.zeros(0)
    trees = _booster(fitted.quantile_trees).predict(_dmatrix(_matrix(table, fitted.categories)))
    low, high = np.sort(np.maximum(trees.astype(float) * fitted.scale, 0.0), axis=1).T
    shift = fitted.shift * mean
    low = np.where(low > 0.0, np.maximum(low - shift, 0.0), 0.0)
    return np.minimum(low, np.maximum(high + shift, 0.0)), np.maximum(high + shift, 0.0)


def calibrate(fitted: FittedBooster, table: pl.DataFrame, mean: Floats, actual: Floats) -> FittedBooster:
    """The same trees with the interval's ends moved so that it held `COVERAGE` of these later customers.

    The ends move by `shift` times a customer's mean. Where the low end is 0 it stays: most customers are worth nothing,
    and an end above 0 would leave them out. Then the high end alone makes the coverage, and stands below the 95 %
    quantile.

    Sources: Romano, Patterson & Candes (2019), equation 7, with the score per unit of the predicted mean.
    """
    low, high = predict_interval(replace(fitted, shift=0.0), table, mean)
    if not len(low):
        return fitted
    unit = np.maximum(mean, FLOOR_FRACTION * fitted.scale)
    score = (actual - high) / unit
    score = np.where(low > 0.0, np.maximum(score, (low - actual) / unit), score)
    rank = min(int(np.ceil((len(score) + 1) * COVERAGE)), len(score))
    return replace(fitted, shift=float(np.sort(score)[rank - 1]))


def contributions(fitted: FittedBooster, table: pl.DataFrame, top: int | None = None) -> pl.DataFrame:
    """What each feature adds to the logarithm of a row's expected value, in long form.

    Over a row the contributions and the bias sum to the log of `predict_mean` (up to its floor).

    Returns
    -------
    customer_id, cutoff_date, feature (an input, or ``bias``), contribution; with `top`, the largest that many of each
    row by size, without the bias. Sorted by customer, cut-off, size.
    """
    names = [*INPUTS, "bias"]
    schema = {"customer_id": pl.String, "cutoff_date": pl.Date, "feature": pl.String, "contribution": pl.Float64}
    if table.is_empty():
        return pl.DataFrame(schema=schema)
    values = _booster(fitted.mean_trees).predict(_dmatrix(_matrix(table, fitted.categories)), pred_contribs=True)
    values = values.astype(float)
    values[:, -1] += np.log(fitted.scale * fitted.level)
    wide = table.select(*KEY).hstack([pl.Series(name, values[:, column]) for column, name in enumerate(names)])
    long = wide.unpivot(index=list(KEY), variable_name="feature", value_name="contribution")
    size = pl.col("contribution").abs()
    long = long.with_columns(size=size).sort(*KEY, "size", "feature", descending=[False, False, True, False])
    if top is not None:
        long = long.filter(pl.col("feature") != "bias").group_by(KEY, maintain_order=True).head(top)
    return long.select(*schema)


def to_dict(fitted: FittedBooster) -> dict[str, Any]:
    """Plain data from which `from_dict` makes an equal object."""
    return asdict(fitted)


def from_dict(data: dict[str, Any]) -> FittedBooster:
    """Inverse of `to_dict`, also after a trip through JSON."""
    return FittedBooster(**(data | {"categories": {name: tuple(known) for name, known in data["categories"].items()}}))


def _text(booster: Any) -> str:
    return bytes(booster.save_raw("json")).decode()


def _booster(text: str) -> Any:
    import xgboost

    json.loads(text)  # what is not JSON is refused here, not inside the library
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(text.encode()))
    return booster


def _known(column: pl.Series, most: int) -> tuple[str, ...]:
    counts = column.drop_nulls().value_counts(name="rows").sort("rows", column.name, descending=[True, False])
    return tuple(sorted(counts[column.name].head(most).to_list()))


def _matrix(table: pl.DataFrame, categories: dict[str, tuple[str, ...]]) -> Floats:
    """Inputs (n, len(INPUTS)): categories as their number, NaN where unknown; sums as rates per observed day.

    Trees do not extrapolate: a sum over an age they have not seen would stop growing, a rate goes on.
    """
    age = pl.col("age_days") + 1.0
    codes = []
    for name in CATEGORIES:
        number = {known: float(place) for place, known in enumerate(categories[name])}
        coded = pl.col(name).replace_strict(number, default=None, return_dtype=pl.Float64) if number else pl.lit(None)
        codes.append(coded.cast(pl.Float64).alias(name))
    rates = [(pl.col(name) / age).alias(name) for name in PER_DAY]
    windows = [(pl.col(name) / pl.min_horizontal(age, pl.lit(days))).alias(name) for name, days in WINDOWS.items()]
    silence = (pl.col("silence_days") / (pl.col("gap_mean_days") + 1.0)).alias("silence_gaps")
    made = table.select(*codes, *(pl.col(name).cast(pl.Float64) for name in NUMBERS), silence)
    made = made.with_columns(table.select(*rates, *windows))
    return made.select(INPUTS).fill_null(float("nan")).to_numpy().astype(float)


def _dmatrix(inputs: Floats, target: Floats | None = None) -> Any:
    import xgboost

    kinds = ["c" if name in CATEGORIES else "q" for name in INPUTS]
    return xgboost.DMatrix(
        inputs, label=target, feature_names=list(INPUTS), feature_types=kinds, enable_categorical=True, nthread=1
    )
