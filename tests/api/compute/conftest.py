"""Compute over the real wire: a site on loopback, the real PostgreSQL, and people who ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.api.compute import app, interfaces, proxies
from cyclades_tx.api.frame import Frame
from cyclades_tx.flows.floating_ips import FloatingIps
from cyclades_tx.flows.images import Images
from cyclades_tx.flows.interfaces import Interfaces
from cyclades_tx.flows.keypairs import KeyPairs
from cyclades_tx.flows.networks import Networks
from cyclades_tx.flows.security_groups import SecurityGroups
from cyclades_tx.flows.volume_attachments import VolumeAttachments
from cyclades_tx.identity.memory import MemoryIdentity
from cyclades_tx.model.server import Created, NewServer
from cyclades_tx.model.who import READER, Who
from cyclades_tx.sections import GanetiSection, OperationsSection
from cyclades_tx.testing import builders
from cyclades_tx.testing.shapes import misfits
from tests.api.wire import PUBLIC, Answer, Asking, listening


class MemoryServers:
    """Flows that remember what they were asked; a server is any reference."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    async def create(self, who: Who, new: NewServer, request_id: str) -> Created:
        self.calls.append(("create", new, request_id))
        uuids = tuple(f"00000000-0000-4000-8000-{number:012d}" for number in range(new.max_count))
        return Created(uuids, "secret", "r-abcdefgh", new.security_groups or ("default",))

    def __getattr__(self, name: str) -> Any:
        async def called(who: Who, *arguments: Any, **named: Any) -> Any:
            self.calls.append((name, *arguments, *named.values()))
            return {"set_metadata": arguments[1:2], "rescue": ("secret",)}.get(name, (None,))[0]

        return called


@dataclass
class Wire(Asking):
    """Asks Compute as somebody.

    :ivar token: that of ``who``.
    """

    servers: Any
    token: str

    @property
    def base(self) -> str:
        """The URL of Compute."""
        return f"http://127.0.0.1:{self.port}/compute"

    async def ask(
        self,
        method: str,
        path: str,
        *,
        version: str | None = None,
        who: Who | None = None,
        token: str | None = "own",
        **options: Any,
    ) -> Answer:
        """Send a request to a path below ``/compute/v2.1``, or to a whole path with ``//``.

        :param options: those of :meth:`Asking.send`.
        """
        if who is not None:
            token = self.identity.add(who)
        return await self.send(
            method,
            "/compute/v2.1",
            path,
            version=None if version is None else f"compute {version}",
            token=self.token if token == "own" else token,
            **options,
        )

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.ask("POST", path, body=body, **options)


@pytest.fixture
def flow() -> Any:
    """The flows of servers; a file with stories of its own puts the real ones here."""
    return MemoryServers()


@pytest_twisted.async_yield_fixture
async def wire(database: Any, flow: Any) -> Any:
    """The service, asked by a member of a project."""
    from twisted.internet import reactor

    identity = MemoryIdentity(reactor)
    who = await builders.somebody(database)
    # The links in replies name the address that users see, whatever is listened on.
    frame = Frame(reactor, identity, PUBLIC)
    attaching = Interfaces(database, Networks(database), GanetiSection(), OperationsSection())
    more = interfaces.actions(attaching, FloatingIps(database, attaching), SecurityGroups(database))
    app.mount(
        frame,
        database,
        flow,
        KeyPairs(database),
        interfaces_flow=attaching,
        volumes_flow=VolumeAttachments(database, GanetiSection(), OperationsSection()),
        more_actions=more,
        old_flows=proxies.Flows(
            FloatingIps(database, attaching), SecurityGroups(database), Images(database)
        ),
    )
    async with listening(reactor, frame) as (port, pool):
        yield Wire(database, identity, port, who, pool, flow, identity.add(who))


@pytest.fixture
def fits() -> Any:
    """Check a document against a schema: no property missing, none too many."""

    def check(document: Any, schema: dict[str, Any]) -> None:
        assert misfits(document, schema) == []

    return check


@pytest_twisted.async_fixture
async def reader(database: Any, wire: Wire) -> Who:
    """Somebody of the same project who may only read."""
    return await builders.somebody(database, READER, project_id=wire.who.project_id)
