"""Actions on a volume: what ``POST /volumes/V/action`` may name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import msgspec
from msgspec import Struct, defstruct, field

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.volume.bodies import size_of, truth
from cyclades_tx.api.volume.refused import ACTIONS as REFUSED
from cyclades_tx.api.volume.routes import Routes
from cyclades_tx.errors import BadRequest, Forbidden, NotSupported
from cyclades_tx.flows.volumes import Volumes

#: The first microversion in which a volume that a server has can be extended.
EXTEND_IN_USE_FIRST = 42

_DECODER = msgspec.json.Decoder(dict[str, Any])
_ADMINISTRATORS = "Policy does not allow this request to be performed."

Action = Callable[[Call, str, Any], Awaitable[Reply]]


class Extend(Struct, forbid_unknown_fields=True):
    """The argument of ``os-extend``."""

    new_size: int | str


class Bootable(Struct, forbid_unknown_fields=True):
    """The argument of ``os-set_bootable``."""

    bootable: bool | str


class ReadOnly(Struct, forbid_unknown_fields=True):
    """The argument of ``os-update_readonly_flag``."""

    readonly: bool | str


class ResetStatus(Struct, forbid_unknown_fields=True):
    """The argument of ``os-reset_status``."""

    status: str | None = None
    attach_status: str | None = None
    migration_status: str | None = None


class Retype(Struct, forbid_unknown_fields=True):
    """The argument of ``os-retype``; nothing has to be moved, so the policy has no effect."""

    new_type: str
    migration_policy: str | None = None


#: What each action takes; where it is Any, nothing is read.
ARGUMENTS: dict[str, Any] = {
    "os-extend": Extend,
    "os-set_bootable": Bootable,
    "os-update_readonly_flag": ReadOnly,
    "os-reset_status": ResetStatus,
    "os-retype": Retype,
    "os-force_delete": Any,
}


@cache
def types(minor: int) -> tuple[type[Struct], ...]:
    """The types of all bodies that a microversion knows."""
    known = {**ARGUMENTS, **{name: Any for name, each in REFUSED.items() if minor >= each.first}}
    return tuple(_body(name, kind) for name, kind in sorted(known.items()))


@cache
def _body(name: str, kind: Any) -> type[Struct]:
    """The type of ``{"NAME": ARGUMENT}``."""
    member = ("argument", kind, field(name=name))
    return defstruct(f"VolumeAction.{name}", [member], forbid_unknown_fields=True)


def mount(routes: Routes, volumes: Volumes) -> None:
    """Add the endpoint of actions."""
    known = {**_changes(volumes), **_administration(volumes)}

    async def act(call: Call, volume_id: str) -> Reply:
        body = call.json(_DECODER)
        if len(body) != 1:
            raise BadRequest("Malformed request body: it must name exactly one action.")
        ((name, argument),) = body.items()
        action = known.get(name)
        if action is not None:
            return await action(call, volume_id, argument)
        refusal = REFUSED.get(name)
        if refusal is None or call.minor < refusal.first:
            raise BadRequest(f"There is no such action: {name[:255]}")
        if refusal.admin and not call.who.admin:
            raise Forbidden(_ADMINISTRATORS)
        await volumes.check(call.who, volume_id)
        raise refusal.fault(refusal.sentence)

    routes.add("POST", "/volumes/<volume_id>/action", act)


def _changes(volumes: Volumes) -> dict[str, Action]:
    async def extend(call: Call, ref: str, argument: Any) -> Reply:
        size_gib = size_of("new_size", _argument(argument, Extend).new_size)
        if call.minor < EXTEND_IN_USE_FIRST:
            await volumes.check_detached(call.who, ref)
        await volumes.extend(call.who, ref, size_gib, call.request_id)
        return Reply(202)

    async def set_bootable(call: Call, ref: str, argument: Any) -> Reply:
        bootable = truth("bootable", _argument(argument, Bootable).bootable)
        await volumes.set_bootable(call.who, ref, bootable)
        return Reply(200)

    async def set_readonly(call: Call, ref: str, argument: Any) -> Reply:
        readonly = truth("readonly", _argument(argument, ReadOnly).readonly)
        await volumes.check(call.who, ref)
        if readonly:
            raise NotSupported("Disks that cannot be written are not possible on this cloud.")
        return Reply(202)

    async def retype(call: Call, ref: str, argument: Any) -> Reply:
        await volumes.retype(call.who, ref, _argument(argument, Retype).new_type)
        return Reply(202)

    return {
        "os-extend": extend,
        "os-set_bootable": set_bootable,
        "os-update_readonly_flag": set_readonly,
        "os-retype": retype,
    }


def _administration(volumes: Volumes) -> dict[str, Action]:
    async def reset_status(call: Call, ref: str, argument: Any) -> Reply:
        wanted = _argument(argument, ResetStatus)
        if not call.who.admin:
            raise Forbidden(_ADMINISTRATORS)
        if wanted.attach_status is not None or wanted.migration_status is not None:
            await volumes.check(call.who, ref)
            raise BadRequest("Whether a volume is attached or moved follows from where it is.")
        if wanted.status is None:
            raise BadRequest("Invalid input: status is needed.")
        await volumes.reset_status(call.who, ref, wanted.status.lower().replace("-", "_"))
        return Reply(202)

    async def force_delete(call: Call, ref: str, argument: Any) -> Reply:
        # Also for owners: it is how the disk of a volume that a server has is given up.
        await volumes.delete(call.who, ref, call.request_id, force=True)
        return Reply(202)

    return {"os-reset_status": reset_status, "os-force_delete": force_delete}


def _argument(argument: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(argument, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"Invalid input: {error}") from None
