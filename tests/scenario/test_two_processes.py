"""Two processes share the work; one of them is killed or stopped in the middle of it."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.real.packages import need
from tests.real.ports import free_port
from tests.scenario.cloud import Client, Refused, Service, end, until
from tests.scenario.conftest import Cloud

SERVERS = 200
CLIENTS = 8
STOP_SECONDS = 60.0
TAKE_OVER_SECONDS = 15.0


@pytest.fixture
def memcached() -> Iterator[str]:
    """A memcached of this test's own: host and port."""
    program = need("memcached", "memcached")
    port = free_port()
    process = subprocess.Popen(
        [program, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-u", "nobody", "-m", "64"],
        stdin=subprocess.DEVNULL,
    )
    yield f"127.0.0.1:{port}"
    end(process)


class Orders:
    """Several clients that order servers, each from one process after the other."""

    def __init__(self, cloud: Cloud, services: list[Service]) -> None:
        self.cloud = cloud
        self.services = list(services)
        self.accepted: dict[str, str] = {}
        self.unknown: list[str] = []
        self._names = iter(range(SERVERS))
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._order, args=(number,)) for number in range(CLIENTS)
        ]

    def start(self) -> None:
        """Begin to order."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until everything is ordered."""
        for thread in self._threads:
            thread.join()

    def _next(self) -> str | None:
        with self._lock:
            number = next(self._names, None)
        return None if number is None else f"order-{number}"

    def _order(self, number: int) -> None:
        turn = number
        clients: dict[int, Client] = {}
        while (name := self._next()) is not None:
            while True:
                service = self.services[turn % len(self.services)]
                try:
                    if id(service) not in clients:
                        clients[id(service)] = self.cloud.client(service)
                    client = clients[id(service)]
                    body = {
                        "server": {
                            "name": name,
                            "flavorRef": self.cloud.flavor,
                            "imageRef": self.cloud.image,
                            "networks": [{"uuid": self.cloud.network}],
                        }
                    }
                    made = client.send("POST", "/compute/v2.1/servers", body, timeout=5.0)
                    with self._lock:
                        self.accepted[made[2]["server"]["id"]] = name
                    turn += 1
                    break
                except Refused as refused:
                    assert refused.status in (401, 503), refused
                    turn += 1
                except OSError:
                    # Nobody knows whether this one was accepted; the same name is not sent again.
                    with self._lock:
                        self.unknown.append(name)
                        if service in self.services and len(self.services) > 1:
                            self.services.remove(service)
                    break


@pytest.mark.real
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["kill", "stop"])
def test_the_other_process_takes_over_and_nothing_is_lost_or_doubled(
    memcached: str, make_cloud: Callable[..., Cloud], blow: signal.Signals
) -> None:
    """One is killed, or stopped for a minute and then goes on."""
    more = f'[vmapi]\nstore = "memcached"\nmemcached_servers = ["{memcached}"]\n'
    cloud = make_cloud(clusters=4, job_seconds=0.5, more=more)
    victim, other = cloud.service, cloud.another_service("two", more)
    victim.start()
    other.start()
    until(lambda: not cloud.books.open_operations(), "the networks are made")
    orders = Orders(cloud, [victim, other])
    orders.start()
    until(lambda: len(orders.accepted) >= SERVERS // 4, "a quarter is ordered")
    victim.signal(blow)
    struck_at = time.monotonic()
    until(
        lambda: all(driver.startswith(driver_of(other)) for driver in drivers(cloud)),
        "the other drives every cluster",
        TAKE_OVER_SECONDS,
    )
    print(f"taken over after {time.monotonic() - struck_at:.1f} s")
    orders.join()
    if blow == signal.SIGSTOP:
        time.sleep(max(0.0, STOP_SECONDS - (time.monotonic() - struck_at)))
        victim.signal(signal.SIGCONT)
        time.sleep(3.0)
    until(lambda: not cloud.books.open_operations(), "everything is made", 120)
    servers = cloud.books.rows(
        "select uuid::text as uuid, id, name, state from server where deleted_at is null"
    )
    by_uuid = {row.uuid: row for row in servers}
    assert set(orders.accepted) <= set(by_uuid), "an accepted server is lost"
    assert {row.name for row in servers} <= {*orders.accepted.values(), *orders.unknown}
    assert len({row.name for row in servers}) == len(servers), "a server is doubled"
    assert [row for row in servers if row.state != "active"] == []
    assert set(cloud.simulators.instances()) == {f"snf-{row.id}" for row in servers}
    assert cloud.books.faults() == []


def drivers(cloud: Cloud) -> list[str]:
    """Who drives each cluster, by the word of the leases."""
    return [row.driver for row in cloud.books.rows("select driver from cluster_lease")]


def driver_of(service: Service) -> str:
    """How a process begins the name that it has in its leases."""
    assert service.process is not None
    return f"{socket.gethostname()[:30]}:{service.process.pid}:"
