"""What a person can ask for about giving volumes to other projects."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NotFound
from cyclades_tx.flows.volumes import AVAILABLE, no_volume, refuse_shortage
from cyclades_tx.model import quota
from cyclades_tx.model.who import Who
from cyclades_tx.store import quotas, volumes
from cyclades_tx.store import volume_transfers as store

_KEY_BYTES = 16
_SALT_BYTES = 16


@dataclass(frozen=True)
class Offered:
    """An offer that was made.

    :ivar key: what the other side needs; it is nowhere kept.
    """

    uuid: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Taken:
    """A volume that has changed hands."""

    uuid: str
    name: str
    volume_uuid: str


class VolumeTransfers:
    """The flows of transfers: a volume is offered, and whoever has the key takes it."""

    def __init__(self, database: Any) -> None:
        self._database = database

    async def offer(self, who: Who, volume_ref: str, name: str) -> Offered:
        """Offer a volume; return the key, once.

        :raise NotFound: for a volume that the caller does not see.
        :raise BadRequest: when it is not available.
        """
        key, salt = secrets.token_hex(_KEY_BYTES), secrets.token_bytes(_SALT_BYTES)

        async def work(tx: Any) -> str:
            volume = await volumes.lock(tx, volume_ref, None if who.admin else who.project_id)
            if volume is None:
                raise no_volume(volume_ref)
            if volume.status != AVAILABLE:
                raise BadRequest("Invalid volume: status must be available")
            uuid = await store.insert(tx, volume.id, name, salt, _hash(salt, key))
            await volumes.update(tx, volume.id, {"status": "awaiting_transfer"})
            await volumes.tell(tx, "volume.changed", volume.id)
            return uuid

        return Offered(await self._database.transaction(work, "volume_transfer.offer"), key)

    async def withdraw(self, who: Who, ref: str) -> None:
        """Take an offer back; the volume is available again.

        :raise NotFound: when there is none, or it is not the caller's.
        """

        async def work(tx: Any) -> None:
            found = await store.find(tx, ref, None if who.admin else who.project_id, lock=True)
            if found is None:
                raise _missing(ref)
            await store.delete(tx, found.id)
            await volumes.update(tx, found.volume_id, {"status": AVAILABLE})
            await volumes.tell(tx, "volume.changed", found.volume_id)

        await self._database.transaction(work, "volume_transfer.withdraw")

    async def take(self, who: Who, ref: str, key: str) -> Taken:
        """Make an offered volume one of the caller's project, which is charged from now on.

        :raise BadRequest: for a wrong key.
        :raise OverQuota: when the project may not have that much more.
        """
        project_id = who.project_id
        if project_id is None:
            raise Forbidden("This needs a token that is scoped to a project.")

        async def work(tx: Any) -> Taken:
            before = await store.find(tx, ref, None)
            if before is None:
                raise _missing(ref)
            if not hmac.compare_digest(_hash(before.salt, key), before.key_hash):
                raise BadRequest("Invalid auth key: Invalid auth key")
            holdings = {}
            # Two that take from each other lock in the same order.
            for each in sorted({before.project_id, project_id}):
                holdings[each] = await quotas.lock(tx, each)
            found = await store.find(tx, ref, None, lock=True)
            if found is None:
                raise _missing(ref)
            if found.project_id != before.project_id:
                raise Conflict(f"Volume {found.volume_uuid} is being moved; try again.", "busy")
            if found.project_id != project_id:
                await refuse_shortage(tx, project_id, holdings[project_id], found.size_gib)
                amount = found.size_gib * quota.GIB
                await volumes.tell(tx, "volume.deleted", found.volume_id)
                await quotas.add(tx, found.project_id, {quota.DISK: -amount})
                await quotas.add(tx, project_id, {quota.DISK: amount})
            await store.delete(tx, found.id)
            owner = {"project_id": project_id, "user_id": who.user_id, "status": AVAILABLE}
            await volumes.update(tx, found.volume_id, owner)
            moved = found.project_id != project_id
            kind = "volume.created" if moved else "volume.changed"
            await volumes.tell(tx, kind, found.volume_id)
            return Taken(found.uuid, found.name, found.volume_uuid)

        taken: Taken = await self._database.transaction(work, "volume_transfer.take", turn=who.turn)
        return taken


def _hash(salt: bytes, key: str) -> bytes:
    # The key is long and random: a slow hash would protect nothing more.
    return hashlib.sha256(salt + key.encode()).digest()


def _missing(ref: str) -> NotFound:
    return NotFound(f"Transfer {ref} could not be found.", "transfer")
