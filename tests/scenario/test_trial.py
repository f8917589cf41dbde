"""What the README promises: one command starts the cloud, and a real client uses it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from cyclades_tx.store.embedded import EmbeddedPostgres
from tests.real.ports import free_port
from tests.scenario.clients.people import typed
from tests.scenario.cloud import until

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


class TrialRun:
    """``python -m cyclades_tx.trial`` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "var"
        self.port = free_port()
        self.output = folder / "output"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> None:
        """Start it and, usually, wait until it says that the cloud is ready."""
        self.output.write_bytes(b"")
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "cyclades_tx.trial",
                    f"--state={self.state}",
                    f"--port={self.port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        if wait:
            until(self._ready, f"the cloud is ready: {self.output.read_text()}", 60)

    @property
    def database(self) -> EmbeddedPostgres:
        """Its PostgreSQL."""
        return EmbeddedPostgres(self.state)

    def postgres(self) -> int:
        """The process of its PostgreSQL."""
        pid = self.database.running()
        assert pid is not None
        return pid

    def said(self) -> str:
        """What it printed."""
        return self.output.read_text()

    def interrupt(self) -> int:
        """Press Ctrl-C and wait for the end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def openstack(self, command: str, cloud: str = "demo", alone: bool = False) -> str:
        """Run a command of the real client; return what it printed.

        :param alone: in a process of its own, as a person's shell starts it.
        :raise AssertionError: when it fails.
        """
        words = shlex.split(command)
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "OS_CLIENT_CONFIG_FILE": str(self.state / "clouds.yaml"),
            "OS_CLOUD": cloud,
        }
        if alone:
            done = subprocess.run(
                [Path(sys.executable).with_name("openstack"), *words],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        else:
            done = typed(words, environment, self.folder)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def answers(self, command: str) -> bool:
        """Whether a command of the real client succeeds."""
        try:
            self.openstack(command)
        except AssertionError:
            return False
        return True

    def shows(self, server: str, *statuses: str) -> bool:
        """Whether a server has one of these statuses."""
        return self.openstack(f"server show -f value -c status {server}").strip() in statuses

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.said()
        return "is ready at" in self.said()


@pytest.fixture
def trial() -> Iterator[TrialRun]:
    """A trial run in a folder of its own, which is removed with its database."""
    with tempfile.TemporaryDirectory(prefix="cyclades-tx-trial-") as name:
        Path(name).chmod(0o711)
        run = TrialRun(Path(name))
        yield run
        if run.process is not None and run.process.poll() is None:
            run.interrupt()
        EmbeddedPostgres(run.state).remove()


def readme_commands() -> list[str]:
    """The commands of the real client in the README, in their order."""
    return re.findall(r"^\$ client/bin/openstack (.*)$", README.read_text(), re.MULTILINE)


def test_the_commands_of_the_readme_work_and_a_second_run_finds_everything(trial: TrialRun) -> None:
    """As printed, one after the other; then Ctrl-C, and again."""
    trial.start()
    assert oct((trial.state / "clouds.yaml").stat().st_mode & 0o777) == "0o600"
    said = {}
    for command in readme_commands():
        # Those that only look are all the same; one of them and one that waits stand for the rest.
        alone = command.startswith(("flavor list", "server create"))
        said[command.split(" --")[0]] = trial.openstack(command, alone=alone)
        if command.startswith(("server stop", "server start")):
            wanted = "SHUTOFF" if "stop" in command else "ACTIVE"
            until(partial(trial.shows, "first", wanted), wanted, 30)
    assert len(said) >= 14
    assert "tiny" in said["flavor list"]
    assert "debian-12" in said["image list"]
    assert "shared" in said["network list"]
    assert "ACTIVE" in said["server create"]
    assert "first" in said["server list"]
    for action in ("create", "stop", "start", "reboot"):
        assert action in said["server event list first"]
    assert trial.openstack("server list -f value").strip() == ""

    kept = trial.openstack(
        "server create --flavor tiny --image debian-12 --wait kept -f value -c id"
    ).strip()
    assert trial.interrupt() == 0
    assert "Traceback" not in trial.said()
    trial.start()
    assert "Preparing" not in trial.said()
    again = trial.openstack(f"server show -f value -c status -c name {kept}")
    assert again.split() == ["kept", "ACTIVE"]
    trial.openstack(f"server delete --wait {kept}")
    assert trial.openstack("user list -f value -c Name", "admin").split() == ["admin", "demo"]


def test_a_port_in_use_and_a_second_run_are_told_in_one_line(trial: TrialRun) -> None:
    """The user's error is no traceback."""
    trial.start()
    for port in (trial.port, free_port()):
        again = subprocess.run(
            [sys.executable, "-m", "cyclades_tx.trial", f"--state={trial.state}", f"--port={port}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert again.returncode == 1
        assert re.fullmatch(r"(Another run uses|Port \d+ is in use).*\n", again.stderr)


def test_a_killed_service_is_told_and_the_next_run_goes_on(trial: TrialRun) -> None:
    """The next run has the same server, and new credentials where there were none."""
    trial.start()
    trial.openstack("server create --flavor tiny --image debian-12 survivor")
    pid = int((trial.state / "twistd.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    assert trial.process is not None
    assert trial.process.wait(60) != 0
    time.sleep(0.1)
    assert "The service ended" in trial.said()
    # As if the very first run had been cut off before it wrote the credentials.
    (trial.state / "clouds.yaml").unlink()
    trial.start()
    until(
        partial(trial.shows, "survivor", "ACTIVE", "ERROR"),
        "the server has come to rest",
        60,
    )


def test_a_killed_postgresql_is_started_again_and_two_signals_leave_no_process(
    trial: TrialRun,
) -> None:
    """The service finds the new one by itself."""
    trial.start()
    killed = trial.postgres()
    os.kill(killed, signal.SIGKILL)
    until(lambda: "PostgreSQL runs again." in trial.said(), "it is started again", 60)
    assert trial.postgres() != killed
    until(partial(trial.answers, "server list"), "the service has found it again", 60)
    pids = [trial.postgres(), int((trial.state / "twistd.pid").read_text())]
    assert trial.process is not None
    trial.process.send_signal(signal.SIGHUP)
    trial.process.send_signal(signal.SIGINT)
    assert trial.process.wait(60) == 0, trial.said()
    assert trial.said().endswith("Stopped.\n")
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.parametrize(
    ("when", "number"),
    [("postgresql-starts", signal.SIGINT), ("the-database-is-filled", signal.SIGHUP)],
    ids=["postgresql-starts", "the-database-is-filled"],
)
def test_a_signal_while_it_prepares_leaves_no_process_behind(
    trial: TrialRun, when: str, number: signal.Signals
) -> None:
    """The reactor that fills the database has handlers of its own."""
    sign = trial.database.data / "postmaster.pid"
    if when == "the-database-is-filled":
        sign = trial.state / "clusters.json"
    trial.start(wait=False)
    assert trial.process is not None
    until(sign.exists, "it prepares", 60)
    trial.process.send_signal(number)
    assert trial.process.wait(60) == 1
    assert trial.database.running() is None
    assert trial.said().endswith("Stopped.\n")
    assert "Traceback" not in trial.said()
