"""What an administrator can ask for about quotas, in Volume's words.

The gigabytes are those of the disks of servers and of volumes together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclades_tx.flows.service_quotas import Held, ServiceQuotas, check_project, refuse_used
from cyclades_tx.flows.volumes import MOST_GIB, MOST_VOLUMES
from cyclades_tx.model import quota
from cyclades_tx.store import holding_limits, project_limits, quotas, volumes
from cyclades_tx.store.project_limits import UNLIMITED

#: What is held, with the bytes of one.
HELD: Held = {"gigabytes": ((quota.DISK,), quota.GIB)}
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


class VolumeQuotas(ServiceQuotas):
    """The flows of Volume's quotas."""

    held, counted, fixed, noun = HELD, COUNTED, FIXED, "volume_quota"

    async def change(self, project_id: str, changes: Mapping[str, int]) -> None:
        """Set limits of a project; -1 is no limit.

        :raise BadRequest: for a project that there is not, a limit below what is used, or one
            that is the same for everyone.
        """
        self.refuse_fixed(changes)

        async def work(tx: Any) -> None:
            await check_project(tx, project_id)
            holdings = await quotas.lock(tx, project_id)
            maxima: dict[str, int | None] = {}
            for name in sorted(changes.keys() & HELD.keys()):
                (resource,), unit = HELD[name]
                held, limit = holdings[resource], changes[name]
                refuse_used(name, limit, -(-(held.used + held.reserved) // unit))
                maxima[resource] = None if limit == UNLIMITED else limit * unit
            await holding_limits.change(tx, project_id, maxima)
            counted = self._counted(changes)
            for name, limit in counted.items():
                refuse_used(name, limit, await volumes.count(tx, project_id))
            await project_limits.set_limits(tx, project_id, counted)

        await self._database.transaction(work, "volume_quota.change")

    async def reset(self, project_id: str) -> None:
        """Let the defaults count for a project again."""

        async def work(tx: Any) -> None:
            await check_project(tx, project_id)
            changed = await project_limits.defaults(tx)
            await holding_limits.change(tx, project_id, self._all_defaults(changed))
            await volumes.forget_limit(tx, project_id)

        await self._database.transaction(work, "volume_quota.reset")
