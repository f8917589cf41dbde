"""Identity in our own tables: logins with password, token or application credential."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2.errors import ForeignKeyViolation
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from cyclades_tx.errors import BadRequest, Forbidden, NotFound, Unauthorized
from cyclades_tx.identity import attempts
from cyclades_tx.identity.attempts import LoginLimits
from cyclades_tx.identity.cache import TokenCache
from cyclades_tx.identity.interfaces import IIdentity
from cyclades_tx.identity.logins import (
    CredentialLogin,
    Issued,
    Login,
    PasswordLogin,
    Person,
    Scope,
    TokenLogin,
)
from cyclades_tx.identity.passwords import Passwords
from cyclades_tx.identity.tokens import hash_of, is_token, new_audit_id, new_token
from cyclades_tx.model.who import Who
from cyclades_tx.store import tokens

REFUSED = "The request you have made requires authentication."
#: A cached answer is read again after this time even if nobody said that it changed.
REREAD_SECONDS = 60.0
SWEEP_ROWS = 5000


@dataclass(frozen=True)
class _Ticket:
    """All that a token is made from."""

    user_id: str
    user_name: str
    project_id: str | None
    project_name: str | None
    roles: tuple[tuple[str, str], ...]
    methods: tuple[str, ...]
    subject: str = ""
    had_failures: bool = False
    password_hash: str | None = None
    credential_id: str | None = None
    not_after: datetime | None = None
    parent_audit_id: str | None = None


@implementer(IIdentity)
class LocalIdentity:
    """Knows who is behind a token, and gives tokens to those who can log in.

    :param database: an IDatabase.
    :param clock: for the age of cached answers only; expiry is PostgreSQL's time.
    :param token_lifetime_seconds: how long a new token is good.
    :param cache_entries: most checked tokens that are remembered.
    """

    def __init__(
        self,
        database: Any,
        clock: IReactorTime,
        passwords: Passwords,
        *,
        token_lifetime_seconds: float = 3600.0,
        cache_entries: int = 10_000,
        limits: LoginLimits | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._passwords = passwords
        self._lifetime_seconds = token_lifetime_seconds
        self._limits = limits or LoginLimits()
        self._cache = TokenCache(cache_entries)
        self._stops: list[Callable[[], None]] = []

    def start(self) -> None:
        """Listen for what other processes change."""
        self._stops = [
            self._database.listen(tokens.CHANNEL, self.forget),
            self._database.on_listen_lost(self._cache.forget_all),
        ]

    def stop(self) -> None:
        """Stop listening, and trust nothing that was remembered."""
        stops, self._stops = self._stops, []
        for stop in stops:
            stop()
        self._cache.forget_all()

    def forget(self, what: str) -> None:
        """Drop remembered answers, at once in this process.

        :param what: as on the channel: a token's hash in hex, ``user:ID``, ``project:ID``, ``all``.
        """
        self._cache.forget(what)

    def cached(self, token: str) -> Who | None:
        """The answer for a token that was asked for before and still holds, without waiting."""
        return self._cache.get(hash_of(token), self._clock.seconds())

    async def authenticate(self, token: str) -> Who:
        """Find out who is behind a token, from the cache or the database.

        :raise Unauthorized: when it is not valid, or not any more.
        """
        who = self.cached(token)
        return who if who is not None else (await self._read(token)).who

    async def describe(self, token: str) -> Issued:
        """Read everything about a token from the database.

        :raise Unauthorized: when it is not valid, or not any more.
        """
        return await self._read(token)

    async def revoke(self, token_hash: bytes) -> None:
        """End a token, at once in this process and as good as at once in the others."""
        await self._database.transaction(
            lambda transaction: tokens.revoke(transaction, token_hash), "token.revoke"
        )
        self._cache.forget(token_hash.hex())

    async def log_in(self, login: Login, scope: Scope, address: str) -> Issued:
        """Give a token to somebody who shows what is needed.

        :param address: the client's IP address, by which failures are counted.
        :raise Unauthorized: one sentence for every reason.
        :raise TooManyRequests: after too many failures of this user or address.
        :raise Unavailable: when too many log in at this moment.
        """
        subject = attempts.address_subject(address)
        if isinstance(login, PasswordLogin):
            ticket = await self._by_password(login, scope, subject)
        elif isinstance(login, CredentialLogin):
            ticket = await self._by_credential(login, scope, subject)
        else:
            ticket = await self._by_token(login, scope)
        return await self._issue(ticket, subject)

    async def check_password(self, user_id: str, password: str, address: str) -> None:
        """Check a user's password as a login does, counting failures.

        :raise Unauthorized: when it is wrong, or the user is disabled or unknown.
        :raise TooManyRequests: after too many failures of this user or address.
        """
        login = PasswordLogin(Person("id", user_id), password)
        ticket = await self._by_password(
            login, Scope("unscoped"), attempts.address_subject(address)
        )
        if ticket.had_failures:
            await tokens.reset_failures(self._database, ticket.subject)

    async def sweep(self) -> tuple[int, int]:
        """Remove expired tokens and the counts of past windows; call it now and then.

        :return: how many of each were removed.
        """
        gone = [0, 0]
        while True:
            swept = await tokens.sweep(self._database, self._limits.window_seconds, SWEEP_ROWS)
            gone = [before + now for before, now in zip(gone, swept, strict=True)]
            if max(swept) < SWEEP_ROWS:
                return gone[0], gone[1]

    # -- logging in ------------------------------------------------------------------------

    async def _by_password(self, login: PasswordLogin, scope: Scope, address: str) -> _Ticket:
        person = login.person
        found = await tokens.look_up_password(
            self._database,
            person.by,
            person.value,
            (scope.kind, scope.value),
            address,
            self._limits.window_seconds,
        )
        await self._prove(login.password, found, address)
        if not found.user_enabled:
            raise Unauthorized(REFUSED)
        placed = self._placed(found, scope)
        return _Ticket(
            found.user_id,
            found.user_name,
            found.project_id if placed else None,
            found.project_name if placed else None,
            tuple(zip(found.role_ids, found.role_names, strict=True)) if placed else (),
            ("password",),
            subject=found.subject,
            had_failures=found.name_failures > 0,
            password_hash=found.secret_hash,
        )

    async def _by_credential(self, login: CredentialLogin, scope: Scope, address: str) -> _Ticket:
        if scope.kind in ("id", "name"):
            raise BadRequest("Application credentials cannot request a scope.")
        person = (login.person.by, login.person.value) if login.person else None
        found = await tokens.look_up_credential(
            self._database, login.value, person, address, self._limits.window_seconds
        )
        await self._prove(login.secret, found, address)
        if not found.user_enabled or not found.project_enabled or not found.role_ids:
            raise Unauthorized(REFUSED)
        return _Ticket(
            found.user_id,
            found.user_name,
            found.project_id,
            found.project_name,
            tuple(zip(found.role_ids, found.role_names, strict=True)),
            ("application_credential",),
            subject=found.subject,
            had_failures=found.name_failures > 0,
            credential_id=found.credential_id,
        )

    async def _by_token(self, login: TokenLogin, scope: Scope) -> _Ticket:
        shown = await self._read(login.token)
        who = shown.who
        place: Any = None
        if scope.kind in ("id", "name"):
            place = await tokens.look_up_place(
                self._database, who.user_id, (scope.kind, scope.value)
            )
            if place is None or not place.project_enabled or not place.role_ids:
                raise Unauthorized(REFUSED)
        project_id = place.project_id if place is not None else None
        project_name = place.project_name if place is not None else None
        roles = (
            tuple(zip(place.role_ids, place.role_names, strict=True)) if place is not None else ()
        )
        if who.application_credential_id is not None:
            # The credential's limits must not be shaken off.
            if place is not None and project_id != who.project_id:
                raise Forbidden("A token of an application credential is for one project only.")
            project_id, project_name, roles = who.project_id, who.project_name, shown.roles
        return _Ticket(
            who.user_id,
            who.user_name,
            project_id,
            project_name,
            roles,
            tuple(dict.fromkeys(("token", *who.methods))),
            credential_id=who.application_credential_id,
            not_after=who.expires_at,
            parent_audit_id=who.audit_ids[0] if who.audit_ids else None,
        )

    async def _prove(self, secret: str, found: Any, address: str) -> None:
        attempts.refuse_too_many(
            self._limits, found.name_failures, found.address_failures, found.retry_after_seconds
        )
        if await self._passwords.matches(secret, found.secret_hash):
            return
        await tokens.count_failure(
            self._database, found.subject, address, self._limits.window_seconds
        )
        raise Unauthorized(REFUSED)

    @staticmethod
    def _placed(found: Any, scope: Scope) -> bool:
        """Whether the token will be for the project that was found.

        :raise Unauthorized: when the person may not enter the project that was asked for.
        """
        if found.project_id is not None and found.project_enabled and found.role_ids:
            return True
        if scope.kind in ("id", "name"):
            raise Unauthorized(REFUSED)
        return False

    async def _issue(self, ticket: _Ticket, address_subject: str) -> Issued:
        token = new_token()
        token_hash = hash_of(token)
        audit_ids = [new_audit_id()]
        if ticket.parent_audit_id is not None:
            audit_ids.append(ticket.parent_audit_id)
        generation = self._cache.generation
        by_secret = ticket.subject != ""
        values = {
            "hash": token_hash,
            "user_id": ticket.user_id,
            "project_id": ticket.project_id,
            "credential_id": ticket.credential_id,
            "methods": list(ticket.methods),
            "audit_ids": audit_ids,
            "lifetime_seconds": self._lifetime_seconds,
            "not_after": ticket.not_after,
            "password_hash": ticket.password_hash,
            "subject": ticket.subject,
            "address_subject": address_subject if by_secret else "",
            "name_limit": self._limits.name_failures,
            "address_limit": self._limits.address_failures,
            "window_seconds": self._limits.window_seconds,
            "had_failures": ticket.had_failures,
        }
        try:
            times = await tokens.issue(self._database, values)
        except ForeignKeyViolation:
            # The user, project or credential went away in this very moment.
            raise Unauthorized(REFUSED) from None
        if times is None:
            raise Unauthorized(REFUSED)
        who = Who(
            user_id=ticket.user_id,
            user_name=ticket.user_name,
            project_id=ticket.project_id,
            project_name=ticket.project_name,
            roles=frozenset(name for _, name in ticket.roles),
            expires_at=times.expires_at,
            token_hash=token_hash,
            methods=ticket.methods,
            audit_ids=tuple(audit_ids),
            issued_at=times.issued_at,
            application_credential_id=ticket.credential_id,
        )
        self._remember(who, times.remaining_seconds, generation)
        return Issued(who, ticket.roles, token)

    # -- tokens ----------------------------------------------------------------------------

    async def _read(self, token: str) -> Issued:
        if not is_token(token):
            raise Unauthorized(REFUSED)
        token_hash = hash_of(token)
        generation = self._cache.generation
        row = await tokens.read(self._database, token_hash)
        if row is None:
            raise Unauthorized(REFUSED)
        who = Who(
            user_id=row.user_id,
            user_name=row.user_name,
            project_id=row.project_id,
            project_name=row.project_name,
            roles=frozenset(row.role_names),
            expires_at=row.expires_at,
            token_hash=token_hash,
            methods=tuple(row.methods),
            audit_ids=tuple(row.audit_ids),
            issued_at=row.issued_at,
            application_credential_id=row.application_credential_id,
        )
        self._remember(who, row.remaining_seconds, generation)
        return Issued(who, tuple(zip(row.role_ids, row.role_names, strict=True)), token)

    def _remember(self, who: Who, remaining_seconds: float, generation: int) -> None:
        until = self._clock.seconds() + min(remaining_seconds, REREAD_SECONDS)
        self._cache.put(who.token_hash, who, until, generation)


def missing_token() -> NotFound:
    """The error for a token that somebody asks about and that does not exist."""
    return NotFound("Could not find the token.", "token")
