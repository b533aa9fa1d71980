"""Checks of the warehouse: each planted fault is caught by its check alone, a clean company is left in peace."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from benchmarks.faults import (
    PARAMETERS,
    Tables,
    build,
    check_and_build,
    failed,
    failed_with,
    load,
    make_workspace,
    small_tables,
)
from models.company.faults import FAULTS, Fault, ledger_of
from models.company.history import run_history
from models.company.tables import source_tables
from models.company.world import CompanyConfig, draw_world
from models.errors import ConfigError
from models.quality import QualityConfig, Result
from models.run import Run
from tasks.quality import INPUTS, all_checks, check_quality, checks_page, run_checks

ROOT = Path(__file__).parents[2]
START = date(2026, 1, 5)  # a Monday
DAYS = 84
SEED = 900


def results(run: Run, **thresholds: object) -> dict[str, Result]:
    config = QualityConfig(**thresholds)  # type: ignore[arg-type]
    return {result.check_id: result for result in run_checks(run, config, PARAMETERS)}


def failing(run: Run, **thresholds: object) -> dict[str, Result]:
    return {name: result for name, result in results(run, **thresholds).items() if not result.passed}


def execute(run: Run, statement: str) -> list[tuple]:
    with duckdb.connect(str(run.warehouse)) as con:
        return con.execute(statement).fetchall()


@pytest.fixture(scope="module")
def tables() -> dict[str, pl.DataFrame]:
    return small_tables(SEED)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, tables: Tables) -> Run:
    run = make_workspace(tmp_path_factory.mktemp("company") / "clean", tables)
    check_and_build(run, tables)
    return run


@pytest.fixture
def copy(clean: Run, tmp_path: Path) -> Iterator[Run]:
    yield replace(clean, workspace=shutil.copytree(clean.workspace, tmp_path / "copy"))
    shutil.rmtree(tmp_path / "copy")  # fifty copies at once are too many


def spend(days: int = DAYS) -> pl.DataFrame:
    """Three channels of two lines each, a click for a euro, a view for a cent; amounts that differ every day."""
    rng = np.random.default_rng(5)
    rows = [
        (START + timedelta(days=day), channel, country, cost, round(100 * cost), round(cost), round(cost / 10))
        for day in range(days)
        for channel in ("search", "social", "video")
        for country in ("DE", "FR")
        for cost in [round(float(rng.uniform(400, 600)), 2)]
    ]
    columns = ["date", "channel", "country", "cost", "impressions", "clicks", "conversions"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def kpi(days: int = DAYS) -> pl.DataFrame:
    value = np.round(np.random.default_rng(6).uniform(9_000, 11_000, days), 2)
    return pl.DataFrame({"date": [START + timedelta(days=day) for day in range(days)], "value": value})


def built(folder: Path, tables: Tables, as_of: date | None = None) -> Run:
    """A workspace that skips its contracts, which have tests of their own."""
    run = make_workspace(folder / "workspace", tables, as_of)
    build(run)
    return run


def company(folder: Path, **changed: pl.DataFrame) -> Run:
    return built(folder, {"ad_spend": spend(), "kpi": kpi(), **changed})


def day(number: int) -> pl.Expr:
    return pl.col("date") == START + timedelta(days=number)


def where(frame: pl.DataFrame, condition: pl.Expr, **values: pl.Expr | float) -> pl.DataFrame:
    """The frame with other values in the rows that meet a condition."""
    chosen = {name: pl.when(condition).then(value).otherwise(pl.col(name)) for name, value in values.items()}
    return frame.with_columns(**chosen)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_caught_by_its_check_alone(copy: Run, tables: Tables, fault: Fault) -> None:
    found = failed_with(copy, tables, fault, seed=7)
    assert (fault.check_id, fault.severity) in found
    assert {check_id for check_id, _ in found} == {fault.check_id, *fault.also}


def test_a_clean_company_is_left_in_peace(copy: Run, tables: Tables) -> None:
    assert failed(copy) == set()
    load(copy, {"spend_ledger": ledger_of(tables["ad_spend"])})
    check_and_build(copy, ["spend_ledger"])
    assert failed(copy) == set()
    assert len(results(copy)) == len(all_checks())  # none rests: all of them have looked


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 21))
def test_twenty_clean_companies_raise_no_error_and_at_most_one_warning(tmp_path: Path, seed: int) -> None:
    config = CompanyConfig(seed=seed, shocks=False, dirt=False)
    tables = source_tables(run_history(draw_world(config)))
    run = make_workspace(tmp_path, tables)
    check_and_build(run, tables)
    severities = [severity for _, severity in failed(run)]
    assert "error" not in severities
    assert len(severities) <= 1


def test_the_smallest_company_is_left_in_peace(tmp_path: Path) -> None:
    """One source with the required columns: everything that needs more rests."""
    ads = pl.DataFrame({"date": [START], "channel": ["tv"], "cost": [1.0]})
    run = built(tmp_path, {"ad_spend": ads})
    found = results(run)
    assert all(result.passed for result in found.values())
    assert "rate_anomaly" in found
    assert not {"kpi_outliers", "duplicate_orders", "spend_reconciliation", "clicks_nulls"} & found.keys()


def test_a_company_of_orders_alone_is_checked(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    placed = [START + timedelta(days=int(offset)) for offset in np.sort(rng.integers(0, DAYS, 4000))]
    orders = pl.DataFrame(
        {
            "order_id": [f"o{number}" for number in range(4000)],
            "customer_id": [f"c{number}" for number in rng.integers(0, 900, 4000)],
            "ordered_at": placed,
            "revenue": np.round(rng.gamma(4, 20, 4000), 2),
        }
    )
    run = built(tmp_path, {"orders": orders}, as_of=START + timedelta(days=DAYS - 1))
    assert failing(run) == {}
    assert {"duplicate_orders", "kpi_gaps", "kpi_outliers"} <= results(run).keys()


def test_the_results_are_rows_others_can_read_and_a_second_run_replaces_them(copy: Run) -> None:
    run_checks(copy, QualityConfig(), PARAMETERS)
    once = execute(copy, "from out.data_quality order by all")
    run_checks(copy, QualityConfig(), PARAMETERS)
    assert execute(copy, "from out.data_quality order by all") == once
    mine = "select source, check_id, severity, observed, expected from out.data_quality where check_id = 'unit_change'"
    expected = "what a click, or else a view or a day, costs never jumps by a factor of thirty"
    assert execute(copy, mine) == [("ad_spend", "unit_change", "error", "it holds", expected)]
    assert execute(copy, "select count(*) - count(distinct (run_id, source, check_id)) from out.data_quality") == [(0,)]
    left = "select count(*) from duckdb_tables() where list_contains(?, table_name)"
    with duckdb.connect(str(copy.warehouse)) as con:
        assert con.execute(left, [list(INPUTS)]).fetchall() == [(0,)]


def test_a_failed_error_blocks_with_what_to_do(tmp_path: Path) -> None:
    run = company(
        tmp_path, ad_spend=where(spend(), pl.col("date") > START + timedelta(days=60), cost=pl.col("cost") * 100)
    )
    summary = check_quality.fn(run, QualityConfig(), PARAMETERS)
    assert (summary.failed_errors, summary.failed_warnings) == (1, 0)
    assert len(summary.blocking) == 1
    assert summary.blocking[0].startswith("ad_spend, check unit_change: search: from 2026-03-07 on ")
    assert "add unit_change to `quality.off`" in summary.blocking[0]
    assert check_quality.fn(run, QualityConfig(off=("unit_change",)), PARAMETERS).blocking == ()


def test_a_check_that_does_not_exist_cannot_be_switched_off(copy: Run) -> None:
    with pytest.raises(ConfigError, match="'unit_chang', which is no check; did you mean unit_change"):
        run_checks(copy, QualityConfig(off=("unit_chang",)), PARAMETERS)


@pytest.mark.parametrize(("factor", "caught"), [(0.981, False), (0.979, True), (1.019, False), (1.022, True)])
def test_reconciliation_allows_two_per_cent_of_what_was_booked(tmp_path: Path, factor: float, caught: bool) -> None:
    booked = ledger_of(spend())
    hit = (pl.col("date") == date(2026, 2, 1)) & (pl.col("channel") == "social")
    run = company(tmp_path, spend_ledger=where(booked, hit, cost=pl.col("cost") / factor))
    assert list(failing(run)) == (["spend_reconciliation"] if caught else [])


def test_reconciliation_waits_for_the_month_to_close(tmp_path: Path) -> None:
    """January begins before the history and March ends after it: neither can agree."""
    booked = ledger_of(spend())
    run = company(tmp_path, spend_ledger=where(booked, pl.col("date") != date(2026, 2, 1), cost=pl.col("cost") * 2))
    assert failing(run) == {}


def test_a_fixed_daily_booking_is_no_duplicated_day(tmp_path: Path) -> None:
    """A channel booked at the same amount every day repeats itself, and rightly so."""
    fixed = where(spend(), pl.col("channel") == "video", cost=100.0, impressions=9000, clicks=90, conversions=9)
    assert failing(company(tmp_path, ad_spend=fixed)) == {}


def test_a_small_coincidence_is_no_duplicated_day(tmp_path: Path) -> None:
    """Two days of one line that agree in cost alone may do so by chance."""
    tv = pl.DataFrame({"date": spend()["date"].unique().sort(), "channel": "tv"}).with_columns(
        cost=pl.int_range(pl.len()) * 1.0 + 100
    )
    tv = where(tv, day(41), cost=140.0)
    assert failing(company(tmp_path, ad_spend=pl.concat([spend(), tv], how="diagonal"))) == {}


@pytest.mark.parametrize(("factor", "caught"), [(25, []), (40, ["unit_change"])])
def test_a_factor_of_thirty_is_a_change_of_unit(tmp_path: Path, factor: float, caught: list[str]) -> None:
    """On a day long ago, where the rates of the last weeks are not concerned."""
    hit = day(40) & (pl.col("channel") == "video")
    assert list(failing(company(tmp_path, ad_spend=where(spend(), hit, cost=pl.col("cost") * factor)))) == caught


def test_a_channel_paused_for_five_days_has_no_gap(tmp_path: Path) -> None:
    paused = (pl.col("channel") == "video") & pl.col("date").is_between(START + timedelta(20), START + timedelta(24))
    assert failing(company(tmp_path, ad_spend=spend().filter(~paused))) == {}


def test_days_of_rest_are_no_gaps(tmp_path: Path) -> None:
    at_work = pl.col("date").dt.weekday() != 7
    assert failing(company(tmp_path, kpi=kpi().filter(at_work))) == {}
    assert list(failing(company(tmp_path / "gap", kpi=kpi().filter(at_work, ~day(38))))) == ["kpi_gaps"]


def test_a_dark_day_is_no_tracking_break(tmp_path: Path) -> None:
    dark = where(spend(), day(30), cost=0.0, impressions=0, clicks=0, conversions=0)
    assert failing(company(tmp_path, ad_spend=dark)) == {}


@pytest.mark.parametrize(("days", "caught"), [(2, "tracking_break"), (3, "tracking_lost")])
def test_clicks_gone_for_three_days_are_lost(tmp_path: Path, days: int, caught: str) -> None:
    hit = (pl.col("date") >= START + timedelta(days=DAYS - days)) & (pl.col("channel") == "video")
    found = failing(company(tmp_path, ad_spend=where(spend(), hit, clicks=0)))
    assert {name: result.failing_rows for name, result in found.items()} == {caught: days}


@pytest.mark.parametrize(("days", "caught"), [(30, []), (33, ["future_dates"])])
def test_dates_after_the_load_are_future_where_they_stand_apart(tmp_path: Path, days: int, caught: list[str]) -> None:
    """Of a run whose day is that of the newest row, as when none was asked for; loaded two weeks after the rest."""
    ahead = kpi().tail(1).with_columns(date=pl.lit(START + timedelta(days=DAYS - 1 + days)))
    tables = {"ad_spend": spend(), "kpi": pl.concat([kpi(), ahead])}
    run = built(tmp_path, tables, as_of=ahead["date"][0])
    execute(run, f"update ops.loads set loaded_at = timestamp '{START + timedelta(days=DAYS + 13)}'")
    assert [name for name in failing(run) if name == "future_dates"] == caught


def test_a_rate_pays_for_its_currency(tmp_path: Path) -> None:
    ads = spend().with_columns(currency=pl.when(pl.col("country") == "FR").then(pl.lit("USD")).otherwise(pl.lit("EUR")))
    assert "currency_without_rate" in failing(company(tmp_path, ad_spend=ads))
    rates = pl.DataFrame({"date": [START], "currency": ["USD"], "rate": [0.9]})
    assert failing(company(tmp_path / "rates", ad_spend=ads, rates=rates)) == {}


@pytest.mark.parametrize(
    ("statement", "caught", "rows"),
    [
        ("update mart.spend_weekly set spend = spend + 0.01 where channel = 'video'", "mmm_spend_sums", 12),
        ("delete from mart.spend_weekly where channel = 'video' and week_start = '2026-02-02'", "mmm_weeks", 1),
        ("delete from mart.spend_weekly where channel = 'video'", "mmm_weeks", 12),
        ("insert into mart.spend_weekly from mart.spend_weekly where channel = 'video'", "mmm_weeks", 24),
        ("update mart.spend_weekly set spend = -1 where week_start = '2026-02-02'", "mmm_weeks", 3),
        ("update mart.kpi_weekly set value = 'nan' where week_start = '2026-02-02'", "mmm_weeks", 1),
        ("delete from mart.kpi_weekly where week_start = '2026-02-02'", "mmm_weeks", 1),
        ("insert into mart.kpi_weekly from mart.kpi_weekly where week_start = '2026-02-02'", "mmm_weeks", 2),
    ],
)
def test_the_weeks_of_the_mix_model_add_up(tmp_path: Path, statement: str, caught: str, rows: int) -> None:
    run = company(tmp_path)
    execute(run, statement)
    found = failing(run)
    assert {name: (result.severity, result.failing_rows) for name, result in found.items()} == {caught: ("error", rows)}


def test_the_page_of_checks_is_in_step() -> None:
    stored = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    repair = "from pathlib import Path; from tasks.quality import checks_page"
    assert stored == checks_page(), (
        f"make it again: .venv/bin/python -c '{repair}; Path(\"docs/checks.md\").write_text(checks_page())'"
    )


def test_every_threshold_is_read_by_a_check_and_every_fault_names_a_rule() -> None:
    used = {name for check in all_checks() for name in check.thresholds}
    inputs = {name for name in vars(QualityConfig()) if name != "off"} - used
    assert inputs == set(), f"no check reads {inputs}"
    known = {check.check_id: check.severity for check in all_checks()}
    assert all(known.get(fault.check_id, fault.severity) == fault.severity for fault in FAULTS.values())
    assert {fault.check_id for fault in FAULTS.values()} >= known.keys() - {"mmm_spend_sums", "mmm_weeks"}
