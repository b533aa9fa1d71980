"""The daily flow, whole, on a small company."""

import json
import shutil
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client

from flows.daily import STAGES, daily, standing
from models.allocation import AllocationConfig
from models.errors import ConfigError, DataError
from tasks.plan_asking import Modes, explain_plan, plan_on_workspace
from tasks.planning import Units
from tests.flows.workspaces import (
    change_settings,
    keep_sources,
    out_tables,
    plain_workspace,
    query,
    small_company,
    spend_csv,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = small_company(tmp_path_factory.mktemp("company"), weeks=104, customers=40_000)
    daily(str(folder))
    return folder


def test_every_stage_is_done_and_every_table_is_there(company: Path) -> None:
    summary = standing(str(company))
    assert summary is not None
    assert set(summary["stages"]) == set(STAGES)
    flows = dict(query(company, "select flow, status from out.run_log"))
    assert flows == dict.fromkeys(("daily", *STAGES), "done")
    expected = (
        "run_log data_quality quarantine lineage customer_value channel_scorecard mmm_channel response_curve "
        "plan_summary budget_plan forecast backtest trigger model_run"
    )
    assert set(expected.split()) <= set(out_tables(company))
    page = (company / summary["report"]).read_text()
    assert "Marginal Tours" in page
    assert summary["plan_id"] in page


def test_plan_is_certified_and_sums_to_its_budget(company: Path) -> None:
    gap, budget, bound, value, in_force = query(
        company,
        "select gap_fraction, budget, upper_bound, value_mean, in_force from out.plan_summary where scenario = 'base'",
    )[0]
    assert in_force
    assert 0 <= gap <= 0.001
    assert bound >= value
    spent = query(company, "select round(sum(planned_spend), 2) from out.budget_plan where scenario = 'base'")[0][0]
    assert spent == pytest.approx(budget, abs=0.005)


def asked(company: Path, modes: Modes, **wishes: object) -> dict:
    units = Units(kpi="revenue", customer_value="revenue")
    return plan_on_workspace(company, AllocationConfig(), "EUR", wishes, None, False, modes, units=units)


def test_a_flight_at_an_even_pace_is_worth_what_the_plan_is_worth_each_week(company: Path) -> None:
    """But for what earlier weeks still bring, at most a week's worth or so."""
    weeks = 12
    found = asked(company, Modes(flight_weeks=weeks), max_change_fraction=None)
    flights = found["flights"]
    by_kind = {row["kind"]: row["value"] for row in flights["table"]}
    assert 1.0 <= by_kind["always-on"] / (weeks * found["summary"]["value_mean"]) <= 1.0 + 2.0 / weeks
    assert max(by_kind.values()) == by_kind["optimised"] <= flights["upper_bound"]
    assert flights["carried"] > 0
    spent = weeks * found["summary"]["planned_spend"]
    for row in flights["table"]:
        assert row["spend"] <= spent + 1.0
        assert row["roas"] == pytest.approx((row["value"] - flights["carried"]) / row["spend"])


def test_a_flight_of_unknown_budget_flies_what_would_pay(company: Path) -> None:
    found = asked(company, Modes(unknown_budget=True, min_marginal_roas=2.0, flight_weeks=6))
    spent = sum(sum(weekly) for weekly in found["flights"]["spend"].values())
    assert spent == pytest.approx(6 * found["summary"]["planned_spend"], rel=1e-3)
    with pytest.raises(ConfigError, match="floors"):
        asked(company, Modes(flight_weeks=6), floors={"search": 1.0})


def test_money_is_spent_while_it_pays_and_no_longer(company: Path) -> None:
    found = asked(company, Modes(unknown_budget=True, min_marginal_roas=2.0))
    between = [row for row in found["lines"] if 0 < row["planned_spend"] < row["upper"]]
    assert between
    for row in between:
        assert row["marginal_value"] <= 2.0 + 1e-6  # the next unit would return less
    more = asked(company, Modes(unknown_budget=True, min_marginal_roas=1.0))
    assert more["summary"]["planned_spend"] > found["summary"]["planned_spend"]


@pytest.mark.parametrize("objective", ["conversions", "clv"])
def test_an_objective_is_filled_in_from_what_customers_are_worth(company: Path, objective: str) -> None:
    found = asked(company, Modes(), objective=objective)
    assert found["summary"]["objective"] == objective
    assert 0 < found["summary"]["value_mean"] <= found["summary"]["upper_bound"]
    # each line's value over what a unit of its KPI counts for is its KPI again, and all of it the plan's ROAS
    unit = "1 / first_order_value" if objective == "conversions" else "clv_mean / first_order_value"
    rows = query(company, f"select channel, {unit} from out_latest.new_customer_value where campaign is null")
    counts = {channel: unit for channel, unit in rows if unit}
    kpi = sum(row["value_mean"] / counts[row["line"]] for row in found["lines"])
    assert kpi == pytest.approx(found["summary"]["roas_mean"] * found["summary"]["planned_spend"])


def test_a_plan_is_explained_line_by_line(company: Path) -> None:
    plan_id = query(company, "select plan_id from out.plan_summary where scenario = 'base'")[0][0]
    found = explain_plan(company, plan_id, "EUR")
    assert found["before"] is None
    assert all(line["reason"] for line in found["lines"])
    with pytest.raises(ConfigError, match="No plan pnone is stored here"):
        explain_plan(company, "pnone", "EUR")


def test_planted_shocks_fire_and_start_one_child_flow_run(company: Path) -> None:
    shocks = json.loads((company / "truth.json").read_text())["planted"]
    fired = query(company, "select name, subject, flow_run_id from out.trigger where fired")
    assert {(name, subject) for name, subject, _ in fired} == {(shock["trigger"], shock["subject"]) for shock in shocks}
    (run_id,) = {run_id for *_, run_id in fired}
    with get_client(sync_client=True) as client:
        child = client.read_flow_run(run_id)
        assert client.read_flow(child.flow_id).name == "reallocate"
        assert child.parent_task_run_id is not None


def test_the_day_without_conversions_is_a_warning(company: Path) -> None:
    """Clicks went on, conversions did not: the plan may go on, someone should look at the tracking."""
    found = query(
        company, "select check_id, failing_rows from out.data_quality where severity = 'warning' and not passed"
    )
    assert found == [("conversions_break", 1)]


def test_alert_is_told_once(company: Path) -> None:
    receipts = list((company / "artifacts" / "alerts").glob("*.json"))
    assert len(receipts) == 1
    assert "city_pass" in receipts[0].read_text()


def test_same_inputs_give_the_same_tables(company: Path) -> None:
    before = out_tables(company)
    daily(str(company))
    assert out_tables(company) == before


def test_a_forced_retraining_gives_the_same_models(company: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(company, tmp_path / "copy", ignore=shutil.ignore_patterns(".marginal.lock"))
    before = query(copy, "select channel, roas_mean, roas_p05 from out_latest.mmm_channel order by 1")
    daily(str(copy), force_retrain=True)
    assert query(copy, "select channel, roas_mean, roas_p05 from out_latest.mmm_channel order by 1") == before
    champions = query(copy, "select model, count(*) from out.model_run where is_champion group by all order by 1")
    assert champions == [("clv", 1), ("conversion", 1), ("early_value", 1), ("mmm", 1)]


def test_spend_and_kpi_alone_give_a_plan_and_a_forecast(tmp_path: Path) -> None:
    folder = small_company(tmp_path / "lean", weeks=40, customers=4000)
    keep_sources(folder, "ad_spend", "kpi")
    stages = daily(str(folder))["stages"]
    assert "clv: left out, add the source orders" in stages["retrain"]["reason"]
    assert {name: stage["status"] for name, stage in stages.items()} == dict.fromkeys(STAGES, "done") | {
        "alert": stages["alert"]["status"]
    }


def test_orders_alone_give_customer_value_as_published(tmp_path: Path) -> None:
    """CDNOW: Fader, Hardie & Lee (2005), table 2; Fader & Hardie (2013) for Gamma-Gamma."""
    folder = shutil.copytree(ROOT / "examples" / "cdnow", tmp_path / "cdnow")
    stages = daily(str(folder))["stages"]
    metrics = json.loads(str(query(folder, "select metrics from out.model_run where model = 'clv'")[0][0]))
    published = {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}
    assert {name: round(metrics["bg_nbd"][name], 3) for name in published} == published
    assert metrics["bg_nbd"]["log_likelihood"] == pytest.approx(-9582.4, abs=0.05)
    assert {name: round(metrics["gamma_gamma"][name], 2) for name in "pqv"} == {"p": 6.25, "q": 3.74, "v": 15.44}
    assert stages["plan"]["status"] == "skipped"
    assert "ad_spend" in stages["plan"]["reason"]


@pytest.mark.parametrize(
    ("spend", "expected"),
    [
        ("day,channel,cost\n2025-01-06,search,1\n", "date"),
        ("", "empty"),
        (spend_csv().replace(",1", ",one"), "cost"),
        ("date,channel,cost\n", "no rows"),
    ],
    ids=["missing column", "empty file", "wrong type", "header only"],
)
def test_data_that_cannot_be_used_is_refused_in_words(tmp_path: Path, spend: str, expected: str) -> None:
    folder = plain_workspace(tmp_path / "bad", spend=spend)
    with pytest.raises(DataError, match=expected) as refused:
        daily(str(folder))
    assert len(str(refused.value).splitlines()) <= 5


def test_a_source_outside_the_workspace_is_refused(tmp_path: Path) -> None:
    folder = plain_workspace(tmp_path / "inside")
    (tmp_path / "spend.csv").write_text(spend_csv())
    change_settings(folder, sources={"ad_spend": "../spend.csv", "kpi": "landing/kpi.csv"})
    with pytest.raises(ConfigError, match="allow_outside"):
        daily(str(folder))


def test_a_stage_before_anything_is_loaded_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="marginal run"):
        daily(str(plain_workspace(tmp_path / "new")), only=("monitor",))


def test_an_unknown_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected one of ingest"):
        daily(str(plain_workspace(tmp_path / "plain")), only=("forcast",))


EXAMPLES = sorted(
    path.parent.name for path in (ROOT / "examples").glob("*/marginal.yaml") if path.parent.name != "cdnow"
)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs_on_the_real_file(name: str, tmp_path: Path, shared_data: Path) -> None:
    text = (ROOT / "examples" / name / "marginal.yaml").read_text()
    folder = tmp_path / name
    folder.mkdir()
    (folder / "marginal.yaml").write_text(text.replace("../../../shared/data", shared_data.as_posix()))
    summary = daily(str(folder))
    assert summary["stages"]["report"]["status"] == "done"
    assert summary["plan_id"] is not None
    if name == "dtmart":  # twelve months of media: weekly effects are not identified
        assert query(folder, "select verdict from out.model_run where model = 'mmm'") != [("PASS",)]
