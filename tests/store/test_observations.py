"""Following a cluster: what is adopted, what is given back, and what is only told."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from cyclades_tx.model import quota
from cyclades_tx.model.address import pools
from cyclades_tx.model.instance import Instance, Power, SeenDisk, SeenNic
from cyclades_tx.model.moves import ABSENT
from cyclades_tx.model.names import Names
from cyclades_tx.store import addresses, ports, quotas, servers
from cyclades_tx.testing import builders

NAMES = Names()


class Case:
    """A running server with one port and one disk, as its instance shows them."""

    def __init__(self, database: Any) -> None:
        self.database = database

    async def begin(self) -> Case:
        """Make it."""
        database = self.database
        self.who = await builders.somebody(database)
        project_id = self.who.project_id
        await quotas.make_holdings(database, project_id, dict.fromkeys(quota.RESOURCES))
        self.cluster = await builders.a_cluster(database)
        self.flavor = await builders.a_flavor(database, disk_gib=4)
        self.server = await builders.a_server(
            database, self.who, self.flavor, cluster=self.cluster, state="active", charge="on"
        )
        self.network = await self.a_network("10.9.0.0/24", shared=True)
        self.port = await self.a_port()
        self.volume_id = await database.value(
            "insert into volume (user_id, project_id, size_gib, volume_type_id, local, bootable,"
            " status, server_id, position) select s.user_id, s.project_id, 4, f.volume_type_id,"
            " true, true, 'in_use', s.id, 0 from server s join flavor f on f.id = s.flavor_id"
            " returning id"
        )
        await quotas.add(database, project_id, quota.server_amounts("on", 1, 512, 4))
        return self

    async def a_network(self, cidr: str, **columns: Any) -> Any:
        """A network with one subnet whose addresses are all free."""
        row = await builders.a_network(self.database, cidr=cidr, **columns)
        subnet = await self.database.first(
            "select id, cidr from subnet where network_id = %s", (row.id,)
        )
        await addresses.fill(self.database, subnet.id, pools(ip_network(subnet.cidr), None))
        return row

    async def a_port(self, **others: Any) -> Any:
        """A port of the server."""
        wanted = {"server_id": self.server.id, "position": 0, "automatic": True, **others}
        return await self.database.transaction(
            lambda tx: ports.create_port(
                tx,
                network_id=self.network.id,
                project_id=self.who.project_id,
                user_id=self.who.user_id,
                state="active",
                **wanted,
            )
        )

    def instance(self, **parts: Any) -> Instance:
        """What the cluster shows, the same as the records unless something else is said."""
        return replace(
            Instance(
                NAMES.instance(self.server.id),
                "running",
                Power.RUNNING,
                vcpus=1,
                memory_mib=512,
                nics=(self.nic(),),
                disks=(SeenDisk(NAMES.disk(self.volume_id), 4096, "u-disk"),),
                serial=1,
            ),
            **parts,
        )

    def nic(self, **parts: Any) -> SeenNic:
        """The interface of the port."""
        return replace(
            SeenNic(
                NAMES.nic(self.port.id),
                self.port.mac,
                self.port.addresses[0],
                NAMES.network(self.network.id),
                "u-nic",
            ),
            **parts,
        )

    def other_nic(self, **parts: Any) -> SeenNic:
        """An interface that an operator added."""
        return self.nic(
            **{"name": None, "mac": "aa:00:00:ff:00:01", "ip": "10.9.0.99", "uuid": "u-2", **parts}
        )

    async def observe(self, **parts: Any) -> servers.Observed:
        """Look at it."""
        found: servers.Observed | None = await self.database.transaction(
            lambda tx: servers.observe(tx, self.server.id, self.instance(**parts), NAMES)
        )
        assert found is not None
        assert await quotas.drift(self.database) == []
        for row in await self.database.all("select id from subnet where family(cidr) = 4"):
            assert (await addresses.recount(self.database, row.id)).right
        again = await self.database.transaction(
            lambda tx: servers.observe(tx, self.server.id, self.instance(**parts), NAMES)
        )
        assert again.followed.changes == []
        assert again.followed.refused == found.followed.refused
        return found

    async def ports(self) -> list[Any]:
        """The server's ports."""
        rows: list[Any] = await self.database.all(
            "select p.*, (select host(a.address) from address a where a.port_id = p.id"
            " and family(a.address) = 4) as ip from port p where server_id = %s order by position",
            (self.server.id,),
        )
        return rows


@pytest.fixture
def case(database: Any) -> Case:
    """A case that has not begun."""
    return Case(database)


async def test_what_is_the_same_changes_nothing(case: Case) -> None:
    """But Ganeti's own ids are kept."""
    await case.begin()
    observed = await case.observe()
    assert (observed.followed.changes, observed.followed.refused) == ([], {})
    (port,) = await case.ports()
    assert port.ganeti_uuid == "u-nic"
    assert await case.database.value("select ganeti_uuid from volume") == "u-disk"


async def test_a_flavor_of_the_new_size_is_taken_and_a_private_one_is_not(case: Case) -> None:
    """Where there is none the server keeps its own, and pays for what it has."""
    await case.begin()
    await builders.a_flavor(case.database, vcpus=2, memory_mib=1024, disk_gib=4, public=False)
    await case.observe(vcpus=2, memory_mib=1024)
    row = await case.database.first("select * from server")
    assert (row.flavor_id, row.vcpus, row.memory_mib) == (case.flavor.id, 2, 1024)
    fits = await builders.a_flavor(case.database, vcpus=3, memory_mib=2048, disk_gib=4)
    await builders.a_flavor(case.database, vcpus=3, memory_mib=2048, disk_gib=5)
    await case.observe(vcpus=3, memory_mib=2048)
    assert await case.database.value("select flavor_id from server") == fits.id


async def test_sizes_that_the_cluster_does_not_tell_stay(case: Case) -> None:
    """As while its node is down."""
    await case.begin()
    observed = await case.observe(vcpus=None, memory_mib=None)
    assert observed.followed.changes == []


async def test_an_added_interface_gets_a_port_that_goes_with_the_server(case: Case) -> None:
    """With its address, and known again without a name."""
    await case.begin()
    await case.observe(nics=(case.nic(), case.other_nic()))
    _, port = await case.ports()
    assert (port.ip, port.automatic, port.state, port.ganeti_uuid) == (
        "10.9.0.99", True, "active", "u-2",
    )  # fmt: skip
    kinds = [row.kind for row in await case.database.all("select kind from event order by id")]
    assert "port.created" in kinds


async def test_a_removed_interface_of_a_user_s_port_leaves_the_port(case: Case) -> None:
    """With its address: a user made it."""
    await case.begin()
    await case.database.run("update port set automatic = false")
    await case.observe(nics=())
    port = await case.database.first("select * from port")
    assert (port.server_id, port.position, port.state, port.device_owner) == (
        None,
        None,
        "down",
        "",
    )
    assert await case.database.value("select count(*) from address where port_id is not null") == 1


async def test_a_floating_ip_is_only_detached_and_attached_again(case: Case) -> None:
    """It stays with its project."""
    await case.begin()
    await case.database.run(
        "insert into floating_ip (address_id, network_id, project_id, user_id, port_id)"
        " select a.id, %s, %s, %s, a.port_id from address a",
        (case.network.id, case.who.project_id, case.who.user_id),
    )
    await quotas.add(case.database, case.who.project_id, {quota.FLOATING_IP: 1})
    ip = case.port.addresses[0]
    await case.observe(nics=(case.nic(ip=None),))
    row = await case.database.first("select a.port_id, f.port_id as on_port from address a"
                                    " join floating_ip f on f.address_id = a.id")  # fmt: skip
    assert tuple(row) == (None, None)
    await case.observe(nics=(case.nic(ip=ip),))
    assert await case.database.value("select port_id from address") == case.port.id
    assert await case.database.value("select port_id from floating_ip") == case.port.id


async def test_a_floating_ip_of_somebody_else_is_not_taken(case: Case) -> None:
    """Even while it is on no port."""
    await case.begin()
    other = await builders.somebody(case.database)
    subnet_id = await case.database.value("select id from subnet")
    await case.database.transaction(lambda tx: addresses.take_given(tx, subnet_id, "10.9.0.50"))
    await case.database.run(
        "insert into floating_ip (address_id, network_id, project_id, user_id)"
        " select id, %s, %s, %s from address where port_id is null",
        (case.network.id, other.project_id, other.user_id),
    )
    await quotas.make_holdings(case.database, other.project_id, dict.fromkeys(quota.RESOURCES))
    await quotas.add(case.database, other.project_id, {quota.FLOATING_IP: 1})
    observed = await case.observe(nics=(case.nic(ip="10.9.0.50"),))
    assert "somebody else's" in next(iter(observed.followed.refused.values()))
    assert (await case.ports())[0].ip == case.port.addresses[0]


@pytest.mark.parametrize(
    ("nic", "why"),
    [
        ({"network": None}, "not one of our networks"),
        ({"network": "snf-net-99999"}, "not one of our networks"),
        ({"network": "lan"}, "not one of our networks"),
        ({"ip": "10.8.0.1"}, "in no subnet"),
        ({"ip": "10.9.0.255"}, "not an address for a machine"),
        ({"ip": "nonsense"}, "not a valid IP address"),
        ({"mac": "nonsense"}, "not a valid MAC"),
        ({"mac": "01:00:00:00:00:01"}, "single machine"),
    ],
)
async def test_an_added_interface_that_cannot_be_adopted_is_told(
    case: Case, nic: dict[str, Any], why: str
) -> None:
    """And everything else is followed all the same."""
    await case.begin()
    observed = await case.observe(
        nics=(case.nic(), case.other_nic(**nic)), status="ADMIN_down", power=Power.STOPPED, vcpus=2
    )
    (told,) = observed.followed.refused.values()
    assert why in told
    assert observed.rest.state == "stopped"
    assert await case.database.value("select vcpus from server") == 2
    assert len(await case.ports()) == 1


async def test_a_network_of_another_project_gives_no_port(case: Case) -> None:
    """An operator may plug it in; a project's records are not opened by that."""
    await case.begin()
    other = await builders.somebody(case.database)
    network = await case.a_network("10.7.0.0/24", project_id=other.project_id)
    await quotas.make_holdings(case.database, other.project_id, dict.fromkeys(quota.RESOURCES))
    await quotas.add(case.database, other.project_id, {quota.PRIVATE_NETWORK: 1})
    nic = case.other_nic(network=NAMES.network(network.id), ip="10.7.0.9")
    observed = await case.observe(nics=(case.nic(), nic))
    assert "another project" in next(iter(observed.followed.refused.values()))


async def test_a_mac_of_another_port_is_not_taken(case: Case) -> None:
    """No two ports have one."""
    await case.begin()
    other = await builders.a_server(case.database, case.who, case.flavor, cluster=case.cluster)
    taken = await case.a_port(server_id=other.id)
    observed = await case.observe(nics=(case.nic(mac=taken.mac),))
    assert "Another port has the MAC" in next(iter(observed.followed.refused.values()))


@pytest.mark.parametrize("added", [False, True])
async def test_an_address_that_is_lost_in_a_race_leaves_nothing_half_written(
    case: Case, added: bool
) -> None:
    """It looked free and could not be taken: the difference is refused as a whole."""
    await case.begin()
    before = await case.ports()
    await case.database.run("delete from free_address_range")
    nics = (case.nic(), case.other_nic()) if added else (case.nic(ip="10.9.0.50"),)
    observed = await case.database.transaction(
        lambda tx: servers.observe(tx, case.server.id, case.instance(nics=nics, vcpus=2), NAMES)
    )
    assert "already in use" in next(iter(observed.followed.refused.values()))
    assert [(port.id, port.ip) for port in await case.ports()] == [
        (port.id, port.ip) for port in before
    ]
    # What came with it is followed.
    assert await case.database.value("select vcpus from server") == 2


async def test_an_interface_on_another_network_moves_its_port(case: Case) -> None:
    """Its old address is free again."""
    await case.begin()
    network = await case.a_network("10.7.0.0/24", shared=True)
    await case.observe(nics=(case.nic(network=NAMES.network(network.id), ip="10.7.0.9"),))
    (port,) = await case.ports()
    assert (port.network_id, port.ip) == (network.id, "10.7.0.9")
    assert await case.database.value("select count(*) from address") == 1


async def test_an_address_of_ipv6_follows_the_mac(case: Case) -> None:
    """The machine makes it from there."""
    await case.begin()
    await case.database.run(
        "insert into subnet (network_id, cidr) values (%s, '2001:db8::/64')", (case.network.id,)
    )
    await case.observe(nics=(case.nic(mac="aa:00:00:ff:ff:01"),))
    made = await case.database.value("select host(address) from address where family(address) = 6")
    assert made == "2001:db8::a800:ff:feff:ff01"
    await case.observe(nics=(case.nic(mac="aa:00:00:ff:ff:02"),))
    made = await case.database.all("select host(address) from address where family(address) = 6")
    assert [row[0] for row in made] == ["2001:db8::a800:ff:feff:ff02"]


async def test_interfaces_that_changed_places_do_so_here(case: Case) -> None:
    """Two ports never have one place, not even in between."""
    await case.begin()
    await case.observe(nics=(case.nic(), case.other_nic()))
    await case.observe(nics=(case.other_nic(), case.nic()))
    assert [port.ip for port in await case.ports()] == ["10.9.0.99", case.port.addresses[0]]


async def test_the_history_of_a_public_address_is_kept(case: Case) -> None:
    """From when to when the server had it."""
    await case.begin()
    await case.database.run("update network set external = true")
    await case.observe(nics=(case.nic(ip="10.9.0.77"),))
    await case.observe(nics=())
    rows = await case.database.all("select host(address) as ip, released_at from address_history")
    assert [(row.ip, row.released_at is not None) for row in rows] == [("10.9.0.77", True)]


@pytest.mark.parametrize("status", ["creating", "uploading", "error_deleting"])
async def test_a_volume_that_is_worked_on_is_left_alone(case: Case, status: str) -> None:
    """Whoever works on it says what becomes of it."""
    await case.begin()
    await case.database.run("update volume set status = %s", (status,))
    observed = await case.observe(disks=(), vcpus=2)
    assert "is being worked on" in next(iter(observed.followed.refused.values()))
    assert await case.database.value("select status from volume") == status
    assert await case.database.value("select vcpus from server") == 2


async def test_a_volume_with_an_open_operation_is_left_alone(case: Case) -> None:
    """Also when its status is at rest."""
    await case.begin()
    await case.database.run(
        "insert into operation (kind, volume_id, cluster_id, deadline_at)"
        " values ('extend_volume', %s, %s, now() + interval '1 hour')",
        (case.volume_id, case.cluster.id),
    )
    observed = await case.observe(disks=(SeenDisk(NAMES.disk(case.volume_id), 9 * 1024),))
    assert "is being worked on" in next(iter(observed.followed.refused.values()))
    assert await case.database.value("select size_gib from volume") == 4


async def test_a_data_volume_that_is_gone_keeps_its_record(case: Case) -> None:
    """It may be somewhere else: an operator sees that something is wrong."""
    await case.begin()
    await case.database.run("update volume set local = false, bootable = false")
    await case.observe(disks=())
    row = await case.database.first("select * from volume")
    assert (row.status, row.server_id, row.deleted_at) == ("error", None, None)


@pytest.mark.parametrize(
    ("status", "after", "used_gib"),
    [
        ("attaching", "available", 4),
        ("detaching", "available", 4),
        ("deleting", "deleted", 0),
        ("extending", "error", 4),
    ],
)
async def test_a_volume_that_nothing_works_on_any_more_is_what_its_disk_says(
    case: Case, status: str, after: str, used_gib: int
) -> None:
    """Its operation has ended without a sight of it."""
    await case.begin()
    await case.database.run("update volume set local = false, status = %s", (status,))
    there = SeenDisk(NAMES.disk(case.volume_id), 4 * 1024, "u-disk")
    await case.observe(disks=(there,))
    assert await case.database.value("select status from volume") == "in_use"
    await case.database.run("update volume set status = %s", (status,))
    await case.observe(disks=())
    assert await case.database.value("select status from volume") == after
    used = "select used from holding where resource = 'cyclades.disk'"
    assert await case.database.value(used) == used_gib * quota.GIB


async def test_disks_that_come_go_and_grow_are_charged(case: Case) -> None:
    """In the same transaction."""
    await case.begin()
    root = SeenDisk(NAMES.disk(case.volume_id), 6 * 1024, "u-disk")
    await case.observe(disks=(root, SeenDisk("data", 3 * 1024, "u-3")))
    used = "select used from holding where resource = 'cyclades.disk'"
    assert await case.database.value(used) == 9 * quota.GIB
    await case.observe(disks=(SeenDisk("data", 3 * 1024, "u-3"),))
    assert await case.database.value(used) == 3 * quota.GIB
    rows = await case.database.all(
        "select position, size_gib from volume where deleted_at is null order by position"
    )
    assert [tuple(row) for row in rows] == [(0, 3)]


async def test_a_lost_creation_ends_with_a_fault_and_gives_back(case: Case) -> None:
    """Nothing is there, and nothing works on it."""
    await case.begin()
    await case.database.run("update server set state = 'building'")
    await case.database.transaction(
        lambda tx: servers.observe(tx, case.server.id, ABSENT, NAMES, "It was lost.")
    )
    row = await case.database.first("select * from server")
    assert (row.state, row.charge, row.fault_message) == ("error", "none", "It was lost.")
    assert await quotas.drift(case.database) == []
