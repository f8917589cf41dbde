"""The usual store: a directory, on a disk of this machine or shared by several.

::

    DIRECTORY/owner           the database whose images these are
    DIRECTORY/incoming/NAME   what is being written
    DIRECTORY/objects/NN/NAME whole objects, NN being the first two digits of the name

An object is written under ``incoming``, reaches the disk, and is then moved to its place, so
that a process that is killed, or a machine that loses power, leaves a whole object or a file
that is known to be none. Everything that may wait for a disk runs in threads of the store's own.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from zope.interface import implementer

from cyclades_tx.errors import ConfigError, Unavailable
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
from cyclades_tx.image_store.threads import Threads

T = TypeVar("T")

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OWNER = "owner"
_INCOMING = "incoming"
_OBJECTS = "objects"


@implementer(IImageStore)
class DirectoryImageStore:
    """Objects as files.

    :param reactor: provides IReactorThreads.
    :param threads: how much is written and read at once.
    """

    def __init__(self, reactor: Any, directory: str | os.PathLike[str], threads: int = 4) -> None:
        self._root = Path(directory)
        self._threads = Threads(reactor, threads)

    async def prepare(self, identity: str) -> None:
        """Make what is missing, and see whose it is."""
        try:
            await self.in_thread(self._prepare, identity)
        except OSError as error:
            raise ConfigError(f"image.directory: {self._root}: {error.strerror}") from None

    async def begin(self, name: str, expected_bytes: int | None = None) -> DirectoryUpload:
        """Begin an object."""
        path = self._root / _INCOMING / checked(name)
        descriptor = await self._saying(self._create, path, expected_bytes)
        return DirectoryUpload(self, path, self.place(name), descriptor)

    async def open(self, name: str) -> DirectoryReader:
        """Open an object."""
        try:
            descriptor, size_bytes = await self.in_thread(_open, self.place(checked(name)))
        except FileNotFoundError:
            raise NoObject("There is no such object.", "image") from None
        except OSError as error:
            raise _told(error) from error
        return DirectoryReader(self, descriptor, size_bytes)

    async def remove(self, name: str) -> bool:
        """Remove an object, or what was written of one."""
        places = (self.place(checked(name)), self._root / _INCOMING / name)
        return await self._saying(_remove, *places)

    async def kept(self) -> list[Kept]:
        """Everything that has an object's name."""
        return await self._saying(self._kept)

    def close(self) -> None:
        """End the threads; what runs is waited for."""
        self._threads.close()

    def place(self, name: str) -> Path:
        """Where an object lies when it is whole."""
        return self._root / _OBJECTS / name[:2] / name

    async def in_thread(self, work: Callable[..., T], *args: Any) -> T:
        """Do something in one of the store's threads."""
        return await self._threads.run(work, *args)

    async def _saying(self, work: Callable[..., T], *args: Any) -> T:
        try:
            return await self.in_thread(work, *args)
        except OSError as error:
            raise _told(error) from error

    # -- in a thread ---------------------------------------------------------------------

    def _prepare(self, identity: str) -> None:
        self._root.mkdir(mode=0o700, exist_ok=True)
        for name in (_INCOMING, _OBJECTS):
            (self._root / name).mkdir(mode=0o700, exist_ok=True)
        mark = self._root / _OWNER
        try:
            with open(mark, "x", encoding="ascii") as file:
                file.write(identity + "\n")
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            owner = mark.read_text(encoding="ascii", errors="replace").strip()
            # Empty: the process that made it was killed before it wrote.
            if owner not in ("", identity):
                raise ConfigError(
                    f"image.directory: {self._root} holds the images of another database; if that"
                    " one is gone, remove the file owner there"
                ) from None
            if not owner:
                mark.write_text(identity + "\n", encoding="ascii")

    def _create(self, path: Path, expected_bytes: int | None) -> int:
        if expected_bytes is not None:
            state = os.statvfs(path.parent)
            if state.f_bavail * state.f_frsize < expected_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(path, flags, 0o600)

    def _kept(self) -> list[Kept]:
        found = []
        folders = [(self._root / _INCOMING, False)]
        folders += [(Path(each), True) for each in _folders(self._root / _OBJECTS)]
        for folder, whole in folders:
            with os.scandir(folder) as entries:
                for entry in entries:
                    try:
                        name = checked(entry.name)
                        state = entry.stat(follow_symlinks=False)
                    except (ValueError, FileNotFoundError):
                        continue
                    found.append(Kept(name, whole, state.st_mtime))
        return sorted(found, key=lambda each: each.name)


@implementer(IUpload)
class DirectoryUpload:
    """An object on its way."""

    def __init__(
        self, store: DirectoryImageStore, path: Path, place: Path, descriptor: int
    ) -> None:
        self._store = store
        self._path = path
        self._place = place
        self._descriptor = descriptor
        self._hashing = Hashing()

    async def write(self, data: bytes) -> None:
        """Append bytes."""
        try:
            await self._store.in_thread(self._write, data)
        except OSError as error:
            raise _told(error) from error

    async def finish(self) -> Sums:
        """Bring it to the disk, and to its place."""
        try:
            return await self._store.in_thread(self._finish)
        except OSError as error:
            raise _told(error) from error

    async def cancel(self) -> None:
        """Let nothing of it remain; what cannot be removed now is swept up later."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        try:
            await self._store.in_thread(_remove, self._path, self._place)
        except (OSError, Unavailable):
            return

    # -- in a thread ---------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._hashing.update(data)

    def _finish(self) -> Sums:
        os.fsync(self._descriptor)
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)
        self._place.parent.mkdir(mode=0o700, exist_ok=True)
        os.rename(self._path, self._place)
        for folder in (self._place.parent, self._place.parent.parent, self._path.parent):
            _to_disk(folder)
        return self._hashing.sums()


@implementer(IReader)
class DirectoryReader:
    """An object that is being read."""

    def __init__(self, store: DirectoryImageStore, descriptor: int, size_bytes: int) -> None:
        self._store = store
        self._descriptor = descriptor
        self.size_bytes = size_bytes

    async def read(self, offset: int, most: int) -> bytes:
        """Bytes from a place on."""
        try:
            return await self._store.in_thread(os.pread, self._descriptor, most, offset)
        except OSError as error:
            raise _told(error) from error

    async def close(self) -> None:
        """Let go of it; nothing reads from it any more."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _told(error: OSError) -> Unavailable:
    """What a person is told of an error of the disk: no path."""
    if error.errno in _FULL:
        return StoreFull("There is no room for more images; tell the operator.", 60)
    return Unavailable(f"The store of images does not work now: {error.strerror}.", 60)


def _open(path: Path) -> tuple[int, int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    return descriptor, os.fstat(descriptor).st_size


def _remove(*paths: Path) -> bool:
    found = False
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue
        found = True
    return found


def _folders(path: Path) -> list[str]:
    with os.scandir(path) as entries:
        return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def _to_disk(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
