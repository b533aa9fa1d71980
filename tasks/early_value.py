"""Values from early signals and whole histories: train and judge, value new customers, value channels."""

import json
from dataclasses import asdict
from datetime import date, timedelta
from time import perf_counter
from typing import cast

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from models import early_value
from models.clv import CLVConfig
from models.early_value import EXISTING, FittedValues
from models.new_customer_value import NewCustomerConfig, new_customer_value
from models.run import Run
from models.value_blend import BTYD, BlendConfig
from models.value_features import cutoffs_after_first_order, cutoffs_at, valued
from tasks.files import write_atomically
from tasks.registry import (
    ModelRun,
    artefact_folder,
    find,
    frame_sha256,
    lifetime_model,
    model_name,
    plain_json,
    register,
)
from tasks.trained import Trained, standing
from tasks.warehouse import connect, query_frame, quoted, read_frame, replace_rows
from tasks.workspace import code_sha256

MODEL = "early_value"
RECENT_DAYS = 90  # new customers of the last quarter: the older ones are valued by their whole history
TOP = 3  # features told per customer


@task(cache_policy=NO_CACHE)
def train_early_value(run: Run, config: BlendConfig, lifetimes: CLVConfig, every_days: int, force: bool) -> Trained:
    """Fit and judge lifetime model, trees and mixture on later customers; keep every figure of the judgement."""
    firsts, days = _histories(run, lifetimes)
    if firsts is None or days is None:
        return Trained(model=MODEL, model_id=None, verdict=None, fitted=False, reason="add the source orders")
    settings = {"config": asdict(config), "clv": asdict(lifetimes), "seed": run.seed}
    if recent := standing(run, MODEL, run.as_of, every_days, force, settings):
        return recent
    model_id = model_name(MODEL, frame_sha256(firsts), frame_sha256(days), json.dumps(settings), code_sha256())
    started = perf_counter()
    fitted, holdout = early_value.fit(firsts, days, run.as_of, config, lifetimes, run.seed, lifetime_model(run))
    seconds = perf_counter() - started
    doubts = early_value.doubts(fitted, config)
    file = artefact_folder(run, model_id) / "early_value.json"
    write_atomically(file, early_value.to_json(fitted))
    if not holdout.is_empty():
        replace_rows(
            run.warehouse, "out.value_holdout", holdout.select(pl.lit(model_id).alias("model_id"), pl.all()), run
        )
    entry = ModelRun(
        model_id=model_id,
        model=MODEL,
        verdict="REVIEW" if doubts else "PASS",
        is_champion=True,  # where nothing could be judged the lifetime model serves
        metrics=plain_json(early_value.metrics(fitted) | {"doubts": list(doubts), "settings": settings}),
        data_from=cast(date, firsts["first_order_date"].min()),
        data_to=run.as_of,
        fit_seconds=seconds,
        artefact_path=file.relative_to(run.workspace).as_posix(),
    )
    register(run, entry)
    reason = "; ".join(doubts or fitted.reasons)
    return Trained(model=MODEL, model_id=model_id, verdict=entry.verdict, fitted=True, reason=reason)


@task(cache_policy=NO_CACHE)
def value_new_customers(run: Run, lifetimes: CLVConfig) -> int:
    """Write what each recent customer is worth by the early signals, with the features that tell; return how many."""
    fitted, (firsts, days) = _fitted(run), _histories(run, lifetimes)
    if fitted is None or firsts is None or days is None:
        return 0
    since = run.as_of - timedelta(days=RECENT_DAYS)
    recent = query_frame(run.warehouse, "query/new_first_orders", since=since, as_of=run.as_of)
    values, told = [], []
    for group in (name for name in fitted.groups if name != EXISTING):
        day = int(group.removeprefix("day_"))
        cutoffs = cutoffs_after_first_order(recent, day, run.as_of)
        label = pl.lit(group).alias("group")
        values.append(early_value.predict(fitted, firsts, days, cutoffs, lifetimes, group).select(label, pl.all()))
        told.append(early_value.contributions(fitted, firsts, days, cutoffs, group, TOP).select(label, pl.all()))
    replace_rows(run.warehouse, "out.early_value", pl.concat(values), run)
    replace_rows(run.warehouse, "out.value_contribution", pl.concat(told), run)
    return sum(len(part) for part in values)


@task(cache_policy=NO_CACHE)
def value_new_customers_by_channel(run: Run, config: NewCustomerConfig, lifetimes: CLVConfig) -> tuple[str, ...]:
    """Write what a new customer of each channel and campaign is worth, first order included.

    Returns what a reader of the values should know, one sentence each.
    """
    firsts, days = _histories(run, lifetimes)
    if firsts is None or days is None:
        return ("New customers are not valued: add the source orders.",)
    found = new_customer_value(firsts, days, run.as_of, lifetimes.horizon_days, config, lifetime_model(run))
    replace_rows(run.warehouse, "out.new_customer_value", found.table, run)
    return found.reasons


@task(cache_policy=NO_CACHE)
def serve_values(run: Run, lifetimes: CLVConfig) -> str:
    """Give each customer the value of the candidate that won on later customers; return its name."""
    fitted = _fitted(run)
    winner = fitted.groups[EXISTING].winner if fitted is not None and EXISTING in fitted.groups else BTYD
    if fitted is None or winner == BTYD:
        return BTYD  # whose values stand there already
    firsts, days = _histories(run, lifetimes)
    mine, channels = (_of_the_run(run, table) for table in ("out.customer_value", "out.channel_value"))
    if firsts is None or days is None or mine.is_empty():
        return BTYD
    served = early_value.predict(fitted, firsts, days, cutoffs_at(firsts, run.as_of), lifetimes, EXISTING)
    values = early_value.with_served_values(mine, served, lifetimes.tier_quantiles)
    channel = query_frame(run.warehouse, "query/acquisition_channels")
    replace_rows(run.warehouse, "out.customer_value", values, run)
    means = early_value.with_served_channels(channels, mine, values, channel)
    replace_rows(run.warehouse, "out.channel_value", means, run)
    return winner


def _of_the_run(run: Run, table: str) -> pl.DataFrame:
    """Rows of an `out` table that the run wrote, without its stamps."""
    with connect(run.warehouse) as con:
        query = f"select * exclude (run_id, as_of) from {quoted(table)} where run_id = $run_id"
        return con.sql(query, params={"run_id": run.run_id}).pl()


def _histories(run: Run, lifetimes: CLVConfig) -> tuple[pl.DataFrame | None, pl.DataFrame | None]:
    firsts = read_frame(run.warehouse, "mart.customer_early")
    days = read_frame(run.warehouse, "mart.customer_order_days")
    if firsts is None or days is None or firsts.is_empty():
        return None, None
    return firsts, valued(days, lifetimes.value)


def _fitted(run: Run) -> FittedValues | None:
    champion = find(run.warehouse, model=MODEL)
    if champion is None:
        return None
    return early_value.from_json((run.workspace / champion.artefact_path).read_text(encoding="utf-8"))
