"""Processes that begin with everything imported: each is a fork of one that has done that.

Python takes a second of the processor to start and to import the service, and the scenarios start
hundreds of processes. From its fork on each is a process like any other: it has an environment,
files and memory of its own, measures its coverage, and can be stopped and killed. What concerns
the very beginning of a process is not for forks: such a test starts Python itself.

This module is both sides: what the tests call, and (``python -m tests.forks FD``) what forks.
"""

from __future__ import annotations

import array
import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from tests.rules import build_urls_later

#: What the processes import in any case; a module that starts no work by being imported.
IMPORTED = (
    "twisted.scripts.twistd",
    "twisted.scripts._twistd_unix",
    "twisted.internet.epollreactor",
    "twisted.plugins.cyclades_tx_plugin",
    "twisted.plugins.ganeti_eventd_plugin",
    "cyclades_tx.app",
    "cyclades_tx.ganeti.simulator",
    "cyclades_tx.gtools.eventd",
    "cyclades_tx.manage",
    "cyclades_tx.trial_seed",
)
REACTOR = "twisted.internet.reactor"
#: For :meth:`Forks.start`: what ``twistd`` does with the words that follow.
TWISTD = ("-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=")
START_SECONDS = 120.0
_BYTES = 1 << 20
_FILES = 3
_MEASURED = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")


# What the tests call ------------------------------------------------------------------------


class Fork:
    """A process that was forked, with what :class:`subprocess.Popen` has of one."""

    def __init__(self, forks: Forks, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._forks = forks

    def poll(self) -> int | None:
        """How it ended (a negative number: by that signal); None: it has not."""
        self._forks.look()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        :raise subprocess.TimeoutExpired: when it does not come.
        """
        end_at = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            left = None if end_at is None else end_at - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired(f"fork {self.pid}", timeout or 0.0)
            self._forks.look(left)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a warning."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """Starts processes; the one that they are forks of comes with the first and goes with the run.

    It ends them all when the run ends, however that happens.
    """

    def __init__(self) -> None:
        self._door: socket.socket | None = None
        self._source: subprocess.Popen[bytes] | None = None
        self._living: dict[int, Fork] = {}
        self._lock = threading.RLock()

    def start(
        self,
        *words: str,
        stdin: IO[Any] | None = None,
        stdout: IO[Any] | None = None,
        stderr: IO[Any] | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Fork:
        """Start what ``python`` would with these words: ``-m MODULE …`` or ``-c PROGRAM …``.

        :param stdin: an open file, as the other two; without one it is ``/dev/null``.
        :param environment: its whole environment; without one it is this process's.
        :param folder: where it begins; without one it is where this process is.
        """
        said = json.dumps(
            {
                "words": words,
                "environment": dict(os.environ if environment is None else environment),
                "folder": str(folder or Path.cwd()),
            }
        ).encode()
        with self._lock, open(os.devnull, "r+b", buffering=0) as nothing:
            door = self._open()
            files = [(each or nothing).fileno() for each in (stdin, stdout, stderr)]
            socket.send_fds(door, [said], files)
            began: Fork | None = None
            end_at = time.monotonic() + START_SECONDS
            while began is None:
                assert time.monotonic() < end_at, "nothing was forked"
                began = self._hear(door, end_at - time.monotonic())
            return began

    def run(
        self,
        *words: str,
        given: bytes = b"",
        timeout: float = 60.0,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Start a process and wait for its end; return how that was, and what it said.

        :param given: its standard input.
        :raise subprocess.TimeoutExpired: when it does not end; it is killed.
        """
        with (
            tempfile.TemporaryFile() as entry,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            entry.write(given)
            entry.seek(0)
            process = self.start(
                *words,
                stdin=entry,
                stdout=out,
                stderr=err,
                environment=environment,
                folder=folder,
            )
            try:
                code = process.wait(timeout)
            finally:
                process.kill()
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        return subprocess.CompletedProcess(words, code, *texts)

    def look(self, seconds: float | None = 0.0) -> None:
        """Hear which processes have ended; wait for one so long if there is none (None: ever)."""
        with self._lock:
            if self._door is None or not self._living:
                return
            self._hear(self._door, seconds)
            # What else is there already.
            while self._living and select.select([self._door], [], [], 0)[0]:
                self._hear(self._door, 0)

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            if self._door is not None and self._source is not None:
                self._door.close()
                self._door = None
                self._source.wait(30)
            self._gone()

    def _open(self) -> socket.socket:
        if self._door is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            environment = {key: each for key, each in os.environ.items() if key not in _MEASURED}
            with theirs:
                self._source = subprocess.Popen(
                    [sys.executable, "-m", "tests.forks", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    env=environment,
                    pass_fds=[theirs.fileno()],
                )
            self._door = ours
        return self._door

    def _hear(self, door: socket.socket, seconds: float | None) -> Fork | None:
        """Take in one message, if one comes in that time; return the process that has begun."""
        if not select.select([door], [], [], seconds)[0]:
            return None
        try:
            text = door.recv(_BYTES)
        except ConnectionResetError:
            text = b""
        if not text:
            door.close()
            self._door = None
            self._gone()
            raise AssertionError("the process that forks has ended")
        said = json.loads(text)
        pid = said["pid"]
        if "code" not in said:
            began = self._living[pid] = Fork(self, pid)
            return began
        self._living.pop(pid).returncode = said["code"]
        return None

    def _gone(self) -> None:
        for each in self._living.values():
            each.returncode = -signal.SIGKILL
        self._living.clear()


#: One for the whole run, whichever test asks.
FORKS = Forks()
atexit.register(FORKS.close)


# What forks ---------------------------------------------------------------------------------


@dataclass
class Wish:
    """What a process is to be.

    :ivar files: its standard input, output and errors.
    """

    words: list[str]
    environment: dict[str, str]
    folder: str
    files: list[int] = field(default_factory=list)


def serve(door: socket.socket) -> Wish | None:
    """Fork for each wish; return it in the process that it is for, and None at the end."""
    living: dict[int, int] = {}
    poll = select.poll()
    poll.register(door, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready != door.fileno():
                poll.unregister(ready)
                os.close(ready)
                pid = living.pop(ready)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with suppress(OSError):
                    door.send(json.dumps({"pid": pid, "code": code}).encode())
                continue
            try:
                text, files = receive(door)
            except OSError:
                text, files = b"", []
            if not text:
                for pid in living.values():
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                return None
            pid = os.fork()
            if pid == 0:
                for each in living:
                    os.close(each)
                door.close()
                return Wish(files=files, **json.loads(text))
            for each in files:
                os.close(each)
            watch = os.pidfd_open(pid)
            living[watch] = pid
            poll.register(watch, select.POLLIN)
            with suppress(OSError):
                door.send(json.dumps({"pid": pid}).encode())


def receive(door: socket.socket) -> tuple[bytes, list[int]]:
    """A message with the files that came with it, which no program started later inherits."""
    files = array.array("i")
    room = socket.CMSG_LEN(_FILES * files.itemsize)
    text, more, _, _ = door.recvmsg(_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in more:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            files.frombytes(data[: len(data) - len(data) % files.itemsize])
    return text, list(files)


def become(wish: Wish) -> None:
    """Be a process that was just started with these words."""
    for standard, file in enumerate(wish.files):
        os.dup2(file, standard)
    for file in wish.files:
        os.close(file)
    os.environ.clear()
    os.environ.update(wish.environment)
    os.chdir(wish.folder)
    # Whoever wants the reactor now makes it.
    sys.modules.pop(REACTOR, None)
    if any(name in os.environ for name in _MEASURED):
        import coverage

        coverage.process_startup(force=True)
    kind, what, *rest = wish.words
    sys.argv = [kind, *rest]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        main = ModuleType("__main__")
        sys.modules["__main__"] = main
        exec(compile(what, "<string>", "exec"), vars(main))


def prepare() -> None:
    """Import what the processes need, and nothing that belongs to one process."""
    # A reactor has sockets of its own. One library asks for it at its import, for later.
    sys.modules[REACTOR] = ModuleType(REACTOR)
    with suppress(ImportError):
        importlib.import_module("coverage")
    for name in IMPORTED:
        importlib.import_module(name)
    build_urls_later()
    gc.collect()
    gc.freeze()


def main() -> None:
    """Fork until nobody is there any more."""
    with socket.socket(fileno=int(sys.argv[1])) as door:
        os.set_inheritable(door.fileno(), False)
        # The tests' own end comes by its own way.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        prepare()
        wish = serve(door)
    if wish is not None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        become(wish)


if __name__ == "__main__":
    main()
