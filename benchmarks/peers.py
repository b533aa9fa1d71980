"""pymc-marketing beside us on the same data: its fits, its plans. `make peers` makes its environment."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.allocation import AllocationConfig, allocate
from models.mmm.data import MMMData, control_matrix
from models.response import ResponseCurves

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".peers" / "bin" / "python"
PROGRAM = ROOT / "benchmarks" / "peer_pymc_marketing.py"
ABSENT = "pymc-marketing was not measured beside: `make peers` makes its environment."
DRAWS, TUNE = 1000, 1000  # its notebooks' own


def peer(
    what: str,
    data: MMMData,
    *,
    seed: int = 1,
    cache: Path | None = None,
    plan: dict[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """What pymc-marketing finds on data: seconds, ESS, contribution (draws, channels); with "plan" its plans too.

    "sample" tells the seconds of compiling and of sampling apart, and nothing else.
    cache : where it keeps what it compiles; a new folder is a machine that never fitted before.
    """
    settings = {"draws": DRAWS, "tune": TUNE, "seed": seed}
    with tempfile.TemporaryDirectory(prefix="marginal-peer-") as folder:
        source, target = Path(folder) / "data.npz", Path(folder) / "found.npz"
        np.savez(
            source,
            week_start=data.week_start.astype("datetime64[ns]"),
            kpi=data.kpi,
            channels=np.array(data.channels),
            spend=data.spend,
            control_names=np.array(data.control_names, dtype=str),
            controls=control_matrix(data),
            settings=json.dumps(settings),
            **(plan or {}),
        )
        environment = dict(os.environ)
        if cache is not None:
            environment |= {"PYTENSOR_FLAGS": f"base_compiledir={cache}", "NUMBA_CACHE_DIR": str(cache / "numba")}
        started = time.perf_counter()
        command = [str(PYTHON), str(PROGRAM), what, str(source), str(target)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        whole = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(f"pymc-marketing ended with {done.returncode}:\n{done.stderr[-2000:]}")
        if what == "sample":
            return json.loads(done.stdout.splitlines()[-1])
        with np.load(target) as found:
            told = json.loads(str(found["told"]))
            return told | {"whole_seconds": whole} | {name: found[name] for name in found.files if name != "told"}


def contribution_error(contribution: np.ndarray, truth: np.ndarray) -> float:
    """Absolute error of the channels' mean contributions (draws, channels), as a share of all true contributions."""
    return float(np.abs(contribution.mean(axis=0) - truth).sum() / truth.sum())


def plans_beside(companies: Sequence[MMMData]) -> list[str]:
    """Its optimiser on its own fitted models, beside ours on the same models' curves.

    Both plans are valued by its own evaluator's curves, read between 120 spends per channel; its response to a spend is
    a sum over channels, so that the curves are all there is.
    """
    if not PYTHON.exists():
        return [ABSENT]
    rng = np.random.default_rng(11)
    better = equal = cases = 0
    largest, theirs, ours = 0.0, [], []
    for data in companies:
        today = np.maximum(data.spend[-13:].mean(axis=0), 0.05 * data.spend.mean(axis=0))
        budgets = today.sum() * np.array([0.7, 1.0, 1.0, 1.0, 1.3])
        width = np.array([[1.0], [0.3], [1.0], [0.6], [0.5]])  # of the change that is allowed
        low = np.maximum(1.0 - width - rng.uniform(0, 0.1, (5, 1)), 0.0) * today
        high = (1.0 + width) * today * np.where(np.arange(5)[:, None] == 2, 1.5, 1.0)
        found = peer("plan", data, plan={"budgets": budgets, "low": low, "high": high})
        grid, values = found["grid"], found["curves"]
        curves = ResponseCurves(lines=data.channels, spend=grid, response=values[:, :, None])
        for i, total in enumerate(budgets):
            config = AllocationConfig(
                total=float(total),
                objective="revenue",
                max_change_fraction=None,
                rounding_unit=0.01,
                floors=dict(zip(data.channels, low[i].tolist(), strict=True)),
                caps=dict(zip(data.channels, high[i].tolist(), strict=True)),
            )
            before = time.perf_counter()
            plan = allocate(curves, None, config)
            ours.append(time.perf_counter() - before)
            theirs.append(float(found["plan_seconds"][i]))
            value = [sum(map(np.interp, spend, grid, values)) for spend in (plan.optimal_spend, found["plans"][i])]
            gain = float(value[0] / value[1] - 1.0)
            cases += 1
            better += gain > 1e-4
            equal += abs(gain) <= 1e-4
            largest = max(largest, gain)
    header = "fitted models | plans | ours better by more than 0.01 % | equal | worse | at most better by"
    row = f"{len(companies)} | {cases} | {better} | {equal} | {cases - better - equal} | {largest:.2%}"
    return [
        f"| {header} | its seconds, median | ours |",
        "|---|---|---|---|---|---|---|---|",
        f"| {row} | {np.median(theirs):.3f} | {np.median(ours):.3f} |",
    ]
