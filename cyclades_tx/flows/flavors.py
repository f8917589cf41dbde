"""What an operator can ask for about flavors and volume types."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2.errors import ForeignKeyViolation, UniqueViolation

from cyclades_tx.errors import BadRequest, Conflict, NotFound
from cyclades_tx.store import flavors as store
from cyclades_tx.store import project_limits

TEMPLATES = (
    "diskless", "file", "sharedfile", "plain", "drbd", "rbd", "blockdev", "gluster", "ext"
)  # fmt: skip
MOST_VCPUS = 1024
MOST_MEMORY_MIB = 16_777_216
MOST_DISK_GIB = 1_048_576
#: Ganeti gives memory out in steps of so many MiB.
MEMORY_STEP_MIB = 4
#: More at once are a slip of the hand.
MOST_AT_ONCE = 1000
_TEXT_LIMIT = 255


@dataclass(frozen=True)
class Made:
    """A flavor that was wanted.

    :ivar id: None: it would be made, in a dry run.
    :ivar new: False when there was one of this name, or of just these sizes, already.
    """

    id: int | None
    name: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    volume_type: str
    new: bool


class Flavors:
    """Makes and changes flavors and volume types."""

    def __init__(self, database: Any) -> None:
        self._database = database

    async def create_volume_type(
        self, name: str, disk_template: str, specs: Mapping[str, str] | None = None
    ) -> int:
        """Make a volume type; return its id.

        :param disk_template: one of :data:`TEMPLATES`; ``ext_NAME`` is the template ``ext``
            with the provider NAME.
        :raise Conflict: when the name is taken.
        """
        template, provider = template_of(disk_template)
        check_text("name", name)
        check_specs(specs or {})

        async def work(tx: Any) -> int:
            type_id = await store.insert_volume_type(tx, name, template, provider)
            if type_id is None:
                raise Conflict(f"There is a volume type {name!r} already.", "duplicate")
            await store.add_specs(tx, "volume_type", type_id, specs or {})
            return type_id

        made: int = await self._database.transaction(work, "volume_type.create")
        return made

    async def find_volume_type(self, ref: str) -> Any:
        """A volume type by id, UUID or name, a deleted one by id or UUID: id, name, deleted.

        :raise NotFound: when there is none.
        """
        found = await store.any_volume_type(self._database, ref)
        if found is None:
            raise NotFound(
                f"There is no volume type {ref[:80]!r}; see volume-type-list.", "volume_type"
            )
        return found

    async def modify_volume_type(
        self,
        ref: str,
        *,
        deleted: bool | None = None,
        add_specs: Mapping[str, str] | None = None,
        delete_specs: Sequence[str] = (),
    ) -> int:
        """Change a volume type; return its id.

        :param deleted: True takes its flavors away too; False gives back the type alone.
        :raise Conflict: when its name was given to another one since it was deleted.
        """
        _check_spec_changes(add_specs or {}, delete_specs)
        found = await self.find_volume_type(ref)

        async def work(tx: Any) -> None:
            if deleted is not None:
                await store.set_volume_type_deleted(tx, found.id, deleted)
            await store.add_specs(tx, "volume_type", found.id, add_specs or {})
            gone = await store.delete_specs(tx, found.id, delete_specs, "volume_type")
            missing = sorted(set(delete_specs) - set(gone))
            if missing:
                raise NotFound(f"The volume type has no spec {missing[0][:80]!r}.", "spec")

        try:
            await self._database.transaction(work, "volume_type.modify")
        except UniqueViolation:
            raise Conflict(
                f"Another volume type is called {found.name} by now.", "duplicate"
            ) from None
        number: int = found.id
        return number

    async def create(
        self,
        vcpus: Sequence[int],
        memory_mib: Sequence[int],
        disk_gib: Sequence[int],
        volume_types: Iterable[str],
        *,
        public: bool = True,
        specs: Mapping[str, str] | None = None,
        dry_run: bool = False,
    ) -> list[Made]:
        """Make a flavor of each combination; those that are there stay as they are.

        :param memory_mib: rounded up to steps of four.
        :param volume_types: ids, names, or disk templates of which there is a volume type.
        :raise NotFound: when there is no such volume type.
        """
        check_specs(specs or {})
        memory = [-(-each // MEMORY_STEP_MIB) * MEMORY_STEP_MIB for each in memory_mib]
        for what, values, least, most in (
            ("CPUs", vcpus, 1, MOST_VCPUS),
            ("MiB of memory", memory, 1, MOST_MEMORY_MIB),
            ("GiB of disk", disk_gib, 0, MOST_DISK_GIB),
        ):
            for value in values:
                if not least <= value <= most:
                    raise BadRequest(f"A flavor has {least} to {most} {what}, not {value}.")
        wanted_types = list(dict.fromkeys(volume_types))
        number = len(vcpus) * len(memory) * len(disk_gib) * len(wanted_types)
        if number > MOST_AT_ONCE:
            raise BadRequest(
                f"These are {number} flavors; at most {MOST_AT_ONCE} are made at once."
            )

        async def work(tx: Any) -> list[Made]:
            types = [await self._volume_type(tx, ref) for ref in wanted_types]
            combined = itertools.product(types, vcpus, dict.fromkeys(memory), disk_gib)
            return [
                await self._one(tx, kind, sizes, public, specs or {}, dry_run)
                for kind, *sizes in combined
            ]

        made: list[Made] = await self._database.transaction(work, "flavor.create")
        return made

    async def create_one(
        self,
        *,
        name: str,
        uuid: str | None,
        vcpus: int,
        memory_mib: int,
        disk_gib: int,
        public: bool,
        description: str | None,
    ) -> int:
        """Make one flavor on the first volume type there is; return its id.

        :param uuid: None: one is chosen.
        :raise Conflict: when the name or the id is taken, or there is no volume type.
        """
        check_text("name", name)
        for what, value, most in (
            ("vcpus", vcpus, MOST_VCPUS),
            ("MiB of ram", memory_mib, MOST_MEMORY_MIB),
            ("GiB of disk", disk_gib, MOST_DISK_GIB),
        ):
            if value > most:
                raise BadRequest(f"A flavor has at most {most} {what}, not {value}.")

        async def work(tx: Any) -> int:
            type_id = await store.first_volume_type(tx)
            if type_id is None:
                raise Conflict("There is no volume type yet: an operator makes one first.")
            flavor_id = await store.insert(
                tx,
                name=name,
                vcpus=vcpus,
                memory_mib=memory_mib,
                disk_gib=disk_gib,
                volume_type_id=type_id,
                public=public,
                uuid=uuid,
                description=description,
            )
            if flavor_id is None:
                if uuid is not None and await store.any_by_id(tx, uuid) is not None:
                    raise Conflict(f"Flavor with ID {uuid} already exists.", "duplicate")
                raise Conflict(f"Flavor with name {name} already exists.", "duplicate")
            return flavor_id

        made: int = await self._database.transaction(work, "flavor.create")
        return made

    async def live(self, uuid: str) -> Any:
        """The flavor with this UUID, or None: id, uuid, name, public."""
        return await store.live(self._database, uuid)

    async def describe(self, flavor_id: int, description: str | None) -> None:
        """Write down what a flavor is for."""
        await store.describe(self._database, flavor_id, description)

    async def check_project(self, project_id: str) -> None:
        """BadRequest for a project that there is not."""
        if not await project_limits.project_exists(self._database, project_id):
            raise BadRequest(f"Project ID {project_id} is not a valid project.")

    async def _one(
        self,
        tx: Any,
        kind: Any,
        sizes: Sequence[int],
        public: bool,
        specs: Mapping[str, str],
        dry_run: bool,
    ) -> Made:
        vcpus, memory_mib, disk_gib = sizes
        there = await store.alike(tx, vcpus, memory_mib, disk_gib, kind.id)
        if there is not None:
            return Made(there.id, there.name, vcpus, memory_mib, disk_gib, kind.name, False)
        name = f"C{vcpus}R{memory_mib}D{disk_gib}{kind.name}"[:_TEXT_LIMIT]
        named = await store.named(tx, name)
        if named is not None:
            return Made(named.id, name, vcpus, memory_mib, disk_gib, kind.name, False)
        if dry_run:
            return Made(None, name, vcpus, memory_mib, disk_gib, kind.name, True)
        flavor_id = await store.insert(
            tx,
            name=name,
            vcpus=vcpus,
            memory_mib=memory_mib,
            disk_gib=disk_gib,
            volume_type_id=kind.id,
            public=public,
        )
        if flavor_id is None:
            raise Conflict(f"Somebody else made the flavor {name} just now; try again.")
        await store.add_specs(tx, "flavor", flavor_id, specs)
        return Made(flavor_id, name, vcpus, memory_mib, disk_gib, kind.name, True)

    @staticmethod
    async def _volume_type(tx: Any, ref: str) -> Any:
        found = await store.volume_type(tx, ref)
        if found is None:
            hint = ref if ref in TEMPLATES or ref.startswith("ext_") else "TEMPLATE"
            raise NotFound(
                f"There is no volume type {ref[:80]!r}; see volume-type-list, or make one:"
                f" snf-manage volume-type-create --name {hint} --disk-template {hint}",
                "volume_type",
            )
        return found

    async def find(self, ref: str) -> Any:
        """A live flavor by id, UUID or name: id, uuid, name.

        :raise NotFound: when there is none.
        """
        found = await store.named(self._database, ref)
        if found is None:
            raise NotFound(f"There is no flavor {ref[:80]!r}; see flavor-list.", "flavor")
        return found

    async def modify(
        self,
        ref: str,
        changes: Mapping[str, Any],
        *,
        add_specs: Mapping[str, str] | None = None,
        delete_specs: Sequence[str] = (),
    ) -> Any:
        """Change a flavor; return its id, uuid and name.

        :param ref: id, UUID or name; a deleted one by id or UUID.
        :param changes: of ``allow_create``, ``public`` and ``deleted``.
        :raise Conflict: when its name was given to another one since it was deleted.
        """
        _check_spec_changes(add_specs or {}, delete_specs)
        found = await store.any_by_id(self._database, ref) or await self.find(ref)

        async def work(tx: Any) -> None:
            await store.update(tx, found.id, changes)
            await store.add_specs(tx, "flavor", found.id, add_specs or {})
            gone = await store.delete_specs(tx, found.id, delete_specs)
            missing = sorted(set(delete_specs) - set(gone))
            if missing:
                raise NotFound(f"The flavor has no spec {missing[0][:80]!r}.", "spec")

        try:
            await self._database.transaction(work, "flavor.modify")
        except UniqueViolation:
            raise Conflict(f"Another flavor is called {found.name} by now.", "duplicate") from None
        return found

    async def give(self, ref: str, project_id: str) -> None:
        """Let a project use a flavor that is not public.

        :raise Conflict: when it may already.
        """
        found = await self.find(ref)
        try:
            added = await store.give(self._database, found.id, project_id)
        except ForeignKeyViolation:
            raise NotFound("The project was removed just now.", "project") from None
        if not added:
            raise Conflict(f"The project has the flavor {found.name} already.", "duplicate")

    async def take(self, ref: str | None, project_id: str | None) -> int:
        """Take a flavor from a project, from all its projects, or all from a project.

        :return: how many were taken.
        """
        if ref is None and project_id is None:
            raise BadRequest("Name a flavor, a project, or both.")
        found = None if ref is None else await self.find(ref)
        return await store.take(self._database, found and found.id, project_id)


def template_of(text: str) -> tuple[str, str | None]:
    """The disk template and the provider of a text such as ``ext_NAME``.

    :raise BadRequest: when there is no such template.
    """
    template, _, provider = text.partition("_")
    if template not in TEMPLATES or (template == "ext") != bool(provider):
        raise BadRequest(
            f"There is no disk template {text[:80]!r}; there are: {', '.join(TEMPLATES[:-1])}"
            " and ext_PROVIDER."
        )
    return template, provider or None


def check_text(what: str, text: str) -> None:
    """Raise BadRequest for a text that cannot be kept."""
    if not text.strip() or len(text) > _TEXT_LIMIT or not text.isprintable():
        raise BadRequest(f"The {what} must have 1 to {_TEXT_LIMIT} printable characters.")


def _check_spec_changes(added: Mapping[str, str], deleted: Sequence[str]) -> None:
    check_specs(added)
    both = set(added) & set(deleted)
    if both:
        raise BadRequest(f"The spec {sorted(both)[0]!r} cannot be both added and deleted.")


def check_specs(specs: Mapping[str, str]) -> None:
    """Raise BadRequest for a spec that cannot be kept."""
    for key, value in specs.items():
        check_text("key of a spec", key)
        if len(value) > _TEXT_LIMIT or "\0" in value:
            raise BadRequest(f"The spec {key!r} is longer than {_TEXT_LIMIT} characters.")
