"""Projects, users and roles: what an administrator can ask for, on the wire and in a shell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from psycopg2.errors import ForeignKeyViolation, UniqueViolation

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NotFound
from cyclades_tx.identity.passwords import Passwords
from cyclades_tx.identity.tokens import is_id, new_id
from cyclades_tx.model.who import ADMIN, MEMBER, READER
from cyclades_tx.store import projects, roles, tokens, users

BUILT_IN_ROLES = (ADMIN, MEMBER, READER)

Hook = Callable[[Any, str], Awaitable[None]]


async def _nothing(transaction: Any, project_id: str) -> None:
    """A project that begins with nothing."""


class People:
    """Makes, changes and removes projects, users and roles.

    :param database: an IDatabase.
    :param on_project_created: called with the transaction and the new project's id before the
        commit; gives it its holdings and its default security group.
    :param changed: told at once what has changed, in the words of the channel of tokens, so
        that this process forgets it before the reply; the others hear of it by NOTIFY.
    """

    def __init__(
        self,
        database: Any,
        passwords: Passwords,
        *,
        on_project_created: Hook = _nothing,
        changed: Callable[[str], None] = lambda what: None,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._on_project_created = on_project_created
        self._changed = changed

    # -- projects --------------------------------------------------------------------------

    async def create_project(
        self, name: str, *, description: str = "", enabled: bool = True
    ) -> str:
        """Make a project with its default holdings; return its id.

        :raise Conflict: when the name is taken.
        """
        _check_name(name, "project")
        project_id = new_id()

        async def work(tx: Any) -> None:
            if not await projects.insert(tx, project_id, name, description, enabled):
                raise _taken("project", name)
            await self._on_project_created(tx, project_id)

        await self._database.transaction(work, "project.create")
        return project_id

    async def update_project(self, project_id: str, changes: Mapping[str, Any]) -> None:
        """Change a project; disabling it ends its tokens.

        :param changes: of ``name``, ``description`` and ``enabled``.
        :raise NotFound: when there is no such project.
        :raise Conflict: when the name is taken, or no administrator would be left.
        """
        if "name" in changes:
            _check_name(changes["name"], "project")

        async def change(tx: Any) -> None:
            if not await projects.update(tx, project_id, changes):
                raise _missing("project", project_id)
            if changes.get("enabled") is False:
                await tokens.revoke_of_project(tx, project_id)
            else:
                await tokens.project_changed(tx, project_id)

        work = _keeping_an_administrator(change) if changes.get("enabled") is False else change
        try:
            await self._database.transaction(work, "project.update")
        except UniqueViolation:
            raise _taken("project", changes["name"]) from None
        self._changed(f"project:{project_id}")

    async def delete_project(self, project_id: str) -> None:
        """Remove a project that has nothing any more.

        :raise NotFound: when there is no such project.
        :raise Conflict: when it still has servers, volumes …, or no administrator would be left.
        """

        async def delete(tx: Any) -> None:
            if not await projects.lock(tx, project_id):
                raise _missing("project", project_id)
            live = await projects.live(tx, project_id)
            if live:
                counts = ", ".join(f"{number} {word}" for word, number in live.items())
                raise Conflict(
                    f"The project still has {counts}; delete these first.", "in_use", live=live
                )
            await tokens.revoke_of_project(tx, project_id)
            await projects.delete(tx, project_id)

        try:
            await self._database.transaction(_keeping_an_administrator(delete), "project.delete")
        except ForeignKeyViolation:
            raise Conflict(
                "Something of another project still depends on this project.", "in_use"
            ) from None
        self._changed(f"project:{project_id}")

    async def find_project(self, name_or_id: str) -> str:
        """The id of a project.

        :raise NotFound: when there is none with this id or name.
        """
        return await self._find(projects.find, "project", name_or_id)

    async def list_projects(self) -> list[Any]:
        """Every project: id, name, description, enabled, created_at; by name."""
        return await projects.all_rows(self._database)

    # -- users -----------------------------------------------------------------------------

    async def create_user(
        self,
        name: str,
        password: str | None,
        *,
        description: str = "",
        email: str | None = None,
        enabled: bool = True,
        default_project_id: str | None = None,
    ) -> str:
        """Make a user; return the id.

        :param password: None: this user cannot log in with a password.
        :raise Conflict: when the name is taken.
        :raise NotFound: when there is no such project.
        """
        _check_name(name, "user")
        password_hash = await self._hash(password)
        user_id = new_id()

        async def work(tx: Any) -> None:
            stored = await users.insert(
                tx, user_id, name, password_hash, description, email, enabled, default_project_id
            )
            if not stored:
                raise _taken("user", name)

        _check_project_id(default_project_id)
        try:
            await self._database.transaction(work, "user.create")
        except ForeignKeyViolation:
            raise _missing("project", str(default_project_id)) from None
        return user_id

    async def update_user(self, user_id: str, changes: Mapping[str, Any]) -> None:
        """Change a user; a new password and disabling end the user's tokens.

        :param changes: of ``name``, ``description``, ``email``, ``enabled``,
            ``default_project_id`` and ``password``; None takes the last three away.
        :raise NotFound: when there is no such user or project.
        :raise Conflict: when the name is taken, or no administrator would be left.
        """
        stored = {key: value for key, value in changes.items() if key != "password"}
        if "name" in changes:
            _check_name(changes["name"], "user")
        _check_project_id(stored.get("default_project_id"))
        if "password" in changes:
            stored["password_hash"] = await self._hash(changes["password"])
        disables = changes.get("enabled") is False

        async def change(tx: Any) -> None:
            if not await users.update(tx, user_id, stored):
                raise _missing("user", user_id)
            if disables or "password" in changes:
                await tokens.revoke_of_user(tx, user_id)
            else:
                await tokens.user_changed(tx, user_id)

        weakens = disables or changes.get("password", "") is None
        try:
            await self._database.transaction(
                _keeping_an_administrator(change) if weakens else change, "user.update"
            )
        except UniqueViolation:
            raise _taken("user", changes["name"]) from None
        except ForeignKeyViolation:
            raise _missing("project", str(stored.get("default_project_id"))) from None
        self._changed(f"user:{user_id}")

    async def delete_user(self, user_id: str) -> None:
        """Remove a user with roles, tokens, application credentials and key pairs.

        Servers and all else stay: they belong to projects.

        :raise NotFound: when there is no such user.
        :raise Conflict: when no administrator would be left.
        """

        async def delete(tx: Any) -> None:
            if not await users.delete(tx, user_id):
                raise _missing("user", user_id)
            await tokens.user_changed(tx, user_id)

        await self._database.transaction(_keeping_an_administrator(delete), "user.delete")
        self._changed(f"user:{user_id}")

    async def find_user(self, name_or_id: str) -> str:
        """The id of a user.

        :raise NotFound: when there is none with this id or name.
        """
        return await self._find(users.find, "user", name_or_id)

    async def list_users(self) -> list[Any]:
        """Every user: id, name, description, email, enabled, default_project_id; by name."""
        return await users.all_rows(self._database)

    # -- roles -----------------------------------------------------------------------------

    async def create_role(self, name: str) -> str:
        """Make a role, which allows nothing by itself; return its id.

        :raise Conflict: when the name is taken.
        """
        _check_name(name, "role")
        role_id = new_id()
        if not await roles.insert(self._database, role_id, name):
            raise _taken("role", name)
        return role_id

    async def rename_role(self, role_id: str, name: str) -> None:
        """Give a role another name.

        :raise Forbidden: for the roles that the service itself knows.
        """
        _check_name(name, "role")

        async def work(tx: Any) -> None:
            await self._changeable(tx, role_id)
            await roles.rename(tx, role_id, name)
            await tokens.all_changed(tx)

        try:
            await self._database.transaction(work, "role.rename")
        except UniqueViolation:
            raise _taken("role", name) from None
        self._changed("all")

    async def delete_role(self, role_id: str) -> None:
        """Remove a role and take it from everybody.

        :raise Forbidden: for the roles that the service itself knows.
        """

        async def work(tx: Any) -> None:
            await self._changeable(tx, role_id)
            await roles.delete(tx, role_id)
            await tokens.all_changed(tx)

        await self._database.transaction(work, "role.delete")
        self._changed("all")

    async def list_roles(self) -> list[Any]:
        """Every role: id and name; by name."""
        return await roles.all_rows(self._database)

    async def assign_role(self, user_id: str, project_id: str, role: str) -> None:
        """Give a user a role in a project; having it already is fine.

        :param role: its id or name.
        :raise NotFound: names what does not exist.
        """
        role_id = await self._role_of(user_id, project_id, role)

        async def work(tx: Any) -> None:
            await roles.assign(tx, user_id, project_id, role_id)
            await tokens.user_changed(tx, user_id)

        try:
            await self._database.transaction(work, "role.assign")
        except ForeignKeyViolation:
            raise NotFound("The user, project or role was deleted just now.", "role") from None
        self._changed(f"user:{user_id}")

    async def remove_role(self, user_id: str, project_id: str, role: str) -> None:
        """Take a role in a project from a user.

        :param role: its id or name.
        :raise NotFound: names what does not exist, or that the user does not have the role.
        :raise Conflict: when no administrator would be left.
        """
        role_id = await self._role_of(user_id, project_id, role)

        async def remove(tx: Any) -> None:
            if not await roles.unassign(tx, user_id, project_id, role_id):
                raise NotFound("The user does not have this role in this project.", "role")
            await tokens.user_changed(tx, user_id)

        await self._database.transaction(_keeping_an_administrator(remove), "role.remove")
        self._changed(f"user:{user_id}")

    async def _role_of(self, user_id: str, project_id: str, role: str) -> str:
        found = await roles.find(self._database, role) if _speakable(role) else None
        role_id = found.id if found is not None else new_id()
        there = await roles.exist(
            self._database,
            user_id if is_id(user_id) else new_id(),
            project_id if is_id(project_id) else new_id(),
            role_id,
        )
        for kind, name in (("user", user_id), ("project", project_id), ("role", role)):
            if not getattr(there, kind):
                raise _missing(kind, name)
        return str(role_id)

    @staticmethod
    async def _changeable(tx: Any, role_id: str) -> None:
        found = await roles.find(tx, role_id)
        if found is None or found.id != role_id:
            raise _missing("role", role_id)
        if found.name in BUILT_IN_ROLES:
            raise Forbidden(f"The role {found.name} is part of the service and stays as it is.")

    # -- common ----------------------------------------------------------------------------

    async def _hash(self, password: str | None) -> str | None:
        if password is None:
            return None
        if not password:
            raise BadRequest("A password must not be empty.")
        return await self._passwords.hash(password)

    async def _find(
        self, find: Callable[[Any, str], Awaitable[str | None]], kind: str, name_or_id: str
    ) -> str:
        found = await find(self._database, name_or_id) if _speakable(name_or_id) else None
        if found is None:
            raise _missing(kind, name_or_id)
        return found


def _keeping_an_administrator(
    change: Callable[[Any], Awaitable[None]],
) -> Callable[[Any], Awaitable[None]]:
    """Run a change in such a way that it cannot lock out the last administrator."""

    async def work(tx: Any) -> None:
        await roles.lock_administrators(tx)
        before = await roles.has_administrator(tx)
        await change(tx)
        if before and not await roles.has_administrator(tx):
            raise Conflict(
                "Nobody would be left who can log in as an administrator; make another "
                "administrator first.",
                "last_administrator",
            )

    return work


def _speakable(text: str) -> bool:
    """Whether PostgreSQL can be asked for a text at all."""
    return "\0" not in text


def _check_name(name: str, kind: str) -> None:
    if not name.strip() or len(name) > 255 or not name.isprintable():
        raise BadRequest(f"The name of a {kind} has 1 to 255 printable characters.")


def _check_project_id(project_id: str | None) -> None:
    if project_id is not None and not is_id(project_id):
        raise _missing("project", project_id)


def _taken(kind: str, name: str) -> Conflict:
    return Conflict(f"There is already a {kind} named {name!r}.", "duplicate")


def _missing(kind: str, name: str) -> NotFound:
    return NotFound(f"Could not find {kind}: {name[:255]}.", kind)
