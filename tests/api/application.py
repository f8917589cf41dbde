"""The real application: several processes' worth of it, and more clients at once than it likes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import treq
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.logger import globalLogPublisher
from twisted.web.client import HTTPConnectionPool

from cyclades_tx.app import Cyclades
from cyclades_tx.config import Config
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.identity.tokens import hash_of, new_token
from cyclades_tx.model.quota import RESOURCES
from cyclades_tx.store import addresses, books, operator_tokens, quotas
from cyclades_tx.store.networks import create_default_group
from cyclades_tx.testing import builders
from cyclades_tx.world import World
from tests.real.ports import free_port

#: So many clients wait for an answer at any time.
CLIENTS = 64
#: Nobody gives up because this machine is busy with other things.
PATIENCE_SECONDS = 120.0

CONFIG = """
[server]
roles = ["api"]
[[listen]]
port = {port}
[admin]
port = 0
[database]
dsn_file = "dsn"
acquire_timeout_seconds = {patience}
lock_timeout_seconds = {patience}
statement_timeout_seconds = {patience}
[ganeti]
keyring_file = "keyring"
"""


class Answer(NamedTuple):
    """A reply: its status and its document, None without one."""

    status: int
    json: Any


class Somebody(NamedTuple):
    """A user with a token for a project."""

    project_id: str
    user_id: str
    token: str


class Application:
    """Processes of the service on one database, asked in turns.

    :ivar repeated: why transactions had to be run again: deadlocks and the like.
    """

    def __init__(self, reactor: Any, folder: Path, dsn: str, processes: int = 2) -> None:
        Keyring.create(folder / "keyring")
        (folder / "dsn").touch(0o600)
        (folder / "dsn").write_text(dsn)
        self._services = []
        bases = []
        for number in range(processes):
            port = free_port()
            path = folder / f"{number}.toml"
            path.write_text(CONFIG.format(port=port, patience=PATIENCE_SECONDS))
            self._services.append(Cyclades(World.real(reactor, Config.load(path))))
            bases.append(f"http://127.0.0.1:{port}")
        self.world = self._services[0].world
        self.database = self.world.database
        self.repeated: list[str] = []
        self._bases = itertools.cycle(bases)
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = CLIENTS

    async def start(self) -> None:
        """Start the processes, one after the other."""
        globalLogPublisher.addObserver(self._note)
        for service in self._services:
            service.startService()
            assert service._starting is not None
            await service._starting

    async def stop(self) -> None:
        """End everything."""
        globalLogPublisher.removeObserver(self._note)
        await self._pool.closeCachedConnections()
        for service in self._services:
            await service.stopService()

    def _note(self, event: dict[str, Any]) -> None:
        if "is run again" in (event.get("log_format") or ""):
            self.repeated.append(str(event["why"]))

    async def somebody(self, role: str = "member", **limits: int) -> Somebody:
        """A user of a new project.

        :param limits: of resources, by the last word of their names; the others have none.
        """
        who = await builders.somebody(self.database)
        project_id = who.project_id or ""
        names = {resource.rpartition(".")[2]: resource for resource in RESOURCES}

        async def equip(tx: Any) -> None:
            maxima = {resource: limits.get(word) for word, resource in names.items()}
            await quotas.make_holdings(tx, project_id, maxima)
            await create_default_group(tx, project_id)

        await self.database.transaction(equip)
        return await self.colleague(project_id, role)

    async def colleague(self, project_id: str, role: str = "member") -> Somebody:
        """One more user of a project."""
        user_id, token = await builders.a_user(self.database), new_token()
        await self.database.run(
            "insert into role_assignment (user_id, project_id, role_id)"
            " select %s, %s, id from role where name = %s",
            (user_id, project_id, role),
        )
        assert await operator_tokens.issue(
            self.database, hash_of(token), user_id, project_id, "password", uuid4().hex[:22], 3600.0
        )
        return Somebody(project_id, user_id, token)

    async def ask(self, who: Somebody, method: str, path: str, body: Any = None) -> Answer:
        """Send a request to the process whose turn it is."""
        headers = {"X-Auth-Token": who.token, "OpenStack-API-Version": "compute 2.96"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        response = await treq.request(
            method,
            next(self._bases) + path,
            headers=headers,
            data=None if body is None else json.dumps(body).encode(),
            pool=self._pool,
            timeout=PATIENCE_SECONDS,
        )
        text = await response.content()
        return Answer(response.code, json.loads(text) if text else None)

    async def at_once(self, requests: Iterable[Sequence[Any]]) -> list[Answer]:
        """Send requests (the arguments of :meth:`ask`), always so many that wait for an answer."""
        return await together(self.ask(*request) for request in requests)

    async def books_are_empty(self) -> None:
        """Nothing is held or reserved, every pool is full, and recounts find nothing."""
        await self.books_are_right()
        held = "select * from holding where used <> 0 or reserved <> 0"
        assert await self.database.all(held) == []
        for table in ("reservation", "port", "address", "floating_ip"):
            assert await self.database.value(f"select count(*) from {table}") == 0, table
        for row in await self.database.all("select id from subnet"):
            counted = await addresses.recount(self.database, row.id)
            assert (counted.free, counted.taken) == (counted.pooled, 0)
        for row in await self.database.all(
            "select p.id, p.last_value - p.first_value + 1 as size,"
            " (select sum(r.last_value - r.first_value + 1) from free_value_range r"
            " where r.value_pool_id = p.id) as free from value_pool p"
        ):
            assert row.free == row.size

    async def books_are_right(self) -> None:
        """Recounts find nothing, and no two transactions were in each other's way for good."""
        assert self.repeated == []
        assert await quotas.drift(self.database) == []
        assert (await books.recount_quotas(self.database, fix=False)).found == []
        assert (await books.recount_pools(self.database, fix=())).found == []


async def together(work: Iterable[Awaitable[Any]], most: int = CLIENTS) -> list[Any]:
    """Do things side by side, at most so many at a time; their results in order."""
    free = DeferredSemaphore(most)

    def run(each: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(each)

    return list(await gatherResults([free.run(run, each) for each in work], consumeErrors=True))


def neutron_fault(answer: Answer, status: int, kind: str) -> None:
    """Check that it is a fault of Network, whole and nothing else."""
    assert answer.status == status, answer
    assert list(answer.json) == ["NeutronError"]
    assert set(answer.json["NeutronError"]) == {"type", "message", "detail"}
    assert answer.json["NeutronError"]["type"] == kind, answer


def nova_fault(answer: Answer, status: int, kind: str) -> None:
    """Check that it is a fault of Compute, whole and nothing else."""
    assert answer.status == status, answer
    assert list(answer.json) == [kind], answer
    assert set(answer.json[kind]) == {"code", "message"}
    assert answer.json[kind]["code"] == status


def divided(
    answers: Sequence[Answer], status: int, fault: Callable[[Answer], None], successes: int
) -> list[Any]:
    """Check that exactly so many succeeded and all others are this fault; the documents."""
    made = [answer.json for answer in answers if answer.status == status]
    for answer in answers:
        if answer.status != status:
            fault(answer)
    assert len(made) == successes
    return made
