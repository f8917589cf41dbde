"""An image that is read from an Object Storage, segment by segment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from zope.interface import implementer

from cyclades_tx.errors import Unavailable
from cyclades_tx.image_store.interfaces import IReader
from cyclades_tx.image_store.object_wire import ObjectWire, Streamed
from cyclades_tx.image_store.pieces import CutOff

#: How often a read is begun again that was cut before anything came.
_TRIES = 3


@dataclass(frozen=True)
class Segment:
    """A part of an object.

    :ivar path: below the container.
    """

    path: str
    size_bytes: int
    md5: str


class Origin(Protocol):
    """The store from which an object is read."""

    wire: ObjectWire

    def path(self, *parts: str) -> str:
        """The path of an object of the Object Storage."""

    async def read_to_its_end(self, name: str) -> None:
        """One reader less."""


@implementer(IReader)
class SwiftReader:
    """An object that is being read: one request for each segment, as long as one reads on."""

    def __init__(self, store: Origin, name: str, segments: list[Segment]) -> None:
        self._store = store
        self._name = name
        self._segments = segments
        self.size_bytes = sum(each.size_bytes for each in segments)
        self._stream: Streamed | None = None
        #: From where the next byte of the stream is, and what came of it too early.
        self._place = 0
        self._rest = b""
        self._closed = False

    async def read(self, offset: int, most: int) -> bytes:
        """Bytes from a place on."""
        end = min(offset + most, self.size_bytes)
        parts: list[bytes] = []
        while offset < end:
            data = await self._piece(offset, end)
            offset += len(data)
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def close(self) -> None:
        """Let go of it."""
        if not self._closed:
            self._closed = True
            self._leave()
            await self._store.read_to_its_end(self._name)

    async def _piece(self, offset: int, end: int) -> bytes:
        """Some bytes at a place, from one segment.

        :raise Unavailable: when they cannot be had.
        """
        first, segment = self._segment(offset)
        end = min(end, first + segment.size_bytes)
        if self._place != offset:
            self._leave()
        for _ in range(_TRIES):
            if not self._rest:
                try:
                    if self._stream is None:
                        path = self._store.path(segment.path)
                        self._stream = await self._store.wire.stream(path, offset - first)
                    # An end that comes too early gives nothing.
                    self._rest = await self._stream.read(min(end - offset, 262_144))
                except CutOff:
                    pass
            if self._rest:
                data, self._rest = self._rest[: end - offset], self._rest[end - offset :]
                self._place = offset + len(data)
                if self._place == first + segment.size_bytes:
                    self._leave()
                return data
            self._leave()
        raise Unavailable("The data of this image cannot be read now.", 60)

    def _segment(self, offset: int) -> tuple[int, Segment]:
        """The segment that has a place, and where it begins."""
        first = 0
        for each in self._segments:
            if offset < first + each.size_bytes:
                return first, each
            first += each.size_bytes
        raise ValueError("behind the end")

    def _leave(self) -> None:
        stream, self._stream = self._stream, None
        self._rest = b""
        if stream is not None:
            stream.close()
