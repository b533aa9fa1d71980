"""`deployments/prefect.yaml` on a real server: registered, scheduled, run by the worker, and nothing left behind."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_API_URL
from prefect.states import Running, Scheduled

from flows import serve, tether
from models.errors import ConfigError, OutsideServiceError, WorkspaceLocked

ROOT = Path(__file__).parents[2]
PREFECT_YAML = ROOT / "deployments" / "prefect.yaml"
DEPLOYMENTS = yaml.safe_load(PREFECT_YAML.read_text(encoding="utf-8"))["deployments"]
PATIENCE = 240.0  # seconds until a step counts as stuck; each takes 5 to 40 on two busy cores

TOY_FLOW = """
import os, sys, time
from pathlib import Path
from prefect import flow

@flow(name="toy")
def toy(workspace: str, seconds: float = 0) -> str:
    import models.errors, tasks, flows.serve
    Path(workspace, "ran.txt").write_text("\\n".join([sys.executable, os.getcwd(), str(os.getpid())]))
    time.sleep(seconds)
    return "done"
"""


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_an_entrypoint_is_a_flow_that_takes_the_parameters(deployment: dict[str, Any]) -> None:
    flow = load_flow_from_entrypoint(deployment["entrypoint"])
    assert set(deployment["parameters"]) <= set(flow.parameters.properties)
    assert set(flow.parameters.required) <= set(deployment["parameters"])
    assert deployment["work_pool"]["name"] == serve.POOL
    assert deployment["concurrency_limit"]["limit"] == 1


def test_a_taken_port_gives_way_to_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as other:
        other.bind((serve.HOST, 0))
        other.listen()
        taken = other.getsockname()[1]
        assert taken < serve._free_port(taken) < taken + serve.PORTS_TRIED
        monkeypatch.setattr(serve, "PORTS_TRIED", 1)
        with pytest.raises(OutsideServiceError, match=f"Ports {taken} to {taken} are all taken"):
            serve._free_port(taken)


def test_a_folder_that_is_no_workspace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no marginal\.yaml"):
        serve.serve(tmp_path)


def test_a_workspace_is_served_once(tmp_path: Path) -> None:
    (tmp_path / "marginal.yaml").write_text("company: Toy\nsources: {ad_spend: landing/ad_spend.csv}\n")
    home = serve.prefect_home(tmp_path)
    assert serve.served_at(home) is None
    with serve._only_one(home, "http://there"):
        assert serve.served_at(home) == "http://there"
        with pytest.raises(WorkspaceLocked, match="http://there"):
            serve.serve(tmp_path)
    assert serve.served_at(home) is None


def test_a_server_that_fails_is_told_with_the_last_line_of_its_log(tmp_path: Path) -> None:
    with serve.children(tmp_path) as family:
        family.start("server", "server", "no-such-command")
        with pytest.raises(OutsideServiceError, match=r"server ended with exit code [1-9]") as caught:
            family.wait_for("server", lambda: False, PATIENCE)
    assert "no-such-command" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 5


def until(what: str, found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s for {what}"
        time.sleep(0.3)
    return value


def alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def test_a_child_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from flows.tether import Children\n"
        "family = Children(Path(sys.argv[1]))\n"
        "family.start('server', 'server', 'start', '--port', '14300', '--no-ui')\n"
        "print(family.processes['server'].pid, flush=True); time.sleep(1000)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    until("the child to end", lambda: not alive(child))


def test_a_run_left_open_by_a_stopped_worker_is_closed(prefect_server: None) -> None:
    """Otherwise it would hold the pool's one place, and nothing would ever run again."""

    @flow
    def left_open() -> None: ...

    with SyncPrefectClient(api=PREFECT_API_URL.value()) as client:
        client.create_work_pool(WorkPoolCreate(name=serve.POOL, type="process"))
        pooled = client.create_flow_run(left_open, state=Running(), work_pool_name=serve.POOL)
        scheduled = client.create_flow_run(left_open, state=Scheduled(), work_pool_name=serve.POOL)
        elsewhere = client.create_flow_run(left_open, state=Running())
        serve._close_interrupted(client)
        names = [client.read_flow_run(run.id).state.name for run in (pooled, scheduled, elsewhere)]
    assert names == ["Crashed", "Scheduled", "Running"]


class Served:
    """`serve` in a process of its own, with a toy deployment beside the project's."""

    def __init__(self, folder: Path) -> None:
        self.workspace = folder / "workspace"
        self.workspace.mkdir()
        (self.workspace / "marginal.yaml").write_text(
            "company: Toy\ntimezone: Europe/Lisbon\nsources: {ad_spend: landing/ad_spend.csv}\n"
        )
        (folder / "toy.py").write_text(TOY_FLOW)
        toy = {
            "name": "toy",
            "entrypoint": f"{folder / 'toy.py'}:toy",
            "parameters": {"workspace": "{{ $MARGINAL_WORKSPACE }}"},
            "work_pool": {"name": serve.POOL},
        }
        self.prefect_yaml = folder / "prefect.yaml"
        self.prefect_yaml.write_text(yaml.safe_dump({"deployments": [*DEPLOYMENTS, toy]}))
        self.said: list[str] = []

    def start(self) -> None:
        code = (
            "import sys; from pathlib import Path; from flows.serve import serve\n"
            "serve(Path(sys.argv[1]), port=int(sys.argv[2]), prefect_yaml=Path(sys.argv[3]))"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, self.workspace, "14200", self.prefect_yaml],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith("Ready"):
                break
        else:
            pytest.fail("".join(self.said))
        self.url = serve.served_at(self.workspace / ".prefect")
        self.client = SyncPrefectClient(api=f"{self.url}/api")

    def run_toy(self, **parameters: float) -> FlowRun:
        toy = self.client.read_deployment_by_name("toy/toy")
        return self.client.create_flow_run_from_deployment(toy.id, parameters=parameters)

    def pids(self) -> list[int]:
        return tether._descendants(self.process.pid)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.client._client.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    one = Served(tmp_path_factory.mktemp("served"))
    one.start()
    yield one
    one.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # a field that Prefect's own answer carries
def test_a_served_workspace_from_schedule_to_stop(served: Served) -> None:
    """One story: a server for each of its scenes would take half a minute more."""
    names = [deployment["name"] for deployment in DEPLOYMENTS]
    registered = {deployment.name: deployment for deployment in served.client.read_deployments()}
    assert set(registered) == {*names, "toy"}
    assert registered["daily"].parameters == {"workspace": str(served.workspace)}
    assert [schedule.schedule.timezone for schedule in registered["daily"].schedules] == ["Europe/Lisbon"]
    assert len(served.client.read_automations()) == 1
    assert served.client.read_work_pool(serve.POOL).concurrency_limit == 1

    for name in names:  # the scheduler works: with some versions of its libraries it fails without a word
        only = DeploymentFilter(name=DeploymentFilterName(any_=[name]))
        until(f"scheduled runs of {name}", lambda only=only: served.client.read_flow_runs(deployment_filter=only))

    run = served.run_toy()
    state = until("the run", lambda: (s := served.client.read_flow_run(run.id).state).is_final() and s)
    assert state.is_completed(), state
    python, folder, _ = (served.workspace / "ran.txt").read_text().splitlines()
    assert (python, folder) == (sys.executable, str(ROOT))

    (served.workspace / "ran.txt").unlink()
    run = served.run_toy(seconds=1000)
    until("the long run", (served.workspace / "ran.txt").is_file)
    pids = served.pids()
    worker = int((served.workspace / "ran.txt").read_text().splitlines()[2])
    assert worker in pids and len(pids) >= 3
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(PATIENCE) == 0
    assert not [pid for pid in pids if alive(pid)]


def test_the_server_of_another_workspace_is_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs may find the same port free: the later one must not send its run to the other's server."""
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with serve.server_for_run(tmp_path / "first") as url:
        monkeypatch.setattr(serve, "_free_port", lambda first: int(url.rsplit(":", 1)[1]))
        with pytest.raises(OutsideServiceError, match="already in use"), serve.server_for_run(tmp_path / "second"):
            pass
