"""The conversion model: truth recovered, calibrated on later days, equal to published formulas, calm on bad input."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from models.conversion import (
    CONSTANT,
    MODELS,
    ConversionConfig,
    FittedConversion,
    contributions,
    fit,
    from_json,
    metrics,
    predict,
    probability,
    to_json,
)
from models.conversion_features import cells, codes, effects, one_hot, vocabulary
from models.conversion_scores import calibration_error, fit_logistic, fit_sigmoid, scores, sigmoid
from models.conversion_trees import TreesConfig, additions, margins
from tests.models.click_simulator import AS_OF, CONTEXT, Clicks, simulate

CONFIG = ConversionConfig()
NO_DELAYS = pl.DataFrame(
    schema={"channel": pl.String, "clicked_date": pl.Date, "delay_days": pl.Int64, "conversions_count": pl.Int64}
)


def fitted(clicks: Clicks, config: ConversionConfig = CONFIG) -> FittedConversion:
    return fit(clicks.cells, clicks.delays, clicks.as_of, config)


def truth_beside(clicks: Clicks, model: FittedConversion) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted probability of every click."""
    predicted = cells(clicks.cells).with_columns(predicted=pl.Series(predict(model, cells(clicks.cells))))
    keys = [name for name in CONTEXT if name != "clicked_date"]
    texts = clicks.rows.with_columns(pl.col(keys).cast(pl.String))
    both = texts.join(predicted, on=["clicked_date", *keys], nulls_equal=True)
    assert len(both) == len(texts)
    return both["p"].to_numpy(), both["predicted"].to_numpy()


@pytest.fixture(scope="module")
def usual() -> tuple[Clicks, FittedConversion]:
    clicks = simulate(200, 100_000)
    return clicks, fitted(clicks)


def test_probabilities_are_recovered_closer_with_more_data() -> None:
    errors = []
    for clicks in (simulate(201, 25_000), simulate(201, 400_000)):
        true, predicted = truth_beside(clicks, fitted(clicks))
        errors.append(float(np.sqrt(np.mean((predicted / true - 1) ** 2))))
    assert errors[0] < 0.30
    assert errors[1] < 0.12
    assert errors[1] < 0.6 * errors[0]


def test_an_interaction_is_seen_by_trees_alone() -> None:
    clicks = simulate(202, 200_000, interaction=0.8)
    model = fitted(clicks)
    assert model.method == "xgboost"
    assert model.held_out["xgboost"]["log_loss"] < model.held_out["logistic"]["log_loss"]
    plain = fitted(simulate(202, 200_000))
    assert plain.held_out["logistic"]["log_loss"] < plain.held_out[CONSTANT]["log_loss"]


def test_later_clicks_are_predicted_with_a_small_calibration_error(usual: tuple[Clicks, FittedConversion]) -> None:
    """Not only what had been seen by then: all that came of the last days' clicks in the end."""
    clicks, model = usual
    assert model.verdict == "PASS"
    assert model.held_out[model.method]["ece"] < 0.01
    later = simulate(203, 100_000)  # other clicks of the same company
    rows = later.rows.group_by(CONTEXT).agg(clicks_count=pl.len(), conversions_count=pl.col("converts").sum())
    ordered = cells(rows)
    n, y = (ordered[name].cast(pl.Float64).to_numpy() for name in ("clicks_count", "conversions_count"))
    assert calibration_error(n, y, predict(model, ordered)) < 0.01
    assert calibration_error(n, y, 1.3 * predict(model, ordered)) > 0.01  # the measure notices a third too much
    assert len(clicks.rows) == model.clicks


def test_recent_days_do_not_drag_the_rate_down() -> None:
    slow = simulate(204, 200_000, days=30, mean_delay=6.0)
    model = fitted(slow)
    seen, will_be, _ = slow.truth(14)
    assert seen < 0.8 * will_be
    assert model.recent["rate_uncorrected"] == pytest.approx(seen)
    assert model.recent["rate_corrected"] == pytest.approx(will_be, rel=0.1)
    true, predicted = truth_beside(slow, model)
    assert predicted.mean() == pytest.approx(true.mean(), rel=0.06)


def test_scores_of_a_table_worked_by_hand() -> None:
    """Ten clicks at 0.5 of which two came, all seen: loss ln 2, Brier 1/4, |0.2 - 0.5| = 0.3. Half seen: p 0.25."""
    whole = scores(*(np.array([v]) for v in (10.0, 2.0, 1.0, 0.5)))
    assert whole == pytest.approx({"log_loss": np.log(2), "brier": 0.25, "ece": 0.3, "rate": 0.2, "predicted": 0.5})
    half = scores(*(np.array([v]) for v in (10.0, 2.0, 0.5, 0.5)))
    assert half["ece"] == pytest.approx(0.05)
    assert half["brier"] == pytest.approx(0.2 * 0.75**2 + 0.8 * 0.25**2)
    assert np.isnan(scores(*(np.zeros(0) for _ in range(4)))["brier"])


def test_cells_score_as_their_clicks_do() -> None:
    rng = np.random.default_rng(205)
    n, p = rng.integers(1, 9, 200).astype(float), rng.uniform(0.01, 0.6, 200)
    y = rng.binomial(n.astype(int), p).astype(float)
    single = [(1.0, float(k < y[i]), 1.0, p[i]) for i in range(200) for k in range(int(n[i]))]
    assert scores(*np.array(single).T) == pytest.approx(scores(n, y, np.ones(200), p))


def test_newton_agrees_with_a_general_optimiser_on_whole_clicks() -> None:
    rng = np.random.default_rng(206)
    design = np.column_stack([np.ones(60), rng.normal(size=(60, 2))])
    n = rng.integers(5, 50, 60).astype(float)
    y = rng.binomial(n.astype(int), sigmoid(design @ np.array([-1.0, 0.5, -0.7]))).astype(float)
    penalty = np.array([0.0, 2.0, 2.0])

    def loss(beta: np.ndarray) -> float:
        p = sigmoid(design @ beta)
        return float(-(y @ np.log(p) + (n - y) @ np.log(1 - p)) + 0.5 * penalty @ beta**2)

    start = np.zeros(3)
    found = fit_logistic(design, n, y, start, penalty)
    np.testing.assert_allclose(found, minimize(loss, start, tol=1e-10).x, atol=1e-5)


def test_an_intercept_alone_meets_the_rate() -> None:
    beta = fit_logistic(
        np.ones((3, 1)), np.array([10.0, 5.0, 85.0]), np.array([3.0, 0.0, 2.0]), np.zeros(1), np.zeros(1)
    )
    assert sigmoid(beta)[0] == pytest.approx(0.05)


def test_calibration_turns_an_overconfident_score_back() -> None:
    rng = np.random.default_rng(207)
    odds = rng.normal(-2, 1, 4000)
    y = rng.binomial(500, sigmoid(odds)).astype(float)
    intercept, slope = fit_sigmoid(np.full(4000, 500.0), y, 2 * odds + 1)
    assert slope == pytest.approx(0.5, abs=0.01)
    assert intercept == pytest.approx(-0.5, abs=0.03)
    assert fit_sigmoid(np.full(4000, 500.0), y, -odds)[1] == 0.0  # a score that ranks the wrong way is not used


def test_contributions_add_up_to_the_log_odds(usual: tuple[Clicks, FittedConversion]) -> None:
    clicks, model = usual
    assert model.candidates is not None
    known, rows = model.candidates.known, cells(clicks.cells)
    coded = codes(rows, known)
    added = additions(model.candidates.booster, coded, known).sum(axis=1)
    gap = margins(model.candidates.booster, coded, known) - added
    assert np.ptp(gap) < 1e-4  # what is left is the intercept; the trees are in single precision
    linear = np.array(model.candidates.coefficients)
    np.testing.assert_allclose(
        linear[0] + effects(coded, known, linear).sum(axis=1), one_hot(coded, known) @ linear, atol=1e-12
    )


@pytest.mark.parametrize("serves", MODELS)
def test_contributions_are_those_of_the_model_that_serves(usual: tuple[Clicks, FittedConversion], serves: str) -> None:
    clicks, model = usual
    assert model.candidates is not None
    table = contributions(replace(model, method=serves), clicks.cells, AS_OF, CONFIG)
    device = table.filter(line="all", feature="device")
    rows = cells(clicks.cells.filter(pl.col("clicked_date") > AS_OF - timedelta(days=CONFIG.value_days)))
    coded, known = codes(rows, model.candidates.known), model.candidates.known
    place, weight = known.features.index("device"), rows["clicks_count"].to_numpy().astype(float)
    if serves == "xgboost":
        own = additions(model.candidates.booster, coded, known)[:, place]
    else:  # by hand: the coefficient of each device, 0 where it is not known, against the mean click's
        start = 1 + sum(len(known.values[name]) for name in known.features[:place])
        effect = dict(zip(known.values["device"], model.candidates.coefficients[start:], strict=False))
        own = np.array([effect.get(name, 0.0) for name in rows["device"]])
        own = own - np.average(own, weights=weight)
        assert device["contribution_mean"].item() == pytest.approx(0.0, abs=1e-12)
    assert device["contribution_abs_mean"].item() == pytest.approx(np.average(np.abs(own), weights=weight))
    assert set(table["line"]) == {"all", "search", "social", "video"}
    assert (table["contribution_abs_mean"] >= table["contribution_mean"].abs() - 1e-12).all()
    sizes = dict(table.filter(pl.col("line") == "all").select("feature", "contribution_abs_mean").iter_rows())
    assert min(sizes["channel"] + sizes["query_type"] + sizes["campaign"], sizes["device"]) > 5 * sizes["weekday"]
    where = table.filter(pl.col("feature").is_in(["channel", "campaign", "query_type"])).group_by("line")
    by_channel = dict(where.agg(pl.col("contribution_mean").sum()).iter_rows())
    assert by_channel["search"] > by_channel["social"] > by_channel["video"]  # campaigns are named after their channel


def test_what_was_never_seen_or_is_missing_has_a_probability(usual: tuple[Clicks, FittedConversion]) -> None:
    clicks, model = usual
    assert model.candidates is not None
    odd = clicks.cells.head(4).with_columns(
        channel=pl.Series(["search", "radio", "search", "radio"]),
        campaign=pl.Series(["never seen", None, None, "never seen"]),
        device=pl.lit(None, pl.String),
    )
    for name in MODELS:
        p = probability(model.candidates, name, cells(odd))
        assert ((p > 0.005) & (p < 0.2)).all()
    lacking = clicks.cells.select("clicked_date", "channel", "clicks_count", "conversions_count")
    bare = fit(lacking, clicks.delays, AS_OF, CONFIG)
    assert bare.candidates is not None
    assert bare.candidates.known.features == ("channel", "weekday")
    assert bare.verdict == "PASS"


def test_the_same_input_in_any_order_gives_the_same_bits(usual: tuple[Clicks, FittedConversion]) -> None:
    clicks, model = usual
    mixed = fit(clicks.cells.sample(fraction=1.0, shuffle=True, seed=1), clicks.delays.reverse(), AS_OF, CONFIG)
    assert to_json(mixed) == to_json(model)
    assert mixed == model


def test_a_fit_survives_its_file(usual: tuple[Clicks, FittedConversion]) -> None:
    clicks, model = usual
    again = from_json(to_json(model), model.delay)
    assert again == model
    assert predict(again, cells(clicks.cells)).tolist() == predict(model, cells(clicks.cells)).tolist()
    kept = metrics(model)
    assert {"log_loss", "brier", "ece"} <= set(kept["held_out"]["logistic"]) & set(kept["held_out"]["xgboost"])
    assert kept["delay"]["mean_days"] == pytest.approx(2.0, abs=0.2)


def test_nothing_after_as_of_is_used(usual: tuple[Clicks, FittedConversion]) -> None:
    """A fit of the past is the same whether or not the future is in the table."""
    clicks, _ = usual
    earlier = AS_OF - timedelta(days=10)
    then = replace(clicks, as_of=earlier)
    after = clicks.cells.filter(pl.col("clicked_date") > earlier)
    assert fit(pl.concat([then.cells, after]), then.delays, earlier, CONFIG) == fitted(then)


def test_the_design_has_a_one_for_each_known_value() -> None:
    rows = cells(simulate(208, 5_000).cells)
    known = vocabulary(rows, 200, 200)
    assert all(
        int(rows.filter(pl.col(n) == v)["clicks_count"].sum()) >= 200 for n in known.features for v in known.values[n]
    )
    dense = one_hot(codes(rows, known), known).toarray()
    assert set(np.unique(dense)) == {0.0, 1.0}
    assert dense.shape[1] == 1 + sum(len(known.values[name]) for name in known.features)
    assert (dense.sum(axis=1) == 1 + (codes(rows, known) >= 0).sum(axis=1)).all()


def altered(clicks: Clicks, converts: pl.Expr) -> FittedConversion:
    return fitted(Clicks(rows=clicks.rows.with_columns(converts=converts)))


def test_bad_input_ends_in_review_with_its_reason() -> None:
    clicks = simulate(209, 20_000)
    none = altered(clicks, pl.lit(False))
    assert "none of 20000 clicks has converted" in none.reasons[0]
    everyone = fit(clicks.cells.with_columns(conversions_count="clicks_count"), NO_DELAYS, AS_OF, CONFIG)
    assert "all of 20000 clicks" in everyone.reasons[0]
    one = fitted(Clicks(rows=clicks.rows.head(1)))
    few = fitted(Clicks(rows=clicks.rows.head(500)))
    nobody = fit(clicks.cells.clear(), NO_DELAYS, AS_OF, CONFIG)
    for model in (none, everyone, one, few, nobody):
        assert (model.verdict, model.method) == ("REVIEW", CONSTANT)
        assert 0.0 < model.base_rate < 1.0
        assert np.isfinite(predict(model, cells(clicks.cells))).all()
        assert contributions(model, clicks.cells, AS_OF, CONFIG).is_empty()
        assert from_json(to_json(model), model.delay) == model
    assert none.base_rate < 1e-3
    assert everyone.base_rate > 0.999


def test_days_for_calibration_with_one_class_leave_the_model_as_it_is() -> None:
    """From day 36 to 47 nothing converts, few enough a day not to be taken for broken tracking."""
    clicks = simulate(210, 20_000, rate=0.02)
    age = (pl.lit(AS_OF) - pl.col("clicked_date")).dt.total_days()
    config = replace(CONFIG, conversions_min=50, delay=replace(CONFIG.delay, break_expected=1e9))
    rows = clicks.rows.with_columns(converts=pl.col("converts") & ~age.is_between(11, 25))
    model = fitted(Clicks(rows=rows), config)
    assert any("kept for calibration" in reason for reason in model.reasons)
    assert model.verdict == "REVIEW"


def test_a_constant_feature_says_nothing() -> None:
    clicks = simulate(211, 50_000)
    same = Clicks(rows=clicks.rows.with_columns(device=pl.lit("mobile"), hour_band=pl.lit(1)))
    model = fitted(same)
    assert model.candidates is not None
    assert not {"device", "hour_band"} & set(model.candidates.known.features)
    alone = clicks.rows.select(
        "clicked_date", "converts", "delay_days", "p",
        **{name: pl.lit(None, pl.String) for name in CONTEXT[2:]}, channel=pl.lit("search"),
    )  # fmt: skip
    single = fitted(Clicks(rows=alone))
    assert single.candidates is not None
    assert single.candidates.known.features == ("weekday",)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), clicks=st.integers(0, 3_000), days=st.integers(1, 40), rate=st.floats(0.01, 0.9))
def test_any_clicks_have_probabilities(seed: int, clicks: int, days: int, rate: float) -> None:
    data = simulate(seed, clicks, days=days, rate=rate)
    model = fitted(data, replace(CONFIG, conversions_min=20, clicks_min=20))
    p = predict(model, cells(data.cells))
    assert ((p > 0.0) & (p < 1.0)).all()
    assert all(sum(weights) == pytest.approx(1.0) for weights in model.spread.values())
    assert all(np.isfinite(v) for part in model.held_out.values() for v in part.values())


@pytest.mark.parametrize(
    ("settings_of", "message"),
    [
        ({"conversions_min": 0}, "conversions_min is 0"),
        ({"test_fraction": 1.0}, "test_fraction is 1.0"),
        ({"test_fraction": 0.5, "calibrate_fraction": 0.4}, "calibrate_fraction"),
        ({"ridge": 0.0}, "ridge is 0.0"),
        ({"categories_max": 501}, "categories_max is 501: expected at most 500"),
    ],
)
def test_a_bad_setting_is_named(settings_of: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConversionConfig(**settings_of)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="depth is 0"):
        TreesConfig(depth=0)


def test_ad_servings_of_a_teaching_data_set(shared_data: Path) -> None:
    """10,037 servings, 1,076 of them converted, in four weeks: no delay is known, so that all are taken as come."""
    file = shared_data / "datacamp_marketing_channels" / "datasets_marketing.csv"
    rows = pl.read_csv(file, infer_schema=False).drop_nulls(["date_served", "marketing_channel"])
    frame = rows.select(
        clicked_date=pl.col("date_served").str.to_date("%m/%d/%y"), channel="marketing_channel", campaign="variant",
        device="age_group", query_type="language_displayed", clicks_count=pl.lit(1),
        conversions_count=(pl.col("converted").str.to_lowercase() == "true").cast(pl.Int64),
    )  # fmt: skip
    delays = frame.filter(pl.col("conversions_count") > 0).group_by("channel", "clicked_date").agg(
        conversions_count=pl.len(), delay_days=pl.lit(0)
    )  # fmt: skip
    model = fit(frame, delays, frame["clicked_date"].max(), CONFIG)  # type: ignore[arg-type]
    assert model.held_out[model.method]["log_loss"] < model.held_out[CONSTANT]["log_loss"]
    p = predict(model, cells(frame))
    assert ((p > 0) & (p < 1)).all()


def test_display_campaigns_in_which_conversions_exceed_clicks(shared_data: Path) -> None:
    """Impression level: displays stand for clicks; rows in which more converted than were shown are cut to that."""
    file = shared_data / "online_ads_performance" / "online_advertising_performance_data.csv"
    rows = pl.read_csv(file)
    month = pl.col("month").replace_strict({"April": 4, "May": 5, "June": 6})
    frame = rows.select(
        clicked_date=pl.date(2020, month, "day"), channel="campaign_number", campaign="placement", keyword="banner",
        device="user_engagement", clicks_count="displays",
        conversions_count=pl.min_horizontal(pl.col("clicks"), pl.col("displays")),
    ).filter(pl.col("clicks_count") > 0)  # fmt: skip
    delays = frame.group_by("channel", "clicked_date").agg(
        conversions_count=pl.col("conversions_count").sum(), delay_days=pl.lit(0)
    )
    last = frame["clicked_date"].max()
    model = fit(frame, delays, last, CONFIG)  # type: ignore[arg-type]
    best = model.held_out[model.method]
    assert best["log_loss"] < model.held_out[CONSTANT]["log_loss"]
    assert best["brier"] < model.held_out[CONSTANT]["brier"]
