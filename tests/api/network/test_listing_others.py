"""Lists of routers, security groups, rules and subnet pools are what plain models say."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.api.listing import at, put, second, texts, uuid_of
from tests.api.network import listing_model as model
from tests.api.network.listing_model import COMMON, Model, Thing, columns, shown
from tests.api.network.network_rows import put_tags

MOST = 7
OWN_KEYS = (
    "id", "name", "description", "tenant_id", "project_id", "created_at", "updated_at",
    "revision_number",
)  # fmt: skip
CLEAR = (
    "delete from router; delete from port_security_group; delete from security_group;"
    " delete from subnet_pool"
)


def ids(noun: str) -> list[str]:
    """The ids of everything that is made."""
    return [uuid_of(noun, number) for number in range(MOST)]


def mine_only(people: model.People) -> Any:
    """Who sees what nobody shares."""
    return lambda thing, admin: admin or thing["project_id"] == people.me.project_id


def owners(people: model.People) -> dict[str, model.Filter]:
    """The filters by project."""
    values = (people.owner(True), people.owner(False), "", "0" * 32)
    return {name: model.equal(name, *values) for name in ("tenant_id", "project_id")}


async def test_lists_of_routers(network: Any, database: Any) -> None:
    """Own ones, and for administrators all."""
    people = await model.people(database)
    made_of = st.lists(st.fixed_dictionaries(COMMON | {"up": st.booleans()}), max_size=MOST)

    async def fill(made: list[Any]) -> list[Thing]:
        rows, things = [], []
        for number, each in enumerate(made):
            owner = people.owner(each["mine"])
            own = columns(each, number + 1, ids("router")[number])
            rows.append(own | {"project_id": owner, "admin_up": each["up"], "external_snat": True,
                               "routes": []})  # fmt: skip
            things.append(
                {
                    **shown(each, own["uuid"], owner),
                    "status": "ACTIVE",
                    "admin_state_up": each["up"],
                    "external_gateway_info": None,
                    "routes": [],
                }
            )

        async def write(tx: Any) -> None:
            await tx.run(CLEAR)
            await put(tx, "router", rows)
            await put_tags(tx, "router", made)

        await database.transaction(write)
        return things

    filters = model.common_filters(ids("router")) | owners(people)
    filters |= {
        "status": model.equal("status", "ACTIVE", "DOWN", "active"),
        "admin_state_up": model.boolean("admin_state_up"),
    }
    keys = (*OWN_KEYS, "admin_state_up")
    await model.check_model(
        network, Model("routers", people, made_of, filters, keys, fill, mine_only(people))
    )


async def test_lists_of_security_groups(network: Any, database: Any) -> None:
    """Own ones with their rules, and for administrators all."""
    people = await model.people(database)
    # A project has one group of the name default at most, which is another test's matter.
    made_of = st.lists(
        st.fixed_dictionaries(COMMON | {"stateful": st.booleans(), "rules": st.integers(0, 2)}),
        max_size=MOST,
    )

    async def fill(made: list[Any]) -> list[Thing]:
        rows, rules, things = [], [], []
        for number, each in enumerate(made):
            owner = people.owner(each["mine"])
            own = columns(each, number + 1, ids("group")[number])
            rows.append(own | {"project_id": owner, "stateful": each["stateful"]})
            for _ in range(each["rules"]):
                rules.append(_rule_row(len(rules), own["id"]))
            things.append(
                {
                    **shown(each, own["uuid"], owner),
                    "stateful": each["stateful"],
                    "shared": False,
                    "security_group_rules": [
                        _rule(rule, own["uuid"], owner)
                        for rule in rules
                        if rule["security_group_id"] == own["id"]
                    ],
                }
            )

        async def write(tx: Any) -> None:
            await tx.run(CLEAR)
            await put(tx, "security_group", rows)
            await put(tx, "security_group_rule", rules)
            await put_tags(tx, "security_group", made)

        await database.transaction(write)
        return things

    filters = model.common_filters(ids("group")) | owners(people)
    filters |= {"stateful": model.boolean("stateful"), "shared": model.boolean("shared")}
    keys = (*OWN_KEYS, "stateful")
    await model.check_model(
        network, Model("security_groups", people, made_of, filters, keys, fill, mine_only(people))
    )


def _rule_row(number: int, group_id: int, **said: Any) -> dict[str, Any]:
    return {
        "id": number + 1,
        "uuid": uuid_of("rule", number),
        "security_group_id": group_id,
        "direction": "egress",
        "ethertype": "IPv4",
        "protocol": None,
        "port_range_min": None,
        # No two are the same.
        "port_range_max": 1000 + number,
        "remote_prefix": None,
        "description": "",
        "created_at": at(0),
        **said,
    }


def _rule(row: dict[str, Any], group: str, owner: str) -> Thing:
    moment = second(row["created_at"])
    return {
        "id": row["uuid"],
        "security_group_id": group,
        "tenant_id": owner,
        "project_id": owner,
        "direction": row["direction"],
        "ethertype": row["ethertype"],
        "protocol": row["protocol"],
        "port_range_min": row["port_range_min"],
        "port_range_max": row["port_range_max"],
        "remote_ip_prefix": row["remote_prefix"],
        "remote_group_id": None,
        "description": row["description"],
        "created_at": moment,
        "updated_at": moment,
        "revision_number": 0,
    }


async def test_lists_of_rules(network: Any, database: Any) -> None:
    """Those of the own groups; equal ones keep the order in which they were made."""
    people = await model.people(database)
    made_of = st.lists(
        st.fixed_dictionaries(
            {
                "mine": st.booleans(),
                "created_at": st.integers(0, 3).map(at),
                "direction": st.sampled_from(("ingress", "egress")),
                "ethertype": st.sampled_from(("IPv4", "IPv6")),
                "protocol": st.sampled_from((None, "tcp", "udp", "47")),
                "port_range_min": st.sampled_from((None, 0, 80)),
                "remote_prefix": st.sampled_from((None, "10.0.0.0/8", "fd00::/8")),
                "description": texts,
            }
        ),
        max_size=MOST,
    )
    groups = ids("group")

    async def fill(made: list[Any]) -> list[Thing]:
        rows, things = [], []
        for number, each in enumerate(made):
            said = {name: value for name, value in each.items() if name != "mine"}
            rows.append(_rule_row(number, 1 if each["mine"] else 2, **said))
            group = groups[0 if each["mine"] else 1]
            things.append(_rule(rows[-1], group, people.owner(each["mine"])))

        async def write(tx: Any) -> None:
            await tx.run(CLEAR)
            both = ((1, groups[0], people.owner(True)), (2, groups[1], people.owner(False)))
            await put(
                tx,
                "security_group",
                [{"id": number, "uuid": uuid, "project_id": owner, "name": "g", "description": "",
                  "stateful": True, "revision": 1, "created_at": at(0), "updated_at": at(0)}
                 for number, uuid, owner in both],
            )  # fmt: skip
            await put(tx, "security_group_rule", rows)

        await database.transaction(write)
        return things

    filters = owners(people) | {
        "id": model.equal("id", *ids("rule"), "no id"),
        "description": model.equal("description"),
        "created_at": model.equal("created_at", *(second(at(minute)) for minute in range(4))),
        "security_group_id": model.equal("security_group_id", groups[0], groups[1], "no id"),
        "direction": model.equal("direction", "ingress", "egress", "both"),
        "ethertype": model.equal("ethertype", "IPv4", "IPv6", "ipv4"),
        "protocol": model.equal("protocol", "tcp", "47", "TCP", ""),
        "port_range_min": model.number("port_range_min", 0, 80, 81),
        "remote_ip_prefix": model.equal("remote_ip_prefix", "10.0.0.0/8", "fd00::/8", "10.0.0.0"),
    }
    keys = (
        "id", "tenant_id", "project_id", "description", "created_at", "security_group_id",
        "direction", "ethertype", "protocol", "port_range_min", "remote_ip_prefix",
    )  # fmt: skip
    await model.check_model(
        network,
        Model("security_group_rules", people, made_of, filters, keys, fill, mine_only(people)),
    )


async def test_lists_of_subnet_pools(network: Any, database: Any) -> None:
    """Own and shared ones, and for administrators all."""
    people = await model.people(database)
    made_of = st.lists(
        st.fixed_dictionaries(
            COMMON
            | {
                "version": st.sampled_from((4, 6)),
                "lengths": st.sampled_from(((8, 24, 30), (16, 26, 32))),
                "quota": st.sampled_from((None, 0, 256)),
                "shared": st.booleans(),
            }
        ),
        max_size=MOST,
    )

    async def fill(made: list[Any]) -> list[Thing]:
        rows, prefixes, things = [], [], []
        for number, each in enumerate(made):
            owner = people.owner(each["mine"])
            own = columns(each, number + 1, ids("pool")[number])
            least, usual, most = each["lengths"]
            prefix = f"10.{number}.0.0/16" if each["version"] == 4 else f"fd0{number}::/16"
            prefixes.append({"subnet_pool_id": own["id"], "prefix": prefix})
            facts = {
                "ip_version": each["version"],
                "min_prefixlen": least,
                "default_prefixlen": usual,
                "max_prefixlen": most,
                "default_quota": each["quota"],
                "shared": each["shared"],
                "is_default": False,
            }
            rows.append({**own, "project_id": owner, **facts})
            things.append({**shown(each, own["uuid"], owner), **facts, "prefixes": [prefix]})

        async def write(tx: Any) -> None:
            await tx.run(CLEAR)
            await put(tx, "subnet_pool", rows)
            await put(tx, "subnet_pool_prefix", prefixes)
            await put_tags(tx, "subnet_pool", made)

        await database.transaction(write)
        return things

    filters = model.common_filters(ids("pool")) | owners(people)
    filters |= {
        "ip_version": model.number("ip_version", 4, 6, 5),
        "min_prefixlen": model.number("min_prefixlen", 8, 16),
        "default_prefixlen": model.number("default_prefixlen", 24, 25),
        "max_prefixlen": model.number("max_prefixlen", 30, 32),
        "default_quota": model.number("default_quota", 0, 256),
        "shared": model.boolean("shared"),
        "is_default": model.boolean("is_default"),
    }
    keys = (
        *OWN_KEYS, "ip_version", "min_prefixlen", "default_prefixlen", "max_prefixlen",
        "default_quota", "shared", "is_default",
    )  # fmt: skip

    def sees(thing: Thing, admin: bool) -> bool:
        return bool(admin or thing["shared"] or thing["project_id"] == people.me.project_id)

    await model.check_model(
        network, Model("subnetpools", people, made_of, filters, keys, fill, sees)
    )
