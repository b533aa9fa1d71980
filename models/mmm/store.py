"""A fitted mix model on disk: fitted.json, series.parquet, draws.parquet.

Readable by other tools. A setting that this version does not know is passed over, one that the file lacks has its
default, so that artefacts outlive versions.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.errors import DataError
from models.mmm.config import MMMConfig, MMMPriors, RoasPrior
from models.mmm.data import LiftTest, MMMData, control_matrix
from models.mmm.design import Design
from models.mmm.fitted import FittedMMM
from models.mmm.interactions import pairs_of
from models.mmm.varying import wander

FORMAT = 1
MEDIA = ("ceiling", "half_saturation", "slope", "decay", "carry_shape")


def save(fitted: FittedMMM, folder: Path) -> None:
    """Write `fitted` into `folder`, which is made; the same model gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    data, design = fitted.data, fitted.design
    about = {
        "format": FORMAT,
        "channels": list(data.channels),
        "control_names": list(data.control_names),
        "lift_tests": [asdict(test) for test in data.lift_tests],
        "config": asdict(fitted.config),
        "design": {
            "names": list(design.names),
            "first_week": str(design.first_week),
            "knots_days": list(design.knots_days),
            "fourier_order": design.fourier_order,
            "centre": design.centre.tolist(),
            "scale": design.scale.tolist(),
            "prior_sd": design.prior_sd.tolist(),
        },
        "effect_contraction": fitted.effect_contraction.tolist(),
        "metrics": dict(fitted.metrics),
        "in_sample": dict(fitted.in_sample),
        "notes": list(fitted.notes),
    }
    (folder / "fitted.json").write_text(json.dumps(about, indent=1, default=str, allow_nan=False) + "\n")
    series = {"week_start": data.week_start, "kpi": data.kpi}
    series |= {f"spend:{name}": data.spend[:, i] for i, name in enumerate(data.channels)}
    series |= {f"control:{name}": control_matrix(data)[:, i] for i, name in enumerate(data.control_names)}
    series |= {f"exposure:{name}": seen for name, seen in data.exposure.items()}
    pl.DataFrame(series).write_parquet(folder / "series.parquet")
    draws = {"noise_sd": fitted.noise_sd}
    for parameter in MEDIA:
        draws |= {f"{parameter}:{name}": getattr(fitted, parameter)[:, i] for i, name in enumerate(data.channels)}
    for step in range(fitted.steps.shape[1]):
        draws |= {f"step_{step}:{name}": fitted.steps[:, step, i] for i, name in enumerate(data.channels)}
    pairs = pairs_of(data, fitted.config)
    draws |= {f"synergy:{one}:{other}": fitted.synergy[:, p] for p, (one, other) in enumerate(pairs)}
    draws |= {f"coefficient:{name}": fitted.coefficients[:, i] for i, name in enumerate(design.names)}
    pl.DataFrame(draws).write_parquet(folder / "draws.parquet")


def load(folder: Path) -> FittedMMM:
    """Read what `save` wrote.

    Raises
    ------
    DataError : a file is missing or damaged, or was written in a format newer than this version knows.
    """
    try:
        about = json.loads((folder / "fitted.json").read_text())
        series = pl.read_parquet(folder / "series.parquet")
        draws = pl.read_parquet(folder / "draws.parquet")
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(f"The mix model in {folder} cannot be read: {error}.\nRetrain it.") from None
    if about.get("format", 0) > FORMAT:
        raise DataError(
            f"The mix model in {folder} has format {about['format']}; this version reads up to {FORMAT}.\n"
            "Update Marginal or retrain."
        )
    try:
        return _assembled(about, series, draws)
    except (KeyError, pl.exceptions.PolarsError) as error:
        raise DataError(f"The mix model in {folder} lacks {error}.\nRetrain it.") from None


def _assembled(about: dict[str, Any], series: pl.DataFrame, draws: pl.DataFrame) -> FittedMMM:
    channels = tuple(about["channels"])
    design = about["design"]
    names = tuple(design["names"])
    if f"carry_shape:{channels[0]}" not in draws.columns:  # written before there was more than one kind of carry-over
        draws = draws.with_columns(pl.lit(1.0).alias(f"carry_shape:{name}") for name in channels)
    media = {p: _matrix(draws, p, channels) for p in MEDIA}
    data, config = _data(about, series), _config(about.get("config", {}))
    pairs = tuple(f"{one}:{other}" for one, other in pairs_of(data, config))
    n_steps = wander(data.n_weeks, config).shape[1]
    return FittedMMM(
        data=data,
        config=config,
        design=Design(
            names=names,
            first_week=np.datetime64(design["first_week"], "D"),
            knots_days=tuple(design["knots_days"]),
            fourier_order=design["fourier_order"],
            centre=np.array(design["centre"]),
            scale=np.array(design["scale"]),
            prior_sd=np.array(design["prior_sd"]),
        ),
        **media,
        steps=np.stack([_matrix(draws, f"step_{step}", channels) for step in range(n_steps)], axis=1)
        if n_steps
        else np.empty((len(draws), 0, len(channels))),
        synergy=_matrix(draws, "synergy", pairs),
        coefficients=_matrix(draws, "coefficient", names),
        noise_sd=draws["noise_sd"].to_numpy(),
        effect_contraction=np.array(about["effect_contraction"]),
        metrics=about["metrics"],
        in_sample=about["in_sample"],
        notes=tuple(about.get("notes", ())),
    )


def _data(about: dict[str, Any], series: pl.DataFrame) -> MMMData:
    channels, controls = tuple(about["channels"]), tuple(about["control_names"])
    return MMMData(
        week_start=series["week_start"].to_numpy(),
        kpi=series["kpi"].to_numpy(),
        channels=channels,
        spend=_matrix(series, "spend", channels),
        control_names=controls,
        controls=_matrix(series, "control", controls),
        exposure={n: series[f"exposure:{n}"].to_numpy() for n in channels if f"exposure:{n}" in series.columns},
        lift_tests=tuple(_lift_test(test) for test in about.get("lift_tests", [])),
    )


def _matrix(frame: pl.DataFrame, prefix: str, names: tuple[str, ...]) -> NDArray[np.float64]:
    """Columns prefix:name, row-major as they were when saved, so that sums come out the same to the last bit."""
    columns = [frame[f"{prefix}:{name}"].to_numpy() for name in names]
    return np.ascontiguousarray(np.column_stack(columns)) if columns else np.empty((frame.height, 0))


def _lift_test(row: dict[str, Any]) -> LiftTest:
    dates = {name: date.fromisoformat(row[name]) for name in ("start_date", "end_date")}
    return LiftTest(**(_known(LiftTest, row) | dates))


def _config(row: dict[str, Any]) -> MMMConfig:
    fields_known = _known(MMMPriors, row.get("priors", {}))
    roas = {name: RoasPrior(**_known(RoasPrior, one)) for name, one in fields_known.get("roas", {}).items()}
    priors = MMMPriors(**(fields_known | {"roas": roas}))
    known = _known(MMMConfig, row)
    stated = known.get("confounded")
    lists = {
        "confounded": stated if stated is None else tuple(stated),
        "interactions": tuple((one, other) for one, other in known.get("interactions", ())),
    }
    return MMMConfig(**(known | {"priors": priors} | lists))


def _known(kind: type, row: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in row.items() if name in names}
