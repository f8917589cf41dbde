"""The loop that throws away what is over for long."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cyclades_tx.loops import retention as loop
from cyclades_tx.sections import RetentionSection
from cyclades_tx.store import retention
from cyclades_tx.testing import builders
from tests.loops.cloud import Cloud


def a_loop(database: Any, clock: Any, driver: str = "p1", **days: float) -> loop.Retention:
    """The loop, with these days."""
    return loop.Retention(clock, database, driver, RetentionSection(**days), random.Random(1))


async def old_images(database: Any, number: int) -> None:
    """Images that were deleted two years ago."""
    for _ in range(number):
        await builders.an_image(database, "old")
    await database.run("update image set created_at = now() - interval '3 years'")
    await database.run(
        "update image set status = 'deleted', deleted_at = now() - interval '2 years'"
        " where name = 'old'"
    )


async def test_zero_days_keep_for_ever(cloud: Cloud) -> None:
    """And what has days goes when they are over."""
    database = cloud.database
    await old_images(database, 3)
    assert await a_loop(database, cloud.reactor, deleted_days=0.0).walk() == 0
    assert await a_loop(database, cloud.reactor, deleted_days=1000.0).walk() == 0
    assert await a_loop(database, cloud.reactor, deleted_days=700.0).walk() == 3


async def test_of_two_processes_one_walks_in_a_period(cloud: Cloud) -> None:
    """The other finds the turn taken; an hour later it is anybody's."""
    database, clocks = cloud.database, [Clock(), Clock()]
    loops = [a_loop(database, clock, f"p{number}") for number, clock in enumerate(clocks)]
    for each in loops:
        each.start()

    async def driver() -> str | None:
        found: str | None = await database.value(
            "select driver from upkeep where name = 'retention' and ended_at is not null"
        )
        return found

    async def by(name: str) -> bool:
        return await driver() == name

    clocks[0].advance(loop.EVERY_SECONDS / loop.TRIES)
    await cloud.until(lambda: by("p0"), "the first one has walked")
    clocks[1].advance(loop.EVERY_SECONDS / loop.TRIES)
    await cloud.sleep(0.2)
    assert await by("p0")
    await database.run("update upkeep set began_at = began_at - interval '1 hour'")
    clocks[1].advance(loop.EVERY_SECONDS / loop.TRIES)
    await cloud.until(lambda: by("p1"), "the other one has walked")
    for each in loops:
        await each.stop()


async def test_a_stop_ends_the_walk_after_its_step(cloud: Cloud, monkeypatch: Any) -> None:
    """What is left waits for the next one."""
    database = cloud.database
    await old_images(database, 6)
    monkeypatch.setattr(retention.step, "__defaults__", (2,))
    clock = Clock()
    each = a_loop(database, clock)
    walking = Deferred.fromCoroutine(each.walk())

    async def resting() -> bool:
        return bool(clock.getDelayedCalls())

    await cloud.until(resting, "it rests between two steps")
    await each.stop()
    removed = await walking
    left = await database.value("select count(*) from image where deleted_at is not null")
    assert (removed, left) in {(1, 5), (2, 4)}  # the cloud has an image of its own
    assert clock.getDelayedCalls() == []
