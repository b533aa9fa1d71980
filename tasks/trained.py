"""What a training task did, and whether it had anything to do."""

import json
from dataclasses import dataclass
from datetime import date
from typing import Any

from models.run import Run
from tasks.registry import find, is_made_by, plain_json


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training task did: `reason` says why nothing was fitted, or what the gate said."""

    model: str
    model_id: str | None
    verdict: str | None
    fitted: bool
    reason: str

    @property
    def told(self) -> str:
        """In a few words."""
        if self.model_id is None:
            return f"left out, {self.reason}"
        return f"{'fitted' if self.fitted else 'kept'}, {self.verdict}"


def standing(
    run: Run, model: str, data_to: date, every_days: int, force: bool, settings: dict[str, Any]
) -> Trained | None:
    """The champion if it needs no new fit: there is one, none was asked for, and too few new days have come.

    A champion fitted under other `settings` than these does not stand: they would change nothing until the next fit.
    Nor does one that has seen days after `data_to`: a run of an earlier day must not know them.
    """
    champion = find(run.warehouse, model=model)
    if champion is None or force or not 0 <= (data_to - champion.data_to).days < every_days:
        return None
    if json.loads(champion.metrics).get("settings") != json.loads(plain_json(settings)):
        return None
    fitted = is_made_by(run, champion.model_id)
    return Trained(model=model, model_id=champion.model_id, verdict=champion.verdict, fitted=fitted, reason="recent")
