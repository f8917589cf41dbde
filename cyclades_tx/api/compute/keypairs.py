"""Key pairs of the user who asks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute import documents, paging
from cyclades_tx.api.compute.new_server import name_of
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.documents import one
from cyclades_tx.errors import BadRequest, Forbidden, NotFound
from cyclades_tx.flows.keypairs import KeyPairs

_CODES_FIRST = 2
_OTHERS_FIRST = 10
_PAGES_FIRST = 35
GENERATED_LAST = 91


class NewKeyPair(Struct, forbid_unknown_fields=True):
    """The ``keypair`` of the body; null means the same as absent."""

    name: str
    public_key: str | None = None
    type: str | None = None
    user_id: str | None = None


class Body(Struct, forbid_unknown_fields=True):
    """The whole body."""

    keypair: NewKeyPair


_DECODER = msgspec.json.Decoder(Body)


@lru_cache(maxsize=128)
def _show(minor: int) -> str:
    return (
        f"select {one('keypair', documents.KEY_PAIR.text(minor))} from key_pair"
        " where key_pair.user_id::text = %s::text and key_pair.name = %s::text"
    )


@lru_cache(maxsize=128)
def _list(minor: int, marker: bool) -> str:
    after = 'and key_pair.name collate "C" > %s::text' if marker else ""
    order = 'key_pair.name collate "C"'
    return (
        "with given as (select %s::bigint as most, %s::text as link), page as ("
        "select key_pair.id, key_pair.name as marker,"
        f" row_number() over (order by {order}) as place"
        f" from key_pair where key_pair.user_id::text = %s::text {after}"
        f" order by {order} limit %s::bigint), items as (select page.place,"
        f" {one('keypair', documents.KEY_PAIR_ITEM.text(minor))} as item from given"
        " cross join page join key_pair on key_pair.id = page.id"
        " where page.place <= given.most) " + paging.list_text("keypairs")
    )


def mount(routes: Routes, database: Any, keypairs: KeyPairs) -> None:
    """Add the endpoints."""

    async def show(call: Call, name: str) -> bytes:
        body: bytes | None = await database.document(_show(call.minor), (_owner(call), name))
        if body is None:
            raise NotFound(f"Keypair {name} not found for user {_owner(call)}", "keypair")
        return body

    async def list_items(call: Call) -> bytes:
        owner = _owner(call)
        most, marker = paging.MOST, None
        if call.minor >= _PAGES_FIRST:
            most, marker = paging.limit(call), call.query("marker")
        if marker is not None and not await _exists(owner, marker):
            raise BadRequest(f"Marker {marker} could not be found")
        before = () if marker is None else (marker,)
        body: bytes = await database.document(
            _list(call.minor, marker is not None),
            (most, paging.next_url(call), owner, *before, most + 1),
        )
        return body

    async def _exists(owner: str, name: str) -> bool:
        sql = "select 1 from key_pair where user_id::text = %s and name = %s"
        return await database.value(sql, (owner, name)) is not None

    async def create(call: Call) -> Reply:
        wanted = call.json(_DECODER).keypair
        _refuse_by_version(wanted, call.minor)
        name = name_of("name", wanted.name)
        if "/" in name:
            raise BadRequest("The name of a key pair cannot have a slash.")
        if wanted.type not in (None, "ssh"):
            raise BadRequest("Only keys of the type 'ssh' are offered.")
        made = await keypairs.create(call.who, name, wanted.public_key, wanted.user_id)
        document: dict[str, Any] = {
            "name": made.name,
            "public_key": made.public_key,
            "fingerprint": made.fingerprint,
            "user_id": made.user_id,
        }
        if call.minor >= _CODES_FIRST:
            document["type"] = "ssh"
        if made.private_key is not None:
            document["private_key"] = made.private_key
        return Reply(201 if call.minor >= _CODES_FIRST else 200, {"keypair": document})

    async def delete(call: Call, name: str) -> Reply:
        await keypairs.delete(call.who, name, _owner(call))
        return Reply(204 if call.minor >= _CODES_FIRST else 202)

    routes.add("GET", "/os-keypairs", list_items)
    routes.add("POST", "/os-keypairs", create)
    routes.add("GET", "/os-keypairs/<name>", show)
    routes.add("DELETE", "/os-keypairs/<name>", delete)


def _refuse_by_version(wanted: NewKeyPair, minor: int) -> None:
    for name, first in (("type", _CODES_FIRST), ("user_id", _OTHERS_FIRST)):
        if getattr(wanted, name) is not None and minor < first:
            raise BadRequest(
                f"Additional properties are not allowed ('{name}' was unexpected) in "
                f"microversion 2.{minor}."
            )
    if wanted.public_key is None and minor > GENERATED_LAST:
        raise BadRequest("Invalid input: 'public_key' is a required property.")


def _owner(call: Call) -> str:
    """Whose keys are meant; from 2.10 an administrator may name someone."""
    who = call.who
    asked = call.query("user_id") if call.minor >= _OTHERS_FIRST else None
    if asked is None or asked == who.user_id:
        return who.user_id
    if not who.admin:
        raise Forbidden("Only administrators see the key pairs of others.")
    return asked
