"""What the quotas of every service have in common: tables of names, defaults and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from cyclades_tx.errors import BadRequest
from cyclades_tx.store import project_limits
from cyclades_tx.store.project_limits import UNLIMITED

#: A service's name -> the resources it stands for, and how many bytes or pieces one is.
Held = Mapping[str, tuple[tuple[str, ...], int]]


class ServiceQuotas:
    """Quotas in one service's words.

    :cvar held: what projects hold.
    :cvar counted: what is counted where it is made, with its limit when nothing else was said.
    :cvar fixed: what cannot be changed.
    :cvar noun: what the names of its transactions begin with.
    :param limits: the configuration's limits of new projects, by resource; None: no limit.
    """

    held: ClassVar[Held]
    counted: ClassVar[Mapping[str, int]]
    fixed: ClassVar[Mapping[str, int]]
    noun: ClassVar[str]

    def __init__(self, database: Any, limits: Mapping[str, int | None] | None = None) -> None:
        self._database = database
        self._limits = limits or {}

    async def defaults(self) -> dict[str, int]:
        """What projects may have when nothing else was said for them, by the service's names."""
        changed = await project_limits.defaults(self._database)
        found = {name: changed.get(name, otherwise) for name, otherwise in self.counted.items()}
        for name, (resources, unit) in self.held.items():
            # The least counts, as in what a project that uses nothing is shown.
            maxima = [self._default(each, changed) for each in resources]
            given = [maximum for maximum in maxima if maximum is not None]
            found[name] = min(given) // unit if given else UNLIMITED
        return {**found, **self.fixed}

    async def change_defaults(self, changes: Mapping[str, int]) -> None:
        """Set what new projects may have, and those whose quotas are reset."""
        self.refuse_fixed(changes)
        maxima = self._counted(changes)
        for name in changes.keys() & self.held.keys():
            resources, unit = self.held[name]
            value = changes[name]
            maxima |= dict.fromkeys(resources, value if value == UNLIMITED else value * unit)

        async def work(tx: Any) -> None:
            await project_limits.set_defaults(tx, maxima)

        await self._database.transaction(work, f"{self.noun}.defaults")

    @classmethod
    def refuse_fixed(cls, changes: Mapping[str, int]) -> None:
        """Raise for a limit that is another than everyone's."""
        for name, value in changes.items():
            if cls.fixed.get(name, value) != value:
                raise BadRequest(
                    f"The quota {name} is {cls.fixed[name]} for everyone on this cloud."
                )

    def _default(self, resource: str, changed: Mapping[str, int]) -> int | None:
        maximum = changed.get(resource, self._limits.get(resource))
        return None if maximum == UNLIMITED else maximum

    def _all_defaults(self, changed: Mapping[str, int]) -> dict[str, int | None]:
        """The default of each resource that the service has a name for."""
        resources = [each for kinds, _ in self.held.values() for each in kinds]
        return {each: self._default(each, changed) for each in resources}

    def _counted(self, changes: Mapping[str, int]) -> dict[str, int]:
        return {name: changes[name] for name in self.counted if name in changes}


def refuse_used(name: str, limit: int, used: int) -> None:
    """Raise for a limit below what is used already."""
    if UNLIMITED < limit < used:
        raise BadRequest(
            f"Quota limit {limit} for {name} must be greater than or equal to already used and"
            f" reserved {used}."
        )


async def check_project(tx: Any, project_id: str) -> None:
    """Raise for a project that there is not."""
    if not await project_limits.project_exists(tx, project_id):
        raise BadRequest(f"Project ID {project_id[:255]} is not a valid project.")
