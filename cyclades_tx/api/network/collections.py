"""Network's collections: which rows each shows to whom, and by what a list is filtered.

The rules of visibility are those of ``store/networks.py``: what belongs to a network follows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cyclades_tx.api.documents import Document
from cyclades_tx.api.network import documents
from cyclades_tx.model.who import Who

# Kinds of filters: how a value from the URL is read, and compared with the expression.
TEXT = "text"
UUID = "uuid"
BOOLEAN = "boolean"
NUMBER = "integer"
MAC = "macaddr"


@dataclass(frozen=True)
class Filter:
    """One attribute that a list can be filtered by.

    :ivar sql: its expression; with ``{values}``, a whole condition over an array of values.
    :ivar kind: how its values are read.
    :ivar sortable: whether a list can be sorted by it.
    :ivar empty: the condition of what else fits when an empty value is among them.
    """

    sql: str
    kind: str = TEXT
    sortable: bool = True
    empty: str = ""


@dataclass(frozen=True)
class Sight:
    """Which rows of a collection are seen, in SQL.

    :ivar owner: the column of the project.
    :ivar live: what must hold for everybody.
    :ivar mine: what must hold beside for a project's own rows.
    :ivar open_to_all: the rows that other projects see too; "": none.
    """

    owner: str
    live: str = "true"
    mine: str = "true"
    open_to_all: str = ""

    @property
    def condition(self) -> str:
        """Whether a row is seen; two arguments: admin, project id."""
        others = f" or {self.open_to_all}" if self.open_to_all else ""
        own = f"({self.owner} = %s::text and {self.mine})"
        return f"({self.live} and (%s::boolean or {own}{others}))"

    @property
    def parts(self) -> tuple[str, ...]:
        """What a project sees of the live rows, in parts without a common row.

        An index of its own has the rows of each; the argument of each is the project's id.
        """
        own = f"{self.owner} = %s::text and {self.mine}"
        if not self.open_to_all:
            return (own,)
        return own, f"({self.open_to_all}) and {self.owner} is distinct from %s::text"


@dataclass(frozen=True)
class Collection:
    """One plural of the service.

    :ivar path: its place below the version.
    :ivar kind: the noun that :class:`~cyclades_tx.errors.NotFound` gets.
    :ivar source: the joined tables; the first is the one that gives the id.
    :ivar seen: which rows a caller sees.
    """

    path: str
    plural: str
    singular: str
    kind: str
    label: str
    document: Document
    source: str
    seen: Sight
    filters: Mapping[str, Filter] = field(default_factory=dict)
    read_only: bool = False

    @property
    def table(self) -> str:
        """The table of the collection's things."""
        return self.source.split()[0]

    @property
    def condition(self) -> str:
        """The SQL of what is seen of it; two arguments, see :func:`seen_by`."""
        return self.seen.condition


def seen_by(who: Who) -> tuple[bool, str | None]:
    """The two arguments of a collection's condition."""
    return (who.admin, who.project_id)


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


_LIVE = "network.deleted_at is null"
_NETWORK_OWNER = "coalesce(network.project_id, '')"


def _tagged(table: str) -> dict[str, Filter]:
    """The filters by tag of things that have a table of them."""
    # With an offset PostgreSQL looks into each row, not at everybody's tags.
    rows = (
        f"select from {table}_user_tag t where t.{table}_id = {table}.id"
        " and t.tag = any({values}) offset 0"
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
    Sight("network.project_id", _LIVE, open_to_all="network.shared or network.external"),
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
    Sight("network.project_id", _LIVE, open_to_all="network.shared"),
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
        "subnetpool_id": Filter(
            "subnet.subnet_pool_id in"
            " (select p.id from subnet_pool p where p.uuid = any({values}))",
            UUID,
            sortable=False,
        ),
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
    Sight("port.project_id", mine="port.device_owner <> 'network:floatingip'"),
    {
        **_common("port", "port.project_id"),
        **_dated("port"),
        **_tagged("port"),
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
            " where d.uuid = any({values})))",
            UUID,
            sortable=False,
            empty="port.server_id is null and port.router_id is null",
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
            " and strpos(host(a.address), substr(v, 19)) > 0)) offset 0)",
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
    Sight("router.project_id"),
    {
        **_common("router", "router.project_id"),
        **_dated("router"),
        **_tagged("router"),
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
    # The router, if any, that ties the port's network to the floating IP's.
    " left join router on router.id = (select t.id from port i join router t on t.id = i.router_id"
    " where i.network_id = port.network_id and i.router_id is not null"
    " and t.project_id = floating_ip.project_id"
    " and t.external_network_id = floating_ip.network_id order by t.id limit 1)",
    Sight("floating_ip.project_id", "floating_ip.released_at is null"),
    {
        **_common("floating_ip", "floating_ip.project_id"),
        **_dated("floating_ip"),
        **_tagged("floating_ip"),
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
    Sight("security_group.project_id"),
    {
        **_common("security_group", "security_group.project_id"),
        **_dated("security_group"),
        **_tagged("security_group"),
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
    Sight("security_group.project_id"),
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

SUBNET_POOLS = Collection(
    "subnetpools",
    "subnetpools",
    "subnetpool",
    "subnetpool",
    "Subnet pool",
    documents.SUBNET_POOL,
    "subnet_pool",
    Sight("subnet_pool.project_id", open_to_all="subnet_pool.shared"),
    {
        **_common("subnet_pool", "subnet_pool.project_id"),
        **_dated("subnet_pool"),
        **_tagged("subnet_pool"),
        "name": Filter("subnet_pool.name"),
        "ip_version": Filter("subnet_pool.ip_version", NUMBER),
        "min_prefixlen": Filter("subnet_pool.min_prefixlen", NUMBER),
        "default_prefixlen": Filter("subnet_pool.default_prefixlen", NUMBER),
        "max_prefixlen": Filter("subnet_pool.max_prefixlen", NUMBER),
        "default_quota": Filter("subnet_pool.default_quota", NUMBER),
        "shared": Filter("subnet_pool.shared", BOOLEAN),
        "is_default": Filter("subnet_pool.is_default", BOOLEAN),
    },
)

#: How many addresses of each network are used, for administrators and the network's owner.
AVAILABILITIES = Collection(
    "network-ip-availabilities",
    "network_ip_availabilities",
    "network_ip_availability",
    "network",
    "Network",
    documents.AVAILABILITY,
    "network",
    Sight("network.project_id", _LIVE),
    {
        "network_id": Filter("network.uuid", UUID),
        "network_name": Filter("network.name"),
        "tenant_id": Filter(_NETWORK_OWNER),
        "project_id": Filter(_NETWORK_OWNER),
        "ip_version": Filter(
            "exists (select from subnet s where s.network_id = network.id"
            " and family(s.cidr) = any({values}))",
            NUMBER,
            sortable=False,
        ),
    },
    read_only=True,
)

COLLECTIONS = (
    NETWORKS,
    SUBNETS,
    PORTS,
    SUBNET_POOLS,
    ROUTERS,
    FLOATING_IPS,
    SECURITY_GROUPS,
    SECURITY_GROUP_RULES,
    AVAILABILITIES,
)
