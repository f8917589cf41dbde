"""Application credentials of a user."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.documents import one
from cyclades_tx.api.identity import bodies
from cyclades_tx.api.identity.documents import CREDENTIAL, listing
from cyclades_tx.api.identity.users import own_or_administrator
from cyclades_tx.errors import BadRequest, Forbidden, NotFound
from cyclades_tx.flows.application_credentials import ApplicationCredentials, NewCredential
from cyclades_tx.identity.tokens import is_id
from cyclades_tx.store import application_credentials as store


class Credentials:
    """The endpoints below ``/v3/users/U/application_credentials``."""

    def __init__(self, database: Any, credentials: ApplicationCredentials) -> None:
        self._database = database
        self._credentials = credentials

    async def list(self, call: Call, user_id: str) -> bytes:
        """List a user's credentials."""
        own_or_administrator(call, user_id)
        return await store.listed(
            self._database,
            CREDENTIAL.text(),
            listing("application_credentials"),
            call.base_url,
            f"{call.base_url}/identity/v3/users/{user_id}/application_credentials",
            user_id,
            name=call.query("name"),
        )

    async def show(self, call: Call, user_id: str, credential_id: str) -> bytes:
        """Show a user's credential; its secret was shown once, when it was made."""
        own_or_administrator(call, user_id)
        document = None
        if is_id(credential_id):
            document = await store.shown(
                self._database,
                one("application_credential", CREDENTIAL.text()),
                call.base_url,
                user_id,
                credential_id,
            )
        if document is None:
            raise NotFound(
                f"Could not find application credential: {credential_id[:255]}.",
                "application_credential",
            )
        return document

    async def create(self, call: Call, user_id: str) -> Reply:
        """Make a credential for oneself, in the project of the token."""
        if user_id != call.who.user_id:
            raise Forbidden("An application credential can only be made by its user.")
        wish = call.json(bodies.CREDENTIAL).application_credential
        if wish.access_rules:
            raise BadRequest("Access rules are not supported.")
        credential_id, secret = await self._credentials.create(
            call.who,
            NewCredential(
                wish.name,
                description=wish.description or "",
                secret=wish.secret,
                role_names_or_ids=[_role(each) for each in wish.roles or ()],
                unrestricted=bool(wish.unrestricted),
                expires_at=_time(wish.expires_at),
            ),
        )
        document = orjson.loads(await self.show(call, user_id, credential_id))
        document["application_credential"]["secret"] = secret
        return Reply(201, document)

    async def delete(self, call: Call, user_id: str, credential_id: str) -> Reply:
        """Remove a credential; its tokens end."""
        own_or_administrator(call, user_id)
        await self._credentials.delete(call.who, user_id, credential_id)
        return Reply(204)


def _role(role: bodies.RoleRef) -> str:
    name = role.id or role.name
    if name is None:
        raise BadRequest("A role needs an id or a name.")
    return name


def _time(text: str | None) -> datetime | None:
    """A time as clients write it; without a zone it is UTC.

    :raise BadRequest: when it cannot be read.
    """
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest("expires_at must be a time such as 2030-01-31T12:00:00.") from None
