"""``POST /images``: the body of a new image, whose properties stand beside its attributes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from cyclades_tx.api.call import Call
from cyclades_tx.api.errors import HttpError
from cyclades_tx.errors import BadRequest
from cyclades_tx.model.image import COLUMNS, ContainerFormat, DiskFormat, Visibility

Name = Annotated[str, Meta(max_length=255)]
Tag = Annotated[str, Meta(min_length=1, max_length=255)]
Size = Annotated[int, Meta(ge=0, le=2**31 - 1)]

_ANYTHING: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


class Attributes(Struct, kw_only=True):
    """What every image has and people write; whatever else stands there is a property."""

    name: Name | UnsetType | None = UNSET
    visibility: Visibility | UnsetType = UNSET
    protected: bool | UnsetType = UNSET
    os_hidden: bool | UnsetType = UNSET
    min_disk: Size | UnsetType = UNSET
    min_ram: Size | UnsetType = UNSET
    disk_format: DiskFormat | UnsetType | None = UNSET
    container_format: ContainerFormat | UnsetType | None = UNSET
    owner: str | UnsetType | None = UNSET
    tags: list[Tag] | UnsetType = UNSET


class NewImage(Attributes, kw_only=True):
    """The body of a POST.

    :ivar id: which one it shall have.
    """

    id: str | UnsetType = UNSET


#: The names that are no properties.
NAMES = frozenset(NewImage.__struct_fields__)


def read(call: Call) -> tuple[NewImage, dict[str, Any]]:
    """The body: attributes of the right types, and what may be properties.

    :raise HttpError: 415 for another encoding than UTF-8.
    :raise BadRequest: when an attribute has a wrong type.
    """
    plain(call)
    body = call.json(_ANYTHING)
    attributes = {name: value for name, value in body.items() if name in NAMES}
    rest = {name: value for name, value in body.items() if name not in NAMES}
    return fitting(attributes, NewImage), rest


def plain(call: Call) -> None:
    """See that a body is not said to be in another encoding than JSON's.

    :raise HttpError: 415 when it is.
    """
    for parameter in (call.header("content-type") or "").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip('" ').lower() not in ("utf-8", "utf8"):
            raise HttpError(415, "Unsupported charset: send JSON in UTF-8.")


def fitting(attributes: dict[str, Any], kind: type[Any] = Attributes) -> Any:
    """Attributes as the structure of them.

    :raise BadRequest: names what does not fit.
    """
    try:
        return msgspec.convert(attributes, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"Provided object does not match schema 'image': {error}") from None


def given(attributes: Attributes) -> dict[str, Any]:
    """Those that are there, but for the tags, by name."""
    return {name: value for name in COLUMNS if (value := getattr(attributes, name)) is not UNSET}
