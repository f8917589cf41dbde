"""Volume types: read by everyone, changed by administrators."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct, field

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute import paging
from cyclades_tx.api.compute.documents import TEXT, mapping, record
from cyclades_tx.api.compute.filters import FALSE, TRUE
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.documents import many, one
from cyclades_tx.api.volume.bodies import text_of, truth
from cyclades_tx.api.volume.documents import TYPE_SPECS, VOLUME_TYPE
from cyclades_tx.api.volume.routes import Routes
from cyclades_tx.errors import BadRequest, Conflict, NotFound
from cyclades_tx.flows.volume_types import VolumeTypes, no_type

SPECS = record(extra_specs=mapping(TEXT))
_PUBLIC = "Every volume type of this cloud is public."

#: Those that the caller sees; arguments: admin.
_SEEN = "volume_type.deleted_at is null and (volume_type.public or given.admin)"
_GIVEN = "(select %s::boolean as admin) as given cross join volume_type"


class NewType(Struct, forbid_unknown_fields=True):
    """The ``volume_type`` of the body that makes one."""

    name: str
    description: str | None = None
    public: bool | str | None = field(default=None, name="os-volume-type-access:is_public")
    extra_specs: dict[str, str] | None = None


class NewBody(Struct, forbid_unknown_fields=True):
    """The whole body that makes a type."""

    volume_type: NewType


class Changed(Struct, forbid_unknown_fields=True):
    """The ``volume_type`` of the body that changes one; what is absent stays as it is."""

    name: str | None = None
    description: str | None = None
    is_public: bool | str | None = None


class ChangedBody(Struct, forbid_unknown_fields=True):
    """The whole body that changes a type."""

    volume_type: Changed


class SpecsBody(Struct, forbid_unknown_fields=True):
    """The body with several extra specs."""

    extra_specs: dict[str, str]


class Project(Struct, forbid_unknown_fields=True):
    """Who gets a type, or loses it."""

    project: str


class AccessBody(Struct, forbid_unknown_fields=True):
    """The body that gives a type to a project, or takes it away."""

    give: Project | None = field(default=None, name="addProjectAccess")
    take: Project | None = field(default=None, name="removeProjectAccess")


_NEW = msgspec.json.Decoder(NewBody)
_CHANGED = msgspec.json.Decoder(ChangedBody)
_SPECS = msgspec.json.Decoder(SpecsBody)
_SPEC = msgspec.json.Decoder(dict[str, str])
_ACCESS = msgspec.json.Decoder(AccessBody)


@lru_cache(maxsize=256)
def _show(minor: int, admin: bool) -> str:
    return (
        f"select {one('volume_type', VOLUME_TYPE.text(minor, admin))} from {_GIVEN}"
        f" where volume_type.uuid = %s::uuid and {_SEEN}"
    )


@lru_cache(maxsize=256)
def _default(minor: int, admin: bool) -> str:
    return (
        f"select {one('volume_type', VOLUME_TYPE.text(minor, admin))} from {_GIVEN}"
        " where volume_type.public and volume_type.deleted_at is null"
        " and volume_type.disk_template <> 'diskless' order by volume_type.id limit 1"
    )


@lru_cache(maxsize=256)
def _list(minor: int, admin: bool, condition: str, marker: bool) -> str:
    after = ""
    if marker:
        after = " and volume_type.id > (select id from volume_type where uuid = %s::uuid)"
    return (
        f"select '{{\"volume_types\": ' || {many('page.item', 'page.id')} || '}}' from ("
        f"select volume_type.id, {VOLUME_TYPE.text(minor, admin)} as item from {_GIVEN}"
        f" where {_SEEN}{condition}{after} order by volume_type.id"
        " limit %s::bigint offset %s::bigint) as page"
    )


_EXTRA_SPECS = (
    f"select json_build_object('extra_specs', {TYPE_SPECS})::text from {_GIVEN}"
    f" where volume_type.uuid = %s::uuid and {_SEEN}"
)


def mount(routes: Routes, database: Any, types: VolumeTypes) -> None:
    """Add the endpoints."""

    async def document(call: Call, ref: str) -> bytes:
        return await _read(call, ref, _show(call.minor, call.who.admin))

    async def _read(call: Call, ref: str, sql: str) -> bytes:
        body: bytes | None = None
        if UUID.fullmatch(ref) is not None:
            body = await database.document(sql, (call.who.admin, ref))
        if body is None:
            raise no_type(ref)
        return body

    async def list_items(call: Call) -> bytes:
        marker = call.query("marker")
        if marker is not None:
            await document(call, marker)
        before = () if marker is None else (marker,)
        admin = call.who.admin
        body: bytes = await database.document(
            _list(call.minor, admin, _public(call), marker is not None),
            (admin, *before, paging.limit(call), paging.number(call, "offset") or 0),
        )
        return body

    async def show(call: Call, type_id: str) -> bytes:
        return await document(call, type_id)

    async def show_default(call: Call) -> bytes:
        admin = call.who.admin
        body: bytes | None = await database.document(_default(call.minor, admin), (admin,))
        if body is None:
            raise NotFound("Default volume type can not be found.", "volume_type")
        return body

    async def create(call: Call) -> bytes:
        wanted = call.json(_NEW).volume_type
        if wanted.public is not None and not truth("is_public", wanted.public):
            raise BadRequest(_PUBLIC)
        uuid = await types.create(
            wanted.name.strip(),
            text_of("description", wanted.description) or "",
            wanted.extra_specs or {},
        )
        return await document(call, uuid)

    async def update(call: Call, type_id: str) -> bytes:
        wanted = call.json(_CHANGED).volume_type
        changes: dict[str, Any] = {}
        if wanted.name is not None:
            changes["name"] = wanted.name.strip()
        if wanted.description is not None:
            changes["description"] = text_of("description", wanted.description)
        if wanted.is_public is not None:
            if not truth("is_public", wanted.is_public):
                raise BadRequest(_PUBLIC)
            changes["public"] = True
        if not changes:
            raise BadRequest("Specify volume type name, description, is_public or a combination"
                             " thereof.")  # fmt: skip
        await types.update(type_id, changes)
        return await document(call, type_id)

    async def delete(call: Call, type_id: str) -> Reply:
        await types.delete(type_id)
        return Reply(202)

    async def show_specs(call: Call, type_id: str) -> bytes:
        return await _read(call, type_id, _EXTRA_SPECS)

    async def add_specs(call: Call, type_id: str) -> Reply:
        specs = call.json(_SPECS).extra_specs
        await types.add_specs(type_id, specs)
        return Reply(200, {"extra_specs": specs})

    async def show_spec(call: Call, type_id: str, key: str) -> Reply:
        body = await _read(call, type_id, _EXTRA_SPECS)
        specs = msgspec.json.decode(body)["extra_specs"]
        if key not in specs:
            raise NotFound(
                f"Volume Type {type_id} has no extra specs with key {key}.", "volume_type"
            )
        return Reply(200, {key: specs[key]})

    async def set_spec(call: Call, type_id: str, key: str) -> Reply:
        specs = call.json(_SPEC)
        if list(specs) != [key]:
            raise BadRequest("The body must hold the one extra spec that the URL names.")
        await types.add_specs(type_id, specs)
        return Reply(200, specs)

    async def delete_spec(call: Call, type_id: str, key: str) -> Reply:
        await types.delete_spec(type_id, key)
        return Reply(202)

    async def list_access(call: Call, type_id: str) -> bytes:
        await document(call, type_id)
        raise NotFound("Access list not available for public volume types.", "volume_type")

    async def act(call: Call, type_id: str) -> Reply:
        body = call.json(_ACCESS)
        if (body.give is None) == (body.take is None):
            raise BadRequest("There is no such action: addProjectAccess or removeProjectAccess.")
        await document(call, type_id)
        raise Conflict("Type access modification is not applicable to public volume type.")

    path, specs = "/types/<type_id>", "/types/<type_id>/extra_specs"
    routes.add("GET", "/types", list_items)
    routes.add("POST", "/types", create, admin=True)
    routes.add("GET", "/types/default", show_default)
    routes.add("GET", path, show)
    routes.add("PUT", path, update, admin=True)
    routes.add("DELETE", path, delete, admin=True)
    routes.add("GET", specs, show_specs)
    routes.add("POST", specs, add_specs, admin=True)
    routes.add("GET", f"{specs}/<key>", show_spec)
    routes.add("PUT", f"{specs}/<key>", set_spec, admin=True)
    routes.add("DELETE", f"{specs}/<key>", delete_spec, admin=True)
    routes.add("GET", f"{path}/os-volume-type-access", list_access, admin=True)
    routes.add("POST", f"{path}/action", act, admin=True)


def _public(call: Call) -> str:
    """The condition of ``is_public``, which only administrators can ask about."""
    asked = call.query("is_public")
    word = (asked or "none").strip().lower()
    if word not in TRUE and word not in FALSE and word not in ("none", ""):
        raise BadRequest(f"Invalid is_public filter [{word[:80]}]")
    if not call.who.admin or word in ("none", ""):
        return ""
    return " and volume_type.public" if word in TRUE else " and not volume_type.public"
