"""Application credentials: logins that a user makes for programs, for one project each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg2.errors import ForeignKeyViolation

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NotFound
from cyclades_tx.identity.passwords import Passwords
from cyclades_tx.identity.tokens import is_id, new_id, new_secret
from cyclades_tx.model.who import Who
from cyclades_tx.store import application_credentials as store
from cyclades_tx.store import roles, tokens

SECRET_BYTES = 64


@dataclass(frozen=True)
class NewCredential:
    """What a user wants.

    :param secret: None: one is made.
    :param role_names_or_ids: of the user's roles in the project; none: all that the token has.
    :param unrestricted: whether it may be used to manage application credentials.
    """

    name: str
    description: str = ""
    secret: str | None = field(default=None, repr=False)
    role_names_or_ids: Sequence[str] = ()
    unrestricted: bool = False
    expires_at: datetime | None = None


class ApplicationCredentials:
    """Makes and removes application credentials.

    :param database: an IDatabase.
    :param changed: as in :class:`cyclades_tx.flows.identity.People`.
    """

    def __init__(
        self,
        database: Any,
        passwords: Passwords,
        *,
        changed: Callable[[str], None] = lambda what: None,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._changed = changed

    async def create(self, who: Who, wish: NewCredential) -> tuple[str, str]:
        """Make a credential of the user for the token's project; return its id and secret.

        :raise Conflict: when the user has one of that name.
        :raise BadRequest: for roles that the user's token does not have, or a time in the past.
        :raise Forbidden: when the token itself comes from a restricted credential.
        """
        project_id = who.project_id
        if project_id is None:
            raise Forbidden("This needs a token that is scoped to a project.")
        await self._may_manage(who)
        if not wish.name.strip() or not wish.name.isprintable():
            raise BadRequest("The name of a credential has printable characters.")
        held = [
            row
            for row in await roles.held(self._database, who.user_id, project_id)
            if row.name in who.roles
        ]
        chosen = _choose(held, wish.role_names_or_ids)
        secret = wish.secret or new_secret(SECRET_BYTES)
        secret_hash = await self._passwords.hash(secret)
        credential_id = new_id()

        async def work(tx: Any) -> None:
            if wish.expires_at is not None and await store.is_past(tx, wish.expires_at):
                raise BadRequest("The credential would have expired already.")
            stored = await store.insert(
                tx,
                credential_id,
                who.user_id,
                project_id,
                wish.name,
                wish.description,
                secret_hash,
                chosen,
                wish.unrestricted,
                wish.expires_at,
            )
            if not stored:
                raise Conflict(
                    f"You already have an application credential named {wish.name!r}.", "duplicate"
                )

        try:
            await self._database.transaction(work, "credential.create")
        except ForeignKeyViolation:
            raise NotFound("The user or project was deleted just now.", "user") from None
        return credential_id, secret

    async def delete(self, who: Who, user_id: str, credential_id: str) -> None:
        """Remove a credential; its tokens end.

        :raise NotFound: when the user has no such credential.
        :raise Forbidden: when the token itself comes from a restricted credential.
        """
        await self._may_manage(who)

        async def work(tx: Any) -> None:
            if not is_id(credential_id) or not await store.delete(tx, user_id, credential_id):
                raise NotFound("Could not find application credential.", "application_credential")
            await tokens.user_changed(tx, user_id)

        await self._database.transaction(work, "credential.delete")
        self._changed(f"user:{user_id}")

    async def _may_manage(self, who: Who) -> None:
        own = who.application_credential_id
        if own is not None and not await store.unrestricted(self._database, own):
            raise Forbidden(
                "This application credential may not be used to manage application credentials."
            )


def _choose(held: Sequence[Any], wanted: Sequence[str]) -> list[str]:
    if not wanted:
        return [row.id for row in held]
    chosen = []
    for each in wanted:
        found = next((row.id for row in held if each in (row.id, row.name)), None)
        if found is None:
            raise BadRequest(f"You do not have the role {each[:255]!r} in this project.")
        chosen.append(found)
    return list(dict.fromkeys(chosen))
