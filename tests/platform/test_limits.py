"""The descriptor limit."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from cyclades_tx.limits import ENOUGH_DESCRIPTORS, raise_descriptor_limit


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Give the limit back after the test."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    """Or to a million, where the hard one is beyond all need."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, ENOUGH_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    assert raise_descriptor_limit() == wanted
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (wanted, hard)


def test_a_limit_that_is_high_enough_stays() -> None:
    """A second call changes nothing."""
    first = raise_descriptor_limit()
    assert raise_descriptor_limit() == first
