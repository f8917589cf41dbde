"""The database takes no changes for a while, as on a standby that has not taken over yet."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from tests.scenario.cloud import Client, Refused, until
from tests.scenario.conftest import Cloud


def test_changes_are_refused_and_go_on_by_themselves_later(
    make_cloud: Callable[..., Cloud], administer: Callable[[str], None], dsn: str
) -> None:
    """Lists are answered, each service refuses in its own shape, the log has a few lines."""
    cloud = make_cloud()
    cloud.service.start()
    client = cloud.client()
    until(lambda: not cloud.books.open_operations(), "the networks are made")
    cloud.create(client, "in-motion")
    name = parse_dsn(dsn)["dbname"]

    def takes_changes(word: str) -> None:
        administer(f'alter database "{name}" set default_transaction_read_only = {word}')
        with suppress(psycopg2.Error):
            cloud.books.rows(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
        cloud.books.close()

    before = len(trouble(cloud))
    takes_changes("on")
    until(lambda: "read-only" in deep(cloud).get("database", ""), "the admin port tells")
    for _ in range(5):
        client.get("/compute/v2.1/servers/detail")
        for path, body, word in changes(cloud):
            with pytest.raises(Refused, match="takes no changes") as caught:
                client.send("POST", path, body)
            assert caught.value.status == 503
            assert word in str(caught.value)
    told = trouble(cloud)[before:]
    assert 0 < len(told) < 30, told
    assert not [line for line in told if line["level"] != "warn"], told

    takes_changes("off")
    until(lambda: deep(cloud) == {}, "all is well again")
    client.log_in()
    cloud.create(client, "later")
    until(lambda: not cloud.books.open_operations(), "nothing is in motion")
    states = {row.name: row.state for row in cloud.books.servers()}
    assert states == {"in-motion": "active", "later": "active"}
    assert cloud.books.faults() == []


def changes(cloud: Cloud) -> list[tuple[str, dict[str, Any], str]]:
    """A change of each service, and a word that its fault has."""
    server = {
        "name": "refused",
        "flavorRef": cloud.flavor,
        "imageRef": cloud.image,
        "networks": [{"uuid": cloud.network}],
    }
    return [
        ("/compute/v2.1/servers", {"server": server}, "serviceUnavailable"),
        ("/network/v2.0/ports", {"port": {"network_id": cloud.network}}, "NeutronError"),
        ("/volume/v3/volumes", {"volume": {"size": 1}}, "serviceUnavailable"),
        ("/identity/v3/auth/tokens", Client("", "demo", "wrong", "demo")._login, '"error"'),
    ]


def deep(cloud: Cloud) -> dict[str, str]:
    """What is wrong, by the admin port."""
    url = f"http://127.0.0.1:{cloud.service.admin_port}/healthz?deep"
    try:
        with urllib.request.urlopen(url, timeout=30):
            return {}
    except urllib.error.HTTPError as error:
        checks = json.load(error)["checks"]
    return {name: check.get("reason", "") for name, check in checks.items() if not check["ok"]}


def trouble(cloud: Cloud) -> list[dict[str, Any]]:
    """The lines of the log that are more than news."""
    lines = [json.loads(line) for line in cloud.service.log.read_text().splitlines()]
    return [line for line in lines if line["level"] not in ("debug", "info")]
