"""What Identity's OpenAPI document says of each endpoint."""

from __future__ import annotations

from cyclades_tx.api.documents import Document
from cyclades_tx.api.identity import bodies, documents
from cyclades_tx.api.openapi import Described, Reference, Schema, Shape, plain, shown, within

_TEXT: Schema = {"type": "string"}
_OBJECT: Schema = {"type": "object"}
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
    def shape(minor: int, admin: bool) -> Schema:
        items: Schema = {"type": "array", "items": document.schema(minor, admin)}
        return {
            "type": "object",
            "properties": {key: items, "links": _OBJECT},
            "required": [key, "links"],
            "additionalProperties": False,
        }

    return shape


_PROJECT = within("project", shown(documents.PROJECT))
_USER = within("user", shown(documents.USER))
_ROLE = within("role", shown(documents.ROLE))
_TOKEN = within("token", plain(_OBJECT))
_HELD = "/projects/<project_id>/users/<user_id>/roles"
_OWN = "/users/<user_id>/application_credentials"


def _made_credential(minor: int, admin: bool) -> Schema:
    found = documents.CREDENTIAL.schema(minor, admin)
    found["properties"] = {**found["properties"], "secret": _TEXT}
    return within("application_credential", plain(found))(minor, admin)


TABLE: dict[str, Described] = {
    "GET ": Described("The version.", reply=plain(_OBJECT)),
    "GET /openapi.json": Described("This document.", reply=plain(_OBJECT)),
    "POST /auth/tokens": Described(
        "Log in.", body=bodies.LoginBody, reply=_TOKEN, status=201, query=("nocatalog",)
    ),
    "GET /auth/tokens": Described("Show a token.", reply=_TOKEN, query=("nocatalog",)),
    "DELETE /auth/tokens": Described("Revoke a token.", status=204),
    "GET /auth/catalog": Described("Show the catalog.", reply=plain(_OBJECT)),
    "GET /auth/projects": Described(
        "List own projects.", reply=_list("projects", documents.PROJECT)
    ),
    "GET /auth/domains": Described("List domains.", reply=plain(_OBJECT)),
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
    "GET /users/<user_id>/groups": Described("List groups: none.", reply=plain(_OBJECT)),
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
    "GET /role_assignments": Described("List who has which role.", reply=plain(_OBJECT)),
}
for _path in ("domains", "services", "endpoints", "regions"):
    TABLE[f"GET /{_path}"] = Described(f"List {_path}.", reply=plain(_OBJECT))
    TABLE[f"GET /{_path}/<item_id>"] = Described(f"Show one of {_path}.", reply=plain(_OBJECT))

REFERENCE = Reference("Identity", "/identity/v3", TABLE, FAULT)
