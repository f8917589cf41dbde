"""Consoles: how fast bytes go through, and what a thousand of them cost that only stand open.

The proxy is compared with Twisted's own port forwarder, each in a process of its own; the screen
and the viewer at both ends are blocking sockets in this one, so that they are never the slow part.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench import consoles_wire
from bench.figures import Figure, ratio
from bench.process import line_from, memory_mib
from cyclades_tx.limits import raise_descriptor_limit

IDLE = 1000
STREAM_BYTES = 300 * 2**20
ROUNDS = 5
FORWARDER, VIEWERS, BROWSERS = "forwarder", "viewers", "browsers"
_PASSWORD = "benchpwd"
_BLOCK = bytes(2**18)
_WAIT_SECONDS = 120.0
_SETTLE_SECONDS = 1.0


def alone(idle: int = IDLE, stream_bytes: int = STREAM_BYTES, rounds: int = ROUNDS) -> list[Figure]:
    """Measure everything.

    :param idle: how many consoles stand open.
    :param stream_bytes: how much goes through one console in a round.
    """
    raise_descriptor_limit()
    with tempfile.TemporaryDirectory(prefix="cyclades-tx-consoles-") as folder:
        pem = _certificate(Path(folder))
        return [*_streams(stream_bytes, rounds), *_idle(idle, None), *_idle(idle, pem)]


class Screens:
    """The far end: lets everybody in without a password, and then sends what it is told to.

    :ivar port: where it listens.
    """

    def __init__(self, stream_bytes: int = 0) -> None:
        self._bytes = stream_bytes
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._kept: list[socket.socket] = []
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Let all go."""
        self._listening.close()
        for each in self._kept:
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                wire, _ = self._listening.accept()
                self._kept.append(wire)
                if self._bytes:
                    threading.Thread(target=self._stream, args=(wire,), daemon=True).start()
                else:
                    consoles_wire.greet(wire)

    def _stream(self, wire: socket.socket) -> None:
        with contextlib.suppress(OSError):
            consoles_wire.greet(wire)
            consoles_wire.read(wire, 1)
            left = self._bytes
            while left > 0:
                wire.sendall(_BLOCK)
                left -= len(_BLOCK)


@contextlib.contextmanager
def _middle(kind: str, screens: Screens, pem: Path | None) -> Iterator[tuple[int, int]]:
    """A process between viewers and screens: its id and its port."""
    command = [sys.executable, "-m", "bench.consoles_side", kind, str(screens.port)]
    process = subprocess.Popen(
        [*command, *([str(pem)] if pem else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield process.pid, int(line_from(process, _WAIT_SECONDS))
    finally:
        process.stdin.close()
        try:
            process.wait(_WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _streams(stream_bytes: int, rounds: int) -> list[Figure]:
    """One console after another, as fast as it goes: MiB a second."""
    rates: dict[str, list[float]] = {FORWARDER: [], VIEWERS: [], BROWSERS: []}
    screens = Screens(stream_bytes)
    with contextlib.ExitStack() as stack:
        stack.callback(screens.close)
        ports = {kind: stack.enter_context(_middle(kind, screens, None))[1] for kind in rates}
        for _ in range(rounds):
            for kind, port in ports.items():
                rates[kind].append(_rate(kind, port, stream_bytes))
    name = "consoles, one stream"
    return [
        Figure(f"{name}: Twisted's forwarder", max(rates[FORWARDER]), "MiB/s"),
        Figure(f"{name}: viewer port", max(rates[VIEWERS]), "MiB/s"),
        Figure(f"{name}: WebSocket", max(rates[BROWSERS]), "MiB/s"),
        ratio(f"{name}: viewer port / forwarder", rates[VIEWERS], rates[FORWARDER], 0.8),
        ratio(f"{name}: WebSocket / forwarder", rates[BROWSERS], rates[FORWARDER], 0.6),
    ]


def _rate(kind: str, port: int, stream_bytes: int) -> float:
    wire = _dial(kind, port, None)
    buffer = bytearray(2**20)
    left = stream_bytes
    begun = time.monotonic()
    wire.sendall(consoles_wire.frame(b"\1") if kind == BROWSERS else b"\1")
    while left > 0:
        got = wire.recv_into(buffer)
        assert got, "the stream has ended early"
        left -= got
    seconds = time.monotonic() - begun
    wire.close()
    return stream_bytes / 2**20 / seconds


def _idle(count: int, pem: Path | None) -> list[Figure]:
    """What consoles cost that stand open, in KiB each, above the same process without any."""
    cost = {}
    for kind in (FORWARDER, VIEWERS):
        screens = Screens()
        with contextlib.ExitStack() as stack:
            stack.callback(screens.close)
            pid, port = stack.enter_context(_middle(kind, screens, pem))
            # The first ones load what all use.
            for _ in range(5):
                _dial(kind, port, pem).close()
            time.sleep(_SETTLE_SECONDS)
            before = memory_mib(pid)
            wires = [_dial(kind, port, pem) for _ in range(count)]
            time.sleep(_SETTLE_SECONDS)
            cost[kind] = (memory_mib(pid) - before) * 1024 / count
            for wire in wires:
                wire.close()
    name = f"consoles, {count:,} idle, {'TLS' if pem else 'plain'}"
    # Where nothing of it can be seen, nothing is to be divided by.
    share = cost[VIEWERS] / max(cost[FORWARDER], 0.1)
    return [
        Figure(f"{name}: Twisted's forwarder", cost[FORWARDER], "KiB each"),
        Figure(f"{name}: viewer port", cost[VIEWERS], "KiB each"),
        Figure(f"{name}: viewer port / forwarder", share, "", "<", 1.5),
    ]


def _dial(kind: str, port: int, pem: Path | None) -> socket.socket:
    """A viewer that has been let in."""
    if kind == BROWSERS:
        return consoles_wire.browser(port, "/ws", "ticket")
    if kind == FORWARDER:
        return consoles_wire.straight(port, tls=pem is not None)
    return consoles_wire.viewer(port, _PASSWORD, tls=pem is not None)


def _certificate(folder: Path) -> Path:
    """A key and a certificate of its own hand, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench.example.org")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = folder / "bench.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(private + made.public_bytes(Encoding.PEM))
    return pem
