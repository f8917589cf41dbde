"""The launcher's small parts; whole trial runs are among the scenarios."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cyclades_tx import trial, trial_seed
from cyclades_tx.trial_watch import SIGNALS
from tests.real.ports import free_port

ROOT = Path(__file__).parents[1]


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Whatever a test makes of them, the next one has them as they were."""
    before = [(number, signal.getsignal(number)) for number in SIGNALS]
    yield
    for number, handler in before:
        signal.signal(number, handler)


def test_a_private_file_is_its_owners_alone_and_whole(tmp_path: Path) -> None:
    """Also when there was one before."""
    path = tmp_path / "secret"
    for text in ("one", "two"):
        trial._private(path, text)
        assert path.read_text() == text
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("port", ["0", "65536", "-1", "x"])
def test_a_port_that_is_none_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By the parser of the command line."""
    with pytest.raises(SystemExit) as caught:
        trial.main([f"--port={port}"])
    assert caught.value.code == 2
    assert "--port" in capsys.readouterr().err


def test_a_port_in_use_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was started by then."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert trial.main([f"--state={tmp_path / 'var'}", f"--port={port}"]) == 1
    error = capsys.readouterr().err
    assert error == f"Port {port} is in use; choose another with PORT=.\n"


def test_a_state_in_use_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs never share one."""
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert trial.main([f"--state={tmp_path}"]) == 1
    assert capsys.readouterr().err == f"Another run uses {tmp_path}; choose STATE=.\n"


def test_a_state_that_cannot_be_made_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here a file stands in the way."""
    (tmp_path / "file").write_text("")
    assert trial.main([f"--state={tmp_path / 'file' / 'var'}"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_clients_file_follows_the_port_and_keeps_the_passwords(tmp_path: Path) -> None:
    """The next run may listen elsewhere."""
    clouds = tmp_path / "clouds.yaml"
    clouds.write_text("clouds:\n" + trial_seed._entry("demo", "s3cret: #x", "http://127.0.0.1:1"))
    clouds.chmod(0o600)
    trial_seed._repoint(clouds, "http://127.0.0.1:2")
    text = clouds.read_text()
    assert "http://127.0.0.1:2/identity" in text and "127.0.0.1:1/" not in text
    assert "s3cret: #x" in text
    assert stat.S_IMODE(clouds.stat().st_mode) == 0o600


class _Finalizer:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGHUP)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("usual_signals")
def test_a_signal_in_a_finalizer_ends_the_run_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python drops the exception, as it does in the middle of an import."""
    done = []

    class _Postgres:
        def __init__(self, state: Path) -> None:
            pass

        def start(self) -> str:
            _Finalizer()
            return ""

        def stop(self) -> None:
            done.append("stopped")

    def go_on(*_: Any, **__: Any) -> None:
        done.append("went on")

    monkeypatch.setattr(trial, "EmbeddedPostgres", _Postgres)
    monkeypatch.setattr(trial, "migrate", lambda dsn: None)
    monkeypatch.setattr(trial_seed, "run", go_on)
    assert trial.main([f"--state={tmp_path / 'var'}", f"--port={free_port()}"]) == 1
    assert done == ["stopped"]
    assert capsys.readouterr().err == "Stopped.\n"


_SEED = """
import signal, sys
from pathlib import Path
from cyclades_tx import trial_seed
from twisted.internet import reactor

when, number = sys.argv[1], int(sys.argv[2])
caught = []
signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
signal.signal(signal.SIGHUP, lambda number, frame: caught.append(number))

class World:
    @classmethod
    def real(cls, reactor, config, tool):
        return cls()
    @property
    def database(self):
        return self
    def start(self):
        pass
    async def close(self):
        print("closed")

async def seed(*_):
    if when == "inside":
        signal.raise_signal(number)

trial_seed.World, trial_seed.seed = World, seed
if when == "before":
    reactor.addSystemEventTrigger("before", "startup", signal.raise_signal, number)
if when == "behind":
    reactor.addSystemEventTrigger("after", "shutdown", signal.raise_signal, number)
try:
    trial_seed.run(None, [], Path("clouds.yaml"), "")
    print("whole")
except KeyboardInterrupt:
    print("interrupted")
assert caught == []
signal.raise_signal(signal.SIGTERM)
signal.raise_signal(signal.SIGHUP)
assert caught == [signal.SIGTERM, signal.SIGHUP]
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


@pytest.mark.parametrize(
    ("when", "number"),
    [
        ("never", signal.SIGHUP),
        *((when, number) for when in ("before", "inside", "behind") for number in SIGNALS),
    ],
    ids=str,
)
def test_a_signal_while_the_database_is_filled_is_never_lost(
    when: str, number: signal.Signals
) -> None:
    """Also where the reactor does not run yet, or not any more; the handlers come back."""
    done = subprocess.run(
        [sys.executable, "-c", _SEED, when, str(int(number))],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "closed\n" + ("whole\n" if when == "never" else "interrupted\n")
