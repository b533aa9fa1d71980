"""Orders to values in a workspace: a row for every customer, bad orders survived, nothing changed by a second run."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flows.settings import SOURCE_TABLES
from models import clv
from models.run import Run
from models.value_blend import BlendConfig
from tasks import early_value as early_value_task
from tasks import valuing
from tasks.contracts import check
from tasks.early_value import serve_values, train_early_value
from tasks.raw import prepare_raw
from tasks.registry import frame_sha256
from tasks.valuing import train, value
from tasks.warehouse import build_tables
from tests.tasks.loading import load, make_run, rows, write

CONFIG = clv.CLVConfig()
PARAMETERS = {"as_of": date(2026, 1, 31), "timezone": "UTC", "currency": "EUR", "kpi_value": "revenue"}
HEADER = "order_id,customer_id,ordered_at,revenue,margin,currency,channel,refunded_at,refunded\n"


def order_lines(customers: int = 400, seed: int = 1) -> list[str]:
    """One to five orders of each customer over 2025, of two channels."""
    rng = np.random.default_rng(seed)
    lines = []
    for customer in range(customers):
        days = np.sort(rng.choice(360, min(rng.geometric(0.4), 5), replace=False))
        for number, day in enumerate(days):
            paid = round(float(rng.gamma(4.0, 12.0)), 2)
            when = date.fromordinal(date(2025, 1, 5).toordinal() + int(day))
            channel = ("search", "social")[customer % 2]
            lines.append(f"o{customer}-{number},u{customer:04d},{when} 12:00:00,{paid},,EUR,{channel},,")
    return lines


def built(workspace: Path, lines: list[str]) -> Run:
    run = make_run(workspace)
    write(run, "orders.csv", HEADER + "\n".join(lines) + "\n")
    prepare_raw.fn(run, SOURCE_TABLES, ("orders",))
    load(run, "landing/orders.csv", "orders")
    check(run, "orders")
    build_tables(run.warehouse, PARAMETERS)
    return run


def values_of(run: Run) -> list[tuple]:
    return rows(run, "select * from out_latest.customer_value order by customer_id")


def test_every_customer_gets_one_row_and_a_second_run_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(valuing, "BATCH_ROWS", 150)
    run = built(tmp_path, order_lines())
    trained = train(run, CONFIG, 7, False)
    assert trained.fitted
    assert value(run, CONFIG) == 400
    first = values_of(run)
    assert len({row[2] for row in first}) == len(first) == 400
    rfm = rows(run, "select customer_id, frequency, age_days from mart.customer_rfm order by customer_id")
    assert [(row[2], row[3], row[5]) for row in first] == rfm  # names stand beside their own numbers
    channels = rows(
        run, "select channel, customers, clv_p05 <= clv_mean and clv_mean <= clv_p95 from out.channel_value"
    )
    assert sorted(channels) == [("search", 200, True), ("social", 200, True)]
    assert train(run, CONFIG, 7, False).reason == "recent"
    assert train(run, CONFIG, 7, True).model_id == trained.model_id
    value(run, CONFIG)
    assert values_of(run) == first
    for table in ("customer_value", "channel_value"):
        assert not check(run, f"out.{table}").blocking


def test_without_orders_the_source_is_named(tmp_path):
    run = make_run(tmp_path)
    assert "orders" in train(run, CONFIG, 7, False).reason
    assert value(run, CONFIG) == 0


BAD = {
    "negative revenue": ["n1,u9001,2025-06-01 12:00:00,-50,,EUR,search,,"],
    "zero revenue": ["z1,u9002,2025-06-01 12:00:00,0,,EUR,search,,", "z2,u9002,2025-07-01 12:00:00,0,,EUR,search,,"],
    "a date in the future": ["f1,u9003,2027-06-01 12:00:00,50,,EUR,search,,"],
    "a currency without a rate": ["c1,u9004,2025-06-01 12:00:00,50,,XXX,search,,"],
    "refunded whole": ["r1,u9005,2025-06-01 12:00:00,50,,EUR,search,2025-06-03 12:00:00,"],
    "a thousand orders on one day": [f"m{n},u9006,2025-06-01 12:00:00,5,,EUR,search,," for n in range(1000)],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_orders_are_survived(tmp_path, name):
    run = built(tmp_path, [*order_lines(), *BAD[name]])
    assert train(run, CONFIG, 7, False).fitted
    assert value(run, CONFIG) in (400, 401)
    lowest, finite = rows(
        run, "select min(least(clv_mean, clv_p05)), bool_and(isfinite(clv_p95)) from out_latest.customer_value"
    )[0]
    assert lowest >= 0
    assert finite


@pytest.mark.parametrize(
    "lines",
    [
        ["a,u1,2026-01-05 12:00:00,50,,EUR,search,,"],
        [f"a{n},u{n},2026-01-31 12:00:00,50,,EUR,search,," for n in range(60)],
        [f"a{n},u{n},2025-06-01 12:00:00,50,,EUR,search,," for n in range(60)],
    ],
    ids=["one customer", "all today", "all on one day"],
)
def test_too_little_to_fit_is_a_review_with_a_reason(tmp_path, lines):
    run = built(tmp_path, lines)
    trained = train(run, CONFIG, 7, False)
    assert trained.verdict == "REVIEW"
    assert "customers ordered again" in trained.reason
    assert value(run, CONFIG) == len(lines)
    metrics = json.loads(rows(run, "select metrics from out.model_run where model = 'clv'")[0][0])
    assert metrics["reasons"]


def test_hash_tells_values_names_and_types_apart():
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
    same = pl.concat([frame.head(1), frame.tail(1)], rechunk=False)
    assert frame_sha256(frame) == frame_sha256(same)
    others = (
        frame.with_columns(a=pl.Series([1, 3])),
        frame.rename({"a": "c"}),
        frame.with_columns(pl.col("a").cast(pl.Int32)),
        frame.reverse(),
    )
    assert len({frame_sha256(frame), *map(frame_sha256, others)}) == 5


def test_a_changed_setting_is_fitted_at_once_and_no_other_is(tmp_path):
    run = built(tmp_path, order_lines())
    first = train(run, CONFIG, 7, False)
    assert train(run, replace(CONFIG, horizon_days=30, tier_quantiles=(0.4, 0.8, 0.9)), 7, False).reason == "recent"
    margin = train(run, replace(CONFIG, value="margin"), 7, False)
    assert margin.model_id != first.model_id
    assert value(run, replace(CONFIG, value="margin")) == 400


def test_the_winner_on_later_customers_serves_customers_and_channels(tmp_path, monkeypatch):
    run = built(tmp_path, order_lines(1200))
    train(run, CONFIG, 7, False)
    value(run, CONFIG)
    assert serve_values.fn(run, CONFIG) == "btyd"
    before = rows(run, "select channel, clv_mean, clv_p95 from out_latest.channel_value order by 1")
    train_early_value.fn(run, BlendConfig(), CONFIG, 7, False)
    fitted = early_value_task._fitted(run)
    trees = replace(fitted.groups["existing"], winner="ml", weight=1.0)
    assert trees.booster is not None
    monkeypatch.setattr(early_value_task, "_fitted", lambda run: replace(fitted, groups={"existing": trees}))
    assert serve_values.fn(run, CONFIG) == "ml"
    assert rows(run, "select distinct method from out_latest.customer_value") == [("ml",)]
    means = rows(
        run,
        "select acquisition_channel, avg(clv_mean) from out_latest.customer_value join mart.customer_rfm "
        "using (customer_id) group by 1 order by 1",
    )
    after = rows(run, "select channel, clv_mean, clv_p95 from out_latest.channel_value order by 1")
    assert [mean for _, mean, _ in after] == pytest.approx([mean for _, mean in means])
    assert [mean for _, mean, _ in after] != pytest.approx([mean for _, mean, _ in before])
    assert [high / mean for _, mean, high in after] == pytest.approx([high / mean for _, mean, high in before])
