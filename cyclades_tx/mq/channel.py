"""A channel of a cured txAMQP connection: methods out, answers and whole messages in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import txamqp.spec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from txamqp.message import Message
from txamqp.protocol import AMQChannel

from cyclades_tx.mq import codec
from cyclades_tx.mq.codec import Malformed, Unsendable

#: RabbitMQ itself takes no message of more than 128 MiB, newer ones no more than 16.
MOST_BODY_BYTES = 2**28


class Closed(Exception):
    """A channel or connection has ended; the text is the broker's reason.

    :ivar code: AMQP's number of the reason; 0 when there is none.
    """

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(slots=True)
class Content:
    """A message that came: the method's arguments, the properties and the body."""

    arguments: list[Any]
    properties: dict[str, Any]
    body: bytes


@dataclass(frozen=True)
class _Word:
    """A method of the specification, ready for use."""

    method: Any
    types: tuple[str, ...]
    prefix: bytes
    no_wait: int | None


@dataclass(frozen=True)
class _Basic:
    """What messages need of the class ``basic``; ``fields`` are their properties."""

    id: int
    fields: tuple[tuple[str, str], ...]
    publish: _Word
    ack: _Word
    nack: _Word


@cache
def specification() -> Any:
    """Our own specification, as txAMQP reads it."""
    return txamqp.spec.load(str(Path(__file__).with_name("amqp0-9-1.xml")))


@cache
def _words() -> tuple[dict[Any, _Word], dict[bytes, _Word]]:
    """Each method by itself, and by the four bytes that begin its frame."""
    by_method: dict[Any, _Word] = {}
    for klass in specification().classes:
        for method in klass.methods:
            names = [field.name for field in method.fields]
            by_method[method] = _Word(
                method,
                tuple(field.type for field in method.fields),
                klass.id.to_bytes(2, "big") + method.id.to_bytes(2, "big"),
                names.index("no-wait") if "no-wait" in names else None,
            )
    return by_method, {word.prefix: word for word in by_method.values()}


@cache
def _basic() -> _Basic:
    klass = specification().classes.byname["basic"]
    words = {method.name: _words()[0][method] for method in klass.methods}
    fields = tuple((field.name, field.type) for field in klass.fields)
    return _Basic(klass.id, fields, words["publish"], words["ack"], words["nack"])


class Line(Protocol):
    """What a channel needs of its connection.

    :ivar frame_bytes: the largest frame that may be sent.
    :ivar delegate: does what the broker asks for when it takes the word.
    """

    channels: dict[int, Channel]
    delegate: Any
    frame_bytes: int

    def send(self, data: bytes) -> None:
        """Send whole frames."""


class Channel(AMQChannel):
    """One channel; its methods are those of the specification, such as ``queue_declare``.

    :ivar on_content: called with the name of the method ("deliver" or "return") and the message.
    :ivar on_confirm: called with delivery tag, multiple, and whether it was taken.
    :ivar on_cancel: called with the consumer tag that the broker gave up.
    :ivar on_closed: called with the :class:`Closed` when the channel has ended.
    """

    client: Line
    closed: bool

    def __init__(self, id: int, outgoing: Any, client: Line) -> None:
        super().__init__(id, outgoing, client)
        self.on_content: Callable[[str, Content], None] | None = None
        self.on_confirm: Callable[[int, bool, bool], None] | None = None
        self.on_cancel: Callable[[str], None] | None = None
        self.on_closed: Callable[[Closed], None] | None = None
        self._said_close = False
        self._answers: deque[tuple[Any, Deferred[Any]]] = deque()
        self._word: _Word | None = None
        self._arguments: list[Any] = []
        self._properties: dict[str, Any] | None = None
        self._pieces: list[bytes] = []
        self._missing = 0

    def invoke(self, method: Any, args: Sequence[Any], content: Any = None) -> Deferred[Any]:
        """Send a method; the Deferred fires with the broker's answer, if there is to be one.

        :raise Closed: through the Deferred, when the channel ends before the answer.
        :raise Unsendable: through the Deferred; nothing was sent.
        """
        if self.closed:
            return fail(self.reason)
        if self._said_close:
            return fail(Closed("the channel is being closed by us"))
        word = _words()[0][method]
        try:
            data = self.pack(word, args)
        except Unsendable:
            return fail()
        self.client.send(data)
        if not method.responses or (word.no_wait is not None and args[word.no_wait]):
            return succeed(None)
        # An answer that nobody waits for any longer must still be taken off the line.
        answer: Deferred[Any] = Deferred(lambda canceled: None)
        self._answers.append((method.responses, answer))
        return answer

    def pack(self, word: _Word, args: Sequence[Any]) -> bytes:
        """The frame of a method.

        :raise Unsendable: when an argument does not fit.
        """
        payload = word.prefix + codec.encode_arguments(word.types, args)
        self._check_size(payload)
        return codec.frame(codec.METHOD, self.id, payload)

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Mapping[str, Any],
        mandatory: bool = False,
    ) -> None:
        """Send a message, all of its frames at once.

        :raise Closed: when the channel has ended.
        :raise Unsendable: when it cannot be said on the wire; nothing was sent.
        """
        if self.closed:
            raise self.reason
        basic = _basic()
        header = codec.encode_header(basic.id, len(body), basic.fields, properties)
        self._check_size(header)
        parts = [
            self.pack(basic.publish, (0, exchange, routing_key, mandatory, False)),
            codec.frame(codec.HEADER, self.id, header),
        ]
        step = self.client.frame_bytes - codec.FRAME_OVERHEAD_BYTES
        for start in range(0, len(body), step):
            parts.append(codec.frame(codec.BODY, self.id, body[start : start + step]))
        self.client.send(b"".join(parts))

    def ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Settle one delivery, or all up to it."""
        self._say(_basic().ack, delivery_tag, multiple)

    def nack(self, delivery_tag: int, multiple: bool = False, requeue: bool = True) -> None:
        """Give one delivery back, or all up to it."""
        self._say(_basic().nack, delivery_tag, multiple, requeue)

    def _say(self, word: _Word, *args: Any) -> None:
        if not (self.closed or self._said_close):
            self.client.send(self.pack(word, args))

    def _check_size(self, payload: bytes) -> None:
        most = self.client.frame_bytes - codec.FRAME_OVERHEAD_BYTES
        if len(payload) > most:
            raise Unsendable(f"names or headers of {len(payload)} bytes, {most} are allowed")

    def receive(self, kind: int, payload: bytes) -> None:
        """Take a frame of this channel.

        :raise Malformed: when it makes no sense here.
        """
        if kind == codec.METHOD:
            self._receive_method(payload)
        elif kind == codec.HEADER:
            self._receive_header(payload)
        else:
            if self._properties is None or len(payload) > self._missing:
                raise Malformed("a body that belongs to no message")
            self._pieces.append(payload)
            self._missing -= len(payload)
            if not self._missing:
                self._whole()

    def _receive_method(self, payload: bytes) -> None:
        word = _words()[1].get(payload[:4])
        if word is None:
            raise Malformed("a method that does not exist")
        if self._word is not None:
            raise Malformed("a method in the middle of a message")
        arguments = codec.decode_arguments(word.types, payload, 4)
        method = word.method
        if method.content:
            self._word, self._arguments = word, arguments
        elif method.name in ("ack", "nack") and method.klass.name == "basic":
            if self.on_confirm is not None:
                self.on_confirm(arguments[0], arguments[1], method.name == "ack")
        elif method.response:
            self._answered(method, Message(method, arguments))
        else:
            handler = getattr(
                self.client.delegate, f"{method.klass.name}_{method.name.replace('-', '_')}", None
            )
            if handler is None:
                raise Malformed(f"the broker cannot say {method.klass.name}.{method.name}")
            handler(self, Message(method, arguments))

    def _receive_header(self, payload: bytes) -> None:
        if self._word is None or self._properties is not None:
            raise Malformed("a header that belongs to no message")
        basic = _basic()
        class_id, size, self._properties = codec.decode_header(payload, basic.fields)
        if class_id != basic.id or size > MOST_BODY_BYTES:
            raise Malformed(f"a message of {size} bytes")
        self._missing = size
        if not size:
            self._whole()

    def _whole(self) -> None:
        """A message is complete."""
        assert self._word is not None and self._properties is not None
        method = self._word.method
        pieces = self._pieces
        content = Content(
            self._arguments, self._properties, pieces[0] if len(pieces) == 1 else b"".join(pieces)
        )
        self._word, self._properties, self._pieces = None, None, []
        if method.response:
            self._answered(method, content)
        elif self.on_content is not None:
            self.on_content(method.name, content)

    def _answered(self, method: Any, answer: Any) -> None:
        if self._said_close and method.name == "close-ok":
            # The broker leaves open what it had not answered when it read our farewell.
            self._fail_answers(keep=1)
        if not self._answers or method not in self._answers[0][0]:
            raise Malformed(f"an answer to no question: {method.klass.name}.{method.name}")
        _, waiting = self._answers.popleft()
        if not waiting.called:
            waiting.callback(answer)

    def do_close(self, reason: Any) -> None:
        """The channel has ended, for whatever reason."""
        if self.closed:
            return
        self.closed = True
        self.reason = as_closed(reason)
        self.client.channels.pop(self.id, None)
        self._fail_answers()
        if self.on_closed is not None:
            self.on_closed(self.reason)

    def _fail_answers(self, keep: int = 0) -> None:
        reason = self.reason or Closed("the channel was closed by us")
        while len(self._answers) > keep:
            _, waiting = self._answers.popleft()
            if not waiting.called:
                waiting.errback(Failure(reason))

    async def finish(self) -> None:
        """End the channel politely; nothing may be said on it any more."""
        if not (self.closed or self._said_close):
            asked = self.channel_close(reply_code=200, reply_text="done")
            self._said_close = True
            await asked
            self.do_close(Closed("done"))


def as_closed(reason: Any) -> Closed:
    """Why something has ended, in words."""
    if isinstance(reason, Closed):
        return reason
    if isinstance(reason, Message):
        return Closed(f"{reason.reply_code} {reason.reply_text}", reason.reply_code)
    return Closed(str(reason))
