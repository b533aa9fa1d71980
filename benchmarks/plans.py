"""Plans beside independent optima and across sampler seeds: what `run.py demo` and `run.py plan_stability` tell."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
from mmm import built_demo, demo_data
from scipy.optimize import minimize

from models.allocation import AllocationConfig, allocate
from models.mmm.config import MMMConfig
from models.mmm.fit import fit
from models.mmm.results import recent_spend, response_curves

STARTS = 200  # of the independent optimum; the best of them counts
SAMPLER_SEEDS = range(1, 21)
COMPANIES = (1,)


def independent_optimum(truth: dict[str, Any]) -> float:
    """True weekly profit of the best plan under the default rules, by SLSQP from many starts on the true formulas."""
    channels = truth["channels"]
    today = np.array([truth["status_quo_plan"][name] for name in channels])
    half, slope, ceiling = (
        np.array([channel[name] for channel in channels.values()])
        for name in ("half_saturation", "slope", "ceiling_value")
    )

    def revenue(x: np.ndarray) -> float:
        return float((ceiling * (x / half) ** slope / (1.0 + (x / half) ** slope)).sum())

    margin, spent = truth["margin_fraction"], float(today.sum())
    factor = (truth["status_quo_profit"] + spent) / margin / revenue(today)
    change = AllocationConfig().max_change_fraction
    assert change is not None
    bounds = list(zip((1 - change) * today, (1 + change) * today, strict=True))
    rng, best = np.random.default_rng(7), -np.inf
    for _ in range(STARTS):
        found = minimize(
            lambda x: -revenue(x) / revenue(today),
            today * rng.uniform(1 - change, 1 + change, len(today)),
            method="SLSQP",
            bounds=bounds,
            constraints=[{"type": "eq", "fun": lambda x: (x.sum() - spent) / spent}],
            options={"maxiter": 500, "ftol": 1e-12},
        )
        if abs(found.x.sum() - spent) <= 1e-6 * spent:
            best = max(best, margin * factor * revenue(found.x) - spent)
    return best


def plan_stability(folder: Path) -> list[str]:
    """The same data fitted with twenty sampler seeds: how far the plans lie apart, as shares of the budget."""
    lines = [
        "| demo seed | rules | farthest two plans | farthest from the mean plan | verdicts |",
        "|---|---|---|---|---|",
    ]
    for company in COMPANIES:
        data, _ = demo_data(built_demo(folder, company))
        rules = {"defaults": AllocationConfig(), "changes of any size": AllocationConfig(max_change_fraction=None)}
        found: dict[str, list[tuple[np.ndarray, str]]] = {name: [] for name in rules}
        for seed in SAMPLER_SEEDS:
            fitted = fit(data, MMMConfig(seed=seed))
            curves = response_curves(fitted)
            today = dict(zip(data.channels, recent_spend(fitted).tolist(), strict=True))
            for name, config in zip(
                found, (AllocationConfig(), AllocationConfig(max_change_fraction=None)), strict=True
            ):
                plan = allocate(curves, today, config)
                found[name].append((np.array(plan.optimal_spend), plan.verdict))
        for name, plans in found.items():
            spend = np.array([plan for plan, _ in plans])
            apart = max(moved(one, other) for one, other in combinations(spend, 2))
            away = max(moved(one, spend.mean(axis=0)) for one in spend)
            verdicts = pl.Series([verdict for _, verdict in plans]).value_counts().sort("").rows()
            told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts)
            lines.append(f"| {company} | {name} | {apart:.2%} | {away:.2%} | {told} |")
    return [*lines, "", f"Sampler seeds {SAMPLER_SEEDS[0]} to {SAMPLER_SEEDS[-1]}. Money that is moved, of the budget."]


def moved(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the budget that goes elsewhere in one plan than in the other."""
    return float(np.abs(one - other).sum() / 2.0 / one.sum())


def true_gain(workspace: Path, scored: dict[str, Any]) -> tuple[float, float]:
    """(gain of the plan, gain on perfect curves) as shares of what the independent optimum gains on the status quo."""
    truth = json.loads((workspace / "truth.json").read_text())
    possible = independent_optimum(truth) - truth["status_quo_profit"]
    return (
        (scored["plan_profit"] - truth["status_quo_profit"]) / possible,
        (truth["oracle_profit"] - truth["status_quo_profit"]) / possible,
    )


def verdict_of(workspace: Path) -> str:
    """What the base plan says: move or hold."""
    with duckdb.connect(str(workspace / "warehouse.duckdb"), read_only=True) as con:
        return str(con.execute("select verdict from out_latest.plan_summary where scenario = 'base'").fetchall()[0][0])
