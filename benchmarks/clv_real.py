"""Customer value on real data with published answers, and on the demo company's hidden truth.

`clv_real`: CDNOW, apparel, donations and a grocer (`complete_journey`) from the public datasets beside the checkout,
each through the whole pipeline; then lifetime model, trees and mixture on the grocer's second half year. `clv_demo`:
channels and customers of five demo companies against their truth.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
from scipy.stats import kendalltau

from models import clv, early_value, value_blend
from models.company.history import run_history, step
from models.company.tables import customer_table, order_table
from models.company.truth import truth_of
from models.company.world import CompanyConfig, draw_world
from models.early_value import EXISTING
from models.new_customer_value import NewCustomerConfig, new_customer_value
from models.value_blend import BTYD, ML, BlendConfig
from models.value_features import cutoffs_after_first_order, cutoffs_at, features, targets, valued
from models.value_holdout import score

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
MARGINAL = Path(sys.executable).with_name("marginal")
HALF_YEAR = 26 * 7
SEEDS = range(1, 6)  # the seeds that are reported; choices were made on seeds from 100 on
ABSENT = "The public datasets are not here: expected in ../shared/data beside the checkout."


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Where a dataset's orders are, and what others found in it."""

    file: str
    orders: str  # a SELECT over {file}
    as_of: str
    currency: str
    published: str


DATASETS = {
    "CDNOW, sample": Dataset(
        file="cdnow/cdnow_sample_1in10.csv",
        orders="""
            select 'o' || row_number() over () as order_id, sample_id as customer_id, date as ordered_at,
              spend as revenue
            from '{file}'""",
        as_of="1997-09-30",
        currency="USD",
        published="r .243, alpha 4.414, a .793, b 2.426; p 6.25, q 3.74, v 15.44",
    ),
    "CDNOW, full": Dataset(
        file="cdnow/cdnow_master.csv",
        orders="""
            select 'o' || row_number() over () as order_id, customer_id, date as ordered_at, spend as revenue
            from '{file}'""",
        as_of="1997-09-30",
        currency="USD",
        published="r .2516, alpha 4.7889, a .7234, b 2.1611",
    ),
    "apparel, 40 weeks": Dataset(
        file="apparel_clvtools/apparel_transactions.csv",
        orders="""
            select 'o' || row_number() over () as order_id, "Id" as customer_id, "Date" as ordered_at,
              "Price" as revenue
            from '{file}'""",
        as_of="2005-10-09",
        currency="EUR",
        published="p 3.675, q 4.630, v 36.111",
    ),
    "donations": Dataset(
        file="donations_bgbb/bgbb_donations.csv",
        # only counts and the last year of giving are known: gifts of 1, in the first year and then up to the last
        orders="""
            select 'd' || customer_id || '_' || year as order_id, customer_id,
              make_date(1995 + year::int, 7, 1) as ordered_at, 1.0 as revenue
            from '{file}', range(0, 7) years(year)
            where year = 0 or (year <= recency and year > recency - frequency)""",
        as_of="2001-12-31",
        currency="USD",
        published="none for BG/NBD",
    ),
    "complete_journey": Dataset(
        file="completejourney/transactions.parquet",
        orders="""
            select basket_id as order_id, household_id as customer_id, min(transaction_timestamp) as ordered_at,
              round(sum(sales_value), 2) as revenue
            from '{file}' group by basket_id, household_id""",
        as_of="2017-07-01",
        currency="USD",
        published="none",
    ),
}


def _workspace(folder: Path, name: str, data: Dataset) -> Path:
    """A workspace whose orders are a SELECT over a file."""
    select = data.orders.format(file=DATA / data.file)
    workspace = folder / name
    (workspace / "landing").mkdir(parents=True)
    with duckdb.connect() as con:
        con.execute(f"copy ({select}) to '{workspace / 'landing' / 'orders.csv'}' (header)")
    config = [
        f"company: {name}",
        f"currency: {data.currency}",
        f"as_of: {data.as_of}",
        "sources:",
        "  orders: landing/orders.csv",
    ]
    (workspace / "marginal.yaml").write_text("\n".join([*config, ""]))
    return workspace


def _run(workspace: Path) -> dict[str, Any]:
    """Run the pipeline and read the fit, with the customers and their value."""
    command = [str(MARGINAL), "run", "-w", str(workspace), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    with duckdb.connect(str(workspace / "warehouse.duckdb"), read_only=True) as con:
        fit = "select metrics, verdict from out_latest.model_run where model = 'clv'"
        metrics, verdict = con.execute(fit).fetchall()[0]
        values = "select count(*), sum(clv_mean), min(clv_mean) from out_latest.customer_value"
        customers, total, least = con.execute(values).fetchall()[0]
    return {"metrics": json.loads(metrics), "verdict": verdict, "n": customers, "total": total, "least": least}


def clv_real(folder: Path) -> list[str]:
    """Fits on real data through the pipeline, and the grocer's second half year."""
    if not DATA.is_dir():
        return [ABSENT]
    lines = [
        "| data | customers | BG/NBD r, alpha, a, b | Gamma-Gamma p, q, v | published | verdict | least value |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, data in DATASETS.items():
        found = _run(_workspace(folder, name.replace(",", "").replace(" ", "_"), data))
        purchase, spend = found["metrics"]["bg_nbd"], found["metrics"]["gamma_gamma"]
        bg = ", ".join(f"{purchase[key]:.4f}" for key in ("r", "alpha", "a", "b"))
        gg = ", ".join(f"{spend[key]:.3f}" for key in ("p", "q", "v"))
        lines.append(
            f"| {name} | {found['n']:,} | {bg} | {gg} | {data.published} | {found['verdict']} | {found['least']:.2f} |"
        )
    return [*lines, "", *complete_journey()]


def complete_journey() -> list[str]:
    """Candidates fitted on 26 weeks of the grocer, judged on the next 26, which nothing has seen."""
    scan = pl.scan_parquet(DATA / "completejourney" / "transactions.parquet")
    day = pl.col("transaction_timestamp").dt.date().alias("order_date")
    placed = scan.group_by(pl.col("household_id").cast(pl.String).alias("customer_id"), day).agg(
        orders=pl.col("basket_id").n_unique().cast(pl.Int64), value=pl.col("sales_value").sum().round(2)
    )
    days = placed.collect().with_columns(refunded_date=pl.lit(None, dtype=pl.Date), kept_value=pl.col("value"))
    firsts = days.group_by("customer_id").agg(first_order_date=pl.col("order_date").min())
    end = date(2017, 1, 1) + timedelta(days=HALF_YEAR - 1)
    config = clv.CLVConfig(horizon_days=HALF_YEAR)
    fitted, _ = early_value.fit(firsts, days, end, BlendConfig(), config, 1)
    known = firsts.filter(pl.col("first_order_date") <= end)
    cutoffs = cutoffs_at(known, end)
    table, actual = features(known, days, cutoffs), targets(days, cutoffs, HALF_YEAR)["target"].to_numpy()
    blend = fitted.groups[EXISTING]
    lines = [
        "| candidate | MAE | MAE less served | bias | Spearman | decile error | in 90 % interval |",
        "|---|---|---|---|---|---|---|",
    ]
    candidates = {BTYD: (BTYD, 0.0), ML: (ML, 1.0), f"served: {blend.winner}": (blend.winner, blend.weight)}
    found = {
        name: value_blend.predict(_as(blend, winner, weight), fitted.lifetimes, table, config)
        for name, (winner, weight) in candidates.items()
    }
    served = np.abs(found[f"served: {blend.winner}"]["value_mean"].to_numpy() - actual)
    for name, frame in found.items():
        mean, low, high = (frame[column].to_numpy() for column in ("value_mean", "value_p05", "value_p95"))
        judged = score(actual, mean, low, high)
        worse = np.abs(mean - actual) - served
        gap = f"{worse.mean():+.2f} ± {worse.std() / len(worse) ** 0.5:.2f}"
        lines.append(
            f"| {name} | {judged.mae:.2f} | {gap} | {judged.bias_fraction:+.1%} | {judged.spearman:.3f} "
            f"| {judged.decile_error_fraction:.3f} | {judged.coverage_fraction:.1%} |"
        )
    weight = f"Weight of the trees {blend.weight:.2f}, trained on {blend.horizon_days} days."
    return [*lines, "", f"{len(actual):,} households, weeks 27 to 52; mean worth {actual.mean():.2f}. {weight}"]


def _as(blend: value_blend.FittedBlend, winner: str, weight: float) -> value_blend.FittedBlend:
    return value_blend.FittedBlend(**(vars(blend) | {"winner": winner, "weight": weight}))


def clv_demo(folder: Path) -> list[str]:
    """Channels and customers of five demo companies against their hidden truth."""
    del folder  # everything is in memory
    lines = [
        (
            "| seed | channels in 90 % interval | campaigns in it | Kendall | group: served, bias, in 90 % interval, "
            "a year later |"
        ),
        "|---|---|---|---|---|",
    ]
    hits = cases = 0
    for seed in SEEDS:
        history = run_history(draw_world(CompanyConfig(seed=seed)))
        as_of = history.world.config.last_day
        firsts, days = _demo_marts(history, as_of)
        truth = {name: told["clv_new_customer"] for name, told in truth_of(history)["channels"].items()}
        value = new_customer_value(firsts, days, as_of, 365, NewCustomerConfig())
        inside, of, campaigns = _inside(value.table, truth)
        rows = value.table.filter(pl.col("campaign").is_null(), pl.col("channel").is_in(list(truth)))
        order = kendalltau([truth[name] for name in rows["channel"]], rows["clv_mean"].to_list()).statistic
        later = "; ".join(_a_year_later(history, firsts, days, as_of))
        hits, cases = hits + inside, cases + of
        lines.append(f"| {seed} | {inside} of {of} | {campaigns} | {order:.2f} | {later} |")
    note = (
        f"Channels inside: {hits} of {cases}. Truth and values are net of refunds. The future year holds the "
        "planted loss of top customers' orders, which began eight weeks before the end of the data."
    )
    return [*lines, "", note]


def _inside(table: pl.DataFrame, truth: dict[str, float]) -> tuple[int, int, str]:
    """Channels inside their interval, how many there are, and the same of campaigns, which are as their channel."""
    counts = {True: [0, 0], False: [0, 0]}
    for name, campaign, low, high in table.select("channel", "campaign", "clv_p05", "clv_p95").iter_rows():
        if name in truth:
            counts[campaign is None][0] += low <= truth[name] <= high
            counts[campaign is None][1] += 1
    return counts[True][0], counts[True][1], f"{counts[False][0]} of {counts[False][1]}"


def _demo_marts(history: Any, as_of: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The two marts of a demo company, by the project's SQL."""
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'; create schema raw; create schema staging")
        con.register("o", order_table(history).to_arrow())
        con.register("c", customer_table(history).to_arrow())
        con.execute("create table raw.customers as from c")
        con.execute("create table staging.customers as select *, acquired_at::date as acquired_date from c")
        kept = f"case when refunded_at::date <= date '{as_of}' then 0 else"
        con.execute(
            f"create table staging.orders as select *, ordered_at::date as order_date, "
            f"{kept} revenue end as net_revenue, {kept} margin end as net_margin from o"
        )
        frames = []
        for name in ("customer_early", "customer_order_days"):
            select = (ROOT / "sql" / "mart" / f"{name}.sql").read_text()
            parameters = {"as_of": as_of, "timezone": "UTC"}
            frames.append(con.sql(select, params=parameters).pl())
    return frames[0], valued(frames[1], "revenue")


def _a_year_later(history: Any, firsts: pl.DataFrame, days: pl.DataFrame, as_of: date) -> list[str]:
    """Served values of existing customers, and of new ones of the last quarter, against the year that really came."""
    state, weeks = history.state, []
    for _ in range(53):
        state, week = step(history.world, state, history.spend[-13:].mean(axis=0))
        weeks.append(week.orders)
    future = pl.concat(weeks).filter(pl.col("customer_id").is_in(firsts["customer_id"].to_list()))
    future = future.select(
        "customer_id",
        order_date=pl.col("ordered_at").dt.date(),
        value=pl.col("revenue"),
        kept_value=pl.col("revenue"),
        refunded_date=pl.lit(None, dtype=pl.Date),
    )
    came = pl.concat([days.select(future.columns), future])
    config = clv.CLVConfig()
    fitted, _ = early_value.fit(firsts, days, as_of, BlendConfig(), config, 1)
    told = []
    for group in fitted.groups:
        if group == EXISTING:
            cutoffs = cutoffs_at(firsts, as_of)
        else:
            cutoffs = cutoffs_after_first_order(firsts, int(group.removeprefix("day_")), as_of)
            cutoffs = cutoffs.filter(pl.col("cutoff_date") > as_of - timedelta(days=91))
        found = early_value.predict(fitted, firsts, days, cutoffs, config, group)
        actual = targets(came, cutoffs, config.horizon_days)["target"].to_numpy()
        judged = score(actual, *(found[name].to_numpy() for name in ("value_mean", "value_p05", "value_p95")))
        held = fitted.groups[group].scores.get("served")
        known = f" (held out {held.coverage_fraction:.1%})" if held else ""
        winner, covered = fitted.groups[group].winner, f"{judged.coverage_fraction:.1%}{known}"
        told.append(f"{group}: {winner}, {judged.bias_fraction:+.1%}, {covered}")
    return told
