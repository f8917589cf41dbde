"""First boots on a real cluster: what its files hold of them, and what never."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

import pytest

from tests.real.ganeti import RealGaneti
from tests.scenario.cloud import Client, until
from tests.scenario.conftest import Cloud
from tests.scenario.ganeti_side import data_folder
from tests.scenario.planted import Search
from tests.scenario.real_servers import SLOW_SECONDS, becomes, real_clusters, register

pytestmark = pytest.mark.real

FIRST = "Planted-1-password-of-a-creation"
SECOND = "Planted-2-password-of-a-rebuild"
USER_DATA = "#!/bin/sh\necho planted user data of a real machine\n"


def test_a_real_cluster_is_told_urls_and_never_a_secret(make_cloud: Callable[..., Cloud]) -> None:
    """The host reads while the jobs run; then jobs, configuration, logs and disks are searched."""
    cloud = make_cloud(clusters=1, real=True)
    (ganeti,) = real_clusters(cloud).ganetis.values()
    # Long enough to be read while the system is installed.
    image = register(cloud, "test:sleep=8")
    cloud.service.start()
    client = cloud.client()
    before = set(jobs(ganeti))
    body = {
        "name": "told",
        "flavorRef": cloud.flavor,
        "imageRef": image,
        "networks": "none",
        "adminPass": FIRST,
        "user_data": base64.b64encode(USER_DATA.encode()).decode(),
        "config_drive": True,
    }
    made = client.send("POST", "/compute/v2.1/servers", {"server": body})[2]["server"]
    first = read_by_the_host(ganeti, before, "OP_INSTANCE_CREATE")
    assert first["img_passwd"] == FIRST
    assert base64.b64decode(first["cloud_userdata"]).decode() == USER_DATA
    becomes(client, made["id"], "ACTIVE", SLOW_SECONDS)
    assert get(first["nocloud_url"] + "user-data") == USER_DATA.encode()
    between = set(jobs(ganeti))
    rebuild(client, made["id"], image)
    second = read_by_the_host(ganeti, between, "OP_INSTANCE_REINSTALL")
    assert second["img_passwd"] == SECOND
    assert second["nocloud_url"] != first["nocloud_url"]
    until(lambda: not cloud.books.open_operations(), "it is installed anew", SLOW_SECONDS)
    becomes(client, made["id"], "ACTIVE", SLOW_SECONDS)
    search = Search((FIRST, SECOND, USER_DATA))
    search.folder(ganeti.home)
    search.folder(cloud.folder)
    search.database(cloud.books)
    search.processes()
    search.service(cloud.service)
    assert search.found == []
    urls = urls_in(jobs(ganeti, before))
    assert len(urls) == 2
    assert [get(url) for url in urls] == [None, None]


def rebuild(client: Client, server: str, image: str) -> None:
    """Ask for a new system."""
    body = {"rebuild": {"imageRef": image, "adminPass": SECOND}}
    client.send("POST", f"/compute/v2.1/servers/{server}/action", body)


def jobs(ganeti: RealGaneti, known: Collection[str] = ()) -> dict[str, Any]:
    """The jobs of a cluster as its files have them, by their files' names."""
    found: dict[str, Any] = {}
    for path in (data_folder(ganeti) / "queue").glob("job-*"):
        # It is written while we look, or moved away.
        with suppress(FileNotFoundError, ValueError):
            if path.name not in known:
                found[path.name] = json.loads(path.read_text())
    return found


def inputs(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What the jobs were asked to do."""
    return [op["input"] for job in found.values() for op in job["ops"]]


def urls_in(found: dict[str, Any]) -> set[str]:
    """The URLs that jobs were told."""
    told = [(asked.get("osparams") or {}).get("config_url") for asked in inputs(found)]
    return {str(url) for url in told if url}


def read_by_the_host(ganeti: RealGaneti, known: Collection[str], opcode: str) -> dict[str, str]:
    """What the URL gives that the cluster was told, once there is a job of this kind."""

    def told() -> bool:
        new = jobs(ganeti, known)
        return bool(urls_in(new)) and any(asked["OP_ID"] == opcode for asked in inputs(new))

    until(told, "the cluster is told a URL", SLOW_SECONDS)
    (url,) = urls_in(jobs(ganeti, known))
    document: dict[str, str] = json.loads(get(url) or b"{}")
    return document


def get(url: str) -> bytes | None:
    """What a URL gives; None: nothing (any more)."""
    try:
        with urllib.request.urlopen(url, timeout=20) as reply:
            found: bytes = reply.read()
    except urllib.error.HTTPError as error:
        assert error.code == 404, error
        return None
    return found
