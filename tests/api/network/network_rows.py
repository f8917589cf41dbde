"""Rows of networks and subnets for the tests of lists, which write many at once."""

from __future__ import annotations

from typing import Any

from tests.api.listing import at, put


def network_row(owner: str | None, **wanted: Any) -> dict[str, Any]:
    """The row of a network; its two ids are among what is wanted."""
    state = wanted.get("state", "active")
    return {
        "name": "n",
        "description": "",
        "revision": 1,
        "created_at": at(0),
        "updated_at": at(0),
        "project_id": owner,
        "flavor": "CUSTOM",
        "mode": "bridged",
        "link": "br0",
        "mac_prefix": "aa:00:0",
        "tags": [],
        "shared": False,
        "external": False,
        "floating_ip_pool": False,
        "drained": False,
        "admin_up": True,
        "mtu": 1500,
        "state": "active",
        "deleted_at": at(3) if state == "deleted" else None,
        "everywhere": False,
        **wanted,
    }


def subnet_row(network_id: int, cidr: str, **wanted: Any) -> dict[str, Any]:
    """The row of a subnet; its two ids are among what is wanted."""
    return {
        "name": "",
        "description": "",
        "revision": 1,
        "created_at": at(0),
        "updated_at": at(0),
        "network_id": network_id,
        "cidr": cidr,
        "gateway": None,
        "dhcp": True,
        "dns_nameservers": [],
        "host_routes": [],
        "ipv6_ra_mode": None,
        "ipv6_address_mode": None,
        **wanted,
    }


async def put_tags(tx: Any, table: str, made: list[Any]) -> None:
    """The tags of generated things, whose ids count from 1."""
    rows = [
        {f"{table}_id": number + 1, "tag": tag}
        for number, each in enumerate(made)
        for tag in sorted(each["tags"])
    ]
    await put(tx, f"{table}_user_tag", rows)


async def clear(tx: Any) -> None:
    """Remove every network, and what is on it."""
    await tx.run(
        "delete from floating_ip; delete from address; delete from port; delete from subnet;"
        " delete from network"
    )
