"""The service in this process: what it starts for which roles, and how it ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import treq
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import deferLater
from twisted.python.usage import UsageError
from twisted.web.client import HTTPConnectionPool

from cyclades_tx.app import Cyclades, Options
from cyclades_tx.config import Config
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.world import World
from tests.scenario.cloud import free_port


class Running:
    """A service that was started, and where it listens."""

    def __init__(self, service: Cyclades, port: int, admin_port: int, reactor: Any) -> None:
        self.service = service
        self.port = port
        self.admin_port = admin_port
        self._reactor = reactor

    async def get(self, path: str, port: int | None = None) -> tuple[int, bytes]:
        """Status and body of a GET, on a connection of its own."""
        pool = HTTPConnectionPool(self._reactor, persistent=False)
        url = f"http://127.0.0.1:{port or self.port}{path}"
        response = await treq.get(url, pool=pool, timeout=10)
        return response.code, await response.content()


@pytest_twisted.async_yield_fixture
async def start(dsn: str, tmp_path: Path) -> Any:
    """Return a function that starts a service with some roles; it is stopped after the test."""
    from twisted.internet import reactor

    Keyring.create(tmp_path / "keyring")
    running: list[Running] = []

    async def begin(*roles: str, admin: bool = True) -> Running:
        port, admin_port = free_port(), free_port()
        (tmp_path / "dsn").touch(0o600)
        (tmp_path / "dsn").write_text(dsn)
        (tmp_path / "config.toml").write_text(
            f"[server]\nroles = {list(roles)}\n[[listen]]\nport = {port}\n"
            f"[admin]\nport = {admin_port if admin else 0}\n"
            '[database]\ndsn_file = "dsn"\n[ganeti]\nkeyring_file = "keyring"\n'
        )
        world = World.real(reactor, Config.load(tmp_path / "config.toml"))
        service = Cyclades(world)
        running.append(Running(service, port, admin_port, reactor))
        service.startService()
        assert service._starting is not None
        await service._starting
        return running[-1]

    yield begin
    for each in running:
        if each.service.running:
            await each.service.stopService()


Start = Callable[..., Awaitable[Running]]


async def test_with_all_roles_everything_answers_and_a_stop_ends_it(start: Start) -> None:
    """Nothing is left in the reactor; the check after each test says so."""
    one = await start("api", "loops", "vmapi")
    assert (await one.get("/healthz"))[0] == 200
    assert (await one.get("/compute/v2.1/servers"))[0] == 401
    assert (await one.get("/vmapi/v1.0/server-params/x"))[0] == 404
    assert (await one.get("/healthz?deep", one.admin_port))[0] == 200
    status, metrics = await one.get("/metrics", one.admin_port)
    assert status == 200 and b"cyclades" in metrics
    await one.service.stopService()
    with pytest.raises(Refused):
        await one.get("/healthz")


async def test_a_process_for_first_boots_has_no_compute(start: Start) -> None:
    """Only what its roles say."""
    one = await start("vmapi", admin=False)
    assert (await one.get("/healthz"))[0] == 200
    assert (await one.get("/compute/v2.1/servers"))[0] == 404
    with pytest.raises(Refused):
        await one.get("/metrics", one.admin_port)


async def test_a_process_for_loops_does_not_listen_to_users(start: Start) -> None:
    """It drives."""
    one = await start("loops")
    with pytest.raises(Refused):
        await one.get("/healthz")
    assert (await one.get("/healthz", one.admin_port))[0] == 200
    assert one.service._leases is not None
    await deferLater(one.service.world.reactor, 0.1)


def test_a_wrong_configuration_is_told_before_anything_starts(tmp_path: Path) -> None:
    """With the file and the key."""
    file = tmp_path / "c.toml"
    file.write_text("[server]\nnonsense = 1\n")
    for path, words in ((file, "nonsense"), (tmp_path / "none.toml", "none.toml")):
        with pytest.raises(UsageError, match=words):
            Options().parseOptions([f"--config={path}"])
