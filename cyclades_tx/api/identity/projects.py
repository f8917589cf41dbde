"""Projects, and the roles that users have in them."""

from __future__ import annotations

from typing import Any

import orjson

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.documents import one
from cyclades_tx.api.identity import bodies
from cyclades_tx.api.identity.documents import PROJECT, ROLE, listing
from cyclades_tx.api.identity.filters import truth
from cyclades_tx.errors import BadRequest, Forbidden, NotFound
from cyclades_tx.flows.identity import People
from cyclades_tx.identity.tokens import is_id
from cyclades_tx.store import projects, roles


class Projects:
    """The endpoints below ``/v3/projects``."""

    def __init__(self, database: Any, people: People) -> None:
        self._database = database
        self._people = people

    async def list(self, call: Call) -> bytes:
        """List all projects; who is no administrator may look for own ones by name.

        :raise Forbidden: also when none of one's own has the name: clients then take what they
            were given for an id, and so name a project that they cannot see.
        """
        name = call.query("name")
        if not call.who.admin and name is None:
            raise Forbidden("Policy does not allow this request to be performed.")
        if call.query("domain_id") not in (None, "default"):
            name = ""
        if truth(call, "is_domain"):
            name = ""
        document = await projects.listed(
            self._database,
            PROJECT.text(),
            listing("projects"),
            call.base_url,
            f"{call.base_url}/identity/v3/projects",
            name=name,
            enabled=truth(call, "enabled"),
            member_id=None if call.who.admin else call.who.user_id,
        )
        if not call.who.admin and not orjson.loads(document)["projects"]:
            raise Forbidden("Policy does not allow this request to be performed.")
        return document

    async def show(self, call: Call, project_id: str) -> bytes:
        """Show a project: any to an administrator, to others those in which they have a role."""
        document = None
        if is_id(project_id):
            document = await projects.shown(
                self._database,
                one("project", PROJECT.text()),
                call.base_url,
                project_id,
                None if call.who.admin else call.who.user_id,
            )
        if document is None:
            raise _missing(project_id)
        return document

    async def create(self, call: Call) -> Reply:
        """Make a project."""
        wish = call.json(bodies.PROJECT).project
        _check(wish)
        project_id = await self._people.create_project(
            wish.name,
            description=wish.description or "",
            enabled=wish.enabled is not False,
        )
        return Reply(201, await self.show(call, project_id))

    async def update(self, call: Call, project_id: str) -> bytes:
        """Change a project."""
        wish = call.json(bodies.PROJECT_CHANGE).project
        _check(wish)
        changes = bodies.given(wish, "name", "description", "enabled")
        if "description" in changes:
            changes["description"] = changes["description"] or ""
        if not is_id(project_id):
            raise _missing(project_id)
        await self._people.update_project(project_id, changes)
        return await self.show(call, project_id)

    async def delete(self, call: Call, project_id: str) -> Reply:
        """Remove an empty project."""
        if not is_id(project_id):
            raise _missing(project_id)
        await self._people.delete_project(project_id)
        return Reply(204)

    async def list_roles(self, call: Call, project_id: str, user_id: str) -> bytes:
        """List the roles that a user has in a project."""
        return await roles.listed(
            self._database,
            ROLE.text(),
            listing("roles"),
            call.base_url,
            f"{call.base_url}/identity/v3/projects/{project_id}/users/{user_id}/roles",
            of=(user_id, project_id),
        )

    async def check_role(self, call: Call, project_id: str, user_id: str, role_id: str) -> Reply:
        """Say whether a user has a role in a project."""
        if not await roles.assigned(self._database, user_id, project_id, role_id):
            raise NotFound("The user does not have this role in this project.", "role")
        return Reply(204)

    async def assign_role(self, call: Call, project_id: str, user_id: str, role_id: str) -> Reply:
        """Give a user a role in a project."""
        await self._people.assign_role(user_id, project_id, role_id)
        return Reply(204)

    async def remove_role(self, call: Call, project_id: str, user_id: str, role_id: str) -> Reply:
        """Take a role in a project from a user."""
        await self._people.remove_role(user_id, project_id, role_id)
        return Reply(204)


def _check(wish: bodies.NewProject | bodies.ProjectChange) -> None:
    bodies.check_domain(wish.domain_id)
    bodies.check_domain(wish.parent_id)
    if wish.is_domain:
        raise BadRequest("There is one domain, and no project acts as another.")


def _missing(project_id: str) -> NotFound:
    return NotFound(f"Could not find project: {project_id[:255]}.", "project")
