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
    subnets,
    tags,
)
from cyclades_tx.api.network.collections import COLLECTIONS, Collection
from cyclades_tx.api.openapi import (
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
_OBJECT: Schema = {"type": "object"}
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
    "security-groups": (security_groups.NewGroup, security_groups.ChangedGroup),
}
#: Collections that nobody has anything in, with the key of their lists.
_EMPTY = {
    "subnetpools": "subnetpools",
    "availability_zones": "availability_zones",
    "agents": "agents",
    "network-ip-availabilities": "network_ip_availabilities",
    "service-providers": "service_providers",
    "rbac-policies": "rbac_policies",
    "address-scopes": "address_scopes",
    "qos/policies": "policies",
}


def _body(name: str, kind: Any, word: str) -> type[Struct]:
    """The type of ``{"NAME": KIND}``."""
    return defstruct(f"{word}_{name}", [(name, kind)], forbid_unknown_fields=True)


def _collection(collection: Collection) -> dict[str, Described]:
    path, plural, one = f"/{collection.path}", collection.plural, collection.singular
    label = collection.label.lower()
    whole = collection.document.schema
    new, change = _WRITTEN.get(collection.path, (None, None))
    if collection.path == "security-group-rules":
        new = security_groups.NewRule

    def made(minor: int, admin: bool) -> Schema:
        single, many = within(one, whole)(minor, admin), listed(plural, whole)(minor, admin)
        return {"anyOf": [single, many]}

    def support(offered: Any) -> dict[str, Any]:
        why = f"Not offered for this: {label}."
        return {} if offered else {"support": REFUSED, "note": why}

    return {
        f"GET {path}": Described(
            f"List: {label}.",
            reply=listed(plural, _some(collection), f"{plural}_links"),
            query=(*_PAGE, *collection.filters),
            note=_FIELDS,
        ),
        f"POST {path}": Described(
            f"Make: {label}.",
            body=new and (_body(one, new, "new"), _body(plural, list[new], "new")),  # type: ignore[valid-type]
            reply=made,
            status=201,
            **support(new),
        ),
        f"GET {path}/<ref>": Described(
            f"Show: {label}.",
            reply=within(one, _some(collection)),
            query=("fields",),
            note=_FIELDS,
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
    "GET ": Described("What there is.", reply=plain(_OBJECT)),
    "GET /openapi.json": Described("This document.", reply=plain(_OBJECT)),
    "GET /extensions": Described("List extensions.", reply=listed("extensions", plain(_OBJECT))),
    "GET /extensions/<alias>": Described(
        "Show an extension.", reply=within("extension", plain(_OBJECT))
    ),
    "PUT /routers/<ref>/add_router_interface": Described(
        "Tie a subnet to a router.",
        body=routers.Interface,
        support=REFUSED,
        note="A Ganeti cluster does not route: the fault says so.",
    ),
    "PUT /routers/<ref>/remove_router_interface": Described(
        "Untie a subnet from a router.",
        body=routers.Interface,
        support=REFUSED,
        note="There is none to untie.",
    ),
    "PUT /quotas/<project>": Described(
        "Change quotas.", body=dict[str, Any], reply=within("quota", plain(_OBJECT))
    ),
    "DELETE /quotas/<project>": Described("Let the defaults count again.", status=204),
    "GET /quotas/<project>": Described("Show quotas.", reply=within("quota", plain(_OBJECT))),
    "GET /quotas/<project>/details": Described(
        "Show quotas with what is used.", reply=within("quota", plain(_OBJECT))
    ),
    "GET /quotas/<project>/default": Described(
        "Show the defaults.", reply=within("quota", plain(_OBJECT))
    ),
}
for _each in COLLECTIONS:
    TABLE |= _collection(_each)
for _kind in KINDS:
    TABLE |= _tags(_kind)
for _path, _key in _EMPTY.items():
    TABLE[f"GET /{_path}"] = Described(
        "List.", reply=listed(_key, plain({})), note="There are none."
    )
    TABLE[f"GET /{_path}/<ref>"] = Described("Show.", support=REFUSED, note="404: there are none.")

REFERENCE = Reference("Network", "/network/v2.0", TABLE, FAULT)
