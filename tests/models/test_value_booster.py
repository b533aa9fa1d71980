"""Trees for values: they recover known means, their parts sum to the prediction, and a file brings them back."""

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from models import value_booster as trees
from models.btyd import Floats
from models.value_booster import BoosterConfig
from models.value_features import cutoffs_after_first_order, features, targets
from tests.models.value_shop import AS_OF, HORIZON, RATES, shop, true_value

CONFIG = BoosterConfig()
LAST = AS_OF - timedelta(days=HORIZON)


def new_customers(seed: int, customers: int = 3000) -> tuple[pl.DataFrame, Floats]:
    firsts, days = shop(seed, customers)
    cutoffs = cutoffs_after_first_order(firsts, 0, LAST)
    return features(firsts, days, cutoffs), targets(days, cutoffs, HORIZON)["target"].to_numpy()


@pytest.fixture(scope="module")
def learned() -> tuple[trees.FittedBooster, pl.DataFrame, Floats]:
    table, target = new_customers(11)
    fitted = trees.fit(table, target, CONFIG, 1)
    assert fitted is not None
    return fitted, table, target


def relative_error(customers: int) -> float:
    """Mean relative error of the expected value per channel and device, over three shops."""
    errors = []
    for seed in (21, 22, 23):
        table, target = new_customers(seed, customers)
        fitted = trees.fit(table, target, CONFIG, 1)
        assert fitted is not None
        found = table.with_columns(mean=pl.Series(trees.predict_mean(fitted, table)))
        for channel in RATES:
            for device, factor in (("mobile", 0.7), ("desktop", 1.3)):
                mean = found.filter(pl.col("channel") == channel, pl.col("device") == device)["mean"].mean()
                assert isinstance(mean, float)
                errors.append(abs(mean / (factor * true_value(channel)) - 1.0))
    return float(np.mean(errors))


def test_known_means_are_recovered_and_closer_with_more_customers() -> None:
    few, many = relative_error(1000), relative_error(16_000)
    assert few < 0.20
    assert many < 0.05
    assert many < few / 2


def test_the_total_is_that_of_the_training_customers(learned: tuple[trees.FittedBooster, pl.DataFrame, Floats]) -> None:
    fitted, table, target = learned
    assert trees.predict_mean(fitted, table).sum() == pytest.approx(target.sum(), rel=1e-6)


def test_contributions_sum_to_the_prediction(learned: tuple[trees.FittedBooster, pl.DataFrame, Floats]) -> None:
    """Their own identity (Lundberg et al. 2020, local accuracy), through the long form."""
    fitted, table, _ = learned
    sums = trees.contributions(fitted, table.head(50)).group_by("customer_id", maintain_order=True)
    total = sums.agg(pl.col("contribution").sum())["contribution"].to_numpy()
    assert np.exp(total) == pytest.approx(trees.predict_mean(fitted, table.head(50)), rel=1e-4)


def test_the_top_contributions_are_the_signals(learned: tuple[trees.FittedBooster, pl.DataFrame, Floats]) -> None:
    fitted, table, _ = learned
    top = trees.contributions(fitted, table, top=2)
    assert top.group_by("customer_id").len()["len"].unique().to_list() == [2]
    weight = top.group_by("feature").agg(pl.col("contribution").abs().sum()).sort("contribution", descending=True)
    assert set(weight["feature"].head(2)) == {"channel", "device"}
    assert "bias" not in top["feature"]


def test_the_interval_holds_nine_in_ten_of_later_customers() -> None:
    """Calibrated on one shop's customers, judged on another's of the same truth; before it held too many."""
    table, target = new_customers(31, 6000)
    fitted = trees.fit(table, target, CONFIG, 1)
    assert fitted is not None
    held, outcome = new_customers(32, 6000)
    fitted = trees.calibrate(fitted, held, trees.predict_mean(fitted, held), outcome)
    later, came = new_customers(33, 6000)
    low, high = trees.predict_interval(fitted, later, trees.predict_mean(fitted, later))
    assert 0.88 < np.mean((came >= low) & (came <= high)) < 0.92
    assert np.all((low >= 0.0) & (low <= high))


def test_a_calibration_by_hand(learned: tuple[trees.FittedBooster, pl.DataFrame, Floats]) -> None:
    """Ten outcomes at their high end plus 1..10 tenths of the mean: the rank ceil(11 * 0.9) = 10 gives the shift 1."""
    fitted, table, _ = learned
    rows = table.head(10)
    mean = trees.predict_mean(fitted, rows)
    _, high = trees.predict_interval(fitted, rows, mean)
    moved = trees.calibrate(fitted, rows, mean, high + mean * np.arange(1, 11) / 10)
    assert moved.shift == pytest.approx(1.0)
    assert trees.predict_interval(moved, rows, mean)[1] == pytest.approx(high + mean)


def test_unseen_and_missing_categories_are_predicted(learned: tuple[trees.FittedBooster, pl.DataFrame, Floats]) -> None:
    fitted, table, _ = learned
    unseen = table.head(5).with_columns(channel=pl.lit("never seen"), device=pl.lit("fridge"))
    missing = table.head(5).with_columns(channel=pl.lit(None, pl.String), device=pl.lit(None, pl.String))
    assert np.array_equal(trees.predict_mean(fitted, unseen), trees.predict_mean(fitted, missing))
    assert np.all(trees.predict_mean(fitted, unseen) > 0.0)


def test_json_brings_back_the_same_bits(learned: tuple[trees.FittedBooster, pl.DataFrame, Floats]) -> None:
    fitted, table, _ = learned
    back = trees.from_dict(json.loads(json.dumps(trees.to_dict(fitted), allow_nan=False)))
    assert back == fitted
    mean = trees.predict_mean(fitted, table)
    assert np.array_equal(trees.predict_mean(back, table), mean)
    assert np.array_equal(trees.predict_interval(back, table, mean), trees.predict_interval(fitted, table, mean))


def test_rows_in_any_order_give_the_same_trees() -> None:
    table, target = new_customers(41, 1500)
    order = np.random.default_rng(1).permutation(len(table))
    assert trees.fit(table, target, CONFIG, 1) == trees.fit(table[order], target[order], CONFIG, 1)


def test_too_few_carry_no_trees(learned: tuple[trees.FittedBooster, pl.DataFrame, Floats]) -> None:
    fitted, table, target = learned
    assert trees.fit(table.head(CONFIG.rows_min - 1), target[: CONFIG.rows_min - 1], CONFIG, 1) is None
    assert trees.fit(table, np.zeros(len(table)), CONFIG, 1) is None
    assert trees.fit(table, -target, CONFIG, 1) is None  # net refunds are worth nothing
    assert trees.predict_mean(fitted, table.head(0)).shape == (0,)
    assert trees.contributions(fitted, table.head(0)).is_empty()


def test_a_rare_category_beyond_the_limit_is_missing() -> None:
    table, target = new_customers(42, 1500)
    fitted = trees.fit(table, target, replace(CONFIG, categories_max=2), 1)
    assert fitted is not None
    assert fitted.categories["channel"] == ("search", "social")  # video has the fewest customers
    assert fitted.categories["destination"] == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [("rounds", 0), ("learning_rate", 0.0), ("tweedie_variance_power", 2.0), ("rows_min", 1), ("max_depth", 0)],
)
def test_a_config_names_what_is_wrong(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field} is {value}"):
        BoosterConfig(**{field: value})
