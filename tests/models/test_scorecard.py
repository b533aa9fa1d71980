"""The scorecard: the published matrix and advice, payback, the laws of the score."""

import math
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.cohort_curve import ALL, SCHEMA
from models.scorecard import COLUMNS, PARTS, ScorecardConfig, ScorecardInputs, scorecard

# channel: value of a customer, cost of one, their ratio, its grade, and the advice its published score goes with
MATRIX = {
    "D": (847.0, 124.0, 6.83, "Excellent", "scale"),
    "B": (623.0, 156.0, 3.99, "Excellent", "optimise"),
    "A": (445.0, 255.0, 1.75, "Marginal", "monitor"),
    "C": (298.0, 417.0, 0.71, "Poor", "pause"),
}
CONFIG = ScorecardConfig()
N = 1000  # customers of each channel


def frame(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame(columns)


def curve(channel: str, values: list[float], returned: float = 0.4, spread: float = 0.1) -> pl.DataFrame:
    """A pooled curve whose interval is `spread` of the value to either side; all months observed."""
    months = len(values)
    rows = {
        "channel": [channel] * months,
        "cohort_month": [ALL] * months,
        "month": list(range(months)),
        "customers": [N] * months,
        "value_per_customer": values,
        "value_p05": [value * (1 - spread) for value in values],
        "value_p95": [value * (1 + spread) for value in values],
        "retention": [1.0] + [0.1] * (months - 1),
        "returned_fraction": [returned * month / (months - 1) for month in range(months)],
        "observed": [True] * months,
        "expected_value": [None] * months,
    }
    return pl.DataFrame(rows, schema=SCHEMA)


def matrix(**more: pl.DataFrame) -> ScorecardInputs:
    return ScorecardInputs(
        spend=frame(channel=list(MATRIX), spend=[cac * N for _, cac, *_ in MATRIX.values()]),
        customers=frame(channel=list(MATRIX), new_customers=[N] * 4),
        worth=frame(channel=list(MATRIX), clv_mean=[clv for clv, *_ in MATRIX.values()]),
        **more,
    )


def ranking() -> ScorecardInputs:
    """The matrix with the published order of conversion (D, B, A, C); retention and efficiency made up to follow."""
    names = ["D", "B", "A", "C"]
    back = dict(zip(names, (0.60, 0.25, 0.12, 0.05), strict=True))
    curves = [curve(name, [40.0 * month for month in range(25)], 2 * back[name]) for name in names]
    return matrix(
        curves=pl.concat([*curves, curve(ALL, [40.0] * 25)]),
        traffic=frame(
            channel=names,
            clicks=[100_000] * 4,
            conversions=[2000, 1000, 400, 100],
            claimed_roas=[9.0] * 4,
        ),
        mix=frame(channel=names, roas_mean=[3.0, 2.0, 1.2, 0.6], marginal_roas_mean=[2.0, 0.6, 0.4, 0.1]),
    )


def row(found: pl.DataFrame, channel: str) -> dict[str, Any]:
    return found.row(by_predicate=pl.col("channel") == channel, named=True)


def test_the_published_matrix_of_value_to_cost() -> None:
    found = scorecard(matrix(), CONFIG)
    for channel, (_, cac, ratio, quality, _) in MATRIX.items():
        mine = row(found, channel)
        assert mine["cac"] == pytest.approx(cac)
        assert round(mine["clv_to_cac"], 2) == ratio
        assert mine["quality"] == quality


def test_the_published_advice_of_each_channel() -> None:
    """B's value to cost earns as many points as D's: what tells them apart is the rest of the score."""
    found = scorecard(ranking(), CONFIG)
    for channel, (*_, action) in MATRIX.items():
        assert row(found, channel)["action"] == action


@pytest.mark.parametrize(("score", "action"), [(87.3, "scale"), (64.1, "optimise"), (42.7, "monitor"), (18.9, "pause")])
def test_a_published_score_leads_to_the_published_advice(score: float, action: str) -> None:
    """Value to cost alone is known, 50 of 100 points: at 25 points a unit a ratio of score / 50 makes the score."""
    inputs = ScorecardInputs(
        spend=frame(channel=["x"], spend=[100.0 * N]),
        customers=frame(channel=["x"], new_customers=[N]),
        worth=frame(channel=["x"], clv_mean=[100.0 * score / 50.0]),
    )
    unpaused = ScorecardConfig(marginal_min=0.01)  # nobody is Poor: the bands of the score alone advise
    found = row(scorecard(inputs, unpaused), "x")
    assert (found["composite_score"], found["action"]) == (pytest.approx(score), action)


def test_the_score_by_hand() -> None:
    a = row(scorecard(ranking(), CONFIG), "A")
    # 25 * 1.745 = 43.6; 500 * 0.004 = 2; 30 * 0.12 = 3.6; 10 * 0.4 / 2 = 2
    assert [a[name] for name in PARTS] == pytest.approx([25 * 445 / 255, 2.0, 3.6, 2.0])
    assert a["score_points"] == 100.0
    assert a["composite_score"] == pytest.approx(25 * 445 / 255 + 7.6)
    d = row(scorecard(ranking(), CONFIG), "D")
    assert d["score_ltv_cac"] == 50.0  # at most, whatever the ratio
    assert d["retention_months"] == 12 and d["retention"] == pytest.approx(0.6)


def test_what_is_not_known_is_empty_and_the_rest_counts_for_all() -> None:
    inputs = ranking()
    a = row(scorecard(replace(inputs, mix=None, traffic=None), CONFIG), "A")
    assert (a["score_conversion"], a["score_efficiency"], a["score_points"]) == (None, None, 80.0)
    assert a["composite_score"] == pytest.approx((25 * 445 / 255 + 3.6) / 0.8)
    few = row(scorecard(matrix(), ScorecardConfig(points_min=51.0)), "A")
    assert (few["score_points"], few["composite_score"], few["action"]) == (50.0, None, None)


def test_payback_is_read_off_the_curve_with_its_interval() -> None:
    lines = pl.concat([curve(name, [0.0] + [50.0 * month for month in range(1, 13)]) for name in (ALL, "D", "B")])
    found = scorecard(matrix(curves=lines), CONFIG)
    assert row(found, "D")["payback_months"] == pytest.approx(124 / 50)
    assert row(found, "D")["payback_months_p05"] == pytest.approx(124 / 55)
    assert row(found, "D")["payback_months_p95"] == pytest.approx(124 / 45)
    assert row(found, "A")["payback_months"] is None  # no curve
    slow = pl.concat([curve(name, [10.0] * 25) for name in (ALL, "D")])
    assert row(scorecard(matrix(curves=slow), CONFIG), "D")["payback_months"] is None  # never within it


def test_a_company_of_six_months_is_judged_by_them() -> None:
    lines = pl.concat([curve(name, [10.0] * 7, 0.3) for name in (ALL, "D")] + [curve("B", [10.0] * 4)])
    found = scorecard(matrix(curves=lines), CONFIG)
    assert (row(found, "D")["retention_months"], row(found, "D")["retention"]) == (6, pytest.approx(0.3))
    assert row(found, "B")["retention"] is None  # a channel of three months cannot be compared with it


def test_a_poor_channel_is_paused_once_it_is_surely_poor() -> None:
    """C earns 25 x 298 / 417 = 17.9 for its ratio and all else in full, 67.9 points: enough to be optimised."""
    names = list(MATRIX)
    plain = matrix(
        curves=pl.concat([curve(name, [1.0] * 13, 1.0) for name in (ALL, "C")]),
        traffic=frame(channel=names, clicks=[1000] * 4, conversions=[20] * 4, claimed_roas=[None] * 4),
        mix=frame(channel=names, roas_mean=[2.0] * 4, marginal_roas_mean=[2.0] * 4),
    )
    poor = row(scorecard(plain, CONFIG), "C")
    assert poor["composite_score"] == pytest.approx(25 * 298 / 417 + 50)
    assert CONFIG.optimise_min < poor["composite_score"] < CONFIG.scale_min
    assert poor["action"] == "pause"
    doubtful = plain.worth.with_columns(clv_p05=0.5 * pl.col("clv_mean"), clv_p95=1.5 * pl.col("clv_mean"))
    watched = row(scorecard(replace(plain, worth=doubtful), CONFIG), "C")
    assert watched["action"] == "monitor"
    assert watched["clv_to_cac_p95"] == pytest.approx(1.5 * 298 / 417)


def test_conversions_earn_their_ten_points_and_no_more() -> None:
    """A channel of 2 % and one of 20 %: the second does not make up for customers who are worth little."""
    names = list(MATRIX)
    traffic = frame(channel=names, clicks=[1000] * 4, conversions=[10, 20, 40, 200], claimed_roas=[None] * 4)
    found = scorecard(matrix(traffic=traffic), CONFIG)
    assert [row(found, name)["score_conversion"] for name in names] == pytest.approx([5.0, 10.0, 10.0, 10.0])
    assert row(found, "C")["conversion_rate"] == pytest.approx(0.2)


def test_no_channel_is_fully_efficient_where_no_euro_returns_itself() -> None:
    names = list(MATRIX)
    mix = frame(channel=names, roas_mean=[2.0] * 4, marginal_roas_mean=[0.5, 0.25, 0.0, -1.0])
    found = scorecard(matrix(mix=mix), CONFIG)
    assert [row(found, name)["score_efficiency"] for name in names] == pytest.approx([5.0, 2.5, 0.0, 0.0])


def test_organic_and_a_channel_without_customers_are_told_not_scored() -> None:
    inputs = ScorecardInputs(
        spend=frame(channel=["paid", "dark"], spend=[100.0, 50.0]),
        customers=frame(channel=["paid", "organic"], new_customers=[10, 30]),
        worth=frame(channel=["paid", "organic"], clv_mean=[20.0, 30.0]),
    )
    found = scorecard(inputs, CONFIG)
    assert found["channel"].to_list() == ["paid", "dark", "organic"]
    organic, dark = row(found, "organic"), row(found, "dark")
    assert (organic["spend"], organic["cac"], organic["action"], organic["clv_mean"]) == (0.0, None, None, 30.0)
    assert (dark["new_customers"], dark["cac"], dark["clv_to_cac"], dark["action"]) == (0, None, None, None)


def test_reported_return_stands_in_where_there_is_no_mix_model() -> None:
    found = scorecard(replace(ranking(), mix=None), CONFIG)
    assert set(found["roas_source"]) == {"platform"}
    assert row(found, "D")["roas"] == 9.0


def test_a_claim_is_never_ranked_beside_a_measurement() -> None:
    """The mix model has not met C yet, whose platform claims nine times its spend."""
    inputs = ranking()
    assert inputs.mix is not None
    found = scorecard(replace(inputs, mix=inputs.mix.filter(pl.col("channel") != "C")), CONFIG)
    c = row(found, "C")
    assert (c["roas"], c["roas_source"], c["clv_adjusted_roas"], c["priority"]) == (None, None, None, None)
    assert c["score_efficiency"] is None
    others = found.filter(pl.col("channel") != "C")
    whole = scorecard(ranking(), CONFIG).filter(pl.col("channel") != "C")
    assert others["roas"].to_list() == whole["roas"].to_list()
    assert set(others["roas_source"]) == {"mix model"}


def test_the_next_euro_is_not_the_mean_one() -> None:
    """Of B the model knows no marginal return: its mean of 2 is not held against what D's next euro brings."""
    inputs = ranking()
    assert inputs.mix is not None
    unknown = pl.when(pl.col("channel") != "B").then("marginal_roas_mean").alias("marginal_roas_mean")
    found = scorecard(replace(inputs, mix=inputs.mix.with_columns(unknown)), CONFIG)
    assert row(found, "B")["score_efficiency"] is None
    assert row(found, "B")["score_points"] == 90.0


numbers = st.floats(0.0, 1e6, allow_subnormal=False)
shares = st.floats(0.0, 1.0)


@given(numbers, numbers, st.floats(1.0, 1e6), shares, shares)
def test_laws_of_the_score(clv: float, more: float, cac: float, rate: float, back: float) -> None:
    def score(worth: float, converted: float) -> dict[str, Any]:
        inputs = ScorecardInputs(
            spend=frame(channel=["x"], spend=[cac * N]),
            customers=frame(channel=["x"], new_customers=[N]),
            worth=frame(channel=["x"], clv_mean=[worth]),
            curves=pl.concat([curve(name, [1.0] * 13, back) for name in (ALL, "x")]),
            traffic=frame(channel=["x"], clicks=[1.0], conversions=[converted], claimed_roas=[None]),
        )
        return row(scorecard(inputs, CONFIG), "x")

    low, high = score(clv, rate), score(clv + more, rate)
    assert 0.0 <= low["composite_score"] <= high["composite_score"] <= 100.0  # a richer channel never scores less
    order = ("pause", "monitor", "optimise", "scale")
    assert order.index(low["action"]) <= order.index(high["action"])
    assert low["composite_score"] <= score(clv, min(rate + 0.1, 1.0))["composite_score"]
    known = [low[name] for name in PARTS if low[name] is not None]
    assert low["composite_score"] == pytest.approx(min(100.0, 100 * math.fsum(known) / low["score_points"]))


@pytest.mark.parametrize("seed", range(8))
def test_the_order_of_the_inputs_does_not_matter(seed: int) -> None:
    shuffled = {
        name: part.sample(fraction=1.0, shuffle=True, seed=seed) if isinstance(part, pl.DataFrame) else part
        for name, part in vars(ranking()).items()
    }
    assert scorecard(ScorecardInputs(**shuffled), CONFIG).equals(scorecard(ranking(), CONFIG))


def test_the_columns_are_those_of_the_table() -> None:
    assert tuple(scorecard(matrix(), CONFIG).columns) == COLUMNS


@pytest.mark.parametrize(
    "wrong", [{"good_min": 4.0}, {"monitor_min": 60.0}, {"retention_points": 0.0}, {"retention_months": 0}]
)
def test_a_config_names_what_is_wrong(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ScorecardConfig(**wrong)  # type: ignore[arg-type]
