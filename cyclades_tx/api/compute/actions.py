"""Actions on a server: what ``POST /servers/S/action`` may name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from cyclades_tx.api.frame import Call, Reply
from cyclades_tx.errors import BadRequest, NotSupported

if TYPE_CHECKING:
    from cyclades_tx.api.compute.routes import Routes
    from cyclades_tx.flows.servers import Servers

_DECODER = msgspec.json.Decoder(dict[str, Any])

Action = Callable[[Call, str, Any], Awaitable[Reply]]

_NOT_HERE = {
    "pause": "Pausing servers is not possible on this cloud.",
    "unpause": "Pausing servers is not possible on this cloud.",
    "suspend": "Suspending servers is not possible on this cloud.",
    "resume": "Suspending servers is not possible on this cloud.",
    "shelve": "Shelving servers is not possible on this cloud.",
    "shelveOffload": "Shelving servers is not possible on this cloud.",
    "unshelve": "Shelving servers is not possible on this cloud.",
    "createBackup": "Backups on a schedule are not possible on this cloud.",
    "changePassword": "The password of a running server cannot be changed from outside.",
    "os-migrateLive": "Servers are moved by the operators of the clusters.",
    "migrate": "Servers are moved by the operators of the clusters.",
    "evacuate": "Servers are moved by the operators of the clusters.",
    "trigger_crash_dump": "Crash dumps are not possible on this cloud.",
    "os-getConsoleOutput": "The output of the console is not kept on this cloud.",
    "os-getRDPConsole": "This cloud has no such console.",
    "resetNetwork": "The network of a server cannot be reset.",
    "injectNetworkInfo": "The network of a server cannot be reset.",
    "forceDelete": "Delete the server instead.",
    "restore": "A deleted server cannot be brought back.",
    "os-resetState": "The state of a server follows what its cluster says.",
}
_NOT_YET = {
    "resize": "Resizing servers is not offered yet.",
    "confirmResize": "Resizing servers is not offered yet.",
    "revertResize": "Resizing servers is not offered yet.",
    "rebuild": "Rebuilding servers is not offered yet.",
    "rescue": "Rescuing servers is not offered yet.",
    "unrescue": "Rescuing servers is not offered yet.",
    "createImage": "Making images of servers is not offered yet.",
    "addSecurityGroup": "Changing the security groups of a server is not offered yet.",
    "removeSecurityGroup": "Changing the security groups of a server is not offered yet.",
}
#: Actions that ended with a microversion, and how the last one of these is numbered.
_ENDED = {
    "os-getVNCConsole": 5,
    "os-getSPICEConsole": 5,
    "os-getSerialConsole": 5,
    "addFloatingIp": 43,
    "removeFloatingIp": 43,
    "addFixedIp": 43,
    "removeFixedIp": 43,
}


class Reboot(Struct, forbid_unknown_fields=True):
    """The argument of ``reboot``."""

    type: str


class Lock(Struct, forbid_unknown_fields=True):
    """The argument of ``lock`` from 2.73."""

    locked_reason: str | None = None


def mount(routes: Routes, servers: Servers) -> None:
    """Add the endpoint of actions."""

    async def start(call: Call, ref: str, argument: Any) -> Reply:
        await servers.start(call.who, ref, call.request_id)
        return Reply(202)

    async def stop(call: Call, ref: str, argument: Any) -> Reply:
        await servers.stop(call.who, ref, call.request_id)
        return Reply(202)

    async def reboot(call: Call, ref: str, argument: Any) -> Reply:
        kind = _argument(argument, Reboot).type.upper()
        if kind not in ("SOFT", "HARD"):
            raise BadRequest("Argument 'type' for reboot is not HARD or SOFT")
        await servers.reboot(call.who, ref, kind == "HARD", call.request_id)
        return Reply(202)

    async def lock(call: Call, ref: str, argument: Any) -> Reply:
        reason = None
        if call.minor >= 73 and argument is not None:
            reason = _argument(argument, Lock).locked_reason
            if reason is not None and not 1 <= len(reason) <= 255:
                raise BadRequest("Invalid input: locked_reason has 1 to 255 characters.")
        await servers.lock(call.who, ref, reason)
        return Reply(202)

    async def unlock(call: Call, ref: str, argument: Any) -> Reply:
        await servers.unlock(call.who, ref)
        return Reply(202)

    known: dict[str, Action] = {
        "os-start": start,
        "os-stop": stop,
        "reboot": reboot,
        "lock": lock,
        "unlock": unlock,
    }

    async def act(call: Call, server_id: str) -> Reply:
        body = call.json(_DECODER)
        if len(body) != 1:
            raise BadRequest("Malformed request body: it must name exactly one action.")
        ((name, argument),) = body.items()
        action = known.get(name)
        if action is not None:
            return await action(call, server_id, argument)
        if call.minor <= _ENDED.get(name, 0):
            raise NotSupported(f"The action {name} is not offered on this cloud.")
        why = _NOT_HERE.get(name) or _NOT_YET.get(name)
        if why is not None:
            raise NotSupported(why)
        raise BadRequest(f"There is no such action: {name[:255]}")

    routes.add("POST", "/servers/<server_id>/action", act)


def _argument(value: Any, kind: type[Any]) -> Any:
    """What stands behind the name of an action; null is the same as an empty object."""
    try:
        return msgspec.convert({} if value is None else value, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"Invalid input: {error}") from None
