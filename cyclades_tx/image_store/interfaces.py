"""The door to where the bytes of images lie: a store of objects that are written once.

An object's name is chosen by the caller, made of 32 hexadecimal digits, and never used twice;
nothing that a user says becomes part of it. An object is there as a whole or not at all:
what is being written is seen only as a leftover, by whoever cleans up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from zope.interface import Attribute, Interface

from cyclades_tx.errors import NotFound, Unavailable

_NAME = re.compile(r"[0-9a-f]{32}")


class StoreFull(Unavailable):
    """There is no room for more bytes."""

    code = "store_full"


class NoObject(NotFound):
    """There is no object of that name."""

    code = "no_object"


@dataclass(frozen=True)
class Sums:
    """What is known of an object when it is whole.

    :ivar md5: in hexadecimal digits, as clients know it by the name ``checksum``.
    :ivar sha512: in hexadecimal digits.
    """

    size_bytes: int
    md5: str
    sha512: str


@dataclass(frozen=True)
class Kept:
    """Something that the store holds.

    :ivar whole: whether it is an object; else it is what was written of one.
    :ivar changed_at: when it was last written, in seconds of POSIX.
    """

    name: str
    whole: bool
    changed_at: float


class IUpload(Interface):
    """An object that is being written; one call at a time."""

    async def write(data: bytes) -> None:
        """Append bytes; they are hashed on the way.

        :raise StoreFull: when there is no room.
        """

    async def finish() -> Sums:
        """Make it an object that outlives a loss of power."""

    async def cancel() -> None:
        """Let nothing of it remain; never raises, also after ``finish`` or a failure."""


class IReader(Interface):
    """An object that is being read; it stays readable when this process removes it meanwhile."""

    size_bytes = Attribute("How long it is.")

    async def read(offset: int, most: int) -> bytes:
        """Bytes from a place on, fewer than ``most`` only at the end."""

    async def close() -> None:
        """Let go of it."""


class IImageStore(Interface):
    """Where objects lie."""

    async def prepare(identity: str) -> None:
        """Get ready; what belongs to another database is left alone.

        :param identity: of the database whose images these are.
        :raise ConfigError: when the store cannot be used.
        """

    async def begin(name: str, expected_bytes: int | None = None) -> IUpload:
        """Begin an object.

        :param expected_bytes: how long it will be, where that is known.
        :raise StoreFull: when there is no room for it.
        """

    async def open(name: str) -> IReader:
        """Open an object.

        :raise NoObject: when there is none.
        """

    async def remove(name: str) -> bool:
        """Remove an object, or what was written of one; whether there was something."""

    async def kept() -> list[Kept]:
        """Everything that the store holds."""

    def close() -> None:
        """Let go of everything, after what runs."""


def checked(name: str) -> str:
    """The name, if it is one.

    :raise ValueError: when it is not.
    """
    if not _NAME.fullmatch(name):
        raise ValueError("not the name of an object")
    return name
