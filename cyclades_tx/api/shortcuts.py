"""A way past the router for the few paths that are asked for most.

Klein's layers cost a third of a small request. A plain GET of a path that stands here goes to
its endpoint directly; everything that is not quite plain takes the usual way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.server import Request

Render = Callable[..., Deferred[bytes]]

_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Whatever werkzeug surely takes; it refuses some other names of hosts.
_HOST = re.compile(rb"(?:[a-z0-9-]{1,63}\.){0,8}[a-z0-9-]{1,63}(?::[0-9]{1,5})?")


class Shortcuts:
    """Paths, and what renders a GET of them."""

    def __init__(self) -> None:
        self._fixed: dict[bytes, Render] = {}
        self._below: dict[bytes, tuple[Render, str]] = {}

    def add(self, path: str, render: Render) -> None:
        """Add a path.

        :param path: a werkzeug rule without variables, or with one at its end that is filled
            by a UUID; any other is left to the router.
        """
        head, _, last = path.rpartition("/")
        if "<" in head:
            return
        if last.startswith("<"):
            self._below[head.encode()] = (render, last.strip("<>"))
        else:
            self._fixed[path.encode()] = render

    def take(self, request: Request) -> bool:
        """Answer a request if it is one of these; tell whether that is so."""
        arguments: dict[str, str] = {}
        render = self._fixed.get(request.path)
        if render is None:
            head, _, last = request.path.rpartition(b"/")
            below = self._below.get(head)
            if below is None or _UUID.fullmatch(last) is None:
                return False
            render, name = below
            arguments[name] = last.decode()
        host = request.getHeader(b"host")
        if request.method != b"GET" or host is None or _HOST.fullmatch(host) is None:
            return False
        gone: list[Any] = []
        request.notifyFinish().addErrback(gone.append)

        def write(body: bytes) -> None:
            if not gone:
                request.write(body)
                request.finish()

        def broken(failure: Failure) -> None:
            if not gone:
                request.processingFailed(failure)

        render(request, **arguments).addCallback(write).addErrback(broken)
        return True
