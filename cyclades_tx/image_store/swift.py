"""An OpenStack Object Storage as the store of images.

::

    CONTAINER/owner                    the database whose images these are
    CONTAINER/incoming/NAME            an empty mark: this object is being written
    CONTAINER/segments/NAME/NNNNNN     its bytes, in objects of one size
    CONTAINER/objects/NAME             the manifest (a static large object) of a whole one

An object is there when its manifest is, and that is written last; so a process that is killed
leaves segments that are known to be none. Bytes are streamed in and out: nothing larger than a
few pieces is ever kept here, and what was cut in the middle is not sent again.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import md5
from typing import Any

from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.logger import Logger
from zope.interface import implementer

from cyclades_tx.errors import ConfigError, CycladesError, Unavailable
from cyclades_tx.image_store.hashing import Hashing
from cyclades_tx.image_store.interfaces import (
    IImageStore,
    IUpload,
    Kept,
    NoObject,
    StoreFull,
    Sums,
    checked,
)
from cyclades_tx.image_store.object_bodies import Put
from cyclades_tx.image_store.object_wire import ObjectWire
from cyclades_tx.image_store.swift_reader import Segment, SwiftReader
from cyclades_tx.image_store.threads import Threads
from cyclades_tx.image_store.together import Together

#: Most segments of an image: what Swift takes for one manifest unless it is told otherwise.
MOST_SEGMENTS = 1000
_OWNER = "owner"
_INCOMING = "incoming"
_SEGMENTS = "segments"
_OBJECTS = "objects"
#: How many requests of one removal are made at once.
_AT_ONCE = 8
#: How many names a list has at once; a Swift gives ten thousand at most.
_PAGE = 1000


@implementer(IImageStore)
class SwiftImageStore:
    """Objects in one container of an Object Storage.

    :param wire: speaks to the account.
    :param container: made when it is missing.
    :param segment_bytes: how large a segment is; an image has at most a thousand.
    :param threads: compute checksums.
    """

    log = Logger()

    def __init__(
        self, wire: ObjectWire, container: str, segment_bytes: int, threads: Threads
    ) -> None:
        self.wire = wire
        self.threads = threads
        self.segment_bytes = segment_bytes
        self._container = container
        self._identity: str | None = None
        self._ready = False
        self._together = Together()
        #: How many read an object in this process, and what goes when they have read it.
        self._readers: Counter[str] = Counter()
        self._leaving: set[str] = set()

    async def prepare(self, identity: str) -> None:
        """See whether we are let in, and whose the container is.

        Where the Object Storage does not answer now, that is seen when something is asked of it.
        """
        self._identity = identity
        self._ready = False
        try:
            await self.wire.log_in()
            await self._prepared()
        except Unavailable as error:
            self.log.warn("image.store_refused", reason=error.message)

    async def begin(self, name: str, expected_bytes: int | None = None) -> SwiftUpload:
        """Begin an object."""
        path = self.path(_INCOMING, checked(name))
        await self._usable()
        if expected_bytes is not None:
            await self._room(expected_bytes)
        there = await self.wire.ask("HEAD", self.path(_OBJECTS, name), (200, 404))
        if there.status == 200:
            raise FileExistsError(name)
        new = {"If-None-Match": "*"}
        answer = await self.wire.ask("PUT", path, (201, 412), headers=new, once=True)
        if answer.status == 412:
            raise FileExistsError(name)
        return SwiftUpload(self, name)

    async def open(self, name: str) -> SwiftReader:
        """Open an object."""
        path = self.path(_OBJECTS, checked(name))
        await self._usable()
        if name in self._leaving:
            raise NoObject("There is no such object.", "image")
        # Counted before it is there: whoever removes it now leaves the segments to us.
        self._readers[name] += 1
        try:
            answer = await self.wire.ask("GET", path, (200, 404), {"multipart-manifest": "get"})
            if answer.status == 404:
                raise NoObject("There is no such object.", "image")
            return SwiftReader(self, name, self._read_manifest(answer.body))
        except BaseException:
            await self.read_to_its_end(name)
            raise

    async def remove(self, name: str) -> bool:
        """Remove an object, or what was written of one.

        What is being read by this process keeps its segments until it was read.
        """
        places = [self.path(kind, checked(name)) for kind in (_OBJECTS, _INCOMING)]
        await self._usable()
        if name in self._leaving:
            return False
        found = await self._delete(places[0])
        if self._readers[name]:
            self._leaving.add(name)
        else:
            found |= await self.remove_segments(name)
        # The mark goes last: as long as something is left, so is a word of it.
        return await self._delete(places[1]) or found

    async def kept(self) -> list[Kept]:
        """Everything that has an object's name; a process that was killed leaves segments."""
        await self._usable()
        found: dict[str, Kept] = {}
        for each in await self._list(f"{_SEGMENTS}/", "/"):
            _note(found, str(each.get("subdir", "")).rstrip("/"), False, 0.0)
        for each in await self._list(f"{_INCOMING}/"):
            _note(found, str(each.get("name", "")), False, _posix(each))
        for each in await self._list(f"{_OBJECTS}/"):
            _note(found, str(each.get("name", "")), True, _posix(each))
        return [found[name] for name in sorted(found) if name not in self._leaving]

    def close(self) -> None:
        """End the threads; connections end with what uses them."""
        self.threads.close()

    # -- for what is written and read ------------------------------------------------------

    def path(self, *parts: str) -> str:
        """The path of an object of the Object Storage."""
        return "/".join((self._container, *parts))

    def segment(self, name: str, number: int) -> str:
        """The path of a segment, below the container."""
        return f"{_SEGMENTS}/{name}/{number:06}"

    async def write_manifest(self, name: str, segments: list[Segment]) -> None:
        """Make an object whole."""
        path = self.path(_OBJECTS, name)
        if not segments:
            # A large object has one byte at least.
            await self.wire.ask("PUT", path, (201,))
            return
        parts = [
            {"path": "/" + self.path(each.path), "etag": each.md5, "size_bytes": each.size_bytes}
            for each in segments
        ]
        said = {"multipart-manifest": "put"}
        await self.wire.ask("PUT", path, (201,), said, body=json.dumps(parts).encode())

    async def unmark(self, name: str) -> None:
        """An object is not being written any more."""
        await self._delete(self.path(_INCOMING, name))

    async def remove_segments(self, name: str) -> bool:
        """Remove the bytes of an object; whether there were any."""
        found = await self._list(f"{_SEGMENTS}/{name}/")
        paths = [self.path(str(each.get("name", ""))) for each in found]
        for first in range(0, len(paths), _AT_ONCE):
            batch = [ensureDeferred(self._delete(each)) for each in paths[first : first + _AT_ONCE]]
            ends: Any = await DeferredList(batch, consumeErrors=True)
            for done, result in ends:
                if not done:
                    result.raiseException()
        return bool(paths)

    async def read_to_its_end(self, name: str) -> None:
        """One reader less."""
        self._readers[name] -= 1
        if self._readers[name] > 0:
            return
        del self._readers[name]
        if name in self._leaving:
            try:
                # Segments without a manifest are swept up, if this fails.
                with suppress(CycladesError):
                    await self.remove_segments(name)
            finally:
                self._leaving.discard(name)

    # -- whose it is -----------------------------------------------------------------------

    async def _usable(self) -> None:
        """Be prepared; what is wrong now was right, or not there, when the service began.

        :raise Unavailable: the operator finds why in the log.
        """
        try:
            await self._prepared()
        except ConfigError as error:
            self.log.warn("image.store_refused", reason=error.message)
            raise Unavailable("The store of images cannot be used now.", 60) from None

    async def _prepared(self) -> None:
        """See once whose the container is.

        :raise ConfigError: when it is another database's.
        """
        if not self._ready:
            await self._together.run(lambda: not self._ready, self._take_possession)

    async def _take_possession(self) -> None:
        mark, identity = self.path(_OWNER), self._identity
        if identity is None:
            raise Unavailable("The store of images is not ready yet; try again.")
        answer = await self.wire.ask("GET", mark, (200, 404))
        if answer.status == 404:
            await self.wire.ask("PUT", self._container, (201, 202, 204))
            new = {"If-None-Match": "*"}
            body = identity.encode()
            made = await self.wire.ask("PUT", mark, (201, 412), headers=new, body=body, once=True)
            if made.status == 201:
                self._ready = True
                return
            answer = await self.wire.ask("GET", mark, (200,))
        if answer.body.decode("ascii", "replace").strip() != identity:
            raise ConfigError(
                f"swift.container: {self._container} holds the images of another database; if that"
                " one is gone, remove the object owner there"
            )
        self._ready = True

    async def _room(self, expected_bytes: int) -> None:
        """Refuse what does not fit: into a manifest, or into a quota that was set there."""
        full = StoreFull("There is no room for more images; tell the operator.", 60)
        if expected_bytes > MOST_SEGMENTS * self.segment_bytes:
            raise full
        for path, kind in (("", "account"), (self._container, "container")):
            answer = await self.wire.ask("HEAD", path, (200, 204))
            quota = answer.headers.get(f"x-{kind}-meta-quota-bytes", "")
            used = answer.headers.get(f"x-{kind}-bytes-used", "")
            known = quota.isdecimal() and used.isdecimal()
            if known and int(used) + expected_bytes > int(quota):
                raise full

    async def _delete(self, path: str) -> bool:
        # With a manifest this removes the manifest alone.
        return (await self.wire.ask("DELETE", path, (200, 204, 404))).status != 404

    async def _list(self, prefix: str, delimiter: str = "") -> list[dict[str, Any]]:
        """What the container has below a prefix."""
        found: list[dict[str, Any]] = []
        query = {"format": "json", "limit": str(_PAGE), "prefix": prefix}
        if delimiter:
            query["delimiter"] = delimiter
        while True:
            answer = await self.wire.ask("GET", self._container, (200, 204, 404), query)
            try:
                page = json.loads(answer.body) if answer.status == 200 else []
                query["marker"] = _name(page[-1]) if page else ""
            except (ValueError, TypeError, KeyError, AttributeError):
                raise Unavailable("The store of images does not answer now.", 60) from None
            found += page
            if len(page) < _PAGE:
                return found

    def _read_manifest(self, text: bytes) -> list[Segment]:
        """The segments of a whole object.

        :raise Unavailable: when it is no manifest of ours.
        """
        if not text:
            return []
        begin = f"/{self._container}/"
        try:
            return [
                Segment(str(each["name"]).removeprefix(begin), int(each["bytes"]), each["hash"])
                for each in json.loads(text)
            ]
        except (ValueError, TypeError, KeyError):
            raise Unavailable("The store of images does not answer now.", 60) from None


@implementer(IUpload)
class SwiftUpload:
    """An object on its way."""

    def __init__(self, store: SwiftImageStore, name: str) -> None:
        self._store = store
        self._name = name
        self._hashing = Hashing()
        self._segments: list[Segment] = []
        self._put: Put | None = None
        self._hash: Any = None
        self._size_bytes = 0
        self._cancelled = False

    async def write(self, data: bytes) -> None:
        """Append bytes: they are sent and hashed at the same time."""
        place = 0
        while place < len(data):
            if self._put is None:
                await self._begin_segment()
            most = self._store.segment_bytes - self._size_bytes
            piece = data[place : place + most]
            place += len(piece)
            hashed = ensureDeferred(self._store.threads.run(self._update, piece))
            try:
                assert self._put is not None
                await self._put.write(piece)
            finally:
                await hashed
            self._size_bytes += len(piece)
            if self._size_bytes == self._store.segment_bytes:
                await self._end_segment()

    async def finish(self) -> Sums:
        """Write the manifest."""
        if self._cancelled:
            raise Unavailable("This upload was given up; send the data again.")
        if self._put is not None:
            await self._end_segment()
        await self._store.write_manifest(self._name, self._segments)
        # It is whole; a mark that stays goes with it one day.
        with suppress(Unavailable):
            await self._store.unmark(self._name)
        return self._hashing.sums()

    async def cancel(self) -> None:
        """Let nothing of it remain; what cannot be removed now is swept up later."""
        self._cancelled = True
        put, self._put = self._put, None
        if put is not None:
            put.abort()
        try:
            await self._store.remove(self._name)
        except CycladesError:
            return

    async def _begin_segment(self) -> None:
        if len(self._segments) == MOST_SEGMENTS:
            raise StoreFull("There is no room for an image of this size; tell the operator.", 60)
        path = self._store.segment(self._name, len(self._segments))
        self._put = await self._store.wire.put(self._store.path(path))
        self._hash = md5(usedforsecurity=False)
        self._size_bytes = 0

    async def _end_segment(self) -> None:
        put, self._put = self._put, None
        assert put is not None
        answer = await put.finish()
        digest = self._hash.hexdigest()
        if answer.headers.get("etag", digest).strip('"') != digest:
            raise Unavailable("The store of images has got other data; send them again.", 60)
        path = self._store.segment(self._name, len(self._segments))
        self._segments.append(Segment(path, self._size_bytes, digest))

    def _update(self, data: bytes) -> None:
        self._hashing.update(data)
        self._hash.update(data)


def _note(found: dict[str, Kept], path: str, whole: bool, changed_at: float) -> None:
    """Write down what the container has, if it is an object's."""
    try:
        name = checked(path.rpartition("/")[2])
    except ValueError:
        return
    found[name] = Kept(name, whole, changed_at)


def _name(entry: dict[str, Any]) -> str:
    return str(entry["name"] if "name" in entry else entry["subdir"])


def _posix(entry: dict[str, Any]) -> float:
    """When an object was changed, in seconds of POSIX; Swift writes UTC without saying so."""
    try:
        found = datetime.fromisoformat(str(entry["last_modified"]))
    except (KeyError, ValueError):
        return 0.0
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
