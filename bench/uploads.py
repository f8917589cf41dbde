"""Images: how fast their data come in and go out, and what that costs everybody else.

The service is compared with a bare twisted.web handler (``uploads_side.py``) that computes the same
checksums and writes to the same disk, in turns. The clients are blocking sockets in threads of this
process, which send one block again and again::

    python -m bench.uploads
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from bench import held
from bench.cloud import Cloud, Process, free_port, until
from bench.figures import Figure, ratio, table
from bench.lag import Lag

SIZE_BYTES = 256 * 2**20
ROUNDS = 4
AT_ONCE = 4
LAG_PERIOD_SECONDS = 0.005
#: What a process may grow by for an image of any size.
GROWTH_MIB = 30.0
_BLOCK = bytes(range(256)) * 4096
_WAIT_SECONDS = 300.0
_START_SECONDS = 60.0
_IMAGES = '[image]\ndirectory = "images"\nproject_gib = 0\n'


def alone(
    size_bytes: int = SIZE_BYTES, rounds: int = ROUNDS, rest_seconds: float = 3.0
) -> list[Figure]:
    """Measure everything in a folder of its own.

    :param size_bytes: how large an image is.
    :param rest_seconds: how long the lag is looked at without any upload: what the machine does
        besides.
    """
    with tempfile.TemporaryDirectory(prefix="cyclades-tx-uploads-") as name:
        folder = Path(name)
        cloud = Cloud(folder, clusters=1, more=_IMAGES)
        bare = Process(folder, "bare")
        port = free_port()
        try:
            cloud.start()
            turns = free_port()
            cloud.start_service(LAG_PERIOD_SECONDS, held.COMMAND, {held.PORT_VARIABLE: str(turns)})
            order = {"port": port, "path": str(folder / "bare-data")}
            bare.start([sys.executable, "-m", "bench.uploads_side"], order=order)
            until(lambda: listening(port), "the bare handler listens", _START_SECONDS)
            figures = _one(cloud, port, size_bytes, rounds)
            return figures + _several(cloud, turns, size_bytes, rest_seconds)
        finally:
            bare.stop()
            cloud.stop()


def listening(port: int) -> bool:
    """Whether somebody takes connections."""
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except OSError:
        return False
    return True


def _one(cloud: Cloud, port: int, size_bytes: int, rounds: int) -> list[Figure]:
    """One upload and one download at a time, ours and the bare one's in turns."""
    up: tuple[list[float], list[float]] = ([], [])
    down: tuple[list[float], list[float]] = ([], [])
    # The first of everything costs memory once.
    image = _image(cloud)
    send(cloud.port, f"/image/v2/images/{image}/file", cloud.token, 2**20)
    receive(cloud.port, f"/image/v2/images/{image}/file", cloud.token)
    _delete(cloud, image)
    # The peak from now on.
    Path(f"/proc/{cloud.service.pid}/clear_refs").write_text("5")
    before = _peak_mib(cloud)
    for _ in range(rounds):
        image = _image(cloud)
        path = f"/image/v2/images/{image}/file"
        up[0].append(size_bytes / _timed(send, cloud.port, path, cloud.token, size_bytes))
        up[1].append(size_bytes / _timed(send, port, "/", "", size_bytes))
        down[0].append(size_bytes / _timed(receive, cloud.port, path, cloud.token))
        down[1].append(size_bytes / _timed(receive, port, "/", ""))
        _delete(cloud, image)
    return [
        ratio("image upload, ratio to a bare handler", *up, 0.6),
        Figure("image upload", max(up[0]) / 2**20, "MiB/s"),
        ratio("image download, ratio to a bare handler", *down, 0.6),
        Figure("image download", max(down[0]) / 2**20, "MiB/s"),
        Figure("memory that they cost", _peak_mib(cloud) - before, "MiB", "<", GROWTH_MIB),
    ]


def _several(cloud: Cloud, turns: int, size_bytes: int, rest_seconds: float) -> list[Figure]:
    """Several uploads at once, and how late the reactor is meanwhile.

    The lag is also that of a processor which others have; how long the reactor itself works in
    one turn is not.
    """
    asker = held.Asker(turns)
    images = [_image(cloud) for _ in range(AT_ONCE)]
    before = Lag.read(cloud.metrics())
    time.sleep(rest_seconds)
    rest = Lag.read(cloud.metrics()).since(before)
    before = Lag.read(cloud.metrics())
    asker.take()
    failed: list[str] = []

    def one(image: str) -> None:
        try:
            send(cloud.port, f"/image/v2/images/{image}/file", cloud.token, size_bytes)
        except Exception as error:
            failed.append(repr(error))

    threads = [threading.Thread(target=one, args=(image,)) for image in images]
    took = _timed(_all, threads)
    longest = asker.take()
    asker.close()
    lag = Lag.read(cloud.metrics()).since(before)
    if failed:
        raise RuntimeError("; ".join(failed))
    return [
        Figure(f"{AT_ONCE} uploads at once", AT_ONCE * size_bytes / took / 2**20, "MiB/s"),
        Figure("reactor lag at rest just before, p99", 1000 * rest.seconds_at(0.99), "ms"),
        Figure("samples of the reactor's lag", lag.samples, ""),
        Figure("reactor lag, p99", 1000 * lag.seconds_at(0.99), "ms", "<", 20),
        Figure("reactor lag, maximum", 1000 * lag.worst_seconds, "ms", "<", 100),
        Figure("longest turn of the reactor, processor time", 1000 * longest, "ms", "<", 20),
    ]


def _all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _timed(work: Callable[..., object], *args: object) -> float:
    began = time.perf_counter()
    work(*args)
    return time.perf_counter() - began


def _image(cloud: Cloud) -> str:
    body = {"name": "bench", "disk_format": "raw", "container_format": "bare"}
    request = urllib.request.Request(
        f"{cloud.url}/image/v2/images",
        data=json.dumps(body).encode(),
        headers={"X-Auth-Token": cloud.token, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        found: str = json.load(reply)["id"]
        return found


def _delete(cloud: Cloud, image: str) -> None:
    request = urllib.request.Request(
        f"{cloud.url}/image/v2/images/{image}",
        method="DELETE",
        headers={"X-Auth-Token": cloud.token},
    )
    urllib.request.urlopen(request, timeout=30).close()


def send(port: int, path: str, token: str, size_bytes: int) -> None:
    """Send a body of this size and wait for the answer."""
    with socket.create_connection(("127.0.0.1", port), _WAIT_SECONDS) as wire:
        head = (
            f"PUT {path} HTTP/1.1\r\nHost: bench\r\nX-Auth-Token: {token}\r\nConnection: close\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Length: {size_bytes}\r\n\r\n"
        )
        wire.sendall(head.encode())
        left = size_bytes
        while left:
            wire.sendall(_BLOCK[:left])
            left -= min(left, len(_BLOCK))
        answer = wire.recv(65_536)
    if answer.split(b" ")[1] not in (b"200", b"204"):
        raise RuntimeError(answer.decode("latin-1"))


def receive(port: int, path: str, token: str) -> int:
    """Read a body to its end; how many bytes came."""
    place = memoryview(bytearray(2**20))
    count = 0
    with socket.create_connection(("127.0.0.1", port), _WAIT_SECONDS) as wire:
        wire.sendall(
            f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-Auth-Token: {token}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        while got := wire.recv_into(place):
            count += got
    return count


def _peak_mib(cloud: Cloud) -> float:
    status = Path(f"/proc/{cloud.service.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    print(table(alone()))
