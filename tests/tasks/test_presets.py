"""Exports as platforms write them load as they come, with the sums worked out beside each (`*.expect.yaml`)."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.errors import DataError
from models.presets import AUTO, PRESETS
from models.sources import SourceConfig
from tasks.sources import load_files
from tests.tasks.loading import make_run, rows

EXPORTS = Path(__file__).parents[1] / "fixtures" / "exports"
EXPECTED = sorted(EXPORTS.glob("*/*.expect.yaml"))


def read(sidecar: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(sidecar.read_text(encoding="utf-8"))
    return found


def name(sidecar: Path) -> str:
    return f"{sidecar.parent.name}/{sidecar.name.removesuffix('.expect.yaml')}"


GOOD = [sidecar for sidecar in EXPECTED if "error" not in read(sidecar)]
RENAMED = [sidecar for sidecar in EXPECTED if "error" in read(sidecar)]


def load_export(sidecar: Path, workspace: Path, **options: Any) -> tuple[Any, Any, str]:
    expected = read(sidecar)
    run = make_run(workspace)
    run.landing.mkdir(parents=True)
    shutil.copy(sidecar.with_name(expected["file"]), run.landing)
    given = {"preset": expected["preset"], **expected.get("options", {}), **options}
    source = SourceConfig(path=f"landing/{expected['file']}", **given)
    return run, load_files(run, expected["table"], source), expected["table"]


def check_table(run: Any, table: str, expected: dict[str, Any]) -> None:
    for column, total in expected["sums"].items():
        found = rows(run, f"select sum({column}), typeof(any_value({column})) from raw.{table}")[0]
        assert found == (pytest.approx(total, rel=0, abs=1e-6), "DOUBLE"), column
    between = expected["between"]
    found = rows(run, f"select min({between['column']})::varchar, max({between['column']})::varchar from raw.{table}")
    assert found == [(between["first"], between["last"])]
    for column, values in expected.get("values", {}).items():
        assert [value for (value,) in rows(run, f"select distinct {column} from raw.{table} order by 1")] == values
    for column, count in expected.get("distinct", {}).items():
        assert rows(run, f"select count(distinct {column}) from raw.{table}") == [(count,)], column
    for column, count in expected.get("filled", {}).items():
        assert rows(run, f"select count({column}) from raw.{table}") == [(count,)], column


@pytest.mark.parametrize("sidecar", GOOD, ids=name)
def test_an_export_loads_as_it_comes(sidecar: Path, tmp_path: Path) -> None:
    expected = read(sidecar)
    run, summary, table = load_export(sidecar, tmp_path)
    kept, set_aside, ignored, read_rows = rows(
        run, "select rows_kept, rows_quarantined, rows_ignored, rows_read from out.lineage"
    )[0]
    assert (kept, set_aside, ignored) == (
        expected["rows_kept"],
        expected["rows_quarantined"],
        expected["rows_ignored"],
    ), rows(run, "select row_number, reason, payload from out.quarantine")
    assert read_rows == kept + set_aside + ignored
    assert (summary.rows_kept, summary.rows_quarantined) == (kept, set_aside)
    check_table(run, table, expected)


@pytest.mark.parametrize("sidecar", RENAMED, ids=name)
def test_a_renamed_column_comes_with_the_nearest_name(sidecar: Path, tmp_path: Path) -> None:
    error = read(sidecar)["error"]
    with pytest.raises(DataError, match=re.escape(f"Nearest is {error['nearest']!r}.")) as caught:
        load_export(sidecar, tmp_path / "as_it_is")
    assert error["add"] in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 5
    line = yaml.safe_load(str(caught.value).splitlines()[-1])
    (given,) = line["sources"].values()
    _, summary, _ = load_export(sidecar, tmp_path / "as_it_says", **given)
    assert (summary.rows_kept, summary.rows_quarantined) == (8, 0)


def test_each_preset_has_four_variants_and_a_renamed_one() -> None:
    for preset in PRESETS:
        assert sum(sidecar.parent.name == preset for sidecar in GOOD) >= 4, preset
        assert sum(sidecar.parent.name == preset for sidecar in RENAMED) == 1, preset


def test_no_sidecar_is_without_its_export_nor_an_export_without_its_sidecar() -> None:
    named = {sidecar.with_name(read(sidecar)["file"]) for sidecar in EXPECTED}
    assert named == {path for path in EXPORTS.glob("*/*") if not path.name.endswith(".expect.yaml")}


def test_exports_of_several_platforms_load_as_one_source(tmp_path: Path) -> None:
    chosen = [sidecar for sidecar in GOOD if name(sidecar) in {
        "google_ads/ui_english", "google_ads/gaql", "microsoft_ads/ui_report", "meta_ads/platform_breakdown"
    }]  # fmt: skip
    run = make_run(tmp_path)
    run.landing.mkdir(parents=True)
    for sidecar in chosen:
        shutil.copy(sidecar.with_name(read(sidecar)["file"]), run.landing)
    summary = load_files(run, "ad_spend", SourceConfig(path="landing", preset=AUTO))
    assert summary.rows_kept == sum(read(sidecar)["rows_kept"] for sidecar in chosen) == 51
    assert rows(run, "select sum(cost) from raw.ad_spend")[0][0] == pytest.approx(
        sum(read(sidecar)["sums"]["cost"] for sidecar in chosen), rel=0, abs=1e-6
    )
    assert rows(
        run, "select split_part(channel, '_', 1) as platform, sum(cost) from raw.ad_spend group by 1 order by 1"
    ) == [
        ("google", pytest.approx(8525.01 + 5860.135679)),
        ("meta", pytest.approx(839.01)),
        ("microsoft", pytest.approx(4925.72)),
    ]


def test_an_address_is_kept_as_its_hash_only(tmp_path: Path) -> None:
    run, _, _ = load_export(EXPORTS / "shopify_orders" / "several_shops.expect.yaml", tmp_path)
    for (customer,) in rows(run, "select customer_id from raw.orders"):
        assert re.fullmatch(r"[0-9a-f]{64}", customer)
    # printf 'ann@example.com' | sha256sum
    ann = "71d4f55f72fa128dfb468a1a3901507c804b74316488744d769d7f4b16696476"
    assert ann in {customer for (customer,) in rows(run, "select customer_id from raw.orders")}
