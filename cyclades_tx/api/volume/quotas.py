"""Quota sets and limits: what a project may have of volumes, with what is used of each."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute.documents import NUMBER, TEXT, record
from cyclades_tx.api.compute.filters import TRUE
from cyclades_tx.api.compute.limits import checked, counted, maximum, used
from cyclades_tx.api.documents import Document, Member, one
from cyclades_tx.api.volume.routes import Routes
from cyclades_tx.errors import Forbidden, NotSupported
from cyclades_tx.flows.volume_quotas import COUNTED, FIXED, HELD, NAMES, VolumeQuotas

_DENIED = "Policy does not allow this request to be performed."

_COUNT = (
    "(select count(*) from volume where volume.project_id::text = given.project_id"
    " and not volume.local and volume.deleted_at is null)"
)


def _facts(name: str) -> tuple[str, str, str]:
    """The SQL of the limit of a name, of what is used, and of what is reserved."""
    if name in HELD:
        held, unit = HELD[name]
        return maximum(held, unit), used(held, unit, "used"), used(held, unit, "reserved")
    if name in COUNTED:
        return counted(name, COUNTED[name]), _COUNT, "0"
    return str(FIXED[name]), "0", "0"


_ALL = {name: _facts(name) for name in NAMES}
_ID = Member("id", "given.project_id", TEXT)
_LIMITS = tuple(Member(name, limit, NUMBER) for name, (limit, _, _) in _ALL.items())

QUOTA_SET = Document("VolumeQuotaSet", (_ID, *_LIMITS))
#: The reply to a change, which has no id.
QUOTA_SET_CHANGED = Document("VolumeQuotaSetChanged", _LIMITS)
QUOTA_SET_USAGE = Document(
    "VolumeQuotaSetUsage",
    (
        _ID,
        *(
            Member(
                name,
                f"json_build_object('limit', {limit}, 'in_use', {in_use}, 'reserved', {reserved})",
                record(limit=NUMBER, in_use=NUMBER, reserved=NUMBER),
            )
            for name, (limit, in_use, reserved) in _ALL.items()
        ),
    ),
)

ABSOLUTE = Document(
    "VolumeLimits",
    (
        Member("maxTotalVolumes", _ALL["volumes"][0], NUMBER),
        Member("maxTotalVolumeGigabytes", _ALL["gigabytes"][0], NUMBER),
        Member("maxTotalSnapshots", "0", NUMBER),
        Member("maxTotalBackups", "0", NUMBER),
        Member("maxTotalBackupGigabytes", "0", NUMBER),
        Member("totalVolumesUsed", _COUNT, NUMBER),
        Member("totalGigabytesUsed", used(*HELD["gigabytes"]), NUMBER),
        Member("totalSnapshotsUsed", "0", NUMBER),
        Member("totalBackupsUsed", "0", NUMBER),
        Member("totalBackupGigabytesUsed", "0", NUMBER),
    ),
)


class QuotaChange(Struct, forbid_unknown_fields=True):
    """The ``quota_set`` of the body; what is absent stays as it is."""

    volumes: int | str | None = None
    gigabytes: int | str | None = None
    per_volume_gigabytes: int | str | None = None
    snapshots: int | str | None = None
    backups: int | str | None = None
    backup_gigabytes: int | str | None = None
    groups: int | str | None = None


class Body(Struct, forbid_unknown_fields=True):
    """The body that changes a project's quotas."""

    quota_set: QuotaChange


class ClassBody(Struct, forbid_unknown_fields=True):
    """The body that changes the defaults."""

    quota_class_set: QuotaChange


_BODY = msgspec.json.Decoder(Body)
_CLASS_BODY = msgspec.json.Decoder(ClassBody)


def mount(routes: Routes, database: Any, quotas: VolumeQuotas) -> None:
    """Add the endpoints."""

    async def answer(call: Call, project_id: str, document: Document) -> bytes:
        body: bytes = await database.document(
            f"select {one('quota_set', document.text(call.minor))}"
            " from (select %s::text as project_id) as given",
            (project_id,),
        )
        return body

    def check(call: Call, project_id: str) -> None:
        if project_id != call.who.project_id and not call.who.admin:
            raise Forbidden(_DENIED)

    async def show(call: Call, project_id: str) -> bytes:
        check(call, project_id)
        usage = (call.query("usage") or "").strip().lower() in TRUE
        return await answer(call, project_id, QUOTA_SET_USAGE if usage else QUOTA_SET)

    async def show_defaults(call: Call, project_id: str) -> Reply:
        check(call, project_id)
        return Reply(200, {"quota_set": {"id": project_id, **await quotas.defaults()}})

    async def change(call: Call, project_id: str) -> bytes:
        await quotas.change(project_id, _changes(call.json(_BODY).quota_set))
        return await answer(call, project_id, QUOTA_SET_CHANGED)

    async def reset(call: Call, project_id: str) -> Reply:
        await quotas.reset(project_id)
        return Reply(200)

    async def show_class(call: Call, class_id: str) -> Reply:
        return Reply(200, {"quota_class_set": {"id": class_id, **await quotas.defaults()}})

    async def change_class(call: Call, class_id: str) -> Reply:
        changes = _changes(call.json(_CLASS_BODY).quota_class_set)
        if class_id != "default":
            raise NotSupported("The only class of quotas on this cloud is 'default'.")
        await quotas.change_defaults(changes)
        return Reply(200, {"quota_class_set": await quotas.defaults()})

    async def limits(call: Call) -> bytes:
        project_id = call.who.project_id
        asked = call.query("project_id")
        if asked not in (None, "", project_id):
            if not call.who.admin:
                raise Forbidden(_DENIED)
            project_id = asked
        body: bytes = await database.document(
            f'select \'{{"limits": {{"rate": [], "absolute": \' || {ABSOLUTE.text(call.minor)}'
            " || '}}' from (select %s::text as project_id) as given",
            (project_id,),
        )
        return body

    routes.add("GET", "/limits", limits)
    routes.add("GET", "/os-quota-sets/<project_id>", show)
    routes.add("GET", "/os-quota-sets/<project_id>/defaults", show_defaults)
    routes.add("PUT", "/os-quota-sets/<project_id>", change, admin=True)
    routes.add("DELETE", "/os-quota-sets/<project_id>", reset, admin=True)
    routes.add("GET", "/os-quota-class-sets/<class_id>", show_class, admin=True)
    routes.add("PUT", "/os-quota-class-sets/<class_id>", change_class, admin=True)


def _changes(wanted: QuotaChange) -> dict[str, int]:
    """The limits that a body names.

    :raise BadRequest: for one that is no limit.
    """
    found: dict[str, int] = {}
    for name in NAMES:
        value = getattr(wanted, name)
        if value is None:
            continue
        found[name] = checked(name, value)
    return found
