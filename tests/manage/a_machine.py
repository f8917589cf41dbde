"""A machine with its project, for commands about what it is plugged into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.task import deferLater

from cyclades_tx.flows.networks import WantedNetwork, WantedSubnet
from cyclades_tx.model.instance import Instance, Power, SeenNic
from cyclades_tx.model.operation import SUCCEEDED
from cyclades_tx.model.who import MEMBER, Who
from cyclades_tx.store import operations
from cyclades_tx.store import servers as store
from cyclades_tx.testing import builders

MOST_LOOKS = 1200
LOOK_SECONDS = 0.05


@dataclass
class Machine:
    """A stopped server on a cluster, of somebody who may have more."""

    world: Any
    who: Who
    id: int
    uuid: str

    @classmethod
    async def make(cls, world: Any) -> Machine:
        """Make it with its project, user and cluster."""
        people, database = world.people, world.database
        project_id = await people.create_project("home")
        user_id = await people.create_user("eve", None, default_project_id=project_id)
        await people.assign_role(user_id, project_id, MEMBER)
        who = Who(user_id, "eve", project_id, "home", frozenset((MEMBER,)))
        cluster = await builders.a_cluster(database, "c1")
        row = await builders.a_server(
            database, who, await builders.a_flavor(database), name="web", state="stopped",
            charge="off", cluster=cluster,
        )  # fmt: skip
        return cls(world, who, row.id, row.uuid)

    async def network(self, cidr: str, **others: Any) -> Any:
        """Make a network of the operator's."""
        wanted = WantedNetwork(subnets=(WantedSubnet(cidr),), everywhere=False, **others)
        return await self.world.networks.create(None, wanted)

    async def end(self, kind: str, *, pending_restart: bool = False) -> None:
        """Wait for an operation of a kind, and end it well, as a loop would."""
        world, reactor = self.world, self.world.reactor
        for _ in range(MOST_LOOKS):
            opened = await operations.open_of_server(world.database, self.id)
            if opened:
                break
            await deferLater(reactor, LOOK_SECONDS)
        (operation,) = opened
        assert operation.kind == kind
        gone = operation.arguments["port_id"] if kind == "detach_port" else None
        rows = await world.database.all(
            "select p.id, p.mac::text, p.network_id, host(a.address) as ip from port p"
            " left join address a on a.port_id = p.id and family(a.address) = 4"
            " where p.server_id = %s order by p.position",
            (self.id,),
        )
        seen = Instance(
            world.names.instance(self.id),
            "ADMIN_down",
            Power.STOPPED,
            nics=tuple(
                SeenNic(
                    world.names.nic(row.id), row.mac, row.ip, world.names.network(row.network_id)
                )
                for row in rows
                if pending_restart or row.id != gone
            ),
        )

        async def work(tx: Any) -> None:
            await store.settle(tx, operation, SUCCEEDED, "", seen, world.names, pending_restart)

        await world.database.transaction(work, "test.end")
