"""The shapes of Compute's replies, for its OpenAPI document."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.compute import (
    consoles,
    documents,
    filters,
    hypervisors,
    instance_actions,
    keypairs,
    quotas,
    rebuilt_server,
    usage,
)
from cyclades_tx.api.compute.documents import NUMBER, TEXT, TEXT_OR_NULL, array, mapping, record
from cyclades_tx.api.openapi import (
    Schema,
    listed,
    plain,
    shown,
    within,
)

FAULT: Schema = {
    "type": "object",
    "maxProperties": 1,
    "minProperties": 1,
    "additionalProperties": {
        "type": "object",
        "properties": {"code": NUMBER, "message": TEXT, "retryAfter": TEXT},
        "required": ["code", "message"],
        "additionalProperties": False,
    },
}

#: The actions on a server that are done.
ACTIONS = (
    *("os-start", "os-stop", "reboot", "forceDelete", "lock", "unlock", "suspend", "resume"),
    *("resize", "confirmResize", "revertResize", "rebuild", "rescue", "unrescue"),
    *("os-resetState", "addSecurityGroup", "removeSecurityGroup", "addFloatingIp"),
    *("removeFloatingIp", "addFixedIp", "removeFixedIp"),
)

PAGE = ("limit", "marker")
SORTED = (*PAGE, "sort_key", "sort_dir")
SERVERS = (
    *SORTED,
    *("all_tenants", "changes-since", "changes-before", "deleted", "project_id"),
    *filters.READERS,
)
NEXT = "servers_links"


def changed(minor: int, admin: bool) -> Schema:
    document = documents.SERVER if minor >= 75 else documents.SERVER_CHANGED
    return document.schema(minor, admin)


def created(minor: int, admin: bool) -> Schema:
    made = record(
        **{
            "id": TEXT,
            "links": documents.LINKS,
            "adminPass": TEXT,
            "security_groups": array(record(name=TEXT)),
            "OS-DCF:diskConfig": TEXT,
        }
    )
    return {"oneOf": [record(server=made), record(reservation_id=TEXT)]}


def keypair_made(minor: int, admin: bool) -> Schema:
    facts: dict[str, Schema] = dict.fromkeys(("name", "public_key", "fingerprint"), TEXT)
    facts["user_id"] = TEXT
    if minor >= 2:
        facts["type"] = TEXT
    made = record(**facts)
    if minor <= keypairs.GENERATED_LAST:
        made["properties"]["private_key"] = TEXT
    return record(keypair=made)


def action(minor: int, admin: bool) -> Schema:
    return instance_actions.action(minor, admin).schema(minor, admin)


def acted(minor: int, admin: bool) -> Schema:
    """What ``rebuild``, ``rescue`` and consoles answer; all others answer with nothing."""
    rebuilt = rebuilt_server.document(max(minor, 1)).schema(minor, admin)
    found = [record(server=rebuilt), record(adminPass=TEXT), consoles.PASSWORD]
    return {"anyOf": [*found, consoles.URL] if minor <= consoles.ACTION_LAST else found}


def wrapped_keypair(minor: int, admin: bool) -> Schema:
    return record(keypair=documents.KEY_PAIR_ITEM.schema(minor, admin))


def usage_of_project(minor: int, admin: bool) -> Schema:
    found = listed("x", plain({}), "tenant_usage_links")(minor, admin)
    del found["properties"]["x"]
    found["properties"]["tenant_usage"] = {"oneOf": [usage.TENANT_USAGE_DETAIL, record()]}
    found["required"] = ["tenant_usage"]
    return found


ITEMS = shown(documents.SERVER_ITEM)
DETAILS = shown(documents.SERVER_DETAIL)
FLAVOR = within("flavor", shown(documents.FLAVOR))
METADATA = plain(record(metadata=mapping(TEXT)))
META = plain(record(meta=mapping(TEXT)))
TAGS = plain(record(tags=array(TEXT)))
ADDRESSES = mapping(array(record(addr=TEXT, version=NUMBER)))
QUOTA = within("quota_set", shown(quotas.QUOTA_SET))
CLASS = within("quota_class_set", shown(quotas.QUOTA_CLASS_SET))
NOTHING: Schema = {"type": "array", "maxItems": 0}
EXTENSION = record(
    name=TEXT, alias=TEXT, description=TEXT, updated=TEXT, namespace=TEXT, links=NOTHING
)
NUMBER_OR_NULL: Schema = {"type": ["integer", "null"]}
#: Either what the rule is open for, or nothing.
EITHER = {
    "group": {"oneOf": [record(), record(name=TEXT, tenant_id=TEXT)]},
    "ip_range": {"oneOf": [record(), record(cidr=TEXT)]},
}
RULE = record(
    **dict.fromkeys(("id", "parent_group_id"), TEXT),
    **dict.fromkeys(("from_port", "to_port"), NUMBER_OR_NULL),
    **EITHER,
    ip_protocol=TEXT_OR_NULL,
)
SECURITY_GROUP = record(
    **dict.fromkeys(("id", "name", "description", "tenant_id"), TEXT), rules=array(RULE)
)
VERSION_LINK = record(rel=TEXT, href=TEXT)
VERSION_LINK["properties"]["type"] = TEXT
VERSION = record(
    **dict.fromkeys(("id", "status", "version", "min_version", "updated"), TEXT),
    links=array(VERSION_LINK),
    **{"media-types": array(record(base=TEXT, type=TEXT))},
)
OPERATORS = "The clusters are managed by the operators' commands."
ONE_HOST = "A cluster is one hypervisor; its numbers are those that it gave last."


def hosted(minor: int, admin: bool) -> Schema:
    plain_one = hypervisors.HYPERVISOR.schema(minor, True)
    if minor < hypervisors.UUIDS_FIRST:
        return record(hypervisor=plain_one)
    with_servers = hypervisors.HYPERVISOR_SERVERS.schema(minor, True)
    return record(hypervisor={"anyOf": [plain_one, with_servers]})


def hypervisor_list(plain_document: Any, with_servers: Any) -> Any:
    def one(minor: int, admin: bool) -> Schema:
        few, more = plain_document.schema(minor, True), with_servers.schema(minor, True)
        if minor < hypervisors.UUIDS_FIRST:
            return dict(few)
        merged = dict(few)
        merged["properties"] = {**more["properties"], **few["properties"]}
        return merged

    return listed("hypervisors", one, "hypervisors_links")
