"""The blend and what it serves: training is over before judging begins, signals win where there are any, laws hold."""

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from models import clv, early_value, value_blend
from models.early_value import EXISTING, FittedValues, as_known, folds
from models.errors import DataError
from models.value_blend import BTYD, ML, BlendConfig
from models.value_booster import BoosterConfig
from models.value_features import cutoffs_after_first_order, cutoffs_at, features, targets
from models.value_holdout import score
from tests.models.value_shop import AS_OF, START, order_days, shop

CONFIG = BlendConfig(early_days=(0, 30), booster=BoosterConfig(rounds=60))
LIFETIMES = clv.CLVConfig(horizon_days=150)


@pytest.fixture(scope="module")
def fitted() -> tuple[FittedValues, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    firsts, days = shop(100)
    values, holdout = early_value.fit(firsts, days, AS_OF, CONFIG, LIFETIMES, 1)
    return values, holdout, firsts, days


@pytest.mark.parametrize("span", [90, 200, 400, 700, 2000])
@pytest.mark.parametrize("horizon", [30, 150, 365])
def test_training_is_over_before_judging_begins(span: int, horizon: int) -> None:
    """Every training outcome is known by `judge_origin`, every judged cut-off is later and its outcome observed."""
    firsts, days = shop(1, customers=300, days=span)
    as_of = START + timedelta(days=span)
    for fold in folds(firsts, days, as_of, BlendConfig(), horizon):
        near = timedelta(days=fold.horizon_days)
        assert fold.horizon_days <= horizon
        for part in fold.train:
            assert part.is_empty() or part["cutoff_date"].max() + near <= fold.judge_origin
        if not fold.judge.is_empty():
            assert fold.judge["cutoff_date"].min() >= fold.judge_origin
            assert fold.judge["cutoff_date"].max() + near <= as_of
        for part in fold.serve:
            assert part.is_empty() or part["cutoff_date"].max() + near <= as_of


def test_signals_that_lifetimes_cannot_see_are_used(
    fitted: tuple[FittedValues, pl.DataFrame, pl.DataFrame, pl.DataFrame],
) -> None:
    """On day 0 only the trees know the device: they, or the mixture, serve and rank later customers better."""
    values, holdout, _, _ = fitted
    day_0 = values.groups["day_0"]
    assert day_0.winner != BTYD
    scores = day_0.scores
    assert scores[day_0.winner].mae_equal_totals < scores[BTYD].mae_equal_totals
    assert scores[ML].spearman > scores[BTYD].spearman
    assert set(holdout["candidate"]) == {"btyd", "ml", "stack"}
    served = holdout.filter(pl.col("is_served"), pl.col("decile") == 0)
    assert dict(served.select("group", "candidate").iter_rows()) == {n: b.winner for n, b in values.groups.items()}


def test_served_values_are_right_for_customers_nobody_has_seen(
    fitted: tuple[FittedValues, pl.DataFrame, pl.DataFrame, pl.DataFrame],
) -> None:
    """Another shop of the same truth: the total within 6 %, nine in ten inside the interval."""
    values, _, _, _ = fitted
    firsts, days = shop(101, after=LIFETIMES.horizon_days)
    for group, cutoffs in (
        ("day_0", cutoffs_after_first_order(firsts, 0, AS_OF)),
        ("day_30", cutoffs_after_first_order(firsts, 30, AS_OF)),
        (EXISTING, cutoffs_at(firsts, AS_OF)),
    ):
        found = early_value.predict(values, firsts, days, cutoffs, LIFETIMES, group)
        came = found.join(targets(days, cutoffs, LIFETIMES.horizon_days), on=["customer_id", "cutoff_date"])
        judged = score(*(came[name].to_numpy() for name in ("target", "value_mean", "value_p05", "value_p95")))
        assert abs(judged.bias_fraction) < 0.06, group
        assert 0.86 < judged.coverage_fraction < 0.94, group


def test_serving_never_sees_what_comes_after(
    fitted: tuple[FittedValues, pl.DataFrame, pl.DataFrame, pl.DataFrame],
) -> None:
    """Orders after the cut-off, the targets among them, may be anything: values and contributions stay."""
    values, _, firsts, days = fitted
    cutoffs = cutoffs_after_first_order(firsts, 30, AS_OF - timedelta(days=100))
    other = days.join(cutoffs, on="customer_id", how="left").filter(
        pl.col("cutoff_date").is_null() | (pl.col("order_date") <= pl.col("cutoff_date"))
    )
    for group in ("day_30", EXISTING):
        before = early_value.predict(values, firsts, days, cutoffs, LIFETIMES, group)
        after = early_value.predict(values, firsts, other.drop("cutoff_date"), cutoffs, LIFETIMES, group)
        assert_frame_equal(before, after, check_exact=True)
    told = early_value.contributions(values, firsts, days, cutoffs, "day_30", 3)
    assert_frame_equal(told, early_value.contributions(values, firsts, other.drop("cutoff_date"), cutoffs, "day_30", 3))
    assert told.group_by("customer_id").len()["len"].unique().to_list() == [3]


def test_a_fit_sees_nothing_after_its_day() -> None:
    """Orders and refunds after `as_of` leave no trace in the artefact."""
    firsts, days = shop(102, customers=1200)
    end = AS_OF - timedelta(days=60)
    spoiled = days.with_columns(
        value=pl.when(pl.col("order_date") > end).then(1e9).otherwise("value"),
        refunded_date=end + timedelta(days=1),
        kept_value=pl.lit(0.0),
    )
    config = replace(CONFIG, early_days=(7,), booster=BoosterConfig(rounds=10))
    clean, _ = early_value.fit(firsts, days.filter(pl.col("order_date") <= end), end, config, LIFETIMES, 1)
    dirty, _ = early_value.fit(firsts, spoiled, end, config, LIFETIMES, 1)
    assert early_value.to_json(clean) == early_value.to_json(dirty)
    assert as_known(spoiled, end)["refunded_date"].null_count() == len(as_known(spoiled, end))


def test_json_brings_back_the_same_values(
    fitted: tuple[FittedValues, pl.DataFrame, pl.DataFrame, pl.DataFrame],
) -> None:
    values, _, firsts, days = fitted
    back = early_value.from_json(early_value.to_json(values))
    assert early_value.to_json(back) == early_value.to_json(values)
    cutoffs = cutoffs_at(firsts, AS_OF)
    expected = early_value.predict(values, firsts, days, cutoffs, LIFETIMES)
    assert_frame_equal(early_value.predict(back, firsts, days, cutoffs, LIFETIMES), expected, check_exact=True)
    assert json.loads(json.dumps(early_value.metrics(values), allow_nan=False))["groups"].keys() == values.groups.keys()


def test_rows_in_any_order_give_the_same_bits() -> None:
    firsts, days = shop(103, customers=1200)
    config = replace(CONFIG, early_days=(0,), booster=BoosterConfig(rounds=10))
    mixed = [frame.sample(fraction=1.0, shuffle=True, seed=3) for frame in (firsts, days)]
    one, first_rows = early_value.fit(firsts, days, AS_OF, config, LIFETIMES, 1)
    two, second_rows = early_value.fit(mixed[0], mixed[1], AS_OF, config, LIFETIMES, 1)
    assert early_value.to_json(one) == early_value.to_json(two)
    assert_frame_equal(first_rows, second_rows, check_exact=True)


def test_a_short_history_is_carried_on_by_the_lifetime_model(
    fitted: tuple[FittedValues, pl.DataFrame, pl.DataFrame, pl.DataFrame],
) -> None:
    """Mean over the year = mean over the trained days times the growth the lifetime model expects of the customer."""
    values, _, firsts, days = fitted
    year = replace(LIFETIMES, horizon_days=365)
    ml = replace(values.groups["day_30"], winner=ML, weight=1.0)
    table = features(firsts, days, cutoffs_after_first_order(firsts, 30, AS_OF)).head(200)
    near = replace(LIFETIMES, horizon_days=ml.horizon_days)
    short = value_blend.predict(ml, values.lifetimes, table, near)["value_mean"].to_numpy()
    long = value_blend.predict(ml, values.lifetimes, table, year)["value_mean"].to_numpy()
    past = value_blend.histories(table)
    growth = (
        clv.predict(values.lifetimes, past, year)["clv_mean"] / clv.predict(values.lifetimes, past, near)["clv_mean"]
    )
    assert long / short == pytest.approx(growth.to_numpy(), rel=1e-9)
    told, _ = early_value.fit(firsts, days, AS_OF, replace(CONFIG, early_days=(0,)), year, 1)
    assert told.groups["day_0"].winner != BTYD
    assert any("carried on by the lifetime model" in reason for reason in told.reasons)


@pytest.mark.parametrize(("customers", "days"), [(1, 400), (30, 400), (400, 20), (400, 1)])
def test_little_data_leaves_the_lifetime_model(customers: int, days: int) -> None:
    firsts, placed = shop(7, customers=customers, days=days)
    as_of = START + timedelta(days=days)
    values, holdout = early_value.fit(firsts, placed, as_of, CONFIG, LIFETIMES, 1)
    assert holdout.is_empty()
    assert {blend.winner for blend in values.groups.values()} == {BTYD}
    assert all("the lifetime model serves" in reason for reason in values.reasons)
    found = early_value.predict(values, firsts, placed, cutoffs_at(firsts, as_of), LIFETIMES)
    expected = clv.predict(
        values.lifetimes, value_blend.histories(features(firsts, placed, cutoffs_at(firsts, as_of))), LIFETIMES
    )
    assert found["value_mean"].to_list() == expected["clv_mean"].to_list()
    assert early_value.contributions(values, firsts, placed, cutoffs_at(firsts, as_of), EXISTING, 3).is_empty()
    assert early_value.doubts(values, CONFIG) == ()


def test_served_values_take_the_place_of_the_lifetime_model_s() -> None:
    """b and c are served 30 and 5; a keeps its 10. Of 10, 30, 5 the half up to 10 is Low, 30 above the rest VIP."""
    valued = pl.DataFrame(
        {
            "customer_id": ["a", "b", "c"], "clv_mean": [10.0, 20.0, 40.0], "clv_p05": 0.0, "clv_p95": 99.0,
            "tier": ["Low", "High", "VIP"], "method": "bg_nbd+gamma_gamma", "cohort": "2026-Q1",
        }
    )  # fmt: skip
    served = pl.DataFrame(
        {"customer_id": ["c", "b"], "value_mean": [5.0, 30.0], "value_p05": 1.0, "value_p95": 60.0, "method": "stack"}
    )
    found = early_value.with_served_values(valued, served, (0.5, 0.8, 0.95))
    assert found.columns == valued.columns
    assert found["clv_mean"].to_list() == [10.0, 30.0, 5.0]
    assert found["clv_p95"].to_list() == [99.0, 60.0, 60.0]
    assert found["tier"].to_list() == ["Low", "VIP", "Low"]
    assert found["method"].to_list() == ["bg_nbd+gamma_gamma", "stack", "stack"]


def test_of_many_customers_an_even_part_trains_and_judges() -> None:
    firsts, days = shop(10, customers=3000)
    config = replace(CONFIG, early_days=(0,), customers_max=1000, booster=BoosterConfig(rounds=10))
    part, rows = early_value.fit(firsts, days, AS_OF, config, LIFETIMES, 1)
    chosen = firsts.sort("customer_id")[np.linspace(0, 2999, 1000).astype(int)]
    few = days.join(chosen.select("customer_id"), on="customer_id", how="semi")
    _, expected = early_value.fit(chosen, few, AS_OF, config, LIFETIMES, 1)
    assert_frame_equal(rows, expected, check_exact=True)
    assert part.lifetimes.customers == 3000


def test_orders_alone_must_do() -> None:
    """No customers source: nothing but the first order is known of a customer."""
    firsts, days = shop(8, customers=1500)
    bare = firsts.select("customer_id", "first_order_date")
    values, _ = early_value.fit(bare, days, AS_OF, replace(CONFIG, early_days=(30,)), LIFETIMES, 1)
    found = early_value.predict(values, bare, days, cutoffs_at(bare, AS_OF), LIFETIMES)
    assert found.filter(pl.col("value_mean") < 0.0).is_empty()
    assert len(found) == 1500


def test_no_customer_is_an_error() -> None:
    firsts, days = shop(9, customers=10)
    with pytest.raises(DataError, match="No customer"):
        early_value.fit(firsts.head(0), days.head(0), AS_OF, CONFIG, LIFETIMES, 1)


def test_doubts_name_group_and_figure(
    fitted: tuple[FittedValues, pl.DataFrame, pl.DataFrame, pl.DataFrame],
) -> None:
    values, _, _, _ = fitted
    blend = values.groups["day_0"]
    off = replace(blend.scores["served"], bias_fraction=0.3, coverage_fraction=0.5)
    broken = replace(values, groups={"day_0": replace(blend, scores={**blend.scores, "served": off})})
    first, second = early_value.doubts(broken, CONFIG)
    assert "day_0" in first and "+30.0%" in first
    assert "50.0%" in second


@pytest.mark.parametrize(
    ("field", "value"),
    [("early_days", (7, 0)), ("origins", 1), ("bias_max", 0.0), ("judged_min", 1), ("customers_max", 1)],
)
def test_a_config_names_what_is_wrong(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        BlendConfig(**{field: value})  # type: ignore[arg-type]


def test_complete_journey_holdout(shared_data: Path) -> None:
    """26 weeks of a grocer's households, then 26 more: the served values beat both parts, or tie within noise."""
    lines = pl.scan_parquet(shared_data / "completejourney" / "transactions.parquet")
    day = pl.col("transaction_timestamp").dt.date().alias("order_date")
    placed = lines.group_by(pl.col("household_id").cast(pl.String).alias("customer_id"), day).agg(
        value=pl.col("sales_value").sum().round(2)
    )
    days = order_days(placed.collect())
    firsts = days.group_by("customer_id").agg(first_order_date=pl.col("order_date").min()).sort("customer_id")
    begin = days["order_date"].min()
    assert isinstance(begin, date)
    end, weeks = begin + timedelta(days=26 * 7 - 1), 26 * 7
    config = clv.CLVConfig(horizon_days=weeks)
    values, _ = early_value.fit(firsts, days, end, BlendConfig(early_days=(0,)), config, 1)
    known = firsts.filter(pl.col("first_order_date") <= end)
    cutoffs = cutoffs_at(known, end)
    table, actual = features(known, days, cutoffs), targets(days, cutoffs, weeks)["target"].to_numpy()
    blend = values.groups[EXISTING]
    alone = {BTYD: 0.0, ML: 1.0}
    expected = {
        name: value_blend.predict(replace(blend, winner=name, weight=weight), values.lifetimes, table, config)
        for name, weight in alone.items()
    } | {"served": value_blend.predict(blend, values.lifetimes, table, config)}
    error = {name: np.abs(frame["value_mean"].to_numpy() - actual) for name, frame in expected.items()}
    for name in alone:
        worse = error["served"] - error[name]
        assert worse.mean() <= worse.std() / len(worse) ** 0.5
    assert abs(score(actual, expected["served"]["value_mean"].to_numpy()).bias_fraction) < 0.10
