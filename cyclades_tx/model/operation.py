"""Operations: what is in motion, for how long, and by which words."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

PENDING = "pending"
SUBMITTING = "submitting"
SUBMITTED = "submitted"
SUCCEEDED = "succeeded"
FAILED = "failed"
CANCELED = "canceled"


@dataclass(frozen=True)
class Operation:
    """One thing in motion.

    :ivar kind: ``create``, ``delete``, ``start``, ``stop``, ``reboot``, ``make_network`` …
    :ivar state: ``pending`` (nothing was sent), ``submitting`` (a request may be on its way),
        ``submitted`` (the job is known), or one of the three ends.
    :ivar step: what is being done at the cluster now; ``attempt`` counts its tries that ended.
    :ivar failures: tries in a row that did not reach the cluster, for the back-off.
    """

    id: int
    kind: str
    state: str
    cluster_id: int
    deadline_at: datetime
    created_at: datetime
    uuid: str = ""
    server_id: int | None = None
    network_id: int | None = None
    project_id: str | None = None
    user_id: str | None = None
    request_id: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    step: str = ""
    attempt: int = 0
    reason: str = ""
    job_id: int | None = None
    failures: int = 0
    submitted_at: datetime | None = None
    volume_id: int | None = None

    def trail(self) -> str:
        """The text in the reason trail of the job of the present step and attempt."""
        return trail_of(self.id, self.step, self.attempt)


def trail_of(operation_id: int, step: str, attempt: int) -> str:
    """The text in the reason trail of a job, by which it is found again."""
    return f"cyclades:op:{operation_id}:{step}.{attempt}"


def backoff_seconds(failures: int, first: float, limit: float) -> float:
    """The pause before the next try: doubles from ``first`` up to ``limit`` seconds."""
    return min(limit, first * 2.0 ** min(max(failures - 1, 0), 30))
