"""Behavioural cohorts: customers named by how they order, each by a rule that reads as a sentence.

A rule looks at one customer's features alone, so a customer's cohort does not depend on who else is there. A customer
belongs to the first cohort whose rule fits, in this order: frequent travellers, gift buyers, families, last-minute,
and all the others; the order goes from what many orders have shown to what one order can show.
"""

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

FREQUENT, GIFTS, FAMILIES, LAST_MINUTE, OTHERS = (
    "frequent travellers",
    "gift buyers",
    "families",
    "last-minute",
    "others",
)
COHORTS = (FREQUENT, GIFTS, FAMILIES, LAST_MINUTE, OTHERS)  # in the order in which they claim a customer
SHORT_NOTICE_DAYS = 3  # as in sql/mart/customer_behaviour.sql: too late for most other plans
SEASON = "15 November to 24 December or 1 to 14 February"  # as there: the weeks before Christmas and Valentine's Day


@dataclass(frozen=True, kw_only=True)
class CohortConfig:
    """From where on a habit is one. Shares are fractions of the customer's own orders."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    frequent_days_min: int = 4  # order days within a year: one a quarter, where a leisure traveller makes one or two
    frequent_months_min: int = 3  # spread over the year, so that one trip booked in parts is one
    season_days_min: int = 2  # one order in the season is chance: a seventh of the year is in it
    season_fraction_min: float = 0.75  # two of two happen by chance to 2 in 100 customers, three of four to 1 in 100
    gift_fraction_min: float = 0.5  # half of what is bought are gifts and vouchers
    party_size_min: float = 3.0  # two are a couple
    family_fraction_min: float = 0.5  # half of what is bought is for children or families
    short_notice_fraction_min: float = 0.5  # most orders begin within days
    short_notice_orders_min: int = 1  # a single order tells how its buyer plans

    def __post_init__(self) -> None:
        counts = ("frequent_days_min", "frequent_months_min", "season_days_min", "short_notice_orders_min")
        shares = ("season_fraction_min", "gift_fraction_min", "family_fraction_min", "short_notice_fraction_min")
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least 1")
        for name in shares:
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a fraction above 0, at most 1")
        if not self.party_size_min >= 1.0:
            raise ValueError(f"party_size_min is {self.party_size_min}: expected at least 1")


@dataclass(frozen=True, kw_only=True)
class CohortRule:
    """One cohort as these data offer it.

    Attributes
    ----------
    description : the rule as a sentence with its numbers; empty where no part of it can be told.
    switch_on : columns of orders that would offer it, or more of it, as a sentence; empty where nothing lacks.
    fits : whether a row of features belongs, before cohorts further up have claimed it; None where not offered.
    """

    name: str
    description: str
    switch_on: str
    fits: pl.Expr | None


@dataclass(frozen=True, kw_only=True)
class _Clause:
    """One half of a rule: what must be known, as a count of the customer's orders, what it says, when it holds."""

    column: str
    known: str
    says: str
    fits: pl.Expr


def cohort_rules(known: dict[str, int], config: CohortConfig) -> tuple[CohortRule, ...]:
    """The rules that the data can tell, in the order of `COHORTS`.

    Parameters
    ----------
    known : of ``mart.customer_behaviour`` the sums of party_orders_count, dated_orders_count and
        categorised_orders_count; a feature whose sum is 0 is absent.
    """
    days, season = pl.col("year_order_days_count"), pl.col("gift_season_days_count")
    frequent = (days >= config.frequent_days_min) & (pl.col("year_months_count") >= config.frequent_months_min)
    in_season = (season >= config.season_days_min) & (season >= config.season_fraction_min * pl.col("order_days_count"))
    gifts = _category("gift_orders_count", config.gift_fraction_min, "are gifts or vouchers")
    family = _category("family_orders_count", config.family_fraction_min, "are for children or families")
    party = _Clause(
        column="party_size",
        known="party_orders_count",
        says=f"orders for {config.party_size_min:g} people or more on average",
        fits=pl.col("party_size_mean") >= config.party_size_min,
    )
    dated, short = pl.col("dated_orders_count"), pl.col("short_notice_orders_count")
    late = _Clause(
        column="starts_at",
        known="dated_orders_count",
        says=(
            f"at least {config.short_notice_fraction_min:.0%} of {config.short_notice_orders_min} or more orders are "
            f"placed at most {SHORT_NOTICE_DAYS} days before they begin"
        ),
        fits=(dated >= config.short_notice_orders_min) & (short >= config.short_notice_fraction_min * dated),
    )
    often = (
        f"Ordered on {config.frequent_days_min} days or more in {config.frequent_months_min} or more months of the "
        "last 365 days."
    )
    seasonal = (
        f"at least {config.season_fraction_min:.0%} of {config.season_days_min} or more order days fall into {SEASON}"
    )
    return (
        CohortRule(name=FREQUENT, description=often, switch_on="", fits=frequent),
        _either(GIFTS, [gifts], known, always=(seasonal, in_season)),
        _either(FAMILIES, [party, family], known),
        _either(LAST_MINUTE, [late], known),
        CohortRule(name=OTHERS, description="No other rule fits.", switch_on="", fits=pl.lit(True)),
    )


def cohort_of(rules: tuple[CohortRule, ...]) -> pl.Expr:
    """The cohort of each row of ``mart.customer_behaviour``, never null: the first of `rules` that fits."""
    offered = [(rule.name, rule.fits) for rule in rules if rule.fits is not None]
    return pl.coalesce(*(pl.when(fits).then(pl.lit(name)) for name, fits in offered), pl.lit(OTHERS)).alias("cohort")


def lacking(rules: tuple[CohortRule, ...]) -> tuple[str, ...]:
    """One sentence for each cohort that is not offered at all."""
    return tuple(rule.switch_on for rule in rules if rule.fits is None)


def _category(count: str, fraction: float, are: str) -> _Clause:
    categorised = pl.col("categorised_orders_count")
    return _Clause(
        column="category",
        known="categorised_orders_count",
        says=f"at least {fraction:.0%} of the orders {are} by their category",
        fits=(categorised > 0) & (pl.col(count) >= fraction * categorised),
    )


def _either(
    name: str, clauses: list[_Clause], known: dict[str, int], always: tuple[str, pl.Expr] | None = None
) -> CohortRule:
    """A cohort of whoever fits one of its clauses, as far as the data tell them."""
    told = [clause for clause in clauses if known.get(clause.known, 0) > 0]
    sentences = [*([always[0]] if always else []), *(clause.says for clause in told)]
    fits = [*([always[1]] if always else []), *(clause.fits for clause in told)]
    columns = " or ".join(f"orders.{clause.column}" for clause in clauses if clause not in told)
    verb = "would also tell" if sentences else "would switch on"
    return CohortRule(
        name=name,
        description=_sentence(" or ".join(sentences)),
        switch_on=f"The column {columns} {verb} the cohort {name}." if columns else "",
        fits=pl.any_horizontal(fits) if fits else None,
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""
