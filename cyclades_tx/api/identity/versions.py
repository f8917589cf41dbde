"""The version documents, which everyone may read without a token."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.call import Call, Reply


def version(base_url: str) -> dict[str, Any]:
    """The document of version 3.

    :param base_url: the URL of the whole service, without a slash at the end.
    """
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{base_url}/identity/v3/"}],
        "media-types": [
            {
                "base": "application/json",
                "type": "application/vnd.openstack.identity-v3+json",
            }
        ],
    }


async def show_all(call: Call) -> Reply:
    """Which versions there are."""
    return Reply(300, {"versions": {"values": [version(call.base_url)]}})


async def show(call: Call) -> Reply:
    """Version 3."""
    return Reply(200, {"version": version(call.base_url)})
