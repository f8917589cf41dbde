"""64 clients at once order and delete servers and networks of a cloud that carries it all out."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.forks import FORKS
from tests.scenario.cloud import Client, Refused, until
from tests.scenario.conftest import Cloud

CLIENTS = 64
QUOTA = 24
NETWORKS = 4
PATIENCE_SECONDS = 120.0


class Orders:
    """Sends requests, as many at once as there are clients."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __call__(self, requests: list[tuple[str, str, Any]]) -> list[tuple[int, Any]]:
        """Status and document of each answer."""
        with ThreadPoolExecutor(CLIENTS) as threads:
            return list(threads.map(self._send, requests))

    def _send(self, request: tuple[str, str, Any]) -> tuple[int, Any]:
        while True:
            try:
                status, _, found = self._client.send(*request, timeout=PATIENCE_SECONDS)
            except Refused as refused:
                # On a machine that has too much to do it may say so; then nothing was done.
                if refused.status == 503 and "try again" in str(refused):
                    continue
                return refused.status, str(refused)
            return status, found


def test_servers_on_networks_come_and_go(make_cloud: Callable[..., Cloud]) -> None:
    """24 of 64 are made, on two clusters and four new networks; half are deleted while made."""
    cloud = make_cloud(clusters=2, job_seconds=0.05)
    books = cloud.books
    cloud.service.start()
    until(lambda: not books.open_operations(), "the networks are made")
    client = cloud.client()
    send = Orders(client)
    books.rows("update holding set maximum = %s where resource = 'cyclades.vm' returning 1", QUOTA)
    before = free_of_pools(cloud)
    networks = a_few_networks(send)
    bodies = [
        {
            "name": f"s{number}",
            "flavorRef": cloud.flavor,
            "imageRef": cloud.image,
            "networks": [{"uuid": networks[(number + place) % NETWORKS]} for place in range(2)]
            + [{"uuid": cloud.network}],
        }
        for number in range(CLIENTS)
    ]
    answers = send([("POST", "/compute/v2.1/servers", {"server": body}) for body in bodies])
    assert sorted(status for status, _ in answers) == [202] * QUOTA + [403] * (CLIENTS - QUOTA)
    made = [found["server"]["id"] for status, found in answers if status == 202]
    paths = [f"/compute/v2.1/servers/{uuid}" for uuid in made]
    half = QUOTA // 2
    # Some of them are being made now, others wait.
    assert {status for status, _ in send([("DELETE", path, None) for path in paths[:half]])} == {
        204
    }
    until(lambda: not books.open_operations(), "nothing is in motion", PATIENCE_SECONDS)
    assert sorted(row.state for row in books.servers()) == ["active"] * (QUOTA - half)
    assert len(cloud.simulators.instances()) == QUOTA - half
    assert books.faults() == []
    taken = books.rows("select subnet_id, address from address")
    assert len(set(taken)) == len(taken) == 3 * (QUOTA - half)
    in_use = send([("DELETE", f"/network/v2.0/networks/{uuid}", None) for uuid in networks])
    assert {status for status, _ in in_use} == {409}
    send([("DELETE", path, None) for path in paths[half:]])
    until(lambda: not books.open_operations(), "nothing is in motion", PATIENCE_SECONDS)
    gone = send([("DELETE", f"/network/v2.0/networks/{uuid}", None) for uuid in networks])
    assert {status for status, _ in gone} == {204}
    until(lambda: not books.open_operations(), "nothing is in motion", PATIENCE_SECONDS)
    assert cloud.simulators.instances() == {}
    assert books.servers() == []
    assert books.faults() == []
    assert books.rows("select * from holding where used <> 0 or reserved <> 0") == []
    assert books.rows("select * from address") == []
    assert free_of_pools(cloud) == before
    for command in ("reconcile-quotas", "reconcile-pools"):
        manage(cloud, command)


def a_few_networks(send: Orders) -> list[str]:
    """Networks with a small subnet each, all made at once; their UUIDs."""
    body = {"network": {"name": "lab"}}
    made = send([("POST", "/network/v2.0/networks", body)] * NETWORKS)
    assert [status for status, _ in made] == [201] * NETWORKS
    uuids = [found["network"]["id"] for _, found in made]
    subnets = send(
        [
            (
                "POST",
                "/network/v2.0/subnets",
                {
                    "subnet": {
                        "network_id": uuid,
                        "ip_version": 4,
                        "cidr": f"10.{number}.0.0/26",
                    }
                },
            )
            for number, uuid in enumerate(uuids)
        ]
    )
    assert [status for status, _ in subnets] == [201] * NETWORKS
    return uuids


def free_of_pools(cloud: Cloud) -> list[Any]:
    """How much is free of each pool of bridges and prefixes."""
    return cloud.books.rows(
        "select value_pool_id, sum(last_value - first_value + 1) from free_value_range"
        " group by 1 order by 1"
    )


def manage(cloud: Cloud, command: str) -> None:
    """A command of the operator's that finds nothing wrong."""
    config = f"--config={cloud.service.config}"
    done = FORKS.run("-m", "cyclades_tx.manage", config, command)
    assert done.returncode == 0, done.stdout + done.stderr
