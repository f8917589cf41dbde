"""Network asked to write, by whoever a test names."""

from __future__ import annotations

import json
from typing import Any

from cyclades_tx.api.network.app import VERSION
from cyclades_tx.model.who import Who
from cyclades_tx.store import quotas
from cyclades_tx.store.ports import create_port
from cyclades_tx.testing.loopback import Answer, Loopback

PRIVATE = "cyclades.network.private"


class Writing:
    """The service, asked by a member of a project."""

    def __init__(self, database: Any, wire: Loopback, who: Who) -> None:
        self.database = database
        self.wire = wire
        self.who = who

    async def send(
        self, method: str, path: str, body: Any = None, who: Who | None = None, **headers: str
    ) -> Answer:
        """One request; the path is below the version."""
        if body is None:
            body = b""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.wire.ask(
            f"{VERSION}/{path}", who or self.who, method=method, body=data, headers=named
        )

    async def make(self, who: Who | None = None, **wanted: Any) -> Any:
        """A network's document."""
        answer = await self.send("POST", "networks", {"network": wanted}, who)
        assert answer.status == 201, answer.body
        return answer.json["network"]

    async def used(self) -> int:
        """How many private networks the project is charged for."""
        assert await quotas.drift(self.database) == []
        found: int | None = await self.database.value(
            "select used from holding where project_id = %s and resource = %s",
            (self.who.project_id, PRIVATE),
        )
        return found or 0


def fault(answer: Answer, status: int, kind: str) -> str:
    """Check that it is a fault of Network, whole and nothing else; its message."""
    assert answer.status == status, (answer.status, answer.body)
    assert list(answer.json) == ["NeutronError"]
    error = answer.json["NeutronError"]
    assert set(error) == {"type", "message", "detail"}
    assert error["type"] == kind, error
    return str(error["message"])


async def a_port(writing: Writing, uuid: str, who: Who | None = None) -> None:
    """A port on a network."""
    who = who or writing.who
    network_id = await writing.database.value("select id from network where uuid = %s", (uuid,))
    await writing.database.transaction(
        lambda tx: create_port(
            tx, network_id=network_id, project_id=who.project_id or "", user_id=who.user_id
        )
    )
