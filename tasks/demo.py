"""The demo company as files: what it exports, its configuration, its hidden truth."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from models.company.history import History, run_history
from models.company.tables import source_tables
from models.company.truth import score, truth_of
from models.company.world import MARGIN_FRACTION, CompanyConfig, draw_world
from models.errors import ConfigError
from tasks.files import write_atomically
from tasks.planning import plan_in_force
from tasks.warehouse import read_frame

PARQUET = ("clicks",)  # large tables come as Parquet, the rest as CSV, as in life
TRUTH = "truth.json"


def write_company(workspace: Path, config: CompanyConfig) -> None:
    """Write landing files, `marginal.yaml` and `truth.json`; a file that is already the same is left alone."""
    history = run_history(draw_world(config))
    files = []
    for name, frame in source_tables(history).items():
        file = workspace / "landing" / f"{name}.{'parquet' if name in PARQUET else 'csv'}"
        _keep_or_write(file, _bytes(frame, file.suffix))
        files.append(f"  {name}: landing/{file.name}")
    _keep_or_write(workspace / "marginal.yaml", _yaml(history, files).encode())
    _keep_or_write(workspace / TRUTH, (json.dumps(truth_of(history), indent=1) + "\n").encode())


def _bytes(frame: pl.DataFrame, suffix: str) -> bytes:
    buffer = BytesIO()
    if suffix == ".parquet":
        frame.write_parquet(buffer)
    else:
        frame.write_csv(buffer, datetime_format="%Y-%m-%d %H:%M:%S")
    return buffer.getvalue()


def _keep_or_write(file: Path, content: bytes) -> None:
    if not file.is_file() or file.read_bytes() != content:
        write_atomically(file, content)


def _yaml(history: History, files: list[str]) -> str:
    return "\n".join(
        [
            "# The demo company: a travel-ticket business that sells in four countries. Its truth is in truth.json,",
            "# which no flow reads; compare with: marginal demo --evaluate .",
            "company: Marginal Tours",
            "currency: EUR",
            f"seed: {history.world.config.seed}",
            "sources:",
            *files,
            "allocation:",
            f"  margin_fraction: {MARGIN_FRACTION}  # of revenue, left to pay for media",
            "",
        ]
    )


def evaluate(workspace: Path) -> dict[str, Any]:
    """Score the plan in force and the model's intervals by the hidden truth.

    Raises
    ------
    ConfigError : the workspace is not a demo, or has no plan yet.
    """
    file, warehouse = workspace / TRUTH, workspace / "warehouse.duckdb"
    if not file.is_file():
        raise ConfigError(f"{workspace} holds no {TRUTH}; expected a demo workspace.\nMake one with: marginal demo")
    truth = json.loads(file.read_text(encoding="utf-8"))
    plan = plan_in_force(warehouse)
    lines = read_frame(warehouse, "out.budget_plan")
    channels = read_frame(warehouse, "out_latest.mmm_channel")
    if plan is None or lines is None or channels is None:
        raise ConfigError(f"{workspace} has no plan in force yet.\nMake one with: marginal run -w {workspace}")
    chosen = lines.filter(pl.col("plan_id") == plan["plan_id"], pl.col("scenario") == plan["scenario"])
    spend = dict(chosen.select("line", "planned_spend").iter_rows())
    roas = {name: (low, high) for name, low, high in channels.select("channel", "roas_p05", "roas_p95").iter_rows()}
    return score(truth, spend, roas, float(channels["contribution_mean"].sum()))
