"""Ports for servers that tests start."""

from __future__ import annotations

import itertools
import os
import socket
from contextlib import suppress

#: Below those that the kernel gives to outgoing connections. Each worker of a run has a part of
#: its own, or it could take the port of a server that another has stopped for a moment.
_FIRST, _PARTS, _EACH = 12_000, 8, 2_500
_part = _FIRST + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % _PARTS * _EACH
_start = os.getpid() * 37 % _EACH
_ports = itertools.cycle(_part + (_start + number) % _EACH for number in range(_EACH))


def free_port() -> int:
    """A port of the loopback that nobody uses now, and that no connection is given by chance."""
    for port in itertools.islice(_ports, _EACH):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")
