"""From marts to the mix model by geo: its rows, its curves, what it is when it cannot be fitted."""

import json
from dataclasses import replace
from datetime import date, timedelta

import duckdb
import polars as pl
import pytest

from benchmarks.geo_company import simulate_geos
from models import response
from models.allocation import AllocationConfig, allocate
from models.errors import DataError
from models.gate import GateConfig
from models.geo_weeks import geo_weeks
from models.mmm.config import MMMConfig
from models.mmm.geo import GeoConfig
from models.run import Run
from tasks.geo_training import train_mmm_geo
from tasks.registry import CURVES, find
from tasks.warehouse import connect, read_frame

CONFIG = MMMConfig(draws=300, tune=300, max_lag_weeks=3, saturation="michaelis_menten")
GEO = GeoConfig(enabled=True)
TESTS = {
    "channel": pl.String, "geo": pl.String, "start_date": pl.Date, "end_date": pl.Date,
    "spend_change": pl.Float64, "lift": pl.Float64, "lift_se": pl.Float64,
}  # fmt: skip


def marts() -> dict[str, pl.DataFrame]:
    """Two geos, two channels, the second channel without spend in the second geo; one test there, one on all."""
    data, _ = simulate_geos(120, n_geos=2, n_channels=2, n_weeks=60, slope=1.0)
    spend, kpi = [], []
    for geo, one in zip(("fr", "it"), data.data, strict=True):
        weeks = pl.Series("week_start", one.week_start)
        for c, channel in enumerate(one.channels):
            if (geo, c) != ("it", 1):
                spend.append(
                    pl.DataFrame({"week_start": weeks, "geo": geo, "channel": channel, "spend": one.spend[:, c]})
                )
        kpi.append(pl.DataFrame({"week_start": weeks, "geo": geo, "value": one.kpi}))
    start = weeks[30]
    test = {"channel": "channel_0", "start_date": start, "end_date": start + timedelta(days=13)}
    size = {"spend_change": 1e3, "lift": 1e3, "lift_se": 1e3}
    return {
        "mart.spend_weekly_geo": pl.concat(spend),
        "mart.kpi_weekly_geo": pl.concat(kpi),
        "mart.controls_weekly": pl.DataFrame(schema={"week_start": pl.Date, "name": pl.String, "value": pl.Float64}),
        "staging.lift_tests": pl.DataFrame([{**test, "geo": geo, **size} for geo in ("it", None, "es")], schema=TESTS),
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = Run(run_id="r", as_of=date(2023, 3, 1), seed=1, workspace=tmp_path_factory.mktemp("geos"))
    with connect(made.warehouse) as con:
        for name, frame in marts().items():
            con.register("frame", frame.to_arrow())
            con.execute(f"create table {name} as select * from frame")
    return made


def trained(run: Run, geo: GeoConfig = GEO, *, force: bool = False):
    with pytest.MonkeyPatch.context() as patch:  # a file of the code that is saved meanwhile would rename the fit
        patch.setattr("tasks.geo_training.code_sha256", lambda: "code")
        return train_mmm_geo.fn(run, CONFIG, geo, GateConfig(), "revenue", 7, force)


def test_series_by_geo_hold_every_channel_and_their_own_tests() -> None:
    frames = marts()
    data = geo_weeks(*frames.values())
    assert data.geos == ("fr", "it")
    assert data.channels == ("channel_0", "channel_1")
    assert not data.data[1].spend[:, 1].any()
    assert [len(one.lift_tests) for one in data.data] == [0, 1]
    assert len(data.lift_tests) == 1
    total = sum(float(one.spend.sum()) for one in data.data)
    assert total == pytest.approx(frames["mart.spend_weekly_geo"]["spend"].sum())


def test_what_names_no_geo_or_one_geo_only_is_told() -> None:
    spend, kpi, controls, tests = marts().values()
    some = pl.when(pl.col("geo") == "it").then(None).otherwise("geo").alias("geo")
    with pytest.raises(DataError, match="of the spend names no geo"):
        geo_weeks(spend.with_columns(some), kpi, controls, tests)
    with pytest.raises(DataError, match=r"both spend and KPI: \['fr'\]"):
        geo_weeks(spend.filter(pl.col("geo") == "fr"), kpi, controls, tests)


def test_it_is_fitted_kept_and_its_curves_make_a_plan(run: Run) -> None:
    first = trained(run)
    assert first.fitted
    assert first.verdict in {"PASS", "REVIEW"}  # of clean series; a FAIL would not serve
    rows = read_frame(run.warehouse, "out_latest.mmm_geo")
    assert rows is not None
    assert rows.select("geo", "channel").rows() == [(g, f"channel_{c}") for g in ("fr", "it") for c in range(2)]
    idle = rows.filter(geo="it", channel="channel_1").row(0, named=True)
    assert idle["roas_mean"] is None
    assert idle["contribution_mean"] == 0.0
    entry = read_frame(run.warehouse, "out_latest.model_run")
    assert entry is not None
    metrics = json.loads(entry["metrics"][0])
    assert set(metrics["geos"]) == {"fr", "it"}
    assert 0 < metrics["effect_sd"]["p05"] <= metrics["effect_sd"]["mean"] <= metrics["effect_sd"]["p95"]
    curves = response.load(run.workspace / entry["artefact_path"][0] / CURVES)
    assert curves.lines == ("channel_0 / fr", "channel_1 / fr", "channel_0 / it")
    plan = allocate(curves, None, AllocationConfig(total=1e4, objective="revenue"))
    assert plan.planned_spend == pytest.approx(1e4)
    assert find(run.warehouse, model="mmm_geo") is not None
    assert trained(run).reason == "recent"
    assert trained(run, replace(GEO, effect_sd=0.3)).model_id != first.model_id


def test_a_company_without_geos_is_told_what_would_switch_it_on(run: Run, tmp_path) -> None:
    bare = Run(run_id="r", as_of=run.as_of, seed=1, workspace=tmp_path)
    with duckdb.connect(str(bare.warehouse)) as con:
        con.execute("create schema mart")
    assert "add ad_spend" in trained(bare).told
