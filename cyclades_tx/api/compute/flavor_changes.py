"""What administrators change about flavors: flavors themselves, extra specs, who may use them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec import Struct, field

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute import documents
from cyclades_tx.api.compute.documents import TEXT, array, record
from cyclades_tx.api.compute.flavors import UUID, no_flavor
from cyclades_tx.api.compute.new_server import count, name_of, truth
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.documents import one
from cyclades_tx.errors import BadRequest, Conflict, NotFound
from cyclades_tx.flows.flavors import Flavors

_DESCRIPTION_FIRST = 55
_LONGEST_DESCRIPTION = 65_535
_SPEC_KEY = re.compile(r"[a-zA-Z0-9_\-:. ]{1,255}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)

ACCESS = record(flavor_access=array(record(flavor_id=TEXT, tenant_id=TEXT)))
SPECS = record(extra_specs=documents.mapping(TEXT))

_SHOW = "from (select %s::text as base) as given cross join flavor where flavor.id = %s::bigint"
_ACCESS = (
    "select json_build_object('flavor_access', coalesce(json_agg(json_build_object('flavor_id',"
    " flavor.uuid, 'tenant_id', flavor_access.project_id) order by flavor_access.project_id),"
    " '[]'))::text from flavor_access join flavor on flavor.id = flavor_access.flavor_id"
    " where flavor.id = %s::bigint"
)


class NewFlavor(Struct, forbid_unknown_fields=True):
    """The ``flavor`` of the body that makes one."""

    name: str
    ram: int | str
    vcpus: int | str
    disk: int | str
    id: str | int | None = None
    swap: int | str | None = None
    ephemeral: int | str | None = field(default=None, name="OS-FLV-EXT-DATA:ephemeral")
    rxtx_factor: float | str | None = None
    public: bool | str | None = field(default=None, name="os-flavor-access:is_public")
    description: str | None = None


class NewBody(Struct, forbid_unknown_fields=True):
    """The whole body that makes a flavor."""

    flavor: NewFlavor


class Described(Struct, forbid_unknown_fields=True):
    """The ``flavor`` of the body that changes one."""

    description: str | None


class DescribedBody(Struct, forbid_unknown_fields=True):
    """The whole body that changes a flavor."""

    flavor: Described


Value = str | int | float | bool


class SpecsBody(Struct, forbid_unknown_fields=True):
    """The body with several extra specs."""

    extra_specs: dict[str, Value]


class Tenant(Struct, forbid_unknown_fields=True):
    """Who gets a flavor, or loses it."""

    tenant: str


class AccessBody(Struct, forbid_unknown_fields=True):
    """The body that gives a flavor to a project, or takes it away."""

    give: Tenant | None = field(default=None, name="addTenantAccess")
    take: Tenant | None = field(default=None, name="removeTenantAccess")


_NEW = msgspec.json.Decoder(NewBody)
_DESCRIBED = msgspec.json.Decoder(DescribedBody)
_SPECS = msgspec.json.Decoder(SpecsBody)
_SPEC = msgspec.json.Decoder(dict[str, Value])
_GIVE = msgspec.json.Decoder(AccessBody)


def mount(routes: Routes, database: Any, flavors: Flavors) -> None:
    """Add the endpoints."""

    async def find(ref: str) -> Any:
        if UUID.fullmatch(ref) is None:
            raise no_flavor(ref)
        found = await flavors.live(ref)
        if found is None:
            raise no_flavor(ref)
        return found

    async def document(call: Call, flavor_id: int) -> bytes:
        text = one("flavor", documents.FLAVOR.text(call.minor, True))
        body: bytes = await database.document(
            f"select {text} {_SHOW}", (call.base_url + "/compute", flavor_id)
        )
        return body

    async def create(call: Call) -> bytes:
        wanted = call.json(_NEW).flavor
        if wanted.description is not None and call.minor < _DESCRIPTION_FIRST:
            raise BadRequest(
                "Additional properties are not allowed ('description' was unexpected) in "
                f"microversion 2.{call.minor}."
            )
        for name, value in (("swap", wanted.swap), ("ephemeral", wanted.ephemeral)):
            if value and _size(name, value):
                raise BadRequest(f"Flavors of this cloud have no {name} disk.")
        if wanted.rxtx_factor not in (None, 1, "1", "1.0"):
            raise BadRequest("Flavors of this cloud have no rxtx_factor but 1.0.")
        flavor_id = await flavors.create_one(
            name=name_of("name", wanted.name),
            uuid=_id(wanted.id),
            vcpus=count("vcpus", wanted.vcpus) or 1,
            memory_mib=count("ram", wanted.ram) or 1,
            disk_gib=_size("disk", wanted.disk),
            public=wanted.public is None or truth("os-flavor-access:is_public", wanted.public),
            description=_description(wanted.description),
        )
        return await document(call, flavor_id)

    async def update(call: Call, flavor_id: str) -> bytes:
        if call.minor < _DESCRIPTION_FIRST:
            raise NotFound("The resource could not be found.")
        text = _description(call.json(_DESCRIBED).flavor.description)
        found = await find(flavor_id)
        await flavors.describe(found.id, text)
        return await document(call, found.id)

    async def delete(call: Call, flavor_id: str) -> Reply:
        found = await find(flavor_id)
        await flavors.modify(found.uuid, {"deleted": True})
        return Reply(202)

    async def add_specs(call: Call, flavor_id: str) -> Reply:
        specs = _texts(call.json(_SPECS).extra_specs)
        found = await find(flavor_id)
        await flavors.modify(found.uuid, {}, add_specs=specs)
        return Reply(200, {"extra_specs": specs})

    async def set_spec(call: Call, flavor_id: str, key: str) -> Reply:
        specs = _texts(call.json(_SPEC))
        if list(specs) != [key]:
            raise BadRequest("The body must hold the one extra spec that the URL names.")
        found = await find(flavor_id)
        await flavors.modify(found.uuid, {}, add_specs=specs)
        return Reply(200, specs)

    async def delete_spec(call: Call, flavor_id: str, key: str) -> Reply:
        found = await find(flavor_id)
        try:
            await flavors.modify(found.uuid, {}, delete_specs=(key,))
        except NotFound:
            raise NotFound(
                f"Flavor {flavor_id} has no extra specs with key {key}.", "flavor"
            ) from None
        return Reply(200)

    async def list_access(call: Call, flavor_id: str) -> bytes:
        found = await find(flavor_id)
        if found.public:
            raise NotFound("Access list not available for public flavors.", "flavor")
        body: bytes = await database.document(_ACCESS, (found.id,))
        return body

    async def give(found: Any, project_id: str) -> None:
        if found.public:
            raise Conflict("Can not add access to a public flavor.")
        await flavors.give(found.uuid, project_id)

    async def take(found: Any, project_id: str) -> None:
        if found.public:
            raise Conflict("Can not remove access of a public flavor.")
        if not await flavors.take(found.uuid, project_id):
            raise NotFound(
                f"Flavor access not found for {found.uuid} / {project_id} combination.", "flavor"
            )

    async def act(call: Call, flavor_id: str) -> bytes:
        body = call.json(_GIVE)
        if (body.give is None) == (body.take is None):
            raise BadRequest("There is no such action: addTenantAccess or removeTenantAccess.")
        found = await find(flavor_id)
        work: Callable[[Any, str], Awaitable[None]] = take if body.give is None else give
        tenant = body.give or body.take
        assert tenant is not None
        await flavors.check_project(tenant.tenant)
        await work(found, tenant.tenant)
        reply: bytes = await database.document(_ACCESS, (found.id,))
        return reply

    routes.add("POST", "/flavors", create, admin=True)
    routes.add("PUT", "/flavors/<flavor_id>", update, admin=True)
    routes.add("DELETE", "/flavors/<flavor_id>", delete, admin=True)
    routes.add("POST", "/flavors/<flavor_id>/action", act, admin=True)
    routes.add("GET", "/flavors/<flavor_id>/os-flavor-access", list_access, admin=True)
    routes.add("POST", "/flavors/<flavor_id>/os-extra_specs", add_specs, admin=True)
    routes.add("PUT", "/flavors/<flavor_id>/os-extra_specs/<key>", set_spec, admin=True)
    routes.add("DELETE", "/flavors/<flavor_id>/os-extra_specs/<key>", delete_spec, admin=True)


def _id(value: str | int | None) -> str | None:
    """The id that was asked for; None: it is chosen here.

    :raise BadRequest: for one that is no UUID, as flavors here have.
    """
    if value is None or value == "auto":
        return None
    text = str(value).lower()
    if UUID.fullmatch(text) is None:
        raise BadRequest(
            f"Invalid input for field/attribute id. Value: {text[:80]!r}. Flavors of this cloud"
            " have a UUID, or 'auto' to have one chosen."
        )
    return text


def _size(what: str, value: int | str) -> int:
    text = str(value)
    if _NUMBER.fullmatch(text) is None:
        raise BadRequest(f"Invalid input for field/attribute {what}: it is at least 0.")
    return int(text)


def _description(text: str | None) -> str | None:
    if text is not None and len(text) > _LONGEST_DESCRIPTION:
        raise BadRequest("Invalid input for field/attribute description: it is too long.")
    return text


def _texts(specs: dict[str, Value]) -> dict[str, str]:
    """Extra specs as text, or BadRequest."""
    found = {}
    for key, value in specs.items():
        if _SPEC_KEY.fullmatch(key) is None:
            raise BadRequest(
                f"Invalid input for field/attribute extra_specs. Key: {key[:80]!r}. Keys have"
                " letters, digits, spaces and - _ : ."
            )
        text = str(value)
        if len(text) > 255:
            raise BadRequest(f"The extra spec {key!r} is longer than 255 characters.")
        found[key] = text
    return found
