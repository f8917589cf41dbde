"""Users and their passwords."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.documents import one
from cyclades_tx.api.identity import bodies
from cyclades_tx.api.identity.address import ClientAddress
from cyclades_tx.api.identity.documents import PROJECT, USER, list_document, listing
from cyclades_tx.api.identity.filters import truth
from cyclades_tx.errors import Forbidden, NotFound, Unauthorized
from cyclades_tx.flows.identity import People
from cyclades_tx.identity.local import REFUSED, LocalIdentity
from cyclades_tx.identity.tokens import is_id
from cyclades_tx.store import projects, users


class Users:
    """The endpoints below ``/v3/users``, without application credentials."""

    def __init__(
        self, database: Any, people: People, identity: LocalIdentity, address: ClientAddress
    ) -> None:
        self._database = database
        self._people = people
        self._identity = identity
        self._address = address

    async def list(self, call: Call) -> bytes:
        """List all users; who is no administrator may look for oneself by name."""
        name = call.query("name")
        if not call.who.admin and name is None:
            raise Forbidden("Policy does not allow this request to be performed.")
        if call.query("domain_id") not in (None, "default"):
            name = ""
        return await users.listed(
            self._database,
            USER.text(),
            listing("users"),
            call.base_url,
            f"{call.base_url}/identity/v3/users",
            name=name,
            enabled=truth(call, "enabled"),
            only_id=None if call.who.admin else call.who.user_id,
        )

    async def show(self, call: Call, user_id: str) -> bytes:
        """Show a user: any to an administrator, to others themselves."""
        document = None
        if is_id(user_id) and (call.who.admin or user_id == call.who.user_id):
            document = await users.shown(
                self._database, one("user", USER.text()), call.base_url, user_id
            )
        if document is None:
            raise _missing(user_id)
        return document

    async def create(self, call: Call) -> Reply:
        """Make a user."""
        wish = call.json(bodies.USER).user
        bodies.check_domain(wish.domain_id)
        user_id = await self._people.create_user(
            wish.name,
            wish.password,
            description=wish.description or "",
            email=wish.email,
            enabled=wish.enabled is not False,
            default_project_id=wish.default_project_id,
        )
        return Reply(201, await self.show(call, user_id))

    async def update(self, call: Call, user_id: str) -> bytes:
        """Change a user."""
        wish = call.json(bodies.USER_CHANGE).user
        bodies.check_domain(wish.domain_id)
        changes = bodies.given(
            wish, "name", "password", "description", "email", "enabled", "default_project_id"
        )
        if "description" in changes:
            changes["description"] = changes["description"] or ""
        if not is_id(user_id):
            raise _missing(user_id)
        await self._people.update_user(user_id, changes)
        return await self.show(call, user_id)

    async def delete(self, call: Call, user_id: str) -> Reply:
        """Remove a user."""
        if not is_id(user_id):
            raise _missing(user_id)
        await self._people.delete_user(user_id)
        return Reply(204)

    async def change_password(self, call: Call, user_id: str) -> Reply:
        """Set one's own password; who knows the old one needs no token."""
        wish = call.json(bodies.PASSWORD_CHANGE).user
        await self._identity.check_password(
            user_id[:255], wish.original_password, self._address.of(call.request)
        )
        try:
            await self._people.update_user(user_id, {"password": wish.password})
        except NotFound:
            raise Unauthorized(REFUSED) from None
        return Reply(204)

    async def list_projects(self, call: Call, user_id: str) -> bytes:
        """List the projects in which a user has a role."""
        own_or_administrator(call, user_id)
        who = call.who
        return await projects.listed(
            self._database,
            PROJECT.text(),
            listing("projects"),
            call.base_url,
            f"{call.base_url}/identity/v3/users/{user_id}/projects",
            name=call.query("name"),
            enabled=truth(call, "enabled"),
            member_id=user_id,
            only_id=None if who.admin or not who.application_credential_id else who.project_id,
        )

    async def list_groups(self, call: Call, user_id: str) -> Reply:
        """List the groups of a user: there are none."""
        own_or_administrator(call, user_id)
        url = f"{call.base_url}/identity/v3/users/{user_id}/groups"
        return Reply(200, list_document("groups", [], url))

    async def list_all_groups(self, call: Call) -> Reply:
        """List all groups: there are none."""
        return Reply(200, list_document("groups", [], f"{call.base_url}/identity/v3/groups"))

    async def list_access_rules(self, call: Call, user_id: str) -> Reply:
        """List a user's access rules: no application credential has any."""
        own_or_administrator(call, user_id)
        url = f"{call.base_url}/identity/v3/users/{user_id}/access_rules"
        return Reply(200, list_document("access_rules", [], url))


def own_or_administrator(call: Call, user_id: str) -> None:
    """Refuse others, whether or not there is such a user.

    :raise Forbidden: to who is neither that user nor an administrator.
    """
    if not call.who.admin and user_id != call.who.user_id:
        raise Forbidden("Policy does not allow this request to be performed.")


def _missing(user_id: str) -> NotFound:
    return NotFound(f"Could not find user: {user_id[:255]}.", "user")
