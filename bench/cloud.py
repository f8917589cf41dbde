"""The cloud that is measured: PostgreSQL, simulated clusters and the service, a process each."""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg2

from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.ganeti.simulator import SimulatorCredentials
from cyclades_tx.lag import PERIOD_VARIABLE
from cyclades_tx.store.embedded import EmbeddedPostgres
from cyclades_tx.store.migrations import migrate
from cyclades_tx.trial_seed import TrialCluster

ROOT = Path(__file__).resolve().parent.parent
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile="]
START_SECONDS = 60.0
STOP_SECONDS = 30.0

#: Most connections of each side to PostgreSQL, as the service has them by default.
CONNECTIONS = 16

#: So much that no quota and no pool of addresses ends a measurement.
_QUOTA = (
    "[quota]\nvm = 100000\ncpu = 1000000\ntotal_cpu = 1000000\nram_mib = 1000000000\n"
    "total_ram_mib = 1000000000\ndisk_gib = 1000000000\n"
)

#: Below those that the kernel gives to outgoing connections; each process begins elsewhere.
_ports = itertools.cycle(
    [*range(12_000 + os.getpid() * 37 % 20_000, 32_000), *range(12_000, 32_000)]
)


def free_port() -> int:
    """A port of the loopback that nobody uses now, and that no connection is given by chance."""
    for port in itertools.islice(_ports, 20_000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


def until(true: Callable[[], bool], what: str, seconds: float) -> None:
    """Wait for something.

    :raise TimeoutError: when it does not come true in time; names it.
    """
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds:g} s it is still not true that {what}")
        time.sleep(0.05)


class Process:
    """One process of the measurement; what it says goes into a file of the folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._log = folder / f"{name}.log"
        self._popen: subprocess.Popen[bytes] | None = None

    def start(
        self, command: list[str], environment: dict[str, str] | None = None, order: Any = None
    ) -> None:
        """Start it.

        :param order: written to its standard input as JSON, if given.
        """
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if order is None else subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                    **(environment or {}),
                },
            )
        if order is not None:
            assert self._popen.stdin is not None
            self._popen.stdin.write(json.dumps(order).encode())
            self._popen.stdin.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._popen is not None
        return self._popen.pid

    def check(self) -> None:
        """See that it runs.

        :raise RuntimeError: when it has ended; says with what last words.
        """
        assert self._popen is not None
        if self._popen.poll() is not None:
            logs = (self._log, self._log.with_suffix(".json"))
            said = "".join(log.read_text(errors="replace") for log in logs if log.exists())
            last = said.strip()[-2000:]
            raise RuntimeError(f"{self._log.stem} has ended with {self._popen.returncode}:\n{last}")

    def answers(self, url: str) -> bool:
        """Whether something answers at a URL, with whatever status, while the process runs."""
        self.check()
        try:
            with urllib.request.urlopen(url, timeout=2):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def stop(self) -> None:
        """End it in order, or after some time anyhow."""
        popen, self._popen = self._popen, None
        if popen is None or popen.poll() is not None:
            return
        popen.terminate()
        try:
            popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()


class Simulators:
    """The simulated clusters, in one process apart from the service."""

    def __init__(self, folder: Path, count: int, job_seconds: float) -> None:
        self.clusters: list[TrialCluster] = []
        tables = []
        for number in range(1, count + 1):
            name, port, users = (
                f"bench{number}.example.org",
                free_port(),
                folder / f"{number}.users",
            )
            username, password = SimulatorCredentials.load_or_make(users).writer
            tables.append(
                f'[[cluster]]\nname = "{name}"\nlisten = "tcp:{port}:interface=127.0.0.1"\n'
                f'credentials_file = "{users}"\njob_seconds = {job_seconds}\n'
                "node_memory_mib = 8388608\nnode_disk_mib = 268435456\n"
                # Not where a Ganeti of this machine, if there is one, has its screens.
                f"first_port = {free_port()}\n"
            )
            self.clusters.append(
                TrialCluster(name, "http", "127.0.0.1", port, username, password, None, "kvm")
            )
        self._config = folder / "simulators.toml"
        self._config.write_text("\n".join(tables))
        self._process = Process(folder, "simulators")

    def start(self) -> None:
        """Start them and wait until they answer."""
        self._process.start([*TWISTD, "ganeti-simulator", f"--config={self._config}"])
        for cluster in self.clusters:
            url = f"http://127.0.0.1:{cluster.port}/2/info"
            until(lambda url=url: self._process.answers(url), "a cluster answers", START_SECONDS)

    def instances(self) -> list[str]:
        """The names of the instances on all clusters; one that is on two of them comes twice."""
        return [row["id"] for cluster in self.clusters for row in _ask(cluster, "/2/instances")]

    def stop(self) -> None:
        """End them."""
        self._process.stop()


def _ask(cluster: TrialCluster, path: str) -> Any:
    secret = base64.b64encode(f"{cluster.username}:{cluster.password}".encode()).decode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{cluster.port}{path}", headers={"Authorization": f"Basic {secret}"}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


class Cloud:
    """All of it, in one folder that may be thrown away afterwards.

    :param job_seconds: how long a job of a simulated cluster takes.
    :param more: more tables of the service's configuration.
    """

    def __init__(
        self, folder: Path, clusters: int = 4, job_seconds: float = 0.5, more: str = ""
    ) -> None:
        self.folder = folder
        self._more = more
        self.port = free_port()
        self.admin_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.dsn = ""
        self.token = ""
        self.service = Process(folder, "service")
        self._postgres = EmbeddedPostgres(folder)
        self._simulators = Simulators(folder, clusters, job_seconds)
        self._config = folder / "cyclades_tx.toml"

    def start(self) -> None:
        """Start PostgreSQL and the clusters; fill the database with people, flavors and images."""
        self.dsn = self._postgres.start()
        migrate(self.dsn)
        Keyring.create(self.folder / "keyring")
        dsn_file = self.folder / "dsn"
        dsn_file.touch(0o600)
        dsn_file.write_text(self.dsn)
        self._config.write_text(
            f"[[listen]]\nport = {self.port}\n[admin]\nport = {self.admin_port}\n"
            f'[database]\ndsn_file = "dsn"\npool_max = {CONNECTIONS}\n'
            '[ganeti]\nkeyring_file = "keyring"\n'
            f'{_QUOTA}{self._more}[log]\nfile = "service.json"\n'
        )
        self._simulators.start()
        self._seed()

    def _seed(self) -> None:
        said = {
            "config": str(self._config),
            "clusters": [asdict(each) for each in self._simulators.clusters],
            "clouds": str(self.folder / "clouds.yaml"),
            "url": self.url,
        }
        subprocess.run(
            [sys.executable, "-m", "bench.seeding"],
            input=json.dumps(said).encode(),
            cwd=ROOT,
            check=True,
            timeout=60,
        )

    def start_service(
        self,
        lag_period_seconds: float | None = None,
        command: list[str] = TWISTD,
        environment: dict[str, str] | None = None,
    ) -> None:
        """Start the service, wait until it is ready, and log in.

        :param lag_period_seconds: how often it looks at the lag of its reactor, if not as usual.
        :param command: what runs its plugin.
        """
        more = {} if lag_period_seconds is None else {PERIOD_VARIABLE: str(lag_period_seconds)}
        self.service.start(
            [*command, "cyclades_tx", f"--config={self._config}"], {**more, **(environment or {})}
        )
        until(
            lambda: self.service.answers(f"{self.url}/healthz"), "the service runs", START_SECONDS
        )
        # Not before every cluster was looked at: the first look makes the first placement good.
        count = len(self._simulators.clusters)
        until(
            lambda: (
                self.rows("select count(*) from cluster where statistics_at is not null")
                == [(count,)]
            ),
            "the service has seen every cluster",
            START_SECONDS,
        )
        self.token = self.log_in()

    def restart_service(self, lag_period_seconds: float | None = None) -> None:
        """Start the service anew, as empty as it was at first."""
        self.service.stop()
        self.start_service(lag_period_seconds)

    def stop(self) -> None:
        """End everything, and remove the database."""
        self.service.stop()
        self._simulators.stop()
        self._postgres.remove()

    def rows(self, sql: str, *arguments: Any) -> list[Any]:
        """Ask the database past the service."""
        connection = psycopg2.connect(self.dsn)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(sql, arguments)
                return cursor.fetchall()
        finally:
            connection.close()

    def get(self, path: str, minor: int = 96) -> bytes:
        """GET something of the service as the user of the bench."""
        request = urllib.request.Request(self.url + path, headers=self.headers(minor))
        with urllib.request.urlopen(request, timeout=30) as reply:
            body: bytes = reply.read()
            return body

    def headers(self, minor: int, token: str = "") -> dict[str, str]:
        """What every request of the bench says.

        :param token: in place of that for the project of the user of the bench.
        """
        return {"X-Auth-Token": token or self.token, "OpenStack-API-Version": f"compute 2.{minor}"}

    def metrics(self) -> str:
        """The service's own numbers."""
        url = f"http://127.0.0.1:{self.admin_port}/metrics"
        with urllib.request.urlopen(url, timeout=30) as reply:
            text: str = reply.read().decode()
            return text

    def instances(self) -> list[str]:
        """The names of the instances on all clusters; one that is on two of them comes twice."""
        return self._simulators.instances()

    def log_in(self, project: str = "demo") -> str:
        """A new token of the user of the bench for a project, by its name."""
        lines = (self.folder / "clouds.yaml").read_text()
        password = re.search(r"username: demo\n\s*password: (\S+)", lines)
        assert password is not None
        user = {"name": "demo", "domain": {"id": "default"}, "password": password[1]}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": project, "domain": {"id": "default"}}},
            }
        }
        request = urllib.request.Request(
            f"{self.url}/identity/v3/auth/tokens",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            token: str = reply.headers["X-Subject-Token"]
            return token
