"""The Image service: which path leads to which endpoint."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api import openapi
from cyclades_tx.api.call import Call, Reply, Service
from cyclades_tx.api.errors import glance_fault
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.image.documents import SCHEMAS
from cyclades_tx.api.image.images import Images
from cyclades_tx.api.image.openapi import REFERENCE
from cyclades_tx.errors import NotFound

SERVICE = Service("image", glance_fault)
VERSION = "/image/v2"
# As Glance has them: 2.8 is only there with several stores.
_MINORS = (9, 7, 6, 5, 4, 3, 2, 1, 0)


def mount(frame: Frame, database: Any) -> None:
    """Add the endpoints of Image."""
    frame.mount("/image", SERVICE)
    _mount_versions(frame)
    images = Images(database)
    for method, path, handler in (
        ("GET", "images", images.list_all),
        ("POST", "images", images.create),
        ("GET", "images/<ref>", images.show),
        ("PATCH", "images/<ref>", images.change),
        ("DELETE", "images/<ref>", images.change),
        ("GET", "images/<ref>/file", images.data),
        ("PUT", "images/<ref>/file", images.change),
        ("POST", "images/<ref>/actions/deactivate", images.change),
        ("POST", "images/<ref>/actions/reactivate", images.change),
        ("PUT", "images/<ref>/tags/<tag>", images.change),
        ("DELETE", "images/<ref>/tags/<tag>", images.change),
        ("GET", "images/<ref>/members", images.members),
        ("POST", "images/<ref>/members", images.change),
        ("GET", "images/<ref>/members/<member>", images.member),
        ("PUT", "images/<ref>/members/<member>", images.change),
        ("DELETE", "images/<ref>/members/<member>", images.change),
        ("GET", "schemas/<name>", show_schema),
        ("GET", "info/import", show_import),
        ("GET", "info/stores", show_stores),
    ):
        frame.endpoint(SERVICE, method, f"{VERSION}/{path}", handler, slash=path != "images")
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


async def show_schema(_call: Call, name: str) -> Reply:
    """What a document looks like, for clients that make their forms from it."""
    if name not in SCHEMAS:
        raise NotFound(f"There is no schema {name}.", "schema")
    return Reply(200, SCHEMAS[name])


async def show_import(_call: Call) -> Reply:
    """The ways to import an image: none."""
    return Reply(
        200,
        {
            "import-methods": {
                "description": "Import methods available.",
                "type": "array",
                "value": [],
            }
        },
    )


async def show_stores(_call: Call) -> Reply:
    """Say that there is one store only, as Glance says it."""
    raise NotFound("Multi backend is not supported at this site.", "stores")
