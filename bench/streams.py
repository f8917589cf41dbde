"""What consoles cost everybody else: the API's latency beside fifty that are never still.

Fifty screens send 2 MB each second, thirty pictures, through the port for viewers, and then fifty
others over WebSocket: at moments that are scattered, and, which is the hardest, all at the same
ones. Screens and viewers are processes of their own. Meanwhile one client asks for one server, at
random moments, as it does in the same rounds while nothing goes over any console::

    python -m bench.streams
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import creates, process
from bench.client import length_of, request_of
from bench.cloud import ROOT, Cloud, free_port, until
from bench.figures import Figure, percentile, table
from bench.streams_side import (
    BROWSERS,
    NOBODY,
    SCATTERED,
    STREAM_BYTES_PER_SECOND,
    TOGETHER,
    VIEWERS,
)

STREAMS = 50
ROUNDS = 6
SECONDS = 3.0
#: How often the client asks, on average.
REQUESTS_PER_SECOND = 100.0
_SETTLE_SECONDS = 0.3
_WAIT_SECONDS = 60.0
#: Who is sent something, and when.
_Kind = tuple[str, str]
_UNLOADED: _Kind = (NOBODY, SCATTERED)
_NAMES: dict[_Kind, str] = {
    _UNLOADED: "",
    (VIEWERS, SCATTERED): "viewer port",
    (VIEWERS, TOGETHER): "viewer port, all at the same moments",
    (BROWSERS, SCATTERED): "WebSocket",
    (BROWSERS, TOGETHER): "WebSocket, all at the same moments",
}


def alone(streams: int = STREAMS, rounds: int = ROUNDS, seconds: float = SECONDS) -> list[Figure]:
    """Measure everything in a folder of its own.

    :param streams: how many consoles of each kind.
    :param seconds: how long each kind is looked at in a round.
    """
    with tempfile.TemporaryDirectory(prefix="cyclades-tx-streams-") as folder:
        viewer_port = free_port()
        more = f"[console]\nviewer_port = {viewer_port}\nsessions_per_user = {2 * streams}\n"
        cloud = Cloud(Path(folder), clusters=1, more=more)
        try:
            cloud.start()
            cloud.start_service()
            (server,) = creates.submit(cloud, 1)["ids"]
            creates.settle(cloud)
            port = str(_screen_port(cloud))
            with _side(cloud, "screens", port) as screens, _side(cloud, "eyes") as eyes:
                _open(cloud, server, eyes, viewer_port, streams)
                return _measure(cloud, server, screens, eyes, streams, rounds, seconds)
        finally:
            cloud.stop()


class Side:
    """A process that does what it is told, line by line."""

    def __init__(self, popen: subprocess.Popen[str], log: Path) -> None:
        self._popen = popen
        self._log = log

    def tell(self, *words: object) -> int:
        """Tell it something; return its answer.

        :raise RuntimeError: when there is none; says what the process said last.
        """
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(" ".join(map(str, words)) + "\n")
            self._popen.stdin.flush()
            return int(process.line_from(self._popen, _WAIT_SECONDS))
        except (OSError, RuntimeError) as error:
            said = self._log.read_text(errors="replace").strip()[-2000:]
            raise RuntimeError(f"{error}\n{said}") from None


@contextlib.contextmanager
def _side(cloud: Cloud, role: str, *arguments: str) -> Iterator[Side]:
    path = cloud.folder / f"{role}.log"
    with path.open("ab") as log:
        popen = subprocess.Popen(
            [sys.executable, "-m", "bench.streams_side", role, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
            text=True,
        )
    assert popen.stdin is not None and popen.stdout is not None
    try:
        yield Side(popen, path)
    finally:
        with contextlib.suppress(OSError):
            popen.stdin.close()
        popen.kill()
        popen.wait()
        popen.stdout.close()


def _screen_port(cloud: Cloud) -> int:
    """Where the cluster says that the screen of the only server is; nobody listens there yet."""
    asked = "select vnc_port from server where deleted_at is null and vnc_port is not null"
    until(lambda: bool(cloud.rows(asked)), "the place of the screen is known", _WAIT_SECONDS)
    port: int = cloud.rows(asked)[0][0]
    return port


def _open(cloud: Cloud, server: str, eyes: Side, viewer_port: int, streams: int) -> None:
    path = f"/compute/v2.1/servers/{server}"
    for _ in range(streams):
        said = _post(cloud, f"{path}/action", {"console": {"type": "vnc"}})["console"]
        eyes.tell(VIEWERS, viewer_port, said["password"])
        wanted = {"remote_console": {"protocol": "vnc", "type": "novnc"}}
        said = _post(cloud, f"{path}/remote-consoles", wanted)["remote_console"]
        eyes.tell(BROWSERS, cloud.port, said["url"].partition("#")[2])


def _post(cloud: Cloud, path: str, body: Any) -> Any:
    request = urllib.request.Request(
        cloud.url + path,
        data=json.dumps(body).encode(),
        headers={**cloud.headers(96), "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_WAIT_SECONDS) as reply:
        return json.load(reply)


def _measure(
    cloud: Cloud,
    server: str,
    screens: Side,
    eyes: Side,
    streams: int,
    rounds: int,
    seconds: float,
) -> list[Figure]:
    asker = _Asker(cloud, f"/compute/v2.1/servers/{server}")
    seen: dict[_Kind, list[list[float]]] = {kind: [] for kind in _NAMES}
    rates: dict[_Kind, list[float]] = {kind: [] for kind in _NAMES}
    costs: dict[_Kind, list[float]] = {kind: [] for kind in _NAMES}
    asker.ask(seconds)
    for _ in range(rounds):
        for kind in _NAMES:
            if screens.tell(*kind) != (0 if kind == _UNLOADED else streams):
                raise RuntimeError("not every screen was opened")
            time.sleep(_SETTLE_SECONDS)
            before, used = eyes.tell("count"), process.cpu_seconds(cloud.service.pid)
            begun = time.monotonic()
            seen[kind].append(asker.ask(seconds))
            took = time.monotonic() - begun
            rates[kind].append((eyes.tell("count") - before) / took / streams)
            costs[kind].append((process.cpu_seconds(cloud.service.pid) - used) / took)
    screens.tell(*_UNLOADED)
    asker.close()
    return _figures(streams, seen, rates, costs)


def _figures(
    streams: int,
    seen: dict[_Kind, list[list[float]]],
    rates: dict[_Kind, list[float]],
    costs: dict[_Kind, list[float]],
) -> list[Figure]:
    """Of all rounds together: the slowest in a hundred are too few in one."""
    p99 = {
        kind: percentile((each for one in lists for each in one), 0.99) * 1000
        for kind, lists in seen.items()
    }
    name = f"one server shown beside {streams} consoles of 2 MB/s"
    figures = [Figure(f"{name}: p99 unloaded", p99[_UNLOADED], "ms")]
    for kind in list(_NAMES)[1:]:
        way = f"{name}, {_NAMES[kind]}"
        mean = sum(rates[kind]) / len(rates[kind]) / STREAM_BYTES_PER_SECOND
        busy = 100 * sum(costs[kind]) / len(costs[kind])
        figures += [
            Figure(f"{way}: share of the rate that came", mean, "", ">=", 0.95),
            Figure(f"{way}: processor of the service", busy, "%"),
            Figure(f"{way}: p99", p99[kind], "ms"),
            Figure(f"{way}: p99 / unloaded", p99[kind] / p99[_UNLOADED], "", "<", 2.0),
        ]
    return figures


class _Asker:
    """A client on one connection that asks at random moments."""

    def __init__(self, cloud: Cloud, path: str) -> None:
        self._request = request_of(cloud.url + path, cloud.headers(96))
        self._wire = socket.create_connection(("127.0.0.1", cloud.port), _WAIT_SECONDS)
        self._wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._chance = random.Random(1)

    def ask(self, seconds: float) -> list[float]:
        """Ask for so long; return how many seconds each answer took."""
        took = []
        due = time.perf_counter()
        end = due + seconds
        while due < end:
            due += self._chance.expovariate(REQUESTS_PER_SECOND)
            time.sleep(max(0.0, due - time.perf_counter()))
            begun = time.perf_counter()
            self._wire.sendall(self._request)
            self._read()
            took.append(time.perf_counter() - begun)
        return took

    def close(self) -> None:
        """Ask no more."""
        self._wire.close()

    def _read(self) -> None:
        answer = b""
        while True:
            piece = self._wire.recv(262_144)
            if not piece:
                raise RuntimeError("the service hung up")
            answer += piece
            length = length_of(answer)
            if length is not None and len(answer) >= length:
                break
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"the service answered {answer[:200]!r}")


if __name__ == "__main__":
    print(table(alone()))
