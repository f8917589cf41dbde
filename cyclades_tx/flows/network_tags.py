"""What a person can ask for about the tags of things of the network."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from cyclades_tx.errors import BadRequest, Forbidden, NotFound
from cyclades_tx.model.who import Who
from cyclades_tx.store import floating_ips, outbox, routers, security_groups, subnet_pools
from cyclades_tx.store import network_tags as store

#: Of one thing.
MOST = 50
_LONGEST = 255


async def _tell_port(tx: Any, kind: str, port_id: int) -> None:
    await outbox.tell_ports(tx, kind, (port_id,))


#: Who writes the event that a thing has changed, by the kind of thing.
_TELL: dict[str, Callable[[Any, str, int], Awaitable[None]]] = {
    "networks": outbox.tell_network,
    "subnets": outbox.tell_subnet,
    "subnetpools": subnet_pools.tell,
    "ports": _tell_port,
    "routers": routers.tell,
    "floatingips": floating_ips.tell,
    "security-groups": security_groups.tell,
}


class NetworkTags:
    """The tags of networks, ports and whatever else ``store/network_tags.py`` knows.

    Every function takes the kind of thing and its UUID, as which anything can stand.
    """

    def __init__(self, database: Any) -> None:
        self._database = database

    async def show(self, who: Who, kind: str, ref: str) -> list[str]:
        """The tags of a thing that the caller sees.

        :raise NotFound: when there is none of that UUID.
        """
        row = await store.seen(self._database, who, kind, ref)
        return await store.tags_of(self._database, kind, row.id)

    async def replace(self, who: Who, kind: str, ref: str, tags: Iterable[str]) -> list[str]:
        """Give a thing these tags and no others.

        :return: them, each once, in order.
        :raise BadRequest: for too many, or one that is empty or too long.
        """
        wanted = sorted(set(tags))
        _check(wanted)

        async def work(tx: Any) -> None:
            row = await self._own(tx, who, kind, ref)
            await self._replace(tx, kind, row.id, wanted)

        await self._database.transaction(work, "network_tags.replace")
        return wanted

    async def add(self, who: Who, kind: str, ref: str, tag: str) -> bool:
        """Give a thing one more tag.

        :return: whether it is new.
        """
        _check([tag])

        async def work(tx: Any) -> bool:
            row = await self._own(tx, who, kind, ref)
            there = await store.tags_of(tx, kind, row.id)
            if tag in there:
                return False
            _check([*there, tag])
            await self._replace(tx, kind, row.id, [*there, tag])
            return True

        added: bool = await self._database.transaction(work, "network_tags.add")
        return added

    async def remove(self, who: Who, kind: str, ref: str, tag: str) -> None:
        """Take a tag from a thing.

        :raise NotFound: when it has no such tag.
        """

        async def work(tx: Any) -> None:
            row = await self._own(tx, who, kind, ref)
            there = await store.tags_of(tx, kind, row.id)
            if tag not in there:
                raise NotFound(f"Tag {tag} could not be found.", "tag")
            await self._replace(tx, kind, row.id, [each for each in there if each != tag])

        await self._database.transaction(work, "network_tags.remove")

    async def _replace(self, tx: Any, kind: str, thing_id: int, tags: list[str]) -> None:
        await store.replace(tx, kind, thing_id, tags)
        await _TELL[kind](tx, f"{store.KINDS[kind].table}.changed", thing_id)

    async def _own(self, tx: Any, who: Who, kind: str, ref: str) -> Any:
        row = await store.seen(tx, who, kind, ref, lock=True)
        if not who.admin and row.project_id != who.project_id:
            raise Forbidden("It belongs to another project.")
        return row


def _check(tags: list[str]) -> None:
    if len(tags) > MOST:
        raise BadRequest(f"A thing has at most {MOST} tags.", neutron_type="HTTPBadRequest")
    for tag in tags:
        if not 1 <= len(tag) <= _LONGEST or "\0" in tag:
            raise BadRequest(
                f"A tag has 1 to {_LONGEST} characters.", neutron_type="HTTPBadRequest"
            )
