"""The delay from click to conversion: recovered, equal to the chain ladder, sceptical of days without conversions."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.conversion_delay import DelayConfig, FittedDelay, fit_delay, observed_fraction
from tests.models.click_simulator import AS_OF, Clicks, simulate

CONFIG = DelayConfig()


def fitted(clicks: Clicks, config: DelayConfig = CONFIG) -> FittedDelay:
    return fit_delay(clicks.cells, clicks.delays, clicks.as_of, config)


def corrected_rate(clicks: Clicks, delay: FittedDelay, days: int) -> float:
    """Conversions a click of the last days, clicks of each channel counted by what was seen of theirs."""
    last = clicks.cells.filter(pl.col("clicked_date") > clicks.as_of - timedelta(days=days))
    fraction = pl.Series("fraction", observed_fraction(delay, last["channel"], last["clicked_date"]))
    by_channel = (
        last.with_columns(seen=pl.col("clicks_count") * fraction)
        .group_by("channel")
        .agg(pl.col("clicks_count", "conversions_count", "seen").sum())
    )
    due = by_channel["clicks_count"] * by_channel["conversions_count"] / by_channel["seen"]
    return float(due.sum() / by_channel["clicks_count"].sum())


@pytest.mark.parametrize(("clicks", "tolerance"), [(20_000, 0.05), (320_000, 0.0125)])
def test_the_delay_is_recovered_closer_with_more_data(clicks: int, tolerance: float) -> None:
    """Four standard errors of a share at 5 % conversions: 4 sqrt(.25 / 1000) = .06, and a quarter of it."""
    delay = fitted(simulate(100, clicks))
    expected = (1 / 3) * (2 / 3) ** np.arange(30)  # geometric of mean 2
    assert np.abs(np.cumsum(delay.share)[:30] - np.cumsum(expected)).max() < tolerance
    assert delay.mean_days == pytest.approx(2.0, abs=8 * tolerance)


def test_the_bias_of_recent_days_goes() -> None:
    """On average over companies: one alone has 200 conversions to come, itself uncertain by 7 %."""
    left = []
    for seed in range(100, 110):
        clicks = simulate(seed, 60_000, mean_delay={"search": 1.0, "social": 3.0, "video": 2.0})
        seen, will_be, to_come = clicks.truth(14)
        assert to_come > 50
        left.append((corrected_rate(clicks, fitted(clicks), 14) - will_be) / (seen - will_be))
    assert abs(np.mean(left)) < 0.1
    assert np.mean(np.abs(left)) < 0.2


def test_without_holes_it_is_the_chain_ladder() -> None:
    """An independent way: cumulate each day's conversions and multiply age-to-age factors, no iteration."""
    clicks = simulate(101, 30_000, days=12, mean_delay=2.0)
    delay = fitted(clicks)
    table = np.zeros((12, 12))
    for day, after, count in (
        clicks.delays.group_by("clicked_date", "delay_days").agg(pl.col("conversions_count").sum()).iter_rows()
    ):
        table[11 - (AS_OF - day).days, after] += count
    cumulated = np.cumsum(table, axis=1)
    whole = np.ones(12)
    for age in range(11, 0, -1):
        known = 12 - age  # days old enough to have seen this age
        whole[age - 1] = whole[age] * cumulated[:known, age - 1].sum() / cumulated[:known, age].sum()
    np.testing.assert_allclose(np.cumsum(delay.share), whole, rtol=1e-9)


def test_a_hand_worked_table() -> None:
    """Ten a day come at once and ten the day after; of the last day only the first ten have been seen: half."""
    days = [AS_OF - timedelta(days=age) for age in range(4)]
    clicks = pl.DataFrame({"channel": ["a"] * 4, "clicked_date": days, "clicks_count": [100] * 4})
    rows = [("a", day, x, 10) for age, day in enumerate(days) for x in (0, 1) if x <= age]
    delays = pl.DataFrame(rows, schema=["channel", "clicked_date", "delay_days", "conversions_count"], orient="row")
    delay = fit_delay(clicks, delays, AS_OF, CONFIG)
    assert delay.share == pytest.approx((0.5, 0.5, 0.0, 0.0))
    found = observed_fraction(delay, pl.Series(["a", "a", "new"]), pl.Series([AS_OF, days[1], AS_OF]))
    assert found == pytest.approx([0.5, 1.0, 0.5])


def test_channels_keep_their_own_delay_only_where_they_differ() -> None:
    same = fitted(simulate(102, 200_000))
    assert np.isinf(same.pooling) or same.pooling > 500  # conversions; a channel has some thousands
    apart = fitted(simulate(102, 200_000, mean_delay={"search": 0.5, "social": 5.0, "video": 2.0}))
    assert apart.pooling < 100
    means = {name: float(np.arange(len(share)) @ np.array(share)) for name, share in apart.channel_share.items()}
    assert means["search"] == pytest.approx(0.5, abs=0.15)
    assert means["social"] == pytest.approx(5.0, abs=0.6)


def test_a_day_on_which_tracking_broke_is_a_hole_not_a_zero() -> None:
    clicks = simulate(103, 300_000)
    broken = AS_OF - timedelta(days=6)
    converted_date = pl.col("clicked_date") + pl.duration(days=pl.col("delay_days"))
    rows = clicks.rows.with_columns(converts=pl.col("converts") & (converted_date != broken))
    delay = fitted(Clicks(rows=rows))
    assert {day for _, day in delay.silent} == {broken}
    assert any("not tracked" in reason for reason in delay.reasons)
    whole = fitted(clicks)
    assert np.abs(np.cumsum(delay.share) - np.cumsum(whole.share)).max() < 0.02
    _, will_be, _ = clicks.truth(14)
    believed = rows.filter(pl.col("clicked_date") > AS_OF - timedelta(days=14))["converts"].mean()
    assert isinstance(believed, float)
    assert abs(corrected_rate(Clicks(rows=rows), delay, 14) - will_be) < 0.5 * abs(believed - will_be)


def test_clicks_that_lost_their_conversions_are_part_of_no_rate() -> None:
    clicks = simulate(104, 100_000)
    lost = AS_OF - timedelta(days=20)
    delay = fitted(
        Clicks(rows=clicks.rows.with_columns(converts=pl.col("converts") & (pl.col("clicked_date") != lost)))
    )
    assert {day for _, day in delay.lost} == {lost}
    assert observed_fraction(delay, pl.Series(["search"]), pl.Series([lost])).tolist() == [0.0]


def test_conversions_that_lag_as_a_whole_have_not_been_seen_yet() -> None:
    """The last three days' conversions have not been delivered: the days before them are what they were."""
    clicks = simulate(105, 100_000)
    converted_date = pl.col("clicked_date") + pl.duration(days=pl.col("delay_days"))
    late = clicks.rows.with_columns(converts=pl.col("converts") & (converted_date <= AS_OF - timedelta(days=3)))
    delay = fitted(Clicks(rows=late))
    assert {day for _, day in delay.silent} == {AS_OF - timedelta(days=age) for age in range(3)}
    _, will_be, _ = clicks.truth(14)
    assert corrected_rate(Clicks(rows=late), delay, 14) == pytest.approx(will_be, rel=0.1)


def test_an_export_by_day_of_order_begins_with_converted_clicks_alone() -> None:
    clicks = simulate(106, 60_000)
    start = AS_OF - timedelta(days=40)
    kept = clicks.rows.filter((pl.col("clicked_date") >= start) | pl.col("converts"))
    delay = fitted(Clicks(rows=kept))
    assert delay.first_whole_day == start
    assert observed_fraction(
        delay, pl.Series(["search"] * 2), pl.Series([start - timedelta(days=1), start])
    ).tolist() == [0.0, 1.0]


def test_a_tail_that_has_not_ended_is_told() -> None:
    young = fitted(simulate(107, 60_000, days=8, mean_delay=10.0))
    assert any("lower bounds" in reason for reason in young.reasons)
    assert not fitted(simulate(107, 60_000)).reasons


def test_conversions_before_their_click_are_counted_and_left_out() -> None:
    clicks = simulate(108, 20_000)
    odd = clicks.delays.head(1).with_columns(delay_days=pl.lit(-1, pl.Int64), conversions_count=pl.lit(7, pl.Int64))
    delay = fit_delay(clicks.cells, pl.concat([clicks.delays, odd]), AS_OF, CONFIG)
    assert delay.before_click == 7
    assert delay.share == fitted(clicks).share
    assert any(reason.startswith("7 conversions") for reason in delay.reasons)


@given(seed=st.integers(0, 10_000), clicks=st.integers(0, 400), days=st.integers(1, 20))
def test_laws(seed: int, clicks: int, days: int) -> None:
    """Shares are a distribution, older clicks have been seen at least as far, and the order of rows is nothing."""
    data = simulate(seed, clicks, days=days, rate=0.3)
    delay = fitted(data)
    assert sum(delay.share) == pytest.approx(1.0)
    assert min(delay.share) >= 0.0
    dates = pl.Series([AS_OF - timedelta(days=age) for age in range(days)], dtype=pl.Date)
    fraction = observed_fraction(delay, pl.Series(["search"] * days), dates)
    assert ((fraction >= 0.0) & (fraction <= 1.0)).all()
    tracked = replace(delay, silent=(), lost=())
    seen = observed_fraction(tracked, pl.Series(["search"] * days), dates)
    assert (fraction <= seen + 1e-12).all()  # days without tracking take away
    used = seen[(dates >= delay.first_whole_day).to_numpy()]
    assert (np.diff(used) >= -1e-12).all()
    turned = fit_delay(data.cells.reverse(), data.delays.reverse(), AS_OF, CONFIG)
    assert turned == delay


def test_a_wrong_year_does_not_make_a_table_of_a_century() -> None:
    clicks = simulate(109, 2_000)
    old = clicks.cells.head(1).with_columns(clicked_date=pl.lit(date(1990, 1, 1)))
    assert fit_delay(pl.concat([clicks.cells, old]), clicks.delays, AS_OF, CONFIG).share == fitted(clicks).share


def test_a_bad_setting_is_named() -> None:
    with pytest.raises(ValueError, match="break_expected is 0"):
        DelayConfig(break_expected=0)
