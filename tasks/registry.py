"""The model registry: every fit is a row and a file, one fit per model is the champion."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from models.clv import FittedCLV, from_json
from models.run import Run
from tasks.warehouse import append, connect, has_table, quoted, read_frame, transaction

TABLE = "out.model_run"
CURVES = "curves.parquet"  # response curves of a mix model, in its artefact folder


@dataclass(frozen=True, kw_only=True)
class ModelRun:
    """One fit; `artefact_path` is relative to the workspace."""

    model_id: str
    model: str
    verdict: str
    is_champion: bool
    metrics: str  # JSON
    data_from: date
    data_to: date
    fit_seconds: float
    artefact_path: str


def frame_sha256(frame: pl.DataFrame) -> str:
    """Hash of a frame's values, column names and types, column by column, in whatever pieces they lie in memory."""
    sha256 = hashlib.sha256()
    for column in frame.get_columns():
        sha256.update(f"{column.name} {column.dtype} {len(column)}".encode())
        plain = column
        if column.dtype == pl.String:
            names = column.drop_nulls().unique().sort()
            sha256.update(json.dumps(names.to_list()).encode())
            plain = column.cast(pl.Enum(names))
        elif column.dtype == pl.Boolean:
            plain = column.cast(pl.UInt8)
        plain = plain.to_physical()
        for part in (plain.is_null().cast(pl.UInt8), plain.fill_null(0)):
            sha256.update(np.ascontiguousarray(part.to_numpy()))
    return sha256.hexdigest()


def model_name(model: str, *inputs: object) -> str:
    """The model_id of fitting `model` to these inputs: equal inputs give an equal name."""
    text = json.dumps([str(part) for part in inputs])
    return f"{model}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def find(warehouse: Path, *, model: str, model_id: str | None = None) -> ModelRun | None:
    """The fit of this name, or without one the champion; None where there is none."""
    rows = read_frame(warehouse, TABLE)
    if rows is None:
        return None
    wanted = pl.col("model_id") == model_id if model_id else pl.col("is_champion")
    found = rows.filter(pl.col("model") == model, wanted)
    if found.is_empty():
        return None
    row = found.row(-1, named=True)
    return ModelRun(**{name: row[name] for name in ModelRun.__dataclass_fields__})


def is_made_by(run: Run, model_id: str) -> bool:
    """Whether this very run made the fit, in an attempt that was interrupted."""
    rows = read_frame(run.warehouse, TABLE)
    made = pl.col("run_id") == run.run_id, pl.col("model_id") == model_id
    return rows is not None and not rows.filter(*made).is_empty()


def register(run: Run, entry: ModelRun) -> None:
    """Write a fit's row; a new champion dethrones the old one in the same transaction."""
    frame = pl.DataFrame([{"run_id": run.run_id, "as_of": run.as_of, **asdict(entry)}])
    with connect(run.warehouse) as con, transaction(con):
        if has_table(con, TABLE):
            con.execute(f"delete from {quoted(TABLE)} where model_id = ?", [entry.model_id])
            if entry.is_champion:
                con.execute(f"update {quoted(TABLE)} set is_champion = false where model = ?", [entry.model])
        append(con, TABLE, frame, replace_run=None)


def lifetime_model(run: Run) -> FittedCLV | None:
    """The lifetime model in service; None where there is none yet."""
    champion = find(run.warehouse, model="clv")
    return None if champion is None else from_json((run.workspace / champion.artefact_path).read_text(encoding="utf-8"))


def mix_in_service(run: Run) -> pl.DataFrame | None:
    """What the mix model in service said last of each channel; None where there is none."""
    champion, rows = find(run.warehouse, model="mmm"), read_frame(run.warehouse, "out.mmm_channel")
    if champion is None or rows is None:
        return None
    mine = rows.filter(pl.col("model_id") == champion.model_id).sort("as_of", "run_id", "channel")
    return mine.unique("channel", keep="last", maintain_order=True)


def artefact_folder(run: Run, model_id: str) -> Path:
    """Where a fit's files lie."""
    return run.artifacts / "models" / model_id


def plain_json(values: dict[str, Any]) -> str:
    """Metrics as JSON, keys in order."""
    return json.dumps(values, sort_keys=True, default=float)
