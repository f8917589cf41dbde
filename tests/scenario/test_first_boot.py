"""First boots of a whole service: two processes, kills, and a search for what must be nowhere."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from cyclades_tx.model.keypair import generate
from tests.real.packages import need
from tests.real.ports import free_port
from tests.scenario.cloud import Client, Service, Simulators, until
from tests.scenario.conftest import Cloud
from tests.scenario.planted import Search

TAKERS = 200
URLS = 3
#: So long that a job is under way until the test is over.
FOR_EVER_SECONDS = 3600.0
PASSWORD = "Planted-1-password-of-a-person"
CONTENTS = "planted contents of a file that nobody may read"
USER_DATA = "#!/bin/sh\necho planted user data that nobody may read\n"
PLANTED = (PASSWORD, CONTENTS, USER_DATA)


@pytest.fixture
def memcached() -> Iterator[str]:
    """A memcached of this test's own: more lines of a configuration."""
    port = free_port()
    words = [need("memcached", "memcached"), "-l", "127.0.0.1", "-p", str(port), "-U", "0"]
    process = subprocess.Popen([*words, "-u", "nobody", "-m", "64"], stdin=subprocess.DEVNULL)
    try:
        yield f'[vmapi]\nstore = "memcached"\nmemcached_servers = ["127.0.0.1:{port}"]\n'
    finally:
        process.terminate()
        process.wait(20)


SECRETS: dict[str, Any] = {
    "adminPass": PASSWORD,
    "user_data": base64.b64encode(USER_DATA.encode()).decode(),
    "personality": [
        {"path": "/etc/planted", "contents": base64.b64encode(CONTENTS.encode()).decode()}
    ],
    "config_drive": True,
}


def order(cloud: Cloud, client: Client, name: str, **more: Any) -> tuple[str, str]:
    """Ask for a server without interfaces; its id, and its password.

    :raise urllib.error.HTTPError: when it is refused.
    """
    body = {"name": name, "flavorRef": cloud.flavor, "imageRef": cloud.image, "networks": "none"}
    request = urllib.request.Request(
        client.url + "/compute/v2.1/servers",
        data=json.dumps({"server": {**body, **more}}).encode(),
        headers={
            "Content-Type": "application/json",
            "X-Auth-Token": client.token,
            # The last with files.
            "OpenStack-API-Version": "compute 2.56",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        made = json.load(reply)["server"]
    return made["id"], made["adminPass"]


def told(cloud: Cloud) -> list[str]:
    """The URLs that the clusters were told, the oldest first."""
    simulators = cloud.simulators
    assert isinstance(simulators, Simulators)
    return [
        op["osparams"]["config_url"]
        for cluster in simulators.clusters
        for job in sorted(simulators.ask(cluster, "/2/jobs?bulk=1"), key=lambda job: int(job["id"]))
        for op in job["ops"]
        if (op.get("osparams") or {}).get("config_url")
    ]


def get_at_once(url: str, services: list[Service], how_many: int) -> list[bytes]:
    """Ask so many times for a URL, all at once, of the services in turn; the whole answers."""
    path = urlsplit(url).path
    ports = [services[number % len(services)].port for number in range(how_many)]
    connections = [socket.create_connection(("127.0.0.1", port), 30) for port in ports]
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
    answers = []
    try:
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            answer = b""
            while more := connection.recv(65536):
                answer += more
            answers.append(answer)
    finally:
        for connection in connections:
            connection.close()
    return answers


def body_of(answers: list[bytes]) -> bytes:
    """The one that was given; everybody else was told that there is nothing."""
    given = [answer for answer in answers if answer.startswith(b"HTTP/1.1 200 ")]
    refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 404 ")]
    assert (len(given), len(refused)) == (1, len(answers) - 1)
    return given[0].partition(b"\r\n\r\n")[2]


@pytest.mark.real
def test_what_one_process_puts_away_is_taken_once_at_both_and_is_nowhere_else(
    memcached: str, make_cloud: Callable[..., Cloud]
) -> None:
    """Each URL by one of two hundred who ask at once; then all that was left behind is searched."""
    cloud = make_cloud(job_seconds=FOR_EVER_SECONDS, more=memcached)
    one, other = cloud.service, cloud.another_service("two", memcached)
    one.start()
    other.start()
    client = cloud.client(one)
    for number in range(URLS):
        order(cloud, client, f"read-{number}", **SECRETS)
    _, unread = order(cloud, client, "unread", config_drive=True)
    until(lambda: len(told(cloud)) == URLS + 1, "the cluster is told the URLs")
    urls = told(cloud)
    for url in urls[:URLS]:
        document = json.loads(body_of(get_at_once(url, [one, other], TAKERS)))
        assert document["img_passwd"] == PASSWORD
        assert base64.b64decode(document["cloud_userdata"]).decode() == USER_DATA
        nocloud = document["nocloud_url"]
        assert body_of(get_at_once(nocloud + "user-data", [other, one], TAKERS)) == (
            USER_DATA.encode()
        )
        vendor = body_of(get_at_once(nocloud + "vendor-data", [one, other], TAKERS))
        assert PASSWORD.encode() in vendor
        for name in ("meta-data", "network-config"):
            (answer,) = get_at_once(nocloud + name, [other], 1)
            assert answer.startswith(b"HTTP/1.1 404 ")
    search = Search((*PLANTED, unread))
    for service in (one, other):
        search.service(service)
    search.folder(cloud.folder)
    search.database(cloud.books)
    search.processes()
    assert search.found == []
    assert search.looked > 100_000


def test_a_kill_loses_what_nobody_has_read_and_the_operations_say_so(
    make_cloud: Callable[..., Cloud],
) -> None:
    """Nothing of it is in a file; with a key pair the creation goes on; a rebuild is new."""
    cloud = make_cloud(job_seconds=0.1)
    service = cloud.service
    service.start()
    until(lambda: not cloud.books.open_operations(), "the networks are made")
    client = cloud.client()
    key = {"name": "key", "public_key": generate().public.text}
    client.send("POST", "/compute/v2.1/os-keypairs", {"keypair": key})
    done, _ = order(cloud, client, "done", config_drive=True)
    until(lambda: status(client, done) == "ACTIVE", "one is made before")
    service.stop()
    # What this one accepts waits for one that drives clusters.
    front = cloud.another_service("front", '[server]\nroles = ["api", "vmapi"]\n')
    front.start()
    client = cloud.client(front)
    lost, first = order(cloud, client, "lost")
    kept, second = order(cloud, client, "kept", key_name="key")
    planted, _ = order(cloud, client, "planted", **SECRETS)
    front.kill()
    service.start()
    client = cloud.client()
    until(lambda: not cloud.books.open_operations(), "what waited has ended")
    assert {name: status(client, name) for name in (done, lost, kept, planted)} == {
        done: "ACTIVE",
        lost: "ERROR",
        kept: "ACTIVE",
        planted: "ERROR",
    }
    fault = client.get(f"/compute/v2.1/servers/{lost}")["server"]["fault"]
    assert "secrets of this server were lost" in fault["message"]
    (action,) = client.get(f"/compute/v2.1/servers/{kept}/os-instance-actions")["instanceActions"]
    assert "the password in the reply was lost" in action["message"]
    body = {"rebuild": {"imageRef": cloud.image, "adminPass": PASSWORD}}
    client.send("POST", f"/compute/v2.1/servers/{kept}/action", body)
    until(lambda: not cloud.books.open_operations(), "it is installed anew")
    assert status(client, kept) == "ACTIVE"
    # A body that is refused comes near the log as well.
    with pytest.raises(urllib.error.HTTPError, match="400"):
        order(cloud, client, "bad", **{**SECRETS, "user_data": USER_DATA})
    assert cloud.books.faults() == []
    search = Search((*PLANTED, first, second))
    search.service(service)
    search.folder(cloud.folder)
    search.database(cloud.books)
    search.processes()
    assert search.found == []


def status(client: Client, server: str) -> str:
    """A server's status."""
    found: str = client.get(f"/compute/v2.1/servers/{server}")["server"]["status"]
    return found


def test_the_search_finds_what_is_there(make_cloud: Callable[..., Cloud]) -> None:
    """In any form, or finding nothing would mean nothing."""
    cloud = make_cloud()
    hidden = (
        PASSWORD,
        f"xx{PASSWORD}yy".encode().hex().upper(),
        base64.b64encode(f'{{"a":"{PASSWORD}"}}'.encode()).decode(),
        base64.b64encode(f"x{PASSWORD}".encode()).decode(),
    )
    for number, text in enumerate(hidden):
        (cloud.folder / f"hidden-{number}").write_text(text)
    cloud.books.rows(
        "insert into image_property (image_id, key, value) select id, 'x', %s from image limit 1",
        PASSWORD,
    )
    search = Search([PASSWORD])
    search.folder(cloud.folder)
    search.database(cloud.books)
    for number in range(len(hidden)):
        assert any(f"hidden-{number}" in found for found in search.found), hidden[number]
    assert any("image_property" in found for found in search.found)
