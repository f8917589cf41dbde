"""Forks are processes like others, only sooner there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.forks import FORKS, TWISTD, Forks

TOLD = "import json, os, sys; print(json.dumps([sys.argv, dict(os.environ), os.getcwd()]))"
SLEEP = ("-c", "import time; print('here', flush=True); time.sleep(600)")


def test_words_environment_folder_and_input_are_those_of_a_process(tmp_path: Path) -> None:
    """As Python itself has them."""
    environment = {"PATH": "/usr/bin:/bin", "ONLY": "this"}
    folder = tmp_path.resolve()
    forked = FORKS.run("-c", TOLD, "a", "-b", environment=environment, folder=folder)
    alone = subprocess.run(
        [sys.executable, "-c", TOLD, "a", "-b"],
        # No coverage, which would want a folder of its own.
        env={**environment, "LC_ALL": "C.UTF-8", "PYTHONCOERCECLOCALE": "0"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    expected = alone.stdout.replace(', "LC_ALL": "C.UTF-8", "PYTHONCOERCECLOCALE": "0"', "")
    assert (forked.returncode, forked.stderr, forked.stdout) == (0, "", expected)
    said = FORKS.run("-c", "import sys; sys.stderr.write(sys.stdin.read())", given=b"words")
    assert (said.stdout, said.stderr) == ("", "words")


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("pass", 0),
        ("raise SystemExit(3)", 3),
        ("1 / 0", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    ],
    ids=["well", "status", "exception", "killed", "terminated"],
)
def test_the_end_is_told(program: str, code: int) -> None:
    """With the status, or the signal."""
    assert FORKS.run("-c", program).returncode == code


def test_modules_run_and_handlers_at_the_end_do(tmp_path: Path) -> None:
    """``-m`` as ``-c``; what a process wants to do at its end it does."""
    assert "twistd" in FORKS.run(*TWISTD, "--version").stdout
    assert FORKS.run("-m", "platform").returncode == 0
    program = "import atexit; atexit.register(print, 'the end')"
    assert FORKS.run("-c", program).stdout == "the end\n"


def test_each_has_a_reactor_of_its_own() -> None:
    """Two at once; the library that asks for one at its import is content."""
    program = (
        "import os, klein; from twisted.internet import reactor;"
        "reactor.callLater(0.1, reactor.stop); reactor.run(); print(type(reactor).__name__)"
    )
    first, second = FORKS.start("-c", program), FORKS.start("-c", program)
    assert (first.wait(60), second.wait(60)) == (0, 0)
    assert first.pid != second.pid


def test_one_that_does_not_end_is_told_stopped_and_killed(tmp_path: Path) -> None:
    """What the tests of outages do with processes."""
    with (tmp_path / "out").open("wb") as out:
        process = FORKS.start(*SLEEP, stdout=out)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.05)
    process.send_signal(signal.SIGSTOP)
    assert process.poll() is None
    process.kill()
    assert process.wait(60) == process.poll() == -signal.SIGKILL
    process.send_signal(signal.SIGKILL)


def test_coverage_is_measured(tmp_path: Path) -> None:
    """From the fork on."""
    settings = tmp_path / "rc"
    settings.write_text(f"[run]\nparallel = true\ndata_file = {tmp_path / 'data'}\n")
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")},
        "COVERAGE_PROCESS_START": str(settings),
    }
    program = "from cyclades_tx.crash import crash_points; crash_points({})"
    assert FORKS.run("-c", program, environment=environment).returncode == 0
    (data,) = tmp_path.glob("data.*")
    assert b"crash.py" in data.read_bytes()


def test_all_end_with_the_run(tmp_path: Path) -> None:
    """Also when nobody has ended them."""
    forks = Forks()
    with (tmp_path / "out").open("wb") as out:
        process = forks.start(*SLEEP, stdout=out)
    forks.close()
    assert process.poll() == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
