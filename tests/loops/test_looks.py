"""Servers that messages speak of: what is gone is believed only after a look at the cluster."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from cyclades_tx.model.fact import JobFact, furthest
from cyclades_tx.model.job import JobStatus
from cyclades_tx.store import facts
from tests.loops.cloud import Cloud
from tests.loops.test_drift import quiet


async def tell(cloud: Cloud, *server_ids: int) -> None:
    """Record that a job on each of these servers has ended."""
    told = [
        JobFact(
            cloud.ganeti.name, 9000 + number, "OP_INSTANCE_REMOVE", f"o{number}", number,
            JobStatus.SUCCESS, 0, 1,
        )
        for number in server_ids
    ]  # fmt: skip
    await cloud.database.transaction(lambda tx: facts.record(tx, furthest(told)), "told")


def glances(cloud: Cloud, monkeypatch: Any) -> list[str]:
    """Note the looks at the whole cluster from now on."""
    cluster = cloud.drive_of(cloud.cluster_id)._cluster
    seen: list[str] = []
    ask = cluster.glance

    async def noted(prefix: str) -> Any:
        seen.append(prefix)
        return await ask(prefix)

    monkeypatch.setattr(cluster, "glance", noted, raising=False)
    return seen


async def test_most_of_a_cluster_is_not_ended_by_messages(driven: Cloud, monkeypatch: Any) -> None:
    """However many say that instances are gone: its row may point at the wrong cluster."""
    quiet(driven)
    await driven.database.run("update holding set maximum = null")
    uuids = [await driven.active(f"s{number}") for number in range(10)]
    rows = [await driven.row(uuid) for uuid in uuids]
    for row in rows[:6]:
        driven.ganeti.by_hand.remove(driven.instance(row))
    looks = glances(driven, monkeypatch)
    await tell(driven, *(row.id for row in rows))

    async def looked() -> bool:
        return bool(looks)

    await driven.until(looked, "the whole cluster is looked at")
    await driven.sleep(0.5)
    assert {await driven.state(uuid) for uuid in uuids} == {("active", "on")}


async def test_one_that_is_gone_is_ended_by_a_message(driven: Cloud) -> None:
    """Without waiting for the poll."""
    quiet(driven)
    gone, kept = await driven.active("a"), await driven.active("b")
    row = await driven.row(gone)
    driven.ganeti.by_hand.remove(driven.instance(row))
    await tell(driven, row.id)
    await driven.until_state(gone, "deleted", "none")
    assert await driven.state(kept) == ("active", "on")
    await driven.check_books()


async def test_many_messages_about_what_is_gone_make_few_looks(
    driven: Cloud, monkeypatch: Any
) -> None:
    """A cluster is not asked for everything as often as somebody sends messages."""
    quiet(driven)
    await driven.database.run("update holding set maximum = null")
    rows = [await driven.row(await driven.active(f"s{number}")) for number in range(10)]
    for name in list(driven.ganeti.instances):
        driven.ganeti.by_hand.remove(name)
    drive = driven.drive_of(driven.cluster_id)
    slow = msgspec.structs.replace(drive._ganeti, poll_active_seconds=10.0, poll_idle_seconds=60.0)
    monkeypatch.setattr(drive, "_ganeti", slow)
    drive._polled_at = -math.inf
    looks = glances(driven, monkeypatch)
    for row in rows:
        await tell(driven, row.id)
        await driven.sleep(0.03)
    await driven.sleep(0.3)
    assert len(looks) == 1
