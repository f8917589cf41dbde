"""What Image's OpenAPI document says of each endpoint."""

from __future__ import annotations

from cyclades_tx.api.image import documents
from cyclades_tx.api.openapi import (
    APPROXIMATED,
    DOCUMENT,
    REFUSED,
    Described,
    Reference,
    Schema,
    plain,
)

_TEXT: Schema = {"type": "string"}
#: A page of HTML; clients look for what stands after its heading.
FAULT: Schema = _TEXT

#: Properties of its own stand beside the members of an image.
_IMAGE: Schema = {**documents.IMAGE.schema(), "additionalProperties": _TEXT}
_LATER = "Images are made by the operators' commands; this comes later."


def _record(properties: Schema, *optional: str) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_LINKS = _array(_record({"rel": _TEXT, "href": _TEXT}))
_VERSIONS = _record({"versions": _array(_record({"id": _TEXT, "status": _TEXT, "links": _LINKS}))})
#: A schema of ours as a document: what stands in its properties is a schema again.
_SCHEMA = _record(
    {
        "name": _TEXT,
        "properties": {"type": "object", "additionalProperties": {"type": "object"}},
        "additionalProperties": {"enum": [{"type": "string"}]},
        "links": _LINKS,
    },
    "additionalProperties",
    "links",
)
_WAYS = _record({"description": _TEXT, "type": _TEXT, "value": {"type": "array", "maxItems": 0}})


TABLE: dict[str, Described] = {
    "GET ": Described("The versions.", reply=plain(_VERSIONS), status=300),
    "GET /openapi.json": DOCUMENT,
    "GET /images": Described(
        "List images.",
        reply=plain(
            _record(
                {"images": _array(_IMAGE), "first": _TEXT, "next": _TEXT, "schema": _TEXT}, "next"
            )
        ),
        query=("limit", "marker", "sort_key", "sort_dir", "sort", "name", "status", "visibility",
               "owner", "tag", "os_hidden", "id", "protected", "size_min", "size_max"),
    ),
    "GET /images/<ref>": Described("Show an image.", reply=plain(_IMAGE)),
    "GET /images/<ref>/file": Described(
        "Get the data.", status=204, support=APPROXIMATED, note="The clusters keep it: it is empty."
    ),
    "GET /images/<ref>/members": Described(
        "List members.",
        reply=plain(_record({"members": _array(documents.MEMBER.schema()), "schema": _TEXT})),
    ),
    "GET /images/<ref>/members/<member>": Described(
        "Show a member.", reply=plain(documents.MEMBER.schema())
    ),
    "GET /schemas/<name>": Described("Show a schema.", reply=plain(_SCHEMA)),
    "GET /info/import": Described(
        "Ways to import.", reply=plain(_record({"import-methods": _WAYS})), note="There are none."
    ),
    "GET /info/stores": Described(
        "List stores.", support=REFUSED, note="404, as where there is one store."
    ),
}  # fmt: skip
for _name in (
    *("POST /images", "PATCH /images/<ref>", "DELETE /images/<ref>"),
    *("PUT /images/<ref>/file", "POST /images/<ref>/actions/deactivate"),
    *("POST /images/<ref>/actions/reactivate", "PUT /images/<ref>/tags/<tag>"),
    *("DELETE /images/<ref>/tags/<tag>", "POST /images/<ref>/members"),
    *("PUT /images/<ref>/members/<member>", "DELETE /images/<ref>/members/<member>"),
):
    TABLE[_name] = Described("Make, change or delete images.", support=REFUSED, note=_LATER)

REFERENCE = Reference("Image", "/image/v2", TABLE, FAULT, fault_content="text/html")
