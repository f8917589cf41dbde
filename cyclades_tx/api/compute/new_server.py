"""The body that asks for a new server."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from cyclades_tx.api.call import Call
from cyclades_tx.api.compute.block_devices import Mapping, disks_of
from cyclades_tx.api.compute.filters import FALSE, TRUE
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.errors import BadRequest, Forbidden
from cyclades_tx.model.server import NewServer, Personality, WantedNic

#: Printable, and no white space at either end.
NAME = re.compile(r"(?!\s)[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,255}(?<!\s)")
_HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_FQDN_LEAST = 94
USER_DATA_CHARACTERS = 65535
METADATA_ITEMS = 128
MOST_SERVERS = 100


class Network(Struct, forbid_unknown_fields=True):
    """One wanted interface."""

    uuid: str | None = None
    port: str | None = None
    fixed_ip: str | None = None
    tag: str | None = None


class Group(Struct, forbid_unknown_fields=True):
    """A security group, by name or id."""

    name: str


class File(Struct, forbid_unknown_fields=True):
    """A file for the new machine."""

    path: str
    contents: str


class Wanted(Struct, forbid_unknown_fields=True):
    """The ``server`` of the body; null means the same as absent."""

    name: str
    flavorRef: str | int
    imageRef: str | None = None
    networks: list[Network] | Literal["auto", "none"] | None = None
    key_name: str | None = None
    metadata: dict[str, str] | None = None
    user_data: str | None = None
    personality: list[File] | None = None
    adminPass: str | None = None
    security_groups: list[Group] | None = None
    availability_zone: str | None = None
    config_drive: bool | str | None = None
    description: str | None = None
    hostname: str | None = None
    tags: list[str] | None = None
    min_count: int | str | None = None
    max_count: int | str | None = None
    return_reservation_id: bool | str | None = None
    accessIPv4: str | None = None
    accessIPv6: str | None = None
    disk_config: str | None = field(default=None, name="OS-DCF:diskConfig")
    block_device_mapping: list[dict[str, Any]] | None = None
    block_device_mapping_v2: list[Mapping] | None = None
    trusted_image_certificates: list[str] | None = None
    host: str | None = None
    hypervisor_hostname: str | None = None


class Body(Struct, forbid_unknown_fields=True):
    """The whole body; of the hints to the scheduler ``group`` has an effect."""

    server: Wanted
    hints: dict[str, Any] | None = field(default=None, name="os:scheduler_hints")
    old_hints: dict[str, Any] | None = field(default=None, name="OS-SCH-HNT:scheduler_hints")


_DECODER = msgspec.json.Decoder(Body)

#: Where in the microversions a member begins or ends.
_FIRST = {"description": 19, "tags": 52, "trusted_image_certificates": 63, "host": 74,
          "hypervisor_hostname": 74, "hostname": 90}  # fmt: skip
_LAST = {"personality": 56}
_NETWORKS_NEEDED = 37


@dataclass(frozen=True)
class Asked:
    """What was asked for, and in which form the answer is wanted."""

    server: NewServer
    return_reservation_id: bool


def new_server(call: Call) -> Asked:
    """Read the body of ``POST /servers``.

    :raise BadRequest: with a sentence that names what is wrong.
    """
    body = call.json(_DECODER)
    wanted = body.server
    refuse_by_version(wanted, call.minor)
    image_ref, disks = disks_of(
        _image(wanted), wanted.block_device_mapping_v2, wanted.block_device_mapping, call.minor
    )
    least = count("min_count", wanted.min_count)
    most = count("max_count", wanted.max_count)
    if most is None:
        most = least or 1
    least = least or 1
    if least > most:
        raise BadRequest("min_count must be <= max_count")
    if most > MOST_SERVERS:
        raise BadRequest(f"max_count must not be above {MOST_SERVERS}.")
    if wanted.host or wanted.hypervisor_hostname:
        raise BadRequest("Servers cannot be put on a host that the caller chooses.")
    if wanted.trusted_image_certificates:
        raise BadRequest("Certificates of images are not offered.")
    disk_config = wanted.disk_config or "MANUAL"
    if disk_config not in ("MANUAL", "AUTO"):
        raise BadRequest("OS-DCF:diskConfig must be either 'MANUAL' or 'AUTO'.")
    groups = wanted.security_groups
    new = NewServer(
        name=name_of("name", wanted.name),
        flavor_ref=str(wanted.flavorRef).rstrip("/").rpartition("/")[2],
        image_ref=image_ref,
        networks=_networks(wanted, call.minor),
        key_name=wanted.key_name,
        metadata=metadata_of(wanted.metadata or {}),
        user_data=None if wanted.user_data is None else user_data_of(wanted.user_data),
        personality=tuple(personality_of(each) for each in wanted.personality or ()),
        admin_password=wanted.adminPass or None,
        # Each once: clients repeat them.
        security_groups=tuple(dict.fromkeys(each.name for each in groups)) if groups else None,
        availability_zone=wanted.availability_zone,
        config_drive=truth("config_drive", wanted.config_drive),
        description=description_of(wanted.description),
        hostname=hostname_of(wanted.hostname, call.minor),
        tags=tags_of(wanted.tags or ()),
        min_count=least,
        max_count=most,
        access_ipv4=address_of("accessIPv4", wanted.accessIPv4, 4),
        access_ipv6=address_of("accessIPv6", wanted.accessIPv6, 6),
        disk_config=disk_config,
        disks=disks,
        group_ref=_group({**(body.old_hints or {}), **(body.hints or {})}),
    )
    return Asked(new, truth("return_reservation_id", wanted.return_reservation_id))


def _group(hints: dict[str, Any]) -> str | None:
    """The server group among the hints, or None.

    :raise BadRequest: when it is no id.
    """
    group = hints.get("group")
    # Some clients write each hint as a list.
    if isinstance(group, list) and len(group) == 1:
        group = group[0]
    if group is None:
        return None
    if not isinstance(group, str) or UUID.fullmatch(group.lower()) is None:
        raise BadRequest("Invalid input for field/attribute group: it is the id of a server group.")
    return group


def refuse_by_version(wanted: Struct, minor: int) -> None:
    """Refuse members that the microversion does not have.

    :raise BadRequest: as for any property that nobody knows.
    """
    for name in wanted.__struct_fields__:
        outside = minor < _FIRST.get(name, 0) or minor > _LAST.get(name, minor)
        if outside and getattr(wanted, name) not in (None, msgspec.UNSET):
            raise BadRequest(
                f"Additional properties are not allowed ('{name}' was unexpected) in "
                f"microversion 2.{minor}."
            )


def name_of(what: str, text: str) -> str:
    """A name, or BadRequest."""
    if NAME.fullmatch(text) is None:
        raise BadRequest(
            f"Invalid input for field/attribute {what}. Value: {text[:300]!r}. It must have 1 to "
            "255 printable characters and no space at either end."
        )
    return text


def count(what: str, value: int | str | None) -> int | None:
    """A number of servers, which may be written as text, or BadRequest."""
    if value is None:
        return None
    text = str(value)
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise BadRequest(f"Invalid input for field/attribute {what}: it must be at least 1.")
    return int(text)


def truth(what: str, value: bool | str | None) -> bool:
    """A truth value, which may be written as text, or BadRequest."""
    if value is None or isinstance(value, bool):
        return bool(value)
    word = value.strip().lower()
    if word not in TRUE and word not in FALSE:
        raise BadRequest(f"Invalid input for field/attribute {what}: true or false is meant.")
    return word in TRUE


def metadata_of(items: dict[str, str]) -> dict[str, str]:
    """Metadata within its limits.

    :raise Forbidden: for too many items.
    """
    if len(items) > METADATA_ITEMS:
        raise Forbidden(f"Maximum number of metadata items exceeds {METADATA_ITEMS}")
    for key, value in items.items():
        if not 1 <= len(key) <= 255 or len(value) > 255:
            raise BadRequest("Invalid metadata: keys have 1 to 255 characters, values at most 255.")
    return items


def description_of(text: str | None) -> str | None:
    """A description, or BadRequest."""
    if text is not None and len(text) > 255:
        raise BadRequest("Invalid input for field/attribute description: at most 255 characters.")
    return text


def hostname_of(text: str | None, minor: int) -> str | None:
    """A host name as RFC 1123 has it; from 2.94 it may have dots, or BadRequest."""
    if text is None:
        return None
    labels = text.split(".") if minor >= _FQDN_LEAST else [text]
    if len(text) > 255 or not all(_HOSTNAME.fullmatch(label) for label in labels):
        raise BadRequest(f"Invalid input for field/attribute hostname. Value: {text[:300]!r}.")
    return text


def address_of(what: str, text: str | None, version: int) -> str | None:
    """An address in its canonical form, or BadRequest."""
    if text is None:
        return None
    try:
        return str(IPv4Address(text) if version == 4 else IPv6Address(text.partition("%")[0]))
    except ValueError:
        raise BadRequest(
            f"Invalid input for field/attribute {what}. Value: {text[:100]!r} is no IPv{version} "
            "address."
        ) from None


def tags_of(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags, each once, or BadRequest."""
    kept = tuple(dict.fromkeys(tags))
    if len(kept) > 50:
        raise BadRequest("A server may have at most 50 tags.")
    for tag in kept:
        if not 1 <= len(tag) <= 60 or "/" in tag or "," in tag:
            raise BadRequest(
                f"Invalid tag {tag[:100]!r}: it has 1 to 60 characters, no slash and no comma."
            )
    return kept


def _image(wanted: Wanted) -> str | None:
    """The image that is named on its own, or None."""
    ref = (wanted.imageRef or "").rstrip("/").rpartition("/")[2] or None
    if ref is not None and UUID.fullmatch(ref) is None:
        raise BadRequest("Invalid imageRef provided.")
    return ref


def _networks(wanted: Wanted, minor: int) -> tuple[WantedNic, ...] | None:
    networks = wanted.networks
    if networks is None:
        if minor >= _NETWORKS_NEEDED:
            raise BadRequest("Invalid input: 'networks' is a required property.")
        return None
    if isinstance(networks, str):
        if minor < _NETWORKS_NEEDED:
            raise BadRequest(f"Invalid input for field/attribute networks. Value: {networks}.")
        return None if networks == "auto" else ()
    nics = []
    for each in networks:
        if each.port is None and each.uuid is None:
            raise BadRequest("Each of networks must have a uuid or a port.")
        fixed_ip = None
        if each.fixed_ip is not None:
            version = 6 if ":" in each.fixed_ip else 4
            fixed_ip = address_of("fixed_ip", each.fixed_ip, version)
        nics.append(WantedNic(each.uuid, each.port, fixed_ip))
    # An empty list means the same as none at all, as it always did.
    return tuple(nics) or None


def decoded(what: str, text: str) -> bytes:
    """What stands in base64, or BadRequest."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"Invalid input for field/attribute {what}: it is not base64.") from None


def user_data_of(text: str) -> bytes:
    """What a machine is told at its first boot, or BadRequest."""
    if len(text) > USER_DATA_CHARACTERS:
        raise BadRequest(f"user_data may have at most {USER_DATA_CHARACTERS} characters of base64.")
    return decoded("user_data", text)


def personality_of(each: File) -> Personality:
    """A file for the new machine, or BadRequest."""
    if not 1 <= len(each.path) <= 255 or not each.path.isprintable():
        raise BadRequest("Invalid path in personality.")
    return Personality(each.path, decoded("personality", each.contents))
