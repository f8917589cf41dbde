"""What a person can ask for about server groups."""

from __future__ import annotations

from typing import Any

from cyclades_tx.errors import Forbidden, NotFound, OverQuota
from cyclades_tx.flows.quotas import COUNTED
from cyclades_tx.model.who import Who
from cyclades_tx.store import project_limits
from cyclades_tx.store import server_groups as store
from cyclades_tx.store.project_limits import UNLIMITED


class ServerGroups:
    """The flows of server groups."""

    def __init__(self, database: Any) -> None:
        self._database = database

    async def create(
        self, who: Who, name: str, policy: str, most_per_host: int | None = None
    ) -> str:
        """Make a group; return its UUID.

        :param policy: one of :data:`cyclades_tx.model.placement.POLICIES`.
        :param most_per_host: with ``anti-affinity``: so many servers may share a cluster.
        :raise OverQuota: when the project has as many as it may.
        """
        project_id = who.project_id
        if project_id is None:
            raise Forbidden("This needs a token that is scoped to a project.")

        async def work(tx: Any) -> str:
            await store.lock_project(tx, project_id)
            most = await project_limits.limit_of(
                tx, project_id, "server_groups", COUNTED["server_groups"]
            )
            if most != UNLIMITED and await store.count(tx, project_id) >= most:
                raise OverQuota("Quota exceeded, too many server groups.")
            return await store.insert(tx, project_id, who.user_id, name, policy, most_per_host)

        uuid: str = await self._database.transaction(work, "server_group.create")
        return uuid

    async def delete(self, who: Who, ref: str) -> None:
        """Forget a group; its servers stay where they are.

        :raise NotFound: when there is none, or the caller may not see it.
        """
        project_id = None if who.admin else who.project_id
        if not await store.delete(self._database, ref, project_id):
            raise NotFound(f"Instance group {ref} could not be found.", "server_group")
