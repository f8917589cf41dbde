"""What a person can ask for about images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NotFound, OverQuota
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.image import (
    COLUMNS,
    MOST_IMAGES,
    Change,
    Draft,
    check_counts,
    check_property,
    check_registered,
    check_text,
    check_writable,
)
from cyclades_tx.model.who import Who
from cyclades_tx.store import images as store
from cyclades_tx.store import quotas

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
    """Images, for users, operators and the other flows.

    :param check_location: raises for a URL at which users may not say that an image lies; None:
        they may say so of none.
    """

    def __init__(
        self, database: Any, check_location: Callable[[str], object] | None = None
    ) -> None:
        self._database = database
        self._check_location = check_location

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
        check_registered(columns, properties or {}, tags)
        if who is not None:
            if visibility == "public" and not who.admin:
                raise Forbidden("Only an administrator can make an image public.")
            columns.update(project_id=who.project_id, user_id=who.user_id)

        async def work(tx: Any) -> Any:
            image_id = await store.insert(tx, columns)
            await store.set_properties(tx, image_id, properties or {})
            await store.set_tags(tx, image_id, tags)
            await store.tell(tx, "image.created", image_id)
            uuid = await tx.value("select uuid::text from image where id = %s", (image_id,))
            return await store.seen(tx, None, uuid)

        return await self._database.transaction(work, "image.register")

    async def create(
        self,
        who: Who,
        *,
        attributes: Mapping[str, Any],
        properties: Mapping[str, str],
        tags: Sequence[str] = (),
        uuid: str | None = None,
    ) -> str:
        """Make an image of which the data are still to come; return its UUID.

        :param attributes: by the names that :data:`~cyclades_tx.model.image.COLUMNS` has.
        :param uuid: which one it shall have; None: any.
        :raise Conflict: when there is an image of that UUID.
        :raise Forbidden: for what only an administrator may give it.
        :raise OverQuota: when the project has as many images as it may.
        :raise TooLarge: for too many properties or tags.
        """
        if uuid is not None and (uuid := parse_uuid(uuid)) is None:
            raise BadRequest("The id of an image is a UUID.")
        for name, value in properties.items():
            check_writable(name)
            check_property(name, value)
        check_counts(properties, tags)
        _permit(who, attributes)
        owner: str | None = attributes.get("owner", who.project_id)
        columns = {
            **{COLUMNS[name]: value for name, value in attributes.items()},
            "project_id": owner,
            "user_id": who.user_id,
        }
        if uuid is not None:
            columns["uuid"] = uuid

        async def work(tx: Any) -> str:
            if owner is not None:
                await store.check_project(tx, owner)
                # Whoever makes one of the same project waits here, so that none is miscounted.
                await quotas.lock(tx, owner)
                if await store.count(tx, owner) >= MOST_IMAGES:
                    raise OverQuota(f"A project has at most {MOST_IMAGES} images.")
            made = await store.insert_free(tx, columns)
            if made is None:
                raise Conflict(f"Image ID {uuid} already exists!")
            await store.set_properties(tx, made.id, properties)
            await store.set_tags(tx, made.id, tuple(tags))
            await store.tell(tx, "image.created", made.id)
            return str(made.uuid)

        found: str = await self._database.transaction(work, "image.create", turn=who.turn)
        return found

    async def update(self, who: Who, ref: str, changes: Sequence[Change]) -> None:
        """Make the changes of a JSON patch, all or none.

        :raise NotFound: when the caller sees no such image.
        :raise Forbidden: when it is another project's, and for what nobody or only an
            administrator may change.
        :raise Conflict: for a property that is not there.
        """
        _permit(who, {change.name: change.value for change in changes if change.op != "remove"})

        async def work(tx: Any) -> None:
            row = await self._own(tx, who, ref)
            draft = Draft(row.status, dict(row.properties), tuple(row.tags))
            draft.apply(changes)
            owner = draft.columns.get("owner")
            if owner is not None:
                await store.check_project(tx, owner)
            columns = {COLUMNS[name]: value for name, value in draft.columns.items()}
            if draft.location is not None:
                columns |= self._located(draft.location, {**row._asdict(), **columns})
            await store.update(tx, row.id, columns)
            if draft.properties != row.properties:
                await store.set_properties(tx, row.id, draft.properties)
            if set(draft.tags) != set(row.tags):
                await store.set_tags(tx, row.id, draft.tags)
            await store.tell(tx, "image.changed", row.id)

        await self._database.transaction(work, "image.update")

    def _located(self, url: str, columns: Mapping[str, Any]) -> dict[str, Any]:
        """What an image becomes whose data lie somewhere already, for the clusters to fetch.

        :param columns: what it is.
        """
        if self._check_location is None:
            raise Forbidden("It's not allowed to add locations if locations are invisible.")
        self._check_location(url)
        if urlsplit(url).scheme in ("http", "https"):
            # Nobody could look after where a node is led to from there.
            raise BadRequest("Import an image over http with the method web-download.")
        if columns["disk_format"] is None or columns["container_format"] is None:
            raise BadRequest("disk_format and container_format must be set before the location.")
        return {"location": url, "status": "active"}

    async def delete(self, who: Who | None, ref: str) -> None:
        """Delete an image; servers that were made from it stay.

        What was stored of it is removed afterwards, when nobody needs it any more.

        :param who: None: the operator.
        :raise NotFound: when the caller sees no such image.
        :raise Forbidden: when it is another project's, or protected.
        """

        async def work(tx: Any) -> None:
            row = await self._own(tx, who, ref)
            if row.protected:
                raise Forbidden(f"Image {row.uuid} is protected and cannot be deleted.")
            await store.tell(tx, "image.deleted", row.id)
            await store.mark_deleted(tx, row.id)

        await self._database.transaction(work, "image.delete")

    async def deactivate(self, who: Who, ref: str) -> None:
        """Let nobody read an image's data or make servers from it for a while.

        :raise Forbidden: when it is another project's, or has no data yet.
        """
        await self._switch(who, ref, "active", "deactivated")

    async def reactivate(self, who: Who, ref: str) -> None:
        """End what :meth:`deactivate` began."""
        await self._switch(who, ref, "deactivated", "active")

    async def _switch(self, who: Who, ref: str, before: str, after: str) -> None:
        async def work(tx: Any) -> None:
            row = await self._own(tx, who, ref)
            if row.status == after:
                return
            if row.status != before:
                word = "deactivate" if after == "deactivated" else "reactivate"
                raise Forbidden(f"Not allowed to {word} image in status '{row.status}'")
            await store.update(tx, row.id, {"status": after})
            await store.tell(tx, "image.changed", row.id)

        await self._database.transaction(work, f"image.{after}")

    async def add_tag(self, who: Who, ref: str, tag: str) -> None:
        """Give an image a tag; one that it has already stays.

        :raise TooLarge: when it has as many as it may.
        """
        check_text("tag", tag)

        async def work(tx: Any) -> None:
            row = await self._own(tx, who, ref)
            if tag not in row.tags:
                check_counts({}, (*row.tags, tag), 0, len(row.tags))
                await store.set_tags(tx, row.id, (*row.tags, tag))
                await store.update(tx, row.id, {})
                await store.tell(tx, "image.changed", row.id)

        await self._database.transaction(work, "image.tag")

    async def remove_tag(self, who: Who, ref: str, tag: str) -> None:
        """Take a tag from an image.

        :raise NotFound: when it has no such tag.
        """

        async def work(tx: Any) -> None:
            row = await self._own(tx, who, ref)
            if tag not in row.tags:
                raise NotFound(f"Tag {tag[:80]} was not found.", "tag")
            await store.set_tags(tx, row.id, tuple(each for each in row.tags if each != tag))
            await store.update(tx, row.id, {})
            await store.tell(tx, "image.changed", row.id)

        await self._database.transaction(work, "image.untag")

    async def _own(self, tx: Any, who: Who | None, ref: str) -> Any:
        """An image that the caller may change, locked.

        :raise NotFound: when it sees none.
        :raise Forbidden: when it may only look at it.
        """
        row = await store.seen(tx, who, ref, lock=True)
        if who is not None and not who.admin and row.project_id != who.project_id:
            raise Forbidden(f"You are not permitted to change image {row.uuid}.")
        return row

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
        :raise Conflict: for the status of an image without data, unless it is told a location.
        """
        unknown = set(changes) - set(_COLUMNS)
        if unknown:
            raise BadRequest(f"An image has no {sorted(unknown)[0]} that can be changed.")
        if changes.get("status", "active") not in ("active", "deactivated"):
            raise BadRequest("The status of an image can be active or deactivated.")
        check_registered(changes, properties or {}, tags or ())

        async def work(tx: Any) -> Any:
            row = await store.seen(tx, None, ref, lock=True)
            _check_status(row, changes)
            await store.update(tx, row.id, changes)
            if properties is not None:
                await store.set_properties(tx, row.id, properties)
            if tags is not None:
                await store.set_tags(tx, row.id, tags)
            await store.tell(tx, "image.changed", row.id)
            return await store.seen(tx, None, ref)

        return await self._database.transaction(work, "image.modify")


def _check_status(row: Any, changes: Mapping[str, Any]) -> None:
    """See that the operator may give an image a status.

    :raise Conflict: when it has no data, or no formats.
    """
    if "status" not in changes or row.status in ("active", "deactivated"):
        return
    if row.status != "queued" or "location" not in changes:
        raise Conflict(f"The image is {row.status}: it has no data yet, and no location is given.")
    if None in ({**row._asdict(), **changes}[name] for name in ("disk_format", "container_format")):
        raise Conflict("The image needs a disk format and a container format first.")


def _permit(who: Who, attributes: Mapping[str, Any]) -> None:
    """See that somebody may give an image these attributes.

    :raise Forbidden: when not.
    """
    if who.admin:
        return
    if attributes.get("visibility") == "public":
        raise Forbidden("You are not authorized to complete publicize_image action.")
    if attributes.get("owner", who.project_id) != who.project_id:
        raise Forbidden("Only an administrator can give an image to another project.")
