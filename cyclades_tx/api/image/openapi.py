"""What Image's OpenAPI document says of each endpoint."""

from __future__ import annotations

from cyclades_tx.api.image import documents
from cyclades_tx.api.openapi import REFUSED, Described, Reference, Schema, plain

_TEXT: Schema = {"type": "string"}
_OBJECT: Schema = {"type": "object"}
#: A page of HTML; clients look for what stands after its heading.
FAULT: Schema = _TEXT

#: Properties of its own stand beside the members of an image.
_IMAGE: Schema = {**documents.IMAGE.schema(), "additionalProperties": _TEXT}
_LATER = "Images are made by the operators' commands; this comes later."


def _page(key: str, item: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {
            key: {"type": "array", "items": item},
            "first": _TEXT,
            "next": _TEXT,
            "schema": _TEXT,
        },
        "required": [key, "schema"],
        "additionalProperties": False,
    }


TABLE: dict[str, Described] = {
    "GET ": Described("The versions.", reply=plain(_OBJECT), status=300),
    "GET /openapi.json": Described("This document.", reply=plain(_OBJECT)),
    "GET /images": Described(
        "List images.",
        reply=plain(_page("images", _IMAGE)),
        query=("limit", "marker", "sort_key", "sort_dir", "sort", "name", "status", "visibility",
               "owner", "tag", "os_hidden", "id", "protected", "size_min", "size_max"),
    ),
    "GET /images/<ref>": Described("Show an image.", reply=plain(_IMAGE)),
    "GET /images/<ref>/members": Described(
        "List members.", reply=plain(_page("members", documents.MEMBER.schema()))
    ),
    "GET /images/<ref>/members/<member>": Described(
        "Show a member.", reply=plain(documents.MEMBER.schema())
    ),
    "GET /schemas/<name>": Described("Show a schema.", reply=plain(_OBJECT)),
    "GET /info/import": Described("Ways to import.", reply=plain(_OBJECT), note="There are none."),
    "GET /info/stores": Described(
        "List stores.", support=REFUSED, note="404, as where there is one store."
    ),
}  # fmt: skip
for _name in (
    *("POST /images", "PATCH /images/<ref>", "DELETE /images/<ref>", "GET /images/<ref>/file"),
    *("PUT /images/<ref>/file", "POST /images/<ref>/actions/deactivate"),
    *("POST /images/<ref>/actions/reactivate", "PUT /images/<ref>/tags/<tag>"),
    *("DELETE /images/<ref>/tags/<tag>", "POST /images/<ref>/members"),
    *("PUT /images/<ref>/members/<member>", "DELETE /images/<ref>/members/<member>"),
):
    TABLE[_name] = Described("Make, change or delete images.", support=REFUSED, note=_LATER)

REFERENCE = Reference("Image", "/image/v2", TABLE, FAULT)
