"""Bids: what they buy, which to draw at random where that is not known, and which bid each keyword gets."""

from dataclasses import replace

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.bid_curves import VALUES, BidCurveConfig, bid_curve_points, bid_elasticities
from models.bid_incrementality import Money, channel_incrementality, click_returns, clv_ratios
from models.bid_jitter import JitterConfig, propose_jitter
from models.bid_plan import BidPlanConfig, plan_bids
from models.bid_values import basis_of, click_values, lifetime_channels, order_values
from models.run import Run
from tasks.planning import plan_in_force
from tasks.registry import mix_in_service
from tasks.warehouse import read_frame, replace_rows

CUSTOMER_TABLES = ("click_value", "new_customer_value")


@task(cache_policy=NO_CACHE)
def estimate_elasticity(run: Run, config: BidCurveConfig, jitter: JitterConfig) -> int:
    """Write what bids buy and which experiments would tell more; return how many keywords, campaigns and channels."""
    return estimate(run, config, jitter)


@task(cache_policy=NO_CACHE)
def plan_keyword_bids(run: Run, config: BidPlanConfig, kpi: str, margin_fraction: float) -> int:
    """Write the bid of each keyword, consistent with the plan in force; return how many.

    Parameters
    ----------
    kpi : what the mix model counts: "revenue", "margin" or "conversions". Where one of it and clicks' values is margin
        and the other revenue, they are compared at the margin of all orders; conversions are compared with nothing.
    margin_fraction : what plans take to be earned of the KPI; bids count it as `Money.margin_fraction` says, where
        the config states none of its own.
    """
    return plan(run, config, kpi, margin_fraction)


def estimate(run: Run, config: BidCurveConfig, jitter: JitterConfig) -> int:
    """`estimate_elasticity` without the orchestrator."""
    bids = read_frame(run.warehouse, "mart.bid_observations")
    if bids is None or bids.is_empty():
        return 0
    found = bid_elasticities(bids, run.as_of, config, _values(run, bids))
    replace_rows(run.warehouse, "out.bid_elasticity", found, run)
    replace_rows(run.warehouse, "out.bid_curve", bid_curve_points(found, config), run)
    replace_rows(run.warehouse, "out.bid_experiment", propose_jitter(found, jitter), run)
    return len(found)


def plan(run: Run, config: BidPlanConfig, kpi: str = "revenue", margin_fraction: float = 1.0) -> int:
    """`plan_keyword_bids` without the orchestrator."""
    elasticities = read_frame(run.warehouse, "out_latest.bid_elasticity")
    if elasticities is None or elasticities.is_empty():
        return 0
    valued, customers = (read_frame(run.warehouse, f"out_latest.{name}") for name in CUSTOMER_TABLES)
    money = Money(kpi=kpi, clicks=basis_of(valued), earned=_earned(run))
    holding = lifetime_channels(valued, customers)
    orders = read_frame(run.warehouse, "mart.click_order_value") if holding else None
    scorecard = read_frame(run.warehouse, "out_latest.channel_scorecard")
    ratios = clv_ratios(scorecard).filter(~pl.col("channel").is_in(holding))
    found = plan_bids(
        elasticities.drop("run_id", "as_of"),
        channel_incrementality(
            click_returns(elasticities, order_values(orders, holding, money.clicks), money.kpi_factor or 1.0),
            None if money.kpi_factor is None else mix_in_service(run),
            lack=money.lack,
        ),
        _budgets(run),
        ratios,  # values that hold the lifetime value of new customers need no second correction for it
        replace(config, margin_fraction=config.margin_fraction or money.margin_fraction(margin_fraction)),
    )
    replace_rows(run.warehouse, "out.bid_plan", found, run)
    return len(found)


def _earned(run: Run) -> float | None:
    """Margin over revenue of all orders; None where they do not tell."""
    found = read_frame(run.warehouse, "mart.margin_fraction")
    return None if found is None or found.is_empty() else float(found["margin_fraction"][0])


def _values(run: Run, bids: pl.DataFrame) -> pl.DataFrame:
    """What clicks are worth, from the click model where it has spoken, else from the bids' own conversions."""
    frames = {name: read_frame(run.warehouse, f"out_latest.{name}") for name in ("keyword_value", "click_value")}
    money = Money(clicks=basis_of(frames["click_value"]), earned=_earned(run))
    return click_values(
        frames["keyword_value"], frames["click_value"], bids, run.as_of, money.reported_factor
    ).select("channel", "campaign", "keyword", *VALUES)  # fmt: skip


def _budgets(run: Run) -> pl.DataFrame | None:
    """Spend of each line without and by the plan in force, for the first period it holds for; None without a plan."""
    in_force, lines = plan_in_force(run.warehouse), read_frame(run.warehouse, "out.budget_plan")
    if in_force is None or lines is None:
        return None
    mine = lines.filter(pl.col(name) == in_force[name] for name in ("run_id", "plan_id", "scenario"))
    if mine.is_empty():
        return None
    first = mine.filter(pl.col("period_start").is_null() | (pl.col("period_start") == pl.col("period_start").min()))
    return first.select(pl.col("line").alias("channel"), "spend", "planned_spend").unique(
        "channel", keep="first", maintain_order=True
    )
