"""The version documents, which everyone may read without a token."""

from __future__ import annotations

from typing import Any

import orjson

from cyclades_tx.api.call import Call, Service
from cyclades_tx.api.compute.microversions import MAXIMUM, MINIMUM, mark
from cyclades_tx.api.errors import nova_fault
from cyclades_tx.api.frame import Frame

UNVERSIONED = Service("compute", nova_fault, mark)


def version(base: str, described: bool) -> dict[str, Any]:
    """The document of 2.1.

    :param base: the URL of Compute, without a slash at the end.
    :param described: whether the links to the documentation and the media types belong to it.
    """
    document: dict[str, Any] = {
        "id": "v2.1",
        "status": "CURRENT",
        "version": f"2.{MAXIMUM}",
        "min_version": f"2.{MINIMUM}",
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": f"{base}/v2.1/"}],
    }
    if described:
        document["links"].append(
            {"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"}
        )
        document["media-types"] = [
            {
                "base": "application/json",
                "type": "application/vnd.openstack.compute+json;version=2.1",
            }
        ]
    return document


def versions(base: str) -> list[dict[str, Any]]:
    """The documents of all versions, as the root shows them."""
    old = {
        "id": "v2.0",
        "status": "SUPPORTED",
        "version": "",
        "min_version": "",
        "updated": "2011-01-21T11:33:21Z",
        "links": [{"rel": "self", "href": f"{base}/v2/"}],
    }
    return [old, version(base, described=False)]


def mount(frame: Frame) -> None:
    """Add the endpoints of the version documents."""
    base = f"{frame.public_url}/compute"
    root = orjson.dumps({"versions": versions(base)})
    one = orjson.dumps({"version": version(base, described=True)})

    async def show_root(call: Call) -> bytes:
        return root

    async def show_one(call: Call) -> bytes:
        return one

    for path in ("/", "/compute"):
        frame.endpoint(UNVERSIONED, "GET", path, show_root, token=False)
    frame.endpoint(UNVERSIONED, "GET", "/compute/v2.1", show_one, token=False)
