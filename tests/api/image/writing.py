"""Images as their users write them, over the real wire."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from cyclades_tx.api.image.changes import CURRENT, DRAFT
from cyclades_tx.model.who import Who

BASE = "/image/v2"


class Writer:
    """Somebody who makes and changes images.

    :param wire: the service on loopback.
    """

    def __init__(self, wire: Any, who: Who) -> None:
        self._wire = wire
        self.who = who

    async def ask(self, method: str, path: str, body: Any = None, kind: str = "") -> Any:
        """Send a request; the answer.

        :param body: bytes as they are, anything else as JSON; None: nothing.
        """
        if body is None:
            body = b""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": kind} if kind else {}
        return await self._wire.ask(
            f"{BASE}/{path}", self.who, method=method, body=data, headers=headers
        )

    async def make(self, **wanted: Any) -> Any:
        """Make an image; its document."""
        answer = await self.ask("POST", "images", wanted)
        assert answer.status == 201, answer.body
        return answer.json

    async def show(self, uuid: str) -> Any:
        """The document of an image."""
        answer = await self.ask("GET", f"images/{uuid}")
        assert answer.status == 200, answer.body
        return answer.json

    async def patch(self, uuid: str, *operations: Any, draft: bool = False) -> Any:
        """Send a JSON patch; the answer."""
        kind = DRAFT if draft else CURRENT
        return await self.ask("PATCH", f"images/{uuid}", list(operations), kind)

    async def tag(self, method: str, uuid: str, tag: str) -> int:
        """Give or take a tag; the status."""
        answer = await self.ask(method, f"images/{uuid}/tags/{quote(tag, safe='')}")
        return int(answer.status)


def operation(op: str, path: str, *value: Any) -> dict[str, Any]:
    """An operation of a patch."""
    said = {"op": op, "path": path}
    return {**said, "value": value[0]} if value else said


async def images_of(database: Any) -> list[Any]:
    """Every image with its properties, tags and members, as it stands in the database."""
    rows: list[Any] = await database.all(
        "select i::text, array(select p::text from image_property p where p.image_id = i.id"
        " order by 1), array(select t::text from image_tag t where t.image_id = i.id order by 1),"
        " array(select m::text from image_member m where m.image_id = i.id order by 1)"
        " from image i order by i.id"
    )
    return rows
