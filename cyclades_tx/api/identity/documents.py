"""The documents of Identity: members and their SQL; those of a token are put together here.

The placeholder of each document is the base URL of the service.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cyclades_tx.api.documents import Document, Member, many
from cyclades_tx.identity.catalog import Catalog
from cyclades_tx.identity.logins import Issued

DOMAIN_ID = "default"
DOMAIN = {"id": DOMAIN_ID, "name": "Default"}

_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_TRUTH = {"type": "boolean"}
_NOTHING = {"type": "array", "maxItems": 0}
_NULL = {"type": "null"}
_ID = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_MICROSECONDS = """'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""


def record(**properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }


def array(items: dict[str, Any]) -> dict[str, Any]:
    """The schema of an array."""
    return {"type": "array", "items": items}


_EMPTY = record()
_DOMAIN = record(id=_TEXT, name=_TEXT)
#: The links of a thing, and those of a list.
SELF = record(self=_TEXT)
PAGES = record(self=_TEXT, previous=_NULL, next=_NULL)


def _links(path: str) -> Member:
    return Member("links", f"json_build_object('self', %s::text || {path})", SELF)


PROJECT = Document(
    "Project",
    [
        Member("id", "p.id", _ID),
        Member("name", "p.name", _TEXT),
        Member("domain_id", "'default'", _TEXT),
        Member("description", "p.description", _TEXT),
        Member("enabled", "p.enabled", _TRUTH),
        Member("parent_id", "'default'", _TEXT),
        Member("is_domain", "false", _TRUTH),
        Member("tags", "'[]'::json", _NOTHING),
        Member("options", "'{}'::json", _EMPTY),
        _links("'/identity/v3/projects/' || p.id"),
    ],
)

USER = Document(
    "User",
    [
        Member("id", "u.id", _ID),
        Member("name", "u.name", _TEXT),
        Member("domain_id", "'default'", _TEXT),
        Member("description", "u.description", _TEXT),
        Member("email", "u.email", _TEXT_OR_NULL),
        Member("enabled", "u.enabled", _TRUTH),
        Member("default_project_id", "u.default_project_id", _TEXT_OR_NULL),
        Member("password_expires_at", "null", _NULL),
        Member("options", "'{}'::json", _EMPTY),
        _links("'/identity/v3/users/' || u.id"),
    ],
)

ROLE = Document(
    "Role",
    [
        Member("id", "r.id", _ID),
        Member("name", "r.name", _TEXT),
        Member("domain_id", "null", _NULL),
        Member("description", "null", _NULL),
        Member("options", "'{}'::json", _EMPTY),
        _links("'/identity/v3/roles/' || r.id"),
    ],
)

_ASSIGNMENT_LINK = Member(
    "links",
    "json_build_object('assignment', %s::text || '/identity/v3/projects/' || p.id"
    " || '/users/' || u.id || '/roles/' || r.id)",
    record(assignment=_TEXT),
)

ASSIGNMENT = Document(
    "RoleAssignment",
    [
        Member("role", "json_build_object('id', r.id)", record(id=_ID)),
        Member("user", "json_build_object('id', u.id)", record(id=_ID)),
        Member(
            "scope",
            "json_build_object('project', json_build_object('id', p.id))",
            record(project=record(id=_ID)),
        ),
        _ASSIGNMENT_LINK,
    ],
)

_NAMED = record(id=_ID, name=_TEXT, domain=_DOMAIN)
_DOMAIN_SQL = "json_build_object('id', 'default', 'name', 'Default')"

NAMED_ASSIGNMENT = Document(
    "NamedRoleAssignment",
    [
        Member("role", "json_build_object('id', r.id, 'name', r.name)", record(id=_ID, name=_TEXT)),
        Member(
            "user",
            f"json_build_object('id', u.id, 'name', u.name, 'domain', {_DOMAIN_SQL})",
            _NAMED,
        ),
        Member(
            "scope",
            "json_build_object('project', json_build_object('id', p.id, 'name', p.name,"
            f" 'domain', {_DOMAIN_SQL}))",
            record(project=_NAMED),
        ),
        _ASSIGNMENT_LINK,
    ],
)

CREDENTIAL = Document(
    "ApplicationCredential",
    [
        Member("id", "c.id", _ID),
        Member("name", "c.name", _TEXT),
        Member("description", "c.description", _TEXT),
        Member("user_id", "c.user_id", _ID),
        Member("project_id", "c.project_id", _ID),
        Member(
            "roles",
            "(select coalesce(json_agg(json_build_object('id', r.id, 'name', r.name,"
            " 'domain_id', null) order by r.name), '[]'::json)"
            " from role r where r.id::text = any (c.role_ids))",
            array(record(id=_ID, name=_TEXT, domain_id=_NULL)),
        ),
        Member("access_rules", "'[]'::json", _NOTHING),
        Member("unrestricted", "c.unrestricted", _TRUTH),
        Member(
            "expires_at",
            f"to_char(c.expires_at at time zone 'UTC', {_MICROSECONDS})",
            _TEXT_OR_NULL,
        ),
        _links("'/identity/v3/users/' || c.user_id || '/application_credentials/' || c.id"),
    ],
)


#: The catalog in a token, as ``Catalog.entries`` writes it.
_ENDPOINT_FACTS = dict.fromkeys(("id", "interface", "region", "region_id", "url"), _TEXT)
CATALOG = array(
    record(id=_TEXT, type=_TEXT, name=_TEXT, endpoints=array(record(**_ENDPOINT_FACTS)))
)
#: One thing of a kind that is only read.
READ_ONLY = {
    "domain": record(
        **{**dict.fromkeys(("id", "name", "description"), _TEXT), "enabled": _TRUTH},
        tags=_NOTHING,
        options=_EMPTY,
        links=SELF,
    ),
    "service": record(
        **dict.fromkeys(("id", "type", "name", "description"), _TEXT), enabled=_TRUTH, links=SELF
    ),
    "endpoint": record(**_ENDPOINT_FACTS, service_id=_TEXT, enabled=_TRUTH, links=SELF),
    "region": record(id=_TEXT, description=_TEXT, parent_region_id=_NULL, links=SELF),
}


def token_schema() -> dict[str, Any]:
    """What :func:`token_document` writes: with a project all of what belongs to one."""
    always = {
        "methods": array(_TEXT),
        "user": record(id=_ID, name=_TEXT, domain=_DOMAIN, password_expires_at=_NULL),
        "audit_ids": array(_TEXT),
        "issued_at": _TEXT_OR_NULL,
        "expires_at": _TEXT_OR_NULL,
    }
    scoped = record(
        **always,
        project=_NAMED,
        is_domain={"enum": [False]},
        roles=array(record(id=_ID, name=_TEXT)),
    )
    # Left out where it is not asked for, and where there was none.
    scoped["properties"] |= {"catalog": CATALOG, "application_credential": record(id=_ID)}
    return record(token={"anyOf": [record(**always), scoped]})


def listing(key: str) -> str:
    """The SQL of a list: rows named ``listed``; the placeholder is the list's own URL."""
    items = many("listed.document", "listed.name, listed.id")
    return (
        "json_build_object('links', json_build_object('self', %s::text, 'previous', null,"
        f" 'next', null), '{key}', ({items})::json)::text"
    )


def list_document(key: str, items: list[Any], self_url: str) -> dict[str, Any]:
    """A list that is not in the database, as the others look."""
    return {"links": {"self": self_url, "previous": None, "next": None}, key: items}


def time_text(at: datetime) -> str:
    """A time as Identity writes it: UTC, six digits, ``Z``."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def token_document(issued: Issued, catalog: Catalog | None) -> dict[str, Any]:
    """Everything about a token except its text.

    :param catalog: None: without it, as ``?nocatalog`` asks for.
    """
    who = issued.who
    token: dict[str, Any] = {
        "methods": list(who.methods),
        "user": {
            "id": who.user_id,
            "name": who.user_name,
            "domain": DOMAIN,
            "password_expires_at": None,
        },
        "audit_ids": list(who.audit_ids),
        "issued_at": time_text(who.issued_at) if who.issued_at else None,
        "expires_at": time_text(who.expires_at) if who.expires_at else None,
    }
    if who.project_id is not None:
        token["project"] = {"id": who.project_id, "name": who.project_name, "domain": DOMAIN}
        token["is_domain"] = False
        token["roles"] = [{"id": role_id, "name": name} for role_id, name in issued.roles]
        if catalog is not None:
            token["catalog"] = catalog.entries(who.project_id)
    if who.application_credential_id is not None:
        token["application_credential"] = {"id": who.application_credential_id}
    return {"token": token}
