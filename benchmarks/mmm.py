"""The marketing mix model against known truth, its calibration, its speed: `benchmarks/run.py mmm mmm_calibration ...`.

Public data come from the folder `shared/data` beside the checkout; a table that needs them says so where it is absent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
from peers import ABSENT as NO_PEER
from peers import PYTHON as PEER
from peers import contribution_error, peer, plans_beside
from scipy import stats

from models.media_weeks import media_weeks
from models.mmm import sampler
from models.mmm.checks import verdict
from models.mmm.config import MMMConfig
from models.mmm.data import WEEK, LiftTest, MMMData
from models.mmm.design import make_design
from models.mmm.fit import fit
from models.mmm.fitted import FittedMMM, contributions
from models.mmm.inputs import make_inputs
from models.mmm.likelihood import BLOCKS
from models.mmm.prior_check import draw_from_prior
from models.mmm.results import marginal_roas, roas
from models.mmm.stability import refits, stability_table

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
DEMO_SEEDS = range(1, 11)  # the seeds that are reported; choices were made on seeds from 100 on
CALIBRATION_FITS = int(os.environ.get("MARGINAL_BENCH_CALIBRATION_FITS", "100"))
RANK_BINS = 10
ABSENT = [f"Not measured: {SHARED} is absent."]


def inside(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Whether each truth lies in the 90 % interval of its draws (n_draws, ...)."""
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    return (low <= truth) & (truth <= high)


def interval(draws: np.ndarray) -> str:
    """Mean with the 90 % interval, for a table."""
    low, high = np.quantile(draws, [0.05, 0.95])
    return f"{draws.mean():.3g} ({low:.3g} to {high:.3g})"


def pymc_example(saturation: str = "logistic") -> tuple[MMMData, FittedMMM]:
    """The first example of pymc-marketing, fitted with the curve that it was made with."""
    frame = pl.read_csv(SHARED / "pymc_mmm_examples" / "mmm_example.csv", try_parse_dates=True)
    data = MMMData(
        week_start=frame["date_week"].to_numpy(),
        kpi=frame["y"].to_numpy(),
        channels=("x1", "x2"),
        spend=frame.select("x1", "x2").to_numpy(),
        control_names=("event_1", "event_2"),
        controls=frame.select("event_1", "event_2").to_numpy(),
    )
    return data, fit(data, MMMConfig(saturation=saturation))


def geolift(with_test: bool) -> FittedMMM:
    """Jasper's Market by week: Facebook's true ROAS is 1.6, its lift 7,159,530 in the first half of September 2021."""
    frame = pl.read_csv(SHARED / "geolift_mmm_calibration" / "mmm_positive_lift_national.csv", try_parse_dates=True)
    frame = frame.with_columns(pl.col("date").cast(pl.Date)).filter(pl.col("date") < date(2022, 1, 16))  # a broken row
    week = (
        frame.with_columns(pl.col("date").dt.truncate("1w").alias("week"))
        .group_by("week")
        .agg(pl.col("sales").sum(), pl.col("facebook_investment").sum(), pl.len().alias("days"))
    )
    week = week.filter(pl.col("days") == 7).sort("week")
    lift, spent = 7_159_530.0, 4_474_707.0
    test = LiftTest(
        channel="facebook",
        start_date=date(2021, 9, 1),
        end_date=date(2021, 9, 15),
        spend_change=-spent,
        lift=-lift,
        lift_se=0.15 * lift,  # the paper gives none; a geo test of fifteen days on 40 cities achieves about this
    )
    return fit(
        MMMData(
            week_start=week["week"].to_numpy(),
            kpi=week["sales"].cast(pl.Float64).to_numpy(),
            channels=("facebook",),
            spend=week.select(pl.col("facebook_investment").cast(pl.Float64)).to_numpy(),
            lift_tests=(test,) if with_test else (),
        )
    )


def mmm(folder: Path) -> list[str]:
    """Published truths of other people's data."""
    if not SHARED.exists():
        return ABSENT
    data, example = pymc_example()
    lam, beta = np.log(3) / example.half_saturation, example.ceiling / 1000
    share = contributions(example).sum(axis=1) / data.kpi.sum()
    rows = [
        (f"pymc_mmm_examples, {name}", truth, draws[:, i])
        for name, draws, truths in (
            ("alpha", example.decay, (0.4, 0.2)),
            ("lambda", lam, (4.0, 3.0)),
            ("beta", beta, (3.0, 2.0)),
            ("share of sales", share, (0.291, 0.070)),
        )
        for i, truth in enumerate(truths)
    ]
    without, tested = (roas(geolift(with_test))[:, 0] for with_test in (False, True))
    rows += [("geolift, Facebook's ROAS, no test", 1.6, without), ("geolift, with its test", 1.6, tested)]
    lines = ["| quantity | truth | found, 90 % interval | inside |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {truth:g} | {interval(draws)} | {'yes' if inside(draws, np.array(truth)) else 'no'} |"
        for name, truth, draws in rows
    ]
    widths = [float(np.subtract(*np.quantile(draws, [0.95, 0.05]))) for draws in (without, tested)]
    return [*lines, "", f"Width of the ROAS interval with the test: {widths[1] / widths[0]:.2f} of that without."]


def mmm_demo(folder: Path) -> list[str]:
    """Coverage and error on the demo company, its marts as the pipeline builds them."""
    hits, marginal_hits, errors, totals, peer_errors, peer_hits = [], [], [], [], [], []
    for seed in DEMO_SEEDS:
        data, truth = demo_data(built_demo(folder, seed))
        fitted = fit(data, MMMConfig(seed=seed))
        true = {name: np.array([truth[channel][name] for channel in data.channels]) for name in truth[data.channels[0]]}
        hits.append(inside(roas(fitted), true["roas"]))
        marginal_hits.append(inside(marginal_roas(fitted), true["marginal_roas"]))
        found = contributions(fitted).sum(axis=1)
        errors.append(contribution_error(found, true["contribution"]))
        totals.append(found.mean(axis=0).sum() / true["contribution"].sum() - 1.0)
        if PEER.exists():
            theirs = peer("fit", data, seed=seed)["contribution"]
            peer_errors.append(contribution_error(theirs, true["contribution"]))
            peer_hits.append(inside(theirs / data.spend.sum(axis=0), true["roas"]))
    return [
        "| quantity | value |",
        "|---|---|",
        f"| ROAS in its 90 % interval | {np.mean(hits):.1%} of {np.size(hits)} |",
        f"| marginal ROAS in its 90 % interval | {np.mean(marginal_hits):.1%} of {np.size(marginal_hits)} |",
        f"| absolute error of the channels' contributions, share of all | {np.mean(errors):.3f} |",
        f"| error of the total, mean and largest | {np.mean(totals):+.1%}, {max(totals, key=abs):+.1%} |",
        *beside(errors, peer_errors, peer_hits),
    ]


def beside(errors: list[float], peer_errors: list[float], peer_hits: list[np.ndarray]) -> list[str]:
    """pymc-marketing's figures on the same companies."""
    if not peer_errors:
        return ["", NO_PEER]
    return [
        f"| the same error of pymc-marketing, its defaults | {np.mean(peer_errors):.3f} |",
        f"| ours as a share of its | {np.mean(errors) / np.mean(peer_errors):.2f} |",
        f"| its ROAS in its 90 % interval | {np.mean(peer_hits):.1%} |",
    ]


def logistic_company(seed: int, n_weeks: int = 156) -> tuple[MMMData, np.ndarray, np.ndarray]:
    """A company after pymc-marketing's own model, with its true ROAS and marginal ROAS at the last 13 weeks.

    Geometric adstock over eight weeks, normalised; logistic saturation; linear trend, two yearly waves, an event.

    Sources: pymc-marketing, MMM example notebook, "Data Generating Process".
    """
    rng = np.random.default_rng([3000, seed])
    n, n_channels, burn_in = n_weeks + 20, 4, 20
    spend = rng.gamma(2.0, 0.5, (n, n_channels)) * rng.choice([0.0, 1.0], (n, n_channels), p=[0.15, 0.85])
    phase = rng.uniform(0, 2 * np.pi, n_channels)
    spend *= 1 + 0.3 * np.cos(2 * np.pi * np.arange(n)[:, None] / 52.18 + phase)
    alpha, lam = rng.beta(1.5, 2.5, n_channels), rng.gamma(3.0, 0.5, n_channels)
    beta = rng.lognormal(np.log(0.15), 0.6, n_channels)
    weight = alpha ** np.arange(8)[:, None]
    weight /= weight.sum(axis=0)
    carried = np.stack([(weight * spend[t : t - 8 : -1]).sum(axis=0) for t in range(burn_in, n)])
    media = beta * (1 - np.exp(-lam * carried)) / (1 + np.exp(-lam * carried))
    year = 2 * np.pi * np.arange(n_weeks) / 52.18
    event = (rng.random(n_weeks) < 0.05).astype(float)
    base = 1 + 0.2 * np.arange(n_weeks) / n_weeks + 0.1 * np.sin(year) + 0.05 * np.cos(2 * year) + 0.15 * event
    kpi = base + media.sum(axis=1) + 0.05 * rng.standard_normal(n_weeks)
    spend = spend[burn_in:]
    here = spend[-13:].mean(axis=0)
    slope = beta * 2 * lam * np.exp(-lam * here) / (1 + np.exp(-lam * here)) ** 2
    data = MMMData(
        week_start=np.datetime64("2022-01-03") + WEEK * np.arange(n_weeks),
        kpi=1000 * kpi,
        channels=tuple(f"x{i + 1}" for i in range(n_channels)),
        spend=100 * spend,
        control_names=("event",),
        controls=event[:, None],
    )
    return data, 10 * media.sum(axis=0) / spend.sum(axis=0), 10 * slope


def mmm_second(folder: Path) -> list[str]:
    """Coverage on a generator that the default form does not match: logistic curves, after pymc-marketing."""
    lines = ["| form fitted | ROAS in 90 % interval | marginal ROAS | error of contributions |", "|---|---|---|---|"]
    own = {seed: logistic_company(seed) for seed in DEMO_SEEDS}
    theirs = {seed: peer("fit", data, seed=seed)["contribution"] for seed, (data, _, _) in own.items() if PEER.exists()}
    for name, form in (("default (Hill)", {}), ("logistic", {"saturation": "logistic"})):
        hits, marginal_hits, errors = [], [], []
        for seed in DEMO_SEEDS:
            data, true_roas, true_marginal = own[seed]
            fitted = fit(data, MMMConfig(seed=seed, **form))
            hits.append(inside(roas(fitted), true_roas))
            marginal_hits.append(inside(marginal_roas(fitted), true_marginal))
            found = contributions(fitted).sum(axis=1)
            errors.append(contribution_error(found, true_roas * data.spend.sum(axis=0)))
        lines.append(f"| {name} | {np.mean(hits):.1%} | {np.mean(marginal_hits):.1%} | {np.mean(errors):.3f} |")
    if theirs:
        spent = {seed: data.spend.sum(axis=0) for seed, (data, _, _) in own.items()}
        held = [inside(found / spent[seed], own[seed][1]) for seed, found in theirs.items()]
        error = np.mean([contribution_error(found, own[seed][1] * spent[seed]) for seed, found in theirs.items()])
        lines.append(f"| pymc-marketing, its own generator | {np.mean(held):.1%} | not asked | {error:.3f} |")
    told = [] if theirs else ["", NO_PEER]
    return [*lines, "", f"{len(DEMO_SEEDS)} companies of 4 channels, 156 weeks.", *told]


def mmm_plans(folder: Path) -> list[str]:
    """pymc-marketing's optimiser on its own fitted models, beside ours on the same curves."""
    companies = [logistic_company(seed)[0] for seed in range(1, 7)]
    raw_money = [replace(data, spend=1e4 * data.spend, kpi=1e5 * data.kpi) for data in companies[:2]]
    return plans_beside(companies + raw_money)


def built_demo(folder: Path, seed: int) -> Path:
    """A workspace of the demo company with its marts as the pipeline builds them."""
    workspace, marginal = folder / f"demo-{seed}", str(Path(sys.executable).with_name("marginal"))
    subprocess.run([marginal, "demo", str(workspace), "--seed", str(seed), "--only-files"], check=True)
    stages = [f"--only={stage}" for stage in ("ingest", "check", "build")]
    subprocess.run([marginal, "run", "-w", str(workspace), *stages], check=True)
    return workspace


def demo_data(workspace: Path) -> tuple[MMMData, dict]:
    """Weekly series of a built demo workspace, with the hidden truth by channel."""
    tables = ("mart.spend_weekly", "mart.kpi_weekly", "mart.controls_weekly", "staging.lift_tests")
    with duckdb.connect(str(workspace / "warehouse.duckdb"), read_only=True) as con:
        frames = [con.sql(f"select * from {table}").pl() for table in tables]
    return media_weeks(*frames), json.loads((workspace / "truth.json").read_text())["channels"]


def toy_company(n_weeks: int, n_channels: int, seed: int) -> MMMData:
    """Any series: calibration replaces the KPI, speed does not look at it."""
    rng = np.random.default_rng(seed)
    spend = rng.gamma(2.0, 5.0, (n_weeks, n_channels)) * (rng.random((n_weeks, n_channels)) > 0.1)
    season = np.cos(2 * np.pi * np.arange(n_weeks) / 52)
    media = (spend / (spend + 10.0)).sum(axis=1) / n_channels
    return MMMData(
        week_start=np.datetime64("2023-01-02") + WEEK * np.arange(n_weeks),
        kpi=1000 * (1 + 0.2 * season + media + 0.05 * rng.standard_normal(n_weeks)),
        channels=tuple(f"channel_{i}" for i in range(n_channels)),
        spend=spend,
    )


def mmm_calibration(folder: Path) -> list[str]:
    """Ranks of true parameters among posterior draws, over companies drawn from the prior; 2 channels, 60 weeks."""
    ranks: dict[str, list[float]] = {}
    config = MMMConfig(draws=500, tune=300)
    for number in range(CALIBRATION_FITS):
        data = toy_company(60, 2, 1000 + number)
        inputs = make_inputs(data, make_design(data, config), config)
        z, kpi = draw_from_prior(inputs, np.random.default_rng([2000, number]))
        drawn = replace(inputs, kpi=kpi)
        sample = sampler.sample(drawn, replace(config, seed=number), sampler.mode(drawn))
        found = sample.z.reshape(-1, inputs.n_free)[::5] @ inputs.prior_root.T  # thinned to near independence
        true, n = inputs.prior_root @ z, inputs.n_channels
        groups = ("effect", "half saturation", "slope", "decay")
        for block, group in enumerate(groups):
            at = slice(block * n, (block + 1) * n)
            ranks.setdefault(group, []).extend((found[:, at] < true[at]).mean(axis=0))
        ranks.setdefault("noise", []).append(float((found[:, BLOCKS * n] < true[BLOCKS * n]).mean()))
    lines = ["| parameter | ranks | chi-square p | in the middle half |", "|---|---|---|---|"]
    for group, values in ranks.items():
        counts = np.histogram(values, bins=RANK_BINS, range=(0, 1))[0]
        middle = float(np.mean((np.array(values) > 0.25) & (np.array(values) < 0.75)))
        lines.append(f"| {group} | {len(values)} | {stats.chisquare(counts).pvalue:.3f} | {middle:.2f} |")
    return [*lines, "", f"{CALIBRATION_FITS} companies; a p below 0.01 would mean that intervals are wrong."]


def robyn() -> MMMData:
    """Robyn's weekly demo data."""
    frame = pl.read_csv(SHARED / "robyn_simulated" / "dt_simulated_weekly.csv", try_parse_dates=True)
    frame = frame.with_columns((pl.col("events") == name).cast(pl.Float64).alias(name) for name in ("event1", "event2"))
    channels = ("tv_S", "ooh_S", "print_S", "search_S", "facebook_S")
    controls = ("competitor_sales_B", "newsletter", "event1", "event2")
    return MMMData(
        week_start=frame["DATE"].to_numpy(),
        kpi=frame["revenue"].to_numpy(),
        channels=channels,
        spend=frame.select(channels).cast(pl.Float64).to_numpy(),
        control_names=controls,
        controls=frame.select(controls).cast(pl.Float64).to_numpy(),
    )


def meridian() -> MMMData:
    """Meridian's national data; the KPI is revenue."""
    frame = pl.read_csv(SHARED / "meridian_simulated" / "national_media.csv", try_parse_dates=True)
    channels = tuple(name for name in frame.columns if name.endswith("_spend"))
    controls = tuple(name for name in frame.columns if name.endswith("_control"))
    return MMMData(
        week_start=frame["time"].to_numpy(),
        kpi=(frame["conversions"] * frame["revenue_per_conversion"]).to_numpy(),
        channels=channels,
        spend=frame.select(channels).cast(pl.Float64).to_numpy(),
        control_names=controls,
        controls=frame.select(controls).cast(pl.Float64).to_numpy(),
    )


def dtmart() -> MMMData:
    """DT Mart: twelve monthly media figures spread over 53 weeks."""
    folder = SHARED / "dtmart_eleckart"
    media = pl.read_csv(folder / "media_weekly.csv").drop("TotalInvestment").fill_null(0)
    frame = media.join(pl.read_csv(folder / "sales_weekly_gmv.csv"), on="week").sort("week")
    channels = tuple(name for name in media.columns if name != "week")
    return MMMData(
        week_start=np.datetime64("2015-06-29") + WEEK * np.arange(len(frame)),
        kpi=frame["gmv"].cast(pl.Float64).to_numpy(),
        channels=channels,
        spend=frame.select(channels).cast(pl.Float64).to_numpy(),
    )


def seasonal_naive_crps(data: MMMData, horizon: int) -> float:
    """The same weeks of the year before, with last year's misses of that rule as the spread."""
    actual, before = data.kpi[-horizon:], data.kpi[-horizon - 52 : -52]
    misses = (data.kpi[52:-horizon] - data.kpi[: -horizon - 52])[-52:]
    drawn = before + np.resize(misses, (len(misses), 1))
    from models.mmm.scores import crps

    return crps(actual, drawn)


def mmm_gate(folder: Path) -> list[str]:
    """Verdicts with reasons on other people's data, a forecast of 13 weeks beside the seasonal naive one."""
    if not SHARED.exists():
        return ABSENT
    lines = [
        "| data | verdict | reasons | divergences | R-hat | ESS | CRPS of 13 weeks | seasonal naive | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, data, holdout in (("Robyn", robyn(), 13), ("Meridian", meridian(), 13), ("DT Mart", dtmart(), 0)):
        started = time.perf_counter()
        fitted = fit(data, MMMConfig(holdout_weeks=holdout))
        seconds, judged, m = time.perf_counter() - started, verdict(fitted), fitted.metrics
        forecast = f"{m['crps_holdout']:.3g} | {seasonal_naive_crps(data, holdout):.3g}" if holdout else "- | -"
        lines.append(
            f"| {name} | {judged.status} | {', '.join(check.name for check in judged.reasons) or 'none'} "
            f"| {m['divergences']} | {m['r_hat_max']:.3f} | {m['ess_min']:.0f} | {forecast} | {seconds:.0f} |"
        )
    return lines


def mmm_stability(folder: Path) -> list[str]:
    """Robyn's data as they stood at eight dates two weeks apart."""
    if not SHARED.exists():
        return ABSENT
    table = stability_table(refits(robyn(), MMMConfig()))
    moved = table.filter(pl.col("is_jump") | (pl.col("flipped_with") != ""))
    lines = [f"{len(table)} channel refits; {int(table['is_jump'].sum())} left the 90 % interval of the refit before."]
    return lines + [f"- {row['data_to']} {row['channel']}: {row['reason']}" for row in moved.to_dicts()]
