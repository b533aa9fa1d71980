"""Training: from the marts to fitted, judged and registered models."""

import json
from dataclasses import asdict, replace
from datetime import date, timedelta
from time import perf_counter
from typing import cast

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from models import response
from models.gate import GateConfig, Status
from models.media_weeks import media_weeks
from models.mmm import store
from models.mmm.checks import channel_verdicts, verdict
from models.mmm.config import MMMConfig
from models.mmm.detail import channel_detail, weekly_contributions
from models.mmm.fit import fit
from models.mmm.results import channel_table, response_curves
from models.run import Run
from tasks.registry import (
    CURVES,
    ModelRun,
    artefact_folder,
    frame_sha256,
    model_name,
    plain_json,
    register,
)
from tasks.trained import Trained, standing
from tasks.warehouse import read_frame, replace_rows
from tasks.workspace import code_sha256


@task(cache_policy=NO_CACHE)
def train_mmm(run: Run, config: MMMConfig, gate: GateConfig, kpi_value: str, every_days: int, force: bool) -> Trained:
    """Fit the mix model on the weeks that spend and KPI share; a fit that fails its gate does not serve.

    kpi_value : what the KPI counts; a model of another unit does not stand.
    """
    frames = [read_frame(run.warehouse, f"mart.{name}") for name in ("spend_weekly", "kpi_weekly", "controls_weekly")]
    lift_tests = read_frame(run.warehouse, "staging.lift_tests")
    spend, kpi, controls = (pl.DataFrame() if frame is None else frame for frame in frames)
    if spend.is_empty() or kpi.is_empty() or lift_tests is None:
        lacking = "ad_spend" if spend.is_empty() else "kpi or orders"
        return Trained(model="mmm", model_id=None, verdict=None, fitted=False, reason=f"add the source {lacking}")
    last = cast(date, kpi["week_start"].max()) + timedelta(days=6)
    config = replace(config, seed=run.seed)
    settings = {"config": asdict(config), "gate": asdict(gate), "kpi_value": kpi_value}
    if recent := standing(run, "mmm", last, every_days, force, settings):
        return recent
    inputs = [frame_sha256(frame) for frame in (spend, kpi, controls, lift_tests)]
    model_id = model_name("mmm", *inputs, json.dumps(settings), code_sha256())
    started = perf_counter()
    media = media_weeks(spend, kpi, controls, lift_tests, config.media_variable)
    fitted = fit(media, config)  # from no earlier fit: it can be made again
    seconds = perf_counter() - started
    judged = verdict(fitted, gate)
    folder = artefact_folder(run, model_id)
    store.save(fitted, folder)
    curves = response_curves(fitted)
    response.save(curves, folder / CURVES)
    table = pl.lit(model_id).alias("model_id")
    replace_rows(run.warehouse, "out.mmm_channel", channel_table(fitted).select(table, pl.all()), run)
    replace_rows(run.warehouse, "out.response_curve", response.curve_table(curves).select(table, pl.all()), run)
    replace_rows(run.warehouse, "out.mmm_week", weekly_contributions(fitted).select(table, pl.all()), run)
    replace_rows(run.warehouse, "out.mmm_channel_detail", channel_detail(fitted).select(table, pl.all()), run)
    reasons = [str(check) for check in judged.reasons]
    by_channel = {name: one.as_dict() for name, one in channel_verdicts(fitted, gate).items()}
    entry = ModelRun(
        model_id=model_id,
        model="mmm",
        verdict=str(judged.status),
        is_champion=judged.status != Status.FAIL,
        metrics=plain_json({**fitted.metrics, "reasons": reasons, "channels": by_channel, "settings": settings}),
        data_from=fitted.data.week_start[0].item(),
        data_to=last,
        fit_seconds=seconds,
        artefact_path=folder.relative_to(run.workspace).as_posix(),
    )
    register(run, entry)
    return Trained(model="mmm", model_id=model_id, verdict=entry.verdict, fitted=True, reason="; ".join(reasons))
