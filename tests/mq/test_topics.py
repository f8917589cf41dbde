"""How a topic exchange chooses."""

from __future__ import annotations

import re
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyclades_tx.mq.topics import matches

KEYS = st.lists(st.sampled_from(["a", "b", ""]), max_size=5).map(".".join)
PATTERNS = st.lists(st.sampled_from(["a", "b", "*", "#"]), max_size=5).map(".".join)


@pytest.mark.parametrize(
    ("pattern", "key", "wanted"),
    [
        ("ganeti.snf.event.op", "ganeti.snf.event.op", True),
        ("ganeti.*.event.op", "ganeti.snf.event.op", True),
        ("ganeti.*.event.op", "ganeti.event.op", False),
        ("ganeti.#", "ganeti", True),
        ("#", "", True),
        ("#", "a.b.c", True),
        ("*", "", False),
        ("*", "a.b", False),
        ("#.op", "ganeti.snf.event.op", True),
        ("a.#.b", "a.b", True),
        ("a.#.b", "a.x.y.b.b", True),
        ("a.#.b", "a.x", False),
        ("", "", True),
        ("", "a", False),
    ],
)
def test_examples(pattern: str, key: str, wanted: bool) -> None:
    """As RabbitMQ does it."""
    assert matches(pattern, key) is wanted


@settings(deadline=None)
@given(PATTERNS, KEYS)
def test_it_agrees_with_a_regular_expression(pattern: str, key: str) -> None:
    """An independent way to say the same."""
    words = pattern.split(".") if pattern else []
    said = "".join({"*": r"[^.]*\.", "#": r"([^.]*\.)*"}.get(each, each + r"\.") for each in words)
    assert matches(pattern, key) == bool(re.fullmatch(said, key + "." if key else ""))


def test_many_hashes_take_no_longer() -> None:
    """A pattern that makes a naive search explode."""
    began = perf_counter()
    assert not matches(".".join(["#", "a"] * 30) + ".b", ".".join(["a"] * 100))
    assert perf_counter() - began < 1
