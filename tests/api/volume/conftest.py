"""Volume over the real wire: a site on loopback, the real PostgreSQL, and people who ask."""

from __future__ import annotations

from typing import Any

import pytest_twisted

from cyclades_tx.api.frame import Frame
from cyclades_tx.api.volume import app
from cyclades_tx.flows.volume_attachments import VolumeAttachments
from cyclades_tx.flows.volumes import Volumes
from cyclades_tx.identity.memory import MemoryIdentity
from cyclades_tx.model.who import READER, Who
from cyclades_tx.sections import GanetiSection, OperationsSection
from cyclades_tx.testing import builders
from tests.api.wire import PUBLIC, Answer, Asking, listening

GIB = 2**30


class Wire(Asking):
    """Asks Volume as somebody."""

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        version: str | None = "3.71",
        who: Who | None = None,
        token: bool = True,
        **options: Any,
    ) -> Answer:
        """Send a request to a path below ``/volume/v3``, or to a whole path with ``//``.

        :param options: those of :meth:`Asking.send`.
        """
        return await self.send(
            method,
            "/volume/v3",
            path,
            body=body,
            version=None if version is None else f"volume {version}",
            token=self.identity.add(who or self.who) if token else None,
            **options,
        )

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
    async with listening(reactor, frame) as (port, pool):
        yield Wire(database, identity, port, who, pool)


@pytest_twisted.async_fixture
async def reader(database: Any, wire: Wire) -> Who:
    """Somebody of the same project who may only read."""
    return await builders.somebody(database, READER, project_id=wire.who.project_id)
