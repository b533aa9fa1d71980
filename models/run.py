"""The identity of one run: what it computes, for which day, in which workspace."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the pipeline.

    Parameters
    ----------
    run_id : deterministic: the date and a hash of config, data and code, so that doing the same thing
        again replaces the same rows with the same values.
    as_of : the last day the run may look at.
    seed : seed of every random draw of the run.
    workspace : the user's folder; all other paths are in it.
    """

    run_id: str
    as_of: date
    seed: int
    workspace: Path

    @property
    def warehouse(self) -> Path:
        """The workspace's DuckDB file."""
        return self.workspace / "warehouse.duckdb"

    @property
    def artifacts(self) -> Path:
        """Folder of models, reports and plans."""
        return self.workspace / "artifacts"

    @property
    def landing(self) -> Path:
        """Folder in which the user drops files."""
        return self.workspace / "landing"
