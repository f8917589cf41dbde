"""What has been said about each opcode of the newest jobs, so that nothing is said twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Of so many jobs it is known; older ones could only be repeated, which harms nobody.
MOST_JOBS = 20_000
_MICROSECONDS = 1_000_000


@dataclass
class _Entry:
    """One job.

    :ivar received: in microseconds; the same id with another time is another job.
    :ivar marks: the last one of each opcode; "" for none.
    """

    received: int
    marks: list[str] = field(default_factory=list)
    ended: bool = False


@dataclass(frozen=True)
class Mark:
    """That something was said about an opcode.

    :ivar received: when its job was received, in microseconds; 0: it is not known.
    """

    job: int
    received: int
    index: int
    text: str


def microseconds(time: tuple[int, int] | None) -> int:
    """Return a job file's time as one number; 0 for none."""
    return time[0] * _MICROSECONDS + time[1] if time else 0


class Journal:
    """The marks, bounded."""

    def __init__(self, most: int = MOST_JOBS) -> None:
        self._most = most
        self._jobs: dict[int, _Entry] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def said(self, job: int, received: int, index: int) -> str:
        """Return the last mark of an opcode; "" when nothing was said about it."""
        entry = self._jobs.get(job)
        if entry is None or entry.received != received or index >= len(entry.marks):
            return ""
        return entry.marks[index]

    def record(self, mark: Mark) -> None:
        """Keep a mark in the place of the opcode's last one."""
        entry = self._jobs.get(mark.job)
        if entry is None or entry.received != mark.received:
            entry = self._jobs[mark.job] = _Entry(mark.received)
            self._prune()
        entry.marks.extend([""] * (mark.index + 1 - len(entry.marks)))
        entry.marks[mark.index] = mark.text
        entry.ended = False

    def end(self, job: int) -> None:
        """Take it that nothing more will happen to a job."""
        entry = self._jobs.get(job)
        if entry is not None:
            entry.ended = True

    def ended(self, job: int) -> bool:
        """Return whether everything was said about a job."""
        entry = self._jobs.get(job)
        return entry is not None and entry.ended

    def open(self) -> list[int]:
        """Return the jobs of which more is to come."""
        return [job for job, entry in self._jobs.items() if not entry.ended]

    def clear(self) -> None:
        """Forget everything, so that everything is said again."""
        self._jobs.clear()

    def document(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            str(job): [entry.received, entry.ended, entry.marks]
            for job, entry in self._jobs.items()
        }

    def load(self, document: Any) -> None:
        """Take what :meth:`document` returned.

        :raise ValueError: it is something else.
        """
        jobs = {}
        if not isinstance(document, dict):
            raise ValueError("not a journal")
        for job, entry in document.items():
            match entry:
                case [int(received), bool(ended), list(marks)] if all(
                    isinstance(mark, str) for mark in marks
                ):
                    jobs[int(job)] = _Entry(received, marks, ended)
                case _:
                    raise ValueError("not a journal")
        self._jobs = jobs
        self._prune()

    def _prune(self) -> None:
        if len(self._jobs) > self._most:
            # A tenth at once, so that sorting stays rare.
            for job in sorted(self._jobs)[: len(self._jobs) - self._most * 9 // 10]:
                del self._jobs[job]
