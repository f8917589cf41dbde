"""What a process remembers of the tokens that it has checked."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass

from cyclades_tx.model.who import Who

_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class _Entry:
    who: Who
    until_seconds: float


class TokenCache:
    """Answers by the hash of a token, the least recently used are forgotten first.

    :param most: the largest number of answers; 0: nothing is remembered.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        #: Counts what was forgotten. Whoever reads the database notes it before, and keeps
        #: the answer only if it is still the same: it may be older than the news.
        self.generation = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, token_hash: bytes, now_seconds: float) -> Who | None:
        """The answer, if there is one that may still be used."""
        entry = self._entries.get(token_hash)
        if entry is None:
            return None
        if entry.until_seconds <= now_seconds:
            del self._entries[token_hash]
            return None
        self._entries.move_to_end(token_hash)
        return entry.who

    def put(self, token_hash: bytes, who: Who, until_seconds: float, generation: int) -> None:
        """Remember an answer.

        :param until_seconds: on the clock that ``get`` is asked with.
        :param generation: what ``generation`` was before the answer was read.
        """
        if generation != self.generation or self._most <= 0:
            return
        self._entries[token_hash] = _Entry(who, until_seconds)
        self._entries.move_to_end(token_hash)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def forget(self, what: str) -> None:
        """Forget what a notification says has changed.

        :param what: a token's hash in hex, ``user:ID``, ``project:ID``; anything else: all.
        """
        self.generation += 1
        kind, _, value = what.partition(":")
        if kind == "user" and value:
            self._drop({key for key, entry in self._entries.items() if entry.who.user_id == value})
        elif kind == "project" and value:
            self._drop(
                {key for key, entry in self._entries.items() if entry.who.project_id == value}
            )
        elif _HASH.fullmatch(what):
            self._entries.pop(bytes.fromhex(what), None)
        else:
            self._entries.clear()

    def forget_all(self) -> None:
        """Forget everything."""
        self.generation += 1
        self._entries.clear()

    def _drop(self, keys: set[bytes]) -> None:
        for key in keys:
            del self._entries[key]
