"""Network's collections: which rows each shows to whom, and by what a list is filtered.

The rules of visibility are those of ``store/networks.py``: what belongs to a network follows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cyclades_tx.api.documents import Document
from cyclades_tx.api.network import documents
from cyclades_tx.model.who import Who
from cyclades_tx.store.networks import visible

# Kinds of filters: how a value from the URL is read, and compared with the expression.
TEXT = "text"
UUID = "uuid"
BOOLEAN = "boolean"
NUMBER = "integer"
MAC = "macaddr"


@dataclass(frozen=True)
class Filter:
    """One attribute that a list can be filtered by.

    :ivar sql: its expression; with ``{values}``, a whole condition over an array of values, in
        which ``{empty}`` is whether an empty value is among them.
    :ivar kind: how its values are read.
    :ivar sortable: whether a list can be sorted by it.
    """

    sql: str
    kind: str = TEXT
    sortable: bool = True


@dataclass(frozen=True)
class Collection:
    """One plural of the service.

    :ivar path: its place below the version.
    :ivar kind: the noun that :class:`~cyclades_tx.errors.NotFound` gets.
    :ivar source: the joined tables; the first is the one that gives the id.
    :ivar condition: the SQL of what is seen; two arguments: admin, project id.
    """

    path: str
    plural: str
    singular: str
    kind: str
    label: str
    document: Document
    source: str
    condition: str
    filters: Mapping[str, Filter] = field(default_factory=dict)

    @property
    def table(self) -> str:
        """The table of the collection's things."""
        return self.source.split()[0]


def seen_by(who: Who) -> tuple[bool, str | None]:
    """The two arguments of a collection's condition."""
    return (who.admin, who.project_id)


def _own(table: str) -> str:
    return f"(%s::boolean or {table}.project_id = %s::text)"


def _common(table: str, owner: str) -> dict[str, Filter]:
    """What every thing can be filtered by; ``owner`` is the expression of its project."""
    return {
        "id": Filter(f"{table}.uuid", UUID),
        "tenant_id": Filter(owner),
        "project_id": Filter(owner),
        "description": Filter(f"{table}.description"),
        "created_at": Filter(documents.time(f"{table}.created_at")),
    }


def _dated(table: str) -> dict[str, Filter]:
    return {
        "updated_at": Filter(documents.time(f"{table}.updated_at")),
        "revision_number": Filter(f"{table}.revision", NUMBER),
    }


def _untagged() -> dict[str, Filter]:
    """The filters by tag of things that can have none yet."""
    return {
        "tags": Filter("cardinality({values}) = 0", sortable=False),
        "tags-any": Filter("cardinality({values}) = 0", sortable=False),
    }


_NETWORK_OWNER = "coalesce(network.project_id, '')"


def _tagged(table: str) -> dict[str, Filter]:
    """The filters by tag of things that have a table of them."""
    rows = (
        f"select from {table}_user_tag t where t.{table}_id = {table}.id"
        " and t.tag = any({values})"
    )
    every = f"({rows.replace('select', 'select count(*)', 1)}) = cardinality({{values}})"
    return {
        "tags": Filter(every, sortable=False),
        "tags-any": Filter(f"exists ({rows})", sortable=False),
        "not-tags": Filter(f"not ({every})", sortable=False),
        "not-tags-any": Filter(f"not exists ({rows})", sortable=False),
    }


NETWORKS = Collection(
    "networks",
    "networks",
    "network",
    "network",
    "Network",
    documents.NETWORK,
    "network",
    visible("network"),
    {
        **_common("network", _NETWORK_OWNER),
        **_dated("network"),
        "name": Filter("network.name"),
        "status": Filter("upper(network.state)"),
        "admin_state_up": Filter("network.admin_up", BOOLEAN),
        "shared": Filter("network.shared", BOOLEAN),
        "router:external": Filter("network.external", BOOLEAN),
        "mtu": Filter("network.mtu", NUMBER),
        **_tagged("network"),
        "subnets": Filter(
            "exists (select from subnet s where s.network_id = network.id"
            " and s.uuid = any({values}))",
            UUID,
            sortable=False,
        ),
    },
)

SUBNETS = Collection(
    "subnets",
    "subnets",
    "subnet",
    "subnet",
    "Subnet",
    documents.SUBNET,
    "subnet join network on network.id = subnet.network_id",
    "(network.deleted_at is null and (%s::boolean or network.project_id = %s::text"
    " or network.shared))",
    {
        **_common("subnet", _NETWORK_OWNER),
        **_dated("subnet"),
        **_tagged("subnet"),
        "name": Filter("subnet.name"),
        "network_id": Filter("network.uuid", UUID),
        "ip_version": Filter("family(subnet.cidr)", NUMBER),
        "cidr": Filter("subnet.cidr::text"),
        "gateway_ip": Filter("host(subnet.gateway)"),
        "enable_dhcp": Filter("subnet.dhcp", BOOLEAN),
        "ipv6_ra_mode": Filter("subnet.ipv6_ra_mode"),
        "ipv6_address_mode": Filter("subnet.ipv6_address_mode"),
        "subnetpool_id": Filter("null::text", sortable=False),
    },
)

PORTS = Collection(
    "ports",
    "ports",
    "port",
    "port",
    "Port",
    documents.PORT,
    "port join network on network.id = port.network_id",
    # The interface of a floating IP is shown as that, not as a port of its project.
    "(%s::boolean or (port.project_id = %s::text and port.device_owner <> 'network:floatingip'))",
    {
        **_common("port", "port.project_id"),
        **_dated("port"),
        **_untagged(),
        "name": Filter("port.name"),
        "network_id": Filter("network.uuid", UUID),
        "mac_address": Filter("port.mac", MAC),
        "admin_state_up": Filter("port.admin_up", BOOLEAN),
        "status": Filter("upper(port.state)"),
        "device_owner": Filter("port.device_owner"),
        # Clients ask this after every look at a server; an array is looked up by its index.
        "device_id": Filter(
            "port.id = any(array(select p.id from port p join server d on d.id = p.server_id"
            " where d.uuid = any({values})"
            " union all select p.id from port p join router d on d.id = p.router_id"
            " where d.uuid = any({values})"
            " union all select p.id from port p where {empty}"
            " and p.server_id is null and p.router_id is null))",
            UUID,
            sortable=False,
        ),
        "fixed_ips": Filter(
            # ip_address=A and subnet_id=S: what is given of each kind must both fit.
            "exists (select from address a join subnet s on s.id = a.subnet_id"
            " where a.port_id = port.id"
            " and (not exists (select from unnest({values}) v where v like 'ip_address=%%')"
            " or 'ip_address=' || host(a.address) = any({values}))"
            " and (not exists (select from unnest({values}) v where v like 'subnet_id=%%')"
            " or 'subnet_id=' || s.uuid = any({values}))"
            " and (not exists (select from unnest({values}) v"
            " where v like 'ip_address_substr=%%') or exists (select from unnest({values}) v"
            " where v like 'ip_address_substr=%%'"
            " and strpos(host(a.address), substr(v, 19)) > 0)))",
            sortable=False,
        ),
        "security_groups": Filter(
            "exists (select from port_security_group m join security_group g"
            " on g.id = m.security_group_id where m.port_id = port.id"
            " and g.uuid = any({values}))",
            UUID,
            sortable=False,
        ),
    },
)

ROUTERS = Collection(
    "routers",
    "routers",
    "router",
    "router",
    "Router",
    documents.ROUTER,
    "router",
    _own("router"),
    {
        **_common("router", "router.project_id"),
        **_dated("router"),
        **_untagged(),
        "name": Filter("router.name"),
        "status": Filter("'ACTIVE'", sortable=False),
        "admin_state_up": Filter("router.admin_up", BOOLEAN),
    },
)

FLOATING_IPS = Collection(
    "floatingips",
    "floatingips",
    "floatingip",
    "floatingip",
    "Floating IP",
    documents.FLOATING_IP,
    "floating_ip join network on network.id = floating_ip.network_id"
    " join address on address.id = floating_ip.address_id"
    " left join port on port.id = floating_ip.port_id"
    " left join router on router.id = floating_ip.router_id",
    f"({_own('floating_ip')} and floating_ip.released_at is null)",
    {
        **_common("floating_ip", "floating_ip.project_id"),
        **_dated("floating_ip"),
        **_untagged(),
        "floating_network_id": Filter("network.uuid", UUID),
        "floating_ip_address": Filter("host(address.address)"),
        "fixed_ip_address": Filter(
            "exists (select from address a where a.port_id = port.id"
            " and host(a.address) = any({values}))",
            sortable=False,
        ),
        "port_id": Filter("port.uuid", UUID),
        "router_id": Filter("router.uuid", UUID),
        "status": Filter(documents.FLOATING_STATUS),
    },
)

SECURITY_GROUPS = Collection(
    "security-groups",
    "security_groups",
    "security_group",
    "security_group",
    "Security group",
    documents.SECURITY_GROUP,
    "security_group",
    _own("security_group"),
    {
        **_common("security_group", "security_group.project_id"),
        **_dated("security_group"),
        **_untagged(),
        "name": Filter("security_group.name"),
        "stateful": Filter("security_group.stateful", BOOLEAN),
        "shared": Filter("false", BOOLEAN, sortable=False),
    },
)

SECURITY_GROUP_RULES = Collection(
    "security-group-rules",
    "security_group_rules",
    "security_group_rule",
    "security_group_rule",
    "Security group rule",
    documents.SECURITY_GROUP_RULE,
    "security_group_rule join security_group"
    " on security_group.id = security_group_rule.security_group_id",
    _own("security_group"),
    {
        **_common("security_group_rule", "security_group.project_id"),
        "security_group_id": Filter("security_group.uuid", UUID),
        "remote_group_id": Filter(
            "exists (select from security_group r where r.id = security_group_rule.remote_group_id"
            " and r.uuid = any({values}))",
            UUID,
            sortable=False,
        ),
        "direction": Filter("security_group_rule.direction"),
        "ethertype": Filter("security_group_rule.ethertype"),
        "protocol": Filter("security_group_rule.protocol"),
        "port_range_min": Filter("security_group_rule.port_range_min", NUMBER),
        "port_range_max": Filter("security_group_rule.port_range_max", NUMBER),
        "remote_ip_prefix": Filter("security_group_rule.remote_prefix::text"),
    },
)

COLLECTIONS = (
    NETWORKS,
    SUBNETS,
    PORTS,
    ROUTERS,
    FLOATING_IPS,
    SECURITY_GROUPS,
    SECURITY_GROUP_RULES,
)
