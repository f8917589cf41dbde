"""JSON patches: the two forms of them that Image's clients send (RFC 6902, and a draft of it).

The current one names operation and place, ``{"op": "add", "path": "/name", "value": "x"}``; in
the draft's (2.0) the operation is the member that holds the place, ``{"add": "/name", …}``.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from cyclades_tx.api.call import Call
from cyclades_tx.api.errors import HttpError
from cyclades_tx.api.image.new_image import fitting, plain
from cyclades_tx.errors import BadRequest, Forbidden
from cyclades_tx.model.image import (
    COLUMNS,
    MOST_CHANGES,
    Change,
    check_property,
    check_writable,
)

CURRENT = "application/openstack-images-v2.1-json-patch"
DRAFT = "application/openstack-images-v2.0-json-patch"
_OPERATIONS = ("add", "replace", "remove")
_ATTRIBUTES = frozenset((*COLUMNS, "tags"))

_LONGEST = 1024
#: What a pointer writes as ``~0``.
_STRAY = re.compile("~(?![01])")
_LIST: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[Any])


class Operation(Struct, forbid_unknown_fields=True, kw_only=True):
    """One operation of a patch.

    :ivar path: a JSON pointer (RFC 6901) to an attribute or property.
    """

    op: Literal["add", "replace", "remove"]
    path: str
    value: Any = None


class DraftOperation(Struct, forbid_unknown_fields=True, kw_only=True):
    """The same as the draft writes it: exactly one of the first three is there."""

    add: str | UnsetType = UNSET
    replace: str | UnsetType = UNSET
    remove: str | UnsetType = UNSET
    value: Any = None


class Location(Struct, forbid_unknown_fields=True, kw_only=True):
    """Where the data of an image lie already.

    :ivar metadata: what the reference's stores note; nothing here.
    """

    url: Annotated[str, Meta(min_length=1, max_length=4096)]
    metadata: dict[str, str] = {}


def read(call: Call) -> list[Change]:
    """The changes that a patch asks for, each of the right type.

    :raise HttpError: 415 for another content type than the two.
    :raise BadRequest: for what is no patch, names no attribute or gives it a wrong value.
    :raise Forbidden: for an attribute that nobody writes.
    """
    kind = (call.header("content-type") or "").partition(";")[0].strip().lower()
    if kind not in (CURRENT, DRAFT):
        raise HttpError(
            415,
            f"Unsupported Content-Type: send {CURRENT}.",
            {"accept-patch": f"{CURRENT}, {DRAFT}"},
        )
    plain(call)
    body = call.json(_LIST, kind)
    if len(body) > MOST_CHANGES:
        raise BadRequest(f"A patch has at most {MOST_CHANGES} operations.")
    return [_change(each, current=kind == CURRENT) for each in body]


def _change(said: Any, current: bool) -> Change:
    if not isinstance(said, dict):
        raise BadRequest("Operations must be JSON objects.")
    op, path = _current(said) if current else _draft(said)
    name = _name(path)
    if name == "locations":
        return Change(op, name, _url(op, path, said.get("value")))
    check_writable(name)
    if op == "remove":
        return Change(op, name, anew=current)
    if "value" not in said:
        raise BadRequest(f'Operation "{op}" requires a member named "value".')
    value = said["value"]
    if name in _ATTRIBUTES:
        value = getattr(fitting({name: value}), name)
    else:
        check_property(name, value)
    return Change(op, name, value, anew=current)


def _current(said: dict[str, Any]) -> tuple[str, Any]:
    """Operation and pointer of the current form."""
    for member in ("op", "path"):
        if member not in said:
            raise BadRequest(f"Unable to find '{member}' in JSON Schema change")
    _known(said, ("op", "path", "value"))
    if said["op"] not in _OPERATIONS:
        raise BadRequest(f"Operations must be one of {', '.join(_OPERATIONS)}.")
    return said["op"], said["path"]


def _draft(said: dict[str, Any]) -> tuple[str, Any]:
    """Operation and pointer of the draft's form."""
    found = [op for op in _OPERATIONS if op in said]
    if len(found) != 1:
        raise BadRequest(f"Operation objects must contain exactly one of {', '.join(_OPERATIONS)}.")
    _known(said, (found[0], "value"))
    return found[0], said[found[0]]


def _known(said: dict[str, Any], members: tuple[str, ...]) -> None:
    for name in said:
        if name not in members:
            raise BadRequest(f"An operation has no member {name[:80]!r}.")


def _name(pointer: Any) -> str:
    """The attribute that a JSON pointer leads to: its first and only step."""
    if not isinstance(pointer, str) or not pointer.startswith("/"):
        raise BadRequest("A path is a JSON pointer: it begins with '/'.")
    if len(pointer) > _LONGEST:
        raise BadRequest("The path is too long.")
    first, *rest = pointer[1:].split("/")
    for step in (first, *rest):
        if _STRAY.search(step):
            raise BadRequest("The path has a '~' that is neither '~0' nor '~1'.")
    name = first.replace("~1", "/").replace("~0", "~")
    if not name or (rest and name != "locations"):
        raise BadRequest(f"Invalid JSON pointer for this resource: {pointer[:80]!r}")
    return name


def _url(op: str, path: str, value: Any) -> str | None:
    """The one location that an image without data is given."""
    if op == "remove":
        return None
    if op == "replace" and path == "/locations" and isinstance(value, list) and len(value) == 1:
        value = value[0]
    elif op != "add" or path not in ("/locations/-", "/locations/0"):
        raise Forbidden("It's not allowed to update locations if locations are invisible.")
    try:
        location = msgspec.convert(value, Location)
    except msgspec.ValidationError as error:
        raise BadRequest(f"A location does not match its schema: {error}") from None
    return location.url
