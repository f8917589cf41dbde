"""The trial run while it lasts: the service's process, and the PostgreSQL that it needs.

PostgreSQL is started again when it dies; the service finds it again by itself. When the service
dies nothing is worth going on with.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from cyclades_tx.store.embedded import EmbeddedError, EmbeddedPostgres

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOOK_SECONDS = 0.2
#: How long the service may take to end in order.
STOP_SECONDS = 30.0
#: PostgreSQL that dies more often than this in this time is not started again.
MOST_DEATHS = 5
DEATHS_SECONDS = 60.0
#: So often it is tried to start it again, with pauses.
START_TRIES = 3
START_PAUSE_SECONDS = 1.0


class Watch:
    """Runs the service and looks after PostgreSQL until the end.

    :param postgres: it runs already.
    :param log: where the service's log is, for who wonders why it ended.
    """

    def __init__(self, postgres: EmbeddedPostgres, log: Path) -> None:
        self._postgres = postgres
        self._log = log
        self._service: subprocess.Popen[bytes] | None = None
        self._deaths: deque[float] = deque()
        self._stopping = self._reviving = False
        self._stop_until = 0.0

    def run(
        self, command: Sequence[str], ready: Callable[[], bool], say: Callable[[], None]
    ) -> int:
        """Run the service until it ends or is told to; return the exit code.

        :param ready: tells whether it answers; asked until it does.
        :param say: called once then.
        """
        for number in SIGNALS:
            signal.signal(number, self._stop)
        # A group of its own: a Ctrl-C comes to it through this process, in order.
        self._service = service = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, cwd=self._log.parent, process_group=0
        )
        if self._stopping:
            service.terminate()
        waiting, given_up = True, False
        while service.poll() is None:
            if self._stopping:
                if time.monotonic() > self._stop_until:
                    service.kill()
            elif not self._see_to_postgres():
                given_up = True
                self._end()
            elif waiting and ready():
                waiting = False
                say()
            time.sleep(LOOK_SECONDS)
        if given_up:
            return 1
        if self._stopping:
            tell("Stopped.")
            return 0
        return self._ended(service.returncode)

    def _ended(self, code: int) -> int:
        """Say how the service ended by itself; return what a shell would."""
        how = f"with {code}" if code >= 0 else f"by signal {-code} ({signal.strsignal(-code)})"
        tell(f"The service ended {how}; its log is {self._log}")
        return (code or 1) if code >= 0 else 128 - code

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self._stopping:
            self._end()
        elif number == signal.SIGINT and self._service is not None:
            # Whoever asks a second time does not want to wait; nothing of it is lost.
            self._service.kill()
        if self._reviving:
            raise KeyboardInterrupt

    def _end(self) -> None:
        self._stopping = True
        self._stop_until = time.monotonic() + STOP_SECONDS
        if self._service is not None:
            self._service.terminate()

    def _see_to_postgres(self) -> bool:
        """Start PostgreSQL again if it is not there; False when that makes no sense."""
        if self._postgres.running() is not None:
            return True
        now = time.monotonic()
        while self._deaths and self._deaths[0] < now - DEATHS_SECONDS:
            self._deaths.popleft()
        self._deaths.append(now)
        if len(self._deaths) > MOST_DEATHS:
            tell(f"PostgreSQL dies again and again; see {self._postgres.log}")
            return False
        tell("PostgreSQL has ended; it is started again ...")
        try:
            self._reviving = True
            return self._start_postgres()
        except KeyboardInterrupt:
            return True
        finally:
            self._reviving = False

    def _start_postgres(self) -> bool:
        for left in reversed(range(START_TRIES)):
            try:
                self._postgres.start()
            except (EmbeddedError, OSError) as error:
                tell(str(error))
                if left:
                    time.sleep(START_PAUSE_SECONDS)
            else:
                tell("PostgreSQL runs again.")
                return True
        tell(f"PostgreSQL cannot be started again; see {self._postgres.log}")
        return False


def tell(text: str) -> None:
    """Print a line; a terminal that was closed hinders nothing."""
    try:
        print(text, flush=True)
    except OSError:
        return
