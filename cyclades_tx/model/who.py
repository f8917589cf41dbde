"""Who asks: a user in a project, with roles."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

ADMIN = "admin"
MEMBER = "member"
READER = "reader"


@dataclass(frozen=True)
class Who:
    """The user behind a valid token, and the project that the token is for.

    :ivar project_id: 32 hex digits, or None for a token without scope.
    :ivar roles: names of the user's roles in that project at the moment of asking.
    :ivar token_hash: SHA-256 of the token, by which it is revoked; empty for operators' tools.
    """

    user_id: str
    user_name: str
    project_id: str | None
    project_name: str | None
    roles: frozenset[str]
    expires_at: datetime | None = None
    token_hash: bytes = b""
    methods: tuple[str, ...] = ()
    audit_ids: tuple[str, ...] = ()
    issued_at: datetime | None = None
    application_credential_id: str | None = None
    admin: bool = field(init=False)
    may_write: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "admin", ADMIN in self.roles)
        object.__setattr__(self, "may_write", bool(self.roles & {ADMIN, MEMBER}))

    @property
    def turn(self) -> str:
        """The line in which changes of this project wait for each other; empty: in none."""
        return self.project_id or ""
