"""One console: a viewer and a screen, and the bytes between them.

Each end's connection is told to stop reading as long as the other end does not take what was
read, so that no more than a few pieces wait in memory, however slow somebody is.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IReactorTime

from cyclades_tx.console.interfaces import OpenSession, Reason, Refused, Session
from cyclades_tx.console.screen import Keeper, Reach, Screen


class Viewer(Protocol):
    """What a relay needs of a viewer's connection, of whichever kind.

    :ivar client: its address.
    :ivar kind: ``vnc`` or ``websocket``.
    :ivar transport: what is paused, resumed, and throttles the other side.
    """

    client: str
    kind: str
    transport: Any

    def send(self, data: bytes) -> None:
        """Give it bytes of the screen."""

    def leave(self, reason: Reason) -> None:
        """Say why, as far as it can be said, and close."""

    def still_there(self, now: float) -> bool:
        """Called every few seconds: whether it gives signs of life."""


class Relay:
    """A session from the moment on in which its ticket was taken.

    :ivar ended: why it is over; None: it is not.
    """

    __slots__ = (
        "_on_end",
        "_opening",
        "_reached",
        "_send",
        "bytes_in",
        "bytes_out",
        "ended",
        "moved",
        "moved_at",
        "opened_at",
        "screen",
        "session",
        "started",
        "viewer",
    )

    def __init__(
        self,
        session: Session,
        viewer: Viewer,
        opened_at: datetime,
        on_end: Callable[[Relay], None],
    ) -> None:
        self.session = session
        self.viewer = viewer
        self.opened_at = opened_at
        self.screen: Screen | None = None
        self.ended: Reason | None = None
        self.started = False
        self.bytes_in = 0
        self.bytes_out = 0
        #: What had gone over it when it was last looked at, and when that had changed.
        self.moved = -1
        self.moved_at = 0.0
        self._send = viewer.send
        self._on_end = on_end
        self._opening: Deferred[Any] | None = None
        self._reached = False

    async def reach(self, how: Reach, keeper: Keeper, clock: IReactorTime, seconds: float) -> None:
        """Connect to the screen, and let it let us in.

        From then on the viewer is told when the session ends; until then, whoever opens it must.

        :param seconds: how long that may take.
        :raise Refused: when it did not, or the session has ended meanwhile.
        """
        screen = self.screen = Screen(self.session.password, keeper, self._screen_left)
        ready = screen.ready
        assert ready is not None

        async def work() -> None:
            await how(self.session, screen)
            await ready

        self._opening = Deferred.fromCoroutine(work()).addTimeout(seconds, clock)
        try:
            await self._opening
        except Refused as refused:
            raise Refused(self.ended or refused.reason) from None
        except (CancelledError, TookTooLong, ConnectError, DNSLookupError, OSError, ValueError):
            # ValueError: a name that cannot be one of a host.
            raise Refused(self.ended or Reason.UNREACHABLE) from None
        finally:
            self._opening = None
            if not ready.called:
                ready.addErrback(lambda _: None)
        if self.ended is not None:
            raise Refused(self.ended)
        self._reached = True

    def start(self, typed: bytes) -> None:
        """Both sides are authenticated: let the bytes go.

        :param typed: what the viewer has sent already beyond its handshake.
        """
        screen, viewer = self.screen, self.viewer
        assert screen is not None and self.ended is None
        self.started = True
        shown = screen.start(self)
        screen.transport.registerProducer(viewer.transport, True)
        viewer.transport.registerProducer(screen.transport, True)
        if typed:
            self.from_viewer(typed)
        if shown:
            self.from_screen(shown)
        screen.transport.resumeProducing()

    def from_viewer(self, data: bytes) -> None:
        """Hand on what the viewer has sent."""
        if self.ended is None:
            self.bytes_in += len(data)
            self.screen.transport.write(data)  # type: ignore[union-attr]

    def screen_takes_more(self) -> bool:
        """Whether the screen takes what the viewer sends; if not, the viewer is to wait."""
        return self.screen is None or not getattr(self.screen.transport, "producerPaused", False)

    def from_screen(self, data: bytes) -> None:
        """Hand on what the screen has sent."""
        if self.ended is None:
            self.bytes_out += len(data)
            self._send(data)

    def end(self, reason: Reason) -> None:
        """Let both ends go; the first reason counts."""
        if self.ended is not None:
            return
        self.ended = reason
        if self._opening is not None:
            self._opening.cancel()
        if self.screen is not None:
            self.screen.leave()
        if self._reached:
            self.viewer.leave(reason)
        self._on_end(self)

    def _screen_left(self) -> None:
        # While it is being reached, what is wrong with it is told by that.
        if self._reached:
            self.end(Reason.SCREEN_LEFT)

    def described(self) -> OpenSession:
        """For a list."""
        return OpenSession(
            self.session,
            self.viewer.client,
            self.viewer.kind,
            self.opened_at,
            self.bytes_in,
            self.bytes_out,
        )
