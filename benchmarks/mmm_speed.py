"""How fast the mix model is fitted, beside pymc-marketing: `benchmarks/run.py mmm_speed`."""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from mmm import ROOT, toy_company
from peers import ABSENT as NO_PEER
from peers import PYTHON as PEER
from peers import peer

from models.mmm.config import MMMConfig
from models.mmm.fit import fit, quick_fit
from models.mmm.fitted import FittedMMM


def timed_fits() -> dict[str, float]:
    """Seconds of a first fit, a second, a warm one, a quick one in this process: 156 weeks, 7 channels, 2 chains."""
    data, config = toy_company(156, 7, 1), MMMConfig()
    seconds: dict[str, float] = {}
    fits: list[FittedMMM] = []
    for name, work in (
        ("first", lambda: fit(data.head(155), config)),
        ("again", lambda: fit(data, config)),
        ("warm", lambda: fit(data, replace(config, tune=200), fits[0])),
        ("quick", lambda: quick_fit(data, config)),
    ):
        started = time.perf_counter()
        fits.append(work())
        seconds[name] = time.perf_counter() - started
        seconds[f"{name}_ess"] = float(fits[-1].metrics["ess_min"] or 0.0)
    return seconds


def mmm_speed(folder: Path) -> list[str]:
    """A machine that never fitted before (empty compiler cache), then the next day's process."""
    lines = ["| process | fit | seconds, compile included | smallest ESS | ESS per second |", "|---|---|---|---|---|"]
    ours: dict[str, dict[str, float]] = {}
    environment = os.environ | {"NUMBA_CACHE_DIR": tempfile.mkdtemp(dir=folder)}
    for process in ("first on a machine", "next day"):
        started = time.perf_counter()
        command = [sys.executable, __file__]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        whole, found = time.perf_counter() - started, json.loads(done.stdout.splitlines()[-1])
        lines += [
            f"| {process} | {name} | {found[name]:.1f} | {found[f'{name}_ess']:.0f} "
            f"| {found[f'{name}_ess'] / found[name]:.0f} |"
            for name in ("first", "again", "warm", "quick")
        ]
        lines.append(f"| {process} | all four, Python's start included | {whole:.1f} | | |")
        ours[process] = found
    lines += peer_speed(folder, ours)
    return [
        *lines,
        "",
        "156 weeks, 7 channels, 2 chains. Smallest bulk or tail ESS; of a quick fit that of its weights.",
    ]


def peer_speed(folder: Path, ours: dict[str, dict[str, float]]) -> list[str]:
    """pymc-marketing's fits of the same company: nothing compiled before, then its cache warm; then the ratios."""
    if not PEER.exists():
        return ["", NO_PEER]
    data, cache = toy_company(156, 7, 1), Path(tempfile.mkdtemp(dir=folder))
    compiling = peer("fit", data, cache=Path(tempfile.mkdtemp(dir=folder)), only_compile=True)["compile"]
    rates, lines = [], []
    for process in ours:
        found = peer("fit", data, cache=cache)
        rates.append(found["ess_min"] / found["fit_seconds"])
        lines.append(
            f"| {process} | pymc-marketing | {found['fit_seconds']:.1f} | {found['ess_min']:.0f} | {rates[-1]:.0f} |"
        )
        bare = found["fit_seconds"] if process != "first on a machine" else found["fit_seconds"] - compiling
        rates[-1] = rates[-1], found["ess_min"] / bare
    first, later = ours.values()
    cold, warm = (own["first_ess"] / own["first"] / rate[0] for own, rate in zip((first, later), rates, strict=True))
    bare = later["again_ess"] / later["again"] / max(rate for _, rate in rates)
    return [
        *lines,
        "",
        (
            f"ESS per second against pymc-marketing's: {cold:.1f} times with compiling on a machine that never fitted "
            f"before, {warm:.1f} the next day; {bare:.1f} times without compiling, which takes it {compiling:.0f} s."
        ),
    ]


if __name__ == "__main__":
    print(json.dumps(timed_fits()))
