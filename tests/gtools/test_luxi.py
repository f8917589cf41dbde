"""Questions to Ganeti's socket: answered in time or not at all, and again after a failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.gtools.jobfile import build
from cyclades_tx.gtools.luxi import Luxi, LuxiError, LuxiRefused
from tests.gtools.jobs import shutdown, startup
from tests.gtools.luxid import MemoryLuxid


@pytest_twisted.async_yield_fixture
async def luxid(tmp_path: Path) -> Any:
    """Ganeti's side."""
    from twisted.internet import reactor

    made = MemoryLuxid(reactor, tmp_path / "query")
    made.start()
    yield made
    await made.stop()


@pytest_twisted.async_yield_fixture
async def luxi(luxid: MemoryLuxid) -> Any:
    """Our side."""
    from twisted.internet import reactor

    made = Luxi(reactor, str(luxid.path), timeout_seconds=1.0)
    yield made
    made.close()


async def test_several_instances_are_asked_for_at_once(luxid: MemoryLuxid, luxi: Luxi) -> None:
    """By name, on one connection."""
    luxid.rows = {
        name: {"nic.names": [f"{name}-nic"], "nic.macs": ["aa:00:00:00:00:01"]}
        for name in ("snf-1", "snf-2")
    }
    found = await luxi.configurations(["snf-1", "snf-2"])
    assert {name: each.nics[0]["name"] for name, each in found.items()} == {
        "snf-1": "snf-1-nic",
        "snf-2": "snf-2-nic",
    }
    await luxi.configurations(["snf-1"])
    assert (len(luxid.asked), len(luxid.connections)) == (2, 1)


async def test_an_instance_that_is_gone_is_only_missing(luxid: MemoryLuxid, luxi: Luxi) -> None:
    """Ganeti refuses a list of names for one of them."""
    luxid.rows = {"snf-1": {}}
    assert list(await luxi.configurations(["snf-1", "snf-9"])) == ["snf-1"]


async def test_jobs_come_in_the_form_of_their_files(luxid: MemoryLuxid, luxi: Luxi) -> None:
    """Unknown ones are missing."""
    luxid.jobs = {4: startup(4, "running", 2), 5: shutdown(5, "canceled")}
    found = await luxi.jobs([4, 5, 99])
    assert {number: build(number, each) for number, each in found.items()} == {
        number: build(number, each) for number, each in luxid.jobs.items()
    }


@pytest.mark.parametrize("result", ["5", "[5]", "[[]]", "[[1,2]]", '[["x",[],[],5]]', "null"])
async def test_a_table_that_is_none_is_one_kind_of_error(
    luxid: MemoryLuxid, luxi: Luxi, result: str
) -> None:
    """Whatever is there in its place."""
    luxid.raw = b'{"success":true,"result":' + result.encode() + b"}\x03"
    with pytest.raises(LuxiError):
        await luxi.jobs([1])


async def test_the_cluster_and_its_master_are_told(luxid: MemoryLuxid, luxi: Luxi) -> None:
    """Where the files cannot be read."""
    assert await luxi.cluster() == ("g1.test", "n1.test")
    luxid.names = ["g1.test", None]
    with pytest.raises(LuxiError):
        await luxi.cluster()


async def test_without_an_answer_the_wait_ends(luxid: MemoryLuxid, luxi: Luxi) -> None:
    """And the next question has a new connection, so that no late answer is taken for its own."""
    luxid.silent = True
    with pytest.raises(LuxiError, match="QueryConfigValues"):
        await luxi.cluster()
    luxid.silent = False
    assert await luxi.cluster() == ("g1.test", "n1.test")
    assert len(luxid.connections) == 2


async def test_a_restarted_ganeti_is_reached_again(luxid: MemoryLuxid, luxi: Luxi) -> None:
    """After an error while it was away."""
    await luxi.cluster()
    await luxid.stop()
    with pytest.raises(LuxiError):
        await luxi.cluster()
    luxid.start()
    assert await luxi.cluster() == ("g1.test", "n1.test")


async def test_a_refusal_is_told_apart(luxid: MemoryLuxid, luxi: Luxi) -> None:
    """Its text is not repeated."""
    luxid.raw = b'{"success":false,"result":["OpPrereqError",["hush","x"]]}\x03'
    with pytest.raises(LuxiRefused) as caught:
        await luxi.cluster()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x03",
        b"nonsense\x03",
        b"[]\x03",
        pytest.param(b"[" * 100_000 + b"\x03", id="deep"),
        b'{"success":true}\x03',
        b'{"success":true,"result":{"data":5}}\x03',
        b'{"success":true,"result":{"data":[[[0,1]]]}}\x03',
        b'{"success":true,"result":{"data":[5]}}\x03',
        b'{"success":true,"result":{"data":[[]]}}\x03',
        b"\xff\xfe\x03",
    ],
)
async def test_nonsense_is_one_kind_of_error(luxid: MemoryLuxid, luxi: Luxi, raw: bytes) -> None:
    """Whatever comes over the socket."""
    luxid.rows = {"snf-1": {}}
    luxid.raw = raw
    with pytest.raises(LuxiError):
        await luxi.configurations(["snf-1"])


async def test_an_endless_answer_is_cut_off(
    luxid: MemoryLuxid, luxi: Luxi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before the memory is full."""
    monkeypatch.setattr("cyclades_tx.gtools.luxi.MAX_ANSWER_BYTES", 1000)
    luxid.raw = b"x" * 5000
    with pytest.raises(LuxiError):
        await luxi.cluster()
