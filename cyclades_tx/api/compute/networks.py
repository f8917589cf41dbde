"""Networks, as Compute once showed them; nothing of them was ever changed there."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute.documents import (
    BOOLEAN,
    MICROSECOND,
    NULL,
    NUMBER,
    TEXT,
    TEXT_OR_NULL,
    microsecond,
)
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.compute.proxies import Proxies, found, listing, part, showing
from cyclades_tx.api.documents import Document, Member
from cyclades_tx.api.errors import HttpError
from cyclades_tx.errors import NotFound

#: What changed networks: of it Compute has nothing any more.
GONE = (
    ("POST", "/os-networks"),
    ("DELETE", "/os-networks/<network_id>"),
    ("POST", "/os-tenant-networks"),
    ("DELETE", "/os-tenant-networks/<network_id>"),
)

_NAME = "coalesce(nullif(network.name, ''), network.uuid::text)"
_VLAN = (
    "case when network.flavor = 'PHYSICAL_VLAN' then substring(network.link from '[0-9]+$')::int"
    " end"
)
_NUMBER_OR_NULL: dict[str, Any] = {"type": ["integer", "null"]}


def _nothing(name: str) -> Member:
    """What only networks of Compute's own had."""
    return Member(name, "null::text", NULL, admin=True)


NETWORK = Document(
    "Network",
    (
        Member("id", "network.uuid", TEXT),
        Member("label", _NAME, TEXT),
        Member("cidr", "four.cidr", TEXT_OR_NULL),
        Member("netmask", "host(netmask(four.cidr))", TEXT_OR_NULL),
        Member("gateway", "host(four.gateway)", TEXT_OR_NULL),
        Member("broadcast", "host(broadcast(four.cidr))", TEXT_OR_NULL),
        Member("dns1", "host(four.dns_nameservers[1])", TEXT_OR_NULL),
        Member("dns2", "host(four.dns_nameservers[2])", TEXT_OR_NULL),
        Member("cidr_v6", "six.cidr", TEXT_OR_NULL),
        Member("gateway_v6", "host(six.gateway)", TEXT_OR_NULL),
        Member("netmask_v6", "masklen(six.cidr)::text", TEXT_OR_NULL),
        Member("bridge", "network.link", TEXT, admin=True),
        Member("created_at", microsecond("network.created_at"), MICROSECOND, admin=True),
        Member("deleted", "false", BOOLEAN, admin=True),
        Member("enable_dhcp", "coalesce(four.dhcp, six.dhcp, false)", BOOLEAN, admin=True),
        Member("injected", "false", BOOLEAN, admin=True),
        Member("mtu", "network.mtu", NUMBER, admin=True),
        Member("multi_host", "true", BOOLEAN, admin=True),
        Member("project_id", "network.project_id", TEXT_OR_NULL, admin=True),
        Member("share_address", "false", BOOLEAN, admin=True),
        Member("updated_at", microsecond("network.updated_at"), MICROSECOND, admin=True),
        Member("vlan", _VLAN, _NUMBER_OR_NULL, admin=True),
        *(
            _nothing(name)
            for name in (
                "bridge_interface", "deleted_at", "dhcp_server", "dhcp_start", "host", "priority",
                "rxtx_base", "vpn_private_address", "vpn_public_address", "vpn_public_port",
            )
        ),
    ),
)  # fmt: skip
PROJECT_NETWORK = Document(
    "ProjectNetwork",
    (
        Member("id", "network.uuid", TEXT),
        Member("label", _NAME, TEXT),
        Member("cidr", "four.cidr", TEXT_OR_NULL),
    ),
)

_SEEN = (
    "network left join subnet four on four.network_id = network.id and family(four.cidr) = 4"
    " left join subnet six on six.network_id = network.id and family(six.cidr) = 6"
    " where network.deleted_at is null and (%s::boolean or network.project_id = %s::text"
    " or network.shared or network.external)"
)


@lru_cache(maxsize=8)
def _list(document: Document, admin: bool) -> str:
    return listing("networks", document.text(0, admin), _SEEN, "network.id")


@lru_cache(maxsize=8)
def _show(document: Document, admin: bool) -> str:
    rows = f"{_SEEN} and network.uuid = %s::uuid"
    return showing("network", document.text(0, admin), rows)


def mount(proxies: Proxies, database: Any) -> None:
    """Add the endpoints."""

    def views(path: str, document: Document) -> None:
        async def list_items(call: Call) -> bytes:
            who = call.who
            arguments = (who.admin, who.project_id, *part(call))
            body: bytes = await database.document(_list(document, who.admin), arguments)
            return body

        async def show(call: Call, network_id: str) -> bytes:
            why = f"Network {network_id} not found."
            if UUID.fullmatch(network_id) is None:
                raise NotFound(why)
            who = call.who
            arguments = (who.admin, who.project_id, network_id)
            return await found(database, call, _show(document, who.admin), arguments, why)

        proxies.add("GET", path, list_items)
        proxies.add("GET", f"{path}/<network_id>", show)

    async def gone(call: Call, **_: str) -> Reply:
        raise HttpError(410, "Networks are changed at the Network service.")

    views("/os-networks", NETWORK)
    views("/os-tenant-networks", PROJECT_NETWORK)
    for method, path in GONE:
        proxies.add(method, path, gone)
