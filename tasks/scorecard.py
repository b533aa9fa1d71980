"""Customers in groups and channels in one score: cohorts and their profiles, cohort curves, the scorecard."""

from typing import cast

import polars as pl
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.clv import CLVConfig
from models.clv_priority import PriorityConfig
from models.cohort_curve import CohortCurveConfig, cohort_curves
from models.cohort_profile import add_sums, group_sums, profiles, tier_descriptions
from models.cohorts import CohortConfig, CohortRule, cohort_of, cohort_rules, lacking
from models.run import Run
from models.scorecard import ScorecardConfig, ScorecardInputs, scorecard
from models.value_blend import ML, STACK
from tasks.registry import lifetime_model, mix_in_service
from tasks.warehouse import connect, has_table, query_frame, quoted, read_frame, replace_rows, transaction

BATCH_ROWS = 250_000  # customers read together: some 50 MB with their features
KNOWN = ("party_orders_count", "dated_orders_count", "categorised_orders_count")
FEATURES_OF_THE_RUN = """
    select values.tier, values.clv_mean, values.expected_orders, rfm.acquisition_channel as channel, behaviour.*
    from out.customer_value as values
    inner join mart.customer_behaviour as behaviour on behaviour.customer_id = values.customer_id
    inner join mart.customer_rfm as rfm on rfm.customer_id = values.customer_id
    where values.run_id = $run_id"""
NAME_COHORTS = """
    update out.customer_value as values set cohort = incoming.cohort
    from incoming where values.run_id = $run_id and incoming.customer_id = values.customer_id"""
WORTH = """
    select channel, clv_mean, clv_p05, clv_p95 from out.new_customer_value
    where run_id = $run_id and campaign is null order by channel"""
OF_ANOTHER_MODEL = "select count(*) > 0 from out.customer_value where run_id = $run_id and method in ($ml, $stack)"


@task(cache_policy=NO_CACHE)
def profile_customers(run: Run, config: CohortConfig, lifetimes: CLVConfig) -> tuple[str, ...]:
    """Name each customer's behavioural cohort, write what tiers and cohorts are like; return what would tell more."""
    return profile(run, config, lifetimes)


@task(cache_policy=NO_CACHE)
def draw_cohort_curves(run: Run, config: CohortCurveConfig, lifetimes: CLVConfig) -> int:
    """Write what customers have brought by how long they have been customers; return how many rows."""
    return curves(run, config, lifetimes)


@task(cache_policy=NO_CACHE)
def score_channels(run: Run, config: ScorecardConfig, priority: PriorityConfig, kpi: str) -> int:
    """Write the scorecard of all channels; return how many.

    Parameters
    ----------
    kpi : what the mix model counts; of "conversions" its returns are no money and stand for nothing here.
    """
    return score(run, config, priority, kpi)


def profile(run: Run, config: CohortConfig, lifetimes: CLVConfig) -> tuple[str, ...]:
    """`profile_customers` without the orchestrator."""
    with connect(run.warehouse) as con:
        if not (has_table(con, "out.customer_value") and has_table(con, "mart.customer_behaviour")):
            return ("Customers are not grouped: add the source orders.",)
        sums = ", ".join(f"coalesce(sum({name}), 0)::bigint" for name in KNOWN)
        found = con.execute(f"select {sums} from mart.customer_behaviour").fetchall()[0]
    rules = cohort_rules(dict(zip(KNOWN, found, strict=True)), config)
    parts = _name_cohorts(run, rules)
    if parts:
        channels = None if _is_of_another_model(run) else _rows_of_the_run(run, "out.channel_value")
        table = profiles(add_sums(parts), rules, tier_descriptions(lifetimes.tier_quantiles), channels)
        replace_rows(run.warehouse, "out.cohort_profile", table, run)
    return lacking(rules)


def _is_of_another_model(run: Run) -> bool:
    """Whether another model's values serve: how far off they are the lifetime model's errors do not say."""
    with connect(run.warehouse) as con:
        found = con.execute(OF_ANOTHER_MODEL, {"run_id": run.run_id, "ml": ML, "stack": STACK}).fetchall()
    return bool(found[0][0])


def _name_cohorts(run: Run, rules: tuple[CohortRule, ...]) -> list[pl.DataFrame]:
    """Write the cohort of this run's customers into `out.customer_value`; return the sums of each batch."""
    parts, named = [], []
    of_the_run = {"run_id": run.run_id}
    with connect(run.warehouse) as con, transaction(con):
        for batch in con.sql(FEATURES_OF_THE_RUN, params=of_the_run).to_arrow_reader(BATCH_ROWS):
            customers = cast(pl.DataFrame, pl.from_arrow(pa.Table.from_batches([batch])))
            if not customers.is_empty():
                parts.append(group_sums(customers, rules))
                named.append(customers.select("customer_id", cohort_of(rules)))
        if named:
            con.register("incoming", pl.concat(named).to_arrow())
            con.execute(NAME_COHORTS, of_the_run)
            con.unregister("incoming")
    return parts


def curves(run: Run, config: CohortCurveConfig, lifetimes: CLVConfig) -> int:
    """`draw_cohort_curves` without the orchestrator."""
    orders = read_frame(run.warehouse, "mart.cohort_orders")
    if orders is None or orders.is_empty():
        return 0
    found = cohort_curves(orders, run.as_of, config, lifetimes.value, lifetime_model(run))
    replace_rows(run.warehouse, "out.cohort_curve", found, run)
    return len(found)


def score(run: Run, config: ScorecardConfig, priority: PriorityConfig, kpi: str) -> int:
    """`score_channels` without the orchestrator."""
    acquired = query_frame(run.warehouse, "query/new_customers_by_channel")
    inputs = ScorecardInputs(
        spend=acquired.select("channel", "spend"),
        customers=acquired.select("channel", "new_customers"),
        worth=_worth(run),
        curves=_rows_of_the_run(run, "out.cohort_curve"),
        traffic=query_frame(run.warehouse, "query/traffic_by_channel"),
        mix=None if kpi == "conversions" else mix_in_service(run),
    )
    found = scorecard(inputs, config, priority)
    replace_rows(run.warehouse, "out.channel_scorecard", found, run)
    return len(found)


def _worth(run: Run) -> pl.DataFrame:
    """What a new customer of each channel is worth, first order included, as this run has valued them.

    What present customers will bring from here on is no stand-in: set against the cost of winning one, it leaves out
    what they have brought already.
    """
    with connect(run.warehouse) as con:
        if not has_table(con, "out.new_customer_value"):
            return pl.DataFrame(schema={"channel": pl.String, "clv_mean": pl.Float64})
        return con.sql(WORTH, params={"run_id": run.run_id}).pl()


def _rows_of_the_run(run: Run, table: str) -> pl.DataFrame | None:
    """What this run has written into a table; None where it has not."""
    with connect(run.warehouse) as con:
        if not has_table(con, table):
            return None
        query = f"select * exclude (run_id, as_of) from {quoted(table)} where run_id = $run_id order by rowid"
        mine = con.sql(query, params={"run_id": run.run_id}).pl()
    return None if mine.is_empty() else mine
