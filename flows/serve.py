"""A Prefect server of the workspace's own, for one run or with deployments and a worker until stopped."""

import contextlib
import fcntl
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import StateType, WorkerStatus
from prefect.events.worker import EventsWorker
from prefect.exceptions import ObjectAlreadyExists, PrefectHTTPStatusError
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed
from prefect.workers.process import ProcessWorker

from flows.settings import load_settings
from flows.tether import CHECKOUT, Children, children, has_no_room
from models.errors import OutsideServiceError, WorkspaceLocked
from tasks.warehouse import disk_full

PREFECT_YAML = CHECKOUT / "deployments" / "prefect.yaml"
POOL = "marginal"  # the name prefect.yaml gives its work pool
HOST = "127.0.0.1"  # the page can start runs and asks nobody who they are: this machine only
PORTS_TRIED = 20
SERVER_SECONDS = 300.0  # 7 to 40 s seen on two cores; far more is another program's doing, not a failure
DEPLOY_SECONDS = 300.0  # it imports every flow, which is 8 s of one core
WORKER_SECONDS = 120.0  # any Prefect command needs 5 s to start
DRAIN_SECONDS = 10.0  # a log batch takes 2 s
ANY_PORT = 0  # the system chooses: two runs that start at once must not settle on the same
INTERRUPTED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


say_now = partial(print, flush=True)  # at once, also into a pipe


def serve(
    workspace: Path, *, port: int = 4200, prefect_yaml: Path = PREFECT_YAML, say: Callable[[str], None] = say_now
) -> None:
    """Serve `workspace` until Ctrl-C or SIGTERM: a server with its page, the deployments, one worker.

    Call it from the main thread, since it answers signals.

    Parameters
    ----------
    workspace : folder that holds `marginal.yaml`; Prefect's database and logs go to its `.prefect/`.
    port : first port to try for the server; where it is in use the next free one is taken.
    prefect_yaml : the deployments to register; their schedules are in the time zone of `marginal.yaml`.
    say : where the progress lines go.

    Raises
    ------
    ConfigError : `marginal.yaml` is missing or wrong.
    WorkspaceLocked : this workspace is being served already.
    OutsideServiceError : no port was free, or server, worker or registration failed; it quotes the log's last line.
    """
    workspace = workspace.resolve()
    timezone = load_settings(workspace).timezone
    home = prefect_home(workspace)
    url = f"http://{HOST}:{_free_port(port)}"
    with _signals_interrupt(), _only_one(home, url), children(home) as family:
        try:
            family.environment |= {
                "PREFECT_API_URL": f"{url}/api",
                "MARGINAL_WORKSPACE": str(workspace),  # these two fill the blanks of prefect.yaml
                "MARGINAL_TIMEZONE": timezone,
            }
            _start_all(family, url, prefect_yaml, say)
            say(f"Ready: open {url}/deployments, choose one and press Run. Schedules are in {timezone}.")
            say(f"Logs are in {home}. Ctrl-C stops the server and the worker.")
            while True:
                family.check()
                time.sleep(1)
        except KeyboardInterrupt:
            say("Stopping the worker and the server.")


@contextlib.contextmanager
def server_for_run(workspace: Path) -> Iterator[str]:
    """Give the flows called inside a Prefect server, which ends with this process even if that is killed.

    The server of a running `marginal serve` is used where there is one, so that the run shows on its page.
    Prefect's own temporary server outlives a parent that is killed, hence this one. Yields the server's address.
    """
    home = prefect_home(workspace.resolve())
    with children(home) as family:
        url = served_at(home)
        if url is None:
            url = f"http://{HOST}:{_free_port(ANY_PORT)}"
            _start_server(family, url, "--no-ui")
        with temporary_settings({PREFECT_API_URL: f"{url}/api"}):
            try:
                yield url
            except PrefectHTTPStatusError as error:
                if has_no_room(home):  # the server could not write its own database
                    raise disk_full(home) from error
                raise
            finally:
                _send_what_is_left()


def _send_what_is_left() -> None:
    """Wait for logs and events that Prefect's threads still hold: they must go before the server does."""
    for service in (APILogWorker, EventsWorker):
        service.drain_all(timeout=DRAIN_SECONDS)


def prefect_home(workspace: Path) -> Path:
    """Return the folder for Prefect's database and logs, made where it is missing."""
    home = workspace / ".prefect"
    home.mkdir(parents=True, exist_ok=True)
    return home


def served_at(home: Path) -> str | None:
    """Return the address of the `marginal serve` that runs on `home`, or None."""
    with contextlib.suppress(FileNotFoundError), (home / "serve.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock.read() or None
    return None


def _start_all(family: Children, url: str, prefect_yaml: Path, say: Callable[[str], None]) -> None:
    say(f"Starting Prefect's server at {url}")
    _start_server(family, url)
    with SyncPrefectClient(api=f"{url}/api") as client:
        with contextlib.suppress(ObjectAlreadyExists):
            client.create_work_pool(
                WorkPoolCreate(
                    name=POOL,
                    type="process",
                    base_job_template=ProcessWorker.get_default_base_job_template(),
                    concurrency_limit=1,  # the warehouse has one writer at a time, whichever deployment it comes from
                )
            )
        _close_interrupted(client)
        say("Registering the deployments and starting a worker")
        family.start("worker", "worker", "start", "--pool", POOL, "--name", POOL)
        family.start("deploy", "--no-prompt", "deploy", "--all", "--prefect-file", str(prefect_yaml))
        family.wait_end("deploy", DEPLOY_SECONDS)

        def online() -> bool:
            workers = client.read_workers_for_work_pool(POOL, limit=10, offset=0)
            return any(worker.status == WorkerStatus.ONLINE for worker in workers)

        family.wait_for("worker", online, WORKER_SECONDS)


def _start_server(family: Children, url: str, *options: str) -> None:
    family.start("server", "server", "start", "--host", HOST, "--port", url.rsplit(":", 1)[1], *options)
    with SyncPrefectClient(api=f"{url}/api") as client:

        def ours_answers() -> bool:
            """Another workspace's server may have taken the port since it was found free; ours ends then."""
            if client.api_healthcheck() is not None:
                return False
            settings = client.request("GET", "/admin/settings").json()
            return str(settings.get("home")) == str(family.home)

        family.wait_for("server", ours_answers, SERVER_SECONDS)


def _close_interrupted(client: SyncPrefectClient) -> None:
    """Mark the runs that a stopped worker left open as crashed: they would hold the pool's one place for ever."""
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=INTERRUPTED))),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
    )
    for run in runs:
        client.set_flow_run_state(run.id, Crashed(message="The worker was stopped before this run ended."), force=True)


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP do what Ctrl-C does, also where the shell that started us ignores Ctrl-C."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def _only_one(home: Path, url: str) -> Iterator[None]:
    """Hold the workspace's `serve` for this process and note its address; the system lets go when the process ends."""
    with (home / "serve.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkspaceLocked(
                f"{home.parent} is being served already at {served_at(home)}, and once is enough.\n"
                "Use that one, or stop it first."
            ) from None
        lock.truncate(0)
        lock.write(url)
        lock.flush()
        yield


def _free_port(first: int) -> int:
    """Return the first port from `first` on that is free on this machine; any for 0."""
    for port in range(first, first + PORTS_TRIED):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return int(probe.getsockname()[1])
    raise OutsideServiceError(
        f"Ports {first} to {first + PORTS_TRIED - 1} are all taken, and the server needs a free one.\n"
        "Name another with --port, or stop what holds them."
    )
