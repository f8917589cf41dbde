"""Requests to one account of an OpenStack Object Storage (Swift's API v1).

Nothing is kept open between requests: few are made, and a connection that the other side has
closed meanwhile would spoil an upload that cannot be sent twice. A request is repeated where
saying it twice does no harm: not what is streamed, and not what must be new.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.http_headers import Headers

from cyclades_tx.errors import ConfigError, CycladesError, Unavailable
from cyclades_tx.image_store.bodies import Body
from cyclades_tx.image_store.interfaces import StoreFull
from cyclades_tx.image_store.object_bodies import Answer, Outgoing, Put, Whole, silent
from cyclades_tx.image_store.object_login import Keystone, Login, Session
from cyclades_tx.image_store.pieces import LITTLE_BYTES, CutOff

CONNECT_SECONDS = 10.0
#: Before a request is said again.
_PAUSES_SECONDS = (0.2, 1.0)
#: No reply that is kept in memory is longer: a list of a thousand objects has a tenth of it.
_MOST_BYTES = 4_194_304
#: The other side has no room: a quota, or its disks.
_FULL = (413, 507)


class ObjectWire:
    """One account.

    :param reactor: provides time and connections.
    :param timeout_seconds: how long the other side may say, or take, nothing.
    :param authorities_pem: who signs its certificates; empty: the system's authorities.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, login: Login, timeout_seconds: float, authorities_pem: str = ""
    ) -> None:
        self._reactor = reactor
        self._timeout_seconds = timeout_seconds
        pool = HTTPConnectionPool(reactor, persistent=False)
        policy = _policy(authorities_pem)
        self._agent = Agent(reactor, policy, connectTimeout=CONNECT_SECONDS, pool=pool)
        self._keystone = Keystone(reactor, login, self._said)

    async def log_in(self) -> Session:
        """See whether we are let in.

        :raise ConfigError: when not.
        :raise Unavailable: when nobody answers.
        """
        return await self._keystone.session()

    async def ask(
        self,
        method: str,
        path: str,
        fine: tuple[int, ...],
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        once: bool = False,
    ) -> Answer:
        """Make a request whose body and reply are small.

        :param path: below the account: a container, or a container and an object.
        :param fine: the statuses that the caller expects.
        :param once: whether it must not be repeated.
        :raise StoreFull: when there is no room there.
        :raise Unavailable: for any other status, or none.
        """
        for pause in (*(() if once else _PAUSES_SECONDS), None):
            try:
                answer = await self._asked(method, path, query or {}, headers or {}, body)
            except Unavailable:
                if pause is None:
                    raise
            else:
                if answer.status in fine:
                    return answer
                if answer.status < 500 or answer.status in _FULL or pause is None:
                    raise self.refused(method, answer.status)
            await deferLater(self._reactor, pause)
        raise AssertionError("the last try returns or raises")

    async def stream(self, path: str, first: int) -> Streamed:
        """Read an object from a place on.

        :raise Unavailable: when it cannot be read.
        """
        for again in (True, False):
            session = await self._session()
            headers = {"Range": [f"bytes={first}-"]} if first else {}
            response = await self._response(
                b"GET", _url(session, path), session, Headers(headers), None
            )
            body = Body()
            response.deliverBody(body)
            if response.code == (206 if first else 200):
                return Streamed(self._reactor, body, self._timeout_seconds)
            body.close()
            if response.code != 401 or not again:
                break
            self._keystone.forget(session)
        raise self.refused("GET", response.code)

    async def put(self, path: str) -> Put:
        """Begin to write an object whose bytes come later."""
        session = await self._session()
        outgoing = Outgoing(self._reactor)
        asked = self._agent.request(
            b"PUT", _url(session, path), Headers({"X-Auth-Token": [session.token]}), outgoing
        )

        async def answered() -> Answer:
            answer = await _read(await asked)
            if answer.status == 401:
                self._keystone.forget(session)
            return answer

        answering = ensureDeferred(answered())
        put = Put(self, self._reactor, outgoing, answering, self._timeout_seconds)
        answering.addBoth(put.over)
        return put

    def refused(self, method: str, status: int) -> Unavailable:
        """What an answer means that nobody expected; the operator finds it in the log."""
        self.log.warn("image.store_refused", method=method, status=status)
        if status in _FULL:
            return StoreFull("There is no room for more images; tell the operator.", 60)
        return silent()

    async def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        for again in (True, False):
            session = await self._session()
            url = _url(session, path).decode() + (f"?{urlencode(query)}" if query else "")
            said = {**headers, "X-Auth-Token": session.token}
            answer = Answer(*await self._said(method, url, said, body))
            if answer.status != 401 or not again:
                break
            self._keystone.forget(session)
        return answer

    async def _session(self) -> Session:
        try:
            return await self._keystone.session()
        except ConfigError as error:
            # It was right when the service began: a password that was changed, perhaps.
            self.log.warn("image.store_refused", reason=error.message)
            raise silent() from None

    async def _said(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Make one request; see :data:`~cyclades_tx.image_store.object_login.Send`."""
        said = Headers({name: [value] for name, value in headers.items()})
        producer: Any = Whole(body) if body else None

        async def whole() -> Answer:
            return await _read(
                await self._agent.request(method.encode(), url.encode(), said, producer)
            )

        answer = await self._in_time(whole())
        return answer.status, answer.headers, answer.body

    async def _response(
        self, method: bytes, url: bytes, session: Session, headers: Headers, body: Any
    ) -> Any:
        headers.setRawHeaders("X-Auth-Token", [session.token])

        async def head() -> Any:
            return await self._agent.request(method, url, headers, body)

        return await self._in_time(head())

    async def _in_time(self, work: Any) -> Any:
        """Wait, but not for ever; whatever goes wrong is that the store is not there.

        :raise Unavailable: the words tell nothing about the network.
        """
        waiting = ensureDeferred(work)
        waiting.addTimeout(self._timeout_seconds, self._reactor)
        try:
            return await waiting
        except (CycladesError, CancelledError):
            raise
        except Exception as error:
            self.log.warn("image.store_refused", reason=type(error).__name__)
            raise silent() from None


class Streamed:
    """An object that is on its way to us."""

    def __init__(self, reactor: Any, body: Body, timeout_seconds: float) -> None:
        self._reactor = reactor
        self._body = body
        self._timeout_seconds = timeout_seconds

    async def read(self, least: int = LITTLE_BYTES) -> bytes:
        """The next bytes; nothing at the end.

        :param least: wait for so many, unless the end comes before.
        :raise CutOff: when they end too early, or do not come for too long.
        """
        waiting = ensureDeferred(self._body.pieces.read(least))
        waiting.addTimeout(self._timeout_seconds, self._reactor)
        try:
            return await waiting
        except DeferredTimeout:
            raise CutOff("The store of images has stopped to send.") from None

    def close(self) -> None:
        """Let go of the connection."""
        self._body.close()


async def _read(response: Any) -> Answer:
    """A reply to its end."""
    body = Body()
    response.deliverBody(body)
    parts: list[bytes] = []
    size = 0
    try:
        while data := await body.pieces.read():
            size += len(data)
            if size > _MOST_BYTES:
                raise silent()
            parts.append(data)
    except CutOff:
        raise silent() from None
    finally:
        body.close()
    headers = {
        name.decode("latin-1").lower(): values[-1].decode("latin-1")
        for name, values in response.headers.getAllRawHeaders()
    }
    return Answer(response.code, headers, b"".join(parts))


def _url(session: Session, path: str) -> bytes:
    return f"{session.url}/{quote(path)}".rstrip("/").encode()


def _policy(authorities_pem: str) -> BrowserLikePolicyForHTTPS:
    """Whom we believe.

    :raise ConfigError: when the text holds no certificate.
    """
    if not authorities_pem:
        return BrowserLikePolicyForHTTPS()
    from OpenSSL.crypto import Error
    from twisted.internet.ssl import Certificate, trustRootFromCertificates

    begin = "-----BEGIN CERTIFICATE-----"
    try:
        found = [
            Certificate.loadPEM((begin + piece).encode())
            for piece in authorities_pem.split(begin)[1:]
        ]
    except (Error, ValueError):
        found = []
    if not found:
        raise ConfigError("swift.authorities_file: there is no PEM certificate in it")
    return BrowserLikePolicyForHTTPS(trustRootFromCertificates(found))
