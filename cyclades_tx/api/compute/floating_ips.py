"""Floating IPs and their pools, as Compute once showed them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute.documents import TEXT, TEXT_OR_NULL
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.compute.proxies import Proxies, found, listing, part, showing
from cyclades_tx.api.documents import Document, Member
from cyclades_tx.errors import Conflict, NotFound
from cyclades_tx.flows.floating_ips import FloatingIps

#: Networks may have no name, and need one here.
_POOL = "coalesce(nullif(network.name, ''), network.uuid::text)"

FLOATING_IP = Document(
    "FloatingIp",
    (
        Member("id", "floating_ip.uuid", TEXT),
        Member("ip", "host(address.address)", TEXT),
        Member("pool", _POOL, TEXT),
        Member(
            "fixed_ip",
            "(select host(a.address) from address a where a.port_id = port.id"
            " and family(a.address) = 4 order by a.id limit 1)",
            TEXT_OR_NULL,
        ),
        Member("instance_id", "server.uuid", TEXT_OR_NULL),
    ),
)
POOL = Document("FloatingIpPool", (Member("name", _POOL, TEXT),))

_ROWS = (
    "floating_ip join network on network.id = floating_ip.network_id"
    " join address on address.id = floating_ip.address_id"
    " left join port on port.id = floating_ip.port_id"
    " left join server on server.id = port.server_id where floating_ip.released_at is null"
)
_LIST = listing(
    "floating_ips",
    FLOATING_IP.text(),
    f"{_ROWS} and floating_ip.project_id = %s::text",
    "floating_ip.id",
)
_SHOW = showing(
    "floating_ip",
    FLOATING_IP.text(),
    f"{_ROWS} and floating_ip.uuid = %s::uuid"
    " and (%s::boolean or floating_ip.project_id = %s::text)",
)
_POOLS = listing(
    "floating_ip_pools",
    POOL.text(),
    "network where network.deleted_at is null and network.floating_ip_pool",
    "network.id",
)


class Body(Struct, forbid_unknown_fields=True):
    """The body of POST; without a pool the first one is meant."""

    pool: str | None = None


_DECODER = msgspec.json.Decoder(Body)


def mount(proxies: Proxies, database: Any, floating_ips: FloatingIps) -> None:
    """Add the endpoints."""

    async def show(call: Call, floating_ip_id: str) -> bytes:
        why = f"Floating IP not found for ID {floating_ip_id}"
        if UUID.fullmatch(floating_ip_id) is None:
            raise NotFound(why)
        arguments = (floating_ip_id, call.who.admin, call.who.project_id)
        return await found(database, call, _SHOW, arguments, why)

    async def list_items(call: Call) -> bytes:
        body: bytes = await database.document(_LIST, (call.who.project_id, *part(call)))
        return body

    async def list_pools(call: Call) -> bytes:
        body: bytes = await database.document(_POOLS, part(call))
        return body

    async def create(call: Call) -> bytes:
        # Clients send nothing when they mean no pool.
        pool = call.json(_DECODER).pool if _has_body(call) else None
        try:
            uuid = await floating_ips.create_in_pool(call.who, pool, call.request_id)
        except Conflict as error:
            raise NotFound(f"No more floating IPs are available. {error.message}") from None
        return await show(call, uuid)

    async def delete(call: Call, floating_ip_id: str) -> Reply:
        await floating_ips.delete(call.who, floating_ip_id, call.request_id)
        return Reply(202)

    proxies.add("GET", "/os-floating-ip-pools", list_pools)
    proxies.add("GET", "/os-floating-ips", list_items)
    proxies.add("POST", "/os-floating-ips", create)
    proxies.add("GET", "/os-floating-ips/<floating_ip_id>", show)
    proxies.add("DELETE", "/os-floating-ips/<floating_ip_id>", delete)


def _has_body(call: Call) -> bool:
    content = call.request.content
    if content is None or content.closed:
        return False
    there = bool(content.read(1))
    content.seek(0)
    return there
