"""What is done with servers: power, resize, rebuild, rescue, locks; what a cluster cannot do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenario.clients.people import Person
from tests.scenario.clients.table import approximated, for_administrators, refused, rows, supported

pytestmark = pytest.mark.xdist_group("clients")

ACTION = "POST compute/servers/S/action"
PAUSING = "Pausing servers is not possible on this cloud."
MOVING = "Servers are moved by the operators of the clusters."


def status(person: Person, server: str) -> str:
    """The status that a person sees."""
    found: str = person.json(f"server show {server}")["status"]
    return found


@rows(
    supported("server stop S", f"GET compute/servers?name=S → {ACTION} os-stop"),
    supported("server start S", f"GET compute/servers?name=S → {ACTION} os-start"),
    supported("server reboot --wait S", f"{ACTION} reboot → GET compute/servers/S"),
    supported("server reboot --hard --wait S", f"{ACTION} reboot → GET compute/servers/S"),
    supported("server event list S", "GET compute/servers/S/os-instance-actions"),
    supported("server event list --long S", "GET compute/servers/S/os-instance-actions"),
    supported("server event show S REQUEST", "GET compute/servers/S/os-instance-actions/REQUEST"),
)
def test_power(demo: Person, server: str, settled: Callable[[], None]) -> None:
    """Off, on, anew; and all of it stands in the events."""
    demo(f"server stop {server}")
    demo.refused(f"server stop {server}", why="409")
    settled()
    assert status(demo, server) == "SHUTOFF"
    demo.refused(f"server stop {server}", why="while it is in vm_state stopped")
    demo.refused(f"server reboot --wait {server}", why="while it is in vm_state stopped")
    demo(f"server start {server}")
    settled()
    assert status(demo, server) == "ACTIVE"
    demo(f"server reboot --wait {server}")
    demo(f"server reboot --hard --wait {server}")
    assert status(demo, server) == "ACTIVE"
    events = demo.json(f"server event list {server}")
    assert [each["Action"] for each in events] == ["reboot", "reboot", "start", "stop", "create"]
    (last, *_) = demo.json(f"server event list --long {server}")
    assert last["Request ID"] == events[0]["Request ID"]
    shown = demo.json(f"server event show {server} {events[0]['Request ID']}")
    assert shown["action"] == "reboot"
    assert {each["result"] for each in shown["events"]} == {"Success"}


@rows(
    supported("server resize --flavor F --wait S", f"{ACTION} resize → GET compute/servers/S"),
    supported("server resize confirm S", f"{ACTION} confirmResize"),
    supported("server resize revert S", f"{ACTION} revertResize"),
)
def test_resize(demo: Person, server: str, settled: Callable[[], None]) -> None:
    """There and back, and there for good."""
    demo(f"server resize --flavor larger --wait {server}")
    assert status(demo, server) == "VERIFY_RESIZE"
    demo(f"server resize revert {server}")
    settled()
    shown = demo.json(f"server show {server}")
    assert (shown["status"], shown["flavor"]["original_name"]) == ("ACTIVE", "tiny")
    demo(f"server resize --flavor larger --wait {server}")
    demo(f"server resize confirm {server}")
    settled()
    shown = demo.json(f"server show {server}")
    assert (shown["status"], shown["flavor"]["original_name"]) == ("ACTIVE", "larger")
    demo.refused(f"server resize confirm {server}", why="while it is in vm_state active")


@rows(
    supported("server rebuild --image I --wait S", f"{ACTION} rebuild → GET compute/servers/S"),
    approximated(
        "server rescue S", f"{ACTION} rescue", "The image decides whether the password counts."
    ),
    supported("server unrescue S", f"{ACTION} unrescue"),
)
def test_rebuild_and_rescue(demo: Person, server: str, settled: Callable[[], None]) -> None:
    """Another system on its disk; one beside its disk, and back."""
    options = "--property a=b --description new --password Rebuilt-1-pass"
    demo(f"server rebuild --image ubuntu-24.04 {options} --wait {server}")
    shown = demo.json(f"server show {server}")
    assert shown["image"].startswith("ubuntu-24.04 (")
    assert (shown["status"], shown["properties"]) == ("ACTIVE", {"a": "b"})
    assert shown["description"] == "new"
    demo(f"server rescue {server}")
    settled()
    assert status(demo, server) == "RESCUE"
    demo(f"server unrescue {server}")
    settled()
    assert status(demo, server) == "ACTIVE"


@rows(
    supported("server lock --reason R S", f"{ACTION} lock"),
    supported("server lock S", f"{ACTION} lock"),
    supported("server unlock S", f"{ACTION} unlock"),
    approximated(
        "server suspend S",
        f"{ACTION} suspend",
        "Administrators only; the machine keeps running, its owner may do nothing with it.",
    ),
    approximated("server resume S", f"{ACTION} resume", "Administrators only."),
    approximated(
        "server set --state active S",
        f"{ACTION} os-resetState",
        "Administrators only; not `error`.",
    ),
    refused(
        "server set --state error S",
        f"{ACTION} os-resetState",
        *(501, "The state of a server follows what its cluster says."),
    ),
)
def test_locks_and_suspension(demo: Person, admin: Person, server: str) -> None:
    """Its owner's lock, and an administrator's."""
    demo(f"server lock --reason because {server}")
    assert demo.json(f"server show {server}")["locked_reason"] == "because"
    demo.refused(f"server stop {server}", why="is locked")
    demo.refused(f"server delete {server}", why="is locked")
    demo(f"server unlock {server}")
    demo(f"server lock {server}")
    assert demo.json(f"server show {server}")["locked_reason"] is None
    demo(f"server unlock {server}")
    identity = demo.json(f"server show {server}")["id"]
    demo.refused(f"server suspend {server}", why="Policy doesn't allow suspend to be performed.")
    admin(f"server suspend {identity}")
    assert status(demo, server) == "SUSPENDED"
    demo.refused(f"server stop {server}", why="An administrator has suspended this server.")
    demo.refused(f"server resume {server}", why="Policy doesn't allow resume to be performed.")
    admin(f"server resume {identity}")
    assert status(demo, server) == "ACTIVE"
    admin(f"server set --state active --auto-approve {identity}")
    admin.refused(f"server set --state error --auto-approve {identity}")


@rows(
    refused("server pause S", f"{ACTION} pause", 501, PAUSING),
    refused("server unpause S", f"{ACTION} unpause", 409, "while it is in vm_state active"),
    refused("server shelve S", f"{ACTION} shelve", 409, "Shelving servers is not possible"),
    refused("server restore S", f"{ACTION} restore", 409, "while it is in vm_state active"),
    refused(
        "server backup create S",
        *(f"{ACTION} createBackup", 400, "Backups on a schedule are not possible on this cloud."),
    ),
    refused(
        "server dump create S",
        *(f"{ACTION} trigger_crash_dump", 400, "Crash dumps are not possible on this cloud."),
    ),
    refused(
        "server image create S",
        *(f"{ACTION} createImage", 501, "This cloud makes no images of servers"),
    ),
    refused(
        "console log show S",
        f"{ACTION} os-getConsoleOutput",
        *(501, "The output of the console is not kept on this cloud."),
    ),
    refused(
        "console log show --lines N S",
        f"{ACTION} os-getConsoleOutput",
        *(501, "The output of the console is not kept on this cloud."),
    ),
    supported("console url show S", "POST compute/servers/S/remote-consoles"),
    for_administrators("console connection show TOKEN", "GET compute/os-console-auth-tokens/TOKEN"),
    refused("server migrate S", f"{ACTION} migrate", 400, MOVING),
    refused("server migrate --live-migration S", f"{ACTION} os-migrateLive", 400, MOVING),
    refused("server evacuate S", f"{ACTION} evacuate", 400, MOVING),
    for_administrators("server migration list", "GET compute/os-migrations"),
    for_administrators(
        "server migration list --server S", "GET compute/os-migrations?instance_uuid=S"
    ),
)
def test_what_a_cluster_cannot_do(demo: Person, admin: Person, server: str) -> None:
    """Each is refused at once, in words that help; the server stays as it is."""
    for command in ("pause", "unpause", "shelve", "restore"):
        demo.refused(f"server {command} {server}")
    for command in ("backup", "dump", "image"):
        demo.refused(f"server {command} create {server}")
    demo.refused(f"console log show {server}")
    demo.refused(f"console log show --lines 5 {server}")
    url = demo.json(f"console url show {server}")["url"]
    found = admin.json(f"console connection show {url.partition('#')[2]}")
    assert found["instance_uuid"] == demo.json(f"server show {server}")["id"]
    identity = demo.json(f"server show {server}")["id"]
    demo.refused(f"server migrate {server}", why="Policy doesn't allow migrate to be performed.")
    admin.refused(f"server migrate {identity}")
    admin.refused(f"server migrate --live-migration {identity}")
    admin.refused(f"server evacuate {identity}")
    demo.refused("server migration list", why="403")
    assert admin.json("server migration list") == []
    assert admin.json(f"server migration list --server {identity}") == []
    assert status(demo, server) == "ACTIVE"
