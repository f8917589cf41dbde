"""What the service is compared with: bare Klein handlers in a process of their own.

``/bare/NAME`` writes bytes that it was given, ``/document/NAME`` runs the service's own prepared
statement and writes its bytes. Neither checks a token or anything else. The order comes on
standard input as JSON, so that no secret stands on a command line.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from klein import Klein
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.web.server import Request, Site

from bench.cloud import CONNECTIONS
from bench.statements import Statement
from cyclades_tx.store.database import Database


class QuietSite(Site):
    """A site without an access log, as the service has none either."""

    def log(self, request: Request) -> None:
        """Write nothing."""


def application(
    database: Database, statements: dict[str, Statement], bodies: dict[str, bytes]
) -> Klein:
    """The handlers.

    :param statements: what ``/document/NAME`` runs.
    :param bodies: what ``/bare/NAME`` writes.
    """
    klein = Klein()

    @klein.route("/bare/<name>", methods=["GET"])
    async def bare(request: Request, name: str) -> bytes:
        body = bodies[name]
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"content-length", b"%d" % len(body))
        return body

    @klein.route("/document/<name>", methods=["GET"])
    async def document(request: Request, name: str) -> bytes:
        statement = statements[name]
        body = await database.document(statement.sql, statement.arguments)
        assert body is not None
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"content-length", b"%d" % len(body))
        return body

    return klein


def main() -> None:
    """Serve until the process is ended."""
    order: dict[str, Any] = json.load(sys.stdin)
    database = Database(reactor, order["dsn"], least=2, most=CONNECTIONS)
    database.start()
    statements = {
        name: Statement(given["sql"], tuple(given["arguments"]))
        for name, given in order["statements"].items()
    }
    bodies = {name: text.encode() for name, text in order["bodies"].items()}
    site = QuietSite(application(database, statements, bodies).resource())
    serverFromString(reactor, f"tcp:{order['port']}:interface=127.0.0.1").listen(site)
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
