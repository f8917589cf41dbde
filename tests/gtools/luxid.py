"""Ganeti's socket, as far as the daemon asks there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol

from cyclades_tx.gtools.messages import QUERY_FIELDS


class MemoryLuxid:
    """Answers about instances that a test puts into ``rows``.

    :ivar rows: by instance: values of query fields.
    :ivar jobs: by number: what stands in a job's file.
    :ivar raw: what is written in the place of an answer, if anything.
    :ivar silent: whether nothing is answered at all.
    :ivar asked: every question.
    """

    def __init__(self, reactor: Any, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        self.jobs: dict[int, dict[str, Any]] = {}
        self.names: list[Any] = ["g1.test", "n1.test"]
        self.raw: bytes | None = None
        self.silent = False
        self.asked: list[dict[str, Any]] = []
        self.connections: list[Protocol] = []
        self._reactor = reactor
        self._port: IListeningPort | None = None

    def start(self) -> None:
        """Listen."""
        self._port = self._reactor.listenUNIX(str(self.path), _factory(self))

    async def stop(self) -> None:
        """Stop listening and drop who is connected."""
        for connection in self.connections:
            connection.transport.abortConnection()  # type: ignore[union-attr]
        if self._port is not None:
            await self._port.stopListening()
            self._port = None

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return what Ganeti would."""
        self.asked.append(question)
        if question["method"] == "QueryConfigValues":
            return {"success": True, "result": self.names}
        if question["method"] == "QueryJobs":
            numbers, fields = question["args"]
            return {"success": True, "result": [self._job(each, fields) for each in numbers]}
        _, fields, wanted = question["args"]
        only_names = wanted[0] == "|"
        names = [each[2] for each in (wanted if only_names else wanted[2])[1:]]
        if only_names and not all(name in self.rows for name in names):
            return {"success": False, "result": ["OpPrereqError", ["not found", "unknown_entity"]]}
        assert tuple(fields) == QUERY_FIELDS
        rows = [{"name": name, **self.rows[name]} for name in names if name in self.rows]
        data = [[[0, row[f]] if f in row else [3, None] for f in fields] for row in rows]
        return {"success": True, "result": {"fields": [], "data": data}}

    def _job(self, number: int, fields: list[str]) -> list[Any]:
        job = self.jobs.get(number)
        if job is None:
            return [number] + [None] * (len(fields) - 1)
        names = {"ops": "input", "opstatus": "status", "opresult": "result", "oplog": "log"}
        names |= {f"op{each}": f"{each}_timestamp" for each in ("start", "exec", "end")}
        row: list[Any] = []
        for field in fields:
            if field in names:
                row.append([op[names[field]] for op in job["ops"]])
            else:
                row.append(job[field.replace("_ts", "_timestamp")])
        return row


class _Luxid(Protocol):
    def __init__(self, luxid: MemoryLuxid) -> None:
        self._luxid = luxid
        self._text = b""

    def connectionMade(self) -> None:
        self._luxid.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        self._text += data
        *questions, self._text = self._text.split(b"\x03")
        for question in questions:
            answer = self._luxid.answer(json.loads(question))
            if not self._luxid.silent:
                raw = self._luxid.raw
                self.transport.write(json.dumps(answer).encode() + b"\x03" if raw is None else raw)


def _factory(luxid: MemoryLuxid) -> Factory:
    build: Callable[[], Protocol] = lambda: _Luxid(luxid)  # noqa: E731
    factory = Factory.forProtocol(build)  # type: ignore[arg-type]
    factory.noisy = False
    return factory
