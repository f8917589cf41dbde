"""Machines that run, on a real cluster with KVM, and what is plugged into them while they do.

A guest of our own takes devices and lets them go; a machine without one does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cyclades_tx.model.plan import PENDING_RESTART
from cyclades_tx.store.embedded import EmbeddedPostgres
from tests.real.ganeti import GANETIS, make_guest
from tests.real.rescue import SAYS, iso
from tests.scenario.cloud import OpenStack
from tests.scenario.real_ground import Ground, address_of, ground, refused, same_on_both_sides
from tests.scenario.real_servers import Machine, wait

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("machines")]

#: So often a guest may be too slow.
TRIES = 3


@pytest.fixture(scope="module")
def running(
    postgres: EmbeddedPostgres,
    administer: Callable[[str], None],
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ground]:
    """A cluster with KVM, a guest for its machines, and something to rescue them with."""
    home = GANETIS.kvm().home
    make_guest(home / "guest")
    rescue = home / "rescue.iso"
    rescue.write_bytes(iso())
    folder = tmp_path_factory.mktemp("kvm")
    with ground(
        "real_kvm",
        *(postgres, administer, template, folder),
        kvm=True,
        ganeti=f'rescue_image = "{rescue}"\n',
    ) as made:
        yield made


@pytest.fixture
def guest(running: Ground) -> Machine:
    """A machine with a guest that has booted, on the shared network."""
    spare = running.spare
    while spare:
        kept = spare[-1]
        if not kept.moving() and kept.shown()["status"] == "ACTIVE" and len(kept.ports()) == 1:
            break
        spare.pop()
    else:
        spare.append(running.make("guest"))
        boot_guest(spare[-1])
    guest_has(spare[-1], 1)
    return spare[-1]


def boot_guest(machine: Machine) -> None:
    """Reboot a machine into our guest, as whoever asked for the reboot."""
    files = machine.ganeti.home / "guest"
    machine.ganeti.command(
        *("gnt-instance", "modify", "-H"),
        f"kernel_path={files / 'kernel'},initrd_path={files / 'initrd'},serial_console=true",
        machine.instance,
    )
    machine.act("reboot", {"type": "HARD"})
    machine.becomes("ACTIVE")


def guest_has(machine: Machine, count: int) -> None:
    """Wait until the guest says that it has so many interfaces: those of its ports."""
    said: list[list[str] | None] = []

    def so() -> bool:
        said[:] = [machine.guest_nics()]
        return sorted(said[0] or ()) == sorted(port["mac_address"] for port in machine.ports())

    assert len(machine.ports()) == count
    try:
        wait(machine.cloud, so, f"the guest of {machine.instance} has {count} interfaces")
    except AssertionError as late:
        raise AssertionError(f"{late}\nThe guest says {said}.") from None


def attach(machine: Machine, network: str) -> Any:
    """Add an interface to a machine that runs; return its port."""
    body = {"interfaceAttachment": {"net_id": network}}
    made = machine.client.send("POST", f"{machine.path}/os-interface", body)[2]
    machine.rests()
    port = machine.client.get(f"/network/v2.0/ports/{made['interfaceAttachment']['port_id']}")
    assert ["nic.1", "hotplug:done"] in machine.results("attach_port")
    assert port["port"]["status"] == "ACTIVE"
    return port["port"]


def let_go(guest: Machine, ask: Callable[[], Any]) -> bool:
    """Ask for the second interface to be removed; return whether that was done while it ran.

    Ganeti gives a guest five seconds; one that was too slow, on a machine with much else to do, is
    rebooted.
    """
    ask()
    guest.rests()
    done = ["NIC/1", "hotplug:done"] in guest.results("detach_port")
    if not done:
        guest.act("reboot", {"type": "HARD"})
        guest.becomes("ACTIVE")
    wait(guest.cloud, lambda: len(guest.ports()) == 1, "the port is gone")
    guest_has(guest, 1)
    return done


def test_a_machine_without_a_guest_has_an_interface_until_its_next_start(running: Ground) -> None:
    """The cluster calls its removal a success; for us it is pending, its address stays taken."""
    machine = running.make("hollow")
    client = machine.client
    port = attach(machine, running.lab)
    assert machine.plugged() == len(same_on_both_sides(machine)) == 2

    client.send("DELETE", f"{machine.path}/os-interface/{port['id']}")
    machine.rests()
    assert ["NIC/1", "hotplug:failed"] in machine.results("detach_port")
    ended = machine.last("detach_port")
    assert (ended.state, ended.reason) == ("succeeded", PENDING_RESTART)
    actions = client.get(f"{machine.path}/os-instance-actions")["instanceActions"]
    assert (actions[0]["action"], actions[0]["message"]) == ("detach_interface", PENDING_RESTART)
    assert (len(machine.nics()), machine.plugged()) == (1, 2)
    assert [each["status"] for each in machine.ports()] == ["ACTIVE", "DOWN"]
    wish = {"port": {"network_id": running.lab, "fixed_ips": [{"ip_address": address_of(port)}]}}
    assert refused(lambda: client.send("POST", "/network/v2.0/ports", wish)).status == 409

    boot_guest(machine)
    running.spare.append(machine)
    wait(machine.cloud, lambda: len(machine.ports()) == 1, "the port is gone")
    assert len(same_on_both_sides(machine)) == machine.plugged() == 1
    free = client.send("POST", "/network/v2.0/ports", wish)[2]["port"]
    client.send("DELETE", f"/network/v2.0/ports/{free['id']}")
    running.sound()


def test_a_guest_takes_interfaces_and_floating_ips_and_lets_them_go(
    running: Ground, guest: Machine
) -> None:
    """While it runs: what the API says is what Ganeti, the emulator and the guest itself say."""
    client = guest.client

    def comes_and_goes() -> bool:
        port = attach(guest, running.lab)
        guest_has(guest, 2)
        assert len(same_on_both_sides(guest)) == guest.plugged() == 2
        path = f"{guest.path}/os-interface/{port['id']}"
        return let_go(guest, lambda: client.send("DELETE", path))

    assert any(comes_and_goes() for _ in range(TRIES)), "the guest was never in time"
    assert len(same_on_both_sides(guest)) == guest.plugged() == 1

    body = {"floatingip": {"floating_network_id": running.network("public")}}
    made = client.send("POST", "/network/v2.0/floatingips", body)[2]["floatingip"]
    path = f"/network/v2.0/floatingips/{made['id']}"
    client.send("PUT", path, {"floatingip": {"port_id": guest.ports()[0]["id"]}})
    guest.rests()
    assert client.get(path)["floatingip"]["status"] == "ACTIVE"
    guest_has(guest, 2)
    assert [nic["IP"] for nic in same_on_both_sides(guest)][1:] == [made["floating_ip_address"]]
    let_go(guest, lambda: client.send("DELETE", path))
    assert refused(lambda: client.get(path)).status == 404
    running.sound()


def test_a_guest_takes_a_volume_and_lets_it_go(running: Ground, guest: Machine) -> None:
    """While it runs: by ``gnt-instance info``, by the emulator, and with its data afterwards."""
    client, openstack = guest.client, OpenStack(running.cloud.folder)
    openstack("volume", "create", "--size", "1", "plugged")

    def uuids() -> list[str]:
        """The disks of the configuration, which the running machine has too."""
        known = [disk["UUID"] for disk in guest.info()["Disks"]]
        drives = guest.drives()
        assert len(drives) == len(known) == sum(each.startswith(tuple(drives)) for each in known)
        return known

    def status() -> str:
        (volume,) = client.get("/volume/v3/volumes/detail?name=plugged")["volumes"]
        return str(volume["status"])

    def comes_and_goes() -> list[str] | None:
        """The volume's disk; None: it left only when the machine was started anew."""
        openstack("server", "add", "volume", guest.uuid, "plugged")
        guest.rests()
        assert ["disk/1", "hotplug:done"] in guest.results("attach_volume")
        assert (status(), len(uuids())) == ("in-use", 2)
        there = uuids()[1:]
        openstack("server", "remove", "volume", guest.uuid, "plugged")
        guest.rests()
        done = ["disk/1", "hotplug:done"] in guest.results("detach_volume")
        if not done:
            assert status() == "detaching"
            guest.act("reboot", {"type": "HARD"})
            guest.becomes("ACTIVE")
        wait(guest.cloud, lambda: status() == "available", "the volume is free")
        assert len(uuids()) == 1
        guest_has(guest, 1)
        return there if done else None

    seen = [comes_and_goes()]
    while seen[-1] is None and len(seen) < TRIES:
        seen.append(comes_and_goes())
    assert seen[-1] is not None, "the guest was never in time"
    # The same disk again, which Ganeti has kept, and grown in between.
    openstack("server", "add", "volume", guest.uuid, "plugged")
    guest.rests()
    assert uuids()[1:] == seen[-1]
    openstack("volume", "set", "--size", "2", "plugged")
    guest.rests()
    # The first is as large as the resize left it, which another test asks for.
    assert guest.seen("disk.sizes")[0].split(",")[1:] == ["2048"]
    openstack("volume", "delete", "--force", "plugged")
    guest.rests()
    if len(guest.drives()) != 1:
        guest.act("reboot", {"type": "HARD"})
        guest.becomes("ACTIVE")
    assert len(uuids()) == 1
    running.sound()


def test_a_guest_is_switched_off_for_a_rescue_and_boots_again(guest: Machine) -> None:
    """With the rescue image in its drive, and afterwards without."""
    rescue = str(guest.ganeti.home / "rescue.iso")

    def drive() -> tuple[str, str]:
        said = guest.info()["Hypervisor parameters"]
        return said["boot_order"], said["cdrom_image_path"]

    def cut_off() -> int:
        """How often the node had to end a machine that did not switch itself off."""
        (log,) = guest.ganeti.home.glob("n1.*/var/log/ganeti/node-daemon.log")
        return log.read_text().count("unsuccessful, forcing")

    before = cut_off()
    assert before > 0, "the hard reboot into the guest is not told"
    guest.act("rescue")
    guest.becomes("RESCUE")
    assert drive() == ("cdrom", rescue)
    guest_has(guest, 1)
    guest.act("unrescue")
    guest.becomes("ACTIVE")
    assert drive() == ("disk", "")
    guest_has(guest, 1)
    assert cut_off() == before


def test_a_machine_without_a_kernel_of_its_own_starts_from_the_rescue_image(
    guest: Machine,
) -> None:
    """Its firmware boots from the drive; what runs then does not switch itself off."""

    def boots(kernel: str) -> None:
        guest.ganeti.command(
            "gnt-instance", "modify", "-H", f"kernel_path={kernel}", guest.instance
        )

    files = guest.ganeti.home / "guest"
    boots("")
    try:
        guest.act("rescue")
        guest.becomes("RESCUE")
        wait(guest.cloud, lambda: guest.on_serial(SAYS), "the rescue system runs")
    finally:
        boots(str(files / "kernel"))
    guest.act("unrescue")
    guest.becomes("ACTIVE")
    guest_has(guest, 1)


def test_a_guest_is_larger_after_a_resize_and_new_after_a_rebuild(
    running: Ground, guest: Machine
) -> None:
    """The emulator is started with other CPUs and memory; a rebuilt one boots its guest again."""
    running.cloud.books.rows(
        "insert into flavor (name, vcpus, memory_mib, disk_gib, volume_type_id)"
        " select 'larger', 2, 256, 2, volume_type_id from flavor where name = 'tiny'"
    )
    (larger,) = running.cloud.books.rows("select uuid::text from flavor where name = 'larger'")
    (other,) = running.cloud.books.rows("select uuid::text from image where name = 'ubuntu-24.04'")

    def emulated() -> tuple[str, str]:
        words = guest.emulator()
        return words[words.index("-smp") + 1], words[words.index("-m") + 1]

    assert emulated() == ("1", "128")
    guest.act("resize", {"flavorRef": larger.uuid})
    guest.becomes("VERIFY_RESIZE")
    guest_has(guest, 1)
    assert emulated() == ("2", "256")
    guest.act("revertResize")
    guest.becomes("ACTIVE")
    assert emulated() == ("1", "128")

    guest.act("rebuild", {"imageRef": other.uuid})
    guest.becomes("ACTIVE")
    guest_has(guest, 1)
    assert guest.installed() == "test:ubuntu-24.04"
    assert len(same_on_both_sides(guest)) == guest.plugged() == 1
    running.sound()
