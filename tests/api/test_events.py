"""Event streams over real sockets: order, resuming, isolation, limits, and every kind of end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater

from cyclades_tx.api import event_stream, events
from cyclades_tx.api.events import PATH, Streams
from cyclades_tx.errors import Unavailable
from cyclades_tx.flows import events as feed_module
from cyclades_tx.loops.outbox import Publisher
from cyclades_tx.model.who import ADMIN, MEMBER, READER, Who
from cyclades_tx.sections import EventsSection
from cyclades_tx.store import outbox
from cyclades_tx.testing.loopback import Loopback

MINE = "a" * 32
OTHERS = "b" * 32


def somebody(project_id: str | None = MINE, *roles: str) -> Who:
    """A person in a project."""
    return Who("u" * 32, "u", project_id, "p", frozenset(roles or (MEMBER,)))


class Client(Protocol):
    """Reads a stream as it comes."""

    def __init__(self) -> None:
        self.received = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        """The server has closed the connection."""
        self.lost = True

    @property
    def head(self) -> str:
        """The status line and the headers."""
        return self.received.partition(b"\r\n\r\n")[0].decode()

    @property
    def text(self) -> str:
        """The body, out of its chunks."""
        rest = self.received.partition(b"\r\n\r\n")[2]
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            if not size or size == b"0":
                break
            body += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        return body.decode()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Every whole message: id, event and data."""
        found = []
        for block in self.text.split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
            if "event" in fields:
                fields["data"] = json.loads(fields["data"])
                found.append(fields)
        return found

    def kinds(self) -> list[str]:
        """The words after ``event:``."""
        return [message["event"] for message in self.messages]

    def numbers(self) -> list[int]:
        """The numbers in the bodies of the test's events."""
        return [
            message["data"]["body"]["number"]
            for message in self.messages
            if message["event"] == "thing.made"
        ]


class Stage:
    """A publisher, streams on a socket, and their clients."""

    def __init__(self, reactor: Any, database: Any, section: EventsSection) -> None:
        self.reactor = reactor
        self.database = database
        self.ended: list[str] = []
        self.clients: list[Client] = []
        self.streams: Streams
        self.wire: Loopback
        self.publisher = Publisher(reactor, database, 3600.0)
        self._section = section

    async def begin(self) -> None:
        """Listen."""

        def mount(frame: Any) -> None:
            self.streams = Streams(
                self.reactor, self.database, frame._identity, self._section, self.ended.append
            )
            self.streams.mount(frame)

        self.wire = Loopback(self.reactor, mount)
        self.publisher.start()
        await self.database.when_listening()

    async def close(self) -> None:
        """End all."""
        self.streams.stop()
        for client in self.clients:
            if client.transport is not None and not client.lost:
                client.transport.abortConnection()  # type: ignore[attr-defined]
        await self.publisher.stop()
        await self.wire.close()

    async def connect(
        self, who: Who, last: int | str | None = None, query: str = "", token: str | None = None
    ) -> Client:
        """Open a stream, and wait for its first word."""
        client = Client()
        point = TCP4ClientEndpoint(self.reactor, "127.0.0.1", self.wire.number)
        await connectProtocol(point, client)
        token = token or self.wire.identity.add(who)
        head = f"GET {PATH}{query} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n"
        if last is not None:
            head += f"Last-Event-ID: {last}\r\n"
        client.transport.write(f"{head}\r\n".encode())  # type: ignore[union-attr]
        self.clients.append(client)
        await self.until(lambda: bool(client.messages) or client.lost)
        return client

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        end = self.reactor.seconds() + 20
        while not condition():
            assert self.reactor.seconds() < end, "it did not come about"
            await deferLater(self.reactor, 0.01)

    async def published(self) -> None:
        """Wait until every event has its position."""
        waiting = "select count(*) from event where position is null"
        while await self.database.value(waiting):
            await deferLater(self.reactor, 0.01)

    async def put(self, count: int, project_id: str | None = MINE, first: int = 0) -> None:
        """Write events, each in a transaction of its own."""
        for number in range(first, first + count):
            await outbox.put(self.database, "thing.made", "x", project_id, {"number": number})

    async def put_many(self, count: int, project_id: str, size: int = 10) -> None:
        """Write many events at once."""
        await self.database.run(
            "with made as (insert into event (kind, subject, project_id, body)"
            " select 'thing.made', 'x', %s, jsonb_build_object('number', n, 'text',"
            " repeat('x', %s)) from generate_series(0, %s - 1) as n returning 1)"
            " select pg_notify('cyclades_outbox', '') from made limit 1",
            (project_id, size, count),
        )


SECTION = EventsSection(
    heartbeat_seconds=1.0,
    # A busy machine is no slow reader; the test of that has a section of its own.
    slow_seconds=60.0,
    unsent_bytes=200_000,
    streams_per_project=3,
    streams_per_process=4,
)


@pytest_twisted.async_yield_fixture
async def stage(database: Any) -> Any:
    """A stage that listens."""
    from twisted.internet import reactor

    made = Stage(reactor, database, SECTION)
    await made.begin()
    yield made
    await made.close()


async def test_a_stream_says_hello_and_then_what_happens(stage: Stage) -> None:
    """Each event whole, in one line, with its position as its id."""
    await stage.put(2)
    await stage.published()
    client = await stage.connect(somebody())
    assert "200 OK" in client.head and "text/event-stream" in client.head
    assert "no-store" in client.head and "X-Openstack-Request-Id" in client.head.title()
    await stage.put(1, first=7)
    await stage.until(lambda: client.numbers() == [7])
    hello, event = client.messages
    assert (hello["event"], hello["data"]["project_id"]) == ("hello", MINE)
    assert hello["id"] == str(hello["data"]["position"]) == "2"
    assert (event["id"], event["event"]) == ("3", "thing.made")
    assert event["data"] == {
        "position": 3, "at": event["data"]["at"], "kind": "thing.made", "project_id": MINE,
        "subject": "x", "body": {"number": 7},
    }  # fmt: skip
    assert client.text.startswith("retry: 3000\n")


@pytest.mark.parametrize("by_query", [False, True])
async def test_a_stream_goes_on_after_the_event_that_was_seen_last(
    stage: Stage, by_query: bool
) -> None:
    """As the header of a client that reconnects says, or the query of one that cannot set it."""
    await stage.put(5)
    await stage.put(5, OTHERS)
    await stage.put(5, first=5)
    await stage.published()
    if by_query:
        client = await stage.connect(somebody(), query="?last_event_id=2")
    else:
        client = await stage.connect(somebody(), 2)
    await stage.until(lambda: len(client.numbers()) == 8)
    await stage.put(1, first=99)
    await stage.until(lambda: len(client.numbers()) == 9)
    assert client.numbers() == [*range(2, 10), 99]
    assert client.messages[0]["id"] == "2"


async def test_thousands_of_events_arrive_once_and_in_order_over_many_connections(
    stage: Stage,
) -> None:
    """While they are written on several connections, and the client comes and goes."""
    seen: list[int] = []
    last: str | None = None
    first = await stage.connect(somebody())
    writing = gatherResults(
        [ensureDeferred(stage.put(400, first=1000 * each)) for each in range(4)]
        + [ensureDeferred(stage.put(100, OTHERS))]
    )
    last = first.messages[0]["id"]
    first.transport.abortConnection()  # type: ignore[union-attr]
    while len(seen) < 1600:
        client = await stage.connect(somebody(), last)
        wanted = min(len(seen) + 150, 1600)
        await stage.until(lambda: len(seen) + len(client.numbers()) >= wanted)  # noqa: B023
        client.transport.abortConnection()  # type: ignore[union-attr]
        seen += client.numbers()
        last = client.messages[-1]["id"]
    await writing
    assert sorted(seen) == [1000 * each + n for each in range(4) for n in range(400)]
    for each in range(4):
        own = [number for number in seen if number // 1000 == each]
        assert own == sorted(own)


async def test_what_is_kept_no_more_is_a_reset(stage: Stage) -> None:
    """Then only what is new comes."""
    await stage.put(6)
    await stage.published()
    await stage.database.run("update event set at = now() - interval '9 hours' where position < 5")
    assert await outbox.prune(stage.database, 3600.0, 100) == 4
    client = await stage.connect(somebody(), 3)
    await stage.until(lambda: len(client.messages) == 2)
    await stage.put(1, first=42)
    await stage.until(lambda: client.numbers() == [42])
    assert client.kinds() == ["hello", "reset", "thing.made"]
    reset = client.messages[1]
    assert reset["data"]["reason"] == "too_old" and "read the state" in reset["data"]["message"]
    assert reset["id"] == "6"
    # Just what is still there is no reset.
    client = await stage.connect(somebody(), 4)
    await stage.until(lambda: client.numbers() == [4, 5, 42])


async def test_an_id_that_never_was_is_a_reset(stage: Stage) -> None:
    """As after the database was put back to an older state."""
    await stage.put(1)
    await stage.published()
    client = await stage.connect(somebody(), 10**17)
    await stage.until(lambda: client.kinds() == ["hello", "reset"])
    assert client.messages[1]["id"] == "1"


async def test_nobody_sees_the_events_of_another_project(stage: Stage) -> None:
    """Live or resumed; an administrator neither, unless that is asked for."""
    operator = somebody(OTHERS, ADMIN)
    await stage.put(3, first=0)
    await stage.put(2, OTHERS, first=10)
    await stage.put(1, None, first=20)
    await stage.published()
    member = await stage.connect(somebody(), 0)
    admin = await stage.connect(operator, 0)
    everything = await stage.connect(operator, 0, "?all_projects=1")
    await stage.until(lambda: len(everything.numbers()) == 6)
    await stage.put(1, OTHERS, first=11)
    await stage.put(1, MINE, first=3)
    await stage.put(1, None, first=21)
    await stage.until(lambda: len(everything.numbers()) == 9)
    await stage.until(lambda: len(member.numbers()) >= 4 and len(admin.numbers()) >= 3)
    assert member.numbers() == [0, 1, 2, 3]
    assert admin.numbers() == [10, 11, 11]
    assert everything.numbers() == [0, 1, 2, 10, 11, 20, 11, 3, 21]
    assert OTHERS not in member.text and MINE not in admin.text


@pytest.mark.parametrize(
    ("who", "query", "headers", "method", "status"),
    [
        (None, "", {}, "GET", 401),
        (None, "", {"X-Auth-Token": "wrong"}, "GET", 401),
        (somebody(None), "", {}, "GET", 403),
        (somebody(), "?all_projects=1", {}, "GET", 403),
        (somebody(MINE, ADMIN), "?all_projects=maybe", {}, "GET", 400),
        (somebody(), "", {"Last-Event-ID": "abc"}, "GET", 400),
        (somebody(), "", {"Last-Event-ID": "-1"}, "GET", 400),
        (somebody(), "", {"Last-Event-ID": "9" * 19}, "GET", 400),
        (somebody(), "", {"Last-Event-ID": "１２"}, "GET", 400),
        (somebody(), "?last_event_id=1%3Bdrop", {}, "GET", 400),
        (somebody(), "?last_event_id=%00", {}, "GET", 400),
        (somebody(), "?last_event_id=%ff", {}, "GET", 400),
        (somebody(), "", {}, "POST", 405),
        (somebody(), "", {}, "DELETE", 405),
        (somebody(), "/more", {}, "GET", 404),
        (somebody(MINE, READER), "", {}, "HEAD", 200),
    ],
)
async def test_what_is_refused_is_refused_in_words(
    stage: Stage, who: Who | None, query: str, headers: dict[str, str], method: str, status: int
) -> None:
    """Before a stream is begun."""
    answer = await stage.wire.ask(PATH + query, who, method=method, headers=headers)
    assert answer.status == status
    if method == "HEAD":
        assert answer.headers["content-type"] == "text/event-stream" and not answer.body
    else:
        (fault,) = answer.json.values()
        assert fault["code"] == status and fault["message"]
    assert len(stage.streams) == 0


async def test_a_project_and_a_process_have_only_so_many_streams(stage: Stage) -> None:
    """429 and 503 with a time to come again; one that ends makes room."""
    open_ones = [await stage.connect(somebody()) for _ in range(3)]
    answer = await stage.wire.ask(PATH, somebody())
    assert answer.status == 429 and answer.headers["retry-after"] == "30"
    await stage.connect(somebody(OTHERS))
    answer = await stage.wire.ask(PATH, somebody("c" * 32))
    assert answer.status == 503 and answer.headers["retry-after"] == "30"
    open_ones[0].transport.abortConnection()  # type: ignore[union-attr]
    await stage.until(lambda: len(stage.streams) == 3)
    client = await stage.connect(somebody())
    assert client.kinds() == ["hello"]


async def test_a_client_that_goes_away_leaves_nothing(stage: Stage) -> None:
    """And nothing is read any more for nobody."""
    client = await stage.connect(somebody())
    assert stage.streams.feed.running and len(stage.streams) == 1
    client.transport.abortConnection()  # type: ignore[union-attr]
    await stage.until(lambda: len(stage.streams) == 0)
    assert not stage.streams.feed.running and stage.ended == ["gone"]
    assert not stage.streams._readers and not stage.streams._open
    await stage.put(1)


async def test_silence_is_broken_by_comments(stage: Stage) -> None:
    """So that whatever stands between keeps the connection."""
    client = await stage.connect(somebody())
    await stage.until(lambda: client.text.count("\n:\n") >= 1)
    assert client.kinds() == ["hello"]


async def test_a_token_that_is_revoked_ends_its_stream(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason; others of the project go on."""
    monkeypatch.setattr(event_stream, "CHECK_SECONDS", 0.5)
    token = stage.wire.identity.add(somebody())
    client = await stage.connect(somebody(), token=token)
    other = await stage.connect(somebody())
    stage.wire.identity.revoke(token)
    await stage.until(lambda: client.lost)
    assert client.kinds() == ["hello", "end"]
    assert client.messages[1]["data"]["reason"] == "token" and "id" not in client.messages[1]
    await stage.put(1)
    await stage.until(lambda: other.numbers() == [0])


async def test_a_token_that_expires_ends_its_stream(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within seconds."""
    monkeypatch.setattr(event_stream, "CHECK_SECONDS", 0.5)
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    client = await stage.connect(replace(somebody(), expires_at=soon))
    await stage.until(lambda: client.lost)
    assert client.messages[-1]["data"]["reason"] == "token"


async def test_one_who_is_no_administrator_any_more_loses_the_stream_of_all(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token is good, its roles are not."""
    monkeypatch.setattr(event_stream, "CHECK_SECONDS", 0.5)
    token = stage.wire.identity.add(somebody(MINE, ADMIN))
    client = await stage.connect(somebody(), query="?all_projects=true", token=token)
    stage.wire.identity.add(somebody(MINE, MEMBER), token)
    # As if what was remembered had been dropped by a notification.
    monkeypatch.setattr(stage.wire.identity, "cached", lambda token: None)
    monkeypatch.setattr(stage.wire.identity, "authenticate", _answering(somebody(MINE, MEMBER)))
    await stage.until(lambda: client.lost)
    assert client.messages[-1]["data"]["reason"] == "token"


def _answering(who: Who) -> Any:
    async def authenticate(token: str) -> Who:
        return who

    return authenticate


async def test_a_reader_that_takes_nothing_is_cut_off_with_a_word(stage: Stage) -> None:
    """By bytes, long before it costs memory; the others get everything."""
    slow = await stage.connect(somebody())
    fast = await stage.connect(somebody())
    slow.transport.pauseProducing()  # type: ignore[union-attr]
    for _ in range(40):
        await stage.put_many(200, MINE, 2000)
        await deferLater(stage.reactor, 0.02)
        if "slow" in stage.ended:
            break
    await stage.until(lambda: "slow" in stage.ended)
    slow.transport.resumeProducing()  # type: ignore[union-attr]
    await stage.until(lambda: slow.lost)
    assert slow.kinds()[-1] == "end"
    assert slow.messages[-1]["data"]["reason"] == "slow"
    ids = [int(message["id"]) for message in slow.messages if "id" in message]
    assert ids == list(range(ids[0], ids[-1] + 1))
    # It goes on where it was, and has missed nothing.
    again = await stage.connect(somebody(), ids[-1])
    total = await stage.database.value("select count(*) from event")
    await stage.until(lambda: again.received.endswith(b"\r\n") and _last_id(again) == total)
    await stage.until(lambda: _last_id(fast) == total)
    rest = [int(message["id"]) for message in again.messages[1:]]
    assert rest == list(range(ids[-1] + 1, total + 1))


def _last_id(client: Client) -> int:
    tail = client.received.rpartition(b"id: ")[2]
    return int(tail.split(b"\n")[0] or 0)


async def test_a_reader_that_is_stuck_is_cut_off_after_a_while(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By time; and its connection does not stay for ever."""
    from twisted.internet import reactor

    monkeypatch.setattr(events, "LINGER_SECONDS", 1.0)
    stage = Stage(reactor, database, EventsSection(slow_seconds=1.0, unsent_bytes=2**30))
    await stage.begin()
    client = await stage.connect(somebody())
    client.transport.pauseProducing()  # type: ignore[union-attr]
    await stage.put_many(4000, MINE, 2000)
    await stage.until(lambda: stage.ended == ["slow"])
    assert len(stage.streams) == 0
    await stage.until(lambda: not stage.streams._lingering)
    await stage.close()


async def test_one_that_is_further_behind_than_memory_reads_from_the_database(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is missed, and what is kept stays small."""
    monkeypatch.setattr(feed_module, "MOST_EVENTS", 300)
    monkeypatch.setattr(feed_module, "PAGE", 100)
    live = await stage.connect(somebody())
    await stage.put_many(2000, MINE)
    await stage.put_many(500, OTHERS)
    behind = await stage.connect(somebody(), 0)
    await stage.until(lambda: len(live.numbers()) == 2000)
    await stage.until(lambda: len(behind.numbers()) == 2000)
    assert live.numbers() == behind.numbers() == list(range(2000))
    await stage.until(lambda: stage.streams.feed.last == 2500)
    assert sum(len(batch.events) for batch in stage.streams.feed._batches) <= 300


async def test_events_come_although_notifications_are_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By looking now and then."""
    client = await stage.connect(somebody())
    assert await stage.database.all(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and application_name like '%% listen'"
    )
    await stage.put(3)
    await stage.until(lambda: client.numbers() == [0, 1, 2])


async def test_when_the_service_stops_every_stream_is_told(stage: Stage) -> None:
    """And a new one is refused."""
    clients = [await stage.connect(somebody()), await stage.connect(somebody(OTHERS))]
    stage.streams.stop()
    await stage.until(lambda: all(client.lost for client in clients))
    assert [client.messages[-1]["data"]["reason"] for client in clients] == ["restart"] * 2
    assert (await stage.wire.ask(PATH, somebody())).status == 503
    assert len(stage.streams) == 0


async def test_a_client_of_http_1_0_gets_the_same_without_chunks(stage: Stage) -> None:
    """As some proxies are."""
    client = Client()
    point = TCP4ClientEndpoint(stage.reactor, "127.0.0.1", stage.wire.number)
    await connectProtocol(point, client)
    token = stage.wire.identity.add(somebody())
    client.transport.write(  # type: ignore[union-attr]
        f"GET {PATH} HTTP/1.0\r\nHost: x\r\nX-Auth-Token: {token}\r\n\r\n".encode()
    )
    stage.clients.append(client)
    await stage.until(lambda: b"event: hello" in client.received)
    assert b"chunked" not in client.received


async def test_without_a_database_a_stream_is_refused_with_a_time_to_come_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As any other request is; and it is not counted as open."""

    async def away() -> int:
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(stage.streams.feed, "latest", away)
    answer = await stage.wire.ask(PATH, somebody())
    assert answer.status == 503 and answer.headers["retry-after"] == "5"
    assert b"The database does not answer." in answer.body
    assert len(stage.streams) == 0


async def test_a_reader_that_is_behind_waits_for_a_database_that_is_away(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then gets everything."""
    await stage.put(3)
    await stage.published()
    page, failures = stage.streams.feed.page, [1, 2]

    async def sometimes(position: int, project_id: str | None) -> tuple[bytes, int]:
        if failures:
            failures.pop()
            raise Unavailable("The database does not answer.")
        return await page(position, project_id)

    monkeypatch.setattr(stage.streams.feed, "page", sometimes)
    client = await stage.connect(somebody(), 0)
    await stage.until(lambda: client.numbers() == [0, 1, 2])
    assert not failures
