"""Compute over the real wire: a site on loopback, the real PostgreSQL, and people who ask."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_twisted
import treq
from twisted.web.client import HTTPConnectionPool

from cyclades_tx.api.compute import app, interfaces
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.site import ApiSite
from cyclades_tx.flows.floating_ips import FloatingIps
from cyclades_tx.flows.interfaces import Interfaces
from cyclades_tx.flows.keypairs import KeyPairs
from cyclades_tx.flows.networks import Networks
from cyclades_tx.flows.security_groups import SecurityGroups
from cyclades_tx.flows.volume_attachments import VolumeAttachments
from cyclades_tx.identity.memory import MemoryIdentity
from cyclades_tx.model.server import Created, NewServer
from cyclades_tx.model.who import ADMIN, READER, Who
from cyclades_tx.sections import GanetiSection, OperationsSection
from cyclades_tx.testing import builders
from cyclades_tx.testing.shapes import misfits

LIMIT_BYTES = 1_048_576
PUBLIC = "https://cloud.example.org"


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
class Answer:
    """A reply; ``length`` is what its ``Content-Length`` says."""

    status: int
    headers: Any
    body: bytes
    length: Any = None

    @property
    def json(self) -> Any:
        """The body as a document."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """One header."""
        values = self.headers.getRawHeaders(name)
        return None if values is None else values[0]

    def fault(self, status: int, kind: str) -> str:
        """Check that it is a fault of Compute, whole and nothing else; return its message."""
        assert self.status == status, (self.status, self.body)
        document = self.json
        assert list(document) == [kind], document
        assert set(document[kind]) == {"code", "message"}
        assert document[kind]["code"] == status
        assert self.header("x-openstack-request-id")
        return document[kind]["message"]


@dataclass
class Wire:
    """Asks the service as somebody.

    :ivar base: the URL of Compute.
    """

    database: Any
    identity: MemoryIdentity
    servers: Any
    port: int
    who: Who
    token: str
    pool: Any

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}/compute"

    async def ask(
        self,
        method: str,
        path: str,
        *,
        version: str | None = None,
        body: Any = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        who: Who | None = None,
        token: str | None = "own",
    ) -> Answer:
        """Send a request to a path below ``/compute/v2.1``, or to a whole path with ``//``."""
        sent = dict(headers or {})
        if who is not None:
            token = self.identity.add(who)
        elif token == "own":
            token = self.token
        if token is not None:
            sent["X-Auth-Token"] = token
        if version is not None:
            sent["OpenStack-API-Version"] = f"compute {version}"
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        url = (
            f"http://127.0.0.1:{self.port}{path[1:]}"
            if path.startswith("//")
            else f"{self.base}/v2.1{path}"
        )
        response = await treq.request(
            method, url, headers=sent, data=data, pool=self.pool, timeout=20, allow_redirects=False
        )
        body_read = await response.content()
        return Answer(response.code, response.headers, body_read, response.length)

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
    )
    site = ApiSite(frame.resource(), max_body_bytes=LIMIT_BYTES)
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    number = port.getHost().port
    pool = HTTPConnectionPool(reactor, persistent=False)
    yield Wire(database, identity, flow, number, who, identity.add(who), pool)
    await pool.closeCachedConnections()
    await port.stopListening()


@pytest.fixture
def fits() -> Any:
    """Check a document against a schema: no property missing, none too many."""

    def check(document: Any, schema: dict[str, Any]) -> None:
        assert misfits(document, schema) == []

    return check


@pytest_twisted.async_fixture
async def stranger(database: Any) -> Who:
    """Somebody of another project."""
    return await builders.somebody(database)


@pytest_twisted.async_fixture
async def admin(database: Any) -> Who:
    """An administrator, in a project of his own."""
    return await builders.somebody(database, ADMIN)


@pytest_twisted.async_fixture
async def reader(database: Any, wire: Wire) -> Who:
    """Somebody of the same project who may only read."""
    return await builders.somebody(database, READER, project_id=wire.who.project_id)
