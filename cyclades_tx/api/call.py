"""One request on its way through an endpoint, what is answered, and in which dialect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
from twisted.web.server import Request

from cyclades_tx.api.errors import HttpError
from cyclades_tx.errors import BadRequest, CycladesError
from cyclades_tx.model.who import Who

T = TypeVar("T")

JSON = b"application/json"


class Reply:
    """What an endpoint answers.

    :param body: bytes of a JSON document, something that orjson can write, or None for nothing.
    :param headers: further headers, names and values as text.
    """

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self,
        status: int = 200,
        body: Any = None,
        headers: dict[str, str] | None = None,
        content_type: bytes = JSON,
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.content_type = content_type


class Streaming(Reply):
    """An answer that is written piece by piece, for as long as it goes on.

    :param run: called when the headers are set; writes to the request, and returns when it is
        over or the client has gone away.
    :param over: called when ``run`` has ended, however it ended.
    """

    __slots__ = ("over", "run")

    def __init__(
        self,
        run: Callable[[], Awaitable[None]],
        over: Callable[[], None],
        headers: dict[str, str],
        content_type: bytes,
        status: int = 200,
    ) -> None:
        super().__init__(status, None, headers, content_type)
        self.run = run
        self.over = over


Handler = Callable[..., Awaitable["Reply | bytes"]]


@dataclass(frozen=True)
class Endpoint:
    """What is known of an endpoint from outside, for the OpenAPI documents."""

    service: str
    method: str
    path: str
    token: bool
    scoped: bool
    admin: bool


class Call:
    """One request on its way through an endpoint.

    :ivar request_id: ``req-UUID``, ours, in the reply and in every log line and operation.
    :ivar minor: the negotiated microversion's minor number; 0 where a service has none.
    """

    __slots__ = (
        "base_url",
        "headers",
        "minor",
        "project_id",
        "request",
        "request_id",
        "service",
        "started",
        "who",
    )

    who: Who

    def __init__(self, request: Request, service: Service, started: float, base_url: str) -> None:
        self.request = request
        self.service = service
        self.request_id = f"req-{uuid4()}"
        self.minor = 0
        self.started = started
        self.base_url = base_url
        #: The project whose id stands in the URL (old catalogs), if one does.
        self.project_id: str | None = None
        #: Headers that every reply of this call gets, its faults too.
        self.headers: dict[str, str] = {}

    def header(self, name: str) -> str | None:
        """A header of the request as text, or None."""
        value = self.request.getHeader(name.encode())
        return None if value is None else value.decode("latin-1")

    def query(self, name: str) -> str | None:
        """The last value of a query parameter, or None.

        :raise BadRequest: when it is not UTF-8.
        """
        values = self.queries(name)
        return values[-1] if values else None

    def queries(self, name: str) -> list[str]:
        """Every value of a query parameter.

        :raise BadRequest: when one is not UTF-8.
        """
        sent = self.request.args.get(name.encode())
        if sent is None:
            return []
        try:
            values = [value.decode() for value in sent]
        except UnicodeDecodeError:
            raise BadRequest(f"The value of {name!r} is not UTF-8.") from None
        if any("\0" in value for value in values):
            # PostgreSQL has no text with it.
            raise BadRequest(f"The value of {name!r} holds a NUL character.")
        return values

    def json(self, decoder: msgspec.json.Decoder[T], *kinds: str) -> T:
        """The body, read as what the decoder knows.

        :param kinds: further content types that are JSON here.
        :raise HttpError: 415 when the content type says something other than JSON, or it is packed.
        :raise BadRequest: when it is not JSON or does not fit; names the place.
        """
        content_type = (self.header("content-type") or "").split(";")[0].strip().lower()
        if content_type not in ("", "application/json", *kinds):
            raise HttpError(415, f"Unsupported content type {content_type!r}: send JSON.")
        encoding = self.header("content-encoding")
        if encoding is not None and encoding.strip().lower() not in ("", "identity"):
            raise HttpError(415, f"Unsupported content encoding {encoding[:40]!r}: send it plain.")
        content = self.request.content
        # Closed: the client has gone away, and nobody will see what comes of it.
        data = b"" if content is None or content.closed else content.read()
        if b"\\u0000" in data:
            # PostgreSQL has no text with it.
            raise BadRequest("The body holds a NUL character.")
        try:
            return decoder.decode(data)
        except msgspec.ValidationError as error:
            raise BadRequest(f"Invalid input: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadRequest("The body is not valid JSON.") from None


class Service:
    """One dialect: its name, the way it writes faults, and what it negotiates.

    :param fault: writes a status and an error as (body, content type).
    :param negotiate: looks at a call before its endpoint and sets ``minor`` and headers; may
        raise. Called for endpoints that need no token as well.
    """

    def __init__(
        self,
        name: str,
        fault: Callable[[int, CycladesError], tuple[bytes, str]],
        negotiate: Callable[[Call], None] | None = None,
    ) -> None:
        self.name = name
        self.fault = fault
        self.negotiate = negotiate
