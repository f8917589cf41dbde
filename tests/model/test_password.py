"""Passwords of new servers."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.model import password


@given(st.integers())
def test_a_password_has_all_kinds_and_nothing_that_is_mistaken(seed: int) -> None:
    """It may have to be typed from a screen."""
    made = password.make(random.Random(seed))
    assert len(made) == password.LENGTH
    assert made.isascii() and made.isalnum()
    assert any(c.islower() for c in made)
    assert any(c.isupper() for c in made)
    assert any(c.isdigit() for c in made)
    assert not set(made) & set("O0Il1")


def test_no_two_are_alike() -> None:
    """With the source that the service uses."""
    source = random.SystemRandom()
    assert len({password.make(source) for _ in range(200)}) == 200
