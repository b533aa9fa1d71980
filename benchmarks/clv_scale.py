"""Customer value at scale, beside lifetimes used plainly and pymc-marketing's MAP fit: `benchmarks/run.py clv_scale`.

Each measurement is a process of its own, so that its peak of memory is its own. Sizes can be made smaller for a trial
with MARGINAL_BENCH_SCALE (1 is the size that is reported).
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
from peers import ABSENT, PROGRAM, PYTHON

ROOT = Path(__file__).resolve().parent.parent
SCALE = float(os.environ.get("MARGINAL_BENCH_SCALE", "1"))
CUSTOMERS = int(1_000_000 * SCALE)
MANY_CUSTOMERS = int(10_000_000 * SCALE)
AS_OF = date(2026, 2, 28)
DAYS = 1095  # three years of new customers
PARAMETERS = {"as_of": AS_OF, "timezone": "UTC", "currency": "EUR", "kpi_value": "revenue"}
THREADS = 2
CHANNELS = 6


def uniform(number: str, of: str) -> str:
    """SQL of an evenly spread number in (0, 1), the same in every run."""
    return f"((hash({of} * 16 + {number}) % 1000000 + 0.5) / 1000000.0)"


def order_file(path: Path, customers: int) -> None:
    """Orders as BG/NBD and Gamma-Gamma have them, five per customer: r = 1, a = 1, b = 6, p = 2, q = 3.

    With these whole shapes rates, dropouts and amounts come from logarithms of hashed numbers.
    """
    first, second, third = (f"ln({uniform(str(n), 'id')})" for n in (3, 4, 5))
    day, one, two = (f"ln({uniform(str(n), '(id * 256 + number)')})" for n in (6, 7, 8))
    with duckdb.connect() as con:
        con.execute(f"set threads = {THREADS}; set memory_limit = '4GB'; set preserve_insertion_order = false")
        con.execute(
            f"""
            copy (
              with people as (
                select
                  id, hash(id) % {DAYS} as first_day, -60.0 / ln({uniform("1", "id")}) as gap_days,
                  -90.0 / ({first} + {second} + {third}) as mean_value,
                  -- dropout 1 - u^(1/6) is Beta(1, 6); the number of orders until then is geometric
                  1 + least(floor(6 * ln({uniform("2", "id")}) / ln({uniform("9", "id")})), 200)::int as placed
                from range({customers}) t(id)
              ),
              orders as (
                select
                  id, number, mean_value,
                  first_day + sum(case number when 0 then 0 else -gap_days * {day} end)
                    over (partition by id order by number) as day
                from people, lateral (select unnest(range(placed + 1)) as number)
              )
              select
                'o' || id || '-' || number as order_id, 'u' || lpad(id::varchar, 9, '0') as customer_id,
                timestamp '{AS_OF} 00:00:00' - interval {DAYS} day + to_seconds((day * 86400)::bigint) as ordered_at,
                greatest(round(-0.5 * mean_value * ({one} + {two}), 2), 0.01) as revenue,
                'channel_' || (hash(id + 5) % {CHANNELS}) as channel
              from orders where day <= {DAYS}
            ) to '{path}' (format parquet)
            """
        )


def run_of(folder: Path) -> "Run":  # noqa: F821 - imported late, so that its cost is the step's
    from models.run import Run

    return Run(run_id="r1", as_of=AS_OF, seed=1, workspace=folder)


def orders_to_value(folder: Path) -> None:
    """Ingest, check, build, fit and value, as the flows do it, without the orchestrator."""
    from flows.settings import SOURCE_TABLES
    from models.clv import CLVConfig
    from models.sources import SourceConfig
    from tasks.contracts import check
    from tasks.raw import prepare_raw
    from tasks.sources import load_files
    from tasks.valuing import train, value
    from tasks.warehouse import build_tables

    run, steps = run_of(folder), {}

    def timed(name: str, work: Callable[[], object]) -> None:
        started = time.perf_counter()
        work()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        steps[name] = f"{time.perf_counter() - started:.1f} s (peak so far {peak:.2f} GB)"

    timed("prepare", lambda: prepare_raw.fn(run, SOURCE_TABLES, ("orders",)))
    timed("ingest", lambda: load_files(run, "orders", SourceConfig(path="landing/*.parquet")))
    timed("check", lambda: check(run, "orders"))
    timed("build", lambda: build_tables(run.warehouse, PARAMETERS))
    timed("fit", lambda: train(run, CLVConfig(), 7, True))
    timed("value", lambda: value(run, CLVConfig()))
    (folder / "steps.json").write_text(json.dumps(steps))


def make_orders(folder: Path) -> None:
    """The file of the workspace of this name."""
    order_file(folder / "landing" / "orders.parquet", MANY_CUSTOMERS if folder.name == "many" else CUSTOMERS)


def histories(folder: Path) -> "pl.DataFrame":  # noqa: F821
    from models.clv import CLVConfig
    from tasks.valuing import read_histories

    frame = read_histories(run_of(folder), CLVConfig())
    assert frame is not None
    return frame


def arrays(folder: Path) -> list["np.ndarray"]:  # noqa: F821
    import polars as pl

    frame = histories(folder)
    return [
        frame[name].cast(pl.Float64).to_numpy() / unit
        for name, unit in (("frequency", 1.0), ("recency_days", 7.0), ("age_days", 7.0), ("monetary_mean", 1.0))
    ]


def told(parameters: dict[str, float], seconds: float) -> None:
    print(json.dumps({"fit_seconds": seconds, "parameters": parameters}), file=sys.stdout)


def ours_fit(folder: Path) -> None:
    """Both models for all customers and for each channel, with the search for a shift."""
    from dataclasses import asdict

    from models import clv

    frame = histories(folder)
    started = time.perf_counter()
    fitted = clv.fit(frame, clv.CLVConfig())
    seconds = time.perf_counter() - started
    told({**asdict(fitted.purchases.parameters), **asdict(fitted.spend.parameters)}, seconds)


def ours_pooled_fit(folder: Path) -> None:
    """Both models for all customers together: what lifetimes fits."""
    from dataclasses import asdict

    from models import clv

    frame = histories(folder).drop("acquisition_channel", "frequency_before", "recency_before_days")
    started = time.perf_counter()
    fitted = clv.fit(frame, clv.CLVConfig())
    seconds = time.perf_counter() - started
    told({**asdict(fitted.purchases.parameters), **asdict(fitted.spend.parameters)}, seconds)


def lifetimes_fit(folder: Path) -> None:
    """One row per customer, no weights, as its documentation shows."""
    import warnings

    from lifetimes import BetaGeoFitter, GammaGammaFitter

    warnings.simplefilter("ignore")
    x, recency, age, mean_spend = arrays(folder)
    paying = (x > 0) & (mean_spend > 0)
    started = time.perf_counter()
    purchases = BetaGeoFitter().fit(x, recency, age)
    spend = GammaGammaFitter().fit(x[paying], mean_spend[paying])
    told({**purchases.params_.to_dict(), **spend.params_.to_dict()}, time.perf_counter() - started)


def keep_histories(folder: Path) -> None:
    """The customers' histories in a file, for a peer that knows nothing of our warehouse."""
    import numpy as np

    names = ("frequency", "recency", "T", "monetary_value")
    np.savez(folder / "histories.npz", **dict(zip(names, arrays(folder), strict=True)))


STEPS = {
    step.__name__: step
    for step in (make_orders, orders_to_value, ours_fit, ours_pooled_fit, lifetimes_fit, keep_histories)
}


def measured(step: str, folder: Path) -> dict:
    """Run one step of this file in a process of its own; seconds and peak memory, and what it printed before."""
    return printed([sys.executable, __file__, step, str(folder)])


def printed(command: list[str]) -> dict:
    """Run a command; what it printed as JSON, all lines in one."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:])} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {key: value for line in lines for key, value in line.items()}


def pymc_marketing(folder: Path) -> dict | None:
    """Its MAP fits of the same histories; None where its environment was not made."""
    if not PYTHON.exists():
        return None
    measured("keep_histories", folder)
    return printed([str(PYTHON), str(PROGRAM), "clv", str(folder / "histories.npz"), ""])


def clv_scale(folder: Path) -> list[str]:
    """The table of results."""
    million, many = folder / "million", folder / "many"
    for place in (million, many):
        (place / "landing").mkdir(parents=True)
        measured("make_orders", place)  # elsewhere too: a child starts with its parent's peak of memory
    with duckdb.connect() as con:
        orders = con.execute(f"select count(*) from '{million}/landing/orders.parquet'").fetchall()[0][0]
    whole = measured("orders_to_value", million)
    ours, pooled, plain = (measured(step, million) for step in ("ours_fit", "ours_pooled_fit", "lifetimes_fit"))
    peer = pymc_marketing(million)
    ten = measured("orders_to_value", many)
    worst = max(abs(pooled["parameters"][name] / plain["parameters"][name] - 1) for name in plain["parameters"])

    def line(name: str, cost: dict, seconds: float, target: str) -> str:
        ratio = f"{plain['fit_seconds'] / seconds:.0f}" if "fit_seconds" in cost else ""
        return f"| {name} | {seconds:.2f} | {ratio} | {cost['gigabytes']:.2f} | {target} |"

    rows = [
        line("ours, one set of parameters", pooled, pooled["fit_seconds"], "at least 50 × lifetimes"),
        line(f"ours, all {CHANNELS} channels and the shift", ours, ours["fit_seconds"], ""),
        line("lifetimes, one row per customer", plain, plain["fit_seconds"], ""),
        line("pymc-marketing, MAP", peer, peer["fit_seconds"], "") if peer else f"| {ABSENT} | | | | |",
        line(f"orders to out.customer_value, {CUSTOMERS:,}", whole, whole["seconds"], "under 60 s and 2 GB"),
        line(f"orders to out.customer_value, {MANY_CUSTOMERS:,}", ten, ten["seconds"], "completes under 8 GB"),
    ]
    return [
        (
            f"{CUSTOMERS:,} customers, {orders:,} orders in one Parquet file, two threads. Fits: BG/NBD and "
            "Gamma-Gamma, seconds of the fit alone; × is lifetimes' seconds over the row's. Memory is the peak of the "
            "whole process."
        ),
        "",
        "| what | seconds | × faster | peak GB | target |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"Largest relative distance between our parameters and those of lifetimes: {worst:.1e}.",
        "",
        *(f"Steps of {place.name}: {json.loads((place / 'steps.json').read_text())}." for place in (million, many)),
    ]


def main() -> None:
    """One step in this process."""
    step, folder = sys.argv[1:]
    if step == "orders_to_value":
        import great_expectations  # noqa: F401 - its import is not what is measured
    before = time.perf_counter()
    STEPS[step](Path(folder))
    seconds = time.perf_counter() - before
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"seconds": round(seconds, 2), "gigabytes": round(gigabytes, 2)}))


if __name__ == "__main__":
    main()
