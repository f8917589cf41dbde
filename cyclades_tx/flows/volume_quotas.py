"""What an administrator can ask for about quotas, in Volume's words.

The gigabytes are those of the disks of servers and of volumes together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclades_tx.errors import BadRequest
from cyclades_tx.flows.volumes import MOST_GIB, MOST_VOLUMES
from cyclades_tx.model import quota
from cyclades_tx.store import holding_limits, project_limits, quotas, volumes
from cyclades_tx.store.project_limits import UNLIMITED

#: What is held, with the bytes of one.
HELD: Mapping[str, tuple[str, int]] = {"gigabytes": (quota.DISK, quota.GIB)}
#: What is counted where it is made, with its limit when nothing else was said.
COUNTED: Mapping[str, int] = {"volumes": MOST_VOLUMES}
#: What cannot be changed: there are none of the rest.
FIXED: Mapping[str, int] = {
    "per_volume_gigabytes": MOST_GIB,
    "snapshots": 0,
    "backups": 0,
    "backup_gigabytes": 0,
    "groups": 0,
}
NAMES = ("volumes", "gigabytes", *FIXED)


class VolumeQuotas:
    """The flows of Volume's quotas.

    :param limits: the configuration's limits of new projects, by resource; None: no limit.
    """

    def __init__(self, database: Any, limits: Mapping[str, int | None] | None = None) -> None:
        self._database = database
        self._limits = limits or {}

    async def defaults(self) -> dict[str, int]:
        """What projects may have when nothing else was said for them."""
        changed = await project_limits.defaults(self._database)
        found = {name: changed.get(name, otherwise) for name, otherwise in COUNTED.items()}
        for name, (resource, unit) in HELD.items():
            maximum = self._default(resource, changed)
            found[name] = UNLIMITED if maximum is None else maximum // unit
        return {**found, **FIXED}

    def _default(self, resource: str, changed: Mapping[str, int]) -> int | None:
        maximum = changed.get(resource, self._limits.get(resource))
        return None if maximum == UNLIMITED else maximum

    async def change(self, project_id: str, changes: Mapping[str, int]) -> None:
        """Set limits of a project; -1 is no limit.

        :raise BadRequest: for a project that there is not, a limit below what is used, or one
            that is the same for everyone.
        """
        refuse_fixed(changes)

        async def work(tx: Any) -> None:
            await _check_project(tx, project_id)
            holdings = await quotas.lock(tx, project_id)
            maxima: dict[str, int | None] = {}
            for name in sorted(changes.keys() & HELD.keys()):
                resource, unit = HELD[name]
                held = holdings[resource]
                _refuse_used(name, changes[name], -(-(held.used + held.reserved) // unit))
                limit = changes[name]
                maxima[resource] = None if limit == UNLIMITED else limit * unit
            await holding_limits.change(tx, project_id, maxima)
            counted = {name: changes[name] for name in COUNTED if name in changes}
            for name, limit in counted.items():
                _refuse_used(name, limit, await volumes.count(tx, project_id))
            await project_limits.set_limits(tx, project_id, counted)

        await self._database.transaction(work, "volume_quota.change")

    async def reset(self, project_id: str) -> None:
        """Let the defaults count for a project again."""

        async def work(tx: Any) -> None:
            await _check_project(tx, project_id)
            changed = await project_limits.defaults(tx)
            maxima = {resource: self._default(resource, changed) for resource, _ in HELD.values()}
            await holding_limits.change(tx, project_id, maxima)
            await volumes.forget_limit(tx, project_id)

        await self._database.transaction(work, "volume_quota.reset")

    async def change_defaults(self, changes: Mapping[str, int]) -> None:
        """Set what new projects may have, and those whose quotas are reset."""
        refuse_fixed(changes)
        maxima = {name: changes[name] for name in COUNTED if name in changes}
        for name in changes.keys() & HELD.keys():
            resource, unit = HELD[name]
            limit = changes[name]
            maxima[resource] = limit if limit == UNLIMITED else limit * unit

        async def work(tx: Any) -> None:
            await project_limits.set_defaults(tx, maxima)

        await self._database.transaction(work, "volume_quota.defaults")


def refuse_fixed(changes: Mapping[str, int]) -> None:
    """Raise for a limit that is another than everyone's."""
    for name, value in changes.items():
        if FIXED.get(name, value) != value:
            raise BadRequest(f"The quota {name} is {FIXED[name]} for everyone on this cloud.")


def _refuse_used(name: str, limit: int, used: int) -> None:
    if UNLIMITED < limit < used:
        raise BadRequest(
            f"Quota limit {limit} for {name} must be greater than or equal to already used and"
            f" reserved {used}."
        )


async def _check_project(tx: Any, project_id: str) -> None:
    if not await project_limits.project_exists(tx, project_id):
        raise BadRequest(f"Project ID {project_id[:255]} is not a valid project.")
