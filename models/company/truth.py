"""What an oracle would say of the demo company: true contributions, the best plan, the score of any plan."""

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from models.allocation import allocate
from models.company.evidence import AB_TESTS, GEO_LIFT
from models.company.history import DRAWN_AHEAD_WEEKS, History, steady_response
from models.company.world import (
    CLV_DROP_KEEP,
    FLAT_CHANNEL,
    FLAT_ELASTICITY,
    MARGIN_FRACTION,
    PLANTED,
    REFUNDED_FRACTION,
    TRACKING_BREAK_DAYS_BEFORE_END,
    World,
)
from models.limits import AllocationConfig
from models.response import ResponseCurves

STATUS_QUO_WEEKS = 13  # today's spend is the mean of the last quarter, as in the plan
CLV_HORIZON_WEEKS = 365 / 7


def true_curves(world: World, week: int, top: np.ndarray, points: int = 401) -> ResponseCurves:
    """The true steady-state curves as one posterior draw, up to `top` (channels,) euro a week."""
    share = np.linspace(0, 1, points)
    spend = top[:, None] * share
    response = np.stack([steady_response(world, spend[:, point], week) for point in range(points)], axis=1)
    return ResponseCurves(lines=world.names, spend=spend, response=response[:, :, None])


def status_quo(history: History) -> np.ndarray:
    """Today's weekly spend (channels,): mean of the last quarter."""
    return history.spend[-STATUS_QUO_WEEKS:].mean(axis=0)


def profit(world: World, spend: np.ndarray, week: int) -> float:
    """True profit a week of a steady weekly spend (channels,): margin on incremental revenue less the spend."""
    return MARGIN_FRACTION * float(steady_response(world, spend, week).sum()) - float(spend.sum())


def expected_future_value(history: History) -> pl.DataFrame:
    """True expected revenue of each customer's repeat orders in the next year, net of refunds, given who has left.

    While alive a customer orders at `rate` a week and leaves after an order with chance `dropout`, so is alive
    after u weeks with chance exp(-rate * dropout * u): expected orders are (1 - exp(-rate * dropout * h)) / dropout.
    Orders are drawn 300 weeks ahead: who has none left has gone, or is alive and slower than that.
    """
    alive = pl.DataFrame({"customer_id": [f"C{number:07d}" for number in np.unique(history.state.repeats.customer)]})
    alive = alive.with_columns(alive=pl.lit(1.0))
    rate, dropout = pl.col("rate"), pl.col("dropout")
    orders = (1 - (-rate * dropout * CLV_HORIZON_WEEKS).exp()) / dropout * (1 - REFUNDED_FRACTION)
    silenced = pl.when(pl.col("is_top") & history.world.config.shocks).then(CLV_DROP_KEEP).otherwise(1.0)
    seen = history.orders.group_by("customer_id").agg(
        repeats=pl.len() - 1, first=pl.col("ordered_at").min(), last=pl.col("ordered_at").max()
    )
    beyond = DRAWN_AHEAD_WEEKS - (pl.col("last") - pl.col("first")).dt.total_seconds() / (7 * 86400)
    stays = (1 - dropout) * (-rate * beyond).exp()
    slow = pl.when(pl.col("repeats") == 0).then(1.0).otherwise(stays / (stays + dropout))
    return (
        history.customers.join(alive, on="customer_id", how="left")
        .join(seen, on="customer_id", how="left")
        .select(
            "customer_id",
            "source",
            value=pl.coalesce("alive", slow) * orders * pl.col("mean_value") * silenced,
            new_value=orders * pl.col("mean_value") + pl.col("mean_value") * (1 - REFUNDED_FRACTION),
        )
    )


def truth_of(history: History) -> dict[str, Any]:
    """Everything hidden, ready for `truth.json`: per channel and for the whole plan."""
    world, config = history.world, history.world.config
    week = config.weeks
    today = status_quo(history)
    here = steady_response(world, today, week - 1)
    step = 1e-4 * np.maximum(today, 1.0)
    marginal = (steady_response(world, today + step, week - 1) - here) / step
    contribution, spend = history.contribution.sum(axis=0), history.spend.sum(axis=0)
    oracle = oracle_plan(history, AllocationConfig())
    claimed = history.orders.filter(pl.col("is_first")).select("customer_id", "channel")
    value = expected_future_value(history).join(claimed, on="customer_id")
    clv = dict(value.group_by("channel").agg(pl.col("value").mean()).iter_rows())
    new = dict(value.group_by("channel").agg(pl.col("new_value").mean()).iter_rows())
    channels = {
        channel.name: {
            "contribution": float(contribution[index]),
            "spend": float(spend[index]),
            "roas": float(contribution[index] / spend[index]),
            "marginal_roas": float(marginal[index]),
            "clv": float(clv.get(channel.name, 0.0)),
            "clv_new_customer": float(new.get(channel.name, 0.0)),
            "current_spend": float(today[index]),
            "decay": channel.decay,
            "half_saturation": channel.half_saturation,
            "slope": channel.slope,
            "ceiling_value": channel.ceiling * channel.order_value,
            "elasticity": _elasticity(world, index),
        }
        for index, channel in enumerate(world.channels)
    }
    return {
        "seed": config.seed,
        "as_of": config.last_day.isoformat(),
        "shocks": config.shocks,
        "definitions": {
            "contribution": "expected revenue of the first bookings a channel caused, over the whole history",
            "marginal_roas": "slope of the true steady-state curve at current_spend, in the last week",
            "clv": (
                "mean expected revenue of the next 365 days, net of refunds, over customers whose first booking the "
                "channel claims"
            ),
            "clv_new_customer": (
                "mean expected revenue of a new customer, net of refunds: first booking and 365 days of repeats"
            ),
            "profit": "margin_fraction * incremental revenue - spend, a week, in steady state",
        },
        "margin_fraction": MARGIN_FRACTION,
        "channels": channels,
        "contribution_total": float(contribution.sum()),
        "oracle_plan": dict(zip(world.names, oracle.tolist(), strict=True)),
        "status_quo_plan": dict(zip(world.names, today.tolist(), strict=True)),
        "status_quo_profit": profit(world, today, week - 1),
        "oracle_profit": profit(world, oracle, week - 1),
        "ab_tests": {name: {"control_rate": rate, "lift": lift} for name, rate, lift in AB_TESTS},
        "geo_lift": GEO_LIFT,
        "tracking_break": (config.last_day - timedelta(days=TRACKING_BREAK_DAYS_BEFORE_END)).isoformat(),
        "planted": [dict(shock) for shock in PLANTED] if config.shocks else [],
    }


def _elasticity(world: World, index: int) -> float | None:
    channel = world.channels[index]
    if world.config.shocks and channel.name == FLAT_CHANNEL:
        return FLAT_ELASTICITY
    return channel.bid_elasticity


def oracle_plan(history: History, config: AllocationConfig) -> np.ndarray:
    """The best weekly spend (channels,) under the same rules as the plan's, given the true curves."""
    world = history.world
    today = status_quo(history)
    curves = true_curves(world, world.config.weeks - 1, 2.0 * np.maximum(today, today.sum() / len(today)))
    plan = allocate(curves, today, config)
    return np.asarray(plan.optimal_spend, dtype=float)


def score(
    truth: dict[str, Any], plan: dict[str, float], roas: dict[str, tuple[float, float]], total: float
) -> dict[str, Any]:
    """Score a plan and the model's intervals by the hidden truth.

    Parameters
    ----------
    truth : what `truth_of` returned.
    plan : weekly spend per channel, euro.
    roas : 90 % interval (low, high) per channel.
    total : the model's mean total contribution over the history.
    """
    hits = sum(low <= truth["channels"][name]["roas"] <= high for name, (low, high) in roas.items())
    factor = _closing_factor(truth)
    value = 0.0
    for name, channel in truth["channels"].items():
        powered = (plan.get(name, 0.0) / channel["half_saturation"]) ** channel["slope"]
        value += factor * channel["ceiling_value"] * powered / (1 + powered)
    return {
        "status_quo_profit": truth["status_quo_profit"],
        "plan_profit": truth["margin_fraction"] * value - sum(plan.values()),
        "oracle_profit": truth["oracle_profit"],
        "roas_in_interval": [int(hits), len(roas)],
        "contribution_error_fraction": total / truth["contribution_total"] - 1.0,
    }


def _closing_factor(truth: dict[str, Any]) -> float:
    """Effectiveness in the last week, from the status quo's profit."""
    spend = truth["status_quo_plan"]
    value = 0.0
    for name, channel in truth["channels"].items():
        powered = (spend[name] / channel["half_saturation"]) ** channel["slope"]
        value += channel["ceiling_value"] * powered / (1 + powered)
    return float((truth["status_quo_profit"] + sum(spend.values())) / truth["margin_fraction"] / value)
