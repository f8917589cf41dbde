"""What Volume knows and a Ganeti cloud cannot do: each with the fault it has for that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.volume.routes import Routes
from cyclades_tx.errors import CycladesError, NotFound, NotSupported


@dataclass(frozen=True)
class Refusal:
    """How an action is refused when nothing else speaks against it.

    :ivar admin: whether only an administrator may ask.
    :ivar first: the first microversion that has it.
    """

    sentence: str
    admin: bool = False
    first: int = 0
    fault: Callable[[str], CycladesError] = NotSupported


ATTACHING = "Volumes are attached and detached through Compute."
SNAPSHOTS = "No cluster of this cloud can make snapshots of disks."
BACKUPS = "Volumes are not backed up by this cloud: copy what is on them from inside a server."
_COPYING = "What is on a volume cannot be read from outside its server on this cloud."
_IMAGE = "The facts of a volume's image are those of the image."
_MOVING = "Volumes are moved by the operators of the clusters."

ACTIONS: dict[str, Refusal] = {
    "os-attach": Refusal(ATTACHING),
    "os-detach": Refusal(ATTACHING),
    "os-force_detach": Refusal(ATTACHING, admin=True),
    "os-reserve": Refusal(ATTACHING),
    "os-unreserve": Refusal(ATTACHING),
    "os-begin_detaching": Refusal(ATTACHING),
    "os-roll_detaching": Refusal(ATTACHING),
    "os-initialize_connection": Refusal(ATTACHING),
    "os-terminate_connection": Refusal(ATTACHING),
    "os-volume_upload_image": Refusal(_COPYING),
    "os-set_image_metadata": Refusal(_IMAGE),
    "os-unset_image_metadata": Refusal(_IMAGE),
    "os-migrate_volume": Refusal(_MOVING, admin=True),
    "os-unmanage": Refusal(_MOVING, admin=True),
    "revert": Refusal(SNAPSHOTS, first=40),
    "os-reimage": Refusal(_COPYING, first=68),
}

#: Raises when the caller sees no such volume.
Check = Callable[[Any, str], Awaitable[None]]


class NewSnapshot(Struct):
    """The ``snapshot`` of a body: only whose it would be is looked at."""

    volume_id: str


class SnapshotBody(Struct):
    """The body that would make a snapshot."""

    snapshot: NewSnapshot


class NewBackup(Struct):
    """The ``backup`` of a body: only of what it would be is looked at."""

    volume_id: str


class BackupBody(Struct):
    """The body that would make a backup."""

    backup: NewBackup


class NewAttachment(Struct):
    """The ``attachment`` of a body: only of what it would be is looked at."""

    volume_uuid: str


class AttachmentBody(Struct):
    """The body that would make an attachment."""

    attachment: NewAttachment


_SNAPSHOT = msgspec.json.Decoder(SnapshotBody)
_BACKUP = msgspec.json.Decoder(BackupBody)
_ATTACHMENT = msgspec.json.Decoder(AttachmentBody)


def _none(word: str) -> Callable[..., Any]:
    """An endpoint of things that there are none of."""

    async def handle(_call: Call, ref: str) -> Reply:
        raise NotFound(f"{word} {ref} could not be found.", word.lower())

    return handle


def _empty(key: str) -> Callable[..., Any]:
    """A list that has nothing in it."""

    async def handle(_call: Call) -> Reply:
        return Reply(200, {key: []})

    return handle


def mount(routes: Routes, check: Check) -> None:
    """Add the endpoints of snapshots, backups, attachments."""
    for noun in ("snapshots", "backups"):
        word = noun[:-1].capitalize()
        routes.add("GET", f"/{noun}", _empty(noun))
        routes.add("GET", f"/{noun}/detail", _empty(noun))
        for method in ("GET", "PUT", "DELETE"):
            routes.add(method, f"/{noun}/<ref>", _none(word))

    async def snapshot(call: Call) -> Reply:
        await check(call.who, call.json(_SNAPSHOT).snapshot.volume_id)
        raise NotSupported(SNAPSHOTS)

    async def backup(call: Call) -> Reply:
        await check(call.who, call.json(_BACKUP).backup.volume_id)
        raise NotSupported(BACKUPS)

    async def attachment(call: Call) -> Reply:
        await check(call.who, call.json(_ATTACHMENT).attachment.volume_uuid)
        raise NotSupported(ATTACHING)

    routes.add("POST", "/snapshots", snapshot)
    routes.add("POST", "/backups", backup)
    routes.add("POST", "/attachments", attachment, first=27)
