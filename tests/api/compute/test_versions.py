"""The version documents, and how a microversion is found."""

from __future__ import annotations

import pytest

from cyclades_tx.api.compute.microversions import minor_of
from cyclades_tx.errors import CycladesError


@pytest.mark.parametrize("path", ["//", "//compute", "//compute/"])
async def test_root_lists_both_versions_oldest_first_without_a_token(wire, path):
    """Clients with an unversioned catalog begin there."""
    answer = await wire.get(path, token=None)
    assert answer.status == 200
    versions = answer.json["versions"]
    assert [each["id"] for each in versions] == ["v2.0", "v2.1"]
    assert versions[1]["version"] == "2.96"


@pytest.mark.parametrize("path", ["", "/"])
async def test_version_document_is_read_without_a_token(wire, path):
    """It names the range of microversions and its own place."""
    answer = await wire.get(path, token=None)
    version = answer.json["version"]
    assert (version["version"], version["min_version"]) == ("2.96", "2.1")
    assert version["links"][0] == {
        "rel": "self",
        "href": "https://cloud.example.org/compute/v2.1/",
    }


@pytest.mark.parametrize(
    ("new", "old", "minor"),
    [
        (None, None, 1),
        ("compute 2.61", None, 61),
        ("compute latest", None, 96),
        ("Compute 2.2", None, 2),
        ("volume 3.5, compute 2.7", None, 7),
        ("volume 3.5", "2.9", 9),
        ("compute 2.61", "2.9", 61),
        (None, "2.26", 26),
        (None, "latest", 96),
    ],
)
def test_minor_of_reads_both_headers_the_new_one_first(new, old, minor):
    """No header is the oldest version, not the newest."""
    assert minor_of(new, old) == minor


@pytest.mark.parametrize("text", ["2", "2.", "two", "2.1.1", "-2.1", "2.01", "", "2.1 x", "²·1"])
def test_minor_of_refuses_what_is_no_version(text):
    """Malformed is 400."""
    with pytest.raises(CycladesError) as caught:
        minor_of(f"compute {text}", None)
    assert "invalid format" in caught.value.message


async def test_reply_names_the_version_that_was_used(wire):
    """Both headers, and Vary."""
    answer = await wire.get("/flavors", version="2.61")
    assert answer.header("openstack-api-version") == "compute 2.61"
    assert answer.header("x-openstack-nova-api-version") == "2.61"
    assert answer.header("vary") == "OpenStack-API-Version, X-OpenStack-Nova-API-Version"
    assert answer.header("x-compute-request-id") == answer.header("x-openstack-request-id")


@pytest.mark.parametrize("version", ["2.200", "2.97", "2.0", "3.1", "1.1"])
async def test_unknown_microversion_is_406(wire, version):
    """In Compute's own words."""
    answer = await wire.get("/flavors", version=version)
    assert answer.fault(406, "computeFault") == (
        f"Version {version} is not supported by the API. Minimum is 2.1 and maximum is 2.96."
    )


async def test_malformed_microversion_is_400(wire):
    """Before anything else is looked at."""
    answer = await wire.get("/flavors", version="2.x")
    assert "invalid format" in answer.fault(400, "badRequest")
