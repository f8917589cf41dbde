"""The body that asks for a new system on a server, and the reply to it."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import orjson
from msgspec import UNSET, Struct, UnsetType, field

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute import documents
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.compute.new_server import (
    File,
    address_of,
    description_of,
    hostname_of,
    metadata_of,
    name_of,
    personality_of,
    refuse_by_version,
    user_data_of,
)
from cyclades_tx.api.compute.servers import Views
from cyclades_tx.api.documents import Document, Member
from cyclades_tx.errors import BadRequest
from cyclades_tx.model.server import Rebuild, Rebuilt

_KEY_FIRST = 54
_USER_DATA_FIRST = 57
_WHOLE_FIRST = 75


class Wanted(Struct, forbid_unknown_fields=True):
    """The argument of ``rebuild``: what is absent stays as it is."""

    imageRef: str
    name: str | UnsetType = UNSET
    adminPass: str | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    accessIPv4: str | UnsetType | None = UNSET
    accessIPv6: str | UnsetType | None = UNSET
    personality: list[File] | UnsetType | None = UNSET
    preserve_ephemeral: bool | str | UnsetType | None = UNSET
    key_name: str | UnsetType | None = UNSET
    user_data: str | UnsetType | None = UNSET
    trusted_image_certificates: list[str] | UnsetType | None = UNSET
    hostname: str | UnsetType = UNSET
    disk_config: str | UnsetType = field(default=UNSET, name="OS-DCF:diskConfig")


#: Beyond what :data:`documents.SERVER` or its smaller form has.
_MORE = (
    Member("adminPass", "''::text", documents.TEXT),
    Member("key_name", "server.key_name", documents.TEXT_OR_NULL, first=_KEY_FIRST),
    Member("user_data", "null::text", documents.TEXT_OR_NULL, first=_USER_DATA_FIRST),
)


def document(minor: int) -> Document:
    """The ``server`` of the reply in a microversion."""
    base = documents.SERVER if minor >= _WHOLE_FIRST else documents.SERVER_CHANGED
    known = {member.name for member in base.shown(minor)}
    more = (member for member in _MORE if member.name not in known)
    return Document(base.name + "Rebuilt", (*base.members, *more))


_documents = {minor: document(minor) for minor in range(1, 97)}


def rebuild_of(call: Call, argument: Any) -> Rebuild:
    """Read the argument of ``rebuild``.

    :raise BadRequest: with a sentence that names what is wrong.
    """
    try:
        wanted = msgspec.convert(argument, Wanted)
    except msgspec.ValidationError as error:
        raise BadRequest(f"Invalid input: {error}") from None
    _refuse_by_version(wanted, call.minor)
    image_ref = wanted.imageRef.rstrip("/").rpartition("/")[2]
    if UUID.fullmatch(image_ref) is None:
        raise BadRequest("Invalid imageRef provided.")
    if wanted.trusted_image_certificates not in (UNSET, None, []):
        raise BadRequest("Certificates of images are not offered.")
    columns: dict[str, str | None] = {}
    if wanted.name is not UNSET:
        columns["name"] = name_of("name", wanted.name)
    if wanted.description is not UNSET:
        columns["description"] = description_of(wanted.description)
    if wanted.accessIPv4 is not UNSET:
        columns["access_ipv4"] = address_of("accessIPv4", wanted.accessIPv4, 4)
    if wanted.accessIPv6 is not UNSET:
        columns["access_ipv6"] = address_of("accessIPv6", wanted.accessIPv6, 6)
    if wanted.hostname is not UNSET:
        columns["hostname"] = hostname_of(wanted.hostname, call.minor)
    if wanted.disk_config is not UNSET:
        if wanted.disk_config not in ("MANUAL", "AUTO"):
            raise BadRequest("OS-DCF:diskConfig must be either 'MANUAL' or 'AUTO'.")
        columns["disk_config"] = wanted.disk_config
    data = wanted.user_data
    return Rebuild(
        image_ref=image_ref,
        columns=columns,
        metadata=metadata_of(wanted.metadata) if isinstance(wanted.metadata, dict) else None,
        admin_password=wanted.adminPass or None,
        personality=tuple(personality_of(each) for each in wanted.personality or ()),
        key_name=wanted.key_name if isinstance(wanted.key_name, str) else None,
        sets_key=wanted.key_name is not UNSET,
        user_data=user_data_of(data) if isinstance(data, str) else None,
        sets_user_data=data is not UNSET,
    )


async def reply(views: Views, call: Call, ref: str, rebuilt: Rebuilt) -> Reply:
    """The reply: the server as it is then, with its new image and password."""
    base = call.base_url + "/compute"
    whole = orjson.loads(await views.document_of(call, ref, _documents[max(call.minor, 1)]))
    server = whole["server"]
    # It is the wished one until the installation ends; then the server's own.
    link = {"rel": "bookmark", "href": f"{base}/images/{rebuilt.image_uuid}"}
    server["image"] = {"id": rebuilt.image_uuid, "links": [link]}
    server["adminPass"] = rebuilt.admin_password
    if "user_data" in server and rebuilt.user_data is not None:
        server["user_data"] = base64.b64encode(rebuilt.user_data).decode()
    return Reply(202, whole, {"location": f"{base}/v2.1/servers/{server['id']}"})


def _refuse_by_version(wanted: Wanted, minor: int) -> None:
    refuse_by_version(wanted, minor)
    for name, first in (("key_name", _KEY_FIRST), ("user_data", _USER_DATA_FIRST)):
        if minor < first and getattr(wanted, name) is not UNSET:
            raise BadRequest(
                f"Additional properties are not allowed ('{name}' was unexpected) in "
                f"microversion 2.{minor}."
            )
