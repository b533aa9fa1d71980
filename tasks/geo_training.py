"""Training the mix model by geo: from the marts to a fitted, judged and registered model beside the national one."""

import json
from dataclasses import asdict, replace
from datetime import date, timedelta
from time import perf_counter
from typing import cast

import numpy as np
import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from models import response
from models.errors import DataError
from models.gate import GateConfig, Status
from models.geo_weeks import geo_weeks
from models.mmm.checks import verdict
from models.mmm.config import MMMConfig
from models.mmm.geo import GeoConfig
from models.mmm.geo_results import GeoFit, fit_geo, geo_curves, geo_table
from models.run import Run
from tasks.registry import CURVES, ModelRun, artefact_folder, frame_sha256, model_name, plain_json, register
from tasks.trained import Trained, standing
from tasks.warehouse import read_frame, replace_rows
from tasks.workspace import code_sha256

MODEL = "mmm_geo"
MARTS = ("mart.spend_weekly_geo", "mart.kpi_weekly_geo", "mart.controls_weekly", "staging.lift_tests")
ORDER = (Status.PASS, Status.REVIEW, Status.FAIL)


@task(cache_policy=NO_CACHE)
def train_mmm_geo(
    run: Run, config: MMMConfig, geo_config: GeoConfig, gate: GateConfig, kpi_value: str, every_days: int, force: bool
) -> Trained:
    """Fit the mix model by geo where spend and KPI name their geo; its curves are there for a plan that asks for them.

    It never serves the daily plan, which spends by channel: `marginal plan --curves` takes its curves, whose lines are
    "channel / geo".
    """
    frames = [read_frame(run.warehouse, name) for name in MARTS]
    spend, kpi, controls, lift_tests = (pl.DataFrame() if frame is None else frame for frame in frames)
    if spend.is_empty() or kpi.is_empty():
        return Trained(model=MODEL, model_id=None, verdict=None, fitted=False, reason="add ad_spend, and kpi or orders")
    last = cast(date, kpi["week_start"].max()) + timedelta(days=6)
    config = replace(config, seed=run.seed)
    parts = {"config": asdict(config), "geo": asdict(geo_config), "gate": asdict(gate), "kpi_value": kpi_value}
    settings = json.loads(json.dumps(parts))
    if recent := standing(run, MODEL, last, every_days, force, settings):
        return recent
    started = perf_counter()
    try:
        data = geo_weeks(spend, kpi, controls, lift_tests)
        found = fit_geo(data, config, geo_config)
    except DataError as error:  # the rest of the run does not depend on it
        return Trained(model=MODEL, model_id=None, verdict=None, fitted=False, reason=" ".join(str(error).split()))
    inputs = [frame_sha256(frame) for frame in (spend, kpi, controls, lift_tests)]
    model_id = model_name(MODEL, *inputs, json.dumps(settings), code_sha256())
    seconds = perf_counter() - started
    folder = artefact_folder(run, model_id)
    folder.mkdir(parents=True, exist_ok=True)
    response.save(geo_curves(found), folder / CURVES)
    table = geo_table(found).select(pl.lit(model_id).alias("model_id"), pl.all())
    replace_rows(run.warehouse, "out.mmm_geo", table, run)
    status, metrics = _judged(found, gate)
    entry = ModelRun(
        model_id=model_id,
        model=MODEL,
        verdict=status,
        is_champion=status != Status.FAIL,
        metrics=plain_json(metrics | {"settings": settings}),
        data_from=data.data[0].week_start[0].item(),
        data_to=last,
        fit_seconds=seconds,
        artefact_path=folder.relative_to(run.workspace).as_posix(),
    )
    register(run, entry)
    return Trained(model=MODEL, model_id=model_id, verdict=status, fitted=True, reason="; ".join(found.notes))


def _judged(found: GeoFit, gate: GateConfig) -> tuple[str, dict[str, object]]:
    """The worst verdict of any geo, and what is kept of the fit."""
    judged = {geo: verdict(one, gate) for geo, one in zip(found.geos, found.fits, strict=True)}
    low, high = np.quantile(found.effect_sd, [0.05, 0.95]).tolist()
    metrics: dict[str, object] = {
        "geos": {
            geo: {"verdict": str(one.status), "reasons": [str(check) for check in one.reasons]}
            for geo, one in judged.items()
        },
        "effect_sd": {"mean": float(found.effect_sd.mean()), "p05": low, "p95": high},
        "notes": list(found.notes),
        **{name: found.fits[0].metrics[name] for name in ("r_hat_max", "ess_min", "divergences")},
    }
    return str(max((one.status for one in judged.values()), key=ORDER.index)), metrics
