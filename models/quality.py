"""Checks of the warehouse beyond the rules of a row: what they need, their thresholds, what a failed one says.

A check is one SELECT, `sql/check/<check_id>.sql`; its header says what it is about. Each row of its result is one
breach: `subject` (what it is about), `observed` (what was found, in words), `rows` (how many rows are concerned).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from models.contracts import Severity

HEADER = re.compile(r"^-- (?P<key>source|severity|expected|needs): (?P<value>.+)$", re.MULTILINE)
PARAMETER = re.compile(r"\$(?P<name>[a-z_]+)")
GIVEN = ("as_of", "currency")  # parameters that are not thresholds
ALL_SOURCES = "all"  # of a check that looks at several sources; its subjects name them
SHOWN = 3  # breaches told in a sentence; the next ones are counted


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """Thresholds of the checks; docs/checks.md says which check uses which."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    off: tuple[str, ...] = ()  # ids of checks that rest, where what they find is as it should be
    duplicate_orders_fraction: float = 0.001  # two equal orders in one minute happen, but not once in a thousand
    duplicate_days_fraction: float = 0.1  # of a channel's days; where more repeat, it is booked at a fixed amount
    duplicate_days_figures: int = 4  # so many amounts that repeat at once are no chance
    reconciliation_fraction: float = 0.02  # credits and rounding of invoices stay below 2 % of a month
    reconciliation_amount: float = 1.0  # rounding, in company currency
    unmatched_fraction: float = 0.5  # deleted accounts are fewer; half or more means that ids are written differently
    null_jump_fraction: float = 0.3  # shares move by a fifth when a channel pauses; a lost column moves by more
    null_rows: int = 50  # fewer rows do not tell a share to within a tenth
    anomaly_factor: float = 3.0  # auctions move prices by a half, flights by two; three asks for a look
    anomaly_spreads: float = 6.0  # robust standard deviations; 2e-9 of normal noise
    anomaly_clicks: int = 100  # a week with fewer does not tell its rates to within a tenth
    unit_factor: float = 30.0  # between the largest real jump (ten) and cents for euros (a hundred)
    unit_days: int = 3  # so many results at the new level are no outage
    unit_factor_blind: float = 300.0  # of channels without clicks or views, whose bookings may differ by a hundred
    order_absurd_factor: float = 1000.0  # of the usual order
    gap_days: int = 3  # longer gaps are pauses
    gap_daily_fraction: float = 0.9  # of days with rows: what has more is reported daily
    weekday_booked_fraction: float = 0.8  # of the dates of a weekday with a result: what has less is a day of rest
    silent_days: int = 7  # a week without rows is no weekend
    silent_history_days: int = 56  # eight weeks show whether a channel is reported daily
    weekday_fraction: float = 0.1  # of the usual spread; real weeks are never ten times as even
    future_gap_days: int = 31  # a date so far behind the others is a slip, where the day of the run does not tell
    history_slack_days: int = 31  # between a customer's registration and first order
    history_cut_fraction: float = 0.05  # of customers; below that their missing orders do not move a fit
    early_orders_fraction: float = 0.02  # of customers; guests who registered later are fewer
    volume_low_fraction: float = 0.5  # of the lowest of eight weeks
    volume_high_factor: float = 2.0  # of the highest of eight weeks
    volume_day_fraction: float = 0.3  # of the lowest same weekday: an export taken during the day has less
    volume_rows: int = 20  # fewer rows come and go by chance
    cpc_min: float = 0.005  # company currency; half a cent is the cheapest click that is sold
    cpc_max: float = 200.0  # company currency; the dearest search terms cost about a hundred
    cpm_min: float = 0.01  # company currency per thousand views; nothing is sold below a cent
    cpm_max: float = 1000.0  # company currency per thousand views; the dearest audiences cost some hundreds
    micros_cpc: float = 1000.0  # a click of 0.001 in millionths; raise it for a currency of small units
    tracking_usual_fraction: float = 0.8  # of days with spend that have clicks, for a channel that is tracked
    tracking_expected: float = 10.0  # clicks; none where ten are due has a chance of 5e-5
    tracking_lost_days: int = 3  # a day or two is a hiccup that is told afterwards
    conversions_expected: float = 20.0  # conversions; none where twenty are due has a chance of 2e-9

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name == "off":
                continue
            if entry.name.endswith("_fraction") and not 0 <= value <= 1:
                raise ValueError(f"{entry.name} = {value}: must be between 0 and 1")
            if "_factor" in entry.name and not value > 1:
                raise ValueError(f"{entry.name} = {value}: must be above 1")
            if not value >= 0:
                raise ValueError(f"{entry.name} = {value}: must be at least 0")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check as its file describes it.

    Parameters
    ----------
    source : the table whose data it judges, or "all".
    severity : "error" where a plan built on the data would be wrong, else "warning".
    expected : what must hold, as a marketer would say it.
    needs : `schema.table.column`; the check rests where one of them has no value.
    thresholds : fields of `QualityConfig` that it reads.
    """

    check_id: str
    source: str
    severity: Severity
    expected: str
    needs: tuple[str, ...]
    thresholds: tuple[str, ...]
    select: str


@dataclass(frozen=True, kw_only=True)
class Breach:
    """One thing that a check found."""

    subject: str
    observed: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one check found; a row of `out.data_quality`."""

    source: str
    check_id: str
    severity: Severity
    passed: bool
    observed: str
    expected: str
    failing_rows: int


def parse_check(check_id: str, text: str) -> Check | None:
    """The check that a file of `sql/check` holds; None where it holds a table that checks read.

    Raises
    ------
    ValueError : its header lacks a line, or it names a threshold that `QualityConfig` has not.
    """
    header = {found["key"]: found["value"].strip() for found in HEADER.finditer(text)}
    thresholds = tuple(sorted(set(PARAMETER.findall(text)) - set(GIVEN)))
    known = {entry.name for entry in fields(QualityConfig)}
    if unknown := set(thresholds) - known:
        raise ValueError(f"check {check_id} names unknown thresholds {sorted(unknown)}")
    if not header:
        return None
    if lacking := {"source", "severity", "expected", "needs"} - header.keys():
        raise ValueError(f"check {check_id} lacks {sorted(lacking)} in its header")
    return Check(
        check_id=check_id,
        source=header["source"],
        severity=_severity(check_id, header["severity"]),
        expected=header["expected"],
        needs=tuple(name.strip() for name in header["needs"].split(",")),
        thresholds=thresholds,
        select=text,
    )


def _severity(check_id: str, text: str) -> Literal["error", "warning"]:
    if text == "error":
        return "error"
    if text == "warning":
        return "warning"
    raise ValueError(f"check {check_id} has severity {text!r}; expected error or warning")


def judge(check: Check, breaches: Sequence[Breach]) -> Result:
    """The result of a check that found these breaches; none means that it holds."""
    told = [f"{breach.subject}: {breach.observed}" for breach in breaches[:SHOWN]]
    if len(breaches) > SHOWN:
        told.append(f"and {len(breaches) - SHOWN} more")
    return Result(
        source=check.source,
        check_id=check.check_id,
        severity=check.severity,
        passed=not breaches,
        observed="; ".join(told) or "it holds",
        expected=check.expected,
        failing_rows=sum(breach.rows for breach in breaches),
    )


def blocking(results: Sequence[Result]) -> tuple[str, ...]:
    """A sentence for each failed error: what was found, what was expected, what to do."""
    return tuple(
        f"{result.source}, check {result.check_id}: {result.observed}. Expected: {result.expected}. "
        f"Correct the files, or add {result.check_id} to `quality.off` where this is as it should be."
        for result in results
        if not result.passed and result.severity == "error"
    )


def page(checks: Sequence[Check]) -> str:
    """docs/checks.md: every check with its severity, thresholds and sentence."""
    lines = [
        "# Checks",
        "",
        "What is looked at beyond the rules of the contracts (`data_contracts/README.md`): one SELECT for each, in",
        "`sql/check`. An **error** stops the run with exit code 3, since a plan built on such data would be wrong; a",
        "**warning** stands in `out.data_quality` and in the report. A check rests where the data it needs are not",
        "there, and where `quality.off` in `marginal.yaml` names it. Thresholds are keys of `quality`;",
        "`docs/config.md` has their values and reasons. `tasks.quality.checks_page` makes this page; a test keeps it",
        "in step.",
        "",
        "| check | source | severity | what must hold | thresholds |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{check.check_id}` | {check.source} | {check.severity} | {check.expected} "
        f"| {', '.join(f'`{name}`' for name in check.thresholds) or '–'} |"
        for check in sorted(checks, key=lambda check: check.check_id)
    ]
    return "\n".join(lines) + "\n"
