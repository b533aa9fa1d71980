"""Prefect commands run as children that end with this process, however that one ends.

A child's standard input is a pipe whose other end only the parent holds and into which nobody writes: reading it
returns when the parent is gone, killed without notice included. `python -m flows.tether ...` is that child's side.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from models.errors import OutsideServiceError

CHECKOUT = Path(__file__).resolve().parents[1]
STOP_SECONDS = 20.0  # an idle server or worker takes 2 s, a worker that has to end a flow run 3 s
FOREIGN = ("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_PROFILE")  # would send ours to somebody else's server


class Children:
    """The Prefect commands started here, each with its log in `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {key: value for key, value in os.environ.items() if key not in FOREIGN} | {
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO",  # their console is a log file ...
            "COLUMNS": "240",  # ... in which a message is one line
            "PREFECT_WORKER_QUERY_SECONDS": "3",  # by default a run started on the page waits up to 10 s
        }

    def start(self, name: str, *arguments: str) -> None:
        """Start `prefect <arguments>`, away from the terminal's Ctrl-C."""
        with (self.home / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "flows.tether", *arguments],
                cwd=CHECKOUT,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise OutsideServiceError if a child that should be running has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise self._failure(name, f"ended with exit code {process.returncode}")

    def wait_for(self, name: str, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready()`; raise OutsideServiceError after `seconds` or when a child ends."""
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise self._failure(name, f"was not ready within {seconds:.0f} s")
            time.sleep(0.2)

    def wait_end(self, name: str, seconds: float) -> None:
        """Wait until a child has done its work; raise OutsideServiceError if it fails or takes more than `seconds`."""
        try:
            code = self.processes[name].wait(seconds)
        except subprocess.TimeoutExpired:
            raise self._failure(name, f"was not done within {seconds:.0f} s") from None
        if code:
            raise self._failure(name, f"ended with exit code {code}")
        _let_go(self.processes.pop(name))

    def stop(self) -> None:
        """End all children, the last one first, by letting go of them; a worker ends its flow run before itself."""
        for process in reversed(self.processes.values()):
            _let_go(process)  # no SIGTERM beside it: at a second one a worker dies at once and orphans its flow run
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                for pid in [*_descendants(process.pid), process.pid]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.wait()

    def _failure(self, name: str, what: str) -> OutsideServiceError:
        if has_no_room(self.home):
            from tasks.warehouse import disk_full  # not above: this file also runs as a child, without a database

            return disk_full(self.home)
        log = self.home / f"{name}.log"
        words = [
            line.strip(" │╭╮╰╯─") for line in log.read_text(errors="replace").splitlines()
        ]  # Prefect boxes errors in
        lines = [line for line in words if line]
        return OutsideServiceError(
            f"Prefect's {name} {what}, and it is needed.\n"
            f"The last line it wrote: {lines[-1] if lines else 'none'}\n"
            f"Read {log} and start again."
        )


ROOM_BYTES = 4_000_000  # what the server's own database needs at the least


def has_no_room(home: Path) -> bool:
    """Whether the disk is too full for the server's own database."""
    return shutil.disk_usage(home).free < ROOM_BYTES


@contextlib.contextmanager
def children(home: Path) -> Iterator[Children]:
    """Children of this process, stopped on the way out."""
    home.mkdir(parents=True, exist_ok=True)
    family = Children(home)
    try:
        yield family
    finally:
        family.stop()


def _let_go(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _descendants(root: int) -> list[int]:
    """Return the ids of all processes that descend from `root`, in whichever session they are."""
    table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = [tuple(map(int, line.split())) for line in table.splitlines()]
    found = [root]
    for ancestor in found:  # grows while it is read: breadth first
        found.extend(pid for pid, parent in parents if parent == ancestor)
    return found[1:]


def _follow_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2 * STOP_SECONDS)  # a living parent acts sooner
    os._exit(1)


def main() -> None:
    """Run the `prefect` command of `sys.argv` until it is done or the parent is gone."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    from prefect.cli import app

    app()


if __name__ == "__main__":
    main()
