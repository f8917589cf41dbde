"""Both identities keep the promises of the interface."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from twisted.internet.task import Clock

from cyclades_tx.identity.memory import MemoryIdentity
from cyclades_tx.identity.tokens import hash_of, new_id
from cyclades_tx.model.who import Who
from cyclades_tx.testing.identity_contract import IdentityContract


@dataclass
class LocalDoor:
    """The identity in our tables."""

    world: Any
    made: int = 0

    @property
    def identity(self) -> Any:
        """What is tested."""
        return self.world.identity

    async def issue(self, role: str) -> str:
        """Make a user and log in."""
        self.made += 1
        await self.world.person(f"user{self.made}", role)
        token: str = (await self.world.log_in(f"user{self.made}")).token
        return token

    async def revoke(self, token: str) -> None:
        """End a token."""
        await self.identity.revoke(hash_of(token))

    async def expire(self, token: str) -> None:
        """Let the database's and our own time pass."""
        await self.world.database.run(
            "update token set expires_at = now() where hash = %s", (hash_of(token),)
        )
        self.world.clock.advance(3601)


@dataclass
class MemoryDoor:
    """The identity in a dictionary."""

    identity: MemoryIdentity
    clock: Clock

    async def issue(self, role: str) -> str:
        """Add a token."""
        who = Who(new_id(), "somebody", new_id(), "home", frozenset({role}))
        at = datetime.fromtimestamp(self.clock.seconds() + 3600, UTC)
        return self.identity.add(replace(who, expires_at=at))

    async def revoke(self, token: str) -> None:
        """End a token."""
        self.identity.revoke(token)

    async def expire(self, token: str) -> None:
        """Let the time pass."""
        self.clock.advance(3601)


class TestLocalIdentity(IdentityContract):
    """Users in our own tables."""

    @pytest.fixture
    def door(self, world: Any) -> LocalDoor:
        """On the real database."""
        return LocalDoor(world)


class TestMemoryIdentity(IdentityContract):
    """Users in a dictionary."""

    @pytest.fixture
    def door(self) -> MemoryDoor:
        """On a clock that stands still."""
        clock = Clock()
        return MemoryDoor(MemoryIdentity(clock), clock)
