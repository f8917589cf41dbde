"""Simulated clusters on a loopback socket, for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.web.server import Site

from cyclades_tx.ganeti.rapi import RapiAddress, RapiCluster, RapiCredentials
from cyclades_tx.ganeti.simulator import MemoryGaneti


@dataclass
class Served:
    """A simulated cluster that listens, and clients for it."""

    ganeti: MemoryGaneti
    port: Any
    clients: list[RapiCluster]

    @property
    def address(self) -> RapiAddress:
        """Where it listens."""
        number = self.port.getHost().port
        return RapiAddress("127.0.0.1", number, scheme="http", allow_plain_http=True)

    def connect(
        self, username: str | None = None, password: str | None = None, **options: Any
    ) -> RapiCluster:
        """Return a client; it is closed after the test."""
        credentials = RapiCredentials(
            username or self.ganeti.username, password or self.ganeti.password
        )
        client = RapiCluster(reactor, self.address, credentials, **options)
        self.clients.append(client)
        return client


@pytest_twisted.async_yield_fixture
async def serve() -> Any:
    """Return a function that serves a MemoryGaneti; everything is closed after the test."""
    served: list[Served] = []

    def start(ganeti: MemoryGaneti) -> Served:
        port = reactor.listenTCP(0, Site(ganeti.resource()), interface="127.0.0.1")
        served.append(Served(ganeti, port, []))
        return served[-1]

    yield start
    for each in served:
        for client in each.clients:
            await client.close()
        await each.port.stopListening()
        each.ganeti.stop()


@pytest.fixture
def quick(serve: Callable[[MemoryGaneti], Served]) -> Served:
    """A simulated cluster whose jobs take no time to speak of."""
    return serve(MemoryGaneti(reactor, job_seconds=0.01))
