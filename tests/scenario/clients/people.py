"""Those who use the cloud: each with the ``openstack`` command and the libraries of Python."""

from __future__ import annotations

import atexit
import json
import os
import select
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.api.strict import misfit_on_the_wire
from tests.scenario.clients.table import Sent, Ticks

DRIVER = Path(__file__).with_name("driver.py")
ANSWER_SECONDS = 120.0


class ClientProcess:
    """The process that holds the real clients.

    :param folder: its home, with ``clouds.yaml`` in it.
    """

    def __init__(self, folder: Path) -> None:
        self._errors = folder / "clients.err"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(DRIVER)],
                cwd=folder,
                env={
                    "PATH": "/usr/bin:/bin",
                    "HOME": str(folder),
                    "COLUMNS": "250",
                    "OS_CLIENT_CONFIG_FILE": str(folder / "clouds.yaml"),
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self._rest = b""
        self._lock = threading.Lock()

    @property
    def lives(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, **said: Any) -> dict[str, Any]:
        """Have a call made; return its answer. Every reply of the service fits its schema."""
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps(said).encode() + b"\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._line(said))
        environment = said.get("environment", {})
        admin = "admin" in (
            *(said.get("cloud"), environment.get("OS_CLOUD"), environment.get("OS_USERNAME")),
        )
        for method, url, minor, status, content in answer.pop("replies", ()):
            assert not (wrong := misfit_on_the_wire(method, url, minor, admin, status, content)), (
                wrong
            )
        return answer

    def forget(self) -> None:
        """Have the libraries connect anew: they keep what they have looked up."""
        self.ask()

    def _line(self, said: dict[str, Any]) -> bytes:
        assert self._process.stdout is not None
        out, end_at = self._process.stdout.fileno(), time.monotonic() + ANSWER_SECONDS
        while b"\n" not in self._rest:
            ready, _, _ = select.select([out], [], [], max(0.0, end_at - time.monotonic()))
            more = os.read(out, 1 << 20) if ready else b""
            if not more:
                # A late answer must not be taken for the next one.
                self.close()
                raise AssertionError(f"no answer to {said}: {self._errors.read_text()[-2000:]}")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


class Typist:
    """Types commands of ``openstack`` for whoever asks, each as if in a process of its own.

    One process runs them all: to import the client takes longer than most commands.
    """

    def __init__(self) -> None:
        self._process: ClientProcess | None = None
        self._lock = threading.Lock()

    def __call__(
        self, words: Sequence[str], environment: Mapping[str, str], folder: Path
    ) -> subprocess.CompletedProcess[str]:
        """Type a command; return how it ended and what it printed.

        :param words: without the ``openstack`` before them.
        :param environment: all that it has of one.
        """
        with self._lock:
            if self._process is None or not self._process.lives:
                home = tempfile.TemporaryDirectory(prefix="cyclades-tx-clients-")
                atexit.register(home.cleanup)
                self._process = ClientProcess(Path(home.name))
                atexit.register(self._process.close)
            process = self._process
        said = process.ask(
            cloud="", words=list(words), environment=dict(environment), folder=str(folder)
        )
        return subprocess.CompletedProcess(
            ["openstack", *words], said["status"] or 0, said["out"], said["err"]
        )


#: One for the whole run; no two calls at once.
typed = Typist()


@dataclass(frozen=True)
class Function:
    """A function of a library; ``person.conn.compute.servers`` is one."""

    person: Person
    name: str
    version: str = ""

    def __getattr__(self, name: str) -> Function:
        """A part of it."""
        return Function(self.person, f"{self.name}.{name}", self.version)

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Call it; return what it returned, as JSON has it.

        :raise AssertionError: when it fails, or does not as its row says.
        """
        answer = self._ask(args, named)
        self.person.judge(self.name, self._match(args, named), answer)
        assert answer["status"] == 0, f"{self.name}: {answer['err']}"
        return answer["value"]

    def refused(self, *args: Any, why: str = "", **named: Any) -> str:
        """Call it where it must fail; return what it said.

        :param why: words of it. Without them the row of a refusal says so.
        """
        answer = self._ask(args, named)
        return self.person.refusal(self._match(args, named), answer, why, self.name)

    def _ask(self, args: Any, named: Any) -> dict[str, Any]:
        return self.person.process.ask(
            cloud=self.person.cloud, call=self.name, args=args, named=named, version=self.version
        )

    def _match(self, args: Any, named: Any) -> Any:
        return lambda row: row.match_call(self.name, args, named)


class Person:
    """A user of the cloud.

    :param cloud: the entry in ``clouds.yaml``.
    :param login: global options of ``openstack`` that differ from it.
    """

    def __init__(
        self, process: ClientProcess, ticks: Ticks, cloud: str, login: Sequence[str] = ()
    ) -> None:
        self.process = process
        self.cloud = cloud
        self._ticks = ticks
        self._login = login
        self.conn = Function(self, "conn")
        self.old = Function(self, "old")
        self.neutron = Function(self, "neutron")

    def another(self, url: str, *options: str) -> Person:
        """Somebody who is in no ``clouds.yaml``.

        :param url: of the service.
        :param options: further global options of ``openstack``.
        """
        said = ("--os-auth-url", f"{url}/identity", "--os-identity-api-version", "3")
        return Person(self.process, self._ticks, "", (*said, *options))

    def nova(self, version: str = "2.96") -> Function:
        """The bindings of Compute with a microversion."""
        return Function(self, "nova", version)

    def __call__(self, command: str) -> str:
        """Type a command of ``openstack``; return what it printed.

        :raise AssertionError: when it fails, or does not as its row says.
        """
        argv, answer = self._type(command)
        self.judge(command, lambda row: row.match_command(argv), answer)
        assert answer["status"] == 0, f"{command}: {answer['out']}{answer['err']}"
        said: str = answer["out"].strip()
        return said

    def json(self, command: str) -> Any:
        """Type a command with ``-f json``; return what it said."""
        return json.loads(self(f"{command} -f json"))

    def column(self, command: str, column: str = "Name") -> list[Any]:
        """A column of a list, sorted."""
        return sorted(each[column] for each in self.json(command))

    def refused(self, command: str, why: str = "") -> str:
        """Type a command that must fail; return what it said.

        :param why: words of it. Without them the row of a refusal says so.
        """
        argv, answer = self._type(command)
        return self.refusal(lambda row: row.match_command(argv), answer, why, command)

    def refusal(self, match: Any, answer: dict[str, Any], why: str, what: str) -> str:
        """See :meth:`refused`; for functions too."""
        said: str = answer.get("out", "") + answer.get("err", "")
        assert answer["status"] != 0, f"{what} was not refused: {said}"
        assert "Traceback" not in said, said
        if why:
            assert why in said, said
            self._ticks.about(what, match)
        else:
            self.judge(what, match, answer)
        return said

    def judge(self, what: str, match: Any, answer: dict[str, Any]) -> None:
        """Hold a call against its row."""
        sent = [Sent(*each) for each in answer["requests"]]
        said = answer.get("out", "") + answer.get("err", "")
        self._ticks.tick(what, match, sent, answer["status"] != 0, said)

    def _type(self, command: str) -> tuple[list[str], dict[str, Any]]:
        argv = shlex.split(command)
        return argv, self.process.ask(cloud=self.cloud, words=[*self._login, *argv])
