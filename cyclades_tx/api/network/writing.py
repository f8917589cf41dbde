"""What every collection of Network that can be written has in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import UNSET, Struct

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.network.collections import Collection, seen_by
from cyclades_tx.api.network.listing import missing
from cyclades_tx.errors import BadRequest

T = TypeVar("T")

#: Most things in one bulk request.
MOST_AT_ONCE = 100
_MOST_DIGITS = 18


class IWriter(Protocol):
    """Makes, changes and deletes the things of one collection."""

    async def create(self, call: Call) -> Reply:
        """``POST``: one thing, or several at once."""

    async def update(self, call: Call, ref: str) -> Reply:
        """``PUT``; anything can stand in ``ref``."""

    async def delete(self, call: Call, ref: str) -> Reply:
        """``DELETE``; anything can stand in ``ref``."""


def one_or_many(call: Call, collection: Collection, kind: type[T]) -> tuple[list[T], bool]:
    """Read the body of a POST.

    :return: the things that are wanted, and whether they were sent as a list.
    :raise BadRequest: when it has neither or both, an unknown member, or a list of none.
    """
    body = call.json(_OBJECT)
    if len(body) != 1 or not body.keys() <= {collection.singular, collection.plural}:
        raise BadRequest(
            f"The body must have exactly one of '{collection.singular}' and '{collection.plural}'."
        )
    ((name, value),) = body.items()
    if name == collection.singular:
        return [converted(value, kind)], False
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_AT_ONCE:
        raise BadRequest(f"'{name}' must be a list of 1 to {MOST_AT_ONCE} things.")
    return [converted(each, kind) for each in value], True


def only(call: Call, collection: Collection, kind: type[T]) -> T:
    """Read the body of a PUT: the changes of one thing.

    :raise BadRequest: when it is something else.
    """
    body = call.json(_OBJECT)
    if body.keys() != {collection.singular}:
        raise BadRequest(f"The body must have exactly one member, '{collection.singular}'.")
    return converted(body[collection.singular], kind)


_OBJECT = msgspec.json.Decoder(dict[str, Any])


def converted(value: Any, kind: type[T]) -> T:
    """A part of a body as what is expected there.

    :raise BadRequest: when it does not fit; names the place.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"Invalid input: {error}", neutron_type="HTTPBadRequest") from None


def given(change: Struct) -> dict[str, Any]:
    """The members of a body that were sent."""
    found = {name: getattr(change, name) for name in change.__struct_fields__}
    return {name: value for name, value in found.items() if value is not UNSET}


async def document(database: Any, call: Call, collection: Collection, uuid: str) -> bytes:
    """One thing as a document in its singular, as a GET would give it."""
    (found,) = await _texts(database, call, collection, [uuid])
    return b'{"%s": %s}' % (collection.singular.encode(), found)


async def documents(
    database: Any, call: Call, collection: Collection, uuids: Sequence[str]
) -> bytes:
    """Several things in the order of their ids as one document in their plural."""
    texts = await _texts(database, call, collection, uuids)
    return b'{"%s": [%s]}' % (collection.plural.encode(), b", ".join(texts))


async def _texts(
    database: Any, call: Call, collection: Collection, uuids: Sequence[str]
) -> list[bytes]:
    text = collection.document.text(admin=call.who.admin)
    sql = (
        f"select {text} from {collection.source}"
        f" where {collection.table}.uuid = %s::uuid and {collection.condition}"
    )
    found: list[bytes] = []
    for uuid in uuids:
        body: bytes | None = await database.document(sql, (uuid, *seen_by(call.who)))
        if body is None:
            raise missing(collection, uuid)
        found.append(body)
    return found


def project_of(tenant_id: str | None, project_id: str | None) -> str | None:
    """The project that a body names, in one of two members or both.

    :raise BadRequest: when they differ.
    """
    if tenant_id is not None and project_id is not None and tenant_id != project_id:
        raise BadRequest("'project_id' and 'tenant_id' do not match.")
    return project_id if project_id is not None else tenant_id


def number(what: str, value: int | str | None) -> int | None:
    """A number from 0 of a body, which may be written as text; None stays None.

    :raise BadRequest: when it is none.
    """
    if value is None:
        return None
    digits = str(value)
    if not digits.isascii() or not digits.isdigit() or len(digits) > _MOST_DIGITS:
        raise BadRequest(
            f"Invalid input for {what}. Reason: {digits[:40]!r} is not a number from 0.",
            neutron_type="InvalidInput",
        )
    return int(digits)


def text(what: str, value: str, limit: int = 255) -> str:
    """A text of a body that is not too long.

    :raise BadRequest: when it is.
    """
    if len(value) > limit:
        raise BadRequest(f"Invalid input for {what}. Reason: it is longer than {limit} characters.")
    return value
