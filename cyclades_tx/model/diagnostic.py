"""Diagnostics: what the making of a server says of itself on the way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


@dataclass(frozen=True)
class Diagnostic:
    """One line of a build's diary.

    :ivar source: who says it: ``image-info``, ``image-helper-task-start`` …
    :ivar details: longer text, such as what a program wrote on standard error; None: none.
    :ivar source_at: when it was said, by the clock of the node where the image is written.
    """

    server_id: int
    level: Level
    source: str
    message: str
    details: str | None = None
    source_at: datetime | None = None
