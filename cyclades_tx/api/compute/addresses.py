"""Addresses and interfaces of a server."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute import documents
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.compute.interfaces import wanted_interface
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.compute.servers import read
from cyclades_tx.api.documents import Document, Member
from cyclades_tx.errors import NotFound, NotSupported
from cyclades_tx.flows.interfaces import Interfaces

_ADDRESSES = documents.addresses(all_facts=False)
_SHOW = f"select json_build_object('addresses', {_ADDRESSES})::text from server where"
_SHOW_NETWORK = (
    "select coalesce((select json_build_object(net.key, net.value)::text"
    f" from json_each({_ADDRESSES}) as net where net.key = %s::text), '') from server where"
)

_FIXED_IPS = (
    "coalesce((select json_agg(json_build_object('subnet_id', subnet.uuid, 'ip_address',"
    " host(address.address)) order by address.id) from address"
    " join subnet on subnet.id = address.subnet_id where address.port_id = port.id), '[]')"
)

INTERFACE = Document(
    "InterfaceAttachment",
    (
        Member("port_id", "port.uuid", documents.TEXT),
        Member("net_id", "network.uuid", documents.TEXT),
        Member("mac_addr", "port.mac::text", documents.TEXT),
        Member("port_state", "upper(port.state)", documents.TEXT),
        Member(
            "fixed_ips",
            _FIXED_IPS,
            documents.array(documents.record(subnet_id=documents.TEXT, ip_address=documents.TEXT)),
        ),
        Member("tag", "null::text", documents.NULL, first=70),
    ),
)

_PORTS = (
    "from port join network on network.id = port.network_id where port.server_id = server.id"
    " and port.device_owner <> 'network:floatingip'"
)


def _list(key: str, text: str, source: str) -> str:
    """The statement of a list of things with a ``position`` that belong to a server."""
    thing = source.split()[1]
    return (
        f"select '{{\"{key}\": [' || coalesce((select string_agg({text}, ', '"
        f" order by {thing}.position) {source}), '') || ']}}' from server where"
    )


def _one(key: str, text: str, source: str) -> str:
    """The statement of one of them, by its id."""
    thing = source.split()[1]
    return (
        f"select coalesce((select '{{\"{key}\": ' || {text} || '}}' {source}"
        f" and {thing}.uuid = %s::uuid), '') from server where"
    )


def mount(routes: Routes, database: Any, interfaces: Interfaces | None = None) -> None:
    """Add the endpoints.

    :param interfaces: the flows that attach and detach; None: they are only read.
    """

    async def show(call: Call, server_id: str) -> bytes:
        return await read(database, call, server_id, _SHOW)

    async def show_network(call: Call, server_id: str, network: str) -> bytes:
        body = await read(database, call, server_id, _SHOW_NETWORK, network)
        if not body:
            raise NotFound(f"Network {network} could not be found.", "network")
        return body

    async def list_interfaces(call: Call, server_id: str) -> bytes:
        sql = _list("interfaceAttachments", INTERFACE.text(call.minor), _PORTS)
        return await read(database, call, server_id, sql)

    async def show_interface(call: Call, server_id: str, port_id: str) -> bytes:
        sql = _one("interfaceAttachment", INTERFACE.text(call.minor), _PORTS)
        return await one(call, server_id, sql, port_id, "Port")

    async def attach(call: Call, server_id: str) -> bytes:
        if interfaces is None:
            raise _not_yet()
        wanted = wanted_interface(call)
        port_id = await interfaces.attach(call.who, server_id, wanted, call.request_id)
        return await show_interface(call, server_id, port_id)

    async def detach(call: Call, server_id: str, port_id: str) -> Reply:
        if interfaces is None:
            raise _not_yet()
        await interfaces.detach(call.who, server_id, port_id, call.request_id)
        return Reply(202)

    async def one(call: Call, server_id: str, sql: str, ref: str, kind: str) -> bytes:
        body = b""
        if UUID.fullmatch(ref) is not None:
            body = await read(database, call, server_id, sql, ref)
        if not body:
            raise NotFound(f"{kind} {ref} could not be found.")
        return body

    routes.add("GET", "/servers/<server_id>/ips", show)
    routes.add("GET", "/servers/<server_id>/ips/<network>", show_network)
    routes.add("GET", "/servers/<server_id>/os-interface", list_interfaces)
    routes.add("POST", "/servers/<server_id>/os-interface", attach)
    routes.add("GET", "/servers/<server_id>/os-interface/<port_id>", show_interface)
    routes.add("DELETE", "/servers/<server_id>/os-interface/<port_id>", detach)


def _not_yet() -> NotSupported:
    return NotSupported("Interfaces are only read here.")
