"""The record of a run: which stage ran, how it ended, how long it took."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from models.errors import MarginalError
from models.outcome import Outcome
from models.run import Run
from tasks.workspace import log_flow, now

logger = logging.getLogger("marginal")


@dataclass(kw_only=True)
class Journal:
    """Runs stages one after the other and writes down each.

    A stage that fails for a user's reason ends the run: nothing is decided on what failed. `run` is replaced once
    the day is known.
    """

    run: Run
    versions: dict[str, str]  # code_version, config_sha256, data_sha256
    only: tuple[str, ...] = ()
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)

    def stage(self, name: str, work: Callable[[], Outcome]) -> Outcome:
        """Run a stage, or skip it where only others were asked for."""
        if self.only and name not in self.only:
            return self._note(name, Outcome(status="skipped", reason="not asked for"), 0.0)
        logger.info("%s …", name, extra={"stage": name})
        started, clock = now(), perf_counter()
        try:
            outcome = work()
        except MarginalError as error:
            self._note(name, Outcome(status="failed", reason=str(error)), perf_counter() - clock)
            self._log(name, started, "failed", str(error))
            raise
        self._log(name, started, outcome.status, outcome.reason)
        return self._note(name, outcome, perf_counter() - clock)

    def _note(self, name: str, outcome: Outcome, seconds: float) -> Outcome:
        self.stages[name] = {"status": outcome.status, "reason": outcome.reason, "seconds": round(seconds, 3)}
        logger.info("%s %s (%.1f s) %s", name, outcome.status, seconds, outcome.reason, extra={"stage": name})
        return outcome

    def _log(self, flow: str, started: Any, status: str, message: str) -> None:
        entry = {"started_at": started, "finished_at": None if status == "running" else now(), "status": status}
        log_flow(self.run, flow, {**entry, **self.versions, "message": message})

    @contextmanager
    def whole(self, flow: str) -> Iterator[None]:
        """The run as a whole: "running" while it lasts, then how it ended."""
        started = now()
        self._log(flow, started, "running", "")
        try:
            yield
        except MarginalError as error:
            self._log(flow, started, "failed", str(error))
            raise
        except Exception as error:
            self._log(flow, started, "failed", f"{type(error).__name__}: {error}")
            raise
        self._log(flow, started, "done", self.stages.get("report", {}).get("reason", ""))
