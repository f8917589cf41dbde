"""``twistd`` in a reactor that measures itself: ``python -m bench.held -n cyclades_tx …``.

A turn of the reactor begins when it has stopped waiting and ends when it waits again: as long
as it lasts nobody else is served. What counts is the processor time that the reactor's thread
takes meanwhile, since another program that takes the processor away does not hold the reactor. Who
connects to the port in ``BENCH_HELD_PORT`` and sends anything is told the longest turn since
the last question, in seconds, as one line.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from typing import Any

from twisted.internet import main
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import Factory, Protocol

PORT_VARIABLE = "BENCH_HELD_PORT"
COMMAND = [sys.executable, "-m", "bench.held", "-n", "--pidfile="]


class Turns:
    """The turns between the waits of what polls.

    :param poller: an ``epoll`` object.
    """

    def __init__(self, poller: Any) -> None:
        self._poller = poller
        self._began = time.thread_time()
        self.longest_seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)

    def poll(self, *arguments: Any) -> Any:
        """Wait as the poller does."""
        self.longest_seconds = max(self.longest_seconds, time.thread_time() - self._began)
        found = self._poller.poll(*arguments)
        self._began = time.thread_time()
        return found

    def take(self) -> float:
        """The longest turn that has ended since the last call."""
        longest, self.longest_seconds = self.longest_seconds, 0.0
        return longest


class Answer(Protocol):
    """Tells the longest turn."""

    turns: Turns

    def dataReceived(self, data: bytes) -> None:
        """Answer one question."""
        self.transport.write(b"%.9f\n" % self.turns.take())  # type: ignore[union-attr]


class Asker:
    """Who asks a process that measures itself.

    :param port: on this machine.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)

    def take(self) -> float:
        """The longest turn since the last call, in seconds."""
        self._socket.sendall(b"?")
        said = b""
        while not said.endswith(b"\n"):
            piece = self._socket.recv(100)
            if not piece:
                raise ConnectionError("the service hung up")
            said += piece
        return float(said)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def install(port: int) -> None:
    """Make the reactor of this process one that measures itself."""
    reactor: Any = EPollReactor()
    Answer.turns = reactor._poller = Turns(reactor._poller)
    main.installReactor(reactor)
    reactor.callWhenRunning(
        lambda: reactor.listenTCP(port, Factory.forProtocol(Answer), interface="127.0.0.1")
    )


if __name__ == "__main__":
    install(int(os.environ[PORT_VARIABLE]))
    from twisted.scripts.twistd import run

    run()
