"""The bodies of ``POST /servers/S/action``, one for each action of a microversion."""

from __future__ import annotations

from functools import cache
from typing import Any

from msgspec import Struct, defstruct, field

from cyclades_tx.api.compute import consoles, interfaces, rebuilt_server
from cyclades_tx.api.compute.actions import Lock, Reboot, Rescue, ResetState, Resize
from cyclades_tx.api.compute.refused_actions import REFUSED, ConsoleOutput

_REASON_FIRST = 73


class ChangePassword(Struct, forbid_unknown_fields=True):
    """The argument of ``changePassword``, which is refused."""

    adminPass: str


#: What each action takes; where it is Any, nothing is read.
_ARGUMENTS: dict[str, Any] = {
    **dict.fromkeys(("os-start", "os-stop", "forceDelete", "unlock", "suspend", "resume"), Any),
    **dict.fromkeys(("confirmResize", "revertResize", "unrescue"), Any),
    "reboot": Reboot,
    "resize": Resize,
    "rebuild": rebuilt_server.Wanted,
    "rescue": Rescue | None,
    "os-resetState": ResetState,
    "addSecurityGroup": interfaces.Group,
    "removeSecurityGroup": interfaces.Group,
    "console": consoles.ViewerConsole,
}
_PROXIES: dict[str, Any] = {
    "addFloatingIp": interfaces.FloatingAddress,
    "removeFloatingIp": interfaces.FloatingAddress,
    "addFixedIp": interfaces.FixedNetwork,
    "removeFixedIp": interfaces.FixedAddress,
}


@cache
def types(minor: int) -> tuple[type[Struct], ...]:
    """The types of all bodies that a microversion knows."""
    known = {**_ARGUMENTS, "lock": Lock | None if minor >= _REASON_FIRST else Any}
    if minor <= interfaces.PROXY_LAST:
        known |= _PROXIES
    if minor <= consoles.ACTION_LAST:
        known["os-getVNCConsole"] = consoles.VncConsole
    known |= {name: Any for name, refusal in REFUSED.items() if refusal.known(minor)}
    known["changePassword"] = ChangePassword
    known["os-getConsoleOutput"] = ConsoleOutput
    return tuple(_body(name, kind) for name, kind in sorted(known.items()))


@cache
def _body(name: str, kind: Any) -> type[Struct]:
    """The type of ``{"NAME": ARGUMENT}``."""
    member = ("argument", kind, field(name=name))
    return defstruct(f"Action.{name}", [member], forbid_unknown_fields=True)
