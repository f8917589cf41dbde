"""Lists of ports and floating IPs are what a plain model says, whatever is asked for."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from cyclades_tx.testing import builders
from tests.api.listing import put, uuid_of
from tests.api.network import listing_model as model
from tests.api.network.listing_model import COMMON, Model, People, Thing, columns, shown
from tests.api.network.network_rows import clear, network_row, put_tags, subnet_row

MOST = 7
IDS = [uuid_of("port", number) for number in range(MOST)]
FLOATING_IDS = [uuid_of("floating", number) for number in range(MOST)]
NETWORK_IDS = [uuid_of("network", number) for number in range(2)]
SUBNET_IDS = [uuid_of("subnet", number) for number in range(4)]
GROUP_IDS = [uuid_of("group", number) for number in range(2)]
SERVER_IDS = [uuid_of("server", number) for number in range(2)]
ROUTER_ID = uuid_of("router", 0)
OWNERS = {
    "nothing": "",
    "server": "compute:nova",
    "router": "network:router_interface",
    "floating": "network:floatingip",
}
STATES = ("active", "down", "build", "error")

PORTS = st.lists(
    st.fixed_dictionaries(
        COMMON
        | {
            "network": st.integers(0, 1),
            "state": st.sampled_from(STATES),
            "admin_up": st.booleans(),
            "device": st.sampled_from(("nothing", "nothing", "server", "router", "floating")),
            "server": st.integers(0, 1),
            "versions": st.sampled_from(((), (4,), (4,), (6,), (4, 6))),
            "groups": st.frozensets(st.integers(0, 1)),
        }
    ),
    max_size=MOST,
)
FLOATING_IPS = st.lists(
    st.fixed_dictionaries(
        {name: each for name, each in COMMON.items() if name != "name"}
        | {
            "network": st.integers(0, 1),
            "port": st.sampled_from((None, 0, 0, 1)),
            "extra": st.sampled_from((None, "active", "build")),
            "released": st.sampled_from((False, False, False, True)),
        }
    ),
    max_size=MOST,
)


def mac_of(number: int) -> str:
    """A MAC, in an order of its own."""
    return f"aa:00:00:{number * 5 % 7:02x}:00:0{number}"


async def devices(database: Any, people: People) -> None:
    """Two servers, a router and two groups, on which nothing is generated."""

    async def write(tx: Any) -> None:
        flavor = await builders.a_flavor(tx)
        for uuid in SERVER_IDS:
            await builders.a_server(tx, people.me, flavor, uuid=uuid)
        me = people.me.project_id
        await put(
            tx,
            "router",
            [
                {
                    **model.columns(_PLAIN, 1, ROUTER_ID),
                    **{"project_id": me, "admin_up": True, "external_snat": True, "routes": []},
                }
            ],
        )
        await put(
            tx,
            "security_group",
            [
                {**model.columns(_PLAIN, number + 1, uuid), "project_id": me, "stateful": True}
                for number, uuid in enumerate(GROUP_IDS)
            ],
        )

    await database.transaction(write)


_PLAIN: dict[str, Any] = {"name": "", "description": "", "created": 0, "updated": 0, "revision": 1}


async def two_networks(tx: Any, **wanted: Any) -> None:
    """Two shared networks with a subnet of each version."""
    networks, subnets = [], []
    for number, uuid in enumerate(NETWORK_IDS):
        networks.append(network_row(None, id=number + 1, uuid=uuid, **wanted))
        for place, cidr in enumerate((f"10.{number}.0.0/24", f"fd0{number}::/64")):
            row_id = 2 * number + place + 1
            subnets.append(subnet_row(number + 1, cidr, id=row_id, uuid=SUBNET_IDS[row_id - 1]))
    await put(tx, "network", networks)
    await put(tx, "subnet", subnets)


def port_row(owner: str, **wanted: Any) -> dict[str, Any]:
    """The row of a port; its two ids are among what is wanted."""
    return {
        **model.columns(_PLAIN, 0, ""),
        "network_id": 1,
        "project_id": owner,
        "user_id": "0" * 32,
        "server_id": None,
        "position": None,
        "router_id": None,
        "state": "down",
        "admin_up": True,
        "device_owner": "",
        "automatic": False,
        **wanted,
    }


async def test_lists_of_ports(network: Any, database: Any) -> None:
    """Own ones but for the interfaces of floating IPs, and for administrators all."""
    people = await model.people(database)
    await devices(database, people)

    async def fill(made: list[Any]) -> list[Thing]:
        rows, addresses, groups, things = [], [], [], []
        for number, each in enumerate(made):
            owner = people.owner(each["mine"])
            on_server = each["device"] in ("server", "floating")
            own = columns(each, number + 1, IDS[number])
            rows.append(
                port_row(
                    owner,
                    **own,
                    mac=mac_of(number),
                    network_id=each["network"] + 1,
                    server_id=each["server"] + 1 if on_server else None,
                    position=number if on_server else None,
                    router_id=1 if each["device"] == "router" else None,
                    state=each["state"],
                    admin_up=each["admin_up"],
                    device_owner=OWNERS[each["device"]],
                )
            )
            fixed = []
            for version in each["versions"]:
                subnet = 2 * each["network"] + (version == 6)
                base = f"10.{each['network']}.0." if version == 4 else f"fd0{each['network']}::"
                address = f"{base}{10 + number}"
                addresses.append(
                    {
                        "id": len(addresses) + 1,
                        "subnet_id": subnet + 1,
                        "address": address,
                        "port_id": number + 1,
                        "created_at": model.at(0),
                    }
                )
                fixed.append({"subnet_id": SUBNET_IDS[subnet], "ip_address": address})
            groups += [
                {"port_id": number + 1, "security_group_id": group + 1}
                for group in sorted(each["groups"])
            ]
            device = {"router": ROUTER_ID, "nothing": ""}
            things.append(
                {
                    **shown(each, own["uuid"], owner),
                    "network_id": NETWORK_IDS[each["network"]],
                    "mac_address": mac_of(number),
                    "admin_state_up": each["admin_up"],
                    "status": each["state"].upper(),
                    "device_id": device.get(each["device"], SERVER_IDS[each["server"]]),
                    "device_owner": OWNERS[each["device"]],
                    "fixed_ips": fixed,
                    "security_groups": [GROUP_IDS[group] for group in sorted(each["groups"])],
                }
            )

        async def write(tx: Any) -> None:
            await clear(tx)
            await two_networks(tx, shared=True)
            await put(tx, "port", rows)
            await put(tx, "address", addresses)
            await put(tx, "port_security_group", groups)
            await put_tags(tx, "port", made)

        await database.transaction(write)
        return things

    def sees(thing: Thing, admin: bool) -> bool:
        mine = thing["project_id"] == people.me.project_id
        return admin or (mine and thing["device_owner"] != "network:floatingip")

    owners = (people.owner(True), people.owner(False), "")
    macs = [mac_of(number) for number in range(3)]
    filters = model.common_filters(IDS) | {
        "tenant_id": model.equal("tenant_id", *owners),
        "project_id": model.equal("project_id", *owners),
        "network_id": model.equal("network_id", *NETWORK_IDS, "no id"),
        "mac_address": model.Filter(
            st.sampled_from((*macs, *(mac.upper() for mac in macs), "no MAC")),
            lambda thing, said: thing["mac_address"] in [text.lower() for text in said],
        ),
        "admin_state_up": model.boolean("admin_state_up"),
        "status": model.equal("status", *(state.upper() for state in STATES), "down"),
        "device_owner": model.equal("device_owner", *OWNERS.values()),
        "device_id": model.equal("device_id", *SERVER_IDS, ROUTER_ID, "", "no id"),
        "fixed_ips": model.Filter(
            st.sampled_from(
                (
                    *(f"subnet_id={uuid}" for uuid in SUBNET_IDS),
                    *(f"ip_address=10.{number % 2}.0.{10 + number}" for number in range(4)),
                    "ip_address=fd00::10",
                    "ip_address_substr=.0.1",
                    "ip_address_substr=1",
                    "ip_address_substr=%",
                )
            ),
            has_address,
        ),
        "security_groups": model.Filter(
            st.sampled_from((*GROUP_IDS, "no id")),
            lambda thing, said: bool(set(said) & set(thing["security_groups"])),
        ),
    }
    keys = (
        "id", "name", "description", "tenant_id", "project_id", "created_at", "updated_at",
        "revision_number", "network_id", "mac_address", "admin_state_up", "status", "device_owner",
    )  # fmt: skip
    await model.check_model(network, Model("ports", people, PORTS, filters, keys, fill, sees))


def has_address(thing: Thing, said: list[str]) -> bool:
    """Whether one address of a port fits one value of each kind that is given."""
    wanted: dict[str, list[str]] = {}
    for text in said:
        name, _, value = text.partition("=")
        wanted.setdefault(name, []).append(value)
    rules = {
        "ip_address": lambda fixed, value: fixed["ip_address"] == value,
        "subnet_id": lambda fixed, value: fixed["subnet_id"] == value,
        "ip_address_substr": lambda fixed, value: value in fixed["ip_address"],
    }
    return any(
        all(any(rules[name](fixed, value) for value in values) for name, values in wanted.items())
        for fixed in thing["fixed_ips"]
    )


async def test_lists_of_floating_ips(network: Any, database: Any) -> None:
    """Own ones that are not released, and for administrators everybody's."""
    people = await model.people(database)
    await devices(database, people)

    async def fill(made: list[Any]) -> list[Thing]:
        # Two ports that floating IPs are put on: one with an address, one without.
        me = people.me.project_id or ""
        ports = [
            port_row(me, id=number + 1, uuid=IDS[number], mac=mac_of(number)) for number in range(2)
        ]
        addresses = [
            {
                "id": 1,
                "subnet_id": 1,
                "address": "10.0.0.2",
                "port_id": 1,
                "created_at": model.at(0),
            }
        ]
        rows, things = [], []
        for number, each in enumerate(made):
            extra = None
            if each["extra"] is not None:
                extra = 10 + number
                ports.append(
                    port_row(
                        me,
                        id=extra,
                        uuid=uuid_of("extra", number),
                        mac=mac_of(number).replace("aa", "ae"),
                        server_id=1,
                        position=number,
                        state=each["extra"],
                        device_owner="network:floatingip",
                    )
                )
            address = f"10.{each['network']}.0.{100 - number}"
            addresses.append(
                {
                    "id": 10 + number,
                    "subnet_id": 2 * each["network"] + 1,
                    "address": address,
                    "port_id": extra,
                    "created_at": model.at(0),
                }
            )
            own = columns({**each, "name": ""}, number + 1, FLOATING_IDS[number])
            del own["name"]
            owner = people.owner(each["mine"])
            rows.append(
                {
                    **own,
                    "address_id": 10 + number,
                    "network_id": each["network"] + 1,
                    "project_id": owner,
                    "user_id": "0" * 32,
                    "port_id": None if each["port"] is None else each["port"] + 1,
                    "released_at": model.at(3) if each["released"] else None,
                }
            )
            known = shown({**each, "name": ""}, own["uuid"], owner)
            del known["name"]
            active = each["port"] is not None and each["extra"] == "active"
            things.append(
                {
                    **known,
                    "floating_network_id": NETWORK_IDS[each["network"]],
                    "floating_ip_address": address,
                    "fixed_ip_address": "10.0.0.2" if each["port"] == 0 else None,
                    "port_id": None if each["port"] is None else IDS[each["port"]],
                    "router_id": None,
                    "status": "ACTIVE" if active else "DOWN",
                    "_released": each["released"],
                }
            )

        async def write(tx: Any) -> None:
            await clear(tx)
            await two_networks(tx, external=True, floating_ip_pool=True)
            await put(tx, "port", ports)
            await put(tx, "address", addresses)
            await put(tx, "floating_ip", rows)
            await put_tags(tx, "floating_ip", made)

        await database.transaction(write)
        return things

    def sees(thing: Thing, admin: bool) -> bool:
        return (admin or thing["project_id"] == people.me.project_id) and not thing["_released"]

    owners = (people.owner(True), people.owner(False), "")
    filters = model.common_filters(FLOATING_IDS) | {
        "tenant_id": model.equal("tenant_id", *owners),
        "project_id": model.equal("project_id", *owners),
        "floating_network_id": model.equal("floating_network_id", *NETWORK_IDS, "no id"),
        "floating_ip_address": model.equal(
            "floating_ip_address", "10.0.0.100", "10.1.0.100", "10.0.0.99", "10.0.0.9", ""
        ),
        "fixed_ip_address": model.equal("fixed_ip_address", "10.0.0.2", "10.0.0.3", ""),
        "port_id": model.equal("port_id", *IDS[:3], "no id"),
        "router_id": model.equal("router_id", ROUTER_ID, "no id"),
        "status": model.equal("status", "ACTIVE", "DOWN", "ERROR"),
    }
    del filters["name"]
    keys = (
        "id", "description", "tenant_id", "project_id", "created_at", "updated_at",
        "revision_number", "floating_network_id", "floating_ip_address", "port_id", "router_id",
        "status",
    )  # fmt: skip
    await model.check_model(
        network, Model("floatingips", people, FLOATING_IPS, filters, keys, fill, sees)
    )
