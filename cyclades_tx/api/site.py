"""The HTTP front: a site that refuses what is no request, and bodies that are too large.

A request whose endpoint takes its body as a stream begins when its head is there, so that it
is refused, or its token checked, before the body is read. When it is answered before the body
has come, the rest is thrown away for a while, so that the client gets to read the answer; so
is whatever follows a request that is refused here: nobody knows where the next one begins.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import orjson
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from cyclades_tx.api.errors import HttpError, title_of
from cyclades_tx.api.heads import are_headers, fault_of, path_of
from cyclades_tx.api.incoming import Incoming

_TOO_LARGE = "The body is larger than the service takes."


class LimitedRequest(Request):
    """A request whose body may not grow past the site's limit.

    A ``Content-Length`` over the limit is refused before any of it is read; a chunked body is
    counted while it comes.
    """

    _received = 0
    #: The body, if it is handed on while it comes.
    incoming: Incoming | None = None
    _begun = False
    #: A channel of an :class:`ApiSite`; none any more when the client has gone or was answered.
    channel: Any

    def gotLength(self, length: int | None) -> None:
        """Choose where the body goes."""
        if self.incoming is not None:
            self.content = self.incoming
            return
        super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        """Count what comes, and refuse when it is too much."""
        if getattr(self, "channel", None) is None:
            return  # The rest of what came together with what was refused.
        if self.incoming is not None:
            self.incoming.feed(data)
            return
        self._received += len(data)
        if self._received > self.channel.site.max_body_bytes:
            self.channel.refuse(413, _TOO_LARGE)
            return
        super().handleContentChunk(data)

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

    def refuse(self, status: int, message: str, target: bytes = b"") -> None:
        """Answer that a request cannot be taken, and end the connection.

        :param message: for who reads it.
        :param target: what was asked for, where Twisted has not found it.
        """
        channel: Any = self
        path = path_of(getattr(channel, "_path", target))
        requests, self.requests = self.requests, []
        begun = any(request.startedWriting for request in requests)
        for request in requests:
            # For whoever has begun with it, the client has gone away.
            request.connectionLost(Failure(ConnectionDone()))
        if begun:
            self.transport.abortConnection()
            return
        body, content_type = channel.site.refusal(path, HttpError(status, message))
        head = (
            f"HTTP/1.1 {status} {title_of(status)}\r\nContent-Type: {content_type}\r\n"
            f"X-Openstack-Request-Id: req-{uuid4()}\r\n"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        bare = getattr(channel, "_command", b"") == b"HEAD"
        self.transport.write(head.encode() + (b"" if bare else body))
        self._discard()

    def lineReceived(self, line: bytes) -> None:
        """Take a line of the head; none goes on in the next one (RFC 9112, 5.2)."""
        if line[:1] in (b" ", b"\t"):
            self.refuse(400, "A line of the request's head begins with a space.")
            return
        super().lineReceived(line)

    def headerReceived(self, line: bytes) -> bool:
        """Take a header."""
        try:
            return bool(super().headerReceived(line))
        except ValueError:
            # A length with thousands of digits is a number that Python does not read.
            self.refuse(400, "The Content-Length of the request cannot be read.")
            return False

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line that is longer than a whole head may be."""
        if hasattr(self, "_path"):
            self._refuse_head()
        else:
            target = line[: self.MAX_LENGTH].partition(b" ")[2].partition(b" ")[0]
            self.refuse(414, f"The URL is longer than {self.MAX_LENGTH} bytes.", target)

    def _refuse_head(self) -> None:
        self.refuse(
            431,
            f"The request's headers are larger than {self.totalHeadersSize} bytes, or more than"
            f" {self.maxHeaders}.",
        )

    def _respondToBadRequestAndDisconnect(self) -> None:
        """What Twisted calls when something is no request, or has too many headers."""
        channel: Any = self
        if (
            channel._receivedHeaderSize > self.totalHeadersSize
            or channel._receivedHeaderCount > self.maxHeaders
        ):
            self._refuse_head()
        else:
            self.refuse(400, "The request could not be understood.")

    def allHeadersReceived(self) -> None:
        """Begin a request that takes its body as a stream."""
        channel: Any = self
        channel._path = path_of(channel._path)
        request: Any = self.requests[-1]
        fault = fault_of(self._version, request.requestHeaders)
        if fault:
            self.refuse(400, fault)
            return
        takes_stream = getattr(channel.site.resource, "takes_stream", None)
        if takes_stream is None or not takes_stream(self._command, self._path):
            if self.length is not None and self.length > channel.site.max_body_bytes:
                self.refuse(413, _TOO_LARGE)
            else:
                super().allHeadersReceived()
            return
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
        self._discard()

    def allContentReceived(self) -> None:
        """Hand a request on, unless it was refused or answered before its end."""
        if self._discarding is not None:
            return
        if not are_headers(getattr(self._transferDecoder, "_trailerHeaders", ())):
            self.refuse(400, "What follows the request's body is no header.")
            return
        super().allContentReceived()

    def _discard(self) -> None:
        """Throw away for a while what still comes, and then close the connection."""
        channel: Any = self
        channel.dataReceived = self._throw_away
        channel._buffer = b""
        self._in_time()
        self.setTimeout(None)
        self._discarding = self.callLater(_DISCARD_SECONDS, self._end_discarding)
        network: Any = self._networkProducer
        network.unregisterProducer()
        network.resumeProducing()
        half_close = getattr(self.transport, "loseWriteConnection", None)
        if half_close is not None and not self.isSecure():
            # The client sees the end before it is cut off, and so reads the answer.
            half_close()

    def _throw_away(self, data: bytes) -> None:
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

    def refusal(self, path: bytes, fault: HttpError) -> tuple[bytes, str]:
        """What is answered to a request that no endpoint sees: the body and its type.

        The dialect is that of the service for which the request was meant.
        """
        refusal = getattr(self.resource, "refusal", None)
        if refusal is None:
            error = {"code": fault.status, "message": fault.message}
            return orjson.dumps({"error": error}), "application/json"
        body, content_type = refusal(path, fault)
        return body, content_type

    def acceptableProtocols(self) -> list[bytes]:
        """What TLS may agree on."""
        return [b"http/1.1"]

    def log(self, request: Any) -> None:
        """Write nothing here: each service writes its own structured line."""
