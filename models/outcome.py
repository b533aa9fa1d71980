"""How a stage of a run ended."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a stage says of itself.

    Parameters
    ----------
    status : "done", or "skipped" where an input is absent or nothing was due.
    reason : one line a marketer understands; for a skip, what would switch the stage on.
    detail : small plain values that later stages or the command line need.
    """

    status: Literal["done", "skipped", "failed"]
    reason: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


def done(reason: str = "", **detail: Any) -> Outcome:
    """A stage that did its work."""
    return Outcome(status="done", reason=reason, detail=detail)


def skipped(reason: str) -> Outcome:
    """A stage that had nothing to work on."""
    return Outcome(status="skipped", reason=reason)
