"""From a file of bids to elasticities, experiments and planned bids, held against the contracts."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import duckdb
import polars as pl
import pytest

from flows.settings import SOURCE_TABLES
from models.bid_curves import BidCurveConfig
from models.bid_jitter import JitterConfig
from models.bid_plan import BidPlanConfig
from models.company.history import run_history
from models.company.tables import ad_spend, bid_table
from models.company.world import CompanyConfig, draw_world
from models.run import Run
from models.sources import SourceConfig
from tasks.bidding import estimate, plan
from tasks.contracts import check
from tasks.raw import prepare_raw
from tasks.sources import load_files
from tasks.warehouse import build_tables, read_frame, replace_rows

COMPANY = CompanyConfig(seed=140, weeks=30, customers=3_000, dirt=False)
PARAMETERS = {"timezone": "UTC", "currency": "EUR", "kpi_value": "revenue"}
CHANNELS = ["brand_search", "display_retargeting", "generic_search"]


def built(workspace: Path, frames: dict[str, pl.DataFrame]) -> Run:
    run = Run(run_id="r", as_of=COMPANY.last_day, seed=1, workspace=workspace)
    workspace.mkdir(exist_ok=True)
    prepare_raw.fn(run, SOURCE_TABLES, tuple(frames))
    for name, frame in frames.items():
        frame.write_csv(workspace / f"{name}.csv")
        load_files(run, name, SourceConfig(path=f"{name}.csv"))
    build_tables(run.warehouse, {"as_of": run.as_of, **PARAMETERS})
    return run


@pytest.fixture(scope="module")
def frames() -> dict[str, pl.DataFrame]:
    world = draw_world(COMPANY)
    return {"bids": bid_table(SimpleNamespace(world=world)), "ad_spend": ad_spend(run_history(world))}


@pytest.fixture(scope="module")
def run(frames: dict[str, pl.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = built(tmp_path_factory.mktemp("bids"), frames)
    value = pl.DataFrame(
        {
            "channel": CHANNELS, "campaign": [f"{name}_de" for name in CHANNELS], "conversion_probability": [0.02] * 3,
            "value_per_click": [4.0, 0.6, 3.0], "value_per_click_p05": [3.5, 0.5, 2.5],
            "value_per_click_p95": [4.5, 0.7, 3.5], "clicks": [100, 100, 100],
        }
    )  # fmt: skip
    replace_rows(made.warehouse, "out.click_value", value, made)
    budget = {"plan_id": "p", "scenario": "base"}
    summary = pl.DataFrame([{**budget, "in_force": True}])
    lines = pl.DataFrame(
        [{**budget, "line": "generic_search", "period_start": None, "spend": 100.0, "planned_spend": 90.0}]
    )
    replace_rows(made.warehouse, "out.plan_summary", summary, made)
    replace_rows(made.warehouse, "out.budget_plan", lines.cast({"period_start": pl.Date}), made)
    estimate(made, BidCurveConfig(), JitterConfig())
    plan(made, BidPlanConfig())
    return made


def test_results_keep_their_contracts(run: Run) -> None:
    for table in ("bid_elasticity", "bid_curve", "bid_plan", "bid_experiment"):
        summary = check(run, f"out.{table}")
        assert (summary.failed_errors, summary.failed_warnings, summary.blocking) == (0, 0, ()), table


def test_every_keyword_campaign_and_channel_has_its_row(run: Run) -> None:
    with duckdb.connect(str(run.warehouse)) as con:
        levels = dict(con.execute("select level, count(*) from out_latest.bid_elasticity group by 1").fetchall())
        assert levels == {"keyword": 48, "campaign": 12, "channel": 3}
        assert con.execute("select count(*), count(reason) from out_latest.bid_plan").fetchall() == [(48, 48)]
        flat = con.execute(
            "select channel from out_latest.bid_elasticity where level = 'channel' and is_flat"
        ).fetchall()
        assert flat == [("display_retargeting",)]
        assert con.execute("select count(*) from out_latest.bid_curve").fetchall() == [(60 * 9,)]


def test_bids_keep_to_the_plan_in_force_and_to_their_caps(run: Run) -> None:
    bids = read_frame(run.warehouse, "out_latest.bid_plan")
    assert bids is not None
    generic = bids.filter(pl.col("channel") == "generic_search")
    assert generic["planned_cost"].sum() <= 0.9 * generic["cost"].sum() * (1 + 1e-6)
    kept = bids.filter(pl.col("action") != "suppress")
    assert (kept["planned_bid"] / kept["bid"]).is_between(0.8 - 1e-9, 1.2 + 1e-9).all()
    assert (bids["incrementality"] == 1.0).all()  # no mix model in this workspace, and it says so
    assert bids.filter(pl.col("action") == "lower")["reason"].str.contains("no mix model").all()


def test_lifetime_value_counts_where_values_do_not_hold_it(run: Run, frames, tmp_path: Path) -> None:
    made = built(tmp_path, frames)
    replace_rows(made.warehouse, "out.click_value", read_frame(run.warehouse, "out_latest.click_value").drop(
        "run_id", "as_of"), made)  # fmt: skip
    estimate(made, BidCurveConfig(), JitterConfig())
    plan(made, BidPlanConfig())
    before = read_frame(made.warehouse, "out_latest.bid_plan")
    score = pl.DataFrame({"channel": CHANNELS, "clv_mean": [50.0, 100.0, 200.0], "new_customers": [10, 10, 10]})
    replace_rows(made.warehouse, "out.channel_scorecard", score, made)
    plan(made, BidPlanConfig())
    after = read_frame(made.warehouse, "out_latest.bid_plan")
    targets = dict(after.group_by("channel").agg(pl.col("target_roas").first()).iter_rows())
    # mean 116.67: 0.43 is held at 0.5, 200 counts 1.71
    assert targets["brand_search"] == pytest.approx(2.0)
    assert targets["generic_search"] == pytest.approx(350 / 3 / 200)
    assert set(before["target_roas"]) == {1.0}
    replace_rows(made.warehouse, "out.new_customer_value", score.select("channel", "clv_mean"), made)
    plan(made, BidPlanConfig())
    assert read_frame(made.warehouse, "out_latest.bid_plan").equals(before)


def test_the_same_bids_in_any_order_give_the_same_bits(run: Run, frames, tmp_path: Path) -> None:
    mixed = {name: frame.sample(fraction=1.0, shuffle=True, seed=3) for name, frame in frames.items()}
    made = built(tmp_path, mixed)
    replace_rows(made.warehouse, "out.click_value", read_frame(run.warehouse, "out_latest.click_value").drop(
        "run_id", "as_of"), made)  # fmt: skip
    estimate(made, BidCurveConfig(), JitterConfig())
    assert read_frame(made.warehouse, "out.bid_elasticity").equals(read_frame(run.warehouse, "out.bid_elasticity"))


def test_no_bids_or_useless_ones_are_no_trouble(frames, tmp_path: Path) -> None:
    without = built(tmp_path / "none", {"ad_spend": frames["ad_spend"]})
    assert estimate(without, BidCurveConfig(), JitterConfig()) == 0
    assert plan(without, BidPlanConfig()) == 0
    still = frames["bids"].filter(pl.col("keyword") == "brand_search_kw_1").with_columns(bid=pl.lit(1.0))
    made = built(tmp_path / "still", {"ad_spend": frames["ad_spend"], "bids": still})
    assert estimate(made, BidCurveConfig(), JitterConfig()) == 3
    assert plan(made, BidPlanConfig()) == 1
    for table in ("bid_elasticity", "bid_curve", "bid_plan", "bid_experiment"):
        summary = check(replace(made, run_id="r"), f"out.{table}")
        assert (summary.failed_errors, summary.blocking) == (0, ()), table
    row = read_frame(made.warehouse, "out.bid_plan").row(0, named=True)
    assert row["action"] == "hold"
    assert row["reason"].startswith("Held: the value of a click is not known")
