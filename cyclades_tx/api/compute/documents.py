"""Compute's documents: their members, with the microversions that have them.

The expressions stand over the rows that :data:`SERVER_ROWS` and its like join: ``given.base`` is
the URL of Compute, ``server`` the server, ``change`` and ``removal`` its open operations.
"""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.documents import Document, Member
from cyclades_tx.store.server_status import OPEN_OPERATIONS, STATUS, TASK

TEXT: dict[str, Any] = {"type": "string"}
TEXT_OR_NULL: dict[str, Any] = {"type": ["string", "null"]}
NUMBER: dict[str, Any] = {"type": "integer"}
BOOLEAN: dict[str, Any] = {"type": "boolean"}
SECOND: dict[str, Any] = {
    "type": "string",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$",
}
MICROSECOND: dict[str, Any] = {
    "type": ["string", "null"],
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$",
}
NULL: dict[str, Any] = {"type": "null"}


def record(**properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }


def array(items: dict[str, Any]) -> dict[str, Any]:
    """The schema of an array."""
    return {"type": "array", "items": items}


def mapping(values: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with any keys."""
    return {"type": "object", "additionalProperties": values}


LINKS = array(record(rel={"enum": ["self", "bookmark"]}, href=TEXT))
BOOKMARK = array(record(rel={"enum": ["bookmark"]}, href=TEXT))


def links(collection: str, identity: str) -> str:
    """The SQL of the two links of a thing."""
    return (
        "json_build_array(json_build_object('rel', 'self', 'href', given.base || "
        f"'/v2.1/{collection}/' || {identity}), json_build_object('rel', 'bookmark', 'href', "
        f"given.base || '/{collection}/' || {identity}))"
    )


def bookmark(collection: str, identity: str) -> str:
    """The SQL of the one link of a thing that stands in another document."""
    return (
        "json_build_array(json_build_object('rel', 'bookmark', 'href', "
        f"given.base || '/{collection}/' || {identity}))"
    )


def second(column: str) -> str:
    """The SQL of a time as Compute writes most of them: whole seconds, with zone."""
    return f"to_char({column} at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"


def microsecond(column: str) -> str:
    """The SQL of a time with six digits and without zone."""
    return f"to_char({column} at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"


# -- flavors -----------------------------------------------------------------------------------

_SPECS = (
    "coalesce((select json_object_agg(key, value order by key) from flavor_spec"
    " where flavor_spec.flavor_id = flavor.id), '{}')"
)

_FLAVOR_NAMES = (
    Member("id", "flavor.uuid", TEXT),
    Member("name", "flavor.name", TEXT),
    Member("description", "flavor.description", TEXT_OR_NULL, first=55),
    Member("links", links("flavors", "flavor.uuid"), LINKS),
)

FLAVOR_ITEM = Document("FlavorItem", _FLAVOR_NAMES)

FLAVOR = Document(
    "Flavor",
    (
        *_FLAVOR_NAMES,
        Member("ram", "flavor.memory_mib", NUMBER),
        Member("vcpus", "flavor.vcpus", NUMBER),
        Member("disk", "flavor.disk_gib", NUMBER),
        Member("swap", "''::text", {"enum": [""]}, last=74),
        Member("swap", "0", {"enum": [0]}, first=75),
        Member("rxtx_factor", "1.0", {"type": "number"}),
        Member("OS-FLV-EXT-DATA:ephemeral", "0", NUMBER),
        Member("OS-FLV-DISABLED:disabled", "not flavor.allow_create", BOOLEAN),
        Member("os-flavor-access:is_public", "flavor.public", BOOLEAN),
        Member("extra_specs", _SPECS, mapping(TEXT), first=61),
    ),
)

# -- key pairs ---------------------------------------------------------------------------------

_KEY_PAIR = (
    Member("name", "key_pair.name", TEXT),
    Member("public_key", "key_pair.public_key", TEXT),
    Member("fingerprint", "key_pair.fingerprint", TEXT),
    Member("type", "key_pair.type", {"enum": ["ssh", "x509"]}, first=2),
)

KEY_PAIR_ITEM = Document("KeyPairItem", _KEY_PAIR)

KEY_PAIR = Document(
    "KeyPair",
    (
        *_KEY_PAIR,
        Member("user_id", "key_pair.user_id", TEXT),
        Member("id", "key_pair.id", NUMBER),
        Member("created_at", microsecond("key_pair.created_at"), MICROSECOND),
        Member("updated_at", "null::text", NULL),
        Member("deleted_at", "null::text", NULL),
        Member("deleted", "false", BOOLEAN),
    ),
)

# -- servers -----------------------------------------------------------------------------------

VM_STATE = """case
 when server.suspended and server.state in ('active', 'stopped') then 'suspended'
 else server.state end"""

#: 0 none, 1 running, 4 shut down. What was seen at the cluster decides where the state does not.
POWER = """case
 when server.state in ('building', 'deleted') then 0
 when server.state = 'stopped' then 4
 when server.state = 'active' then 1
 when server.ganeti_status in ('running', 'ERROR_up') then 1
 when server.ganeti_status in ('ADMIN_down', 'ADMIN_offline', 'ERROR_down', 'USER_down') then 4
 else 0 end"""

_PROGRESS_SHOWN = (
    "seen.status in ('ACTIVE', 'BUILD', 'REBUILD', 'RESIZE', 'VERIFY_RESIZE', 'REBOOT',"
    " 'HARD_REBOOT')"
)
_FAULT_SHOWN = "server.fault_message is not null and seen.status in ('ERROR', 'DELETED')"

_FAULT = (
    "json_build_object('code', coalesce(server.fault_code, 500), 'created', "
    + second("server.fault_at")
    + ", 'message', server.fault_message)"
)

_ONE_HOST = (
    "case when server.node is null then '' else encode(sha224(convert_to(server.project_id"
    " || ':' || server.cluster_id || ':' || server.node, 'UTF8')), 'hex') end"
)


def addresses(all_facts: bool) -> str:
    """The SQL of the addresses by network; floating ones stand under the network of their port."""
    facts = "'addr', host(one.address), 'version', family(one.address)"
    if all_facts:
        facts += ", 'OS-EXT-IPS:type', one.kind, 'OS-EXT-IPS-MAC:mac_addr', port.mac::text"
    return (
        "coalesce((select json_object_agg(net.name, net.entries order by net.position) from ("
        "select coalesce(nullif(network.name, ''), network.uuid::text) as name,"
        f" min(port.position) as position, json_agg(json_build_object({facts})"
        " order by port.position, one.kind, one.id) as entries"
        " from port join network on network.id = port.network_id cross join lateral ("
        "select id, address, 'fixed' as kind from address where address.port_id = port.id"
        " union all select address.id, address.address, 'floating' from floating_ip"
        " join address on address.id = floating_ip.address_id"
        " join port extra on extra.id = address.port_id and extra.state = 'active'"
        " where floating_ip.port_id = port.id) as one"
        " where port.server_id = server.id and port.device_owner <> 'network:floatingip'"
        " group by 1) as net), '{}')"
    )


ADDRESSES = addresses(all_facts=True)
_ADDRESS: dict[str, Any] = record(addr=TEXT, version={"enum": [4, 6]})
_FULL_ADDRESS: dict[str, Any] = record(
    **{
        "addr": TEXT,
        "version": {"enum": [4, 6]},
        "OS-EXT-IPS:type": {"enum": ["fixed", "floating"]},
        "OS-EXT-IPS-MAC:mac_addr": TEXT,
    }
)

METADATA = (
    "coalesce((select json_object_agg(key, value order by key) from server_metadata"
    " where server_metadata.server_id = server.id), '{}')"
)
TAGS = (
    "coalesce((select json_agg(tag order by tag) from server_tag"
    " where server_tag.server_id = server.id), '[]')"
)
_GROUPS = (
    "coalesce((select json_agg(json_build_object('name', found.name) order by found.name) from ("
    "select distinct security_group.name from port"
    " join port_security_group on port_security_group.port_id = port.id"
    " join security_group on security_group.id = port_security_group.security_group_id"
    " where port.server_id = server.id) as found), '[]')"
)
_VOLUMES = (
    "coalesce((select json_agg(json_build_object({facts}) order by volume.position) from volume"
    " where volume.server_id = server.id and not volume.local and volume.deleted_at is null), '[]')"
)
_SERVER_GROUPS = (
    "coalesce((select json_agg(server_group.uuid) from server_group_member join server_group"
    " on server_group.id = server_group_member.server_group_id"
    " where server_group_member.server_id = server.id), '[]')"
)

_IMAGE = (
    "case when image.id is null or server.boots_from_volume then to_json(''::text)"
    " else json_build_object('id', image.uuid,"
    f" 'links', {bookmark('images', 'image.uuid')}) end"
)
_FLAVOR_LINK = (
    f"json_build_object('id', flavor.uuid, 'links', {bookmark('flavors', 'flavor.uuid')})"
)
_FLAVOR_INSIDE = (
    "json_build_object('original_name', flavor.name, 'vcpus', server.vcpus, 'ram',"
    " server.memory_mib, 'disk', flavor.disk_gib, 'ephemeral', 0, 'swap', 0,"
    f" 'extra_specs', {_SPECS})"
)

_SERVER_NAMES = (
    Member("id", "server.uuid", TEXT),
    Member("name", "server.name", TEXT),
    Member("links", links("servers", "server.uuid"), LINKS),
)

#: In every full or nearly full document.
_SERVER_CORE = (
    *_SERVER_NAMES,
    Member("status", "seen.status", TEXT),
    Member("tenant_id", "server.project_id", TEXT),
    Member("user_id", "server.user_id", TEXT),
    Member("hostId", _ONE_HOST, {"type": "string", "pattern": "^([0-9a-f]{56})?$"}),
    Member("created", second("server.created_at"), SECOND),
    Member("updated", second("server.updated_at"), SECOND),
    Member("image", _IMAGE, {"oneOf": [{"enum": [""]}, record(id=TEXT, links=BOOKMARK)]}),
    Member("flavor", _FLAVOR_LINK, record(id=TEXT, links=BOOKMARK), last=46),
    Member(
        "flavor",
        _FLAVOR_INSIDE,
        record(
            original_name=TEXT,
            vcpus=NUMBER,
            ram=NUMBER,
            disk=NUMBER,
            ephemeral=NUMBER,
            swap=NUMBER,
            extra_specs=mapping(TEXT),
        ),
        first=47,
    ),
    Member("accessIPv4", "coalesce(host(server.access_ipv4), '')", TEXT),
    Member("accessIPv6", "coalesce(host(server.access_ipv6), '')", TEXT),
    Member("metadata", METADATA, mapping(TEXT)),
    Member("OS-DCF:diskConfig", "server.disk_config", {"enum": ["MANUAL", "AUTO"]}),
    Member("progress", "coalesce(change.progress, 0)", NUMBER, when=_PROGRESS_SHOWN),
    Member("fault", _FAULT, record(code=NUMBER, created=SECOND, message=TEXT), when=_FAULT_SHOWN),
    Member("locked", "server.locked", BOOLEAN, first=9),
    Member("description", "server.description", TEXT_OR_NULL, first=19),
    Member("tags", TAGS, array(TEXT), first=26),
    Member("trusted_image_certificates", "null::text", NULL, first=63),
    Member(
        "locked_reason",
        "case when server.locked then server.locked_reason end",
        TEXT_OR_NULL,
        first=73,
    ),
)

_HOST_STATUS = """case when server.node is null then '' when cluster.offline then 'MAINTENANCE'
 when cluster.reachable then 'UP' when not cluster.reachable then 'DOWN' else 'UNKNOWN' end"""


def _attribute(name: str, sql: str, schema: dict[str, Any], first: int = 0) -> Member:
    return Member(f"OS-EXT-SRV-ATTR:{name}", sql, schema, first=first, admin=True)


#: What show and list tell beyond that.
_SERVER_MORE = (
    Member("addresses", ADDRESSES, mapping(array(_FULL_ADDRESS))),
    Member("key_name", "server.key_name", TEXT_OR_NULL),
    Member(
        "config_drive",
        "case when server.config_drive then 'True' else '' end",
        {"enum": ["", "True"]},
    ),
    Member("OS-EXT-AZ:availability_zone", "coalesce(server.availability_zone, 'nova')", TEXT),
    Member("OS-EXT-STS:power_state", POWER, NUMBER),
    Member("OS-EXT-STS:task_state", TASK, TEXT_OR_NULL),
    Member("OS-EXT-STS:vm_state", VM_STATE, TEXT),
    Member("OS-SRV-USG:launched_at", microsecond("server.launched_at"), MICROSECOND),
    Member("OS-SRV-USG:terminated_at", microsecond("server.terminated_at"), MICROSECOND),
    Member(
        "os-extended-volumes:volumes_attached",
        _VOLUMES.format(facts="'id', volume.uuid"),
        array(record(id=TEXT)),
        last=2,
    ),
    Member(
        "os-extended-volumes:volumes_attached",
        _VOLUMES.format(
            facts="'id', volume.uuid, 'delete_on_termination', volume.delete_on_termination"
        ),
        array(record(id=TEXT, delete_on_termination=BOOLEAN)),
        first=3,
    ),
    Member("security_groups", _GROUPS, array(record(name=TEXT))),
    _attribute("host", "server.node", TEXT_OR_NULL),
    _attribute("hypervisor_hostname", "server.node", TEXT_OR_NULL),
    _attribute("instance_name", "given.prefix || server.id", TEXT),
    _attribute("reservation_id", "server.reservation_id", TEXT, first=3),
    _attribute("launch_index", "0", NUMBER, first=3),
    _attribute("kernel_id", "''::text", TEXT, first=3),
    _attribute("ramdisk_id", "''::text", TEXT, first=3),
    _attribute("root_device_name", "'/dev/vda'::text", TEXT, first=3),
    # Sealed: not even administrators read it here.
    _attribute("user_data", "null::text", NULL, first=3),
    Member("OS-EXT-SRV-ATTR:hostname", "server.hostname", TEXT, first=3, last=89, admin=True),
    Member("OS-EXT-SRV-ATTR:hostname", "server.hostname", TEXT, first=90),
    Member("host_status", _HOST_STATUS, TEXT, first=16, admin=True),
    # A server stays on the cluster that it was placed on.
    Member("pinned_availability_zone", "server.availability_zone", TEXT_OR_NULL, first=96),
)

_IN_GROUPS = Member("server_groups", _SERVER_GROUPS, array(TEXT), first=71)

#: An item of ``GET /servers``.
SERVER_ITEM = Document("ServerItem", _SERVER_NAMES)
#: An item of ``GET /servers/detail``.
SERVER_DETAIL = Document("ServerDetail", (*_SERVER_CORE, *_SERVER_MORE))
#: ``GET /servers/S``; from 2.75 also the replies of PUT and rebuild.
SERVER = Document("Server", (*_SERVER_CORE, *_SERVER_MORE, _IN_GROUPS))
#: The replies of PUT and rebuild before 2.75.
SERVER_CHANGED = Document(
    "ServerChanged",
    (
        *_SERVER_CORE,
        Member("addresses", addresses(all_facts=False), mapping(array(_ADDRESS))),
        _IN_GROUPS,
    ),
)

#: What the members of a server stand over, beside ``given`` and ``server`` themselves.
SERVER_ROWS = f"""
 join flavor on flavor.id = server.flavor_id
 left join image on image.id = server.image_id
 left join cluster on cluster.id = server.cluster_id{OPEN_OPERATIONS}
 cross join lateral (select {STATUS} as status) as seen
"""
