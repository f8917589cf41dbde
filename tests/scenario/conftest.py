"""A cloud of processes for the scenarios."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import yaml

from tests.forks import FORKS
from tests.real.ganeti import GANETIS
from tests.scenario.cloud import Books, Client, RealClusters, Service, Simulators, ended

_prefixes = itertools.count(1)


@dataclass
class Cloud:
    """Clusters that run, one service that does not yet, and a seeded database."""

    folder: Path
    dsn: str
    simulators: Simulators | RealClusters
    service: Service
    books: Books
    flavor: str
    image: str
    network: str
    more_services: list[Service]

    def client(self, service: Service | None = None, name: str = "demo") -> Client:
        """A logged-in client of a service that runs."""
        entry = yaml.safe_load((self.folder / "clouds.yaml").read_text())["clouds"][name]["auth"]
        url = (service or self.service).url
        client = Client(url, entry["username"], entry["password"], entry["project_name"])
        client.log_in()
        return client

    def another_service(self, name: str, more: str = "") -> Service:
        """One more process on the same database."""
        service = Service(self.folder, self.dsn, name, more, self.service.ganeti)
        self.more_services.append(service)
        return service

    def create(self, client: Client, name: str) -> str:
        """Ask for a server of the smallest kind."""
        return client.create(name, self.flavor, self.image, self.network)


@pytest.fixture
def make_cloud(dsn: str, tmp_path: Path) -> Iterator[Callable[..., Cloud]]:
    """Make a cloud; everything of it is ended after the test."""
    with ExitStack() as made:
        yield lambda **options: made.enter_context(running_cloud(tmp_path, dsn, **options))


@contextmanager
def running_cloud(
    folder: Path,
    dsn: str,
    *,
    clusters: int = 1,
    job_seconds: float = 0.3,
    more: str = "",
    real: bool = False,
    kvm: bool = False,
    poll_idle_seconds: float = 1.0,
    ganeti: str = "",
    screens: bool = False,
) -> Iterator[Cloud]:
    """A seeded cloud; everything of it is ended in the end.

    :param real: on real clusters; with ``kvm`` on one whose machines run, under emulation.
    :param ganeti: more lines of the configuration's table ``ganeti``.
    :param screens: whether simulated machines have screens.
    """
    simulators: Simulators | RealClusters
    if real:
        # A name of its own for each cloud, since the clusters see all of them.
        prefix = f"t{os.getpid()}x{next(_prefixes)}-"
        ganetis = [GANETIS.kvm()] if kvm else GANETIS.get(clusters)
        simulators = RealClusters(ganetis, prefix)
        ganeti += f'instance_prefix = "{prefix}"\n'
    else:
        simulators = Simulators(folder, clusters, job_seconds, screens)
    service = Service(folder, dsn, more=more, ganeti=ganeti, poll_idle_seconds=poll_idle_seconds)
    books = Books(dsn)
    cloud = Cloud(folder, dsn, simulators, service, books, "", "", "", [])
    with closing(books), ended(simulators), ended(service), ExitStack() as others:
        others.callback(lambda: [each.stop() for each in cloud.more_services])
        simulators.start()
        _seed(cloud)
        (row,) = books.rows(
            "select (select uuid::text from flavor where name = 'tiny') as flavor,"
            " (select uuid::text from image where name = 'debian-12') as image,"
            " (select uuid::text from network where name = 'shared') as network"
        )
        cloud.flavor, cloud.image, cloud.network = row
        yield cloud


def _seed(cloud: Cloud) -> None:
    said = {
        "config": str(cloud.service.config),
        "clusters": [asdict(each) for each in cloud.simulators.clusters],
        "clouds": str(cloud.folder / "clouds.yaml"),
        "url": cloud.service.url,
    }
    done = FORKS.run("-m", "tests.scenario.seeding", given=json.dumps(said).encode())
    assert done.returncode == 0, done.stderr
