"""One cloud with two simulated clusters, and people who use it with the real clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from urllib.parse import quote

import pytest

from cyclades_tx.store.embedded import EmbeddedPostgres
from tests.scenario.clients.page import every_row
from tests.scenario.clients.people import ClientProcess, Person
from tests.scenario.clients.table import Ticks
from tests.scenario.cloud import Refused, until
from tests.scenario.conftest import Cloud, running_cloud

RESCUE = 'rescue_image = "/srv/rescue.iso"\n'
IMAGES = '[image]\ndirectory = "images"\nlocations = ["http://127.0.0.1"]\n'
_numbers = count(1)


@pytest.fixture(scope="package")
def cloud(
    postgres: EmbeddedPostgres,
    administer: Callable[[str], None],
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cloud]:
    """A cloud for all tests here: each makes what it needs, under names of its own."""
    name, folder = f"clients_{next(_numbers)}", tmp_path_factory.mktemp("clients")
    administer(f"create database {name} template {template} strategy file_copy")
    try:
        with running_cloud(
            folder,
            postgres.dsn(name),
            clusters=2,
            job_seconds=0.05,
            ganeti=RESCUE,
            more=IMAGES,
        ) as made:
            _larger_flavor(made)
            made.service.start()
            at_rest(made)
            yield made
            assert made.books.faults() == []
    finally:
        administer(f"drop database {name} with (force)")


def _larger_flavor(cloud: Cloud) -> None:
    """One of the same disks as the smallest, with more of everything."""
    cloud.books.rows(
        "insert into flavor (name, vcpus, memory_mib, disk_gib, volume_type_id)"
        " select 'larger', 2, 256, 2, volume_type_id from flavor where name = 'tiny'"
    )


@pytest.fixture(scope="package")
def process(cloud: Cloud) -> Iterator[ClientProcess]:
    """The process of the clients."""
    made = ClientProcess(cloud.folder)
    yield made
    made.close()


@pytest.fixture
def ticks(request: pytest.FixtureRequest, cloud: Cloud, process: ClientProcess) -> Iterator[Ticks]:
    """See to it that a test makes the calls that it has declared, and no others."""
    made = Ticks(getattr(request.function, "rows", ()), every_row())
    process.forget()
    before = request.session.testsfailed
    yield made
    if request.session.testsfailed == before:
        assert made.missing() == []
    else:
        # It has said why; what it left must not make the next ones fail.
        _clear(cloud)


#: What a test may leave, what depends on others first.
LEFT = (
    ("/compute/v2.1/servers", "servers"),
    ("/compute/v2.1/os-server-groups", "server_groups"),
    ("/volume/v3/volumes", "volumes"),
    ("/network/v2.0/floatingips", "floatingips"),
    ("/network/v2.0/ports", "ports"),
    ("/network/v2.0/routers", "routers"),
    ("/network/v2.0/networks", "networks"),
    ("/network/v2.0/subnetpools", "subnetpools"),
    ("/network/v2.0/security-groups", "security_groups"),
    ("/image/v2/images", "images"),
    ("/image/v2/images?os_hidden=true", "images"),
)


def _clear(cloud: Cloud) -> None:
    """Delete what demo has; what cannot be deleted stays."""
    client = cloud.client()
    for path, plural in LEFT:
        for each in client.get(path)[plural]:
            with suppress(Refused):
                if plural == "servers":
                    client.send("POST", f"{path}/{each['id']}/action", {"unlock": None})
                force = "?force=True" if plural == "volumes" else ""
                client.send("DELETE", f"{path.partition('?')[0]}/{each['id']}{force}")
        at_rest(cloud)
    for pair in client.get("/compute/v2.1/os-keypairs")["keypairs"]:
        client.send("DELETE", f"/compute/v2.1/os-keypairs/{quote(pair['keypair']['name'])}")


@pytest.fixture
def demo(process: ClientProcess, ticks: Ticks) -> Person:
    """A user with a project."""
    return Person(process, ticks, "demo")


@pytest.fixture
def admin(process: ClientProcess, ticks: Ticks) -> Person:
    """The administrator, who has a project too."""
    return Person(process, ticks, "admin")


@pytest.fixture
def make_server(cloud: Cloud) -> Iterator[Callable[[], str]]:
    """Make a server of demo's and wait until it runs; return its name. Deleted after the test."""
    client = cloud.client()
    made: list[str] = []

    def make() -> str:
        name = f"server-{next(_numbers)}"
        made.append(cloud.create(client, name))
        at_rest(cloud)
        return name

    yield make
    for server in made:
        with suppress(Refused):
            client.send("POST", f"/compute/v2.1/servers/{server}/action", {"unlock": None})
            client.send("DELETE", f"/compute/v2.1/servers/{server}")
    at_rest(cloud)


@pytest.fixture
def server(make_server: Callable[[], str]) -> str:
    """The name of a server that runs."""
    return make_server()


@pytest.fixture
def settled(cloud: Cloud) -> Callable[[], None]:
    """Wait until nothing is in motion."""
    return lambda: at_rest(cloud)


def at_rest(cloud: Cloud) -> None:
    """Wait until nothing is in motion."""
    until(lambda: not cloud.books.open_operations(), "nothing is in motion")
