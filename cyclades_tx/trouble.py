"""Trouble that lasts: a reason is told once, however many keep failing for it, until it is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any

from twisted.logger import Logger


class Trouble:
    """What is wrong now with things that are tried again and again, by their keys.

    :param event: what the log calls it; its line has the field ``reason``.
    :param over: written when nothing has a reason any more that was told; empty: nothing is.
    """

    def __init__(self, log: Logger, event: str, over: str = "") -> None:
        self._log = log
        self._event = event
        self._over = over
        self._reasons: dict[Hashable, str] = {}
        self._having: Counter[str] = Counter()

    def tell(self, key: Hashable, reason: str, /, **fields: Any) -> None:
        """Say that something failed, as a warning if nothing else failed for the same reason."""
        known = reason in self._having
        if self._reasons.get(key) != reason:
            self._leave(key)
            self._reasons[key] = reason
            self._having[reason] += 1
        log = self._log.debug if known else self._log.warn
        log(self._event, reason=reason, **fields)

    def over(self, key: Hashable, /, **fields: Any) -> None:
        """Say that something has succeeded, or will not be tried any more."""
        if key in self._reasons:
            self._leave(key)
            if self._over and not self._reasons:
                self._log.info(self._over, **fields)

    def _leave(self, key: Hashable) -> None:
        reason = self._reasons.pop(key, None)
        if reason is not None:
            self._having[reason] -= 1
            if not self._having[reason]:
                del self._having[reason]
