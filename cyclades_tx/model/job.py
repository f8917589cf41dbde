"""Ganeti jobs as this service sees them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class JobStatus(StrEnum):
    """The status words of Ganeti's job queue (one ``l`` in canceled)."""

    QUEUED = "queued"
    WAITING = "waiting"
    CANCELING = "canceling"
    RUNNING = "running"
    CANCELED = "canceled"
    SUCCESS = "success"
    ERROR = "error"
    #: Not a Ganeti word: the queue has no such job (RAPI answers with a null status).
    UNKNOWN = "unknown"

    @property
    def final(self) -> bool:
        """Whether nothing more happens in a job with this status."""
        return self in (JobStatus.CANCELED, JobStatus.SUCCESS, JobStatus.ERROR, JobStatus.UNKNOWN)


_NO_ROOM = "No valid host was found (not enough resources are free)."


@dataclass(frozen=True)
class Job:
    """One job of a cluster's queue, at the moment of looking.

    :ivar id: the number that Ganeti gave it.
    :ivar status: where it stands.
    :ivar message: the first error text of its results (HTML entities undone), or "".
    :ivar error_code: Ganeti's code of that error (``unknown_entity``, ``already_exists`` …), or "".
    :ivar reasons: the texts of the ``gnt:user`` entries of its reason trail; ours is
        ``cyclades:op:<operation id>``. Empty when the look did not ask for them.
    :ivar summary: such as ``INSTANCE_CREATE(snf-42)``.
    :ivar log: the newest log line, or "".
    :ivar ended_at: the end by the cluster's clock, aware UTC, or None.
    :ivar told: whether this is what a message said, and not the cluster itself.
    :ivar pending_restart: whether it changed a running machine's devices and the machine took no
        notice: the change has its effect at the next start.
    """

    id: int
    status: JobStatus
    message: str = ""
    error_code: str = ""
    reasons: tuple[str, ...] = ()
    summary: str = ""
    log: str = ""
    ended_at: datetime | None = None
    told: bool = False
    pending_restart: bool = False

    @property
    def short(self) -> bool:
        """Whether its message tells what is free on which node, which is nothing for users."""
        return self.error_code in ("insufficient_resources", "temp_insufficient_resources")

    @property
    def owner_message(self) -> str:
        """The message as the owner of what it was for is told it."""
        return _NO_ROOM if self.short else self.message
