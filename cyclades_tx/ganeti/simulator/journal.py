"""A file that holds a simulated cluster's state, and is right after ``kill -9``.

One JSON text a line: ``["instance", "snf-1", {…}]``, null when it is gone. Later lines
win; a last line that was cut off is ignored, since its reply was never sent. When the file
has grown to several times what it needs, it is written anew beside and renamed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import orjson

Key = tuple[str, str]

_FORMAT = 1


class JournalError(Exception):
    """The file is not a journal of this release."""


class Journal:
    """The lines of one state file.

    :param path: the file; its directory must exist. None keeps nothing.
    :param snapshot: gives all that is held, to write the file anew.
    :param sync: also survive a crash of the machine (fsync; slow).
    :param slack_bytes: how much the file may grow beyond twice its size when last rewritten.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        snapshot: Callable[[], Iterable[tuple[Key, Any]]],
        sync: bool = False,
        slack_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._path = None if path is None else os.fspath(path)
        self._snapshot = snapshot
        self._sync = sync
        self._slack = slack_bytes
        self._file: int | None = None
        self._size = 0
        self._base = 0
        self._dirty: dict[Key, Any] = {}

    def load(self) -> dict[Key, Any]:
        """Return the state in the file by kind and name, and open it for writing.

        :raise JournalError: when the file is something else.
        """
        if self._path is None:
            return {}
        state: dict[Key, Any] = {}
        try:
            with open(self._path, "rb") as file:
                lines = file.read().split(b"\n")
        except FileNotFoundError:
            lines = []
        for number, line in enumerate(lines[:-1]):  # what follows the last newline is cut off
            try:
                kind, name, value = orjson.loads(line)
            except ValueError:
                raise JournalError(f"{self._path}: line {number + 1} is not readable") from None
            if number == 0 and (kind, value) != ("format", _FORMAT):
                raise JournalError(f"{self._path} is not a simulator's state of this release")
            if value is None:
                state.pop((kind, name), None)
            else:
                state[kind, name] = value
        state.pop(("format", ""), None)
        return state

    def note(self, kind: str, name: str, value: Any) -> None:
        """Remember that this changed; it is written by the next :meth:`flush`."""
        if self._path is not None:
            self._dirty[kind, name] = value

    def flush(self) -> None:
        """Write what changed. Call it before any reply that tells of the change."""
        if not self._dirty or self._path is None:
            return
        dirty, self._dirty = self._dirty, {}
        if self._file is None or self._size > 2 * self._base + self._slack:
            self._rewrite()
        else:
            self._write(self._file, _lines(dirty.items()))

    def _rewrite(self) -> None:
        assert self._path is not None
        self.close()
        temporary = f"{self._path}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        file = os.open(temporary, flags, 0o600)
        self._size = 0
        try:
            self._write(file, orjson.dumps(["format", "", _FORMAT]) + b"\n")
            self._write(file, _lines(self._snapshot()))
            os.rename(temporary, self._path)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        self._base = self._size

    def _write(self, file: int, text: bytes) -> None:
        rest = memoryview(text)
        while rest:
            rest = rest[os.write(file, rest) :]
        self._size += len(text)
        if self._sync:
            os.fsync(file)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _lines(entries: Iterable[tuple[Key, Any]]) -> bytes:
    return b"".join(orjson.dumps([kind, name, value]) + b"\n" for (kind, name), value in entries)
