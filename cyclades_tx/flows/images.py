"""What a person can ask for about images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cyclades_tx.errors import BadRequest, Forbidden
from cyclades_tx.model.who import Who
from cyclades_tx.store import images as store

DISK_FORMATS = (
    "raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "iso", "ploop", "ami", "ari", "aki",
    # what the deployment tools of Ganeti's images call theirs
    "diskdump", "extdump", "ntfsdump", "none",
)  # fmt: skip
CONTAINER_FORMATS = ("bare", "ami", "ari", "aki", "ovf", "ova", "docker")
VISIBILITIES = ("public", "private", "shared", "community")

#: Names that are members of the document or words of its lists, so that no property has them.
RESERVED = frozenset(
    (
        "id", "name", "status", "visibility", "owner", "protected", "min_disk", "min_ram", "size",
        "virtual_size", "checksum", "os_hash_algo", "os_hash_value", "os_hidden", "disk_format",
        "container_format", "tags", "created_at", "updated_at", "self", "file", "schema",
        "locations", "direct_url", "deleted", "deleted_at", "stores", "limit", "marker", "sort",
        "sort_key", "sort_dir", "member_status", "tag", "size_min", "size_max",
    )
)  # fmt: skip

_TEXT_LIMIT = 255
_LOCATION_LIMIT = 4096
_VALUE_LIMIT = 65_535
_MOST_PROPERTIES = 128
_MOST_TAGS = 128
_MOST_INTEGER = 2**31 - 1

# What the operator's changes are called, and which column each is.
_COLUMNS = {
    "name": "name",
    "location": "location",
    "disk_format": "disk_format",
    "container_format": "container_format",
    "visibility": "visibility",
    "min_disk_gib": "min_disk_gib",
    "min_memory_mib": "min_memory_mib",
    "protected": "protected",
    "hidden": "hidden",
    "size_bytes": "size_bytes",
    "status": "status",
}


class Images:
    """Images, for users, operators and the other flows."""

    def __init__(self, database: Any) -> None:
        self._database = database

    async def register(
        self,
        who: Who | None,
        *,
        name: str,
        location: str,
        disk_format: str = "raw",
        container_format: str = "bare",
        visibility: str = "public",
        min_disk_gib: int = 0,
        min_memory_mib: int = 0,
        properties: Mapping[str, str] | None = None,
        tags: tuple[str, ...] = (),
        protected: bool = False,
        hidden: bool = False,
        size_bytes: int | None = None,
    ) -> Any:
        """Make an image known that the clusters can reach already; it is active at once.

        :param who: whose project owns it; None: nobody's, it belongs to the operator.
        :param location: what Ganeti's OS definition gets; never shown to users.
        :param min_disk_gib: the smallest disk that it fits on.
        :return: the image's row.
        """
        columns = {
            "name": name,
            "location": location,
            "disk_format": disk_format,
            "container_format": container_format,
            "visibility": visibility,
            "min_disk_gib": min_disk_gib,
            "min_memory_mib": min_memory_mib,
            "protected": protected,
            "hidden": hidden,
            "size_bytes": size_bytes,
            "status": "active",
        }
        _check(columns, properties or {}, tags)
        if who is not None:
            if visibility == "public" and not who.admin:
                raise Forbidden("Only an administrator can make an image public.")
            columns.update(project_id=who.project_id, user_id=who.user_id)

        async def work(tx: Any) -> Any:
            image_id = await store.insert(tx, columns)
            await store.set_properties(tx, image_id, properties or {})
            await store.set_tags(tx, image_id, tags)
            uuid = await tx.value("select uuid::text from image where id = %s", (image_id,))
            return await store.seen(tx, None, uuid)

        return await self._database.transaction(work, "image.register")

    async def usable(self, tx: Any, who: Who | None, ref: str) -> Any:
        """The active image of this UUID, if the caller may make a server from it.

        :return: a row with, among others, ``id``, ``uuid``, ``name``, ``location``,
            ``min_disk_gib``, ``min_memory_mib`` and ``properties`` (a dictionary of texts).
        :raise NotFound: when there is none.
        """
        return await store.seen(tx, who, ref, bootable=True)

    async def list(self, who: Who | None = None) -> Sequence[Any]:
        """Every image that the caller sees; None is the operator, who sees all."""
        return await store.everything(self._database, who)

    async def show(self, who: Who | None, ref: str) -> Any:
        """One image that the caller sees.

        :raise NotFound: when there is none of that UUID.
        """
        return await store.seen(self._database, who, ref)

    async def modify(
        self,
        ref: str,
        *,
        properties: Mapping[str, str] | None = None,
        tags: tuple[str, ...] | None = None,
        **changes: Any,
    ) -> Any:
        """Change an image, for the operator.

        :param properties: all that it has from now on; None: no change.
        :param changes: what :meth:`register` takes by the same name; ``status`` can be
            ``active`` or ``deactivated``.
        :return: the image's row.
        """
        unknown = set(changes) - set(_COLUMNS)
        if unknown:
            raise BadRequest(f"An image has no {sorted(unknown)[0]} that can be changed.")
        if changes.get("status", "active") not in ("active", "deactivated"):
            raise BadRequest("The status of an image can be active or deactivated.")
        _check(changes, properties or {}, tags or ())

        async def work(tx: Any) -> Any:
            row = await store.seen(tx, None, ref, lock=True)
            await store.update(tx, row.id, changes)
            if properties is not None:
                await store.set_properties(tx, row.id, properties)
            if tags is not None:
                await store.set_tags(tx, row.id, tags)
            return await store.seen(tx, None, ref)

        return await self._database.transaction(work, "image.modify")

    async def remove(self, ref: str) -> None:
        """Forget an image, for the operator; servers that were made from it stay.

        :raise Forbidden: when it is protected.
        """

        async def work(tx: Any) -> None:
            row = await store.seen(tx, None, ref, lock=True)
            if row.protected:
                raise Forbidden(f"Image {row.uuid} is protected and cannot be deleted.")
            await tx.run(
                "update image set status = 'deleted', deleted_at = now(), updated_at = now()"
                " where id = %s",
                (row.id,),
            )

        await self._database.transaction(work, "image.remove")


def _check(
    columns: Mapping[str, Any], properties: Mapping[str, str], tags: tuple[str, ...]
) -> None:
    for name, allowed in (
        ("disk_format", DISK_FORMATS),
        ("container_format", CONTAINER_FORMATS),
        ("visibility", VISIBILITIES),
    ):
        if name in columns and columns[name] not in allowed:
            raise BadRequest(
                f"{str(columns[name])[:80]!r} is no {name.replace('_', ' ')}: use one of"
                f" {', '.join(allowed)}."
            )
    for name in ("min_disk_gib", "min_memory_mib"):
        if name in columns and not 0 <= columns[name] <= _MOST_INTEGER:
            raise BadRequest(f"{name} must be from 0 to {_MOST_INTEGER}.")
    if (columns.get("size_bytes") or 0) < 0:
        raise BadRequest("size_bytes must not be negative.")
    _check_text("name", columns.get("name", "x"), _TEXT_LIMIT)
    _check_text("location", columns.get("location", "x"), _LOCATION_LIMIT)
    if len(properties) > _MOST_PROPERTIES or len(tags) > _MOST_TAGS:
        raise BadRequest(
            f"An image has at most {_MOST_PROPERTIES} properties and {_MOST_TAGS} tags."
        )
    for key, value in properties.items():
        _check_text("property", key, _TEXT_LIMIT)
        if key in RESERVED:
            raise BadRequest(
                f"An image can have no property {key!r}: the name means something else."
            )
        if len(value) > _VALUE_LIMIT or "\0" in value:
            raise BadRequest(f"The value of {key!r} is too long or holds a NUL.")
    for tag in tags:
        _check_text("tag", tag, _TEXT_LIMIT)


def _check_text(what: str, text: str, limit: int) -> None:
    if not 1 <= len(text) <= limit or any(ord(character) < ord(" ") for character in text):
        raise BadRequest(f"The {what} must have 1 to {limit} characters and no control characters.")
