"""The `marginal` command: parse, call a flow, print."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from typer.exceptions import TyperException

from models.errors import MarginalError

# Prefect reads these when it is imported. No telemetry; a slow machine may take its time to start the server; what
# went wrong is told once, by this command, and in full in the Prefect UI.
for name, value in {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_CLI_COLORS": "false",
}.items():
    os.environ.setdefault(name, value)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help="Where the next euro should go.")
console = Console(stderr=True, highlight=False)
Workspace = Annotated[Path, typer.Option("--workspace", "-w", help="Folder that holds marginal.yaml.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else there.")]
AsOf = Annotated[datetime | None, typer.Option("--as-of", formats=["%Y-%m-%d"], help="Last day to look at.")]
HERE = Path()


class Period(StrEnum):
    """Period a budget is given for."""

    week = "week"
    month = "month"
    quarter = "quarter"


class Objective(StrEnum):
    """What a plan maximises."""

    profit = "profit"
    revenue = "revenue"
    conversions = "conversions"
    clv = "clv"


WEEKS_OF = {Period.week: 1.0, Period.month: 365.25 / 12 / 7, Period.quarter: 365.25 / 4 / 7}  # mean lengths


@app.callback()
def _options(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    """Where the next euro of paid media should go, how sure that is, and the proof."""


class _Stages(logging.Handler):
    """Shows the run's stages as they pass: a spinner on a terminal, plain lines elsewhere."""

    def __init__(self, progress: Progress, task: Any) -> None:
        super().__init__()
        self.progress, self.task = progress, task

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message.endswith("…"):
            self.progress.update(self.task, description=message)
        else:
            self.progress.console.print(message, markup=False, soft_wrap=True)


@contextmanager
def shown_progress() -> Iterator[None]:
    """Show what the `marginal` logger says, on stderr."""
    logger = logging.getLogger("marginal")
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        handler = _Stages(progress, progress.add_task("starting …", total=None))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)


def run_daily(
    workspace: Path, as_of: datetime | None, only: tuple[str, ...], force: bool, days: tuple[str, str] | None = None
) -> dict[str, Any]:
    """The daily flow, with its stages shown; a run whose inputs have not changed since is not made again."""
    from flows.daily import daily, standing
    from flows.serve import server_for_run

    day: date | None = as_of.date() if as_of else None
    earlier = standing(str(workspace), day)
    if earlier is not None and not only and not force:
        return earlier
    with shown_progress(), server_for_run(workspace):
        result: dict[str, Any] = daily(str(workspace), as_of=day, force_retrain=force, only=only, days=days)
    return result


def say(result: dict[str, Any], as_json: bool, text: Callable[[dict[str, Any]], str]) -> None:
    """Print a result for a program or for a person."""
    typer.echo(json.dumps(result, default=str) if as_json else text(result))


def told_run(workspace: Path) -> Callable[[dict[str, Any]], str]:
    """How a run's summary reads."""

    def text(result: dict[str, Any]) -> str:
        lines = [f"Run {result['run_id']} as of {result['as_of']}."]
        lines += [
            f"  {name:9} {stage['status']:8} {stage['reason']}"
            for name, stage in result["stages"].items()
            if stage["reason"] != "not asked for"
        ]
        lines.append(f"Plan in force: {result['plan_id'] or 'none'}")
        if result["report"]:
            lines.append(f"Report: {(workspace / result['report']).resolve()}")
        return "\n".join(lines)

    return text


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="Folder to make.")],
    more: Annotated[list[Path] | None, typer.Argument(metavar="FILE", help="More files after --from.")] = None,
    files: Annotated[
        list[Path] | None, typer.Option("--from", metavar="FILE", help="Exports to start from: copied and looked at.")
    ] = None,
) -> None:
    """Write a commented starter workspace, with sources for the files given."""
    from tasks.starter import write_starter

    if more and not files:
        raise typer.BadParameter(f"{more[0]} is one argument too many; to start from files, write: --from {more[0]}")
    placed = write_starter(directory, [*(files or ()), *(more or ())])
    for file in placed:
        typer.echo(file.line)
    if placed:
        typer.echo(f"Check what was guessed in {directory / 'marginal.yaml'}, then:")
    else:
        typer.echo(f"Put your exports into {directory / 'landing'}, name them in {directory / 'marginal.yaml'}, then:")
    typer.echo(f"  marginal run -w {directory}")


@app.command()
def demo(
    directory: Annotated[Path, typer.Argument(help="Workspace to write.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another company.")] = 1,
    weeks: Annotated[int, typer.Option(min=30, max=520, help="Length of its history.")] = 104,
    quiet: Annotated[bool, typer.Option("--quiet", help="A company without planted shocks.")] = False,
    only_files: Annotated[bool, typer.Option("--only-files", help="Write the files, run nothing.")] = False,
    evaluate: Annotated[Path | None, typer.Option(help="Score this demo's plan by its hidden truth instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the demo company, whose truth is known, and run everything on it."""
    from models.company.world import CompanyConfig
    from tasks.demo import evaluate as score
    from tasks.demo import write_company

    if evaluate is not None:
        say(score(evaluate.resolve()), as_json, lambda result: json.dumps(result, indent=1))
        return
    console.print(f"Writing the demo company (seed {seed}) into {directory} …", markup=False)
    write_company(directory, CompanyConfig(seed=seed, weeks=weeks, shocks=not quiet))
    if not only_files:
        say(run_daily(directory, None, (), False), as_json, told_run(directory))


@app.command()
def run(
    workspace: Workspace = HERE,
    as_of: AsOf = None,
    only: Annotated[list[str] | None, typer.Option(help="Run these stages only; may be repeated.")] = None,
    force_retrain: Annotated[bool, typer.Option("--force-retrain", help="Fit all models again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the daily flow: raw files in; a certified plan, a forecast and a report out."""
    say(run_daily(workspace, as_of, tuple(only or ()), force_retrain), as_json, told_run(workspace))


def _stage_command(stage: str, help_text: str, *, force: bool = False) -> None:
    def command(workspace: Workspace = HERE, as_of: AsOf = None, as_json: AsJson = False) -> None:
        say(run_daily(workspace, as_of, (stage,), force), as_json, told_run(workspace))

    app.command(stage, help=help_text)(command)


@app.command()
def ingest(
    workspace: Workspace = HERE,
    as_of: AsOf = None,
    since: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day to load anew.")
    ] = None,
    until: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day to load anew.")] = None,
    as_json: AsJson = False,
) -> None:
    """Load the sources' files; with --from or --to, read those with rows of these days again, changed or not."""
    days = None
    if since is not None or until is not None:
        days = (f"{since:%Y-%m-%d}" if since else "0001-01-01", f"{until:%Y-%m-%d}" if until else "9999-12-31")
    say(run_daily(workspace, as_of, ("ingest",), False, days), as_json, told_run(workspace))


_stage_command("check", "Hold the loaded tables against their contracts.")
_stage_command("build", "Rebuild staging and marts.")
_stage_command("retrain", "Fit all models again.", force=True)
_stage_command("monitor", "Judge the triggers.")
_stage_command("forecast", "Forecast revenue under the plan in force.")
_stage_command("report", "Write the report of what is there.")


@app.command()
def plan(
    workspace: Workspace = HERE,
    budget: Annotated[float | None, typer.Option(min=0, help="Total to spend in the period.")] = None,
    period: Annotated[
        Period, typer.Option(help="What --budget is for; without one the plan spends what a week does today.")
    ] = Period.month,
    min_roas: Annotated[float | None, typer.Option(min=0, help="Least ROAS of the plan.")] = None,
    min_marginal_roas: Annotated[
        float | None, typer.Option(min=0, help="Least return of the last unit of money, with --unknown-budget.")
    ] = None,
    objective: Annotated[Objective | None, typer.Option(help="What to maximise.")] = None,
    risk: Annotated[str | None, typer.Option(help="mean, cvar:0.1 or meanvar:L.")] = None,
    scenarios: Annotated[bool, typer.Option("--scenarios", help="Print the plans for -20 % and +30 % too.")] = False,
    wants_frontier: Annotated[bool, typer.Option("--frontier", help="Value, ROAS and risk over budgets.")] = False,
    unknown_budget: Annotated[bool, typer.Option("--unknown-budget", help="Spend as long as it pays.")] = False,
    flight: Annotated[int | None, typer.Option(min=1, help="Weeks to spread the weekly budget over.")] = None,
    curves: Annotated[Path | None, typer.Option(help="Allocate on these curves instead (CSV or Parquet).")] = None,
    constraints: Annotated[Path | None, typer.Option(help="YAML with the keys of `allocation`.")] = None,
    adopt: Annotated[bool, typer.Option("--adopt", help="Put the plan in force.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a plan from the champion's curves, without retraining, in seconds."""
    from tasks.plan_asking import Modes, plan_on_curves, plan_on_workspace
    from tasks.plan_telling import told_plan

    refusals = {
        "--min-marginal-roas needs --unknown-budget: a given budget is spent, whatever its last unit returns.": (
            min_marginal_roas is not None and not unknown_budget
        ),
        "--adopt needs a workspace: a plan on --curves is not stored.": adopt and curves is not None,
        "--scenarios needs a workspace: on --curves, ask with another --budget.": scenarios and curves is not None,
        "--scenarios vary a given budget: leave out one of --scenarios and --unknown-budget.": (
            scenarios and unknown_budget
        ),
    }
    if words := [text for text, applies in refusals.items() if applies]:
        raise typer.BadParameter(words[0])
    weekly = None if budget is None else budget / WEEKS_OF[period]
    wishes = {"total": weekly, "min_roas": min_roas, "risk": risk, "objective": objective.value if objective else None}
    modes = Modes(
        unknown_budget=unknown_budget,
        min_marginal_roas=min_marginal_roas,
        frontier=wants_frontier,
        flight_weeks=flight,
    )
    wishes = {key: value for key, value in wishes.items() if value is not None}
    if curves is not None:
        result = plan_on_curves(curves, constraints, wishes, modes)
    else:
        from flows.settings import load_settings
        from tasks.planning import Units

        settings = load_settings(workspace.resolve())
        result = plan_on_workspace(
            workspace.resolve(),
            settings.allocation,
            settings.currency,
            wishes,
            constraints,
            adopt,
            modes,
            units=Units(kpi=settings.kpi.value, customer_value=settings.clv.value),
        )
    say(result, as_json, partial(told_plan, with_scenarios=scenarios))


@app.command()
def explain(
    plan_id: Annotated[str, typer.Argument(help="A stored plan: of a run, or of `marginal plan --adopt`.")],
    workspace: Workspace = HERE,
    as_json: AsJson = False,
) -> None:
    """Say why each line of a plan moved, and what changed since the plan before it."""
    from flows.settings import load_settings
    from tasks.plan_asking import explain_plan
    from tasks.plan_telling import told_explanation

    settings = load_settings(workspace.resolve())
    say(explain_plan(workspace.resolve(), plan_id, settings.currency), as_json, told_explanation)


@app.command()
def status(workspace: Workspace = HERE, as_json: AsJson = False) -> None:
    """Show freshness, champions, triggers and the plan in force."""
    from flows.settings import load_settings
    from tasks.asking import told_status, workspace_status

    load_settings(workspace.resolve())
    say(workspace_status(workspace.resolve()), as_json, told_status)


@app.command()
def serve(
    workspace: Workspace = HERE,
    port: Annotated[int, typer.Option(help="Port of the server and its UI.")] = 4200,
) -> None:
    """Run the Prefect server with its UI, the deployments and a worker, until stopped."""
    from flows.serve import serve as run_server

    run_server(workspace.resolve(), port=port)


def main() -> None:
    """Run the command; a user's problem ends in its exit code and plain lines, a bug in 1."""
    debug = "--debug" in sys.argv
    logging.raiseExceptions = debug  # a log line that cannot be kept is no news for a user
    sys.argv = [word for word in sys.argv if word != "--debug"]
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        code = app(standalone_mode=False)
        leave(code if isinstance(code, int) else 0)
    except (typer.Abort, KeyboardInterrupt):
        leave(130)  # as a shell says of Ctrl-C
    except TyperException as error:
        fail(f"{error.format_message()}\nSee what there is with: marginal --help", error.exit_code, debug, error)
    except MarginalError as error:
        fail(str(error), error.exit_code, debug, error)
    except Exception as error:
        fail(
            f"Something went wrong that should not have: {type(error).__name__}: {error}\n"
            "This is a bug. Run the command again with --debug and report what it shows.",
            1,
            debug,
            error,
        )


def leave(code: int) -> None:
    """End at once: compiled extensions of the samplers report their own clean-up on stderr otherwise."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def fail(message: str, code: int, debug: bool, error: BaseException) -> None:
    """Print one to five plain lines on stderr and end."""
    if debug:
        raise error
    for line in message.splitlines()[:5]:
        print(line, file=sys.stderr)
    leave(code)


if __name__ == "__main__":
    main()
