"""Changes of one server that are asked for together go one after the other."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from cyclades_tx.errors import Conflict
from cyclades_tx.flows import server_turns
from cyclades_tx.flows.interfaces import WantedInterface
from cyclades_tx.flows.volumes import NewVolume
from tests.loops.cloud import Cloud, refused


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a busy machine needs for all of them."""
    monkeypatch.setattr(server_turns, "PATIENCE_SECONDS", 60.0)


@pytest_twisted.async_fixture
async def plugged(cloud: Cloud) -> Cloud:
    """A cloud whose cluster changes running machines, with loops that run."""
    await cloud.drive()
    await cloud.database.run("update cluster set hotplug = true")
    return cloud


async def volume(cloud: Cloud) -> str:
    """A volume that no server has."""
    uuid: str = await cloud.world.volumes.create(cloud.who, NewVolume(1, "v"))
    return uuid


def attach(cloud: Cloud, server: str, uuid: str) -> Deferred[str]:
    """Wish a volume on a server."""
    return Deferred.fromCoroutine(
        cloud.world.volume_attachments.attach(cloud.who, server, uuid, "req-attach")
    )


async def opened(cloud: Cloud) -> list[str]:
    """The kinds of the operations that are open."""
    rows = await cloud.database.all("select kind from operation where finished_at is null")
    return [row.kind for row in rows]


async def test_devices_that_are_asked_for_together_all_come(plugged: Cloud) -> None:
    """Disks and an interface, as a program asks for them that does everything at once."""
    server = await plugged.active()
    wanted = [await volume(plugged) for _ in range(3)]
    done: list[Deferred[Any]] = [attach(plugged, server, uuid) for uuid in wanted]
    interface = WantedInterface(network_ref=plugged.network)
    done.append(
        Deferred.fromCoroutine(
            plugged.world.interfaces.attach(plugged.who, server, interface, "req-port")
        )
    )
    await gatherResults(done)
    await plugged.settled()
    instance = plugged.ganeti.instances[plugged.instance(await plugged.row(server))]
    assert (len(instance.disks), len(instance.nics)) == (4, 2)
    assert not plugged.world.volume_attachments.turns._waiting
    await plugged.check_books()


async def test_a_stop_waits_for_a_disk_and_a_disk_for_no_stop(plugged: Cloud) -> None:
    """What a client sees as the server's state is a conflict at once."""
    server, uuid = await plugged.active(), await volume(plugged)
    await attach(plugged, server, uuid)
    await plugged.world.servers.stop(plugged.who, server, "req-stop")
    assert await opened(plugged) == ["stop"]
    assert (
        await refused(Conflict, attach(plugged, server, await volume(plugged)))
    ).reason == "busy"
    await plugged.settled()
    assert (await plugged.row(server)).state == "stopped"


async def test_patience_has_an_end_and_nothing_is_taken(
    plugged: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster takes too long."""
    server, uuid = await plugged.active(), await volume(plugged)
    await plugged.stop()
    await attach(plugged, server, await volume(plugged))
    monkeypatch.setattr(server_turns, "PATIENCE_SECONDS", 0.5)
    assert (await refused(Conflict, attach(plugged, server, uuid))).reason == "busy"
    assert await opened(plugged) == ["attach_volume"]
    found = await plugged.database.first("select status from volume where uuid = %s", (uuid,))
    assert found.status == "available"


async def test_so_many_of_a_project_wait_and_one_that_is_given_up_leaves(
    plugged: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can fill the service with requests that wait."""
    server, uuid = await plugged.active(), await volume(plugged)
    await plugged.stop()
    await attach(plugged, server, await volume(plugged))
    monkeypatch.setattr(server_turns, "MOST_WAITING", 1)
    waiting = attach(plugged, server, uuid)
    turns = plugged.world.volume_attachments.turns
    while not turns._waiting:
        await plugged.database.pause(0.02)
    await refused(Conflict, attach(plugged, server, uuid))
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting
    assert not turns._waiting
    await plugged.drive()
    await plugged.settled()
