"""Behavioural cohorts and profiles: the rules one by one, exactly one cohort each, sums that add up."""

import itertools
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.clv import TIERS
from models.cohort_profile import add_sums, group_sums, profiles, tier_descriptions
from models.cohorts import COHORTS, CohortConfig, cohort_of, cohort_rules, lacking

CONFIG = CohortConfig()
EVERYTHING = {"party_orders_count": 1, "dated_orders_count": 1, "categorised_orders_count": 1}
PLAIN = {
    "customer_id": "c",
    "orders_count": 1,
    "order_days_count": 1,
    "year_order_days_count": 1,
    "year_months_count": 1,
    "gift_season_days_count": 0,
    "revenue": 50.0,
    "party_size_mean": None,
    "party_orders_count": 0,
    "dated_orders_count": 0,
    "short_notice_orders_count": 0,
    "categorised_orders_count": 0,
    "gift_orders_count": 0,
    "family_orders_count": 0,
}
SCHEMA = {
    name: pl.String if isinstance(value, str) else pl.Int64 if isinstance(value, int) else pl.Float64
    for name, value in PLAIN.items()
}
TEXTS = tier_descriptions((0.5, 0.8, 0.95))


def people(*changes: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(
        [{**PLAIN, "customer_id": f"c{i}", **change} for i, change in enumerate(changes)], schema=SCHEMA
    )


def cohorts(frame: pl.DataFrame, known: dict[str, int] | None = None) -> list[str]:
    return frame.select(cohort_of(cohort_rules(EVERYTHING if known is None else known, CONFIG)))["cohort"].to_list()


@pytest.mark.parametrize(
    ("features", "cohort"),
    [
        ({}, "others"),
        ({"year_order_days_count": 4, "year_months_count": 3}, "frequent travellers"),
        ({"year_order_days_count": 4, "year_months_count": 2}, "others"),  # one trip booked in parts
        ({"year_order_days_count": 3, "year_months_count": 3}, "others"),
        ({"order_days_count": 2, "gift_season_days_count": 2}, "gift buyers"),
        ({"order_days_count": 1, "gift_season_days_count": 1}, "others"),  # one order in December is chance
        ({"order_days_count": 4, "gift_season_days_count": 3}, "gift buyers"),
        ({"order_days_count": 5, "gift_season_days_count": 3}, "others"),
        ({"categorised_orders_count": 2, "gift_orders_count": 1}, "gift buyers"),
        ({"categorised_orders_count": 3, "gift_orders_count": 1}, "others"),
        ({"party_orders_count": 1, "party_size_mean": 3.0}, "families"),
        ({"party_orders_count": 1, "party_size_mean": 2.9}, "others"),
        ({"categorised_orders_count": 1, "family_orders_count": 1}, "families"),
        ({"dated_orders_count": 2, "short_notice_orders_count": 1}, "last-minute"),
        ({"dated_orders_count": 3, "short_notice_orders_count": 1}, "others"),
        ({"party_size_mean": 4.0, "dated_orders_count": 1, "short_notice_orders_count": 1}, "families"),
        ({"year_order_days_count": 9, "year_months_count": 5, "party_size_mean": 4.0}, "frequent travellers"),
    ],
)
def test_a_rule_fits_from_its_number_on(features: dict[str, Any], cohort: str) -> None:
    assert cohorts(people(features)) == [cohort]


def test_a_rule_reads_as_a_sentence_with_its_numbers() -> None:
    rules = {rule.name: rule for rule in cohort_rules(EVERYTHING, CohortConfig(frequent_days_min=7, party_size_min=5))}
    assert tuple(rules) == COHORTS
    assert rules["frequent travellers"].description == (
        "Ordered on 7 days or more in 3 or more months of the last 365 days."
    )
    assert rules["families"].description == (
        "Orders for 5 people or more on average or at least 50% of the orders are for children or families by their "
        "category."
    )
    assert "at most 3 days before they begin" in rules["last-minute"].description
    assert all(rule.switch_on == "" for rule in rules.values())


def test_what_the_data_cannot_tell_is_not_offered_and_says_what_would() -> None:
    rules = cohort_rules({}, CONFIG)
    assert lacking(rules) == (
        "The column orders.party_size or orders.category would switch on the cohort families.",
        "The column orders.starts_at would switch on the cohort last-minute.",
    )
    gifts = next(rule for rule in rules if rule.name == "gift buyers")
    assert gifts.switch_on == "The column orders.category would also tell the cohort gift buyers."
    assert "category" not in gifts.description
    told = people({"party_size_mean": 9.0}, {"order_days_count": 2, "gift_season_days_count": 2})
    assert cohorts(told, known={}) == ["others", "gift buyers"]


counts = st.integers(0, 6)
features = st.fixed_dictionaries(
    {
        name: st.one_of(st.none(), st.floats(1, 9)) if name == "party_size_mean" else counts
        for name in PLAIN
        if name not in ("customer_id", "revenue")
    }
)


@given(
    st.lists(features, min_size=1, max_size=20), st.sampled_from([EVERYTHING, {}]), st.randoms(use_true_random=False)
)
def test_every_customer_has_one_cohort_whoever_else_is_there(
    drawn: list[dict[str, Any]], known: dict[str, int], random: Any
) -> None:
    frame = people(*drawn)
    rules = cohort_rules(known, CONFIG)
    found = cohorts(frame, known)
    assert len(found) == len(drawn) and set(found) <= {rule.name for rule in rules if rule.fits is not None}
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=random.randint(0, 999))
    assert dict(zip(shuffled["customer_id"], cohorts(shuffled, known), strict=True)) == dict(
        zip(frame["customer_id"], found, strict=True)
    )
    assert cohorts(frame.head(1), known) == found[:1]
    # an own reading of the order of the rules: the first that fits alone
    for i, name in enumerate(found):
        own = frame.slice(i, 1)
        alone = [rule.name for rule in rules if rule.fits is not None and own.filter(rule.fits).height]
        assert alone[0] == name


# ---- profiles ----


def company(size: int, seed: int) -> pl.DataFrame:
    """Customers with a value, a tier, a channel and a habit."""
    rng = np.random.default_rng(seed)
    orders = rng.gamma(0.8, 1.0, size)
    value = orders * rng.gamma(0.8, 60.0, size)  # few customers place large orders
    frame = people(*[{"order_days_count": 2, "gift_season_days_count": int(n)} for n in rng.integers(0, 3, size)])
    return frame.with_columns(
        channel=pl.Series(rng.choice(["search", "social"], size)),
        tier=pl.Series(np.array(TIERS)[np.searchsorted(np.quantile(value, [0.5, 0.8, 0.95]), value)]),
        clv_mean=pl.Series(value),
        expected_orders=pl.Series(orders),
        orders_count=pl.Series(rng.integers(1, 9, size)),
        revenue=pl.Series(np.round(rng.gamma(2.0, 50.0, size), 2)),
    )


def channel_rows(frame: pl.DataFrame, luck: float = 0.02, doubt: float = 0.05) -> pl.DataFrame:
    return frame.group_by("channel").agg(
        customers=pl.len(),
        error_customers=luck * pl.col("clv_mean").mean(),
        error_parameters=doubt * pl.col("clv_mean").mean(),
    )


def test_profiles_are_the_plain_means_and_add_up() -> None:
    frame, rules = company(500, 101), cohort_rules({}, CONFIG)
    found = profiles(group_sums(frame, rules), rules, TEXTS, channel_rows(frame))
    assert found["name"].to_list() == [*TIERS, *COHORTS]
    vip, mine = found.row(3, named=True), frame.filter(tier="VIP")
    assert vip["customers"] == len(mine) and vip["clv_mean"] == pytest.approx(mine["clv_mean"].mean(), rel=1e-6)
    assert vip["revenue_fraction"] == pytest.approx(mine["revenue"].sum() / frame["revenue"].sum(), rel=1e-6)
    assert vip["orders_mean"] == pytest.approx(mine["orders_count"].mean())
    assert vip["description"] == "The top 5 % by expected value."
    for kind in ("tier", "cohort"):
        part = found.filter(kind=kind)
        for name in ("customer_fraction", "clv_fraction", "revenue_fraction"):
            assert part[name].sum() == pytest.approx(1.0)
        assert part["customers"].sum() == 500
    families = found.filter(name="families").row(0, named=True)
    assert families["customers"] is None and families["switch_on"].startswith("The column orders.party_size")


@given(st.lists(st.integers(1, 119), max_size=4), st.integers(0, 99))
def test_batches_and_their_order_change_no_bit(cuts: list[int], seed: int) -> None:
    frame, rules = company(120, 102), cohort_rules({}, CONFIG)
    edges = [0, *sorted(cuts), 120]
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=seed)
    parts = [group_sums(shuffled.slice(a, b - a), rules) for a, b in itertools.pairwise(edges) if b > a]
    found = profiles(add_sums(parts[::-1]), rules, TEXTS, channel_rows(frame))
    assert found.equals(profiles(group_sums(frame, rules), rules, TEXTS, channel_rows(frame)))


def test_a_group_that_is_a_whole_channel_has_the_channels_interval() -> None:
    frame = company(300, 103).filter(channel="search").with_columns(tier=pl.lit("High"))
    rules = cohort_rules({}, CONFIG)
    mean = frame["clv_mean"].mean()
    found = profiles(group_sums(frame, rules), rules, TEXTS, channel_rows(frame)).row(2, named=True)
    spread = 1.6449 * math.hypot(0.02, 0.05)
    assert (found["clv_p05"], found["clv_p95"]) == pytest.approx((mean * math.exp(-spread), mean * math.exp(spread)))


def test_the_interval_of_a_groups_mean_covers_what_its_customers_bring() -> None:
    """Futures drawn as compound Poisson sums; the profile is told only the whole channel's luck."""
    frame, rules = company(4000, 104).with_columns(channel=pl.lit("search")), cohort_rules({}, CONFIG)
    orders, value = frame["expected_orders"].to_numpy(), frame["clv_mean"].to_numpy()
    each = value / orders
    rng = np.random.default_rng(105)
    futures = rng.poisson(orders, (400, 4000)) * each
    luck = math.sqrt(float((orders * each**2).sum())) / 4000
    channel = pl.DataFrame(
        {"channel": ["search"], "customers": [4000], "error_customers": [luck], "error_parameters": [0.0]}
    )
    found = profiles(group_sums(frame, rules), rules, TEXTS, channel).filter(pl.col("customers") > 0)
    groups = {**{name: frame["tier"] == name for name in TIERS}}
    for name, rows in groups.items():
        means = futures[:, rows.to_numpy()].mean(axis=1)
        low, high = found.filter(name=name).select("clv_p05", "clv_p95").row(0)
        cover = np.mean((means >= low) & (means <= high))
        assert 0.85 < cover < 0.95, (name, cover)  # 0.90 with a binomial error of 0.015


def test_without_the_channels_there_is_no_interval() -> None:
    frame, rules = company(50, 106), cohort_rules({}, CONFIG)
    bare = profiles(group_sums(frame, rules), rules, TEXTS)
    strange = profiles(group_sums(frame, rules), rules, TEXTS, channel_rows(frame).filter(channel="search"))
    assert bare["clv_p05"].null_count() == strange["clv_p95"].null_count() == len(bare)


@pytest.mark.parametrize(
    "wrong", [{"frequent_days_min": 0}, {"season_fraction_min": 1.5}, {"party_size_min": 0.0}, {"gift_fraction_min": 0}]
)
def test_a_config_names_what_is_wrong(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CohortConfig(**wrong)  # type: ignore[arg-type]
