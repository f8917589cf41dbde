"""Quota sets: a project's limits one by one, with what is used of each."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute.documents import NUMBER, TEXT, record
from cyclades_tx.api.compute.limits import checked, counted, maximum, used
from cyclades_tx.api.compute.new_server import truth
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.documents import Document, Member, one
from cyclades_tx.errors import BadRequest, Forbidden, NotSupported
from cyclades_tx.flows.quotas import COUNTED, FIXED, HELD, Quotas

_NETWORK_LAST = 35
_FILES_LAST = 56
#: Classes show server groups from here on, and what the network has no more.
_CLASS_GROUPS_FIRST = 50

_LAST = {
    **dict.fromkeys(
        ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes"), _FILES_LAST
    ),
    **dict.fromkeys(
        ("fixed_ips", "floating_ips", "security_groups", "security_group_rules"), _NETWORK_LAST
    ),
}

_GROUPS_USED = (
    "(select count(*) from server_group where server_group.project_id::text = given.project_id)"
)
_USE_OF_USER = (
    "(select coalesce({sum}, 0) from server where server.project_id::text = given.project_id and"
    " server.user_id::text = given.user_id and server.deleted_at is null"
    " and (server.charge <> 'none' or server.state = 'building'))"
)
_SUMS = {"instances": "count(*)", "cores": "sum(server.vcpus)", "ram": "sum(server.memory_mib)"}


def _of_user(name: str, sql: str) -> str:
    """The limit of the user who is asked about, else the project's."""
    return (
        "coalesce((select user_limit.maximum from user_limit where user_limit.project_id::text ="
        " given.project_id and user_limit.user_id::text = given.user_id"
        f" and user_limit.name = '{name}'), {sql})"
    )


def _facts(name: str) -> tuple[str, str, str]:
    """The SQL of the limit of a name, of what is used, and of what is reserved."""
    if name in HELD:
        resources, unit = HELD[name]
        limit = maximum(resources, unit)
        in_use, reserved = used(resources, unit, "used"), used(resources, unit, "reserved")
        if name in _SUMS:
            limit = _of_user(name, limit)
            mine = _USE_OF_USER.format(sum=_SUMS[name])
            in_use = f"case when given.user_id is null then {in_use} else {mine} end"
            reserved = f"case when given.user_id is null then {reserved} else 0 end"
        return limit, in_use, reserved
    if name in COUNTED:
        in_use = _GROUPS_USED if name == "server_groups" else "0"
        return counted(name, COUNTED[name]), in_use, "0"
    return str(FIXED[name]), "0", "0"


_ORDER = (
    *("cores", "instances", "ram", "key_pairs", "metadata_items", "server_groups"),
    *("server_group_members", "injected_files", "injected_file_content_bytes"),
    *("injected_file_path_bytes", "fixed_ips", "floating_ips", "security_groups"),
    "security_group_rules",
)
_ALL = {name: _facts(name) for name in _ORDER}

_ID = Member("id", "given.project_id", TEXT)
_LIMITS = tuple(
    Member(name, limit, NUMBER, last=_LAST.get(name)) for name, (limit, _, _) in _ALL.items()
)

QUOTA_SET = Document("QuotaSet", (_ID, *_LIMITS))
#: The reply to a change, which has no id.
QUOTA_SET_CHANGED = Document("QuotaSetChanged", _LIMITS)

QUOTA_SET_DETAIL = Document(
    "QuotaSetDetail",
    (
        _ID,
        *(
            Member(
                name,
                f"json_build_object('limit', {limit}, 'in_use', {in_use}, 'reserved', {reserved})",
                record(limit=NUMBER, in_use=NUMBER, reserved=NUMBER),
                last=_LAST.get(name),
            )
            for name, (limit, in_use, reserved) in _ALL.items()
        ),
    ),
)

_CLASS_LIMITS = tuple(
    Member(
        name,
        "",
        NUMBER,
        first=_CLASS_GROUPS_FIRST if name in COUNTED else 0,
        last=_CLASS_GROUPS_FIRST - 1 if _LAST.get(name) == _NETWORK_LAST else _LAST.get(name),
    )
    for name in _ORDER
)
#: Of these only names, versions and schemas are used: they come from the flow.
QUOTA_CLASS_SET = Document("QuotaClassSet", (Member("id", "", TEXT), *_CLASS_LIMITS))
QUOTA_CLASS_SET_CHANGED = Document("QuotaClassSetChanged", _CLASS_LIMITS)


class QuotaChange(Struct, forbid_unknown_fields=True):
    """The ``quota_set`` of the body; what is absent stays as it is."""

    cores: int | str | None = None
    instances: int | str | None = None
    ram: int | str | None = None
    key_pairs: int | str | None = None
    metadata_items: int | str | None = None
    server_groups: int | str | None = None
    server_group_members: int | str | None = None
    injected_files: int | str | None = None
    injected_file_content_bytes: int | str | None = None
    injected_file_path_bytes: int | str | None = None
    fixed_ips: int | str | None = None
    floating_ips: int | str | None = None
    security_groups: int | str | None = None
    security_group_rules: int | str | None = None
    force: bool | str | None = None


class Body(Struct, forbid_unknown_fields=True):
    """The body that changes a project's quotas."""

    quota_set: QuotaChange


class ClassChange(QuotaChange, forbid_unknown_fields=True):
    """The ``quota_class_set`` of the body; ``force`` is refused."""


class ClassBody(Struct, forbid_unknown_fields=True):
    """The body that changes the defaults."""

    quota_class_set: ClassChange


_BODY = msgspec.json.Decoder(Body)
_CLASS_BODY = msgspec.json.Decoder(ClassBody)


def mount(routes: Routes, database: Any, quotas: Quotas) -> None:
    """Add the endpoints."""

    async def answer(
        call: Call, project_id: str, document: Document, user_id: str | None = None
    ) -> bytes:
        body: bytes = await database.document(
            f"select {one('quota_set', document.text(call.minor))}"
            " from (select %s::text as project_id, %s::text as user_id) as given",
            (project_id, user_id),
        )
        return body

    async def read(call: Call, project_id: str, document: Document) -> bytes:
        who = call.who
        user_id = call.query("user_id")
        if project_id != who.project_id and not who.admin:
            raise Forbidden("Policy does not allow this request to be performed.")
        if user_id not in (None, who.user_id) and not who.admin:
            raise Forbidden("Policy does not allow this request to be performed.")
        return await answer(call, project_id, document, user_id)

    async def show(call: Call, project_id: str) -> bytes:
        return await read(call, project_id, QUOTA_SET)

    async def show_detail(call: Call, project_id: str) -> bytes:
        return await read(call, project_id, QUOTA_SET_DETAIL)

    async def show_defaults(call: Call, project_id: str) -> Reply:
        values = await quotas.defaults()
        shown = {"id": project_id} | {
            member.name: values[member.name] for member in QUOTA_SET_CHANGED.shown(call.minor)
        }
        return Reply(200, {"quota_set": shown})

    async def change(call: Call, project_id: str) -> bytes:
        wanted = call.json(_BODY).quota_set
        changes = _changes(wanted, QUOTA_SET_CHANGED, call.minor)
        force = truth("force", wanted.force)
        user_id = call.query("user_id")
        if user_id is None:
            await quotas.change(project_id, changes, force=force)
        else:
            await quotas.change_of_user(project_id, user_id, changes, force=force)
        return await answer(call, project_id, QUOTA_SET_CHANGED, user_id)

    async def reset(call: Call, project_id: str) -> Reply:
        await quotas.reset(project_id, call.query("user_id"))
        return Reply(202)

    async def class_of(call: Call, document: Document) -> dict[str, Any]:
        values = await quotas.defaults()
        return {
            member.name: values[member.name]
            for member in document.shown(call.minor)
            if member.name != "id"
        }

    async def show_class(call: Call, class_id: str) -> Reply:
        shown = await class_of(call, QUOTA_CLASS_SET)
        return Reply(200, {"quota_class_set": {"id": class_id, **shown}})

    async def change_class(call: Call, class_id: str) -> Reply:
        wanted = call.json(_CLASS_BODY).quota_class_set
        if wanted.force is not None:
            raise BadRequest("Additional properties are not allowed ('force' was unexpected)")
        changes = _changes(wanted, QUOTA_CLASS_SET_CHANGED, call.minor)
        if class_id != "default":
            raise NotSupported("The only class of quotas on this cloud is 'default'.")
        await quotas.change_defaults(changes)
        shown = await class_of(call, QUOTA_CLASS_SET_CHANGED)
        return Reply(200, {"quota_class_set": shown})

    routes.add("GET", "/os-quota-sets/<project_id>", show)
    routes.add("GET", "/os-quota-sets/<project_id>/detail", show_detail)
    routes.add("GET", "/os-quota-sets/<project_id>/defaults", show_defaults)
    routes.add("PUT", "/os-quota-sets/<project_id>", change, admin=True)
    routes.add("DELETE", "/os-quota-sets/<project_id>", reset, admin=True)
    routes.add("GET", "/os-quota-class-sets/<class_id>", show_class, admin=True)
    routes.add("PUT", "/os-quota-class-sets/<class_id>", change_class, admin=True)


def _changes(wanted: QuotaChange, document: Document, minor: int) -> dict[str, int]:
    """The limits that a body names, checked for the microversion.

    :raise BadRequest: for one that the microversion does not have, or that is no limit.
    """
    known = {member.name for member in document.shown(minor)}
    found: dict[str, int] = {}
    for name in _ORDER:
        value = getattr(wanted, name)
        if value is None:
            continue
        if name not in known:
            raise BadRequest(
                f"Additional properties are not allowed ('{name}' was unexpected) in "
                f"microversion 2.{minor}."
            )
        found[name] = checked(name, value)
    return found
