"""The body of a reply, handed on while it comes."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from cyclades_tx.image_store.pieces import Pieces


class Body(Protocol):
    """Hands a body on.

    :ivar pieces: its bytes.
    """

    transport: Any

    def __init__(self) -> None:
        self.pieces = Pieces(self._hold, self._go_on)
        self._over = False

    def dataReceived(self, data: bytes) -> None:
        """Hand it on."""
        self.pieces.feed(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Whole only if the other side said so: by length, or by the last chunk."""
        self._over = True
        if reason.check(ResponseDone):
            self.pieces.end()
        else:
            self.pieces.cut()

    def close(self) -> None:
        """Let go of the connection, at once.

        TLS ends a connection when the other side has agreed, and who was told to pause is not
        heard: it would stay for ever.
        """
        if not self._over and self.transport is not None:
            connection = getattr(self.transport, "_producer", None)
            abort = getattr(connection, "abortConnection", self.transport.loseConnection)
            abort()
        self.pieces.cut()

    def _hold(self) -> None:
        self.transport.pauseProducing()

    def _go_on(self) -> None:
        if not self._over:
            self.transport.resumeProducing()
