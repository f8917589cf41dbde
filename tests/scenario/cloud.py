"""A whole cloud out of processes: simulated clusters apart, and as many services as one likes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extras

from cyclades_tx.config import Config
from cyclades_tx.crash import VARIABLE
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.ganeti.simulator.service import SimulatorCredentials
from cyclades_tx.store.quotas import RECOUNT
from cyclades_tx.trial_seed import TrialCluster
from tests.api.strict import misfit_on_the_wire
from tests.forks import FORKS, TWISTD, Fork
from tests.real.ganeti import REMOVE_SECONDS, RealGaneti
from tests.real.ports import free_port
from tests.scenario.clients.people import typed

START_SECONDS = 30.0
KNOWN_SECONDS = 10.0


class Refused(Exception):
    """The service answered with an error."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status


class Simulators:
    """Simulated clusters in a process of their own."""

    def __init__(
        self, folder: Path, count: int, job_seconds: float = 0.3, screens: bool = False
    ) -> None:
        self.folder = folder
        self.clusters: list[TrialCluster] = []
        tables = []
        for number in range(1, count + 1):
            name, port = f"sim{number}.example.org", free_port()
            users = folder / f"sim{number}.users"
            username, password = SimulatorCredentials.load_or_make(users).writer
            tables.append(
                f'[[cluster]]\nname = "{name}"\nlisten = "tcp:{port}:interface=127.0.0.1"\n'
                f'credentials_file = "{users}"\nstate = "{folder / f"sim{number}.state"}"\n'
                f"job_seconds = {job_seconds}\nscreens = {json.dumps(screens)}\n"
            )
            self.clusters.append(
                TrialCluster(name, "http", "127.0.0.1", port, username, password, None, "kvm")
            )
        self._config = folder / "simulators.toml"
        self._config.write_text("\n".join(tables))
        self._process: Fork | None = None

    def start(self) -> None:
        """Start the process and wait until every cluster answers."""
        with (self.folder / "simulators.log").open("ab") as log:
            self._process = FORKS.start(
                *(*TWISTD, "ganeti-simulator", f"--config={self._config}"), stdout=log, stderr=log
            )
        for cluster in self.clusters:
            until(partial(self._answers, cluster), "a simulated cluster answers", START_SECONDS)

    def instances(self) -> dict[str, str]:
        """Every instance of every cluster, with the cluster's name; doubles are an error."""
        found: dict[str, str] = {}
        for cluster in self.clusters:
            for row in self.ask(cluster, "/2/instances"):
                assert row["id"] not in found, f"{row['id']} is on two clusters"
                found[row["id"]] = cluster.name
        return found

    def ask(self, cluster: TrialCluster, path: str) -> Any:
        """GET something of a cluster's RAPI."""
        opener = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        url = f"http://127.0.0.1:{cluster.port}{path}"
        opener.add_password(None, url, cluster.username, cluster.password)
        handler = urllib.request.HTTPBasicAuthHandler(opener)
        with urllib.request.build_opener(handler).open(url, timeout=10) as reply:
            return json.load(reply)

    def stop(self) -> None:
        """End the process."""
        end(self._process)

    def kill(self) -> None:
        """End the process without a warning."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self, cluster: TrialCluster) -> bool:
        ended = self._process is not None and self._process.poll() is not None
        assert not ended, (self.folder / "simulators.log").read_text()[-2000:]
        try:
            self.ask(cluster, "/2/info")
        except OSError:
            return False
        return True


class RealClusters:
    """Real clusters, which outlive a test; what it made on them is removed after it.

    :param prefix: what the names of this test's instances and networks begin with.
    """

    def __init__(self, ganetis: Sequence[RealGaneti], prefix: str) -> None:
        self.prefix = prefix
        self.ganetis = {ganeti.name: ganeti for ganeti in ganetis}
        self.clusters = [
            TrialCluster(
                each.name,
                "https",
                each.address,
                each.port,
                each.username,
                each.password,
                each.certificate_pem,
                each.hypervisor,
            )
            for each in ganetis
        ]

    def start(self) -> None:
        """See to it that all of them run."""
        for ganeti in self.ganetis.values():
            ganeti.revive()

    def instances(self) -> dict[str, str]:
        """This test's instances, with the cluster's name; doubles are an error."""
        found: dict[str, str] = {}
        for ganeti in self.ganetis.values():
            for name in ganeti.instances():
                if name.startswith(self.prefix):
                    assert name not in found, f"{name} is on two clusters"
                    found[name] = ganeti.name
        return found

    def stop(self) -> None:
        """Remove this test's instances; its networks hurt nobody."""
        self.start()

        def gone() -> bool:
            left: dict[str, list[str]] = {}
            for name, cluster in self.instances().items():
                left.setdefault(cluster, []).append(name)
            for cluster, names in left.items():
                self.ganetis[cluster].remove(names)
            return not left

        until(gone, "the test's instances are removed", REMOVE_SECONDS)

    def kill(self) -> None:
        """Nothing: the end of the whole run removes the clusters."""


class OpenStack:
    """The real client, as a person calls it; all of them in one process.

    :param folder: its home, with ``clouds.yaml`` in it.
    """

    def __init__(self, folder: Path, cloud: str = "demo") -> None:
        self._folder = folder
        self._environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "OS_CLIENT_CONFIG_FILE": str(folder / "clouds.yaml"),
            "OS_CLOUD": cloud,
        }

    def __call__(self, *words: str) -> str:
        """Run a command; return what it printed.

        :raise AssertionError: when it fails.
        """
        done = typed(words, self._environment, self._folder)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def json(self, *words: str) -> Any:
        """Run a command with ``-f json``; return what it said."""
        return json.loads(self(*words, "-f", "json"))


class Service:
    """One twistd process of the service.

    :param more: more tables of the configuration.
    :param ganeti: more lines of its table ``ganeti``.
    :param poll_idle_seconds: its poll of clusters at rest.
    """

    def __init__(
        self,
        folder: Path,
        dsn: str,
        name: str = "one",
        more: str = "",
        ganeti: str = "",
        poll_idle_seconds: float = 1.0,
    ) -> None:
        self.folder = folder
        self.ganeti = ganeti
        self.port = free_port()
        self.admin_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"{name}.log"
        self.config = folder / f"{name}.toml"
        keyring = folder / "keyring"
        if not keyring.exists():
            Keyring.create(keyring)
        dsn_file = folder / "dsn"
        dsn_file.touch(0o600)
        dsn_file.write_text(dsn)
        self.config.write_text(
            f"[[listen]]\nport = {self.port}\n[admin]\nport = {self.admin_port}\n"
            '[database]\ndsn_file = "dsn"\n[identity]\npassword_scrypt_log2n = 12\n'
            '[ganeti]\nkeyring_file = "keyring"\npoll_active_seconds = 0.1\n'
            f"poll_idle_seconds = {poll_idle_seconds}\nlease_seconds = 4.0\n"
            "breaker_pause_limit_seconds = 2.0\n"
            f"{ganeti}[quota]\nvm = 100000\ncpu = 100000\ntotal_cpu = 100000\nram_mib = 100000000\n"
            f"total_ram_mib = 100000000\ndisk_gib = 100000000\n{more}"
            f'[log]\nfile = "{self.log}"\n'
        )
        self.process: Fork | None = None

    @property
    def loaded(self) -> Config:
        """Its configuration."""
        return Config.load(self.config)

    def start(self, crash_at: int = 0, wait: bool = True) -> None:
        """Start it, to be killed at a crash point if one is given."""
        environment = {**os.environ, VARIABLE: str(crash_at)}
        with (self.folder / "service.err").open("ab") as log:
            self.process = FORKS.start(
                *(*TWISTD, "cyclades_tx", f"--config={self.config}"),
                stdout=log,
                stderr=log,
                environment=environment,
            )
        if wait:
            until(self.ready_or_dead, "the service is ready", START_SECONDS)
            errors = self.folder / "service.err"
            assert crash_at or not self.dead(), errors.read_text()[-2000:]
            with suppress(AssertionError, psycopg2.Error):
                # Unless a cluster is away from the beginning: then it is what the test is about.
                until(self.knows_clusters_or_dead, "every cluster was asked", KNOWN_SECONDS)

    def knows_clusters_or_dead(self) -> bool:
        """Whether it has asked every cluster what it is, or has ended."""
        dsn = (self.folder / "dsn").read_text()
        with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
            cursor.execute("select count(*) from cluster where disk_templates = '{}'")
            (unknown,) = cursor.fetchone() or (0,)
        return unknown == 0 or self.dead()

    def ready_or_dead(self) -> bool:
        """Whether it answers, or has ended."""
        if self.dead():
            return True
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=2):
                return True
        except OSError:
            return False

    def dead(self) -> bool:
        """Whether it has ended."""
        return self.process is None or self.process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it without a warning."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """End it in order."""
        end(self.process)


class Client:
    """A user's program, as small as can be."""

    def __init__(self, url: str, name: str, password: str, project: str) -> None:
        self.url = url
        self._login = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {
                        "user": {"name": name, "domain": {"id": "default"}, "password": password}
                    },
                },
                "scope": {"project": {"name": project, "domain": {"id": "default"}}},
            }
        }
        self.token = ""
        self._admin = name == "admin"

    def log_in(self) -> None:
        """Get a token."""
        _, headers, _ = self.send("POST", "/identity/v3/auth/tokens", self._login, timeout=30.0)
        self.token = headers["X-Subject-Token"]

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        timeout: float = 30.0,
        volume_minor: int = 0,
    ) -> tuple[int, Any, Any]:
        """Send a request; return status, headers and the JSON of the reply.

        :param volume_minor: Volume's microversion.
        :raise Refused: for a status of 400 and above.
        :raise OSError: when there is no answer.
        """
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                "X-Auth-Token": self.token,
                "OpenStack-API-Version": f"compute 2.96, volume 3.{volume_minor}",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as reply:
                text = reply.read()
                minor = volume_minor if path.startswith("/volume/") else 96
                wrong = misfit_on_the_wire(
                    method, path, minor, self._admin, reply.status, text.decode()
                )
                assert not wrong, wrong
                return reply.status, reply.headers, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode(errors="replace")) from None

    def get(self, path: str) -> Any:
        """The JSON of a GET."""
        return self.send("GET", path)[2]

    def create(self, name: str, flavor: str, image: str, network: str) -> str:
        """Ask for a server; return its id."""
        body = {
            "server": {
                "name": name,
                "flavorRef": flavor,
                "imageRef": image,
                "networks": [{"uuid": network}],
            }
        }
        found: str = self.send("POST", "/compute/v2.1/servers", body)[2]["server"]["id"]
        return found


class Books:
    """A look into the database, to see whether everything adds up."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Any = None

    def rows(self, sql: str, *args: Any) -> list[Any]:
        """Run a statement of one's own."""
        if self._connection is not None:
            try:
                return self._rows(sql, args)
            except psycopg2.OperationalError:
                # A test of another module has stopped the server meanwhile, and started it.
                self._connection.close()
        self._connection = psycopg2.connect(
            self._dsn, cursor_factory=psycopg2.extras.NamedTupleCursor
        )
        self._connection.autocommit = True
        return self._rows(sql, args)

    def _rows(self, sql: str, args: tuple[Any, ...]) -> list[Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, args)
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Look no more."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def open_operations(self) -> list[Any]:
        """What is still in motion."""
        return self.rows(
            "select id, kind, state, step, reason, server_id from operation"
            " where finished_at is null order by id"
        )

    def servers(self) -> list[Any]:
        """Every server that is not deleted."""
        return self.rows(
            "select id, name, state, charge, fault_message from server"
            " where deleted_at is null order by id"
        )

    def faults(self) -> list[str]:
        """Everything that does not add up: quota, addresses, ports, late operations."""
        found = [
            f"holding {row.resource}: {row}"
            for row in self.rows(
                f"select * from ({RECOUNT}) r"
                " where used <> counted_used or reserved <> counted_reserved"
            )
        ]
        for row in self.rows(
            "select s.id, (select coalesce(sum(p.last_address - p.first_address + 1), 0)"
            " from allocation_pool p where p.subnet_id = s.id) as pooled,"
            " (select coalesce(sum(f.last_address - f.first_address + 1), 0)"
            " from free_address_range f where f.subnet_id = s.id) as free,"
            " (select count(*) from address a where a.subnet_id = s.id and exists"
            " (select from allocation_pool p where p.subnet_id = s.id"
            " and a.address between p.first_address and p.last_address)) as taken from subnet s"
        ):
            if row.pooled != row.free + row.taken:
                found.append(f"subnet {row.id}: {row}")
        found += [
            f"address without a port: {row}"
            for row in self.rows(
                "select * from address a where port_id is null"
                " and not exists (select from floating_ip f where f.address_id = a.id)"
            )
        ]
        found += [
            f"port of a server that holds nothing: {row}"
            for row in self.rows(
                "select p.id as port, s.id as server, s.state from port p"
                " join server s on s.id = p.server_id"
                " where s.charge = 'none' and s.state <> 'building'"
            )
        ]
        found += [
            f"operation past its deadline: {row}"
            for row in self.rows(
                "select id, kind from operation where finished_at is null and deadline_at < now()"
            )
        ]
        return found


def until(
    condition: Callable[[], Any], what: str | Callable[[], str], seconds: float = 60.0
) -> None:
    """Wait until something is so.

    :param what: that is, or a function that also tells what there is instead.
    :raise AssertionError: when it is not after that time.
    """
    end_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end_at:
            told = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {seconds} s: {told}")
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes] | Fork | None) -> None:
    """End a process in order, and if that does not help without."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError("the process did not end when it was told to") from None


@contextmanager
def ended(*things: Service | Simulators | RealClusters) -> Iterator[None]:
    """End all of them in the end, whatever happened."""
    try:
        yield
    finally:
        for thing in things:
            try:
                thing.stop()
            except AssertionError:
                thing.kill()
                raise
