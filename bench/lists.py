"""Lists among many rows of others, beside a handler that only runs the same statement.

Our project has 1,000 servers, networks and ports, a hundred others have 1,000 each, and one has
100,000. ``python -m bench.lists`` measures them alone.
"""

from __future__ import annotations

import argparse
import http.client
import sys
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg2

from bench import crowd, held, plans
from bench.cloud import START_SECONDS, Cloud, Process, free_port, until
from bench.figures import Figure, percentile, ratio, table
from bench.reads import Side
from bench.statements import Statement, list_of, statement_of
from cyclades_tx.model.who import Who
from cyclades_tx.store.pool import full_dsn

MINOR = 96
SIZES = {100: 1.5, 1000: 5.0}
PROJECTS = 100
ROWS = 100_000
#: The project of so many rows.
BIG = "b" * 32
#: Table, path of the list, and the order of its rows.
LISTS = {
    "servers": ("server", "/compute/v2.1/servers/detail", "created_at desc, id desc"),
    "networks": ("network", "/network/v2.0/networks", "id"),
    "ports": ("port", "/network/v2.0/ports", "id"),
}
PAGE = 100
REQUESTS = 100
#: Requests before the turns count: they prepare the statement, and fill what is kept.
WARM = 5


def alone(
    rows: int = ROWS, seconds: float = 0.5, rounds: int = 4, requests: int = REQUESTS
) -> list[Figure]:
    """Measure in a folder of its own.

    :param rows: of other projects together, and of the project with the many; ours has a
        hundredth of it.
    :param seconds: how long each load of each round is.
    :param requests: of how many of each list the turns are looked at.
    """
    with tempfile.TemporaryDirectory(prefix="cyclades-tx-bench-") as folder:
        cloud = Cloud(Path(folder), clusters=1)
        try:
            _say(f"filling a database with {rows} rows of others and {rows} of one project")
            cloud.start()
            lists = Lists(cloud, rows, seconds, rounds)
            lists.fill()
            _say("listing beside a handler that runs the same statements")
            port = free_port()
            # To look at its turns costs the service a microsecond each.
            cloud.start_service(command=held.COMMAND, environment={held.PORT_VARIABLE: str(port)})
            figures = lists.beside_the_same()
            _say("listing at the front and at the end")
            figures += lists.front_and_end()
            _say("measuring the turns of the reactor")
            return figures + lists.turns(port, requests)
        finally:
            cloud.stop()


class Lists:
    """The measurement of lists.

    :param rows: see :func:`alone`.
    """

    def __init__(self, cloud: Cloud, rows: int, seconds: float, rounds: int) -> None:
        self._cloud = cloud
        self._rows = rows
        self._seconds = seconds
        self._rounds = rounds
        self._who = Who("", "", None, "", frozenset(("member",)))

    def fill(self) -> None:
        """Make the rows; the user of the bench may see the project of many too."""
        connection = psycopg2.connect(self._cloud.dsn)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("select id from project where name = 'demo'")
                ((project_id,),) = cursor.fetchall()
                cursor.execute("select id from user_account where name = 'demo'")
                ((user_id,),) = cursor.fetchall()
            each = self._rows // PROJECTS
            others = {f"{number:032x}": each for number in range(1, PROJECTS + 1)}
            crowd.fill(connection, {project_id: each, BIG: self._rows, **others}, user_id)
            with connection.cursor() as cursor:
                cursor.execute(
                    "insert into role_assignment (user_id, project_id, role_id)"
                    " select %s, %s, id from role where name = 'member'",
                    (user_id, BIG),
                )
        finally:
            connection.close()
        self._who = _member(user_id, project_id)

    def beside_the_same(self) -> list[Figure]:
        """Requests per second and processor time, and those of the same statement in Klein."""
        targets = {
            f"list {size} {name}": f"{path}?limit={size}"
            for name, (_, path, _) in LISTS.items()
            for size in SIZES
        }
        port = free_port()
        reference = self._start_reference(targets, port)
        try:
            sides = {name: (Side(self._cloud.service.pid), Side(reference.pid)) for name in targets}
            for _ in range(self._rounds):
                for name, target in targets.items():
                    ours, same = sides[name]
                    headers = self._cloud.headers(MINOR)
                    ours.measure(self._cloud.url + target, headers, self._seconds)
                    same.measure(_reference_url(port, name), headers, self._seconds)
        finally:
            reference.stop()
        figures = []
        for name, (ours, same) in sides.items():
            figures += [
                ours.rate(f"{name} among {self._rows}"),
                ratio(f"{name}: ratio to the same SQL", ours.rates, same.rates, 0.75),
                ours.cost(f"{name}: CPU per request"),
                same.cost(f"{name}: CPU per request, same SQL in Klein"),
            ]
        return figures

    def front_and_end(self) -> list[Figure]:
        """A page at the front and one at the end of the project with the many rows."""
        token = self._cloud.log_in(f"crowd {BIG}")
        figures = []
        for name, (noun, path, order) in LISTS.items():
            ((marker,),) = self._cloud.rows(
                f"select uuid::text from {noun} where project_id = %s order by {order}"
                " offset %s limit 1",
                BIG,
                self._rows - PAGE - 1,
            )
            front = f"{path}?limit={PAGE}"
            end = f"{front}&marker={marker}"
            figures += self._compare(name, front, end, token)
        return figures

    def _compare(self, name: str, front: str, end: str, token: str) -> list[Figure]:
        first, last = Side(self._cloud.service.pid), Side(self._cloud.service.pid)
        headers = self._cloud.headers(MINOR, token)
        for _ in range(self._rounds):
            first.measure(self._cloud.url + front, headers, self._seconds)
            last.measure(self._cloud.url + end, headers, self._seconds)
        what = f"{PAGE} {name} at the end of {self._rows}"
        at_front, at_end = self._reading(front), self._reading(end)
        return [
            ratio(f"{what}: requests/s, ratio to the front", last.rates, first.rates, 0.8),
            Figure(
                f"{what}: blocks read, ratio to the front",
                at_end.buffers / at_front.buffers,
                "",
                "<",
                1.1,
            ),
            Figure(f"{what}: rows read", sum(at_end.rows.values())),
        ]

    def _reading(self, target: str) -> plans.Reading:
        who = _member(self._who.user_id, BIG)
        statement = statement_of(list_of(target), target, who, MINOR, self._cloud.url)
        connection = psycopg2.connect(full_dsn(self._cloud.dsn, "bench"))
        try:
            plans.read(connection, statement)
            return plans.read(connection, statement)
        finally:
            connection.close()

    def turns(self, port: int, requests: int) -> list[Figure]:
        """The longest turn of the reactor for each request, one request after another.

        :param port: where the service tells of its turns.
        """
        asker = held.Asker(port)
        figures = []
        try:
            for name, (_, path, _) in LISTS.items():
                for size, most_ms in SIZES.items():
                    longest = self._longest(asker, f"{path}?limit={size}", requests)
                    figures.append(
                        Figure(
                            f"list {size} {name}: the reactor is held, p95",
                            1000 * percentile(longest, 0.95),
                            "ms",
                            "<",
                            most_ms,
                            (1000 * min(longest), 1000 * max(longest)),
                        )
                    )
        finally:
            asker.close()
        return figures

    def _longest(self, asker: held.Asker, target: str, requests: int) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", self._cloud.port, timeout=60)
        headers = self._cloud.headers(MINOR)
        longest = []
        try:
            for number in range(requests + WARM):
                asker.take()
                connection.request("GET", target, headers=headers)
                reply = connection.getresponse()
                reply.read()
                if reply.status != 200:
                    raise RuntimeError(f"{target} was answered with {reply.status}")
                seconds = asker.take()
                if number >= WARM:
                    longest.append(seconds)
        finally:
            connection.close()
        return longest

    def _start_reference(self, targets: Mapping[str, str], port: int) -> Process:
        """Start the other side, and see that it writes the same bytes as the service."""
        cloud = self._cloud
        statements: dict[str, Statement] = {
            _short(name): statement_of(list_of(target), target, self._who, MINOR, cloud.url)
            for name, target in targets.items()
        }
        order: dict[str, Any] = {
            "dsn": cloud.dsn,
            "port": port,
            "statements": {name: vars(each) for name, each in statements.items()},
            "bodies": {"nothing": ""},
        }
        reference = Process(cloud.folder, "reference")
        reference.start([sys.executable, "-m", "bench.reference"], order=order)
        try:
            until(
                lambda: reference.answers(f"http://127.0.0.1:{port}/bare/nothing"),
                "Klein runs",
                START_SECONDS,
            )
            for name, target in targets.items():
                with urllib.request.urlopen(_reference_url(port, name), timeout=60) as reply:
                    if reply.read() != cloud.get(target, MINOR):
                        raise RuntimeError(f"{name} is not what the service writes")
        except BaseException:
            reference.stop()
            raise
        return reference


def _member(user_id: str, project_id: str) -> Who:
    return Who(user_id, "", project_id, "", frozenset(("member",)))


def _short(name: str) -> str:
    return name.replace(" ", "-")


def _reference_url(port: int, name: str) -> str:
    return f"http://127.0.0.1:{port}/document/{_short(name)}"


def _say(text: str) -> None:
    print(f"bench: {text} …", file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.lists", description="How fast lists are.")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=4)
    said = parser.parse_args()
    print(table(alone(said.rows, said.seconds, said.rounds)))


if __name__ == "__main__":
    main()
