"""Bids: what they buy, which to draw at random where that is not known, and which bid each keyword gets."""

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.bid_curves import VALUES, BidCurveConfig, bid_curve_points, bid_elasticities
from models.bid_incrementality import channel_incrementality, clv_ratios
from models.bid_jitter import JitterConfig, propose_jitter
from models.bid_plan import BidPlanConfig, plan_bids
from models.bid_values import click_values
from models.run import Run
from tasks.registry import find
from tasks.warehouse import query_frame, read_frame, replace_rows, table_exists


@task(cache_policy=NO_CACHE)
def estimate_elasticity(run: Run, config: BidCurveConfig, jitter: JitterConfig) -> int:
    """Write what bids buy and which experiments would tell more; return how many keywords, campaigns and channels."""
    return estimate(run, config, jitter)


@task(cache_policy=NO_CACHE)
def plan_keyword_bids(run: Run, config: BidPlanConfig) -> int:
    """Write the bid of each keyword, consistent with the plan in force; return how many."""
    return plan(run, config)


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


def plan(run: Run, config: BidPlanConfig) -> int:
    """`plan_keyword_bids` without the orchestrator."""
    elasticities = read_frame(run.warehouse, "out_latest.bid_elasticity")
    if elasticities is None or elasticities.is_empty():
        return 0
    claimed = query_frame(run.warehouse, "query/claimed_by_channel")
    # values per click that hold the lifetime value of new customers need no second correction for it
    has_lifetime = table_exists(run.warehouse, "out_latest.new_customer_value")
    scorecard = None if has_lifetime else read_frame(run.warehouse, "out_latest.channel_scorecard")
    found = plan_bids(
        elasticities.drop("run_id", "as_of"),
        channel_incrementality(claimed, _mix(run)),
        _budgets(run),
        clv_ratios(scorecard),
        config,
    )
    replace_rows(run.warehouse, "out.bid_plan", found, run)
    return len(found)


def _values(run: Run, bids: pl.DataFrame) -> pl.DataFrame:
    """What clicks are worth, from the click model where it has spoken, else from the bids' own conversions."""
    frames = {name: read_frame(run.warehouse, f"out_latest.{name}") for name in ("keyword_value", "click_value")}
    return click_values(frames["keyword_value"], frames["click_value"], bids, run.as_of).select(
        "channel", "campaign", "keyword", *VALUES
    )


def _mix(run: Run) -> pl.DataFrame | None:
    """What the mix model in service says of each channel; None where there is none."""
    champion, rows = find(run.warehouse, model="mmm"), read_frame(run.warehouse, "out.mmm_channel")
    if champion is None or rows is None:
        return None
    mine = rows.filter(pl.col("model_id") == champion.model_id).sort("as_of", "run_id", "channel")
    return mine.unique("channel", keep="last", maintain_order=True)


def _budgets(run: Run) -> pl.DataFrame | None:
    """Spend of each line without and by the plan in force, for the first period it holds for; None without a plan."""
    summary, lines = (read_frame(run.warehouse, f"out.{name}") for name in ("plan_summary", "budget_plan"))
    if summary is None or lines is None:
        return None
    in_force = summary.filter("in_force").sort("as_of", "run_id").tail(1)
    mine = lines.join(in_force.select("run_id", "plan_id", "scenario"), on=("run_id", "plan_id", "scenario"))
    if mine.is_empty():
        return None
    first = mine.filter(pl.col("period_start").is_null() | (pl.col("period_start") == pl.col("period_start").min()))
    return first.select(pl.col("line").alias("channel"), "spend", "planned_spend").unique(
        "channel", keep="first", maintain_order=True
    )
