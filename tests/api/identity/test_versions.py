"""The documents that every client asks for first."""

from __future__ import annotations

from typing import Any

import pytest


def version(url: str) -> dict[str, Any]:
    """What version 3 says about itself."""
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{url}/identity/v3/"}],
        "media-types": [
            {"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}
        ],
    }


@pytest.mark.parametrize("path", ["", "/"])
async def test_the_root_lists_the_versions_with_300(empty_cloud: Any, path: str) -> None:
    """Doubly wrapped, with and without a slash, without a token."""
    answer = await empty_cloud.ask("GET", path)
    assert answer.status == 300
    assert answer.json == {"versions": {"values": [version(empty_cloud.url)]}}


@pytest.mark.parametrize("path", ["/v3", "/v3/"])
async def test_version_3_shows_itself(empty_cloud: Any, path: str) -> None:
    """With and without a slash, without a token."""
    answer = await empty_cloud.ask("GET", path)
    assert answer.status == 200
    assert answer.json == {"version": version(empty_cloud.url)}
    assert answer.header("content-type") == "application/json"


async def test_version_2_is_gone(empty_cloud: Any) -> None:
    """Clients that try both take version 3 then."""
    assert (await empty_cloud.ask("GET", "/v2.0")).status == 404


async def test_every_reply_has_a_request_id_and_says_what_it_varies_with(empty_cloud: Any) -> None:
    """Faults too."""
    for path in ("/v3", "/v3/projects", "/nowhere"):
        answer = await empty_cloud.ask("GET", path)
        assert str(answer.header("x-openstack-request-id")).startswith("req-")
        assert answer.header("vary") == "X-Auth-Token"
