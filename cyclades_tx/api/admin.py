"""What only this machine may ask: ``/metrics`` and ``/healthz``, also with ``?deep``.

It is served on an address of its own, which the configuration holds to loopback.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from twisted.internet.defer import Deferred, TimeoutError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from cyclades_tx.errors import CycladesError
from cyclades_tx.log import redact_text
from cyclades_tx.metrics import Metrics
from cyclades_tx.trouble import Trouble

#: A check that takes longer has failed.
CHECK_TIMEOUT_SECONDS = 3.0
PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
JSON = b"application/json"

#: Looks at one part and returns facts about it; raises when the part is not well.
Check = Callable[[], Awaitable[Mapping[str, Any] | None]]
_Answer = tuple[int, bytes, bytes]


class AdminResource(Resource):
    """The root of the admin address.

    :param clock: the reactor, or a test's clock.
    :param metrics: what ``/metrics`` shows.
    :param checks: what ``/healthz?deep`` looks at, by name: ``database``, ``schema`` …
    """

    def __init__(self, clock: IReactorTime, metrics: Metrics, checks: Mapping[str, Check]) -> None:
        super().__init__()
        self._metrics = metrics
        health = Health(clock, checks)
        self.putChild(b"metrics", _Page(self._scrape))
        self.putChild(b"healthz", _Page(health.answer))

    async def _scrape(self, request: Request) -> _Answer:
        return 200, PROMETHEUS, await self._metrics.text()


class Health:
    """Runs the checks side by side, each with a time limit.

    :param clock: the reactor, or a test's clock.
    :param checks: what to look at, by name.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, checks: Mapping[str, Check]) -> None:
        self._clock = clock
        self._checks = dict(checks)
        self._trouble = Trouble(self.log, "health.failed")

    async def answer(self, request: Request) -> _Answer:
        """The reply to ``/healthz``: 200, or 503 when ``?deep`` finds something wrong."""
        # Twisted leaves a name without "=" out of its arguments.
        asked = request.uri.partition(b"?")[2].split(b"&")
        if not any(part.partition(b"=")[0] == b"deep" for part in asked):
            return 200, JSON, b'{"status":"ok"}'
        document = await self.deep()
        status = 200 if document["status"] == "ok" else 503
        return status, JSON, orjson.dumps(document, option=orjson.OPT_INDENT_2)

    async def deep(self) -> dict[str, Any]:
        """The state of every part: ``ok``, the seconds it took, and the reason or facts."""
        names = list(self._checks)
        results = await gatherResults(
            [Deferred.fromCoroutine(self._look(name)) for name in names], consumeErrors=True
        )
        good = all(result["ok"] for result in results)
        return {
            "status": "ok" if good else "failing",
            "checks": dict(zip(names, results, strict=True)),
        }

    async def _look(self, name: str) -> dict[str, Any]:
        begun = self._clock.seconds()

        async def look() -> Mapping[str, Any] | None:
            return await self._checks[name]()

        result: dict[str, Any] = {"ok": True}
        try:
            facts = await Deferred.fromCoroutine(look()).addTimeout(
                CHECK_TIMEOUT_SECONDS, self._clock
            )
            result.update(facts or {})
            self._trouble.over(name)
        except CycladesError as error:
            result = {"ok": False, "reason": redact_text(error.message)}
        except TimeoutError:
            result = {"ok": False, "reason": f"no answer in {CHECK_TIMEOUT_SECONDS:g} seconds"}
            self._trouble.tell(name, str(result["reason"]), check=name)
        except Exception as error:
            self.log.failure("health.failed", Failure(), check=name)
            result = {"ok": False, "reason": type(error).__name__}
        result["seconds"] = round(self._clock.seconds() - begun, 4)
        return result


class _Page(Resource):
    """A page that a coroutine writes; GET and HEAD only, as Twisted has it."""

    log = Logger()

    def __init__(self, write: Callable[[Request], Awaitable[_Answer]]) -> None:
        super().__init__()
        self._write = write

    def render_GET(self, request: Request) -> int:
        """Answer when the page is written."""
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        async def answer() -> None:
            try:
                status, content_type, body = await self._write(request)
            except Exception:
                self.log.failure("request.failed", Failure(), service="admin")
                status, content_type, body = 500, JSON, b'{"status":"failing"}'
            if gone:
                return
            request.setResponseCode(status)
            request.setHeader(b"content-type", content_type)
            request.setHeader(b"content-length", b"%d" % len(body))
            request.setHeader(b"cache-control", b"no-store")
            if request.method != b"HEAD":
                request.write(body)
            request.finish()

        Deferred.fromCoroutine(answer())
        return NOT_DONE_YET
