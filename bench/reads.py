"""One server and a hundred servers shown, beside handlers that do less."""

from __future__ import annotations

import statistics
import sys
import urllib.request
from typing import Any

from bench import load, process
from bench.cloud import START_SECONDS, Cloud, Process, free_port, until
from bench.figures import Figure, ratio
from bench.statements import statement_of
from cyclades_tx.api.compute.servers import Views
from cyclades_tx.model.who import Who

MINORS = (96, 1)
SHOWN = "/compute/v2.1/servers/{}"
LISTED = "/compute/v2.1/servers/detail?limit=100"


class Reads:
    """The measurement of reading.

    :param seconds: how long each load of each round is.
    """

    def __init__(self, cloud: Cloud, uuid: str, seconds: float, rounds: int) -> None:
        self._cloud = cloud
        self._uuid = uuid
        self._seconds = seconds
        self._rounds = rounds
        self._port = free_port()
        self._reference = Process(cloud.folder, "reference")

    def run(self) -> list[Figure]:
        """Measure."""
        self._start_reference()
        try:
            return [*self._one(), *self._hundred()]
        finally:
            self._reference.stop()

    def _one(self) -> list[Figure]:
        target = SHOWN.format(self._uuid)
        found: dict[str, list[float]] = {}
        for _ in range(self._rounds):
            for minor in MINORS:
                for kind, url in (
                    ("ours", self._cloud.url + target),
                    ("document", self._url(f"document/show-{minor}")),
                    ("bare", self._url(f"bare/show-{minor}")),
                ):
                    found.setdefault(f"{kind}-{minor}", []).append(self._per_second(url, minor))
        figures = []
        for minor in MINORS:
            ours = found[f"ours-{minor}"]
            name = f"show one server, 2.{minor}"
            figures += [
                _rate(name, ours),
                _rate(f"{name}, same SQL in Klein", found[f"document-{minor}"]),
                _rate(f"{name}, bare Klein", found[f"bare-{minor}"]),
                ratio(f"{name}: ratio to the same SQL", ours, found[f"document-{minor}"], 0.75),
                ratio(f"{name}: ratio to bare Klein", ours, found[f"bare-{minor}"], 0.35),
            ]
        return figures

    def _hundred(self) -> list[Figure]:
        minor = MINORS[0]
        ours, other, costs = [], [], []
        for _ in range(self._rounds):
            before = process.cpu_seconds(self._cloud.service.pid)
            outcome = self._load(self._cloud.url + LISTED, minor)
            used = process.cpu_seconds(self._cloud.service.pid) - before
            costs.append(1000 * used / outcome.requests)
            ours.append(outcome.per_second)
            other.append(self._per_second(self._url(f"document/list-{minor}"), minor))
        name = "list 100 servers in detail"
        return [
            _rate(name, ours),
            _rate(f"{name}, same SQL in Klein", other),
            ratio(f"{name}: ratio to the same SQL", ours, other, 0.75),
            Figure(
                f"{name}: CPU of the service per request",
                statistics.median(costs),
                "ms",
                "<",
                0.6,
                (min(costs), max(costs)),
            ),
        ]

    def _load(self, url: str, minor: int) -> load.Outcome:
        return load.run(url, self._cloud.headers(minor), self._seconds)

    def _per_second(self, url: str, minor: int) -> float:
        return self._load(url, minor).per_second

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._port}/{path}"

    def _start_reference(self) -> None:
        """Start the other side, and see that it writes the same bytes as the service."""
        cloud = self._cloud
        ((user_id, project_id),) = cloud.rows(
            "select user_id, project_id from server where uuid = %s::uuid", self._uuid
        )
        who = Who(user_id, "", project_id, "", frozenset(("member",)))
        statements, bodies = {}, {}
        for minor in MINORS:
            for name, path, endpoint in (
                (f"show-{minor}", SHOWN.format(self._uuid), self._show),
                (f"list-{minor}", LISTED, Views.list_details),
            ):
                wanted = statement_of(endpoint, path, who, minor, cloud.url)
                statements[name] = {"sql": wanted.sql, "arguments": wanted.arguments}
                bodies[name] = cloud.get(path, minor).decode()
        self._reference.start(
            [sys.executable, "-m", "bench.reference"],
            order={
                "dsn": cloud.dsn,
                "port": self._port,
                "statements": statements,
                "bodies": bodies,
            },
        )
        until(
            lambda: self._reference.answers(self._url("bare/show-1")), "Klein runs", START_SECONDS
        )
        for name, body in bodies.items():
            for kind in ("bare", "document"):
                with urllib.request.urlopen(self._url(f"{kind}/{name}"), timeout=30) as reply:
                    if reply.read() != body.encode():
                        raise RuntimeError(f"{kind}/{name} is not what the service writes")

    async def _show(self, views: Views, call: Any) -> Any:
        return await views.show(call, self._uuid)


def _rate(name: str, values: list[float]) -> Figure:
    return Figure(name, statistics.median(values), "requests/s", spread=(min(values), max(values)))
