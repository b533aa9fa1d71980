"""`marginal plan` refuses options that would do nothing."""

import pytest
import typer

from flows.cli import app


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--min-marginal-roas", "2", "--budget", "100"], "needs --unknown-budget"),
        (["--curves", "c.csv", "--budget", "100", "--adopt"], "not stored"),
        (["--curves", "c.csv", "--budget", "100", "--scenarios"], "--scenarios needs a workspace"),
        (["--unknown-budget", "--scenarios"], "leave out one"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(options, words):
    with pytest.raises(typer.BadParameter, match=words):
        app(["plan", *options], standalone_mode=False)


def test_a_budget_alone_is_a_months(tmp_path, capsys):
    curves = tmp_path / "curves.csv"
    curves.write_text("line,spend,response\na,0,0\na,1000,3000\n")
    app(["plan", "--curves", str(curves), "--budget", "1217.5"], standalone_mode=False)
    assert " 280 " in capsys.readouterr().out  # 1217.5 / (365.25 / 12 / 7)
