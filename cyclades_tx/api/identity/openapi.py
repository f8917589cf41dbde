"""What Identity's OpenAPI document says of each endpoint."""

from __future__ import annotations

from cyclades_tx.api.documents import Document
from cyclades_tx.api.identity import bodies, documents
from cyclades_tx.api.identity.documents import array, record
from cyclades_tx.api.openapi import (
    DOCUMENT,
    Described,
    Reference,
    Schema,
    Shape,
    plain,
    shown,
    within,
)

_TEXT: Schema = {"type": "string"}
FAULT: Schema = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {"code": {"type": "integer"}, "message": _TEXT, "title": _TEXT},
            "required": ["code", "message", "title"],
            "additionalProperties": False,
        }
    },
    "required": ["error"],
    "additionalProperties": False,
}


def _list(key: str, document: Document) -> Shape:
    return plain(_listed(key, document.schema()))


def _listed(key: str, item: Schema) -> Schema:
    return record(**{key: array(item), "links": documents.PAGES})


def _none(key: str) -> Shape:
    return plain(record(**{key: {"type": "array", "maxItems": 0}, "links": documents.PAGES}))


_PROJECT = within("project", shown(documents.PROJECT))
_USER = within("user", shown(documents.USER))
_ROLE = within("role", shown(documents.ROLE))
_TOKEN = plain(documents.token_schema())
_SUBJECT = ("X-Subject-Token",)
_VERSION = record(
    **dict.fromkeys(("id", "status", "updated"), _TEXT),
    links=array(record(rel=_TEXT, href=_TEXT)),
    **{"media-types": array(record(base=_TEXT, type=_TEXT))},
)
_ASSIGNMENTS: Schema = {
    "anyOf": [
        _listed("role_assignments", each.schema())
        for each in (documents.ASSIGNMENT, documents.NAMED_ASSIGNMENT)
    ]
}
_HELD = "/projects/<project_id>/users/<user_id>/roles"
_OWN = "/users/<user_id>/application_credentials"


def _made_credential(minor: int, admin: bool) -> Schema:
    found = documents.CREDENTIAL.schema(minor, admin)
    found["properties"] = {**found["properties"], "secret": _TEXT}
    return within("application_credential", plain(found))(minor, admin)


TABLE: dict[str, Described] = {
    "GET ": Described("The version.", reply=plain(record(version=_VERSION))),
    "GET /openapi.json": DOCUMENT,
    "POST /auth/tokens": Described(
        "Log in.", body=bodies.LoginBody, reply=_TOKEN, status=201, query=("nocatalog",)
    ),
    "GET /auth/tokens": Described(
        "Show a token.", reply=_TOKEN, query=("nocatalog",), headers=_SUBJECT
    ),
    "DELETE /auth/tokens": Described("Revoke a token.", status=204, headers=_SUBJECT),
    "GET /auth/catalog": Described(
        "Show the catalog.",
        reply=plain(record(catalog=documents.CATALOG, links=documents.PAGES)),
    ),
    "GET /auth/projects": Described(
        "List own projects.", reply=_list("projects", documents.PROJECT)
    ),
    "GET /auth/domains": Described("List domains: none.", reply=_none("domains")),
    "GET /projects": Described(
        "List projects.", reply=_list("projects", documents.PROJECT), query=("name", "enabled")
    ),
    "POST /projects": Described(
        "Make a project.", body=bodies._Project, reply=_PROJECT, status=201
    ),
    "GET /projects/<project_id>": Described("Show a project.", reply=_PROJECT),
    "PATCH /projects/<project_id>": Described(
        "Change a project.", body=bodies._ProjectChange, reply=_PROJECT
    ),
    "DELETE /projects/<project_id>": Described("Delete a project.", status=204),
    f"GET {_HELD}": Described("List roles of a user.", reply=_list("roles", documents.ROLE)),
    f"GET {_HELD}/<role_id>": Described("Whether a user has a role.", status=204),
    f"PUT {_HELD}/<role_id>": Described("Give a role.", status=204),
    f"DELETE {_HELD}/<role_id>": Described("Take a role.", status=204),
    "GET /users": Described(
        "List users.", reply=_list("users", documents.USER), query=("name", "enabled")
    ),
    "POST /users": Described("Make a user.", body=bodies._User, reply=_USER, status=201),
    "GET /users/<user_id>": Described("Show a user.", reply=_USER),
    "PATCH /users/<user_id>": Described("Change a user.", body=bodies._UserChange, reply=_USER),
    "DELETE /users/<user_id>": Described("Delete a user.", status=204),
    "POST /users/<user_id>/password": Described(
        "Change the own password.", body=bodies._PasswordChange, status=204
    ),
    "GET /users/<user_id>/projects": Described(
        "List the projects of a user.", reply=_list("projects", documents.PROJECT)
    ),
    "GET /users/<user_id>/groups": Described("List groups: none.", reply=_none("groups")),
    "GET /users/<user_id>/access_rules": Described(
        "List access rules: none.", reply=_none("access_rules")
    ),
    "GET /groups": Described("List all groups: none.", reply=_none("groups")),
    f"GET {_OWN}": Described(
        "List application credentials.",
        reply=_list("application_credentials", documents.CREDENTIAL),
    ),
    f"POST {_OWN}": Described(
        "Make an application credential.",
        body=bodies._Credential,
        reply=_made_credential,
        status=201,
    ),
    f"GET {_OWN}/<credential_id>": Described(
        "Show an application credential.",
        reply=within("application_credential", shown(documents.CREDENTIAL)),
    ),
    f"DELETE {_OWN}/<credential_id>": Described("Delete it.", status=204),
    "GET /roles": Described("List roles.", reply=_list("roles", documents.ROLE)),
    "POST /roles": Described("Make a role.", body=bodies._Role, reply=_ROLE, status=201),
    "GET /roles/<role_id>": Described("Show a role.", reply=_ROLE),
    "PATCH /roles/<role_id>": Described("Rename a role.", body=bodies._Role, reply=_ROLE),
    "DELETE /roles/<role_id>": Described("Delete a role.", status=204),
    "GET /role_assignments": Described(
        "List who has which role.",
        reply=plain(_ASSIGNMENTS),
        query=("user.id", "scope.project.id", "role.id", "include_names"),
    ),
}
for _kind, _schema in documents.READ_ONLY.items():
    TABLE[f"GET /{_kind}s"] = Described(
        f"List {_kind}s.", reply=plain(_listed(_kind + "s", _schema))
    )
    TABLE[f"GET /{_kind}s/<item_id>"] = Described(
        f"Show one of {_kind}s.", reply=plain(record(**{_kind: _schema}))
    )

REFERENCE = Reference("Identity", "/identity/v3", TABLE, FAULT)
