"""The real cloud-init reads what a new machine is told."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.utils import getProcessOutputAndValue

from cyclades_tx.api import vmapi
from cyclades_tx.model.first_boot import Address, FirstBoot, Link
from cyclades_tx.model.server import BootImage, Personality
from cyclades_tx.testing.loopback import Loopback
from cyclades_tx.vault import MemorySecretStore, arm
from tests.real.cloud_init import PYTHON, READER, unpack

pytestmark = pytest.mark.real

TOKEN = "t" * 43
PASSWORD = "Pass: \u00e9\U0001f600\"'\\ #1\x7f"
BOOT = FirstBoot(
    instance_id="9f4ee0b4-0000-4000-8000-000000000000",
    hostname="web",
    image=BootImage(None, "raw", {"users": "root debian"}),
    password=PASSWORD,
    public_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJs someone \u00e9",
    user_data=b"#!/bin/sh\necho \xff\n",
    personality=(Personality("/etc/motd", b"\x00\xff hello\n", mode=0o600),),
    links=(
        Link(
            "aa:00:00:00:00:01",
            1450,
            (
                Address("10.0.0.5", 24, "10.0.0.1", nameservers=("9.9.9.9",)),
                Address("2001:db8::5", 64, "2001:db8::1", announced=True),
            ),
        ),
        Link("aa:00:00:00:00:02", 1500, (Address("10.1.0.5", 24, "10.1.0.1", dhcp=True),)),
    ),
)


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Where Python finds cloud-init."""
    (tmp_path / "packages").mkdir()
    return unpack(tmp_path / "packages")


async def test_cloud_init_takes_the_seed_once_and_understands_it(
    tmp_path: Path, packages: Path
) -> None:
    """Names, key, user data, password, files and interfaces; then there is nothing any more."""
    from twisted.internet import reactor

    vault = MemorySecretStore(reactor)
    files = BOOT.nocloud()
    await arm(vault, TOKEN, BOOT.parameters(), files, 600)
    wire = Loopback(reactor, lambda frame: vmapi.mount(frame, vault))
    url = f"http://127.0.0.1:{wire.number}/vmapi/v1.0/nocloud/{TOKEN}/"
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(packages),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    async def read(*more: str) -> Any:
        return await getProcessOutputAndValue(
            PYTHON, [str(READER), str(tmp_path), url, *more], environment
        )

    try:
        output, errors, status = await read(files["network-config"].decode())
        assert status == 0, errors[-2000:]
        found = json.loads(output)
        network = found.pop("network")
        vendor = found.pop("vendor")
        assert found == {
            "instance_id": BOOT.instance_id,
            "hostname": "web",
            "keys": [BOOT.public_key],
            "user_data": base64.b64encode(BOOT.user_data or b"").decode(),
        }
        assert vendor["chpasswd"]["users"] == [
            {"name": name, "password": PASSWORD, "type": "text"} for name in ("root", "debian")
        ]
        assert base64.b64decode(vendor["write_files"][0]["content"]) == b"\x00\xff hello\n"
        assert [(each["name"], each["mac"]) for each in network] == [
            ("eth0", "aa:00:00:00:00:01"),
            ("eth1", "aa:00:00:00:00:02"),
        ]
        assert {each.get("address") for each in network[0]["subnets"]} >= {
            *("10.0.0.5", "2001:db8::5")
        }
        assert network[0]["routes"] == [["0.0.0.0", 0, "10.0.0.1"]]
        assert [each["type"] for each in network[1]["subnets"]] == ["dhcp4"]
        assert repr(vault) == "<MemorySecretStore with 0 secrets>"
        _, errors, status = await read()
        assert (status, b"404" in errors) == (1, True)
    finally:
        await wire.close()
        vault.close()
