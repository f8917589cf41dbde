"""The body that changes what is written about a server."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from cyclades_tx.api.call import Call
from cyclades_tx.api.compute.new_server import (
    address_of,
    description_of,
    hostname_of,
    name_of,
    refuse_by_version,
)
from cyclades_tx.errors import BadRequest


class Change(Struct, forbid_unknown_fields=True):
    """The ``server`` of the body: what is absent stays as it is."""

    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    accessIPv4: str | UnsetType = UNSET
    accessIPv6: str | UnsetType = UNSET
    hostname: str | UnsetType = UNSET
    disk_config: str | UnsetType = field(default=UNSET, name="OS-DCF:diskConfig")


class Body(Struct, forbid_unknown_fields=True):
    """The whole body."""

    server: Change


_DECODER = msgspec.json.Decoder(Body)


def changes_of(call: Call) -> dict[str, Any]:
    """Read the body of ``PUT /servers/S``: the columns that change.

    :raise BadRequest: with a sentence that names what is wrong.
    """
    change = call.json(_DECODER).server
    if call.minor < 19 and change.description is None:
        change.description = ""
    refuse_by_version(change, call.minor)
    changes: dict[str, Any] = {}
    if change.name is not UNSET:
        changes["name"] = name_of("name", change.name)
    if change.description is not UNSET:
        changes["description"] = description_of(change.description)
    if change.accessIPv4 is not UNSET:
        changes["access_ipv4"] = address_of("accessIPv4", change.accessIPv4, 4)
    if change.accessIPv6 is not UNSET:
        changes["access_ipv6"] = address_of("accessIPv6", change.accessIPv6, 6)
    if change.hostname is not UNSET:
        changes["hostname"] = hostname_of(change.hostname, call.minor)
    if change.disk_config is not UNSET:
        raise BadRequest("OS-DCF:diskConfig cannot be changed.")
    return changes
