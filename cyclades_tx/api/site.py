"""The HTTP front: a site that refuses bodies that are too large and logs one line a request.

A request whose endpoint takes its body as a stream begins when its head is there, so that it
is refused, or its token checked, before the body is read. When it is answered before the body
has come, the rest is thrown away for a while, so that the client gets to read the answer.
"""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from cyclades_tx.api.incoming import Incoming

_JSON = "application/json"
#: What an absolute URL begins with.
_ABSOLUTE = re.compile(rb"https?://[^/?]*", re.IGNORECASE)
_TOO_LARGE = b'{"error": {"code": 413, "message": "The body is larger than the service takes."}}'


class LimitedRequest(Request):
    """A request whose body may not grow past the site's limit.

    A ``Content-Length`` over the limit is refused before any of it is read; a chunked body is
    counted while it comes.
    """

    #: Set by the resource's wrapper when it has answered; the site's log reads it.
    _received = 0
    _refused = False
    #: The body, if it is handed on while it comes.
    incoming: Incoming | None = None
    _begun = False
    #: A channel of an :class:`ApiSite`.
    channel: Any

    def gotLength(self, length: int | None) -> None:
        """Refuse by ``Content-Length``."""
        if self.incoming is not None:
            self.content = self.incoming
            return
        limit = self.channel.site.max_body_bytes
        if length is not None and length > limit:
            self._refuse()
            length = 0
        super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        """Count what comes, and refuse when it is too much."""
        if self._refused:
            return
        if self.incoming is not None:
            self.incoming.feed(data)
            return
        self._received += len(data)
        if self._received > self.channel.site.max_body_bytes:
            self._refuse()
            return
        super().handleContentChunk(data)

    def _refuse(self) -> None:
        self._refused = True
        channel = self.channel
        # The dialect is that of the service for which the request was meant.
        too_large = getattr(channel.site.resource, "too_large", None)
        body, content_type = (_TOO_LARGE, _JSON) if too_large is None else too_large(channel._path)
        channel.transport.write(
            b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Type: %b\r\n"
            b"X-Openstack-Request-Id: req-%b\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b"
            % (content_type.encode(), str(uuid4()).encode(), len(body), body)
        )
        channel.loseConnection()

    def begin(self, command: bytes, path: bytes, version: bytes) -> None:
        """Hand the request on before its body is there."""
        self._begun = True
        super().requestReceived(command, path, version)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The body is there."""
        if self.incoming is not None:
            self.incoming.end()
        if not self._begun:
            super().requestReceived(command, path, version)

    def connectionLost(self, reason: Any) -> None:
        """The client has gone away; who answers knows it before who reads the body."""
        super().connectionLost(reason)
        if self.incoming is not None:
            self.incoming.cut()

    def process(self) -> None:
        """Hand the request on, unless it was refused already."""
        if not self._refused:
            super().process()

    def write(self, data: bytes) -> None:
        """Write a part of the answer; one that comes before the body's end is the last here."""
        if not self.startedWriting and self.incoming is not None and not self.incoming.complete:
            self.responseHeaders.setRawHeaders(b"connection", [b"close"])
        super().write(data)


#: What is given to the kernel at once, in bytes: a page of a thousand servers.
_SEND_BYTES = 2_097_152


#: How much of a body that nobody wants any more is thrown away, in bytes, and how long, before
#: the connection is closed. Without this most clients would not see why they were refused.
_DISCARD_BYTES = 67_108_864
_DISCARD_SECONDS = 10.0


class ApiChannel(HTTPChannel):
    """A connection of a client, with HTTP/1.1 as all of OpenStack's clients speak it."""

    #: The connection itself, or what encrypts it.
    transport: Any
    _discarded_bytes = 0
    _discarding: Any = None
    #: Ends a connection on which a request takes too long to come.
    _late: Any = None

    def dataReceived(self, data: bytes) -> None:
        """Take what comes; whoever sends a request bit by bit has a limited time for all of it.

        Twisted's own timeout begins anew with every byte.
        """
        super().dataReceived(data)
        if self._handlingRequest or not self._comes():
            # Most requests are here: they come in one piece.
            if self._late is not None:
                self._in_time()
        elif self._late is None and self.timeOut and self._discarding is None:
            self._late = self.callLater(self.timeOut, self._too_late)

    def _comes(self) -> bool:
        """Whether a part of a request is here, but for bodies that are handed on as they come."""
        channel: Any = self
        if not self.requests:
            return bool(channel._buffer)
        return self.requests[-1].incoming is None

    def _in_time(self) -> None:
        late, self._late = self._late, None
        if late is not None and late.active():
            late.cancel()

    def _too_late(self) -> None:
        self._late = None
        # Whatever comes now is for nobody.
        channel: Any = self
        channel.dataReceived = lambda _: None
        self.transport.write(
            b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        self.timeoutConnection()

    def allHeadersReceived(self) -> None:
        """Begin a request that takes its body as a stream."""
        channel: Any = self
        # A request that is written for a proxy is for us all the same (RFC 9112, 3.2.2).
        absolute = _ABSOLUTE.match(channel._path)
        if absolute is not None:
            path = channel._path[absolute.end() :]
            channel._path = path if path.startswith(b"/") else b"/" + path
        takes_stream = getattr(channel.site.resource, "takes_stream", None)
        if takes_stream is None or not takes_stream(self._command, self._path):
            super().allHeadersReceived()
            return
        request: Any = self.requests[-1]
        # "Expect: 100-continue" is answered when somebody wants the body.
        expected = request.requestHeaders.getRawHeaders(b"expect", [])
        request.requestHeaders.removeHeader(b"expect")
        waits = bool(expected) and expected[0].lower() == b"100-continue"

        def wanted() -> None:
            if waits and self._version == b"HTTP/1.1" and not request._disconnected:
                self._send100Continue()

        request.incoming = Incoming(
            self.length,
            wanted,
            self._networkProducer.pauseProducing,
            self._networkProducer.resumeProducing,
        )
        super().allHeadersReceived()
        if self.length != 0:
            request.begin(self._command, self._path, self._version)

    def requestDone(self, request: Any) -> None:
        """Go on with the next request, unless this one was answered before its body's end."""
        if request.incoming is None or request.incoming.complete:
            super().requestDone(request)
            return
        del self.requests[0]
        self.persistent = 0
        self.setTimeout(None)
        self._discarding = self.callLater(_DISCARD_SECONDS, self._end_discarding)
        network: Any = self._networkProducer
        network.unregisterProducer()
        network.resumeProducing()
        half_close = getattr(self.transport, "loseWriteConnection", None)
        if half_close is not None and not self.isSecure():
            # The client sees the end before it is cut off, and so reads the answer.
            half_close()

    def rawDataReceived(self, data: bytes) -> None:
        """Take a part of a body, or throw it away."""
        if self._discarding is None:
            super().rawDataReceived(data)
            return
        self._discarded_bytes += len(data)
        if self._discarded_bytes > _DISCARD_BYTES:
            self._end_discarding()

    def _end_discarding(self) -> None:
        if self._discarding is not None and self._discarding.active():
            self._discarding.cancel()
        self.transport.abortConnection()

    def connectionLost(self, reason: Any = None) -> None:
        """Forget what was still to be done."""
        self._in_time()
        if self._discarding is not None and self._discarding.active():
            self._discarding.cancel()
        super().connectionLost(reason)

    def connectionMade(self) -> None:
        """Let long answers go out at once: in pieces of Twisted's size they cost twice as much."""
        self.transport.SEND_LIMIT = _SEND_BYTES
        super().connectionMade()

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Write the head of an answer in one piece; Twisted looks at forty of them one by one."""
        lines = [b"%b %b %b" % (version, code, reason)]
        for name, values in headers.getAllRawHeaders():
            lines += [b"%b: %b" % (name, value) for value in values]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n")


class ApiSite(Site):
    """A site for the services.

    :param max_body_bytes: the largest body that is read.
    """

    protocol: Any = ApiChannel

    def __init__(self, resource: IResource, max_body_bytes: int, **options: Any) -> None:
        super().__init__(
            resource,
            requestFactory=LimitedRequest,
            # A form is no query: each service refuses its type, in its own dialect.
            parsePOSTFormSubmission=False,
            **options,
        )
        self.max_body_bytes = max_body_bytes
        self.displayTracebacks = False

    def acceptableProtocols(self) -> list[bytes]:
        """What TLS may agree on."""
        return [b"http/1.1"]

    def log(self, request: Any) -> None:
        """Write nothing here: each service writes its own structured line."""
