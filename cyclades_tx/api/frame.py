"""What every endpoint has around it: token, request id, body, faults, log line, metrics.

An endpoint is a coroutine function ``handler(call, **path_arguments)`` that returns a
:class:`Reply`, or the bytes of a JSON document for a plain 200. It raises the errors of
``cyclades_tx.errors``; the service's dialect says them on the wire.

The handler is never cancelled: when the client goes away its result is dropped, but what it
has begun it ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from time import time
from typing import Any
from urllib.parse import unquote

import orjson
from klein import Klein
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request
from werkzeug.exceptions import HTTPException

from cyclades_tx.api.call import JSON, Call, Endpoint, Handler, Reply, Service, Streaming
from cyclades_tx.api.errors import HttpError, status_of
from cyclades_tx.api.replays import Replays
from cyclades_tx.api.shortcuts import Shortcuts
from cyclades_tx.errors import (
    CycladesError,
    Forbidden,
    NotFound,
    Unauthorized,
)
from cyclades_tx.identity.interfaces import IIdentity

log = Logger()


class Frame:
    """Builds the Klein application out of the services' endpoints.

    :param observe: called with (service, method, status, seconds) after each reply.
    :param replays: answers POSTs that are repeated with the same ``Idempotency-Key``.
    :param public_url: the base of every URL in replies, without a slash at the end.
    """

    def __init__(
        self,
        clock: IReactorTime,
        identity: IIdentity,
        public_url: str,
        observe: Callable[[str, str, int, float], None] = lambda *_: None,
        replays: Replays | None = None,
    ) -> None:
        self.klein = Klein()
        # An empty id in the middle of a path is an unknown thing, not a hint to redirect.
        self.klein.url_map.merge_slashes = False
        self.public_url = public_url.rstrip("/")
        self._clock = clock
        self._identity = identity
        self._observe = observe
        self._replays = replays
        self._services: list[tuple[str, Service]] = []
        self.shortcuts = Shortcuts()
        #: Paths that something else than an endpoint answers.
        self.doors: dict[bytes, IResource] = {}
        #: Methods and paths of the endpoints that begin before their bodies are there.
        self._streams: list[tuple[bytes, re.Pattern[bytes]]] = []
        #: Every endpoint, in the order of adding.
        self.endpoints: list[Endpoint] = []
        self._plain = Service("compute", _plain_fault)
        handle: Any = self.klein.handle_errors(HTTPException)
        handle(self._no_route)

    def resource(self) -> IResource:
        """The root resource for a site."""
        return _Root(self)

    def mount(self, prefix: str, service: Service) -> None:
        """Say which dialect answers for paths below a prefix that have no endpoint."""
        self._services.append((prefix, service))
        self._services.sort(key=lambda item: -len(item[0]))

    def endpoint(
        self,
        service: Service,
        method: str,
        path: str,
        handler: Handler,
        *,
        token: bool = True,
        write: bool | None = None,
        scoped: bool = True,
        admin: bool = False,
        slash: bool = True,
        hot: bool = False,
        secret: bool = False,
        stream: bool = False,
    ) -> None:
        """Add an endpoint.

        :param path: a werkzeug rule; ``/compute/v2.1/servers/<server_id>``.
        :param token: whether a valid token is needed.
        :param write: whether a reader may not call it; None: everything but GET and HEAD.
        :param scoped: whether the token must be for a project.
        :param admin: whether only an administrator may call it.
        :param slash: whether the path may also end in a slash; if not, that is an empty id, which
            nobody has (404 for every method).
        :param secret: whether the path holds a secret, which must not come into the log.
        :param stream: whether it begins before its body is there, which it reads from
            ``request.incoming`` piece by piece, as much as it wants.
        :param hot: whether plain GETs pass the router by; see :mod:`cyclades_tx.api.shortcuts`.
        """
        self.endpoints.append(Endpoint(service.name, method, path, token, scoped, admin))
        writes = method not in ("GET", "HEAD") if write is None else write
        methods = [method, "HEAD"] if method == "GET" else [method]
        text_method = method
        # A path that is a secret itself is logged as its rule.
        secret_path = path if secret else ""
        if method == "POST" and token and scoped and self._replays is not None:
            handler = _once(self._replays, handler)

        def render(request: Request, **path_arguments: str) -> Deferred[bytes]:
            call = Call(request, service, self._clock.seconds(), self.public_url)
            outer: Deferred[bytes] = Deferred(lambda _: None)
            work = ensureDeferred(
                self._serve(call, handler, path_arguments, token, writes, scoped, admin)
            )

            def finished(body: bytes) -> None:
                seconds = self._clock.seconds() - call.started
                self._observe(service.name, text_method, request.code, seconds)
                self._log_done(
                    call,
                    secret_path or request.path.decode("latin-1"),
                    len(body) or request.sentLength,
                    seconds,
                )
                if not outer.called:
                    outer.callback(body)

            work.addCallback(finished)
            work.addErrback(self._broken, outer)
            return outer

        self.klein.route(
            path, methods=methods, endpoint=f"{method} {path}", strict_slashes=not slash
        )(render)
        if hot:
            self.shortcuts.add(path, render)
        if stream:
            rule = re.sub("<[^>]*>", "[^/?]+", path).encode()
            self._streams.append((method.encode(), re.compile(rule + rb"/?(\?.*)?", re.DOTALL)))

    async def _serve(
        self,
        call: Call,
        handler: Handler,
        path_arguments: dict[str, str],
        token: bool,
        writes: bool,
        scoped: bool,
        admin: bool,
    ) -> bytes:
        service = call.service
        try:
            if service.negotiate is not None:
                service.negotiate(call)
            if any("\0" in value for value in path_arguments.values()):
                raise NotFound("The resource could not be found.")
            if token:
                text = call.header("x-auth-token")
                if not text:
                    raise Unauthorized("The request you have made requires authentication.")
                who = self._identity.cached(text)
                if who is None:
                    who = await self._identity.authenticate(text)
                call.who = who
                if scoped and who.project_id is None:
                    raise Forbidden("This needs a token that is scoped to a project.")
                if writes and scoped and not who.may_write:
                    raise Forbidden("Your role in this project only allows reading.")
                if admin and not who.admin:
                    raise Forbidden("Policy does not allow this request to be performed.")
            result = await handler(call, **path_arguments)
            if isinstance(result, Streaming):
                return await self._stream(call, result)
        except CycladesError as error:
            return self._fault(call, error)
        except Exception:
            log.failure(
                "request.failed", Failure(), request_id=call.request_id, service=service.name
            )
            unexpected = CycladesError(
                "An unexpected error prevented the server from fulfilling your request "
                f"({call.request_id})."
            )
            return self._fault(call, unexpected)
        return self._write(call, result)

    async def _stream(self, call: Call, result: Streaming) -> bytes:
        try:
            for name, value in (result.headers or {}).items():
                call.request.setHeader(name, value)
            call.request.setResponseCode(result.status)
            call.request.setHeader(b"content-type", result.content_type)
            self._common_headers(call)
            await result.run()
        finally:
            result.over()
        return b""

    def _log_done(self, call: Call, path: str, size: int, seconds: float) -> None:
        """One line a request, without its query, in which a client might put a secret."""
        who = getattr(call, "who", None)
        request = call.request
        # What Logger.info would hand on, without the checks that cost more than the line.
        log.observer(
            {
                "log_logger": log,
                "log_level": LogLevel.info,
                "log_namespace": log.namespace,
                "log_source": None,
                "log_format": "request.done",
                "log_time": time(),
                "request_id": call.request_id,
                "service": call.service.name,
                "method": request.method.decode("latin-1"),
                "path": path,
                "status": request.code,
                "bytes": size,
                "seconds": round(seconds, 6),
                "client": getattr(request.client, "host", ""),
                "user_id": None if who is None else who.user_id,
                "project_id": None if who is None else who.project_id,
            }
        )

    def _write(self, call: Call, result: Reply | bytes) -> bytes:
        request = call.request
        set_header = request.setHeader
        if isinstance(result, bytes):
            body = result
            set_header(b"content-type", JSON)
        else:
            request.setResponseCode(result.status)
            if result.headers:
                for name, value in result.headers.items():
                    set_header(name, value)
            if result.body is None:
                body = b""
            else:
                body = result.body if isinstance(result.body, bytes) else orjson.dumps(result.body)
                set_header(b"content-type", result.content_type)
        self._common_headers(call)
        if request.code != 204:
            set_header(b"content-length", b"%d" % len(body))
        return body

    def _fault(self, call: Call, error: CycladesError) -> bytes:
        status = status_of(error, call.service.name)
        if error.inside:
            self._log_inside(call, error)
        body, content_type = call.service.fault(status, error)
        request = call.request
        request.setResponseCode(status)
        request.setHeader("content-type", content_type)
        request.setHeader("content-length", str(len(body)))
        retry = error.details.get("retry_after_seconds")
        if retry is not None:
            request.setHeader("retry-after", str(retry))
        if status == 401:
            request.setHeader("www-authenticate", f'Keystone uri="{self.public_url}/identity"')
        if isinstance(error, HttpError):
            for name, value in error.headers.items():
                request.setHeader(name, value)
        self._common_headers(call)
        return body

    def _log_inside(self, call: Call, error: CycladesError) -> None:
        """Tell what users are not told: in the log, and to an administrator."""
        log.info(
            "request.refused",
            request_id=call.request_id,
            service=call.service.name,
            reason=error.whole,
        )
        who = getattr(call, "who", None)
        if who is not None and who.admin:
            error.message = error.whole

    def _common_headers(self, call: Call) -> None:
        set_header = call.request.setHeader
        set_header(b"x-openstack-request-id", call.request_id)
        for name, value in call.headers.items():
            set_header(name, value)

    def _no_route(self, request: Request, failure: Failure) -> bytes:
        """Answer 404 and 405 of the router in the dialect of the path's service."""
        error = failure.value
        status = getattr(error, "code", None) or 500
        if status == 405:
            allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
            fault = HttpError(
                405, f"{request.method.decode('latin-1')} is not allowed here.", {"allow": allowed}
            )
        elif status == 404:
            fault = HttpError(404, "The resource could not be found.")
        else:
            fault = HttpError(status, "The request could not be understood.")
        return self._refuse(request, fault)

    def takes_stream(self, method: bytes, path: bytes) -> bool:
        """Whether a request begins before its body is there."""
        return any(method == streamed and rule.fullmatch(path) for streamed, rule in self._streams)

    def service_of(self, path: bytes) -> Service:
        """The service whose dialect is spoken below a path, whether or not it leads anywhere."""
        text = unquote(path.partition(b"?")[0].decode("latin-1")) + "/"
        return next(
            (found for prefix, found in self._services if text.startswith(prefix + "/")),
            self._plain,
        )

    def _refuse(self, request: Request, fault: HttpError) -> bytes:
        """Answer a request that has no endpoint in the dialect of its path's service."""
        service = self.service_of(request.path)
        call = Call(request, service, self._clock.seconds(), self.public_url)
        if service.negotiate is not None:
            # For the headers of the reply; that the path leads nowhere weighs more than its fault.
            with suppress(CycladesError):
                service.negotiate(call)
        body = self._fault(call, fault)
        self._observe(service.name, "OTHER", fault.status, 0.0)
        return body

    def _broken(self, failure: Failure, outer: Deferred[bytes]) -> None:
        log.failure("reply.failed", failure)
        if not outer.called:
            outer.errback(failure)


def _once(replays: Replays, handler: Handler) -> Handler:
    """The same endpoint, which does what it is asked for once for each key."""

    async def handle(call: Call, **arguments: str) -> Reply | bytes:
        if call.header("idempotency-key") is None:
            return await handler(call, **arguments)
        return await replays.once(call, lambda: handler(call, **arguments))

    return handle


class _Root(Resource):
    """Klein's resource, after a look at what Klein would answer in no service's dialect."""

    isLeaf = True

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        self._frame = frame
        self._klein = frame.klein.resource()

    def render(self, request: Request) -> Any:
        """Refuse what is not text; hand on the rest."""
        if self._frame.shortcuts.take(request):
            return NOT_DONE_YET
        door = self._frame.doors.get(request.path)
        if door is not None:
            return door.render(request)
        try:
            b"/".join(request.postpath or ()).decode()
            request.getRequestHostname().decode()
            request.method.decode("ascii")
        except UnicodeDecodeError:
            return self._frame._refuse(request, HttpError(400, "The URL is not UTF-8."))
        try:
            return self._klein.render(request)
        except HTTPException:
            # Werkzeug refuses names of hosts before it looks for a route.
            return self._frame._refuse(request, HttpError(400, "The host's name is not valid."))

    def takes_stream(self, method: bytes, path: bytes) -> bool:
        """Whether the site begins a request before its body is there."""
        return self._frame.takes_stream(method, path)

    def refusal(self, path: bytes, fault: HttpError) -> tuple[bytes, str]:
        """What the site answers to what it does not hand on: the body and its type."""
        return self._frame.service_of(path).fault(fault.status, fault)


def _plain_fault(status: int, error: CycladesError) -> tuple[bytes, str]:
    return orjson.dumps({"error": {"code": status, "message": error.message}}), "application/json"
