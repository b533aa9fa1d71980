"""SIGKILL at any moment of ingest, check and build, then the same again: every row of an undisturbed run.

Half of the kills come by the clock, half before a statement drawn from all that write: a clock seldom strikes there.
"""

import random
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.torture.companies import FIRST_DAY, SECOND_DAY, copy_of_all, next_day, small_company
from tests.torture.stages import Stages, counted, digests, steps

SHORT, LONG = 8, 200  # kills under `make test` and under `make soak`
HIT = 0.7  # of the kills must find the program at work, for the machine is not always as fast as it was


@dataclass(frozen=True, kw_only=True)
class Day:
    """A day's work: the workspace it starts from, the tables it ends with, how many seconds and writes it takes."""

    start: Path
    as_of: date
    tables: dict[str, tuple[int, str]]
    seconds: float
    writes: int


def work_here(folder: Path, as_of: date) -> None:
    """Run the stages in this process, which has imported already."""
    assert [*steps(folder, as_of)][-1] == "build"


def undisturbed(start: Path, target: Path, as_of: date) -> tuple[Day, Path]:
    """A day's work from `start`, done in a copy."""
    copy_of_all(start, target)
    started = time.monotonic()
    with counted() as counter:
        work_here(target, as_of)
    seconds = time.monotonic() - started
    return Day(start=start, as_of=as_of, tables=digests(target), seconds=seconds, writes=counter.writes), target


def two_days(folder: Path, *only: str) -> tuple[Day, Day]:
    """The first day, from nothing; the second, with a file changed, one new, one gone."""
    fresh = small_company(folder / "fresh", *only)
    work_here(copy_of_all(fresh, folder / "imports"), FIRST_DAY)  # what is imported late takes its time only once
    first, done = undisturbed(fresh, folder / "first", FIRST_DAY)
    changed = next_day(copy_of_all(done, folder / "changed"))
    second, _ = undisturbed(changed, folder / "second", SECOND_DAY)
    return first, second


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> tuple[Day, Day]:
    return two_days(tmp_path_factory.mktemp("days"), "ad_spend", "orders", "customers", "clicks")


@pytest.fixture(scope="module")
def whole_days(tmp_path_factory: pytest.TempPathFactory) -> tuple[Day, Day]:
    return two_days(tmp_path_factory.mktemp("whole-days"))


def killed_and_resumed(stages: Stages, day: Day, folder: Path, number: int) -> tuple[bool, list[str]]:
    """Kill a day's work once, do it again; whether the kill struck, and the tables that differ."""
    copy_of_all(day.start, folder)
    rng = random.Random(f"kill-{number}")
    kill: dict[str, Any] = {"seconds": rng.uniform(0, day.seconds)} if number % 4 < 2 else {}
    code = stages.run(folder, day.as_of, **(kill or {"write": rng.randint(1, day.writes)}))
    work_here(folder, day.as_of)
    found = digests(folder)
    differing = sorted(name for name in day.tables.keys() | found.keys() if day.tables.get(name) != found.get(name))
    if not differing:
        shutil.rmtree(folder)
    return code == -signal.SIGKILL, [f"{name} after kill {number} ({kill}, {folder})" for name in differing]


def kill_many(days: tuple[Day, Day], folder: Path, kills: int) -> str:
    """Kill the days in turn; a sentence on what was done, for the test's output."""
    with Stages() as stages:
        results = [
            killed_and_resumed(stages, days[number % 2], folder / f"kill-{number}", number) for number in range(kills)
        ]
    differing = [sentence for _, sentences in results for sentence in sentences]
    assert not differing, differing
    struck = sum(hit for hit, _ in results)
    assert struck >= HIT * kills
    tables, rows = sum(len(day.tables) for day in days), sum(count for day in days for count, _ in day.tables.values())
    return f"\nkills: {struck} of {kills} runs killed at work; all {tables} tables ({rows:,} rows) as undisturbed\n"


def test_the_two_days_differ_where_they_should(days: tuple[Day, Day]) -> None:
    first, second = (day.tables for day in days)
    assert first["raw.orders"] != second["raw.orders"]
    assert first["raw.clicks"] == second["raw.clicks"]
    assert all(first[f"raw.{name}"][0] > 0 for name in ("ad_spend", "orders", "customers", "clicks"))
    assert first["mart.spend_weekly"][0] > 0
    assert first["out.quarantine"][0] > 0  # the company is dirty: rows wait there


def test_killed_runs_resume_to_the_same_tables(
    days: tuple[Day, Day], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = kill_many(days, tmp_path, SHORT)
    with capsys.disabled():
        sys.stdout.write(told)


@pytest.mark.soak
def test_two_hundred_killed_runs(
    whole_days: tuple[Day, Day], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = kill_many(whole_days, tmp_path, LONG)
    with capsys.disabled():
        sys.stdout.write(told)
