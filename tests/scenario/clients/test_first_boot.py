"""What a new machine is told: files, user data, key and config drive."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenario.clients.people import Person
from tests.scenario.clients.table import rows, supported
from tests.scenario.conftest import Cloud

pytestmark = pytest.mark.xdist_group("clients")

TOLD = "server create --user-data FILE --key-name K --config-drive True"
FILES = "nova.servers.create(NAME, files, userdata, key_name, config_drive)"


@rows(
    supported(TOLD, "POST compute/servers"),
    supported(
        FILES,
        "POST compute/servers",
        "Files need microversion 2.56 or lower; `openstack server create --file` of 10.5 fails"
        " before it sends anything.",
    ),
)
def test_everything_that_a_machine_can_be_told(demo: Person, cloud: Cloud, tmp_path: Path) -> None:
    """Taken, and shown where it is no secret."""
    (tmp_path / "data").write_text("#cloud-config\n{}\n")
    demo("keypair create first-boot")
    made = demo.json(
        "server create --flavor tiny --image debian-12 --network shared --wait"
        f" --user-data {tmp_path / 'data'} --key-name first-boot --config-drive True told"
    )
    assert (made["status"], made["config_drive"], made["key_name"]) == (
        *("ACTIVE", "True", "first-boot"),
    )
    assert len(made["adminPass"]) > 8
    demo.nova("2.56").servers.create(
        "filed",
        cloud.image,
        cloud.flavor,
        nics="none",
        files={"/etc/motd": "hello\n"},
        userdata="#!/bin/sh\n",
        key_name="first-boot",
        config_drive=True,
    )
    demo("server delete --wait told filed")
    demo("keypair delete first-boot")
    assert cloud.books.faults() == []
