"""Loading at scale, beside the same SELECTs run bare in DuckDB on the same files: `benchmarks/run.py ingest`.

Each measurement is a process of its own, so that its peak of memory is its own. Sizes can be made smaller for a trial
with MARGINAL_BENCH_SCALE (1 is the size that is reported).
"""

import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb

ROOT = Path(__file__).resolve().parent.parent
SCALE = float(os.environ.get("MARGINAL_BENCH_SCALE", "1"))
CLICK_FILES = 20
CLICKS_PER_FILE = int(5_000_000 * SCALE)
SPEND_ROWS = int(10_000_000 * SCALE)
EXPECTATIONS = 30
AS_OF = date(2026, 2, 28)
PARAMETERS = {"as_of": AS_OF, "timezone": "UTC", "currency": "EUR", "kpi_value": "revenue"}
THREADS = 2
MARTS = (  # all that are made of clicks, each after those it reads
    *("clicks_by_load", "clicks_daily", "click_counts_by_load", "clicks_converted_by_load", "click_conversions"),
    *("click_cells", "click_delays", "click_order_value"),
)


def click_file(path: Path, number: int) -> None:
    """Clicks of a few days: five channels, 40 campaigns, 200 keywords, three devices, one in 25 converts."""
    first = number * CLICKS_PER_FILE
    with duckdb.connect() as con:
        con.execute(f"set threads = {THREADS}")
        con.execute(
            f"""
            copy (
              select
                'c' || lpad(id::varchar, 12, '0') as click_id,
                timestamp '2026-01-01' + to_seconds((hash(id) % 259200)::int) + interval {3 * number} day as clicked_at,
                (['search', 'social', 'video', 'display', 'email'])[1 + (line % 5)::int] as channel,
                'campaign_' || (line % 40) as campaign, 'keyword_' || (line % 200) as keyword,
                (['mobile', 'desktop', 'tablet'])[1 + (hash(id + 2) % 3)::int] as device,
                case when converts then 'u' || (hash(id + 4) % 3000000) end as customer_id,
                case when converts then timestamp '2026-01-04' + to_seconds((hash(id) % 259200)::int)
                  + interval {3 * number} day end as converted_at,
                case when converts then 'o' || id end as order_id,
                case when converts then round((hash(id + 5) % 20000) / 100.0, 2) end as value
              from (
                select id, hash(id + 1) % 200 as line, hash(id + 3) % 25 = 0 as converts
                from range({first}, {first + CLICKS_PER_FILE}) t(id)
              )
            ) to '{path}' (format parquet)
            """
        )


def workspace(folder: Path) -> Path:
    """A workspace whose only source are the click files, the last of them still to come."""
    (folder / "landing").mkdir(parents=True)
    (folder / "later").mkdir()
    for number in range(CLICK_FILES):
        click_file(folder / "landing" / f"clicks_{number:02d}.parquet", number)
    click_file(folder / "later" / "clicks_20.parquet", CLICK_FILES)
    return folder


def measured(step: str, folder: Path) -> dict[str, float]:
    """Run one step of this file in a process of its own; its seconds and peak memory."""
    command = [sys.executable, __file__, step, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{step} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def bare_clicks(folder: Path) -> None:
    """What anybody would write: the files into a table, the marts' SELECTs over it."""
    with duckdb.connect(str(folder / "bare.duckdb")) as con:
        con.execute(f"set threads = {THREADS}; set memory_limit = '4GB'; set timezone = 'UTC'")
        for schema in ("raw", "mart", "staging"):
            con.execute(f"create schema {schema}")
        con.execute(
            "create table raw.clicks as select *, null::varchar as currency, null::varchar as query_type, "
            f"0::bigint as _load_id from read_parquet('{folder}/landing/*.parquet')"
        )
        con.execute("create table staging.rates (currency varchar, valid_from date, valid_until date, rate double)")
        con.execute(
            "create table staging.orders (order_id varchar, customer_id varchar, ordered_at timestamp, "
            "order_date date, net_revenue decimal(24, 6), net_margin decimal(24, 6))"
        )
        con.execute("create table mart.margin_fraction as select 1.0::double as margin_fraction")
        for name in MARTS:
            select = (ROOT / "sql" / "mart" / f"{name}.sql").read_text()
            named = {key: value for key, value in PARAMETERS.items() if re.search(rf"\${key}\b", select)}
            con.execute(f"create table mart.{name} as {select}", named)


def our_clicks(folder: Path) -> None:
    """Ingest, check and build, as the flows do it, without the orchestrator."""
    from flows.settings import SOURCE_TABLES
    from models.quality import QualityConfig
    from models.run import Run
    from models.sources import SourceConfig
    from tasks.contracts import check
    from tasks.quality import run_checks
    from tasks.raw import prepare_raw
    from tasks.sources import load_files
    from tasks.warehouse import build_tables

    run = Run(run_id=f"r{len(list((folder / 'landing').iterdir()))}", as_of=AS_OF, seed=1, workspace=folder)
    steps: dict[str, float] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        started = time.perf_counter()
        work()
        steps[name] = round(time.perf_counter() - started, 2)

    timed("prepare", lambda: prepare_raw.fn(run, SOURCE_TABLES, ("clicks",)))
    timed("ingest", lambda: load_files(run, "clicks", SourceConfig(path="landing/*.parquet")))
    timed("check", lambda: check(run, "clicks"))
    timed("build", lambda: build_tables(run.warehouse, PARAMETERS))
    timed("quality", lambda: run_checks(run, QualityConfig(), PARAMETERS))
    print(json.dumps(steps), file=sys.stderr)
    (folder / f"steps-{run.run_id}.json").write_text(json.dumps(steps))


def expectations(folder: Path) -> None:
    """Thirty Great Expectations checks over all rows, by the same runner that the contracts use."""
    from models.expectations import Expectation
    from tasks.expectations import run_expectations

    text = ("click_id", "channel", "campaign", "keyword", "device")
    checks = [
        Expectation(check_id=f"p{c}", type="expect_column_values_to_not_be_null", kwargs={"column": c}) for c in text
    ]
    between = "expect_column_values_to_be_between"
    for number in range(10):
        bounds = {"column": "value", "min_value": -number, "max_value": 1000 + number}
        checks.append(Expectation(check_id=f"r{number}", type=between, kwargs=bounds))
    for number in range(10):
        values = {"column": "device", "value_set": ["mobile", "desktop", "tablet", f"other{number}"]}
        checks.append(Expectation(check_id=f"s{number}", type="expect_column_values_to_be_in_set", kwargs=values))
    pair = "expect_column_pair_values_a_to_be_greater_than_b"
    for number in range(5):
        pairs = {"column_A": "converted_at", "column_B": "clicked_at", "or_equal": True}
        pairs["ignore_row_if"] = "either_value_is_missing"
        checks.append(Expectation(check_id=f"o{number}", type=pair, kwargs=pairs))
    assert len(checks) == EXPECTATIONS
    found = run_expectations(folder / "warehouse.duckdb", "raw.clicks", checks, "true")
    assert len(found) == EXPECTATIONS


def spend_csv(folder: Path) -> None:
    """One CSV of campaign days."""
    (folder / "landing").mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as con:
        con.execute(
            f"""
            copy (
              select
                date '2022-01-01' + (id // 8000)::int as date, 'channel_' || (id % 8) as channel,
                'campaign_' || (id % 400) as campaign, 'group_' || (id % 8000) as ad_group,
                round((hash(id + 1) % 100000) / 100.0, 2) as cost, 5000 + hash(id + 2) % 5000 as impressions,
                hash(id + 3) % 300 as clicks
              from range({SPEND_ROWS}) t(id)
            ) to '{folder}/landing/spend.csv' (header)
            """
        )


def bare_csv(folder: Path) -> None:
    with duckdb.connect(str(folder / "bare.duckdb")) as con:
        con.execute(f"set threads = {THREADS}; set memory_limit = '4GB'")
        con.execute(f"create table spend as select * from read_csv('{folder}/landing/spend.csv')")


def our_csv(folder: Path) -> None:
    from models.run import Run
    from models.sources import SourceConfig
    from tasks.sources import load_files

    run = Run(run_id="r1", as_of=AS_OF, seed=1, workspace=folder)
    summary = load_files(run, "ad_spend", SourceConfig(path="landing/spend.csv"))
    assert summary.rows_kept == SPEND_ROWS


STEPS = {step.__name__: step for step in (bare_clicks, our_clicks, expectations, bare_csv, our_csv)}
REPEATS = 3  # of the CSV pair, which takes seconds; the median ratio is told


def ingest(folder: Path) -> list[str]:
    """The table of results."""
    clicks = workspace(folder / "clicks")
    bare = measured("bare_clicks", clicks)
    (clicks / "bare.duckdb").unlink()
    first = measured("our_clicks", clicks)
    checks = measured("expectations", clicks)
    (clicks / "later" / "clicks_20.parquet").rename(clicks / "landing" / "clicks_20.parquet")
    second = measured("our_clicks", clicks)
    same = measured("our_clicks", clicks)
    spend_csv(folder / "csv")
    ratios = []
    for _ in range(REPEATS):
        pair = [measured("bare_csv", folder / "csv"), measured("our_csv", folder / "csv")]
        ratios.append((pair[1]["seconds"] / pair[0]["seconds"], *pair))
        for file in (folder / "csv").glob("*.duckdb*"):
            file.unlink()
    _, bare_csv_cost, our_csv_cost = sorted(ratios, key=lambda entry: entry[0])[REPEATS // 2]
    steps = {file.stem: json.loads(file.read_text()) for file in sorted(clicks.glob("steps-*.json"))}
    rows = CLICK_FILES * CLICKS_PER_FILE

    def line(name: str, cost: dict[str, float], against: float | None, target: str) -> str:
        ratio_text = "" if against is None else f"{cost['seconds'] / against:.2f}"
        return f"| {name} | {cost['seconds']:.1f} | {ratio_text} | {cost['gigabytes']:.2f} | {target} |"

    return [
        (
            f"{rows:,} clicks in {CLICK_FILES} Parquet files, two threads. Bare: the files into a table, the marts' "
            "SELECTs. Ours: ingest, contract checks, keys compared, layers built, checks of the whole. Seconds are of "
            "the work, without the interpreter's start, imports and the orchestrator."
        ),
        "",
        "| what | seconds | ratio | peak GB | target |",
        "|---|---|---|---|---|",
        line("bare", bare, None, ""),
        line("ours, first run", first, bare["seconds"], "at most 2.0 × bare, under 6 GB"),
        line("ours, one new file more", second, first["seconds"], "at most 0.12 × the first"),
        line("ours, nothing new", same, first["seconds"], ""),
        line(f"{EXPECTATIONS} expectations on {rows:,} rows", checks, None, "at most 60 s, under 1 GB"),
        line(f"bare read_csv, {SPEND_ROWS:,} rows", bare_csv_cost, None, ""),
        line("ours, the same CSV", our_csv_cost, bare_csv_cost["seconds"], f"at most 1.5 × (median of {REPEATS})"),
        "",
        *(f"Steps of {name.removeprefix('steps-')}: {told}." for name, told in steps.items()),
    ]


def main() -> None:
    """One step in this process."""
    step, folder = sys.argv[1:]
    if step.startswith("our_"):  # imports are not what is measured
        import great_expectations  # noqa: F401

        import flows.settings  # noqa: F401
        import tasks.quality
        import tasks.sources  # noqa: F401
    before = time.perf_counter()
    STEPS[step](Path(folder))
    seconds = time.perf_counter() - before
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"seconds": round(seconds, 2), "gigabytes": round(gigabytes, 2)}))


if __name__ == "__main__":
    main()
