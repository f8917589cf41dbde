"""txAMQP 0.8.2, cured: one connection, its channels, and whole messages as bytes.

Only subclasses; the release is pinned, because they hold on to its insides. What was wrong
with the library, and is right here, has a test each in ``tests/mq/test_amqp.py``. Nobody but
this module and ``channel.py`` imports txamqp.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IHandshakeListener
from twisted.python.failure import Failure
from txamqp.client import TwistedDelegate
from txamqp.message import Message
from txamqp.protocol import AMQClient
from zope.interface import implementer

from cyclades_tx.mq import codec
from cyclades_tx.mq.channel import Channel, Closed, Content, as_closed, specification
from cyclades_tx.mq.codec import Malformed

__all__ = ["Channel", "Closed", "Connection", "Content"]

#: What RabbitMQ offers; a frame is never larger.
MOST_FRAME_BYTES = 131_072
#: After a stall of our own: let the socket be read before a peer counts as dead.
_GRACE_SECONDS = 0.1
_CAPABILITIES = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}


class Delegate(TwistedDelegate):
    """What is done when the broker takes the word."""

    def connection_start(self, channel: Channel, message: Message) -> None:
        """Log in."""
        self.client.introduced(message)

    def connection_tune(self, channel: Channel, message: Message) -> None:
        """Agree on the limits."""
        self.client.tuned(message)

    def connection_blocked(self, channel: Channel, message: Message) -> None:
        """The broker takes no messages for now."""
        self.client.set_blocked(message.reason or "the broker gave no reason")

    def connection_unblocked(self, channel: Channel, message: Message) -> None:
        """It takes them again."""
        self.client.set_blocked(None)

    def connection_close(self, channel: Channel, message: Message) -> None:
        """The broker ends the connection."""
        channel.connection_close_ok()
        self.client.end(as_closed(message))

    def channel_flow(self, channel: Channel, message: Message) -> None:
        """Agree; RabbitMQ has not asked for it since its version 2."""
        channel.channel_flow_ok(active=message.active)

    def channel_close(self, channel: Channel, message: Message) -> None:
        """The broker ends a channel because of an error on it."""
        channel.channel_close_ok()
        channel.do_close(message)

    def basic_cancel(self, channel: Channel, message: Message) -> None:
        """The broker ends a consumer: its queue is gone or has moved."""
        if channel.on_cancel is not None:
            channel.on_cancel(message.consumer_tag)


@implementer(IHandshakeListener)
class Connection(AMQClient):
    """One connection to a broker.

    :ivar on_blocked: called with the reason when the broker takes no messages for now, with
        None when it takes them again.
    :ivar on_lost: called once with a :class:`Closed` when the connection has ended.

    :param clock: gives the time for heartbeats.
    :param heartbeat_seconds: silence of this length, twice, is a dead peer.
    :param check_peer: looks at the transport after a TLS handshake, before anything secret is
        sent; what it raises ends the connection.
    """

    channelClass = Channel
    closed: bool
    _linger: Any = None

    def __init__(
        self,
        clock: Any,
        vhost: str,
        heartbeat_seconds: int,
        name: str = "cyclades_tx",
        check_peer: Callable[[Any], None] | None = None,
    ) -> None:
        super().__init__(Delegate(), vhost, specification(), heartbeat=0, clock=clock)
        self.heartbeat_seconds = heartbeat_seconds
        self.frame_bytes = MOST_FRAME_BYTES
        self.on_blocked: Callable[[str | None], None] | None = None
        self.on_lost: Callable[[Closed], None] | None = None
        self.blocked: str | None = None
        self.reason: Closed | None = None
        self._name = name
        self._check_peer = check_peer
        self._trusted = check_peer is None
        self._frames = codec.FrameBuffer(MOST_FRAME_BYTES)
        self._login: tuple[str, str] | None = None
        self._open: Deferred[None] = Deferred(lambda canceled: None)
        self._entering = False
        self._next_channel = 1
        self._channel_max = 0
        self._heard_at = self._said_at = 0.0
        self._heart: Any = None
        self._channel0 = self._channel(0)

    # What others call

    def log_in(self, username: str, password: str) -> Deferred[None]:
        """Say who we are when the broker asks; fires when the virtual host is open.

        :raise Closed: through the Deferred, with the broker's reason.
        """
        if self.closed:
            return fail(self.reason or Closed("the connection was lost"))
        self._login = (username, password)
        self._entering = True
        return self._open

    async def open_channel(self) -> Channel:
        """Begin a channel with a number that no channel has now.

        :raise Closed: when the connection has ended.
        """
        if self.closed:
            raise self.reason or Closed("the connection was lost")
        most = self._channel_max or 65_535
        for _ in range(most):
            number = self._next_channel
            self._next_channel = number % most + 1
            if number not in self.channels:
                break
        else:
            raise Closed("every channel of the connection is in use")
        channel = self._channel(number)
        await channel.channel_open()
        return channel

    async def shut(self, within_seconds: float) -> None:
        """End the connection politely, or else by force within some seconds."""
        if self.closed:
            return
        try:
            asked = self._channel0.connection_close(reply_code=200, reply_text="done")
            await asked.addTimeout(within_seconds, self.clock, lambda result, seconds: None)
        except Closed:
            pass
        finally:
            self.end(Closed("closed by us"))

    def end(self, reason: Closed) -> None:
        """The connection has ended: tell everyone, and close the transport."""
        if self.closed:
            return
        self.closed = True
        self.reason = reason
        if self._heart is not None:
            self._heart.cancel()
            self._heart = None
        self._login = None
        # First of all, so that whoever waits on a channel finds no connection any more.
        if self.on_lost is not None:
            self.on_lost(reason)
        for channel in list(self.channels.values()):
            channel.do_close(reason)
        if self.transport is not None:
            self.transport.loseConnection()
            # A peer that reads no more must not keep the socket.
            self._linger = self.clock.callLater(1.0, self.transport.abortConnection)
        if self._entering and not self._open.called:
            self._open.errback(Failure(reason))

    def abort(self, reason: str) -> None:
        """Give the connection up at once."""
        self.end(Closed(reason))
        self.transport.abortConnection()

    def send(self, data: bytes) -> None:
        """Write whole frames."""
        self._said_at = self.clock.seconds()
        self.transport.write(data)

    # What Twisted calls

    def connectionMade(self) -> None:
        """Say which protocol this is."""
        self._heard_at = self.clock.seconds()
        self.send(b"AMQP\x00\x00\x09\x01")

    def handshakeCompleted(self) -> None:
        """TLS stands: is this the peer that we want?"""
        if self._check_peer is not None and not self._trusted:
            try:
                self._check_peer(self.transport)
            except Exception as error:
                self.abort(str(error))
            else:
                self._trusted = True

    def dataReceived(self, data: bytes) -> None:
        """Take what came; anything that makes no sense ends the connection."""
        if self.closed:
            return
        self._heard_at = self.clock.seconds()
        try:
            if not self._trusted:
                raise Malformed("data before the peer was known")
            for kind, number, payload in self._frames.feed(data):
                if self.reason is not None:
                    return
                if kind == codec.HEARTBEAT:
                    continue
                channel = self.channels.get(number)
                if channel is not None:
                    channel.receive(kind, payload)
                elif number > (self._channel_max or 65_535):
                    raise Malformed("a channel that was never opened")
        except Malformed as error:
            self.abort(f"the broker sent nonsense: {error}")

    def connectionLost(self, reason: Failure) -> None:
        """The transport is gone."""
        self.end(Closed(f"the connection was lost: {reason.getErrorMessage()}"))
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self.disconnected.fire()

    # The handshake

    def introduced(self, message: Message) -> None:
        """The broker asks who we are."""
        if self._login is None or b"PLAIN" not in message.mechanisms.split():
            self.abort("the broker does not offer a login with a password")
            return
        username, password = self._login
        self._login = None
        self._channel0.connection_start_ok(
            client_properties={
                "product": "cyclades_tx",
                "platform": "Twisted",
                "connection_name": self._name,
                "capabilities": _CAPABILITIES,
            },
            mechanism="PLAIN",
            response=b"\0" + username.encode() + b"\0" + password.encode(),
            locale="en_US",
        ).addErrback(lambda failure: self.abort("the user name or password cannot be sent"))

    def tuned(self, message: Message) -> None:
        """The broker names its limits."""
        self.frame_bytes = min(message.frame_max or MOST_FRAME_BYTES, MOST_FRAME_BYTES)
        self._channel_max = message.channel_max
        self._channel0.connection_tune_ok(
            channel_max=message.channel_max,
            frame_max=self.frame_bytes,
            heartbeat=self.heartbeat_seconds,
        )
        if self._heart is None and self.heartbeat_seconds:
            self._beat()
        opened = self._channel0.connection_open(virtual_host=self.vhost)
        opened.addCallbacks(self._opened, lambda failure: None)

    def _opened(self, _: Any) -> None:
        if not self._open.called:
            self._open.callback(None)

    def set_blocked(self, reason: str | None) -> None:
        """The broker takes no messages for now (or takes them again)."""
        self.blocked = reason
        if self.on_blocked is not None:
            self.on_blocked(reason)

    def _beat(self, late: bool = False) -> None:
        """Say that we live, and see whether the peer does."""
        self._heart = None
        now = self.clock.seconds()
        allowed = 2.0 * self.heartbeat_seconds
        if now - self._heard_at >= allowed:
            if late:
                self.abort(f"nothing came from the broker for {allowed:g} seconds")
                return
            self._heart = self.clock.callLater(_GRACE_SECONDS, self._beat, True)
            return
        if now - self._said_at >= self.heartbeat_seconds / 4:
            self.send(codec.frame(codec.HEARTBEAT, 0, b""))
        pause = min(self.heartbeat_seconds / 4, self._heard_at + allowed - now)
        self._heart = self.clock.callLater(pause, self._beat)

    def _channel(self, number: int) -> Channel:
        channel: Channel = self.channelFactory(number, self.outgoing, self)
        self.channels[number] = channel
        return channel
