"""What a new machine is told at its first boot, in the two forms in which it is given out.

The host's installer (snf-image) reads one JSON document. A machine that configures itself with
cloud-init reads the four files of its data source NoCloud, version 2 of the network's.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any

import orjson

from cyclades_tx.model.image import deployed_format
from cyclades_tx.model.server import BootImage, Personality

META_DATA = "meta-data"
NETWORK_CONFIG = "network-config"
USER_DATA = "user-data"
VENDOR_DATA = "vendor-data"


@dataclass(frozen=True)
class Address:
    """An address of an interface, with what its subnet says about it.

    :ivar prefix: the length of the subnet's prefix in bits.
    :ivar dhcp: whether the interface gets it by DHCP.
    :ivar announced: whether routers announce the way out (IPv6).
    :ivar routes: pairs of destination and next hop.
    """

    ip: str
    prefix: int
    gateway: str | None = None
    dhcp: bool = False
    announced: bool = False
    nameservers: tuple[str, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Link:
    """An interface of the machine."""

    mac: str
    mtu: int
    addresses: tuple[Address, ...] = ()


@dataclass(frozen=True)
class FirstBoot:
    """Everything that a machine is told.

    :ivar password: None: it gets none.
    """

    instance_id: str
    hostname: str
    image: BootImage
    password: str | None = field(repr=False)
    public_key: str | None = None
    user_data: bytes | None = field(default=None, repr=False)
    personality: tuple[Personality, ...] = field(default=(), repr=False)
    links: tuple[Link, ...] = ()

    def parameters(self, nocloud_url: str | None = None) -> bytes:
        """The document for the host: snf-image's variables, as JSON.

        :param nocloud_url: where the machine itself finds its files; None: nowhere.
        """
        document: dict[str, str] = {
            "img_id": self.image.location or "null",
            "img_format": deployed_format(self.image.disk_format),
            "img_personality": orjson.dumps([_file(each) for each in self.personality]).decode(),
            "img_properties": orjson.dumps(
                {key.upper(): value for key, value in self.image.properties.items()}
            ).decode(),
            "hostname": self.hostname,
        }
        if self.password is not None:
            document["img_passwd"] = self.password
        if self.public_key is not None:
            document["auth_keys"] = self.public_key
        if self.user_data is not None:
            document["cloud_userdata"] = base64.b64encode(self.user_data).decode()
        if nocloud_url is not None:
            document["nocloud_url"] = nocloud_url
        return orjson.dumps(document)

    def nocloud(self) -> dict[str, bytes]:
        """The files of cloud-init's data source NoCloud, by name."""
        meta: dict[str, Any] = {"instance-id": self.instance_id, "local-hostname": self.hostname}
        if self.public_key is not None:
            meta["public-keys"] = [self.public_key]
        return {
            META_DATA: yaml(meta),
            NETWORK_CONFIG: yaml(network_config(self.links)),
            USER_DATA: self.user_data or b"",
            VENDOR_DATA: b"#cloud-config\n" + yaml(self._vendor_data()),
        }

    def _vendor_data(self) -> dict[str, Any]:
        # The files are given out once: at later boots the machine must go by what it has kept.
        said: dict[str, Any] = {"manual_cache_clean": True}
        if self.password is not None:
            said["chpasswd"] = {
                "expire": False,
                "users": [
                    {"name": name, "password": self.password, "type": "text"}
                    for name in self._users()
                ],
            }
        if self.personality:
            said["write_files"] = [
                {
                    "path": each.path,
                    "content": base64.b64encode(each.contents).decode(),
                    "encoding": "b64",
                    "owner": f"{each.owner}:{each.group}",
                    "permissions": f"{each.mode:04o}",
                }
                for each in self.personality
            ]
        return said

    def _users(self) -> list[str]:
        """Whose password it is: the image's property ``users`` says it, as for snf-image."""
        named = {key.lower(): value for key, value in self.image.properties.items()}.get("users")
        return list(dict.fromkeys((named or "").split())) or ["root"]


def network_config(links: tuple[Link, ...]) -> dict[str, Any]:
    """The interfaces as version 2 of cloud-init's network configuration has them.

    Of each family the first interface with a gateway leads out.
    """
    ethernets: dict[str, Any] = {}
    ways_out: set[str] = set()
    for number, link in enumerate(links):
        name = f"eth{number}"
        said: dict[str, Any] = {"match": {"macaddress": link.mac}, "set-name": name}
        if link.mtu != 1500:
            said["mtu"] = link.mtu
        fixed: list[str] = []
        routes: list[dict[str, str]] = []
        nameservers: list[str] = []
        for address in link.addresses:
            six = ":" in address.ip
            if address.dhcp:
                said["dhcp6" if six else "dhcp4"] = True
                continue
            fixed.append(f"{address.ip}/{address.prefix}")
            nameservers += address.nameservers
            routes += [{"to": to, "via": via} for to, via in address.routes]
            way_out = "::/0" if six else "0.0.0.0/0"
            if address.announced:
                said["accept-ra"] = True
            elif address.gateway is not None and way_out not in ways_out:
                ways_out.add(way_out)
                routes.append({"to": way_out, "via": address.gateway})
        if fixed:
            said["addresses"] = fixed
        if routes:
            said["routes"] = routes
        if nameservers:
            said["nameservers"] = {"addresses": list(dict.fromkeys(nameservers))}
        ethernets[name] = said
    return {"version": 2, "ethernets": ethernets}


def yaml(value: Any) -> bytes:
    """A value as YAML (1.1, chapter 7.4): JSON in which every character is printable ASCII."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    return re.sub(r"[^\x20-\x7e\n]", lambda found: f"\\U{ord(found[0]):08x}", text).encode() + b"\n"


def _file(each: Personality) -> dict[str, str | int]:
    return {
        "path": each.path,
        "contents": base64.b64encode(each.contents).decode(),
        "owner": each.owner,
        "group": each.group,
        "mode": each.mode,
    }
