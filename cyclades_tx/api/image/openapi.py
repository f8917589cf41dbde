"""What Image's OpenAPI document says of each endpoint."""

from __future__ import annotations

from cyclades_tx.api.image import changes, data, documents, members, new_image
from cyclades_tx.api.openapi import (
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
_WAYS = _record({"description": _TEXT, "type": _TEXT, "value": _array(_TEXT)})


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
    "POST /images": Described(
        "Create an image; its data come after it.",
        body=new_image.NewImage, reply=plain(_IMAGE), status=201,
        note="Further members are properties, each a text. An administrator can name any `owner`.",
    ),
    "PATCH /images/<ref>": Described(
        "Change an image by a JSON patch.",
        body=(list[changes.Operation], list[changes.DraftOperation]),
        media=(changes.CURRENT, changes.DRAFT), reply=plain(_IMAGE),
        note="The second form of operations is that of the second content type.",
    ),
    "DELETE /images/<ref>": Described("Delete an image.", status=204),
    "POST /images/<ref>/actions/deactivate": Described(
        "Let nobody have the data for a while.", status=204
    ),
    "POST /images/<ref>/actions/reactivate": Described("End that.", status=204),
    "PUT /images/<ref>/tags/<tag>": Described("Add a tag.", status=204),
    "DELETE /images/<ref>/tags/<tag>": Described("Remove a tag.", status=204),
    "PUT /images/<ref>/file": Described(
        "Send the data.", status=204, headers=("Content-MD5", "X-OpenStack-Image-Size"),
        note="As `application/octet-stream`, in chunks or with its length; `Content-MD5` (base64 or"
        " hexadecimal) is compared. 408 when it comes too slowly.",
    ),
    "GET /images/<ref>/file": Described(
        "Get the data.", reply=plain({"type": "string", "format": "binary"}), empty=(204,),
        also=(206,), content="application/octet-stream", headers=("Range", "If-Range"),
        note="204 for an image whose data lie elsewhere.",
    ),
    "PUT /images/<ref>/stage": Described(
        "Send the data, to be imported.", status=204,
        headers=("Content-MD5", "X-OpenStack-Image-Size"),
    ),
    "POST /images/<ref>/import": Described(
        "Use what was staged, or fetch the data from elsewhere.", body=data.Import, status=202,
        note="The methods are `glance-direct` and, where the operator allows places,"
        " `web-download`.",
    ),
    "GET /images/<ref>/members": Described(
        "List members.",
        reply=plain(_record({"members": _array(documents.MEMBER.schema()), "schema": _TEXT})),
    ),
    "GET /images/<ref>/members/<member>": Described(
        "Show a member.", reply=plain(documents.MEMBER.schema())
    ),
    "POST /images/<ref>/members": Described(
        "Share an image with a project.",
        body=members.NewMember, reply=plain(documents.MEMBER.schema()),
        note="The project must exist.",
    ),
    "PUT /images/<ref>/members/<member>": Described(
        "Accept or reject a shared image.",
        body=members.Answer, reply=plain(documents.MEMBER.schema()),
    ),
    "DELETE /images/<ref>/members/<member>": Described(
        "Share an image with a project no longer.", status=204
    ),
    "GET /schemas/<name>": Described("Show a schema.", reply=plain(_SCHEMA)),
    "GET /info/import": Described(
        "Ways to import.", reply=plain(_record({"import-methods": _WAYS})),
    ),
    "GET /info/stores": Described(
        "List stores.", support=REFUSED, note="404, as where there is one store."
    ),
}  # fmt: skip
REFERENCE = Reference("Image", "/image/v2", TABLE, FAULT, fault_content="text/html")
