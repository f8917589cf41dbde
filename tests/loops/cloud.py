"""A whole cloud in this process: flows, loops and simulated clusters on a real database."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.web.server import Site

from cyclades_tx.app import Cyclades
from cyclades_tx.config import Config
from cyclades_tx.errors import CycladesError
from cyclades_tx.flows.networks import WantedNetwork, WantedSubnet
from cyclades_tx.ganeti.clusters import PASSWORD_KIND
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.ganeti.simulator import MemoryGaneti
from cyclades_tx.loops.clusters import Drive
from cyclades_tx.loops.drives import Drives
from cyclades_tx.loops.leases import Leases
from cyclades_tx.model.server import NewServer, WantedNic
from cyclades_tx.model.who import Who
from cyclades_tx.store import addresses, clusters, quotas
from cyclades_tx.testing import builders
from cyclades_tx.world import World

PATIENCE_SECONDS = 60.0
#: How long turns are waited for that may be held.
TURN_SECONDS = 2.0
CONFIG = """
[identity]
password_scrypt_log2n = 12
[ganeti]
keyring_file = "keyring"
poll_active_seconds = 0.05
poll_idle_seconds = 0.15
lease_seconds = 4.0
breaker_pause_seconds = 0.05
breaker_pause_limit_seconds = 0.1
connect_timeout_seconds = 2.0
[quota]
vm = 5
[vmapi]
secret_lifetime_seconds = 600.0
[operations]
retry_first_seconds = 0.05
retry_limit_seconds = 0.2
"""


class Cloud:
    """Simulated clusters that listen, and one process's world; nothing is driven before `drive`.

    :param more: further lines of the configuration, for the table ``operations``.
    :param ganeti: further keys of the table ``ganeti``.
    """

    def __init__(
        self,
        reactor: Any,
        folder: Path,
        dsn: str,
        more: str = "",
        ganeti: dict[str, Any] | None = None,
    ) -> None:
        self.reactor = reactor
        if not (folder / "keyring").exists():
            Keyring.create(folder / "keyring")
        keys = "".join(f"{key} = {json.dumps(value)}\n" for key, value in (ganeti or {}).items())
        config = CONFIG.replace("[quota]\n", f"{keys}[quota]\n")
        (folder / "config.toml").write_text(f"database = {{ dsn = {dsn!r} }}\n{config}{more}")
        self.world = World.real(reactor, Config.load(folder / "config.toml"))
        self.database = self.world.database
        self.database.start()
        self.ganetis: dict[int, MemoryGaneti] = {}
        self.sites: dict[int, Any] = {}
        self.who: Who
        self.drives: Drives | None = None
        self.leases: Leases | None = None

    async def equip(self, clusters: int = 1, job_seconds: float = 0.02) -> None:
        """Add a project with its limits, a flavor, an image, a network, and clusters."""
        self.who = await self.somebody()
        self.flavor = await builders.a_flavor(self.database, disk_gib=1, template="file")
        self.image = await builders.an_image(self.database)
        self.network = await self.a_network("10.1.0.0/24")
        for number in range(clusters):
            await self.a_cluster(f"c{number + 1}", job_seconds)

    async def somebody(self, *roles: str) -> Who:
        """A member (or what is named) of a new project that has its limits."""
        who = await builders.somebody(self.database, *roles)
        limits = self.world.config.quota.limits()
        await self.database.transaction(
            lambda tx: quotas.make_holdings(tx, who.project_id or "", limits)
        )
        return who

    async def a_network(self, cidr: str) -> str:
        """A shared network; its UUID."""
        row = await self.world.networks.create(
            None,
            WantedNetwork(
                name=f"n{cidr}",
                flavor="IP_LESS_ROUTED",
                shared=True,
                subnets=(WantedSubnet(cidr),),
            ),
        )
        return str(row.uuid)

    async def a_cluster(self, name: str, job_seconds: float = 0.02) -> int:
        """A cluster that listens, and its row; the row's id."""
        ganeti = MemoryGaneti(self.reactor, name, job_seconds=job_seconds)
        site = self.reactor.listenTCP(0, Site(ganeti.resource()), interface="127.0.0.1")
        uuid = uuid4()
        sealed = self.world.keyring.encrypt(PASSWORD_KIND, str(uuid), ganeti.password)
        cluster_id: int = await self.database.value(
            "insert into cluster (uuid, name, position, rapi_scheme, rapi_host, rapi_port,"
            " rapi_username, rapi_password, drained, disk_templates) values"
            " (%s, %s, (select coalesce(max(position), -1) + 1 from cluster), 'http', '127.0.0.1',"
            " %s, %s, %s, false, '{file}') returning id",
            (uuid, name, site.getHost().port, ganeti.username, sealed),
        )
        self.ganetis[cluster_id] = ganeti
        self.sites[cluster_id] = site
        return cluster_id

    @property
    def ganeti(self) -> MemoryGaneti:
        """The first cluster."""
        return next(iter(self.ganetis.values()))

    @property
    def cluster_id(self) -> int:
        """The first cluster's id."""
        return next(iter(self.ganetis))

    async def drive(self) -> None:
        """Begin to drive all clusters, as the service does."""
        service = Cyclades(self.world)
        self.drives = Drives(self.reactor, self.database, service._connect, service._drive)
        self.drives.start()
        await self.database.when_listening()
        self.leases = Leases(
            self.reactor,
            self.world.dsn,
            self.world.driver,
            self.drives.gained,
            self.drives.lost,
            self.world.config.ganeti.lease_seconds,
        )
        self.leases.start()

        async def driven() -> bool:
            assert self.drives is not None
            return len(self.drives.status()) == len(self.ganetis)

        await self.until(driven, "every cluster is driven")

    def drive_of(self, cluster_id: int) -> Drive:
        """What drives a cluster."""
        assert self.drives is not None
        return self.drives._drives[cluster_id]

    async def stop(self) -> None:
        """Drive no more."""
        if self.leases is not None:
            await self.leases.stop()
            self.leases = None
        if self.drives is not None:
            await self.drives.stop()
            self.drives = None

    async def close(self) -> None:
        """End everything."""
        await self.stop()
        await self.world.close()
        for site in self.sites.values():
            await site.stopListening()
        for ganeti in self.ganetis.values():
            ganeti.stop()

    # Asking for things

    async def create(self, name: str = "s", **wanted: Any) -> str:
        """Ask for a server with one interface; return its UUID."""
        wanted.setdefault("networks", (WantedNic(self.network),))
        new = NewServer(name, self.flavor.uuid, self.image.uuid, **wanted)
        created = await self.world.servers.create(self.who, new, "req-1")
        return created.uuids[0]

    async def active(self, name: str = "s", **wanted: Any) -> str:
        """Ask for a server and wait until it runs; return its UUID."""
        uuid = await self.create(name, **wanted)
        await self.settled()
        row = await self.row(uuid)
        assert (row.state, row.charge) == ("active", "on"), row
        return uuid

    async def row(self, uuid: str) -> Any:
        """The row of a server."""
        return await self.database.first("select * from server where uuid = %s", (uuid,))

    async def state(self, uuid: str) -> tuple[str, str]:
        """Where a server rests, and its charge."""
        row = await self.row(uuid)
        return row.state, row.charge

    async def operations(self, uuid: str) -> list[Any]:
        """The operations of a server, the oldest first."""
        found: list[Any] = await self.database.all(
            "select o.* from operation o join server s on s.id = o.server_id where s.uuid = %s"
            " order by o.id",
            (uuid,),
        )
        return found

    async def used(self, resource: str) -> int:
        """What the project uses of a resource."""
        found: int = await self.database.value(
            "select used from holding where project_id = %s and resource = %s",
            (self.who.project_id, resource),
        )
        return found

    def instance(self, row: Any) -> str:
        """The name of a server's instance."""
        return self.world.names.instance(row.id)

    # Waiting

    async def until(
        self, so: Callable[[], Awaitable[Any]], what: str, seconds: float = PATIENCE_SECONDS
    ) -> Any:
        """Wait until something is so; return what it gave."""
        end = self.reactor.seconds() + seconds
        while True:
            found = await so()
            if found:
                return found
            assert self.reactor.seconds() < end, f"not within {seconds} s: {what}"
            await self.sleep(0.02)

    def sleep(self, seconds: float) -> Deferred[None]:
        """Let some time pass."""
        return deferLater(self.reactor, seconds)

    async def settled(self) -> None:
        """Wait until nothing is in motion."""

        async def rests() -> bool:
            return not await self.database.value(
                "select exists (select from operation where finished_at is null)"
            )

        try:
            await self.until(rests, "nothing is in motion")
        except AssertionError:
            rows = await self.database.all("select * from operation where finished_at is null")
            raise AssertionError(f"still in motion: {rows}") from None
        # What is done behind the last commit belongs to it, such as dropping secrets; but a test
        # may hold a turn.
        end = self.reactor.seconds() + TURN_SECONDS
        while self._in_turns() and self.reactor.seconds() < end:
            await self.sleep(0.01)

    def _in_turns(self) -> bool:
        if self.drives is None:
            return False
        return any(
            drive[kind]["running"] or drive[kind]["waiting"]
            for drive in self.drives.status().values()
            for kind in ("servers", "networks", "volumes")
        )

    async def until_state(self, uuid: str, state: str, charge: str) -> None:
        """Wait until a server rests somewhere."""

        async def there() -> bool:
            return await self.state(uuid) == (state, charge)

        await self.until(there, f"the server is {state} and charged {charge}")

    async def until_operation(self, uuid: str, state: str) -> Any:
        """Wait until the newest operation of a server is in a state."""

        async def there() -> Any:
            newest = (await self.operations(uuid))[-1]
            return newest if newest.state == state else None

        return await self.until(there, f"the newest operation is {state}")

    # Checking

    async def check_books(self) -> None:
        """Quota and addresses counted from scratch are what is stored, and nothing is left over."""
        assert await quotas.drift(self.database) == []
        for row in await self.database.all("select id from subnet"):
            assert (await addresses.recount(self.database, row.id)).right
        assert (
            await self.database.all(
                "select p.id from port p join server s on s.id = p.server_id"
                " where s.charge = 'none' and s.state <> 'building'"
            )
            == []
        )
        assert await self.database.all("select id from address where port_id is null") == []
        assert (
            await self.database.all(
                "select v.id from volume v join server s on s.id = v.server_id"
                " where s.charge = 'none' and s.state <> 'building' and v.deleted_at is null"
            )
            == []
        )
        late = "select id from operation where finished_at is null and deadline_at < now()"
        assert await self.database.all(late) == []

    async def forget_cluster(self, cluster_id: int) -> None:
        """Take a cluster's door away: connections to it are refused."""
        await self.sites.pop(cluster_id).stopListening()
        with suppress(CycladesError):
            row = await clusters.by_id(self.database, cluster_id)
            known = self.world.clusters._known.get(row.id)
            if known is not None and known.driver is not None:
                await known.driver.close()


async def refused(kind: type[CycladesError], awaitable: Awaitable[Any]) -> Any:
    """The error of this kind that something raises."""
    try:
        await awaitable
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")
