"""What an administrator can ask for about quotas, in Compute's words.

Compute counts each server that there is; the clouds of Ganeti hold servers that run and all
servers apart. A limit of cores or memory is set for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclades_tx.errors import BadRequest
from cyclades_tx.flows.keypairs import MOST as KEY_PAIRS
from cyclades_tx.flows.service_quotas import Held, ServiceQuotas, check_project, refuse_used
from cyclades_tx.model import quota
from cyclades_tx.model.server import MAX_METADATA
from cyclades_tx.store import holding_limits, project_limits, quotas
from cyclades_tx.store.project_limits import UNLIMITED

#: Compute's name -> the resources it stands for, and how many bytes or pieces one is.
HELD: Held = {
    "instances": ((quota.VM,), 1),
    "cores": ((quota.TOTAL_CPU, quota.CPU), 1),
    "ram": ((quota.TOTAL_RAM, quota.RAM), quota.MIB),
    "floating_ips": ((quota.FLOATING_IP,), 1),
}
#: What is counted where it is made, with its limit when nothing else was said.
COUNTED: Mapping[str, int] = {"server_groups": 10, "server_group_members": 10}
#: What cannot be changed.
FIXED: Mapping[str, int] = {
    "key_pairs": KEY_PAIRS,
    "metadata_items": MAX_METADATA,
    "injected_files": 5,
    "injected_file_content_bytes": 10_240,
    "injected_file_path_bytes": 255,
    "fixed_ips": UNLIMITED,
    "security_groups": UNLIMITED,
    "security_group_rules": UNLIMITED,
}
#: What a single user of a project may be limited to.
OF_USERS = frozenset({"instances", "cores", "ram"})


class Quotas(ServiceQuotas):
    """The flows of Compute's quotas."""

    held, counted, fixed, noun = HELD, COUNTED, FIXED, "quota"

    async def change(
        self, project_id: str, changes: Mapping[str, int], *, force: bool = False
    ) -> None:
        """Set limits of a project; -1 is no limit.

        :param force: also below what is used already, which the project keeps.
        :raise BadRequest: for a project that there is not, or a limit that makes no sense.
        """
        self.refuse_fixed(changes)

        async def work(tx: Any) -> None:
            await check_project(tx, project_id)
            holdings = await quotas.lock(tx, project_id)
            largest = {} if force else await project_limits.largest_user_limits(tx, project_id)
            maxima: dict[str, int | None] = {}
            for name in sorted(changes.keys() & HELD.keys()):
                value = changes[name]
                resources, unit = HELD[name]
                held = holdings[resources[0]]
                used = -(-(held.used + held.reserved) // unit)
                if not force:
                    refuse_used(name, value, used)
                if UNLIMITED < value < largest.get(name, 0):
                    raise BadRequest(
                        f"Quota limit {value} for {name} must be greater than or equal to"
                        f" {largest[name]}."
                    )
                maximum = None if value == UNLIMITED else value * unit
                maxima.update(dict.fromkeys(resources, maximum))
            await holding_limits.change(tx, project_id, maxima)
            await project_limits.set_limits(tx, project_id, self._counted(changes))

        await self._database.transaction(work, "quota.change")

    async def change_of_user(
        self, project_id: str, user_id: str, changes: Mapping[str, int], *, force: bool = False
    ) -> None:
        """Set limits of one user in a project; -1 lets the project's limit count alone.

        :raise BadRequest: for a limit above the project's, or below what the user has.
        """
        self.refuse_fixed(changes)
        for name in changes:
            if name in HELD.keys() - OF_USERS or name in COUNTED:
                raise BadRequest(f"The quota {name} is the project's: no user has his own.")

        async def work(tx: Any) -> None:
            await check_project(tx, project_id)
            if not await project_limits.user_exists(tx, user_id):
                raise BadRequest(f"User ID {user_id} is not a valid user.")
            holdings = await quotas.lock(tx, project_id)
            use = (await project_limits.use_of_user(tx, project_id, user_id))._asdict()
            kept = {name: changes[name] for name in OF_USERS if name in changes}
            for name, value in sorted(kept.items()):
                resources, unit = HELD[name]
                maximum = holdings[resources[0]].maximum
                if maximum is not None and value > maximum // unit:
                    raise BadRequest(
                        f"Quota limit {value} for {name} must be less than or equal to"
                        f" {maximum // unit}."
                    )
                if not force:
                    refuse_used(name, value, use[name])
            await project_limits.set_user_limits(tx, project_id, user_id, kept)

        await self._database.transaction(work, "quota.change")

    async def reset(self, project_id: str, user_id: str | None = None) -> None:
        """Let the defaults count for a project again, or the project's limits for a user."""

        async def work(tx: Any) -> None:
            await check_project(tx, project_id)
            if user_id is not None:
                await project_limits.forget_user_limits(tx, project_id, user_id)
                return
            changed = await project_limits.defaults(tx)
            await holding_limits.change(tx, project_id, self._all_defaults(changed))
            await project_limits.forget_limits(tx, project_id)

        await self._database.transaction(work, "quota.reset")
