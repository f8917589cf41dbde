"""A store in memory: the double of the real one, which passes the same contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from zope.interface import implementer

from cyclades_tx.errors import ConfigError
from cyclades_tx.image_store.hashing import Hashing
from cyclades_tx.image_store.interfaces import (
    IImageStore,
    IReader,
    IUpload,
    Kept,
    NoObject,
    StoreFull,
    Sums,
    checked,
)


@dataclass
class _Bytes:
    changed_at: float
    whole: bool = False
    data: bytearray = field(default_factory=bytearray)


@implementer(IImageStore)
class MemoryImageStore:
    """Objects in memory.

    :param now: the time in seconds of POSIX.
    :param room_bytes: how much it holds; it may be changed.
    """

    def __init__(self, now: Callable[[], float], room_bytes: int = 2**40) -> None:
        self._now = now
        self.room_bytes = room_bytes
        self._held: dict[str, _Bytes] = {}
        self._identity: str | None = None

    async def prepare(self, identity: str) -> None:
        """Remember whose store it is."""
        if self._identity not in (None, identity):
            raise ConfigError("The store of images belongs to another database.")
        self._identity = identity

    async def begin(self, name: str, expected_bytes: int | None = None) -> MemoryUpload:
        """Begin an object."""
        if checked(name) in self._held:
            raise FileExistsError(name)
        self.make_room(expected_bytes or 0)
        held = self._held[name] = _Bytes(self._now())
        return MemoryUpload(self, name, held)

    async def open(self, name: str) -> MemoryReader:
        """Open an object."""
        held = self._held.get(checked(name))
        if held is None or not held.whole:
            raise NoObject("There is no such object.", "image")
        return MemoryReader(bytes(held.data))

    async def remove(self, name: str) -> bool:
        """Remove what has this name."""
        return self._held.pop(checked(name), None) is not None

    async def kept(self) -> list[Kept]:
        """Everything, by name."""
        return [
            Kept(name, held.whole, held.changed_at) for name, held in sorted(self._held.items())
        ]

    def close(self) -> None:
        """Nothing is held open."""

    def make_room(self, size_bytes: int) -> None:
        """Refuse what does not fit."""
        used = sum(len(held.data) for held in self._held.values())
        if used + size_bytes > self.room_bytes:
            raise StoreFull("There is no room for more images; tell the operator.", 60)


@implementer(IUpload)
class MemoryUpload:
    """An object on its way."""

    def __init__(self, store: MemoryImageStore, name: str, held: _Bytes) -> None:
        self._store = store
        self._name = name
        self._held = held
        self._hashing = Hashing()

    async def write(self, data: bytes) -> None:
        """Append bytes."""
        self._store.make_room(len(data))
        self._held.data += data
        self._hashing.update(data)

    async def finish(self) -> Sums:
        """Make it an object."""
        self._held.whole = True
        return self._hashing.sums()

    async def cancel(self) -> None:
        """Forget it."""
        await self._store.remove(self._name)


@implementer(IReader)
class MemoryReader:
    """An object that is being read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size_bytes = len(data)

    async def read(self, offset: int, most: int) -> bytes:
        """Bytes from a place on."""
        return self._data[offset : offset + most]

    async def close(self) -> None:
        """Nothing is held open."""
