"""Both ends of a console, written apart from the proxy: a viewer, and a screen in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.python.failure import Failure

WAIT_SECONDS = 60.0
WIDTH, HEIGHT, NAME = 4, 3, b"memory"
#: 32 bits a pixel, 24 of them used, true color, little-endian (RFC 6143, section 7.4).
PIXEL_FORMAT = bytes([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0])
PIXELS = bytes(range(WIDTH * HEIGHT * 4))
VERSIONS = (3, 7, 8)


def des(password: bytes, challenge: bytes) -> bytes:
    """The answer to a challenge, worked out bit by bit."""
    key = bytes(int(f"{each:08b}"[::-1], 2) for each in password[:8].ljust(8, b"\0"))
    encryptor = Cipher(TripleDES(key + key + key), modes.ECB()).encryptor()
    return encryptor.update(challenge) + encryptor.finalize()


async def until(holds: Callable[[], Any], what: str) -> None:
    """Let the reactor turn until something holds."""
    end = reactor.seconds() + WAIT_SECONDS
    while not holds():
        assert reactor.seconds() < end, f"never: {what}"
        await task.deferLater(reactor, 0.002)


async def turn() -> None:
    """Let the reactor turn."""
    await task.deferLater(reactor, 0.001)


class Closed(Exception):
    """The other end has closed the connection; the argument is what had come before."""


class Wire(Protocol):
    """A connection that is read like a file."""

    transport: Any

    def __init__(self) -> None:
        self.received = bytearray()
        self.closed = False
        self._waiting: tuple[int, Deferred[bytes]] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._serve()

    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008
        self.closed = True
        self._serve()

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    async def read(self, count: int) -> bytes:
        """So many bytes; raises :exc:`Closed` when they do not come any more."""
        assert self._waiting is None
        got: Deferred[bytes] = Deferred()
        self._waiting = (count, got)
        self._serve()
        return await got.addTimeout(WAIT_SECONDS, reactor)

    async def read_all(self) -> bytes:
        """Everything until the other end closes."""
        await until(lambda: self.closed, "the connection is closed")
        return bytes(self.received)

    async def close(self) -> None:
        """Close, and wait until that is done."""
        if not self.closed:
            self.transport.abortConnection()
        await until(lambda: self.closed, "the connection is closed")

    def _serve(self) -> None:
        if self._waiting is None:
            return
        count, got = self._waiting
        if len(self.received) >= count:
            self._waiting = None
            piece = bytes(self.received[:count])
            del self.received[:count]
            got.callback(piece)
        elif self.closed:
            self._waiting = None
            got.errback(Closed(bytes(self.received)))


async def dial(port: int) -> Wire:
    """Connect to a port of the loopback."""
    return await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), Wire())


class Refusal(Exception):
    """The server did not let a viewer in; the argument is its reason, if it gave one."""


async def log_in(
    wire: Wire, version: int = 8, password: bytes = b"", tls: bool = False
) -> tuple[int, int, bytes]:
    """Be a viewer until the screen's size is known.

    :return: width, height and name.
    :raise Refusal: when the server says no.
    """
    greeting = await wire.read(12)
    assert greeting == b"RFB 003.008\n"
    wire.write(b"RFB 003.00%d\n" % version)
    if version == 3:
        chosen = int.from_bytes(await wire.read(4), "big")
        if chosen == 0:
            raise Refusal(await _text(wire))
    else:
        count = (await wire.read(1))[0]
        if count == 0:
            raise Refusal(await _text(wire))
        offers = await wire.read(count)
        chosen = 19 if tls else 2 if 2 in offers else offers[0]
        assert chosen in offers
        wire.write(bytes([chosen]))
    if chosen == 19:
        await _vencrypt(wire)
    if chosen in (2, 19):
        wire.write(des(password, await wire.read(16)))
    if chosen in (2, 19) or version == 8:
        result = int.from_bytes(await wire.read(4), "big")
        if result:
            raise Refusal(await _text(wire) if version == 8 else "")
    wire.write(b"\1")
    head = await wire.read(24)
    name = await wire.read(int.from_bytes(head[20:], "big"))
    return int.from_bytes(head[:2], "big"), int.from_bytes(head[2:4], "big"), name


async def look(wire: Wire, width: int, height: int) -> bytes:
    """The pixels of the whole screen, as a viewer that knows nothing but raw pixels sees them."""
    wire.write(b"\0\0\0\0" + PIXEL_FORMAT)
    wire.write(b"\2\0\0\1" + (0).to_bytes(4, "big"))
    wire.write(b"\3\0" + bytes(4) + width.to_bytes(2, "big") + height.to_bytes(2, "big"))
    while True:
        kind = (await wire.read(1))[0]
        if kind == 0:
            break
        assert kind in (2, 3), kind
        if kind == 3:
            await wire.read(3)
            await wire.read(int.from_bytes(await wire.read(4), "big"))
    count = int.from_bytes((await wire.read(3))[1:], "big")
    pixels = b""
    for _ in range(count):
        rectangle = await wire.read(12)
        assert rectangle[8:] == bytes(4)
        wide, high = (int.from_bytes(rectangle[at : at + 2], "big") for at in (4, 6))
        pixels += await wire.read(wide * high * 4)
    return pixels


async def _text(wire: Wire) -> str:
    return (await wire.read(int.from_bytes(await wire.read(4), "big"))).decode()


async def _vencrypt(wire: Wire) -> None:
    assert await wire.read(2) == b"\0\2"
    wire.write(b"\0\2")
    assert await wire.read(1) == b"\0"
    count = (await wire.read(1))[0]
    kinds = [int.from_bytes(await wire.read(4), "big") for _ in range(count)]
    assert kinds == [261]
    wire.write((261).to_bytes(4, "big"))
    assert await wire.read(1) == b"\1"
    wire.transport.startTLS(CertificateOptions(verify=False))


class MemoryScreen(Factory):
    """A screen that shows always the same, and remembers what was sent to it.

    :param version: the minor version that it greets with: 3, 7 or 8.
    :param offers: its security types.
    :param password: for VNC authentication.
    :param reason: refuse whoever comes, with this text.
    :ivar typed: what came after the handshake of each connection.
    """

    noisy = False

    def __init__(
        self,
        version: int = 8,
        offers: bytes = b"\1",
        password: bytes = b"",
        reason: bytes | None = None,
        greeting: bytes | None = None,
    ) -> None:
        self.version = version
        self.offers = offers
        self.password = password
        self.reason = reason
        self.greeting = greeting if greeting is not None else b"RFB 003.00%d\n" % version
        self.connections: list[Wire] = []
        self.typed: list[bytearray] = []
        self.inside = 0
        #: What is done after the handshake, instead of showing a picture.
        self.then: Callable[[Wire], Awaitable[None]] | None = None

    def buildProtocol(self, address: Any) -> Wire:
        wire = _ScreenWire(self)
        self.connections.append(wire)
        return wire

    async def serve(self, wire: Wire) -> None:
        """The server's side of RFB."""
        wire.write(self.greeting)
        version = int((await wire.read(12))[8:11])
        assert version <= self.version
        word = (0).to_bytes(4, "big")
        if self.reason is not None:
            wire.write(word if version == 3 else b"\0")
            wire.write(len(self.reason).to_bytes(4, "big") + self.reason)
            wire.transport.loseConnection()
            return
        if version == 3:
            chosen = self.offers[0]
            wire.write(chosen.to_bytes(4, "big"))
        else:
            wire.write(bytes([len(self.offers)]) + self.offers)
            chosen = (await wire.read(1))[0]
            assert chosen in self.offers
        if chosen == 2:
            challenge = bytes(range(16))
            wire.write(challenge)
            if await wire.read(16) != des(self.password, challenge):
                wire.write(b"\0\0\0\1" + (b"\0\0\0\5wrong" if version == 8 else b""))
                wire.transport.loseConnection()
                return
        if chosen == 2 or version == 8:
            wire.write(word)
        typed = bytearray()
        self.typed.append(typed)
        self.inside += 1
        typed += await wire.read(1)
        size = WIDTH.to_bytes(2, "big") + HEIGHT.to_bytes(2, "big")
        wire.write(size + PIXEL_FORMAT + len(NAME).to_bytes(4, "big") + NAME)
        if self.then is not None:
            await self.then(wire)
            return
        while True:
            typed += await wire.read(1)
            if typed.endswith(b"\3\0" + bytes(4) + size):
                wire.write(b"\0\0\0\1" + bytes(4) + size + bytes(4) + PIXELS)


class _ScreenWire(Wire):
    def __init__(self, screen: MemoryScreen) -> None:
        super().__init__()
        self._screen = screen

    def connectionMade(self) -> None:
        serving = Deferred.fromCoroutine(self._screen.serve(self))
        serving.addErrback(lambda failure: failure.trap(Closed) and None)
