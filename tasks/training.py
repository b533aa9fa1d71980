"""Training: from the marts to fitted, judged and registered models."""

import json
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from time import perf_counter
from typing import cast

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from models import clv, response
from models.gate import GateConfig, Status
from models.media_weeks import media_weeks
from models.mmm import store
from models.mmm.checks import verdict
from models.mmm.config import MMMConfig
from models.mmm.fit import fit
from models.mmm.results import channel_table, response_curves
from models.run import Run
from models.scorecard import channel_scorecard
from tasks.files import write_atomically
from tasks.registry import (
    CURVES,
    ModelRun,
    artefact_folder,
    find,
    frame_sha256,
    is_made_by,
    model_name,
    plain_json,
    register,
)
from tasks.warehouse import query_frame, read_frame, replace_rows
from tasks.workspace import code_sha256


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training task did: `reason` says why nothing was fitted, or what the gate said."""

    model: str
    model_id: str | None
    verdict: str | None
    fitted: bool
    reason: str

    @property
    def told(self) -> str:
        """In a few words."""
        if self.model_id is None:
            return f"left out, {self.reason}"
        return f"{'fitted' if self.fitted else 'kept'}, {self.verdict}"


def standing(run: Run, model: str, data_to: date, every_days: int, force: bool) -> Trained | None:
    """The champion if it needs no new fit: there is one, none was asked for, and too few new days have come."""
    champion = find(run.warehouse, model=model)
    if champion is None or force or (data_to - champion.data_to).days >= every_days:
        return None
    fitted = is_made_by(run, champion.model_id)
    return Trained(model=model, model_id=champion.model_id, verdict=champion.verdict, fitted=fitted, reason="recent")


@task(cache_policy=NO_CACHE)
def train_clv(run: Run, config: clv.CLVConfig, every_days: int, force: bool) -> Trained:
    """Fit customer lifetime value on all order histories."""
    rfm = read_frame(run.warehouse, "mart.customer_rfm")
    if rfm is None or rfm.is_empty():
        return Trained(model="clv", model_id=None, verdict=None, fitted=False, reason="add the source orders")
    if recent := standing(run, "clv", run.as_of, every_days, force):
        return recent
    model_id = model_name("clv", frame_sha256(rfm), json.dumps(asdict(config)), code_sha256())
    started = perf_counter()
    fitted = clv.fit(rfm, config)
    seconds = perf_counter() - started
    file = artefact_folder(run, model_id) / "clv.json"
    write_atomically(file, clv.to_json(fitted))
    entry = ModelRun(
        model_id=model_id,
        model="clv",
        verdict=fitted.verdict,
        is_champion=True,  # its worst verdict is REVIEW: a simpler model has stood in
        metrics=plain_json(clv.metrics(fitted)),
        data_from=cast(date, rfm["first_order_date"].min()),
        data_to=run.as_of,
        fit_seconds=seconds,
        artefact_path=file.relative_to(run.workspace).as_posix(),
    )
    register(run, entry)
    return Trained(
        model="clv", model_id=model_id, verdict=fitted.verdict, fitted=True, reason="; ".join(fitted.reasons)
    )


@task(cache_policy=NO_CACHE)
def value_customers(run: Run, config: clv.CLVConfig) -> int:
    """Write the value of every customer and of every channel's customers; return how many customers."""
    champion, rfm = find(run.warehouse, model="clv"), read_frame(run.warehouse, "mart.customer_rfm")
    if champion is None or rfm is None or rfm.is_empty():
        return 0
    fitted = clv.from_json((run.workspace / champion.artefact_path).read_text(encoding="utf-8"))
    value = clv.predict(fitted, rfm, config)
    replace_rows(run.warehouse, "out.customer_value", value, run)
    card = channel_scorecard(query_frame(run.warehouse, "query/spend_by_channel"), rfm, value)
    replace_rows(run.warehouse, "out.channel_scorecard", card, run)
    return len(value)


@task(cache_policy=NO_CACHE)
def train_mmm(run: Run, config: MMMConfig, gate: GateConfig, every_days: int, force: bool) -> Trained:
    """Fit the mix model on the weeks that spend and KPI share; a fit that fails its gate does not serve."""
    frames = [read_frame(run.warehouse, f"mart.{name}") for name in ("spend_weekly", "kpi_weekly", "controls_weekly")]
    lift_tests = read_frame(run.warehouse, "staging.lift_tests")
    spend, kpi, controls = (pl.DataFrame() if frame is None else frame for frame in frames)
    if spend.is_empty() or kpi.is_empty() or lift_tests is None:
        lacking = "ad_spend" if spend.is_empty() else "kpi or orders"
        return Trained(model="mmm", model_id=None, verdict=None, fitted=False, reason=f"add the source {lacking}")
    last = cast(date, kpi["week_start"].max()) + timedelta(days=6)
    if recent := standing(run, "mmm", last, every_days, force):
        return recent
    config = replace(config, seed=run.seed)
    inputs = [frame_sha256(frame) for frame in (spend, kpi, controls, lift_tests)]
    model_id = model_name("mmm", *inputs, json.dumps([asdict(config), asdict(gate)]), code_sha256())
    started = perf_counter()
    fitted = fit(media_weeks(spend, kpi, controls, lift_tests), config)
    seconds = perf_counter() - started
    judged = verdict(fitted, gate)
    folder = artefact_folder(run, model_id)
    store.save(fitted, folder)
    curves = response_curves(fitted)
    response.save(curves, folder / CURVES)
    table = pl.lit(model_id).alias("model_id")
    replace_rows(run.warehouse, "out.mmm_channel", channel_table(fitted).select(table, pl.all()), run)
    replace_rows(run.warehouse, "out.response_curve", response.curve_table(curves).select(table, pl.all()), run)
    reasons = [str(check) for check in judged.reasons]
    entry = ModelRun(
        model_id=model_id,
        model="mmm",
        verdict=str(judged.status),
        is_champion=judged.status != Status.FAIL,
        metrics=plain_json({**fitted.metrics, "reasons": reasons}),
        data_from=fitted.data.week_start[0].item(),
        data_to=last,
        fit_seconds=seconds,
        artefact_path=folder.relative_to(run.workspace).as_posix(),
    )
    register(run, entry)
    return Trained(model="mmm", model_id=model_id, verdict=entry.verdict, fitted=True, reason="; ".join(reasons))
