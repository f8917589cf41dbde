"""Roles, and the list of who has them where."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.documents import one
from cyclades_tx.api.identity import bodies
from cyclades_tx.api.identity.documents import ASSIGNMENT, NAMED_ASSIGNMENT, ROLE, listing
from cyclades_tx.api.identity.filters import flag
from cyclades_tx.errors import Forbidden, NotFound
from cyclades_tx.flows.identity import People
from cyclades_tx.identity.tokens import is_id
from cyclades_tx.store import roles

#: Filters of role assignments for what there is none of: with one of these the list is empty.
_NOTHING_HAS = ("group.id", "scope.domain.id", "scope.system", "scope.OS-INHERIT:inherited_to")
_NO_ID = "-"


class Roles:
    """The endpoints ``/v3/roles`` and ``/v3/role_assignments``."""

    def __init__(self, database: Any, people: People) -> None:
        self._database = database
        self._people = people

    async def list(self, call: Call) -> bytes:
        """List the roles; everybody may know their names."""
        name = call.query("name")
        if call.query("domain_id") is not None:
            name = ""  # a domain has no roles of its own
        return await roles.listed(
            self._database,
            ROLE.text(),
            listing("roles"),
            call.base_url,
            f"{call.base_url}/identity/v3/roles",
            name=name,
        )

    async def show(self, call: Call, role_id: str) -> bytes:
        """Show a role."""
        document = None
        if is_id(role_id):
            document = await roles.shown(
                self._database, one("role", ROLE.text()), call.base_url, role_id
            )
        if document is None:
            raise NotFound(f"Could not find role: {role_id[:255]}.", "role")
        return document

    async def create(self, call: Call) -> Reply:
        """Make a role."""
        wish = call.json(bodies.ROLE).role
        bodies.check_domain(wish.domain_id)
        role_id = await self._people.create_role(wish.name)
        return Reply(201, await self.show(call, role_id))

    async def rename(self, call: Call, role_id: str) -> bytes:
        """Give a role another name."""
        wish = call.json(bodies.ROLE).role
        await self._people.rename_role(role_id, wish.name)
        return await self.show(call, role_id)

    async def delete(self, call: Call, role_id: str) -> Reply:
        """Remove a role."""
        await self._people.delete_role(role_id)
        return Reply(204)

    async def list_assignments(self, call: Call) -> bytes:
        """List who has which role where: everything to an administrator, to others their own."""
        user_id = call.query("user.id")
        if not call.who.admin and user_id != call.who.user_id:
            raise Forbidden("Policy does not allow this request to be performed.")
        if any(call.query(name) is not None for name in _NOTHING_HAS):
            user_id = _NO_ID
        named = flag(call, "include_names")
        return await roles.assignments_listed(
            self._database,
            (NAMED_ASSIGNMENT if named else ASSIGNMENT).text(),
            listing("role_assignments"),
            call.base_url,
            f"{call.base_url}/identity/v3/role_assignments",
            user_id=user_id,
            project_id=call.query("scope.project.id"),
            role_id=call.query("role.id"),
        )
