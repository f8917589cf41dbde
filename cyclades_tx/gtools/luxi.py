"""Questions to Ganeti over its local socket: JSON texts, each ended by one byte."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, DeferredLock, TimeoutError
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from cyclades_tx.gtools.messages import QUERY_FIELDS, Configuration, configuration

END = b"\x03"
MAX_ANSWER_BYTES = 33_554_432
#: How Ganeti says that a field of a query has a value.
_NORMAL = 0


#: One entry an opcode: the fields of a query, and what they are called in a job's file.
_OP_FIELDS = {
    "ops": "input",
    "opstatus": "status",
    "opresult": "result",
    "oplog": "log",
    "opstart": "start_timestamp",
    "opexec": "exec_timestamp",
    "opend": "end_timestamp",
}
_TIMES = ("received", "start", "end")
_JOB_FIELDS = ("id", *_OP_FIELDS, *(f"{each}_ts" for each in _TIMES))


class LuxiError(Exception):
    """No usable answer; the text says why."""


class LuxiRefused(LuxiError):
    """Ganeti answered that it did not work."""


class _Luxi(Protocol):
    """One connection, with at most one question on its way."""

    transport: Any

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._bytes = 0
        self._asked: Deferred[bytes] | None = None
        self.lost = False

    def ask(self, question: bytes) -> Deferred[bytes]:
        self._asked = Deferred()
        self._parts, self._bytes = [], 0
        self.transport.write(question + END)
        return self._asked

    def dataReceived(self, data: bytes) -> None:
        head, end, _ = data.partition(END)
        self._parts.append(head)
        self._bytes += len(head)
        if self._asked is None or self._bytes > MAX_ANSWER_BYTES:
            self.transport.abortConnection()
        elif end:
            asked, self._asked = self._asked, None
            asked.callback(b"".join(self._parts))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.errback(reason)


class Luxi:
    """A client that connects when it is asked something, and again after each failure."""

    def __init__(self, reactor: Any, path: str, timeout_seconds: float = 2.0) -> None:
        """Prepare.

        :param reactor: for sockets and time.
        :param path: the socket, ``/run/ganeti/socket/ganeti-query`` as a rule.
        :param timeout_seconds: how long a question may take, the connection included.
        """
        self._reactor = reactor
        self._timeout_seconds = timeout_seconds
        self._endpoint = UNIXClientEndpoint(reactor, path, timeout=max(1, round(timeout_seconds)))
        self._lock = DeferredLock()
        self._connection: _Luxi | None = None

    async def call(self, method: str, arguments: list[Any]) -> Any:
        """Ask one question.

        :raise LuxiError: there was no answer in time, or it says that it did not work.
        """
        question = msgspec.json.encode({"method": method, "args": arguments})
        await self._lock.acquire()
        try:
            waiting = Deferred.fromCoroutine(self._ask(question))
            raw = await waiting.addTimeout(self._timeout_seconds, self._reactor)
        except (ConnectError, ConnectionClosed, OSError, TimeoutError) as error:
            self.close()
            raise LuxiError(f"{method}: {error or type(error).__name__}") from None
        finally:
            self._lock.release()
        try:
            answer = msgspec.json.decode(raw.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            self.close()
            raise LuxiError(f"{method}: the answer is not JSON") from None
        if not isinstance(answer, dict) or answer.get("success") is not True:
            raise LuxiRefused(f"{method}: Ganeti refused it")
        return answer.get("result")

    async def _ask(self, question: bytes) -> bytes:
        if self._connection is None or self._connection.lost:
            factory = Factory.forProtocol(_Luxi)
            factory.noisy = False
            self._connection = await self._endpoint.connect(factory)
        return await self._connection.ask(question)

    async def configurations(self, names: Iterable[str]) -> dict[str, Configuration]:
        """Return how these instances are configured; those that are not there are missing.

        :raise LuxiError: see :meth:`call`.
        """
        wanted: list[Any] = ["|", *(["=", "name", name] for name in names)]
        question: list[Any] = ["instance", list(QUERY_FIELDS)]
        try:
            result = await self.call("Query", [*question, wanted])
        except LuxiRefused:
            # One is not there, and a list of names must be complete; a filter need not, but
            # for that Ganeti looks at every instance.
            result = await self.call("Query", [*question, ["&", ["!=", "name", ""], wanted]])
        found = {}
        try:
            for cells in result["data"]:
                values = [value if state == _NORMAL else None for state, value in cells]
                row = dict(zip(QUERY_FIELDS, values, strict=True))
                found[str(row["name"])] = configuration(row)
        except (KeyError, TypeError, ValueError):
            raise LuxiError("Query: the answer is not a table of instances") from None
        return found

    async def jobs(self, numbers: Iterable[int]) -> dict[int, Any]:
        """Return these jobs in the form of their files; those that are not known are missing.

        :raise LuxiError: see :meth:`call`.
        """
        result = await self.call("QueryJobs", [list(numbers), list(_JOB_FIELDS)])
        try:
            return {
                row[0]: _job(dict(zip(_JOB_FIELDS, row, strict=True)))
                for row in result
                if row[1] is not None
            }
        except (IndexError, KeyError, TypeError, ValueError):
            raise LuxiError("QueryJobs: the answer is not a table of jobs") from None

    async def cluster(self) -> tuple[str, str]:
        """Return the names of the cluster and of its master node.

        :raise LuxiError: see :meth:`call`.
        """
        match await self.call("QueryConfigValues", [["cluster_name", "master_node"]]):
            case [str(cluster), str(master)]:
                return cluster, master
        raise LuxiError("QueryConfigValues: the answer is not two names")

    def close(self) -> None:
        """Drop the connection."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.lost:
            connection.transport.abortConnection()


def _job(row: dict[str, Any]) -> dict[str, Any]:
    columns = zip(*(row[field] for field in _OP_FIELDS), strict=True)
    return {
        "id": row["id"],
        "ops": [dict(zip(_OP_FIELDS.values(), each, strict=True)) for each in columns],
        **{f"{each}_timestamp": row[f"{each}_ts"] for each in _TIMES},
    }
