"""The command line against a database of its own, and a simulated cluster to add to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.utils import getProcessOutputAndValue

from cyclades_tx.config import Config
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.ganeti.simulator import ClusterOptions, SimulatedCluster
from cyclades_tx.world import World

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


@pytest.fixture
def manage(config_path: Path) -> Callable[..., Any]:
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
