"""The bytes of images: how they come, and how they are given out.

An upload first becomes known (the image's row names the object that will hold the bytes), then
it is written, then the row gets it; whatever happens in between, either the image has the whole
object, or it waits for bytes again and the store's leftover is swept up (``loops/images.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from cyclades_tx.errors import (
    BadRequest,
    Conflict,
    CycladesError,
    Forbidden,
    Gone,
    NotFound,
    NotSupported,
    OverQuota,
    TooLarge,
    Unavailable,
)
from cyclades_tx.image_store.fetching import Fetcher
from cyclades_tx.image_store.hashing import ALGORITHM
from cyclades_tx.image_store.interfaces import IImageStore, IReader, IUpload, NoObject
from cyclades_tx.image_store.locations import Locations
from cyclades_tx.image_store.signing import OURS, Signer
from cyclades_tx.model.who import Who
from cyclades_tx.sections import ImageSection
from cyclades_tx.store import image_data
from cyclades_tx.store.database import CommitUnknown

GIB = 2**30
#: Most uploads of one process; each holds a file open and a few MiB of memory.
MOST_AT_ONCE = 64
#: Ways to import: data that were staged, and data from elsewhere.
STAGED = "glance-direct"
DOWNLOADED = "web-download"


@dataclass(frozen=True)
class Expected:
    """What the sender says that the bytes are; None: nothing.

    :ivar md5: in hexadecimal digits.
    """

    size_bytes: int | None = None
    md5: str | None = None


_NOTHING = Expected()


@dataclass(frozen=True)
class Opened:
    """An image's bytes, ready to be read.

    :ivar md5: in hexadecimal digits.
    """

    reader: IReader
    md5: str


class Upload:
    """Bytes on their way into one image; it ends with ``finish`` or ``fail``.

    :param staged: whether they wait for an import when they are there.
    """

    def __init__(
        self, data: ImageData, image: Any, name: str, writer: IUpload, most: int, staged: bool
    ) -> None:
        self._data = data
        self._writer = writer
        self._most_bytes = most
        self._size_bytes = 0
        self.image = image
        self.name = name
        #: What the image is when it has the object.
        self.status = "uploading" if staged else "active"
        #: Nobody waits for it any more.
        self.lost = False

    async def write(self, data: bytes) -> None:
        """Take more bytes.

        :raise TooLarge: when they are more than an image, or its project, may have.
        :raise StoreFull: when there is no room.
        :raise Gone: when the image was deleted meanwhile.
        """
        self._refuse_lost()
        self._size_bytes += len(data)
        if self._size_bytes > self._most_bytes:
            raise TooLarge("The image is larger than it may be.")
        await self._writer.write(data)

    async def finish(self, expected: Expected = _NOTHING) -> None:
        """Make the image active.

        :raise BadRequest: when the bytes are not the expected ones.
        :raise Gone: when the image was deleted meanwhile.
        """
        self._refuse_lost()
        sums = await self._writer.finish()
        if expected.size_bytes not in (None, sums.size_bytes):
            raise BadRequest(f"{sums.size_bytes} bytes came, not {expected.size_bytes}.")
        if expected.md5 not in (None, sums.md5):
            raise BadRequest("The checksum of the data is not the one that was sent with it.")
        await self._data.settle(self, sums)

    async def fail(self, why: Exception) -> None:
        """Let nothing of it remain, and the image wait for bytes again."""
        await self._data.give_up(self, self._writer, why)

    def _refuse_lost(self) -> None:
        if self.lost:
            raise Gone(f"Image {self.image.uuid} does not wait for this data any more.")


class ImageData:
    """The bytes of images.

    :param store: None: the operator has named none.
    :param signer: believes signed URLs; None: there are none.
    :param locations: from where users may have images fetched.
    :param fetcher: fetches them.
    """

    log = Logger()

    def __init__(
        self,
        database: Any,
        store: IImageStore | None = None,
        section: ImageSection | None = None,
        signer: Signer | None = None,
        locations: Locations | None = None,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._database = database
        self._section = section or ImageSection()
        self._signer = signer
        self._locations = locations or Locations()
        self._fetcher = fetcher
        self.store = store
        #: What is on its way in this process, by the names of the objects.
        self.active: dict[str, Upload] = {}
        #: So many are about to be.
        self._beginning = 0
        self._imports: set[Deferred[None]] = set()

    @property
    def import_methods(self) -> tuple[str, ...]:
        """The ways to import an image, in Glance's words."""
        if self.store is None:
            return ()
        far = self._fetcher is not None and self._locations.fetched()
        return (STAGED, DOWNLOADED) if far else (STAGED,)

    @property
    def check_location(self) -> Callable[[str], object] | None:
        """Raises for a URL at which users may not say that an image lies; None: at none."""
        return self._locations.check if self._locations else None

    # -- how they come -------------------------------------------------------------------

    async def begin(
        self, who: Who, ref: str, size_bytes: int | None, status: str = "saving"
    ) -> Upload:
        """Begin an upload into a queued image.

        :param size_bytes: how much will come; None: nobody knows.
        :param status: what the image is meanwhile; ``uploading``, which it stays after it, for
            data that are staged and wait for an import.
        :raise NotFound: when the caller sees no such image.
        :raise Forbidden: when it is another project's.
        :raise Conflict: when the image is not queued.
        :raise TooLarge: when it is more than an image may have.
        :raise OverQuota: when the project has no room for it.
        :raise Unavailable: when the store has no room for it.
        """
        store = self._store()
        if len(self.active) + self._beginning >= MOST_AT_ONCE:
            raise Unavailable("Too many images are being sent right now; try again.", 30)
        self._beginning += 1
        try:
            return await self._begin(store, who, ref, size_bytes, status)
        finally:
            self._beginning -= 1

    async def _begin(
        self, store: IImageStore, who: Who, ref: str, size_bytes: int | None, status: str
    ) -> Upload:
        name = uuid4().hex

        async def work(tx: Any) -> tuple[Any, int]:
            image = await self._own(tx, who, ref)
            if image.status != "queued":
                raise Conflict(
                    f"Image {image.uuid} has the status {image.status}; only a queued image takes"
                    " data."
                )
            if image.disk_format is None or image.container_format is None:
                raise BadRequest(
                    "disk_format and container_format must be set before the data is sent."
                )
            room = await self._room(tx, image, size_bytes or 0)
            await image_data.begin(tx, image.id, status, name, size_bytes)
            return image, room

        image, room = await self._database.transaction(work, "image.upload")
        staged = status == "uploading"
        try:
            writer = await store.begin(name, size_bytes)
        except Exception as error:
            await self._give_up_row(image.id, name, error)
            raise
        upload = self.active[name] = Upload(self, image, name, writer, room, staged)
        return upload

    async def settle(self, upload: Upload, sums: Any) -> None:
        """Give an image its whole object, in one transaction."""

        async def work(tx: Any) -> bool:
            if upload.image.project_id is not None:
                await image_data.lock_project(tx, upload.image.project_id)
            await self._room(tx, upload.image, sums.size_bytes)
            return await image_data.finish(
                tx,
                upload.image.id,
                upload.name,
                upload.status,
                OURS + upload.image.uuid,
                sums.size_bytes,
                sums.md5,
                ALGORITHM,
                sums.sha512,
            )

        if not await self._database.transaction(work, "image.uploaded"):
            raise Gone(f"Image {upload.image.uuid} does not wait for this data any more.")
        self.active.pop(upload.name, None)

    async def give_up(self, upload: Upload, writer: IUpload, why: Exception) -> None:
        """End an upload that came to nothing; what cannot be done now is done by the sweep."""
        self.active.pop(upload.name, None)
        if isinstance(why, CommitUnknown):
            # The image may have the object: the sweep looks when the database is back.
            return
        await writer.cancel()
        await self._give_up_row(upload.image.id, upload.name, why)

    async def _give_up_row(self, image_id: int, name: str, why: Exception) -> None:
        reason = why.message if isinstance(why, CycladesError) else "An unexpected error."
        with suppress(Unavailable):
            await self._database.transaction(
                lambda tx: image_data.give_up(tx, image_id, name, reason), "image.given_up"
            )

    async def _room(self, tx: Any, image: Any, size_bytes: int) -> int:
        """How many bytes an image may have; its project is locked.

        :raise TooLarge: when that is less than ``size_bytes``; OverQuota for the project.
        """
        most = self._section.max_image_gib * GIB
        if size_bytes > most:
            raise TooLarge(f"An image has at most {self._section.max_image_gib} GiB.")
        if image.project_id is None or not self._section.project_gib:
            return most
        limit = self._section.project_gib * GIB
        room = limit - await image_data.used_bytes(tx, image.project_id, image.id)
        if room <= 0 or size_bytes > room:
            raise OverQuota(
                f"The images of a project have at most {self._section.project_gib} GiB together;"
                f" {max(room, 0)} bytes are left."
            )
        return min(most, room)

    def _store(self) -> IImageStore:
        if self.store is None:
            raise NotSupported("The operator has not said where images are kept.")
        return self.store

    # -- from elsewhere ------------------------------------------------------------------

    async def import_staged(self, who: Who, ref: str) -> None:
        """Make an image active whose data were staged.

        :raise Conflict: when none were.
        """

        async def work(tx: Any) -> None:
            row = await self._own(tx, who, ref)
            if row.status != "uploading" or row.object_name is None:
                raise Conflict(f"No data were staged for image {row.uuid}; it is {row.status}.")
            await image_data.activate(tx, row.id)

        await self._database.transaction(work, "image.import")

    async def _own(self, tx: Any, who: Who, ref: str) -> Any:
        """An image that the caller may change, locked, behind its project.

        :raise NotFound: when the caller sees none.
        :raise Forbidden: when it is another project's.
        """
        missing = NotFound(f"No image found with ID {ref}", "image")
        row = await image_data.seen(tx, who, ref)
        if row is None:
            raise missing
        if not who.admin and row.project_id != who.project_id:
            raise Forbidden(f"You are not permitted to change image {ref}.")
        if row.project_id is not None:
            await image_data.lock_project(tx, row.project_id)
        image = await image_data.lock(tx, row.id)
        if image is None:
            raise missing
        return image

    async def import_from(self, who: Who, ref: str, url: str) -> None:
        """Begin to fetch an image's bytes from a place that the operator allows.

        :raise Forbidden: when it is not allowed.
        :raise BadRequest: when it is no URL that can be fetched.
        """
        if DOWNLOADED not in self.import_methods:
            raise NotSupported("The operator has allowed no places from which images come.")
        if self._locations.check(url).scheme not in ("http", "https"):
            raise BadRequest("Images are fetched over http and https only.")
        upload = await self.begin(who, ref, None, "importing")
        running = Deferred.fromCoroutine(self._import(upload, url))
        self._imports.add(running)

        def over(result: Any) -> None:
            self._imports.discard(running)
            if isinstance(result, Failure) and not result.check(CancelledError):
                self.log.failure("image.import_failed", result, image=upload.image.uuid)

        running.addBoth(over)

    async def _import(self, upload: Upload, url: str) -> None:
        assert self._fetcher is not None
        try:
            fetched = await self._fetcher.open(url)
            try:
                if fetched.size_bytes is not None:
                    # Refused now, not after it has come.
                    await self._database.transaction(
                        lambda tx: self._room(tx, upload.image, fetched.size_bytes or 0)
                    )
                while data := await fetched.read():
                    await upload.write(data)
                await upload.finish(Expected(fetched.size_bytes))
            finally:
                fetched.close()
        except Exception as error:
            await upload.fail(error)
            if not isinstance(error, CycladesError):
                raise
            self.log.info("image.not_imported", image=upload.image.uuid, reason=error.message)

    async def close(self) -> None:
        """End what is being fetched, whose images wait for bytes again, and leave the store."""
        running = list(self._imports)
        for each in running:
            each.cancel()
        await DeferredList(running, consumeErrors=True)
        if self.store is not None:
            self.store.close()

    # -- how they are given out ------------------------------------------------------------

    async def open(self, who: Who, ref: str) -> Opened | None:
        """The bytes of an image for somebody who sees it; None when we have none.

        :raise NotFound: when the caller sees no such image.
        :raise Forbidden: when it is deactivated.
        """
        row = await image_data.seen(self._database, who, ref)
        if row is None:
            raise NotFound(f"No image found with ID {ref}", "image")
        if row.status == "deactivated" and not who.admin:
            raise Forbidden("The requested image has been deactivated.")
        if row.object_name is None or row.status == "uploading" or self.store is None:
            return None
        return await self._opened(row)

    async def open_signed(self, uuid: str, expires: str, signature: str) -> Opened:
        """The bytes of an image for a cluster that was given a signed URL.

        :raise NotFound: when the signature does not hold, or the bytes are gone: the same words.
        """
        gone = NotFound("There is no image here (any more).", "image")
        if self._signer is None or not self._signer.holds(uuid, expires, signature):
            raise gone
        row = await image_data.with_object(self._database, uuid)
        if row is None or self.store is None:
            raise gone
        return await self._opened(row)

    async def _opened(self, row: Any) -> Opened:
        assert self.store is not None
        try:
            return Opened(await self.store.open(row.object_name), row.md5)
        except NoObject:
            self.log.error("image.object_missing", image=row.uuid)
            raise Unavailable("The data of this image cannot be read now.", 60) from None
