"""The report of a run: read its output tables, render the page, put it into the workspace."""

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from models.report.view import build_view
from models.run import Run
from models.scorecard import ScorecardConfig
from tasks.asking import freshness
from tasks.files import write_atomically
from tasks.warehouse import connect, quoted

TEMPLATES = Path(__file__).resolve().parent.parent / "reports"
OF_THE_RUN = ("run_log", "data_quality", "quarantine", "lineage", "trigger", "drift")  # true of one run only
STANDING = (  # stay valid until a later run replaces them
    "customer_value",
    "cohort_curve",
    "cohort_profile",
    "channel_scorecard",
    "click_value",
    "bid_plan",
    "uplift",
    "experiment_readout",
    "attribution",
    "evidence",
    "plan_summary",
    "budget_plan",
    "forecast",
    "backtest",
    "decision_review",
)
OF_THE_MIX_MODEL = ("mmm_channel", "response_curve")
# The rows of this run; without any, those of the run before it that wrote last.
NEWEST = """
    select * from {table} where run_id = (
        select run_id from {table} where (run_id = $run_id or as_of <= $as_of) and {where}
        order by run_id = $run_id desc, as_of desc, rowid desc limit 1
    ) and {where} order by rowid"""
# What the run fitted, besides each model's champion however old: a plan is made from the champion's curves.
MODELS = """
    select * from out.model_run where run_id = $run_id or (as_of <= $as_of and is_champion)
    qualify run_id = $run_id or row_number() over (
        partition by model, is_champion order by run_id = $run_id desc, as_of desc, rowid desc) = 1
    order by model, as_of, rowid"""
KPI = "select week_start, value from mart.kpi_weekly where week_start <= $as_of order by week_start"


@task(cache_policy=NO_CACHE)
def write_report(
    run: Run, currency: str, company: str, kpi: str = "revenue", scorecard: ScorecardConfig | None = None
) -> str:
    """Write the run's page, show its summary in the Prefect UI, and return the page's path in the workspace."""
    names = {"company": company, "currency": currency, "kpi": kpi}
    view = build_view(read_tables(run), scorecard, run_id=run.run_id, as_of=run.as_of, **names)
    path = save_page(run, render(view))
    if TaskRunContext.get() is not None:  # called outside a flow there is no one to show it to
        publish(view, path)
    return path


def read_tables(run: Run) -> dict[str, pl.DataFrame]:
    """Each output table's rows of this run, or of the newest run before it where they stay valid.

    What the mix model says is read for its champion, which a newer fit that failed its gate does not replace. A
    table is absent where no run up to `run.as_of` has written it. Decimals come as floats.
    """
    if not run.warehouse.exists():
        return {}
    found: dict[str, pl.DataFrame] = {}
    moment = {"run_id": run.run_id, "as_of": run.as_of}
    with connect(run.warehouse) as con:
        listed = con.execute("select table_schema || '.' || table_name from information_schema.tables").fetchall()
        known = {name for (name,) in listed}

        def read(name: str, query: str, **parameters: object) -> None:
            if name in known:
                found[name.split(".")[1]] = con.sql(query, params=parameters).pl()

        for name in OF_THE_RUN:
            read(f"out.{name}", f"select * from {quoted('out.' + name)} where run_id = $run_id", run_id=run.run_id)
        for name in STANDING:
            read(f"out.{name}", NEWEST.format(table=quoted("out." + name), where="true"), **moment)
        read("out.model_run", MODELS, **moment)
        champion = _champion(found.get("model_run"))
        for name in OF_THE_MIX_MODEL:
            where = "true" if champion is None else "model_id = $champion"
            extra = {} if champion is None else {"champion": champion}
            read(f"out.{name}", NEWEST.format(table=quoted("out." + name), where=where), **moment, **extra)
        read("mart.kpi_weekly", KPI, as_of=run.as_of)
    if ages := freshness(run.warehouse, run.as_of):
        found["freshness"] = pl.DataFrame(ages, infer_schema_length=None)
    return {
        name: frame.with_columns(pl.selectors.decimal().cast(pl.Float64))
        for name, frame in found.items()
        if name in OF_THE_RUN or not frame.is_empty()
    }


def _champion(models: pl.DataFrame | None) -> str | None:
    if models is None:
        return None
    chosen = models.filter(pl.col("model") == "mmm", pl.col("is_champion"))["model_id"]
    return None if chosen.is_empty() else str(chosen[-1])


@cache
def _inlined() -> dict[str, str]:
    """The page's own style and scripts, and plotly.js from the installed plotly package."""
    plotly = files("plotly").joinpath("package_data/plotly.min.js").read_text(encoding="utf-8")
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    return {"style": style, "script": script, "plotly": plotly}


def render(view: Mapping[str, Any]) -> str:
    """The page of a view: one HTML text that holds all it needs.

    Everything from data is escaped. As a second lock the page's content policy lets only these two scripts run
    (by their hash) and nothing be fetched.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "allow_nan": False, "separators": (",", ":")}
    own = _inlined()
    hashes = " ".join(f"'sha256-{_digest(own[name])}'" for name in ("plotly", "script"))
    policy = f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"
    return environment.get_template("page.html.j2").render(view=view, policy=policy, **own)


def _digest(text: str) -> str:
    return b64encode(hashlib.sha256(text.encode()).digest()).decode()


def save_page(run: Run, page: str) -> str:
    """Write the page as the run's and as the latest report; return its path in the workspace."""
    path = run.artifacts / "reports" / f"{run.run_id}.html"
    for target in (path, path.with_name("latest.html")):
        write_atomically(target, page)
    return path.relative_to(run.workspace).as_posix()


def publish(view: Mapping[str, Any], path: str) -> None:
    """Show the decision and the plan as artifacts of the Prefect run; the page stands even when this fails."""
    try:
        create_markdown_artifact(markdown(view, path), key="marginal-report", description=str(view["title"]))
        if view["plan_table"] is not None:
            create_table_artifact(plan_rows(view["plan_table"]), key="marginal-plan", description=str(view["title"]))
    except Exception as error:  # whatever a server says, the report itself is written
        get_run_logger().warning("The report is written, but Prefect did not take its summary: %s", error)


def markdown(view: Mapping[str, Any], path: str) -> str:
    """The headline as Markdown; what comes from data cannot turn into markup."""
    top = view["headline"]
    lines = [f"# {_plain(top['decision'])}", _plain(top["worth"])]
    lines += [f"> {_plain(line)}" for line in top["warnings"]]
    lines += [f"- {_plain(fact['label'])}: {_plain(fact['text'])}. {_plain(fact['note'])}" for fact in top["facts"]]
    lines.append(_plain(top["fired_line"]))
    lines += [
        f"- {_plain(one['name'])} {_plain(one['subject'])}: {_plain(one['reason'])} {_plain(one['action'])}"
        for one in top["fired"]
    ]
    return "\n\n".join([*lines, f"Report: `{path}`"])


def _plain(text: str) -> str:
    return "".join("\\" + sign if sign in "\\`*_{}[]()<>#|!" else sign for sign in " ".join(text.split()))


def plan_rows(plan: Mapping[str, Any]) -> list[dict[str, str]]:
    """The plan's table as Prefect wants it: one dict per row."""
    labels = [column["label"] for column in plan["columns"]]
    texts = [
        [f"{cell['text']} ({cell['sub']})" if cell["sub"] else cell["text"] for cell in row] for row in plan["rows"]
    ]
    return [dict(zip(labels, row, strict=True)) for row in texts]
