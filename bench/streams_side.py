"""The other machines of ``bench.streams``: screens that are never still, and their viewers.

``python -m bench.streams_side screens PORT`` lets everybody in on a port and then, for those who
are meant, sends 2 MB each second, as pictures, thirty of them. Lines on its standard input say who
is meant (``viewers``, ``browsers`` or ``nobody``), and whether their screens change ``scattered``
over the time, or all ``together``.

``python -m bench.streams_side eyes`` is told with each line to open a console (``viewers PORT
PASSWORD``, ``browsers PORT TICKET``), and reads what comes; ``count`` asks how many bytes that
were. Each line is answered with a number.
"""

from __future__ import annotations

import contextlib
import os
import random
import selectors
import socket
import sys
import threading
import time

from bench import consoles_wire

VIEWERS, BROWSERS, NOBODY = "viewers", "browsers", "nobody"
SCATTERED, TOGETHER = "scattered", "together"
STREAM_BYTES_PER_SECOND = 2_000_000
PICTURES_PER_SECOND = 30
_PICTURE = bytes(STREAM_BYTES_PER_SECOND // PICTURES_PER_SECOND)
#: What a stream owes at most to somebody who did not take it in time, in pictures.
_MOST_OWED = 10
#: With this byte (RFC 6143, section 7.3.1) an eye tells of which kind it is.
_KINDS = {b"\1": VIEWERS, b"\0": BROWSERS}
#: Where they ran apart, they would not take the processor from the service.
_NICENESS = 10
_PAUSE_SECONDS = 0.01


class Screens:
    """Many screens on one port."""

    def __init__(self, port: int) -> None:
        self._listening = socket.create_server(("127.0.0.1", port), backlog=256)
        self._open: dict[str, list[socket.socket]] = {VIEWERS: [], BROWSERS: []}
        self._meant = (NOBODY, SCATTERED)
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._obey, daemon=True).start()

    def _accept(self) -> None:
        while True:
            wire, _ = self._listening.accept()
            consoles_wire.greet(wire)
            threading.Thread(target=self._join, args=(wire,), daemon=True).start()

    def _join(self, wire: socket.socket) -> None:
        kind = _KINDS[consoles_wire.read(wire, 1)]
        wire.setblocking(False)
        self._open[kind].append(wire)

    def _obey(self) -> None:
        for line in sys.stdin:
            who, when = line.split()
            self._meant = (who, when)
            print(len(self._open.get(who, ())), flush=True)
        os._exit(0)

    def run(self) -> None:
        """Send, until the standard input ends."""
        while True:
            meant = self._meant
            if self._open.get(meant[0]):
                self._stream(meant, self._open[meant[0]])
            else:
                time.sleep(_PAUSE_SECONDS)

    def _stream(self, meant: tuple[str, str], wires: list[socket.socket]) -> None:
        period = 1 / PICTURES_PER_SECOND
        chance = random.Random(1)
        spread = period if meant[1] == SCATTERED else 0.0
        plan = [(phase, wires[n]) for phase, n in _phases(len(wires), spread, chance)]
        owed = dict.fromkeys(wires, 0)
        begun = time.monotonic()
        while self._meant == meant:
            for phase, wire in plan:
                late = time.monotonic() - begun - phase
                if late < 0:
                    time.sleep(-late)
                owed[wire] = min(owed[wire] + len(_PICTURE), _MOST_OWED * len(_PICTURE))
                with contextlib.suppress(BlockingIOError):
                    while owed[wire]:
                        owed[wire] -= wire.send(_PICTURE[: owed[wire]])
            begun += period


def _phases(count: int, spread: float, chance: random.Random) -> list[tuple[float, int]]:
    """When in a period each of so many begins, in order."""
    return sorted((chance.random() * spread, number) for number in range(count))


class Eyes:
    """Many viewers, which look at everything at once."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._seen_bytes = 0
        threading.Thread(target=self._obey, daemon=True).start()

    def _obey(self) -> None:
        for line in sys.stdin:
            word, *rest = line.split()
            if word == "count":
                print(self._seen_bytes, flush=True)
                continue
            port, secret = int(rest[0]), rest[1]
            if word == VIEWERS:
                wire = consoles_wire.viewer(port, secret)
                wire.sendall(b"\1")
            else:
                wire = consoles_wire.browser(port, "/console/ws", secret)
                wire.sendall(consoles_wire.frame(b"\0"))
            wire.setblocking(False)
            self._selector.register(wire, selectors.EVENT_READ)
            print(1, flush=True)
        os._exit(0)

    def run(self) -> None:
        """Look, until the standard input ends."""
        buffer = bytearray(2**18)
        while True:
            for key, _ in self._selector.select(_PAUSE_SECONDS):
                with contextlib.suppress(BlockingIOError):
                    count = key.fileobj.recv_into(buffer)  # type: ignore[union-attr]
                    assert count, "a console was closed"
                    self._seen_bytes += count


def _end_of_all(failed: threading.ExceptHookArgs) -> None:
    """A thread that fails takes the process along: whoever waits for its answer must see that."""
    threading.__excepthook__(failed)
    os._exit(1)


if __name__ == "__main__":
    os.nice(_NICENESS)
    threading.excepthook = _end_of_all
    if sys.argv[1] == "screens":
        Screens(int(sys.argv[2])).run()
    else:
        Eyes().run()
