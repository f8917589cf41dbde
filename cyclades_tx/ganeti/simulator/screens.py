"""The screens of simulated machines: a small VNC server for each that runs (RFC 6143).

They let everybody in, as Ganeti's do: who may look is the business of whoever is in front.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from cyclades_tx.ganeti.simulator.memory import MemoryGaneti
from cyclades_tx.ganeti.simulator.picture import (
    HEIGHT,
    USUAL,
    WHOLE,
    WIDTH,
    Box,
    Picture,
    PixelFormat,
)
from cyclades_tx.ganeti.simulator.values import SimInstance

_FRAME_SECONDS = 0.25
_MOST_TEXT_BYTES = 65_536
_VERSIONS = {b"RFB 003.003\n": 3, b"RFB 003.007\n": 7, b"RFB 003.008\n": 8}


class _Stranger(Exception):
    """What was sent is not RFB."""


class MemoryScreen(Protocol):
    """One viewer at a screen."""

    transport: Any
    factory: _Machine

    def __init__(self) -> None:
        self._waiting = b""
        self._needed = 0
        self._talk: Generator[int, bytes, None] = self._conversation()
        self._tables = USUAL.tables()
        self._changed: dict[Box, None] = {}
        self._asked = False
        self._ready = False

    def connectionMade(self) -> None:
        """Greet."""
        self.factory.join(self)
        self._needed = next(self._talk)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Be forgotten."""
        self.factory.viewers.discard(self)

    def dataReceived(self, data: bytes) -> None:
        """Read on, by length."""
        self._waiting += data
        try:
            while len(self._waiting) >= self._needed:
                taken, self._waiting = (
                    self._waiting[: self._needed],
                    self._waiting[self._needed :],
                )
                self._needed = self._talk.send(taken)
        except _Stranger:
            self.transport.abortConnection()

    def changed(self, boxes: Iterable[Box]) -> None:
        """Remember what the viewer has not seen yet; send it if that is waited for."""
        if self._ready:
            self._changed |= dict.fromkeys(boxes)
            self._send()

    def _conversation(self) -> Generator[int, bytes, None]:
        self.transport.write(b"RFB 003.008\n")
        version = _VERSIONS.get((yield 12))
        if version is None:
            raise _Stranger
        if version == 3:
            self.transport.write(struct.pack(">I", 1))
        else:
            self.transport.write(b"\x01\x01")
            if (yield 1) != b"\x01":
                raise _Stranger
            if version == 8:
                self.transport.write(bytes(4))
        yield 1
        name = self.factory.title.encode()
        self.transport.write(
            struct.pack(">HH", WIDTH, HEIGHT)
            + struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, *USUAL.maxima, *USUAL.shifts)
            + struct.pack(">I", len(name))
            + name
        )
        self._ready = True
        while True:
            yield from self._message((yield 1)[0])

    def _message(self, kind: int) -> Generator[int, bytes, None]:
        if kind == 0:
            self._tables = _format((yield 19)[3:]).tables()
        elif kind == 2:
            (count,) = struct.unpack(">xH", (yield 3))
            if count:
                yield 4 * count
        elif kind == 3:
            incremental = (yield 9)[0]
            if not incremental:
                self._changed = {WHOLE: None}
            self._asked = True
            self._send()
        elif kind == 4:
            down, key = struct.unpack(">B2xI", (yield 7))
            if down:
                self.factory.press(key)
        elif kind == 5:
            yield 5
        elif kind == 6:
            (length,) = struct.unpack(">3xI", (yield 7))
            if length > _MOST_TEXT_BYTES:
                raise _Stranger
            if length:
                yield length
        else:
            raise _Stranger

    def _send(self) -> None:
        if not self._asked or not self._changed:
            return
        boxes = [WHOLE] if WHOLE in self._changed else list(self._changed)
        self._changed.clear()
        self._asked = False
        self.transport.write(
            struct.pack(">BxH", 0, len(boxes))
            + b"".join(
                struct.pack(">HHHHi", *box, 0) + self.factory.picture.part(box, self._tables)
                for box in boxes
            )
        )


class _Machine(Factory):
    """The screen of one machine, while it runs."""

    protocol: Any = MemoryScreen
    noisy = False

    def __init__(self, clock: Any, name: str) -> None:
        self.title = f"{name} (simulated)"
        self.picture = Picture(name)
        self.viewers: set[MemoryScreen] = set()
        self._clock = clock
        self._since = clock.seconds()
        self._next: IDelayedCall | None = None

    def join(self, viewer: MemoryScreen) -> None:
        """Somebody looks: what moves is drawn from now on."""
        self.viewers.add(viewer)
        if self._next is None:
            self._next = self._clock.callLater(_FRAME_SECONDS, self._move)

    def press(self, key: int) -> None:
        """Show a key."""
        self._tell(self.picture.press(key))

    def stop(self) -> None:
        """Turn it off."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        for viewer in list(self.viewers):
            viewer.transport.abortConnection()

    def _move(self) -> None:
        self._next = None
        if self.viewers:
            self._next = self._clock.callLater(_FRAME_SECONDS, self._move)
            self._tell(self.picture.advance(int(self._clock.seconds() - self._since)))

    def _tell(self, boxes: tuple[Box, ...]) -> None:
        for viewer in list(self.viewers):
            viewer.changed(boxes)


class Screens:
    """Keeps a screen at the node address and port of each machine that runs.

    :param ganeti: the cluster whose machines they are.
    """

    log = Logger()

    def __init__(self, reactor: Any, ganeti: MemoryGaneti) -> None:
        self._reactor = reactor
        self._ganeti = ganeti
        self._shown: dict[str, tuple[str, int, _Machine, IListeningPort]] = {}

    def start(self, address: Any) -> None:
        """Show the machines that run now, and those that come to.

        :param address: where the cluster's RAPI listens; it makes the nodes' addresses, of the
            loopback, so that the ports of two clusters never meet.
        """
        has = self._ganeti.inventory
        if isinstance(address, IPv4Address):
            for number, name in enumerate(has.nodes, 1):
                host = f"127.{address.port >> 8}.{address.port & 255}.{1 + number % 250}"
                self._ganeti.set_node(name, address=host)
        has.changed = self._look
        for name in list(has.instances):
            self._look(name)

    def stop(self) -> None:
        """Turn every screen off."""
        self._ganeti.inventory.changed = None
        for name in list(self._shown):
            self._hide(name)

    def _look(self, name: str) -> None:
        has = self._ganeti.inventory
        instance = has.instances.get(name)
        wanted = None if instance is None else self._place(instance)
        shown = self._shown.get(name)
        if shown is not None and wanted != shown[:2]:
            self._hide(name)
        if wanted is not None and name not in self._shown:
            self._show(name, *wanted)

    def _place(self, instance: SimInstance) -> tuple[str, int] | None:
        node = self._ganeti.inventory.nodes.get(instance.pnode)
        if not instance.running or instance.network_port is None or node is None or node.offline:
            return None
        return node.address, instance.network_port

    def _show(self, name: str, host: str, port: int) -> None:
        machine = _Machine(self._reactor, name)
        try:
            listening = self._reactor.listenTCP(port, machine, interface=host)
        except CannotListenError as error:
            machine.stop()
            self.log.warn("The screen of {name} cannot be shown: {why}", name=name, why=str(error))
            return
        self._shown[name] = (host, port, machine, listening)

    def _hide(self, name: str) -> None:
        _, _, machine, listening = self._shown.pop(name)
        listening.stopListening()
        machine.stop()


def _format(data: bytes) -> PixelFormat:
    """Read a pixel format.

    :raise _Stranger: for one with a palette, or an odd size.
    """
    bits, _, big, true, red, green, blue, *shifts = struct.unpack(">BBBBHHHBBB3x", data)
    if bits not in (8, 16, 32) or not true or any(shift > 31 for shift in shifts):
        raise _Stranger
    return PixelFormat(bits, bool(big), (red, green, blue), (shifts[0], shifts[1], shifts[2]))
