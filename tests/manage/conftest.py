"""The command line against a database of its own, and a simulated cluster to add to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.internet.utils import getProcessOutputAndValue

from cyclades_tx.config import Config
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.ganeti.simulator import ClusterOptions, SimulatedCluster
from cyclades_tx.manage import app
from cyclades_tx.manage.runner import Settings, in_world
from cyclades_tx.world import World
from tests.loops.cloud import Cloud

NAME = "ganeti1.example.org"
REPOSITORY = Path(__file__).parents[2]


@dataclass
class Said:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def config_path(tmp_path: Path, dsn: str) -> Path:
    """A configuration for the test's database, with its key file."""
    Keyring.create(tmp_path / "keyring")
    secret = tmp_path / "dsn"
    secret.touch(mode=0o600)
    secret.write_text(dsn)
    path = tmp_path / "cyclades_tx.toml"
    path.write_text(
        '[database]\ndsn_file = "dsn"\n[ganeti]\nkeyring_file = "keyring"\n'
        "connect_timeout_seconds = 2\nquestion_timeout_seconds = 5\nchange_timeout_seconds = 5\n"
        "[identity]\npassword_scrypt_log2n = 12\n"
    )
    return path


class HostedSettings(Settings):
    """Commands that work in the reactor of the tests, and wait for it in a thread."""

    def run(self, work: Any) -> Any:
        """Do a command's work."""
        from twisted.internet import reactor

        async def whole() -> Any:
            return await in_world(reactor, self.config(), work)

        return blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(whole()))


def _hosted(words: list[str], given: bytes | None) -> Said:
    """Run a command in this thread, with streams of its own."""
    streams = [TextIOWrapper(BytesIO(each)) for each in (given or b"", b"", b"")]
    kept = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = streams
    try:
        app.run(words, HostedSettings)
        code: Any = 0
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdin, sys.stdout, sys.stderr = kept
    said = []
    for stream in streams[1:]:
        stream.flush()
        said.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
    return Said(code or 0, *said)


_one_at_a_time = DeferredLock()


@pytest.fixture
def manage(config_path: Path) -> Callable[..., Any]:
    """Return a coroutine function that runs one command, which begins like a process."""

    async def run(*arguments: str | bytes, given: bytes | None = None, config: Any = None) -> Said:
        words = ["--config", str(config or config_path), *map(os.fsdecode, arguments)]
        said: Said = await _one_at_a_time.run(deferToThread, _hosted, words, given)
        return said

    return run


@pytest.fixture
def manage_apart(config_path: Path) -> Callable[..., Any]:
    """Return a coroutine function that runs one command in a process of its own."""

    async def run(*arguments: str | bytes, given: bytes | None = None, config: Any = None) -> Said:
        environment = {
            **os.environ,
            "CYCLADES_TX_CONFIG": str(config or config_path),
            "PYTHONPATH": str(REPOSITORY),
        }
        words = [word if isinstance(word, bytes) else word.encode() for word in arguments]
        out, err, code = await getProcessOutputAndValue(
            sys.executable,
            ["-P", "-m", "cyclades_tx.manage", *words],
            env=environment,
            stdinBytes=given,
        )
        return Said(code, out.decode(), err.decode())

    return run


@pytest_twisted.async_yield_fixture
async def world(config_path: Path) -> Any:
    """The world of the configuration, in this process."""
    from twisted.internet import reactor

    made = World.real(reactor, Config.load(config_path), tool=True)
    made.database.start()
    yield made
    await made.close()


@dataclass
class Simulated:
    """A simulated cluster that listens."""

    cluster: SimulatedCluster
    port: int

    @property
    def writer(self) -> tuple[str, str]:
        """Name and password of the RAPI user that may write."""
        return self.cluster.credentials.writer

    def options(self, **others: str) -> list[str]:
        """The options of backend-add for it, but for the password."""
        given = {
            "clustername": NAME,
            "host": "127.0.0.1",
            "port": str(self.port),
            "user": self.writer[0],
            "scheme": "http",
            **others,
        }
        return [f"--{name}={value}" for name, value in given.items()]


@pytest_twisted.async_yield_fixture
async def simulated(tmp_path: Path) -> Any:
    """A simulated cluster in this process."""
    from twisted.internet import reactor

    cluster = SimulatedCluster(
        reactor,
        ClusterOptions(
            name=NAME,
            listen="tcp:0:interface=127.0.0.1",
            credentials_file=str(tmp_path / "users"),
            job_seconds=0.05,
        ),
    )
    cluster.startService()
    address: Any = await cluster.listening()
    yield Simulated(cluster, address.port)
    await cluster.stopService()


@pytest_twisted.async_yield_fixture
async def whole_cloud(tmp_path: Path, dsn: str, config_path: Path) -> Any:
    """A cloud on the database of the command's configuration, not driven yet."""
    from twisted.internet import reactor

    (tmp_path / "cloud").mkdir()
    (tmp_path / "keyring").rename(tmp_path / "cloud" / "keyring")
    (tmp_path / "keyring").symlink_to(tmp_path / "cloud" / "keyring")
    made = Cloud(reactor, tmp_path / "cloud", dsn)
    await made.equip()
    yield made
    await made.close()
