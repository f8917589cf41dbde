"""Passwords of new servers: what is good enough, and how one is made."""

from __future__ import annotations

import random
import string

#: Easily mistaken for one another on a console.
_MISTAKEN = frozenset("O0Il1")
_LOWER = "".join(c for c in string.ascii_lowercase if c not in _MISTAKEN)
_UPPER = "".join(c for c in string.ascii_uppercase if c not in _MISTAKEN)
_DIGITS = "".join(c for c in string.digits if c not in _MISTAKEN)

LENGTH = 14


def make(source: random.Random) -> str:
    """A password with lower case, upper case and digits.

    :param source: ``random.SystemRandom()``, or a seeded one in tests.
    """
    letters = [source.choice(kind) for kind in (_LOWER, _UPPER, _DIGITS)]
    letters += [source.choice(_LOWER + _UPPER + _DIGITS) for _ in range(LENGTH - len(letters))]
    source.shuffle(letters)
    return "".join(letters)
