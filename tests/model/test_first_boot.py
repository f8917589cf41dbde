"""What a new machine is told: the host's document, and the files for cloud-init."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml as reader
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.model.first_boot import Address, FirstBoot, Link, network_config, yaml
from cyclades_tx.model.server import BootImage, Personality
from cyclades_tx.vault import FILES

IMAGE = BootImage("pool/debian.diskdump", "diskdump", {"os": "debian", "root_partition": "1"})
BOOT = FirstBoot("5a1b", "web", IMAGE, "Pass-word-1")
FULL = replace(
    BOOT,
    public_key="ssh-ed25519 AAAA someone",
    user_data=b"\x1f\x8b\x00 not text",
    personality=(Personality("/etc/motd", b"hello\n"), Personality("/x", b"", "me", "us", 0o600)),
    links=(Link("aa:00:00:00:00:01", 1500, (Address("10.0.0.5", 24, "10.0.0.1", dhcp=True),)),),
)


def parsed(boot: FirstBoot, name: str) -> Any:
    """A file as cloud-init reads it."""
    return reader.safe_load(boot.nocloud()[name])


# The host's document


def test_the_host_gets_snf_images_variables() -> None:
    """Lists and maps are texts of JSON in it; names of properties are in upper case."""
    document = json.loads(FULL.parameters())
    assert {type(value) for value in document.values()} == {str}
    assert json.loads(document.pop("img_personality"))[1] == {
        "path": "/x",
        "contents": "",
        "owner": "me",
        "group": "us",
        "mode": 0o600,
    }
    assert json.loads(document.pop("img_properties")) == {"OS": "debian", "ROOT_PARTITION": "1"}
    assert document == {
        "img_id": "pool/debian.diskdump",
        "img_format": "diskdump",
        "img_passwd": "Pass-word-1",
        "hostname": "web",
        "auth_keys": "ssh-ed25519 AAAA someone",
        "cloud_userdata": base64.b64encode(b"\x1f\x8b\x00 not text").decode(),
    }


def test_what_there_is_not_is_left_out_of_the_document() -> None:
    """A script tells an empty password from none."""
    document = json.loads(replace(BOOT, password=None).parameters("http://x/"))
    assert sorted(document) == [
        *("hostname", "img_format", "img_id", "img_personality", "img_properties", "nocloud_url")
    ]


def test_no_secret_is_in_a_representation() -> None:
    """A log or a traceback may hold one."""
    text = repr(FULL)
    assert "Pass-word-1" not in text
    assert "motd" not in text
    assert "not text" not in text


# cloud-init's files


def test_the_files_are_those_that_are_kept() -> None:
    """The secret store goes by their names."""
    assert sorted(FULL.nocloud()) == sorted(FILES)


def test_the_machine_is_told_its_names_and_keys() -> None:
    """In the members that cloud-init takes from meta-data."""
    assert parsed(FULL, "meta-data") == {
        "instance-id": "5a1b",
        "local-hostname": "web",
        "public-keys": ["ssh-ed25519 AAAA someone"],
    }
    assert "public-keys" not in parsed(BOOT, "meta-data")


def test_user_data_is_the_very_bytes() -> None:
    """And nothing where there is none: cloud-init insists on the file."""
    assert FULL.nocloud()["user-data"] == b"\x1f\x8b\x00 not text"
    assert BOOT.nocloud()["user-data"] == b""


def test_password_and_files_are_vendor_data() -> None:
    """So that what the person's own user data says is stronger."""
    text = FULL.nocloud()["vendor-data"]
    assert text.startswith(b"#cloud-config\n")
    found = parsed(FULL, "vendor-data")
    assert found["chpasswd"] == {
        "expire": False,
        "users": [{"name": "root", "password": "Pass-word-1", "type": "text"}],
    }
    first, second = found["write_files"]
    assert first["permissions"] == "0440"
    assert (second["path"], second["owner"], second["permissions"]) == ("/x", "me:us", "0600")
    assert base64.b64decode(first["content"]) == b"hello\n"
    assert found["manual_cache_clean"] is True


@pytest.mark.parametrize(
    ("said", "names"),
    [("root user", ["root", "user"]), ("debian", ["debian"]), (" ", ["root"]), ("a a", ["a"])],
    ids=["two", "other", "blank", "twice"],
)
def test_the_image_says_whose_password_it_is(said: str, names: list[str]) -> None:
    """By the property that snf-image goes by."""
    boot = replace(BOOT, image=BootImage(None, "raw", {"USERS": said}))
    assert [each["name"] for each in parsed(boot, "vendor-data")["chpasswd"]["users"]] == names


def test_without_a_password_none_is_set() -> None:
    """It was lost; the key is there."""
    assert "chpasswd" not in parsed(replace(FULL, password=None), "vendor-data")


# The network


def test_an_interface_with_dhcp_asks_for_its_address() -> None:
    """It is found by its MAC."""
    assert parsed(FULL, "network-config") == {
        "version": 2,
        "ethernets": {
            "eth0": {
                "match": {"macaddress": "aa:00:00:00:00:01"},
                "set-name": "eth0",
                "dhcp4": True,
            }
        },
    }


def test_addresses_that_are_not_told_by_the_network_are_written_down() -> None:
    """With name servers and routes; the first interface with a gateway leads out."""
    four = Address("10.0.0.5", 24, "10.0.0.1", nameservers=("9.9.9.9", "9.9.9.9"))
    more = replace(four, ip="10.1.0.5", gateway="10.1.0.1", nameservers=())
    more = replace(more, routes=(("10.9.0.0/16", "10.1.0.9"),))
    six = Address("2001:db8::5", 64, "2001:db8::1")
    found = network_config(
        (Link("aa:00:00:00:00:01", 1450, (four, six)), Link("aa:00:00:00:00:02", 1500, (more,)))
    )
    assert found["ethernets"] == {
        "eth0": {
            "match": {"macaddress": "aa:00:00:00:00:01"},
            "set-name": "eth0",
            "mtu": 1450,
            "addresses": ["10.0.0.5/24", "2001:db8::5/64"],
            "routes": [
                {"to": "0.0.0.0/0", "via": "10.0.0.1"},
                {"to": "::/0", "via": "2001:db8::1"},
            ],
            "nameservers": {"addresses": ["9.9.9.9"]},
        },
        "eth1": {
            "match": {"macaddress": "aa:00:00:00:00:02"},
            "set-name": "eth1",
            "addresses": ["10.1.0.5/24"],
            "routes": [{"to": "10.9.0.0/16", "via": "10.1.0.9"}],
        },
    }


def test_ipv6_goes_by_what_the_subnet_says() -> None:
    """An address that routers announce is the one that we know, since others are filtered."""
    announced = Address("2001:db8::5", 64, "2001:db8::1", announced=True)
    stateful = replace(announced, dhcp=True)
    one = network_config((Link("aa:00:00:00:00:01", 1500, (announced,)),))["ethernets"]["eth0"]
    assert (one["accept-ra"], one["addresses"]) == (True, ["2001:db8::5/64"])
    assert "routes" not in one
    other = network_config((Link("aa:00:00:00:00:01", 1500, (stateful,)),))["ethernets"]["eth0"]
    assert other["dhcp6"] is True
    assert "addresses" not in other


def test_an_interface_without_addresses_is_there() -> None:
    """On a network without a subnet."""
    found = network_config((Link("aa:00:00:00:00:01", 1500),))
    assert set(found["ethernets"]["eth0"]) == {"match", "set-name"}


# YAML


@given(
    st.recursive(
        st.text(st.characters(exclude_categories=["Cs"])) | st.booleans() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("abc\u00e9\U0001f600"), inner),
        max_leaves=8,
    )
)
def test_any_value_is_read_back_as_it_was(value: Any) -> None:
    """Whatever characters a password or a comment of a key has."""
    text = yaml(value)
    assert text.isascii()
    assert reader.safe_load(text) == value
