"""The process is killed between any two steps of putting a floating IP on a server and off."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.scenario.cloud import Client, Refused, until
from tests.scenario.conftest import Cloud

MOST_POINTS = 60
IPS = "/network/v2.0/floatingips"


def test_a_kill_at_every_step_leaves_no_interface_and_no_address_behind(
    make_cloud: Callable[..., Cloud],
) -> None:
    """Crash point after crash point: kill there, start again, count everything."""
    cloud = make_cloud(job_seconds=0.1)
    cloud.service.start()
    until(lambda: not cloud.books.open_operations(), "the networks are made")
    client = cloud.client()
    server = cloud.create(client, "s")
    until(lambda: not cloud.books.open_operations(), "the server is made")
    (port,) = client.get(f"/network/v2.0/ports?device_id={server}")["ports"]
    (outside,) = client.get("/network/v2.0/networks?router:external=true")["networks"]
    wish = {"floatingip": {"floating_network_id": outside["id"], "port_id": port["id"]}}
    cloud.service.stop()
    crashes = 0
    for point in range(1, MOST_POINTS):
        crashed = run_until_crash(cloud, point, wish)
        cloud.service.start()
        until(lambda: not cloud.books.open_operations(), f"all is over after point {point}")
        check(cloud, point)
        clean_up(cloud)
        assert len(nics(cloud)) == 1, f"after point {point}"
        cloud.service.stop()
        if not crashed:
            break
        crashes += 1
    else:
        raise AssertionError("every run crashed: there is no end of points")
    assert crashes >= 8, f"only {crashes} points were passed"


def nics(cloud: Cloud) -> list[tuple[str, str]]:
    """Name and address of every interface of the only instance at the cluster."""
    (name,) = cloud.simulators.instances()
    (cluster,) = cloud.simulators.clusters
    shown: Any = cloud.simulators.ask(cluster, f"/2/instances/{name}")  # type: ignore[union-attr]
    return list(zip(shown["nic.names"], shown["nic.ips"], strict=True))


def run_until_crash(cloud: Cloud, point: int, wish: dict[str, Any]) -> bool:
    """Reserve, associate and give back; True when the process was killed on the way."""
    cloud.service.start(crash_at=point)
    try:
        client = cloud.client()
        made = client.send("POST", IPS, wish)[2]["floatingip"]
        wait(client, made["id"], "ACTIVE")
        client.send("DELETE", f"{IPS}/{made['id']}")
        end_at = time.monotonic() + 30
        while cloud.books.rows("select 1 from floating_ip"):
            assert time.monotonic() < end_at, "the floating IP did not go"
            if cloud.service.dead():
                return True
            time.sleep(0.05)
    except (OSError, Refused):
        until(cloud.service.dead, "the process is dead")
    dead = cloud.service.dead()
    if not dead:
        cloud.service.stop()
    return dead


def wait(client: Client, floating: str, wanted: str) -> None:
    """Wait for a status; no answer means that the process has been killed."""
    end_at = time.monotonic() + 30
    while client.get(f"{IPS}/{floating}")["floatingip"]["status"] != wanted:
        assert time.monotonic() < end_at, f"the floating IP did not become {wanted}"
        time.sleep(0.05)


def check(cloud: Cloud, point: int) -> None:
    """Every port has its interface, every interface its port, and the books are right."""
    rows = cloud.books.rows(
        "select 'snf-nic-' || p.id as name, host(a.address) as address, p.state from port p"
        " join address a on a.port_id = p.id order by p.position"
    )
    assert [(row.name, row.address) for row in rows] == nics(cloud), f"after point {point}"
    assert {row.state for row in rows} == {"active"}, f"after point {point}"
    assert cloud.books.faults() == [], f"after point {point}"
    open_ones = cloud.books.rows(
        "select h.address from address_history h where released_at is null and not exists"
        " (select from address a where a.address = h.address and a.port_id is not null)"
    )
    assert open_ones == [], f"after point {point}"


def clean_up(cloud: Cloud) -> None:
    """Give back what is left, so that the next point begins with nothing."""
    client = cloud.client()
    for row in client.get(IPS)["floatingips"]:
        client.send("DELETE", f"{IPS}/{row['id']}")
    until(lambda: not cloud.books.rows("select 1 from floating_ip"), "all are given back")
    until(lambda: not cloud.books.open_operations(), "nothing is in motion")
