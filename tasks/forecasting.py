"""Forecasting: the weeks ahead under the plan in force and under today's spend."""

import numpy as np
import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.backtest import RollingErrors, backtest, roll
from models.forecast import ForecastConfig, ForecastPaths, forecast_paths, sentence, summarise
from models.mmm.fitted import FittedMMM, contributions, predict, usual_controls
from models.mmm.store import load
from models.run import Run
from tasks.planning import current_spend, plan_in_force
from tasks.registry import artefact_folder, find
from tasks.warehouse import read_frame, replace_rows

PLAN, STATUS_QUO, PLAIN = "plan", "status_quo", "as_before"


@task(cache_policy=NO_CACHE)
def forecast_kpi(run: Run, config: ForecastConfig, currency: str) -> str | None:
    """Simulate the weeks ahead, store quantiles and the backtest, and return the forecast in one sentence.

    None where there is no weekly KPI. Without a mix model the KPI is forecast as it stands, whatever the plan.
    """
    weekly = read_frame(run.warehouse, "mart.kpi_weekly")
    if weekly is None or weekly.is_empty():
        return None
    weeks, kpi = weekly["week_start"].to_numpy().astype("datetime64[D]"), weekly["value"].to_numpy()
    fitted = champion_model(run)
    if fitted is not None and not np.array_equal(fitted.data.week_start, weeks[-fitted.data.n_weeks :]):
        fitted = None if fitted.data.week_start[-1] not in weeks else fitted
    if fitted is None:
        rolling = roll(weeks, kpi, config)
        paths = forecast_paths(weeks, kpi, config, np.random.default_rng([run.seed, 1]), rolling=rolling)
        store(run, summarise(paths, PLAIN), backtest(rolling))
        return sentence(paths, currency)
    return forecast_plans(run, config, currency, fitted, weeks, kpi)


def forecast_plans(
    run: Run, config: ForecastConfig, currency: str, fitted: FittedMMM, weeks: np.ndarray, kpi: np.ndarray
) -> str:
    """Forecast each spend on the same random draws, so that their difference is the plan's and not chance's."""
    known = np.isin(weeks, fitted.data.week_start)  # weeks since the last fit wait for the next one
    weeks, kpi = weeks[known], kpi[known]
    media = contributions(fitted).sum(axis=2)
    rolling = roll(weeks, kpi, config, media.mean(axis=0))
    spends = {STATUS_QUO: current_spend(run)}
    if planned := planned_spend(run):
        spends[PLAN] = planned
    frames, told = [], ""
    for scenario, spend in spends.items():
        weekly = np.array([spend.get(name, 0.0) for name in fitted.data.channels])
        paths = simulate(fitted, weekly, weeks, kpi, media, config, rolling, run.seed)
        frames.append(summarise(paths, scenario, np.full(config.horizon_weeks, weekly.sum())))
        told = sentence(paths, currency)
    store(run, pl.concat(frames), backtest(rolling))
    return told


def simulate(
    fitted: FittedMMM,
    weekly: np.ndarray,
    weeks: np.ndarray,
    kpi: np.ndarray,
    media: np.ndarray,
    config: ForecastConfig,
    rolling: RollingErrors,
    seed: int,
) -> ForecastPaths:
    """Paths under a constant weekly spend (n_channels,), carry-over from the past included."""
    ahead = weeks[-1] + np.timedelta64(7, "D") * np.arange(1, config.horizon_weeks + 1)
    controls = usual_controls(fitted, config.horizon_weeks)  # only media is asked for
    _, planned = predict(fitted, ahead, np.tile(weekly, (config.horizon_weeks, 1)), controls)
    rng = np.random.default_rng([seed, 1])
    return forecast_paths(weeks, kpi, config, rng, media_draws=media, plan_draws=planned.sum(axis=2), rolling=rolling)


def champion_model(run: Run) -> FittedMMM | None:
    """The mix model in force, None where there is none."""
    champion = find(run.warehouse, model="mmm")
    return None if champion is None else load(artefact_folder(run, champion.model_id))


def planned_spend(run: Run) -> dict[str, float]:
    """Weekly spend per line of the plan in force; empty where there is none."""
    plan, lines = plan_in_force(run.warehouse), read_frame(run.warehouse, "out.budget_plan")
    if plan is None or lines is None:
        return {}
    chosen = lines.filter(pl.col("plan_id") == plan["plan_id"], pl.col("scenario") == plan["scenario"])
    return dict(chosen.select("line", "planned_spend").iter_rows())


def store(run: Run, frame: pl.DataFrame, looked_back: pl.DataFrame) -> None:
    """Write `out.forecast` and, where there was enough history, `out.backtest`."""
    replace_rows(run.warehouse, "out.forecast", frame, run)
    if not looked_back.is_empty():
        replace_rows(run.warehouse, "out.backtest", looked_back, run)
