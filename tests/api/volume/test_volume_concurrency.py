"""Many who make, grow, give away and delete volumes at once, over two processes."""

from __future__ import annotations

import json
from typing import Any

from tests.api.application import Application, divided, nova_fault
from tests.api.test_concurrent_servers import SERVERS, a_site

VOLUMES = "/volume/v3/volumes"
TRANSFERS = "/volume/v3/os-volume-transfer"


def over_limit(answer: Any) -> None:
    """The quota would be passed."""
    nova_fault(answer, 413, "overLimit")


async def a_type(application: Application) -> None:
    """Without a type there are no volumes."""
    await application.database.run(
        "insert into volume_type (name, disk_template) values ('plain', 'plain')"
    )


async def test_books_are_right_whatever_happens_at_once(application: Application) -> None:
    """As much as there is room for succeeds; what was given back is free again."""
    await a_type(application)
    who, other = await application.somebody(disk=20 << 30), await application.somebody()
    made = await application.at_once(
        (who, "POST", VOLUMES, {"volume": {"size": 2}}) for _ in "x" * 16
    )
    volumes = [each["volume"]["id"] for each in divided(made, 202, over_limit, 10)]
    grow = {"os-extend": {"new_size": 3}}
    grown = await application.at_once(
        (who, "POST", f"{VOLUMES}/{each}/action", grow) for each in volumes
    )
    assert [each.status for each in grown] == [413] * 10
    offers = await application.at_once(
        (who, "POST", TRANSFERS, {"transfer": {"volume_id": each}}) for each in volumes[:5] * 2
    )
    offered = [each.json["transfer"] for each in offers if each.status == 202]
    assert len(offered) == 5
    wishes: list[Any] = []
    for each in offered:
        accept = {"accept": {"auth_key": each["auth_key"]}}
        wishes += [(other, "POST", f"{TRANSFERS}/{each['id']}/accept", accept)] * 2
        wishes += [(who, "DELETE", f"{TRANSFERS}/{each['id']}")]
    for each in volumes[5:]:
        wishes += [(who, "DELETE", f"{VOLUMES}/{each}")] * 2
        wishes += [(who, "POST", f"{VOLUMES}/{each}/action", grow)]
    answers = await application.at_once(wishes)
    assert {each.status for each in answers} <= {202, 400, 404, 413}
    await application.books_are_right()
    held = await application.database.value(
        "select sum(used)::bigint >> 30 from holding where resource = 'cyclades.disk'"
    )
    sizes = await application.database.value(
        "select coalesce(sum(size_gib), 0) from volume where deleted_at is null"
    )
    assert held == sizes
    deleted = "select count(*) from volume where deleted_at is not null"
    assert await application.database.value(deleted) == 5


async def test_counted_limit_holds_over_processes(application: Application) -> None:
    """However many ask at the same time."""
    await a_type(application)
    who = await application.somebody()
    await application.database.run(
        "insert into project_limit values (%s, 'volumes', 4)", (who.project_id,)
    )
    wanted = {"volume": {"size": 1}}
    made = await application.at_once((who, "POST", VOLUMES, wanted) for _ in "x" * 12)
    divided(made, 202, over_limit, 4)
    await application.books_are_right()


async def test_counted_limit_holds_for_volumes_that_servers_are_made_with(
    application: Application,
) -> None:
    """Compute and Volume together give out no more, and a refused server leaves nothing."""
    await a_type(application)
    site = await a_site(application, "10.1.0.0/24")
    who = await application.somebody()
    await application.database.run(
        "insert into project_limit values (%s, 'volumes', 4)", (who.project_id,)
    )
    blank = {"source_type": "blank", "destination_type": "volume", "volume_size": 1}
    body = site.body(site.networks)
    image = {
        "boot_index": 0, "uuid": body["server"]["imageRef"], "source_type": "image",
        "destination_type": "local",
    }  # fmt: skip

    def wish(count: int) -> Any:
        disks = [image, *({**blank, "boot_index": -1} for _ in range(count))]
        body = site.body(site.networks, block_device_mapping_v2=disks)
        return (who, "POST", SERVERS, body)

    answers = await application.at_once(
        [wish(1), (who, "POST", VOLUMES, {"volume": {"size": 1}})] * 6
    )
    count = "select count(*) from volume where not local and deleted_at is null"
    assert await application.database.value(count) == 4
    assert sum(each.status == 202 for each in answers) == 4
    for each in answers:
        if each.status != 202:
            assert each.status in (403, 413)
            assert "VolumeLimitExceeded" in json.dumps(each.json)
    await application.books_are_right()

    servers = "select count(*) from server where deleted_at is null"
    before = await application.database.value(servers)
    await application.database.run("update project_limit set maximum = 5")
    (refused,) = await application.at_once([wish(2)])
    nova_fault(refused, 403, "forbidden")
    assert await application.database.value(servers) == before
    assert await application.database.value(count) == 4
    (made,) = await application.at_once([wish(1)])
    assert made.status == 202
    await application.books_are_right()
