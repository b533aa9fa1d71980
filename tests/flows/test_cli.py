"""The command as a user meets it: exit codes, plain messages, JSON alone on stdout."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tests.flows.workspaces import change_settings, marginal, plain_workspace

COMMANDS = (
    "init",
    "demo",
    "run",
    "ingest",
    "check",
    "retrain",
    "monitor",
    "plan",
    "forecast",
    "report",
    "status",
    "serve",
)


def refused(*arguments: str, code: int) -> str:
    done = marginal(*arguments)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert 1 <= len(done.stderr.strip().splitlines()) <= 5
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_init_writes_a_starter_that_is_valid_and_is_not_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert CliRunner().invoke(app, ["init", str(folder)]).exit_code == 0
    text = (folder / "marginal.yaml").read_text()
    assert "exists already" in refused("init", str(folder), code=2)
    assert (folder / "marginal.yaml").read_text() == text
    assert "landing/ad_spend.csv" in refused("run", "-w", str(folder), code=3)  # valid, but the files are to come


def test_a_folder_that_is_no_workspace(tmp_path: Path) -> None:
    assert "marginal init" in refused("run", "-w", str(tmp_path), code=2)


def test_a_typo_in_the_yaml_names_the_nearest_key(tmp_path: Path) -> None:
    folder = plain_workspace(tmp_path / "typo")
    change_settings(folder, alocation={"total": 5})
    assert "did you mean allocation" in refused("run", "-w", str(folder), code=2)
    change_settings(folder, alocation=None, allocation={"max_chnge_fraction": 0.2})
    assert "did you mean max_change_fraction" in refused("run", "-w", str(folder), code=2)
    change_settings(folder, allocation=None, sources={"ad_spnd": "landing/ad_spend.csv"})
    assert "did you mean ad_spend" in refused("run", "-w", str(folder), code=2)


def test_a_value_out_of_range_is_named(tmp_path: Path) -> None:
    folder = plain_workspace(tmp_path / "range")
    change_settings(folder, forecast={"horizon_weeks": 0})
    assert "horizon_weeks" in refused("run", "-w", str(folder), code=2)


def test_yaml_that_is_none(tmp_path: Path) -> None:
    folder = plain_workspace(tmp_path / "none")
    (folder / "marginal.yaml").write_text("company: [unclosed")
    assert "not valid YAML" in refused("run", "-w", str(folder), code=2)


def test_an_unknown_option_is_usage() -> None:
    assert marginal("run", "--forse").returncode == 2


def test_an_environment_variable_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.settings import load_settings

    folder = plain_workspace(tmp_path / "environment")
    monkeypatch.setenv("MARGINAL__ALLOCATION__MAX_CHANGE_FRACTION", "0.07")
    assert load_settings(folder).allocation.max_change_fraction == 0.07
    monkeypatch.setenv("MARGINAL__ALLOCATION__MAX_CHANGE_FRACTION", "-1")
    assert "max_change_fraction" in refused("run", "-w", str(folder), code=2)


def test_a_webhook_address_does_not_show(tmp_path: Path) -> None:
    from flows.settings import load_settings

    folder = plain_workspace(tmp_path / "secret")
    change_settings(folder, alerts={"webhook_url": "https://hooks.example/canary"})
    settings = load_settings(folder)
    assert "canary" not in repr(settings) + settings.model_dump_json()


CURVES = "line,spend,response\na,100,300\na,200,400\nb,100,200\nb,200,390\n"


def test_the_allocator_alone_on_anybodys_curves(tmp_path: Path) -> None:
    """Slopes a: 3, 1; b: 2, 1.9. The best 300: 100 in a, 200 in b, worth 300 + 390."""
    curves, rules = tmp_path / "curves.csv", tmp_path / "rules.yaml"
    curves.write_text(CURVES)
    done = marginal("plan", "--curves", str(curves), "--budget", "300", "--period", "week", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {row["line"]: row["planned_spend"] for row in result["lines"]} == {"a": 100.0, "b": 200.0}
    assert result["summary"]["value_mean"] == pytest.approx(690.0)
    assert result["summary"]["upper_bound"] == pytest.approx(690.0)
    rules.write_text("caps: {b: 150}\n")
    capped = marginal(
        "plan", "--curves", str(curves), "--constraints", str(rules), "--budget", "300", "--period", "week", "--json"
    )
    assert {row["line"]: row["planned_spend"] for row in json.loads(capped.stdout)["lines"]} == {"a": 150.0, "b": 150.0}


def test_an_infeasible_plan_names_the_conflict(tmp_path: Path) -> None:
    curves, rules = tmp_path / "curves.csv", tmp_path / "rules.yaml"
    curves.write_text(CURVES)
    rules.write_text("floors: {a: 180, b: 180}\n")
    words = refused(
        "plan", "--curves", str(curves), "--constraints", str(rules), "--budget", "300", "--period", "week", code=5
    )
    assert "360" in words


def test_curves_that_cannot_be_read(tmp_path: Path) -> None:
    curves = tmp_path / "curves.csv"
    curves.write_text("line,spend\na,1\n")
    assert "response" in refused("plan", "--curves", str(curves), "--budget", "1", code=3)


def test_a_plan_before_the_first_run_says_what_to_do(tmp_path: Path) -> None:
    assert "marginal run" in refused("plan", "-w", str(plain_workspace(tmp_path / "new")), code=2)
