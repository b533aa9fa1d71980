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
    lines, ratios = [], []
    for process, own in ours.items():
        found = peer("fit", data, cache=cache)
        rate = found["ess_min"] / found["fit_seconds"]
        ratios.append(own["first_ess"] / own["first"] / rate)
        lines.append(
            f"| {process} | pymc-marketing | {found['fit_seconds']:.1f} | {found['ess_min']:.0f} | {rate:.0f} |"
        )
    alone = peer("sample", data, cache=cache)
    rate, own = alone["ess_min"] / alone["sampling"], ours["next day"]
    lines.append(
        f"| next day | pymc-marketing, sampling alone | {alone['sampling']:.1f} | {alone['ess_min']:.0f} | {rate:.0f} |"
    )
    return [
        *lines,
        "",
        (
            f"ESS per second against pymc-marketing's: {ratios[0]:.1f} times with compiling on a machine that never "
            f"fitted before, {ratios[1]:.1f} the next day; a whole second fit of ours against its sampling alone "
            f"{own['again_ess'] / own['again'] / rate:.1f} times."
        ),
    ]


if __name__ == "__main__":
    print(json.dumps(timed_fits()))
