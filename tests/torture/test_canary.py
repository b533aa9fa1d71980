"""Secrets in the environment: never on the screen, in a table or in a file of the workspace, whatever fails."""

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.flows.workspaces import change_settings, marginal, plain_workspace
from tests.tasks.postgres import PASSWORD, QUOTED, USER, Server, running_server

WEBHOOK = (
    "http://kanari7-hook-user:kanari7-hook-pass@127.0.0.1:9/kanari7-hook-path?token=kanari7-hook-token"  # discards
)
ADDRESS = f"postgresql://{USER}:{QUOTED}@127.0.0.1:9/kanari7_hidden_base"  # nobody listens at port 9
MARK = "kanari7"  # in all of them, and in nothing else that these workspaces hold
SECRETS = (MARK, USER, PASSWORD, QUOTED)
QUERY = "select day as date, spend as cost, 'tv' as channel from spend"
IN_TABLE = "create table spend as select current_date - n as day, 10.5 + n as spend from generate_series(1, 60) as n"


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARGINAL__ALERTS__WEBHOOK_URL", WEBHOOK)
    monkeypatch.setenv("SHOP_DB", ADDRESS)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        server.execute(IN_TABLE)
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return plain_workspace(tmp_path / "shop")


def from_database(folder: Path, database: str = "env:SHOP_DB", query: str = QUERY) -> None:
    kpi = {"path": "landing/kpi.csv"}
    change_settings(folder, sources={"ad_spend": {"database": database, "query": query}, "kpi": kpi})


def found_in(text: str | bytes) -> list[str]:
    """Secrets that stand in a text, whatever the case."""
    plain = text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text
    return [secret for secret in SECRETS if secret.lower() in plain.lower()]


def kept(folder: Path) -> list[str]:
    """Each place of a workspace that holds a secret: files by their bytes, databases by their values too."""
    places = []
    for file in [path for path in folder.rglob("*") if path.is_file()]:
        places += [f"{file.relative_to(folder)}: {secret}" for secret in found_in(file.read_bytes())]
        if file.name == "warehouse.duckdb":
            with duckdb.connect(str(file), read_only=True) as con:
                places += [f"{place}: {secret}" for place, text in values(con) for secret in found_in(text)]
    return places


def values(con: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    """Every value of every table, and the SQL of every view."""
    for schema, name in con.execute("select table_schema, table_name from information_schema.tables").fetchall():
        yield f"{schema}.{name}", repr(con.execute(f'from "{schema}"."{name}"').fetchall())
    yield "views", repr(con.execute("select sql from duckdb_views()").fetchall())


def clean(done: subprocess.CompletedProcess[str], folder: Path, code: int) -> None:
    assert done.returncode == code, done.stderr
    assert found_in(done.stdout) == []
    assert found_in(done.stderr) == [], done.stderr
    assert kept(folder) == []


def test_a_secret_that_is_kept_would_be_found(folder: Path) -> None:
    (folder / "artifacts").mkdir()
    (folder / "artifacts" / "log.txt").write_text(f"cannot reach {ADDRESS}")
    with duckdb.connect(str(folder / "warehouse.duckdb")) as con:
        con.execute("create table kept as select 'Kanari7' as value from range(9)")
    assert {place.split(": ")[0] for place in kept(folder)} >= {"artifacts/log.txt", "main.kept"}


def test_a_load_from_a_database_keeps_no_secret(folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DB", server.address)
    from_database(folder)
    clean(marginal("ingest", "-w", str(folder), "--json"), folder, 0)
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as con:
        assert con.execute("select count(*) from raw.ad_spend").fetchall() == [(60,)]
    databases = [path for path in (folder / ".prefect").rglob("*.db") if path.stat().st_size]
    assert databases  # the orchestrator's own memory was looked through as well
    with sqlite3.connect(databases[0]) as con:
        assert con.execute("select count(*) from flow_run").fetchone()[0] > 0
    con.close()
    clean(marginal("status", "-w", str(folder)), folder, 0)
    clean(marginal("status", "-w", str(folder), "--json"), folder, 0)


@pytest.mark.parametrize("options", [(), ("--debug",)], ids=["plain", "debug"])
def test_a_database_that_does_not_answer_is_told_without_its_address(folder: Path, options: tuple[str, ...]) -> None:
    from_database(folder)
    done = marginal("run", "-w", str(folder), *options)
    clean(done, folder, done.returncode if options else 7)
    assert done.returncode != 0
    assert ("Traceback" in done.stderr) == bool(options)


@pytest.mark.parametrize("options", [(), ("--debug",)], ids=["plain", "debug"])
@pytest.mark.parametrize("wrong", ["query", "column", "password"])
def test_a_failing_run_keeps_no_secret(
    folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], wrong: str
) -> None:
    address = server.at(password="kanari7_wrong_word") if wrong == "password" else server.address
    monkeypatch.setenv("SHOP_DB", address)
    query = {"query": "select day from nowhere", "column": "select day, spend from spend"}.get(wrong, QUERY)
    from_database(folder, query=query)
    done = marginal("run", "-w", str(folder), *options)
    clean(done, folder, done.returncode)
    assert done.returncode != 0


@pytest.mark.parametrize(
    "environment",
    [
        {"MARGINAL__ALERTS__WEBHOOK_URL": "kanari7 no address at all"},
        {"MARGINAL__ALERTS__WEBHOOK_URLL": "kanari7"},
        {"MARGINAL__ALERTS": '{"webhook_url": ["kanari7"]}'},
        {"MARGINAL__ALERTS": "{kanari7"},
        {"MARGINAL__ALERTS__WEBHOOK_URL__TOKEN": "kanari7"},
    ],
    ids=ascii,
)
def test_a_setting_of_the_environment_that_is_wrong_is_not_repeated(
    folder: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    monkeypatch.delenv("MARGINAL__ALERTS__WEBHOOK_URL")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = marginal("status", "-w", str(folder))
    assert done.returncode in {0, 2}, done.stderr
    assert MARK not in done.stderr + done.stdout


@pytest.mark.parametrize(
    "database",
    [
        f"postgresql://{USER}:{QUOTED}@127.0.0.1:9/shop",
        f"host=127.0.0.1 user=ann password={USER}",
        f"postgresql://127.0.0.1:9/shop?user=ann&password={USER}",
        f"postgresql://:{USER}@127.0.0.1:9/shop",
        f"postgres://ann:{QUOTED}@127.0.0.1:9/shop",
    ],
)
def test_a_password_in_the_settings_is_refused_unread(folder: Path, database: str) -> None:
    from_database(folder, database=database)
    done = marginal("run", "-w", str(folder))
    assert done.returncode == 2, done.stderr
    assert found_in(done.stderr + done.stdout) == []
    assert [place for place in kept(folder) if not place.startswith("marginal.yaml")] == []


@pytest.mark.soak
def test_a_whole_run_keeps_no_secret_and_runs_nothing_it_reads(
    folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is a page: a channel's name that is a script must come out as text."""
    monkeypatch.setenv("SHOP_DB", server.address)
    script = "<script>alert(1)</script>'; drop table out.trigger; --"
    spend = (folder / "landing" / "ad_spend.csv").read_text().replace("social", f'"{script}"')
    (folder / "landing" / "ad_spend.csv").write_text(spend)
    change_settings(folder, retrain={"every_days": 1})
    done = marginal("run", "-w", str(folder), timeout=900)
    clean(done, folder, done.returncode)
    assert done.returncode in {0, 7}, done.stderr  # 7: the webhook, where a trigger fired
    page = next(iter((folder / "artifacts").rglob("*.html")))
    assert "&lt;script&gt;alert(1)" in page.read_text()
    assert "<script>alert(1)" not in page.read_text()
    assert os.environ["SHOP_DB"] == server.address
