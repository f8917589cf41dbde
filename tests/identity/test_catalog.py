"""The catalog that every client reads."""

from __future__ import annotations

from cyclades_tx.identity.catalog import (
    BLOCK_STORAGE,
    SERVICES,
    VOLUME_V3,
    Catalog,
)

URL = "https://cloud.example:8774"


def urls(catalog: Catalog) -> dict[tuple[str, str], str]:
    """The public URL of each type and name."""
    return {
        (entry["type"], entry["name"]): entry["endpoints"][0]["url"]
        for entry in catalog.entries("f" * 32)
    }


def test_each_service_has_the_form_that_every_client_takes() -> None:
    """Compute is versioned, the others are not; no URL ends in a slash."""
    assert urls(Catalog(URL + "/")) == {
        ("identity", "keystone"): f"{URL}/identity",
        ("compute", "nova"): f"{URL}/compute/v2.1",
        ("network", "neutron"): f"{URL}/network",
        ("image", "glance"): f"{URL}/image",
    }


def test_volumes_are_offered_under_both_types() -> None:
    """The older one has the project's id in its path."""
    found = urls(Catalog(URL, services=(*SERVICES, VOLUME_V3, BLOCK_STORAGE)))
    assert found["volumev3", "cinderv3"] == f"{URL}/volume/v3/{'f' * 32}"
    assert found["block-storage", "cinder"] == f"{URL}/volume/v3"


def test_every_entry_has_exactly_the_known_keys() -> None:
    """And three interfaces in the region."""
    for entry in Catalog(URL, "North").entries("f" * 32):
        assert set(entry) == {"id", "type", "name", "endpoints"}
        assert [each["interface"] for each in entry["endpoints"]] == ["public", "internal", "admin"]
        for endpoint in entry["endpoints"]:
            assert set(endpoint) == {"id", "interface", "region", "region_id", "url"}
            assert (endpoint["region"], endpoint["region_id"]) == ("North", "North")


def test_ids_are_the_same_in_every_process_and_all_different() -> None:
    """They are made from what they name."""
    first, second = Catalog(URL).entries("a" * 32), Catalog("http://other").entries("b" * 32)
    ids = [entry["id"] for entry in first]
    ids += [endpoint["id"] for entry in first for endpoint in entry["endpoints"]]
    assert len(set(ids)) == len(ids)
    assert [entry["id"] for entry in first] == [entry["id"] for entry in second]


def test_the_lists_agree_with_the_catalog() -> None:
    """Services and endpoints have the ids that tokens show."""
    catalog = Catalog(URL)
    entries = catalog.entries("f" * 32)
    assert [each["id"] for each in catalog.services()] == [entry["id"] for entry in entries]
    assert [each["id"] for each in catalog.endpoints()] == [
        endpoint["id"] for entry in entries for endpoint in entry["endpoints"]
    ]
    assert [each["id"] for each in catalog.regions()] == ["RegionOne"]
