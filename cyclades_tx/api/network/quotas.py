"""The limits of a project on things of the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclades_tx.api.frame import Call, Reply
from cyclades_tx.errors import Forbidden, NotFound

#: What Network calls the resources that are counted; what is not counted has no limit.
_HOLDINGS = {"network": "cyclades.network.private", "floatingip": "cyclades.floating_ip"}
_NO_LIMIT = -1

_USED = (
    "select"
    " (select count(*) from subnet s join network n on n.id = s.network_id"
    "  where n.project_id = %(project)s and n.deleted_at is null) as subnet,"
    " (select count(*) from port where project_id = %(project)s) as port,"
    " (select count(*) from router where project_id = %(project)s) as router,"
    " (select count(*) from security_group where project_id = %(project)s) as security_group,"
    " (select count(*) from security_group_rule r join security_group g"
    "  on g.id = r.security_group_id where g.project_id = %(project)s) as security_group_rule,"
    " 0 as subnetpool, 0 as rbac_policy"
)
RESOURCES = (
    "network", "subnet", "port", "router", "floatingip", "security_group",
    "security_group_rule", "subnetpool", "rbac_policy",
)  # fmt: skip


class Quotas:
    """The endpoints of quotas.

    :param limits: of a project that has none of its own, by the name of the holding.
    """

    def __init__(self, database: Any, limits: Mapping[str, int]) -> None:
        self._database = database
        self._limits = limits

    async def show(self, call: Call, project: str) -> Reply:
        """The limits of a project; -1 is no limit."""
        holdings = await self._holdings(call, project)
        return Reply(200, {"quota": {name: holdings[name][0] for name in RESOURCES}})

    async def details(self, call: Call, project: str) -> Reply:
        """The limits of a project, what it has, and what is reserved."""
        holdings = await self._holdings(call, project)
        used = await self._database.first(_USED, {"project": project})
        quota = {}
        for name in RESOURCES:
            limit, count, reserved = holdings[name]
            if name not in _HOLDINGS:
                count = getattr(used, name)
            quota[name] = {"limit": limit, "used": count, "reserved": reserved}
        return Reply(200, {"quota": quota})

    async def default(self, call: Call, project: str) -> Reply:
        """The limits that a new project gets."""
        self._check(call, project)
        return Reply(
            200,
            {
                "quota": {
                    name: self._limits.get(_HOLDINGS.get(name, ""), _NO_LIMIT) for name in RESOURCES
                }
            },
        )

    def _check(self, call: Call, project: str) -> None:
        if project != call.who.project_id and not call.who.admin:
            raise Forbidden("Only an administrator can see the quota of another project.")

    async def _holdings(self, call: Call, project: str) -> dict[str, tuple[int, int, int]]:
        """Limit, use and reservations of each resource."""
        self._check(call, project)
        if call.who.admin and not await self._database.value(
            "select exists (select from project where id = %s)", (project,)
        ):
            raise NotFound(f"Project {project} could not be found.", "project")
        rows = await self._database.all(
            "select resource, coalesce(maximum, -1) as maximum, used, reserved from holding"
            " where project_id = %s",
            (project,),
        )
        found = {row.resource: (row.maximum, row.used, row.reserved) for row in rows}
        return {name: found.get(_HOLDINGS.get(name, ""), (_NO_LIMIT, 0, 0)) for name in RESOURCES}
