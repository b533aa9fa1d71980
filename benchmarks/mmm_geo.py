"""The mix model by geo: time and memory at scale, error beside no and complete pooling, Meridian's geo data.

`benchmarks/run.py mmm_geo`. Meridian's data come from the folder `shared/data` beside the checkout.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
from geo_company import GeoTruth, simulate_geos

from models.mmm.checks import verdict
from models.mmm.data import MMMData
from models.mmm.fit import fit, quick_fit
from models.mmm.fitted import FittedMMM
from models.mmm.geo import GeoConfig, GeoData
from models.mmm.geo_results import GeoFit, fit_geo, national_roas
from models.mmm.results import roas

ROOT = Path(__file__).resolve().parent.parent
MERIDIAN = ROOT.parent / "shared" / "data" / "meridian_simulated"
SCALE = {"n_geos": 50, "n_channels": 20, "n_weeks": 156}
POOLING_SEEDS = range(1, 6)


def mmm_geo(folder: Path) -> list[str]:
    """Scale in a process of its own, so that its memory is its own; then what pooling is worth; then Meridian."""
    done = subprocess.run([sys.executable, __file__], cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return [
        "| data | seconds | peak memory, GB | R-hat | ESS | divergences | geo ROAS in 90 % interval | tau, true 0.3 |",
        "|---|---|---|---|---|---|---|---|",
        (
            f"| {SCALE['n_geos']} geos x {SCALE['n_channels']} channels x {SCALE['n_weeks']} weeks, 2 chains "
            f"| {found['seconds']:.0f} | {found['gb']:.2f} | {found['r_hat_max']:.3f} | {found['ess_min']:.0f} "
            f"| {found['divergences']} | {found['covered']:.1%} | {found['tau']} |"
        ),
        "",
        *pooling(),
        "",
        *meridian(),
    ]


def scale() -> dict[str, object]:
    """One fit of a company of fifty geos, in this process."""
    data, truth = simulate_geos(1, effect_sd=0.3, **SCALE)
    started = time.perf_counter()
    found = fit_geo(data)
    seconds = time.perf_counter() - started
    low, high = np.quantile(found.effect_sd, [0.05, 0.95])
    metrics = found.fits[0].metrics
    return {
        "seconds": seconds,
        "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "covered": float(np.mean(covered(found, truth))),
        "tau": f"{found.effect_sd.mean():.2f} ({low:.2f} to {high:.2f})",
        **{name: metrics[name] for name in ("r_hat_max", "ess_min", "divergences")},
    }


def covered(found: GeoFit, truth: GeoTruth) -> np.ndarray:
    """Whether each geo's ROAS lies in its 90 % interval: (n_geos, n_channels)."""
    bounds = [np.quantile(roas(one), [0.05, 0.95], axis=0) for one in found.fits]
    return np.array([(low <= true) & (true <= high) for (low, high), true in zip(bounds, truth.roas, strict=True)])


def error(fits: list[FittedMMM], truth: GeoTruth) -> float:
    """Mean absolute error of the log of the geos' ROAS."""
    found = np.array([np.median(roas(one), axis=0) for one in fits])
    return float(np.abs(np.log(found / truth.roas)).mean())


def pooling() -> list[str]:
    """Five companies whose returns differ by a factor 1.35 between geos."""
    rows, hits = [], []
    for seed in POOLING_SEEDS:
        data, truth = simulate_geos(seed, n_geos=8, n_channels=3, n_weeks=104, effect_sd=0.3)
        partial = fit_geo(data)
        complete = fit_geo(data, geo_config=GeoConfig(effect_sd=0.0))
        alone = [quick_fit(one) for one in data.data]
        rows.append([error(list(fits), truth) for fits in (partial.fits, alone, complete.fits)])
        hits.append(covered(partial, truth))
    mean = np.mean(rows, axis=0)
    return [
        "| pooling | mean absolute error of log ROAS by geo |",
        "|---|---|",
        f"| partial | {mean[0]:.3f} |",
        f"| none, each geo alone | {mean[1]:.3f} |",
        f"| complete, tau = 0 | {mean[2]:.3f} |",
        "",
        (
            f"{len(rows)} companies of 8 geos x 3 channels x 104 weeks; under partial pooling {np.mean(hits):.1%} of "
            "the geos' ROAS lie in their 90 % interval."
        ),
    ]


def meridian_geos(national: bool = False) -> GeoData:
    """Meridian's 20 geos, KPI revenue; as one geo with the sums, controls weighted by population, where national."""
    frame = pl.read_csv(MERIDIAN / "geo_media.csv", try_parse_dates=True)
    frame = frame.with_columns(kpi=pl.col("conversions") * pl.col("revenue_per_conversion"))
    channels = tuple(name for name in frame.columns if name.endswith("_spend"))
    controls = tuple(name for name in frame.columns if name.endswith("_control"))
    if national:
        weighted = [(pl.col(name) * pl.col("population")).sum() / pl.col("population").sum() for name in controls]
        frame = frame.group_by("time").agg(pl.col("kpi", *channels).sum(), *weighted).with_columns(geo=pl.lit("all"))
    parts = {str(name): part.sort("time") for (name,), part in frame.group_by("geo")}
    data = tuple(
        MMMData(
            week_start=part["time"].to_numpy(),
            kpi=part["kpi"].to_numpy(),
            channels=channels,
            spend=part.select(channels).cast(pl.Float64).to_numpy(),
            control_names=controls,
            controls=part.select(controls).cast(pl.Float64).to_numpy(),
        )
        for part in parts.values()
    )
    return GeoData(geos=tuple(parts), data=data)


def meridian() -> list[str]:
    """Meridian's geos beside the sums over them: ROAS of the company, verdicts."""
    if not MERIDIAN.exists():
        return [f"Meridian's geo data were not measured: {MERIDIAN.name} is absent."]
    started = time.perf_counter()
    by_geo = fit_geo(meridian_geos())
    seconds, whole = time.perf_counter() - started, fit(meridian_geos(national=True).data[0])
    lines = ["| Meridian, ROAS | by geo, 90 % interval | national, 90 % interval |", "|---|---|---|"]
    for c, name in enumerate(by_geo.channels):
        cells = []
        for draws in (national_roas(by_geo)[:, c], roas(whole)[:, c]):
            low, high = np.quantile(draws, [0.05, 0.95])
            cells.append(f"{draws.mean():.2f} ({low:.2f} to {high:.2f})")
        lines.append(f"| {name.removesuffix('_spend')} | {' | '.join(cells)} |")
    judged = [verdict(one) for one in by_geo.fits]
    counts = Counter(str(one.status) for one in judged)
    reasons = Counter(check.name for one in judged for check in one.reasons)
    metrics, tau = by_geo.fits[0].metrics, by_geo.effect_sd
    return [
        *lines,
        "",
        (
            f"20 geos in {seconds:.0f} seconds: R-hat {metrics['r_hat_max']:.3f}, ESS {metrics['ess_min']:.0f}, "
            f"{metrics['divergences']} divergences, tau {tau.mean():.2f}. Verdicts by geo: "
            f"{', '.join(f'{count} {status}' for status, count in counts.items())}; "
            f"reasons {', '.join(f'{name} ({count})' for name, count in reasons.most_common()) or 'none'}. National: "
            f"{verdict(whole).status} ({', '.join(check.name for check in verdict(whole).reasons) or 'no reason'})."
        ),
    ]


if __name__ == "__main__":
    print(json.dumps(scale()))
