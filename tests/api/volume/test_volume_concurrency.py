"""Many who make, grow, give away and delete volumes at once, over two processes."""

from __future__ import annotations

from typing import Any

from tests.api.application import Application, divided, nova_fault

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
