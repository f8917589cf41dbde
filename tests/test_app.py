"""The service in this process: what it starts for which roles, and how it ends."""

from __future__ import annotations

import json
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
from cyclades_tx.identity.tokens import hash_of, new_token
from cyclades_tx.store import operator_tokens, outbox, server_inspection
from cyclades_tx.testing import builders
from cyclades_tx.world import World
from tests.real.ports import free_port


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


async def test_a_stream_of_the_service_begins_goes_on_and_ends_with_it(start: Start) -> None:
    """An event that is stored reaches the reader; a stop is told; the numbers tell of both."""
    one = await start("api", "loops")
    database = one.service.world.database
    who = await builders.somebody(database, "reader")
    await database.run(
        "insert into role_assignment (user_id, project_id, role_id)"
        " select %s, %s, id from role where name = 'reader'",
        (who.user_id, who.project_id),
    )
    token = new_token()
    assert who.project_id is not None
    assert await operator_tokens.issue(
        database, hash_of(token), who.user_id, who.project_id, "password", "audit", 60.0
    )
    received: list[bytes] = []
    response = await treq.get(
        f"http://127.0.0.1:{one.port}/events/v1/stream",
        headers={"X-Auth-Token": token},
        pool=HTTPConnectionPool(one.service.world.reactor, persistent=False),
    )
    assert response.code == 200
    over = treq.collect(response, received.append)
    await outbox.put(database, "thing.made", "x", who.project_id, {"number": 1})
    while b"thing.made" not in b"".join(received):
        await deferLater(one.service.world.reactor, 0.01)
    _, metrics = await one.get("/metrics", one.admin_port)
    assert b"cyclades_event_streams 1.0" in metrics
    assert b"cyclades_outbox_waiting 0.0" in metrics
    status, health = await one.get("/healthz?deep", one.admin_port)
    events = json.loads(health)["checks"]["events"]
    assert (status, events["ok"], events["streams"], events["waiting"]) == (200, True, 1, 0)
    await one.service.stopService()
    await over
    assert b'event: end\ndata: {"reason":"restart"' in b"".join(received)
    registry = one.service.world.metrics.registry
    assert (
        registry.get_sample_value("cyclades_event_streams_ended_total", {"reason": "restart"})
        == 1.0
    )


async def test_events_that_nobody_publishes_are_told_to_operators(start: Start, dsn: str) -> None:
    """After a while something is wrong."""
    one = await start("vmapi")
    database = one.service.world.database
    await outbox.put(database, "thing.made", "x", None, {})
    assert (await one.get("/healthz?deep", one.admin_port))[0] == 200
    await database.run("update event set at = now() - interval '1 minute'")
    status, health = await one.get("/healthz?deep", one.admin_port)
    assert status == 503 and "1 events wait" in json.loads(health)["checks"]["events"]["reason"]


async def test_loops_that_do_not_turn_are_told_to_operators(start: Start, dsn: str) -> None:
    """A cluster that nobody drives, an operation that should be over; offline clusters are not."""
    one = await start("vmapi")
    database = one.service.world.database
    who = await builders.somebody(database)
    cluster = await builders.a_cluster(database, "c1")
    await builders.a_cluster(database, "c2", offline=True)
    server = await builders.a_server(
        database, who, await builders.a_flavor(database), cluster=cluster
    )

    async def loops() -> tuple[bool, str]:
        _status, health = await one.get("/healthz?deep", one.admin_port)
        check = json.loads(health)["checks"]["loops"]
        return check["ok"], check.get("reason", "")

    assert await loops() == (True, "")
    await database.run("update cluster set created_at = now() - interval '2 minutes'")
    assert await loops() == (False, "no process drives c1.")
    await database.run("insert into process (driver) values ('p1')")
    await database.run(
        "insert into cluster_lease (cluster_id, epoch, driver) values (%s, 1, 'p1')",
        (cluster.id,),
    )
    assert await loops() == (True, "")
    operation_id = await builders.an_operation(database, server, cluster, "stop")
    await database.run(
        "update operation set created_at = now() - interval '1 hour',"
        " deadline_at = now() - interval '10 minutes'"
    )
    ok, reason = await loops()
    assert not ok
    assert reason.startswith(
        f"1 operations are past their deadline, the oldest ({operation_id}) for 60"
    )


async def test_what_takes_back_behind_its_deadline_is_not_late_yet(start: Start, dsn: str) -> None:
    """It has five minutes more; then it is."""
    one = await start("vmapi")
    database = one.service.world.database
    who = await builders.somebody(database)
    cluster = await builders.a_cluster(database, "c1")
    server = await builders.a_server(
        database, who, await builders.a_flavor(database), cluster=cluster
    )
    operation_id = await builders.an_operation(database, server, cluster, "resize")
    for step, minutes, late in (("set", 4, True), ("unset", 4, False), ("unset", 8, True)):
        await database.run(
            "update operation set step = %s, created_at = now() - interval '1 hour',"
            " deadline_at = now() - make_interval(mins => %s) where id = %s",
            (step, minutes, operation_id),
        )
        _status, health = await one.get("/healthz?deep", one.admin_port)
        assert json.loads(health)["checks"]["loops"]["ok"] is not late
        row = await server_inspection.progress(database, server.id, "")
        assert row.late is late


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


async def test_a_stop_while_the_start_waits_for_the_database_ends_it(tmp_path: Path) -> None:
    """At once and quietly; what was being started does not go on beside what ends."""
    from twisted.internet import reactor

    Keyring.create(tmp_path / "keyring")
    (tmp_path / "dsn").touch(0o600)
    (tmp_path / "dsn").write_text(f"host=127.0.0.1 port={free_port()} user=nobody dbname=none")
    (tmp_path / "config.toml").write_text(
        f"[[listen]]\nport = {free_port()}\n"
        '[database]\ndsn_file = "dsn"\n[ganeti]\nkeyring_file = "keyring"\n'
    )
    service = Cyclades(World.real(reactor, Config.load(tmp_path / "config.toml")))
    service.startService()
    assert service._starting is not None
    while not service.world.database.trouble:
        await deferLater(reactor, 0.01)
    assert not service._starting.called
    await service.stopService()
    assert service._starting.called
    assert service._ports == [] and service._leases is None


def test_a_wrong_configuration_is_told_before_anything_starts(tmp_path: Path) -> None:
    """With the file and the key."""
    file = tmp_path / "c.toml"
    file.write_text("[server]\nnonsense = 1\n")
    for path, words in ((file, "nonsense"), (tmp_path / "none.toml", "none.toml")):
        with pytest.raises(UsageError, match=words):
            Options().parseOptions([f"--config={path}"])
