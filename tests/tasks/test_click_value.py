"""From files of clicks and orders to a registered model and the value of every line, held against the contracts."""

import json
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from flows.settings import SOURCE_TABLES
from models.company.history import run_history
from models.company.tables import CLICK_TO_ORDER_DAYS, click_table, order_table
from models.company.world import CompanyConfig, draw_world
from models.conversion import ConversionConfig
from models.run import Run
from models.sources import SourceConfig
from tasks.click_value import train_conversion, value_clicks
from tasks.contracts import check
from tasks.raw import prepare_raw
from tasks.registry import find
from tasks.sources import load_files
from tasks.trained import standing
from tasks.warehouse import build_tables, replace_rows

COMPANY = CompanyConfig(seed=120, weeks=30, customers=5_000)
CONFIG = ConversionConfig()
PARAMETERS = {"timezone": "UTC", "currency": "EUR", "kpi_value": "revenue"}


def query(run: Run, sql: str) -> list[tuple]:
    with duckdb.connect(str(run.warehouse)) as con:
        return con.execute(sql).fetchall()


def built(workspace: Path, clicks: pl.DataFrame, orders: pl.DataFrame) -> Run:
    run = Run(run_id="r", as_of=COMPANY.last_day, seed=1, workspace=workspace)
    workspace.mkdir(exist_ok=True)
    prepare_raw.fn(run, SOURCE_TABLES, ("clicks", "orders"))
    for name, frame in (("clicks", clicks), ("orders", orders)):
        frame.write_csv(workspace / f"{name}.csv", datetime_format="%Y-%m-%d %H:%M:%S")
        load_files(run, name, SourceConfig(path=f"{name}.csv"))
    build_tables(run.warehouse, {"as_of": run.as_of, **PARAMETERS})
    return run


@pytest.fixture(scope="module")
def company() -> tuple[pl.DataFrame, pl.DataFrame]:
    history = run_history(draw_world(COMPANY))
    orders = order_table(history)
    return click_table(history, orders), orders


@pytest.fixture(scope="module")
def run(company: tuple[pl.DataFrame, pl.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = built(tmp_path_factory.mktemp("clicks"), *company)
    train_conversion.fn(made, CONFIG, 7, False)
    value_clicks.fn(made, CONFIG, "revenue")
    return made


def test_every_click_and_conversion_is_in_a_cell(run: Run, company: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    clicks, _ = company
    cells = query(run, "select sum(clicks_count), sum(conversions_count) from mart.click_cells")
    assert cells == [(len(clicks), clicks["converted_at"].count())]
    assert query(run, "select sum(conversions_count) from mart.click_delays") == [(clicks["converted_at"].count(),)]


def test_a_fit_is_registered_with_its_scores(run: Run) -> None:
    champion = find(run.warehouse, model="conversion")
    assert champion is not None
    metrics = json.loads(champion.metrics)
    assert metrics["held_out"][metrics["served"]]["ece"] < 0.01
    assert {"logistic", "xgboost", "constant"} == set(metrics["held_out"])
    assert metrics["delay"]["mean_days"] == pytest.approx(CLICK_TO_ORDER_DAYS, abs=0.25)
    recent = metrics["recent"]
    assert 1.05 < recent["rate_corrected"] / recent["rate_uncorrected"] < 1.35  # of 14 days the last two are open
    assert (run.workspace / champion.artefact_path).is_file()


def test_results_keep_their_contracts(run: Run) -> None:
    for table in ("click_value", "keyword_value", "feature_contribution", "model_run"):
        summary = check(run, f"out.{table}")
        assert (summary.failed_errors, summary.failed_warnings, summary.blocking) == (0, 0, ()), table


def test_a_click_is_worth_its_share_of_what_came(run: Run) -> None:
    """Company sums: probability times clicks meets conversions with the late ones, times value meets their worth."""
    found = query(
        run,
        "select sum(conversion_probability * clicks), sum(value_per_click * clicks), sum(conversions), sum(clicks) "
        "from out_latest.click_value",
    )
    due, worth, came, clicks = found[0]
    assert came < due < 1.25 * came
    assert 120 < worth / due < 240  # orders are of about 180, 2 % of them given back
    recent = run.as_of - timedelta(days=CONFIG.value_days)
    assert query(run, f"select count(*) from raw.clicks where clicked_at::date > '{recent}'")[0][0] == clicks
    assert query(run, "select count(*) from out_latest.click_value")[0][0] == 24
    keywords = query(run, "select count(distinct (channel, campaign, keyword)), count(*) from out_latest.keyword_value")
    assert keywords == [(128, 128)]


def test_new_customers_count_with_their_lifetime_value_where_it_is_known(
    run: Run, company: tuple[pl.DataFrame, pl.DataFrame], tmp_path: Path
) -> None:
    other = built(tmp_path, *company)
    train_conversion.fn(other, CONFIG, 7, False)
    value = pl.DataFrame(
        {"channel": ["video"], "campaign": [None], "clv_mean": [1000.0], "clv_p05": [900.0], "clv_p95": [1100.0]},
        schema_overrides={"campaign": pl.String},
    )
    replace_rows(other.warehouse, "out.new_customer_value", value, other)
    value_clicks.fn(other, CONFIG, "revenue")
    worth = "select channel, avg(value_per_conversion), avg(new_customer_share) from out_latest.click_value group by 1"
    with_clv, without = ({row[0]: row[1:] for row in query(made, worth)} for made in (other, run))
    share = with_clv["video"][1]
    assert 0.9 < share <= 1.0  # repeat orders are claimed by search and retargeting alone
    assert with_clv["video"][0] == pytest.approx(share * 1000 + (1 - share) * without["video"][0], rel=0.01)
    assert with_clv["brand_search"] == without["brand_search"]
    assert with_clv["brand_search"][1] < 0.95


def test_a_fit_stands_until_enough_days_have_come_while_values_go_on(run: Run) -> None:
    kept = train_conversion.fn(replace(run, run_id="later"), CONFIG, 7, False)
    assert (kept.fitted, kept.reason) == (False, "recent")
    before = query(run, "from out.click_value order by all")
    value_clicks.fn(run, CONFIG, "revenue")
    assert query(run, "from out.click_value order by all") == before


def test_a_champion_of_other_settings_or_of_later_days_does_not_stand(run: Run) -> None:
    champion = find(run.warehouse, model="conversion")
    assert champion is not None
    assert json.loads(champion.metrics)["settings"]["config"]["clicks_min"] == CONFIG.clicks_min
    settings = {"config": asdict(CONFIG)}
    held = [
        standing(replace(run, run_id="later"), "conversion", day, 7, False, settings)
        for day in (
            run.as_of,
            run.as_of + timedelta(days=6),
            run.as_of + timedelta(days=7),
            run.as_of - timedelta(days=1),
        )
    ]
    assert [one is not None for one in held] == [True, True, False, False]  # yesterday's run must not know of today
    other = {"config": asdict(replace(CONFIG, clicks_min=CONFIG.clicks_min + 1))}
    assert standing(replace(run, run_id="later"), "conversion", run.as_of, 7, False, other) is None


def test_values_are_in_margin_where_customers_are(run: Run) -> None:
    """Margin over revenue of all lines together is that of the orders their clicks led to, but for the pooling."""
    both = {}
    try:
        for basis in ("revenue", "margin"):
            value_clicks.fn(run, CONFIG, basis)  # type: ignore[arg-type]
            for table in ("click_value", "keyword_value"):
                assert query(run, f"select distinct basis from out.{table}") == [(basis,)]
            both[basis] = query(run, "select sum(value_per_click * clicks) from out.click_value")[0][0]
            assert check(run, "out.click_value").failed_errors == check(run, "out.keyword_value").failed_errors == 0
    finally:
        value_clicks.fn(run, CONFIG, "revenue")
    earned = query(run, "select sum(margin_sum) / sum(value_sum) from mart.click_order_value")[0][0]
    assert earned < 0.9  # the demo company's orders state what they earn
    assert both["margin"] / both["revenue"] == pytest.approx(earned, rel=0.03)


def test_the_same_clicks_in_any_order_give_the_same_bits(
    run: Run, company: tuple[pl.DataFrame, pl.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.click_value.code_sha256", lambda: "code")  # files may be edited while tests run
    clicks, orders = company
    mixed = built(tmp_path, clicks.sample(fraction=1.0, shuffle=True, seed=3), orders.reverse())
    found = []
    for made in (run, mixed):
        model_id = train_conversion.fn(made, CONFIG, 7, True).model_id
        value_clicks.fn(made, CONFIG, "revenue")
        found.append((model_id, query(made, "from out.click_value order by all")))
    assert found[0] == found[1]


def test_without_clicks_the_source_is_named(tmp_path: Path) -> None:
    run = Run(run_id="r", as_of=COMPANY.last_day, seed=1, workspace=tmp_path)
    prepare_raw.fn(run, SOURCE_TABLES, ())
    build_tables(run.warehouse, {"as_of": run.as_of, **PARAMETERS})
    trained = train_conversion.fn(run, CONFIG, 7, False)
    assert (trained.model_id, trained.reason) == (None, "add the source clicks")
    assert value_clicks.fn(run, CONFIG, "revenue") == 0


@pytest.mark.parametrize("kept", ["none converted", "all converted", "one click"])
def test_bad_input_is_reviewed_and_valued(
    company: tuple[pl.DataFrame, pl.DataFrame], tmp_path: Path, kept: str
) -> None:
    clicks, orders = company
    conversion = ["converted_at", "order_id", "value"]
    frames = {
        "none converted": clicks.head(2_000).with_columns(pl.lit(None).alias(name) for name in conversion),
        "all converted": clicks.drop_nulls("converted_at"),
        "one click": clicks.tail(1),
    }
    run = built(tmp_path, frames[kept], orders)
    trained = train_conversion.fn(run, CONFIG, 7, False)
    assert (trained.verdict, trained.fitted) == ("REVIEW", True)
    assert trained.reason
    assert value_clicks.fn(run, CONFIG, "revenue") >= 1
    assert check(run, "out.click_value").failed_errors == 0
