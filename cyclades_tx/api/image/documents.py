"""Image's documents: their members, and the schemas that the service itself shows.

The expressions stand over the rows of ``image`` and ``image_member``.
"""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.documents import Document, Member
from cyclades_tx.model.image import CONTAINER_FORMATS, DISK_FORMATS, VISIBILITIES

_TIME: dict[str, Any] = {
    "type": "string",
    "readOnly": True,
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$",
}
_TEXT_OR_NULL: dict[str, Any] = {"type": ["null", "string"]}
_READ_ONLY_TEXT: dict[str, Any] = {"type": ["null", "string"], "readOnly": True}
_READ_ONLY_NUMBER: dict[str, Any] = {"type": ["null", "integer"], "readOnly": True}
_PATH: dict[str, Any] = {"type": "string", "readOnly": True}
_STATUSES = (
    "queued", "saving", "active", "killed", "deleted", "uploading", "importing", "deactivated",
)  # fmt: skip


def time(column: str) -> str:
    """The SQL of a moment as Image writes it."""
    return f"to_char({column} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"


IMAGE = Document(
    "Image",
    [
        Member("id", "image.uuid", {"type": "string"}),
        Member("name", "image.name", {"type": ["null", "string"], "maxLength": 255}),
        Member("status", "image.status", {"type": "string", "readOnly": True, "enum": _STATUSES}),
        Member("visibility", "image.visibility", {"type": "string", "enum": VISIBILITIES}),
        Member("owner", "image.project_id", _TEXT_OR_NULL),
        Member("protected", "image.protected", {"type": "boolean"}),
        Member("min_disk", "image.min_disk_gib", {"type": "integer"}),
        Member("min_ram", "image.min_memory_mib", {"type": "integer"}),
        Member("size", "image.size_bytes", _READ_ONLY_NUMBER),
        Member("virtual_size", "image.virtual_bytes", _READ_ONLY_NUMBER),
        Member("checksum", "image.md5", _READ_ONLY_TEXT),
        Member("os_hash_algo", "image.hash_algorithm", _READ_ONLY_TEXT),
        Member("os_hash_value", "image.hash_value", _READ_ONLY_TEXT),
        Member("os_hidden", "image.hidden", {"type": "boolean"}),
        Member(
            "disk_format",
            "image.disk_format",
            {"type": ["null", "string"], "enum": [None, *DISK_FORMATS]},
        ),
        Member(
            "container_format",
            "image.container_format",
            {"type": ["null", "string"], "enum": [None, *CONTAINER_FORMATS]},
        ),
        Member(
            "tags",
            "array(select t.tag from image_tag t where t.image_id = image.id order by t.tag)",
            {"type": "array", "items": {"type": "string", "maxLength": 255}},
        ),
        Member("created_at", time("image.created_at"), _TIME),
        Member("updated_at", time("image.updated_at"), _TIME),
        Member("self", "'/v2/images/' || image.uuid", _PATH),
        Member("file", "'/v2/images/' || image.uuid || '/file'", _PATH),
        Member("schema", "'/v2/schemas/image'", _PATH),
    ],
)

#: The SQL of an image's document: the members, and behind them its properties.
IMAGE_TEXT = (
    f"(left({IMAGE.text()}, -1) || coalesce((select string_agg(', ' || to_json(p.key)::text ||"
    " ': ' || to_json(p.value)::text, '' order by p.key) from image_property p"
    " where p.image_id = image.id), '') || '}')"
)

MEMBER = Document(
    "ImageMember",
    [
        Member("image_id", "image.uuid", _PATH),
        Member("member_id", "image_member.project_id", {"type": "string"}),
        Member(
            "status",
            "image_member.status",
            {"type": "string", "enum": ("pending", "accepted", "rejected")},
        ),
        Member("created_at", time("image_member.created_at"), _TIME),
        Member("updated_at", time("image_member.updated_at"), _TIME),
        Member("schema", "'/v2/schemas/member'", _PATH),
    ],
)


def _properties(document: Document) -> dict[str, Any]:
    return {member.name: member.schema for member in document.members}


def image_schema() -> dict[str, Any]:
    """What an image looks like: clients make their forms from it."""
    return {
        "name": "image",
        "properties": _properties(IMAGE),
        "additionalProperties": {"type": "string"},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


def member_schema() -> dict[str, Any]:
    """What a member of an image looks like."""
    return {"name": "member", "properties": _properties(MEMBER)}


def _plural(name: str, item: dict[str, Any], paged: bool) -> dict[str, Any]:
    pages = ("first", "next") if paged else ()
    return {
        "name": name,
        "properties": {
            name: {"type": "array", "items": item},
            **{each: {"type": "string"} for each in (*pages, "schema")},
        },
        "links": [
            *({"rel": each, "href": f"{{{each}}}"} for each in pages),
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


SCHEMAS: dict[str, dict[str, Any]] = {
    "image": image_schema(),
    "images": _plural("images", image_schema(), paged=True),
    "member": member_schema(),
    "members": _plural("members", member_schema(), paged=False),
}
