"""What a person can ask for about routers.

Floating IPs need none. A router is kept for the clients that want one; it cannot be given an
interface, since no cluster routes between a project's networks.
"""

from __future__ import annotations

from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, NotFound
from cyclades_tx.flows.charged_project import charged_project
from cyclades_tx.model.who import Who
from cyclades_tx.store import networks, routers


class Routers:
    """The flows of routers."""

    def __init__(self, database: Any) -> None:
        self._database = database

    async def create(self, who: Who, project: str | None, wanted: dict[str, Any]) -> str:
        """Make a router; return its UUID.

        :param wanted: ``name``, ``description``, ``admin_up``, ``gateway`` (a network's UUID or
            None) and ``snat``.
        """

        async def work(tx: Any) -> str:
            project_id = await charged_project(tx, who, project)
            return await routers.insert(tx, project_id, await self._columns(tx, who, wanted))

        found: str = await self._database.transaction(work, "router.create")
        return found

    async def update(self, who: Who, ref: str, wanted: dict[str, Any]) -> str:
        """Change a router; return its UUID."""

        async def work(tx: Any) -> str:
            router = await routers.lock(tx, who, ref)
            await routers.change(tx, router.id, await self._columns(tx, who, wanted))
            return str(router.uuid)

        found: str = await self._database.transaction(work, "router.update")
        return found

    async def delete(self, who: Who, ref: str) -> None:
        """Delete a router."""

        async def work(tx: Any) -> None:
            await routers.delete(tx, (await routers.lock(tx, who, ref)).id)

        await self._database.transaction(work, "router.delete")

    async def add_interface(self, who: Who, ref: str) -> None:
        """Refuse to route a private network.

        :raise Conflict: always, for a router that the caller sees.
        """
        await self._seen(who, ref)
        raise Conflict(
            "No cluster routes between private and public networks. A floating IP needs no "
            "router: associate it with a server's port.",
            "RouterInterfaceNotSupported",
        )

    async def remove_interface(self, who: Who, ref: str, interface: str) -> None:
        """Find no interface.

        :raise NotFound: always.
        """
        await self._seen(who, ref)
        raise NotFound(
            f"Router {ref} has no interface on {interface[:80]}.",
            "router",
            neutron_type="RouterInterfaceNotFoundForSubnet",
        )

    async def _seen(self, who: Who, ref: str) -> None:
        async def work(tx: Any) -> None:
            await routers.lock(tx, who, ref)

        await self._database.transaction(work, "router.look")

    async def _columns(self, tx: Any, who: Who, wanted: dict[str, Any]) -> dict[str, Any]:
        columns: dict[str, Any] = {
            key: wanted[key] for key in ("name", "description", "admin_up") if key in wanted
        }
        if "gateway" in wanted:
            columns["external_network_id"] = None
            if wanted["gateway"] is not None:
                network = await networks.seen(tx, who, wanted["gateway"])
                if not network.external:
                    raise BadRequest(
                        f"Network {network.uuid} is not a valid external network.",
                        neutron_type="BadRequest",
                    )
                columns["external_network_id"] = network.id
            columns["external_snat"] = wanted.get("snat", True)
        return columns
