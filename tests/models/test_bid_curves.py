"""Bid curves: truth in the intervals, the demo company, marginal returns by difference, what is not known said so."""

from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from models.bid_channel import channels_of, cost_slopes, levels, prepared_rows
from models.bid_curves import BidCurveConfig, bid_curve_points, bid_elasticities
from models.bid_demand import DemandConfig, follows_demand
from models.bid_trees import TreesConfig, counterfactual_counts, fit_trees, trees_elasticity
from models.company.tables import bid_table
from models.company.world import FLAT_CHANNEL, FLAT_ELASTICITY, CompanyConfig, draw_world
from tests.models.bid_simulator import START, keyword_days

AS_OF = START + timedelta(days=55)
VALUES = pl.DataFrame(
    {"channel": ["search"], "campaign": [None], "keyword": [None], "value_per_click": [2.0],
     "conversion_probability": [0.02]},
    schema_overrides={"campaign": pl.String, "keyword": pl.String},
)  # fmt: skip


def of(frame: pl.DataFrame, level: str) -> pl.DataFrame:
    return frame.filter(pl.col("level") == level)


def test_true_elasticities_of_keywords_lie_in_nine_intervals_of_ten() -> None:
    hits = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        truth = rng.normal(rng.normal(0.7, 0.2), 0.2, 12)
        found = of(bid_elasticities(keyword_days(rng, elasticity=truth), AS_OF), "keyword")
        true = np.array([truth[int(name.removeprefix("kw_"))] for name in found["keyword"]])
        hits += list((found["elasticity_p05"].to_numpy() <= true) & (true <= found["elasticity_p95"].to_numpy()))
    assert 0.84 <= np.mean(hits) <= 0.97


@pytest.mark.parametrize("seed", [130, 131])
def test_the_demo_company_is_understood(seed: int) -> None:
    world = draw_world(CompanyConfig(seed=seed))
    table = bid_table(SimpleNamespace(world=world))
    found = bid_elasticities(table, world.config.last_day)
    true = {channel.name: channel.bid_elasticity for channel in world.channels} | {FLAT_CHANNEL: FLAT_ELASTICITY}
    keywords = of(found, "keyword")
    truth = keywords["channel"].replace_strict(true, return_dtype=pl.Float64)
    inside = (keywords["elasticity_p05"] <= truth) & (truth <= keywords["elasticity_p95"])
    assert inside.mean() >= 0.85
    channels = of(found, "channel")
    assert channels.filter("is_flat")["channel"].to_list() == [FLAT_CHANNEL]
    assert (channels["randomised_fraction"] > 0.9).all()  # bids that were set follow the season
    assert channels["warning"].str.contains("follow demand").all()
    old = channels.filter(pl.col("channel") == FLAT_CHANNEL)["warning"][0]
    assert "earlier days hardly count" in old


def test_bids_that_follow_each_keywords_demand_are_not_believed_over_random_ones() -> None:
    frame = keyword_days(
        np.random.default_rng(3), days=112, random_share=0.3, own_demand=0.4, follows=0.5, traffic=80.0
    )
    as_of = START + timedelta(days=111)
    ours = of(bid_elasticities(frame, as_of), "channel").row(0, named=True)
    assert ours["elasticity_p05"] < 0.7 < ours["elasticity_p95"]
    assert "hardly believed" in ours["warning"]
    naive = of(bid_elasticities(frame.filter(~pl.col("randomised")), as_of), "channel").row(0, named=True)
    assert naive["elasticity_mean"] > 1.4
    assert naive["basis"] == "observational"
    width = naive["elasticity_p95"] - naive["elasticity_p05"]
    # no surer than the bias of such bids (0.3) and the prior (0.5) let one be: 1 / sqrt(1 / 0.3^2 + 1 / 0.5^2) = 0.257
    assert width > 2 * 1.6448 * 0.257


def test_marginal_roas_is_the_slope_of_value_in_cost_along_the_curve() -> None:
    found = bid_elasticities(keyword_days(np.random.default_rng(4)), AS_OF, values=VALUES)
    dense = bid_curve_points(found, BidCurveConfig(curve_points=400)).filter(pl.col("keyword") == "kw_3")
    cost, value = dense["cost"].to_numpy(), dense["value"].to_numpy()
    slope = (value[2:] - value[:-2]) / (cost[2:] - cost[:-2])
    assert slope == pytest.approx(dense["marginal_roas"].to_numpy()[1:-1], rel=1e-4)
    row = found.filter(pl.col("keyword") == "kw_3").row(0, named=True)
    e, g = row["elasticity_mean"], row["cost_per_click_elasticity_mean"]
    assert row["marginal_roas"] == pytest.approx(2.0 * e / (e + g) / (row["cost"] / row["clicks"]))
    # at the diminishing bid a click more costs the 2 it is worth: cost per click * (e + g) / e
    cost_per_click = row["cost"] / row["clicks"] * (row["diminishing_bid"] / row["bid"]) ** g
    assert cost_per_click * (e + g) / e == pytest.approx(2.0)
    assert g == pytest.approx(1.0, abs=0.01)  # the simulator charges 0.8 of the bid


def test_the_half_slope_bid_halves_what_one_more_unit_of_bid_buys() -> None:
    frame = keyword_days(np.random.default_rng(5), elasticity=0.1)
    row = of(bid_elasticities(frame, AS_OF), "channel").row(0, named=True)
    e, x = max(row["elasticity_mean"], 1e-3), row["half_slope_bid"] / row["bid"]
    assert x ** (e - 1) == pytest.approx(0.5)
    assert row["flatness"] == pytest.approx(1 - row["elasticity_mean"])
    assert row["flatness_p05"] < row["flatness"] <= row["flatness_p95"]


def test_levels_are_what_the_bid_in_force_buys() -> None:
    frame = keyword_days(np.random.default_rng(6), traffic=400.0)
    found = of(bid_elasticities(frame, AS_OF), "keyword")
    last = frame.filter(pl.col("date") > AS_OF - timedelta(days=28))
    near = last.with_columns(x=pl.col("bid") / pl.col("bid").log().mean().exp().over("keyword"))
    near = near.filter(pl.col("x").is_between(0.9, 1.1)).group_by("keyword").agg(pl.col("clicks", "impressions").mean())
    both = found.join(near, on="keyword", suffix="_near")
    assert both["clicks"].to_numpy() == pytest.approx(both["clicks_near"].to_numpy(), rel=0.25)  # few days, a season
    assert both["impressions"].to_numpy() == pytest.approx(both["impressions_near"].to_numpy(), rel=0.25)


def set_days(bids: list[float], clicks: list[float], *, first: int = 0, keyword: str = "kw", price: float = 0.8):
    """Days of one keyword whose bids were set."""
    days = [START + timedelta(days=first + i) for i in range(len(bids))]
    return pl.DataFrame(
        {"date": days, "keyword": keyword, "campaign": "a", "channel": "search", "bid": bids, "clicks": clicks,
         "impressions": [10 * c for c in clicks], "cost": [price * b * c for b, c in zip(bids, clicks, strict=True)],
         "randomised": False}
    )  # fmt: skip


def levels_of(frame: pl.DataFrame, elasticity: float, as_of: date = AS_OF) -> list[dict]:
    rows = prepared_rows(frame, as_of)
    (channel,) = channels_of(rows, as_of)
    found = levels(channel, np.full(len(channel.keywords), elasticity), 28, 364)
    return [{"keyword": name, **{key: float(of[i]) for key, of in found.items()}}
            for i, name in enumerate(channel.keywords["keyword"])]  # fmt: skip


def test_the_bid_in_force_is_the_last_one_set_not_a_mean() -> None:
    """Set to 1 until fourteen days before, then to 2: 100 clicks a day at 1 are 141.4 at 2 by an elasticity of 0.5."""
    stepped = set_days([1.0] * 42 + [2.0] * 14, [100.0] * 42 + [100.0 * 2**0.5] * 14)
    (row,) = levels_of(stepped, 0.5)
    assert row["bid"] == pytest.approx(2.0)
    assert row["clicks"] == pytest.approx(100.0 * 2**0.5)
    assert row["cost"] == pytest.approx(0.8 * 2.0 * 100.0 * 2**0.5)
    assert (row["bid_low"], row["bid_high"]) == (1.0, 2.0)
    drawn = stepped.with_columns(randomised=pl.col("date") > AS_OF - timedelta(days=10))
    (row,) = levels_of(drawn.with_columns(bid=pl.when("randomised").then(3.0).otherwise("bid")), 0.5)
    assert row["bid"] == pytest.approx(2.0)  # what is drawn goes around it
    (row,) = levels_of(stepped.with_columns(randomised=pl.lit(True)), 0.5)
    assert row["bid"] == pytest.approx(2.0**0.5)  # all drawn: the mean of logs of four weeks


def test_a_keyword_that_has_stopped_buys_nothing_and_days_without_a_row_count() -> None:
    runs = set_days([1.0] * 56, [10.0] * 56, keyword="runs")
    paused = set_days([1.0] * 20, [10.0] * 20, keyword="paused")
    every_second = set_days([1.0] * 28, [10.0] * 28, first=28, keyword="second").gather_every(2)
    new = set_days([1.0] * 7, [10.0] * 7, first=49, keyword="young")
    rows = {row["keyword"]: row for row in levels_of(pl.concat([runs, paused, every_second, new]), 0.7)}
    assert rows["runs"]["clicks"] == rows["young"]["clicks"] == pytest.approx(10.0)
    assert (rows["paused"]["clicks"], rows["paused"]["cost"], rows["paused"]["bid"]) == (0.0, 0.0, 1.0)
    assert rows["second"]["clicks"] == pytest.approx(14 * 10.0 / 28)
    found = of(bid_elasticities(pl.concat([runs, paused]), AS_OF, values=VALUES), "keyword")
    assert found.filter(pl.col("keyword") == "paused")["marginal_roas"].to_list() == [None]


def test_prices_of_a_day_that_all_keywords_share_are_no_effect_of_the_bid() -> None:
    """What rivals bid rises with our set bids; a click costs the bid to the power 0.6, times the day's level."""
    rng = np.random.default_rng(20)
    frame = keyword_days(rng, keywords=8, days=112, random_share=0.0, traffic=200.0)
    season = pl.col("date").to_physical().cast(pl.Float64)
    pull = ((season - season.min()) * 0.15).sin() * 0.4
    frame = frame.with_columns(bid=pl.col("bid") * pull.exp())
    frame = frame.with_columns(cost=pl.col("clicks") * pl.col("bid") ** 0.6 * (0.5 * pull).exp())
    as_of = START + timedelta(days=111)
    (channel,) = channels_of(prepared_rows(frame, as_of), as_of)
    assert cost_slopes(channel, 0.3, 364)[-1] == pytest.approx(0.6, abs=0.03)
    old = frame.with_columns(pl.col("date") - timedelta(days=400), cost=pl.col("clicks") * pl.col("bid") ** 1.8)
    (both,) = channels_of(prepared_rows(pl.concat([old, frame]), as_of), as_of)
    assert cost_slopes(both, 0.3, 364) == pytest.approx(cost_slopes(channel, 0.3, 364))  # older ones are not looked at


def test_a_value_and_its_interval_come_from_one_row() -> None:
    rows = [("search", None, None, 2.0, 1.0, 3.0), ("search", "campaign_1", None, 9.0, None, None)]
    names = ["channel", "campaign", "keyword", "value_per_click", "value_per_click_p05", "value_per_click_p95"]
    values = pl.DataFrame(rows, schema=names, orient="row").with_columns(
        pl.col("keyword").cast(pl.String), conversion_probability=pl.lit(0.1)
    )
    found = of(bid_elasticities(keyword_days(np.random.default_rng(12)), AS_OF, values=values), "keyword")
    worth = {row[0]: row[1:] for row in found.select("keyword", *names[3:]).iter_rows()}
    assert worth["kw_1"] == (9.0, None, None)
    assert worth["kw_0"] == (2.0, 1.0, 3.0)


def test_currency_names_and_row_order_change_nothing_else() -> None:
    frame = keyword_days(np.random.default_rng(7))
    base = bid_elasticities(frame, AS_OF)
    assert bid_elasticities(frame.sample(fraction=1.0, shuffle=True, seed=1), AS_OF).equals(base)
    scaled = bid_elasticities(frame.with_columns(pl.col("bid", "cost") * 100), AS_OF)
    assert scaled["elasticity_mean"].to_numpy() == pytest.approx(base["elasticity_mean"].to_numpy(), abs=1e-6)
    assert scaled["bid"].to_numpy() == pytest.approx(100 * base["bid"].to_numpy())
    later = frame.with_columns(pl.col("date") + timedelta(days=100))
    assert bid_elasticities(pl.concat([frame, later]), AS_OF).equals(base)  # what comes after is not looked at


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"keywords": 1, "random_share": 0.0}, "one keyword"),
        ({"keywords": 2, "days": 8}, "expected at least 30"),
        ({"width": 0.0}, "expected at least 30"),
        ({"traffic": 0.0}, "expected at least 30"),
    ],
)
def test_what_is_not_known_is_wide_and_says_why(change: dict, told: str) -> None:
    frame = keyword_days(np.random.default_rng(8), **change)
    found = bid_elasticities(frame, AS_OF, values=VALUES)
    assert set(found["basis"]) == {"prior"}
    assert found["reason"].str.contains(told).all()
    assert found["flatness"].null_count() == found["is_flat"].null_count() == len(found)
    assert (found["elasticity_p95"] - found["elasticity_p05"] > 1.5).all()
    assert bid_curve_points(found).is_empty()


def test_unusable_rows_are_left_out() -> None:
    frame = keyword_days(np.random.default_rng(9))
    rows = frame.head(5)
    bad = pl.concat([
        rows.with_columns(bid=pl.lit(0.0)), rows.with_columns(bid=pl.lit(float("nan"))),
        rows.with_columns(bid=pl.lit(None, dtype=pl.Float64)), rows.with_columns(clicks=pl.lit(None, dtype=pl.Int64)),
        rows.with_columns(bid=pl.lit(-1.0)),
    ])  # fmt: skip
    assert bid_elasticities(pl.concat([frame, bad]), AS_OF).equals(bid_elasticities(frame, AS_OF))
    empty = bid_elasticities(frame.clear(), AS_OF)
    assert empty.is_empty()
    assert empty.schema == bid_elasticities(frame, AS_OF).schema


def test_a_keyword_alone_in_the_dark_borrows_from_its_campaign() -> None:
    frame = keyword_days(np.random.default_rng(10))
    still = pl.col("keyword") == "kw_1"
    frame = frame.with_columns(bid=pl.when(still).then(0.5).otherwise("bid"))
    found = bid_elasticities(frame, AS_OF)
    row = found.filter(pl.col("keyword") == "kw_1").row(0, named=True)
    assert row["basis"] == "prior"
    assert "campaign and channel stand in" in row["reason"]
    whole = of(found, "channel").row(0, named=True)
    assert abs(row["elasticity_mean"] - whole["elasticity_mean"]) < 0.1
    assert row["elasticity_p95"] - row["elasticity_p05"] > whole["elasticity_p95"] - whole["elasticity_p05"]


def test_keywords_without_a_campaign_are_compared_within_their_channel() -> None:
    frame = keyword_days(np.random.default_rng(11)).with_columns(campaign=pl.lit(None, dtype=pl.String))
    found = bid_elasticities(frame, AS_OF)
    assert found["level"].to_list().count("campaign") == 0
    assert found.select("channel", "campaign", "keyword").is_duplicated().sum() == 0
    assert abs(of(found, "channel")["elasticity_mean"][0] - 0.7) < 0.1


def test_the_narrowest_value_counts() -> None:
    rows = [("search", None, None, 2.0), ("search", "campaign_1", None, 3.0), ("search", "campaign_1", "kw_1", 4.0)]
    values = pl.DataFrame(rows, schema=["channel", "campaign", "keyword", "value_per_click"], orient="row")
    values = values.with_columns(conversion_probability=pl.lit(0.1))
    found = bid_elasticities(keyword_days(np.random.default_rng(12)), AS_OF, values=values)
    worth = dict(of(found, "keyword").select("keyword", "value_per_click").iter_rows())
    assert (worth["kw_1"], worth["kw_4"], worth["kw_0"]) == (4.0, 3.0, 2.0)


def test_trees_agree_and_never_fall_in_the_bid() -> None:
    rng = np.random.default_rng(13)
    x, group = rng.uniform(-0.4, 0.4, 4000), rng.integers(0, 3, 4000)
    offset = np.log(30.0) + rng.normal(0, 0.3, 4000)
    counts = rng.poisson(np.exp(offset + 0.8 * x)).astype(float)
    trees = fit_trees(counts, x, group, offset, TreesConfig())
    assert trees_elasticity(trees, x, group, offset, TreesConfig()) == pytest.approx(0.8, abs=0.12)
    ladder = np.linspace(-0.6, 0.6, 60)
    for number in range(3):
        steps = counterfactual_counts(trees, ladder, np.full(60, number), np.zeros(60), 1.0)
        assert (np.diff(steps) >= 0).all()
    falling = fit_trees(rng.poisson(np.exp(offset - x)).astype(float), x, group, offset, TreesConfig())
    assert trees_elasticity(falling, x, group, offset, TreesConfig()) == pytest.approx(0.0, abs=0.02)


def test_second_opinion_stands_beside_the_first() -> None:
    row = of(bid_elasticities(keyword_days(np.random.default_rng(14), traffic=150.0), AS_OF), "channel")
    assert row["elasticity_trees"][0] == pytest.approx(row["elasticity_mean"][0], abs=0.15)


@pytest.mark.parametrize(("follows", "seen"), [(0.6, True), (0.0, False)])
def test_following_demand_is_seen_where_it_is(follows: float, seen: bool) -> None:
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        day, keyword = np.tile(np.arange(140), 8), np.repeat(np.arange(8), 140)
        demand = rng.normal(0, 0.25, 20)[day // 7]
        x = follows * demand + rng.normal(0, 0.1, len(day))
        clicks = rng.poisson(40 * np.exp(demand + 0.7 * x)).astype(float)
        told = follows_demand(
            clicks, x, keyword, day, np.zeros(len(day), dtype=bool), np.full(len(day), 0.7), DemandConfig()
        )
        found.append(told is not None)
    assert np.mean(found) > 0.9 if seen else np.mean(found) < 0.1
