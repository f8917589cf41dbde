"""One exchange with a cluster's RAPI: the bytes, the time limit, and what a failure means.

At most one effect: a change passes the ``guard`` in the very turn of the reactor in which
its bytes are written, and its body ends the request, so that a change that was stopped half
way is not JSON and Ganeti does not run it. (A request cut off *before* the body is dangerous:
Ganeti takes a missing body for an empty one and runs the job.)
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn
from typing import Protocol as TypingProtocol
from urllib.parse import urlencode

import treq.client
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer
from zope.interface import implementer

from cyclades_tx.ganeti import replies, words
from cyclades_tx.ganeti.interfaces import GanetiRefused, GanetiUnavailable, GanetiUncertain
from cyclades_tx.ganeti.large_json import LargeJson, parse
from cyclades_tx.ganeti.replies import OddReply
from cyclades_tx.ganeti.tls import RapiAddress, RapiEndpoints


@dataclass(frozen=True)
class RapiCredentials:
    """A RAPI user with write access; neither word is shown in a ``repr``."""

    username: str = field(repr=False)
    password: str = field(repr=False)

    def header(self) -> bytes:
        """Return the value of the ``Authorization`` header."""
        pair = f"{self.username}:{self.password}".encode()
        return b"Basic " + base64.b64encode(pair)


@dataclass(frozen=True)
class RapiLimits:
    """How long and how large things may get.

    :ivar question_timeout_seconds: from the start to the last byte of an answer.
    :ivar change_timeout_seconds: the same for a change; RAPI itself gives up after 30.
    :ivar connect_timeout_seconds: for the connection with its TLS handshake.
    :ivar reply_bytes: a longer reply is an error.
    :ivar large_reply_bytes: a longer reply is parsed by ``large_json``.
    """

    question_timeout_seconds: float = 25.0
    change_timeout_seconds: float = 60.0
    connect_timeout_seconds: float = 10.0
    reply_bytes: int = 64 * 1024 * 1024
    large_reply_bytes: int = 256 * 1024


class Gate(TypingProtocol):
    """What an exchange has to pass before it may use a connection."""

    async def run(
        self,
        work: Callable[[], Awaitable[tuple[int, Any]]],
        probe: Callable[[], Awaitable[tuple[int, Any]]],
    ) -> tuple[int, Any]:
        """Run ``work`` when there is room; ``probe`` first when the cluster was not there.

        :raise GanetiUnavailable: when it was not run.
        """
        ...


@dataclass
class _Exchange:
    """One request and what became of it."""

    change: bool
    sent: bool = False
    guard_failure: Exception | None = None
    read_apart: Callable[[bytes], Any] | None = None


class _TooLong(Exception):
    """The reply passed the limit."""


class _TimedOut(Exception):
    """The whole exchange took too long."""


@implementer(IBodyProducer)
class _GuardedBody:
    """A body that is written at once, if the guard lets it."""

    def __init__(self, body: bytes, exchange: _Exchange, guard: Callable[[], None]) -> None:
        self.length = len(body)
        self._body = body
        self._exchange = exchange
        self._guard = guard

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        try:
            self._guard()
        except Exception as reason:
            self._exchange.guard_failure = reason
            # The connection is aborted now and nothing of this turn leaves. Should the headers
            # get out all the same, this makes the body one that Ganeti cannot parse.
            consumer.write(self._body[:1])
            raise
        self._exchange.sent = True
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Everything is written at once; there is nothing to pause."""

    def resumeProducing(self) -> None:
        """Everything is written at once."""

    def stopProducing(self) -> None:
        """Everything is written at once."""


class _Reply(Protocol):
    """Collects a reply's body up to a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._over = False
        self.done: Deferred[bytes] = Deferred(self._stop)

    def _stop(self, _: Deferred[bytes]) -> None:
        self._over = True
        if self.transport is not None:
            # The agent's proxy transport: stops the producer and closes the connection.
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        self._size += len(data)
        if self._size > self._limit:
            self._stop(self.done)
            self.done.errback(Failure(_TooLong()))
            return
        self._parts.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._over:
            return
        self._over = True
        if reason.check(ResponseDone):
            self.done.callback(b"".join(self._parts))
        else:
            self.done.errback(reason)


def no_guard() -> None:
    """Let every change pass."""


class RapiWire:
    """Sends requests to one cluster; see :class:`~cyclades_tx.ganeti.rapi.RapiCluster`."""

    def __init__(
        self,
        reactor: Any,
        address: RapiAddress,
        credentials: RapiCredentials,
        limits: RapiLimits,
        guard: Callable[[], None],
        gate: Gate | None,
        large_json: LargeJson | None,
        agent: IAgent | None,
    ) -> None:
        self._reactor = reactor
        self._limits = limits
        self._guard = guard
        self._gate = gate
        self._large_json = large_json
        self._base = address.url
        self._authorization = credentials.header()
        self._pools: list[HTTPConnectionPool] = []
        if agent is not None:
            self._questions = self._changes = treq.client.HTTPClient(agent)
        else:
            endpoints = RapiEndpoints(reactor, address, self._limits.connect_timeout_seconds)
            # A change never goes to a used connection: one that the other side is just closing
            # would leave us uncertain for nothing.
            self._questions = treq.client.HTTPClient(self._agent(endpoints, persistent=True))
            self._changes = treq.client.HTTPClient(self._agent(endpoints, persistent=False))

    def _agent(self, endpoints: RapiEndpoints, persistent: bool) -> IAgent:
        pool = HTTPConnectionPool(self._reactor, persistent=persistent)
        pool.maxPersistentPerHost = 12
        pool.cachedConnectionTimeout = 15
        pool.retryAutomatically = False
        self._pools.append(pool)
        agent: IAgent = Agent.usingEndpointFactory(self._reactor, endpoints, pool)
        return agent

    async def close(self) -> None:
        """Close the connections that are kept open."""
        for pool in self._pools:
            # An exchange that is under way brings its connection back: not to be kept then.
            pool.cachedConnectionTimeout = 0
            await pool.closeCachedConnections()

    async def change(
        self, method: str, path: str, query: list[tuple[str, str]], body: Mapping[str, Any]
    ) -> Any:
        words.check_ascii([path, query], "the request")
        words.check_ascii(body, "the request")
        exchange = _Exchange(change=True)
        data = _GuardedBody(words.to_json(body), exchange, self._guard)
        status, reply = await self._through_gate(exchange, method, path, query, data)
        if status == 200:
            return reply
        _refuse_change(status, replies.error_text(reply))

    async def ask(self, method: str, path: str, query: dict[str, str] | None = None) -> Any:
        return await self._answer(method, path, list((query or {}).items()), None)

    async def query(
        self, kind: str, fields: tuple[str, ...], qfilter: list[Any] | None
    ) -> list[dict[str, Any]]:
        body = {"fields": list(fields), "qfilter": qfilter}
        words.check_ascii(body, "the question")
        reply = await self._answer("PUT", f"/2/query/{kind}", [], words.to_json(body))
        return replies.rows(reply, fields)

    async def query_apart(
        self,
        kind: str,
        fields: tuple[str, ...],
        qfilter: list[Any] | None,
        read_apart: Callable[[bytes], Any],
    ) -> Any:
        """Like :meth:`query`, but a large reply is what ``read_apart`` made of it in a worker."""
        body = {"fields": list(fields), "qfilter": qfilter}
        words.check_ascii(body, "the question")
        text = words.to_json(body)
        return await self._answer("PUT", f"/2/query/{kind}", [], text, read_apart)

    async def _answer(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]],
        body: bytes | None,
        read_apart: Callable[[bytes], Any] | None = None,
    ) -> Any:
        exchange = _Exchange(change=False, read_apart=read_apart)
        data = None if body is None else _GuardedBody(body, exchange, no_guard)
        status, reply = await self._through_gate(exchange, method, path, query, data)
        if status == 200:
            return reply
        message = replies.error_text(reply) or f"HTTP status {status}"
        if 400 <= status < 500 or status == 501:
            raise GanetiRefused(f"The cluster refused the question: {message}", status)
        raise GanetiUnavailable(f"The cluster gave no answer: {message}", status=status)

    async def _through_gate(
        self,
        exchange: _Exchange,
        method: str,
        path: str,
        query: list[tuple[str, str]],
        data: _GuardedBody | None,
    ) -> tuple[int, Any]:
        if self._gate is None:
            return await self._exchange(exchange, method, path, query, data)
        return await self._gate.run(
            lambda: self._exchange(exchange, method, path, query, data), self._probe
        )

    async def _probe(self) -> tuple[int, Any]:
        """Ask for something small that only a working cluster answers."""
        return await self._exchange(_Exchange(change=False), "GET", "/2/info", [], None)

    async def _exchange(
        self,
        exchange: _Exchange,
        method: str,
        path: str,
        query: list[tuple[str, str]],
        data: _GuardedBody | None,
    ) -> tuple[int, Any]:
        """Send one request, return status and parsed body; the time limit covers it all."""
        limits = self._limits
        seconds = (
            limits.change_timeout_seconds if exchange.change else limits.question_timeout_seconds
        )
        whole = Deferred.fromCoroutine(self._send(exchange, method, path, query, data))
        whole.addTimeout(seconds, self._reactor, lambda _result, _seconds: _timed_out())
        try:
            return await whole
        except Exception as failure:
            if exchange.guard_failure is not None:
                raise exchange.guard_failure from None
            _no_reply(exchange, failure, seconds)

    async def _send(
        self,
        exchange: _Exchange,
        method: str,
        path: str,
        query: list[tuple[str, str]],
        data: _GuardedBody | None,
    ) -> tuple[int, Any]:
        client = self._changes if exchange.change else self._questions
        headers = Headers()
        headers.setRawHeaders(b"authorization", [self._authorization])
        headers.setRawHeaders(b"accept", [b"application/json"])
        headers.setRawHeaders(b"accept-encoding", [b"identity"])
        if data is not None:
            headers.setRawHeaders(b"content-type", [b"application/json"])
        response = await client.request(
            method,
            f"{self._base}{path}?{urlencode(query)}" if query else f"{self._base}{path}",
            headers=headers,
            data=data,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        reply = _Reply(self._limits.reply_bytes)
        response.deliverBody(reply)
        text = await reply.done
        return response.code, await self._parse(response.code, text, exchange.read_apart)

    async def _parse(
        self, status: int, text: bytes, read_apart: Callable[[bytes], Any] | None
    ) -> Any:
        try:
            if len(text) > self._limits.large_reply_bytes and self._large_json is not None:
                if status == 200 and read_apart is not None:
                    return await self._large_json(text, read_apart)
                return await self._large_json(text)
            return parse(text)
        except ValueError:
            if status == 200:
                raise
            return None  # an error page of something in between


def _timed_out() -> NoReturn:
    raise _TimedOut()


def _no_reply(exchange: _Exchange, failure: Exception, seconds: float) -> NoReturn:
    """Raise what it means that no reply was had."""
    if isinstance(failure, _TimedOut):
        what = f"no answer within {seconds:g} s"
    elif isinstance(failure, _TooLong):
        what = "the reply is too long"
    elif isinstance(failure, ValueError):
        what = "the reply is not JSON"
    else:
        what = _plain(failure)
    if exchange.change and exchange.sent:
        raise GanetiUncertain(f"The cluster may have taken the request: {what}") from None
    if isinstance(failure, ValueError):
        raise OddReply(f"The cluster's answer cannot be used: {what}") from None
    raise GanetiUnavailable(f"The cluster cannot be reached: {what}") from None


def _plain(failure: BaseException) -> str:
    """Say in a few words what an error of the network was."""
    reasons = getattr(failure, "reasons", None)
    if reasons and isinstance(reasons, list) and isinstance(reasons[0], Failure):
        value = reasons[0].value
        return type(failure).__name__ if value is None else _plain(value)
    text = " ".join(str(failure).split())[:200]
    if "certificate verify failed" in text:
        return "its TLS certificate is not the expected one"
    return f"{type(failure).__name__}: {text}" if text else type(failure).__name__


def _refuse_change(status: int, message: str) -> NoReturn:
    """Raise what a change's status other than 200 means.

    A job may have been made only where RAPI lost sight of the master daemon (502, 504) or
    broke in a way that it does not explain (other 5xx).
    """
    text = message or f"HTTP status {status}"
    if status == 503 or "Queue drained" in message or "queue is full" in message.lower():
        raise GanetiUnavailable(f"The cluster takes no jobs now: {text}", status=status)
    if 300 <= status < 400:
        raise GanetiUnavailable(f"Something other than a cluster answered: {text}", status=status)
    known = ("unknown_entity", "Failed to parse request", "Failed to write", "list index out of")
    if 400 <= status < 500 or status == 501 or any(word in message for word in known):
        raise GanetiRefused(f"The cluster refused: {text}", status)
    raise GanetiUncertain(f"The cluster may have taken the request: {text}", status=status)
