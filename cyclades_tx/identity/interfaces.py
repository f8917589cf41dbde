"""The door to identity: who is behind a token, wherever users and projects live."""

from __future__ import annotations

from zope.interface import Interface

from cyclades_tx.model.who import Who


class IIdentity(Interface):
    """Turns the text of a token into the person behind it."""

    def cached(token: str) -> Who | None:
        """The answer for a token that was asked for before and still holds, without waiting."""

    async def authenticate(token: str) -> Who:
        """Find out who is behind a token.

        :raise Unauthorized: when it is unknown, expired or revoked, or its user, project or
            application credential is disabled or gone.
        """
