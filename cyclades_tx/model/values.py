"""Pools of bridges and MAC prefixes as arithmetic: which values there are, and how each is written.

The values of a pool have numbers. In the pool ``prv`` of bridges number 7 is ``prv7``; in the
pool ``aa:00:0`` of MAC prefixes number 3 is ``aa:00:3``. ``value_number`` of ``model/books.py``
is the way back.
"""

from __future__ import annotations

import itertools
import re

from cyclades_tx.errors import BadRequest
from cyclades_tx.model.address import check_mac_prefix
from cyclades_tx.model.books import free_ranges

BRIDGE = "bridge"
MAC_PREFIX = "mac_prefix"

#: A name of a network device in Linux is never longer.
_LONGEST_BRIDGE = 15
_BASE = re.compile(r"^[a-zA-Z][a-zA-Z0-9._-]*$", re.ASCII)
#: A fresh range is cut into at most so many pieces: so many takers work side by side.
_MOST_PIECES = 16
_LEAST_PIECE = 4


def check_pool(kind: str, base: str, first: int, last: int) -> None:
    """See that a pool of these values can be made.

    :raise BadRequest: names what is wrong.
    """
    if not 0 <= first <= last:
        raise BadRequest("A pool must have at least one value.")
    if kind == MAC_PREFIX:
        check_mac_prefix(base)
        if not usable_ranges(kind, base, first, last):
            raise BadRequest(
                f"No prefix from {base} on is one for machines that are administered locally:"
                " begin with 02, 06, 0a, 0e … such as aa:00:0."
            )
        return
    if not _BASE.match(base) or base[-1].isdigit():
        raise BadRequest(
            f"{base[:40]!r} is no beginning of the names of bridges: it has letters, digits, dots,"
            " dashes and underscores, begins with a letter and does not end in a digit."
        )
    if len(value_text(kind, base, last)) > _LONGEST_BRIDGE:
        raise BadRequest(
            f"{value_text(kind, base, last)} is longer than {_LONGEST_BRIDGE} characters, which no"
            " bridge may be."
        )


def value_text(kind: str, base: str, number: int) -> str:
    """The value that has this number in a pool."""
    if kind == BRIDGE:
        return f"{base}{number}"
    start = base.replace(":", "")
    digits = f"{int(start, 16) + number:0{len(start)}x}"
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def usable_ranges(kind: str, base: str, first: int, last: int) -> tuple[tuple[int, int], ...]:
    """The numbers of a pool that can be given out, as ranges with both ends.

    Of MAC prefixes these are the ones for single machines (the lowest bit of the first octet is
    0) that nobody was assigned (its second bit is 1).
    """
    if kind == BRIDGE:
        return ((first, last),)
    digits = base.replace(":", "")
    start, per_octet = int(digits, 16), 16 ** (len(digits) - 2)
    low, high = start + first, min(start + last, 256 * per_octet - 1)
    found = []
    for octet in range(low // per_octet, high // per_octet + 1):
        if octet & 3 == 2:
            begins = max(low, octet * per_octet)
            ends = min(high, (octet + 1) * per_octet - 1)
            found.append((begins - start, ends - start))
    return tuple(found)


def unused_ranges(
    kind: str, base: str, first: int, last: int, used: frozenset[int]
) -> tuple[tuple[int, int], ...]:
    """What of a pool can be given out when these numbers cannot."""
    return tuple(
        each
        for low, high in usable_ranges(kind, base, first, last)
        for each in free_ranges(low, high, used)
    )


def pieces(low: int, high: int) -> tuple[tuple[int, int], ...]:
    """Cut a range into pieces of nearly equal size, so that takers need not wait in one line."""
    size = high - low + 1
    count = max(1, min(_MOST_PIECES, size // _LEAST_PIECE))
    borders = [low + size * number // count for number in range(count + 1)]
    return tuple((begins, ends - 1) for begins, ends in itertools.pairwise(borders))
