"""A user's mistake in a source: named with what was found, what was expected, what to do; never a traceback."""

import gzip
from pathlib import Path

import pytest

from models.errors import ConfigError, DataError
from models.run import Run
from models.sources import SourceConfig
from tasks.sources import load_files
from tests.tasks.loading import ADS, HEADER, load, make_run, rows, write


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ads.csv", b"", r"ads\.csv is empty \(0 bytes\)"),
        ("ads.csv", HEADER.encode(), "holds no rows"),
        ("ads.csv", b"\n\n", "first line of landing/ads.csv is blank"),
        ("ads.csv", bytes(range(256)) * 8, "holds binary data"),
        ("ads.csv", b"\x89PNG\r\n\x1a\n\xff\xfe\xfa", "no column 'date'; found ‰PNG"),
        ("ads.csv", b"date,channel,cost\n2026-01-01,\x81,1\n", r"neither UTF-8 nor Windows text \(byte 0x81\)"),
        ("ads.csv", ADS.encode() + b'2026-03-01,"tv,1\n2026-03-02,tv,2\n', "opens a quote in line 42"),
        ("ads.csv.gz", gzip.compress(ADS.encode(), mtime=0)[:60], "cannot be unpacked"),
        ("ads.csv.gz", b"not packed at all", "cannot be unpacked"),
        ("ads.parquet", b"PAR1 no parquet PAR1", "cannot be read as parquet"),
        ("ads.json", b'[{"date": "2026-01-01",', "cannot be read as json"),
        ("ads.json", b"[]", "no column 'date'"),
        ("ads.xlsx", b"PK", "of a kind that is not read"),
        ("ads.csv", ADS.replace("date", "day").encode(), r"no column 'date'; found day, channel, cost"),
        (
            "ads.csv",
            ADS.replace("2026-", "in 2026-").encode(),
            r"holds 'in 2026-01-01'.*expected a date.*\n.*date_format",
        ),
        ("ads.csv", ADS.replace(".5", ",5 €").replace(",", ";").encode(), r"too many columns"),
        ("ads.csv", ADS.replace(".5", " USD").encode(), r"column 'cost' of landing/ads.csv holds '1 USD'.*a number"),
        ("ads.csv", HEADER.encode() + b"2026-01-01,tv,\n2026-01-02,tv,n/a\n", "'cost' .* is empty in all 2 rows"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(run: Run, name: str, content: bytes, message: str) -> None:
    write(run, name, content)
    with pytest.raises(DataError, match=message) as caught:
        load(run, f"landing/{name}")
    assert name in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 5


def test_a_missing_column_comes_with_the_line_to_add(run: Run) -> None:
    write(run, "ads.csv", ADS.replace("cost", "costs_eur"))
    with pytest.raises(DataError) as caught:
        load(run)
    assert "Nearest is 'costs_eur'" in str(caught.value)
    assert "sources: {ad_spend: {columns: {cost: costs_eur}}}" in str(caught.value)


def test_a_missing_file_is_named_with_its_neighbours(run: Run) -> None:
    write(run, "spend.csv", ADS)
    with pytest.raises(DataError, match=r"no file 'landing/ads\.csv'.*its folder holds: spend\.csv"):
        load(run)
    with pytest.raises(DataError, match="its folder does not exist"):
        load(run, "nowhere/ads.csv")
    with pytest.raises(DataError, match=r"matches no file"):
        load(run, "landing/*.parquet")


def test_paths_stay_in_the_workspace(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "ads.csv"
    outside.write_text(ADS)
    run.landing.mkdir()
    (run.landing / "link.csv").symlink_to(outside)
    for path in (
        str(outside),
        f"../{outside.parent.name}/ads.csv",
        "landing/link.csv",
        "landing/*.csv",
        "../absent.csv",
    ):
        with pytest.raises(ConfigError, match="leaves the workspace"):
            load(run, path)
    summary = load_files(run, "ad_spend", SourceConfig(path=str(outside)), allow_outside=True)
    assert summary.rows_kept == 40
    assert rows(run, "select file from out.lineage") == [(outside.as_posix(),)]


@pytest.mark.parametrize("path", ["package:no_such_package/a.csv", "package:../a.csv"])
def test_a_package_must_be_there(run: Run, path: str) -> None:
    with pytest.raises(ConfigError, match="not installed"):
        load(run, path)


def test_a_package_file_stays_in_its_package(run: Run) -> None:
    with pytest.raises(DataError, match="has no file"):
        load(run, "package:lifetimes/../pip/__init__.py")


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ("select 1; select 2", ConfigError, "holds 2 statements; expected one SELECT"),
        ("copy input to 'stolen.csv'", ConfigError, "expected one SELECT"),
        ("select * from read_csv('landing/other.csv')", DataError, "disabled by configuration"),
        ("select content from read_text('/etc/hostname')", DataError, "disabled by configuration"),
        ("select * from raw.orders", DataError, "query fails"),
        ("select date, channel, cost::int as cost from input where channel = 'x'", DataError, "no rows"),
        ("select nothing from input", DataError, "query fails on landing/ads.csv"),
        ("selec", DataError, "query fails"),
    ],
)
def test_a_query_reaches_only_its_input(run: Run, query: str, error: type[Exception], message: str) -> None:
    write(run, "ads.csv", ADS)
    write(run, "other.csv", ADS)
    with pytest.raises(error, match=message):
        load(run, query=query)


def test_a_query_may_reshape(run: Run) -> None:
    write(run, "wide.csv", "week,tv,search\n" + "".join(f"2026-01-0{d},{d},{2 * d}\n" for d in range(1, 8)))
    load(
        run,
        "landing/wide.csv",
        query="unpivot input on tv, search into name channel value cost;",
        columns={"date": "week"},
    )
    assert rows(run, "select channel, sum(cost) from raw.ad_spend group by 1 order by 1") == [
        ("search", 56.0),
        ("tv", 28.0),
    ]


def test_settings_that_cannot_be(run: Run) -> None:
    write(run, "ads.csv", ADS)
    with pytest.raises(ConfigError, match=r"no column 'costs'; did you mean 'cost'"):
        load(run, columns={"costs": "cost"})
    with pytest.raises(DataError, match="no column 'net'"):
        load(run, columns={"cost": "net"})
    with pytest.raises(ConfigError, match="date_format is '%Q'"):
        load(run, date_format="%Q")
    with pytest.raises(ConfigError, match=r"raw.ad_spends has no contract; there is one for each of ad_spend, bids"):
        load(run, table="ad_spends")
