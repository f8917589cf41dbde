"""LISTEN on a connection of its own, which comes back by itself.

PostgreSQL keeps no notification for a listener that is away, so everybody who builds on them
is told when the connection was lost and when it listens again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cyclades_tx.store.connection import Connection
from cyclades_tx.store.pool import connect, full_dsn, retry_delay_seconds

# A network that swallows packets ends no connection: ask now and then.
PING_SECONDS = 30.0


class Listener:
    """Hands the notifications of PostgreSQL to observers, from the first observer to close().

    :param reactor: provides IReactorFDSet and IReactorTime.
    :param dsn: libpq's connection string.
    """

    log = Logger()

    def __init__(self, reactor: Any, dsn: str, *, application_name: str = "cyclades_tx") -> None:
        self._reactor = reactor
        self._dsn = full_dsn(dsn, f"{application_name} listen")
        self._observers: dict[str, list[Callable[[str], None]]] = {}
        self._lost_observers: list[Callable[[], None]] = []
        self._connection: Connection | None = None
        self._later: Any = None
        self._failures = 0
        self._closed = False
        self._ready: list[Deferred[None]] = []
        self.listening = False

    def listen(self, channel: str, observer: Callable[[str], None]) -> Callable[[], None]:
        """Call ``observer(payload)`` for each notification; return a function that stops it."""
        observers = self._observers.setdefault(channel, [])
        observers.append(observer)
        if len(observers) == 1:
            self._say("listen", channel)
        if self._connection is None and self._later is None and not self._closed:
            self._connect()

        def stop() -> None:
            if observer in observers:
                observers.remove(observer)
                if not observers and self._observers.get(channel) is observers:
                    del self._observers[channel]
                    self._say("unlisten", channel)

        return stop

    def on_lost(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Call ``observer()`` when listening ended and each time it begins, the first included."""
        self._lost_observers.append(observer)

        def stop() -> None:
            if observer in self._lost_observers:
                self._lost_observers.remove(observer)

        return stop

    def when_listening(self) -> Deferred[None]:
        """Return a Deferred that fires when every channel asked for so far is listened to."""
        waiting: Deferred[None] = Deferred()
        if self.listening and self._connection is not None and not self._connection.busy:
            waiting.callback(None)
        else:
            self._ready.append(waiting)
        return waiting

    def close(self) -> None:
        """End it; no observer is called any more."""
        self._closed = True
        self.listening = False
        self._observers.clear()
        self._lost_observers.clear()
        if self._later is not None:
            self._later.cancel()
            self._later = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        ready, self._ready = self._ready, []
        for waiting in ready:
            waiting.cancel()

    def _connect(self) -> None:
        self._later = None
        self._connection = Connection(self._reactor, self._lost, self._notified)
        Deferred.fromCoroutine(self._open(self._connection))

    async def _open(self, connection: Connection) -> None:
        try:
            await connect(self._reactor, self._dsn, connection)
            channels = sorted(self._observers)
            if channels:
                await connection.execute("; ".join(f"listen {_quoted(name)}" for name in channels))
            for channel in sorted(set(self._observers) - set(channels)):
                await connection.execute(f"listen {_quoted(channel)}")
        except Exception as error:
            connection.close()
            if self._connection is connection:
                self._failures += 1
                if self._failures == 1:
                    self.log.warn(
                        "LISTEN is not possible now: {why}",
                        why=str(error).strip() or "no answer",
                    )
                self._come_back()
            return
        if self._closed:
            connection.close()
            return
        self._failures = 0
        self.listening = True
        self._later = self._reactor.callLater(PING_SECONDS, self._ping)
        self._tell_lost()
        self._tell_ready()

    def _lost(self, connection: Connection) -> None:
        if self._connection is not connection or not self.listening:
            return  # while it is being opened, _open sees the error
        self.listening = False
        self._later.cancel()
        self._failures += 1
        self._come_back()
        self._tell_lost()

    def _come_back(self) -> None:
        self._connection = None
        self._later = self._reactor.callLater(retry_delay_seconds(self._failures), self._connect)

    def _ping(self) -> None:
        connection = self._connection
        assert connection is not None
        if connection.busy:
            # Still at the last ping: nobody is there.
            self._later = self._reactor.callLater(0, lambda: None)
            connection.abandon()
            return
        self._later = self._reactor.callLater(PING_SECONDS, self._ping)
        connection.start("select 1", None, lambda cursor, error: None)

    def _say(self, verb: str, channel: str) -> None:
        """Tell PostgreSQL; a loss of the connection meanwhile is mended by coming back."""
        if self.listening and self._connection is not None:
            self._connection.start(
                f"{verb} {_quoted(channel)}", None, lambda cursor, error: self._tell_ready()
            )

    def _tell_ready(self) -> None:
        if self.listening and self._connection is not None and not self._connection.busy:
            ready, self._ready = self._ready, []
            for waiting in ready:
                waiting.callback(None)

    def _tell_lost(self) -> None:
        for observer in list(self._lost_observers):
            try:
                observer()
            except Exception:
                self.log.failure("An observer of lost notifications failed")

    def _notified(self, channel: str, payload: str) -> None:
        for observer in list(self._observers.get(channel, ())):
            try:
                observer(payload)
            except Exception:
                self.log.failure("An observer of {channel} failed", channel=channel)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
