"""Bids: brute force over all bids, laws of budgets and caps, the words beside each move."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bid_plan import BidPlanConfig, plan_bids
from tests.models.bid_simulator import lines

ONE = pl.DataFrame({"channel": ["search"], "incrementality": [1.0]}).with_columns(
    incrementality_p05=pl.lit(1.0), incrementality_p95=pl.lit(1.0), incrementality_reason=pl.lit("given")
)


def totals(plan: pl.DataFrame) -> tuple[float, float]:
    return float(plan["planned_value"].sum()), float(plan["planned_cost"].sum())


def budget(spend: float, planned: float) -> pl.DataFrame:
    return pl.DataFrame({"channel": ["search"], "spend": [spend], "planned_spend": [planned]})


def grid(frame: pl.DataFrame, cap: float, points: int = 4001) -> tuple[np.ndarray, np.ndarray]:
    """Value and cost (keywords, points) at every bid within the cap."""
    x = np.linspace(1 - cap, 1 + cap, points)[None, :]
    e, clicks, cost, worth = (frame[name].to_numpy()[:, None] for name in
                              ("elasticity_mean", "clicks", "cost", "value_per_click"))  # fmt: skip
    return worth * clicks * x**e, cost * x ** (e + 1)


@pytest.mark.parametrize("seed", range(5))
def test_profit_is_the_best_of_all_bids_within_the_cap(seed: int) -> None:
    frame = lines(seed=seed)
    value, cost = grid(frame, 0.5)
    plan = plan_bids(frame, ONE, config=BidPlanConfig(max_move_fraction=0.5, min_move_fraction=0.0))
    ours = totals(plan)
    assert ours[0] - ours[1] == pytest.approx((value - cost).max(axis=1).sum(), rel=1e-6)


@pytest.mark.parametrize("mode", ["profit", "budget", "troas", "cpa"])
@pytest.mark.parametrize("seed", range(3))
def test_constrained_modes_are_the_best_of_all_pairs_of_bids(mode: str, seed: int) -> None:
    """Two keywords: every pair of bids on a grid, those that keep the rules, the best of them."""
    frame = lines(2, seed=seed)
    value, cost = grid(frame, 0.4, 401)
    v, c = value[0][:, None] + value[1][None, :], cost[0][:, None] + cost[1][None, :]
    allowed = 0.95 * float(frame["cost"].sum())
    conversions = 0.02 * (value / frame["value_per_click"].to_numpy()[:, None])
    n = conversions[0][:, None] + conversions[1][None, :]
    today = float(frame["value_per_click"] @ frame["clicks"]) / float(frame["cost"].sum())
    cpa = float(frame["cost"].sum()) / (0.02 * float(frame["clicks"].sum()))
    config = BidPlanConfig(
        mode=mode, max_move_fraction=0.4, min_move_fraction=0.0, target_roas=today * 1.05 if mode == "troas" else 1.0,
        target_cpa=cpa * 0.95,
    )  # fmt: skip
    limited = mode in ("profit", "budget")
    plan = plan_bids(frame, ONE, budget(10.0, 9.5) if limited else None, config=config)
    ours = totals(plan)
    if mode == "profit":
        best, got = np.where(c <= allowed, v - c, -np.inf).max(), ours[0] - ours[1]
    elif mode == "budget":
        best, got = np.where(c <= allowed, v, -np.inf).max(), ours[0]
    elif mode == "troas":
        best, got = np.where(v >= config.target_roas * c, v, -np.inf).max(), ours[0]
        assert ours[0] >= config.target_roas * ours[1] * (1 - 1e-6)
    else:
        best, got = np.where(c <= config.target_cpa * n, n, -np.inf).max(), 0.02 * float(plan["planned_clicks"].sum())
    if limited:
        assert ours[1] <= allowed * (1 + 1e-6)
    assert got == pytest.approx(best, rel=2e-3)  # the grid is as coarse as that
    assert got >= best * (1 - 1e-6)


@given(st.integers(0, 500), st.floats(0.75, 1.3), st.floats(0.0, 0.3))
def test_more_budget_never_buys_less_and_is_never_passed(seed: int, share: float, more: float) -> None:
    frame = lines(seed=seed)
    config = BidPlanConfig(mode="budget")
    plans = [plan_bids(frame, ONE, budget(1.0, s), config=config) for s in (share, share + more)]
    least = float((frame["cost"] * 0.8 ** (frame["elasticity_mean"] + 1)).sum())
    for plan, s in zip(plans, (share, share + more), strict=True):
        allowed = max(s * float(frame["cost"].sum()), least)
        assert totals(plan)[1] <= allowed * (1 + 1e-6)
        ratio = plan["planned_bid"] / plan["bid"]
        assert ratio.min() >= 0.8 - 1e-9
        assert ratio.max() <= 1.2 + 1e-9
    assert totals(plans[1])[0] >= totals(plans[0])[0] * (1 - 0.002)  # moves below 2 % are not made


@given(st.integers(0, 500), st.floats(0.01, 1000.0))
def test_another_currency_and_another_order_give_the_same_plan(seed: int, rate: float) -> None:
    frame = lines(seed=seed)
    base = plan_bids(frame, ONE)
    mixed = plan_bids(frame.reverse(), ONE)
    assert mixed.equals(base)
    money = frame.with_columns(
        pl.col("bid", "cost", "value_per_click", "value_per_click_p05", "value_per_click_p95") * rate
    )
    other = plan_bids(money, ONE)
    assert other["planned_bid"].to_numpy() == pytest.approx(rate * base["planned_bid"].to_numpy(), rel=1e-6)
    assert other["action"].to_list() == base["action"].to_list()


def test_marginal_roas_meets_the_target_where_no_cap_binds() -> None:
    plan = plan_bids(lines(20), ONE, config=BidPlanConfig(target_roas=1.2))
    free = plan.filter(pl.col("planned_bid").is_between(0.801 * pl.col("bid"), 1.199 * pl.col("bid")))
    free = free.filter(pl.col("action") != "hold")
    assert len(free) > 2
    assert free["marginal_roas"].to_numpy() == pytest.approx(1.2)
    margin = plan_bids(lines(20), ONE, config=BidPlanConfig(margin_fraction=0.5))
    assert margin["target_roas"][0] == pytest.approx(2.0)


def test_caused_value_counts_and_little_of_it_takes_a_keyword_out() -> None:
    frame = lines()
    half = ONE.with_columns(pl.col("incrementality", "incrementality_p05", "incrementality_p95") * 0.5)
    full, less = plan_bids(frame, ONE), plan_bids(frame, half)
    assert (less["planned_bid"] <= full["planned_bid"] + 1e-12).all()
    assert less["planned_bid"].sum() < full["planned_bid"].sum()
    none = plan_bids(frame, ONE.with_columns(pl.col("^incrementality(_p..)?$") * 0.05))
    assert set(none["action"]) == {"suppress"}
    assert none["planned_bid"].sum() == none["planned_cost"].sum() == 0.0
    assert none["reason"].str.contains("5% of the value").all()
    assert none["reason"].str.contains("next to nothing of its value was caused").all()


def test_customers_worth_more_are_bid_for_more() -> None:
    frame = lines()
    worth = pl.DataFrame({"channel": ["search"], "clv_ratio": [1.5]})
    plain, rich = plan_bids(frame, ONE), plan_bids(frame, ONE, clv=worth)
    assert (rich["planned_bid"] >= plain["planned_bid"] - 1e-12).all()
    assert rich["target_roas"][0] == pytest.approx(1 / 1.5)
    assert rich.filter(pl.col("action") != "hold")["reason"].str.contains("worth 1.5 of the mean customer").all()


def test_a_move_whose_way_is_not_sure_waits() -> None:
    frame = lines(1).with_columns(
        elasticity_p05=pl.col("elasticity_mean") - 1, elasticity_p95=pl.col("elasticity_mean") + 1
    )
    e, per_click = frame["elasticity_mean"][0], 0.8 * frame["bid"][0]
    near = 1.05 * per_click * (e + 1) / e  # the return of the next unit is 1.05
    columns = [pl.lit(near).alias(f"value_per_click{end}") for end in ("", "_p05", "_p95")]
    plan = plan_bids(frame.with_columns(columns), ONE)
    assert plan["action"].to_list() == ["hold"]
    assert "not clear which way" in plan["reason"][0]
    sure = frame.with_columns(columns).with_columns(elasticity_p05="elasticity_mean", elasticity_p95="elasticity_mean")
    assert plan_bids(sure, ONE)["action"].to_list() == ["raise"]


def test_the_budget_moves_what_would_wait() -> None:
    frame = lines().with_columns(
        elasticity_p05=pl.col("elasticity_mean") - 1, elasticity_p95=pl.col("elasticity_mean") + 1
    )
    plan = plan_bids(frame, ONE, budget(1.0, 0.85))
    assert totals(plan)[1] <= 0.85 * float(frame["cost"].sum()) * (1 + 1e-6)


def doubtful(n: int, seed: int) -> pl.DataFrame:
    """Lines of which some are well known and some hardly, with a return of the next unit near or far from 1."""
    rng = np.random.default_rng(seed)
    frame = lines(n, seed=seed)
    e, doubt = frame["elasticity_mean"].to_numpy(), rng.choice([1e-6, 0.3, 1.5], n)
    near = 0.8 * frame["bid"].to_numpy() * (e + 1) / e * rng.lognormal(0, 0.15, n)
    return frame.with_columns(
        elasticity_p05=pl.Series(e - doubt), elasticity_p95=pl.Series(e + doubt), value_per_click=pl.Series(near),
        value_per_click_p05=pl.Series(near), value_per_click_p95=pl.Series(near),
    )  # fmt: skip


@given(
    st.integers(0, 500),
    st.sampled_from(["profit", "budget", "troas", "cpa"]),
    st.one_of(st.none(), st.floats(0.7, 1.4)),
)
def test_no_move_is_smaller_than_asked_and_no_raise_is_unsure(seed: int, mode: str, share: float | None) -> None:
    frame = doubtful(6, seed)
    config = BidPlanConfig(mode=mode, target_roas=2.0 if mode == "troas" else 1.0, target_cpa=60.0)
    limit = None if share is None else budget(1.0, share)
    plan = plan_bids(frame, ONE, limit, config=config)
    moved = plan.filter(pl.col("action") != "hold")
    assert ((moved["bid_factor"] - 1.0).abs() >= config.min_move_fraction * (1 - 1e-6)).all()
    assert (moved.filter(pl.col("action") == "raise")["probability_right"] >= config.sure).all()
    if share is None and mode in ("profit", "budget"):
        assert (moved["probability_right"] >= config.sure).all()
    if share is not None:
        least = float((frame["cost"] * 0.8 ** (frame["elasticity_mean"] + 1)).sum())
        assert totals(plan)[1] <= max(share * float(frame["cost"].sum()), least) * (1 + 1e-6)


def test_without_a_plan_a_budget_is_what_is_spent_today() -> None:
    frame = lines(8)
    config = BidPlanConfig(mode="budget")
    plan = plan_bids(frame, ONE, config=config)
    assert totals(plan)[1] <= float(frame["cost"].sum()) * (1 + 1e-6)
    assert {"raise", "lower"} <= set(plan["action"])
    assert totals(plan)[0] > float(frame["value_per_click"] @ frame["clicks"])
    assert plan.filter(pl.col("action") == "raise")["reason"].str.contains("no more than today").all()
    assert plan_bids(lines(1), ONE, config=config)["action"].to_list() == ["hold"]


def test_a_line_that_returns_little_goes_down_and_out_only_at_the_lowest_bid() -> None:
    frame = lines(1).with_columns(pl.lit(0.01).alias(f"value_per_click{end}") for end in ("", "_p05", "_p95"))
    bid = frame["bid"][0]
    free = plan_bids(frame, ONE).row(0, named=True)
    assert (free["action"], free["planned_bid"]) == ("lower", pytest.approx(0.8 * bid))
    far = plan_bids(frame, ONE, config=BidPlanConfig(lowest_bid=0.5 * bid)).row(0, named=True)
    assert (far["action"], far["planned_bid"]) == ("lower", pytest.approx(0.8 * bid))
    near = plan_bids(frame, ONE, config=BidPlanConfig(lowest_bid=0.9 * bid)).row(0, named=True)
    assert (near["action"], near["planned_bid"]) == ("suppress", 0.0)
    assert "at the lowest bid it returns next to nothing" in near["reason"]
    fair = plan_bids(lines(20), ONE, config=BidPlanConfig(lowest_bid=0.7))
    kept = fair.filter((pl.col("action") == "lower") & (pl.col("bid") > 0.7))
    assert len(kept) > 2
    assert (kept["planned_bid"] >= 0.7).all()


def test_conversions_per_money_are_not_called_a_roas() -> None:
    plan = plan_bids(lines(), ONE, config=BidPlanConfig(mode="cpa", target_cpa=60.0))
    assert plan["marginal_roas"].null_count() == len(plan)
    assert plan.filter(pl.col("action") != "hold")["reason"].str.contains("the next conversion costs").all()


def test_what_is_not_known_holds_and_says_so() -> None:
    frame = lines(4).with_columns(
        value_per_click=pl.when(pl.col("keyword") == "kw_0").then(None).otherwise("value_per_click"),
        basis=pl.when(pl.col("keyword") == "kw_1").then(pl.lit("prior")).otherwise("basis"),
        clicks=pl.when(pl.col("keyword") == "kw_2").then(0.0).otherwise("clicks"),
    )
    plan = plan_bids(frame, ONE)
    assert plan["action"].to_list()[:3] == ["hold"] * 3
    for reason, told in zip(plan["reason"], ("value of a click", "elasticity is not known", "no clicks"), strict=False):
        assert told in reason
    assert plan["reason"].null_count() == 0
    assert plan_bids(frame.clear(), ONE).is_empty()
    assert plan_bids(frame, ONE.clear())["incrementality"].to_list() == [1.0] * 4


def test_a_budget_out_of_reach_goes_as_far_as_one_move_may() -> None:
    plan = plan_bids(lines(), ONE, budget(1.0, 0.1))
    assert (plan["planned_bid"] / plan["bid"]).to_numpy() == pytest.approx(0.8)
    assert plan["reason"].str.contains("goes on next time").all()


def test_a_flat_line_is_bid_down_step_by_step() -> None:
    frame = lines(2, elasticity_mean=np.array([0.0, 0.8]), is_flat=[True, False])
    frame = frame.with_columns(
        elasticity_p05=pl.col("elasticity_mean") - 0.05, elasticity_p95=pl.col("elasticity_mean") + 0.05
    )
    plan = plan_bids(frame, ONE).row(0, named=True)
    assert plan["action"] == "lower"
    assert "hardly follow the bid" in plan["reason"]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"mode": "cpa"}, "target_cpa is not set"),
        ({"target_roas": 0.0}, "target_roas is 0.0"),
        ({"max_move_fraction": 1.0}, "max_move_fraction is 1.0"),
        ({"sure": 0.4}, "sure is 0.4"),
        ({"lowest_bid": 0.0}, "lowest_bid is 0.0"),
        ({"min_move_fraction": 0.3}, "min_move_fraction is 0.3"),
    ],
)
def test_a_config_out_of_range_names_field_and_value(setting: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        BidPlanConfig(**setting)


def test_bids_rise_with_what_a_click_is_worth() -> None:
    plans = [plan_bids(lines(1).with_columns(pl.col("^value_per_click.*$") * f), ONE) for f in (0.1, 0.3, 0.5, 5.0)]
    bids = [plan["planned_bid"][0] for plan in plans]
    assert all(low <= high for low, high in pairwise(bids))
    assert bids[0] < bids[-1]
