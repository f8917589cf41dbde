"""Volumes of servers, as Compute's commands put them on and take them off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.scenario.clients.people import Person
from tests.scenario.clients.table import approximated, rows, supported
from tests.scenario.conftest import Cloud

pytestmark = pytest.mark.xdist_group("clients")

PATH = "compute/servers/S/os-volume_attachments"
AS_IT_IS = "Nothing is installed: no password, key or user data gets into it."
KIND = "Where the disks of a server can leave it; elsewhere volumes go with their server."


@pytest.fixture
def volume(cloud: Cloud, settled: Callable[[], None]) -> Callable[[str], str]:
    """Make a volume of demo's; its UUID."""

    def make(name: str) -> str:
        wanted = {"volume": {"name": name, "size": 1}}
        found: str = cloud.client().send("POST", "/volume/v3/volumes", wanted)[2]["volume"]["id"]
        return found

    return make


def gone(cloud: Cloud) -> None:
    """Let nobody meet what this test has left: a volume with a disk ends with a server only."""
    cloud.books.rows(
        "with ended as (update volume set status = 'deleted', deleted_at = now(), cluster_id = null"
        " where not local and server_id is null and deleted_at is null"
        " returning project_id, size_gib)"
        " update holding h set used = h.used - e.gib * 1073741824 from (select project_id,"
        " sum(size_gib) as gib from ended group by 1) e where h.project_id = e.project_id"
        " and h.resource = 'cyclades.disk'"
    )


@rows(
    approximated("server add volume S V", f"POST {PATH}", KIND),
    approximated("server add volume --tag T S V", f"POST {PATH}", KIND),
    supported("server volume list S", f"GET {PATH}"),
    approximated("server volume update --delete-on-termination S V", f"PUT {PATH}/V", KIND),
    approximated("server volume update --preserve-on-termination S V", f"PUT {PATH}/V", KIND),
    approximated("server remove volume S V", f"DELETE {PATH}/V", KIND),
)
def test_volumes_come_and_go(
    demo: Person,
    server: str,
    volume: Callable[[str], str],
    settled: Callable[[], None],
    cloud: Cloud,
) -> None:
    """With a disk of their size at the cluster, for as long as the server has them."""
    first, second = volume("first"), volume("second")
    demo(f"server add volume {server} {first}")
    settled()
    demo(f"server add volume --tag data {server} {second}")
    settled()

    def listed() -> list[Any]:
        return [
            (row["Volume ID"], row["Tag"], row["Delete On Termination?"])
            for row in demo.json(f"server volume list {server}")
        ]

    assert listed() == [(first, None, False), (second, "data", False)]
    demo(f"server volume update --delete-on-termination {server} {first}")
    assert listed()[0] == (first, None, True)
    demo(f"server volume update --preserve-on-termination {server} {first}")
    assert listed()[0] == (first, None, False)
    for each in (first, second):
        demo(f"server remove volume {server} {each}")
        settled()
    assert listed() == []
    gone(cloud)
    assert cloud.books.faults() == []


@rows(
    approximated("server create --boot-from-volume SIZE", "POST compute/servers", KIND),
    approximated("server create --block-device-mapping DEVICE=V", "POST compute/servers", KIND),
    approximated("server create --volume V", "POST compute/servers", AS_IT_IS),
    approximated("server create --block-device uuid=V", "POST compute/servers", AS_IT_IS),
)
def test_servers_are_made_with_volumes(
    demo: Person, volume: Callable[[str], str], cloud: Cloud, settled: Callable[[], None]
) -> None:
    """The first disk may be one; it is the project's when the server is gone."""
    data = volume("data")
    create = "server create --flavor tiny --network shared"
    words = "--image debian-12 --boot-from-volume 2"
    demo(f"{create} {words} --block-device-mapping vdb={data} --wait booted")
    shown = demo.json("server show booted")
    assert [each["id"] for each in shown["volumes_attached"]][1:] == [data]
    assert "booted from volume" in shown["image"]
    root = shown["volumes_attached"][0]["id"]
    demo("server delete --wait booted")
    settled()
    # The disk is at the cluster, with its system: two more servers boot from it.
    for name, words in (
        ("again", f"--volume {root}"),
        ("once-more", f"--block-device uuid={root},source_type=volume,boot_index=0"),
    ):
        demo(f"{create} {words} --wait {name}")
        shown = demo.json(f"server show {name}")
        assert [each["id"] for each in shown["volumes_attached"]] == [root]
        assert (shown["status"], shown["image"]) == ("ACTIVE", "N/A (booted from volume)")
        demo(f"server delete --wait {name}")
        settled()
    left = cloud.books.rows("select 1 from volume where not local and status = 'available'")
    assert len(left) == 2
    gone(cloud)
    assert cloud.books.faults() == []
