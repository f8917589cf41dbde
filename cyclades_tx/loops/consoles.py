"""Ends consoles whose right is lost, because of what became of the server or of the person.

Whoever changes something of it says so (``NOTIFY``), and every few seconds all are looked at
anyway. The watch also says that this process still relays its sessions, so that those of a process
that died end too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.interfaces import IReactorTime

from cyclades_tx.console.interfaces import Reason
from cyclades_tx.loops.rounds import Rounds
from cyclades_tx.store import consoles, tokens

#: How often it looks without being woken.
PERIOD_SECONDS = 5.0
#: How often it says that the sessions are relayed, and throws old ones away.
BEAT_SECONDS = 20.0


class ConsoleWatch(Rounds):
    """Looks after the sessions of this process.

    :param sessions: an ISessions.
    :param sweep: called now and then, to end what nobody relays.
    """

    def __init__(
        self,
        clock: IReactorTime,
        database: Any,
        sessions: Any,
        sweep: Callable[[], Any],
    ) -> None:
        super().__init__(clock, "consoles", PERIOD_SECONDS)
        self._database = database
        self._sessions = sessions
        self._sweep = sweep
        self._beaten_seconds = 0.0

    def _listen(self) -> Iterable[Callable[[], None]]:
        return (
            self._database.listen(consoles.CHANNEL, self.wake),
            self._database.listen(tokens.CHANNEL, self._identity_changed),
            self._database.on_listen_lost(self.wake),
        )

    def _identity_changed(self, what: str) -> None:
        # A single token that was revoked is nobody's loss of a right.
        if ":" in what or what == "all":
            self.wake()

    async def _turn(self) -> None:
        ids = [each.session.id for each in self._sessions.open_sessions()]
        if ids:
            for number, word in (await consoles.verdicts(self._database, ids)).items():
                self._sessions.cut(number, _reason(word))
        now = self._clock.seconds()
        if abs(now - self._beaten_seconds) >= BEAT_SECONDS:
            if ids:
                await consoles.still_relayed(self._database, ids)
            await self._sweep()
            self._beaten_seconds = now


def _reason(word: str) -> Reason:
    try:
        return Reason(word)
    except ValueError:
        return Reason.CLOSED
