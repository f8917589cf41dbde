"""A load in plain Python, for machines without ``wrk``; the order comes on standard input.

It asks without waiting for anything but answers, on connections that stay open, and tells
what it saw as one line of JSON on standard error.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

_READ_BYTES = 262_144


def request_of(url: str, headers: Mapping[str, str]) -> bytes:
    """The bytes of a GET request."""
    parts = urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"GET {path} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def length_of(data: bytes) -> int | None:
    """How long the whole answer is that begins here; None as long as its head is not complete.

    :raise ValueError: when it does not tell its length.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    for line in data[:end].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return end + 4 + int(value)
    raise ValueError("an answer without Content-Length")


def run(url: str, headers: Mapping[str, str], seconds: float, connections: int) -> dict[str, float]:
    """Ask until the time is over, and one answer is there: a busy machine may not give any before.

    :return: ``requests`` answered with 200 or not, ``failed`` of them, and ``seconds``.
    """
    parts = urlsplit(url)
    request = request_of(url, headers)
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        opened = socket.create_connection((parts.hostname, parts.port or 80), timeout=10)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.sendall(request)
        selector.register(opened, selectors.EVENT_READ, bytearray())
    asked = failed = 0
    begun = time.monotonic()
    until = begun + seconds
    while time.monotonic() < until or not asked:
        for key, _events in selector.select(0.1):
            answer: bytearray = key.data
            piece = key.fileobj.recv(_READ_BYTES)  # type: ignore[union-attr]
            if not piece:
                raise ConnectionError("the server hung up")
            answer += piece
            length = length_of(bytes(answer[:4096]))
            if length is None or len(answer) < length:
                continue
            asked += 1
            failed += not answer.startswith(b"HTTP/1.1 200 ")
            del answer[:]
            key.fileobj.sendall(request)  # type: ignore[union-attr]
    took = time.monotonic() - begun
    for key in list(selector.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    return {"requests": asked, "failed": failed, "seconds": took}


if __name__ == "__main__":
    order = json.load(sys.stdin)
    print(json.dumps(run(**order)), file=sys.stderr)
