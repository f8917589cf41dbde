"""The simulated cluster: its clock, its file, its misbehavior and its wire."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import treq
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.python.usage import UsageError

from cyclades_tx.errors import ConfigError
from cyclades_tx.ganeti.interfaces import GanetiRefused, GanetiUnavailable, GanetiUncertain
from cyclades_tx.ganeti.rapi import RapiAddress, RapiCluster, RapiCredentials
from cyclades_tx.ganeti.simulator import (
    ClusterOptions,
    MemoryGaneti,
    Misbehavior,
    Options,
    SimNode,
    SimulatorService,
)
from cyclades_tx.ganeti.simulator.journal import JournalError
from cyclades_tx.model.instance import NewDisk, NewInstance, Power
from cyclades_tx.model.job import JobStatus
from cyclades_tx.testing.expected import raised


def an_instance(name: str = "snf-1", **parts: Any) -> NewInstance:
    """Return the wish for a small instance."""
    values: dict[str, Any] = {
        "name": name,
        "disk_template": "file",
        "disks": (NewDisk(f"{name}-disk", 10),),
        "nics": (),
        "vcpus": 1,
        "memory_mib": 128,
        "os": "snf-image+default",
        "osparams": {},
    }
    return NewInstance(**{**values, **parts})


async def test_an_installation_forgets_what_it_was_told(quick) -> None:
    """As Ganeti 3.0 does, whose instances have no parameters of their own after one."""
    client, has = quick.connect(), quick.ganeti.inventory
    made = await client.create_instance(
        an_instance(osparams={"img_id": "a", "img_format": "f"}), "r"
    )
    set_job = await client.set_os_parameters("snf-1", "r2", {"img_id": "b"})
    again = await client.reinstall_instance("snf-1", "r3", "snf-image+default", {}, True)
    for number in (made, set_job, again):
        while not (await client.jobs((number,)))[number].status.final:
            pass
    assert has.instance("snf-1").installed == {"img_id": "b", "img_format": "f"}
    assert has.instance("snf-1").osparams == {}


async def test_job_goes_through_its_phases_as_the_clock_goes(serve) -> None:
    """Time is the clock's: nothing happens while it stands."""
    clock = Clock()
    client = serve(ganeti := MemoryGaneti(clock, job_seconds=10.0)).connect()
    number = await client.create_instance(an_instance(), "r")
    seen = []
    for seconds in (0, 1.0, 1.0, 7.9, 0.1):
        clock.advance(seconds)
        job = (await client.jobs((number,)))[number]
        seen.append(job.status.value)
    assert seen == ["queued", "waiting", "running", "running", "success"]
    assert ganeti.status("snf-1") == "running"


async def test_instance_is_stopped_while_it_is_installed(serve) -> None:
    """During the create job the instance is there, ADMIN_down."""
    clock = Clock()
    client = serve(ganeti := MemoryGaneti(clock, job_seconds=10.0)).connect()
    await client.create_instance(an_instance(), "r")
    clock.advance(1)
    clock.advance(1)
    assert ganeti.status("snf-1") == "ADMIN_down"


async def test_screens_have_the_ports_from_the_first_on(serve) -> None:
    """Where another Ganeti of the machine has the usual ones."""
    clock = Clock()
    client = serve(ganeti := MemoryGaneti(clock, job_seconds=0, first_port=20_000)).connect()
    for number in range(2):
        await client.create_instance(an_instance(f"snf-{number}"), "r")
        clock.advance(1)
    ports = [each.network_port for each in ganeti.inventory.instances.values()]
    assert ports == [20_000, 20_001]


async def test_creates_wait_for_each_other_when_the_node_is_locked(serve) -> None:
    """With the node's lock one create runs at a time."""
    clock = Clock()
    ganeti = MemoryGaneti(clock, job_seconds=10.0, one_create_at_once=True)
    client = serve(ganeti).connect()
    numbers = [await client.create_instance(an_instance(f"snf-{n}"), "r") for n in range(3)]
    for _ in range(11):
        clock.advance(1)
    assert [ganeti.jobs[n].status for n in numbers] == ["success", "running", "waiting"]


async def test_killed_machine_shows_as_error_down(serve) -> None:
    """A machine whose process died is wanted up and is not."""
    clock = Clock()
    client = serve(ganeti := MemoryGaneti(clock, job_seconds=0)).connect()
    await client.create_instance(an_instance(), "r")
    clock.pump([0] * 4)
    ganeti.kill_instance("snf-1")
    seen = await client.instance("snf-1")
    assert (seen.status, seen.power) == ("ERROR_down", Power.STOPPED)
    ganeti.stop_by_hand("snf-1")
    assert ganeti.status("snf-1") == "ADMIN_down"
    ganeti.drop_instance("snf-1")
    assert await client.instance("snf-1") is None


async def test_offline_node_has_no_capacity(serve) -> None:
    """An offline node's figures are null and its machines are in node trouble."""
    clock = Clock()
    nodes = [SimNode("a", memory=1000), SimNode("b", memory=500)]
    client = serve(ganeti := MemoryGaneti(clock, nodes=nodes, job_seconds=0)).connect()
    await client.create_instance(an_instance(), "r")
    clock.pump([0] * 4)
    assert (await client.capacity()).memory_free_mib == 1372
    ganeti.set_node("a", offline=True)
    assert (await client.capacity()).memory_free_mib == 500
    assert (await client.instance("snf-1")).power is Power.UNKNOWN


async def test_drained_queue_is_unavailable(serve) -> None:
    """A drained queue takes nothing, and trying later helps."""
    client = serve(ganeti := MemoryGaneti(Clock())).connect()
    ganeti.drain_queue()
    await raised(GanetiUnavailable, client.start_instance("snf-1", "r"))
    ganeti.drain_queue(False)
    assert await client.start_instance("snf-1", "r") == 1


@pytest.mark.parametrize(
    ("kind", "failure", "jobs"),
    [
        (Misbehavior.REFUSE, GanetiUnavailable, 0),
        (Misbehavior.GO_AWAY, GanetiUncertain, 0),
        (Misbehavior.GATEWAY_TIMEOUT, GanetiUncertain, 0),
        (Misbehavior.GATEWAY_TIMEOUT_AFTER, GanetiUncertain, 1),
        (Misbehavior.DROP_REPLY, GanetiUncertain, 1),
    ],
)
async def test_misbehavior_loses_the_answer_before_or_after_the_job(
    quick, kind, failure, jobs
) -> None:
    """Each misbehavior happens as often as told, to the names it was told, and no more."""
    client = quick.connect()
    quick.ganeti.misbehave(kind, name="snf-1$", times=1)
    assert await client.start_instance("snf-2", "other")
    await raised(failure, client.create_instance(an_instance(), "r"))
    assert len(await client.jobs_for("snf-1", "r")) == jobs
    assert await client.create_instance(an_instance(), "again")


async def test_slow_reply_comes_late(serve) -> None:
    """The job is accepted at once, the reply waits for the clock."""
    clock = Clock()
    client = serve(ganeti := MemoryGaneti(clock)).connect()
    ganeti.misbehave("slow", seconds=30, times=1)
    from twisted.internet.defer import Deferred

    asked = Deferred.fromCoroutine(client.start_instance("snf-1", "r"))
    while not ganeti.jobs:
        await client.groups() if not ganeti.behaviors.all() else await _turn()
    assert not asked.called
    clock.advance(30)
    assert await asked == 1


async def _turn() -> None:
    from twisted.internet.task import deferLater

    await deferLater(reactor, 0.01)


async def test_failing_os_script_leaves_the_instance_stopped(quick, sleep) -> None:
    """The job fails, the instance stays, as with Ganeti."""
    client = quick.connect()
    quick.ganeti.misbehave("fail-os", message="no such image", times=1)
    number = await client.create_instance(an_instance(), "r")
    while not (job := (await client.jobs((number,)))[number]).status.final:
        await sleep(0.01)
    assert job.status is JobStatus.ERROR and "no such image" in job.message
    assert quick.ganeti.status("snf-1") == "ADMIN_down"


async def test_behaviors_are_switched_over_http_with_the_token_only(quick) -> None:
    """The simulator's own door asks for its token and checks what it is told."""
    url = f"{quick.address.url}/simulator/behaviors"
    token = {"Authorization": f"Bearer {quick.ganeti.behavior_token}"}

    async def call(method: str, body: Any = None, headers: Any = token) -> tuple[int, Any]:
        text = None if body is None else json.dumps(body).encode()
        options = {"headers": headers, "data": text, "persistent": False}
        response = await treq.request(method, url, **options)
        return response.code, await response.json()

    assert (await call("GET", headers={"Authorization": "Bearer wrong"}))[0] == 401
    for wrong in ({"kind": "explode"}, {"kind": "slow", "name": "("}, {"times": 1}, [1]):
        assert (await call("POST", wrong))[0] == 400
    status, added = await call("POST", {"kind": "slow", "seconds": 3, "times": 2})
    assert (status, added["kind"], added["seconds"]) == (200, "slow", 3)
    assert len((await call("GET"))[1]) == 1
    assert (await call("DELETE"))[1] == {"cleared": 1}


async def test_readers_may_not_write(serve) -> None:
    """A read-only user asks and does not change."""
    users = {"reader": ("word", False)}
    served = serve(MemoryGaneti(Clock(), users=users))
    client = served.connect("reader", "word")
    assert await client.glance("") == ()
    refused = await raised(GanetiRefused, client.check_write_access())
    assert refused.status == 403


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/2/nothing", None, 404),
        ("GET", "/2/instances/nobody", None, 404),
        ("GET", "/2/networks/nobody", None, 404),
        ("GET", "/2/jobs/x", None, 404),
        ("GET", "/2/jobs/99", None, 200),
        ("GET", "/2/instances/nobody/tags", None, 500),
        ("POST", "/2/info", b"{}", 501),
        ("PUT", "/2/modify", b"[1]", 400),
        ("PUT", "/2/modify", b"x", 400),
        ("PUT", "/2/modify", b"[" * 100_000, 400),
        ("PUT", "/2/query/instance", b"{}", 400),
        ("PUT", "/2/query/instance", b'{"fields": 1}', 502),
        ("PUT", "/2/query/instance", b'{"fields": [], "qfilter": ["bad"]}', 502),
        ("PUT", "/2/query/instance", b'{"fields": [], "qfilter": ["=~", "name", "("]}', 502),
        ("PUT", "/2/query/instance", b'{"fields": [], "qfilter": ["=", "no", 1]}', 500),
        ("PUT", "/2/query/instance", b'{"fields": [], "qfilter": ["=", "name", "x"]}', 500),
        ("PUT", "/2/query/job", b'{"fields": [], "qfilter": ["=", "id", "x"]}', 500),
        ("PUT", "/2/query/shoe", b'{"fields": []}', 502),
        ("POST", "/2/instances", b"{}", 400),
        ("POST", "/2/instances", b'{"__version__": 1, "shoe": 1}', 400),
        ("PUT", "/2/instances/a/modify", b'{"nics": [1]}', 400),
        ("POST", "/2/networks", b'{"network_name": "n", "network": "junk"}', 400),
        ("PUT", "/2/networks/n/connect", b'{"group_name": "default"}', 400),
        ("POST", "/2/instances/a/reboot?type=odd", b"{}", 400),
        ("POST", "/2/instances/a/reinstall?os=x", b'{"os": "y"}', 400),
    ],
)
async def test_wire_answers_odd_requests_as_ganeti_does(quick, method, path, body, status) -> None:
    """Status and error object are those of a real RAPI, and nothing is changed."""
    ganeti = quick.ganeti
    response = await treq.request(
        method,
        quick.address.url + path,
        data=body,
        headers={"Content-Type": "application/json"},
        auth=(ganeti.username, ganeti.password),
        persistent=False,
    )
    reply = await response.json()
    assert response.code == status
    if status != 200:
        assert reply["code"] == status and reply["message"] and "explain" in reply
    assert not ganeti.jobs


async def test_modify_ignores_a_dry_run_in_the_query(quick, sleep) -> None:
    """Ganeti's trap is the simulator's too; on other requests a dry run does nothing."""
    ganeti, client = quick.ganeti, quick.connect()
    await client.create_instance(an_instance(), "r")
    while not ganeti.queue.idle:
        await sleep(0.01)
    for method, path, body in (
        ("PUT", "/2/instances/snf-1/modify?dry-run=1", b'{"beparams": {"vcpus": 3}}'),
        ("DELETE", "/2/instances/snf-1?dry-run=1", b"{}"),
    ):
        options = {"auth": (ganeti.username, ganeti.password), "persistent": False}
        url = quick.address.url + path
        await treq.content(await treq.request(method, url, data=body, **options))
    while not ganeti.queue.idle:
        await sleep(0.01)
    assert ganeti.instances["snf-1"].vcpus == 3


async def test_state_is_found_again_and_jobs_go_on(serve, tmp_path) -> None:
    """What was answered is in the file; a job under way ends after the restart."""
    path, clock = tmp_path / "state", Clock()
    first = serve(MemoryGaneti(clock, state_path=path, job_seconds=10.0))
    client = first.connect()
    number = await client.create_instance(an_instance(), "cyclades:op:1")
    clock.pump([1, 1])
    os.link(path, tmp_path / "copy")  # the file as it is now, without a clean stop
    later = Clock()
    again = serve(MemoryGaneti(later, state_path=tmp_path / "copy", job_seconds=10.0))
    assert again.ganeti.status("snf-1") == "ADMIN_down"
    found = await again.connect("cyclades", again.ganeti.password).jobs_for(
        "snf-1", "cyclades:op:1"
    )
    assert [(job.id, job.status) for job in found] == [(number, JobStatus.RUNNING)]
    later.advance(10)
    assert again.ganeti.status("snf-1") == "running"
    assert await again.connect().start_instance("snf-1", "r") == number + 1


def test_state_loads_when_the_last_line_was_cut_off(tmp_path) -> None:
    """A write that was interrupted was never answered, and is dropped."""
    path = tmp_path / "state"
    ganeti = MemoryGaneti(Clock(), state_path=path)
    ganeti.queue.submit([{"OP_ID": "OP_CLUSTER_SET_PARAMS", "reason": []}])
    ganeti.stop()
    with open(path, "ab") as file:
        file.write(b'["job", "2", {"id"')
    again = MemoryGaneti(Clock(), state_path=path)
    assert list(again.jobs) == [1]
    again.stop()


@pytest.mark.parametrize("text", [b"junk\n", b'["format", "", 99]\n', b'["a"]\nx\n'])
def test_state_is_refused_when_it_is_something_else(tmp_path, text) -> None:
    """A file that is not ours is not overwritten."""
    path = tmp_path / "state"
    path.write_bytes(text)
    with pytest.raises((JournalError, ValueError)):
        MemoryGaneti(Clock(), state_path=path)
    assert path.read_bytes() == text


def test_journal_is_rewritten_when_it_has_grown(tmp_path) -> None:
    """The file stays within a multiple of what it must hold."""
    ganeti = MemoryGaneti(Clock(), state_path=tmp_path / "state", keep_jobs=5)
    ganeti._journal._slack = 10_000
    for _ in range(300):
        ganeti.queue.submit([{"OP_ID": "OP_CLUSTER_SET_PARAMS", "reason": []}])
        ganeti.clock.pump([1, 1, 1])
        ganeti.flush()
    assert (tmp_path / "state").stat().st_size < 20_000
    assert len(ganeti.jobs) <= 6
    ganeti.stop()


async def test_old_jobs_are_archived_as_the_watcher_does_it(serve, tmp_path) -> None:
    """After six hours no list has them; who knows the id can read them, as at a real RAPI."""
    path, clock = tmp_path / "state", Clock()
    served = serve(MemoryGaneti(clock, state_path=path, job_seconds=10.0))
    ganeti, client = served.ganeti, served.connect()
    made = await client.create_instance(an_instance(), "old")
    clock.pump([1, 1, 8])
    clock.advance(6 * 3600 - 1)
    assert [job.id for job in await client.jobs_for("snf-1", "old")] == [made]
    started = await client.start_instance("snf-1", "new")
    clock.advance(1)
    assert await client.jobs_for("snf-1", "old") == ()
    assert list(ganeti.jobs) == [started]
    assert (await client.jobs((made,)))[made].status is JobStatus.SUCCESS
    assert ganeti.queue.cancel(made) == (False, f"Job {made} not found in queue")
    ganeti.stop()
    again = serve(MemoryGaneti(clock, state_path=path, job_seconds=10.0)).ganeti
    assert list(again.jobs) == [started]
    assert again.queue.job(made).status == "success"


async def test_a_job_may_depend_on_one_in_the_archive(serve) -> None:
    """It counts by its status; one that the archive has forgotten is not found."""
    clock = Clock()
    ganeti = serve(MemoryGaneti(clock, keep_jobs=2)).ganeti
    op = {"OP_ID": "OP_CLUSTER_SET_PARAMS", "reason": []}
    for _ in range(5):
        ganeti.queue.submit([dict(op)])
        clock.pump([1, 1, 1])
    assert list(ganeti.jobs) == [4, 5]
    assert [ganeti.queue.job(number) is None for number in range(1, 6)] == [True, *[False] * 4]
    for number in (1, 4):
        ganeti.queue.submit([{**op, "depends": [[number, ["success"]]]}])
        clock.pump([1, 1, 1])
    assert [job.status for job in ganeti.jobs.values()] == ["error", "success"]


PROCESS = """
import sys
from twisted.internet import reactor
from cyclades_tx.ganeti.simulator import Options, SimulatorService
options = Options()
options.parseOptions(sys.argv[1:])
service = SimulatorService(reactor, options.clusters)
service.startService()
service.clusters["sim"]._listening.addCallback(
    lambda port: print(port.getHost().port, flush=True))
reactor.run()
"""


async def test_nothing_that_was_answered_is_lost_by_kill_9(tmp_path: Path) -> None:
    """A process apart is killed after its replies; the next one has every job and instance."""
    secret = tmp_path / "credentials"
    argv = ["--name", "sim", "--listen", "tcp:0:interface=127.0.0.1", "--nodes", "1",
            "--state", str(tmp_path / "state"), "--credentials-file", str(secret),
            "--job-seconds", "0.02"]  # fmt: skip
    answered: list[int] = []
    for turn in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, *argv], stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            assert secret.stat().st_mode & 0o777 == 0o600
            name, password, role = secret.read_text().splitlines()[0].split()
            assert role == "write"
            address = RapiAddress("127.0.0.1", port, "http", None, True)
            client = RapiCluster(reactor, address, RapiCredentials(name, password))
            if turn:
                jobs = await client.jobs(tuple(answered))
                assert all(job.status is not JobStatus.UNKNOWN for job in jobs.values())
            for number in range(20):
                new = an_instance(f"snf-{turn}-{number}")
                answered.append(await client.create_instance(new, "r"))
            await client.close()
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(60)
            process.stdout.close()
    assert answered == list(range(1, 41))


def test_options_name_several_clusters(tmp_path) -> None:
    """Each --name begins a cluster; --config holds them in a table each."""
    config = tmp_path / "sim.toml"
    config.write_text(
        '[[cluster]]\nname = "a"\nlisten = "tcp:1:interface=127.0.0.1"\ncredentials_file = "x"\n'
    )
    options = Options()
    more = ["--name", "b", "--listen", "tcp:2:interface=127.0.0.1", "--credentials-file", "y"]
    options.parseOptions(["--config", str(config), *more])
    assert [each.name for each in options.clusters] == ["a", "b"]
    for wrong in ([], ["--listen", "x"], ["--name", "b"], [*more, "--nodes", "x"]):
        with pytest.raises(UsageError):
            Options().parseOptions(wrong)
    for port in (0, 70_000):
        config.write_text(
            f'[[cluster]]\nname = "a"\nlisten = "x"\ncredentials_file = "x"\nfirst_port = {port}\n'
        )
        with pytest.raises(ConfigError, match="first_port"):
            Options().parseOptions(["--config", str(config)])
    config.write_text("[[cluster]]\nshoe = 1\n")
    with pytest.raises(ConfigError, match="cluster"):
        Options().parseOptions(["--config", str(config)])


def test_simulator_listens_on_the_loopback_only(tmp_path) -> None:
    """Plain http is not offered to a network."""
    options = ClusterOptions(
        name="a", listen="tcp:5080", credentials_file=str(tmp_path / "credentials")
    )
    with pytest.raises(ConfigError, match="loopback"):
        SimulatorService(reactor, [options])


def test_simulator_refuses_open_credentials(tmp_path) -> None:
    """A credentials file that others can read is an error that does not show it."""
    path = tmp_path / "credentials"
    path.write_text("name word write\n")
    path.chmod(0o644)
    options = ClusterOptions(
        name="a", listen="tcp:0:interface=127.0.0.1", credentials_file=str(path)
    )
    with pytest.raises(ConfigError, match="0600") as caught:
        SimulatorService(reactor, [options])
    assert "word" not in str(caught.value)
