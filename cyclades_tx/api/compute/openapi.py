"""What Compute's OpenAPI document says of each endpoint."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.compute import (
    action_bodies,
    addresses,
    changed_server,
    documents,
    filters,
    flavor_changes,
    hosts,
    hypervisors,
    instance_actions,
    interfaces,
    keypairs,
    limits,
    metadata,
    new_server,
    quotas,
    rebuilt_server,
    server_groups,
    tags,
    usage,
    zones,
)
from cyclades_tx.api.compute.documents import NUMBER, TEXT, TEXT_OR_NULL, array, mapping, record
from cyclades_tx.api.compute.microversions import MAXIMUM, MINIMUM
from cyclades_tx.api.openapi import (
    APPROXIMATED,
    DOCUMENT,
    REFUSED,
    ByVersion,
    Described,
    Reference,
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

_PAGE = ("limit", "marker")
_SORTED = (*_PAGE, "sort_key", "sort_dir")
_SERVERS = (
    *_SORTED,
    *("all_tenants", "changes-since", "changes-before", "deleted", "project_id"),
    *filters.READERS,
)
_NEXT = "servers_links"


def _changed(minor: int, admin: bool) -> Schema:
    document = documents.SERVER if minor >= 75 else documents.SERVER_CHANGED
    return document.schema(minor, admin)


def _created(minor: int, admin: bool) -> Schema:
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


def _keypair_made(minor: int, admin: bool) -> Schema:
    facts: dict[str, Schema] = dict.fromkeys(("name", "public_key", "fingerprint"), TEXT)
    facts["user_id"] = TEXT
    if minor >= 2:
        facts["type"] = TEXT
    made = record(**facts)
    if minor <= keypairs.GENERATED_LAST:
        made["properties"]["private_key"] = TEXT
    return record(keypair=made)


def _action(minor: int, admin: bool) -> Schema:
    return instance_actions.action(minor, admin).schema(minor, admin)


def _acted(minor: int, admin: bool) -> Schema:
    """What ``rebuild`` and ``rescue`` answer; all others answer with nothing."""
    rebuilt = rebuilt_server.document(max(minor, 1)).schema(minor, admin)
    return {"anyOf": [record(server=rebuilt), record(adminPass=TEXT)]}


def _wrapped_keypair(minor: int, admin: bool) -> Schema:
    return record(keypair=documents.KEY_PAIR_ITEM.schema(minor, admin))


def _usage_of_project(minor: int, admin: bool) -> Schema:
    found = listed("x", plain({}), "tenant_usage_links")(minor, admin)
    del found["properties"]["x"]
    found["properties"]["tenant_usage"] = {"oneOf": [usage.TENANT_USAGE_DETAIL, record()]}
    found["required"] = ["tenant_usage"]
    return found


_ITEMS = shown(documents.SERVER_ITEM)
_DETAILS = shown(documents.SERVER_DETAIL)
_FLAVOR = within("flavor", shown(documents.FLAVOR))
_METADATA = plain(record(metadata=mapping(TEXT)))
_META = plain(record(meta=mapping(TEXT)))
_TAGS = plain(record(tags=array(TEXT)))
_ADDRESSES = mapping(array(record(addr=TEXT, version=NUMBER)))
_QUOTA = within("quota_set", shown(quotas.QUOTA_SET))
_CLASS = within("quota_class_set", shown(quotas.QUOTA_CLASS_SET))
_NOTHING: Schema = {"type": "array", "maxItems": 0}
_EXTENSION = record(
    name=TEXT, alias=TEXT, description=TEXT, updated=TEXT, namespace=TEXT, links=_NOTHING
)
_NUMBER_OR_NULL: Schema = {"type": ["integer", "null"]}
#: Either what the rule is open for, or nothing.
_EITHER = {
    "group": {"oneOf": [record(), record(name=TEXT, tenant_id=TEXT)]},
    "ip_range": {"oneOf": [record(), record(cidr=TEXT)]},
}
_RULE = record(
    **dict.fromkeys(("id", "parent_group_id"), TEXT),
    **dict.fromkeys(("from_port", "to_port"), _NUMBER_OR_NULL),
    **_EITHER,
    ip_protocol=TEXT_OR_NULL,
)
_SECURITY_GROUP = record(
    **dict.fromkeys(("id", "name", "description", "tenant_id"), TEXT), rules=array(_RULE)
)
_VERSION_LINK = record(rel=TEXT, href=TEXT)
_VERSION_LINK["properties"]["type"] = TEXT
_VERSION = record(
    **dict.fromkeys(("id", "status", "version", "min_version", "updated"), TEXT),
    links=array(_VERSION_LINK),
    **{"media-types": array(record(base=TEXT, type=TEXT))},
)
_OPERATORS = "The clusters are managed by the operators' commands."
_ONE_HOST = "A cluster is one hypervisor; its numbers are those that it gave last."


def _hosted(minor: int, admin: bool) -> Schema:
    plain_one = hypervisors.HYPERVISOR.schema(minor, True)
    if minor < hypervisors.UUIDS_FIRST:
        return record(hypervisor=plain_one)
    with_servers = hypervisors.HYPERVISOR_SERVERS.schema(minor, True)
    return record(hypervisor={"anyOf": [plain_one, with_servers]})


def _hypervisors(plain_document: Any, with_servers: Any) -> Any:
    def one(minor: int, admin: bool) -> Schema:
        few, more = plain_document.schema(minor, True), with_servers.schema(minor, True)
        if minor < hypervisors.UUIDS_FIRST:
            return dict(few)
        merged = dict(few)
        merged["properties"] = {**more["properties"], **few["properties"]}
        return merged

    return listed("hypervisors", one, "hypervisors_links")


TABLE: dict[str, Described] = {
    "GET ": Described("The version.", reply=plain(record(version=_VERSION))),
    "GET /openapi.json": DOCUMENT,
    # Servers
    "GET /servers": Described(
        "List servers.", reply=listed("servers", _ITEMS, _NEXT), query=_SERVERS
    ),
    "GET /servers/detail": Described(
        "List servers with all facts.", reply=listed("servers", _DETAILS, _NEXT), query=_SERVERS
    ),
    "POST /servers": Described(
        "Make servers.",
        body=new_server.Body,
        reply=_created,
        status=202,
        support=APPROXIMATED,
        note="Boots from an image only; of the hints to the scheduler `group` has an effect.",
    ),
    "GET /servers/<server_id>": Described(
        "Show a server.", reply=within("server", shown(documents.SERVER))
    ),
    "PUT /servers/<server_id>": Described(
        "Change name, description, access addresses, host name.",
        body=changed_server.Body,
        reply=within("server", _changed),
    ),
    "DELETE /servers/<server_id>": Described("Delete a server.", status=204),
    "POST /servers/<server_id>/action": Described(
        "Start, stop, reboot … a server.",
        body=ByVersion(action_bodies.types),
        reply=_acted,
        status=202,
        also=(200,),
        empty=(202, 204),
        support=APPROXIMATED,
        note="Each action is below, and in [actions.md](actions.md).",
    ),
    "GET /servers/<server_id>/metadata": Described("Show the metadata.", reply=_METADATA),
    "POST /servers/<server_id>/metadata": Described(
        "Add metadata.", body=metadata.All, reply=_METADATA
    ),
    "PUT /servers/<server_id>/metadata": Described(
        "Replace the metadata.", body=metadata.All, reply=_METADATA
    ),
    "GET /servers/<server_id>/metadata/<key>": Described("Show an item.", reply=_META),
    "PUT /servers/<server_id>/metadata/<key>": Described(
        "Set an item.", body=metadata.One, reply=_META
    ),
    "DELETE /servers/<server_id>/metadata/<key>": Described("Delete an item.", status=204),
    "GET /servers/<server_id>/tags": Described("Show the tags.", reply=_TAGS, first=26),
    "PUT /servers/<server_id>/tags": Described(
        "Replace the tags.", body=tags.All, reply=_TAGS, first=26
    ),
    "DELETE /servers/<server_id>/tags": Described("Delete all tags.", status=204, first=26),
    "GET /servers/<server_id>/tags/<tag>": Described("Whether it is there.", status=204, first=26),
    "PUT /servers/<server_id>/tags/<tag>": Described(
        "Add a tag.", status=201, empty=(204,), first=26, note="204 when it is there already."
    ),
    "DELETE /servers/<server_id>/tags/<tag>": Described("Delete a tag.", status=204, first=26),
    "GET /servers/<server_id>/ips": Described(
        "Show the addresses.", reply=plain(record(addresses=_ADDRESSES))
    ),
    "GET /servers/<server_id>/ips/<network>": Described(
        "Show the addresses on one network.", reply=plain(_ADDRESSES)
    ),
    "GET /servers/<server_id>/os-interface": Described(
        "List interfaces.", reply=listed("interfaceAttachments", shown(addresses.INTERFACE))
    ),
    "GET /servers/<server_id>/os-interface/<port_id>": Described(
        "Show an interface.", reply=within("interfaceAttachment", shown(addresses.INTERFACE))
    ),
    "POST /servers/<server_id>/os-interface": Described(
        "Add an interface.",
        body=interfaces.Body,
        reply=within("interfaceAttachment", shown(addresses.INTERFACE)),
    ),
    "DELETE /servers/<server_id>/os-interface/<port_id>": Described(
        "Remove an interface.", status=202
    ),
    "GET /servers/<server_id>/os-volume_attachments": Described(
        "List volumes.", reply=listed("volumeAttachments", shown(addresses.VOLUME))
    ),
    "GET /servers/<server_id>/os-volume_attachments/<volume_id>": Described(
        "Show a volume.", reply=within("volumeAttachment", shown(addresses.VOLUME))
    ),
    "POST /servers/<server_id>/os-volume_attachments": Described(
        "Attach a volume.", body=dict[str, Any], support=REFUSED, note="Volumes come later."
    ),
    "DELETE /servers/<server_id>/os-volume_attachments/<volume_id>": Described(
        "Detach a volume.", support=REFUSED, note="Volumes come later."
    ),
    "GET /servers/<server_id>/os-instance-actions": Described(
        "List what was done.",
        reply=listed("instanceActions", shown(instance_actions.ACTION_ITEM), "links"),
        query=(*_PAGE, "changes-since", "changes-before"),
    ),
    "GET /servers/<server_id>/os-instance-actions/<request_id>": Described(
        "Show what was done, with its events.", reply=within("instanceAction", _action)
    ),
    "GET /servers/<server_id>/os-security-groups": Described(
        "List the security groups.", reply=plain(record(security_groups=array(_SECURITY_GROUP)))
    ),
    "GET /servers/<server_id>/diagnostics": Described(
        "Show diagnostics.", support=REFUSED, note="Ganeti has no figures of a guest."
    ),
    "POST /servers/<server_id>/remote-consoles": Described(
        "Open a console.", body=dict[str, Any], support=REFUSED, note="Consoles come later."
    ),
    # Flavors
    "GET /flavors": Described(
        "List flavors.",
        reply=listed("flavors", shown(documents.FLAVOR_ITEM), "flavors_links"),
        query=(*_SORTED, "is_public", "minRam", "minDisk"),
    ),
    "GET /flavors/detail": Described(
        "List flavors with all facts.",
        reply=listed("flavors", shown(documents.FLAVOR), "flavors_links"),
        query=(*_SORTED, "is_public", "minRam", "minDisk"),
    ),
    "GET /flavors/<flavor_id>": Described("Show a flavor.", reply=_FLAVOR),
    "POST /flavors": Described(
        "Make a flavor.",
        body=flavor_changes.NewBody,
        reply=_FLAVOR,
        support=APPROXIMATED,
        note="Its id is a UUID, its disks are of the first volume type; there is no swap disk, no"
        " ephemeral disk and no rxtx factor.",
    ),
    "PUT /flavors/<flavor_id>": Described(
        "Describe a flavor.", body=flavor_changes.DescribedBody, reply=_FLAVOR, first=55
    ),
    "DELETE /flavors/<flavor_id>": Described("Delete a flavor.", status=202),
    "POST /flavors/<flavor_id>/action": Described(
        "Give a flavor to a project, or take it away.",
        body=flavor_changes.AccessBody,
        reply=plain(flavor_changes.ACCESS),
    ),
    "GET /flavors/<flavor_id>/os-flavor-access": Described(
        "List who may use a flavor.", reply=plain(flavor_changes.ACCESS)
    ),
    "GET /flavors/<flavor_id>/os-extra_specs": Described(
        "List extra specs.", reply=plain(flavor_changes.SPECS)
    ),
    "POST /flavors/<flavor_id>/os-extra_specs": Described(
        "Add extra specs.", body=flavor_changes.SpecsBody, reply=plain(flavor_changes.SPECS)
    ),
    "GET /flavors/<flavor_id>/os-extra_specs/<key>": Described(
        "Show an extra spec.", reply=plain(mapping(TEXT))
    ),
    "PUT /flavors/<flavor_id>/os-extra_specs/<key>": Described(
        "Set an extra spec.", body=dict[str, flavor_changes.Value], reply=plain(mapping(TEXT))
    ),
    "DELETE /flavors/<flavor_id>/os-extra_specs/<key>": Described("Delete an extra spec."),
    # Key pairs
    "GET /os-keypairs": Described(
        "List key pairs.",
        reply=listed("keypairs", _wrapped_keypair, "keypairs_links"),
        query=(*_PAGE, "user_id"),
    ),
    "POST /os-keypairs": Described(
        "Keep a public key, or make a pair.",
        body=keypairs.Body,
        reply=_keypair_made,
        status=201,
        also=(200,),
        support=APPROXIMATED,
        note="SSH keys only, no x509 certificates; 200 below 2.2.",
    ),
    "GET /os-keypairs/<name>": Described(
        "Show a key pair.", reply=within("keypair", shown(documents.KEY_PAIR)), query=("user_id",)
    ),
    "DELETE /os-keypairs/<name>": Described(
        "Forget a key pair.", status=204, empty=(202,), query=("user_id",), note="202 below 2.2."
    ),
    # Limits and quotas
    "GET /limits": Described(
        "Show limits and use.",
        reply=lambda minor, admin: record(
            limits=record(rate=_NOTHING, absolute=limits.ABSOLUTE.schema(minor, admin))
        ),
        query=("tenant_id",),
    ),
    "GET /os-quota-sets/<project_id>": Described("Show quotas.", reply=_QUOTA, query=("user_id",)),
    "GET /os-quota-sets/<project_id>/defaults": Described("Show the defaults.", reply=_QUOTA),
    "GET /os-quota-sets/<project_id>/detail": Described(
        "Show quotas with what is used.",
        reply=within("quota_set", shown(quotas.QUOTA_SET_DETAIL)),
        query=("user_id",),
    ),
    "PUT /os-quota-sets/<project_id>": Described(
        "Change quotas.",
        body=quotas.Body,
        reply=within("quota_set", shown(quotas.QUOTA_SET_CHANGED)),
        query=("user_id",),
        support=APPROXIMATED,
        note="Cores and ram are set for servers that run and for all servers alike; a user may be"
        " limited to instances, cores and ram. What a cloud has for everyone cannot be changed.",
    ),
    "DELETE /os-quota-sets/<project_id>": Described(
        "Let the defaults count again.", status=202, query=("user_id",)
    ),
    "GET /os-quota-class-sets/<class_id>": Described("Show the defaults.", reply=_CLASS),
    "PUT /os-quota-class-sets/<class_id>": Described(
        "Change the defaults.",
        body=quotas.ClassBody,
        reply=within("quota_class_set", shown(quotas.QUOTA_CLASS_SET_CHANGED)),
        support=APPROXIMATED,
        note="There is one class, `default`; projects that are there keep theirs until reset.",
    ),
    "GET /os-simple-tenant-usage": Described(
        "Show the usage of all projects.",
        reply=listed(
            "tenant_usages",
            lambda minor, admin: {"oneOf": [usage.TENANT_USAGE, usage.TENANT_USAGE_DETAIL]},
            "tenant_usages_links",
        ),
        query=(*_PAGE, "start", "end", "detailed"),
    ),
    "GET /os-simple-tenant-usage/<project_id>": Described(
        "Show the usage of a project.", reply=_usage_of_project, query=(*_PAGE, "start", "end")
    ),
    # Groups and zones
    "GET /os-server-groups": Described(
        "List server groups.",
        reply=listed("server_groups", shown(server_groups.SERVER_GROUP)),
        query=("all_projects", "limit", "offset"),
    ),
    "POST /os-server-groups": Described(
        "Make a server group.",
        body=server_groups.Body,
        reply=within("server_group", shown(server_groups.SERVER_GROUP)),
        support=APPROXIMATED,
        note="A host is a cluster: on which of its nodes a server runs is Ganeti's to decide.",
    ),
    "GET /os-server-groups/<group_id>": Described(
        "Show a server group.", reply=within("server_group", shown(server_groups.SERVER_GROUP))
    ),
    "DELETE /os-server-groups/<group_id>": Described("Delete a server group.", status=204),
    "GET /os-availability-zone": Described(
        "List zones.", reply=plain(zones.ZONES), note="Each cluster is one."
    ),
    "GET /os-availability-zone/detail": Described(
        "List zones with their hosts.", reply=plain(zones.ZONES_DETAIL)
    ),
    # Machines
    "GET /os-hypervisors": Described(
        "List hypervisors.",
        reply=_hypervisors(hypervisors.HYPERVISOR_ITEM, hypervisors.HYPERVISOR_ITEM_SERVERS),
        query=(*_PAGE, "hypervisor_hostname_pattern", "with_servers"),
        support=APPROXIMATED,
        note=_ONE_HOST,
    ),
    "GET /os-hypervisors/detail": Described(
        "List hypervisors with all facts.",
        reply=_hypervisors(hypervisors.HYPERVISOR, hypervisors.HYPERVISOR_SERVERS),
        query=(*_PAGE, "hypervisor_hostname_pattern", "with_servers"),
        support=APPROXIMATED,
        note=_ONE_HOST,
    ),
    "GET /os-hypervisors/<hypervisor_id>": Described(
        "Show a hypervisor.",
        reply=_hosted,
        query=("with_servers",),
        support=APPROXIMATED,
        note=_ONE_HOST,
    ),
    "GET /os-hypervisors/statistics": Described(
        "Add all hypervisors up.",
        reply=within("hypervisor_statistics", shown(hypervisors.STATISTICS)),
        last=87,
    ),
    "GET /os-hypervisors/<hypervisor_id>/uptime": Described(
        "Since when it runs.", support=REFUSED, note="Ganeti does not tell.", last=87
    ),
    "GET /os-hypervisors/<hypervisor_id>/search": Described(
        "Find hypervisors.",
        reply=listed("hypervisors", shown(hypervisors.HYPERVISOR_ITEM)),
        last=52,
    ),
    "GET /os-hypervisors/<hypervisor_id>/servers": Described(
        "Find hypervisors, with their servers.",
        reply=listed("hypervisors", lambda minor, admin: _object_of(minor)),
        last=52,
    ),
    "GET /os-services": Described(
        "List services.",
        reply=listed("services", shown(hypervisors.SERVICE)),
        query=("host", "binary"),
        support=APPROXIMATED,
        note="Each cluster is one nova-compute.",
    ),
    "GET /os-aggregates": Described(
        "List aggregates.", reply=plain(record(aggregates=_NOTHING)), note="There are none."
    ),
    "GET /os-migrations": Described(
        "List migrations.", reply=plain(record(migrations=_NOTHING)), note="There are none."
    ),
    "GET /extensions": Described("List extensions.", reply=listed("extensions", plain(_EXTENSION))),
    "GET /extensions/<alias>": Described(
        "Show an extension.", reply=within("extension", plain(_EXTENSION))
    ),
}


def _object_of(minor: int) -> Schema:
    return hypervisors.HYPERVISOR_ITEM_SERVERS.schema(minor, True)


for _method, _path in hosts.OPERATORS:
    TABLE[f"{_method} {_path}"] = Described(
        "Manage the machines.", support=REFUSED, note=_OPERATORS
    )
for _path in hosts.GONE:
    TABLE[f"GET {_path}"] = Described(
        "What Compute once had.", support=REFUSED, note="410: it was removed from Compute."
    )

REFERENCE = Reference("Compute", "/compute/v2.1", TABLE, FAULT, (MINIMUM, MAXIMUM))
