"""The HTTP front: a site that refuses bodies that are too large and logs one line a request."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

_JSON = "application/json"
_TOO_LARGE = b'{"error": {"code": 413, "message": "The body is larger than the service takes."}}'


class LimitedRequest(Request):
    """A request whose body may not grow past the site's limit.

    A ``Content-Length`` over the limit is refused before any of it is read; a chunked body is
    counted while it comes.
    """

    #: Set by the resource's wrapper when it has answered; the site's log reads it.
    _received = 0
    _refused = False
    #: A channel of an :class:`ApiSite`.
    channel: Any

    def gotLength(self, length: int | None) -> None:
        """Refuse by ``Content-Length``."""
        limit = self.channel.site.max_body_bytes
        if length is not None and length > limit:
            self._refuse()
            length = 0
        super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        """Count what comes, and refuse when it is too much."""
        if self._refused:
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

    def process(self) -> None:
        """Hand the request on, unless it was refused already."""
        if not self._refused:
            super().process()


#: What is given to the kernel at once, in bytes: a page of a thousand servers.
_SEND_BYTES = 2_097_152


class ApiChannel(HTTPChannel):
    """A connection of a client, with HTTP/1.1 as all of OpenStack's clients speak it."""

    #: The connection itself, or what encrypts it.
    transport: Any

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
