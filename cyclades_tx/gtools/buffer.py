"""Messages on their way, kept on disk until the broker has confirmed them, within a bound.

A folder of segments, each a text of JSON lines: a message with its mark for the journal, or the
number up to which everything was confirmed. A message and its mark are one line, so whatever
kills the process, what was said and what is to be sent agree; at most the last messages are sent
twice. Nothing waits for the disk (no fsync): when the machine itself fails, the last seconds are
gone from here, and are read from the job queue again.
"""

from __future__ import annotations

import fcntl
import os
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from twisted.logger import Logger

from cyclades_tx.gtools.journal import Journal, Mark

MAX_SEGMENT_BYTES = 1_048_576
_SEGMENTS = 8
_READ_BYTES = 262_144
_ACKNOWLEDGED = b'{"a":'


class BufferUnusable(Exception):
    """The folder cannot be used; the text says why."""


@dataclass(frozen=True)
class Entry:
    """A message that is to be sent."""

    number: int
    routing_key: str
    body: bytes


class _Message(msgspec.Struct):
    n: int
    k: str
    j: tuple[int, int, int, str]
    b: msgspec.Raw


class _Acknowledged(msgspec.Struct):
    a: int


class _Snapshot(msgspec.Struct):
    """The journal, and the numbers at that time: of the next message, of the last confirmed one."""

    next: int
    acknowledged: int
    jobs: Any


@dataclass
class _Segment:
    """:ivar last: the number of its last message; ``first - 1`` when there is none."""

    path: Path
    first: int
    last: int
    size: int


#: A segment and an offset in it.
_Place = tuple[_Segment, int]


class Buffer:
    """The messages in order, and the journal of what they say.

    :ivar dropped: how many were given up since the start, because there was no more room.
    """

    log = Logger()

    def __init__(self, folder: str | Path, max_bytes: int) -> None:
        self.journal = Journal()
        self.dropped = 0
        self.alive_at: float | None = None
        self._folder = Path(folder)
        self._max_bytes = max_bytes
        self._segment_bytes = min(MAX_SEGMENT_BYTES, max_bytes // _SEGMENTS)
        self._lock = -1
        self._file = -1
        self._segments: list[_Segment] = []
        self._next = 1
        self._acknowledged = self._written = 0
        self._cursor: _Place | None = None
        self._sent: OrderedDict[int, tuple[_Place, bool]] = OrderedDict()

    # Begin and end ------------------------------------------------------------------------

    def open(self) -> None:
        """Take the folder and read what is in it.

        :raise BufferUnusable: it cannot be written, or another process uses it.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(
                self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise BufferUnusable(f"{self._folder}: another process uses it") from None
        except OSError as error:
            self.close()
            raise BufferUnusable(f"{self._folder}: {error.strerror}") from None
        try:
            self._load()
            self._rotate()
            # What is confirmed already is passed over there.
            self._cursor = (self._segments[0], 0)
        except OSError as error:
            self.close()
            raise BufferUnusable(f"{self._folder}: {error.strerror}") from None

    def close(self) -> None:
        """Let go of the folder; what was not confirmed is sent after the next start."""
        if self._file >= 0:
            self.write_acknowledged()
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = -1

    def _load(self) -> None:
        paths = sorted(path for path in self._folder.glob("*.seg") if path.stem.isdecimal())
        with suppress(ValueError):
            self.alive_at = max(path.stat().st_mtime for path in paths)
        expected = self._load_snapshot()
        highest = 0
        for path in paths:
            segment = _Segment(path, int(path.stem), int(path.stem) - 1, path.stat().st_size)
            self._segments.append(segment)
            for line in path.read_bytes().split(b"\n"):
                segment.last = self._replay(line) or segment.last
            highest = max(highest, segment.last)
        self._next = max(highest + 1, expected)
        if highest + 1 < expected:
            self.log.warn("the last messages were lost with the machine: all jobs are told again")
            self.journal.clear()
        self._fold()

    def _load_snapshot(self) -> int:
        """Read the journal; return the number that the next message had then."""
        try:
            raw = (self._folder / "journal.json").read_bytes()
        except FileNotFoundError:
            return 1
        try:
            snapshot = msgspec.json.decode(raw, type=_Snapshot)
            self.journal.load(snapshot.jobs)
        except ValueError:
            self.log.warn("the journal cannot be read: all jobs are told again")
            return 1
        self._acknowledged = snapshot.acknowledged
        return snapshot.next

    def _replay(self, line: bytes) -> int:
        """Take one line; return its number if it is a message, else 0."""
        try:
            if line.startswith(_ACKNOWLEDGED):
                number = msgspec.json.decode(line, type=_Acknowledged).a
                self._acknowledged = max(self._acknowledged, number)
                return 0
            message = msgspec.json.decode(line, type=_Message)
        except (ValueError, RecursionError):
            return 0  # the end of a line that was being written
        self.journal.record(Mark(*message.j))
        return message.n

    # Messages -----------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many messages the broker has not confirmed."""
        return self._next - 1 - self._acknowledged

    def append(self, routing_key: str, body: bytes, mark: Mark) -> None:
        """Keep a message until it is confirmed.

        :raise OSError: there is no room on the disk; then it is as if it had not been said.
        """
        parts = (mark.job, mark.received, mark.index, mark.text)
        message = _Message(self._next, routing_key, parts, msgspec.Raw(body))
        self._write(msgspec.json.encode(message) + b"\n")
        self._segments[-1].last = self._next
        self._next += 1
        self.journal.record(mark)
        if self._segments[-1].size >= self._segment_bytes:
            with suppress(OSError):
                self._rotate()
            self._fold()
            self._bound()

    def take(self, most: int) -> list[Entry]:
        """Return the next messages that were not taken yet, in order."""
        found: list[Entry] = []
        while len(found) < most and self._cursor is not None:
            segment, offset = self._cursor
            lines = self._lines(segment, offset)
            for line in lines[: most - len(found)]:
                entry = None if line.startswith(_ACKNOWLEDGED) else _entry(line)
                if entry is not None and entry.number > self._acknowledged:
                    self._sent[entry.number] = ((segment, offset), False)
                    found.append(entry)
                offset += len(line)
            self._cursor = (segment, offset)
            if lines:
                continue
            place = self._segments.index(segment) + 1
            if place == len(self._segments):
                break
            self._cursor = (self._segments[place], 0)
        return found

    def rewind(self) -> None:
        """Have what was taken and not confirmed returned again, from the oldest on."""
        if self._sent:
            self._cursor = next(iter(self._sent.values()))[0]
            self._sent.clear()

    def acknowledge(self, number: int) -> None:
        """Take it that the broker has a message that was taken."""
        if number not in self._sent:
            return
        self._sent[number] = (self._sent[number][0], True)
        while self._sent:
            first, (_, confirmed) = next(iter(self._sent.items()))
            if not confirmed:
                break
            del self._sent[first]
            self._acknowledged = first
        self._fold()

    def write_acknowledged(self) -> None:
        """Write down what was confirmed; without this it would be sent again after a start."""
        if self._written < self._acknowledged:
            with suppress(OSError):
                self._write(msgspec.json.encode(_Acknowledged(self._acknowledged)) + b"\n")
                self._written = self._acknowledged

    def discard(self) -> int:
        """Give up everything that waits, as if none of it had been said; return how much it was."""
        waiting = self.waiting
        if waiting:
            self._sent.clear()
            self._acknowledged = self._next - 1
            self.journal.clear()
            with suppress(OSError):
                self._rotate()
            self._cursor = (self._segments[-1], self._segments[-1].size)
            self._fold()
        return waiting

    # Segments -----------------------------------------------------------------------------

    def _write(self, line: bytes) -> None:
        active = self._segments[-1]
        try:
            if os.write(self._file, line) != len(line):
                raise OSError("no room for a whole line")
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, active.size)
            raise
        active.size += len(line)

    def _rotate(self) -> None:
        """Begin a new segment; an old one may end within a line, and is never added to."""
        path = self._folder / f"{self._next:020d}.seg"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        if self._file >= 0:
            os.close(self._file)
        self._file = descriptor
        if self._segments and self._segments[-1].path == path:
            # Nothing but confirmations was in it, or the rest of a line.
            os.ftruncate(descriptor, 0)
            self._segments.pop()
        self._segments.append(_Segment(path, self._next, self._next - 1, 0))
        self._written = 0
        self.write_acknowledged()

    def _fold(self) -> None:
        """Remove the oldest segments of which everything is confirmed."""
        done = 0
        while done < len(self._segments) - 1 and self._segments[done].last <= self._acknowledged:
            done += 1
        if done and self._snapshot():
            self._remove(done)

    def _bound(self) -> None:
        """Give up the oldest segment when there is more than there may be."""
        while sum(each.size for each in self._segments) > self._max_bytes:
            if len(self._segments) == 1:
                return
            oldest = self._segments[0]
            lost = oldest.last - max(self._acknowledged, oldest.first - 1)
            self.dropped += lost
            self._acknowledged = max(self._acknowledged, oldest.last)
            for number in [each for each in self._sent if each <= oldest.last]:
                del self._sent[number]
            self._snapshot()
            self._remove(1)
            self.log.warn(
                "the buffer is full: {lost} old messages given up, {dropped} since the start",
                lost=lost,
                dropped=self.dropped,
            )

    def _remove(self, count: int) -> None:
        gone, self._segments = self._segments[:count], self._segments[count:]
        if self._cursor is not None and self._cursor[0] in gone:
            self._cursor = (self._segments[0], 0)
        for segment in gone:
            with suppress(OSError):
                segment.path.unlink()

    def _snapshot(self) -> bool:
        snapshot = _Snapshot(self._next, self._acknowledged, self.journal.document())
        new = self._folder / "journal.json.new"
        try:
            new.write_bytes(msgspec.json.encode(snapshot))
            new.replace(self._folder / "journal.json")
        except OSError as error:
            self.log.warn("the journal cannot be written: {error}", error=error.strerror)
            return False
        return True

    def _lines(self, segment: _Segment, offset: int) -> list[bytes]:
        """Return whole lines from an offset on; none at the end."""
        size = _READ_BYTES
        with open(segment.path, "rb") as file:
            while True:
                file.seek(offset)
                raw = file.read(size)
                whole = raw[: raw.rfind(b"\n") + 1]
                if whole or len(raw) < size:
                    return [line + b"\n" for line in whole.split(b"\n")[:-1]]
                size *= 2


def _entry(line: bytes) -> Entry | None:
    try:
        message = msgspec.json.decode(line, type=_Message)
    except (ValueError, RecursionError):
        return None
    return Entry(message.n, message.k, bytes(message.b))
