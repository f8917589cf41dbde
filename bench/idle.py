"""What connections cost that are kept open and say nothing."""

from __future__ import annotations

import socket
import time

from bench import process
from bench.cloud import Cloud
from bench.figures import Figure

COUNT = 1000
#: What a client has asked once before it falls silent.
_ASKED = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def run(cloud: Cloud, count: int = COUNT) -> list[Figure]:
    """Open connections, let each ask once, and look at the memory while all stay open."""
    empty_mib = process.memory_mib(cloud.service.pid)
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            one = socket.create_connection(("127.0.0.1", cloud.port), timeout=30)
            opened.append(one)
            one.sendall(_ASKED)
            if not one.recv(65536).startswith(b"HTTP/1.1 200"):
                raise RuntimeError("an idle connection was not answered")
        time.sleep(1)
        if process.descriptors(cloud.service.pid) < count:
            raise RuntimeError("the service has hung up on idle connections")
        full_mib = process.memory_mib(cloud.service.pid)
    finally:
        for one in opened:
            one.close()
    return [
        Figure("memory of the empty service", empty_mib, "MiB"),
        Figure(f"memory of {count} idle connections", full_mib - empty_mib, "MiB", "<", 60.0),
    ]
