"""``make fuzz``: spoiled bytes from both ends of a console, in memory, for as long as one wants.

Each round is a whole life: a viewer or a browser comes, perhaps with the right secret, a screen
answers, perhaps as it should; what both send is spoiled and cut up by chance, and in the end time
passes. No round may raise or log an error, leave anything open, or carry a byte across that was
not allowed to go. A round that fails can be repeated alone: its seed is told.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from cyclades_tx.console.interfaces import Session
from cyclades_tx.console.memory import MemoryTickets
from cyclades_tx.console.proxy import ViewerPort
from cyclades_tx.console.screen import Screen
from cyclades_tx.console.sessions import Consoles
from cyclades_tx.console.websocket import WebSocketViewer
from tests.console.peers import des

SECRET, TICKET, FAR = "aB3dE6gH", "a-ticket", "farfar"
KEYS, PIXELS = b"KEYS-OF-THE-VIEWER", b"PIXELS-OF-THE-SCREEN"
_CHALLENGE = bytes(range(16))
_LONGEST_SECONDS = 100_000


class MemoryWire:
    """A transport that keeps what is written, and closes when its protocol asks for that."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.written = bytearray()
        self.closed = False
        self._closing = False
        self._producer: Any = None
        protocol.makeConnection(self)

    def write(self, data: bytes) -> None:
        assert not isinstance(data, str)
        if not self.closed:
            self.written += data

    def writeSequence(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self._producer is None and streaming
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def loseConnection(self) -> None:
        self._closing = True

    def abortConnection(self) -> None:
        self._closing = True

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None:
        self.loseConnection()

    def setTcpNoDelay(self, on: bool) -> None: ...

    def setTcpKeepAlive(self, on: bool) -> None: ...

    def settle(self) -> None:
        """Close, if that was asked for."""
        if self._closing and not self.closed:
            self.lose()

    def lose(self) -> None:
        """The other end is gone."""
        if not self.closed:
            self.closed = True
            self.protocol.connectionLost(Failure(ConnectionDone()))

    def give(self, data: bytes) -> None:
        """The other end has sent something."""
        if not self.closed and not self._closing:
            self.protocol.dataReceived(data)
        self.settle()


class Round:
    """One life.

    :param seed: what happens.
    """

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._clock = Clock()
        self._clock.advance(1e9)
        self._tickets = MemoryTickets(self._clock)
        self._consoles = Consoles(self._clock, self._tickets, self._reach)
        self._consoles.start()
        self._screens: list[MemoryWire] = []
        #: How likely a piece is spoiled.
        self._spoil = self._chance.choice((0.0, 0.05, 0.3))

    def run(self) -> None:
        """Live it; raises for what must not be."""
        chance = self._chance
        browser = chance.random() < 0.5
        secret = TICKET if browser else SECRET
        far = chance.choice((None, FAR))
        self._tickets.add("node", 1, secret, for_viewers=not browser, password=far)
        viewer = self._browser() if browser else self._viewer()
        left = [self._browser_sends(), self._viewer_sends()][not browser]
        for _ in range(60):
            for screen in self._screens:
                screen.give(self._cut(self._screen_sends(screen)))
            viewer.give(self._cut(left(viewer)))
            if chance.random() < 0.02:
                self._clock.advance(chance.choice((0.0, 1.0, 30.0)))
            self._check(viewer)
        chance.choice((viewer.lose, lambda: None))()
        for _ in range(40):
            self._clock.advance(100.0)
            for wire in (viewer, *self._screens):
                wire.settle()
        self._check(viewer)
        stopping = Deferred.fromCoroutine(self._consoles.stop())
        for _ in range(3):
            for wire in (viewer, *self._screens):
                wire.settle()
            self._clock.advance(10.0)
        assert stopping.called, "the proxy does not stop"
        assert viewer.closed and all(each.closed for each in self._screens), "left open"
        assert not self._consoles.open_sessions() and not self._clock.getDelayedCalls()
        taken = self._tickets._tickets[1].refusal is not None
        assert len(self._tickets.ends) == taken, "an end was not told, or told twice"

    def _check(self, viewer: MemoryWire) -> None:
        """Nothing goes across that was not allowed to."""
        shown, typed = PIXELS in viewer.written, any(KEYS in s.written for s in self._screens)
        if shown or typed:
            assert self._tickets._tickets[1].refusal is not None, "without a ticket"
            (screen,) = self._screens
            assert b"RFB 003." in screen.written[:12], "without the screen's handshake"

    def _reach(self, session: Session, screen: Screen) -> Deferred[Any]:
        wire = MemoryWire(screen)
        self._screens.append(wire)
        return succeed(screen)

    # What both send

    def _viewer(self) -> MemoryWire:
        port = ViewerPort(self._consoles)
        return MemoryWire(port.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)))

    def _browser(self) -> MemoryWire:
        frames = Connection(ConnectionType.SERVER)
        return MemoryWire(WebSocketViewer(self._consoles, frames, "192.0.2.1"))

    def _viewer_sends(self) -> Callable[[MemoryWire], bytes]:
        version = self._chance.choice((3, 3, 7, 8, 8, 889))
        steps = [b"RFB 003.%03d\n" % version]
        if version != 3:
            steps.append(b"\2")
        said = {"answered": False, "keys": False}

        def send(wire: MemoryWire) -> bytes:
            if steps:
                return steps.pop(0)
            needed = 12 + (4 if version == 3 else 2) + 16
            if not said["answered"] and len(wire.written) >= needed:
                said["answered"] = True
                return des(SECRET.encode(), bytes(wire.written[needed - 16 : needed]))
            if not said["keys"] and len(wire.written) >= needed + 4:
                said["keys"] = True
                return b"\1" + KEYS
            return b""

        return send

    def _browser_sends(self) -> Callable[[MemoryWire], bytes]:
        frames = Connection(ConnectionType.CLIENT)
        version = self._chance.choice((3, 7, 8))
        events = [
            TextMessage(TICKET),
            BytesMessage(b"RFB 003.00%d\n" % version + (b"" if version == 3 else b"\1")),
            Ping(b"hello"),
            BytesMessage(b"\1" + KEYS),
            self._chance.choice((CloseConnection(1000), BytesMessage(KEYS * 100))),
        ]

        def send(wire: MemoryWire) -> bytes:
            opened = b'"open"' in wire.written
            if events and (isinstance(events[0], TextMessage) or opened):
                return frames.send(events.pop(0))
            return b""

        return send

    def _screen_sends(self, wire: MemoryWire) -> bytes:
        """What a screen says next, by how much it has heard."""
        if not hasattr(wire, "steps"):
            version = self._chance.choice((3, 7, 8))
            secured = self._chance.random() < 0.5
            chosen = 2 if secured else 1
            steps = [b"RFB 003.00%d\n" % version]
            steps.append(bytes([0, 0, 0, chosen]) if version == 3 else bytes([1, chosen]))
            steps += [_CHALLENGE] if secured else []
            steps += [bytes(4)] if secured or version == 8 else []
            steps += [PIXELS, PIXELS * 50]
            wire.steps = steps  # type: ignore[attr-defined]
        steps = wire.steps  # type: ignore[attr-defined]
        if self._chance.random() < 0.3 and steps:
            step: bytes = steps.pop(0)
            return step
        return b""

    def _cut(self, data: bytes) -> bytes:
        """Spoil a piece now and then."""
        chance = self._chance
        if not data or chance.random() >= self._spoil:
            return data
        spoiled = bytearray(data)
        for _ in range(chance.choice((1, 1, 3, 20))):
            at = chance.randrange(len(spoiled) + 1)
            what = chance.random()
            if what < 0.4 and at < len(spoiled):
                spoiled[at] = chance.randrange(256)
            elif what < 0.6:
                spoiled[at:at] = chance.randbytes(chance.choice((1, 4, 100)))
            elif what < 0.8:
                del spoiled[at : at + chance.choice((1, 5))]
            elif what < 0.95:
                spoiled[at:at] = bytes(spoiled)[: chance.choice((1, 12, 70_000))]
            else:
                spoiled[at:at] = chance.randbytes(5000)
        return bytes(spoiled)


def run(first: int, rounds: int | None, seconds: float = _LONGEST_SECONDS) -> int:
    """Live many rounds; return how many.

    :param rounds: how many; None: as many as there is time for.
    :raise AssertionError: names the seed that fails.
    """
    errors: list[str] = []

    def watch(event: Any) -> None:
        if event.get("log_level", LogLevel.info) >= LogLevel.error or event.get("isError"):
            failure = event.get("log_failure")
            errors.append(failure.getTraceback() if failure else str(formatEvent(event)))

    globalLogPublisher.addObserver(watch)
    end = time.monotonic() + seconds
    done = 0
    try:
        while (rounds is None or done < rounds) and time.monotonic() < end:
            seed = first + done
            try:
                Round(seed).run()
                assert not errors, errors[0]
            except Exception as error:
                raise AssertionError(f"seed {seed}: {error!r}") from error
            done += 1
    finally:
        globalLogPublisher.removeObserver(watch)
    return done


def main() -> None:
    """Fuzz for some time."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    said = parser.parse_args()
    print(f"fuzzing for {said.seconds:.0f} s from seed {said.seed} on", flush=True)
    print(f"{run(said.seed, None, said.seconds)} rounds, nothing found")


if __name__ == "__main__":
    sys.exit(main())
