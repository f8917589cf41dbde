"""The volumes of a server: list, show, attach, change, detach."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute import documents, paging
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.compute.new_server import truth
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.compute.servers import read
from cyclades_tx.api.documents import Document, Member
from cyclades_tx.errors import BadRequest, Forbidden, NotFound, NotSupported
from cyclades_tx.flows.volume_attachments import VolumeAttachments

_TAG_FIRST = 49
_ENDS_FIRST = 79
#: From here on PUT changes an attachment; before, it only puts another volume in the place of one.
CHANGE_FIRST = 85
_DEVICE = re.compile(r"(/dev/)?[a-z]{1,12}[0-9]{0,3}", re.ASCII)

VOLUME = Document(
    "VolumeAttachment",
    (
        Member("id", "volume.uuid", documents.TEXT, last=88),
        Member("serverId", "server.uuid", documents.TEXT),
        Member("volumeId", "volume.uuid", documents.TEXT),
        Member("device", "'/dev/vd' || chr(97 + volume.position)", documents.TEXT),
        Member("tag", "volume.attachment_tag", documents.TEXT_OR_NULL, first=70),
        Member(
            "delete_on_termination",
            "volume.delete_on_termination",
            documents.BOOLEAN,
            first=_ENDS_FIRST,
        ),
        Member("attachment_id", "volume.uuid", documents.TEXT, first=89),
        Member("bdm_uuid", "volume.uuid", documents.TEXT, first=89),
    ),
)

_OF_SERVER = (
    "from volume where volume.server_id = server.id and not volume.local"
    " and volume.deleted_at is null"
)


class NewAttachment(Struct, forbid_unknown_fields=True):
    """The ``volumeAttachment`` that is asked for; null means the same as absent."""

    volumeId: str
    device: str | None = None
    tag: str | None = None
    delete_on_termination: bool | str | None = None


class NewBody(Struct, forbid_unknown_fields=True):
    """The whole body of POST."""

    volumeAttachment: NewAttachment


class ChangedAttachment(Struct, forbid_unknown_fields=True):
    """The ``volumeAttachment`` as it shall be; what cannot change must be as it is."""

    volumeId: str
    id: str | None = None
    serverId: str | None = None
    device: str | None = None
    tag: str | None = None
    delete_on_termination: bool | str | None = None


class ChangedBody(Struct, forbid_unknown_fields=True):
    """The whole body of PUT."""

    volumeAttachment: ChangedAttachment


_NEW = msgspec.json.Decoder(NewBody)
_CHANGED = msgspec.json.Decoder(ChangedBody)


def wanted_of(call: Call) -> NewAttachment:
    """Read the body of POST.

    :raise BadRequest: with a sentence that names what is wrong.
    """
    wanted = call.json(_NEW).volumeAttachment
    _refuse_before(call.minor, _TAG_FIRST, "tag", wanted.tag)
    _refuse_before(call.minor, _ENDS_FIRST, "delete_on_termination", wanted.delete_on_termination)
    if UUID.fullmatch(wanted.volumeId) is None:
        raise BadRequest("Invalid input for field/attribute volumeId: it is the id of a volume.")
    if wanted.device is not None and _DEVICE.fullmatch(wanted.device) is None:
        raise BadRequest(f"The supplied device path ({wanted.device[:80]}) is invalid.")
    if wanted.tag is not None and (
        not 1 <= len(wanted.tag) <= 60 or "/" in wanted.tag or "," in wanted.tag
    ):
        raise BadRequest("Invalid tag: it has 1 to 60 characters, no slash and no comma.")
    return wanted


def changed_of(call: Call, volume_id: str) -> ChangedAttachment:
    """Read the body of PUT, which may not put another volume in the place of this one.

    :raise BadRequest: with a sentence that names what is wrong.
    :raise Forbidden: when only an administrator could ask for it.
    """
    wanted = call.json(_CHANGED).volumeAttachment
    if call.minor < CHANGE_FIRST:
        for name in ("id", "serverId", "device", "tag", "delete_on_termination"):
            _refuse_before(call.minor, CHANGE_FIRST, name, getattr(wanted, name))
    if UUID.fullmatch(wanted.volumeId) is None:
        raise BadRequest("Invalid input for field/attribute volumeId: it is the id of a volume.")
    if call.minor < CHANGE_FIRST or wanted.volumeId != volume_id:
        if not call.who.admin:
            raise Forbidden("Policy doesn't allow os_compute_api:os-volumes-attachments:swap.")
        raise BadRequest("A volume cannot take the place of another one on this cloud.")
    return wanted


def _refuse_before(minor: int, first: int, name: str, value: Any) -> None:
    if minor < first and value is not None:
        raise BadRequest(
            f"Additional properties are not allowed ('{name}' was unexpected) in "
            f"microversion 2.{minor}."
        )


def _list(text: str) -> str:
    return (
        f"select '{{\"volumeAttachments\": [' || coalesce((select string_agg({text}, ', '"
        f" order by volume.position) from (select volume.* {_OF_SERVER}"
        " order by volume.position limit %s::bigint offset %s::bigint) as volume), '') || ']}'"
        " from server where"
    )


def _one(text: str) -> str:
    return (
        f"select coalesce((select '{{\"volumeAttachment\": ' || {text} || '}}' {_OF_SERVER}"
        " and volume.uuid = %s::uuid), '') from server where"
    )


def _offset(call: Call) -> int:
    text = call.query("offset") or "0"
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise BadRequest(f"offset is no number of volumes: {text[:80]!r}.")
    return int(text)


def mount(routes: Routes, database: Any, flow: VolumeAttachments | None = None) -> None:
    """Add the endpoints.

    :param flow: attaches and detaches; None: they are only read.
    """

    def offered() -> VolumeAttachments:
        if flow is None:
            raise NotSupported("Volumes are not offered here.")
        return flow

    async def listing(call: Call, server_id: str) -> bytes:
        sql = _list(VOLUME.text(call.minor))
        return await read(database, call, server_id, sql, paging.limit(call), _offset(call))

    async def show(call: Call, server_id: str, volume_id: str) -> bytes:
        body = b""
        if UUID.fullmatch(volume_id) is not None:
            body = await read(database, call, server_id, _one(VOLUME.text(call.minor)), volume_id)
        if not body:
            raise NotFound(f"Volume {volume_id} could not be found.", "volume")
        return body

    async def attach(call: Call, server_id: str) -> bytes:
        wanted = wanted_of(call)
        ends = wanted.delete_on_termination
        uuid = await offered().attach(
            call.who,
            server_id,
            wanted.volumeId,
            call.request_id,
            delete_on_termination=None if ends is None else truth("delete_on_termination", ends),
            tag=wanted.tag,
        )
        return await show(call, server_id, uuid)

    async def change(call: Call, server_id: str, volume_id: str) -> Reply:
        wanted = changed_of(call, volume_id)
        shown = msgspec.json.decode(await show(call, server_id, volume_id))["volumeAttachment"]
        for name in ("id", "serverId", "device", "tag"):
            value = getattr(wanted, name)
            if value is not None and value != shown.get(name, shown["volumeId"]):
                raise BadRequest(f"The {name} of an attachment cannot be changed.")
        if wanted.delete_on_termination is not None:
            ends = truth("delete_on_termination", wanted.delete_on_termination)
            await offered().change(call.who, server_id, volume_id, ends)
        return Reply(202)

    async def detach(call: Call, server_id: str, volume_id: str) -> Reply:
        await offered().detach(call.who, server_id, volume_id, call.request_id)
        return Reply(202)

    path = "/servers/<server_id>/os-volume_attachments"
    routes.add("GET", path, listing)
    routes.add("POST", path, attach)
    routes.add("GET", f"{path}/<volume_id>", show)
    routes.add("PUT", f"{path}/<volume_id>", change)
    routes.add("DELETE", f"{path}/<volume_id>", detach)
