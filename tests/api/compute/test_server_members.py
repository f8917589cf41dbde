"""The members of a server, written down once more by version, apart from the declared table."""

from __future__ import annotations

import pytest

from cyclades_tx.api.compute import documents
from cyclades_tx.testing import builders

#: What the Compute API has had since 2.1.
OLDEST = {
    "id", "name", "status", "tenant_id", "user_id", "hostId", "created", "updated", "image",
    "flavor", "addresses", "accessIPv4", "accessIPv6", "metadata", "links", "progress", "key_name",
    "config_drive", "OS-DCF:diskConfig", "OS-EXT-AZ:availability_zone", "OS-EXT-STS:power_state",
    "OS-EXT-STS:task_state", "OS-EXT-STS:vm_state", "OS-SRV-USG:launched_at",
    "OS-SRV-USG:terminated_at", "os-extended-volumes:volumes_attached", "security_groups",
}  # fmt: skip
#: What came later, and when.
LATER = {
    "locked": 9,
    "description": 19,
    "tags": 26,
    "trusted_image_certificates": 63,
    "server_groups": 71,
    "locked_reason": 73,
    "OS-EXT-SRV-ATTR:hostname": 90,
    "pinned_availability_zone": 96,
}
#: What administrators see beyond that.
ADMIN = {
    "OS-EXT-SRV-ATTR:host": 1,
    "OS-EXT-SRV-ATTR:hypervisor_hostname": 1,
    "OS-EXT-SRV-ATTR:instance_name": 1,
    "OS-EXT-SRV-ATTR:reservation_id": 3,
    "OS-EXT-SRV-ATTR:launch_index": 3,
    "OS-EXT-SRV-ATTR:hostname": 3,
    "OS-EXT-SRV-ATTR:kernel_id": 3,
    "OS-EXT-SRV-ATTR:ramdisk_id": 3,
    "OS-EXT-SRV-ATTR:root_device_name": 3,
    "OS-EXT-SRV-ATTR:user_data": 3,
    "host_status": 16,
}
#: What the reply to PUT lacks before 2.75.
NOT_IN_PUT = {
    name
    for name in {*OLDEST, *LATER}
    if name.startswith(("OS-EXT-STS:", "OS-SRV-USG:", "OS-EXT-AZ:", "os-extended-volumes:"))
    or name in {"key_name", "config_drive", "security_groups"}
}


def members(minor, *, admin=False, listed=False):
    """The names that a server has in a version."""
    names = OLDEST | {name for name, first in LATER.items() if first <= minor}
    if admin:
        names |= {name for name, first in ADMIN.items() if first <= minor}
    return names - {"server_groups"} if listed else names


@pytest.mark.parametrize("admin", [False, True])
@pytest.mark.parametrize("minor", range(1, 97))
def test_declared_members_are_those_of_the_published_api(minor, admin):
    """In every version there is."""

    def names(document):
        return {member.name for member in document.shown(minor, admin)} - {"fault"}

    assert names(documents.SERVER) == members(minor, admin=admin)
    assert names(documents.SERVER_DETAIL) == members(minor, admin=admin, listed=True)
    if minor < 75 and not admin:
        assert names(documents.SERVER_CHANGED) == members(minor) - NOT_IN_PUT


@pytest.mark.parametrize("minor", range(1, 97))
def test_no_name_stands_twice_in_a_version(minor):
    """Members with the same name follow each other without overlap."""
    for document in (documents.SERVER, documents.FLAVOR, documents.KEY_PAIR):
        names = [member.name for member in document.shown(minor, True)]
        assert len(names) == len(set(names))


async def test_wire_shows_the_members_at_every_boundary(wire, database):
    """One server, asked for in each version at which something changes."""
    flavor = await builders.a_flavor(database)
    server = await builders.a_server(database, wire.who, flavor)
    for minor in sorted(
        {1, 96} | {edge for first in LATER.values() for edge in (first - 1, first)}
    ):
        shown = (await wire.get(f"/servers/{server.uuid}", version=f"2.{minor}")).json["server"]
        assert set(shown) == members(minor)
        listed = (await wire.get("/servers/detail", version=f"2.{minor}")).json["servers"]
        assert set(listed[0]) == members(minor, listed=True)
