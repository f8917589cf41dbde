"""What a change of an image comes to, as plain values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.errors import Conflict, CycladesError, Forbidden, TooLarge
from cyclades_tx.model.image import (
    COLUMNS,
    MOST_PROPERTIES,
    READ_ONLY,
    RESERVED,
    RESERVED_WORDS,
    Change,
    Draft,
    check_counts,
    check_writable,
    deployed_format,
)

CHANGES = st.builds(
    Change,
    op=st.sampled_from(("add", "replace", "remove")),
    name=st.sampled_from(("a", "b", "c", "name", "tags", "disk_format", "id", "locations")),
    value=st.sampled_from(("x", "y")),
    anew=st.booleans(),
)


def draft(status: str = "queued", **properties: str) -> Draft:
    """An image with a tag."""
    return Draft(status, dict(properties), ("t",))


@given(st.lists(CHANGES, max_size=6))
def test_properties_are_what_a_dictionary_would_be(changes: list[Change]) -> None:
    """Until something is refused; what nobody writes never changes."""
    image, expected = draft(a="1"), {"a": "1"}
    try:
        image.apply(changes)
    except CycladesError as refused:
        assert isinstance(refused, Conflict | Forbidden)
        return
    for change in changes:
        if change.op == "remove":
            del expected[change.name]
        elif change.name not in {*COLUMNS, "tags", "locations"}:
            expected[change.name] = change.value
    assert image.properties == expected
    assert not {"id", "locations"} & {*image.properties, *image.columns}


def test_formats_are_told_in_the_words_of_the_deployment_tool() -> None:
    """It knows dumps of disks and of file systems; what it does not know is its own to refuse."""
    words = {"raw": "diskdump", None: "none", "diskdump": "diskdump", "extdump": "extdump"}
    assert {each: deployed_format(each) for each in words} == words
    assert deployed_format("qcow2") == "qcow2"


@pytest.mark.parametrize("name", [*sorted(READ_ONLY | RESERVED_WORDS), "os_glance_x"])
def test_what_the_service_says_itself_is_not_written(name: str) -> None:
    """By no operation."""
    with pytest.raises(Forbidden):
        check_writable(name)
    if name == "locations":
        return
    for op in ("add", "replace", "remove"):
        with pytest.raises(Forbidden):
            draft().apply([Change(op, name, "x")])


def test_a_location_is_given_once_and_before_there_are_data() -> None:
    """And never taken away."""
    image = draft()
    image.apply([Change("add", "locations", "file:///x")])
    assert image.location == "file:///x"
    with pytest.raises(Conflict):
        image.apply([Change("add", "locations", "file:///y")])
    with pytest.raises(Conflict):
        draft("active").apply([Change("replace", "locations", "file:///y")])
    with pytest.raises(Forbidden):
        draft().apply([Change("remove", "locations")])


def test_every_name_of_a_document_is_reserved() -> None:
    """So that no property stands in an attribute's place."""
    assert {*COLUMNS, "tags", "self", "file", "schema"} <= RESERVED


@pytest.mark.parametrize("status", ["active", "saving", "deactivated", "killed"])
@pytest.mark.parametrize("name", ["disk_format", "container_format"])
def test_formats_belong_to_the_data(status: str, name: str) -> None:
    """They are changed only before there are any."""
    change: list[Any] = [Change("replace", name, "raw")]
    with pytest.raises(Forbidden):
        draft(status).apply(change)
    image = draft()
    image.apply(change)
    assert image.columns == {name: "raw"}


def test_who_has_too_many_may_have_fewer() -> None:
    """Only growth over the limit is refused."""
    many = {str(number): "" for number in range(MOST_PROPERTIES + 2)}
    image = Draft("queued", dict(many), ())
    image.apply([Change("remove", "0")])
    assert len(image.properties) == MOST_PROPERTIES + 1
    with pytest.raises(TooLarge):
        draft(**many).apply([Change("add", "more", "x")])
    with pytest.raises(TooLarge):
        check_counts(many, ())
