"""Monitoring: what the triggers look at, read from the marts."""

from dataclasses import asdict
from datetime import date, timedelta
from typing import cast

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from models import clv
from models.elasticity import elasticity_windows
from models.roas_change import RoasDropConfig
from models.run import Run
from models.tier_value import tier_values
from models.triggers import (
    ClvDropConfig,
    ElasticityFlatConfig,
    NewCampaignConfig,
    Trigger,
    clv_drop,
    elasticity_flat,
    new_campaign,
    roas_drop,
)
from tasks.warehouse import query_frame, read_frame, replace_rows

WINDOW_DAYS = 56  # eight weeks: long enough for the orders of a tier to say something


@task(cache_policy=NO_CACHE)
def watch_roas(run: Run, config: RoasDropConfig) -> tuple[Trigger, ...]:
    """Whether the ROAS of a country has dropped."""
    weekly = read_frame(run.warehouse, "mart.roas_weekly")
    return () if weekly is None or weekly.is_empty() else roas_drop(weekly, run.as_of, config)


@task(cache_policy=NO_CACHE)
def watch_value(run: Run, clv_config: clv.CLVConfig, config: ClvDropConfig) -> tuple[Trigger, ...]:
    """Whether the top customers bring less than the model, fitted before the window, expected of them."""
    start = run.as_of - timedelta(days=WINDOW_DAYS)
    before = query_frame(run.warehouse, "mart/customer_rfm", as_of=start)
    if len(before) < clv_config.repeaters_min:
        return ()
    fitted = clv.fit(before, clv_config)
    tiers = clv.predict(fitted, before, clv_config).select("customer_id", "tier")
    actual = query_frame(run.warehouse, "query/orders_between", after=start, up_to=run.as_of, value=clv_config.value)
    customers = (
        clv.expected_window(fitted, before, WINDOW_DAYS)
        .join(tiers, on="customer_id")
        .join(actual, on="customer_id", how="left")
        .with_columns(pl.col("actual_orders", "actual_value").fill_null(0.0))
    )
    return clv_drop(tier_values(customers), config)


@task(cache_policy=NO_CACHE)
def watch_elasticity(run: Run, config: ElasticityFlatConfig) -> tuple[Trigger, ...]:
    """Whether more bid has stopped buying more clicks in a channel."""
    bids = read_frame(run.warehouse, "mart.bid_observations")
    if bids is None or bids.is_empty():
        return ()
    return elasticity_flat(elasticity_windows(bids, run.as_of), config)


@task(cache_policy=NO_CACHE)
def watch_campaigns(run: Run, config: NewCampaignConfig) -> tuple[Trigger, ...]:
    """Whether a campaign was launched that the models have not seen."""
    seen = read_frame(run.warehouse, "mart.campaign_first_seen")
    if seen is None or seen.is_empty():
        return ()
    return new_campaign(seen, cast(date, seen["first_date"].min()), run.as_of, config)


@task(cache_policy=NO_CACHE)
def record_triggers(run: Run, triggers: tuple[Trigger, ...], flow_run_id: str | None) -> None:
    """Write every condition that was judged, with the flow run that a fired one started."""
    rows = [{**asdict(trigger), "flow_run_id": flow_run_id if trigger.fired else None} for trigger in triggers]
    types = {"flow_run_id": pl.String, "value": pl.Float64, "threshold": pl.Float64}
    empty = pl.DataFrame(
        schema={**dict.fromkeys(("name", "subject", "reason", "action"), pl.String), "fired": pl.Boolean, **types}
    )
    replace_rows(run.warehouse, "out.trigger", pl.DataFrame(rows, schema_overrides=types) if rows else empty, run)
