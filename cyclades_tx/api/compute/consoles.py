"""Consoles of servers: each answer holds the right to look at one screen, once."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute.actions import Action
from cyclades_tx.api.compute.documents import NULL, NUMBER, TEXT, record
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.errors import BadRequest, NotFound, NotSupported
from cyclades_tx.flows.consoles import NOVNC, VIEWER, Consoles

#: Where the page is, below the service's own URL. What is behind ``#`` never leaves the browser.
PAGE = "/console/#"
REMOTE_FIRST = 6
_MKS_FIRST = 8
_TOKENS_FIRST = 31
#: The last microversion with a console in an action.
ACTION_LAST = 5

#: Nobody may keep such an answer.
_NOT_KEPT = {"cache-control": "no-store"}


class Remote(Struct, forbid_unknown_fields=True):
    """What console is wanted."""

    protocol: Literal["vnc", "spice", "rdp", "serial", "mks"]
    type: Literal["novnc", "xvpvnc", "rdp-html5", "spice-html5", "serial", "webmks"]


class Body(Struct, forbid_unknown_fields=True):
    """The body of ``POST /servers/S/remote-consoles``."""

    remote_console: Remote


class VncConsole(Struct, forbid_unknown_fields=True):
    """The argument of ``os-getVNCConsole``."""

    type: Literal["novnc", "xvpvnc"]


class ViewerConsole(Struct, forbid_unknown_fields=True):
    """The argument of ``console``, a word of Cyclades' own."""

    type: Literal["vnc"]


REMOTE = record(
    remote_console=record(protocol={"enum": ["vnc"]}, type={"enum": ["novnc"]}, url=TEXT)
)
CONNECTION = record(
    console=record(instance_uuid=TEXT, host=TEXT, port=NUMBER, internal_access_path=NULL)
)
URL = record(console=record(type={"enum": ["novnc", "xvpvnc"]}, url=TEXT))
PASSWORD = record(console=record(type={"enum": ["vnc"]}, host=TEXT, port=NUMBER, password=TEXT))

_DECODER = msgspec.json.Decoder(Body)


def mount(routes: Routes, consoles: Consoles | None) -> None:
    """Add the endpoints.

    :param consoles: None: this process opens none.
    """

    async def create(call: Call, server_id: str) -> Reply:
        if call.minor < REMOTE_FIRST:
            raise NotFound("The resource could not be found.")
        wanted = call.json(_DECODER).remote_console
        if call.minor < _MKS_FIRST and "mks" in (wanted.protocol, wanted.type[3:]):
            raise BadRequest("Invalid input for field/attribute remote_console.")
        if (wanted.protocol, wanted.type) != ("vnc", "novnc"):
            raise BadRequest(f"Unavailable console type {wanted.type}.")
        url = await _page(_offered(consoles), call, server_id)
        body = {"remote_console": {"protocol": "vnc", "type": "novnc", "url": url}}
        return Reply(200, body, _NOT_KEPT)

    async def show(call: Call, token: str) -> Reply:
        if call.minor < _TOKENS_FIRST:
            raise NotFound("The resource could not be found.")
        found = await _offered(consoles).connection(token)
        connection = {
            "instance_uuid": found.server_uuid,
            "host": found.host,
            "port": found.port,
            "internal_access_path": None,
        }
        return Reply(200, {"console": connection}, _NOT_KEPT)

    routes.add("POST", "/servers/<server_id>/remote-consoles", create)
    routes.add("GET", "/os-console-auth-tokens/<token>", show, admin=True, secret=True)


def actions(consoles: Consoles, viewers: tuple[str, int] | None) -> dict[str, Action]:
    """The actions with which older programs ask.

    :param viewers: host and port for VNC viewers; None: there is none for them.
    """

    async def vnc(call: Call, ref: str, argument: Any) -> Reply:
        if call.minor > ACTION_LAST:
            raise BadRequest("There is no such action: os-getVNCConsole")
        kind = _argument(argument, VncConsole).type
        if kind == "novnc":
            url = await _page(consoles, call, ref)
        else:
            if viewers is None:
                raise BadRequest(f"Unavailable console type {kind}.")
            host, port = viewers
            ticket = await consoles.ask(call.who, ref, VIEWER, call.request_id)
            url = f"{host}:{port}?password={ticket.text}"
        return Reply(200, {"console": {"type": kind, "url": url}}, _NOT_KEPT)

    async def console(call: Call, ref: str, argument: Any) -> Reply:
        kind = _argument(argument, ViewerConsole).type
        if viewers is None:
            raise NotSupported("This cloud has consoles for browsers only.")
        host, port = viewers
        ticket = await consoles.ask(call.who, ref, VIEWER, call.request_id)
        found = {"type": kind, "host": host, "port": port, "password": ticket.text}
        return Reply(200, {"console": found}, _NOT_KEPT)

    return {"os-getVNCConsole": vnc, "console": console}


async def _page(consoles: Consoles, call: Call, ref: str) -> str:
    ticket = await consoles.ask(call.who, ref, NOVNC, call.request_id)
    return f"{call.base_url}{PAGE}{ticket.text}"


def _offered(consoles: Consoles | None) -> Consoles:
    if consoles is None:
        raise NotSupported("Consoles are not offered here.")
    return consoles


def _argument(value: Any, kind: type[Any]) -> Any:
    try:
        return msgspec.convert({} if value is None else value, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"Invalid input: {error}") from None
