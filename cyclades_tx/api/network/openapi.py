"""What Network's OpenAPI document says of each endpoint."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, defstruct

from cyclades_tx.api.network import (
    floating_ips,
    networks,
    ports,
    routers,
    security_groups,
    subnet_pools,
    subnets,
    tags,
)
from cyclades_tx.api.network.collections import COLLECTIONS, Collection
from cyclades_tx.api.network.documents import NOTHING, NUMBER, TEXTS, record, records
from cyclades_tx.api.network.quotas import RESOURCES
from cyclades_tx.api.network.quotas import Body as QuotaBody
from cyclades_tx.api.openapi import (
    APPROXIMATED,
    DOCUMENT,
    REFUSED,
    Described,
    Reference,
    Schema,
    Shape,
    listed,
    plain,
    within,
)
from cyclades_tx.store.network_tags import KINDS

_TEXT: Schema = {"type": "string"}
FAULT: Schema = {
    "type": "object",
    "properties": {
        "NeutronError": {
            "type": "object",
            "properties": {"type": _TEXT, "message": _TEXT, "detail": _TEXT},
            "required": ["type", "message", "detail"],
            "additionalProperties": False,
        }
    },
    "required": ["NeutronError"],
    "additionalProperties": False,
}
_LINKS = records(rel=_TEXT, href=_TEXT)
_EXTENSION = record(
    **dict.fromkeys(("alias", "name", "description", "updated"), _TEXT), links=NOTHING
)
_QUOTA = plain(record(quota=record(**dict.fromkeys(RESOURCES, NUMBER))))
_QUOTA_DETAILS = plain(
    record(
        quota=record(**dict.fromkeys(RESOURCES, record(limit=NUMBER, used=NUMBER, reserved=NUMBER)))
    )
)
_INTERFACE = plain(
    record(
        **dict.fromkeys(
            ("id", "tenant_id", "project_id", "port_id", "network_id", "subnet_id"), _TEXT
        ),
        subnet_ids=TEXTS,
        tags=TEXTS,
    )
)
_PAGE = ("limit", "marker", "page_reverse", "sort_key", "sort_dir", "fields")
_FIELDS = "With `fields` only the members that are named."


def _some(collection: Collection) -> Shape:
    """The shape of a thing of which ``fields`` may leave members out."""

    def shape(minor: int, admin: bool) -> Schema:
        return {**collection.document.schema(minor, admin), "required": []}

    return shape


#: What reads a new thing of a collection and a change of one, by its path.
_WRITTEN: dict[str, tuple[type[Struct], type[Struct]]] = {
    "networks": (networks.New, networks.Change),
    "subnets": (subnets.New, subnets.Change),
    "ports": (ports.NewPort, ports.Change),
    "floatingips": (floating_ips.NewFloatingIp, floating_ips.Change),
    "routers": (routers.NewRouter, routers.Change),
    "subnetpools": (subnet_pools.NewPool, subnet_pools.Change),
    "security-groups": (security_groups.NewGroup, security_groups.ChangedGroup),
}
#: Collections that nobody has anything in, with the key of their lists.
_EMPTY = {
    "availability_zones": "availability_zones",
    "agents": "agents",
    "service-providers": "service_providers",
    "rbac-policies": "rbac_policies",
    "address-scopes": "address_scopes",
    "qos/policies": "policies",
}

#: Of these one request makes one thing; of all others it may make several.
_ONE_BY_ONE = ("routers", "floatingips")


def _body(name: str, kind: Any, word: str) -> type[Struct]:
    """The type of ``{"NAME": KIND}``."""
    return defstruct(f"{word}_{name}", [(name, kind)], forbid_unknown_fields=True)


def _bodies_of(collection: Collection, new: Any) -> tuple[type[Struct], ...]:
    """The types that make one thing of a collection, or several."""
    single = _body(collection.singular, new, "new")
    if collection.path in _ONE_BY_ONE:
        return (single,)
    return single, _body(collection.plural, list[new], "new")


def _collection(collection: Collection) -> dict[str, Described]:
    path, plural, one = f"/{collection.path}", collection.plural, collection.singular
    label = collection.label.lower()
    whole = collection.document.schema
    new, change = _WRITTEN.get(collection.path, (None, None))
    if collection.path == "security-group-rules":
        new = security_groups.NewRule

    def made(minor: int, admin: bool) -> Schema:
        single, many = within(one, whole)(minor, admin), listed(plural, whole)(minor, admin)
        return single if collection.path in _ONE_BY_ONE else {"anyOf": [single, many]}

    def support(offered: Any) -> dict[str, Any]:
        why = f"Not offered for this: {label}."
        return {} if offered else {"support": REFUSED, "note": why}

    reads = {
        f"GET {path}": Described(
            f"List: {label}.",
            reply=listed(plural, whole, f"{plural}_links"),
            partial=listed(plural, _some(collection), f"{plural}_links"),
            query=(*_PAGE, *collection.filters),
            note=_FIELDS,
        ),
        f"GET {path}/<ref>": Described(
            f"Show: {label}.",
            reply=within(one, whole),
            partial=within(one, _some(collection)),
            query=("fields",),
            note=_FIELDS,
        ),
    }
    if collection.read_only:
        return reads
    return reads | {
        f"POST {path}": Described(
            f"Make: {label}.",
            body=new and _bodies_of(collection, new),
            reply=made,
            status=201,
            **support(new),
        ),
        f"PUT {path}/<ref>": Described(
            f"Change: {label}.",
            body=change and _body(one, change, "changed"),
            reply=within(one, whole),
            **support(change),
        ),
        f"DELETE {path}/<ref>": Described(f"Delete: {label}.", status=204, **support(new)),
    }


def _tags(kind: str) -> dict[str, Described]:
    path = f"/{kind}/<ref>/tags"
    shown = plain(
        {
            "type": "object",
            "properties": {"tags": {"type": "array", "items": _TEXT}},
            "required": ["tags"],
            "additionalProperties": False,
        }
    )
    return {
        f"GET {path}": Described("Show the tags.", reply=shown),
        f"PUT {path}": Described("Replace the tags.", body=tags.All, reply=shown),
        f"DELETE {path}": Described("Delete all tags.", status=204),
        f"GET {path}/<tag>": Described("Whether it is there.", status=204),
        f"PUT {path}/<tag>": Described("Add a tag.", status=201),
        f"DELETE {path}/<tag>": Described("Delete a tag.", status=204),
    }


TABLE: dict[str, Described] = {
    "GET ": Described(
        "What there is.",
        reply=plain(record(resources=records(name=_TEXT, collection=_TEXT, links=_LINKS))),
    ),
    "GET /openapi.json": DOCUMENT,
    "GET /extensions": Described("List extensions.", reply=listed("extensions", plain(_EXTENSION))),
    "GET /extensions/<alias>": Described(
        "Show an extension.", reply=within("extension", plain(_EXTENSION))
    ),
    "PUT /routers/<ref>/add_router_interface": Described(
        "Tie a subnet to a router.",
        body=routers.Interface,
        reply=_INTERFACE,
        support=APPROXIMATED,
        note="Only of a network that the hosts route; else the fault says so.",
    ),
    "PUT /routers/<ref>/remove_router_interface": Described(
        "Untie a subnet from a router.",
        body=routers.Interface,
        reply=_INTERFACE,
    ),
    "PUT /quotas/<project>": Described("Change quotas.", body=QuotaBody, reply=_QUOTA),
    "DELETE /quotas/<project>": Described("Let the defaults count again.", status=204),
    "GET /quotas/<project>": Described("Show quotas.", reply=_QUOTA),
    "GET /quotas/<project>/details": Described(
        "Show quotas with what is used.", reply=_QUOTA_DETAILS
    ),
    "GET /quotas/<project>/default": Described("Show the defaults.", reply=_QUOTA),
}
for _each in COLLECTIONS:
    TABLE |= _collection(_each)
for _kind in KINDS:
    TABLE |= _tags(_kind)
for _path, _key in _EMPTY.items():
    TABLE[f"GET /{_path}"] = Described(
        "List.", reply=plain(record(**{_key: NOTHING})), note="There are none."
    )
    TABLE[f"GET /{_path}/<ref>"] = Described("Show.", support=REFUSED, note="404: there are none.")

REFERENCE = Reference("Network", "/network/v2.0", TABLE, FAULT)
