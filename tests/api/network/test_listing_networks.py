"""Lists of networks and subnets are what a plain model says, whatever is asked for."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.api.listing import put, uuid_of
from tests.api.network import listing_model as model
from tests.api.network.listing_model import COMMON, Model, People, Thing, columns, shown
from tests.api.network.network_rows import clear, network_row, put_tags, subnet_row

MOST = 7
STATES = ("active", "active", "error", "deleted")
IDS = [uuid_of("network", number) for number in range(MOST)]
SUBNET_IDS = [uuid_of("subnet", number) for number in range(MOST)]

NETWORKS = st.lists(
    st.fixed_dictionaries(
        COMMON
        | {
            "state": st.sampled_from(STATES),
            "owned": st.booleans(),
            "shared": st.booleans(),
            "external": st.booleans(),
            "mtu": st.sampled_from((1400, 1500, 9000)),
            "subnets": st.sampled_from(((), (4,), (6,), (4, 6))),
        }
    ),
    max_size=MOST,
)
SUBNETS = st.lists(
    st.fixed_dictionaries(
        COMMON
        | {
            "network": st.integers(0, 4),
            "version": st.sampled_from((4, 6)),
            "gateway": st.booleans(),
            "dhcp": st.booleans(),
            "mode": st.sampled_from((None, "slaac", "dhcpv6-stateful")),
        }
    ),
    max_size=MOST,
)


async def test_lists_of_networks(network: Any, database: Any) -> None:
    """Own, shared and external ones, and for administrators all that are not deleted."""
    people = await model.people(database)

    async def fill(made: list[Any]) -> list[Thing]:
        rows, subnets, things = [], [], []
        for number, each in enumerate(made):
            owner = people.owner(each["mine"]) if each["owned"] else None
            own = columns(each, number + 1, IDS[number])
            facts = {name: each[name] for name in ("state", "shared", "external", "mtu")}
            rows.append(network_row(owner, **facts | own))
            uuids = []
            for version in each["subnets"]:
                uuids.append(uuid_of("subnet", 10 * number + version))
                cidr = "10.0.0.0/24" if version == 4 else "fd00::/64"
                subnets.append(subnet_row(own["id"], cidr, id=len(subnets) + 1, uuid=uuids[-1]))
            things.append(
                {
                    **shown(each, own["uuid"], owner or ""),
                    "status": each["state"].upper(),
                    "admin_state_up": True,
                    "shared": each["shared"],
                    "router:external": each["external"],
                    "mtu": each["mtu"],
                    "subnets": uuids,
                }
            )

        async def write(tx: Any) -> None:
            await clear(tx)
            await put(tx, "network", rows)
            await put(tx, "subnet", subnets)
            await put_tags(tx, "network", made)

        await database.transaction(write)
        return things

    def sees(thing: Thing, admin: bool) -> bool:
        mine = thing["project_id"] == people.me.project_id
        visible = admin or mine or thing["shared"] or thing["router:external"]
        return bool(visible and thing["status"] != "DELETED")

    owners = (people.owner(True), people.owner(False), "", "0" * 32)
    some_subnets = [
        uuid_of("subnet", 10 * number + version) for number in (0, 1) for version in (4, 6)
    ]
    filters = model.common_filters(IDS) | {
        "tenant_id": model.equal("tenant_id", *owners),
        "project_id": model.equal("project_id", *owners),
        "status": model.equal("status", "ACTIVE", "ERROR", "DELETED", "active"),
        "admin_state_up": model.boolean("admin_state_up"),
        "shared": model.boolean("shared"),
        "router:external": model.boolean("router:external"),
        "mtu": model.number("mtu", 1400, 1500, 68),
        "subnets": model.Filter(
            st.sampled_from((*some_subnets, "no id")),
            lambda thing, said: bool(set(said) & set(thing["subnets"])),
        ),
    }
    keys = (
        "id", "name", "description", "tenant_id", "project_id", "created_at", "updated_at",
        "revision_number", "status", "admin_state_up", "shared", "router:external", "mtu",
    )  # fmt: skip
    await model.check_model(network, Model("networks", people, NETWORKS, filters, keys, fill, sees))


async def some_networks(tx: Any, people: People) -> list[tuple[str, str]]:
    """An own network, a shared one, a stranger's, an external one, a deleted one."""
    rows = []
    for number, (owner, facts) in enumerate(
        (
            (people.owner(True), {}),
            (None, {"shared": True}),
            (people.owner(False), {}),
            (None, {"external": True}),
            (people.owner(True), {"state": "deleted"}),
        )
    ):
        rows.append(network_row(owner, id=number + 1, uuid=IDS[number], **facts))
    await put(tx, "network", rows)
    return [(row["uuid"], row["project_id"] or "") for row in rows]


async def test_lists_of_subnets(network: Any, database: Any) -> None:
    """With their networks, but for those that are only external."""
    people = await model.people(database)

    async def fill(made: list[Any]) -> list[Thing]:
        things: list[Thing] = []

        async def write(tx: Any) -> None:
            await clear(tx)
            networks = await some_networks(tx, people)
            rows = []
            for number, each in enumerate(made):
                own = columns(each, number + 1, SUBNET_IDS[number])
                four = each["version"] == 4
                cidr = f"10.{number}.0.0/24" if four else f"fd0{number}::/64"
                gateway = None
                if each["gateway"]:
                    gateway = cidr.replace("0/24", "1") if four else cidr.replace("/64", "1")
                mode = None if four else each["mode"]
                row = subnet_row(each["network"] + 1, cidr, **own)
                row |= {"gateway": gateway, "dhcp": each["dhcp"]}
                rows.append(row | {"ipv6_ra_mode": mode, "ipv6_address_mode": mode})
                uuid, owner = networks[each["network"]]
                things.append(
                    {
                        **shown(each, own["uuid"], owner),
                        "network_id": uuid,
                        "ip_version": each["version"],
                        "cidr": cidr,
                        "gateway_ip": gateway,
                        "enable_dhcp": each["dhcp"],
                        "ipv6_ra_mode": mode,
                        "ipv6_address_mode": mode,
                        "_network": each["network"],
                    }
                )
            await put(tx, "subnet", rows)
            await put_tags(tx, "subnet", made)

        await database.transaction(write)
        return things

    owners = (people.owner(True), people.owner(False), "")
    modes = ("slaac", "dhcpv6-stateful", "")
    filters = model.common_filters(SUBNET_IDS) | {
        "tenant_id": model.equal("tenant_id", *owners),
        "project_id": model.equal("project_id", *owners),
        "network_id": model.equal("network_id", *IDS[:5], "no id"),
        "ip_version": model.number("ip_version", 4, 6, -1),
        "cidr": model.equal("cidr", "10.0.0.0/24", "10.1.0.0/24", "fd02::/64", "10.0.0.0"),
        "gateway_ip": model.equal("gateway_ip", "10.0.0.1", "fd01::1", ""),
        "enable_dhcp": model.boolean("enable_dhcp"),
        "ipv6_ra_mode": model.equal("ipv6_ra_mode", *modes),
        "ipv6_address_mode": model.equal("ipv6_address_mode", *modes),
    }
    keys = (
        "id", "name", "description", "tenant_id", "project_id", "created_at", "updated_at",
        "revision_number", "network_id", "ip_version", "cidr", "gateway_ip", "enable_dhcp",
        "ipv6_ra_mode", "ipv6_address_mode",
    )  # fmt: skip

    def sees(thing: Thing, admin: bool) -> bool:
        return thing["_network"] in ((0, 1, 2, 3) if admin else (0, 1))

    await model.check_model(network, Model("subnets", people, SUBNETS, filters, keys, fill, sees))
