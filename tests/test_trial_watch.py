"""What the launcher does while the service runs, each time in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cyclades_tx import trial_watch

PATIENCE_SECONDS = 60.0

#: PostgreSQL is there as long as a file is; it is started by what a second file says.
_LAUNCHER = """
import os, sys, time
from pathlib import Path
from cyclades_tx import trial_watch
from cyclades_tx.store.embedded import EmbeddedError
trial_watch.START_PAUSE_SECONDS = 0.01
folder = Path(sys.argv[1])
class Postgres:
    log = folder / "postgres.log"
    def running(self):
        return 1 if (folder / "runs").exists() else None
    def start(self):
        how = (folder / "how").read_text()
        if how == "slow":
            (folder / "starting").touch()
            time.sleep(300)
        if how == "broken":
            raise EmbeddedError("PostgreSQL does not start: no room")
        if how == "fine":
            (folder / "runs").touch()
watch = trial_watch.Watch(Postgres(), folder / "service.log")
service = [sys.executable, "-c", sys.argv[2]]
ready = lambda: (folder / "service.pid").exists()
sys.exit(watch.run(service, ready, lambda: trial_watch.tell("ready")))
"""
#: Services: each writes its process id and lives until it is ended.
_HERE = "import os, signal, time; open('service.new', 'w').write(str(os.getpid()));"
_GO = "os.rename('service.new', 'service.pid');"
OBEDIENT = f"{_HERE}{_GO}time.sleep(300)"
STUBBORN = f"{_HERE}signal.signal(signal.SIGTERM, signal.SIG_IGN);{_GO}time.sleep(300)"


class Launched:
    """A launcher with a service that does nothing, and a PostgreSQL that is a file."""

    def __init__(self, folder: Path, service: str) -> None:
        self.folder = folder
        self.output = folder / "output"
        self.runs = folder / "runs"
        self.runs.touch()
        self.how("fine")
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _LAUNCHER, str(folder), service],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def how(self, word: str) -> None:
        """Say how PostgreSQL starts from now on: ``fine``, ``broken``, ``slow`` or ``dead``."""
        (self.folder / "how").write_text(word)

    @property
    def said(self) -> str:
        """What it printed."""
        return self.output.read_text()

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert time.monotonic() < end, self.said
            time.sleep(0.02)

    def says(self, text: str, times: int = 1) -> None:
        """Wait until it has said something."""
        self.until(lambda: self.said.count(text) >= times)

    def end(self) -> int:
        """Wait until it has ended, and its service with it; return the exit code."""
        code = self.process.wait(PATIENCE_SECONDS)
        with pytest.raises(ProcessLookupError):
            os.kill(self.service(), 0)
        return code

    def service(self) -> int:
        """The process of the service."""
        return int((self.folder / "service.pid").read_text())


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Launched]]:
    """Start a launcher and wait until it says that the service is ready."""
    made: list[Launched] = []

    def start(service: str = OBEDIENT) -> Launched:
        made.append(Launched(tmp_path, service))
        made[0].says("ready")
        return made[0]

    yield start
    for each in made:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()
            os.kill(each.service(), signal.SIGKILL)


@pytest.mark.parametrize("number", trial_watch.SIGNALS, ids=lambda number: number.name)
def test_each_signal_ends_it_in_order(launch: Callable[..., Launched], number: int) -> None:
    """Ctrl-C, ``kill`` and a terminal that is closed."""
    launched = launch()
    launched.process.send_signal(number)
    assert launched.end() == 0
    assert launched.said == "ready\nStopped.\n"


def test_a_second_ctrl_c_ends_a_service_that_takes_its_time(
    launch: Callable[..., Launched],
) -> None:
    """Nothing of it is lost: it can be killed at any time."""
    launched = launch(STUBBORN)
    launched.process.send_signal(signal.SIGTERM)
    time.sleep(0.1)  # both at once may be one
    launched.process.send_signal(signal.SIGINT)
    assert launched.end() == 0


def test_a_terminal_that_was_closed_hinders_nothing(launch: Callable[..., Launched]) -> None:
    """Nobody can be told any more."""
    reading, writing = os.pipe()
    os.close(reading)
    code = (
        "import os, sys; from cyclades_tx import trial_watch;"
        "os.dup2(int(sys.argv[1]), 1); trial_watch.tell('Stopped.'); os._exit(7)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(writing)], pass_fds=[writing], timeout=60, check=False
    )
    os.close(writing)
    assert done.returncode == 7


@pytest.mark.parametrize(
    ("service", "code", "text"),
    [
        (f"{_HERE}{_GO}time.sleep(1); os._exit(3)", 3, "The service ended with 3; "),
        (f"{_HERE}{_GO}time.sleep(1); os._exit(0)", 1, "The service ended with 0; "),
        (f"{_HERE}{_GO}time.sleep(1); os.kill(os.getpid(), 9)", 137, "ended by signal 9 (Killed)"),
    ],
    ids=["status", "no-reason", "killed"],
)
def test_a_service_that_ends_by_itself_ends_the_launcher(
    launch: Callable[..., Launched], service: str, code: int, text: str
) -> None:
    """With its status, as a shell has it, and a line that tells where to look."""
    launched = launch(service)
    assert launched.end() == code
    assert text in launched.said and "service.log" in launched.said


def test_postgresql_that_died_is_started_again(launch: Callable[..., Launched]) -> None:
    """And the service goes on meanwhile."""
    launched = launch()
    service = launched.service()
    for times in (1, 2):
        launched.runs.unlink()
        launched.says("PostgreSQL runs again.", times)
    assert launched.process.poll() is None
    os.kill(service, 0)


def test_postgresql_that_cannot_be_started_again_ends_everything(
    launch: Callable[..., Launched],
) -> None:
    """After some tries, with the reason."""
    launched = launch()
    launched.how("broken")
    launched.runs.unlink()
    assert launched.end() == 1
    assert launched.said.count("no room") == trial_watch.START_TRIES
    assert "PostgreSQL cannot be started again; see " in launched.said


def test_postgresql_that_dies_again_and_again_ends_everything(
    launch: Callable[..., Launched],
) -> None:
    """It starts each time and is gone at once."""
    launched = launch()
    launched.how("dead")
    launched.runs.unlink()
    assert launched.end() == 1
    assert launched.said.count("PostgreSQL runs again.") == trial_watch.MOST_DEATHS
    assert "PostgreSQL dies again and again; see " in launched.said


@pytest.mark.parametrize("number", trial_watch.SIGNALS, ids=lambda number: number.name)
def test_a_signal_while_postgresql_is_started_again_is_heard(
    launch: Callable[..., Launched], number: int
) -> None:
    """That may take a minute."""
    launched = launch()
    launched.how("slow")
    launched.runs.unlink()
    launched.until((launched.folder / "starting").exists)
    launched.process.send_signal(number)
    assert launched.end() == 0
    assert launched.said.endswith("Stopped.\n")
