"""`kill -9` at any moment, then the same command again: the tables of an undisturbed run. Two runs at once: one."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.workspace import lock
from tests.flows.workspaces import marginal, out_tables, plain_workspace, small_company

PATIENCE = 600.0  # seconds until a run counts as stuck


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = small_company(tmp_path_factory.mktemp("undisturbed"), weeks=40, customers=4000)
    done = marginal("run", "-w", str(folder), timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return folder


def copy_of_inputs(folder: Path, target: Path) -> Path:
    target.mkdir()
    shutil.copy(folder / "marginal.yaml", target)
    shutil.copytree(folder / "landing", target / "landing")
    return target


def killed_after(folder: Path, stage: str | None, seconds: float) -> bool:
    """Start a run and kill it `seconds` after a stage ended (None: after the start); False if it was over before."""
    command = [sys.executable, "-m", "flows.cli", "run", "-w", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        if stage is not None:
            for line in process.stderr:
                if line.startswith(f"{stage} done"):
                    break
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        os.kill(process.pid, signal.SIGKILL)
        return process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(("stage", "seconds"), [("build", 1.0), ("plan", 0.05)])
def test_a_killed_run_resumes_to_the_same_tables(undisturbed: Path, tmp_path: Path, stage: str, seconds: float) -> None:
    folder = copy_of_inputs(undisturbed, tmp_path / "killed")
    assert killed_after(folder, stage, seconds)
    resumed = marginal("run", "-w", str(folder), timeout=PATIENCE)
    assert resumed.returncode == 0, resumed.stderr
    assert out_tables(folder) == out_tables(undisturbed)


@pytest.mark.soak
def test_runs_killed_at_random_moments_resume_to_the_same_tables(undisturbed: Path, tmp_path: Path) -> None:
    rng = random.Random(11)
    started = time.monotonic()
    assert marginal("run", "-w", str(copy_of_inputs(undisturbed, tmp_path / "whole"))).returncode == 0
    length = time.monotonic() - started
    for number in range(20):
        folder = copy_of_inputs(undisturbed, tmp_path / f"killed-{number}")
        killed_after(folder, None, rng.uniform(2.0, length))
        resumed = marginal("run", "-w", str(folder), timeout=PATIENCE)
        assert resumed.returncode == 0, resumed.stderr
        assert out_tables(folder) == out_tables(undisturbed), f"kill number {number}"


def test_the_second_of_two_runs_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = plain_workspace(tmp_path / "busy")
    with lock(folder):
        second = marginal("run", "-w", str(folder))
    assert second.returncode == 6
    assert len(second.stderr.strip().splitlines()) == 1
    assert "in use by another run" in second.stderr
