"""What an administrator can ask for about volume types, in Volume's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg2.errors import UniqueViolation

from cyclades_tx.errors import BadRequest, Conflict, NotFound
from cyclades_tx.flows.flavors import check_specs, check_text, template_of
from cyclades_tx.store import flavors
from cyclades_tx.store import volume_types as store

#: The extra spec that names the template which Ganeti makes the disks with.
TEMPLATE_KEY = "SNF:disk_template"


def no_type(ref: str) -> NotFound:
    """The fault for a type that is not there or not the caller's to see."""
    return NotFound(f"Volume type {ref} could not be found.", "volume_type")


class VolumeTypes:
    """The flows of volume types."""

    def __init__(self, database: Any) -> None:
        self._database = database

    async def create(
        self, name: str, description: str, specs: Mapping[str, str], *, public: bool = True
    ) -> str:
        """Make a type; return its UUID.

        :param specs: :data:`TEMPLATE_KEY` among them names the template, else it is that of the
            first type there is.
        :raise Conflict: when the name is taken, or there is no template to take.
        """
        check_text("name", name)
        check_specs(specs)

        async def work(tx: Any) -> str:
            text = specs.get(TEMPLATE_KEY) or await store.first_template(tx)
            if text is None:
                raise Conflict(
                    f"There is no volume type yet: name a template by {TEMPLATE_KEY}=TEMPLATE."
                )
            template, provider = template_of(text)
            type_id = await flavors.insert_volume_type(tx, name, template, provider)
            if type_id is None:
                raise Conflict(f"Volume Type {name} already exists.", "duplicate")
            await store.update(tx, type_id, {"description": description, "public": public})
            await flavors.add_specs(tx, "volume_type", type_id, _plain(specs))
            uuid: str = await tx.value(
                "select uuid::text from volume_type where id = %s", (type_id,)
            )
            return uuid

        made: str = await self._database.transaction(work, "volume_type.create")
        return made

    async def update(self, ref: str, changes: Mapping[str, Any]) -> None:
        """Change a type's ``name``, ``description`` or ``public``.

        :raise Conflict: when the name is taken.
        """
        if "name" in changes:
            check_text("name", changes["name"])

        async def work(tx: Any) -> None:
            kind = await self._locked(tx, ref)
            await store.update(tx, kind.id, changes)

        try:
            await self._database.transaction(work, "volume_type.update")
        except UniqueViolation:
            raise Conflict(f"Volume Type {changes['name']} already exists.", "duplicate") from None

    async def delete(self, ref: str) -> None:
        """Delete a type of which there is nothing.

        :raise BadRequest: when flavors or volumes are of it.
        """

        async def work(tx: Any) -> None:
            kind = await self._locked(tx, ref)
            if kind.used:
                raise BadRequest("Target volume type is still in use.")
            await flavors.set_volume_type_deleted(tx, kind.id, True)

        await self._database.transaction(work, "volume_type.delete")

    async def add_specs(self, ref: str, specs: Mapping[str, str]) -> None:
        """Add or change extra specs.

        :raise BadRequest: for another template while flavors or volumes are of the type.
        """
        check_specs(specs)

        async def work(tx: Any) -> None:
            kind = await self._locked(tx, ref)
            if TEMPLATE_KEY in specs:
                template, provider = template_of(specs[TEMPLATE_KEY])
                if kind.used:
                    raise BadRequest(
                        f"Volume type {kind.name} is in use: its template stays what it is."
                    )
                await store.update(tx, kind.id, {"disk_template": template, "provider": provider})
            await flavors.add_specs(tx, "volume_type", kind.id, _plain(specs))

        await self._database.transaction(work, "volume_type.specs")

    async def delete_spec(self, ref: str, key: str) -> None:
        """Remove an extra spec.

        :raise NotFound: when there is none with that key.
        """

        async def work(tx: Any) -> None:
            kind = await self._locked(tx, ref)
            if key == TEMPLATE_KEY:
                raise BadRequest("Every volume type has a template.")
            if not await flavors.delete_specs(tx, kind.id, (key,), "volume_type"):
                raise NotFound(
                    f"Volume Type {ref} has no extra specs with key {key[:255]}.", "volume_type"
                )

        await self._database.transaction(work, "volume_type.specs")

    @staticmethod
    async def _locked(tx: Any, ref: str) -> store.Kind:
        found = await store.lock(tx, ref)
        if found is None:
            raise no_type(ref)
        return found


def _plain(specs: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in specs.items() if key != TEMPLATE_KEY}
