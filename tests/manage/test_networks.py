"""Commands about pools, subnets and networks, as an operator types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cyclades_tx.flows.networks import WantedNetwork
from cyclades_tx.store import pool_recount, value_recount
from cyclades_tx.testing.network_builders import a_bare_cluster

Manage = Callable[..., Any]


async def shown(manage: Manage, *words: str) -> Any:
    """What a command that works says, read."""
    said = await manage(*words, "--output-format=json")
    assert said.code == 0, said.err
    return json.loads(said.out)


async def refused(manage: Manage, *words: str) -> str:
    """What a command says that must fail, without a traceback."""
    said = await manage(*words)
    assert said.code in (1, 2), said
    assert "Traceback" not in said.err
    return str(said.err)


async def test_a_pool_from_beginning_to_end(manage: Manage, database: Any, world: Any) -> None:
    """Made, listed, shown, made larger, values kept back, removed."""
    made = await shown(manage, "pool-create", "--type=mac-prefix", "--base=aa:00:0", "--size=65536")
    assert (made["usable"], made["free"]) == (16383, 16383)
    bridges = await shown(manage, "pool-create", "--type=bridge", "--base=prv", "--size=20")
    assert (bridges["first"], bridges["last"], bridges["free"]) == ("prv1", "prv20", 20)
    listed = await shown(manage, "pool-list")
    assert [(each["type"], each["base"], each["free"]) for each in listed] == [
        ("mac-prefix", "aa:00:0", 16383),
        ("bridge", "prv", 20),
    ]
    await world.networks.create(None, WantedNetwork(flavor="PHYSICAL_VLAN"))
    assert [each["base"] for each in await shown(manage, "pool-list", "--type=bridge")] == ["prv"]
    number = str(bridges["id"])
    changed = await shown(manage, "pool-modify", number, "--size=30", "--add-reserved=2,30")
    assert (changed["free"], changed["used"]) == (27, 1)
    assert changed["reserved"] == ["prv2", "prv30"]
    assert await shown(manage, "pool-show", number) == changed
    assert "prv1" in await refused(manage, "pool-remove", number)
    await database.run(
        "update network set state = 'deleted', deleted_at = now() where flavor = 'PHYSICAL_VLAN'"
    )
    assert (await manage("pool-remove", number)).code == 0
    assert "pool-list" in await refused(manage, "pool-show", number)


async def test_a_pool_is_moved(manage: Manage, world: Any, database: Any) -> None:
    """What a network has must stay in it, and what is kept back stays so."""
    made = await shown(
        manage, "pool-create", "--type=bridge", "--base=prv", "--size=10", "--offset=5"
    )
    assert (made["first"], made["last"]) == ("prv6", "prv15")
    number = str(made["id"])
    await shown(manage, "pool-modify", number, "--add-reserved=8,15")
    row = await world.networks.create(None, WantedNetwork(flavor="PHYSICAL_VLAN"))
    assert row.link == "prv6"
    for words in (
        ("--offset=6",),
        ("--base=br",),
        ("--offset=0", "--size=5"),
        ("--base=prv", "--offset=5", "--add-reserved=6"),
        ("--base=prv1",),
        ("--offset=-1",),
        ("--offset=99999999999",),
        ("--base=averyverylongbridge",),
        ("--base=pr\nv",),
    ):
        await refused(manage, "pool-modify", number, *words)
        assert (await shown(manage, "pool-show", number))["reserved"] == ["prv8", "prv15"]
    moved = await shown(manage, "pool-modify", number, "--offset=0")
    assert (moved["first"], moved["last"], moved["used"]) == ("prv1", "prv10", 1)
    assert (moved["reserved"], moved["free"]) == (["prv8"], 8)
    await world.networks.delete(None, row.uuid)
    other = await shown(manage, "pool-modify", number, "--base=br-", "--size=20")
    assert (other["first"], other["last"], other["reserved"]) == ("br-1", "br-20", [])
    assert (await world.networks.create(None, WantedNetwork(flavor="PHYSICAL_VLAN"))).link == "br-1"
    assert await value_recount.find(database) == []


async def test_a_pool_of_prefixes_is_moved(manage: Manage, world: Any, database: Any) -> None:
    """The prefix of all other networks is never given out; two pools have no value in common."""
    made = await shown(manage, "pool-create", "--type=mac-prefix", "--base=aa:00:4", "--size=9")
    number = str(made["id"])
    row = await world.networks.create(None, WantedNetwork(flavor="MAC_FILTERED"))
    assert row.mac_prefix == "aa:00:5"
    assert "aa:00:5" in await refused(manage, "pool-modify", number, "--offset=1")
    moved = await shown(manage, "pool-modify", number, "--base=aa:00:3")
    assert (moved["first"], moved["last"], moved["used"]) == ("aa:00:4", "aa:00:b", 1)
    await shown(manage, "pool-create", "--type=mac-prefix", "--base=ae:00:0", "--size=9")
    assert "already" in await refused(manage, "pool-modify", number, "--base=ae:00:0")
    await world.networks.delete(None, row.uuid)
    back = await shown(manage, "pool-modify", number, "--base=a6:ff:f", "--size=12293")
    assert (back["last"], back["usable"]) == ("aa:00:3", 4)
    assert back["reserved"] == ["aa:00:0"]
    assert await value_recount.find(database) == []


async def test_a_pool_that_cannot_be_is_refused(manage: Manage) -> None:
    """With a sentence."""
    for words in (
        ("--type=bridge", "--base=prv1", "--size=3"),
        ("--type=mac-prefix", "--base=ab:00:0", "--size=3"),
        ("--type=mac-prefix", "--base=aa:00:0", "--size=1"),
        ("--type=ip", "--base=aa:00:0", "--size=3"),
        ("--type=bridge", "--base=prv", "--size=0"),
    ):
        await refused(manage, "pool-create", *words)
    assert await shown(manage, "pool-list") == []
    await refused(manage, "pool-modify", "1")


async def test_a_subnet_from_beginning_to_end(manage: Manage, world: Any) -> None:
    """Added, listed, inspected, changed, removed."""
    row = await world.networks.create(None, WantedNetwork(name="office"))
    network = f"snf-net-{row.id}"
    made = await shown(
        manage,
        *("subnet-create", network, "--cidr=10.0.0.0/28", "--name=four", "--gateway=none"),
        *("--allocation-pool=10.0.0.2,10.0.0.5", "--dns=9.9.9.9"),
    )
    assert (made["cidr"], made["gateway"], made["free"]) == ("10.0.0.0/28", "-", 4)
    assert made["allocation pools"] == ["10.0.0.2-10.0.0.5"]
    words = (f"--network={network}", "--cidr=fd00::/64", "--ipv6-mode=slaac")
    six = await shown(manage, "subnet-create", *words)
    assert (await manage("subnet-create", network, *words)).code == 2
    assert (await manage("subnet-create", *words[1:])).code == 2
    assert "at most one" in await refused(manage, "subnet-create", network, "--cidr=10.1.0.0/28")
    listed = await shown(manage, "subnet-list", f"--network={row.id}")
    assert [each["cidr"] for each in listed] == ["10.0.0.0/28", "fd00::/64"]
    for option, cidrs in (
        ("--ipv4", ["10.0.0.0/28"]),
        ("--ipv6", ["fd00::/64"]),
        ("--dhcp", ["10.0.0.0/28", "fd00::/64"]),
        ("--public", []),
    ):
        assert [each["cidr"] for each in await shown(manage, "subnet-list", option)] == cidrs
    assert len(await shown(manage, "network-list", "--ipv6")) == 1
    changed = await shown(
        manage,
        *("subnet-modify", str(made["id"]), "--name=v4", "--gateway=10.0.0.1", "--dhcp=False"),
        "--allocation-pool=10.0.0.2,10.0.0.9",
    )
    assert (changed["name"], changed["gateway"], changed["free"]) == ("v4", "10.0.0.1", 8)
    assert await shown(manage, "subnet-inspect", made["uuid"]) == changed
    assert (await manage("subnet-remove", str(six["id"]))).code == 0
    assert "subnet-list" in await refused(manage, "subnet-inspect", str(six["id"]))
    assert "what is to be changed" in await refused(manage, "subnet-modify", str(made["id"]))


async def test_addresses_are_kept_back_and_given_out_again(
    manage: Manage, world: Any, database: Any
) -> None:
    """Nobody gets them meanwhile, and the books agree."""
    row = await world.networks.create(None, WantedNetwork(name="office"))
    subnet = await shown(manage, "subnet-create", str(row.id), "--cidr=10.0.0.0/28")
    kept = "10.0.0.2,10.0.0.9"
    await shown(manage, "network-modify", str(row.id), f"--add-reserved-ips={kept}")
    inspected = await shown(manage, "subnet-inspect", str(subnet["id"]))
    assert (inspected["kept back"], inspected["free"]) == (["10.0.0.2", "10.0.0.9"], 11)
    assert await pool_recount.find(database) == []
    await refused(manage, "network-modify", str(row.id), "--add-reserved-ips=10.0.1.1")
    await refused(manage, "network-modify", str(row.id), "--remove-reserved-ips=10.0.0.3")
    await shown(manage, "network-modify", str(row.id), f"--remove-reserved-ips={kept}")
    inspected = await shown(manage, "subnet-inspect", str(subnet["id"]))
    assert (inspected["kept back"], inspected["free"]) == ([], 13)


async def test_a_network_is_changed_and_removed(manage: Manage, world: Any, database: Any) -> None:
    """The clusters that have it are told to remove it."""
    await a_bare_cluster(database)
    row = await world.networks.create(None, WantedNetwork(name="office"))
    changed = await shown(
        manage, "network-modify", str(row.id), "--name=lab", "--public=True", "--drained=True"
    )
    assert (changed["name"], changed["public"], changed["drained"]) == ("lab", True, True)
    await refused(manage, "network-modify", str(row.id), "--floating-ip-pool=True")
    await refused(manage, "network-modify", str(row.id))
    assert (await manage("network-remove", str(row.id), given=b"n\n")).code in (1, 130)
    assert (await manage("network-remove", "-f", str(row.id))).code == 0
    assert "network-list" in await refused(manage, "network-remove", "-f", str(row.id))
    found = await database.first("select kind, state from operation")
    assert found == ("remove_network", "pending")


async def test_an_owners_private_network_takes_from_the_pool(manage: Manage, world: Any) -> None:
    """And is charged to the owner's project."""
    await shown(manage, "pool-create", "--type=mac-prefix", "--base=aa:00:0", "--size=3")
    assert (await manage("project-create", "lab")).code == 0
    project_id = await world.people.find_project("lab")
    said = await manage(
        *("user-create", "eve", "--project", "lab", "--role", "member", "--password-stdin"),
        given=b"a long secret\n",
    )
    assert said.code == 0, said.err
    for number in (1, 2):
        made = await shown(
            manage,
            *("network-create", "--name=own", "--flavor=MAC_FILTERED", "--owner=eve"),
            "--project=lab",
        )
        assert made["mac_prefix"] == f"aa:00:{number}"
    words = ("--name=own", "--flavor=MAC_FILTERED")
    assert "pool" in await refused(manage, "network-create", *words)
    used = await world.database.value(
        "select used from holding where project_id = %s and resource = 'cyclades.network.private'",
        (project_id,),
    )
    assert used == 2
