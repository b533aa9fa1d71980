"""A disk that fills up: said in plain words, the warehouse as last committed, and the same command completes later.

The disk is a small tmpfs, which takes root to mount.
"""

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.flows.workspaces import marginal, plain_workspace
from tests.torture.companies import FIRST_DAY, copy_of_all, small_company
from tests.torture.laws import wrong_message
from tests.torture.stages import Stages, digests, steps

DISK = 96  # MiB: inputs, ballast and four times the warehouse
SOURCES = ("ad_spend", "orders", "customers", "clicks", "bids")
SOAK = pytest.mark.soak
FREE = {0.1: (), 0.3: SOAK, 0.5: (), 0.7: SOAK, 0.9: (), 1.1: SOAK}  # of the warehouse, which takes more to be made
STEPS = {"prepare", "build"} | {f"{step} {source}" for step in ("load", "check") for source in SOURCES}
ENDED = 7  # exit code of an outside service that failed, which a disk is
BALLAST = "ballast"
Tables = dict[str, tuple[int, str]]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(options, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here, which takes root on Linux: a full disk is not tested")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_company(tmp_path_factory.mktemp("small") / "company", *SOURCES)


@pytest.fixture(scope="module")
def history(company: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Tables], int]:
    """The tables after each step where nothing goes wrong, before the first one first; bytes of the warehouse."""
    folder = copy_of_all(company, tmp_path_factory.mktemp("undisturbed") / "company")
    tables: list[Tables] = [{}, *(digests(folder) for _ in steps(folder, FIRST_DAY))]
    return tables, (folder / "warehouse.duckdb").stat().st_size


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    with Stages() as process:
        yield process


def fill(disk: Path, free: int) -> None:
    """Put a file there that leaves so many bytes."""
    with (disk / BALLAST).open("wb") as ballast:
        try:
            while (room := os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - free) > 0:
                ballast.write(bytes(min(room, 2**20)))
                ballast.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def says_that_the_disk_is_full(code: int, message: str) -> None:
    assert code == ENDED, message[-3000:]
    assert wrong_message(message) == []
    assert "disk" in message, message
    assert "is full" in message, message
    assert "Free some room" in message, message


def holds_what_was_committed(folder: Path, allowed: list[Tables]) -> None:
    """Readable as it lies there, and by one who may write."""
    warehouse = folder / "warehouse.duckdb"
    if {} in allowed and not warehouse.exists():
        return
    found = digests(folder)
    assert found in allowed, sorted(name for name in found if found[name] != allowed[-1].get(name))
    with duckdb.connect(str(warehouse)) as con:
        con.execute("select count(*) from information_schema.tables").fetchall()
    assert digests(folder) == found


@pytest.mark.parametrize("share", [pytest.param(share, marks=marks) for share, marks in FREE.items()])
def test_a_full_disk_is_named_and_nothing_is_lost(
    disk: Path, company: Path, history: tuple[list[Tables], int], stages: Stages, share: float, tmp_path: Path
) -> None:
    tables, size = history
    folder = copy_of_all(company, disk / "company")
    fill(disk, int(size * share))
    code = stages.run(folder, FIRST_DAY, log=tmp_path / "log")
    lines = (tmp_path / "log").read_text().splitlines()
    said = [line for line in lines if line in STEPS]
    says_that_the_disk_is_full(code, "\n".join(lines[len(said) :]))
    holds_what_was_committed(folder, tables[len(said) : len(said) + 2])
    (disk / BALLAST).unlink()
    assert stages.run(folder, FIRST_DAY, log=tmp_path / "again") == 0, (tmp_path / "again").read_text()
    assert digests(folder) == tables[-1]


def test_the_command_says_so_too(disk: Path) -> None:
    folder = plain_workspace(disk / "plain")
    fill(disk, 100_000)
    failed = marginal("ingest", "-w", str(folder))
    says_that_the_disk_is_full(failed.returncode, without_progress(failed.stderr))
    (disk / BALLAST).unlink()
    again = marginal("ingest", "-w", str(folder))
    assert again.returncode == 0, again.stderr


@pytest.mark.soak
@pytest.mark.parametrize("stage", ["ingest", "build", "retrain", "plan", "verify"])
def test_a_disk_that_fills_after_a_stage(disk: Path, stage: str) -> None:
    folder = plain_workspace(disk / "plain")
    command = [sys.executable, "-m", "flows.cli", "run", "-w", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            if line.startswith(f"{stage} done"):
                fill(disk, 0)
            said += line
        code = process.wait()
    says_that_the_disk_is_full(code, without_progress(said))
    digests(folder)  # readable
    (disk / BALLAST).unlink()
    again = marginal("run", "-w", str(folder))
    assert again.returncode == 0, again.stderr


def without_progress(stderr: str) -> str:
    """What is left of stderr without the lines that say which stage has passed."""
    return "\n".join(line for line in stderr.splitlines() if not re.match(r"\w+ (done|skipped|failed) \(", line))
