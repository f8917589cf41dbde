"""Identity in a dictionary, for tests of everything that only asks who is behind a token."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from cyclades_tx.errors import Unauthorized
from cyclades_tx.identity.interfaces import IIdentity
from cyclades_tx.identity.tokens import hash_of, new_token
from cyclades_tx.model.who import Who


@implementer(IIdentity)
class MemoryIdentity:
    """Knows the tokens that were added.

    :param clock: decides when a token has expired.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._known: dict[bytes, Who] = {}

    def add(self, who: Who, token: str | None = None) -> str:
        """Make a token for somebody.

        :param token: its text; None: a new one.
        :return: the token.
        """
        text = token or new_token()
        self._known[hash_of(text)] = replace(who, token_hash=hash_of(text))
        return text

    def revoke(self, token: str) -> None:
        """End a token."""
        self._known.pop(hash_of(token), None)

    def cached(self, token: str) -> Who | None:
        """The person behind a token, if it is valid."""
        who = self._known.get(hash_of(token))
        now = datetime.fromtimestamp(self._clock.seconds(), UTC)
        if who is None or (who.expires_at is not None and who.expires_at <= now):
            return None
        return who

    async def authenticate(self, token: str) -> Who:
        """The person behind a token.

        :raise Unauthorized: when it is unknown, expired or revoked.
        """
        who = self.cached(token)
        if who is None:
            raise Unauthorized("The request you have made requires authentication.")
        return who
