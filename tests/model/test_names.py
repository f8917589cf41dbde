"""Names in Ganeti, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.model.names import Names

PREFIXES = st.from_regex(r"[a-z][a-z0-9]{0,18}-", fullmatch=True)


@given(PREFIXES, st.integers(1, 10**18 - 1))
def test_an_instance_s_name_tells_its_server(prefix: str, server_id: int) -> None:
    """There and back, with any prefix."""
    names = Names(prefix)
    assert names.server_id(names.instance(server_id)) == server_id


@given(st.text())
def test_only_the_one_name_of_a_server_is_taken_for_it(text: str) -> None:
    """Whatever else stands at a cluster is not ours."""
    names = Names()
    found = names.server_id(text)
    assert found is None or names.instance(found) == text


@pytest.mark.parametrize(
    "name",
    ["", "snf-", "snf-0", "snf-01", "snf-net-7", "snf--1", "snf-1.example.org", "snf-²", "snf-٣",
     "SNF-1", "1", "snf-1\n", "snf-" + "9" * 19],
)  # fmt: skip
def test_names_that_are_no_servers(name: str) -> None:
    """Other prefixes, other things, other digits."""
    assert Names().server_id(name) is None


@given(st.integers(1, 10**18))
def test_no_two_kinds_of_things_share_a_name(number: int) -> None:
    """A network, its link, a port, a disk and a server of one id."""
    names = Names()
    made = {
        make(number) for make in (names.instance, names.network, names.nic, names.disk, names.link)
    }
    assert len(made) == 5
