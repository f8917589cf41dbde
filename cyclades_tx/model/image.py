"""What an image may be: its words, its limits, and what a change of it comes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, TooLarge

DiskFormat = Literal[
    "raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "iso", "ploop", "ami", "ari", "aki",
    # what the deployment tools of Ganeti's images call theirs
    "diskdump", "extdump", "ntfsdump", "none",
]  # fmt: skip
ContainerFormat = Literal["bare", "ami", "ari", "aki", "ovf", "ova", "docker"]
Visibility = Literal["public", "private", "shared", "community"]
#: What a project may answer when an image is shared with it.
MemberStatus = Literal["pending", "accepted", "rejected"]

DISK_FORMATS: tuple[str, ...] = get_args(DiskFormat)
CONTAINER_FORMATS: tuple[str, ...] = get_args(ContainerFormat)
VISIBILITIES: tuple[str, ...] = get_args(Visibility)
MEMBER_STATES: tuple[str, ...] = get_args(MemberStatus)

#: What the deployment tool calls the formats that clients have other words for: a raw image is
#: the dump of a whole disk.
_DEPLOYED = {"raw": "diskdump", None: "none"}

#: Which column each attribute is that can be written.
COLUMNS = {
    "name": "name",
    "visibility": "visibility",
    "protected": "protected",
    "os_hidden": "hidden",
    "min_disk": "min_disk_gib",
    "min_ram": "min_memory_mib",
    "disk_format": "disk_format",
    "container_format": "container_format",
    "owner": "project_id",
}
#: What a document shows and nobody writes.
READ_ONLY = frozenset(
    (
        "id", "created_at", "updated_at", "status", "checksum", "size", "virtual_size",
        "os_hash_algo", "os_hash_value", "direct_url", "self", "file", "schema", "stores",
    )
)  # fmt: skip
#: Words of the service itself and of its lists, so that no property has them.
RESERVED_WORDS = frozenset(
    (
        "location", "locations", "deleted", "deleted_at", "limit", "marker", "sort", "sort_key",
        "sort_dir", "member_status", "tag", "size_min", "size_max",
    )
)  # fmt: skip
#: Every name that is not a property's.
RESERVED = frozenset((*COLUMNS, "tags", *READ_ONLY, *RESERVED_WORDS))
_RESERVED_BEGINNING = "os_glance"
#: What only an image without data can have changed.
_FORMATS = ("disk_format", "container_format")

TEXT_LIMIT = 255
_LOCATION_LIMIT = 4096
_MOST_INTEGER = 2**31 - 1
VALUE_LIMIT = 65_535
#: Of each image; the reference's own limits.
MOST_PROPERTIES = 128
MOST_TAGS = 128
MOST_MEMBERS = 128
#: Of each project.
MOST_IMAGES = 1000
#: In one request.
MOST_CHANGES = 512


@dataclass(frozen=True)
class Change:
    """One operation of a JSON patch on an attribute or property.

    :ivar op: ``add``, ``replace`` or ``remove``.
    :ivar name: of the attribute or property; ``locations``: where its data lie already.
    :ivar value: what it will be; of the right type if it is an attribute; a URL.
    :ivar anew: whether ``add`` replaces what is there already (it does since version 2.1).
    """

    op: str
    name: str
    value: Any = None
    anew: bool = True


@dataclass
class Draft:
    """An image as it was read, and as it will be.

    :ivar status: in which it is.
    :ivar columns: what has changed, by the name of the attribute.
    :ivar location: where its data lie, as somebody says now.
    """

    status: str
    properties: dict[str, str]
    tags: tuple[str, ...]
    columns: dict[str, Any] = field(default_factory=dict)
    location: str | None = None

    def apply(self, changes: Iterable[Change]) -> None:
        """Make the changes, one after the other.

        :raise Forbidden: for what cannot be removed, or not be changed in this status.
        :raise Conflict: for a property that is not there, or is there already.
        :raise TooLarge: when there are more properties or tags than an image may have.
        """
        before = len(self.properties), len(self.tags)
        for change in changes:
            if change.name == "locations":
                self._locate(change)
                continue
            check_writable(change.name)
            if change.name in COLUMNS or change.name == "tags":
                self._attribute(change)
            else:
                self._property(change)
        check_counts(self.properties, self.tags, *before)

    def _locate(self, change: Change) -> None:
        if change.op == "remove":
            raise Forbidden("It's not allowed to remove locations if locations are invisible.")
        if self.status != "queued" or self.location is not None:
            raise Conflict("Only an image that waits for its data can be given a location.")
        self.location = change.value

    def _attribute(self, change: Change) -> None:
        name = change.name
        if change.op == "remove":
            raise Forbidden(f"Property {name} may not be removed.")
        if change.op == "add" and not change.anew:
            raise Conflict(f"Property {name} already present.")
        if name in _FORMATS and self.status != "queued":
            raise Forbidden(f"Attribute {name} can be only replaced for a queued image.")
        if name == "tags":
            self.tags = tuple(dict.fromkeys(change.value))
        else:
            self.columns[name] = change.value

    def _property(self, change: Change) -> None:
        name, there = change.name, change.name in self.properties
        if change.op == "add":
            if there and not change.anew:
                raise Conflict(f"Property {name} already present.")
        elif not there:
            raise Conflict(f"Property {name} does not exist.")
        if change.op == "remove":
            del self.properties[name]
        else:
            check_property(name, change.value)
            self.properties[name] = change.value


def deployed_format(disk_format: str | None) -> str:
    """The format of an image in the words of Ganeti's OS definition (``img_format``)."""
    return _DEPLOYED.get(disk_format, disk_format or "none")


def check_writable(name: str) -> None:
    """See that an attribute or property is one that people write.

    :raise Forbidden: when it is not.
    """
    if name in READ_ONLY:
        raise Forbidden(f"Attribute '{name}' is read-only.")
    if name in RESERVED_WORDS or name.startswith(_RESERVED_BEGINNING):
        raise Forbidden(f"Attribute '{name[:TEXT_LIMIT]}' is reserved.")


def check_property(name: str, value: Any) -> None:
    """See that a property can be kept.

    :raise BadRequest: when not.
    """
    check_text("property", name)
    if not isinstance(value, str):
        raise BadRequest(f"The value of the property {name!r} must be a text.")
    if len(value) > VALUE_LIMIT or "\0" in value:
        raise BadRequest(
            f"The value of {name!r} is longer than {VALUE_LIMIT} characters or holds a NUL."
        )


def check_text(what: str, text: str, limit: int = TEXT_LIMIT) -> None:
    """See that a text is neither empty nor too long, nor more than one line.

    :raise BadRequest: when it is.
    """
    if not 1 <= len(text) <= limit or any(ord(character) < ord(" ") for character in text):
        raise BadRequest(f"The {what} must have 1 to {limit} characters and no control characters.")


def check_counts(
    properties: Mapping[str, str],
    tags: Iterable[str],
    properties_before: int = 0,
    tags_before: int = 0,
) -> None:
    """See that an image has not more of anything than it may.

    :param properties_before: how many it has; who has too many may still have fewer.
    :raise TooLarge: when it has.
    """
    for what, count, before, most in (
        ("properties", len(properties), properties_before, MOST_PROPERTIES),
        ("tags", len(tuple(tags)), tags_before, MOST_TAGS),
    ):
        if count > most and count > before:
            raise TooLarge(f"An image has at most {most} {what}; {count} are too many.")


def check_registered(
    columns: Mapping[str, Any], properties: Mapping[str, str], tags: tuple[str, ...]
) -> None:
    """See that an image can be kept as the operator wants it.

    :param columns: by their own names; those that are not there are not looked at.
    :raise BadRequest: names what cannot be.
    """
    for name, allowed in (
        ("disk_format", DISK_FORMATS),
        ("container_format", CONTAINER_FORMATS),
        ("visibility", VISIBILITIES),
    ):
        if name in columns and columns[name] not in allowed:
            raise BadRequest(
                f"{str(columns[name])[:80]!r} is no {name.replace('_', ' ')}: use one of"
                f" {', '.join(allowed)}."
            )
    for name in ("min_disk_gib", "min_memory_mib"):
        if name in columns and not 0 <= columns[name] <= _MOST_INTEGER:
            raise BadRequest(f"{name} must be from 0 to {_MOST_INTEGER}.")
    if (columns.get("size_bytes") or 0) < 0:
        raise BadRequest("size_bytes must not be negative.")
    check_text("name", columns.get("name", "x"))
    check_text("location", columns.get("location", "x"), _LOCATION_LIMIT)
    if len(properties) > MOST_PROPERTIES or len(tags) > MOST_TAGS:
        raise BadRequest(f"An image has at most {MOST_PROPERTIES} properties and {MOST_TAGS} tags.")
    for key, value in properties.items():
        check_property(key, value)
        if key in RESERVED:
            raise BadRequest(
                f"An image can have no property {key!r}: the name means something else."
            )
    for tag in tags:
        check_text("tag", tag)
