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
from tasks.registry import ModelRun, register
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
    # that customers are valued says nothing yet: click values hold it where their channel's new customers are known
    customers = score.select("channel", "clv_mean", campaign=pl.lit(None, dtype=pl.String))
    replace_rows(made.warehouse, "out.new_customer_value", customers, made)
    plan(made, BidPlanConfig())
    assert read_frame(made.warehouse, "out_latest.bid_plan").equals(after)
    clicks = read_frame(made.warehouse, "out_latest.click_value").drop("run_id", "as_of")
    fresh = pl.when(pl.col("channel") == "brand_search").then(0.5)
    replace_rows(made.warehouse, "out.click_value", clicks.with_columns(new_customer_share=fresh), made)
    plan(made, BidPlanConfig())
    held = dict(
        read_frame(made.warehouse, "out_latest.bid_plan")
        .group_by("channel")
        .agg(pl.col("target_roas").first())
        .iter_rows()
    )
    assert held == {"brand_search": 1.0} | {name: targets[name] for name in CHANNELS[1:]}


def with_mix(made: Run, roas: float) -> None:
    """A mix model in service that says one ROAS of every channel."""
    entry = ModelRun(
        model_id="m", model="mmm", verdict="PASS", is_champion=True, metrics="{}", data_from=COMPANY.last_day,
        data_to=COMPANY.last_day, fit_seconds=1.0, artefact_path="m",
    )  # fmt: skip
    register(made, entry)
    rows = pl.DataFrame({"model_id": ["m"] * 3, "channel": CHANNELS, "roas_mean": [roas] * 3})
    replace_rows(made.warehouse, "out.mmm_channel", rows, made)


def state_margin(made: Run, fraction: float) -> None:
    """What orders earn of their value."""
    with duckdb.connect(str(made.warehouse)) as con:
        con.execute("update mart.margin_fraction set margin_fraction = ?", [fraction])


def test_what_the_mix_model_counts_decides_what_it_is_compared_with(run: Run, frames, tmp_path: Path) -> None:
    made = built(tmp_path, frames)
    replace_rows(made.warehouse, "out.click_value", read_frame(run.warehouse, "out_latest.click_value").drop(
        "run_id", "as_of"), made)  # fmt: skip
    estimate(made, BidCurveConfig(), JitterConfig())
    keywords = read_frame(made.warehouse, "out_latest.bid_elasticity").filter(
        (pl.col("level") == "keyword") & (pl.col("channel") == "generic_search")
    )
    of_clicks = float(keywords["clicks"] @ keywords["value_per_click"]) / float(keywords["cost"].sum())

    def planned(kpi: str, of_kpi: float = 1.0, own: float | None = None) -> dict:
        plan(made, BidPlanConfig(margin_fraction=own), kpi, of_kpi)
        found = read_frame(made.warehouse, "out_latest.bid_plan").filter(pl.col("channel") == "generic_search")
        assert "suppress" not in found["action"].to_list()
        return found.sort("keyword").row(0, named=True)

    with_mix(made, 0.5 * of_clicks)
    assert planned("revenue")["incrementality"] == pytest.approx(0.5)
    assert planned("revenue", 0.5)["target_roas"] == pytest.approx(2.0)
    assert planned("revenue", 0.5, own=0.8)["target_roas"] == pytest.approx(1.25)  # bids' own fraction goes first
    with_mix(made, 0.01)  # conversions per unit of money: nothing to hold against money
    told = planned("conversions")
    assert told["incrementality"] == 1.0
    assert "not money" in told["reason"]
    # margin is 0.4 of value: half of the value was caused, the last unit must bring 1 / 0.4 of it, whatever plans take
    # to be earned of the KPI
    state_margin(made, 0.4)
    with_mix(made, 0.5 * 0.4 * of_clicks)
    told = planned("margin", 0.5)
    assert told["incrementality"] == pytest.approx(0.5)
    assert told["target_roas"] == pytest.approx(2.5)
    assert planned("margin", own=0.8)["target_roas"] == pytest.approx(1.25)
    state_margin(made, 0.0)
    assert "orders tell no margin above 0" in planned("margin")["reason"]
    # clicks in margin: nothing is taken off them again; the mix model's revenue is compared at the margin of orders
    state_margin(made, 0.4)
    clicks = read_frame(made.warehouse, "out_latest.click_value").drop("run_id", "as_of")
    replace_rows(made.warehouse, "out.click_value", clicks.with_columns(basis=pl.lit("margin")), made)
    with_mix(made, 0.5 * of_clicks)
    told = planned("margin", 0.5)
    assert told["incrementality"] == pytest.approx(0.5)
    assert told["target_roas"] == pytest.approx(1.0)
    told = planned("revenue", 0.5)
    assert told["incrementality"] == pytest.approx(0.2)  # 0.5 * 0.4: of 1 in margin, clicks claim 2.5 in revenue
    assert told["target_roas"] == pytest.approx(1.0)


def test_values_that_platforms_report_are_brought_to_margin_where_clicks_count_it(frames, tmp_path: Path) -> None:
    made = built(tmp_path, frames)
    state_margin(made, 0.4)

    def worth() -> float:
        estimate(made, BidCurveConfig(), JitterConfig())
        found = read_frame(made.warehouse, "out_latest.bid_elasticity")
        return float(found.filter(pl.col("channel") == "generic_search")["value_per_click"][0])

    with duckdb.connect(str(made.warehouse)) as con:
        con.execute("update mart.bid_observations set value = 3 * clicks, conversions = clicks / 10")
    assert worth() == pytest.approx(3.0)
    for basis, value in (("revenue", 3.0), ("margin", 1.2)):
        clicks = pl.DataFrame(
            {"channel": ["brand_search"], "campaign": ["brand_search_de"], "conversion_probability": [0.02],
             "value_per_click": [4.0], "value_per_click_p05": [3.5], "value_per_click_p95": [4.5], "clicks": [100],
             "basis": [basis]}
        )  # fmt: skip
        replace_rows(made.warehouse, "out.click_value", clicks, made)
        assert worth() == pytest.approx(value)


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
