"""One server and a hundred servers shown, beside handlers that do less."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Mapping

from bench import load, process
from bench.cloud import START_SECONDS, Cloud, Process, free_port, until
from bench.figures import Figure, ratio
from bench.statements import list_of, one_server, statement_of
from cyclades_tx.model.who import Who

MINORS = (96, 1)
SHOWN = "/compute/v2.1/servers/{}"
LISTED = "/compute/v2.1/servers/detail?limit=100"


class Side:
    """One side of a comparison: what its process did in each round.

    :param pid: the process that answers.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.rates: list[float] = []
        self._costs: list[float] = []

    def measure(self, url: str, headers: Mapping[str, str], seconds: float) -> None:
        """Load it for one round."""
        before = process.cpu_seconds(self._pid)
        outcome = load.run(url, headers, seconds)
        used = process.cpu_seconds(self._pid) - before
        self.rates.append(outcome.per_second)
        self._costs.append(1000 * used / outcome.requests)

    def rate(self, name: str) -> Figure:
        """Requests per second in the best round."""
        return Figure(name, max(self.rates), "requests/s", spread=_spread(self.rates))

    def cost(self, name: str, goal_ms: float | None = None) -> Figure:
        """CPU time of the process for one request in the best round."""
        rule, goal = ("", 0.0) if goal_ms is None else ("<", goal_ms)
        return Figure(name, min(self._costs), "ms", rule, goal, _spread(self._costs))


def _spread(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


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
        sides = {
            minor: (Side(self._cloud.service.pid), self._side(), self._side()) for minor in MINORS
        }
        for _ in range(self._rounds):
            for minor, (ours, same, bare) in sides.items():
                self._load(ours, self._cloud.url + target, minor)
                self._load(same, self._url(f"document/show-{minor}"), minor)
                self._load(bare, self._url(f"bare/show-{minor}"), minor)
        figures = []
        for minor, (ours, same, bare) in sides.items():
            name = f"show one server, 2.{minor}"
            figures += [
                ours.rate(name),
                same.rate(f"{name}, same SQL in Klein"),
                bare.rate(f"{name}, bare Klein"),
                ratio(f"{name}: ratio to the same SQL", ours.rates, same.rates, 0.75),
                ratio(f"{name}: ratio to bare Klein", ours.rates, bare.rates, 0.35),
                ours.cost(f"{name}: CPU per request"),
                same.cost(f"{name}: CPU per request, same SQL in Klein"),
                bare.cost(f"{name}: CPU per request, bare Klein"),
            ]
        return figures

    def _hundred(self) -> list[Figure]:
        minor = MINORS[0]
        ours, same = Side(self._cloud.service.pid), self._side()
        for _ in range(self._rounds):
            self._load(ours, self._cloud.url + LISTED, minor)
            self._load(same, self._url(f"document/list-{minor}"), minor)
        name = "list 100 servers in detail"
        return [
            ours.rate(name),
            same.rate(f"{name}, same SQL in Klein"),
            ratio(f"{name}: ratio to the same SQL", ours.rates, same.rates, 0.75),
            ours.cost(f"{name}: CPU per request", 0.6),
            same.cost(f"{name}: CPU per request, same SQL in Klein"),
        ]

    def _load(self, side: Side, url: str, minor: int) -> None:
        side.measure(url, self._cloud.headers(minor), self._seconds)

    def _side(self) -> Side:
        return Side(self._reference.pid)

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
            for name, path, of in (
                (f"show-{minor}", SHOWN.format(self._uuid), one_server(self._uuid)),
                (f"list-{minor}", LISTED, list_of(LISTED)),
            ):
                wanted = statement_of(of, path, who, minor, cloud.url)
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
