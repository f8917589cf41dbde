"""The screens of simulated machines: RFB as viewers of all ages speak it, while a machine runs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport

from cyclades_tx.ganeti.simulator import MemoryGaneti
from cyclades_tx.ganeti.simulator.picture import COLORS, HEIGHT, WHOLE, WIDTH, Picture, PixelFormat
from cyclades_tx.ganeti.simulator.screens import Screens, _Machine
from cyclades_tx.ganeti.simulator.values import SimInstance

BIG = PixelFormat(32, True, (255, 255, 255), (16, 8, 0))
_HEAD = 4
_RECTANGLE = 12


class Viewer:
    """A viewer at a machine's screen."""

    def __init__(self, clock: Clock) -> None:
        self.machine = _Machine(clock, "snf-7")
        self.screen = self.machine.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        self.transport = StringTransport()
        self.screen.makeConnection(self.transport)

    def take(self) -> bytes:
        """What the screen has sent."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def say(self, data: bytes) -> bytes:
        """Send something, a byte at a time; what comes back."""
        for number in data:
            self.screen.dataReceived(bytes([number]))
        return self.take()

    def greet(self, version: bytes = b"RFB 003.008\n") -> bytes:
        """Shake hands; what the screen says of itself."""
        assert self.take() == b"RFB 003.008\n"
        said = self.say(version)
        if version == b"RFB 003.003\n":
            assert said == struct.pack(">I", 1)
        else:
            assert said == b"\x01\x01"
            result = self.say(b"\x01")
            assert result == (bytes(4) if version == b"RFB 003.008\n" else b"")
        return self.say(b"\x01")


@pytest.fixture
def viewer() -> Iterator[Viewer]:
    """A viewer that has connected."""
    made = Viewer(Clock())
    yield made
    made.machine.stop()


@pytest.mark.parametrize("version", ["003.003", "003.007", "003.008"])
def test_viewers_of_every_version_are_told_size_and_name(viewer: Viewer, version: str) -> None:
    """Without a password."""
    said = viewer.greet(f"RFB {version}\n".encode())
    assert struct.unpack(">HH", said[:4]) == (WIDTH, HEIGHT)
    assert said[24:] == b"snf-7 (simulated)"


def test_whole_picture_comes_in_the_viewer_s_own_format(viewer: Viewer) -> None:
    """Sixteen bits and eight, too."""
    viewer.greet()
    ask = b"\x03" + struct.pack(">BHHHH", 0, 0, 0, WIDTH, HEIGHT)
    for bits, maxima, shifts in ((32, (255,) * 3, (16, 8, 0)), (16, (31, 63, 31), (11, 5, 0)),
                                 (8, (7, 7, 3), (0, 3, 6))):  # fmt: skip
        form = struct.pack(">BBBBHHHBBB3x", bits, bits, 1, 1, *maxima, *shifts)
        viewer.say(b"\x00" + bytes(3) + form)
        said = viewer.say(ask)
        assert struct.unpack(">BxH", said[:_HEAD]) == (0, 1)
        points = said[_HEAD + _RECTANGLE :]
        assert len(points) == WIDTH * HEIGHT * bits // 8
        assert len(set(struct.iter_unpack(f">{bits // 8}s", points))) >= 8


def test_what_moves_and_what_is_typed_comes_when_it_is_asked_for(viewer: Viewer) -> None:
    """Only the parts that have changed; an old question is answered later."""
    clock: Any = viewer.machine._clock
    viewer.greet()
    more = b"\x03" + struct.pack(">BHHHH", 1, 0, 0, WIDTH, HEIGHT)
    assert viewer.say(more) == b""
    clock.advance(0.25)
    said = viewer.take()
    assert 0 < len(said) < WIDTH * HEIGHT
    viewer.say(more)
    assert viewer.say(b"\x04\x01\0\0" + struct.pack(">I", ord("a"))) != b""
    viewer.say(more)
    assert viewer.say(b"\x04\x00\0\0" + struct.pack(">I", ord("a"))) == b""


def test_nothing_is_drawn_for_nobody() -> None:
    """A machine that nobody looks at costs nothing."""
    clock = Clock()
    viewer = Viewer(clock)
    assert clock.getDelayedCalls()
    viewer.screen.connectionLost()
    clock.advance(1)
    assert not clock.getDelayedCalls()


@given(st.lists(st.binary(max_size=64), max_size=12))
@settings(max_examples=150)
def test_strangers_cannot_upset_it(pieces: list[bytes]) -> None:
    """Whatever they send, before or after the greeting."""
    for greets in (False, True):
        viewer = Viewer(Clock())
        if greets:
            viewer.greet()
        for piece in pieces:
            if not viewer.transport.disconnecting:
                viewer.screen.dataReceived(piece)
        viewer.machine.stop()


def test_longer_names_and_odd_characters_are_drawn() -> None:
    """A picture has its whole size, whatever the name."""
    for name in ("snf-1", "x" * 200, "é\0\U0001f600", ""):
        picture = Picture(name)
        assert len(picture.part(WHOLE, BIG.tables())) == WIDTH * HEIGHT * 4
        for number in range(200):
            assert picture.advance(number)
    assert BIG.tables()[1][1] == COLORS[1][0]


def test_screen_is_there_while_its_machine_runs() -> None:
    """At the node's address, which belongs to this cluster alone."""
    reactor: Any = MemoryReactorClock()
    ganeti = MemoryGaneti(reactor, "g", nodes=2)
    machine = SimInstance("snf-1", "u", "node2.g", "os", "file", 1, 1, network_port=11005)
    ganeti.by_hand.put_all([machine])
    screens = Screens(reactor, ganeti)
    screens.start(IPv4Address("TCP", "127.0.0.1", 0x1234))
    assert ganeti.inventory.nodes["node2.g"].address == "127.18.52.3"
    assert reactor.tcpServers == []
    ganeti._set("snf-1", running=True)
    ((port, _, _, interface),) = reactor.tcpServers
    assert (port, interface) == (11005, "127.18.52.3")
    ganeti._set("snf-1", running=True)
    assert len(reactor.tcpServers) == 1
    assert len(screens._shown) == 1
    ganeti.kill_instance("snf-1")
    assert screens._shown == {}
    ganeti._set("snf-1", running=True)
    ganeti.drop_instance("snf-1")
    assert screens._shown == {}
    screens.stop()
    ganeti.stop()
