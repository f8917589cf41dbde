"""The version documents, which everyone may read without a token."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.call import Call, Reply, Service
from cyclades_tx.api.errors import nova_fault
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.volume.microversions import MAXIMUM, MINIMUM, mark
from cyclades_tx.api.volume.routes import ROOT

UNVERSIONED = Service("volume", nova_fault, mark)


def versions(base: str) -> dict[str, Any]:
    """The document of 3.0, in a list, as both paths show it.

    :param base: the URL of Volume, without a slash at the end.
    """
    return {
        "versions": [
            {
                "id": "v3.0",
                "status": "CURRENT",
                "version": f"3.{MAXIMUM}",
                "min_version": f"3.{MINIMUM}",
                "updated": "2016-02-08T12:20:21Z",
                "links": [
                    {"rel": "self", "href": f"{base}/v3/"},
                    {
                        "rel": "describedby",
                        "type": "text/html",
                        "href": "https://docs.openstack.org/",
                    },
                ],
                "media-types": [
                    {
                        "base": "application/json",
                        "type": "application/vnd.openstack.volume+json;version=3",
                    }
                ],
            }
        ]
    }


def mount(frame: Frame) -> None:
    """Add the endpoints of the version documents."""
    document = versions(f"{frame.public_url}/volume")

    async def choices(_call: Call) -> Reply:
        return Reply(300, document)

    async def show(_call: Call) -> Reply:
        return Reply(200, document)

    frame.endpoint(UNVERSIONED, "GET", "/volume", choices, token=False)
    frame.endpoint(UNVERSIONED, "GET", ROOT, show, token=False)
