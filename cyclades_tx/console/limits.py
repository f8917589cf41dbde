"""How much of everything there may be, and who has tried too often."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from twisted.internet.interfaces import IReactorTime

from cyclades_tx.console.interfaces import Reason

#: A customer's line usually has a whole /64.
_IPV6_SHIFT = 64
#: Addresses of which failures are remembered; the oldest are forgotten beyond that.
_MOST_ADDRESSES = 10_000


@dataclass(frozen=True)
class ConsoleLimits:
    """The limits of one process.

    :ivar sessions: open consoles in all.
    :ivar sessions_per_user: open consoles of one user.
    :ivar strangers: connections that have not shown yet what they may, in all.
    :ivar strangers_per_address: the same from one address (IPv6: one /64).
    :ivar tries: wrong passwords and tickets from one address within one window.
    :ivar tries_window_seconds: the length of a window.
    :ivar greeting_seconds: how long a viewer may take to say which protocol it speaks.
    :ivar login_seconds: how long a person may take to type the password.
    :ivar open_seconds: how long reaching the screen may take.
    :ivar idle_seconds: a console over which nothing goes is closed after this.
    :ivar ping_seconds: how often a browser is asked whether it is still there; three pings
        without any answer, and it is not.
    """

    sessions: int = 500
    sessions_per_user: int = 10
    strangers: int = 200
    strangers_per_address: int = 20
    tries: int = 10
    tries_window_seconds: float = 300.0
    greeting_seconds: float = 10.0
    login_seconds: float = 120.0
    open_seconds: float = 20.0
    idle_seconds: float = 1800.0
    ping_seconds: float = 30.0


class Strangers:
    """Those who have connected and are not let in yet, and those who were not let in."""

    def __init__(self, clock: IReactorTime, limits: ConsoleLimits) -> None:
        self._clock = clock
        self._limits = limits
        self._here: Counter[str] = Counter()
        self._failed: dict[str, int] = {}
        self._window = 0

    def enter(self, client: str) -> Reason | None:
        """Somebody has connected, and will :meth:`leave`; return why to turn them away, if so."""
        subject = _subject(client)
        self._here[subject] += 1
        self._turn()
        if self._failed.get(subject, 0) >= self._limits.tries:
            return Reason.TOO_MANY_TRIES
        if (
            self._here[subject] > self._limits.strangers_per_address
            or self._here.total() > self._limits.strangers
        ):
            return Reason.TOO_MANY
        return None

    def leave(self, client: str) -> None:
        """Somebody who has entered is gone, or is no stranger any more."""
        subject = _subject(client)
        self._here[subject] -= 1
        if not self._here[subject]:
            del self._here[subject]

    def failed(self, client: str) -> None:
        """A password or ticket was wrong."""
        subject = _subject(client)
        self._turn()
        self._failed[subject] = self._failed.pop(subject, 0) + 1
        if len(self._failed) > _MOST_ADDRESSES:
            del self._failed[next(iter(self._failed))]

    def may_try(self, client: str) -> bool:
        """Whether one more try is looked at."""
        self._turn()
        return self._failed.get(_subject(client), 0) < self._limits.tries

    def _turn(self) -> None:
        window = int(self._clock.seconds() // self._limits.tries_window_seconds)
        if window != self._window:
            self._window = window
            self._failed.clear()


def _subject(client: str) -> str:
    """The name under which an address is counted."""
    try:
        parsed = ip_address(client.split("%", maxsplit=1)[0])
    except ValueError:
        return client
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> _IPV6_SHIFT << _IPV6_SHIFT))
    return str(parsed)
