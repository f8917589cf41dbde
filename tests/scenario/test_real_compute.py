"""What users change of servers and networks, on real clusters, by Ganeti's own word.

Their machines only pretend to run; ``test_real_kvm.py`` has those that do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from cyclades_tx.store.embedded import EmbeddedPostgres
from tests.real.ganeti import RealGaneti
from tests.scenario.real_ground import (
    LAB,
    Ground,
    address_of,
    ground,
    private,
    refused,
    same_on_both_sides,
)
from tests.scenario.real_servers import (
    Machine,
    create,
    delete,
    ganeti_network,
    machine_of,
    network_info,
    networks_of,
    real_clusters,
    status,
    wait,
)

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("machines")]

#: The last digit of a cluster's prefix is the cluster's own; these are the network's.
FILTERED = len("aa:00:1")
#: Of the network that two clusters have.
PAIR = "10.9.0"


@pytest.fixture(scope="module")
def pretending(
    postgres: EmbeddedPostgres,
    administer: Callable[[str], None],
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ground]:
    """Two clusters with the fake hypervisor."""
    folder = tmp_path_factory.mktemp("compute")
    with ground(
        "real_compute",
        *(postgres, administer, template, folder),
        clusters=2,
        ganeti='rescue_image = "/srv/rescue.iso"\n',
    ) as made:
        made.cloud.books.rows(
            "insert into flavor (name, vcpus, memory_mib, disk_gib, volume_type_id)"
            " select 'larger', 2, 256, 2, volume_type_id from flavor where name = 'tiny'"
        )
        yield made


@pytest.fixture
def machine(pretending: Ground) -> Machine:
    """A machine on the shared network and on the private one."""
    spare = pretending.spare
    while spare:
        kept = spare[-1]
        as_made = (kept.shown()["status"], kept.shown()["flavor"]["original_name"])
        if not kept.moving() and as_made == ("ACTIVE", "tiny") and len(kept.ports()) == 2:
            return kept
        spare.pop()
        delete(kept.client, kept.uuid)
    made = pretending.make("life", (pretending.cloud.network, pretending.lab))
    spare.append(made)
    return made


def test_two_networks_are_two_interfaces(pretending: Ground, machine: Machine) -> None:
    """As ``gnt-instance info`` and ``gnt-network info`` tell it, in the order of the wish."""
    shared, lab = same_on_both_sides(machine)
    assert (shared["mode"], lab["mode"], lab["link"]) == ("routed", "bridged", pretending.bridge)
    name = ganeti_network(machine.cloud, pretending.lab)
    said = network_info(machine.ganeti, name)
    assert said["Network name"] == lab["network"] == name
    assert (said["Subnet"], said["Gateway"]) == (f"{LAB}.0/24", f"{LAB}.1")
    assert lab["MAC"][:FILTERED] == said["Mac Prefix"][:FILTERED]
    assert said["groups"] == {"default": f"mode:bridged link:{pretending.bridge} vlan:"}
    assert said["instances"] == {machine.instance: [f"1:{lab['IP']}"]}
    tags = machine.ganeti.command("gnt-network", "list-tags", name).split()
    assert sorted(tags) == ["nfdhcpd", "private", "private-filtered"]
    public = network_info(machine.ganeti, shared["network"])
    assert public["Subnet"] == "10.77.0.0/16"
    assert public["groups"]["default"].startswith("mode:routed ")


def test_a_resize_is_reverted_and_confirmed(pretending: Ground, machine: Machine) -> None:
    """CPUs, memory and disk; a disk that has grown stays, and is paid for."""
    (flavor,) = pretending.cloud.books.rows("select uuid::text from flavor where name = 'larger'")

    def sizes() -> list[str]:
        return machine.seen("status,be/vcpus,be/maxmem,oper_vcpus,disk.sizes")

    small, large = ["running", "1", "128", "1"], ["running", "2", "256", "2", "2048"]
    assert sizes()[:-1] == small
    machine.act("resize", {"flavorRef": flavor.uuid})
    machine.becomes("VERIFY_RESIZE")
    assert sizes() == large
    (disk,) = machine.info()["Disks"]
    assert disk["disk/0"] == "file, size 2.0G"
    machine.act("revertResize")
    machine.becomes("ACTIVE")
    assert sizes() == [*small, "2048"]
    machine.act("resize", {"flavorRef": flavor.uuid})
    machine.becomes("VERIFY_RESIZE")
    machine.act("confirmResize")
    assert machine.shown()["status"] == "ACTIVE"
    assert machine.shown()["flavor"]["original_name"] == "larger"
    assert sizes() == large
    pretending.sound()


def test_a_rebuild_installs_another_image(pretending: Ground, machine: Machine) -> None:
    """The OS definition is run with the new image, on the same instance."""
    (image,) = pretending.cloud.books.rows(
        "select uuid::text from image where name = 'ubuntu-24.04'"
    )
    uuid = machine.info()["UUID"]
    machine.act("rebuild", {"imageRef": image.uuid, "name": "rebuilt"})
    machine.becomes("ACTIVE")
    said = machine.info()
    assert said["UUID"] == uuid
    assert said["State"] == "configured to be up, actual state is up"
    # The parameters of an installation are forgotten with it.
    assert said["Operating system parameters"] == ""
    assert machine.installed() == "test:ubuntu-24.04"
    assert machine.shown()["image"]["id"] == image.uuid
    same_on_both_sides(machine)


def test_a_rescue_that_the_hypervisor_cannot_do_is_taken_back(machine: Machine) -> None:
    """The machine, which was stopped for it, runs again, and its owner is told why."""
    machine.act("rescue")
    machine.rests()
    failed = machine.last("rescue")
    assert failed.state == "failed", failed
    assert "'boot_order' is not supported" in failed.reason
    machine.becomes("ACTIVE")
    assert machine.seen("status,admin_state") == ["running", "up"]
    actions = machine.client.get(f"{machine.path}/os-instance-actions")["instanceActions"]
    assert (actions[0]["action"], actions[0]["message"]) == ("rescue", "Error")


def test_interfaces_and_floating_ips_come_to_a_stopped_machine_and_leave_it(
    pretending: Ground, machine: Machine
) -> None:
    """While it runs this hypervisor cannot change them, and that is said at once."""
    client, cloud = machine.client, machine.cloud
    wish = {"interfaceAttachment": {"net_id": pretending.lab}}
    why = refused(lambda: client.send("POST", f"{machine.path}/os-interface", wish))
    assert why.status == 409
    assert "stopped servers only" in str(why)
    machine.act("os-stop")
    machine.becomes("SHUTOFF")
    wish["interfaceAttachment"]["fixed_ips"] = [{"ip_address": f"{LAB}.200"}]  # type: ignore[assignment]
    client.send("POST", f"{machine.path}/os-interface", wish)
    machine.rests()
    assert [nic["IP"] for nic in same_on_both_sides(machine)][2:] == [f"{LAB}.200"]

    public = pretending.network("public")
    first = machine.ports()[0]
    body = {"floatingip": {"floating_network_id": public, "port_id": first["id"]}}
    made = client.send("POST", "/network/v2.0/floatingips", body)[2]["floatingip"]
    machine.rests()
    floating, name = made["floating_ip_address"], ganeti_network(cloud, public)
    (nic,) = same_on_both_sides(machine)[3:]
    assert (nic["IP"], nic["network"]) == (floating, name)
    assert network_info(machine.ganeti, name)["instances"] == {machine.instance: [f"3:{floating}"]}

    path = f"/network/v2.0/floatingips/{made['id']}"
    client.send("PUT", path, {"floatingip": {"port_id": None}})
    machine.rests()
    assert client.get(path)["floatingip"]["status"] == "DOWN"
    assert network_info(machine.ganeti, name)["instances"] == {}
    client.send("DELETE", path)
    (port,) = [each for each in machine.ports() if address_of(each) == f"{LAB}.200"]
    client.send("DELETE", f"{machine.path}/os-interface/{port['id']}")
    machine.rests()
    assert len(same_on_both_sides(machine)) == 2
    machine.act("os-start")
    machine.becomes("ACTIVE")
    pretending.sound()


def test_a_private_network_is_the_same_on_two_clusters(pretending: Ground) -> None:
    """Made with the first server of each, made anew with its new subnet, and removed from both."""
    cloud, client = pretending.cloud, pretending.client
    network = private(client, "pair", PAIR)
    name = ganeti_network(cloud, network)
    ganetis: dict[str, RealGaneti] = real_clusters(cloud).ganetis
    assert not [ganeti for ganeti in ganetis.values() if name in networks_of(ganeti)]
    servers = [create(cloud, client, "pair", zone=zone, networks=(network,)) for zone in ganetis]
    machines = [machine_of(cloud, client, server) for server in servers]
    assert [machine.ganeti.name for machine in machines] == list(ganetis)
    said = [network_info(ganeti, name) for ganeti in ganetis.values()]
    alike = ("Subnet", "Gateway", "groups")
    assert [said[0][key] for key in alike] == [said[1][key] for key in alike]
    assert said[0]["groups"] == {"default": f"mode:bridged link:{pretending.bridge} vlan:"}
    nics = [nic for machine in machines for nic in machine.nics()]
    assert [each["instances"] for each in said] == [
        {machine.instance: [f"0:{nic['IP']}"]} for machine, nic in zip(machines, nics, strict=True)
    ]
    assert len({nic["IP"] for nic in nics}) == len({nic["MAC"] for nic in nics}) == 2
    prefixes = [each["Mac Prefix"] for each in said]
    assert prefixes[0] != prefixes[1]
    assert len({text[:FILTERED] for text in (*prefixes, *(nic["MAC"] for nic in nics))}) == 1

    six = {"subnet": {"network_id": network, "ip_version": 6, "cidr": "fd00:9::/64"}}
    assert refused(lambda: client.send("POST", "/network/v2.0/subnets", six)).status == 409
    for server in servers:
        delete(client, server)
    wait(cloud, lambda: {status(client, server) for server in servers} == {"gone"}, "both are gone")
    client.send("POST", "/network/v2.0/subnets", six)
    wait(cloud, lambda: not cloud.books.open_operations(), "the network is made anew")
    for ganeti in ganetis.values():
        again = network_info(ganeti, name)
        assert (again["Subnet"], again["IPv6 Subnet"]) == (f"{PAIR}.0/24", "fd00:9::/64")
        assert again["groups"] == said[0]["groups"]
        assert again["UUID"] not in (said[0]["UUID"], said[1]["UUID"])

    client.send("DELETE", f"/network/v2.0/networks/{network}")
    wait(cloud, lambda: not cloud.books.open_operations(), "the network is removed")
    assert not [ganeti for ganeti in ganetis.values() if name in networks_of(ganeti)]
    pretending.sound()
