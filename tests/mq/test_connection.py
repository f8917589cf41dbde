"""The protocol against a broker made of bytes: heartbeats, garbage, and what never ends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from cyclades_tx.mq import codec
from cyclades_tx.mq.amqp import Channel, Closed, Connection, Content
from cyclades_tx.mq.codec import encode_arguments, encode_header, encode_table

START = b"\x00\x0a\x00\x0a" + encode_arguments(
    ["octet", "octet", "table", "longstr", "longstr"], [0, 9, {}, b"AMQPLAIN PLAIN", b"en_US"]
)
OPEN_OK = b"\x00\x0a\x00\x29\x00"
DELIVER = b"\x00\x3c\x00\x3c" + encode_arguments(
    ["shortstr", "longlong", "bit", "shortstr", "shortstr"], ["tag", 1, False, "x", "k"]
)
BASIC = (("content-type", "shortstr"), ("content-encoding", "shortstr"), ("headers", "table"))


class Transport(StringTransport):
    """A transport that knows whether it was given up."""

    aborted = False

    def abortConnection(self) -> None:
        """Give up."""
        self.aborted = True
        super().abortConnection()


def tune(frame_max: int = 131_072, channel_max: int = 10) -> bytes:
    """The broker's limits."""
    arguments = encode_arguments(["short", "long", "short"], [channel_max, frame_max, 60])
    return b"\x00\x0a\x00\x1e" + arguments


class Peer:
    """A connection of ours, and the broker's side of it in our hands."""

    def __init__(self, heartbeat_seconds: int = 10, **options: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.connection = Connection(self.clock, "/", heartbeat_seconds, **options)
        self.transport = Transport()
        self.connection.makeConnection(self.transport)
        self.lost: list[Closed] = []
        self.connection.on_lost = self.lost.append

    def say(self, payload: bytes, channel: int = 0, kind: int = codec.METHOD) -> None:
        """Send a frame."""
        self.connection.dataReceived(codec.frame(kind, channel, payload))

    def heard(self) -> bytes:
        """What was sent to us since the last time."""
        data = self.transport.value()
        self.transport.clear()
        return data

    def opened(self, frame_max: int = 131_072) -> Peer:
        """After the handshake."""
        self.entering = self.connection.log_in("user", "hush")
        self.say(START)
        self.say(tune(frame_max))
        self.say(OPEN_OK)
        assert self.entering.called
        self.heard()
        return self

    def channel(self) -> Channel:
        """A channel that is open."""
        opening = Deferred.fromCoroutine(self.connection.open_channel())
        self.say(b"\x00\x14\x00\x0b\x00\x00\x00\x00", 1)
        channel: Any = []
        opening.addCallback(channel.append)
        self.heard()
        return channel[0]

    def end(self) -> None:
        """The transport goes."""
        self.connection.connectionLost(Failure(ConnectionDone()))
        assert not self.clock.getDelayedCalls()


@pytest.fixture
def peer():
    """A connection after its handshake."""
    made = Peer().opened()
    yield made
    made.end()


def test_the_first_bytes_name_the_protocol() -> None:
    """Of version 0-9-1 exactly."""
    peer = Peer()
    assert peer.heard() == b"AMQP\x00\x00\x09\x01"
    peer.end()


def test_we_say_what_we_understand() -> None:
    """So that the broker tells of canceled consumers, blocks and wrong passwords."""
    peer = Peer(name="node7")
    peer.connection.log_in("user", "hush").addErrback(lambda failure: failure.trap(Closed))
    peer.heard()
    peer.say(START)
    said = peer.heard()
    for word in (
        b"consumer_cancel_notifyt\x01",
        b"publisher_confirmst\x01",
        b"basic.nackt\x01",
        b"connection.blockedt\x01",
        b"authentication_failure_closet\x01",
        b"node7",
        b"\x00user\x00hush",
    ):
        assert word in said
    peer.end()


def test_limits_are_the_smaller_ones() -> None:
    """None at all from the broker means ours."""
    for offered, agreed in ((4096, 4096), (0, 131_072), (2**31, 131_072)):
        peer = Peer().opened(offered)
        assert peer.connection.frame_bytes == agreed
        peer.end()


def test_a_body_is_cut_to_the_agreed_size() -> None:
    """No frame is larger, its envelope included."""
    peer = Peer().opened(4096)
    channel = peer.channel()
    channel.publish("x", "k", bytes(10_000), {})
    frames = codec.FrameBuffer(4096 - 8).feed(peer.heard())
    assert [len(payload) for kind, _, payload in frames if kind == codec.BODY] == [4088, 4088, 1824]
    peer.end()


def test_heartbeats_are_said_when_nothing_else_is(peer: Peer) -> None:
    """One at a time, often enough; what is said for other reasons counts."""
    beat = codec.frame(codec.HEARTBEAT, 0, b"")
    for _ in range(4):
        peer.say(b"", kind=codec.HEARTBEAT)
        peer.clock.advance(2.5)
    assert 2 <= peer.heard().count(beat) <= 4
    peer.clock.advance(2.4)
    peer.connection.send(b"something else")
    peer.heard()
    peer.clock.advance(0.1)
    assert beat not in peer.heard()


def test_a_silent_peer_is_dead_after_two_intervals(peer: Peer) -> None:
    """Not before, and not much later."""
    for _ in range(19):
        peer.clock.advance(1)
    assert not peer.lost
    peer.clock.advance(1)
    peer.clock.advance(0.2)
    assert "nothing came from the broker for 20 seconds" in str(peer.lost[0])
    assert peer.transport.aborted


def test_a_stall_of_our_own_kills_nobody(peer: Peer) -> None:
    """What waits in the socket is read first."""
    peer.clock.advance(500)
    peer.say(b"", kind=codec.HEARTBEAT)
    peer.clock.advance(0.2)
    assert not peer.lost


def test_frames_do_not_restart_timers(peer: Peer) -> None:
    """That took a quarter of the time."""
    before = peer.clock.getDelayedCalls()
    for _ in range(50):
        peer.connection.send(b"x")
        peer.say(b"", kind=codec.HEARTBEAT)
    assert peer.clock.getDelayedCalls() == before


def test_without_a_login_by_password_the_secret_stays_here() -> None:
    """The broker wants something that we cannot."""
    peer = Peer()
    entering = peer.connection.log_in("user", "hush")
    peer.heard()
    peer.say(START.replace(b"AMQPLAIN PLAIN", b"XXXXXXXX XXXXX"))
    assert b"hush" not in peer.heard()
    entering.addErrback(lambda failure: failure.trap(Closed))
    peer.end()


def test_nothing_is_believed_before_the_peer_is_known() -> None:
    """With a pinned certificate a word before the check ends it."""

    def nobody(transport: Any) -> None:
        raise ValueError("not the pinned certificate")

    for early in (True, False):
        peer = Peer(check_peer=nobody)
        entering = peer.connection.log_in("user", "hush")
        if early:
            peer.say(START)
        else:
            peer.connection.handshakeCompleted()
        assert peer.lost and peer.transport.aborted
        assert b"hush" not in peer.heard()
        entering.addErrback(lambda failure: failure.trap(Closed))
        peer.end()


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=60), max_size=6), st.booleans())
def test_garbage_ends_the_connection_or_waits(pieces: list[bytes], framed: bool) -> None:
    """Never an exception, never a second end."""
    peer = Peer().opened()
    channel = peer.channel()
    channel.on_content = lambda name, content: None
    for piece in pieces:
        if framed:
            peer.say(piece, piece[0] % 3, 1 + piece[-1] % 3)
        else:
            peer.connection.dataReceived(piece)
    assert len(peer.lost) <= 1
    peer.end()
    assert len(peer.lost) == 1


@pytest.mark.parametrize(
    "frames",
    [
        [(codec.HEADER, encode_header(60, 1, BASIC, {}))],
        [(codec.BODY, b"x")],
        [(codec.METHOD, DELIVER), (codec.BODY, b"x")],
        [(codec.METHOD, DELIVER), (codec.METHOD, DELIVER)],
        [(codec.METHOD, DELIVER), (codec.HEADER, encode_header(61, 1, BASIC, {}))],
        [(codec.METHOD, DELIVER), (codec.HEADER, encode_header(60, 2**60, BASIC, {}))],
        [(codec.METHOD, DELIVER), (codec.HEADER, encode_header(60, 1, BASIC, {})),
         (codec.BODY, b"xx")],
        [(codec.METHOD, b"\x00\x3c\x00\x0b")],
        [(codec.METHOD, b"\x00\x63\x00\x01")],
        [(codec.METHOD, b"\x00\x3c\x00\x28")],
        [(codec.METHOD, b"\x00")],
        [(codec.METHOD, DELIVER[:-1])],
    ],
    ids=["header first", "body first", "no header", "two methods", "other class", "too large",
         "too long", "unasked answer", "no such class", "not the broker's", "cut off", "short"],
)  # fmt: skip
def test_nonsense_ends_the_connection(peer: Peer, frames: list[tuple[int, bytes]]) -> None:
    """With words that say so."""
    channel = peer.channel()
    channel.on_content = lambda name, content: pytest.fail("a message was made of it")
    for kind, payload in frames:
        peer.say(payload, 1, kind)
    assert "nonsense" in str(peer.lost[0])
    assert peer.transport.aborted


def test_a_message_is_put_together_from_its_frames(peer: Peer) -> None:
    """Heartbeats and other channels in between do not disturb it."""
    channel = peer.channel()
    got: list[Content] = []
    channel.on_content = lambda name, content: got.append(content)
    peer.say(DELIVER, 1)
    peer.say(b"", kind=codec.HEARTBEAT)
    peer.say(encode_header(60, 4, BASIC, {"headers": {"a": 1}}), 1, codec.HEADER)
    for piece in (b"\xc3", b"\xa9", b"\xff", b"x"):
        peer.say(piece, 1, codec.BODY)
        peer.say(b"unknown channel", 5, codec.BODY)
    (content,) = got
    assert content.body == b"\xc3\xa9\xffx"
    assert content.properties == {"headers": {"a": 1}}
    assert content.arguments == ["tag", 1, False, "x", "k"]


def test_questions_end_with_the_connection(peer: Peer) -> None:
    """Each with the broker's reason."""
    channel = peer.channel()
    asked = [channel.queue_declare(queue="q"), channel.basic_qos(prefetch_count=1)]
    reason = encode_arguments(["short", "shortstr", "short", "short"], [320, "shutdown", 0, 0])
    peer.say(b"\x00\x0a\x00\x32" + reason)
    failures: list[Failure] = []
    for each in asked:
        each.addErrback(failures.append)
    assert [str(failure.value) for failure in failures] == ["320 shutdown"] * 2
    late = channel.basic_qos(prefetch_count=1)
    late.addErrback(failures.append)
    assert failures[-1].check(Closed)


def test_a_peer_that_reads_no_more_does_not_keep_the_socket(peer: Peer) -> None:
    """Closing is polite for a second."""
    peer.connection.end(Closed("done"))
    assert not peer.transport.aborted
    peer.clock.advance(1)
    assert peer.transport.aborted


def test_an_answer_nobody_waits_for_is_taken_off_the_line(peer: Peer) -> None:
    """The next answer goes to its own question."""
    channel = peer.channel()
    first = channel.basic_qos(prefetch_count=1)
    first.addErrback(lambda failure: None)
    first.cancel()
    second = channel.basic_qos(prefetch_count=1)
    peer.say(b"\x00\x3c\x00\x0b", 1)
    assert not second.called
    peer.say(b"\x00\x3c\x00\x0b", 1)
    assert second.called and not peer.lost


def test_a_channel_ends_once_and_is_silent_from_then_on(peer: Peer) -> None:
    """The broker ends the connection of whoever speaks on a channel that is gone."""
    channel = peer.channel()
    ends: list[None] = []
    for _ in range(2):
        Deferred.fromCoroutine(channel.finish()).addCallback(ends.append)
        channel.ack(1)
        channel.nack(2)
    (frame,) = codec.FrameBuffer(1000).feed(peer.heard())
    assert frame[2].startswith(b"\x00\x14\x00\x28")
    late = channel.basic_qos(prefetch_count=1)
    assert peer.heard() == b""
    peer.say(b"\x00\x14\x00\x29", 1)
    assert len(ends) == 2 and channel.closed and not peer.lost
    late.addErrback(lambda failure: failure.trap(Closed))


def test_a_question_that_our_farewell_overtook_ends_with_the_channel(peer: Peer) -> None:
    """RabbitMQ answers the farewell and not the question."""
    channel = peer.channel()
    failures: list[Failure] = []
    channel.basic_consume(queue="q").addErrback(failures.append)
    ends: list[None] = []
    Deferred.fromCoroutine(channel.finish()).addCallback(ends.append)
    peer.say(b"\x00\x14\x00\x29", 1)
    assert failures[0].check(Closed) and len(ends) == 1 and not peer.lost


def test_every_channel_in_use_is_told(peer: Peer) -> None:
    """The broker allows ten."""
    for _ in range(10):
        Deferred.fromCoroutine(peer.connection.open_channel()).addErrback(lambda failure: None)
    failures: list[Failure] = []
    Deferred.fromCoroutine(peer.connection.open_channel()).addErrback(failures.append)
    assert "every channel" in str(failures[0].value)


def test_a_blocked_connection_is_told_and_undone(peer: Peer) -> None:
    """With the broker's reason."""
    told: list[str | None] = []
    peer.connection.on_blocked = told.append
    peer.say(b"\x00\x0a\x00\x3c" + encode_arguments(["shortstr"], ["low on memory"]))
    assert peer.connection.blocked == "low on memory"
    peer.say(b"\x00\x0a\x00\x3d")
    assert told == ["low on memory", None] and peer.connection.blocked is None


def test_a_table_with_every_type_in_a_message_is_read(peer: Peer) -> None:
    """The header of a dead letter, byte for byte as RabbitMQ writes it."""
    death = {"count": 2**40, "reason": "rejected", "queue": "q", "routing-keys": ["a"]}
    channel = peer.channel()
    got: list[Content] = []
    channel.on_content = lambda name, content: got.append(content)
    peer.say(DELIVER, 1)
    table = encode_table({"x-death": [death]})
    payload = b"\x00\x3c\x00\x00" + bytes(8) + b"\x20\x00" + table
    peer.say(payload, 1, codec.HEADER)
    assert got[0].properties["headers"]["x-death"] == [death]
    assert got[0].body == b""
