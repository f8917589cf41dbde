"""A cluster that has another name than its row is not believed, and nothing is changed on it."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from cyclades_tx.ganeti.interfaces import GanetiUnavailable, IGanetiCluster
from cyclades_tx.ganeti.named import NamedCluster
from cyclades_tx.model.instance import ClusterInfo


class Scene:
    """A cluster that says a name when it is let, and notes what it is asked."""

    def __init__(self, name: str = "c1") -> None:
        self.name = name
        self.calls: list[str] = []
        self.gate: Deferred[None] | None = None
        self.broken = False
        self.named = NamedCluster(self, "c1")

    async def info(self) -> ClusterInfo:
        """Who it is."""
        self.calls.append("info")
        if self.gate is not None:
            await self.gate
        if self.broken:
            raise GanetiUnavailable("away")
        return ClusterInfo(self.name, "3.0", "n1", "kvm", ("kvm",), ("file",))

    async def glance(self, prefix: str) -> tuple[Any, ...]:
        """A question."""
        self.calls.append("glance")
        return ()

    async def remove_instance(self, name: str, reason: str) -> int:
        """A change."""
        self.calls.append("remove_instance")
        return 7


def test_it_is_a_cluster() -> None:
    """All calls are there."""

    class Whole:
        def __getattr__(self, call: str) -> Any:
            return getattr(Scene, call, Scene.info)

    assert verifyObject(IGanetiCluster, NamedCluster(Whole(), "c1"), tentative=True)


async def test_the_name_is_asked_for_once_before_the_first_call() -> None:
    """Then calls pass as they are."""
    scene = Scene()
    assert await scene.named.remove_instance("snf-1", reason="r") == 7
    assert await scene.named.glance("snf-") == ()
    assert scene.calls == ["info", "remove_instance", "glance"]
    scene.named.doubt()
    await scene.named.glance("snf-")
    assert scene.calls[3:] == ["info", "glance"]


@pytest.mark.parametrize("call", [("glance", "snf-"), ("remove_instance", "snf-1", "r"), ("info",)])
async def test_with_another_name_nothing_passes(call: tuple[str, ...]) -> None:
    """And the reason says what to do; it passes again once the name is right."""
    scene = Scene("other.example.org")
    with pytest.raises(GanetiUnavailable) as caught:
        await getattr(scene.named, call[0])(*call[1:])
    assert "calls itself other.example.org" in caught.value.message
    assert "backend-modify" in caught.value.message
    assert scene.calls == ["info"]
    scene.name = "c1"
    await getattr(scene.named, call[0])(*call[1:])
    assert scene.calls[-1] == call[0]


async def test_many_first_calls_wait_for_one_question() -> None:
    """Also when it fails; the next call asks again."""
    scene = Scene()
    scene.gate = Deferred()
    scene.broken = True
    calls = [Deferred.fromCoroutine(scene.named.glance("")) for _ in range(3)]
    calls[1].addErrback(lambda _: None)
    calls[1].cancel()
    scene.gate.callback(None)
    for call in (calls[0], calls[2]):
        with pytest.raises(GanetiUnavailable):
            await call
    assert scene.calls == ["info"]
    scene.gate, scene.broken = None, False
    await scene.named.glance("")
    assert scene.calls == ["info", "info", "glance"]
