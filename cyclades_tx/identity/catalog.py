"""The catalog: which services there are and where, as every client reads it after its login."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, uuid5

INTERFACES = ("public", "internal", "admin")


@dataclass(frozen=True)
class CatalogService:
    """A kind of service: its official type, the name that some clients insist on, its path.

    :param path: below the public URL; ``PROJECT_ID`` in it stands for the token's project.
    """

    type: str
    name: str
    path: str


IDENTITY = CatalogService("identity", "keystone", "/identity")
COMPUTE = CatalogService("compute", "nova", "/compute/v2.1")
NETWORK = CatalogService("network", "neutron", "/network")
IMAGE = CatalogService("image", "glance", "/image")
VOLUME_V3 = CatalogService("volumev3", "cinderv3", "/volume/v3/PROJECT_ID")
BLOCK_STORAGE = CatalogService("block-storage", "cinder", "/volume/v3")

#: What a service without volumes offers.
SERVICES = (IDENTITY, COMPUTE, NETWORK, IMAGE)
#: What the whole service offers: volumes under the older and the official name of their type.
ALL_SERVICES = (*SERVICES, VOLUME_V3, BLOCK_STORAGE)


class Catalog:
    """The services of one region. Ids are made from what they name, so they never change.

    :param public_url: where users reach the service, without a slash at the end.
    """

    def __init__(
        self,
        public_url: str,
        region: str = "RegionOne",
        services: Iterable[CatalogService] = SERVICES,
    ) -> None:
        self.public_url = public_url.rstrip("/")
        self.region = region
        self._services = tuple(services)

    def entries(self, project_id: str) -> list[dict[str, Any]]:
        """The catalog as it stands in a token for a project."""
        return [
            {
                "id": self._service_id(service),
                "type": service.type,
                "name": service.name,
                "endpoints": [
                    {
                        "id": self._endpoint_id(service, interface),
                        "interface": interface,
                        "region": self.region,
                        "region_id": self.region,
                        "url": self._url(service).replace("PROJECT_ID", project_id),
                    }
                    for interface in INTERFACES
                ],
            }
            for service in self._services
        ]

    def services(self) -> list[dict[str, Any]]:
        """Each service as ``/v3/services`` shows it."""
        return [
            {
                "id": self._service_id(service),
                "type": service.type,
                "name": service.name,
                "description": "",
                "enabled": True,
                "links": self._self("services", self._service_id(service)),
            }
            for service in self._services
        ]

    def endpoints(self) -> list[dict[str, Any]]:
        """Each endpoint as ``/v3/endpoints`` shows it."""
        return [
            {
                "id": self._endpoint_id(service, interface),
                "interface": interface,
                "service_id": self._service_id(service),
                "region": self.region,
                "region_id": self.region,
                "url": self._url(service).replace("PROJECT_ID", "$(project_id)s"),
                "enabled": True,
                "links": self._self("endpoints", self._endpoint_id(service, interface)),
            }
            for service in self._services
            for interface in INTERFACES
        ]

    def regions(self) -> list[dict[str, Any]]:
        """The region as ``/v3/regions`` shows it."""
        return [
            {
                "id": self.region,
                "description": "",
                "parent_region_id": None,
                "links": self._self("regions", self.region),
            }
        ]

    def _url(self, service: CatalogService) -> str:
        return self.public_url + service.path

    def _self(self, collection: str, name: str) -> dict[str, str]:
        return {"self": f"{self.public_url}/identity/v3/{collection}/{name}"}

    def _service_id(self, service: CatalogService) -> str:
        return uuid5(NAMESPACE_URL, f"cyclades_tx:{self.region}:{service.type}").hex

    def _endpoint_id(self, service: CatalogService, interface: str) -> str:
        return uuid5(NAMESPACE_URL, f"cyclades_tx:{self.region}:{service.type}:{interface}").hex
