"""Offers of volumes to other projects, in the database."""

from __future__ import annotations

from typing import Any, NamedTuple

from cyclades_tx.model.ids import parse_uuid


class Transfer(NamedTuple):
    """An offer, as whoever takes it meets it.

    :ivar salt: of the hash of the key.
    """

    id: int
    uuid: str
    name: str
    volume_id: int
    volume_uuid: str
    project_id: str
    size_gib: int
    salt: bytes
    key_hash: bytes

    def __repr__(self) -> str:
        return f"Transfer({self.id})"


_COLUMNS = (
    "r.id, r.uuid::text as uuid, r.name, v.id as volume_id, v.uuid::text as volume_uuid,"
    " v.project_id::text as project_id, v.size_gib, r.salt, r.key_hash"
)


async def find(
    querier: Any, ref: str, project_id: str | None, lock: bool = False
) -> Transfer | None:
    """The offer with this UUID, or None.

    :param ref: what stood in the request: anything.
    :param project_id: whose volume it must be; None: anybody's.
    :param lock: whether it and its volume stay as they are until the commit.
    """
    uuid = parse_uuid(ref)
    if uuid is None:
        return None
    row = await querier.first(
        f"select {_COLUMNS} from volume_transfer r join volume v on v.id = r.volume_id"
        " where r.uuid = %s::uuid and v.deleted_at is null"
        " and (%s::text is null or v.project_id::text = %s::text)"
        f"{' for update of v, r' if lock else ''}",
        (uuid, project_id, project_id),
    )
    if row is None:
        return None
    found = Transfer(*row)
    return found._replace(salt=bytes(found.salt), key_hash=bytes(found.key_hash))


async def insert(tx: Any, volume_id: int, name: str, salt: bytes, key_hash: bytes) -> str:
    """Add an offer; return its UUID."""
    uuid: str = await tx.value(
        "insert into volume_transfer (volume_id, name, salt, key_hash) values (%s, %s, %s, %s)"
        " returning uuid::text",
        (volume_id, name, salt, key_hash),
    )
    return uuid


async def delete(tx: Any, transfer_id: int) -> None:
    """Take an offer back, or end it."""
    await tx.run("delete from volume_transfer where id = %s", (transfer_id,))
