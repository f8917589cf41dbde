"""``twistd ganeti-simulator``: simulated clusters as a service, here or in a process apart."""

from __future__ import annotations

import os
import secrets
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.python import usage
from twisted.web.server import Site

from cyclades_tx.errors import ConfigError
from cyclades_tx.ganeti.simulator.inventory import FIRST_PORT
from cyclades_tx.ganeti.simulator.memory import MemoryGaneti
from cyclades_tx.ganeti.simulator.screens import Screens
from cyclades_tx.ganeti.simulator.values import SimNode

_TOKEN_ROLE = "behaviors"


class ClusterOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One simulated cluster.

    :ivar listen: an endpoint on the loopback, ``tcp:5080:interface=127.0.0.1``.
    :ivar credentials_file: RAPI users, one a line: ``name password write`` or ``… read``, and
        ``name token behaviors`` for what switches misbehavior on. It is made, with
        generated passwords and mode 0600, if it is missing.
    :ivar state: the file that holds the cluster; empty: none.
    :ivar job_seconds: how long a job takes.
    :ivar node_memory_mib: memory of each node.
    :ivar screens: whether machines that run have a screen that VNC shows, on the loopback.
    :ivar first_port: the port of the first machine's screen, and the lowest of all.
    """

    name: str
    listen: str
    credentials_file: str
    state: str = ""
    job_seconds: float = 2.0
    nodes: int = 2
    node_memory_mib: int = 262144
    node_disk_mib: int = 4194304
    node_cpus: int = 64
    hypervisor: str = "kvm"
    one_create_at_once: bool = False
    sync: bool = False
    screens: bool = False
    first_port: Annotated[int, msgspec.Meta(ge=1024, le=65_535)] = FIRST_PORT


class _Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    cluster: list[ClusterOptions] = []


class Options(usage.Options):
    """``--config FILE``, or ``--name`` with the options of that cluster, once for each cluster."""

    synopsis = "--config FILE | --name NAME --listen ENDPOINT --credentials-file FILE [...] ..."

    def __init__(self) -> None:
        super().__init__()
        self._given: list[dict[str, Any]] = []
        self.clusters: list[ClusterOptions] = []

    def opt_config(self, path: str) -> None:
        """A TOML file with a table [[cluster]] for each simulated cluster."""
        self.clusters += read_config(path)

    def opt_name(self, name: str) -> None:
        """The name of a cluster; the options after it are about it."""
        self._given.append({"name": name})

    def opt_listen(self, endpoint: str) -> None:
        """Where its RAPI listens: tcp:5080:interface=127.0.0.1"""
        self._about()["listen"] = endpoint

    def opt_state(self, path: str) -> None:
        """The file that holds the cluster's state."""
        self._about()["state"] = path

    def opt_credentials_file(self, path: str) -> None:
        """RAPI users, one a line: name password write|read; made if it is missing."""
        self._about()["credentials_file"] = path

    def opt_job_seconds(self, seconds: str) -> None:
        """How long a job takes."""
        self._about()["job_seconds"] = seconds

    def opt_nodes(self, number: str) -> None:
        """How many nodes it has."""
        self._about()["nodes"] = number

    def postOptions(self) -> None:
        """Check that there is something to simulate."""
        try:
            self.clusters += [
                msgspec.convert(given, ClusterOptions, strict=False) for given in self._given
            ]
        except msgspec.ValidationError as wrong:
            raise usage.UsageError(str(wrong)) from None
        if not self.clusters:
            raise usage.UsageError("No cluster is named: use --name or --config.")

    def _about(self) -> dict[str, Any]:
        if not self._given:
            raise usage.UsageError("--name must come first.")
        return self._given[-1]


def read_config(path: str) -> list[ClusterOptions]:
    """Read the clusters from a TOML file.

    :raise ConfigError: names the file and what is wrong.
    """
    try:
        with open(path, "rb") as file:
            return msgspec.convert(tomllib.load(file), _Options).cluster
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as wrong:
        raise ConfigError(f"{path}: {wrong}") from None


@dataclass(frozen=True)
class SimulatorCredentials:
    """Who may use a simulated cluster's RAPI, and the token that switches misbehavior on."""

    users: Mapping[str, tuple[str, bool]]
    behavior_token: str

    def __repr__(self) -> str:
        return f"<SimulatorCredentials of {', '.join(self.users)}>"

    @property
    def writer(self) -> tuple[str, str]:
        """Name and password of the first user that may write."""
        for name, (password, may_write) in self.users.items():
            if may_write:
                return name, password
        raise ConfigError("The simulated cluster has no user that may write.")

    @classmethod
    def load_or_make(cls, path: str | os.PathLike[str]) -> SimulatorCredentials:
        """Read the file, or make it with generated words; its mode must be 0600.

        :raise ConfigError: names the file and the line, never what it holds.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileExistsError:
            return cls._read(path)
        with open(descriptor, "w", encoding="ascii") as file:
            for name, role in (("cyclades", "write"), ("reader", "read"), ("sim", _TOKEN_ROLE)):
                file.write(f"{name} {secrets.token_urlsafe(24)} {role}\n")
        return cls._read(path)

    @classmethod
    def _read(cls, path: str | os.PathLike[str]) -> SimulatorCredentials:
        with open(path, encoding="ascii") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise ConfigError(f"{path} must have mode 0600.")
            lines = file.read().splitlines()
        users: dict[str, tuple[str, bool]] = {}
        token = secrets.token_urlsafe(24)
        for number, line in enumerate(lines, 1):
            words = line.split()
            if len(words) != 3 or words[2] not in ("write", "read", _TOKEN_ROLE):
                raise ConfigError(f"{path}, line {number}: not 'name password write|read'.")
            if words[2] == _TOKEN_ROLE:
                token = words[1]
            else:
                users[words[0]] = (words[1], words[2] == "write")
        return cls(users, token)


class _QuietSite(Site):
    """A site without an access log."""

    def log(self, request: Any) -> None:
        """Write nothing."""


class SimulatedCluster(Service):
    """One simulated cluster that listens."""

    def __init__(self, reactor: Any, options: ClusterOptions) -> None:
        self._reactor = reactor
        self._options = options
        self._check_loopback()
        self.credentials = SimulatorCredentials.load_or_make(options.credentials_file)
        self.ganeti: MemoryGaneti | None = None
        self._screens: Screens | None = None
        self._listening: Deferred[IListeningPort] | None = None
        self._port: IListeningPort | None = None

    def _check_loopback(self) -> None:
        listen = self._options.listen
        inside = ("interface=127.", r"interface=\:\:1", "interface=localhost")
        if not (listen.startswith("unix:") or any(word in listen for word in inside)):
            raise ConfigError(
                f"The simulated cluster {self._options.name} speaks plain http and listens on the "
                "loopback only: tcp:5080:interface=127.0.0.1"
            )

    def privilegedStartService(self) -> None:
        """Nothing here needs privileges."""

    def startService(self) -> None:
        """Load the state and listen."""
        super().startService()
        options = self._options
        self.ganeti = MemoryGaneti(
            self._reactor,
            options.name,
            [
                SimNode(
                    f"node{number}.{options.name}",
                    memory=options.node_memory_mib,
                    disk=options.node_disk_mib,
                    cpus=options.node_cpus,
                )
                for number in range(1, options.nodes + 1)
            ],
            state_path=options.state or None,
            job_seconds=options.job_seconds,
            users=self.credentials.users,
            behavior_token=self.credentials.behavior_token,
            hypervisor=options.hypervisor,
            one_create_at_once=options.one_create_at_once,
            sync=options.sync,
            first_port=options.first_port,
        )
        site = _QuietSite(self.ganeti.resource())
        self._listening = serverFromString(self._reactor, options.listen).listen(site)
        self._listening.addCallback(self._listens)

    def _listens(self, port: IListeningPort) -> IListeningPort:
        self._port = port
        if self._options.screens and self.ganeti is not None and self.running:
            self._screens = Screens(self._reactor, self.ganeti)
            self._screens.start(port.getHost())
        return port

    async def listening(self) -> IAddress:
        """Wait until it listens, return where.

        :raise CannotListenError: when it cannot.
        """
        assert self._listening is not None
        if self._port is None:
            await self._listening
        assert self._port is not None
        return self._port.getHost()

    async def _stop(self) -> None:
        if self._port is not None:
            await _as_deferred(self._port.stopListening())
        if self._screens is not None:
            self._screens.stop()
        if self.ganeti is not None:
            self.ganeti.stop()

    def stopService(self) -> Deferred[None]:
        """Stop listening and close the state."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())


def _as_deferred(result: Any) -> Deferred[Any]:
    if isinstance(result, Deferred):
        return result
    done: Deferred[Any] = Deferred()
    done.callback(result)
    return done


class SimulatorService(MultiService):
    """Several simulated clusters in one process.

    :ivar clusters: each by its name.
    """

    def __init__(self, reactor: Any, options: Iterable[ClusterOptions]) -> None:
        super().__init__()
        self.clusters: dict[str, SimulatedCluster] = {}
        for each in options:
            if each.name in self.clusters:
                raise ConfigError(f"Two simulated clusters have the name {each.name}.")
            cluster = self.clusters[each.name] = SimulatedCluster(reactor, each)
            cluster.setServiceParent(self)

    async def listening(self) -> None:
        """Wait until all of them listen."""
        for cluster in self.clusters.values():
            await cluster.listening()


def make_simulator_service(options: Options) -> SimulatorService:
    """Make the service of ``twistd ganeti-simulator``."""
    from twisted.internet import reactor

    return SimulatorService(reactor, options.clusters)


makeService = make_simulator_service
