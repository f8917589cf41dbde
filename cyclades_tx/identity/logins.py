"""What somebody shows in order to log in, what for, and what they get."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cyclades_tx.model.who import Who


@dataclass(frozen=True)
class Person:
    """A user, by id or by name.

    :param value: the id or the name.
    """

    by: Literal["id", "name"]
    value: str


@dataclass(frozen=True)
class PasswordLogin:
    """A user and a password."""

    person: Person
    password: str = field(repr=False)


@dataclass(frozen=True)
class TokenLogin:
    """A token that the person has, to get one for another project."""

    token: str = field(repr=False)


@dataclass(frozen=True)
class CredentialLogin:
    """An application credential by its id, or by its name and its user.

    :param person: the user, when ``value`` is the credential's name; None: it is its id.
    """

    value: str
    person: Person | None
    secret: str = field(repr=False)


Login = PasswordLogin | TokenLogin | CredentialLogin


@dataclass(frozen=True)
class Scope:
    """What a token is for.

    :param kind: a project by ``id`` or ``name``, the user's ``default`` project if there is one
        that the user may enter, or nothing (``unscoped``).
    """

    kind: Literal["id", "name", "default", "unscoped"]
    value: str = ""


DEFAULT = Scope("default")
UNSCOPED = Scope("unscoped")


@dataclass(frozen=True)
class Issued:
    """A token with everything that its document says.

    :param roles: (id, name) of each role, by name.
    """

    who: Who
    roles: tuple[tuple[str, str], ...]
    token: str = field(repr=False)
