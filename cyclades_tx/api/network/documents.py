"""Network's documents: their members, and by what a list of them can be filtered and sorted.

The expressions stand over the rows that each collection's ``source`` joins: ``network``,
``subnet``, ``port`` and so on are the tables' own names.
"""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.documents import Document, Member

TEXT: dict[str, Any] = {"type": "string"}
TEXT_OR_NULL: dict[str, Any] = {"type": ["string", "null"]}
NUMBER: dict[str, Any] = {"type": "integer"}
NUMBER_OR_NULL: dict[str, Any] = {"type": ["integer", "null"]}
BOOLEAN: dict[str, Any] = {"type": "boolean"}
TEXTS: dict[str, Any] = {"type": "array", "items": TEXT}
NOTHING: dict[str, Any] = {"type": "array", "maxItems": 0}
NULL: dict[str, Any] = {"type": "null"}
TIME: dict[str, Any] = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}

_EMPTY = "'[]'::json"


def record(**properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }


def records(**properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of an array of such objects."""
    return {"type": "array", "items": record(**properties)}


def time(column: str) -> str:
    return f"to_char({column} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"


def _list(expression: str, rows: str, order: str) -> str:
    return f"(select coalesce(json_agg({expression} order by {order}), {_EMPTY}) from {rows})"


def _tags(table: str) -> str:
    return _list("t.tag", f"{table}_user_tag t where t.{table}_id = {table}.id", "t.tag")


def _owner(expression: str) -> list[Member]:
    return [
        Member("tenant_id", expression, TEXT),
        Member("project_id", expression, TEXT),
    ]


def _standard(table: str, tags: str = _EMPTY) -> list[Member]:
    """The members of the extensions for standard attributes."""
    return [
        Member("description", f"{table}.description", TEXT),
        Member("tags", tags, TEXTS),
        Member("created_at", time(f"{table}.created_at"), TIME),
        Member("updated_at", time(f"{table}.updated_at"), TIME),
        Member("revision_number", f"{table}.revision", NUMBER),
    ]


#: The flavor in Neutron's words, and the number of a bridge in its pool.
NETWORK_TYPE = (
    "case network.flavor when 'CUSTOM' then 'flat' when 'PHYSICAL_VLAN' then 'vlan'"
    " else lower(network.flavor) end"
)
NETWORK_TYPES: dict[str, Any] = {"enum": ["flat", "vlan", "mac_filtered", "ip_less_routed"]}
SEGMENTATION_ID = (
    "case when network.flavor = 'PHYSICAL_VLAN'"
    " then substring(network.link from '([0-9]{1,18})$')::bigint end"
)

NETWORK = Document(
    "Network",
    [
        Member("id", "network.uuid", TEXT),
        Member("name", "network.name", TEXT),
        *_owner("coalesce(network.project_id, '')"),
        Member("status", "upper(network.state)", {"enum": ["ACTIVE", "ERROR"]}),
        Member("admin_state_up", "network.admin_up", BOOLEAN),
        Member("shared", "network.shared", BOOLEAN),
        Member("router:external", "network.external", BOOLEAN),
        Member(
            "subnets",
            _list("s.uuid", "subnet s where s.network_id = network.id", "s.id"),
            TEXTS,
        ),
        Member("mtu", "network.mtu", NUMBER),
        Member("availability_zones", _EMPTY, NOTHING),
        Member("availability_zone_hints", _EMPTY, NOTHING),
        Member("port_security_enabled", "true", BOOLEAN),
        Member("provider:network_type", NETWORK_TYPE, NETWORK_TYPES, admin=True),
        Member("provider:physical_network", "network.link", TEXT, admin=True),
        Member("provider:segmentation_id", SEGMENTATION_ID, NUMBER_OR_NULL, admin=True),
        *_standard("network", _tags("network")),
    ],
)

SUBNET = Document(
    "Subnet",
    [
        Member("id", "subnet.uuid", TEXT),
        Member("name", "subnet.name", TEXT),
        Member("network_id", "network.uuid", TEXT),
        *_owner("coalesce(network.project_id, '')"),
        Member("ip_version", "family(subnet.cidr)", {"enum": [4, 6]}),
        Member("cidr", "subnet.cidr", TEXT),
        Member("gateway_ip", "host(subnet.gateway)", TEXT_OR_NULL),
        Member("enable_dhcp", "subnet.dhcp", BOOLEAN),
        Member(
            "dns_nameservers",
            "(select coalesce(json_agg(host(d)), '[]') from unnest(subnet.dns_nameservers) d)",
            TEXTS,
        ),
        Member("host_routes", "subnet.host_routes", records(destination=TEXT, nexthop=TEXT)),
        Member(
            "allocation_pools",
            _list(
                "json_build_object('start', host(p.first_address), 'end', host(p.last_address))",
                "allocation_pool p where p.subnet_id = subnet.id",
                "p.first_address",
            ),
            records(start=TEXT, end=TEXT),
        ),
        Member("ipv6_ra_mode", "subnet.ipv6_ra_mode", TEXT_OR_NULL),
        Member("ipv6_address_mode", "subnet.ipv6_address_mode", TEXT_OR_NULL),
        Member(
            "subnetpool_id",
            "(select p.uuid from subnet_pool p where p.id = subnet.subnet_pool_id)",
            TEXT_OR_NULL,
        ),
        *_standard("subnet", _tags("subnet")),
    ],
)

SUBNET_POOL = Document(
    "SubnetPool",
    [
        Member("id", "subnet_pool.uuid", TEXT),
        Member("name", "subnet_pool.name", TEXT),
        *_owner("subnet_pool.project_id"),
        Member("ip_version", "subnet_pool.ip_version", {"enum": [4, 6]}),
        Member(
            "prefixes",
            _list(
                "p.prefix",
                "subnet_pool_prefix p where p.subnet_pool_id = subnet_pool.id",
                "p.prefix",
            ),
            TEXTS,
        ),
        Member("min_prefixlen", "subnet_pool.min_prefixlen", NUMBER),
        Member("default_prefixlen", "subnet_pool.default_prefixlen", NUMBER),
        Member("max_prefixlen", "subnet_pool.max_prefixlen", NUMBER),
        Member("default_quota", "subnet_pool.default_quota", NUMBER_OR_NULL),
        Member("address_scope_id", "null", NULL),
        Member("shared", "subnet_pool.shared", BOOLEAN),
        Member("is_default", "subnet_pool.is_default", BOOLEAN),
        *_standard("subnet_pool", _tags("subnet_pool")),
    ],
)

#: What a pool has; of an IPv6 subnet, each address of it.
_TOTAL = (
    "case when family(s.cidr) = 6 then trunc(power(2::numeric, 128 - masklen(s.cidr))) else"
    " (select coalesce(sum(p.last_address - p.first_address + 1), 0) from allocation_pool p"
    " where p.subnet_id = s.id) end"
)
_USED = "(select count(*) from address a where a.subnet_id = s.id)"

AVAILABILITY = Document(
    "NetworkIpAvailability",
    [
        Member("network_id", "network.uuid", TEXT),
        Member("network_name", "network.name", TEXT),
        *_owner("coalesce(network.project_id, '')"),
        Member(
            "total_ips",
            f"(select coalesce(sum({_TOTAL}), 0) from subnet s where s.network_id = network.id)",
            NUMBER,
        ),
        Member(
            "used_ips",
            f"(select coalesce(sum({_USED}), 0) from subnet s where s.network_id = network.id)",
            NUMBER,
        ),
        Member(
            "subnet_ip_availability",
            _list(
                "json_build_object('subnet_id', s.uuid, 'subnet_name', s.name, 'cidr', s.cidr,"
                f" 'ip_version', family(s.cidr), 'total_ips', {_TOTAL}, 'used_ips', {_USED})",
                "subnet s where s.network_id = network.id",
                "s.id",
            ),
            records(
                subnet_id=TEXT,
                subnet_name=TEXT,
                cidr=TEXT,
                ip_version={"enum": [4, 6]},
                total_ips=NUMBER,
                used_ips=NUMBER,
            ),
        ),
    ],
)

#: What a port belongs to: a server, a router or nothing.
DEVICE = (
    "coalesce((select d.uuid::text from server d where d.id = {port}.server_id),"
    " (select d.uuid::text from router d where d.id = {port}.router_id), '')"
)

#: What the cluster filters at an interface, by the tags of its instance.
FIREWALL_PROFILE: dict[str, Any] = {
    "type": "object",
    "properties": {"firewall_profile": {"enum": ["ENABLED", "DISABLED", "PROTECTED"]}},
    "additionalProperties": False,
}

PORT = Document(
    "Port",
    [
        Member("id", "port.uuid", TEXT),
        Member("name", "port.name", TEXT),
        Member("network_id", "network.uuid", TEXT),
        *_owner("port.project_id"),
        Member("mac_address", "port.mac", TEXT),
        Member("admin_state_up", "port.admin_up", BOOLEAN),
        Member("status", "upper(port.state)", {"enum": ["ACTIVE", "DOWN", "BUILD", "ERROR"]}),
        Member("device_id", DEVICE.format(port="port"), TEXT),
        Member("device_owner", "port.device_owner", TEXT),
        Member(
            "fixed_ips",
            _list(
                "json_build_object('subnet_id', s.uuid, 'ip_address', host(a.address))",
                "address a join subnet s on s.id = a.subnet_id where a.port_id = port.id",
                "family(a.address), a.id",
            ),
            records(subnet_id=TEXT, ip_address=TEXT),
        ),
        Member(
            "security_groups",
            _list(
                "g.uuid",
                "port_security_group m join security_group g on g.id = m.security_group_id"
                " where m.port_id = port.id",
                "g.id",
            ),
            TEXTS,
        ),
        Member("allowed_address_pairs", _EMPTY, NOTHING),
        Member("extra_dhcp_opts", _EMPTY, NOTHING),
        Member("binding:vnic_type", "'normal'", {"enum": ["normal"]}),
        Member(
            "binding:profile",
            "json_strip_nulls(json_build_object('firewall_profile', port.firewall_profile))",
            FIREWALL_PROFILE,
            admin=True,
        ),
        Member("port_security_enabled", "true", BOOLEAN),
        *_standard("port", _tags("port")),
    ],
)

ROUTER = Document(
    "Router",
    [
        Member("id", "router.uuid", TEXT),
        Member("name", "router.name", TEXT),
        *_owner("router.project_id"),
        Member("status", "'ACTIVE'", {"enum": ["ACTIVE"]}),
        Member("admin_state_up", "router.admin_up", BOOLEAN),
        Member(
            "external_gateway_info",
            "(select json_build_object('network_id', e.uuid, 'enable_snat', router.external_snat,"
            f" 'external_fixed_ips', {_EMPTY}) from network e"
            " where e.id = router.external_network_id)",
            {
                "oneOf": [
                    NULL,
                    record(network_id=TEXT, enable_snat=BOOLEAN, external_fixed_ips=NOTHING),
                ]
            },
        ),
        Member("routes", "router.routes", records(destination=TEXT, nexthop=TEXT)),
        Member("availability_zones", _EMPTY, NOTHING),
        *_standard("router", _tags("router")),
    ],
)

#: Whether the interface of a floating IP is there.
FLOATING_STATUS = (
    "case when port.id is not null and exists (select from port x where x.id = address.port_id"
    " and x.state = 'active') then 'ACTIVE' else 'DOWN' end"
)

FLOATING_IP = Document(
    "FloatingIP",
    [
        Member("id", "floating_ip.uuid", TEXT),
        *_owner("floating_ip.project_id"),
        Member("floating_network_id", "network.uuid", TEXT),
        Member("floating_ip_address", "host(address.address)", TEXT),
        Member(
            "fixed_ip_address",
            "(select host(a.address) from address a where a.port_id = port.id"
            " and family(a.address) = 4 order by a.id limit 1)",
            TEXT_OR_NULL,
        ),
        Member("port_id", "port.uuid", TEXT_OR_NULL),
        Member("router_id", "router.uuid", TEXT_OR_NULL),
        Member(
            "status",
            FLOATING_STATUS,
            {"enum": ["ACTIVE", "DOWN"]},
        ),
        Member(
            "port_details",
            "case when port.id is not null then json_build_object('status', upper(port.state),"
            " 'name', port.name, 'admin_state_up', port.admin_up, 'network_id',"
            " (select n.uuid from network n where n.id = port.network_id), 'device_owner',"
            " port.device_owner, 'mac_address', port.mac, 'device_id',"
            f" {DEVICE.format(port='port')}) end",
            {
                "oneOf": [
                    NULL,
                    record(
                        status=TEXT,
                        name=TEXT,
                        admin_state_up=BOOLEAN,
                        network_id=TEXT,
                        device_owner=TEXT,
                        mac_address=TEXT,
                        device_id=TEXT,
                    ),
                ]
            },
        ),
        *_standard("floating_ip", _tags("floating_ip")),
    ],
)

SECURITY_GROUP_RULE = Document(
    "SecurityGroupRule",
    [
        Member("id", "security_group_rule.uuid", TEXT),
        Member("security_group_id", "security_group.uuid", TEXT),
        *_owner("security_group.project_id"),
        Member("direction", "security_group_rule.direction", {"enum": ["ingress", "egress"]}),
        Member("ethertype", "security_group_rule.ethertype", {"enum": ["IPv4", "IPv6"]}),
        Member("protocol", "security_group_rule.protocol", TEXT_OR_NULL),
        Member("port_range_min", "security_group_rule.port_range_min", NUMBER_OR_NULL),
        Member("port_range_max", "security_group_rule.port_range_max", NUMBER_OR_NULL),
        Member("remote_ip_prefix", "security_group_rule.remote_prefix", TEXT_OR_NULL),
        Member(
            "remote_group_id",
            "(select r.uuid from security_group r"
            " where r.id = security_group_rule.remote_group_id)",
            TEXT_OR_NULL,
        ),
        Member("description", "security_group_rule.description", TEXT),
        Member("created_at", time("security_group_rule.created_at"), TIME),
        Member("updated_at", time("security_group_rule.created_at"), TIME),
        Member("revision_number", "0", NUMBER),
    ],
)

SECURITY_GROUP = Document(
    "SecurityGroup",
    [
        Member("id", "security_group.uuid", TEXT),
        Member("name", "security_group.name", TEXT),
        *_owner("security_group.project_id"),
        Member("stateful", "security_group.stateful", BOOLEAN),
        Member("shared", "false", BOOLEAN),
        Member(
            "security_group_rules",
            _list(
                f"{SECURITY_GROUP_RULE.text()}::json",
                "security_group_rule where security_group_rule.security_group_id"
                " = security_group.id",
                "security_group_rule.id",
            ),
            {"type": "array", "items": SECURITY_GROUP_RULE.schema()},
        ),
        *_standard("security_group", _tags("security_group")),
    ],
)
