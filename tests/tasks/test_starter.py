"""`init --from`: the workspace that is written loads, says what was guessed, and leaves the files alone."""

import gzip
import shutil
from pathlib import Path

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from flows.settings import load_settings
from models.errors import ConfigError
from tasks.sources import load_files
from tasks.starter import write_starter
from tests.tasks.loading import ADS, make_run, rows

EXPORTS = Path(__file__).parents[1] / "fixtures" / "exports"


def written(workspace: Path, *files: Path) -> tuple[str, dict[str, str]]:
    """The YAML, and file -> what became of it."""
    placed = write_starter(workspace, files)
    return (workspace / "marginal.yaml").read_text(encoding="utf-8"), dict(file.line.split(": ", 1) for file in placed)


def test_a_starter_without_files_is_what_it_was(tmp_path: Path) -> None:
    text, placed = written(tmp_path)
    assert placed == {}
    assert list(yaml.safe_load(text)) == ["company", "currency", "sources"]
    assert load_settings(tmp_path).sources.keys() == {"ad_spend", "kpi"}
    assert "guessed" not in text
    assert text.count("landing/orders.csv") == 1


def test_every_platform_is_told_and_the_workspace_loads(tmp_path: Path) -> None:
    names = {"google_ads": "ui_english.csv", "ga4": "data_api.csv", "shopify_orders": "excel_german.csv"}
    text, placed = written(tmp_path, *(EXPORTS / preset / name for preset, name in names.items()))
    assert placed == {
        "landing/ui_english.csv": "ad_spend (google_ads)",
        "landing/data_api.csv": "kpi (ga4)",
        "landing/excel_german.csv": "orders (shopify_orders)",
    }
    settings = load_settings(tmp_path)
    assert {table: source.preset for table, source in settings.sources.items()} == {
        "ad_spend": "google_ads",
        "kpi": "ga4",
        "orders": "shopify_orders",
    }
    assert settings.currency == "EUR"
    assert "# guessed: 'Impr.', 'Conv. value', 'Currency code' are columns of google_ads, check" in text
    summary = load_files(make_run(tmp_path), "ad_spend", settings.sources["ad_spend"])
    assert summary.rows_kept == 20


def test_each_export_is_told_by_itself(tmp_path: Path) -> None:
    files = [path for path in sorted(EXPORTS.glob("*/*")) if ".expect." not in path.name]
    assert len(files) >= 25
    for number, file in enumerate(files):
        placed = write_starter(tmp_path / str(number), [file])
        assert placed[0].guess.preset == file.parent.name, file
        assert placed[0].guess.sure == (file.name != "renamed.csv"), file
        load_settings(tmp_path / str(number))


def test_exports_of_several_platforms_become_one_source(tmp_path: Path) -> None:
    shutil.copy(EXPORTS / "meta_ads" / "platform_breakdown.csv", tmp_path / "meta.csv")
    text, placed = written(tmp_path / "new", EXPORTS / "google_ads" / "gaql.csv", tmp_path / "meta.csv")
    assert placed == {"landing/gaql.csv": "ad_spend (google_ads)", "landing/meta.csv": "ad_spend (meta_ads)"}
    source = load_settings(tmp_path / "new").sources["ad_spend"]
    assert (source.preset, source.paths) == ("auto", ("landing/gaql.csv", "landing/meta.csv"))
    assert "currency: USD  # guessed" in text
    assert load_files(make_run(tmp_path / "new"), "ad_spend", source).rows_kept == 20


def test_a_file_of_ones_own_is_mapped(tmp_path: Path) -> None:
    own = tmp_path / "ausgaben 2026.csv"
    own.write_text(
        "Bericht der Agentur\n\nDatum;Kanal;Netto-Ausgaben\n" + "31.01.2026;TV;1.234,50\n01.02.2026;TV;7,5\n"
    )
    text, placed = written(tmp_path / "new", own)
    assert placed == {"landing/ausgaben 2026.csv": "ad_spend, not sure"}
    source = load_settings(tmp_path / "new").sources["ad_spend"]
    assert source.columns == {"date": "Datum", "channel": "Kanal", "cost": "Netto-Ausgaben"}
    assert "# guessed, not sure: 'Datum' is taken for date" in text
    load_files(make_run(tmp_path / "new"), "ad_spend", source)
    assert rows(make_run(tmp_path / "new"), "select sum(cost) from raw.ad_spend") == [(1242.0,)]


def test_parquet_json_and_gzip_are_looked_into(tmp_path: Path) -> None:
    frame = pl.DataFrame({"Day": ["2026-01-01"], "network": ["tv"], "spend": [1.5]}).with_columns(
        pl.col("Day").str.to_date()
    )
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_ndjson(tmp_path / "b.ndjson")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(frame.write_csv().encode()))
    _, placed = written(tmp_path / "new", *(tmp_path / name for name in ("a.parquet", "b.ndjson", "c.csv.gz")))
    assert set(placed.values()) == {"ad_spend"}
    source = load_settings(tmp_path / "new").sources["ad_spend"]
    assert source.columns == {"date": "Day", "channel": "network", "cost": "spend"}
    assert load_files(make_run(tmp_path / "new"), "ad_spend", source).rows_kept == 3


def test_what_cannot_be_placed_is_listed_and_not_in_the_way(tmp_path: Path) -> None:
    files = {
        "stock.csv": b"article,shelf,height\n1,2,3\n",
        "book.xlsx": b"PK\x03\x04",
        "empty.csv": b"",
        "picture.csv": bytes(range(256)) * 4,
        "other names.csv": b"week;medium;ausgaben\n2026-01-05;tv;1,5\n",
        "a.csv": ADS.encode(),
        "b.csv": ADS.encode(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    text, placed = written(tmp_path / "new", *(tmp_path / name for name in files))
    assert {file for file, line in placed.items() if line.startswith("not placed; ")} == {
        f"landing/{name}" for name in ("stock.csv", "book.xlsx", "empty.csv", "picture.csv", "other names.csv")
    }
    assert load_settings(tmp_path / "new").sources["ad_spend"].paths == ("landing/a.csv", "landing/b.csv")
    assert "  # landing/stock.csv was not placed: " in text
    assert (
        "  # landing/other names.csv was not placed: its columns have other names than those of the other files" in text
    )
    assert (
        "  # ad_spend: {path: landing/other names.csv, columns: {date: week, channel: medium, cost: ausgaben}}" in text
    )


def test_a_workspace_of_unknown_files_alone_loads_too(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    text, _ = written(tmp_path / "new", tmp_path / "x.csv")
    assert load_settings(tmp_path / "new").sources.keys() == {"ad_spend", "kpi"}
    assert "landing/x.csv was not placed" in text


@pytest.mark.parametrize(
    "name",
    [
        "a: b #c.csv",
        "it's {x}.csv",
        'say "so".csv',
        "[1]*.csv",
        "- x.csv",
        "größe\u2028.csv",
        "tab\tand\nline.csv",
        "\x7f.csv",
    ],
)
def test_any_name_of_a_file_makes_valid_yaml(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("Tag: x,#Kanal\u2028,cost\n2026-01-01,tv,1\n")
    (tmp_path / f"un{name}").write_text("a,b\n")
    written(tmp_path / "new", tmp_path / name, tmp_path / f"un{name}")
    source = load_settings(tmp_path / "new").sources["ad_spend"]
    assert source.path == f"landing/{name}"
    assert load_files(make_run(tmp_path / "new"), "ad_spend", source).rows_kept == 1


def test_files_are_copied_never_moved_nor_overwritten(tmp_path: Path) -> None:
    first, second = tmp_path / "1" / "ads.csv", tmp_path / "2" / "ads.csv"
    for file, cost in ((first, 1), (second, 2)):
        file.parent.mkdir()
        file.write_text(f"date,channel,cost\n2026-01-0{cost},tv,{cost}\n")
    landing = tmp_path / "new" / "landing"
    landing.mkdir(parents=True)
    (landing / "ads-2.csv").write_text("mine")
    _, placed = written(tmp_path / "new", first, second, first, landing / "ads-2.csv")
    assert list(placed) == ["landing/ads.csv", "landing/ads-3.csv", "landing/ads-2.csv"]
    assert (landing / "ads-2.csv").read_text() == "mine"
    assert first.read_text() == (landing / "ads.csv").read_text()
    assert second.read_text() == (landing / "ads-3.csv").read_text()
    assert {path.name for path in landing.iterdir()} == {"ads.csv", "ads-2.csv", "ads-3.csv"}


def test_nothing_is_written_where_it_cannot_be_all(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ADS)
    with pytest.raises(ConfigError, match=r"b\.csv does not exist"):
        write_starter(tmp_path / "new", [tmp_path / "a.csv", tmp_path / "b.csv"])
    with pytest.raises(ConfigError, match=r"is a folder; expected the files"):
        write_starter(tmp_path / "new", [tmp_path])
    assert not (tmp_path / "new").exists()
    write_starter(tmp_path / "new")
    with pytest.raises(ConfigError, match="exists already"):
        write_starter(tmp_path / "new", [tmp_path / "a.csv"])
    assert not (tmp_path / "new" / "landing" / "a.csv").exists()


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ADS)
    (tmp_path / "b.csv").write_text(ADS)
    new = str(tmp_path / "new")
    result = CliRunner().invoke(app, ["init", new, "--from", str(tmp_path / "a.csv"), str(tmp_path / "b.csv")])
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "landing/a.csv: ad_spend",
        "landing/b.csv: ad_spend",
        f"Check what was guessed in {tmp_path / 'new' / 'marginal.yaml'}, then:",
        f"  marginal run -w {new}",
    ]
    refused = CliRunner().invoke(app, ["init", str(tmp_path / "other"), str(tmp_path / "a.csv")])
    assert refused.exit_code == 2
    assert "--from" in refused.output
    assert not (tmp_path / "other").exists()
