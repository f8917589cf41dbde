"""The Image service: which path leads to which endpoint."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api import openapi
from cyclades_tx.api.call import Call, Reply, Service
from cyclades_tx.api.errors import glance_fault
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.image.data import Data
from cyclades_tx.api.image.discovery import Discovery
from cyclades_tx.api.image.images import Images
from cyclades_tx.api.image.members import Members
from cyclades_tx.api.image.openapi import REFERENCE
from cyclades_tx.api.image.tags import Tags
from cyclades_tx.flows.image_data import ImageData
from cyclades_tx.flows.image_members import ImageMembers
from cyclades_tx.flows.images import Images as ImageFlows

SERVICE = Service("image", glance_fault)
VERSION = "/image/v2"
# As Glance has them: 2.8 is only there with several stores.
_MINORS = (9, 7, 6, 5, 4, 3, 2, 1, 0)


def mount(frame: Frame, database: Any, data: Data | None = None) -> None:
    """Add the endpoints of Image.

    :param data: takes and gives out the data of images; None: there are none.
    """
    data = data or Data(None, ImageData(database))
    frame.mount("/image", SERVICE)
    _mount_versions(frame)
    flows = ImageFlows(database, data.check_location)
    images = Images(database, flows, data.import_methods)
    members = Members(database, ImageMembers(database))
    tags, discovery = Tags(flows), Discovery(data.import_methods)
    for method, path, handler in (
        ("GET", "images", images.list_all),
        ("POST", "images", images.create),
        ("GET", "images/<ref>", images.show),
        ("PATCH", "images/<ref>", images.update),
        ("DELETE", "images/<ref>", images.delete),
        ("GET", "images/<ref>/file", data.download),
        ("PUT", "images/<ref>/file", data.upload),
        ("PUT", "images/<ref>/stage", data.stage),
        ("POST", "images/<ref>/import", data.begin_import),
        ("POST", "images/<ref>/actions/deactivate", images.deactivate),
        ("POST", "images/<ref>/actions/reactivate", images.reactivate),
        ("PUT", "images/<ref>/tags/<tag>", tags.add),
        ("DELETE", "images/<ref>/tags/<tag>", tags.remove),
        ("GET", "images/<ref>/members", members.list_all),
        ("POST", "images/<ref>/members", members.create),
        ("GET", "images/<ref>/members/<member>", members.show),
        ("PUT", "images/<ref>/members/<member>", members.update),
        ("DELETE", "images/<ref>/members/<member>", members.delete),
        ("GET", "schemas/<name>", discovery.show_schema),
        ("GET", "info/import", discovery.show_import),
        ("GET", "info/stores", discovery.show_stores),
    ):
        frame.endpoint(
            SERVICE,
            method,
            f"{VERSION}/{path}",
            handler,
            slash=path != "images",
            stream=handler in (data.upload, data.stage),
        )
    openapi.mount(frame, SERVICE, REFERENCE)


def _mount_versions(frame: Frame) -> None:
    links = [{"rel": "self", "href": f"{frame.public_url}{VERSION}/"}]
    versions = {
        "versions": [
            {
                "id": f"v2.{minor}",
                "status": "CURRENT" if minor == _MINORS[0] else "SUPPORTED",
                "links": links,
            }
            for minor in _MINORS
        ]
    }

    async def choices(_call: Call) -> Reply:
        return Reply(300, versions)

    async def list_versions(_call: Call) -> Reply:
        return Reply(200, versions)

    for path in ("/image", VERSION):
        frame.endpoint(SERVICE, "GET", path, choices, token=False)
    frame.endpoint(SERVICE, "GET", "/image/versions", list_versions, token=False)
