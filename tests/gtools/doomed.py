"""A daemon in a process of its own that is killed at the worst moment.

``python -m tests.gtools.doomed FOLDER KILL_AFTER``: what it publishes is added to the file
``published`` in the folder. After so many messages it kills itself before the broker's confirmation
reaches the daemon; with 0 it runs until it is told to end.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from cyclades_tx.gtools.buffer import Buffer
from cyclades_tx.gtools.config import Config, GanetiSection
from cyclades_tx.gtools.eventd import EventDaemon
from tests.gtools.recorder import RecordingBroker


class DoomedBroker(RecordingBroker):
    """Writes messages to a file, and kills the process after some."""

    def __init__(self, path: Path, kill_after: int) -> None:
        super().__init__()
        self._path = path
        self._left = kill_after

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        headers: Mapping[str, Any] | None = None,
        mandatory: bool = False,
    ) -> Deferred[None]:
        """Write it down, and die perhaps."""
        with self._path.open("ab") as file:
            file.write(body + b"\n")
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().publish(exchange, routing_key, body, headers, mandatory)


def main(folder: Path, kill_after: int) -> None:
    """Run until the end."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    config = Config(
        ganeti=GanetiSection(data_folder=str(folder / "ganeti"), luxi_socket=str(folder / "none"))
    )
    buffer = Buffer(folder / "state", config.state.buffer_bytes)
    buffer.open()
    broker = DoomedBroker(folder / "published", kill_after)
    daemon = EventDaemon(reactor, config, "n1.test", broker, buffer)
    reactor.callWhenRunning(daemon.startService)
    reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
    reactor.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
