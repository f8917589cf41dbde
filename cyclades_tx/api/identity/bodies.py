"""The bodies that Identity reads: unknown keys are ignored, a null is as good as nothing."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from cyclades_tx.api.identity.documents import DOMAIN, DOMAIN_ID
from cyclades_tx.errors import BadRequest, NotFound, Unauthorized
from cyclades_tx.identity.local import REFUSED
from cyclades_tx.identity.logins import (
    DEFAULT,
    UNSCOPED,
    CredentialLogin,
    Login,
    PasswordLogin,
    Person,
    Scope,
    TokenLogin,
)

Name = Annotated[str, Meta(min_length=1, max_length=255)]
Text = Annotated[str, Meta(max_length=4096)]
Secret = Annotated[str, Meta(min_length=1, max_length=1024)]
Shown = Annotated[str, Meta(max_length=4096)]
Id = Annotated[str, Meta(max_length=255)]


class Domain(Struct):
    """A domain, by id or name."""

    id: Text | None = None
    name: Text | None = None


class UserBody(Struct):
    """Who logs in."""

    id: Name | None = None
    name: Name | None = None
    domain: Domain | None = None
    password: Shown | None = None


class PasswordBody(Struct):
    """The method ``password``."""

    user: UserBody


class TokenBody(Struct):
    """The method ``token``."""

    id: Shown


class CredentialBody(Struct):
    """The method ``application_credential``."""

    secret: Shown
    id: Name | None = None
    name: Name | None = None
    user: UserBody | None = None


class IdentityBody(Struct):
    """What somebody shows."""

    methods: Annotated[list[Name], Meta(max_length=20)]
    password: PasswordBody | None = None
    token: TokenBody | None = None
    application_credential: CredentialBody | None = None


class ProjectScope(Struct):
    """The project that a token is for."""

    id: Name | None = None
    name: Name | None = None
    domain: Domain | None = None


class ScopeBody(Struct):
    """What a token is for."""

    project: ProjectScope | None = None
    domain: dict[str, Any] | None = None
    system: dict[str, Any] | None = None
    trust: dict[str, Any] | None = field(default=None, name="OS-TRUST:trust")


class AuthBody(Struct):
    """A login."""

    identity: IdentityBody
    scope: ScopeBody | Literal["unscoped"] | None = None


class LoginBody(Struct):
    """``POST /v3/auth/tokens``."""

    auth: AuthBody


class NewProject(Struct):
    """A project to make."""

    name: Name
    description: Text | None = None
    enabled: bool | None = None
    domain_id: Id | None = None
    parent_id: Id | None = None
    is_domain: bool | None = None


class ProjectChange(Struct):
    """What is to be different about a project."""

    name: Name | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    domain_id: Id | None = None
    parent_id: Id | None = None
    is_domain: bool | None = None


class NewUser(Struct):
    """A user to make."""

    name: Name
    password: Secret | None = None
    description: Text | None = None
    email: Name | None = None
    enabled: bool | None = None
    default_project_id: Id | None = None
    domain_id: Id | None = None


class UserChange(Struct):
    """What is to be different about a user."""

    name: Name | UnsetType = UNSET
    password: Secret | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET
    email: Name | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    default_project_id: Id | UnsetType | None = UNSET
    domain_id: Id | None = None


class PasswordChange(Struct):
    """A user's new password, and the old one as a proof."""

    password: Secret
    original_password: Shown


class RoleBody(Struct):
    """A role to make or to rename."""

    name: Name
    domain_id: Id | None = None


class RoleRef(Struct):
    """A role, by id or name."""

    id: Name | None = None
    name: Name | None = None


class NewCredentialBody(Struct):
    """An application credential to make."""

    name: Name
    description: Text | None = None
    secret: Secret | None = None
    roles: Annotated[list[RoleRef], Meta(max_length=100)] | None = None
    access_rules: list[Any] | None = None
    unrestricted: bool | None = None
    expires_at: Text | None = None


class _Project(Struct):
    project: NewProject


class _ProjectChange(Struct):
    project: ProjectChange


class _User(Struct):
    user: NewUser


class _UserChange(Struct):
    user: UserChange


class _PasswordChange(Struct):
    user: PasswordChange


class _Role(Struct):
    role: RoleBody


class _Credential(Struct):
    application_credential: NewCredentialBody


LOGIN = msgspec.json.Decoder(LoginBody)
PROJECT = msgspec.json.Decoder(_Project)
PROJECT_CHANGE = msgspec.json.Decoder(_ProjectChange)
USER = msgspec.json.Decoder(_User)
USER_CHANGE = msgspec.json.Decoder(_UserChange)
PASSWORD_CHANGE = msgspec.json.Decoder(_PasswordChange)
ROLE = msgspec.json.Decoder(_Role)
CREDENTIAL = msgspec.json.Decoder(_Credential)


def given(change: Struct, *names: str) -> dict[str, Any]:
    """The properties of a change that were sent, of those that can be changed."""
    return {name: getattr(change, name) for name in names if getattr(change, name) is not UNSET}


def check_domain(domain_id: str | None) -> None:
    """Accept the one domain that there is, or none.

    :raise NotFound: for any other.
    """
    if domain_id not in (None, DOMAIN_ID):
        raise NotFound(f"Could not find domain: {domain_id}.", "domain")


def login_of(body: AuthBody) -> Login:
    """What somebody shows in order to log in.

    :raise BadRequest: when something is missing.
    :raise Unauthorized: for a method or a domain that does not exist.
    """
    identity = body.identity
    if not identity.methods:
        raise BadRequest("The list of methods is empty.")
    if len(identity.methods) > 1:
        raise Unauthorized("Attempted to authenticate with an unsupported method.")
    method = identity.methods[0]
    if method == "password":
        if identity.password is None:
            raise BadRequest("The properties of the method 'password' are missing.")
        user = identity.password.user
        if user.password is None:
            raise BadRequest("The password is missing.")
        return PasswordLogin(_person(user), user.password)
    if method == "token":
        if identity.token is None:
            raise BadRequest("The properties of the method 'token' are missing.")
        return TokenLogin(identity.token.id)
    if method == "application_credential":
        credential = identity.application_credential
        if credential is None:
            raise BadRequest("The properties of the method 'application_credential' are missing.")
        if credential.id is not None:
            return CredentialLogin(credential.id, None, credential.secret)
        if credential.name is None or credential.user is None:
            raise BadRequest("An application credential needs an id, or a name and a user.")
        return CredentialLogin(credential.name, _person(credential.user), credential.secret)
    raise Unauthorized("Attempted to authenticate with an unsupported method.")


def scope_of(body: AuthBody) -> Scope:
    """What the token shall be for.

    :raise BadRequest: when that is not said clearly.
    :raise Unauthorized: for scopes that nobody may have here.
    """
    scope = body.scope
    if scope is None:
        # A token changes its scope only when it is told to.
        return UNSCOPED if body.identity.methods == ["token"] else DEFAULT
    if isinstance(scope, str):
        return UNSCOPED
    parts = (scope.project, scope.domain, scope.system, scope.trust)
    if sum(part is not None for part in parts) != 1:
        raise BadRequest("A scope names exactly one of project, domain and system.")
    project = scope.project
    if project is None:
        raise Unauthorized(REFUSED)
    if project.id is not None:
        return Scope("id", project.id)
    if project.name is None:
        raise BadRequest("The project of the scope needs an id or a name.")
    _check_login_domain(project.domain)
    return Scope("name", project.name)


def _person(user: UserBody) -> Person:
    if user.id is not None:
        return Person("id", user.id)
    if user.name is None:
        raise BadRequest("A user needs an id or a name.")
    _check_login_domain(user.domain)
    return Person("name", user.name)


def _check_login_domain(domain: Domain | None) -> None:
    if domain is None:
        return
    if domain.id is None and domain.name is None:
        raise BadRequest("A domain needs an id or a name.")
    said = domain.id if domain.id is not None else domain.name
    known = DOMAIN["id"] if domain.id is not None else DOMAIN["name"]
    if said is None or said.casefold() != known.casefold():
        raise Unauthorized(REFUSED)
