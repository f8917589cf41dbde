"""Volume over the real wire: a site on loopback, the real PostgreSQL, and people who ask."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest_twisted
import treq
from twisted.web.client import HTTPConnectionPool

from cyclades_tx.api.frame import Frame
from cyclades_tx.api.site import ApiSite
from cyclades_tx.api.volume import app
from cyclades_tx.flows.volume_attachments import VolumeAttachments
from cyclades_tx.flows.volumes import Volumes
from cyclades_tx.identity.memory import MemoryIdentity
from cyclades_tx.model.who import ADMIN, READER, Who
from cyclades_tx.sections import GanetiSection, OperationsSection
from cyclades_tx.testing import builders

LIMIT_BYTES = 1_048_576
PUBLIC = "https://cloud.example.org"
GIB = 2**30


@dataclass
class Answer:
    """A reply."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        """The body as a document."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """One header."""
        values = self.headers.getRawHeaders(name)
        return None if values is None else values[0]

    def fault(self, status: int, kind: str) -> str:
        """Check that it is a fault of Volume, whole and nothing else; return its message."""
        assert self.status == status, (self.status, self.body)
        document = self.json
        assert list(document) == [kind], document
        assert set(document[kind]) == {"code", "message"}
        assert document[kind]["code"] == status
        assert self.header("x-openstack-request-id")
        message: str = document[kind]["message"]
        return message


@dataclass
class Wire:
    """Asks the service as somebody."""

    database: Any
    identity: MemoryIdentity
    port: int
    who: Who
    pool: Any

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        version: str | None = "3.71",
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        who: Who | None = None,
        token: bool = True,
    ) -> Answer:
        """Send a request to a path below ``/volume/v3``, or to a whole path with ``//``."""
        sent = dict(headers or {})
        if token:
            sent["X-Auth-Token"] = self.identity.add(who or self.who)
        if version is not None:
            sent["OpenStack-API-Version"] = f"volume {version}"
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        base = f"http://127.0.0.1:{self.port}"
        url = base + path[1:] if path.startswith("//") else f"{base}/volume/v3{path}"
        response = await treq.request(
            method, url, headers=sent, data=data, pool=self.pool, timeout=60, allow_redirects=False
        )
        return Answer(response.code, response.headers, await response.content())

    async def get(self, path: str, **options: Any) -> Answer:
        """Ask for something."""
        return await self.ask("GET", path, **options)

    async def post(self, path: str, body: Any, **options: Any) -> Answer:
        """Make something, or do something."""
        return await self.ask("POST", path, body, **options)

    async def volume(self, size: int = 1, *, who: Who | None = None, **more: Any) -> Any:
        """Make a volume; its document."""
        answer = await self.post("/volumes", {"volume": {"size": size, **more}}, who=who)
        assert answer.status == 202, answer.body
        return answer.json["volume"]

    async def act(self, volume: Any, name: str, argument: Any = None, **options: Any) -> Answer:
        """Ask for an action."""
        return await self.post(f"/volumes/{volume['id']}/action", {name: argument}, **options)

    async def used_gib(self, who: Who | None = None) -> int:
        """What the books of a project have of disks."""
        found = await self.database.value(
            "select used from holding where project_id = %s and resource = 'cyclades.disk'",
            ((who or self.who).project_id,),
        )
        return (found or 0) // GIB


@pytest_twisted.async_yield_fixture
async def wire(database: Any) -> Any:
    """The service, asked by a member of a project; there is one type of volumes."""
    from twisted.internet import reactor

    identity = MemoryIdentity(reactor)
    who = await builders.somebody(database)
    await database.run(
        "insert into volume_type (name, disk_template, provider) values ('plain', 'plain', null),"
        " ('fast', 'ext', 'vlmc'), ('none', 'diskless', null)"
    )
    frame = Frame(reactor, identity, PUBLIC)
    attachments = VolumeAttachments(database, GanetiSection(), OperationsSection())
    app.mount(frame, database, Volumes(database, attachments))
    site = ApiSite(frame.resource(), max_body_bytes=LIMIT_BYTES)
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    pool = HTTPConnectionPool(reactor, persistent=False)
    yield Wire(database, identity, port.getHost().port, who, pool)
    await pool.closeCachedConnections()
    await port.stopListening()


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
