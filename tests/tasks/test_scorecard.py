"""From files to cohorts, curves and the scorecard: contracts kept, sums conserved, twice the same, optional columns."""

import duckdb
import polars as pl
import pytest

from flows.settings import SOURCE_TABLES
from models.clv import CLVConfig
from models.clv_priority import PriorityConfig
from models.cohort_curve import ALL, CohortCurveConfig
from models.cohorts import COHORTS, CohortConfig
from models.company.history import run_history
from models.company.tables import ad_spend, click_table, customer_table, order_table
from models.company.world import CompanyConfig, draw_world
from models.new_customer_value import NewCustomerConfig
from models.run import Run
from models.scorecard import PARTS, ScorecardConfig
from models.sources import SourceConfig
from tasks.contracts import check
from tasks.early_value import value_new_customers_by_channel
from tasks.raw import prepare_raw
from tasks.scorecard import draw_cohort_curves, profile_customers, score_channels
from tasks.sources import load_files
from tasks.valuing import train_clv, value_customers
from tasks.warehouse import build_tables, read_frame, replace_rows

COMPANY = CompanyConfig(seed=130, weeks=60, customers=4_000)
LIFETIMES = CLVConfig()
PARAMETERS = {"timezone": "UTC", "currency": "EUR", "kpi_value": "revenue"}
TABLES = ("channel_scorecard", "cohort_curve", "cohort_profile")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    history = run_history(draw_world(COMPANY))
    orders = order_table(history)
    tables = {
        "orders": orders,
        "customers": customer_table(history),
        "ad_spend": ad_spend(history),
        "clicks": click_table(history, orders),
    }
    run = Run(run_id="r", as_of=COMPANY.last_day, seed=1, workspace=tmp_path_factory.mktemp("company"))
    prepare_raw.fn(run, SOURCE_TABLES, tuple(tables))
    for name, frame in tables.items():
        frame.write_csv(run.workspace / f"{name}.csv", datetime_format="%Y-%m-%d %H:%M:%S")
        load_files(run, name, SourceConfig(path=f"{name}.csv"))
    build_tables(run.warehouse, {"as_of": run.as_of, **PARAMETERS})
    with pytest.MonkeyPatch.context() as patch:  # a file of the code that is saved meanwhile would rename the fit
        patch.setattr("tasks.valuing.code_sha256", lambda: "code")
        train_clv.fn(run, LIFETIMES, 30, True)
        value_customers.fn(run, LIFETIMES)
    value_new_customers_by_channel.fn(run, NewCustomerConfig(), LIFETIMES)
    group(run)
    return run


def group(run: Run) -> tuple[str, ...]:
    lacking = profile_customers.fn(run, CohortConfig(), LIFETIMES)
    draw_cohort_curves.fn(run, CohortCurveConfig(), LIFETIMES)
    score_channels.fn(run, ScorecardConfig(), PriorityConfig(), "revenue")
    return lacking


def table(run: Run, name: str) -> pl.DataFrame:
    frame = read_frame(run.warehouse, name)
    assert frame is not None
    return frame


@pytest.mark.parametrize("name", TABLES)
def test_what_is_written_keeps_its_contract(run: Run, name: str) -> None:
    summary = check(run, f"out.{name}")
    assert (summary.failed_errors, summary.blocking) == (0, ())


def test_every_customer_has_one_cohort(run: Run) -> None:
    values = table(run, "out.customer_value")
    assert set(values["cohort"]) <= set(COHORTS)
    assert values["customer_id"].is_unique().all()
    profile = table(run, "out.cohort_profile")
    counted = dict(profile.filter(kind="cohort").drop_nulls("customers").select("name", "customers").iter_rows())
    seen = dict(values.group_by("cohort").len().iter_rows())
    assert {name: count for name, count in counted.items() if count} == seen
    tiers = profile.filter(kind="tier")
    assert tiers["clv_mean"].is_sorted()
    assert (tiers["clv_p05"] < tiers["clv_mean"]).all() and (tiers["clv_mean"] < tiers["clv_p95"]).all()


def test_the_curves_conserve_revenue_and_begin_at_the_first_order_day(run: Run) -> None:
    cells, orders = table(run, "mart.cohort_orders"), table(run, "staging.orders")
    assert cells["revenue"].sum() == pytest.approx(orders["net_revenue"].sum())
    first = orders.filter(pl.col("order_date") == pl.col("order_date").min().over("customer_id"))
    whole = table(run, "out.cohort_curve").filter(channel=ALL, cohort_month=ALL, month=0).row(0, named=True)
    assert whole["customers"] == orders["customer_id"].n_unique()
    assert whole["value_per_customer"] * whole["customers"] == pytest.approx(first["net_revenue"].sum())


def test_the_scorecard_joins_all_that_is_known(run: Run) -> None:
    card = table(run, "out.channel_scorecard")
    paid = card.filter(pl.col("spend") > 0)
    assert len(paid) == 6 and set(card["channel"]) - set(paid["channel"]) == {"organic"}
    assert paid["cac"].to_list() == pytest.approx((paid["spend"] / paid["new_customers"]).to_list())
    assert paid["retention_months"].unique().to_list() == [12]
    assert paid["conversion_rate"].is_between(0, 0.5).all()
    assert paid["score_efficiency"].null_count() == 6  # there is no mix model
    assert paid["score_points"].unique().to_list() == [90.0]
    assert paid["composite_score"].is_between(0, 100).all()
    known = pl.sum_horizontal(*(pl.col(name) for name in PARTS))
    assert paid["composite_score"].to_list() == pytest.approx(
        paid.select((known / pl.col("score_points") * 100).clip(0, 100)).to_series().to_list()
    )
    spent = table(run, "staging.ad_spend")["cost"].sum()
    assert card["spend"].sum() == pytest.approx(spent)


def test_the_same_again_changes_nothing(run: Run) -> None:
    names = [f"out.{name}" for name in (*TABLES, "customer_value")]
    before = {name: table(run, name) for name in names}
    lacking = group(run)
    for name, frame in before.items():
        again = table(run, name)
        assert frame.sort(frame.columns).equals(again.sort(frame.columns)), name
    assert lacking == ()  # the demo company knows when a trip starts and for how many it is


def test_customers_from_before_the_first_spend_cost_nothing(run: Run) -> None:
    card = table(run, "out.channel_scorecard")
    with duckdb.connect(str(run.warehouse)) as con:
        con.execute("create or replace table raw.kept as from raw.ad_spend")
        half = con.execute("select median(date)::date from raw.ad_spend").fetchall()[0][0]
        con.execute("delete from raw.ad_spend where date < ?", [half])
    try:
        score_channels.fn(run, ScorecardConfig(), PriorityConfig(), "revenue")
        later = table(run, "out.channel_scorecard")
    finally:
        with duckdb.connect(str(run.warehouse)) as con:
            con.execute("create or replace table raw.ad_spend as from raw.kept")
            con.execute("drop table raw.kept")
        score_channels.fn(run, ScorecardConfig(), PriorityConfig(), "revenue")
    both = card.join(later, on="channel", suffix="_later").filter(pl.col("spend") > 0)
    assert (both["new_customers_later"] < 0.8 * both["new_customers"]).all()
    assert (both["cac_later"] / both["cac"]).is_between(0.5, 2.0).all()  # not half, as with everyone ever acquired


def test_the_value_of_new_customers_and_the_mix_model_in_service_are_used(run: Run) -> None:
    channels = table(run, "out.channel_scorecard").filter(pl.col("spend") > 0)["channel"].to_list()
    worth = {"clv_mean": 300.0, "clv_p05": 250.0, "clv_p95": 350.0}
    new = [{"channel": name, "campaign": of, **worth} for name in channels for of in (None, "one")]
    mix = [
        {"model_id": model, "channel": name, "roas_mean": roas, "marginal_roas_mean": roas / 2}
        for model, roas in (("mmm-old", 9.0), ("mmm-1", 3.0))
        for name in channels
    ]
    service = {"model_id": "mmm-1", "model": "mmm", "verdict": "PASS", "is_champion": True, "metrics": "{}"}
    day = {"data_from": run.as_of, "data_to": run.as_of, "fit_seconds": 1.0, "artefact_path": "-"}
    before = table(run, "out.new_customer_value")
    replace_rows(run.warehouse, "out.new_customer_value", pl.DataFrame(new, infer_schema_length=None), run)
    replace_rows(run.warehouse, "out.mmm_channel", pl.DataFrame(mix), run)
    with duckdb.connect(str(run.warehouse)) as con:
        con.register("fit", pl.DataFrame([{"run_id": run.run_id, "as_of": run.as_of, **service, **day}]).to_arrow())
        con.execute("insert into out.model_run by name from fit")
    try:
        score_channels.fn(run, ScorecardConfig(), PriorityConfig(), "revenue")
        paid = table(run, "out.channel_scorecard").filter(pl.col("spend") > 0)
        score_channels.fn(run, ScorecardConfig(), PriorityConfig(), "conversions")
        counted = table(run, "out.channel_scorecard").filter(pl.col("spend") > 0)
    finally:
        replace_rows(run.warehouse, "out.new_customer_value", before.drop("run_id", "as_of"), run)
        with duckdb.connect(str(run.warehouse)) as con:
            con.execute("drop table out.mmm_channel cascade")
            con.execute("delete from out.model_run where model = 'mmm'")
        score_channels.fn(run, ScorecardConfig(), PriorityConfig(), "revenue")
    assert len(paid) == len(channels)  # the campaigns' rows are not counted as channels
    assert paid["clv_basis"].unique().to_list() == ["new customers"]
    assert paid["clv_mean"].unique().to_list() == [300.0]
    assert paid["roas"].unique().to_list() == [3.0]  # not that of the model before
    assert paid["roas_source"].unique().to_list() == ["mix model"]
    assert paid["score_points"].unique().to_list() == [100.0]
    assert paid["score_efficiency"].unique().to_list() == [10.0]
    assert counted["score_efficiency"].null_count() == len(channels)  # conversions per euro are no return
    assert set(counted["roas_source"]) <= {"platform", None}


def test_groups_have_no_interval_where_another_model_values_them(run: Run) -> None:
    profile_of = "from out.cohort_profile where customers > 0 and clv_p05 is not null"
    with duckdb.connect(str(run.warehouse)) as con:
        con.execute("create or replace table out.kept as from out.customer_value")
        con.execute("update out.customer_value set method = 'stack' where rowid = 0")
    try:
        group(run)
        with duckdb.connect(str(run.warehouse)) as con:
            assert con.execute(f"select count(*) {profile_of}").fetchall() == [(0,)]
            assert con.execute("select count(clv_mean) > 0 from out.cohort_profile").fetchall() == [(True,)]
    finally:
        with duckdb.connect(str(run.warehouse)) as con:
            con.execute("delete from out.customer_value; insert into out.customer_value from out.kept")
            con.execute("drop table out.kept")
        group(run)


def test_columns_that_come_later_switch_cohorts_on(run: Run) -> None:
    """The marts read party_size, starts_at and category where raw.orders has them, and do without where it does not."""
    added = {
        "party_size": ("double", "case when hash(customer_id) % 3 = 0 then 4 else 2 end"),
        "starts_at": ("timestamp", "ordered_at + interval 1 day * (1 + hash(order_id) % 9)"),
        "category": ("varchar", "case when hash(customer_id) % 5 = 0 then 'Gift voucher' else 'Museum' end"),
    }
    with duckdb.connect(str(run.warehouse)) as con:
        have = {row[0] for row in con.execute("describe raw.orders").fetchall()}
        for name, (kind, _) in added.items():
            if name not in have:
                con.execute(f"alter table raw.orders add column {name} {kind}")
        con.execute(f"update raw.orders set {', '.join(f'{name} = {value}' for name, (_, value) in added.items())}")
    build_tables(run.warehouse, {"as_of": run.as_of, **PARAMETERS})
    assert group(run) == ()
    profile = table(run, "out.cohort_profile").filter(kind="cohort")
    assert profile["name"].to_list() == list(COHORTS)
    assert (profile["customers"] > 0).all()
    assert profile["switch_on"].null_count() == len(COHORTS)
    # two fifths of starts are within three days of the order; a third of the parties are of four
    assert profile.filter(name="families")["customer_fraction"].item() == pytest.approx(4 / 15, abs=0.03)


def test_a_workspace_without_orders_is_told_what_to_add(tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = Run(run_id="e", as_of=COMPANY.last_day, seed=1, workspace=tmp_path_factory.mktemp("empty"))
    prepare_raw.fn(empty, SOURCE_TABLES, ())
    build_tables(empty.warehouse, {"as_of": empty.as_of, **PARAMETERS})
    assert profile_customers.fn(empty, CohortConfig(), LIFETIMES) == (
        "Customers are not grouped: add the source orders.",
    )
    assert draw_cohort_curves.fn(empty, CohortCurveConfig(), LIFETIMES) == 0
    assert score_channels.fn(empty, ScorecardConfig(), PriorityConfig(), "revenue") == 0
