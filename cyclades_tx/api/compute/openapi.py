"""What Compute's OpenAPI document says of each endpoint."""

from __future__ import annotations

from cyclades_tx.api import metadata
from cyclades_tx.api.compute import (
    action_bodies,
    addresses,
    changed_server,
    consoles,
    documents,
    flavor_changes,
    hosts,
    hypervisors,
    instance_actions,
    interfaces,
    keypairs,
    limits,
    new_server,
    proxies_table,
    quotas,
    server_groups,
    shapes,
    tags,
    usage,
    volume_attachments,
    zones,
)
from cyclades_tx.api.compute.documents import TEXT, array, mapping, record
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

TABLE: dict[str, Described] = {
    "GET ": Described("The version.", reply=plain(record(version=shapes.VERSION))),
    "GET /openapi.json": DOCUMENT,
    # Servers
    "GET /servers": Described(
        "List servers.", reply=listed("servers", shapes.ITEMS, shapes.NEXT), query=shapes.SERVERS
    ),
    "GET /servers/detail": Described(
        "List servers with all facts.",
        reply=listed("servers", shapes.DETAILS, shapes.NEXT),
        query=shapes.SERVERS,
    ),
    "POST /servers": Described(
        "Make servers.",
        body=new_server.Body,
        reply=shapes.created,
        status=202,
        support=APPROXIMATED,
        note="Boots from an image, or from a volume, old or made with it; of the hints to"
        " the scheduler `group` has an effect.",
    ),
    "GET /servers/<server_id>": Described(
        "Show a server.", reply=within("server", shown(documents.SERVER))
    ),
    "PUT /servers/<server_id>": Described(
        "Change name, description, access addresses, host name.",
        body=changed_server.Body,
        reply=within("server", shapes.changed),
    ),
    "DELETE /servers/<server_id>": Described("Delete a server.", status=204),
    "POST /servers/<server_id>/action": Described(
        "Start, stop, reboot … a server.",
        body=ByVersion(action_bodies.types),
        reply=shapes.acted,
        status=202,
        also=(200,),
        empty=(202, 204),
        support=APPROXIMATED,
        note="Each action is below, and in [actions.md](actions.md).",
    ),
    "GET /servers/<server_id>/metadata": Described("Show the metadata.", reply=shapes.METADATA),
    "POST /servers/<server_id>/metadata": Described(
        "Add metadata.", body=metadata.All, reply=shapes.METADATA
    ),
    "PUT /servers/<server_id>/metadata": Described(
        "Replace the metadata.", body=metadata.All, reply=shapes.METADATA
    ),
    "GET /servers/<server_id>/metadata/<key>": Described("Show an item.", reply=shapes.META),
    "PUT /servers/<server_id>/metadata/<key>": Described(
        "Set an item.", body=metadata.One, reply=shapes.META
    ),
    "DELETE /servers/<server_id>/metadata/<key>": Described("Delete an item.", status=204),
    "GET /servers/<server_id>/tags": Described("Show the tags.", reply=shapes.TAGS, first=26),
    "PUT /servers/<server_id>/tags": Described(
        "Replace the tags.", body=tags.All, reply=shapes.TAGS, first=26
    ),
    "DELETE /servers/<server_id>/tags": Described("Delete all tags.", status=204, first=26),
    "GET /servers/<server_id>/tags/<tag>": Described("Whether it is there.", status=204, first=26),
    "PUT /servers/<server_id>/tags/<tag>": Described(
        "Add a tag.", status=201, empty=(204,), first=26, note="204 when it is there already."
    ),
    "DELETE /servers/<server_id>/tags/<tag>": Described("Delete a tag.", status=204, first=26),
    "GET /servers/<server_id>/ips": Described(
        "Show the addresses.", reply=plain(record(addresses=shapes.ADDRESSES))
    ),
    "GET /servers/<server_id>/ips/<network>": Described(
        "Show the addresses on one network.", reply=plain(shapes.ADDRESSES)
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
        "List volumes.",
        reply=listed("volumeAttachments", shown(volume_attachments.VOLUME)),
        query=("limit", "offset"),
    ),
    "GET /servers/<server_id>/os-volume_attachments/<volume_id>": Described(
        "Show a volume.", reply=within("volumeAttachment", shown(volume_attachments.VOLUME))
    ),
    "POST /servers/<server_id>/os-volume_attachments": Described(
        "Attach a volume.",
        body=volume_attachments.NewBody,
        reply=within("volumeAttachment", shown(volume_attachments.VOLUME)),
        support=APPROXIMATED,
        note="The device is chosen here. A volume whose disk cannot leave its server (of the kinds"
        " `ext` and `drbd`) goes with it: `delete_on_termination` is true then.",
    ),
    "PUT /servers/<server_id>/os-volume_attachments/<volume_id>": Described(
        "Say whether a volume goes with its server.",
        body=volume_attachments.ChangedBody,
        status=202,
        support=APPROXIMATED,
        note="From 2.85 on; a volume cannot take the place of another one.",
    ),
    "DELETE /servers/<server_id>/os-volume_attachments/<volume_id>": Described(
        "Detach a volume.",
        status=202,
        support=APPROXIMATED,
        note="409 where its disk cannot leave the server, so that nothing is lost.",
    ),
    "GET /servers/<server_id>/os-instance-actions": Described(
        "List what was done.",
        reply=listed("instanceActions", shown(instance_actions.ACTION_ITEM), "links"),
        query=(*shapes.PAGE, "changes-since", "changes-before"),
    ),
    "GET /servers/<server_id>/os-instance-actions/<request_id>": Described(
        "Show what was done, with its events.", reply=within("instanceAction", shapes.action)
    ),
    "GET /servers/<server_id>/os-security-groups": Described(
        "List the security groups.",
        reply=plain(record(security_groups=array(shapes.SECURITY_GROUP))),
    ),
    "GET /servers/<server_id>/diagnostics": Described(
        "Show diagnostics.", support=REFUSED, note="Ganeti has no figures of a guest."
    ),
    "POST /servers/<server_id>/remote-consoles": Described(
        "Open a console.",
        body=consoles.Body,
        reply=plain(consoles.REMOTE),
        support=APPROXIMATED,
        note="VNC in a browser; the URL is good for one opening within a minute.",
        first=consoles.REMOTE_FIRST,
    ),
    "GET /os-console-auth-tokens/<token>": Described(
        "Where the token of a console leads.", reply=plain(consoles.CONNECTION), first=31
    ),
    # Flavors
    "GET /flavors": Described(
        "List flavors.",
        reply=listed("flavors", shown(documents.FLAVOR_ITEM), "flavors_links"),
        query=(*shapes.SORTED, "is_public", "minRam", "minDisk"),
    ),
    "GET /flavors/detail": Described(
        "List flavors with all facts.",
        reply=listed("flavors", shown(documents.FLAVOR), "flavors_links"),
        query=(*shapes.SORTED, "is_public", "minRam", "minDisk"),
    ),
    "GET /flavors/<flavor_id>": Described("Show a flavor.", reply=shapes.FLAVOR),
    "POST /flavors": Described(
        "Make a flavor.",
        body=flavor_changes.NewBody,
        reply=shapes.FLAVOR,
        support=APPROXIMATED,
        note="Its id is a UUID, its disks are of the first volume type; there is no swap disk, no"
        " ephemeral disk and no rxtx factor.",
    ),
    "PUT /flavors/<flavor_id>": Described(
        "Describe a flavor.", body=flavor_changes.DescribedBody, reply=shapes.FLAVOR, first=55
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
        reply=listed("keypairs", shapes.wrapped_keypair, "keypairs_links"),
        query=(*shapes.PAGE, "user_id"),
    ),
    "POST /os-keypairs": Described(
        "Keep a public key, or make a pair.",
        body=keypairs.Body,
        reply=shapes.keypair_made,
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
            limits=record(rate=shapes.NOTHING, absolute=limits.ABSOLUTE.schema(minor, admin))
        ),
        query=("tenant_id",),
    ),
    "GET /os-quota-sets/<project_id>": Described(
        "Show quotas.", reply=shapes.QUOTA, query=("user_id",)
    ),
    "GET /os-quota-sets/<project_id>/defaults": Described("Show the defaults.", reply=shapes.QUOTA),
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
    "GET /os-quota-class-sets/<class_id>": Described("Show the defaults.", reply=shapes.CLASS),
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
        query=(*shapes.PAGE, "start", "end", "detailed"),
    ),
    "GET /os-simple-tenant-usage/<project_id>": Described(
        "Show the usage of a project.",
        reply=shapes.usage_of_project,
        query=(*shapes.PAGE, "start", "end"),
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
        reply=shapes.hypervisor_list(
            hypervisors.HYPERVISOR_ITEM, hypervisors.HYPERVISOR_ITEM_SERVERS
        ),
        query=(*shapes.PAGE, "hypervisor_hostname_pattern", "with_servers"),
        support=APPROXIMATED,
        note=shapes.ONE_HOST,
    ),
    "GET /os-hypervisors/detail": Described(
        "List hypervisors with all facts.",
        reply=shapes.hypervisor_list(hypervisors.HYPERVISOR, hypervisors.HYPERVISOR_SERVERS),
        query=(*shapes.PAGE, "hypervisor_hostname_pattern", "with_servers"),
        support=APPROXIMATED,
        note=shapes.ONE_HOST,
    ),
    "GET /os-hypervisors/<hypervisor_id>": Described(
        "Show a hypervisor.",
        reply=shapes.hosted,
        query=("with_servers",),
        support=APPROXIMATED,
        note=shapes.ONE_HOST,
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
        "List aggregates.", reply=plain(record(aggregates=shapes.NOTHING)), note="There are none."
    ),
    "GET /os-migrations": Described(
        "List migrations.", reply=plain(record(migrations=shapes.NOTHING)), note="There are none."
    ),
    "GET /extensions": Described(
        "List extensions.", reply=listed("extensions", plain(shapes.EXTENSION))
    ),
    "GET /extensions/<alias>": Described(
        "Show an extension.", reply=within("extension", plain(shapes.EXTENSION))
    ),
}


def _object_of(minor: int) -> Schema:
    return hypervisors.HYPERVISOR_ITEM_SERVERS.schema(minor, True)


for _method, _path in hosts.OPERATORS:
    TABLE[f"{_method} {_path}"] = Described(
        "Manage the machines.", support=REFUSED, note=shapes.OPERATORS
    )
for _path in hosts.GONE:
    TABLE[f"GET {_path}"] = Described(
        "What Compute once had.", support=REFUSED, note="410: it was removed from Compute."
    )

TABLE.update(proxies_table.TABLE)

REFERENCE = Reference("Compute", "/compute/v2.1", TABLE, shapes.FAULT, (MINIMUM, MAXIMUM))
