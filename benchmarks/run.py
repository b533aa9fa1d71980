"""Measure the whole pipeline against known truth and write RESULTS.md: `make bench`, or `run.py SECTION ...`.

Each section is a table in `benchmarks/RESULTS.md`; running one replaces it and leaves the others.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from allocation import allocation
from bids import bids
from clicks import clicks
from clv_real import clv_demo, clv_real
from clv_scale import clv_scale
from faults import faults
from ingest import ingest
from mmm import mmm, mmm_calibration, mmm_demo, mmm_gate, mmm_plans, mmm_second, mmm_stability
from mmm_geo import mmm_geo
from mmm_speed import mmm_speed
from plans import plan_stability, true_gain, verdict_of

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
MARGINAL = Path(sys.executable).with_name("marginal")
DEMO_SEEDS = range(1, 11)  # the seeds that are reported; choices were made on seeds from 100 on
QUIET_SEEDS = range(1, 21)


def marginal(*arguments: str) -> dict[str, Any]:
    """Run a command with `--json` and return what it printed."""
    done = subprocess.run([str(MARGINAL), *arguments, "--json"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"marginal {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)


def query(workspace: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a query on a workspace's warehouse."""
    with duckdb.connect(str(workspace / "warehouse.duckdb"), read_only=True) as con:
        return con.execute(sql).fetchall()


def demo(folder: Path) -> list[str]:
    """The demo company, scored by its hidden truth."""
    lines = [
        (
            "| seed | ROAS in 90 % interval | marginal ROAS in it | CLV in it | total contribution | gap "
            "| verdict | status quo profit | plan profit | its gain | gain on true curves | planted fired "
            "| other fired | seconds |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    hits = cases = close = better = marginal_hits = clv_hits = 0
    gains, perfect = [], []
    for seed in DEMO_SEEDS:
        workspace = folder / f"demo-{seed}"
        run = marginal("demo", str(workspace), "--seed", str(seed))
        scored = marginal("demo", "--evaluate", str(workspace))
        gap = query(workspace, "select gap_fraction from out_latest.plan_summary where scenario = 'base'")[0][0]
        fired = set(query(workspace, "select name, subject from out_latest.trigger where fired"))
        truth = json.loads((workspace / "truth.json").read_text())
        planted = {(shock["trigger"], shock["subject"]) for shock in truth["planted"]}
        inside, of = scored["roas_in_interval"]
        true = truth["channels"]
        mix = query(workspace, "select channel, marginal_roas_p05, marginal_roas_p95 from out_latest.mmm_channel")
        marginals = sum(low <= true[name]["marginal_roas"] <= high for name, low, high in mix)
        values = query(workspace, "select channel, clv_p05, clv_p95 from out_latest.channel_value")
        clvs = sum(low <= true[name]["clv"] <= high for name, low, high in values if name in true)
        marginal_hits, clv_hits = marginal_hits + marginals, clv_hits + clvs
        error = scored["contribution_error_fraction"]
        hits, cases = hits + inside, cases + of
        close += abs(error) <= 0.15
        better += scored["plan_profit"] > scored["status_quo_profit"]
        gain, known = true_gain(workspace, scored)
        gains.append(gain)
        perfect.append(known)
        seconds = sum(stage["seconds"] for stage in run["stages"].values())
        lines.append(
            f"| {seed} | {inside} of {of} | {marginals} of {of} | {clvs} of {of} | {error:+.1%} | {gap:.1e} "
            f"| {verdict_of(workspace)} | {scored['status_quo_profit']:,.0f} | {scored['plan_profit']:,.0f} "
            f"| {gain:.0%} | {known:.2%} "
            f"| {len(planted & fired)} of {len(planted)} | {len(fired - planted)} | {seconds:.0f} |"
        )
    lines += [
        "",
        (
            f"ROAS inside its 90 % interval: {hits} of {cases}, marginal ROAS {marginal_hits}, CLV of a channel's "
            f"customers {clv_hits}. Total contribution within 15 %: {close} of "
            f"{len(DEMO_SEEDS)}. True profit above the status quo's: {better} of {len(DEMO_SEEDS)}. "
            "Profit is true profit per week in euro. Gains over the status quo are shares of that of the best plan "
            "under the same rules, found on the true formulas by SLSQP from many starts: with estimated curves at "
            f"least 70 % in {sum(gain >= 0.7 for gain in gains)} of {len(gains)}, {np.mean(gains):.0%} on average; the "
            f"allocator on the true curves at least 95 % in {sum(gain >= 0.95 for gain in perfect)}."
        ),
    ]
    return lines


def quiet(folder: Path) -> list[str]:
    """Twenty companies in which nothing is planted: any trigger that fires is a false alarm."""
    lines, alarms, judged = ["| seeds | conditions judged | fired |", "|---|---|---|"], [], 0
    for seed in QUIET_SEEDS:
        workspace = folder / f"quiet-{seed}"
        subprocess.run(
            [str(MARGINAL), "demo", str(workspace), "--seed", str(seed), "--quiet", "--only-files"], check=True
        )
        marginal("run", "-w", str(workspace), *[f"--only={stage}" for stage in ("ingest", "build", "monitor")])
        judged += query(workspace, "select count(*) from out_latest.trigger")[0][0]
        alarms += [(seed, *row) for row in query(workspace, "select name, subject from out_latest.trigger where fired")]
    told = ", ".join(f"seed {seed}: {name} ({subject})" for seed, name, subject in alarms) or "none"
    return [*lines, f"| {QUIET_SEEDS[0]} to {QUIET_SEEDS[-1]} | {judged} | {told} |"]


def cdnow(folder: Path) -> list[str]:
    """The published parameters of CDNOW, through the whole pipeline."""
    workspace = folder / "cdnow"
    workspace.mkdir()
    (workspace / "marginal.yaml").write_text((ROOT / "examples" / "cdnow" / "marginal.yaml").read_text())
    marginal("run", "-w", str(workspace))
    found = json.loads(query(workspace, "select metrics from out_latest.model_run where model = 'clv'")[0][0])
    published = {"bg_nbd": {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426, "log_likelihood": -9582.4}}
    published |= {"gamma_gamma": {"p": 6.25, "q": 3.74, "v": 15.44}}
    lines = ["| parameter | published | found |", "|---|---|---|"]
    for model, parameters in published.items():
        lines += [f"| {model} {name} | {value} | {found[model][name]:.4f} |" for name, value in parameters.items()]
    return lines


SECTIONS: dict[str, tuple[str, Callable[[Path], list[str]]]] = {
    "demo": ("Demo company against its hidden truth", demo),
    "quiet": ("False alarms of a quiet company", quiet),
    "cdnow": ("CDNOW, published parameters", cdnow),
    "clv_demo": ("Customer value against the demo's truth", clv_demo),
    "clv_real": ("Customer value on real data", clv_real),
    "clv_scale": ("Customer value at scale, beside lifetimes", clv_scale),
    "clicks": ("Conversion and delay of clicks", clicks),
    "bids": ("Bid elasticities and bids against hidden truth", bids),
    "allocation": ("The allocator, beside exact optima and rivals", allocation),
    "plan_stability": ("Plans of twenty sampler seeds", plan_stability),
    "mmm": ("Mix model: published truths", mmm),
    "mmm_demo": ("Mix model: ten demo companies", mmm_demo),
    "mmm_second": ("Mix model: a second generator", mmm_second),
    "mmm_plans": ("Plans beside pymc-marketing's optimiser", mmm_plans),
    "mmm_geo": ("Mix model by geo: scale, pooling, Meridian", mmm_geo),
    "mmm_calibration": ("Mix model: simulation-based calibration", mmm_calibration),
    "mmm_speed": ("Mix model: speed", mmm_speed),
    "mmm_gate": ("Mix model: verdicts on public data", mmm_gate),
    "mmm_stability": ("Mix model: refits at eight dates", mmm_stability),
    "faults": ("Planted faults, and clean companies", faults),
    "ingest": ("Loading at scale, beside bare DuckDB", ingest),
}


def replace_section(text: str, name: str, body: str) -> str:
    """RESULTS.md with one section replaced, or added at the end."""
    block = f"<!-- {name} -->\n{body}\n<!-- end {name} -->"
    pattern = re.compile(rf"<!-- {name} -->.*?<!-- end {name} -->", re.DOTALL)
    return pattern.sub(lambda _: block, text) if pattern.search(text) else f"{text.rstrip()}\n\n{block}\n"


def main() -> None:
    """Run the sections named on the command line, or all."""
    wanted = sys.argv[1:] or list(SECTIONS)
    for name in wanted:
        title, measure = SECTIONS[name]
        with tempfile.TemporaryDirectory(prefix="marginal-bench-") as folder:
            table = measure(Path(folder))
        command = f"`make setup && .venv/bin/python benchmarks/run.py {name}`, {datetime.now(UTC):%Y-%m-%d}"
        text = RESULTS.read_text() if RESULTS.exists() else "# Results\n\nWritten by `make bench`, never by hand.\n"
        RESULTS.write_text(replace_section(text, name, "\n".join([f"## {title}", "", command, "", *table])))
        print(f"{name}: written to {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
