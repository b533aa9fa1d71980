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
from models.clv import CLVConfig, FittedCLV, from_json
from models.early_value import EXISTING, FittedValues
from models.new_customer_value import NewCustomerConfig, new_customer_value
from models.run import Run
from models.value_blend import BTYD, BlendConfig
from models.value_features import cutoffs_after_first_order, cutoffs_at, valued
from tasks.files import write_atomically
from tasks.registry import ModelRun, artefact_folder, find, frame_sha256, model_name, plain_json, register
from tasks.trained import Trained, standing
from tasks.warehouse import query_frame, read_frame, replace_rows
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
    if recent := standing(run, MODEL, run.as_of, every_days, force):
        return recent
    settings = json.dumps([asdict(config), asdict(lifetimes), run.seed])
    model_id = model_name(MODEL, frame_sha256(firsts), frame_sha256(days), settings, code_sha256())
    started = perf_counter()
    fitted, holdout = early_value.fit(firsts, days, run.as_of, config, lifetimes, run.seed, _champion(run))
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
        metrics=plain_json(early_value.metrics(fitted) | {"doubts": list(doubts)}),
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
    found = new_customer_value(firsts, days, run.as_of, lifetimes.horizon_days, config, _champion(run))
    replace_rows(run.warehouse, "out.new_customer_value", found.table, run)
    return found.reasons


@task(cache_policy=NO_CACHE)
def serve_values(run: Run, config: BlendConfig, lifetimes: CLVConfig) -> str:
    """Give each customer the value of the candidate that won on later customers; return its name."""
    fitted, (firsts, days) = _fitted(run), _histories(run, lifetimes)
    winner = fitted.groups[EXISTING].winner if fitted is not None and EXISTING in fitted.groups else BTYD
    written = read_frame(run.warehouse, "out.customer_value")
    if winner == BTYD or fitted is None or firsts is None or days is None or written is None:
        return BTYD  # whose values stand there already
    mine = written.filter(pl.col("run_id") == run.run_id).drop("run_id", "as_of")
    served = early_value.predict(fitted, firsts, days, cutoffs_at(firsts, run.as_of), lifetimes, EXISTING)
    replaced = early_value.with_served_values(mine, served, lifetimes.tier_quantiles)
    replace_rows(run.warehouse, "out.customer_value", replaced, run)
    return winner


def _histories(run: Run, lifetimes: CLVConfig) -> tuple[pl.DataFrame | None, pl.DataFrame | None]:
    firsts = read_frame(run.warehouse, "mart.customer_early")
    days = read_frame(run.warehouse, "mart.customer_order_days")
    if firsts is None or days is None or firsts.is_empty():
        return None, None
    return firsts, valued(days, lifetimes.value)


def _champion(run: Run) -> FittedCLV | None:
    """The lifetime model in service; None where there is none yet."""
    champion = find(run.warehouse, model="clv")
    return None if champion is None else from_json((run.workspace / champion.artefact_path).read_text(encoding="utf-8"))


def _fitted(run: Run) -> FittedValues | None:
    champion = find(run.warehouse, model=MODEL)
    if champion is None:
        return None
    return early_value.from_json((run.workspace / champion.artefact_path).read_text(encoding="utf-8"))
