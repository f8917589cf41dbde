"""First boots of a whole service: two processes, kills, and a search for what must be nowhere."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest

from bench import consoles_wire
from cyclades_tx.console.interfaces import SENTENCES, Reason
from cyclades_tx.identity.tokens import new_token
from cyclades_tx.model.keypair import generate
from tests.real.packages import need
from tests.real.ports import free_port
from tests.scenario.cloud import Client, Service, Simulators, until
from tests.scenario.conftest import Cloud
from tests.scenario.planted import Planted, Search, segment

PAGE = "/console/ws"
TAKERS = 200
URLS = 3
#: So long that a job is under way until the test is over.
FOR_EVER_SECONDS = 3600.0


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


def token_of(url: str) -> str:
    """What of a URL opens something."""
    return urlsplit(url).path.rpartition("/")[2]


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
    planted, began = Planted(), segment(cloud.books)
    one.start()
    other.start()
    client = cloud.client(one)
    for number in range(URLS):
        order(cloud, client, f"read-{number}", **planted.body)
    _, unread = order(cloud, client, "unread", config_drive=True)
    until(lambda: len(told(cloud)) == URLS + 1, "the cluster is told the URLs")
    urls = told(cloud)
    for url in urls[:URLS]:
        document = json.loads(body_of(get_at_once(url, [one, other], TAKERS)))
        assert document["img_passwd"] == planted.password
        assert base64.b64decode(document["cloud_userdata"]).decode() == planted.user_data
        nocloud = document["nocloud_url"]
        assert body_of(get_at_once(nocloud + "user-data", [other, one], TAKERS)) == (
            planted.user_data.encode()
        )
        vendor = body_of(get_at_once(nocloud + "vendor-data", [one, other], TAKERS))
        assert planted.password.encode() in vendor
        for name in ("meta-data", "network-config"):
            (answer,) = get_at_once(nocloud + name, [other], 1)
            assert answer.startswith(b"HTTP/1.1 404 ")
    secret = Search((*planted, unread, client.token))
    secret.folder(cloud.folder)
    # The clusters are told the URLs, and write them down.
    spent = Search(map(token_of, urls))
    spent.folder(cloud.folder, but=".state")
    for search in (secret, spent):
        for service in (one, other):
            search.service(service)
        search.database(cloud.books)
        search.server(cloud.books, began)
        search.processes()
        assert search.found == []
        assert search.looked > 100_000


def test_a_kill_loses_what_nobody_has_read_and_the_operations_say_so(
    make_cloud: Callable[..., Cloud],
) -> None:
    """Nothing of it is in a file; with a key pair the creation goes on; a rebuild is new."""
    console = f"[console]\nviewer_port = {free_port()}\n"
    cloud = make_cloud(job_seconds=0.1, more=console)
    secret, began = Planted(), segment(cloud.books)
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
    planted, _ = order(cloud, client, "planted", **secret.body)
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
    body = {"rebuild": {"imageRef": cloud.image, "adminPass": secret.password}}
    client.send("POST", f"/compute/v2.1/servers/{kept}/action", body)
    until(lambda: not cloud.books.open_operations(), "it is installed anew")
    assert status(client, kept) == "ACTIVE"
    # A body that is refused comes near the log as well.
    with pytest.raises(urllib.error.HTTPError, match="400"):
        order(cloud, client, "bad", **{**secret.body, "user_data": secret.user_data})
    assert cloud.books.faults() == []
    tickets = consoles(client, kept)
    search = Search((*secret, first, second, *tickets, client.token))
    search.service(service)
    search.folder(cloud.folder)
    search.database(cloud.books)
    search.server(cloud.books, began)
    search.processes()
    assert search.found == []


def consoles(client: Client, server: str) -> list[str]:
    """What opens its consoles: a ticket that is spent with what may open it again, and two more."""
    path = f"/compute/v2.1/servers/{server}"
    tickets = []
    for _ in range(2):
        body = {"remote_console": {"protocol": "vnc", "type": "novnc"}}
        shown = client.send("POST", f"{path}/remote-consoles", body)[2]["remote_console"]
        tickets.append(urlsplit(shown["url"]).fragment)
    body = {"console": {"type": "vnc"}}
    for_viewers = client.send("POST", f"{path}/action", body)[2]["console"]
    again = new_token()
    with closing(consoles_wire.upgraded(int(client.url.rpartition(":")[2]), PAGE)) as wire:
        wire.sendall(consoles_wire.frame(f"{tickets[0]}.{again}".encode(), text=True))
        said = b""
        # Its machine only pretends to have a screen.
        while SENTENCES[Reason.UNREACHABLE].encode() not in said:
            more = wire.recv(65536)
            assert more, said
            said += more
    return [*tickets, again, for_viewers["password"]]


def status(client: Client, server: str) -> str:
    """A server's status."""
    found: str = client.get(f"/compute/v2.1/servers/{server}")["server"]["status"]
    return found


def test_the_search_finds_what_is_there(make_cloud: Callable[..., Cloud]) -> None:
    """In any form, or finding nothing would mean nothing."""
    cloud = make_cloud()
    began = segment(cloud.books)
    word, deleted = Planted().password, Planted().password
    hidden = (
        word,
        f"xx{word}yy".encode().hex().upper(),
        base64.b64encode(f'{{"a":"{word}"}}'.encode()).decode(),
        base64.b64encode(f"x{word}".encode()).decode(),
    )
    for number, text in enumerate(hidden):
        (cloud.folder / f"hidden-{number}").write_text(text)
    for text in (word, deleted):
        cloud.books.rows(
            "insert into image_property (image_id, key, value) select id, %s, 'x' from image"
            " limit 1",
            text,
        )
    cloud.books.rows("delete from image_property where key = %s", deleted)
    search = Search([word, deleted])
    search.folder(cloud.folder)
    search.database(cloud.books)
    search.server(cloud.books, began)
    for number in range(len(hidden)):
        assert any(f"hidden-{number}" in found for found in search.found), hidden[number]
    assert any("image_property" in found for found in search.found)
    for place in ("write-ahead log", "/base/"):
        found_there = [found for found in search.found if place in found]
        assert any(deleted in found for found in found_there), place
