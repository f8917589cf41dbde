"""The port for viewers: who gets in, what goes across, and what ends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from cyclades_tx.console.interfaces import (
    SENTENCES,
    ISessions,
    ITickets,
    Reason,
    Refused,
    Session,
    Waiting,
)
from tests.console.peers import (
    HEIGHT,
    NAME,
    PIXELS,
    VERSIONS,
    WIDTH,
    Closed,
    MemoryScreen,
    Refusal,
    Wire,
    des,
    log_in,
    look,
    turn,
    until,
)
from tests.console.proxied import SECRET, Proxy, certificate
from tests.real.ports import free_port

MEBIBYTE = 1_048_576
PASSWORD = SECRET.encode()


async def refusal(wire: Wire, **how: Any) -> str:
    """What a viewer is told that is not let in; the connection is closed then."""
    with pytest.raises(Refusal) as caught:
        await log_in(wire, **{"password": PASSWORD, **how})
    await until(lambda: wire.closed, "the connection is closed")
    assert not wire.received
    return str(caught.value)


async def opened(proxy: Proxy, port: int, screen: MemoryScreen, **fields: Any) -> tuple[Wire, int]:
    """An open console with a screen of its own: the viewer's wire, and the session's id."""
    number = proxy.ticket(proxy.show(screen), **fields)
    wire = await proxy.dial(port)
    assert await log_in(wire, password=fields.get("secret", SECRET).encode())
    return wire, number


async def test_the_doors_are_as_declared(proxy: Proxy) -> None:
    """What the other rooms rely on."""
    verifyObject(ITickets, proxy.tickets)
    verifyObject(ISessions, proxy.consoles)
    assert SENTENCES.keys() == set(Reason)
    # The longest reason of a WebSocket's end.
    assert all(len(f"{word}: {text}".encode()) <= 123 for word, text in SENTENCES.items())


@pytest.mark.parametrize("screen_version", VERSIONS)
@pytest.mark.parametrize("viewer_version", VERSIONS)
@pytest.mark.parametrize("far_password", ["", "farfar"])
async def test_a_viewer_sees_the_screen(
    proxy: Proxy, viewer_version: int, screen_version: int, far_password: str
) -> None:
    """Whichever versions the two speak, and whether or not the screen wants a password."""
    screen = MemoryScreen(screen_version, b"\2" if far_password else b"\1", far_password.encode())
    number = proxy.ticket(proxy.show(screen), password=far_password or None, user_id="u")
    wire = await proxy.dial(proxy.open_port())
    assert await log_in(wire, viewer_version, PASSWORD) == (WIDTH, HEIGHT, NAME)
    assert await look(wire, WIDTH, HEIGHT) == PIXELS
    (seen,) = proxy.consoles.open_sessions()
    assert (seen.session.id, seen.session.user_id, seen.kind) == (number, "u", "vnc")
    assert seen.client == "127.0.0.1" and seen.bytes_out > len(PIXELS) and seen.bytes_in
    await wire.close()
    assert await proxy.ended(number) is Reason.VIEWER_LEFT
    (end,) = proxy.tickets.ends
    assert end[2:] == (len(screen.typed[0]), seen.bytes_out)


async def test_a_viewer_over_tls_sees_the_screen(proxy: Proxy) -> None:
    """VeNCrypt with a certificate; one that wants to go without is let in where that is allowed."""
    proxy.ticket(proxy.show())
    proxy.ticket(proxy.show(), "another1")
    port = proxy.open_port(tls=certificate())
    wire = await proxy.dial(port)
    assert await log_in(wire, 8, PASSWORD, tls=True) == (WIDTH, HEIGHT, NAME)
    assert await look(wire, WIDTH, HEIGHT) == PIXELS
    assert await log_in(await proxy.dial(port), 7, b"another1")


@pytest.mark.parametrize("version", (7, 8))
async def test_nothing_but_tls_where_that_is_wanted(proxy: Proxy, version: int) -> None:
    """A viewer without it is told so, or finds no offer that it knows."""
    number = proxy.ticket(proxy.show())
    port = proxy.open_port(tls=certificate(), clear=False)
    wire = await proxy.dial(port)
    await wire.read(12)
    wire.write(b"RFB 003.00%d\n" % version)
    assert await wire.read(2) == b"\1\x13"
    wire.write(b"\2")
    assert (await wire.read_all()).startswith(b"\0\0\0\1")
    assert "TLS" in await refusal(await proxy.dial(port), version=3)
    tls = await proxy.dial(port)
    assert await log_in(tls, version, PASSWORD, tls=True)
    assert [each.session.id for each in proxy.consoles.open_sessions()] == [number]


async def test_what_is_sent_in_clear_before_tls_is_not_believed(proxy: Proxy) -> None:
    """Or somebody on the line could put words into a viewer's mouth."""
    proxy.ticket(proxy.show())
    wire = await proxy.dial(proxy.open_port(tls=certificate()))
    await wire.read(12)
    wire.write(b"RFB 003.008\n\x13\0\2" + (261).to_bytes(4, "big") + bytes(16))
    await wire.read_all()
    assert not proxy.tickets.ends


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_wrong_password_is_refused(proxy: Proxy, version: int) -> None:
    """The ticket is still good afterwards, for its owner."""
    screen = MemoryScreen()
    proxy.ticket(proxy.show(screen))
    port = proxy.open_port()
    told = await refusal(await proxy.dial(port), version=version, password=b"aB3dE6gX")
    assert told == (SENTENCES[Reason.WRONG_PASSWORD] if version == 8 else "")
    assert not screen.connections
    assert await log_in(await proxy.dial(port), version, PASSWORD)


@pytest.mark.parametrize("why", [Reason.NOT_ALLOWED, Reason.NOT_RUNNING, Reason.MOVED])
async def test_a_ticket_without_a_right_is_refused(proxy: Proxy, why: Reason) -> None:
    """Each with its own sentence, and the screen never hears of it."""
    screen = MemoryScreen()
    proxy.tickets.spoil(proxy.ticket(proxy.show(screen)), why)
    assert await refusal(await proxy.dial(proxy.open_port())) == SENTENCES[why]
    assert not screen.connections


async def test_a_ticket_is_good_once(proxy: Proxy) -> None:
    """Also while its console is open; and not after its time."""
    screen = MemoryScreen()
    port = proxy.open_port()
    await opened(proxy, port, screen)
    assert await refusal(await proxy.dial(port)) == SENTENCES[Reason.USED]
    proxy.ticket(proxy.show(), "another1")
    proxy.clock.advance(61)
    told = await refusal(await proxy.dial(port), password=b"another1")
    assert told == SENTENCES[Reason.TICKET_EXPIRED]
    assert len(screen.connections) == 1


async def test_each_password_opens_its_own_screen(proxy: Proxy) -> None:
    """Of many that wait."""
    seen = []
    for number in range(300):
        screen = MemoryScreen()
        if number % 100 == 50:
            seen.append((screen, f"secret{number:02}"))
            proxy.ticket(proxy.show(screen), seen[-1][1])
        else:
            proxy.tickets.add("127.0.0.1", 1, f"other{number:03}")
    port = proxy.open_port()
    for screen, secret in reversed(seen):
        wire = await proxy.dial(port)
        logging_in = Deferred.fromCoroutine(log_in(wire, 8, secret.encode()))
        while not logging_in.called:
            # The password are tried in several turns.
            proxy.clock.advance(0)
            await turn()
        await logging_in
        assert screen.inside == 1


async def test_too_many_wrong_passwords_are_not_looked_at(make_proxy: Any) -> None:
    """Not even a right one, until the window is over."""
    proxy = make_proxy(tries=3, tries_window_seconds=300.0)
    port = proxy.open_port()
    for _ in range(3):
        told = await refusal(await proxy.dial(port), password=b"wrong")
        assert told == SENTENCES[Reason.WRONG_PASSWORD]
    proxy.ticket(proxy.show())
    for version in (3, 7, 8):
        told = await refusal(await proxy.dial(port), version=version)
        assert told == SENTENCES[Reason.TOO_MANY_TRIES]
    proxy.clock.advance(300)
    proxy.ticket(proxy.show(), "another1")
    assert await log_in(await proxy.dial(port), 8, b"another1")


@pytest.mark.parametrize(
    ("screen", "reason"),
    [
        (MemoryScreen(reason=b"too many clients"), Reason.FAR_REFUSED),
        (MemoryScreen(version=3, reason=b"no"), Reason.FAR_REFUSED),
        (MemoryScreen(offers=b"\2", password=b"unknown"), Reason.FAR_REFUSED),
        (MemoryScreen(offers=b"\x10\x13"), Reason.FAR_REFUSED),
        (MemoryScreen(greeting=b"SSH-2.0-Open"), Reason.FAR_SPEAKS_NOT),
        (MemoryScreen(greeting=b"RFB 000.000\n"), Reason.FAR_SPEAKS_NOT),
    ],
    ids=["refuses", "refuses-3.3", "wants-a-password", "other-security", "no-rfb", "repeater"],
)
async def test_a_screen_that_lets_nobody_in(
    proxy: Proxy, screen: MemoryScreen, reason: Reason
) -> None:
    """The viewer is told, in words that give nothing of the node away."""
    number = proxy.ticket(proxy.show(screen))
    assert await refusal(await proxy.dial(proxy.open_port())) == SENTENCES[reason]
    assert await proxy.ended(number) is reason


async def test_a_screen_that_wants_another_password(proxy: Proxy) -> None:
    """That of the session is tried, once."""
    screen = MemoryScreen(offers=b"\2", password=b"right")
    number = proxy.ticket(proxy.show(screen), password="wrong")
    told = await refusal(await proxy.dial(proxy.open_port()))
    assert told == SENTENCES[Reason.FAR_REFUSED]
    assert await proxy.ended(number) is Reason.FAR_REFUSED


async def test_a_screen_that_is_known_by_name(proxy: Proxy) -> None:
    """It is looked up, and all of its addresses are tried."""
    proxy.tickets.add("localhost", proxy.show(), SECRET)
    wire = await proxy.dial(proxy.open_port())
    assert await log_in(wire, 8, PASSWORD) == (WIDTH, HEIGHT, NAME)
    assert await look(wire, WIDTH, HEIGHT) == PIXELS


async def test_no_screen_there(proxy: Proxy) -> None:
    """Nobody listens, or the name leads nowhere."""
    port = proxy.open_port()
    number = proxy.ticket(free_port())
    assert await refusal(await proxy.dial(port)) == SENTENCES[Reason.UNREACHABLE]
    assert await proxy.ended(number) is Reason.UNREACHABLE
    proxy.tickets.add("no..such host", 5900, "another1")
    told = await refusal(await proxy.dial(port), password=b"another1")
    assert told == SENTENCES[Reason.UNREACHABLE]


async def test_a_screen_that_says_nothing(proxy: Proxy) -> None:
    """It is waited for so long, and no longer."""
    screen = MemoryScreen(greeting=b"")
    number = proxy.ticket(proxy.show(screen))
    asking = Deferred.fromCoroutine(refusal(await proxy.dial(proxy.open_port())))
    await until(lambda: screen.connections, "the screen is asked")
    proxy.clock.advance(proxy.consoles.limits.open_seconds)
    assert await asking == SENTENCES[Reason.UNREACHABLE]
    assert await proxy.ended(number) is Reason.UNREACHABLE
    await until(lambda: screen.connections[0].closed, "the screen is left")


async def test_a_viewer_that_says_nothing_is_left(proxy: Proxy) -> None:
    """First soon, and with more patience while somebody types."""
    port = proxy.open_port()
    limits = proxy.consoles.limits
    silent, typing = await proxy.dial(port), await proxy.dial(port)
    await silent.read(12)
    await typing.read(12)
    typing.write(b"RFB 003.008\n\2")
    await typing.read(18)
    proxy.clock.advance(limits.greeting_seconds)
    await silent.read_all()
    assert not typing.closed
    proxy.clock.advance(limits.login_seconds)
    await typing.read_all()


async def test_a_session_can_be_cut_at_any_time(proxy: Proxy) -> None:
    """While its screen is being reached, and while it is open; by its id or by its server."""
    port = proxy.open_port()
    slow = MemoryScreen(greeting=b"")
    number = proxy.ticket(proxy.show(slow))
    asking = Deferred.fromCoroutine(refusal(await proxy.dial(port)))
    await until(lambda: slow.connections, "the screen is asked")
    assert proxy.consoles.cut(number, Reason.RIGHT_LOST)
    assert await asking == SENTENCES[Reason.RIGHT_LOST]
    assert await proxy.ended(number) is Reason.RIGHT_LOST
    wire, number = await opened(proxy, port, MemoryScreen(), secret="another1", server_id=7)
    assert proxy.consoles.cut_server(8, Reason.DELETED) == 0
    assert not wire.closed
    assert proxy.consoles.cut_server(7, Reason.DELETED) == 1
    await wire.read_all()
    assert await proxy.ended(number) is Reason.DELETED
    assert not proxy.consoles.cut(number, Reason.CLOSED)


async def test_the_screen_leaves(proxy: Proxy) -> None:
    """What it has sent last still arrives."""
    screen = MemoryScreen()

    async def say_goodbye(wire: Wire) -> None:
        wire.write(b"goodbye" * 10_000)
        wire.transport.loseConnection()

    screen.then = say_goodbye
    wire, number = await opened(proxy, proxy.open_port(), screen)
    assert await wire.read_all() == b"goodbye" * 10_000
    assert await proxy.ended(number) is Reason.SCREEN_LEFT


async def test_silence_ends_a_session_and_words_keep_it(make_proxy: Any) -> None:
    """However slowly they come."""
    proxy = make_proxy(idle_seconds=100.0)
    wire, number = await opened(proxy, proxy.open_port(), MemoryScreen())
    for _ in range(4):
        proxy.clock.pump([5.0] * 16)
        assert await look(wire, WIDTH, HEIGHT) == PIXELS
    proxy.clock.pump([5.0] * 22)
    await wire.read_all()
    assert await proxy.ended(number) is Reason.IDLE


async def test_no_session_is_longer_than_its_time(proxy: Proxy) -> None:
    """However busy it is."""
    wire, number = await opened(proxy, proxy.open_port(), MemoryScreen(), session_seconds=60.0)
    assert await look(wire, WIDTH, HEIGHT) == PIXELS
    proxy.clock.pump([5.0] * 11)
    assert not wire.closed
    proxy.clock.pump([5.0] * 2)
    await wire.read_all()
    assert await proxy.ended(number) is Reason.TIME_OVER


async def test_limits_of_one_user_and_of_all(make_proxy: Any) -> None:
    """Who has enough is told so; a place is free again when a console is closed."""
    proxy = make_proxy(sessions=3, sessions_per_user=2)
    port = proxy.open_port()
    screen = proxy.show()
    wires = []
    for number in range(2):
        proxy.ticket(screen, f"mine{number}", user_id="a")
        wires.append(await proxy.dial(port))
        await log_in(wires[-1], 8, f"mine{number}".encode())
    third = proxy.ticket(screen, "mine2", user_id="a")
    told = await refusal(await proxy.dial(port), password=b"mine2")
    assert told == SENTENCES[Reason.TOO_MANY_YOURS]
    assert await proxy.ended(third) is Reason.TOO_MANY_YOURS
    proxy.ticket(screen, "yours", user_id="b")
    assert await log_in(await proxy.dial(port), 8, b"yours")
    proxy.ticket(screen, "later", user_id="c")
    told = await refusal(await proxy.dial(port), password=b"later")
    assert told == SENTENCES[Reason.TOO_MANY]
    await wires[0].close()
    await until(lambda: len(proxy.consoles) == 2, "a place is free")
    # The ticket was not spent.
    assert await log_in(await proxy.dial(port), 8, b"later")


async def test_strangers_are_few(make_proxy: Any) -> None:
    """Whoever comes beyond that is turned away; those who are let in count no more."""
    proxy = make_proxy(strangers_per_address=2)
    port = proxy.open_port()
    proxy.ticket(proxy.show())
    wires = [await proxy.dial(port) for _ in range(2)]
    for wire in wires:
        await wire.read(12)
    assert await refusal(await proxy.dial(port)) == SENTENCES[Reason.TOO_MANY]
    wires[0].received[:0] = b"RFB 003.008\n"
    await log_in(wires[0], 8, PASSWORD)
    third = await proxy.dial(port)
    await third.read(12)
    third.write(b"RFB 003.008\n")
    assert await third.read(2) == b"\1\2"


async def test_a_viewer_that_stops_reading_costs_little_memory(proxy: Proxy) -> None:
    """Nor does a screen that does: each side waits for the other, and goes on with it."""
    screen = MemoryScreen()
    block = bytes(65_536)
    blocks = 1200
    flooding: list[Wire] = []

    async def flood(wire: Wire) -> None:
        flooding.append(wire)
        wire.transport.pauseProducing()
        for _ in range(blocks):
            wire.write(block)

    screen.then = flood
    wire, _ = await opened(proxy, proxy.open_port(), screen)
    (relay,) = proxy.consoles._relays.values()
    near, far = relay.viewer.transport, relay.screen.transport  # type: ignore[union-attr]
    wire.transport.pauseProducing()

    def held(transport: Any) -> int:
        return len(transport.dataBuffer) - transport.offset + transport._tempDataLen

    def is_paused(transport: Any) -> bool:
        return transport not in transport.reactor.getReaders()

    await until(lambda: is_paused(far), "the screen waits for the viewer")
    assert relay.bytes_out < blocks * len(block)
    for _ in range(blocks):
        wire.write(block)
    await until(lambda: is_paused(near), "the viewer waits for the screen")
    assert held(near) + held(far) < MEBIBYTE
    # Both go on.
    received = len(wire.received)
    wire.transport.resumeProducing()
    await until(lambda: len(wire.received) >= blocks * len(block), "everything is there")
    flooding[0].transport.resumeProducing()
    await until(lambda: len(flooding[0].received) >= blocks * len(block), "everything is there")
    assert received < len(wire.received) and not any(flooding[0].received)


async def test_a_viewer_over_tls_that_stops_reading_costs_little_memory(proxy: Proxy) -> None:
    """Neither what is to be encrypted piles up, nor what is."""
    screen = MemoryScreen()
    size = 60 * MEBIBYTE

    async def flood(wire: Wire) -> None:
        wire.write(bytes(size))

    screen.then = flood
    proxy.ticket(proxy.show(screen))
    wire = await proxy.dial(proxy.open_port(tls=certificate()))
    await log_in(wire, 8, PASSWORD, tls=True)
    wire.transport.pauseProducing()
    (relay,) = proxy.consoles._relays.values()
    near, far = relay.viewer.transport, relay.screen.transport  # type: ignore[union-attr]
    await until(lambda: far not in far.reactor.getReaders(), "the screen waits")
    held = len(near.dataBuffer) - near.offset + near._tempDataLen
    held += sum(map(len, near.protocol._appSendBuffer))
    assert held < MEBIBYTE
    assert relay.bytes_out < size
    wire.transport.resumeProducing()
    await until(lambda: len(wire.received) == size, "everything is there")


async def test_a_viewer_that_stops_reading_does_not_hold_the_end(proxy: Proxy) -> None:
    """It is given a while for the last bytes, and no more."""
    screen = MemoryScreen()

    async def flood(wire: Wire) -> None:
        wire.write(bytes(50 * MEBIBYTE))

    screen.then = flood
    wire, number = await opened(proxy, proxy.open_port(), screen)
    wire.transport.pauseProducing()
    (relay,) = proxy.consoles._relays.values()
    far = relay.screen.transport  # type: ignore[union-attr]
    await until(lambda: far not in far.reactor.getReaders(), "the screen waits")
    proxy.consoles.cut(number, Reason.CLOSED)
    proxy.clock.pump([5.0] * 3)
    await until(lambda: not proxy.consoles._connections, "both are closed")
    assert await proxy.ended(number) is Reason.CLOSED


@pytest.mark.parametrize("version", VERSIONS)
async def test_nothing_goes_across_before_both_are_let_in(proxy: Proxy, version: int) -> None:
    """What a viewer sends too early waits, and is dropped when it is not let in."""
    screen = MemoryScreen()
    proxy.ticket(proxy.show(screen))
    port = proxy.open_port()
    wire = await proxy.dial(port)
    greeting = await wire.read(12)
    assert greeting
    wire.write(b"RFB 003.00%d\n" % version + (b"\2" if version > 3 else b""))
    await wire.read(4 + 16 if version == 3 else 18)
    wire.write(bytes(16) + b"stolen keystrokes" * 100)
    assert (await wire.read_all()).startswith(b"\0\0\0\1")
    assert not screen.connections


async def test_too_much_before_the_login_is_over(proxy: Proxy) -> None:
    """A viewer that sends more than anybody has a reason to is left, whatever it knows."""
    screen = MemoryScreen(greeting=b"")
    number = proxy.ticket(proxy.show(screen))
    wire = await proxy.dial(proxy.open_port())
    greeting = await wire.read(12)
    wire.write(greeting + b"\2")
    challenge = (await wire.read(18))[2:]
    wire.write(des(PASSWORD, challenge))
    await until(lambda: screen.connections, "the screen is asked")
    wire.write(bytes(5000))
    await wire.read_all()
    screen.connections[0].write(b"RFB 003.008\n\1\1\0\0\0\0")
    assert await proxy.ended(number) is Reason.VIEWER_LEFT


class BrokenTickets:
    """Whoever keeps the tickets does not answer."""

    def __init__(self, refused: bool) -> None:
        self.told: list[Reason] = []
        self._refused = refused

    async def waiting(self) -> Sequence[Waiting]:
        if self._refused:
            return [Waiting(1, SECRET)]
        raise ValueError("the database is gone")

    async def take(self, ticket_id: int, client: str) -> Session | None:
        if self._refused:
            raise Refused(Reason.SUSPENDED)
        raise ValueError("the database is gone")

    async def ended(self, session_id: int, reason: Reason, bytes_in: int, bytes_out: int) -> None:
        raise ValueError("the database is gone")


async def test_tickets_that_cannot_be_checked_open_nothing(
    proxy: Proxy, logged_errors: Any
) -> None:
    """The viewer is told to try again; the log says why."""
    port = proxy.open_port()
    proxy.consoles.tickets = BrokenTickets(False)
    assert await refusal(await proxy.dial(port)) == SENTENCES[Reason.UNAVAILABLE]
    proxy.consoles.tickets = BrokenTickets(True)
    assert await refusal(await proxy.dial(port)) == SENTENCES[Reason.SUSPENDED]
    assert len(logged_errors.flush(ValueError)) == 1


async def test_an_end_that_cannot_be_told_is_logged(proxy: Proxy, logged_errors: Any) -> None:
    """The session ends all the same."""
    wire, _ = await opened(proxy, proxy.open_port(), MemoryScreen())
    proxy.consoles.tickets = BrokenTickets(True)
    await wire.close()
    await until(lambda: not len(proxy.consoles), "the session has ended")
    assert len(logged_errors.flush(ValueError)) == 1


async def test_the_end_of_the_service_ends_every_session(make_proxy: Any) -> None:
    """Also those that are being opened, and those who only stand at the door."""
    proxy = make_proxy()
    port = proxy.open_port()
    wire, number = await opened(proxy, port, MemoryScreen())
    slow = MemoryScreen(greeting=b"")
    other = proxy.ticket(proxy.show(slow), "another1")
    opening = await proxy.dial(port)
    asking = Deferred.fromCoroutine(log_in(opening, 8, b"another1"))
    stranger = await proxy.dial(port)
    await until(lambda: slow.connections, "the screen is asked")
    await stranger.read(12)
    stopping = Deferred.fromCoroutine(proxy.consoles.stop())
    await wire.read_all()
    await stranger.read_all()
    with pytest.raises((Refusal, Closed)):
        await asking
    await stopping
    assert {each[:2] for each in proxy.tickets.ends} == {
        (number, Reason.RESTART),
        (other, Reason.RESTART),
    }
