"""The limits of a project on things of the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NotFound
from cyclades_tx.model import quota
from cyclades_tx.store import holding_limits, project_limits
from cyclades_tx.store import quotas as holdings

#: What Network calls the resources that are counted; what is not counted has no limit.
_HOLDINGS = {"network": "cyclades.network.private", "floatingip": "cyclades.floating_ip"}
_NO_LIMIT = -1
_MOST = 2**31 - 1

_USED = (
    "select"
    " (select count(*) from subnet s join network n on n.id = s.network_id"
    "  where n.project_id = %(project)s and n.deleted_at is null) as subnet,"
    " (select count(*) from port where project_id = %(project)s) as port,"
    " (select count(*) from router where project_id = %(project)s) as router,"
    " (select count(*) from security_group where project_id = %(project)s) as security_group,"
    " (select count(*) from security_group_rule r join security_group g"
    "  on g.id = r.security_group_id where g.project_id = %(project)s) as security_group_rule,"
    " (select count(*) from subnet_pool where project_id = %(project)s) as subnetpool,"
    " 0 as rbac_policy"
)
RESOURCES = (
    "network", "subnet", "port", "router", "floatingip", "security_group",
    "security_group_rule", "subnetpool", "rbac_policy",
)  # fmt: skip


class Body(Struct, forbid_unknown_fields=True):
    """The body with new limits."""

    quota: dict[str, int | bool]


_BODY = msgspec.json.Decoder(Body)


class Quotas:
    """The endpoints of quotas.

    :param limits: of a project that has none of its own, by the name of the holding.
    """

    def __init__(self, database: Any, limits: Mapping[str, int]) -> None:
        self._database = database
        self._limits = limits

    async def show(self, call: Call, project: str) -> Reply:
        """The limits of a project; -1 is no limit."""
        found = await self._holdings(call, project)
        return Reply(200, {"quota": {name: found[name][0] for name in RESOURCES}})

    async def details(self, call: Call, project: str) -> Reply:
        """The limits of a project, what it has, and what is reserved."""
        found = await self._holdings(call, project)
        used = await self._database.first(_USED, {"project": project})
        shown = {}
        for name in RESOURCES:
            limit, count, reserved = found[name]
            if name not in _HOLDINGS:
                count = getattr(used, name)
            shown[name] = {"limit": limit, "used": count, "reserved": reserved}
        return Reply(200, {"quota": shown})

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

    async def change(self, call: Call, project: str) -> Reply:
        """Set limits of a project; what it has beyond them it keeps.

        With ``check_limit`` a limit below what it has is refused.
        """
        maxima: dict[str, int | None] = {}
        sent = call.json(_BODY).quota
        check = sent.pop("check_limit", False) is True
        sent.pop("force", None)
        for name, value in sent.items():
            if isinstance(value, bool):
                raise BadRequest(f"Invalid input for {name[:80]}: a limit is a number.")
            if name not in RESOURCES:
                raise BadRequest(f"Unrecognized attribute(s) '{name[:80]}'")
            if not _NO_LIMIT <= value <= _MOST:
                raise BadRequest(
                    f"Invalid input for {name}: a limit is a number from 0, or -1 for none.",
                    neutron_type="InvalidInput",
                )
            if name in _HOLDINGS:
                maxima[_HOLDINGS[name]] = None if value == _NO_LIMIT else value
            elif value != _NO_LIMIT:
                raise BadRequest(
                    f"The number of things of the kind {name} is not limited on this cloud.",
                    neutron_type="InvalidInput",
                )
        await self._limit(project, maxima, check)
        return await self.show(call, project)

    async def reset(self, call: Call, project: str) -> Reply:
        """Give a project the limits of a new one."""
        changed = await project_limits.defaults(self._database)
        chosen = {each: changed.get(each, self._limits.get(each)) for each in _HOLDINGS.values()}
        maxima = {each: None if value == _NO_LIMIT else value for each, value in chosen.items()}
        await self._limit(project, maxima)
        return Reply(204)

    async def _limit(
        self, project: str, maxima: Mapping[str, int | None], check: bool = False
    ) -> None:
        async def work(tx: Any) -> None:
            if not await project_limits.project_exists(tx, project):
                raise NotFound(f"Project {project} could not be found.", "project")
            held = await holdings.lock(tx, project) if check else {}
            for resource, maximum in maxima.items():
                there = held.get(resource)
                if there and maximum is not None and there.used + there.reserved > maximum:
                    raise Conflict(
                        f"The project has more than {maximum} {quota.word(resource)} already.",
                        "InvalidQuotaValue",
                    )
            if maxima:
                await holding_limits.change(tx, project, maxima)

        await self._database.transaction(work, "quota.modify")

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
