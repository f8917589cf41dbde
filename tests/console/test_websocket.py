"""Consoles for browsers: the ticket first, then RFB; everything else is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted
from klein import Klein
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import (
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    TextMessage,
)

from cyclades_tx.api.site import ApiSite
from cyclades_tx.console.interfaces import SENTENCES, Reason
from cyclades_tx.console.websocket import ConsoleSocket, WebSocketViewer
from tests.console.peers import (
    HEIGHT,
    NAME,
    PIXELS,
    VERSIONS,
    WIDTH,
    MemoryScreen,
    Wire,
    log_in,
    look,
    turn,
    until,
)
from tests.console.proxied import Proxy

TICKET = "a-ticket-of-a-browser"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def head(**more: str | None) -> bytes:
    """The request of a browser, with other headers in the place of the usual ones."""
    headers: dict[str, str | None] = {
        "Host": "cloud.example.org",
        "Upgrade": "websocket",
        "Connection": "keep-alive, Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    lines = [f"{name}: {value}\r\n" for name, value in headers.items() if value is not None]
    return ("GET /console/ws HTTP/1.1\r\n" + "".join(lines) + "\r\n").encode("latin-1")


class Browser(Wire):
    """The far end of a WebSocket that looks like a wire: binary messages are its bytes."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.wire = wire
        self.frames = Connection(ConnectionType.CLIENT)
        self.texts: list[str] = []
        self.ended: CloseConnection | None = None
        self.pings = 0
        self.answers_pings = True
        wire.dataReceived = self.came  # type: ignore[method-assign]
        self.came(bytes(wire.received))

    @property
    def gone(self) -> bool:
        """Whether the connection is closed."""
        return self.wire.closed

    def came(self, data: bytes) -> None:
        """Take frames apart."""
        self.frames.receive_data(data)
        for event in self.frames.events():
            if isinstance(event, TextMessage):
                self.texts.append(event.data)
            elif isinstance(event, BytesMessage):
                self.dataReceived(bytes(event.data))
            elif isinstance(event, Ping):
                self.pings += 1
                if self.answers_pings:
                    self.say(event.response())
            elif isinstance(event, CloseConnection):
                self.ended = event
                self.closed = True
                self._serve()
                if self.frames.state is not ConnectionState.CLOSED and not self.wire.closed:
                    self.say(event.response())

    def say(self, event: Event) -> None:
        """Send a frame."""
        self.wire.write(self.frames.send(event))

    def write(self, data: bytes) -> None:
        """Send bytes as a message."""
        self.say(BytesMessage(data))

    async def why(self) -> tuple[int, str, str]:
        """The code, the word and the sentence with which it was ended; it is closed then."""
        await until(lambda: self.ended, "the connection is ended")
        assert self.ended is not None and self.ended.reason is not None
        await until(lambda: self.gone, "the connection is closed")
        word, _, sentence = self.ended.reason.partition(": ")
        return int(self.ended.code), word, sentence


class Cloud:
    """A proxy behind the API's own site."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        app = Klein()
        socket = ConsoleSocket(proxy.consoles, ["https://pages.example.org"])
        app.route("/console/ws")(lambda request: socket)
        self.port = proxy.listen(ApiSite(app.resource(), 1_048_576, timeout=60.0))

    async def ask(self, request: bytes) -> tuple[Wire, bytes]:
        """Send a request; the head of the answer."""
        wire = await self.proxy.dial(self.port)
        wire.write(request)
        await until(lambda: b"\r\n\r\n" in wire.received, "an answer")
        answer, _, rest = bytes(wire.received).partition(b"\r\n\r\n")
        wire.received[:] = rest
        return wire, answer

    async def browse(self, ticket: str | None = TICKET) -> Browser:
        """Open a WebSocket and send the ticket."""
        wire, answer = await self.ask(head())
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        browser = Browser(wire)
        if ticket is not None:
            browser.say(TextMessage(ticket))
        return browser

    def ticket(self, screen: MemoryScreen | None = None, text: str = TICKET, **fields: Any) -> int:
        """Make a ticket for a browser."""
        return self.proxy.ticket(self.proxy.show(screen), text, for_viewers=False, **fields)


@pytest_twisted.async_yield_fixture
async def cloud(proxy: Proxy) -> Any:
    """A proxy behind the API's own site."""
    yield Cloud(proxy)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_browser_sees_the_screen(cloud: Cloud, version: int) -> None:
    """The word that it is open comes first, then RFB."""
    number = cloud.ticket(MemoryScreen(version))
    browser = await cloud.browse()
    assert await log_in(browser, version) == (WIDTH, HEIGHT, NAME)
    assert list(map(json.loads, browser.texts)) == [{"console": "open"}]
    assert await look(browser, WIDTH, HEIGHT) == PIXELS
    (seen,) = cloud.proxy.consoles.open_sessions()
    assert (seen.session.id, seen.kind, seen.client) == (number, "websocket", "127.0.0.1")
    browser.say(CloseConnection(1000))
    assert await cloud.proxy.ended(number) is Reason.VIEWER_LEFT
    await until(lambda: browser.gone, "the connection is closed")


async def test_a_ticket_in_pieces(cloud: Cloud) -> None:
    """Frames may be cut anywhere, and messages be of many frames."""
    cloud.ticket()
    browser = await cloud.browse(None)
    for number, letter in enumerate(TICKET, 1):
        frame = browser.frames.send(TextMessage(letter, message_finished=number == len(TICKET)))
        for byte in frame:
            browser.wire.write(bytes([byte]))
            await turn()
    assert await log_in(browser) == (WIDTH, HEIGHT, NAME)


@pytest.mark.parametrize(
    "why", [Reason.USED, Reason.NOT_ALLOWED, Reason.SUSPENDED, Reason.NOT_RUNNING]
)
async def test_a_ticket_without_a_right(cloud: Cloud, why: Reason) -> None:
    """Each with its own sentence in the close frame, and the screen never hears of it."""
    screen = MemoryScreen()
    number = cloud.ticket(screen)
    cloud.proxy.tickets.spoil(number, why)
    browser = await cloud.browse()
    assert await browser.why() == (4000, why, SENTENCES[why])
    assert not screen.connections and not browser.texts and not browser.received


async def test_tickets_that_are_none(cloud: Cloud) -> None:
    """Unknown, expired, of a viewer, or far too long."""
    cloud.ticket(text="late")
    cloud.proxy.ticket(cloud.proxy.show(), "viewers1")
    for text in ("", "unknown", "viewers1", "x" * 2000, "\0\u2028", "x" * 100_000):
        browser = await cloud.browse(text)
        assert await browser.why() == (4000, Reason.UNKNOWN, SENTENCES[Reason.UNKNOWN])
    cloud.proxy.clock.advance(61)
    browser = await cloud.browse("late")
    expired = Reason.TICKET_EXPIRED
    assert await browser.why() == (4000, expired, SENTENCES[expired])


async def test_a_ticket_is_good_once(cloud: Cloud) -> None:
    """Also while its console is open."""
    cloud.ticket()
    first, second = await cloud.browse(), await cloud.browse()
    assert await log_in(first)
    assert await second.why() == (4000, Reason.USED, SENTENCES[Reason.USED])
    assert await look(first, WIDTH, HEIGHT) == PIXELS


async def test_too_many_tries(make_proxy: Any) -> None:
    """Whoever guesses is not listened to any more."""
    cloud = Cloud(make_proxy(tries=2))
    cloud.ticket()
    for _ in range(2):
        browser = await cloud.browse("guessed")
        assert (await browser.why())[1] == Reason.UNKNOWN
    browser = await cloud.browse(None)
    assert (await browser.why())[1] == Reason.TOO_MANY_TRIES


async def test_no_screen_there(cloud: Cloud) -> None:
    """The page is told, before it is told anything else."""
    number = cloud.ticket(MemoryScreen(reason=b"full"))
    browser = await cloud.browse()
    refused = Reason.FAR_REFUSED
    assert await browser.why() == (4000, refused, SENTENCES[refused])
    assert await cloud.proxy.ended(number) is refused
    assert not browser.texts


@pytest.mark.parametrize(
    ("reason", "code"),
    [(Reason.MOVED, 4001), (Reason.RIGHT_LOST, 4001), (Reason.RESTART, 1001)],
)
@pytest.mark.parametrize("early", [True, False])
async def test_a_session_is_cut(cloud: Cloud, reason: Reason, code: int, early: bool) -> None:
    """While noVNC introduces itself, or later."""
    number = cloud.ticket()
    browser = await cloud.browse()
    if not early:
        await log_in(browser)
    await until(lambda: browser.texts, "it is open")
    cloud.proxy.consoles.cut(number, reason)
    assert await browser.why() == (code, reason, SENTENCES[reason])
    assert await cloud.proxy.ended(number) is reason


async def test_the_screen_leaves(cloud: Cloud) -> None:
    """Its last words come before the close frame."""
    screen = MemoryScreen()

    async def say_goodbye(wire: Wire) -> None:
        wire.write(b"goodbye" * 20_000)
        wire.transport.loseConnection()

    screen.then = say_goodbye
    cloud.ticket(screen)
    browser = await cloud.browse()
    await log_in(browser)
    assert (await browser.why())[:2] == (4001, Reason.SCREEN_LEFT)
    assert browser.received == b"goodbye" * 20_000


async def test_a_browser_that_goes_without_a_word(cloud: Cloud) -> None:
    """As they do when a lid is closed."""
    number = cloud.ticket()
    browser = await cloud.browse()
    await log_in(browser)
    browser.wire.transport.abortConnection()
    assert await cloud.proxy.ended(number) is Reason.VIEWER_LEFT


async def test_a_browser_that_does_not_answer(cloud: Cloud) -> None:
    """It is asked some times, and then it is gone; answers keep the console."""
    number = cloud.ticket()
    browser = await cloud.browse()
    await log_in(browser)
    clock, seconds = cloud.proxy.clock, cloud.proxy.consoles.limits.ping_seconds
    for count in range(1, 6):
        clock.pump([5.0] * int(seconds / 5.0))
        await until(lambda count=count: browser.pings == count, "a ping")
        (relay,) = cloud.proxy.consoles._relays.values()
        viewer: Any = relay.viewer
        await until(lambda viewer=viewer: viewer._silent_pings == 0, "its answer")
    browser.answers_pings = False
    clock.pump([5.0] * (4 * int(seconds / 5.0)))
    assert await cloud.proxy.ended(number) is Reason.VIEWER_SILENT
    assert (await browser.why())[1] == Reason.VIEWER_SILENT


async def test_a_browser_that_never_sends_its_ticket(cloud: Cloud) -> None:
    """Nor greets."""
    browser = await cloud.browse(None)
    cloud.proxy.clock.advance(cloud.proxy.consoles.limits.greeting_seconds)
    assert (await browser.why())[:2] == (4000, Reason.TOO_LATE)
    number = cloud.ticket()
    browser = await cloud.browse()
    await until(lambda: browser.texts, "it is open")
    cloud.proxy.clock.advance(cloud.proxy.consoles.limits.greeting_seconds)
    assert (await browser.why())[:2] == (4001, Reason.TOO_LATE)
    assert await cloud.proxy.ended(number) is Reason.TOO_LATE


@pytest.mark.parametrize(
    "messages",
    [
        [BytesMessage(b"RFB 003.008\n")],
        [TextMessage(TICKET), TextMessage("again")],
        [TextMessage(TICKET), BytesMessage(b"too early")],
    ],
    ids=["no-ticket", "twice", "too-early"],
)
async def test_messages_that_were_not_agreed(cloud: Cloud, messages: list[Message]) -> None:
    """They end it."""
    cloud.ticket(MemoryScreen(greeting=b""))
    browser = await cloud.browse(None)
    browser.wire.write(b"".join(map(browser.frames.send, messages)))
    assert (await browser.why())[:2] == (4000, Reason.VIEWER_SPEAKS_NOT)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff" * 40,
        b"\x81\x05hello",
        b"\x81\x85\0\0\0\0\xff\xff\xff\xff\xff",
        b"\x89\xff" + b"x" * 20,
    ],
    ids=["garbage", "unmasked", "no-text", "long-ping"],
)
async def test_frames_that_are_none(cloud: Cloud, raw: bytes) -> None:
    """Before and in the middle of a console."""
    browser = await cloud.browse(None)
    browser.wire.write(raw)
    assert (await browser.why())[:2] == (4000, Reason.VIEWER_SPEAKS_NOT)
    number = cloud.ticket()
    browser = await cloud.browse()
    await log_in(browser)
    browser.wire.write(raw)
    assert (await browser.why())[:2] == (4001, Reason.VIEWER_SPEAKS_NOT)
    assert await cloud.proxy.ended(number) is Reason.VIEWER_SPEAKS_NOT


async def test_a_browser_that_stops_reading(cloud: Cloud) -> None:
    """The screen waits for it; what is held in between is little."""
    screen = MemoryScreen()
    size = 60 * 1_048_576

    async def flood(wire: Wire) -> None:
        wire.write(bytes(size))

    screen.then = flood
    number = cloud.ticket(screen)
    browser = await cloud.browse()
    await log_in(browser)
    browser.wire.transport.pauseProducing()
    (relay,) = cloud.proxy.consoles._relays.values()
    assert relay.screen is not None
    near, far = relay.viewer.transport, relay.screen.transport
    await until(lambda: far not in far.reactor.getReaders(), "the screen waits")
    assert len(near.dataBuffer) - near.offset + near._tempDataLen < 1_048_576
    assert relay.bytes_out < size
    browser.wire.transport.resumeProducing()
    await until(lambda: len(browser.received) == size, "everything is there")
    browser.wire.transport.pauseProducing()
    cloud.proxy.consoles.cut(number, Reason.CLOSED)
    cloud.proxy.clock.pump([5.0] * 3)
    await until(lambda: not cloud.proxy.consoles._connections, "both are closed")


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (head(Upgrade=None), 400),
        (head(Connection="close"), 400),
        (head(Sec_WebSocket_Version="8"), 400),
        (head(Sec_WebSocket_Key=None), 400),
        (head(Origin="https://evil.example.org"), 403),
        (head(Origin="null"), 403),
        (head(Origin="https://[broken"), 403),
        (head(Origin="https://\xe9.example.org"), 403),
        (head(Sec_WebSocket_Protocol="\xe9\xff"), 400),
        (head().replace(b"GET", b"POST", 1), 405),
        (head().replace(b"GET", b"HEAD", 1), 405),
    ],
    ids=[
        "no-upgrade", "close", "version", "no-key", "origin", "null-origin", "broken-origin",
        "odd-origin", "odd-protocol", "post", "head",
    ],
)  # fmt: skip
async def test_requests_that_are_refused(cloud: Cloud, request_head: bytes, status: int) -> None:
    """In plain HTTP; nothing is logged as a fault of ours."""
    _, answer = await cloud.ask(request_head)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"Origin": "http://cloud.example.org"}, b""),
        ({"Origin": "https://Pages.example.org"}, b""),
        ({"Sec_WebSocket_Protocol": "base64, binary"}, b"binary"),
        ({"Sec_WebSocket_Protocol": "base64"}, b""),
        ({"Sec_WebSocket_Extensions": "permessage-deflate"}, b""),
    ],
    ids=["same-host", "named-origin", "binary", "other-protocol", "extension"],
)
async def test_requests_that_are_welcome(cloud: Cloud, more: dict[str, str], wanted: bytes) -> None:
    """The accept key is that of the standard's own example (RFC 6455, section 1.3)."""
    _, answer = await cloud.ask(head(**more))
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in answer.lower()
    assert b"extensions" not in answer.lower()
    assert (b"sec-websocket-protocol: binary" in answer.lower()) == bool(wanted)


async def test_pings_of_the_browser_are_answered(cloud: Cloud) -> None:
    """As the standard wants it."""
    browser = await cloud.browse(None)
    answers: list[Event] = []
    came = browser.frames.events

    def watch() -> Any:
        for event in came():
            answers.append(event)
            yield event

    browser.frames.events = watch  # type: ignore[method-assign]
    browser.say(Ping(b"hello"))
    await until(lambda: answers, "an answer")
    assert isinstance(answers[0], Pong) and answers[0].payload == b"hello"


@pytest.mark.parametrize("event", [Ping(b"x"), Pong(b"x")], ids=["pings", "pongs"])
async def test_strangers_who_send_many_frames_are_left(cloud: Cloud, event: Event) -> None:
    """However small they are: each takes time; nor are they heard while they are shown out."""
    browser = await cloud.browse(None)
    many = browser.frames.send(event) * 50
    browser.wire.write(many)
    await until(lambda: viewer_of(cloud)._early_frames == 50, "they are heard")
    browser.wire.write(many * 200)
    cloud.proxy.clock.advance(0)
    assert (await browser.why())[:2] == (4000, Reason.VIEWER_SPEAKS_NOT)
    browser = await cloud.browse("unknown")
    await until(lambda: browser.ended, "it is refused")
    browser.wire.write(b"\x89\x80\0\0\0\0" * 5000)
    await until(lambda: browser.gone, "the connection is closed")


async def test_many_frames_of_a_session_are_heard_in_turns(cloud: Cloud) -> None:
    """Nothing of them is lost, and the reactor does other work between them."""
    screen = MemoryScreen()
    typed: list[Wire] = []

    async def listen(wire: Wire) -> None:
        typed.append(wire)

    screen.then = listen
    cloud.ticket(screen)
    browser = await cloud.browse()
    await log_in(browser)
    await until(lambda: typed, "the screen is there")
    viewer = viewer_of(cloud)
    keys = b"".join(browser.frames.send(BytesMessage(bytes([each % 256]))) for each in range(5000))
    browser.wire.write(keys + browser.frames.send(Ping()) * 3000)
    wanted = bytes(each % 256 for each in range(5000))
    await until(lambda: len(typed[0].received), "the first are there")
    await turn()
    heard = len(typed[0].received)
    assert heard <= 64 and viewer._next_turn is not None
    turns = []
    hear = viewer._hear

    def counted() -> None:
        before = viewer._relay.bytes_in
        hear()
        turns.append(viewer._relay.bytes_in - before)

    viewer._hear = counted
    while len(typed[0].received) < len(wanted):
        cloud.proxy.clock.advance(0)
        await turn()
    assert typed[0].received == wanted
    assert max(turns) <= 64 and sum(turns) >= len(wanted) - heard - 64
    while viewer._next_turn is not None or viewer.transport not in reactor.getReaders():  # type: ignore[attr-defined]
        cloud.proxy.clock.advance(0)
        await turn()
    # All is well after that.
    browser.write(b"after")
    await until(lambda: typed[0].received.endswith(b"after"), "it goes on")


async def test_pings_of_a_browser_that_stops_reading_are_not_answered(cloud: Cloud) -> None:
    """Or their answers would pile up."""
    screen = MemoryScreen()

    async def flood(wire: Wire) -> None:
        wire.write(bytes(60 * 1_048_576))

    screen.then = flood
    number = cloud.ticket(screen)
    browser = await cloud.browse()
    await log_in(browser)
    browser.wire.transport.pauseProducing()
    viewer = viewer_of(cloud)
    near = viewer.transport
    seen: list[int] = []

    def stands_still() -> bool:
        # The kernel takes more and more for a while.
        seen.append(viewer._relay.bytes_out if near.producerPaused else -len(seen))
        return len(seen) > 100 and len(set(seen[-100:])) == 1

    await until(stands_still, "nothing goes any more")
    answers: list[Event] = []
    send = viewer._connection.send
    viewer._connection.send = lambda event: answers.append(event) or send(event)
    for _ in range(3000):
        browser.wire.write(browser.frames.send(Ping(b"x" * 125)))
    browser.write(b"the last")
    while not screen.connections[0].received.endswith(b"the last"):
        cloud.proxy.clock.advance(0)
        await turn()
    assert not answers
    cloud.proxy.consoles.cut(number, Reason.CLOSED)
    cloud.proxy.clock.pump([5.0] * 3)
    await until(lambda: not cloud.proxy.consoles._connections, "both are closed")


def viewer_of(cloud: Cloud) -> Any:
    """The only browser's connection, at the proxy."""
    (found,) = [
        each for each in cloud.proxy.consoles._connections if isinstance(each, WebSocketViewer)
    ]
    return found


async def test_strangers_are_few(make_proxy: Any) -> None:
    """Viewers and browsers count together."""
    proxy = make_proxy(strangers_per_address=2)
    cloud = Cloud(proxy)
    viewer = await proxy.dial(proxy.open_port())
    await viewer.read(12)
    await cloud.browse(None)
    third = await cloud.browse(None)
    assert (await third.why())[:2] == (4000, Reason.TOO_MANY)


async def test_the_end_of_the_service(make_proxy: Any) -> None:
    """A page learns that it is no fault of its own."""
    proxy = make_proxy()
    cloud = Cloud(proxy)
    cloud.ticket()
    browser = await cloud.browse()
    await log_in(browser)
    stopping = Deferred.fromCoroutine(proxy.consoles.stop())
    assert (await browser.why())[:2] == (1001, Reason.RESTART)
    await stopping
