"""The disks in the body that asks for a new server: ``block_device_mapping`` and its ``_v2``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.errors import BadRequest
from cyclades_tx.model.server import WantedDisk

#: The largest disk that there can be, in GiB.
MOST_GIB = 1_048_576
_TYPE_FIRST = 67
#: A device's tag may be given in these microversions and from the last one on.
_TAG_FIRST, _TAG_LAST, _TAG_AGAIN = 32, 36, 42
_BOOT_SEQUENCE = (
    "Block Device Mapping is Invalid: Boot sequence for the instance and image/block device"
    " mapping combination is not valid."
)


class Mapping(Struct, forbid_unknown_fields=True):
    """One entry of ``block_device_mapping_v2``."""

    uuid: str | None = None
    boot_index: int | str | None = None
    source_type: str | None = None
    destination_type: str | None = None
    delete_on_termination: bool | str | None = None
    device_name: str | None = None
    device_type: str | None = None
    disk_bus: str | None = None
    guest_format: str | None = None
    no_device: bool | str | None = None
    tag: str | None = None
    volume_size: int | str | None = None
    volume_type: str | None = None


class OldMapping(Struct, forbid_unknown_fields=True):
    """One entry of ``block_device_mapping``, as the first clients wrote it."""

    volume_id: str | None = None
    snapshot_id: str | None = None
    volume_size: int | str | None = None
    device_name: str | None = None
    delete_on_termination: bool | str | None = None
    virtual_name: str | None = None
    no_device: bool | str | None = None


def disks_of(
    image_ref: str | None,
    entries: Iterable[Mapping] | None,
    old: Iterable[dict[str, Any]] | None,
    minor: int,
) -> tuple[str | None, tuple[WantedDisk, ...]]:
    """What a server boots from, and its volumes.

    :param image_ref: ``imageRef``, None when it is absent or empty.
    :param minor: the microversion.
    :return: the image of its first disk, and the volumes in their order.
    :raise BadRequest: for what cannot be; says why.
    """
    if entries and old:
        raise BadRequest("Using different block_device_mapping syntaxes is not allowed.")
    if old:
        entries = [_modern(each, image_ref) for each in old]
    disks: list[WantedDisk] = []
    boots = 0
    for entry in entries or ():
        if _truth("no_device", entry.no_device):
            continue
        first = _index(entry.boot_index) == 0
        boots += first
        if entry.source_type == "image" and entry.destination_type in ("local", None):
            if not first or entry.uuid is None:
                raise BadRequest(
                    "Block Device Mapping is Invalid: a disk that is made of an image is the first"
                    " one, with the boot index 0."
                )
            image_ref = _same_image(image_ref, _uuid(entry))
            continue
        disk = _disk(entry, first, minor)
        if first:
            if image_ref is not None and entry.source_type != "image":
                raise BadRequest(_BOOT_SEQUENCE)
            if entry.source_type == "image":
                image_ref = _same_image(image_ref, _uuid(entry))
        disks.append(disk)
    if boots > 1:
        raise BadRequest(_BOOT_SEQUENCE)
    if image_ref is None and disks and not any(disk.boot for disk in disks):
        raise BadRequest(_BOOT_SEQUENCE)
    refs = [disk.volume_ref for disk in disks if disk.volume_ref is not None]
    if len(set(refs)) < len(refs):
        raise BadRequest("Block Device Mapping is Invalid: a volume is named twice.")
    return image_ref, tuple(disks)


def _disk(entry: Mapping, first: bool, minor: int) -> WantedDisk:
    source, destination = entry.source_type, entry.destination_type
    if source not in ("image", "volume", "blank", "snapshot"):
        raise BadRequest(
            "Invalid input for field/attribute source_type: one of image, volume, snapshot, blank."
        )
    if destination not in ("volume", "local", None):
        raise BadRequest("Invalid input for field/attribute destination_type: volume or local.")
    if source == "snapshot":
        raise BadRequest("Volumes are not made of snapshots on this cloud.")
    if destination == "local" or (destination is None and source == "blank"):
        raise BadRequest(
            "Block Device Mapping is Invalid: there are no ephemeral disks and no swap disks on"
            " this cloud; a further disk is a volume."
        )
    if entry.device_type not in (None, "disk"):
        raise BadRequest("Block Device Mapping is Invalid: further devices are disks here.")
    if source == "image" and not first:
        raise BadRequest(
            "Block Device Mapping is Invalid: only the first disk is made of an image on this"
            " cloud; a further one is blank, or a volume."
        )
    if source == "blank" and first:
        raise BadRequest("Block Device Mapping is Invalid: nothing boots from a blank disk.")
    ends = entry.delete_on_termination
    size = _size(entry.volume_size)
    if source != "volume" and size is None:
        raise BadRequest(
            f"Block Device Mapping is Invalid: {source} with the destination_type 'volume' needs a"
            " volume_size."
        )
    if entry.volume_type is not None and minor < _TYPE_FIRST:
        raise BadRequest("'volume_type' is not known before microversion 2.67.")
    return WantedDisk(
        volume_ref=_uuid(entry) if source == "volume" else None,
        size_gib=size,
        boot=first,
        delete_on_termination=None if ends is None else _truth("delete_on_termination", ends),
        type_ref=None if source == "volume" else entry.volume_type or None,
        tag=_tag(entry.tag, minor),
    )


def _modern(entry: dict[str, Any], image_ref: str | None) -> Mapping:
    """An entry of the first form in the words of the second one."""
    try:
        given = msgspec.convert(entry, OldMapping)
    except msgspec.ValidationError as error:
        raise BadRequest(f"Invalid input: {error}") from None
    device = (given.device_name or "").rpartition("/")[2]
    boots = image_ref is None and device in ("vda", "sda", "hda")
    if given.virtual_name and not given.volume_id:
        raise BadRequest("There are no ephemeral disks and no swap disks on this cloud.")
    if given.volume_id is None and given.snapshot_id is None and not given.no_device:
        raise BadRequest("Block Device Mapping is Invalid: each entry names a volume.")
    return Mapping(
        uuid=given.volume_id or given.snapshot_id,
        boot_index=0 if boots else -1,
        source_type="volume" if given.volume_id else "snapshot",
        destination_type="volume",
        delete_on_termination=given.delete_on_termination,
        no_device=given.no_device,
        volume_size=given.volume_size,
    )


def _index(value: int | str | None) -> int | None:
    """The place in the order of booting; None or below 0: it is not booted from."""
    if value is None:
        return None
    text = str(value)
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        raise BadRequest("Invalid input for field/attribute boot_index: it is a whole number.")
    return int(text)


def _size(value: int | str | None) -> int | None:
    if value is None or value == "":
        return None
    text = str(value)
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise BadRequest("Invalid input for field/attribute volume_size: it is a number of GiB.")
    if not 1 <= int(text) <= MOST_GIB:
        raise BadRequest(f"volume_size must be between 1 and {MOST_GIB} GiB.")
    return int(text)


def _uuid(entry: Mapping) -> str:
    if entry.uuid is None or UUID.fullmatch(entry.uuid) is None:
        raise BadRequest("Invalid uuid in block_device_mapping_v2.")
    return entry.uuid


def _same_image(image_ref: str | None, uuid: str) -> str:
    if image_ref not in (None, uuid):
        raise BadRequest("The block device mapping names another image than imageRef.")
    return uuid


def _tag(tag: str | None, minor: int) -> str | None:
    if tag is None:
        return None
    if minor < _TAG_FIRST or _TAG_LAST < minor < _TAG_AGAIN:
        raise BadRequest(
            "Additional properties are not allowed ('tag' was unexpected) in microversion"
            f" 2.{minor}."
        )
    if not 1 <= len(tag) <= 60 or "/" in tag or "," in tag:
        raise BadRequest("Invalid tag: it has 1 to 60 characters, no slash and no comma.")
    return tag


def _truth(what: str, value: bool | str | None) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    word = value.strip().lower()
    if word not in ("true", "1", "t", "on", "y", "yes", "false", "0", "f", "off", "n", "no", ""):
        raise BadRequest(f"Invalid input for field/attribute {what}: true or false is meant.")
    return word in ("true", "1", "t", "on", "y", "yes")
