"""Conversion and value per click: from cells of clicks to a registered fit, and on to a value for every line."""

import json
from dataclasses import asdict
from datetime import date
from time import perf_counter
from typing import cast

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from models import conversion
from models.click_value import Basis, click_value
from models.conversion_delay import fit_delay
from models.run import Run
from tasks.files import write_atomically
from tasks.registry import ModelRun, artefact_folder, find, frame_sha256, model_name, plain_json, register
from tasks.trained import Trained, standing
from tasks.warehouse import read_frame, replace_rows
from tasks.workspace import code_sha256

INPUTS = ("mart.click_cells", "mart.click_delays", "mart.click_order_value")


@task(cache_policy=NO_CACHE)
def train_conversion(run: Run, config: conversion.ConversionConfig, every_days: int, force: bool) -> Trained:
    """Fit the probability that a click converts, and write what each feature adds to it."""
    cells, delays = (read_frame(run.warehouse, name) for name in INPUTS[:2])
    if cells is None or delays is None or cells.is_empty():
        return Trained(model="conversion", model_id=None, verdict=None, fitted=False, reason="add the source clicks")
    settings = {"config": asdict(config)}
    if recent := standing(run, "conversion", run.as_of, every_days, force, settings):
        return recent
    inputs = [frame_sha256(frame) for frame in (cells, delays)]
    model_id = model_name("conversion", *inputs, run.as_of, json.dumps(settings), code_sha256())
    started = perf_counter()
    fitted = conversion.fit(cells, delays, run.as_of, config)
    seconds = perf_counter() - started
    file = artefact_folder(run, model_id) / "conversion.json"
    write_atomically(file, conversion.to_json(fitted))
    added = conversion.contributions(fitted, cells, run.as_of, config)
    named = added.select(pl.lit(model_id).alias("model_id"), pl.lit("conversion").alias("model"), pl.all())
    replace_rows(run.warehouse, "out.feature_contribution", named, run)
    entry = ModelRun(
        model_id=model_id,
        model="conversion",
        verdict=fitted.verdict,
        is_champion=True,  # its worst verdict is REVIEW: one rate for all clicks has stood in
        metrics=plain_json(conversion.metrics(fitted) | {"settings": settings}),
        data_from=cast(date, cells["clicked_date"].min()),
        data_to=run.as_of,
        fit_seconds=seconds,
        artefact_path=file.relative_to(run.workspace).as_posix(),
    )
    register(run, entry)
    reason = "; ".join(fitted.reasons)
    return Trained(model="conversion", model_id=model_id, verdict=fitted.verdict, fitted=True, reason=reason)


@task(cache_policy=NO_CACHE)
def value_clicks(run: Run, config: conversion.ConversionConfig, basis: Basis) -> int:
    """Write the value of a click for every campaign and every keyword; return how many campaigns.

    Parameters
    ----------
    basis : what customers are valued in, `CLVConfig.value`: orders count in the same.
    """
    champion = find(run.warehouse, model="conversion")
    cells, delays, order_value = (read_frame(run.warehouse, name) for name in INPUTS)
    if champion is None or cells is None or delays is None or order_value is None or cells.is_empty():
        return 0
    delay = fit_delay(cells, delays, run.as_of, config.delay)  # what has come since the fit tells of the newest clicks
    fitted = conversion.from_json((run.workspace / champion.artefact_path).read_text(encoding="utf-8"), delay)
    new_customers = read_frame(run.warehouse, "out_latest.new_customer_value")
    campaigns, keywords = (
        click_value(
            fitted, cells, order_value, run.as_of, config, level=level, new_customer_value=new_customers, basis=basis
        )
        for level in ("campaign", "keyword")
    )
    replace_rows(run.warehouse, "out.click_value", campaigns, run)
    replace_rows(run.warehouse, "out.keyword_value", keywords, run)
    return len(campaigns)
