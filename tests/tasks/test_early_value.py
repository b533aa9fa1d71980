"""Train, value, store: what the tasks write keeps its contract, twice the same, and is left out without orders."""

import json
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest

from models.clv import CLVConfig
from models.new_customer_value import NewCustomerConfig
from models.run import Run
from models.value_blend import BlendConfig
from models.value_booster import BoosterConfig
from tasks.contracts import check
from tasks.early_value import train_early_value, value_new_customers, value_new_customers_by_channel
from tasks.warehouse import connect, read_frame
from tests.models.value_shop import AS_OF, shop
from tests.tasks.loading import make_run

LIFETIMES = CLVConfig(horizon_days=150)
CONFIG = BlendConfig(early_days=(0, 30), booster=BoosterConfig(rounds=10))
TABLES = ("value_holdout", "early_value", "value_contribution", "new_customer_value")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A workspace with the marts of a known shop, trained and valued."""
    run = make_run(tmp_path_factory.mktemp("shop"), as_of=AS_OF)
    firsts, days = shop(100, customers=1500)
    money = pl.col("value").alias("revenue"), (pl.col("value") * 0.4).alias("margin")
    net = pl.col("kept_value").alias("net_revenue"), (pl.col("kept_value") * 0.4).alias("net_margin")
    marts = {"customer_early": firsts, "customer_order_days": days.drop("value", "kept_value").with_columns(
        days.select(*money, *net)
    )}  # fmt: skip
    with connect(run.warehouse) as con:
        for name, frame in marts.items():
            con.register("incoming", frame.to_arrow())
            con.execute(f"create table mart.{name} as from incoming")
            con.unregister("incoming")
    values(run)
    return run


def values(run: Run) -> None:
    with pytest.MonkeyPatch.context() as patch:  # a file of the code that is saved meanwhile would rename the fit
        patch.setattr("tasks.early_value.code_sha256", lambda: "code")
        trained = train_early_value.fn(run, CONFIG, LIFETIMES, 30, force=True)
    assert trained.fitted
    assert value_new_customers.fn(run, LIFETIMES) > 0
    assert value_new_customers_by_channel.fn(run, NewCustomerConfig(), LIFETIMES) == ()


def table(run: Run, name: str) -> pl.DataFrame:
    frame = read_frame(run.warehouse, f"out.{name}")
    assert frame is not None
    return frame


@pytest.mark.parametrize("name", TABLES)
def test_what_is_written_keeps_its_contract(run: Run, name: str) -> None:
    summary = check(run, f"out.{name}")
    assert (summary.failed_errors, summary.blocking) == (0, ())


def test_the_same_again_changes_nothing(run: Run) -> None:
    before = {name: table(run, name) for name in (*TABLES, "model_run")}
    values(run)
    for name, frame in before.items():
        again = table(run, name)
        columns = [column for column in frame.columns if column != "fit_seconds"]
        assert frame.select(columns).sort(columns).equals(again.select(columns).sort(columns)), name


def test_the_judgement_is_in_the_registry(run: Run) -> None:
    row = table(run, "model_run").filter(pl.col("model") == "early_value").row(0, named=True)
    metrics = json.loads(row["metrics"])
    assert set(metrics["groups"]) == {"existing", "day_0", "day_30"}
    holdout = table(run, "value_holdout").filter(pl.col("decile") == 0)
    for group, told in metrics["groups"].items():
        of_group = holdout.filter(pl.col("group") == group)
        assert of_group.filter("is_served")["candidate"].to_list() == [told["winner"]]
        for candidate, mae in of_group.select("candidate", "mae").iter_rows():
            assert told["scores"][candidate]["mae"] == mae


def test_recent_customers_are_valued_once_per_day_reached(run: Run) -> None:
    found = table(run, "early_value")
    assert found.select("group", "customer_id").is_unique().all()
    assert found["cutoff_date"].max() <= AS_OF
    assert found.filter(pl.col("group") == "day_0")["cutoff_date"].min() > date(2025, 9, 1)
    told = table(run, "value_contribution")
    assert told.group_by("group", "customer_id").len()["len"].unique().to_list() == [3]


def test_a_recent_fit_stands(run: Run) -> None:
    assert train_early_value.fn(run, CONFIG, LIFETIMES, 30, force=False).reason == "recent"


def test_without_orders_it_is_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    trained = train_early_value.fn(run, CONFIG, LIFETIMES, 30, force=False)
    assert trained.told == "left out, add the source orders"
    assert value_new_customers.fn(run, LIFETIMES) == 0
    (reason,) = value_new_customers_by_channel.fn(run, NewCustomerConfig(), LIFETIMES)
    assert "add the source orders" in reason
    if run.warehouse.exists():
        with duckdb.connect(str(run.warehouse)) as con:
            written = con.execute("select count(*) from information_schema.tables where table_schema = 'out'")
            assert written.fetchall() == [(0,)]
