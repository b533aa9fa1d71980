"""Whether a freshly trained model may serve: PASS, REVIEW or FAIL, with the reasons.

A model states its checks; `judge` takes the worst of them. FAIL blocks plans, REVIEW asks a person to look.

Sources: three-valued review after google/meridian, analysis/review; R-hat and effective sample size bounds, Vehtari
et al. (2021), "Rank-normalization, folding, and localization".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import isnan
from typing import Any, ClassVar


class Status(StrEnum):
    """Outcome of a check or of a whole model."""

    PASS = "PASS"  # noqa: S105 (not a password)
    REVIEW = "REVIEW"
    FAIL = "FAIL"


_ORDER = {Status.PASS: 0, Status.REVIEW: 1, Status.FAIL: 2}


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """Thresholds; a value at its bound still has the better status."""

    r_hat_pass: float = 1.01  # Vehtari et al. (2021), section 4
    r_hat_review: float = 1.05  # beyond, chains disagree by more than the intervals shown
    ess_pass: float = 400.0  # Vehtari et al. (2021): 100 per chain of four
    ess_review: float = 100.0  # below, a 90 % bound moves by a tenth of an sd from seed to seed
    divergence_review_fraction: float = 0.005  # of all draws; more means a part of the posterior was not reached
    coverage_pass: float = 0.8  # of the weeks inside a 90 % predictive interval, in sample
    coverage_review: float = 0.6  # below, the noise is not what the model takes it for
    holdout_coverage_pass: float = 0.7  # of few weeks, so a wider allowance
    holdout_coverage_review: float = 0.4  # below, the last weeks are another market
    memory_p_value_pass: float = 0.01  # chance that independent noise would leave residuals as alike as these
    negative_baseline_pass: float = 0.05  # probability that all media together exceed the KPI
    negative_baseline_review: float = 0.5  # beyond, it is likelier than not
    contraction_max: float = 0.9  # posterior over prior sd of a channel's effect: above, the data were silent
    silent_spend_fraction_pass: float = 0.1  # of spend on channels about which the data were silent
    weeks_per_parameter_pass: float = 1.5  # fewer weeks leave the answer to the priors
    repeated_week_fraction_pass: float = 0.5  # of weeks with spend exactly as the week before: monthly totals
    k_hat_pass: float = 0.7  # Vehtari et al. (2024): above, importance weights tell nothing
    outlier_p_value_pass: float = 0.01  # chance that noise alone would leave a week as far out as the farthest
    entangled_pass: float = 0.7  # posterior correlation below minus this: two channels share one effect between them
    roas_ratio_pass: float = 10.0  # upper over lower end of a 90 % interval: beyond, a plan should not lean on it
    correlation_pass: float = 0.95  # between the spends of two channels: beyond, their sum is known, not their split

    def __post_init__(self) -> None:
        for better, worse in (
            (self.r_hat_pass, self.r_hat_review),
            (self.ess_review, self.ess_pass),
            (self.coverage_review, self.coverage_pass),
            (self.holdout_coverage_review, self.holdout_coverage_pass),
            (self.negative_baseline_pass, self.negative_baseline_review),
        ):
            if better > worse:
                raise ValueError(f"gate bounds {better} and {worse} are the wrong way round")

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing looked at: what was found, what was expected, what to do if they differ."""

    name: str
    status: Status
    found: str
    expected: str
    recommendation: str

    def __str__(self) -> str:
        return f"{self.status} {self.name}: found {self.found}, expected {self.expected}. {self.recommendation}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The worst status among the checks, with all of them."""

    status: Status
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> tuple[Check, ...]:
        """The checks that did not pass, worst first."""
        return tuple(sorted((c for c in self.checks if c.status != Status.PASS), key=lambda c: -_ORDER[c.status]))

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"status": str(self.status), "checks": [asdict(c) | {"status": str(c.status)} for c in self.checks]}


def judge(checks: Iterable[Check]) -> Verdict:
    """PASS where every check passed, else the worst status found; no check at all is a FAIL, since nothing is known."""
    seen = tuple(checks)
    return Verdict(status=max((c.status for c in seen), key=_ORDER.__getitem__, default=Status.FAIL), checks=seen)


def at_most(
    name: str, value: float, pass_at: float, review_at: float | None, recommendation: str, unit: str = ""
) -> Check:
    """PASS up to `pass_at`, REVIEW up to `review_at` (None: REVIEW however far), FAIL beyond or where NaN."""
    status = _status(value <= pass_at, review_at is None or value <= review_at, value)
    return Check(
        name=name,
        status=status,
        found=f"{value:.4g}{unit}",
        expected=f"at most {pass_at:g}{unit}",
        recommendation=recommendation,
    )


def at_least(
    name: str, value: float, pass_at: float, review_at: float | None, recommendation: str, unit: str = ""
) -> Check:
    """PASS down to `pass_at`, REVIEW down to `review_at` (None: REVIEW however far), FAIL below or where NaN."""
    status = _status(value >= pass_at, review_at is None or value >= review_at, value)
    return Check(
        name=name,
        status=status,
        found=f"{value:.4g}{unit}",
        expected=f"at least {pass_at:g}{unit}",
        recommendation=recommendation,
    )


def none_of(name: str, culprits: Iterable[str], expected: str, recommendation: str) -> Check:
    """PASS where there are no culprits, REVIEW naming them otherwise."""
    named = tuple(culprits)
    return Check(
        name=name,
        status=Status.REVIEW if named else Status.PASS,
        found=", ".join(named) or "none",
        expected=expected,
        recommendation=recommendation,
    )


def _status(passes: bool, reviews: bool, value: float) -> Status:
    if isnan(value):
        return Status.FAIL
    return Status.PASS if passes else Status.REVIEW if reviews else Status.FAIL
