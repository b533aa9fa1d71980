"""The demo company: its books balance, its truth is the truth, its shocks are the planted ones."""

from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.company.history import BG_NBD, History, run_history, start, steady_response, step
from models.company.tables import source_tables
from models.company.truth import profit, score, status_quo, truth_of
from models.company.world import COUNTRY_SHARE, ORDER_VALUE, PLANTED, CompanyConfig, draw_world, effectiveness, hill
from models.limits import AllocationConfig

SMALL = CompanyConfig(seed=900, weeks=40, customers=4000)


@cache
def small_history(seed: int = 900, shocks: bool = True) -> History:
    return run_history(draw_world(replace(SMALL, seed=seed, shocks=shocks)))


@cache
def small_tables() -> dict[str, pl.DataFrame]:
    return source_tables(small_history())


def test_same_seed_gives_the_same_company_another_seed_another() -> None:
    again = source_tables(run_history(draw_world(SMALL)))
    assert all(again[name].equals(small_tables()[name]) for name in again)
    assert not source_tables(small_history(901))["orders"].equals(small_tables()["orders"])


def test_default_company_has_two_years_and_about_forty_thousand_customers() -> None:
    history = run_history(draw_world(CompanyConfig(seed=902)))
    assert len(history.weeks) == 104
    assert 34_000 < len(history.customers) < 46_000
    ads = source_tables(history)["ad_spend"]
    assert ads["channel"].n_unique() == 6
    assert ads["country"].n_unique() == 4
    assert 24 <= ads["campaign"].n_unique() <= 28


def test_exports_balance_with_what_happened() -> None:
    history, tables = small_history(), small_tables()
    clean = source_tables(run_history(draw_world(replace(SMALL, dirt=False))))
    assert clean["ad_spend"]["cost"].sum() == pytest.approx(history.spend.sum(), abs=50)  # cents of 7 000 rows
    assert clean["kpi"]["value"].sum() == pytest.approx(history.orders["revenue"].sum(), abs=0.5)
    assert clean["kpi"]["orders"].sum() == len(history.orders) == len(clean["orders"])
    assert set(clean["customers"]["customer_id"]) == set(clean["orders"]["customer_id"])
    assert clean["kpi"].height == 4 * 7 * SMALL.weeks
    assert tables["ad_spend"].height > clean["ad_spend"].height  # the dirt is added, nothing is taken


def test_every_source_table_is_there() -> None:
    expected = "ad_spend kpi orders customers clicks touchpoints experiments geo_experiments lift_tests bids controls"
    assert sorted(small_tables()) == sorted(expected.split())
    assert all(frame.height > 0 for frame in small_tables().values())


def test_orders_follow_the_true_contributions() -> None:
    """Bookings are Poisson around the hidden expectation: the sum over the history is within four sigma."""
    history = run_history(draw_world(CompanyConfig(seed=903, shocks=False)))
    first = history.orders.filter(pl.col("is_first"), pl.col("source").is_not_null())
    value = dict(zip(history.world.names, history.contribution.sum(axis=0), strict=True))
    for name, rows in first.partition_by("source", as_dict=True).items():
        spread = np.sqrt((rows["revenue"] ** 2).sum())
        assert abs(rows["revenue"].sum() - value[name[0]]) < 4 * spread


@pytest.mark.parametrize(("weeks", "tolerance"), [(40, 0.12), (160, 0.06)])
def test_repeat_rate_is_that_of_the_bg_nbd(weeks: int, tolerance: float) -> None:
    """Orders a week of organic customers right after the first one approach r / alpha as the company grows."""
    config = CompanyConfig(seed=904, weeks=weeks, customers=400 * weeks, shocks=False)
    history = run_history(draw_world(config))
    organic = history.customers.filter(pl.col("source").is_null())
    assert organic["rate"].mean() == pytest.approx(BG_NBD["r"] / BG_NBD["alpha"], rel=tolerance)
    assert organic["mean_value"].mean() == pytest.approx(ORDER_VALUE, rel=tolerance)


@given(st.lists(st.floats(0, 20_000), min_size=6, max_size=6), st.floats(1.0, 3.0))
@settings(max_examples=25)
def test_more_spend_never_brings_less(spend: list[float], factor: float) -> None:
    world = small_history().world
    before = start(world)
    _, less = step(world, before, np.array(spend))
    _, more = step(world, before, np.array(spend) * factor)
    assert (more.contribution >= less.contribution - 1e-9).all()


def test_a_week_under_another_plan_has_the_same_luck() -> None:
    world, state = small_history().world, small_history().state
    _, one = step(world, state, status_quo(small_history()))
    _, two = step(world, state, status_quo(small_history()))
    assert one.orders.equals(two.orders)


def test_steady_state_is_reached_under_constant_spend() -> None:
    world = draw_world(replace(SMALL, shocks=False))
    state, spend = start(world), np.array([channel.spend for channel in world.channels])
    for _ in range(60):
        state, week = step(world, state, spend)
    np.testing.assert_allclose(week.contribution, steady_response(world, spend, 10), rtol=1e-6)


def test_hill_is_a_half_at_half_saturation_and_s_shaped_above_one() -> None:
    assert hill(3.0, 3.0, 2.2) == pytest.approx(0.5)
    x = np.linspace(0.01, 1, 50)
    assert (np.diff(hill(x, 3.0, 2.2), 2) > 0).all()  # convex at first
    assert (np.diff(hill(x, 3.0, 1.0), 2) < 0).all()


def test_refused_spend_is_named() -> None:
    world = small_history().world
    with pytest.raises(ValueError, match="finite amounts"):
        step(world, start(world), np.full(6, np.nan))


def test_truth_is_that_of_the_history_and_the_oracle_beats_today() -> None:
    history = small_history()
    truth = truth_of(history)
    assert truth["contribution_total"] == pytest.approx(history.contribution.sum())
    assert truth["oracle_profit"] > truth["status_quo_profit"]
    assert sum(truth["oracle_plan"].values()) == pytest.approx(sum(truth["status_quo_plan"].values()), abs=0.02)
    limit = AllocationConfig().max_change_fraction
    assert limit is not None
    for name, spend in truth["oracle_plan"].items():
        today = truth["status_quo_plan"][name]
        assert (1 - limit) * today - 0.02 <= spend <= (1 + limit) * today + 0.02


def test_score_agrees_with_the_world_itself() -> None:
    """The scorer knows truth.json only; the world computes the same profit from its own curves."""
    history = small_history()
    truth = truth_of(history)
    today = status_quo(history)
    plan = dict(zip(history.world.names, 1.1 * today, strict=True))
    roas = {name: (channel["roas"] - 1, channel["roas"] + 1) for name, channel in truth["channels"].items()}
    result = score(truth, plan, roas, truth["contribution_total"] * 0.9)
    assert result["plan_profit"] == pytest.approx(profit(history.world, 1.1 * today, SMALL.weeks - 1), rel=1e-9)
    assert result["roas_in_interval"] == [6, 6]
    assert result["contribution_error_fraction"] == pytest.approx(-0.1)


def test_marginal_roas_is_the_slope_of_the_true_curve() -> None:
    history = small_history()
    truth, today = truth_of(history), status_quo(history)
    factor = float(COUNTRY_SHARE @ effectiveness(history.world, SMALL.weeks - 1))
    for index, channel in enumerate(history.world.channels):
        share = float(hill(today[index], channel.half_saturation, channel.slope))
        slope = factor * channel.order_value * channel.ceiling * channel.slope * share * (1 - share) / today[index]
        assert truth["channels"][channel.name]["marginal_roas"] == pytest.approx(slope, rel=1e-2)


def test_quiet_company_has_nothing_planted() -> None:
    loud, quiet = truth_of(small_history()), truth_of(small_history(shocks=False))
    assert loud["planted"] == [dict(shock) for shock in PLANTED]
    assert quiet["planted"] == []
    ads = source_tables(small_history(shocks=False))["ad_spend"]
    assert ads["campaign"].n_unique() == 24 + 2  # two of the dirty rows


def test_platform_roas_and_customer_value_rank_differently() -> None:
    """S0 5.3.1: what looks best in the platform's own figures is not what brings the best customers."""
    history = run_history(draw_world(CompanyConfig(seed=905)))
    ads = source_tables(history)["ad_spend"].filter(pl.col("cost") != "n/a").cast({"cost": pl.Float64})
    platform = ads.group_by("channel").agg(pl.col("conversion_value").sum() / pl.col("cost").sum())
    best_looking = platform.sort("conversion_value")["channel"][-1]
    channels = truth_of(history)["channels"]
    assert best_looking in ("brand_search", "display_retargeting")
    assert max(channels, key=lambda name: channels[name]["clv_new_customer"]) == "prospecting_display"
