"""What every identity must do, whoever keeps its users: a suite of tests to inherit.

Subclass :class:`IdentityContract` as ``Test…`` and give a fixture ``door`` that is an
:class:`IdentityDoor`.
"""

from __future__ import annotations

from typing import Any, Protocol

from cyclades_tx.errors import Unauthorized
from cyclades_tx.identity.interfaces import IIdentity
from cyclades_tx.identity.tokens import hash_of, new_token


class IdentityDoor(Protocol):
    """An identity under test, and the ways to bring about what is tested."""

    identity: Any

    async def issue(self, role: str) -> str:
        """Make a token for a user with one role in a project."""

    async def revoke(self, token: str) -> None:
        """End a token."""

    async def expire(self, token: str) -> None:
        """Let the time pass until a token ends."""


async def refused(identity: Any, token: str) -> bool:
    """Whether an identity refuses a token, in both of its ways."""
    try:
        await identity.authenticate(token)
    except Unauthorized:
        return identity.cached(token) is None
    return False


class IdentityContract:
    """One test for each promise of :class:`cyclades_tx.identity.interfaces.IIdentity`."""

    async def test_it_provides_the_interface(self, door: IdentityDoor) -> None:
        """The object says itself that it is an identity."""
        assert IIdentity.providedBy(door.identity)

    async def test_a_token_names_its_person(self, door: IdentityDoor) -> None:
        """Ids, names, role and the token's hash are there."""
        token = await door.issue("member")
        who = await door.identity.authenticate(token)
        assert (len(who.user_id), len(who.project_id or "")) == (32, 32)
        assert who.user_name
        assert who.project_name
        assert who.roles == {"member"}
        assert who.token_hash == hash_of(token)

    async def test_roles_decide_what_is_allowed(self, door: IdentityDoor) -> None:
        """A reader may not write, an administrator may."""
        reader = await door.identity.authenticate(await door.issue("reader"))
        admin = await door.identity.authenticate(await door.issue("admin"))
        assert (reader.may_write, reader.admin) == (False, False)
        assert (admin.may_write, admin.admin) == (True, True)

    async def test_the_answer_is_remembered(self, door: IdentityDoor) -> None:
        """After a token was asked for, the same answer comes without waiting."""
        token = await door.issue("member")
        who = await door.identity.authenticate(token)
        assert door.identity.cached(token) == who

    async def test_an_unknown_token_is_refused(self, door: IdentityDoor) -> None:
        """A token that nobody has given opens nothing."""
        assert await refused(door.identity, new_token())

    async def test_what_is_no_token_at_all_is_refused(self, door: IdentityDoor) -> None:
        """Neither emptiness nor strange characters do harm."""
        for text in ("", " ", "x" * 100_000, "\0", "ü", "\udc80", "'; drop table token; --"):
            assert await refused(door.identity, text), repr(text[:20])

    async def test_a_revoked_token_is_refused(self, door: IdentityDoor) -> None:
        """A token is dead at once, although the answer was remembered."""
        token = await door.issue("member")
        await door.identity.authenticate(token)
        await door.revoke(token)
        assert await refused(door.identity, token)

    async def test_an_expired_token_is_refused(self, door: IdentityDoor) -> None:
        """A token ends by itself, although the answer was remembered."""
        token = await door.issue("member")
        await door.identity.authenticate(token)
        await door.expire(token)
        assert await refused(door.identity, token)

    async def test_revoking_one_token_leaves_the_others(self, door: IdentityDoor) -> None:
        """Tokens live and die alone."""
        first, second = await door.issue("member"), await door.issue("member")
        await door.revoke(first)
        assert (await door.identity.authenticate(second)).roles == {"member"}
