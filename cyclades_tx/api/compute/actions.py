"""Actions on a server: what ``POST /servers/S/action`` may name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute import rebuilt_server
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.compute.refused_actions import REFUSED, refuse
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.compute.servers import Views
from cyclades_tx.errors import BadRequest, Forbidden, NotSupported
from cyclades_tx.flows.servers import Servers

_DECODER = msgspec.json.Decoder(dict[str, Any])

Action = Callable[[Call, str, Any], Awaitable[Reply]]

_NOT_YET = {
    "createImage": "This cloud makes no images of servers: clusters take no snapshots.",
    "addSecurityGroup": "Changing the security groups of a server is not offered yet.",
    "removeSecurityGroup": "Changing the security groups of a server is not offered yet.",
}
#: Actions that ended with a microversion, and how the last one of these is numbered.
_ENDED = {
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


class Resize(Struct, forbid_unknown_fields=True):
    """The argument of ``resize``."""

    flavorRef: str | int
    disk_config: str | None = field(default=None, name="OS-DCF:diskConfig")


class Rescue(Struct, forbid_unknown_fields=True):
    """The argument of ``rescue``; the rescue image decides whether a password has an effect."""

    adminPass: str | None = None
    rescue_image_ref: str | None = None


class ResetState(Struct, forbid_unknown_fields=True):
    """The argument of ``os-resetState``."""

    state: str


def mount(
    routes: Routes, servers: Servers, views: Views, more: Mapping[str, Action] | None = None
) -> None:
    """Add the endpoint of actions.

    :param more: further actions, by name.
    """
    known = {**_power(servers), **_locks(servers), **_procedures(servers, views), **(more or {})}

    async def act(call: Call, server_id: str) -> Reply:
        body = call.json(_DECODER)
        if len(body) != 1:
            raise BadRequest("Malformed request body: it must name exactly one action.")
        ((name, argument),) = body.items()
        action = known.get(name)
        if action is not None:
            return await action(call, server_id, argument)
        if name in REFUSED and REFUSED[name].known(call.minor):
            return await refuse(servers, call, server_id, name, argument)
        if call.minor <= _ENDED.get(name, 0):
            raise NotSupported(f"The action {name} is not offered on this cloud.")
        if name in _NOT_YET:
            raise NotSupported(_NOT_YET[name])
        raise BadRequest(f"There is no such action: {name[:255]}")

    routes.add("POST", "/servers/<server_id>/action", act)


def _power(servers: Servers) -> dict[str, Action]:
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

    async def force_delete(call: Call, ref: str, argument: Any) -> Reply:
        await servers.delete(call.who, ref, call.request_id)
        return Reply(202)

    return {"os-start": start, "os-stop": stop, "reboot": reboot, "forceDelete": force_delete}


def _locks(servers: Servers) -> dict[str, Action]:
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

    async def suspend(call: Call, ref: str, argument: Any) -> Reply:
        _administrators(call, "suspend")
        await servers.suspend(call.who, ref)
        return Reply(202)

    async def resume(call: Call, ref: str, argument: Any) -> Reply:
        _administrators(call, "resume")
        await servers.resume(call.who, ref)
        return Reply(202)

    async def reset_state(call: Call, ref: str, argument: Any) -> Reply:
        state = _argument(argument, ResetState).state
        if state not in ("active", "error"):
            raise BadRequest("Invalid input for field/attribute state: 'active' or 'error'.")
        _administrators(call, "os-resetState")
        if state == "error":
            await servers.check_action(call.who, ref, "reset_state", None)
            raise NotSupported("The state of a server follows what its cluster says.")
        await servers.reset_state(call.who, ref)
        return Reply(202)

    return {
        "lock": lock,
        "unlock": unlock,
        "suspend": suspend,
        "resume": resume,
        "os-resetState": reset_state,
    }


def _procedures(servers: Servers, views: Views) -> dict[str, Action]:
    async def resize(call: Call, ref: str, argument: Any) -> Reply:
        wanted = _argument(argument, Resize)
        flavor = str(wanted.flavorRef).rstrip("/").rpartition("/")[2]
        if not flavor:
            raise BadRequest("Invalid input for field/attribute flavorRef.")
        if wanted.disk_config not in (None, "AUTO", "MANUAL"):
            raise BadRequest("OS-DCF:diskConfig must be either 'MANUAL' or 'AUTO'.")
        await servers.resize(call.who, ref, flavor, call.request_id)
        return Reply(202)

    async def confirm_resize(call: Call, ref: str, argument: Any) -> Reply:
        await servers.confirm_resize(call.who, ref)
        return Reply(204)

    async def revert_resize(call: Call, ref: str, argument: Any) -> Reply:
        await servers.revert_resize(call.who, ref, call.request_id)
        return Reply(202)

    async def rebuild(call: Call, ref: str, argument: Any) -> Reply:
        wanted = rebuilt_server.rebuild_of(call, argument)
        rebuilt = await servers.rebuild(call.who, ref, wanted, call.request_id)
        return await rebuilt_server.reply(views, call, ref, rebuilt)

    async def rescue(call: Call, ref: str, argument: Any) -> Reply:
        wanted = _argument(argument, Rescue)
        image_ref = wanted.rescue_image_ref
        if image_ref is not None:
            image_ref = image_ref.rstrip("/").rpartition("/")[2]
            if UUID.fullmatch(image_ref) is None:
                raise BadRequest("Invalid rescue_image_ref provided.")
        password = await servers.rescue(
            call.who, ref, image_ref, wanted.adminPass or None, call.request_id
        )
        return Reply(200, {"adminPass": password})

    async def unrescue(call: Call, ref: str, argument: Any) -> Reply:
        await servers.unrescue(call.who, ref, call.request_id)
        return Reply(202)

    return {
        "resize": resize,
        "confirmResize": confirm_resize,
        "revertResize": revert_resize,
        "rebuild": rebuild,
        "rescue": rescue,
        "unrescue": unrescue,
    }


def _administrators(call: Call, name: str) -> None:
    if not call.who.admin:
        raise Forbidden(f"Policy doesn't allow {name} to be performed.")


def _argument(value: Any, kind: type[Any]) -> Any:
    """What stands behind the name of an action; null is the same as an empty object."""
    try:
        return msgspec.convert({} if value is None else value, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"Invalid input: {error}") from None
