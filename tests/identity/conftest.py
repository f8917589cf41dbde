"""Users and tokens in the real database, with cheap passwords and a clock that stands still."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from cyclades_tx.errors import NotFound
from cyclades_tx.flows.application_credentials import ApplicationCredentials
from cyclades_tx.flows.identity import People
from cyclades_tx.identity.attempts import LoginLimits
from cyclades_tx.identity.local import LocalIdentity
from cyclades_tx.identity.logins import DEFAULT, Issued, PasswordLogin, Person, Scope
from cyclades_tx.identity.passwords import Passwords


@dataclass
class World:
    """Everything of identity on one database."""

    database: Any
    clock: Clock
    passwords: Passwords
    identity: LocalIdentity
    people: People
    credentials: ApplicationCredentials

    async def person(self, name: str, role: str = "member", project: str = "home") -> str:
        """Make a user with the password ``secret`` and a role in a project; return the id."""
        try:
            project_id = await self.people.find_project(project)
        except NotFound:
            project_id = await self.people.create_project(project)
        user_id = await self.people.create_user(name, "secret", default_project_id=project_id)
        await self.people.assign_role(user_id, project_id, role)
        return user_id

    async def log_in(
        self,
        name: str,
        password: str = "secret",
        scope: Scope = DEFAULT,
        address: str = "192.0.2.1",
    ) -> Issued:
        """Log in by name."""
        return await self.identity.log_in(
            PasswordLogin(Person("name", name), password), scope, address
        )


LIMITS = LoginLimits(name_failures=3, address_failures=6, window_seconds=300)


@pytest_twisted.async_yield_fixture
async def passwords() -> Any:
    """Cheap password hashing."""
    from twisted.internet import reactor

    made = Passwords(reactor, log2n=4, threads=2)
    yield made
    made.close()


@pytest_twisted.async_yield_fixture
async def world(database: Any, passwords: Passwords) -> Any:
    """A started identity."""
    clock = Clock()
    identity = LocalIdentity(database, clock, passwords, limits=LIMITS, cache_entries=100)
    identity.start()
    await database.when_listening()
    yield World(
        database,
        clock,
        passwords,
        identity,
        People(database, passwords, changed=identity.forget),
        ApplicationCredentials(database, passwords, changed=identity.forget),
    )
    identity.stop()


@pytest.fixture
def until(sleep: Callable[[float], Any]) -> Callable[..., Any]:
    """Return a function that waits until a condition holds, for a minute at most."""

    async def wait(condition: Callable[[], bool], what: str) -> None:
        for _ in range(6000):
            if condition():
                return
            await sleep(0.01)
        pytest.fail(f"did not come: {what}")

    return wait
