"""Actions that Compute knows and a Ganeti cloud cannot do: each with the fault it has for that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.errors import HttpError
from cyclades_tx.errors import BadRequest, Conflict, CycladesError, Forbidden, NotSupported
from cyclades_tx.flows.servers import Servers
from cyclades_tx.model.moves import ACTIVE, STOPPED


class ConsoleOutput(Struct, forbid_unknown_fields=True):
    """The argument of ``os-getConsoleOutput``: how many lines; -1, like nothing, is all."""

    length: (
        Annotated[int, Meta(ge=-1)] | Annotated[str, Meta(pattern="^(-1|[0-9]{1,18})$")] | None
    ) = None


_HAS_POWER = frozenset({ACTIVE, STOPPED})


def _gone(message: str) -> CycladesError:
    return HttpError(410, message)


@dataclass(frozen=True)
class Refusal:
    """How an action is refused when nothing else speaks against it.

    :ivar fault: what the reference has for an action that cannot be done.
    :ivar states: where it would make sense at all; elsewhere it is a conflict. None: anywhere.
    :ivar word: the action in Compute's conflicts.
    :ivar admin: whether only an administrator may ask.
    :ivar first: the first microversion (minor number) that has it; ``last`` the last one.
    """

    fault: Callable[[str], CycladesError]
    sentence: str
    states: frozenset[str] | None = None
    word: str = ""
    admin: bool = False
    first: int = 1
    last: int | None = None

    def known(self, minor: int) -> bool:
        """Whether a microversion has the action."""
        return self.first <= minor and (self.last is None or minor <= self.last)


_PAUSE = "Pausing servers is not possible on this cloud."
_SHELVE = "Shelving servers is not possible on this cloud."
_MOVE = "Servers are moved by the operators of the clusters."
_NETWORK = "The network of a server cannot be reset."
_CONSOLE = "This cloud has no such console."

REFUSED: dict[str, Refusal] = {
    "pause": Refusal(NotSupported, _PAUSE, frozenset({ACTIVE}), "pause"),
    "unpause": Refusal(NotSupported, _PAUSE, frozenset(), "unpause"),
    "shelve": Refusal(Conflict, _SHELVE, _HAS_POWER, "shelve"),
    "shelveOffload": Refusal(Conflict, _SHELVE, frozenset(), "shelve_offload", admin=True),
    "unshelve": Refusal(Conflict, _SHELVE, frozenset(), "unshelve"),
    "restore": Refusal(Conflict, "It is not deleted.", frozenset(), "restore"),
    "createBackup": Refusal(
        BadRequest,
        "Backups on a schedule are not possible on this cloud.",
        _HAS_POWER,
        "backup",
    ),
    "changePassword": Refusal(
        NotSupported,
        "The password of a running server cannot be changed from outside.",
        frozenset({ACTIVE}),
        "set_admin_password",
    ),
    "os-getConsoleOutput": Refusal(
        NotSupported, "The output of the console is not kept on this cloud."
    ),
    "trigger_crash_dump": Refusal(
        BadRequest,
        "Crash dumps are not possible on this cloud.",
        frozenset({ACTIVE}),
        "trigger_crash_dump",
        first=17,
    ),
    "migrate": Refusal(BadRequest, _MOVE, _HAS_POWER, "migrate", admin=True),
    "os-migrateLive": Refusal(BadRequest, _MOVE, frozenset({ACTIVE}), "live_migrate", admin=True),
    "evacuate": Refusal(BadRequest, _MOVE, admin=True),
    "resetNetwork": Refusal(_gone, _NETWORK, admin=True),
    "injectNetworkInfo": Refusal(_gone, _NETWORK, admin=True),
    "os-getRDPConsole": Refusal(NotSupported, _CONSOLE, last=5),
    "os-getSPICEConsole": Refusal(NotSupported, _CONSOLE, last=5),
    "os-getSerialConsole": Refusal(NotSupported, _CONSOLE, last=5),
}


async def refuse(servers: Servers, call: Call, ref: str, name: str, argument: Any) -> Reply:
    """Refuse an action of :data:`REFUSED`: for what else is wrong first, as Compute does."""
    refusal = REFUSED[name]
    if name == "changePassword":
        given = isinstance(argument, dict) and isinstance(argument.get("adminPass"), str)
        if not given or len(argument) != 1:
            raise BadRequest("Invalid input for field/attribute changePassword.")
    if name == "os-getConsoleOutput":
        try:
            msgspec.convert(argument, ConsoleOutput)
        except msgspec.ValidationError as error:
            raise BadRequest(f"Invalid input for os-getConsoleOutput: {error}") from None
    if refusal.admin and not call.who.admin:
        raise Forbidden(f"Policy doesn't allow {name} to be performed.")
    await servers.check_action(call.who, ref, refusal.word or name, refusal.states)
    raise refusal.fault(refusal.sentence)
