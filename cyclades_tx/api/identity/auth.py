"""Logging in, asking about a token, ending it, and what one's token opens."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.identity.address import ClientAddress
from cyclades_tx.api.identity.bodies import LOGIN, login_of, scope_of
from cyclades_tx.api.identity.documents import (
    DOMAIN,
    PROJECT,
    list_document,
    listing,
    token_document,
)
from cyclades_tx.api.identity.filters import flag
from cyclades_tx.errors import Unauthorized
from cyclades_tx.identity.catalog import Catalog
from cyclades_tx.identity.local import LocalIdentity, missing_token
from cyclades_tx.identity.logins import Issued
from cyclades_tx.store import projects

DOMAIN_DOCUMENT = {
    **DOMAIN,
    "description": "The default domain",
    "enabled": True,
    "tags": [],
    "options": {},
}


class Auth:
    """The endpoints below ``/v3/auth``."""

    def __init__(
        self, database: Any, identity: LocalIdentity, catalog: Catalog, address: ClientAddress
    ) -> None:
        self._database = database
        self._identity = identity
        self._catalog = catalog
        self._address = address

    async def issue(self, call: Call) -> Reply:
        """Log in."""
        body = call.json(LOGIN).auth
        issued = await self._identity.log_in(
            login_of(body), scope_of(body), self._address.of(call.request)
        )
        return Reply(201, self._document(call, issued), {"x-subject-token": issued.token})

    async def show(self, call: Call) -> Reply:
        """Say what a token is."""
        issued = await self._subject(call)
        return Reply(200, self._document(call, issued), {"x-subject-token": issued.token})

    async def revoke(self, call: Call) -> Reply:
        """End a token."""
        issued = await self._subject(call)
        await self._identity.revoke(issued.who.token_hash)
        return Reply(204)

    async def show_catalog(self, call: Call) -> Reply:
        """Say which services there are."""
        document = list_document(
            "catalog",
            self._catalog.entries(call.who.project_id or ""),
            f"{call.base_url}/identity/v3/auth/catalog",
        )
        return Reply(200, document)

    async def list_projects(self, call: Call) -> bytes:
        """List the projects that the user may enter."""
        who = call.who
        return await projects.listed(
            self._database,
            PROJECT.text(),
            listing("projects"),
            call.base_url,
            f"{call.base_url}/identity/v3/auth/projects",
            enabled=True,
            member_id=who.user_id,
            only_id=who.project_id if who.application_credential_id else None,
        )

    async def list_domains(self, call: Call) -> Reply:
        """List the domains that the user may enter: none, roles are for projects."""
        return Reply(200, list_document("domains", [], f"{call.base_url}/identity/v3/auth/domains"))

    async def _subject(self, call: Call) -> Issued:
        """The token that is asked about: the caller's own one, or any for an administrator.

        :raise NotFound: when it is not valid, or somebody else's.
        """
        token = call.header("x-subject-token")
        if not token:
            raise missing_token()
        try:
            issued = await self._identity.describe(token)
        except Unauthorized:
            raise missing_token() from None
        if issued.who.user_id != call.who.user_id and not call.who.admin:
            raise missing_token()
        return issued

    def _document(self, call: Call, issued: Issued) -> dict[str, Any]:
        return token_document(issued, None if flag(call, "nocatalog") else self._catalog)
