"""Interfaces of a server and what is on them: attaching and detaching, addresses, groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute.actions import Action
from cyclades_tx.api.compute.new_server import address_of
from cyclades_tx.errors import BadRequest
from cyclades_tx.flows.floating_ips import FloatingIps
from cyclades_tx.flows.interfaces import Interfaces, WantedInterface
from cyclades_tx.flows.security_groups import SecurityGroups

#: The last microversion in which Compute passed addresses on to Network.
PROXY_LAST = 43
_TAG_FIRST = 49


class FixedIp(Struct, forbid_unknown_fields=True):
    """The address of a new interface."""

    ip_address: str


class Attachment(Struct, forbid_unknown_fields=True):
    """The ``interfaceAttachment`` of the body; null means the same as absent."""

    net_id: str | None = None
    port_id: str | None = None
    fixed_ips: list[FixedIp] | None = None
    tag: str | None = None


class Body(Struct, forbid_unknown_fields=True):
    """The whole body."""

    interfaceAttachment: Attachment | None = None


_DECODER = msgspec.json.Decoder(Body)


class FloatingAddress(Struct, forbid_unknown_fields=True):
    """The argument of ``addFloatingIp`` and ``removeFloatingIp``."""

    address: str
    fixed_address: str | None = None


class FixedNetwork(Struct, forbid_unknown_fields=True):
    """The argument of ``addFixedIp``."""

    networkId: str


class FixedAddress(Struct, forbid_unknown_fields=True):
    """The argument of ``removeFixedIp``."""

    address: str


class Group(Struct, forbid_unknown_fields=True):
    """The argument of ``addSecurityGroup`` and ``removeSecurityGroup``."""

    name: str


def wanted_interface(call: Call) -> WantedInterface:
    """Read the body of ``POST /servers/S/os-interface``.

    :raise BadRequest: with a sentence that names what is wrong.
    """
    wanted = call.json(_DECODER).interfaceAttachment or Attachment()
    if wanted.tag is not None:
        if call.minor < _TAG_FIRST:
            raise BadRequest(
                "Additional properties are not allowed ('tag' was unexpected) in "
                f"microversion 2.{call.minor}."
            )
        raise BadRequest("Tags of interfaces are not offered on this cloud.")
    fixed_ip = None
    if wanted.fixed_ips is not None:
        if len(wanted.fixed_ips) != 1:
            raise BadRequest("fixed_ips must hold exactly one address.")
        text = wanted.fixed_ips[0].ip_address
        fixed_ip = address_of("ip_address", text, 6 if ":" in text else 4)
    return WantedInterface(wanted.port_id, wanted.net_id, fixed_ip)


def actions(
    interfaces: Interfaces, floating_ips: FloatingIps, groups: SecurityGroups
) -> dict[str, Action]:
    """The actions of ``POST /servers/S/action`` that concern interfaces."""

    async def add_floating(call: Call, ref: str, argument: Any) -> Reply:
        wanted = _argument(argument, FloatingAddress)
        fixed_ip = address_of("fixed_address", wanted.fixed_address, 4)
        address = address_of("address", wanted.address, 4) or ""
        await floating_ips.add_to_server(call.who, ref, address, fixed_ip, call.request_id)
        return Reply(202)

    async def remove_floating(call: Call, ref: str, argument: Any) -> Reply:
        address = address_of("address", _argument(argument, FloatingAddress).address, 4) or ""
        await floating_ips.remove_from_server(call.who, ref, address, call.request_id)
        return Reply(202)

    async def add_fixed(call: Call, ref: str, argument: Any) -> Reply:
        network_ref = _argument(argument, FixedNetwork).networkId
        await interfaces.add_fixed_ip(call.who, ref, network_ref, call.request_id)
        return Reply(202)

    async def remove_fixed(call: Call, ref: str, argument: Any) -> Reply:
        text = _argument(argument, FixedAddress).address
        address = address_of("address", text, 6 if ":" in text else 4) or ""
        await interfaces.remove_fixed_ip(call.who, ref, address, call.request_id)
        return Reply(202)

    async def add_group(call: Call, ref: str, argument: Any) -> Reply:
        await groups.add_to_server(call.who, ref, _argument(argument, Group).name)
        return Reply(202)

    async def remove_group(call: Call, ref: str, argument: Any) -> Reply:
        await groups.remove_from_server(call.who, ref, _argument(argument, Group).name)
        return Reply(202)

    return {
        "addFloatingIp": _ended("addFloatingIp", add_floating),
        "removeFloatingIp": _ended("removeFloatingIp", remove_floating),
        "addFixedIp": _ended("addFixedIp", add_fixed),
        "removeFixedIp": _ended("removeFixedIp", remove_fixed),
        "addSecurityGroup": add_group,
        "removeSecurityGroup": remove_group,
    }


def _ended(name: str, action: Callable[..., Any]) -> Action:
    """An action that there is only up to :data:`PROXY_LAST`."""

    async def act(call: Call, ref: str, argument: Any) -> Reply:
        if call.minor > PROXY_LAST:
            raise BadRequest(
                f"There is no such action: {name} ended with microversion 2.{PROXY_LAST}. An"
                " interface is added and removed by os-interface, a floating IP at Network."
            )
        reply: Reply = await action(call, ref, argument)
        return reply

    return act


def _argument(value: Any, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"Invalid input: {error}") from None
