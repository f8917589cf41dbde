"""The clients of all clusters: made from database rows, kept while the row stays the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cyclades_tx.ganeti.breaker import Breaker, BreakerRules, BreakerState, ClusterGate
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.ganeti.interfaces import GanetiUnavailable, IClusterQuestions, IGanetiCluster
from cyclades_tx.ganeti.large_json import LargeJson
from cyclades_tx.ganeti.rapi import RapiCluster, RapiCredentials, RapiLimits
from cyclades_tx.ganeti.tls import RapiAddress

#: What a cluster's password is called when it is sealed; the row is the cluster's uuid.
PASSWORD_KIND = "rapi_password"


class ClusterRow(Protocol):
    """What a client needs of a row of the table ``cluster``."""

    @property
    def id(self) -> int: ...
    @property
    def uuid(self) -> Any: ...
    @property
    def name(self) -> str: ...
    @property
    def rapi_scheme(self) -> str: ...
    @property
    def rapi_host(self) -> str: ...
    @property
    def rapi_port(self) -> int: ...
    @property
    def rapi_username(self) -> str: ...
    @property
    def rapi_password(self) -> bytes: ...
    @property
    def certificate(self) -> str | None: ...
    @property
    def credentials_version(self) -> int: ...


@dataclass(frozen=True)
class ClusterStatus:
    """How this process stands with one cluster, for operators.

    :ivar reason: why it does not answer, or "".
    :ivar retry_seconds: until it is asked again.
    """

    id: int
    name: str
    state: BreakerState
    reason: str
    retry_seconds: float
    busy: int
    waiting: int


class _Known:
    """What is kept of one cluster for one version of its credentials."""

    def __init__(
        self, row: ClusterRow, breaker: Breaker, driver: ClusterGate, questions: ClusterGate
    ) -> None:
        self.id = row.id
        self.name = row.name
        self.version = row.credentials_version
        self.breaker = breaker
        self.driver_gate = driver
        self.questions_gate = questions
        self.driver: RapiCluster | None = None
        self.questions: RapiCluster | None = None


class Clusters:
    """The clusters by id.

    :param reactor: for connections and time.
    :param keyring: opens the passwords in the rows.
    :param driver_connections: most connections of the driving loops to one cluster.
    :param question_connections: most connections for other questions to one cluster.
    :param chance: spreads the pauses of the breakers.
    :param measured: told (cluster name, seconds, error code or None) after each exchange.
    :param changed: told (cluster id, answers, reason) when a cluster goes or comes back.
    :param allow_plain_http: whether simulated clusters on the loopback may be used.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        keyring: Keyring,
        *,
        limits: RapiLimits | None = None,
        breaker: BreakerRules | None = None,
        driver_connections: int = 12,
        question_connections: int = 2,
        chance: random.Random | None = None,
        large_json: LargeJson | None = None,
        measured: Callable[[str, float, str | None], None] = lambda name, seconds, error: None,
        changed: Callable[[int, bool, str], None] = lambda number, answers, reason: None,
        allow_plain_http: bool = False,
    ) -> None:
        self._reactor = reactor
        self._keyring = keyring
        self._limits = limits or RapiLimits()
        self._rules = breaker or BreakerRules()
        self._driver_connections = driver_connections
        self._question_connections = question_connections
        self._chance = chance or random.Random()
        self._large_json = large_json
        self._measured = measured
        self._changed = changed
        self._allow_plain_http = allow_plain_http
        self._known: dict[int, _Known] = {}

    def driver(self, row: ClusterRow, guard: Callable[[], None]) -> IGanetiCluster:
        """Return a client with everything, for the process that drives the cluster.

        :param guard: see :class:`RapiCluster`; the lease of this driver. The client of the
            lease before is closed.
        :raise GanetiUnavailable: when the row's address or password cannot be used.
        """
        known = self._kept(row)
        self._drop(known.driver)
        known.driver = self._client(row, known.driver_gate, guard)
        return known.driver

    def questions(self, row: ClusterRow) -> IClusterQuestions:
        """Return a client for questions (a console, an operator's command).

        :raise GanetiUnavailable: when the row's address or password cannot be used.
        """
        known = self._kept(row)
        if known.questions is None:
            known.questions = self._client(row, known.questions_gate, _no_changes)
        return known.questions

    def status(self) -> tuple[ClusterStatus, ...]:
        """Return how it stands with each cluster that was used."""
        return tuple(
            ClusterStatus(
                id=known.id,
                name=known.name,
                state=known.breaker.state,
                reason=known.breaker.reason,
                retry_seconds=known.breaker.retry_seconds,
                busy=known.driver_gate.busy + known.questions_gate.busy,
                waiting=known.driver_gate.waiting + known.questions_gate.waiting,
            )
            for known in self._known.values()
        )

    async def forget(self, cluster_id: int) -> None:
        """Close the clients of a cluster that is gone."""
        known = self._known.pop(cluster_id, None)
        if known is not None:
            await self._close(known)

    async def close(self) -> None:
        """Close every client."""
        for cluster_id in list(self._known):
            await self.forget(cluster_id)

    def _kept(self, row: ClusterRow) -> _Known:
        known = self._known.get(row.id)
        if known is None or known.version != row.credentials_version:
            if known is not None:
                self._drop(known.driver)
                self._drop(known.questions)
            known = self._known[row.id] = self._new(row)
        return known

    def _new(self, row: ClusterRow) -> _Known:
        cluster_id, name = row.id, row.name
        breaker = Breaker(
            self._reactor,
            self._rules,
            self._chance,
            lambda answers, reason: self._changed(cluster_id, answers, reason),
        )

        def gate(connections: int) -> ClusterGate:
            return ClusterGate(
                self._reactor,
                breaker,
                connections,
                self._limits.question_timeout_seconds,
                lambda seconds, error: self._measured(name, seconds, error),
            )

        return _Known(
            row, breaker, gate(self._driver_connections), gate(self._question_connections)
        )

    def _client(self, row: ClusterRow, gate: ClusterGate, guard: Callable[[], None]) -> RapiCluster:
        try:
            address = RapiAddress(
                host=row.rapi_host,
                port=row.rapi_port,
                scheme=row.rapi_scheme,
                certificate_pem=row.certificate,
                allow_plain_http=self._allow_plain_http,
            )
        except ValueError as wrong:
            raise GanetiUnavailable(f"The cluster {row.name} cannot be used: {wrong}") from None
        password = self._keyring.decrypt(PASSWORD_KIND, str(row.uuid), row.rapi_password)
        return RapiCluster(
            self._reactor,
            address,
            RapiCredentials(row.rapi_username, password),
            limits=self._limits,
            guard=guard,
            gate=gate,
            large_json=self._large_json,
        )

    def _drop(self, client: RapiCluster | None) -> None:
        """Close a client's idle connections; what is under way runs to its end."""
        if client is not None:
            closed = Deferred.fromCoroutine(client.close())
            closed.addErrback(lambda failure: self.log.failure("cluster.close_failed", failure))

    async def _close(self, known: _Known) -> None:
        for client in (known.driver, known.questions):
            if client is not None:
                await client.close()


def _no_changes() -> None:
    raise GanetiUnavailable("This client may only ask; changes are made by the driver.")
