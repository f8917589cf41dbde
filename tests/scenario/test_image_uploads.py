"""Data of images with the unmodified ``openstack`` command, and a process that is killed."""

from __future__ import annotations

import hashlib
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scenario.cloud import Client, OpenStack, until
from tests.scenario.conftest import Cloud

MIB = 2**20
SIZE_BYTES = 50 * MIB
#: What a process may grow by, however large the image is.
GROWTH_MIB = 30.0
PATIENCE_SECONDS = 60.0

IMAGE = """[image]
directory = "images"
upload_silence_seconds = 2
sweep_seconds = 0.2
orphan_grace_seconds = 0
"""


@pytest.fixture
def running(make_cloud: Callable[..., Cloud]) -> Iterator[Cloud]:
    """A service over a simulated cluster, with a directory for images."""
    cloud = make_cloud(job_seconds=0.1, more=IMAGE)
    cloud.service.start()
    yield cloud


def peak_mib(cloud: Cloud, anew: bool = False) -> float:
    """The most memory that the service has had at once.

    :param anew: forget what was before; the answer is what it has now.
    """
    assert cloud.service.process is not None
    folder = Path(f"/proc/{cloud.service.process.pid}")
    if anew:
        (folder / "clear_refs").write_text("5")
    return int((folder / "status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def files(cloud: Cloud) -> list[Path]:
    """What the store of images holds."""
    store = cloud.folder / "images"
    return [each for each in store.rglob("*") if each.is_file() and each.name != "owner"]


def locations(cloud: Cloud) -> list[str]:
    """From where the cluster was told to take images, job by job."""
    (cluster,) = cloud.simulators.clusters
    jobs = cloud.simulators.ask(cluster, "/2/jobs")
    steps = [cloud.simulators.ask(cluster, job["uri"])["ops"][0] for job in jobs]
    told = [step["osparams"] for step in steps if step.get("osparams")]
    return [each["img_id"] for each in told if "img_id" in each]


def a_file(folder: Path, size_bytes: int) -> tuple[Path, str]:
    """A file of random bytes, and its MD5."""
    path, digest = folder / f"random-{size_bytes}", hashlib.md5()
    with path.open("wb") as file:
        for _ in range(size_bytes // MIB):
            piece = os.urandom(MIB)
            digest.update(piece)
            file.write(piece)
    return path, digest.hexdigest()


def test_a_file_becomes_an_image_and_a_server(running: Cloud, tmp_path: Path) -> None:
    """Sent, shown, saved, and fetched by the cluster; memory hardly grows by it."""
    demo = OpenStack(running.folder)
    small, _ = a_file(tmp_path, MIB)
    path, digest = a_file(tmp_path, SIZE_BYTES)
    create = ("image", "create", "--disk-format", "raw", "--container-format", "bare")
    # The first of everything costs memory once.
    first = demo.json(*create, "--file", str(small), "first")
    demo("image", "save", "--file", str(tmp_path / "first"), "first")
    before = peak_mib(running, anew=True)
    made = demo.json(*create, "--file", str(path), "golden")
    demo("image", "save", "--file", str(tmp_path / "saved"), "golden")
    grown = peak_mib(running) - before
    assert grown < GROWTH_MIB
    shown = demo.json("image", "show", "golden")
    assert (shown["status"], shown["size"], shown["checksum"]) == ("active", SIZE_BYTES, digest)
    assert hashlib.md5((tmp_path / "saved").read_bytes()).hexdigest() == digest
    demo(
        *("server", "create", "--wait", "--flavor", "tiny", "--image", "golden"),
        *("--network", "shared", "s1"),
    )
    (location,) = locations(running)
    assert location.startswith(f"{running.service.url}/vmapi/v1.0/images/{made['id']}/")
    demo("server", "rebuild", "--wait", "--image", "first", "s1")
    assert f"/vmapi/v1.0/images/{first['id']}/" in "".join(locations(running))
    with urllib.request.urlopen(location, timeout=PATIENCE_SECONDS) as reply:
        assert hashlib.md5(reply.read()).hexdigest() == digest
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(location.replace(made["id"], first["id"]), timeout=30)
    assert caught.value.code == 404
    # The secret of the URL is in no log.
    assert location.rpartition("/")[2] not in running.service.log.read_text()
    demo("image", "delete", "golden", "first")
    until(lambda: not files(running), "the data are gone", PATIENCE_SECONDS)


def test_a_killed_process_leaves_an_image_that_waits(running: Cloud, tmp_path: Path) -> None:
    """After the restart there is no file of the upload, and the next try works."""
    client, demo = running.client(), OpenStack(running.folder)
    path, digest = a_file(tmp_path, 2 * MIB)
    body = {"name": "cut", "disk_format": "raw", "container_format": "bare"}
    uuid = client.send("POST", "/image/v2/images", body)[2]["id"]
    with half_an_upload(running, client, uuid):
        until(
            lambda: sum(each.stat().st_size for each in files(running)) > MIB,
            "half of it is written",
            PATIENCE_SECONDS,
        )
        assert client.get(f"/image/v2/images/{uuid}")["status"] == "saving"
        running.service.kill()
    assert len(files(running)) == 1
    running.service.start()
    until(
        lambda: client.get(f"/image/v2/images/{uuid}")["status"] == "queued" and not files(running),
        "it waits for data again, and nothing is left",
        PATIENCE_SECONDS,
    )
    put(client, uuid, path)
    shown = demo.json("image", "show", uuid)
    assert (shown["status"], shown["checksum"]) == ("active", digest)
    assert len(files(running)) == 1


def half_an_upload(cloud: Cloud, client: Client, uuid: str) -> socket.socket:
    """A connection over which half of an image has gone."""
    connection = socket.create_connection(("127.0.0.1", cloud.service.port), PATIENCE_SECONDS)
    head = (
        f"PUT /image/v2/images/{uuid}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {client.token}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {4 * MIB}\r\n\r\n"
    )
    connection.sendall(head.encode() + b"a" * 2 * MIB)
    return connection


def put(client: Client, uuid: str, path: Path) -> None:
    """Send the data of an image."""
    request = urllib.request.Request(
        f"{client.url}/image/v2/images/{uuid}/file",
        method="PUT",
        data=path.read_bytes(),
        headers={"Content-Type": "application/octet-stream", "X-Auth-Token": client.token},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as reply:
        assert reply.status == 204
