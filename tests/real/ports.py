"""Ports for servers that tests start."""

from __future__ import annotations

import itertools
import os
import socket
from contextlib import suppress

#: Below those that the kernel gives to outgoing connections; each process begins elsewhere.
_ports = itertools.cycle(
    [*range(12_000 + os.getpid() * 37 % 20_000, 32_000), *range(12_000, 32_000)]
)


def free_port() -> int:
    """A port of the loopback that nobody uses now, and that no connection is given by chance."""
    for port in itertools.islice(_ports, 20_000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")
